"""The loop of one engine: schedule, run, sample, commit. One thread owns everything in here.

An error belongs to the request that causes it. If a step fails, each of its sequences is run alone; those that fail
alone fail for good, the others go on as if nothing had been. Where memory runs out the youngest gives way first. Only what
breaks the device for everybody leaves `step`.
"""

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from omega_server.engine import memory
from omega_server.engine.block_manager import BlockManager
from omega_server.engine.grammar import Grammar
from omega_server.engine.kv_cache import KVCache, bytes_per_block
from omega_server.engine.request import (
    EngineError,
    EngineFailed,
    Medium,
    Overloaded,
    PixelsForgotten,
    Prompt,
    Sampling,
    Token,
)
from omega_server.engine.runner import Runner
from omega_server.engine.sampler import Sampled, Sampler
from omega_server.engine.scheduler import Limits, Scheduler, Step
from omega_server.engine.sequence import Placeholders, Sequence
from omega_server.engine.vision import Vision
from omega_server.logs import about
from omega_server.model import kernels
from omega_server.model.fused import FusedAttention

logger = logging.getLogger(__name__)

BLOCK_SIZE = 16
_BESIDE = 0.25  # of the CPU's threads for the vision tower while answers are running
_AHEAD = 4  # calls of the vision tower, as many as it may be ahead of the prompts: embeddings take memory
_LULL_SECONDS = 0.005  # for which an engine waits for the vision tower before it looks for new requests again

Output = tuple[int, Token | EngineError]
"""A request's id, and its next token or why there will be none."""


