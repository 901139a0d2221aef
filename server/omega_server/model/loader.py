"""Checkpoints to models and processors. What is wrong with a checkpoint is said in one line, for the person who named it.

transformers is imported where it is used: it costs seconds, which whoever only handles a ModelError need not pay.
"""

# ruff: noqa: PLC0415

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from omega_server.model.checkpoint import ModelError, check, model_type

logger = logging.getLogger(__name__)


def load(model_path: str, dtype: str, device: str, quantization: str = "none", *, tensor_parallel: int = 1) -> Any:
    """Load a model for inference.

    Args:
        model_path: a directory.
        dtype: bfloat16, float16 or float32; the weights are converted.
        device: cpu, cuda, or cuda:N.
        quantization: none, int8 or int4, of the language model's weights; what that saves is logged.
        tensor_parallel: processes that share the model (shards.py): this one gets its part, on its own device.

    Returns:
        a transformers model, in eval mode, on the device, with its Qwen3-VL parts at `.model.visual`,
        `.model.language_model` and `.lm_head`.

    Raises:
        ModelError: see `check`, or there is no such device, or the weights cannot be read or do not belong to the config.
    """
    check(model_path, dtype=dtype, quantization=quantization, tensor_parallel=tensor_parallel)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but no CUDA GPU is visible here: use device cpu, or add a GPU")
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    from omega_server.model import omega, quantize, shards

    omega.register()
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(model_path, local_files_only=True)
        model, report = AutoModelForImageTextToText.from_pretrained(
            model_path,
            config=config,
            dtype=getattr(torch, dtype),
            device_map=device if device != "cpu" and tensor_parallel == 1 else None,
            distributed_config=shards.shard(config, tensor_parallel) if tensor_parallel > 1 else None,
            quantization_config=None if quantization == "none" else quantize.Quantization(quantization, device),
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise ModelError(f"the model at {model_path} does not fit into the memory of {device}") from error
        raise ModelError(f"the model at {model_path} cannot be loaded: {_one_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not quantize.is_derived(key))
    if missing:
        raise ModelError(
            f"the model at {model_path} is incomplete: {len(missing)} weights are missing, the first is {missing[0]}"
        )
    if quantization != "none":
        logger.info("%s: %s", quantization, model.hf_quantizer.share)
    return model.eval()


def load_processor(model_path: str) -> Any:
    """The transformers processor of a checkpoint: chat template, tokenizer, picture and video processors.

    Raises:
        ModelError: the checkpoint has none that can be read.
    """
    from transformers import AutoProcessor

    if model_type(Path(model_path)).startswith("omega"):
        from omega_server.model import omega

        omega.register()
    try:
        return AutoProcessor.from_pretrained(model_path, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"the processor of the model at {model_path} cannot be loaded: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
