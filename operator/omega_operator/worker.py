"""The loop between the queue and the reconciler: what becomes of a failure."""

import asyncio
import logging
import time

import aiohttp

from omega_operator.api import ApiError
from omega_operator.election import Election
from omega_operator.kinds import Key
from omega_operator.kube import NotLeading
from omega_operator.metrics import Metrics
from omega_operator.queue import KeyQueue
from omega_operator.reconcile import Reconciler

WORKERS = 8
"""Resources that are reconciled at the same time."""

TIMEOUT = 60.0
"""Longest time for one reconcile, in seconds."""

_log = logging.getLogger(__name__)


async def work(queue: KeyQueue, reconciler: Reconciler, election: Election, metrics: Metrics) -> None:
    """Reconcile for ever, while this replica leads."""
    while True:
        await election.wait()
        key = await queue.get()
        began = time.monotonic()
        try:
            outcome = await _once(key, queue, reconciler)
        finally:
            queue.done(key)
        metrics.reconciled(outcome, time.monotonic() - began)


async def _once(key: Key, queue: KeyQueue, reconciler: Reconciler) -> str:
    """One reconcile; says how it went. Whatever happens to one resource, the others go on."""
    try:
        async with asyncio.timeout(TIMEOUT):
            again = await reconciler.reconcile(key)
    except NotLeading:
        queue.add(key)
        return "not_leading"
    except ApiError as error:
        delay = queue.retry(key, error.retry_after)
        _log.warning("%s/%s: %s; again in %.1f s", *key, error, delay)
        return "refused"
    except (aiohttp.ClientError, TimeoutError) as error:
        delay = queue.retry(key)
        _log.warning("%s/%s: no answer from the API server (%s); again in %.1f s", *key, type(error).__name__, delay)
        return "no_answer"
    except Exception:  # noqa: BLE001 - a defect of ours that one resource brings out must not stop the others
        delay = queue.retry(key)
        _log.exception("%s/%s: a defect of the operator; again in %.1f s", *key, delay)
        return "defect"
    queue.succeeded(key)
    if again is not None:
        queue.add(key, again)
    return "done"
