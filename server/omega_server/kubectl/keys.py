"""The API key with which a resource may be asked: the environment's, or one of the Secret that it names."""

import base64
import os

from omega_server.client.server import ClientError
from omega_server.kubectl.cluster import Cluster, Object

SCRAPE = "prometheus"
"""Name of the key that Prometheus asks with; see docs/adr/0016."""


def key_of(cluster: Cluster, resource: Object, *, scrape: bool = False) -> str | None:
    """A key, or None where none is needed.

    Args:
        cluster: where the Secret is read from.
        resource: whose key.
        scrape: prefer the key that is there for metrics; without it, any other.

    Raises:
        ClientError: the Secret cannot be read or holds no key.
    """
    if given := os.environ.get("OMEGA_API_KEY"):
        return given
    name = ((resource["spec"].get("auth") or {}).get("secretRef") or {}).get("name")
    if not name:
        return None
    try:
        secret = cluster.get("secrets", name, namespace=resource["metadata"]["namespace"])
    except ClientError as error:
        raise ClientError(
            f"the Secret {name} with the API keys cannot be read: {error}; or set OMEGA_API_KEY"
        ) from None
    names = sorted(secret.get("data") or {}, key=lambda one: ((one == SCRAPE) != scrape, one))
    if not names:
        raise ClientError(f"the Secret {name} holds no API key: add one, or set OMEGA_API_KEY")
    return base64.b64decode(secret["data"][names[0]]).decode("utf-8", errors="replace").strip()
