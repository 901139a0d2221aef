"""What every proof needs: a namespace, and replicas of the operator at work in it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from faults.proxy import Proxy
from faults.replica import Replica
from faults.world import World, connect, namespace


@contextlib.asynccontextmanager
async def operated(admin: Path, *names: str) -> AsyncIterator[tuple[World, dict[Replica, Proxy]]]:
    """A namespace with replicas of the operator at work in it, each behind a proxy of its own.

    Args:
        admin: kubeconfig of the administrator.
        names: of the replicas.
    """
    async with contextlib.AsyncExitStack() as stack:
        world = await stack.enter_async_context(namespace(await stack.enter_async_context(connect(admin))))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        replicas = {}
        for name in names:
            proxy = await stack.enter_async_context(Proxy(admin))
            replica = Replica(name, proxy.write_kubeconfig(directory / f"{name}.yaml"), (world.namespace,), directory)
            stack.callback(replica.kill)
            await replica.start()
            replicas[replica] = proxy
        yield world, replicas
