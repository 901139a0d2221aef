"""A language model in parts, one on each process of an engine (engine/group.py), by transformers' tensor parallelism.

The layers are cut by heads and by neurons, so that a part needs the others twice in each layer: after attention, and
after the neurons. Embeddings, language head and vision tower stay whole. Only the engine's own process runs them, once in
each step, and every further cut would cost another exchange.

Which rule applies where is said here for all families: transformers 5.23 has no plan for the dense ones.
"""

from typing import Any

from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.distributed.configuration_utils import DistributedConfig

_ATTENTION = {f"layers.*.self_attn.{name}_proj": "colwise" for name in "qkv"} | {
    "layers.*.self_attn.o_proj": "rowwise",
    "embed_tokens": "replicate",
}
_DENSE = {
    "layers.*.mlp.gate_proj": "colwise",
    "layers.*.mlp.up_proj": "colwise",
    "layers.*.mlp.down_proj": "rowwise",
}
_EXPERTS = {
    "layers.*.mlp.experts.gate_up_proj": "packed_colwise",
    "layers.*.mlp.experts.down_proj": "rowwise",
    "layers.*.mlp.experts": "moe_tp_experts",
}


def rules(text: Any) -> dict[str, str]:
    """How each kind of weight is cut, in transformers' words, given the language model's configuration."""
    if not hasattr(text, "num_experts"):
        return _ATTENTION | _DENSE
    with_dense_layers = text.mlp_only_layers or text.decoder_sparse_step > 1
    return _ATTENTION | _EXPERTS | (_DENSE if with_dense_layers else {})


def shard(config: Any, processes: int) -> DistributedConfig:
    """How `from_pretrained` cuts a model. torch.distributed must be ready, and the experts must have the model's layout.

    Args:
        config: of the model; the rules are written into it.
        processes: how many parts.
    """
    # No conversion: transformers would compare a part with the shape of the whole, and turn it back again.
    register_checkpoint_conversion_mapping(config.model_type, [], overwrite=True)
    config.text_config.base_model_tp_plan = rules(config.text_config)
    return DistributedConfig(tp_size=processes, tp_plan={"lm_head": "replicate"})
