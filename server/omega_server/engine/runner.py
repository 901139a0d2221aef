"""One packed forward pass of everything that the scheduler chose: a step in, logits out.

The tokens of all sequences lie one after the other in a batch of one, [1, T]: first one token for each sequence that
is answering, then the chunks of prompts. Embeddings, rotary positions, norms, experts and projections are the model's own;
only attention looks into the paged cache (attention.py).
"""

import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omega_server.engine import attention, varlen
from omega_server.engine.attention import Paging, PrefillPaging
from omega_server.engine.block_tables import BlockTables
from omega_server.engine.decodes import Decodes
from omega_server.engine.kv_cache import KVCache
from omega_server.engine.request import Prompt
from omega_server.engine.scheduler import Step
from omega_server.engine.sequence import Sequence
from omega_server.model import experts, fused, packed

GROUP_BYTES = 2 << 20
"""Of keys and values in one layer that are gathered at once for decodes on the CPU: about what stays in a core's cache."""


@dataclass(eq=False)
class _Request:
    """What the runner keeps of a sequence.

    Attributes:
        prompt: with the pixels.
        positions: [3, prompt_length] int64, of time, height and width.
        delta: what is added to an index after the prompt to get its position.
        row: in the block tables.
        embeddings: of its media, by index.
    """

    prompt: Prompt
    positions: Tensor
    delta: int
    row: int
    embeddings: dict[int, Tensor] = field(default_factory=dict)


