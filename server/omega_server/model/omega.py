"""Omega17VL and Omega17VLExp checkpoints under the official transformers.

These two families exist only in the PyPI package `transformers-usf-om-vl-exp-v0` (0.0.1.post1), "the fork", which
replaces transformers and can therefore share no environment with it. Compared file by file, `omega17_vl` is
`qwen3_vl` and `omega17_vl_exp` is `qwen3_vl_moe` under other names. So nothing is reimplemented here: each class is
the official one, renamed, and `register` tells transformers' Auto classes about it. Where the two packages differ in
behaviour, the class that evens it out says so. tests/oracle compares all of it with what the fork computed.
"""

from functools import cache
from typing import Any, ClassVar

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    AutoVideoProcessor,
    PreTrainedConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import ConversionOps, WeightConverter
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLForConditionalGeneration,
    Qwen3VLTextModel,
    Qwen3VLVisionModel,
)
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.qwen3_vl_moe.configuration_qwen3_vl_moe import (
    Qwen3VLMoeConfig,
    Qwen3VLMoeTextConfig,
    Qwen3VLMoeVisionConfig,
)
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import (
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLMoeTextModel,
    Qwen3VLMoeVisionModel,
)

from omega_server.model.experts_layout import MODEL_LAYOUT

# RoPE base of a checkpoint that names none: the fork's default is 5e6, the official one is 5e5. Answers stay fluent
# with the wrong one, and get worse with each token.
_ROPE_THETA = 5_000_000.0


class Omega17VLTextConfig(Qwen3VLTextConfig):
    """Language model of the dense family."""

    model_type = "omega17_vl_text"
    default_theta = _ROPE_THETA


class Omega17VLVisionConfig(Qwen3VLVisionConfig):
    """Vision encoder of the dense family."""

    model_type = "omega17_vl_vision"


class Omega17VLConfig(Qwen3VLConfig):
    """The dense family, Qwen3-VL renamed."""

    model_type = "omega17_vl"
    # Named by class, so that it does not matter that the fork saves its vision configuration under the whole model's
    # type; looked up by type, it would be the whole model's again.
    sub_configs_defaults: ClassVar = {"vision_config": Omega17VLVisionConfig, "text_config": Omega17VLTextConfig}


class Omega17VLExpTextConfig(Qwen3VLMoeTextConfig):
    """Language model of the mixture-of-experts family.

    `experts_layout` tells how the experts' weights lie in the checkpoint (see `ExpertsLayout`): None, which every
    checkpoint of the fork has, or `MODEL_LAYOUT`, which `omega-server convert` writes (convert.py).
    """

    model_type = "omega17_vl_exp_text"
    default_theta = _ROPE_THETA
    tie_word_embeddings: bool = False  # as in the fork; the official text configuration says True
    experts_layout: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.experts_layout not in {None, MODEL_LAYOUT}:
            raise ValueError(f"experts_layout is {self.experts_layout!r}, but can only be {MODEL_LAYOUT!r} or absent")
        super().__post_init__(**kwargs)


class Omega17VLExpVisionConfig(Qwen3VLMoeVisionConfig):
    """Vision encoder of the mixture-of-experts family."""

    model_type = "omega17_vl_exp_vision"


class Omega17VLExpConfig(Qwen3VLMoeConfig):
    """The mixture-of-experts family, Qwen3-VL-MoE renamed."""

    model_type = "omega17_vl_exp"
    sub_configs_defaults: ClassVar = {"vision_config": Omega17VLExpVisionConfig, "text_config": Omega17VLExpTextConfig}


class Omega17VLTextModel(Qwen3VLTextModel):
    """Language model of the dense family."""

    config_class = Omega17VLTextConfig


class Omega17VLVisionModel(Qwen3VLVisionModel):
    """Vision encoder of the dense family."""

    config_class = Omega17VLVisionConfig


class Omega17VLForConditionalGeneration(Qwen3VLForConditionalGeneration):
    """The dense family with its language head."""

    config_class = Omega17VLConfig


class _SelectableExperts:
    """Lets transformers choose how the experts are computed.

    It decides whether a class may have anything but the slow "eager" loop by searching the source text of the
    class's module for a decorator that stands only in the official module; this is the answer it would have cached.
    """

    _can_set_experts_implementation_cached_value = True


class Omega17VLExpTextModel(_SelectableExperts, Qwen3VLMoeTextModel):
    """Language model of the mixture-of-experts family."""

    config_class = Omega17VLExpTextConfig


class Omega17VLExpVisionModel(Qwen3VLMoeVisionModel):
    """Vision encoder of the mixture-of-experts family."""

    config_class = Omega17VLExpVisionConfig


