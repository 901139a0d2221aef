"""CPU, memory, shared memory and GPUs of a pod. What the resource leaves open follows from the number of its engines.

| per GPU (device cuda) | per engine (device cpu) |
|---|---|
| requests 8 cpu, 64Gi memory | requests 500m cpu, 1Gi memory |
| /dev/shm 8Gi | /dev/shm 64Mi |

A pod on the CPU requests 448Mi of memory more, once: what its server keeps of downloads, pictures and videos. In 64Gi there is
room for that.

Limits are set only where the resource sets them, but for the GPUs, of which a request always equals its limit.
"""

from dataclasses import dataclass
from typing import Any

from omega_schema.resource import Gpu, Pod


@dataclass(frozen=True)
class _Share:
    """What one engine needs, and memory for its server beside."""

    cpu_millis: int
    memory_mib: int
    shared_memory_mib: int
    server_mib: int


KEPT_MIB = 448
_SHARES = {"cuda": _Share(8000, 64 * 1024, 8 * 1024, 0), "cpu": _Share(500, 1024, 64, KEPT_MIB)}


def requirements(gpu: Gpu, pod: Pod) -> dict[str, Any]:
    """Requests and limits of the server container."""
    share, count = _SHARES[gpu.device], max(gpu.count, 1)
    limits: dict[str, str] = {**pod.resources.get("limits", {})}
    defaults = {
        "cpu": _cpu(share.cpu_millis * count),
        "memory": _memory(share.memory_mib * count + share.server_mib),
    }
    # A limit alone is a request too, as everywhere in Kubernetes: the default must not exceed it.
    capped = {name: limits.get(name, quantity) for name, quantity in defaults.items()}
    requests: dict[str, str] = {**capped, **pod.resources.get("requests", {})}
    if gpu.device == "cuda":
        requests[gpu.resource_name] = limits[gpu.resource_name] = str(gpu.count)
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def shared_memory(gpu: Gpu, pod: Pod) -> str:
    """Size of /dev/shm, over which the engines of a pod exchange tensors."""
    if pod.shared_memory is not None:
        return str(pod.shared_memory)
    return _memory(_SHARES[gpu.device].shared_memory_mib * max(gpu.count, 1))


def _cpu(millis: int) -> str:
    return f"{millis}m" if millis % 1000 else str(millis // 1000)


def _memory(mebibytes: int) -> str:
    return f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes // 1024}Gi"
