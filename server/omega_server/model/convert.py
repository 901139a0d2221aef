"""omega-server convert: a copy of a mixture-of-experts checkpoint, with the experts as transformers 5 computes with them.

With E experts, hidden size H and intermediate size I, transformers 4.57 and the fork wrote gate_up [E, H, 2I] and down
[E, I, H]; transformers 5 computes with gate_up [E, 2I, H] and down [E, H, I]. One process turns them while it loads.
Several that share a model cannot, because transformers cuts the weights before it turns them.

A safetensors file is a table (name, type, shape, place) and then the bytes. Turning an expert changes neither its type
nor its size, so the table keeps its places, the bytes of everything else are copied as they are, whatever their type, and
no more than one expert is in memory.
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from omega_server.model.experts_layout import (
    EXPERTS,
    MARKED,
    MODEL_LAYOUT,
    ConvertError,
    has_model_layout,
    is_marked,
    read_config,
    read_table,
    weights_of,
)

_MEBIBYTE = 1 << 20


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConvertError(f"{message}; see omega-server convert --help")


def convert(argv: Sequence[str]) -> str:
    """Convert a checkpoint. The target appears when it is complete, or not at all; the source is never written to.

    Returns:
        one line about what was done.

    Raises:
        ConvertError: it was not done.
    """
    parser = _Parser(
        prog="omega-server convert",
        allow_abbrev=False,
        description="Copy a mixture-of-experts checkpoint into the layout that tensor parallelism needs.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="directory of the checkpoint")
    parser.add_argument("target", type=Path, metavar="TARGET", help="directory to make; it must not exist, or be empty")
    options = parser.parse_args(argv)
    source, target = options.source, options.target
    config = read_config(source)
    turned = has_model_layout(source)
    if turned and (is_marked(config) or config["model_type"] != MARKED):
        raise ConvertError(f"{source} has the layout of transformers 5 already: serve it as it is")
    if config.get("quantization_config"):
        raise ConvertError(f"{source} is quantized: convert the checkpoint that it was made from")
    size = sum(file.stat().st_size for _, file in _files(source))
    _check_target(source, target, size)
    partial = target.parent / f".{target.name}.{os.getpid()}.partial"
    try:
        weights = _write(source, partial, config, turn=not turned)
        partial.rename(target)
    except OSError as error:
        raise ConvertError(f"{target} cannot be written: {error.strerror}", 1) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there is none after the rename
    return f"{source} is in {target} in the layout of transformers 5 ({weights} weights turned, {size / _MEBIBYTE:.0f} MiB)"


def _check_target(source: Path, target: Path, size: int) -> None:
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConvertError(f"{target} exists: name a directory that does not, or is empty")
    if target.resolve().is_relative_to(source.resolve()):
        raise ConvertError(f"{target} lies in {source}: name a directory outside it")
    if not target.parent.is_dir():
        raise ConvertError(f"{target.parent} is no directory: make it first")
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise ConvertError(
            f"{target} needs {size / _MEBIBYTE:.0f} MiB, but {free / _MEBIBYTE:.0f} MiB are free where it would lie"
        )


def _files(source: Path) -> Iterator[tuple[Path, Path]]:
    """Files of a checkpoint, relative and whole; hidden ones are a download's own notes."""
    for file in sorted(source.rglob("*")):
        relative = file.relative_to(source)
        if file.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative, file


def _write(source: Path, target: Path, config: dict[str, Any], *, turn: bool) -> int:
    """Write the converted checkpoint; returns how many weights were turned."""
    turned = 0
    for relative, file in _files(source):
        copy = target / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        if turn and file.suffix == ".safetensors" and file.parent == source:
            turned += _turn(file, copy)
        else:
            shutil.copyfile(file, copy)
    if config["model_type"] == MARKED:
        config["text_config"]["experts_layout"] = MODEL_LAYOUT
        (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return turned


def _turn(source: Path, target: Path) -> int:
    """Copy a safetensors file with the last two dimensions of each weight of experts swapped; returns their number."""
    table, start = read_table(source)
    experts = {name for name in table if name.endswith(EXPERTS)}
    swapped = {
        name: entry | {"shape": [entry["shape"][0], *entry["shape"][:0:-1]]} if name in experts else entry
        for name, entry in table.items()
    }
    text = json.dumps(swapped).encode()
    text += b" " * (-len(text) % 8)
    with source.open("rb") as old, target.open("wb") as new:
        new.write(len(text).to_bytes(8, "little") + text)
        old.seek(start)
        for name, entry in sorted(weights_of(table), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            if name in experts:
                count, rows, columns = entry["shape"]
                width = (end - begin) // prod(entry["shape"])
                for _ in range(count):
                    expert = np.frombuffer(old.read(rows * columns * width), dtype=f"u{width}").reshape(rows, columns)
                    new.write(np.ascontiguousarray(expert.T).data)
            else:
                _copy(old, new, end - begin)
        new.flush()
        os.fsync(new.fileno())
    return len(experts)


def _copy(old: IO[bytes], new: IO[bytes], count: int) -> None:
    while count > 0:
        piece = old.read(min(count, 16 * _MEBIBYTE))
        new.write(piece)
        count -= len(piece)
