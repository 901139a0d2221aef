"""The Kubernetes API as plain JSON over the `kubernetes` client, without its models, which cost memory and say nothing.

ApiError
├── Conflict      409: read again and retry
│   └── AlreadyExists   409: it was made before, perhaps by us
├── NoAnswer      none came, or not in time
├── NotFound      404
└── Refused       400, 403, 405, 413, 422: the request will be refused again until somebody changes something

Where the API server says Retry-After, the same request is not sent again before: it fails here, at once.
"""

# ruff: noqa: N818 - the names say what happened; the base class says that it is an error
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Self
from urllib.request import getproxies_environment

import aiohttp
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


class Fenced(Exception):
    """Nothing was sent: the fence does not let it through any more."""


class Conflict(ApiError):
    """Somebody else wrote first."""


class AlreadyExists(Conflict):
    """An object of this name exists."""


class NoAnswer(ApiError):
    """The API server is away, or too slow. Whether a write was done is not known."""


class NotFound(ApiError):
    """There is no such object, namespace or kind."""


class Refused(ApiError):
    """The request is not allowed or not valid."""


_ERRORS: Mapping[int, type[ApiError]] = {
    404: NotFound,
    409: Conflict,
    **dict.fromkeys((400, 403, 405, 413, 422), Refused),
}


Told = Callable[[str, str, float], None]
"""Hears of each request: its method, the status of the answer or "<error>", and the seconds that it took."""

Fence = Callable[[], bool]
"""Whether a request may be sent now."""


def _nobody(method: str, code: str, seconds: float) -> None:
    """Hears, and does nothing."""


def _open() -> bool:
    """Anything may be sent."""
    return True


_fence: ContextVar[Fence] = ContextVar("fence", default=_open)
"""Of the request that is being made."""


async def _ask(*_: object) -> None:
    """Called by aiohttp with the body in hand, before it sends a byte of a request; if this raises, it sends none."""
    if not _fence.get()():
        raise Fenced


class Api:
    """One connection pool to the API server."""

    def __init__(self, client: ApiClient, told: Told = _nobody) -> None:
        """Args: a client that has sent nothing, whose configuration says where the server is, and who hears of each request."""
        last = aiohttp.TraceConfig()
        last.on_request_chunk_sent.append(_ask)
        client.configuration.trace_configs = [last]
        self._client, self._told = client, told
        self._not_before: dict[tuple[str, str], float] = {}

    @classmethod
    async def connect(cls, told: Told = _nobody, kubeconfig: str | None = None) -> Self:
        """As a kubeconfig says; without one from the pod's service account, else from KUBECONFIG."""
        settings = Configuration()
        # To look at the environment and at ~/.netrc costs aiohttp two threads for each request.
        settings.client_session_kwargs = {"trust_env": bool(getproxies_environment())}
        if kubeconfig is None:
            with contextlib.suppress(config.ConfigException):
                config.load_incluster_config(client_configuration=settings)
                return cls(ApiClient(settings), told)
        await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
        return cls(ApiClient(settings), told)

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
        """All objects of a kind; the arguments are those of `pages`."""
        return [one async for page in self.pages(kind, namespace, accept, **query) for one in page["items"]]

    async def pages(
        self, kind: Kind, namespace: str | None = None, accept: str = "application/json", **query: str
    ) -> AsyncIterator[Manifest]:
        """Lists of the objects of a kind, up to 500 in each, and all of one moment: that of their resourceVersion.

        Args:
            kind: what to list.
            namespace: where; None: everywhere.
            accept: the form of the answer.
            query: labelSelector, fieldSelector and so on.
        """
        token = ""
        while True:
            wanted = query | {"limit": "500"} | ({"continue": token} if token else {})
            page = await self.request("GET", kind.path(namespace), query=wanted, accept=accept)
            yield page | {"items": page["items"] or []}  # metadata alone of no objects at all is null
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = TIMEOUT,
        fence: Fence = _open,
    ) -> Manifest:
        """One request.

        Args:
            method: of HTTP.
            path: at the server.
            query: its parameters.
            body: to be sent as JSON.
            content_type: of the body.
            accept: the form of the answer.
            timeout: the longest time for the request, in seconds.
            fence: asked now, and once more when the body goes out, whatever has kept this process in between.

        Raises:
            ApiError: the server answered with a status of 400 or more, or not at all, or is not to be asked yet.
            Fenced: the fence said no.
        """
        if not fence():
            raise Fenced
        self._heed(method, path)
        made = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        began, code = time.monotonic(), "<error>"
        outer = _fence.set(fence)
        try:
            response = await self._client.call_api(*made, _request_timeout=timeout)
            text = await response.read()
            code = str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error.__cause__, Fenced):
                raise error.__cause__ from None
            raise NoAnswer(0, f"no answer from the API server ({type(error).__name__})") from None
        finally:
            _fence.reset(outer)
            self._told(method, code, time.monotonic() - began)
        if response.status >= 400:
            refusal = _error(response.status, text, response.headers)
            self._remember(method, path, refusal.retry_after)
            raise refusal
        decoded: Manifest = json.loads(text)
        return decoded

    def _heed(self, method: str, path: str) -> None:
        """Fail where the server has said to wait, and it is too early."""
        left = self._not_before.get((method, path), 0.0) - time.monotonic()
        if left > 0:
            raise ApiError(429, "the API server has asked to wait", left)

    def _remember(self, method: str, path: str, retry_after: float) -> None:
        if not retry_after:
            return
        now = time.monotonic()
        self._not_before = {address: until for address, until in self._not_before.items() if until > now}
        # Two may be refused at the same time, and be told different things.
        self._not_before[method, path] = max(now + retry_after, self._not_before.get((method, path), 0.0))


def _error(status: int, text: bytes, headers: Mapping[str, str]) -> ApiError:
    try:
        said = json.loads(text)
        message, reason = said["message"], said.get("reason")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reason = f"the API server answered with status {status}", None  # a proxy's page, for example
    if status == 500 and message.startswith(_NO_SUCH_FIELD):
        status = 422
    after = headers.get("Retry-After", "0")
    error = AlreadyExists if reason == "AlreadyExists" else _ERRORS.get(status, ApiError)
    return error(status, message, float(after) if after.isdigit() else 0.0)
