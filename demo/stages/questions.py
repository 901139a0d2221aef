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
from dataclasses import dataclass
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
    accepted: tuple[str, ...]

    def is_right(self, answer: str) -> bool:
        """Whether ``answer`` says one of the accepted answers, whatever its letter case and punctuation."""
        return _plain(answer) in {_plain(accepted) for accepted in self.accepted}

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
    return [Question(entry["file"], entry["question"], (entry["answer"],)) for entry in entries]


def ask_all(console: Console, address: str, model: str) -> tuple[int, int]:
    """Ask every question, print every answer as it arrives; returns how many were right, and of how many.

    Raises:
        DemoError: the endpoint does not answer.
    """
    questions = read()
    client = OpenAI(base_url=f"{address}/v1", api_key="none", timeout=60)
    files = max(len(question.file) for question in questions)
    asked = max(len(question.question) for question in questions)
    answers = max(len(answer) for question in questions for answer in question.accepted)
    right = 0
    for question in questions:
        console.write(f"  {console.paint(f'{question.file:<{files}}', 'dim')}  {question.question:<{asked}}  ")
        answer = ""
        try:
            for answer_part in _stream(client, model, question):
                answer += answer_part
                console.write(answer_part.replace("\n", " "))
        except OpenAIError as error:
            console.say()
            raise DemoError(
                f"The endpoint did not answer: {error}", "kubectl logs of the server's pod tells more."
            ) from error
        good = question.is_right(answer)
        right += good
        verdict = (
            console.paint("right", "green") if good else console.paint("wrong", "red") + f", {question.accepted[0]}"
        )
        console.say(f"{' ' * max(2, answers + 2 - len(answer))}{verdict}")
    return right, len(questions)


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
        yield f"http://{address}:{port}"
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
