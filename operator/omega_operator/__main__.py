"""The operator process: makes the parts and connects them."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading

import aiohttp
import kopf

from omega_operator import handlers, logs, probes
from omega_operator.api import Api
from omega_operator.audit import Audit
from omega_operator.cache import Cache
from omega_operator.downloads import Downloads
from omega_operator.election import Election
from omega_operator.kube import Kube
from omega_operator.metrics import Metrics, Now
from omega_operator.optional_kinds import OptionalKinds
from omega_operator.pods import PodConfigs
from omega_operator.probes import Checks
from omega_operator.queue import KeyQueue
from omega_operator.reconcile import Reconciler, utc_now
from omega_operator.settings import Settings, SettingsError
from omega_operator.worker import WORKERS, work

END_SECONDS = 10.0
"""For which kopf, and then everything else, may take to end."""

GARBAGE = (50_000, 20, 100)
"""How many new objects, and rounds, the garbage collector waits for. With a cache of thousands of objects, which live on, its
default takes a sixth of the processor time of changes, and half of that of an idle operator.
"""

_log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Run until a signal stops kopf."""
    clock = asyncio.get_running_loop().time
    metrics = Metrics()
    cache, queue, registry = Cache(), KeyQueue(clock=clock, waited=metrics.waited), kopf.OperatorRegistry()
    handlers.register(registry, cache, queue, watch_cluster=settings.watch_cluster)
    async with contextlib.AsyncExitStack() as stack:
        api = await Api.connect(metrics.requested)
        stack.push_async_callback(api.close)
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        election = Election(api, settings.pod_namespace, settings.pod_name, clock, queue.begin)
        kube = Kube(api, election.leads, settings.watch_namespaces, clock, wrote=metrics.wrote, remember=cache.put)
        pods = PodConfigs(session, kube, clock)
        kinds = OptionalKinds(api, cache, queue)
        downloads = Downloads(session, clock)
        reconciler = Reconciler(
            cache=cache,
            kube=kube,
            pods=pods,
            downloads=downloads,
            kinds=kinds,
            settings=settings,
            now=utc_now,
            others_wait=queue.has_due,
        )
        audit = Audit(
            api=api, cache=cache, queue=queue, metrics=metrics, namespaces=settings.watch_namespaces, clock=clock
        )
        now = Now(queue.__len__, queue.overdue, queue.longest, election.leads, audit.ages)
        metrics.follow(now, WORKERS)

        started = asyncio.Event()
        checks = Checks(audit=audit, queue=queue, election=election, started=started)
        runner = await probes.serve(settings.probe_port, checks, metrics)
        stack.push_async_callback(runner.cleanup)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        background = [
            election.run(),
            audit.run(),
            kinds.run(),
            _work(audit, queue, reconciler, election, metrics),
        ]
        tasks = [group.create_task(one) for one in background]
        await _watch(registry, settings, started)
        for task in tasks:
            task.cancel()


async def _work(audit: Audit, queue: KeyQueue, reconciler: Reconciler, election: Election, metrics: Metrics) -> None:
    """All workers, once the cache has all that there is."""
    await audit.is_complete.wait()
    queue.begin()
    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work(queue, reconciler, election, metrics))


async def _watch(registry: kopf.OperatorRegistry, settings: Settings, started: asyncio.Event) -> None:
    """Run kopf until a signal stops it.

    Raises:
        SystemExit: a watch asked for a kind whose definition has just gone, which ends kopf and whatever runs beside it.
            The kubelet starts the operator anew, with the kinds that are left, and it finds what happened in between.
    """
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        standalone=True,
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        ready_flag=started,
    )
    running = asyncio.ensure_future(kopf.run_tasks(tasks, ignored=before))
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done, _ = await asyncio.wait([running], timeout=END_SECONDS)
    finally:
        running.cancel()
    if not done:
        # A watch that begins again while kopf ends waits for credentials that nobody brings any more.
        _log.warning("kopf does not end: the process ends without it")
        end = threading.Timer(END_SECONDS, os._exit, (1,))
        end.daemon = True
        end.start()
    failures = (task.exception() for task in (done or ended) if not task.cancelled())
    error = next(filter(None, failures), None)
    if error is None:
        return
    if not (isinstance(error.__cause__, aiohttp.ClientResponseError) and error.__cause__.status == 404):
        raise error
    _log.warning("a kind that was watched is no more: the operator has to start anew")
    raise SystemExit(1)


def main() -> int:
    """Start; the exit code is 2 if the environment is not right."""
    try:
        settings = Settings.of(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format)
    gc.set_threshold(*GARBAGE)
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
