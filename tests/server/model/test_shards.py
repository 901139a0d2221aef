"""Which weights are cut, and how."""

from transformers import Qwen3VLConfig, Qwen3VLMoeConfig

from omega_server.model.shards import rules


def test_every_kind_of_layer_has_its_rules():
    """Dense layers, mixtures of experts, and both where a model has both; no rule is there for nothing."""
    dense = rules(Qwen3VLConfig().text_config)
    experts = rules(Qwen3VLMoeConfig().text_config)
    mixed = rules(Qwen3VLMoeConfig(text_config={"mlp_only_layers": [0]}).text_config)
    sparse = rules(Qwen3VLMoeConfig(text_config={"decoder_sparse_step": 2}).text_config)
    assert "layers.*.mlp.gate_proj" in dense
    assert not [name for name in dense if "experts" in name]
    assert experts["layers.*.mlp.experts"] == "moe_tp_experts"
    assert "layers.*.mlp.gate_proj" not in experts
    assert mixed == sparse == dense | experts
