"""Pictures and questions, sent through the Service as anybody would: with the official OpenAI client, streaming."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI, OpenAIError

from stages import release
from stages.cluster import Cluster
from stages.console import Console, DemoError
from stages.program import ROOT

PICTURES = ROOT / "demo/pictures"
ENOUGH = 0.9
"""Share of right answers below which the demo failed."""


@dataclass(frozen=True)
class Question:
    """A picture, what is asked about it, and what counts as right."""

    file: str
    question: str
    answer: str

    def is_right(self, answer: str) -> bool:
        """Whether ``answer`` says what is right, whatever its letter case and punctuation."""
        return _plain(answer) == _plain(self.answer)

    @property
    def content(self) -> list[dict[str, Any]]:
        """The content of the user's message, as OpenAI's API has it."""
        encoded = base64.b64encode((PICTURES / self.file).read_bytes()).decode()
        kind = "jpeg" if Path(self.file).suffix in {".jpg", ".jpeg"} else Path(self.file).suffix[1:]
        return [
            {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{encoded}"}},
            {"type": "text", "text": self.question},
        ]


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def read() -> list[Question]:
    """The questions of demo/pictures/questions.json."""
    entries = json.loads((PICTURES / "questions.json").read_text())
    return [Question(entry["file"], entry["question"], entry["answer"]) for entry in entries]


def ask_all(console: Console, address: str, model: str) -> tuple[int, int]:
    """Ask every question, print every answer as it arrives; returns how many were right, and of how many.

    Raises:
        DemoError: the endpoint does not answer.
    """
    asked = read()
    widths = [max(map(len, column)) for column in zip(*(astuple(question) for question in asked), strict=True)]
    with OpenAI(base_url=f"{address}/v1", api_key="none", timeout=60) as client:
        try:
            right = [_ask(console, client, model, question, widths) for question in asked]
        except OpenAIError as error:
            console.say()
            advice = f"kubectl -n {release.NAMESPACE} logs deployment/{release.NAME} tells more."
            raise DemoError(f"The endpoint did not answer: {error}", advice) from error
    return sum(right), len(asked)


def _ask(console: Console, client: OpenAI, model: str, question: Question, widths: list[int]) -> bool:
    """Ask one question on a line of its own, in columns as wide as the widest of each; whether the answer is right."""
    file = console.paint(f"{question.file:<{widths[0]}}", "dim")
    console.write(f"  {file}  {question.question:<{widths[1]}}  ")
    answer = ""
    for part in _stream(client, model, question):
        answer += part
        console.write(part.replace("\n", " "))
    right = question.is_right(answer)
    verdict = console.paint("right", "green") if right else f"{console.paint('wrong', 'red')}: {question.answer}"
    console.say(f"{' ' * max(2, widths[2] + 2 - len(answer))}{verdict}")
    return right


def _stream(client: OpenAI, model: str, question: Question) -> Iterator[str]:
    messages: Any = [{"role": "user", "content": question.content}]
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


@contextmanager
def address_of_service(cluster: Cluster) -> Iterator[str]:
    """An address of the Service that this machine can reach: its own, else that of a tunnel by kubectl.

    Raises:
        DemoError: neither works.
    """
    service = cluster.get("-n", release.NAMESPACE, "service", release.NAME)
    address, port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"]
    if _connects(address, port):
        yield f"http://{address}" if port == 80 else f"http://{address}:{port}"
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    command = [cluster.program("kubectl"), "--kubeconfig", str(cluster.kubeconfig), "-n", release.NAMESPACE]
    tunnel = subprocess.Popen(
        [*command, "port-forward", f"service/{release.NAME}", f"{free}:{port}"], stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 15
        while not _connects("127.0.0.1", free):
            if tunnel.poll() is not None or time.monotonic() > deadline:
                raise DemoError(
                    "kubectl port-forward to the Service does not come up.", "read kubectl's message above."
                )
            time.sleep(0.1)
        yield f"http://127.0.0.1:{free}"
    finally:
        tunnel.terminate()
        tunnel.wait()


def _connects(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False
