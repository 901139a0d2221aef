"""Several processes that are one engine, each with its part of the language model's weights and of the KV cache.

The first is the engine: it has scheduler, vision tower, embeddings, language head, sampler, and the pipe to the router. The
others follow: they know nothing of requests, and run the language model's layers whenever the engine does, on the same
inputs. Inside a layer the processes add up their parts (torch.distributed: nccl on GPUs, gloo on the CPU).

They live and die together. The kernel kills the followers when the engine's process ends, however that comes about. The
engine's process ends when a follower does, and also when a step fails: then some of the processes may wait for each other for
ever. The engine gives a sign of life when each of its processes has given one. The router starts the engine again, and the
engine its followers.

Nothing of this can be reached from outside: they meet in a file that has no name, and speak over the loopback interface.
"""

import ctypes
import io
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import torch
from torch import Tensor, distributed
from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch's stubs leave it out

from omega_schema.server_config import BootConfig
from omega_server.engine import attention, memory
from omega_server.engine.engine import cache_shape
from omega_server.engine.kv_cache import KVCache
from omega_server.engine.messages import BEAT_SECONDS
from omega_server.logs import Lines, set_up
from omega_server.model import loader
from omega_server.model.checkpoint import ModelError

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Seat:
    """A process's place in its group.

    Attributes:
        boot: of the whole server.
        engine: index of the engine.
        rank: in the group; 0 is the engine's own process.
        threads: of torch, in this process.
        lines: how it logs.
        meeting: descriptor of the file in which the processes meet. The forks of one seat share it.
    """

    boot: BootConfig
    engine: int
    rank: int
    threads: int
    lines: Lines
    meeting: int = field(default_factory=lambda: os.memfd_create("omega-group"))

    def meet(self) -> None:
        """Let torch.distributed connect this process with the others; waits for them."""
        gpu = self.engine * self.boot.tensor_parallel + self.rank
        # transformers cuts the model for the accelerator that it sees, and puts this process's part on the one named here.
        os.environ["LOCAL_RANK"] = str(gpu)
        if self.boot.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        else:
            torch.cuda.set_device(gpu)
        for library in ("GLOO", "NCCL"):
            os.environ[f"{library}_SOCKET_IFNAME"] = "lo"
        size = self.boot.tensor_parallel
        distributed.init_process_group(
            "gloo" if self.boot.device == "cpu" else "nccl",
            store=FileStore(f"/proc/self/fd/{self.meeting}", size),
            rank=self.rank,
            world_size=size,
        )

    def load(self) -> Any:
        """This process's part of the model. Raises ModelError as `loader.load`."""
        return loader.load(
            self.boot.model_path,
            self.boot.dtype,
            self.boot.device,
            self.boot.quantization,
            tensor_parallel=self.boot.tensor_parallel,
        )


class Group:
    """The followers of an engine, as its own process sees them."""

    def __init__(self, first: Seat, router: Connection) -> None:
        """Fork the followers, which begin to load their parts of the model. This process must have no second thread yet.

        Args:
            first: this process's seat.
            router: the pipe to the router, which a follower must not hold.
        """
        self._seat = first
        self._cache: KVCache | None = None
        self._pipes: list[Connection] = []
        self._resident: dict[Connection, int] = {}
        self._silent: set[Connection] = set()
        leader = os.getpid()
        pids = []
        for rank in range(1, first.boot.tensor_parallel):
            ours, theirs = connection.Pipe()
            pid = os.fork()
            if pid == 0:
                for pipe in (router, ours, *self._pipes):
                    pipe.close()
                _end_with_the(leader)
                _follow(theirs, replace(first, rank=rank))
            theirs.close()
            self._pipes.append(ours)
            pids.append(pid)
        for rank, pid in enumerate(pids, 1):
            threading.Thread(target=_end_when_ended, args=(pid, rank), name=f"rank-{rank}", daemon=True).start()

    def load(self) -> Any:
        """The engine's own part of the model, once all parts are loaded.

        Raises:
            ModelError: as `loader.load`, in any of the processes.
        """
        self._seat.meet()
        model = self._seat.load()
        for pipe in self._pipes:
            refusal = pipe.recv()
            if refusal is not None:
                raise ModelError(refusal)
        return model

    def lead(self, language_model: Any, cache: KVCache) -> None:
        """From now on, what the language model computes and what is scrubbed in the cache, the followers do as well."""
        self._cache = cache
        for pipe in self._pipes:
            pipe.send((cache.padding, cache.block_size))
        self._mirror(language_model, "forward")
        self._mirror(cache, "scrub")

    @property
    def memory_bytes(self) -> int:
        """Resident memory of all followers, as of their last signs of life."""
        return sum(self._resident.values())

    def alive(self) -> bool:
        """Whether each follower has given a sign of life since this was last so. For one thread, after `lead`."""
        for pipe in self._pipes:
            try:
                while pipe.poll():
                    self._resident[pipe] = pipe.recv()
                    self._silent.discard(pipe)
            except EOFError:
                return False  # it has ended, and this process is about to
        if self._silent:
            return False
        self._silent = set(self._pipes)
        return True

    def _mirror(self, owner: Any, name: str) -> None:
        method = getattr(owner, name)

        def mirrored(*args: Any, **kwargs: Any) -> Any:
            try:
                self._tell((name, args, kwargs))
                return method(*args, **kwargs)
            except Exception as error:
                logger.exception("A group of %d processes is out of step, and ends", len(self._pipes) + 1)
                raise SystemExit(1) from error

        setattr(owner, name, mirrored)

    def _tell(self, call: tuple[str, tuple[Any, ...], dict[str, Any]]) -> None:
        stream = io.BytesIO()
        packer = _Packer(stream, self._cache)
        packer.dump(call)
        for pipe in self._pipes:
            pipe.send_bytes(stream.getbuffer())
        for tensor in packer.on_gpu:
            distributed.broadcast(tensor, 0)


