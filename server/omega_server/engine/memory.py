"""How large the caches are: what a process may use, and how it is divided."""

import ctypes
import os
from pathlib import Path

import torch

MIB = 1 << 20

# Of the GPU memory that is free after the weights are loaded; the rest is for activations and fragmentation.
_CUDA_SHARE = 0.85
# Of the machine's or the container's memory, for the KV caches of all engines together.
_CPU_SHARE = 0.25


def kv_cache_bytes(device: torch.device, engines: int, wanted: int) -> int:
    """Bytes for one engine's KV cache.

    On the CPU that is what `wanted` says (the longest sequence times the largest batch), but at most the engine's
    part of a quarter of the memory: pages are taken only when they are first written. On a GPU it is 85 % of what is
    free after loading: there nobody else can use it, and more cache means more prefixes that are known.

    Args:
        device: of the engine.
        engines: that share the memory of the CPU.
        wanted: bytes that would be enough for everything that may run at once.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * _CUDA_SHARE)
    return min(wanted, int(cpu_memory() * _CPU_SHARE) // engines)


def vision_cache_bytes(device: torch.device, engines: int) -> int:
    """Bytes for one engine's cache of picture embeddings, 16 MiB to 2 GiB.

    A twentieth of a GPU's memory; on the CPU, where others live too, a two-hundredth, divided by the engines.
    """
    size = torch.cuda.mem_get_info(device)[1] // 20 if device.type == "cuda" else cpu_memory() // 200 // engines
    return min(max(size, 16 * MIB), 2048 * MIB)


def cpu_memory() -> int:
    """Bytes of memory that the container or the machine has."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():
            return min(machine, int(text))
    return machine


def cpu_cores() -> int:
    """Cores that this process may use, by affinity and by the container's quota, at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        allowed, _, period = quota.read_text().partition(" ")
        if allowed.isdigit():
            cores = min(cores, max(1, int(allowed) // int(period)))
    return cores


def exhausted(error: BaseException) -> bool:
    """Whether an error says that there was no memory left, on the GPU or on the machine."""
    # On the CPU torch raises a RuntimeError like any other; the name of its allocator is in the text.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def resident_bytes() -> int:
    """Bytes of memory that this process occupies now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Give memory that was freed back to the system. The C library keeps what the largest step needed, and never asks again.

    Takes some milliseconds. Only glibc knows how; another C library is left to its own ways.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
