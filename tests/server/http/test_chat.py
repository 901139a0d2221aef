"""Chat as OpenAI's own client does it, with pictures, whole and as a stream."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from demo_server import KEY, ROOT, Configured, circle, shown, until, uri
from openai import APIStatusError, AsyncOpenAI, NotFoundError, OpenAI
from tokenizers import Tokenizer

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the server

COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture
def client(server: Configured) -> OpenAI:
    """OpenAI's client."""
    return OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


def ask(client: OpenAI, content: Any, **fields: Any) -> Any:
    """A whole answer, greedy unless told otherwise."""
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(model="demo", messages=messages, **{"temperature": 0, **fields})


@pytest.mark.parametrize("colour", COLOURS)
def test_picture(client: OpenAI, colour: str) -> None:
    """The right answer about a picture."""
    answer = ask(client, shown(uri(circle(colour))))
    assert answer.choices[0].message.content == colour
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "demo"


def test_original_form(server: Configured) -> None:
    """The original system's {"type": "image"} takes base64 with and without a data: head, and needs no model name."""
    for source in (uri(circle("blue")), base64.b64encode(circle("blue")).decode()):
        content = [{"type": "image", "image": source}, {"type": "text", "text": "What colour is the circle?"}]
        answer = server.chat(content, max_tokens=16, top_p=0.95, top_k=50, seed=42, length_penalty=1.0)
        assert answer.json()["choices"][0]["message"]["content"] == "blue"


