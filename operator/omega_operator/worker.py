"""The loop between the queue and the reconciler: what becomes of a failure."""

import asyncio
import logging
import time

from omega_operator.api import ApiError, Conflict, Fenced, NoAnswer
from omega_operator.election import Election
from omega_operator.kinds import Key
from omega_operator.metrics import Metrics
from omega_operator.queue import KeyQueue
from omega_operator.reconcile import Reconciler

WORKERS = 8
"""Resources that are reconciled at the same time."""

TIMEOUT = 60.0
"""Longest time for one reconcile, in seconds."""

AFTER_CONFLICT = 0.25
"""Seconds after which to try again when somebody else wrote first, however often: nothing is wrong with the API server."""

_log = logging.getLogger(__name__)


async def work(queue: KeyQueue, reconciler: Reconciler, election: Election, metrics: Metrics) -> None:
    """Reconcile for ever, while this replica leads."""
    while True:
        await election.wait()
        key = await queue.get()
        began = time.monotonic()
        try:
            result = await _once(key, queue, reconciler, metrics)
        finally:
            queue.done(key)
        metrics.reconciled(result, time.monotonic() - began)


async def _once(key: Key, queue: KeyQueue, reconciler: Reconciler, metrics: Metrics) -> str:
    """One reconcile; says how it went. Whatever happens to one resource, the others go on."""
    progress = reconciler.progress(key)
    try:
        async with asyncio.timeout(TIMEOUT):
            again = await reconciler.reconcile(key)
    except Fenced:
        queue.add(key)
        return "requeue"
    except ApiError as error:
        if reconciler.progress(key) > progress:
            queue.forgive(key)
        delay = queue.retry(key, max(error.retry_after, AFTER_CONFLICT if isinstance(error, Conflict) else 0.0))
        _log.warning("%s/%s: %s; again in %.1f s", *key, error, delay)
        return metrics.failed("no_answer" if isinstance(error, NoAnswer) else "refused")
    except TimeoutError:
        delay = queue.retry(key)
        _log.warning("%s/%s: not done after %.0f s; again in %.1f s", *key, TIMEOUT, delay)
        return metrics.failed("timeout")
    except Exception:  # noqa: BLE001 - a defect of ours that one resource brings out must not stop the others
        delay = queue.retry(key)
        _log.exception("%s/%s: a defect of the operator; again in %.1f s", *key, delay)
        return metrics.failed("defect")
    metrics.applied(queue.succeeded(key))
    if not reconciler.knows(key):
        queue.forget(key)
    if again is None:
        return "success"
    queue.add(key, again)
    return "requeue_after"
