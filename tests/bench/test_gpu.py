"""make bench-gpu where there is no GPU, and its arithmetic on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import gpu, report
from omega_server.model.loader import load

ROOT = Path(__file__).parents[2]


def test_refused_without_a_gpu(tmp_path: Path) -> None:
    """One sentence, exit code 2, and nothing is written."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "bench", "gpu", "--out", tmp_path],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'server'}:{ROOT / 'crds'}",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bench-gpu: this machine has no CUDA GPU that torch can use; run it on one that has\n"
    assert list(tmp_path.iterdir()) == []


def test_bandwidth() -> None:
    """Of this machine's memory: not zero, not beyond what any has."""
    assert 1e8 < gpu.bandwidth(torch.device("cpu"), 2**22, rounds=3) < 1e13


def test_decode_counts_bytes() -> None:
    """Weights once, and the cache of all sequences; the share follows from them."""
    loaded = load(str(ROOT / "demo" / "model"), "float32", "cpu")
    found = gpu.decode(loaded, 3, steps=4, bandwidth=1e10)
    text = loaded.config.text_config
    position = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * 4
    weights = gpu.weights_read(loaded)
    # Output layer and embeddings are one: both are counted as what a step reads of the output layer.
    assert weights == 4 * sum(parameter.numel() for parameter in loaded.model.language_model.parameters())
    positions = (found["bytes_per_step"] - weights) / position
    assert 3 * gpu.PROMPT < positions < 3 * gpu.LENGTH
    assert found["output_tokens_per_s"] == pytest.approx(3 / found["step_s"])
    assert found["share_of_bandwidth"] == pytest.approx(found["bytes_per_step"] / found["step_s"] / 1e10)


def test_page() -> None:
    """Card, bandwidth, and a row for each number of sequences."""
    page = report.gpu_table(
        {
            "command": "make bench-gpu",
            "commit": "0123456789ab",
            "machine": {"gpu": "A card", "torch": "2.15.0", "transformers": "5.23.0", "date": "2026-01-01"},
            "model": {"parameters": 2.4e9},
            "bandwidth_bytes_per_s": 3.1e12,
            "decode": [
                {"sequences": 8, "step_s": 0.0025, "output_tokens_per_s": 3200.0, "share_of_bandwidth": 0.553},
            ],
        }
    )
    assert "GPU: A card, whose memory moves 3100 GB/s" in page
    assert "| 8 | 2.50 | 3200 | 55 % |" in page
