"""The Kubernetes API as plain JSON over the `kubernetes` client, without its models, which cost memory and say nothing.

ApiError
├── Conflict      409: read again and retry
├── NotFound      404
└── Refused       400, 403, 405, 413, 422: the request will be refused again until somebody changes something
"""

# ruff: noqa: N818 - the names say what happened; the base class says that it is an error
import json
from collections.abc import Mapping
from typing import Any, Self

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from omega_operator.kinds import Kind, Manifest

TIMEOUT = 15.0
"""Longest time for one request, in seconds."""

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

_NO_SUCH_FIELD = "failed to create typed patch object"
"""How the API server refuses an apply with an unknown field: as an error of its own."""


class ApiError(Exception):
    """The API server answered with an error."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        """Args: the HTTP status, the server's words, and the seconds that it asks us to wait."""
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class Conflict(ApiError):
    """Somebody else wrote first."""


class NotFound(ApiError):
    """There is no such object, namespace or kind."""


class Refused(ApiError):
    """The request is not allowed or not valid."""


_ERRORS: Mapping[int, type[ApiError]] = {
    404: NotFound,
    409: Conflict,
    **dict.fromkeys((400, 403, 405, 413, 422), Refused),
}


class Api:
    """One connection pool to the API server."""

    def __init__(self, client: ApiClient) -> None:
        """Args: the client, whose configuration says where the server is."""
        self._client = client

    @classmethod
    async def connect(cls) -> Self:
        """From the pod's service account, else from KUBECONFIG."""
        settings = Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)
        return cls(ApiClient(settings))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        """One object, or None if there is none."""
        try:
            return await self.request("GET", kind.path(namespace, name))
        except NotFound:
            return None

    async def list(
        self, kind: Kind, namespace: str | None = None, accept: str = "application/json", **query: str
    ) -> list[Manifest]:
        """All objects of a kind, in chunks of 500.

        Args:
            kind: what to list.
            namespace: where; None: everywhere.
            accept: the form of the answer.
            query: labelSelector, fieldSelector and so on.
        """
        found: list[Manifest] = []
        token = ""
        while True:
            page = query | {"limit": "500"} | ({"continue": token} if token else {})
            answer = await self.request("GET", kind.path(namespace), query=page, accept=accept)
            found += answer["items"] or []  # metadata alone of no objects at all is null
            token = answer["metadata"].get("continue", "")
            if not token:
                return found

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Manifest:
        """One request.

        Raises:
            ApiError: the server answered with a status of 400 or more.
        """
        made = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = await self._client.call_api(*made, _request_timeout=TIMEOUT)
        text = await response.read()
        if response.status >= 400:
            raise _error(response.status, text, response.headers)
        decoded: Manifest = json.loads(text)
        return decoded


def _error(status: int, text: bytes, headers: Mapping[str, str]) -> ApiError:
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = f"the API server answered with status {status}"  # a proxy's page, for example
    if status == 500 and message.startswith(_NO_SUCH_FIELD):
        status = 422
    after = headers.get("Retry-After", "0")
    return _ERRORS.get(status, ApiError)(status, message, float(after) if after.isdigit() else 0.0)
