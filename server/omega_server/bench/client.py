"""One request over HTTP, and when each piece of its answer came."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from omega_server.bench.figures import Record

CONNECT_SECONDS = 10.0
LONGEST_EVENT = 2**20
"""Bytes of a line of a stream: far more than a token needs."""


class Client(AbstractAsyncContextManager["Client"]):
    """Speaks to one server with the OpenAI API. Use it as a context manager."""

    def __init__(self, url: str, *, api_key: str | None, timeout: float) -> None:
        """Connect to nothing yet.

        Args:
            url: of the server, with or without /v1.
            api_key: sent as a bearer token.
            timeout: seconds that one request may take.
        """
        base = url.rstrip("/")
        self._base = base if base.endswith("/v1") else base + "/v1"
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=0),  # who sends decides how many run at once
            read_bufsize=LONGEST_EVENT,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self._open.close()

    @property
    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use the client as a context manager"
        return self._session

    async def models(self) -> tuple[int, tuple[str, ...]]:
        """Status of /v1/models, and the ids of the models that it lists.

        Raises:
            aiohttp.ClientError, TimeoutError: there is no answer.
        """
        async with self._open.get(f"{self._base}/models") as response:
            text = await response.read()
            return response.status, _model_ids(text) if response.status == 200 else ()

    async def ask(self, body: bytes, due: float, on_piece: Callable[[], None]) -> Record:
        """Send a request and read its stream to the end.

        Args:
            body: JSON, with stream: true.
            due: when it should have been sent, on the monotonic clock; its times count from there.
            on_piece: called for each piece of the answer.

        Returns:
            what happened. Whatever goes wrong is in there too.
        """
        pieces: list[float] = []
        tokens: int | None = None
        error: str | None = "stream ended early"
        try:
            async with self._open.post(
                f"{self._base}/chat/completions", data=body, headers={"Content-Type": "application/json"}
            ) as response:
                if response.status != 200:
                    error = _status(response.status, await response.read())
                else:
                    async for event in _events(response.content):
                        now = time.monotonic()
                        if event.get("error"):
                            error = f"in the stream: {_code(event)}"
                            break
                        if _has_text(event):
                            pieces.append(now)
                            on_piece()
                        if _finished(event):
                            error = None
                        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        except TimeoutError:
            error = "timeout"
        except (aiohttp.ClientError, OSError) as problem:
            error = f"connection: {type(problem).__name__}"
        except (ValueError, AttributeError, TypeError, KeyError, IndexError):
            error = "not the OpenAI API"  # the stream holds something else than chunks
        return Record(due, tuple(pieces), time.monotonic(), len(pieces) if tokens is None else tokens, error)


def body(
    model: str, messages: Sequence[Mapping[str, Any]], tokens: int, *, usage: bool = True, fixed_length: bool = False
) -> bytes:
    """The body of a request for a greedy, streamed answer.

    Args:
        model: its id.
        messages: as the API takes them.
        tokens: most tokens of the answer.
        usage: ask for the number of tokens at the end of the stream.
        fixed_length: ask for exactly so many tokens, with a field that OpenAI does not have.
    """
    fields: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
    fields["stream"] = True
    if usage:
        fields["stream_options"] = {"include_usage": True}
    if fixed_length:
        fields["min_tokens"] = tokens
    return orjson.dumps(fields)


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    async for line in content:
        data = line.strip()
        if data.startswith(b"data:") and data != b"data: [DONE]":
            yield orjson.loads(data[len(b"data:") :])


def _has_text(event: dict[str, Any]) -> bool:
    return any(choice.get("delta", {}).get("content") for choice in event.get("choices") or ())


def _finished(event: dict[str, Any]) -> bool:
    return any(choice.get("finish_reason") for choice in event.get("choices") or ())


def _status(status: int, text: bytes) -> str:
    try:
        code = _code(orjson.loads(text))
    except (ValueError, AttributeError):
        return str(status)
    return f"{status} {code}".strip()


def _code(value: dict[str, Any]) -> str:
    """The machine-readable word of an error body, if it has one; OpenAI's servers nest it, some do not."""
    error = value.get("error")
    found = error.get("code") or error.get("type") if isinstance(error, dict) else value.get("code")
    return "" if found is None else str(found)[:60]


def _model_ids(text: bytes) -> tuple[str, ...]:
    try:
        return tuple(str(model["id"]) for model in orjson.loads(text)["data"])
    except (ValueError, TypeError, KeyError):
        return ()
