"""What a checkpoint says of itself without being loaded. Needs no torch, so that a server can refuse it at once."""

import json
from pathlib import Path
from typing import Any

from omega_server.model.experts_layout import FAMILIES, ConvertError, has_model_layout

SUPPORTED = {
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration",
    "omega17_vl": "Omega17VLForConditionalGeneration",
    "omega17_vl_exp": "Omega17VLExpForConditionalGeneration",
}
"""Model types of config.json, and their architectures."""

DTYPES = ("bfloat16", "float16", "float32")
"""What weights may be converted to."""

QUANTIZATIONS = ("none", "int8", "int4")
"""How the language model's weights may be kept."""


class ModelError(Exception):
    """A model cannot be loaded, and the user can do something about it. The message is one line."""


def check(model_path: str, *, dtype: str, quantization: str = "none", tensor_parallel: int = 1) -> str:
    """Find out what can be known about a checkpoint without loading it.

    Returns:
        its model type.

    Raises:
        ModelError: it is missing, no checkpoint, of an architecture that is not served, or is asked for in a way
            that is not supported.
    """
    if quantization not in QUANTIZATIONS:
        raise ModelError(f"quantization {quantization} is unknown: use one of {', '.join(QUANTIZATIONS)}")
    if quantization != "none" and tensor_parallel != 1:
        raise ModelError(
            f"quantization {quantization} works in engines of one GPU only, and each is to have {tensor_parallel}: "
            "use quantization none, or tensor parallelism 1"
        )
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype} is unknown: use one of {', '.join(DTYPES)}")
    config = _config(Path(model_path))
    found = str(config.get("model_type"))
    if found not in SUPPORTED:
        raise ModelError(
            f"the model at {model_path} is of type {found!r}, which is not served; served are {', '.join(SUPPORTED)}"
        )
    parts = (config, config.get("text_config"))
    if quantization != "none" and any(isinstance(part, dict) and "quantization_config" in part for part in parts):
        raise ModelError(f"the model at {model_path} is quantized as it is: use quantization none")
    if not any(Path(model_path).glob("*.safetensors")):
        raise ModelError(
            f"the model at {model_path} has no weights: there is no *.safetensors file beside its config.json"
        )
    if tensor_parallel > 1:
        _check_parts(Path(model_path), config, tensor_parallel)
    return found


def _check_parts(path: Path, config: dict[str, Any], parts: int) -> None:
    """Raise ModelError if a model cannot be cut into so many parts (shards.py)."""
    experts = config["model_type"] in FAMILIES
    text = config.get("text_config", {})
    names = ["num_attention_heads", "num_key_value_heads", "moe_intermediate_size" if experts else "intermediate_size"]
    widths = {name: text.get(name) for name in names}
    if not all(isinstance(width, int) and width % parts == 0 for width in widths.values()):
        raise ModelError(
            f"the model at {path} cannot be divided among {parts} GPUs, by these sizes in its config.json: "
            f"{', '.join(f'{name} {width}' for name, width in widths.items())}; "
            "use a tensor parallelism that divides them all"
        )
    if experts:
        try:
            ready = has_model_layout(path)
        except ConvertError as error:
            raise ModelError(str(error)) from None
        if not ready:
            raise ModelError(
                f"the model at {path} must be converted for tensor parallelism, once: "
                "run omega-server convert, and serve the copy that it makes"
            )


def model_type(path: Path) -> str:
    """What the config.json in a directory calls its model.

    Raises:
        ModelError: there is no such file, or it cannot be read.
    """
    return str(_config(path).get("model_type"))


def _config(path: Path) -> dict[str, Any]:
    config_file = path / "config.json"
    if not path.exists():
        raise ModelError(f"there is no model at {path}: the directory does not exist")
    if not config_file.is_file():
        raise ModelError(f"{path} holds no model: it has no config.json")
    try:
        config = json.loads(config_file.read_bytes())
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no model: its config.json is not a JSON object")
    return config