def _end_with_the(parent: int) -> None:
    """Let the kernel end this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before the line above


def _end_when_ended(pid: int, rank: int) -> None:
    """End this process when a follower ends: without it, it can compute nothing."""
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    logger.error("Rank %d of its group ended with exit code %s, and takes the others along", rank, code)
    os._exit(1)


def _follow(pipe: Connection, seat: Seat) -> NoReturn:
    """What a follower's process runs."""
    set_up(seat.lines, engine=seat.engine, rank=seat.rank)
    try:
        _load_and_run(pipe, seat)
    except EOFError:
        logger.info("The engine's process has ended")
    except Exception:
        logger.exception("This process is out of step with its group, and ends")
    os._exit(1)


def _load_and_run(pipe: Connection, seat: Seat) -> NoReturn:
    torch.set_num_threads(seat.threads)
    torch.set_num_interop_threads(1)
    seat.meet()
    try:
        model = seat.load()
    except ModelError as error:
        pipe.send(str(error))
        while True:
            pipe.recv()  # until the engine's process, which has this to report, is gone
    pipe.send(None)
    blocks, block_size = pipe.recv()
    cache = KVCache(blocks=blocks, block_size=block_size, device=model.device, **cache_shape(model))
    language_model = model.model.language_model
    del model  # and with it what only the engine's own process runs
    language_model.embed_tokens = None
    attention.use_in(language_model)
    threading.Thread(target=_beat, args=(pipe,), name="beat", daemon=True).start()
    methods: dict[str, Callable[..., Any]] = {"forward": language_model.forward, "scrub": cache.scrub}
    with torch.inference_mode():
        while True:
            unpacker = _Unpacker(io.BytesIO(pipe.recv_bytes()), cache)
            name, args, kwargs = unpacker.load()
            for tensor in unpacker.on_gpu:
                distributed.broadcast(tensor, 0)
            methods[name](*args, **kwargs)


def _beat(pipe: Connection) -> None:
    try:
        while True:
            pipe.send(memory.resident_bytes())
            time.sleep(BEAT_SECONDS)
    except OSError:
        os._exit(1)  # the engine's process has ended


class _Packer(pickle.Pickler):
    """Packs a call. Tensors of the CPU are packed with it; those on a GPU follow over nccl, in the order of `on_gpu`."""

    def __init__(self, stream: io.BytesIO, cache: KVCache | None) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._cache = cache
        self.on_gpu: list[Tensor] = []

    def persistent_id(self, value: Any) -> Any:
        """What stands for a value; None packs it as it is."""
        if value is self._cache:
            return ("cache",)
        if not isinstance(value, Tensor):
            return None
        whole = value.contiguous()
        if value.is_cuda:
            self.on_gpu.append(whole)
            return value.dtype, value.shape, None
        return value.dtype, value.shape, whole.flatten().view(torch.uint8).numpy().tobytes()


class _Unpacker(pickle.Unpickler):
    """Unpacks a call in a follower, whose own cache stands for the engine's."""

    def __init__(self, stream: io.BytesIO, cache: KVCache) -> None:
        super().__init__(stream)
        self._cache = cache
        self.on_gpu: list[Tensor] = []

    def persistent_load(self, pid: Any) -> Any:
        """The value that something stands for."""
        if pid == ("cache",):
            return self._cache
        dtype, shape, data = pid
        if data is not None:
            return (
                torch.frombuffer(bytearray(data), dtype=dtype).view(shape) if data else torch.empty(shape, dtype=dtype)
            )
        self.on_gpu.append(torch.empty(shape, dtype=dtype, device="cuda"))
        return self.on_gpu[-1]
