"""One server over HTTP: JSON, streams of events, and what goes wrong, in one line each."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

OURS = frozenset({408, 429})
"""4xx that are nobody's mistake: the same may work later."""


class ClientError(Exception):
    """The command cannot do what it was asked for. The text is one line that says what to do.

    Attributes:
        code: exit code: 2 for something to correct, 1 if the server failed.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key belongs to the server that it was meant for, not to the one that this leads to."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Server:
    """A server with the OpenAI API."""

    def __init__(self, url: str, key: str | None, timeout: float = 600.0) -> None:
        """Connect to nothing yet.

        Args:
            url: of the server, with or without /v1.
            key: sent as a bearer token.
            timeout: longest silence, in seconds.

        Raises:
            ClientError: the address or the key cannot be one.
        """
        self._base = _base(url)
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            if not key.isascii() or not key.isprintable():
                raise ClientError("the API key has characters that no key has; look at OMEGA_API_KEY")
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirects)

    def get(self, path: str) -> Any:
        """The JSON at a path below /v1.

        Raises:
            ClientError: there is none.
        """
        with self._open(path, None) as response:
            try:
                return json.load(response)
            except ValueError:
                raise self._not_the_api() from None

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The events that answer a request.

        Raises:
            ClientError: it was refused, or the stream breaks off.
        """
        with self._open(path, json.dumps(body).encode()) as response:
            try:
                for line in response:
                    if not line.startswith(b"data:"):
                        continue
                    data = line[len(b"data:") :].strip()
                    if data == b"[DONE]":
                        return
                    event = json.loads(data)
                    if event.get("error"):
                        raise ClientError(_said(event["error"], None), 1)
                    yield event
            except (OSError, http.client.HTTPException):
                pass  # said below
            except (ValueError, AttributeError):
                raise self._not_the_api() from None
        raise ClientError("the connection ended in the middle of the answer", 1)

    def _open(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(f"{self._base}/{path}", body, self._headers)  # noqa: S310 - http(s), by _base
        try:
            return self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            message = f"{self._base} cannot be reached ({why}); check the address, and that the server runs"
            raise ClientError(message) from None

    def _refused(self, error: urllib.error.HTTPError) -> ClientError:
        if 300 <= error.code < 400:
            target = error.headers.get("Location", "elsewhere")
            return ClientError(f"{self._base} leads to {target}: ask that address")
        code = 2 if 400 <= error.code < 500 and error.code not in OURS else 1
        try:
            return ClientError(_said(json.load(error)["error"], error.code), code)
        except (OSError, ValueError, TypeError, KeyError, http.client.HTTPException):
            return ClientError(f"{self._base} answered {error.code} {error.reason}", code)

    def _not_the_api(self) -> ClientError:
        return ClientError(f"{self._base} does not speak the OpenAI API")


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or "@" in parts.netloc or not url.isprintable() or " " in url:
        raise ClientError(f"{url} is no address of a server: write http://HOST:PORT")
    base = url.rstrip("/")
    return base if base.endswith("/v1") else base + "/v1"


def _said(error: Mapping[str, Any], status: int | None) -> str:
    """What the server says, and its code, status and field, so that it can be looked up."""
    code, param = error.get("code"), error.get("param")
    details = [str(item) for item in (status, code, param) if item is not None]
    return f"{printable(str(error['message']))} ({', '.join(details)})"


def printable(text: str) -> str:
    """A text without what would command a terminal: a server, or a picture that a model reads aloud, is not to do that."""
    return "".join(char for char in text if char in "\n\t" or not (char < " " or "\x7f" <= char <= "\x9f"))
