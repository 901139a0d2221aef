"""transformers' hook that converts weights while they are loaded, one after the other.

`from_pretrained` builds the model without memory, lets the quantizer change its modules, and then reads the weights
one by one; each is converted before the next is read. So at no time is there more than one weight in full size, beside
what is converted already.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextExperts
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from omega_server.model.quantize.formats import Format, choose
from omega_server.model.quantize.modules import SCALE, QuantizedLinear, convert_experts

_NAME = "omega"
"""Of our method, among those of transformers."""

_LAYERS = "model.language_model.layers."
"""Of every model that is served."""


@register_quantization_config(_NAME)
class Quantization(QuantizationConfigMixin):
    """What `from_pretrained(quantization_config=...)` takes to convert a model while it is loaded.

    Args:
        method: int8 or int4.
        device: where the model will compute, such as cpu or cuda:0; formats depend on it.
    """

    def __init__(self, method: str, device: str) -> None:
        self.quant_method = _NAME
        self.method = method
        self.device = device


@dataclass(frozen=True)
class Share:
    """How much of a model is converted. All of it in bytes, as they would be unconverted, except `after`.

    Attributes:
        converted: what is converted.
        layers: the language model's layers.
        language_model: everything but the vision tower: the layers, embeddings, the last norm, lm_head.
        before: the whole model.
        after: the whole model as it is now.
    """

    converted: int
    layers: int
    language_model: int
    before: int
    after: int

    def __str__(self) -> str:
        return (
            f"{self.converted / self.layers:.1%} of the bytes in the language model's layers are converted "
            f"({self.converted / self.language_model:.1%} with embeddings and head, which stay); "
            f"all weights take {self.after / 2**20:,.1f} MiB instead of {self.before / 2**20:,.1f} MiB"
        )


@register_quantizer(_NAME)
class Quantizer(HfQuantizer):
    """Converts the language model's layers. transformers makes one for each load, and leaves it at the model.

    Attributes:
        share: what was converted; known after loading.
    """

    quantization_config: Quantization
    share: Share

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        """Change the modules, which have no memory yet, so that they take converted weights.

        Raises:
            QuantizationError: a weight cannot be converted.
        """
        self.forms: dict[str, Format] = {}
        for path, module in list(model.named_modules()):
            names = _weights_of(module) if path.startswith(_LAYERS) else ()
            for name in names:
                self.forms[f"{path}.{name}"] = self.choose(f"{path}.{name}", module.get_parameter(name))
            forms = [self.forms[f"{path}.{name}"] for name in names]
            if isinstance(module, nn.Linear) and forms:
                model.set_submodule(path, QuantizedLinear(module, *forms))
            elif forms:
                convert_experts(module, *forms)
        self._converted = sum(model.get_parameter(name).nbytes for name in self.forms)

    def choose(self, name: str, weight: Tensor) -> Format:
        """The format of a weight, by its full name."""
        device = torch.device(self.quantization_config.device)
        return choose(self.quantization_config.method, name, weight.shape, weight.dtype, device)

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:  # noqa: ARG002 - their signature
        """Whether it is to be converted."""
        return param_name in self.forms

    def get_quantize_ops(self) -> ConversionOps:
        """What converts it."""
        return _Convert(self.forms)

    @property
    def quantized_element_size(self) -> float:
        """Bytes of a converted weight; transformers reserves memory by it."""
        return 1.0 if self.quantization_config.method == "int8" else 0.5

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> None:
        self._let_go_of_the_file(model)
        stored = [model.get_parameter(name) for name in self.forms]
        stored += [model.get_buffer(name + SCALE) for name in self.forms]
        saved = self._converted - sum(tensor.nbytes for tensor in stored)
        after = _nbytes(model)
        self.share = Share(
            converted=self._converted,
            layers=_nbytes(model.model.language_model.layers) + saved,
            language_model=after - _nbytes(model.model.visual) + saved,
            before=after + saved,
            after=after,
        )

    def _let_go_of_the_file(self, model: Any) -> None:
        """Copy the weights that stay. On the CPU they may lie in the checkpoint's mapping, and keep all of it there."""
        for name, parameter in model.named_parameters():
            if name not in self.forms and parameter.device.type == "cpu":
                parameter.data = parameter.data.clone()

    def is_serializable(self) -> bool:
        """No: the checkpoint is, and converting is quick."""
        return False

    @property
    def is_trainable(self) -> bool:
        """No."""
        return False


class _Convert(ConversionOps):
    """Turns a weight into values and scale. With experts, one expert after the other, for the sake of memory."""

    def __init__(self, forms: dict[str, Format]) -> None:
        self._forms = forms

    @torch.no_grad()
    def convert(self, input_dict: dict[str, Any], *, model: Any, full_layer_name: str, **_: Any) -> dict[str, Tensor]:
        """Both tensors by their full names; called by transformers for each weight."""
        (value,) = input_dict.values()
        weight = value[0] if isinstance(value, list) else value
        expected = model.get_parameter(full_layer_name).shape
        if weight.shape != expected:
            raise ValueError(f"{full_layer_name} is {tuple(weight.shape)} and should be {tuple(expected)}")
        values, scale = _convert(self._forms[full_layer_name], weight)
        return {full_layer_name: values, full_layer_name + SCALE: scale}


def is_derived(name: str) -> bool:
    """Whether a tensor with this name is computed while loading, and in no checkpoint."""
    return name.endswith(SCALE)


def _convert(form: Format, weight: Tensor) -> tuple[Tensor, Tensor]:
    if weight.dim() == 2:
        return form.quantize(weight)
    values, scale = (part.new_empty(len(weight), *part.shape) for part in form.quantize(weight[0]))
    for expert, matrix in enumerate(weight):
        values[expert], scale[expert] = form.quantize(matrix)
    return values, scale


def _weights_of(module: nn.Module) -> tuple[str, ...]:
    if isinstance(module, nn.Linear):
        return ("weight",)
    return ("gate_up_proj", "down_proj") if isinstance(module, Qwen3VLMoeTextExperts) else ()


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
