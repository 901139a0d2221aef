"""One CUDA GPU: what its memory can do, and how near to that decoding comes.

In each step of decoding every weight that the step uses is read once, whatever the number of sequences, and so is what the
cache holds of each sequence. Steps per second times these bytes, divided by the measured bandwidth, is the share of the
limit; what is missing from 1 is overhead.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench import environments, machine, model, report
from omega_server.engine.engine import Engine, EngineLimits
from omega_server.engine.request import Prompt, Sampling
from omega_server.model.loader import load

SEQUENCES = (1, 8, 32, 64)
PROMPT = 256
LENGTH = 4096
STEPS = 64
COPY_BYTES = 2**30


def main(out: Path) -> int:
    """Measure and write gpu.json and gpu.md; exit code 2 where there is no such GPU."""
    if not torch.cuda.is_available():
        print("bench-gpu: this machine has no CUDA GPU that torch can use; run it on one that has", file=sys.stderr)
        return 2
    device = torch.device("cuda:0")
    where, commit = machine.describe(), machine.commit()
    limit = bandwidth(device, COPY_BYTES, rounds=20)
    path = model.make(model.DENSE, environments.cache() / "models")
    loaded = load(str(path), "bfloat16", str(device))
    written = {
        "command": "make bench-gpu",
        "commit": commit,
        "machine": where | {"gpu": torch.cuda.get_device_name(device)},
        "model": {"parameters": model.parameters(path), "weights_read_bytes": weights_read(loaded)},
        "bandwidth_bytes_per_s": limit,
        "decode": [decode(loaded, sequences, steps=STEPS, bandwidth=limit) for sequences in SEQUENCES],
    }
    for file in report.write_gpu(written, out):
        print(f"bench-gpu: wrote {file}")
    return 0


def bandwidth(device: torch.device, size: int, rounds: int) -> float:
    """Bytes per second that this device's memory moves: a copy reads each byte and writes it."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(rounds):
        begin = _now(device)
        target.copy_(source)
        seconds.append(_now(device) - begin)
    return 2 * size / min(seconds)


def weights_read(loaded: Any) -> int:
    """Bytes of weights that a step of decoding reads: language model and output layer, but one row each of the embeddings."""
    language = sum(p.numel() * p.element_size() for p in loaded.model.language_model.parameters())
    embeddings = loaded.model.language_model.embed_tokens.weight
    head = loaded.lm_head.weight
    return language - embeddings.numel() * embeddings.element_size() + head.numel() * head.element_size()


def decode(loaded: Any, sequences: int, *, steps: int, bandwidth: float) -> dict[str, Any]:
    """Let so many sequences answer at once, and time the steps in which all of them get a token."""
    limits = EngineLimits.of(loaded, max_length=LENGTH, max_batch_size=sequences, batch_timeout=0.0)
    engine = Engine(loaded, limits, time.monotonic)
    for number in range(sequences):
        tokens = torch.randint(100, 900, (PROMPT,), generator=torch.Generator().manual_seed(number))
        # All of them are still answering in the last step that counts, however slowly their prompts came in.
        engine.submit(number, Prompt(tuple(tokens.tolist())), Sampling(LENGTH - PROMPT, ignore_eos=True))
    seconds: list[float] = []
    lengths: list[int] = []
    begin = _now(loaded.device)
    while len(seconds) < steps:
        outputs = engine.step()
        end = _now(loaded.device)
        if len(outputs) == sequences and all(sequence.decoding for sequence in engine.scheduler.running):
            seconds.append(end - begin)
            lengths.append(sum(len(sequence.tokens) for sequence in engine.scheduler.running))
        begin = end
    step = statistics.median(seconds)
    text = loaded.config.text_config
    position = (
        2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * loaded.lm_head.weight.element_size()
    )
    read = weights_read(loaded) + position * statistics.median(lengths)
    return {
        "sequences": sequences,
        "step_s": step,
        "output_tokens_per_s": sequences / step,
        "bytes_per_step": read,
        "share_of_bandwidth": read / step / bandwidth,
    }


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
