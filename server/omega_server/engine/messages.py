"""What goes through the pipe between the router and an engine's process.

Small picklable values only. Pixels do not go through the pipe: the `Submit` is followed by a file descriptor of
memory that both processes map, unless the engine should have seen them before.
"""

from dataclasses import dataclass, field

from omega_schema.server_config import BootConfig
from omega_server.engine.request import EngineError, MediumHeader, Sampling, Token
from omega_server.engine.sequence import Placeholders
from omega_server.logs import Lines

BEAT_SECONDS = 0.2
"""How often an engine gives a sign of life."""


@dataclass(frozen=True, slots=True)
class Submit:
    """To the engine: answer a request.

    Attributes:
        id: new for each Submit, also when the request has been in an engine before.
        token_ids: of the prompt.
        answer: tokens that another engine has given already; this one goes on after them.
        media: of the prompt.
        salt: of the prompt.
        with_pixels: whether the pixels of the media follow as one descriptor, float32, in this order. Without them
            the engine must remember the pictures; if it does not, it gives the request back with PixelsForgotten.
        sampling: with a seed, if it needs random numbers.
        log_id: what log lines call the request.
    """

    id: int
    token_ids: tuple[int, ...]
    answer: tuple[int, ...]
    media: tuple[MediumHeader, ...]
    salt: bytes
    with_pixels: bool
    sampling: Sampling
    log_id: str | None


@dataclass(frozen=True, slots=True)
class Abort:
    """To the engine: drop a request."""

    id: int


@dataclass(frozen=True, slots=True)
class Update:
    """To the engine: new live limits; the time is in seconds."""

    max_batch_size: int
    batch_timeout: float
    log_level: str


@dataclass(frozen=True, slots=True)
class Stop:
    """To the engine: end now."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much an engine has to do, and what it holds.

    Attributes:
        running: requests in its batch.
        waiting: requests that it has not begun.
        newest: largest id of a request that it has begun; it begins them in their order, and tells it before it computes.
        kv_blocks_used: blocks that running requests own.
        kv_blocks_total: blocks of the KV cache.
        preemptions: requests that had to give up their blocks, since it was started.
        vision_queries: media that requests needed, since it was started.
        vision_hits: those of them that the vision tower had seen before.
        memory_bytes: resident memory of its processes.
        step_seconds: how long the step that it does now has lasted, or the layer of the vision tower; 0 when it does neither.
    """

    running: int = 0
    waiting: int = 0
    newest: int = -1
    kv_blocks_used: int = 0
    kv_blocks_total: int = 0
    preemptions: int = 0
    vision_queries: int = 0
    vision_hits: int = 0
    memory_bytes: int = 0
    step_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """From the engine: the model is loaded.

    Attributes:
        max_length: in tokens; may be less than what was asked for.
        placeholders: how the model marks media in prompts.
        block_size: of the KV cache, in tokens.
        load: at the start.
    """

    max_length: int
    placeholders: Placeholders
    block_size: int
    load: Load


@dataclass(frozen=True, slots=True)
class Refused:
    """From the engine: the model cannot be loaded, by the user's fault. It ends after this."""

    message: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """From the engine, after a step or as a sign of life: new tokens and errors by request id, in order."""

    items: tuple[tuple[int, Token | EngineError], ...]
    load: Load


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What an engine's process is started with.

    Attributes:
        boot: of the whole server.
        index: of this engine.
        limits: live limits at the start.
        lines: how it logs.
    """

    boot: BootConfig
    index: int
    limits: Update
    lines: Lines = field(default_factory=Lines)