@dataclass(frozen=True)
class EngineLimits:
    """What an engine may use.

    Attributes:
        scheduling: of the steps.
        blocks: of the KV cache.
        vision_bytes: of the cache of picture embeddings.
        patches: most patches of pictures in one call of the vision tower; one picture always may.
    """

    scheduling: Limits
    blocks: int
    vision_bytes: int
    patches: int

    @classmethod
    def of(
        cls, model: Any, *, max_length: int, max_batch_size: int, batch_timeout: float, engines: int = 1
    ) -> "EngineLimits":
        """Limits that fit a loaded model and this machine.

        Args:
            model: loaded, on its device.
            max_length: most tokens of a sequence; the model's own limit counts too.
            max_batch_size: most sequences at the same time.
            batch_timeout: in seconds.
            engines: that share this machine's CPU memory.
        """
        text = model.config.text_config
        device = model.device
        max_length = min(max_length, text.max_position_embeddings)
        block = bytes_per_block(block_size=BLOCK_SIZE, **cache_shape(model))
        longest = -(-max_length // BLOCK_SIZE) * block
        budget = memory.kv_cache_bytes(device, engines, longest * max_batch_size)
        on_gpu = device.type == "cuda"
        return cls(
            scheduling=Limits(
                max_length=max_length,
                token_budget=2048 if on_gpu else 512,
                max_batch_size=max_batch_size,
                batch_timeout=batch_timeout,
            ),
            blocks=max(1, budget // block),
            vision_bytes=memory.vision_cache_bytes(device, engines),
            patches=16384 if on_gpu else 1024,
        )


class Engine:
    """A model that answers many requests at once. Not thread-safe."""

    def __init__(self, model: Any, limits: EngineLimits, clock: Callable[[], float]) -> None:
        config = model.config
        self._clock = clock
        self._patches_ahead = _AHEAD * limits.patches
        self.placeholders = Placeholders(
            config.image_token_id, config.video_token_id, config.vision_config.spatial_merge_size
        )
        self.cache = KVCache(blocks=limits.blocks, block_size=BLOCK_SIZE, device=model.device, **cache_shape(model))
        self.blocks = BlockManager(limits.blocks, BLOCK_SIZE)
        self.scheduler = Scheduler(self.blocks, limits.scheduling)
        self.vision = Vision(
            model.model.visual, model.dtype, model.device, max_bytes=limits.vision_bytes, patches=limits.patches
        )
        self.runner = Runner(model, self.cache, max_length=self.scheduler.max_length, device=model.device)
        if model.device.type == "cpu":
            kernels.compile_ahead(model.model.language_model, _most_rows(limits.scheduling))
            kernels.compile_ahead(model.lm_head, limits.scheduling.max_batch_size)
        self.end_tokens = _end_tokens(model)
        self.vocabulary = config.text_config.vocab_size
        self.sampler = Sampler(self.vocabulary, self.end_tokens, model.device)
        self.newest = -1  # id of a request that was begun
        self._prompts: dict[int, Prompt] = {}
        self._grammars: dict[int, Grammar] = {}
        self._device = model.device

    @property
    def busy(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._prompts)

    def update(self, *, max_batch_size: int, batch_timeout: float) -> None:
        """Take over live limits; what runs goes on."""
        self.scheduler.limits = replace(
            self.scheduler.limits, max_batch_size=max_batch_size, batch_timeout=batch_timeout
        )

    def submit(
        self,
        request_id: int,
        prompt: Prompt,
        sampling: Sampling,
        answer: Iterable[int] = (),
        grammar: Grammar | None = None,
    ) -> None:
        """Queue a request.

        Args:
            request_id: unique in this engine.
            prompt: to answer.
            sampling: how. With a seed, or greedy, the rest of an answer is the same whoever gave its beginning.
            answer: tokens that were given already, by an engine that is gone.
            grammar: what sampling.grammar says, at the beginning of the answer.

        Raises:
            ContextLengthExceeded: it can never fit.
            InvalidPrompt: its placeholders do not match its media.
        """
        sequence = Sequence(
            id=request_id,
            tokens=[*prompt.token_ids, *answer],
            prompt_length=len(prompt.token_ids),
            sampling=sampling,
            arrival=self._clock(),
            spans=self.placeholders.spans(prompt.token_ids, prompt.media),
            keys=tuple(medium.key for medium in prompt.media),
            salt=prompt.salt,
        )
        self.scheduler.add(sequence)
        self._prompts[request_id] = prompt
        if grammar is not None:
            self._grammars[request_id] = grammar

    def abort(self, request_id: int) -> None:
        """Drop a request and free what it holds, at once; an unknown one is fine."""
        self.scheduler.remove([request_id])
        self._forget(request_id)

    def wait(self) -> float:
        """Seconds for which the engine would rather wait for more requests than step."""
        return self.scheduler.wait(self._clock())

    def admit(self) -> list[Output]:
        """Begin with requests that wait, as far as there is room; returns what goes wrong. `step` does it too."""
        outputs: list[Output] = []
        for sequence in self.scheduler.admit():
            self.newest = max(self.newest, sequence.id)
            self._log(sequence, logging.DEBUG, "Begun")
            try:
                self.runner.add(sequence, self._prompts[sequence.id])
                self.sampler.add(sequence, self._grammars.pop(sequence.id, None))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                outputs.append(self._fail(sequence, error))
        return outputs

    def step(self) -> list[Output]:
        """Do one step of work, if there is any; returns what it yields for its requests, in order."""
        outputs = self.admit() + self._look()
        step = self.scheduler.schedule()
        if step.chunks:
            begin = self._clock()
            outputs += self._run(step)
            self.scheduler.pace.learn(len(step.decodes), step.prompt_tokens, self._clock() - begin)
        elif self.vision.busy:
            self.vision.wait(_LULL_SECONDS)
        return outputs

    def _look(self) -> list[Output]:
        """Hand over what the vision tower has seen, and show it what running sequences need next. Never waits for it."""
        seen = self.vision.take()
        wanted = []
        failed = []
        forgotten = []
        for sequence, index, medium in self._needed_media():
            embedding = seen.get(medium.key)
            if embedding is None:
                embedding = self.vision.find(medium.key)
            if embedding is None and medium.pixels.is_meta:
                forgotten.append(sequence)
            elif embedding is None:
                wanted.append(medium)
            elif isinstance(embedding, Exception):
                failed.append((sequence, embedding))
            else:
                self.runner.give(sequence, index, embedding)
                self.vision.count(hit=medium.key not in seen)
        streaming = any(sequence.decoding for sequence in self.scheduler.running)
        self.vision.show(wanted, share=_BESIDE if streaming else 1.0)
        if failed:
            self._check_device()
        outputs: list[Output] = []
        for sequence in dict.fromkeys(forgotten):
            self.abort(sequence.id)
            outputs.append((sequence.id, PixelsForgotten("A picture must be sent again.")))
        for sequence, error in dict(failed).items():
            if sequence in forgotten:
                continue
            if not memory.exhausted(error):
                outputs.append(self._fail(sequence, error))
            elif sequence.blocks:  # else it has given way meanwhile
                outputs += self._relent(sequence, error)
        return outputs

    def _needed_media(self) -> Iterator[tuple[Sequence, int, Medium]]:
        """Media that running sequences lack, those of the oldest first, and not too far ahead of what is computed."""
        ahead = 0
        for sequence in self.scheduler.running:
            for index in sequence.needed_media:
                if ahead > self._patches_ahead:
                    return
                medium = self._prompts[sequence.id].media[index]
                ahead += len(medium.pixels)
                if index not in sequence.embedded:
                    yield sequence, index, medium

    def _run(self, step: Step) -> list[Output]:
        try:
            sampled = self._compute(step)
        except Exception as error:  # noqa: BLE001 - found to be one request's, or run again without it
            self._check_device()
            if memory.exhausted(error):
                return self._relent(step.chunks[0].sequence, error)
            if len(step.chunks) == 1:
                return [self._fail(step.chunks[0].sequence, error)]
            names = [self._prompts[chunk.sequence.id].log_id for chunk in step.chunks]
            fields = {"requests": [name for name in names if name is not None]}
            logger.warning(
                "A step of %d sequences failed; running them one by one", len(names), extra={"fields": fields}
            )
        else:
            return self._commit(step, sampled)
        outputs = []
        for chunk in step.chunks:
            if chunk.sequence.blocks:  # else it has given way meanwhile
                outputs += self._run(Step((chunk,), ()) if chunk in step.decodes else Step((), (chunk,)))
        return outputs

    def _relent(self, sequence: Sequence, error: Exception) -> list[Output]:
        """There was no memory for a sequence: the youngest gives way, and the rest is tried again; a last one fails."""
        traceback.clear_frames(error.__traceback__)  # they hold what was computed so far
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self.scheduler.relent():
            logger.warning("Out of memory; going on with %d sequences", len(self.scheduler.running))
            return []
        return [self._fail(sequence, error)]

    def _compute(self, step: Step) -> list[Sampled | None]:
        logits = self.runner.run(step)
        return self.sampler.sample(logits, step.sampled) if step.sampled else []

    def _commit(self, step: Step, sampled: Iterable[Sampled | None]) -> list[Output]:
        outputs: list[Output] = []
        chosen: dict[int, Sampled] = {}
        broken = []
        for sequence, choice in zip(step.sampled, sampled, strict=True):
            if choice is None:
                broken.append(sequence)
            else:
                chosen[sequence.id] = choice
                self.sampler.commit(sequence, choice.id)
        tokens = {i: choice.id for i, choice in chosen.items()}
        stops = {s.id: self.sampler.stops(s, tokens[s.id]) for s in step.sampled if s.id in tokens}
        finished = self.scheduler.commit(step, tokens, stops)
        self.runner.commit(step)
        for sequence in step.sampled:
            if sequence.id in chosen:
                choice = chosen[sequence.id]
                cached = (sequence.cached or 0) if sequence.answer_length == 1 else 0
                reason = finished.get(sequence.id)
                outputs.append((sequence.id, Token(choice.id, reason, choice.logprob, choice.top_logprobs, cached)))
                if reason is not None:
                    self._log(sequence, logging.DEBUG, "Answered")
                    self._forget(sequence.id)
        for sequence in broken:
            self.runner.scrub(self.blocks.exclusive(sequence.blocks))
            outputs.append(self._fail(sequence, ArithmeticError("the model's numbers are not finite")))
        return outputs

    def _fail(self, sequence: Sequence, error: Exception) -> Output:
        """End a request whose computation failed. The reason goes to the log, not to the user."""
        self._log(sequence, logging.ERROR, "Failed", error)
        self.scheduler.remove([sequence.id], distrust=True)
        self._forget(sequence.id)
        if memory.exhausted(error):
            return sequence.id, Overloaded("There is not enough memory for this request now.")
        return sequence.id, EngineFailed("The model could not compute this request.")

    def _log(self, sequence: Sequence, level: int, event: str, error: Exception | None = None) -> None:
        """What happens to a request, under the id by which the server's own lines name it."""
        fields = {"prompt_tokens": sequence.prompt_length, "answer_tokens": sequence.answer_length}
        with about(self._prompts[sequence.id].log_id):
            logger.log(level, event, exc_info=error, extra={"fields": fields})

    def _forget(self, request_id: int) -> None:
        self.runner.remove(request_id)
        self.sampler.remove(request_id)
        self._prompts.pop(request_id, None)
        self._grammars.pop(request_id, None)
        if self.vision.busy:
            self.vision.release({medium.key for prompt in self._prompts.values() for medium in prompt.media})

    def _check_device(self) -> None:
        """Raise if the device itself is broken: after some errors a GPU can do nothing more in this process."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def cache_shape(model: Any) -> dict[str, Any]:
    """Layers, heads, head_dim and dtype of the KV cache that a model needs, or this process's part of it (group.py)."""
    text = model.config.text_config
    attention = model.model.language_model.layers[0].self_attn
    if isinstance(attention, FusedAttention):
        heads = attention.kv_heads
    else:
        weight = attention.k_proj.weight
        if isinstance(weight, DTensor):
            weight = weight.to_local()  # its own shape is that of all parts together
        heads = weight.shape[0] // attention.head_dim
    return {"layers": text.num_hidden_layers, "heads": heads, "head_dim": attention.head_dim, "dtype": model.dtype}


def _most_rows(limits: Limits) -> int:
    """Most tokens of a step."""
    return max(limits.token_budget, limits.max_batch_size + limits.token_budget // 4)


def _end_tokens(model: Any) -> tuple[int, ...]:
    """Tokens that end an answer, as generate() takes them: from the generation config, else from the model's config."""
    for config in (model.generation_config, model.config.text_config):
        ids = getattr(config, "eos_token_id", None)
        if ids is not None:
            return (ids,) if isinstance(ids, int) else tuple(ids)
    return ()