class Runner:
    """A model, its cache, and the state of each sequence that needs tensors. Not thread-safe."""

    def __init__(self, model: Any, cache: KVCache, *, max_length: int, device: torch.device) -> None:
        self._model = model
        self._language_model = model.model.language_model
        self._cache = cache
        self._device = device
        self._requests: dict[int, _Request] = {}
        self._tables = BlockTables(-(-max_length // cache.block_size), cache.padding)
        limit = GROUP_BYTES // cache.block_nbytes if device.type == "cpu" else sys.maxsize
        self._decodes = Decodes(cache, self._tables, limit)
        self._tokens = _Tokens(0)
        # By the cache's heads, for a weight may be a part of the model's (shards.py) or packed.
        heads = self._language_model.layers[0].self_attn.num_key_value_groups * cache.keys[0].shape[2]
        self._reads_in_place = varlen.works(heads, cache.keys[0])
        attention.use_in(self._language_model)
        if device.type == "cpu":
            fused.use_in(self._language_model)
            fused.use_in_tower(model.model.visual)
            packed.use_in(model)
            experts.use_in(model)

    def add(self, sequence: Sequence, prompt: Prompt) -> None:
        """Get ready to run a sequence, which may be known already. Raises what the model raises on a wrong prompt."""
        if sequence.id not in self._requests:
            positions, delta = self._positions(prompt)
            self._requests[sequence.id] = _Request(prompt, positions, delta, self._tables.take())

    def remove(self, sequence_id: int) -> None:
        """Forget a sequence; an unknown one is fine."""
        request = self._requests.pop(sequence_id, None)
        if request is not None:
            self._tables.release(request.row)

    def give(self, sequence: Sequence, index: int, embedding: Tensor) -> None:
        """Hand over the embedding of one of a sequence's media (vision.py), so that its placeholders can run."""
        self._requests[sequence.id].embeddings[index] = embedding
        sequence.embedded.add(index)

    def scrub(self, blocks: list[int]) -> None:
        """Zero blocks of a sequence whose numbers went wrong."""
        self._cache.scrub(blocks)

    def run(self, step: Step) -> Tensor:
        """Compute a step. Running the same step again gives the same.

        Returns:
            [len(step.sampled), vocabulary] logits, in the model's dtype.
        """
        total = self._fill(step)
        with torch.inference_mode():
            embeddings = self._language_model.embed_tokens(self._to_device(self._tokens.ids[None, :total]))
            output = self._language_model(
                position_ids=self._to_device(self._tokens.positions[:, None, :total]),
                use_cache=False,
                paging=self._paging(step, total),
                **self._with_media(step, embeddings),
            )
            logits: Tensor = self._model.lm_head(output.last_hidden_state[0, self._sampled(step)])
        return logits

    def commit(self, step: Step) -> None:
        """Let go of media that a step's sequences have passed; a sequence that is preempted gets them again."""
        for chunk in step.prefills:
            request = self._requests.get(chunk.sequence.id)
            if request is not None and request.embeddings:
                ahead = {span.medium for span in chunk.sequence.spans if span.end > chunk.end}
                request.embeddings = {i: e for i, e in request.embeddings.items() if i in ahead}

    def _positions(self, prompt: Prompt) -> tuple[Tensor, int]:
        """Rotary positions of a prompt, [3, length] int64, and the delta for what follows it."""
        if not prompt.media:
            return torch.arange(len(prompt.token_ids)).expand(3, -1), 0
        config = self._model.config
        ids = torch.tensor([prompt.token_ids])
        types = (ids == config.image_token_id).int() + 2 * (ids == config.video_token_id).int()
        grids = {kind: torch.tensor([m.grid for m in prompt.media if m.kind == kind]) for kind in ("image", "video")}
        positions, delta = self._model.model.get_rope_index(
            ids,
            mm_token_type_ids=types,
            image_grid_thw=grids["image"] if len(grids["image"]) else None,
            video_grid_thw=grids["video"] if len(grids["video"]) else None,
        )
        return positions[:, 0], int(delta)

    def _fill(self, step: Step) -> int:
        """Write ids, positions and slots of a step's tokens into the buffers; returns how many tokens there are."""
        requests = [self._requests[chunk.sequence.id] for chunk in step.chunks]
        for request, chunk in zip(requests, step.chunks, strict=True):
            self._tables.write(request.row, chunk.sequence.blocks)
        count = len(step.decodes)
        total = count + sum(chunk.end - chunk.start for chunk in step.prefills)
        if total > len(self._tokens.ids):
            self._tokens = _Tokens(total)
        tokens, decodes, size = self._tokens, self._decodes, self._cache.block_size
        starts = np.array([chunk.start for chunk in step.decodes], dtype=np.int64)
        decodes.update([request.row for request in requests[:count]], [chunk.end for chunk in step.decodes])
        if count:
            newest = np.array([chunk.sequence.tokens[chunk.start] for chunk in step.decodes])
            deltas = np.array([request.delta for request in requests[:count]])
            tokens.ids.numpy()[:count] = newest[decodes.order]
            tokens.positions.numpy()[:, :count] = (starts + deltas)[decodes.order]
            tokens.slots.numpy()[:count] = decodes.slots
        offset = count
        for request, chunk in zip(requests[count:], step.prefills, strict=True):
            here = slice(offset, offset := offset + chunk.end - chunk.start)
            tokens.ids[here] = torch.tensor(chunk.sequence.tokens[chunk.start : chunk.end])
            index = np.arange(chunk.start, chunk.end)
            tokens.slots.numpy()[here] = self._tables.array[request.row, index // size] * size + index % size
            prompted = min(max(chunk.sequence.prompt_length - chunk.start, 0), len(index))
            tokens.positions[:, here][:, :prompted] = request.positions[:, chunk.start : chunk.start + prompted]
            tokens.positions.numpy()[:, here][:, prompted:] = index[prompted:] + request.delta
        return total

    def _sampled(self, step: Step) -> Tensor:
        """[n] int64, the packed tokens whose logits are wanted, in the order of `step.sampled`."""
        ends = []
        offset = len(step.decodes)
        for chunk in step.prefills:
            offset += chunk.end - chunk.start
            if chunk.samples:
                ends.append(offset - 1)
        places = self._decodes.places
        return self._to_device(torch.cat([places, torch.tensor(ends, dtype=torch.int64)]) if ends else places)

    def _with_media(self, step: Step, embeddings: Tensor) -> dict[str, Any]:
        """Put what the tower saw in the places of the placeholders; the language model's arguments for it."""
        places, seen = [], []
        offset = len(step.decodes)
        for chunk in step.prefills:
            request = self._requests[chunk.sequence.id]
            for span in chunk.sequence.spans:
                start, end = max(span.start, chunk.start), min(span.end, chunk.end)
                if start < end:
                    shift = span.offset - span.start
                    places.append(torch.arange(start, end) + (offset - chunk.start))
                    seen.append(request.embeddings[span.medium][:, start + shift : end + shift])
            offset += chunk.end - chunk.start
        if not places:
            return {"inputs_embeds": embeddings}
        index = torch.cat(places).to(self._device)
        levels = torch.cat(seen, dim=1)
        embeddings = embeddings.index_copy(1, index, levels[:1])
        mask = torch.zeros(embeddings.shape[:2], dtype=torch.bool, device=self._device)
        mask[0, index] = True
        return {
            "inputs_embeds": embeddings,
            "visual_pos_masks": mask,
            "deepstack_visual_embeds": list(levels[1:]) or None,
        }

    def _paging(self, step: Step, total: int) -> Paging:
        prefills = []
        offset = len(step.decodes)
        for chunk in step.prefills:
            begins = chunk.start == 0
            length = chunk.end - chunk.start
            width = -(-chunk.end // self._cache.block_size)
            row = self._tables.array[self._requests[chunk.sequence.id].row, :width]
            prefills.append(
                PrefillPaging(
                    start=offset,
                    end=offset + length,
                    length=chunk.end,
                    blocks=None if begins else self._to_device(torch.from_numpy(row)),
                    mask=None if begins else attention.causal_mask(chunk.start, chunk.end, self._device),
                )
            )
            offset += length
        groups, ragged = self._decodes.groups, None
        if self._reads_in_place and groups:
            (group,) = groups
            tables = self._to_device(group.blocks).view(len(step.decodes), -1)
            groups, ragged = (), varlen.ragged(torch.from_numpy(self._decodes.lengths), tables)
        elif self._device.type != "cpu":
            groups = tuple(replace(g, blocks=self._to_device(g.blocks), mask=self._to_device(g.mask)) for g in groups)
        return Paging(self._cache, self._to_device(self._tokens.slots[:total]), groups, tuple(prefills), ragged)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)


class _Tokens:
    """Room for the tokens of a step, used again by each.

    Attributes:
        ids: [room] int64
        positions: [3, room] int64, of time, height and width.
        slots: [room] int64, where they are written in the cache.
    """

    def __init__(self, room: int) -> None:
        self.ids = torch.empty(room, dtype=torch.int64)
        self.positions = torch.empty((3, room), dtype=torch.int64)
        self.slots = torch.empty(room, dtype=torch.int64)
