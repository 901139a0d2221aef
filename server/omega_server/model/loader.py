"""Checkpoints to models and processors. What is wrong with a checkpoint is said in one line, for the person who named it.

transformers is imported where it is used: it costs seconds, which whoever only handles a ModelError need not pay.
"""

# ruff: noqa: PLC0415

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

SUPPORTED = {
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration",
    "omega17_vl": "Omega17VLForConditionalGeneration",
    "omega17_vl_exp": "Omega17VLExpForConditionalGeneration",
}
"""Model types of config.json, and their architectures."""

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class ModelError(Exception):
    """A model cannot be loaded, and the user can do something about it. The message is one line."""


def check(model_path: str, *, dtype: str, device: str, quantization: str = "none", tensor_parallel: int = 1) -> str:
    """Find out what can be known about a checkpoint without loading it.

    Returns:
        its model type.

    Raises:
        ModelError: it is missing, no checkpoint, of an architecture that is not served, or is asked for in a way
            that is not supported.
    """
    if quantization != "none":
        raise ModelError(f"quantization {quantization} is not supported yet: use none")
    if tensor_parallel != 1:
        raise ModelError(f"tensor parallelism over {tensor_parallel} GPUs is not supported yet: use 1")
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype} is unknown: use one of {', '.join(DTYPES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but no CUDA GPU is visible here: use device cpu, or add a GPU")
    path = Path(model_path)
    model_type = _model_type(path)
    if model_type not in SUPPORTED:
        raise ModelError(
            f"the model at {model_path} is of type {model_type!r}, which is not served; "
            f"served are {', '.join(SUPPORTED)}"
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"the model at {model_path} has no weights: there is no *.safetensors file beside its config.json"
        )
    return model_type


def load(model_path: str, dtype: str, device: str) -> Any:
    """Load a model for inference.

    Args:
        model_path: a directory.
        dtype: bfloat16, float16 or float32; the weights are converted.
        device: cpu, cuda, or cuda:N.

    Returns:
        a transformers model, in eval mode, on the device, with its Qwen3-VL parts at `.model.visual`,
        `.model.language_model` and `.lm_head`.

    Raises:
        ModelError: see `check`, or the weights cannot be read or do not belong to the config.
    """
    check(model_path, dtype=dtype, device=device.partition(":")[0])
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    from omega_server.model import omega

    omega.register()
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(model_path, local_files_only=True)
        model, report = AutoModelForImageTextToText.from_pretrained(
            model_path,
            config=config,
            dtype=DTYPES[dtype],
            device_map=device if device != "cpu" else None,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise ModelError(f"the model at {model_path} does not fit into the memory of {device}") from error
        raise ModelError(f"the model at {model_path} cannot be loaded: {_one_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the model at {model_path} is incomplete: {len(missing)} weights are missing, the first is {missing[0]}"
        )
    return model.eval()


def load_processor(model_path: str) -> Any:
    """The transformers processor of a checkpoint: chat template, tokenizer, picture and video processors.

    Raises:
        ModelError: the checkpoint has none that can be read.
    """
    from transformers import AutoProcessor

    if _model_type(Path(model_path)).startswith("omega"):
        from omega_server.model import omega

        omega.register()
    try:
        return AutoProcessor.from_pretrained(model_path, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"the processor of the model at {model_path} cannot be loaded: {_one_line(error)}") from error


def _model_type(path: Path) -> str:
    config_file = path / "config.json"
    if not path.exists():
        raise ModelError(f"there is no model at {path}: the directory does not exist")
    if not config_file.is_file():
        raise ModelError(f"{path} holds no model: it has no config.json")
    try:
        return str(json.loads(config_file.read_bytes()).get("model_type"))
    except (ValueError, AttributeError):
        raise ModelError(f"{path} holds no model: its config.json is not a JSON object") from None


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