class Omega17VLExpForConditionalGeneration(_SelectableExperts, Qwen3VLMoeForConditionalGeneration):
    """The mixture-of-experts family with its language head."""

    config_class = Omega17VLExpConfig


class ExpertsLayout(ConversionOps):
    """Turns one tensor of experts from the checkpoint's layout into the model's, or back (`saving`).

    With E experts, hidden size H and intermediate size I, the fork writes gate_up [E, H, 2I] and down [E, I, H];
    transformers 5 computes with gate_up [E, 2I, H] and down [E, H, I]. Classes outside transformers get no
    conversion of their own accord.

    A checkpoint marked `MODEL_LAYOUT` is taken as it is and saved as it is, whatever the shape; only such a one can
    be loaded in tensor-parallel shards, for transformers cuts the tensors before it converts them. Without the mark
    the shape decides, and a square tensor (2I = H, or I = H), whose shape says nothing, is the fork's.
    """

    def __init__(self, *, saving: bool = False) -> None:
        self.saving = saving

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        *,
        target_patterns: list[str],
        model: torch.nn.Module,
        config: PreTrainedConfig,
        full_layer_name: str,
        **_: Any,
    ) -> dict[str, torch.Tensor]:
        """The tensor of `input_dict`, under the name `target_patterns`; called by transformers for each layer."""
        (value,) = input_dict.values()
        tensor = value[0] if isinstance(value, list) else value
        if config.get_text_config().experts_layout == MODEL_LAYOUT:
            as_it_is = True
        elif self.saving:
            as_it_is = False
        else:
            shape = model.get_parameter(full_layer_name).shape
            as_it_is = tensor.shape == shape and shape[1] != shape[2]
        return {target_patterns[0]: tensor if as_it_is else tensor.transpose(1, 2).contiguous()}

    @property
    def reverse_op(self) -> "ExpertsLayout":
        """The operation that undoes this one."""
        return ExpertsLayout(saving=not self.saving)


class Omega17Tokenizer(Qwen2Tokenizer):
    """The tokenizer of both families, Qwen2's."""


class Omega17VLImageProcessor(Qwen2VLImageProcessor):
    """Pictures to patches, Qwen2-VL's."""


class Omega17VLVideoProcessor(Qwen3VLVideoProcessor):
    """Videos to patches, Qwen3-VL's."""

    # The fork never caps the pixels of a single frame. The official class leaves this open, and has announced that
    # its default will change.
    cap_pixels_per_frame = False


class Omega17VLProcessor(Qwen3VLProcessor):
    """Chat text, pictures and videos to token ids and patches."""

    wraps_videos = False
    """Whether start and end of the template stay around all of a video, as they do in Qwen3-VL."""

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> Any:
        """As the official one, with the fork's prompt for videos.

        The template writes start, pad, end around a video. The fork replaces all three by one such triple for each
        pair of frames, the official class replaces the pad only and leaves the outer start and end: two tokens that
        the model was never trained on.
        """
        if text is not None and videos is not None:
            wrapped = self.vision_start_token + self.video_token + self.vision_end_token
            texts = [text] if isinstance(text, str) else text
            text = [one.replace(wrapped, self.video_token) for one in texts]
        return super().__call__(images=images, text=text, videos=videos, **kwargs)


@cache
def register() -> None:
    """Make transformers' Auto classes load checkpoints of both families. Calling it again does nothing."""
    for config_class, model_class in (
        (Omega17VLTextConfig, Omega17VLTextModel),
        (Omega17VLVisionConfig, Omega17VLVisionModel),
        (Omega17VLExpTextConfig, Omega17VLExpTextModel),
        (Omega17VLExpVisionConfig, Omega17VLExpVisionModel),
    ):
        AutoConfig.register(config_class.model_type, config_class)
        AutoModel.register(config_class, model_class)
    for config_class, model_class in (
        (Omega17VLConfig, Omega17VLForConditionalGeneration),
        (Omega17VLExpConfig, Omega17VLExpForConditionalGeneration),
    ):
        AutoConfig.register(config_class.model_type, config_class)
        AutoModelForImageTextToText.register(config_class, model_class)
        AutoTokenizer.register(config_class, tokenizer_class=Omega17Tokenizer)
        AutoImageProcessor.register(config_class, image_processor_classes={"torchvision": Omega17VLImageProcessor})
        AutoVideoProcessor.register(config_class, Omega17VLVideoProcessor)
        AutoProcessor.register(config_class, Omega17VLProcessor)
    experts = [f"mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")]
    register_checkpoint_conversion_mapping(
        Omega17VLExpConfig.model_type,
        [WeightConverter(source_patterns=name, target_patterns=name, operations=[ExpertsLayout()]) for name in experts],
    )
