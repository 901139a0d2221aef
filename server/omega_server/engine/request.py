"""What goes into the engine and what comes out of it: prompts, sampling parameters, tokens, errors.

    EngineError
    ├── ContextLengthExceeded   the user's fault: the request can never fit
    ├── InvalidPrompt           the user's fault: placeholders and pictures do not match
    ├── InvalidGrammar          the user's fault: no answer can be made to have this form, or not at a sensible cost
    ├── QueueFull               too many requests wait; try again later
    ├── Overloaded              there is not enough memory for this request now; try again later
    ├── NotReady                no engine is up yet, or the server is stopping
    ├── PixelsForgotten         between engine and router: a picture must be sent again
    └── EngineFailed            this request's computation failed after it had begun

Everything here is immutable, small and picklable, because it crosses process boundaries.
"""

# ruff: noqa: N818 - the names say what happened; the base class says that it is an error

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch  # only a name here: who schedules or serves HTTP needs no torch

FinishReason = Literal["stop", "length"]


class EngineError(Exception):
    """Something that the engine refused or could not finish. The message is for the user and names no internals."""


class ContextLengthExceeded(EngineError):
    """The prompt (with its answer, as far as it must be reserved) is longer than the model or its cache can ever hold."""


class InvalidPrompt(EngineError):
    """The placeholder tokens of the prompt do not match its media."""


class InvalidGrammar(EngineError):
    """A grammar that is none, or that costs too much to follow."""


class QueueFull(EngineError):
    """As many requests wait as `batching.maxQueue` allows."""


class Overloaded(EngineError):
    """The engine ran out of memory under this request, although nothing else ran any more."""


class NotReady(EngineError):
    """No engine can take requests now."""


class PixelsForgotten(EngineError):
    """The engine was trusted to know a picture, and does not. The router sends it again; no reader ever sees this."""


class EngineFailed(EngineError):
    """The engine failed while it computed this request's answer."""


@dataclass(frozen=True, eq=False)
class Medium:
    """One picture or video, already cut into patches by the processor.

    Attributes:
        kind: what its placeholders stand for.
        pixels: [t * h * w, features] float32, on the CPU, in the order of the vision tower. On the device "meta",
            without numbers, where the engine should know what the tower saw.
        grid: (t, h, w), in patches before merging. A video's t counts pairs of frames.
        key: hash of the content and of the settings that made the pixels; equal keys mean equal pixels.
    """

    kind: Literal["image", "video"]
    pixels: "torch.Tensor"
    grid: tuple[int, int, int]
    key: bytes


@dataclass(frozen=True, slots=True)
class MediumHeader:
    """A medium without its pixels: its kind, its grid, its key, and the shape of its pixels."""

    kind: Literal["image", "video"]
    grid: tuple[int, int, int]
    key: bytes
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Prompt:
    """A rendered prompt.

    Attributes:
        token_ids: with one placeholder token for each merged patch of each medium.
        media: in the order of their placeholders.
        salt: of whoever asks; prompts with different salts share nothing that was computed.
        log_id: what log lines call its request; None where nobody does.
    """

    token_ids: tuple[int, ...]
    media: tuple[Medium, ...] = ()
    salt: bytes = b""
    log_id: str | None = None


@dataclass(frozen=True)
class Sampling:
    """How the answer's tokens are chosen. The defaults are greedy and change no logit.

    Attributes:
        max_tokens: most tokens of the answer, at least 1.
        temperature: 0 is greedy: the largest logit, the lower id of a tie.
        top_p: smallest set of most likely tokens with at least this probability, in (0, 1].
        top_k: this many most likely tokens; 0 and -1 are off.
        min_p: only tokens at least this share as likely as the likeliest, in [0, 1].
        repetition_penalty: divides positive and multiplies negative logits of the tokens of prompt and answer.
        presence_penalty: subtracted from the logit of each token of the answer.
        frequency_penalty: subtracted as often as the token occurs in the answer.
        min_tokens: no end-of-sequence or stop token before so many tokens.
        seed: of the request's own random numbers; None draws one.
        stop_token_ids: tokens that end the answer beside the model's own end-of-sequence tokens.
        logit_bias: token id to a number that is added to its logit.
        logprobs: how many likeliest tokens come with each token, beside its own logprob; None for no logprobs at all.
        ignore_eos: the model's own end-of-sequence tokens do not end the answer.
        grammar: the form of the answer, in llguidance's language; None for any form.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    min_tokens: int = 0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    ignore_eos: bool = False
    grammar: str | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer.

    Attributes:
        id: of the token; the token that ended the answer is delivered too.
        finish_reason: set on the last token: "stop" (an end or stop token), "length" (max_tokens or the context is full).
        logprob: natural logarithm of the model's probability (before penalties and temperature), if asked for.
        top_logprobs: (token id, logprob) of the likeliest tokens, likeliest first, as many as asked for.
        cached_tokens: tokens of the prompt that came from the prefix cache; on the first token, else 0.
        queued_seconds: for which the request waited until an engine began with it; on the first token, else 0.
    """

    id: int
    finish_reason: FinishReason | None = None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    cached_tokens: int = 0
    queued_seconds: float = 0.0
