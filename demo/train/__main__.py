"""Makes all of demo/ from nothing, on a CPU: `python demo/train --out demo`.

In this order: the processor, the training pictures (in memory), the dense model, its mixture-of-experts twin, the
demo pictures, and the accuracy of both models, which goes into README.md.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import crew as crews
import torch
from album import Grid, Page, draw_album
from batches import Batches
from crew import Crew
from evaluate import right_of
from fit import Helpers, Lesson, fit, fit_sight
from processor import make_processor
from questions import TYPES
from transformers import AutoModelForImageTextToText, AutoProcessor
from twin import Routing, make_twin

from model import make_model
from pictures import make_pictures

Album = dict[Grid, Page]
STAGES = ("dense", "twin", "pictures", "evaluate", "quantized")
MODELS = {"dense": "model", "twin": "model-moe"}
QUANTIZATIONS = ("none", "int8", "int4")
SIGHT_RATE, TEXT_RATE, TWIN_RATE = 5e-4, 1.5e-3, 1.3e-3


def batches_for(
    crew: Crew, args: argparse.Namespace, tokenizer: Any, album: Album, *, steps: int, seed: str
) -> Batches:
    """This worker's share of the training batches."""
    scenes = {grid: page.scenes for grid, page in album.items()}
    return Batches(tokenizer, scenes, steps=steps, rows=args.rows // crew.workers, worker=crew.worker, seed=seed)


def train_dense(crew: Crew, args: argparse.Namespace, tokenizer: Any, album: Album) -> None:
    """One worker's part in training the dense model."""
    torch.manual_seed(1)
    model, helpers, out = make_model(tokenizer), Helpers(), args.out / MODELS["dense"]
    lesson = Lesson(model, album, helpers)
    looks = args.looks // crew.workers
    fit_sight(crew, lesson.sight, helpers, album, steps=args.sight_steps, rate=2e-3, pictures=looks)
    batches = batches_for(crew, args, tokenizer, album, steps=args.dense_steps, seed="dense")
    groups = [
        (SIGHT_RATE, [*lesson.sight.tower.named_parameters(), *helpers.named_parameters()]),
        (TEXT_RATE, lesson.text.named_parameters()),
    ]
    fit(crew, lesson, batches, groups=groups, out=out)
    if crew.first:
        model.to(torch.bfloat16).save_pretrained(out)


def train_twin(crew: Crew, args: argparse.Namespace, tokenizer: Any, album: Album) -> None:
    """One worker's part in training the twin: its text layers only, it sees as the dense model does."""
    torch.manual_seed(1)
    out = args.out / MODELS["twin"]
    dense = AutoModelForImageTextToText.from_pretrained(args.out / MODELS["dense"], dtype=torch.float32)
    twin = make_twin(dense, tokenizer)
    twin.model.visual.requires_grad_(requires_grad=False)
    lesson, routing = Lesson(twin, album), Routing(twin)
    batches = batches_for(crew, args, tokenizer, album, steps=args.twin_steps, seed="twin")
    groups = [(TWIN_RATE, lesson.text.named_parameters())]
    fit(crew, lesson, batches, groups=groups, out=out, aside=routing.loss)
    if crew.first:
        print("share of the tokens' choices per expert, a line per layer")
        for shares in routing.shares().tolist():
            print("  ".join(f"{share:.2f}" for share in shares))
        twin.to(torch.bfloat16).save_pretrained(out)


def copy_processor(source: Path, target: Path) -> None:
    """Gives the twin the dense model's processor, file by file."""
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        shutil.copy(source / name, target / name)


def evaluate(out: Path, n: int, workers: int) -> None:
    """Rates both models on n unseen cases of each type, and writes the table into README.md."""
    right = _right(out, n, workers, ("none",))
    _write_table(out / "README.md", "accuracy", n, [*MODELS.values()], right)


def evaluate_quantized(out: Path, n: int, workers: int) -> None:
    """The same unquantized, in int8 and in int4, side by side."""
    right = _right(out, n, workers, QUANTIZATIONS)
    right["all"] = [sum(counts) / len(right) for counts in zip(*right.values(), strict=True)]
    columns = [f"{name}, {q.replace('none', 'float32')}" for name in MODELS.values() for q in QUANTIZATIONS]
    _write_table(out / "README.md", "quantized", n, columns, right)


def _right(out: Path, n: int, workers: int, quantizations: Sequence[str]) -> dict[str, list[float]]:
    """Right answers of n to each type of question, for each model in each quantization."""
    asked = [(out / name, kind, n, q) for kind in TYPES for name in MODELS.values() for q in quantizations]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        right = iter(pool.starmap(right_of, asked, chunksize=1))
    return {kind: [next(right) for _ in range(len(MODELS) * len(quantizations))] for kind in TYPES}


def _write_table(readme: Path, mark: str, n: int, columns: list[str], right: dict[str, list[float]]) -> None:
    lines = [f"| question | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for kind, counts in right.items():
        cells = [f"{100 * k / n:.1f} %" for k in counts]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    pattern = rf"(<!-- {mark}, n = \d+ -->\n).*?(\n<!-- end -->)"
    head, _, end, tail = re.split(pattern, readme.read_text(), flags=re.DOTALL)
    readme.write_text(f"{head}<!-- {mark}, n = {n} -->\n{table}{end}{tail}")
    print(table)


def main() -> None:
    """Every stage, or those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of README.md, model, model-moe and pictures")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes of one thread")
    parser.add_argument("--pictures", type=int, default=30_000, help="training pictures; 75 KB of memory each")
    parser.add_argument("--looks", type=int, default=48, help="pictures in a step of the vision tower alone")
    parser.add_argument("--rows", type=int, default=24, help="conversations in a step of all")
    parser.add_argument("--sight-steps", type=int, default=1500)
    parser.add_argument("--dense-steps", type=int, default=6000)
    parser.add_argument("--twin-steps", type=int, default=1400)
    parser.add_argument("--cases", type=int, default=200, help="of each type, in the evaluation")
    args = parser.parse_args()
    if not (args.out / "README.md").is_file():
        parser.error(f"{args.out} has no README.md, into which the accuracy is written: name a copy of demo")
    start = time.monotonic()
    torch.set_num_threads(1)  # of each worker; one that had more could not be forked
    folders = {stage: args.out / name for stage, name in MODELS.items()}
    if "dense" in args.stages:
        make_processor(folders["dense"])
    if "dense" in args.stages or "twin" in args.stages:
        tokenizer = AutoProcessor.from_pretrained(folders["dense"]).tokenizer
        album = draw_album(args.pictures, args.workers)
        print(f"drawn  {time.monotonic() - start:.0f} s", flush=True)
        for stage, train in (("dense", train_dense), ("twin", train_twin)):
            if stage in args.stages:
                crews.run(args.workers, partial(train, args=args, tokenizer=tokenizer, album=album))
                print(f"{stage}  {time.monotonic() - start:.0f} s", flush=True)
        if "twin" in args.stages:
            copy_processor(folders["dense"], folders["twin"])
    if "pictures" in args.stages:
        make_pictures(args.out / "pictures")
    if "evaluate" in args.stages:
        evaluate(args.out, args.cases, args.workers)
    if "quantized" in args.stages:
        evaluate_quantized(args.out, args.cases, args.workers)
    print(f"done  {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
