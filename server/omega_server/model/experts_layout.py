"""How the experts lie in a checkpoint's files: as transformers 4.57 and the fork wrote them, or as transformers 5 computes.

Read from config.json and the tables of the safetensors files alone, without torch or numpy: the process that serves
HTTP reads it too.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL_LAYOUT = "transformers-5"
"""What `text_config.experts_layout` says when the experts lie in the file as the model holds them."""

EXPERTS = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
MARKED = "omega17_vl_exp"  # the shapes of an official checkpoint are enough for its class
FAMILIES = ("qwen3_vl_moe", MARKED)
"""Model types that are mixtures of experts."""


class ConvertError(Exception):
    """A checkpoint was not converted. The text is one line that says what to do.

    Attributes:
        code: exit code: 2 if asking again is useless, 1 if it may help.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def has_model_layout(path: Path) -> bool:
    """Whether the experts lie in a checkpoint's files as transformers 5 has them: by its mark, or else by their shapes.

    A square weight says nothing. But only one of gate_up and down can be square, and the other one speaks for it.

    Raises:
        ConvertError: it has no experts, or weights that fit neither layout.
    """
    config = read_config(path)
    if is_marked(config):
        return True
    text = config["text_config"]
    hidden, inner = text["hidden_size"], text["moe_intermediate_size"]
    shapes = {EXPERTS[0]: [2 * inner, hidden], EXPERTS[1]: [hidden, inner]}
    found = set()
    for file in sorted(path.glob("*.safetensors")):
        for name, entry in read_table(file)[0].items():
            if not name.endswith(EXPERTS):
                continue
            shape, expected = entry["shape"][1:], shapes[name[name.index("mlp.experts.") :]]
            if shape not in (expected, expected[::-1]):
                raise ConvertError(
                    f"{name} of {path} has the shape {entry['shape']}, which config.json does not explain"
                )
            if expected[0] != expected[1]:
                found.add(shape == expected)
    if not found:
        raise ConvertError(f"{path} has no weights of experts in its *.safetensors files")
    if len(found) > 1:
        raise ConvertError(
            f"{path} has some experts in the layout of transformers 4 and some in that of transformers 5"
        )
    return found.pop()


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a checkpoint that has experts.

    Raises:
        ConvertError: it is none.
    """
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_bytes())
        family, sizes = config["model_type"], config["text_config"].keys()
    except OSError:
        raise ConvertError(f"{path} is not a checkpoint: it is no directory with a config.json") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConvertError(f"{path} is not a checkpoint of a vision-language model, by its config.json") from None
    if family not in FAMILIES:
        raise ConvertError(
            f"{path} is of type {family!r}; convertible are {' and '.join(FAMILIES)}, which have experts"
        )
    if not {"hidden_size", "moe_intermediate_size"} <= sizes:
        raise ConvertError(f"{path} has no hidden_size or no moe_intermediate_size in its config.json: fetch it again")
    return config


def is_marked(config: dict[str, Any]) -> bool:
    """Whether a config says that its experts lie as transformers 5 has them."""
    mark = config["text_config"].get("experts_layout")
    if mark not in (None, MODEL_LAYOUT):
        raise ConvertError(f"experts_layout is {mark!r} in config.json, but can only be {MODEL_LAYOUT!r} or absent")
    return mark is not None


def read_table(file: Path) -> tuple[dict[str, Any], int]:
    """The table of a safetensors file, and where its bytes begin. Checked as far as we rely on it.

    Raises:
        ConvertError: the file is damaged.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            table = json.loads(stream.read(length)) if length < size else {}
        places = sorted(entry["data_offsets"] for _, entry in weights_of(table) if isinstance(entry["shape"], list))
    except (ValueError, KeyError, TypeError, AttributeError):
        places = []
    ends = [end for _, end in places]
    if not places or [begin for begin, _ in places] != [0, *ends[:-1]] or 8 + length + ends[-1] != size:
        raise ConvertError(f"{file} is damaged: fetch it again")
    return table, 8 + length


def weights_of(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and entries of the weights in a safetensors file's table."""
    return ((name, entry) for name, entry in table.items() if name != "__metadata__")
