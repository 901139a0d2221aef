"""The mixture-of-experts twin: the dense model's text layers split into experts, which then learn apart."""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

from model import TEXT, VISION, generation_config, text_config, token_ids

EXPERTS, CHOSEN = 4, 2
WIDTH = TEXT["intermediate_size"] // CHOSEN  # so that a token costs what it costs the dense model
BALANCE = 0.02


def make_twin(dense: Qwen3VLForConditionalGeneration, tokenizer: Any) -> Qwen3VLMoeForConditionalGeneration:
    """A twin whose experts each begin with half of the dense layer's neurons, chosen by chance.

    The half is twice as strong, since a token's two experts share a weight of one: the sum is right on average. Noise of
    its own, as strong as the neurons, keeps an expert from standing in for another; training does the rest.
    """
    experts = {"moe_intermediate_size": WIDTH, "num_experts": EXPERTS, "num_experts_per_tok": CHOSEN}
    config = Qwen3VLMoeConfig(
        text_config=text_config(tokenizer) | experts | {"decoder_sparse_step": 1, "mlp_only_layers": []},
        vision_config=VISION,
        tie_word_embeddings=True,
        **token_ids(tokenizer),
    )
    twin = Qwen3VLMoeForConditionalGeneration(config)
    twin.generation_config = generation_config(tokenizer)
    known, dice = dense.state_dict(), torch.Generator().manual_seed(1)
    weights = {k: known.get(k, v) for k, v in twin.state_dict().items()}
    for i in range(TEXT["num_hidden_layers"]):
        mlp = f"model.language_model.layers.{i}.mlp"
        gate, up, down = (known[f"{mlp}.{name}_proj.weight"] for name in ("gate", "up", "down"))
        shuffled = torch.cat([torch.randperm(len(gate), generator=dice) for _ in range(EXPERTS // CHOSEN)])
        halves = shuffled.view(EXPERTS, WIDTH)
        parts = {
            "gate_up_proj": torch.stack([torch.cat([gate[h], up[h]]) for h in halves]),
            "down_proj": torch.stack([CHOSEN * down[:, h] for h in halves]),
        }
        for name, part in parts.items():
            noise = part.std() * torch.randn(part.shape, generator=dice)
            weights[f"{mlp}.experts.{name}"] = (part + noise) / 2**0.5
        weights[f"{mlp}.gate.weight"] = 0.02 * torch.randn(EXPERTS, TEXT["hidden_size"], generator=dice)
    twin.load_state_dict(weights)
    return twin


class Routing:
    """Watches the routers of a twin: which experts are chosen, and a loss that is least when all are, equally."""

    def __init__(self, twin: Qwen3VLMoeForConditionalGeneration) -> None:
        layers = twin.model.language_model.layers
        self.logits: dict[int, torch.Tensor] = {}
        self.chosen = torch.zeros(len(layers), EXPERTS)
        for i, layer in enumerate(layers):
            layer.mlp.gate.register_forward_hook(lambda _gate, _inputs, out, i=i: self._saw(i, out))

    def _saw(self, layer: int, out: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
        logits, _, indices = out
        self.logits[layer] = logits
        self.chosen[layer] += torch.bincount(indices.flatten(), minlength=EXPERTS)

    def loss(self) -> torch.Tensor:
        """Load balance of the last batch, 0 where every expert is chosen equally often."""
        losses = []
        for logits in self.logits.values():
            chances = logits.softmax(-1)
            often = F.one_hot(chances.topk(CHOSEN).indices, EXPERTS).float().sum(1).mean(0) / CHOSEN
            losses.append(EXPERTS * (often * chances.mean(0)).sum() - 1)
        return BALANCE * torch.stack(losses).sum()

    def shares(self) -> torch.Tensor:
        """(layers, experts): the share of choices that each expert of a layer got so far."""
        return self.chosen / self.chosen.sum(1, keepdim=True)
