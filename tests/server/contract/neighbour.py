"""A good request beside the bad ones: its answer must not change by a byte."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from demo_server import Configured, circle, shown, uri

QUESTION = {
    "messages": [{"role": "user", "content": shown(uri(circle("red")), "Describe this image.")}],
    "temperature": 0,
    "min_tokens": 40,
    "max_tokens": 40,
    "stream": True,
}


class Neighbour:
    """Asks the same again and again.

    Attributes:
        alone: the answer while nobody else asked.
        answers: those since then.
    """

    def __init__(self, server: Configured) -> None:
        self._client = httpx.Client(base_url=server.url, headers=server.client.headers, timeout=600, trust_env=False)
        self._flying = threading.Event()
        self._stopping = False
        self.alone = self._ask()
        self.answers: list[bytes] = []

    @contextmanager
    def asking(self) -> Iterator["Neighbour"]:
        """In flight as long as this lasts."""
        thread = threading.Thread(target=self._go_on)
        thread.start()
        try:
            yield self
        finally:
            self._stopping = True
            thread.join()
            self._client.close()

    def in_flight(self) -> None:
        """Return when a part of an answer is there, and the rest is to come."""
        assert self._flying.wait(600)

    def _go_on(self) -> None:
        while not self._stopping:
            self.answers.append(self._ask())

    def _ask(self) -> bytes:
        """The answer without what is its own: id and time."""
        answer = b""
        with self._client.stream("POST", "/v1/chat/completions", json=QUESTION) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                answer += line.encode() + b"\n"
                self._flying.set()
        self._flying.clear()
        return re.sub(rb'"id":"chatcmpl-[0-9a-f]+"|"created":[0-9]+', b"", answer)
