"""Kubernetes Events: told when a condition changes, never otherwise. Pure.

The name of an Event comes from what it tells of, so that one who tells it again, having been cut off, does not tell it twice.
"""

import dataclasses
import hashlib
import json
from datetime import datetime

from omega_operator.conditions import Transition
from omega_operator.kinds import RESOURCE, TRANSITION, Key, Manifest
from omega_operator.settings import Settings

CONTROLLER = "omegavlm.io/operator"
LONGEST = 1024
"""Longest note that the API takes, in bytes."""


def event(key: Key, uid: str, transition: Transition, settings: Settings, now: datetime) -> Manifest:
    """One transition as an Event about the resource."""
    what = json.dumps([uid, dataclasses.astuple(transition)])
    text = transition.message.encode()[:LONGEST].decode(errors="ignore")
    return {
        "apiVersion": TRANSITION.api_version,
        "kind": TRANSITION.name,
        "metadata": {
            "name": f"{key.name}.{hashlib.sha256(what.encode()).hexdigest()[:16]}",
            "namespace": key.namespace,
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning" if transition.is_warning else "Normal",
        "reason": transition.reason,
        "action": transition.type,
        "note": text or transition.reason,
        "regarding": {
            "apiVersion": RESOURCE.api_version,
            "kind": RESOURCE.name,
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
        },
        "reportingController": CONTROLLER,
        "reportingInstance": settings.pod_name[:128],
    }
