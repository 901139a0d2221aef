"""Kernels for every number of rows are there before the first request."""

import torch
from torch import nn

from omega_server.model import kernels, packed


def test_each_kind_of_weight_meets_each_number_of_rows_once(monkeypatch):
    """Of equal weights one is enough; experts count too; what is not packed is left alone."""
    met = []
    multiply = packed.multiply

    def noted(x, weight, bias=None):
        met.append((len(x), tuple(weight.shape), bias is not None))
        return multiply(x, weight, bias)

    monkeypatch.setattr(packed, "multiply", noted)
    monkeypatch.setattr(kernels, "SECONDS", 3600.0)
    layers = [nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 16, bias=False)]
    model = nn.Sequential(*(packed.PackedLinear(layer.weight, layer.bias) for layer in layers), nn.Linear(16, 48))
    model[0].packed_down = [packed.pack(torch.ones(8, 24)), packed.pack(torch.ones(8, 24))]
    kernels.compile_ahead(model, 20)
    counts = {packed.padded(rows) for rows in range(1, 21)}
    kinds = {((32, 16), True), ((16, 32), False), ((8, 24), False)}
    assert sorted(met) == sorted((count, *kind) for count in counts for kind in kinds)


def test_it_ends_when_it_takes_too_long(monkeypatch):
    """A large model is not held up: few rows come first, and the rest is left to requests."""
    met = []
    monkeypatch.setattr(packed, "multiply", lambda x, *_: met.append(len(x)))
    monkeypatch.setattr(kernels, "SECONDS", 0.0)
    kernels.compile_ahead(packed.PackedLinear(torch.ones(16, 32), None), 512)
    assert met == [1]


def test_a_model_without_packed_weights_is_fine():
    """On other devices, quantized or divided, there is nothing to do."""
    kernels.compile_ahead(nn.Linear(16, 16), 512)
