"""What is tried again, how often and for how long; and what the user is told about the rest."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx2
from huggingface_hub import errors
from huggingface_hub.errors import HfHubHTTPError

from omega_server.download.errors import DownloadError, Stopped
from omega_server.download.progress import Progress

FIRST_DELAY, LONGEST_DELAY = 0.5, 15.0
"""Seconds before the second attempt, and at most before any other."""

LIMIT = 300.0
"""Seconds without one byte after which a download gives up."""

T = TypeVar("T")


class Stalled(httpx2.ReadTimeout):
    """Bytes come, but so few that another connection is better."""


class Patience:
    """Insists on what may go well the next time."""

    def __init__(self, what: str, progress: Progress, stop: threading.Event, limit: float = LIMIT) -> None:
        """Args: repository and revision for messages, the counter, what ends all waiting, and the limit in seconds."""
        self._what, self.progress, self.stop, self._limit = what, progress, stop, limit

    def insist(self, attempt: Callable[[], T]) -> T:
        """Attempt until it works. Waits longer from time to time, but not after an attempt that brought something.

        Raises:
            DownloadError: it cannot work, or has not for too long.
            Stopped: it need not work any more.
        """
        delay = FIRST_DELAY
        while True:
            before = self.progress.fetched
            try:
                return attempt()
            except httpx2.HTTPError as error:
                trouble = self._judge(error)
                delay = FIRST_DELAY if self.progress.fetched > before else delay
                wait = max(delay, _asked_for(error))
            self.progress.struggles(trouble)
            if self.progress.silent > self._limit:
                raise DownloadError(
                    f"{self._what} could not be fetched, {trouble} for {self.progress.silent:.0f} s; check the network, "
                    "HF_ENDPOINT and HTTPS_PROXY",
                    1,
                )
            if self.stop.wait(wait):
                raise Stopped
            delay = min(delay * 2, LONGEST_DELAY)

    def _judge(self, error: httpx2.HTTPError) -> str:
        """What went wrong, in words that name no address.

        Raises:
            DownloadError: trying again at once is useless.
        """
        if isinstance(error, HfHubHTTPError):
            self._refuse(error)
            return f"the hub answers {error.response.status_code}"
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            raise DownloadError("HF_ENDPOINT must be an address, https://hub.example.com, and HF_TOKEN one line", 2)
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return f"no connection ({_root(error)})"
        if isinstance(error, Stalled):
            return str(error)
        if isinstance(error, httpx2.TimeoutException):
            return "the hub sends nothing"
        if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError):
            return "the connection was cut"
        return f"the request failed ({type(error).__name__})"

    def _refuse(self, error: HfHubHTTPError) -> None:
        what, status = self._what, error.response.status_code
        if isinstance(error, errors.GatedRepoError):
            raise DownloadError(
                f"{what} is gated: ask the hub for access, and set HF_TOKEN to a token of who has it", 2
            )
        if isinstance(error, errors.RevisionNotFoundError):
            raise DownloadError(f"the hub has no such revision: {what}; correct the part after @", 2)
        if isinstance(error, errors.RepositoryNotFoundError):
            raise DownloadError(
                f"{what} does not exist, or is private: correct its name, or set HF_TOKEN to a token that may read it",
                2,
            )
        if status in {401, 403}:
            raise DownloadError(f"the hub refuses the token ({status}) for {what}: correct HF_TOKEN", 2)
        if status < 500 and status not in {408, 429}:
            raise DownloadError(f"the hub answers {status} for {what}: check the name, and HF_ENDPOINT", 2)


def _asked_for(error: httpx2.HTTPError) -> float:
    """Seconds that the hub asks to wait; 0 if it does not say."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    text = error.response.headers.get("Retry-After", "")
    return min(float(text), LIMIT) if text.isdecimal() else 0.0


def _root(error: BaseException) -> str:
    """The system's own words for why there is no connection."""
    found = [one for one in _chain(error) if isinstance(one, OSError) and one.strerror]
    return str(getattr(found[-1], "reason", None) or found[-1].strerror) if found else type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
