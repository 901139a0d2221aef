"""One packed forward pass of everything that the scheduler chose: a step in, logits out.

The tokens of all sequences lie one after the other in a batch of one, [1, T]: first one token for each sequence that
is answering, then the chunks of prompts. Embeddings, rotary positions, norms, experts and projections are the model's own;
only attention looks into the paged cache (attention.py).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from omega_server.engine import attention
from omega_server.engine.attention import Paging, PrefillPaging
from omega_server.engine.kv_cache import KVCache
from omega_server.engine.request import Prompt
from omega_server.engine.scheduler import Step
from omega_server.engine.sequence import Sequence
from omega_server.model import experts, packed


@dataclass(eq=False)
class _Request:
    """What the runner keeps of a sequence.

    Attributes:
        prompt: with the pixels.
        positions: [3, prompt_length] int64, of time, height and width.
        delta: what is added to an index after the prompt to get its position.
        row: in the block tables.
        blocks: the sequence's own list, as of when the row was last written; a new list means other blocks.
        written: how many of them are in the row.
        embeddings: of its media, by index.
    """

    prompt: Prompt
    positions: Tensor
    delta: int
    row: int
    blocks: list[int] = field(default_factory=list)
    written: int = 0
    embeddings: dict[int, Tensor] = field(default_factory=dict)


class Runner:
    """A model, its cache, and the state of each sequence that needs tensors. Not thread-safe."""

    def __init__(self, model: Any, cache: KVCache, *, max_length: int, device: torch.device) -> None:
        self._model = model
        self._language_model = model.model.language_model
        self._cache = cache
        self._device = device
        self._requests: dict[int, _Request] = {}
        self._free_rows: list[int] = []
        self._tables = torch.empty((0, -(-max_length // cache.block_size)), dtype=torch.int64)
        attention.use_in(self._language_model)
        if device.type == "cpu":
            packed.use_in(model)
            experts.use_in(model)

    def add(self, sequence: Sequence, prompt: Prompt) -> None:
        """Get ready to run a sequence, which may be known already. Raises what the model raises on a wrong prompt."""
        if sequence.id not in self._requests:
            positions, delta = self._positions(prompt)
            self._requests[sequence.id] = _Request(prompt, positions, delta, self._take_row())

    def remove(self, sequence_id: int) -> None:
        """Forget a sequence; an unknown one is fine."""
        request = self._requests.pop(sequence_id, None)
        if request is not None:
            self._free_rows.append(request.row)

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
        for chunk in step.chunks:
            self._write_row(chunk.sequence)
        with torch.inference_mode():
            ids = [token for chunk in step.chunks for token in chunk.sequence.tokens[chunk.start : chunk.end]]
            embeddings = self._language_model.embed_tokens(torch.tensor([ids], device=self._device))
            output = self._language_model(
                position_ids=self._step_positions(step)[:, None].to(self._device),
                use_cache=False,
                paging=self._paging(step),
                **self._with_media(step, embeddings),
            )
            last, position = [], 0
            for chunk in step.chunks:
                position += chunk.end - chunk.start
                if chunk.samples:
                    last.append(position - 1)
            hidden = output.last_hidden_state[0, torch.tensor(last, dtype=torch.int64, device=self._device)]
            logits: Tensor = self._model.lm_head(hidden)
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

    def _step_positions(self, step: Step) -> Tensor:
        """[3, T] int64"""
        parts = []
        if step.decodes:
            decodes = [c.start + self._requests[c.sequence.id].delta for c in step.decodes]
            parts.append(torch.tensor(decodes).expand(3, -1))
        for chunk in step.prefills:
            request = self._requests[chunk.sequence.id]
            prompt_length = chunk.sequence.prompt_length
            parts.append(request.positions[:, chunk.start : chunk.end])
            if chunk.end > prompt_length:
                answer = torch.arange(max(chunk.start, prompt_length), chunk.end) + request.delta
                parts.append(answer.expand(3, -1))
        return torch.cat(parts, dim=1)

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

    def _paging(self, step: Step) -> Paging:
        size = self._cache.block_size
        slots, tables, mask = [], None, None
        if step.decodes:
            rows = torch.tensor([self._requests[c.sequence.id].row for c in step.decodes])
            lengths = torch.tensor([c.end for c in step.decodes])
            width = -(-int(lengths.max()) // size)
            tables = self._tables[rows, :width]
            newest = lengths - 1
            slots.append(tables.gather(1, (newest // size)[:, None])[:, 0] * size + newest % size)
            hidden = torch.arange(width * size) >= lengths[:, None]
            mask = torch.zeros(hidden.shape, dtype=self._cache.keys[0].dtype).masked_fill_(hidden, -torch.inf)
            tables, mask = tables.to(self._device), mask[:, None, None].to(self._device)
        prefills = []
        offset = len(step.decodes)
        for chunk in step.prefills:
            row = self._tables[self._requests[chunk.sequence.id].row, : -(-chunk.end // size)]
            index = torch.arange(chunk.start, chunk.end)
            slots.append(row[index // size] * size + index % size)
            begins = chunk.start == 0
            length = chunk.end - chunk.start
            prefills.append(
                PrefillPaging(
                    start=offset,
                    end=offset + length,
                    length=chunk.end,
                    blocks=None if begins else row.to(self._device),
                    mask=None if begins else attention.causal_mask(chunk.start, chunk.end, self._device),
                )
            )
            offset += length
        return Paging(
            cache=self._cache,
            slots=torch.cat(slots).to(self._device),
            decodes=len(step.decodes),
            tables=tables,
            mask=mask,
            prefills=tuple(prefills),
        )

    def _take_row(self) -> int:
        if not self._free_rows:
            rows, width = self._tables.shape
            more = max(rows, 16)
            padding = torch.full((more, width), self._cache.padding, dtype=torch.int64)
            self._tables = torch.cat([self._tables, padding])
            self._free_rows = list(range(rows + more - 1, rows - 1, -1))
        return self._free_rows.pop()

    def _write_row(self, sequence: Sequence) -> None:
        """Bring a sequence's row of the block tables up to date."""
        request = self._requests[sequence.id]
        count = len(sequence.blocks)
        if sequence.blocks is not request.blocks:
            self._tables[request.row] = self._cache.padding
            request.blocks = sequence.blocks
            request.written = 0
        if request.written < count:
            new = torch.tensor(sequence.blocks[request.written :])
            self._tables[request.row, request.written : count] = new
            request.written = count
