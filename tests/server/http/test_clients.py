"""Clients that people have: OpenAI's own, LiteLLM and LangChain, each asking a real server about pictures."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from demo_server import KEY, ROOT, Configured
from openai import AsyncOpenAI, OpenAI

import environments

PICTURE = ROOT / "demo" / "pictures" / "04-describe.png"
ANSWER = "A green circle, a green square and a green circle."
CLIENTS = ROOT / "requirements" / "clients.txt"
CLIENT_BYTES = 2**30
"""What their environment takes, with the download."""


def messages(question: str = "What does the image show?") -> Any:
    """A picture and a question, as OpenAI's documentation has them."""
    address = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


@pytest.fixture(scope="module")
def client(server: Configured) -> Iterator[OpenAI]:
    """OpenAI's client, which does not try again: a test is to see what happened."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120) as made:
        yield made


def test_openai_answers(client: OpenAI) -> None:
    """Whole, with a usage that says what the picture cost, and under the request's id."""
    answer = client.chat.completions.with_raw_response.create(model="demo", messages=messages(), temperature=0)
    completion = answer.parse()
    assert completion.choices[0].message.content == ANSWER
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert answer.headers["x-request-id"]
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"


def test_openai_streams(client: OpenAI) -> None:
    """Piece by piece, under one id, with the usage at the end."""
    stream = client.chat.completions.create(
        model="demo", messages=messages(), temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage is not None


def test_openai_helps_with_streams(client: OpenAI) -> None:
    """The client's own helper gathers the events of a stream into the answer."""
    with client.chat.completions.stream(model="demo", messages=messages(), temperature=0) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == ANSWER


async def test_openai_async(server: Configured) -> None:
    """The asynchronous client, whole and streaming."""
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        whole = await client.chat.completions.create(model="demo", messages=messages(), temperature=0)
        assert whole.choices[0].message.content == ANSWER
        stream = await client.chat.completions.create(model="demo", messages=messages(), temperature=0, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == ANSWER


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"temperature": 3}, openai.BadRequestError, "decimal_above_max_value"),
        ({"extra_body": {"colour": "red"}}, openai.BadRequestError, "unknown_parameter"),
        ({"max_tokens": 10**6}, openai.BadRequestError, "integer_above_max_value"),
        ({"model": "gpt"}, openai.NotFoundError, "model_not_found"),
        ({"extra_headers": {"Authorization": "Bearer wrong"}}, openai.AuthenticationError, "invalid_api_key"),
    ],
)
def test_openai_knows_our_errors(client: OpenAI, change: dict[str, Any], kind: type[Exception], code: str) -> None:
    """Each becomes the class that the client has for it, with its code, parameter and request id."""
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": "demo", "messages": messages("Hello"), **change})
    error = caught.value
    assert isinstance(error, openai.APIStatusError)
    assert error.code == code
    assert error.request_id


def test_openai_does_not_repeat_our_refusals(server: Configured) -> None:
    """A client that tries again by itself does not do so with what will never work."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=2, timeout=120) as client:
        seen = []
        client._client.event_hooks["response"] = [lambda answer: seen.append(answer.status_code)]
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="demo", messages=messages("Hello"), temperature=3)
    assert seen == [400]


def test_openai_tries_again_when_the_server_is_full(server: Configured) -> None:
    """While the queue has no room the server says 429, and the client comes back until there is."""
    import concurrent.futures

    statuses: list[int] = []
    config = server.directory / "config.json"
    before = json.loads(config.read_text())
    before.pop("version")
    assert server.configure({**before, "batching": {"maxBatchSize": 1, "maxQueue": 1}}) is None
    try:
        with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=20, timeout=120) as client:
            client._client.event_hooks["response"] = [lambda answer: statuses.append(answer.status_code)]

            def ask(_: int) -> str | None:
                answer = client.chat.completions.create(model="demo", messages=messages(), temperature=0)
                return answer.choices[0].message.content

            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                assert list(pool.map(ask, range(12))) == [ANSWER] * 12
    finally:
        assert server.configure(before) is None
    assert statuses.count(200) == 12
    assert set(statuses) == {200, 429}


@pytest.fixture(scope="module")
def others() -> Path:
    """The Python that has LiteLLM and LangChain, installed now unless it is there already."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "omega-vlm" / "environments"
    return environments.make(CLIENTS, home, bytes_needed=CLIENT_BYTES, bytes_left=CLIENT_BYTES) / "bin" / "python"


@pytest.mark.parametrize("name", ["litellm", "langchain"])
def test_other_clients(server: Configured, others: Path, name: str) -> None:
    """Whole, streaming, asynchronous, by a schema, with a tool, with tokens and the right exception."""
    done = subprocess.run(
        [others, Path(__file__).parent / "other_clients.py", name, f"{server.url}/v1", PICTURE],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "OPENAI_API_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["whole"] == said["streamed"] == said["async"] == ANSWER
    assert said["formed"]["shape"] in ("circle", "square")
    name_called, arguments = said["called"]
    assert name_called == "paint"
    assert arguments["shape"] in ("circle", "square")
    assert said["prompt_tokens"] > 28
    assert said["pieces"] > 3
    assert said["error"] == "BadRequestError"
    assert "less than or equal to 2" in said["message"]