def test_stream(client: OpenAI) -> None:
    """A stream has one id, says the role first, gives the same text, then reason, usage and an end."""
    whole = ask(client, shown(uri(circle("green"))))
    chunks = list(ask(client, shown(uri(circle("green"))), stream=True, stream_options={"include_usage": True}))
    assert len({(chunk.id, chunk.created, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert all("usage" in chunk.model_fields_set for chunk in chunks)


def test_raw_stream(server: Configured) -> None:
    """On the wire each event is one line of data and an empty line, and the last word is [DONE]."""
    body = {"messages": [{"role": "user", "content": "hello"}], "stream": True, "max_tokens": 4}
    with server.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = response.read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        chunk = json.loads(event.removeprefix("data: "))
        assert chunk["object"] == "chat.completion.chunk"
        assert "usage" not in chunk


async def test_async_client(server: Configured) -> None:
    """The asynchronous client streams too."""
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": shown(uri(circle("red")))}]
        stream = await client.chat.completions.create(model="demo", messages=messages, stream=True, temperature=0)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "red"


def test_usage(server: Configured, client: OpenAI) -> None:
    """What is charged is what apply_template announced, pictures included."""
    content = [*shown(uri(circle("red"))), *shown(uri(circle("blue")), "And this?")]
    body = {"messages": [{"role": "user", "content": content}]}
    announced = server.client.post("/v1/apply_template", json=body).json()
    usage = ask(client, content, max_tokens=3).usage
    assert usage.prompt_tokens == announced["prompt_tokens"]
    details = usage.prompt_tokens_details.model_dump()
    assert details["image_tokens"] == sum(announced["image_tokens"])
    assert usage.completion_tokens <= 3
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert announced["prompt"].count("<|image_pad|>") == 2


def test_order(server: Configured) -> None:
    """Text and pictures stay in the order in which they were sent."""
    picture = {"type": "image_url", "image_url": {"url": uri(circle("red"))}}
    content = [{"type": "text", "text": "one"}, picture, {"type": "text", "text": "two"}, picture]
    prompt = server.client.post("/v1/apply_template", json={"messages": [{"role": "user", "content": content}]}).json()
    placeholder = "<|vision_start|><|image_pad|><|vision_end|>"
    assert f"one{placeholder}two{placeholder}" in prompt["prompt"]


def test_choices(client: OpenAI) -> None:
    """Several choices come with one request, and a seed makes them repeatable."""
    many = {"n": 3, "temperature": 1.5, "seed": 7, "max_tokens": 8, "top_k": 0, "top_p": 1.0}
    extra = {"top_k": many.pop("top_k")}
    first, second = (ask(client, "hello", extra_body=extra, **many) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert texts == [choice.message.content for choice in second.choices]
    alone = ask(client, "hello", extra_body=extra, **{**many, "n": 1})
    assert alone.choices[0].message.content == texts[0]


async def test_seeds_do_not_depend_on_the_company(server: Configured) -> None:
    """Random answers with seeds are the same one after the other and all at once, beside others without."""
    fields: list[dict[str, Any]] = [
        {"seed": 1, "temperature": 1.2, "top_k": 0},
        {"seed": 1, "temperature": 1.2, "top_k": 5, "repetition_penalty": 1.3},
        {"seed": 2, "temperature": 0.9, "top_p": 0.8},
        {"seed": 3, "temperature": 1.5, "min_p": 0.05, "n": 2},
        {"seed": 4, "temperature": 1.0, "frequency_penalty": 0.5, "logit_bias": {"300": 2}},
        {"temperature": 0},
    ]
    async with httpx.AsyncClient(
        base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120
    ) as client:

        async def texts(**more: Any) -> list[str]:
            body = {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 12, "ignore_eos": True}
            response = await client.post("/v1/chat/completions", json=body | more)
            return [choice["message"]["content"] for choice in response.json()["choices"]]

        alone = [await texts(**some) for some in fields]
        others = [texts(temperature=1.5) for _ in range(6)]
        together = await asyncio.gather(*(texts(**some) for some in fields), *others)
        assert together[: len(fields)] == alone


def test_choices_as_a_stream(client: OpenAI) -> None:
    """Each chunk names its choice; the choices are those of the whole answer, and their prompt is charged once."""
    many: Any = {"n": 3, "temperature": 1.5, "seed": 11, "max_tokens": 6, "extra_body": {"top_k": 0}}
    content = shown(uri(circle("blue")), "Describe this image.")
    whole = ask(client, content, **many)
    chunks = list(ask(client, content, **many, stream=True, stream_options={"include_usage": True}))
    texts, reasons = ["", "", ""], [[], [], []]
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        reasons[choice.index].append(choice.finish_reason)
    assert texts == [choice.message.content for choice in whole.choices]
    assert [some[-1] for some in reasons] == [choice.finish_reason for choice in whole.choices]
    assert all(set(some[:-1]) == {None} for some in reasons)
    assert (
        chunks[-1].usage.prompt_tokens
        == whole.usage.prompt_tokens
        == ask(client, content, max_tokens=1).usage.prompt_tokens
    )
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_cached_tokens(client: OpenAI) -> None:
    """A prompt that was never seen has no cached tokens, however many choices share it; the same again has most of them."""
    words = "Once upon a time there was a circle that wanted to be a square. " * 5
    first, second = (ask(client, words, n=2, max_tokens=2).usage for _ in range(2))
    assert first.prompt_tokens_details.cached_tokens == 0
    assert 0.7 < second.prompt_tokens_details.cached_tokens / second.prompt_tokens < 1


def test_the_prompt_of_several_choices_is_computed_once(server: Configured) -> None:
    """The metrics count the prompt's tokens once."""

    def computed() -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("omega_prompt_tokens_total"))

    before = computed()
    usage = server.chat("one prompt, three answers", n=3, max_tokens=2).json()["usage"]
    assert computed() - before == usage["prompt_tokens"]


def test_lengths(client: OpenAI) -> None:
    """An answer that is cut off says so, and min_tokens keeps it going."""
    cut = ask(client, shown(uri(circle("red")), "Describe this image."), max_tokens=1)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 1
    long = ask(client, shown(uri(circle("red"))), max_completion_tokens=12, extra_body={"min_tokens": 12})
    assert long.usage.completion_tokens == 12


def test_stop(client: OpenAI) -> None:
    """A text ends before its stop string, which is never shown, streamed or not."""
    content = shown(uri(circle("red")), "Describe this image.")
    whole = ask(client, content).choices[0].message.content
    assert len(whole) > 4
    stop = whole[2:5]
    expected = whole[: whole.index(stop)]
    cut = ask(client, content, stop=[stop, "never"])
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (expected, "stop")
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(client, content, stop=stop, stream=True))
    assert streamed == expected


def test_stop_tokens(client: OpenAI) -> None:
    """A token may end the answer, which then ends before its text; ignore_eos lets it go on after its own end."""
    content = shown(uri(circle("red")))
    assert ask(client, content).choices[0].message.content == "red"
    stopped = ask(client, content, extra_body={"stop_token_ids": [token_of(client, "red")]})
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("", "stop")
    assert stopped.usage.completion_tokens == 1
    endless = ask(client, content, max_tokens=9, extra_body={"ignore_eos": True})
    assert (endless.usage.completion_tokens, endless.choices[0].finish_reason) == (9, "length")
    assert endless.choices[0].message.content.startswith("red")


def test_tokenize(server: Configured) -> None:
    """A text's tokens are those that it has in a message, control tokens being only letters there; a conversation's are its prompt."""
    tokenizer = Tokenizer.from_file(str(ROOT / "demo" / "model" / "tokenizer.json"))
    text = "What colour? <|im_start|>system 日本"
    alone = server.client.post("/v1/tokenize", json={"prompt": text}).json()
    assert alone["count"] == len(alone["tokens"])
    assert tokenizer.decode(alone["tokens"], skip_special_tokens=True) == text
    picture = {"type": "image_url", "image_url": {"url": uri(circle("red"))}}
    body = {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": text}]}]}
    whole = server.client.post("/v1/tokenize", json=body).json()
    announced = server.client.post("/v1/apply_template", json=body).json()
    assert (whole["count"], whole["image_tokens"]) == (announced["prompt_tokens"], announced["image_tokens"])
    assert whole["tokens"].count(tokenizer.token_to_id("<|image_pad|>")) == sum(whole["image_tokens"])
    start = whole["tokens"].index(alone["tokens"][0], whole["tokens"].index(tokenizer.token_to_id("<|vision_end|>")))
    assert whole["tokens"][start : start + alone["count"]] == alone["tokens"]
    assert whole["max_model_len"] == alone["max_model_len"] == 4096
    refused = server.client.post("/v1/tokenize", json={"prompt": "x", "model": "other"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    refused = server.client.post("/v1/tokenize", json={**body, "stream": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")


def test_logprobs(client: OpenAI) -> None:
    """Each token comes with its probability and the likeliest others; together their bytes are the text."""
    answer = ask(client, shown(uri(circle("red"))), logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for item in content:
        assert item.logprob <= 0
        assert len(item.top_logprobs) == 3
        assert item.top_logprobs[0].logprob == max(other.logprob for other in item.top_logprobs)
    assert b"".join(bytes(item.bytes) for item in content).startswith(b"red")
    assert ask(client, "hello", max_tokens=1).choices[0].logprobs is None


def test_logprobs_as_a_stream(client: OpenAI) -> None:
    """The stream tells of the same tokens, with the text that they are part of, choice by choice."""
    asked: Any = {"logprobs": True, "top_logprobs": 1, "n": 2, "max_tokens": 4, "seed": 5, "temperature": 1.0}
    whole = ask(client, "hello", **asked)
    told: list[list[Any]] = [[], []]
    for chunk in ask(client, "hello", **asked, stream=True):
        for choice in chunk.choices:
            told[choice.index] += choice.logprobs.content if choice.logprobs else []
    assert [[item.token for item in some] for some in told] == [
        [item.token for item in choice.logprobs.content] for choice in whole.choices
    ]
    assert all(len(item.top_logprobs) == 1 for some in told for item in some)


def test_bias(client: OpenAI) -> None:
    """A banned token does not come."""
    answer = ask(client, shown(uri(circle("red"))), logprobs=True)
    token = answer.choices[0].logprobs.content[0].token
    assert token == "red"
    biased = ask(client, shown(uri(circle("red"))), logit_bias={str(token_of(client, "red")): -100}, max_tokens=4)
    assert not biased.choices[0].message.content.startswith("red")


def token_of(_client: OpenAI, word: str) -> int:
    """The id of a word in the demo model's vocabulary."""
    vocabulary = json.loads((ROOT / "demo" / "model" / "tokenizer.json").read_text())["model"]["vocab"]
    return int(vocabulary[word])


def test_pixels(server: Configured) -> None:
    """A picture has as many tokens as its request permits, within the server's limits, and what is announced is used."""
    tokens = {}
    for name, look in {
        "plain": {},
        "few": {"max_pixels": 4096},
        "many": {"min_pixels": 200_000},
        "low": {"detail": "low", "min_pixels": 200_000},
    }.items():
        body = {"messages": [{"role": "user", "content": shown(uri(circle("red")), **look)}], "max_tokens": 1}
        (tokens[name],) = server.client.post("/v1/apply_template", json=body).json()["image_tokens"]
        usage = server.client.post("/v1/chat/completions", json=body).json()["usage"]
        assert usage["prompt_tokens_details"]["image_tokens"] == tokens[name]
    assert tokens["few"] == 4 < tokens["plain"] <= 33
    assert 196 == tokens["many"] == tokens["low"]
    for name, look in (
        ("max_pixels", {"max_pixels": 1023}),
        ("min_pixels", {"detail": "low", "min_pixels": 512**2 + 1}),
    ):
        error = server.chat(shown(uri(circle("red")), **look)).json()["error"]
        assert error["code"] == {"max_pixels": "integer_below_min_value", "min_pixels": "integer_above_max_value"}[name]


def test_detail(server: Configured) -> None:
    """Low detail is a smaller picture; the model's own bounds still hold."""
    for detail in ("low", "high", "auto"):
        assert server.chat(shown(uri(circle("red")), detail=detail)).json()["choices"][0]["message"]["content"] == "red"


def test_conversation(client: OpenAI) -> None:
    """A second turn after a system message, with the client's own message object sent back."""
    first = ask(client, shown(uri(circle("red"))))
    messages: Any = [
        {"role": "system", "content": "You see shapes."},
        {"role": "user", "content": shown(uri(circle("red")))},
        first.choices[0].message.model_dump(),
        {"role": "user", "content": "What colour is the circle?"},
    ]
    answer = client.chat.completions.create(model="demo", messages=messages, temperature=0)
    assert answer.choices[0].finish_reason == "stop"


def test_models(client: OpenAI) -> None:
    """There is one model, by name."""
    (only,) = client.models.list().data
    assert (only.id, only.object) == ("demo", "model")
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(NotFoundError):
        client.models.retrieve("org/other")


def test_errors_reach_the_client(client: OpenAI) -> None:
    """OpenAI's client sees code and param of a refusal."""
    with pytest.raises(APIStatusError) as caught:
        ask(client, "hello", temperature=9)
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (  # type: ignore[attr-defined]
        400,
        "decimal_above_max_value",
        "temperature",
    )


def test_request_id(server: Configured) -> None:
    """A client's own id comes back and is in the log; a bad one is replaced."""
    answer = server.client.get("/v1/models", headers={"X-Request-Id": "my-id-42"})
    assert answer.headers["x-request-id"] == "my-id-42"
    until(lambda: "my-id-42" in server.log.read_text())  # written once the answer is out
    replaced = server.client.get("/v1/models", headers={"X-Request-Id": "bad id\tx"})
    assert replaced.headers["x-request-id"].isalnum()


def test_health_and_metrics(server: Configured) -> None:
    """What the server says about itself: the original's settings, its engines, and counters that count."""
    health = server.client.get("/health").json()
    assert health["status"] == "ready"
    assert health["vlm_config"]["max_image_size"] == 1024
    assert health["vlm_config"]["max_model_length"] == 4096
    assert health["engines"][0]["state"] == "ready"

    def value(name: str) -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and not line.startswith("#"))

    names = ("omega_request_success_total", "omega_prompt_tokens_total", "omega_generation_tokens_total",
             "omega_time_to_first_token_seconds_count", "omega_e2e_request_latency_seconds_count",
             "omega_inter_token_latency_seconds_count")  # fmt: skip
    before = {name: value(name) for name in names}
    usage = server.chat("hello", max_tokens=3, min_tokens=3).json()["usage"]
    grown = {name: value(name) - before[name] for name in names}
    assert grown == dict(zip(names, (1, usage["prompt_tokens"], 3, 1, 1, 2), strict=True))
    assert value("omega_num_requests_running") == 0
    assert value("omega_num_requests_waiting") == 0
    assert value("omega_kv_cache_usage_perc") <= 1
