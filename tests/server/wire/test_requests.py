"""Every field of a chat request is taken or refused by name, with the code and the place of the fault."""

from typing import Any, get_type_hints

import pytest
from openai.types.chat import ChatCompletionStreamOptionsParam
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from omega_server.wire.errors import ApiError
from omega_server.wire.messages import ImagePart, ImageUrlPart, VideoPart, VideoUrlPart
from omega_server.wire.requests import ChatRequest, StreamOptions, TokenizeRequest, parse_chat, parse_tokenize
from omega_server.wire.unsupported import ALREADY_SO, UNSUPPORTED

HELLO = {"role": "user", "content": "hello"}


def refusal(body: Any) -> tuple[str, str | None]:
    """Code and param with which a body is refused."""
    with pytest.raises(ApiError) as caught:
        parse_chat(body)
    assert caught.value.problem.status == 400
    assert caught.value.problem.message
    return caught.value.problem.code, caught.value.problem.param


def say(*parts: Any) -> dict[str, Any]:
    """A request with one user message of these parts."""
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("temperature", 3, "decimal_above_max_value"),
        ("temperature", float("inf"), "decimal_above_max_value"),
        ("temperature", -1, "decimal_below_min_value"),
        ("temperature", "0.5", "invalid_type"),
        ("temperature", True, "invalid_type"),
        ("top_p", 1.5, "decimal_above_max_value"),
        ("top_p", -0.1, "decimal_below_min_value"),
        ("top_k", -2, "integer_below_min_value"),
        ("top_k", 1.5, "invalid_type"),
        ("min_p", 1.1, "decimal_above_max_value"),
        ("repetition_penalty", 0, "decimal_below_min_value"),
        ("repetition_penalty", -1, "decimal_below_min_value"),
        ("presence_penalty", 2.1, "decimal_above_max_value"),
        ("frequency_penalty", -2.1, "decimal_below_min_value"),
        ("length_penalty", 2.0, "unsupported_parameter"),
        ("max_tokens", True, "invalid_type"),
        ("max_tokens", "7", "invalid_type"),
        ("max_tokens", 0, "integer_below_min_value"),
        ("max_completion_tokens", -5, "integer_below_min_value"),
        ("seed", 1.5, "invalid_type"),
        ("seed", 2**64, "integer_above_max_value"),
        ("n", 10**9, "integer_above_max_value"),
        ("n", 0, "integer_below_min_value"),
        ("stop", ["a"] * 65, "array_above_max_length"),
        ("logit_bias", {"1": 101}, "invalid_value"),
        ("logit_bias", {"x": 1}, "invalid_value"),
        ("logit_bias", {"1": "x"}, "invalid_type"),
        ("logit_bias", {str(token): 0 for token in range(301)}, "invalid_value"),
        ("stop_token_ids", [-1], "integer_below_min_value"),
        ("stop_token_ids", ["x"], "invalid_type"),
        ("stop_token_ids", [1] * 65, "array_above_max_length"),
        ("ignore_eos", 1, "invalid_type"),
        ("top_logprobs", 21, "integer_above_max_value"),
        ("top_logprobs", 2, "invalid_value"),
        ("stream_options", {}, "invalid_value"),
        ("stream", "yes", "invalid_type"),
        ("user", 5, "invalid_type"),
        ("user", "u" * 513, "string_above_max_length"),
        ("metadata", {str(key): "x" for key in range(17)}, "array_above_max_length"),
        ("messages", [], "empty_array"),
        ("messages", "hello", "invalid_type"),
        ("nonsense", 1, "unknown_parameter"),
    ],
)
def test_field(field: str, value: Any, code: str) -> None:
    """A bad value is refused at its field."""
    refused, param = refusal({"messages": [HELLO], field: value})
    assert refused == code
    assert param is not None
    assert param.startswith(field)


@pytest.mark.parametrize("field", sorted(UNSUPPORTED))
def test_unsupported(field: str) -> None:
    """What other servers know is refused by name, and null is as good as nothing."""
    assert refusal({"messages": [HELLO], field: {}}) == ("unsupported_parameter", field)
    assert parse_chat({"messages": [HELLO], field: None}).messages


def test_every_field_of_openai_is_known() -> None:
    """What OpenAI's own client can send is implemented or refused by name; nothing is both."""
    theirs = set(get_type_hints(CompletionCreateParamsBase)) | {"stream"}
    ours = set(ChatRequest.model_fields)
    assert theirs <= ours | UNSUPPORTED
    assert not ours & UNSUPPORTED
    assert set(ALREADY_SO) <= UNSUPPORTED
    assert set(get_type_hints(ChatCompletionStreamOptionsParam)) <= set(StreamOptions.model_fields)


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, known in ALREADY_SO.items() for value in known])
def test_what_happens_anyway_may_be_asked_for(field: str, value: Any) -> None:
    """A field that is not implemented is taken where it asks for nothing, and in no other type that is equal."""
    assert parse_chat({"messages": [HELLO], field: value}).messages
    if type(value) in (bool, int):
        other: Any = int(value) if isinstance(value, bool) else float(value)
        for wrong in (other, not value, 7):
            assert refusal({"messages": [HELLO], field: wrong}) == ("unsupported_parameter", field)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ([], "invalid_type", None),
        ({}, "missing_required_parameter", "prompt"),
        ({"prompt": 5}, "invalid_type", "prompt"),
        ({"prompt": "x", "messages": [HELLO]}, "invalid_value", "prompt"),
        ({"prompt": "x", "temperature": 1}, "unknown_parameter", "temperature"),
        ({"prompt": "x" * (1 << 21)}, "string_above_max_length", "prompt"),
        ({"messages": []}, "empty_array", "messages"),
        ({"messages": [HELLO], "tools": []}, "empty_array", "tools"),
    ],
)
def test_tokenize(body: Any, code: str, param: str | None) -> None:
    """A text or messages, and the messages by the rules of a chat request."""
    with pytest.raises(ApiError) as caught:
        parse_tokenize(body)
    assert (caught.value.problem.code, caught.value.problem.param) == (code, param)


def test_tokenize_takes_both_forms() -> None:
    """The form is known by its field; null is as good as nothing."""
    assert isinstance(parse_tokenize({"prompt": "", "messages": None}), TokenizeRequest)
    assert isinstance(parse_tokenize({"messages": [HELLO], "prompt": None}), ChatRequest)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ([], "invalid_type", None),
        (None, "invalid_type", None),
        ({}, "missing_required_parameter", "messages"),
        ({"messages": [{"content": "x"}]}, "missing_required_parameter", "messages[0].role"),
        ({"messages": [{"role": "x", "content": "x"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": 5, "content": "x"}]}, "invalid_type", "messages[0].role"),
        ({"messages": [7]}, "invalid_type", "messages[0]"),
        ({"messages": [{"role": "function", "content": "x"}]}, "unsupported_parameter", "messages[0]"),
        ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid_type", "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "empty_array", "messages[0].content"),
        ({"messages": [{**HELLO, "name": "bob"}]}, "unsupported_parameter", "messages[0].name"),
        ({"messages": [{**HELLO, "foo": "bob"}]}, "unknown_parameter", "messages[0].foo"),
        ({"messages": [HELLO, {"role": "system", "content": "x"}]}, "invalid_value", "messages[1].role"),
        ({"messages": [HELLO], "max_tokens": 5, "max_completion_tokens": 6}, "invalid_value", "max_completion_tokens"),
        ({"messages": [HELLO], "stop": ""}, "invalid_value", "stop[0]"),
        ({"messages": [HELLO], "stop": ["a", "s" * 2000]}, "string_above_max_length", "stop[1]"),
        ({"messages": [HELLO], "response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        ({"messages": [HELLO], "stream": True, "stream_options": {"x": 1}}, "unknown_parameter", "stream_options.x"),
        ({"messages": [HELLO], "stream": True, "stream_options": {"include_obfuscation": True}}, "unsupported_parameter",
         "stream_options.include_obfuscation"),
        (say({"type": "x"}), "invalid_value", "messages[0].content[0].type"),
        (say({"text": "x"}), "missing_required_parameter", "messages[0].content[0].type"),
        (say("x"), "invalid_type", "messages[0].content[0]"),
        (say({"type": "text"}), "missing_required_parameter", "messages[0].content[0].text"),
        (say({"type": "text", "text": "\ud800"}), "invalid_value", "messages[0].content[0].text"),
        (say({"type": "text", "text": "x" * (9 << 20)}), "string_above_max_length", "messages[0].content[0].text"),
        (say({"type": "image_url", "image_url": "https://x"}), "invalid_type", "messages[0].content[0].image_url"),
        (say({"type": "image_url", "image_url": {}}), "missing_required_parameter", "messages[0].content[0].image_url.url"),
        (say({"type": "file", "file": {}}), "unsupported_content_type", "messages[0].content[0]"),
        (say({"type": "video_url"}), "missing_required_parameter", "messages[0].content[0].video_url"),
        (say({"type": "video", "video": ["a", "b"]}), "invalid_type", "messages[0].content[0].video"),
        (say({"type": "video", "video": "x", "fps": 0}), "decimal_below_min_value", "messages[0].content[0].fps"),
        (say({"type": "video", "video": "x", "fps": 121}), "decimal_above_max_value", "messages[0].content[0].fps"),
        (say({"type": "video", "video": "x", "num_frames": 1}), "integer_below_min_value",
         "messages[0].content[0].num_frames"),
        (say({"type": "video", "video": "x", "num_frames": 4, "fps": 1}), "invalid_value", "messages[0].content[0]"),
        (say({"type": "video", "video": "x", "nframes": 4}), "unknown_parameter", "messages[0].content[0].nframes"),
        (say({"type": "image_embeds", "image_embeds": "x"}), "unsupported_parameter", "messages[0].content[0]"),
    ],
)  # fmt: skip
def test_structure(body: Any, code: str, param: str | None) -> None:
    """A fault inside the messages is named with its whole path."""
    assert refusal(body) == (code, param)


@pytest.mark.parametrize("kind", ["image", "video", "video_url"])
def test_picture_of_the_system(kind: str) -> None:
    """Pictures and videos belong into user messages."""
    picture = {"type": kind, kind: "x"}
    assert refusal({"messages": [{"role": "system", "content": [picture]}]}) == (
        "invalid_value",
        "messages[0].content[0]",
    )


def test_video() -> None:
    """A video comes in either of two forms, with the fields of Qwen's clients."""
    for form in ({"type": "video_url", "video_url": {"url": "https://x"}}, {"type": "video", "video": "https://x"}):
        part = parse_chat(say({**form, "fps": 2, "max_frames": 16, "max_pixels": 4096, "total_pixels": 65536}))
        (shown,) = part.messages[0].content
        assert isinstance(shown, VideoPart | VideoUrlPart)
        assert (shown.source, shown.fps, shown.max_frames) == ("https://x", 2.0, 16)


def test_detail() -> None:
    """How closely to look is one of three words."""
    good = parse_chat(say({"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}))
    part = good.messages[0].content[0]
    assert isinstance(part, ImageUrlPart)
    assert part.look.detail == "low"
    code, _ = refusal(say({"type": "image_url", "image_url": {"url": "https://x", "detail": "huge"}}))
    assert code == "invalid_value"


def test_echoed_answer() -> None:
    """A client that sends back the whole message object it got, nulls included, is understood."""
    echoed = {
        "role": "assistant",
        "content": "hi",
        "refusal": None,
        "tool_calls": None,
        "audio": None,
        "annotations": [],
    }
    request = parse_chat({"messages": [HELLO, echoed, HELLO]})
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]


def test_everything_at_once() -> None:
    """All implemented fields together are accepted."""
    request = parse_chat(
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
                {"role": "user", "content": [{"type": "image", "image": "AAAA"}, {"type": "text", "text": "what?"}]},
            ],
            "temperature": 0,
            "top_p": 0,
            "top_k": -1,
            "min_p": 0,
            "max_tokens": 5,
            "max_completion_tokens": 5,
            "min_tokens": 1,
            "repetition_penalty": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "length_penalty": 1,
            "seed": -(2**63),
            "stop": "x",
            "stop_token_ids": [1, 2],
            "ignore_eos": True,
            "n": 2,
            "logit_bias": {"5": -100},
            "logprobs": True,
            "top_logprobs": 20,
            "response_format": {"type": "text"},
            "stream": True,
            "stream_options": {"include_usage": True, "include_obfuscation": False},
            "user": "u",
            "safety_identifier": "s",
            "tool_choice": "none",
            "parallel_tool_calls": False,
            "metadata": {"k": "v"},
        }
    )
    assert request.stop == ["x"]
    assert request.answer_tokens == ("max_completion_tokens", 5)
    assert isinstance(request.messages[1].content[0], ImagePart)


def test_pixels() -> None:
    """Numbers of pixels stand beside detail, or as Qwen's own clients send them beside image_url; never in both places."""
    inside = {"type": "image_url", "image_url": {"url": "https://x", "detail": "high", "max_pixels": 4096}}
    beside = {"type": "image_url", "image_url": {"url": "https://x", "detail": "high"}, "max_pixels": 4096}
    plain = {"type": "image", "image": "https://x", "detail": "high", "max_pixels": 4096}
    for part in (inside, beside, plain):
        (found,) = parse_chat(say(part)).messages[0].content
        assert (found.look.detail, found.look.min_pixels, found.look.max_pixels) == ("high", None, 4096)
    assert refusal(say(inside | {"max_pixels": 4096}))[0] == "invalid_value"
    for low, high, code in ((5000, 4096, "invalid_value"), (0, None, "integer_below_min_value"),
                            (None, 1023, "integer_below_min_value"), (2**31, None, "integer_above_max_value"),
                            ("9", None, "invalid_type")):  # fmt: skip
        assert refusal(say({"type": "image", "image": "x", "min_pixels": low, "max_pixels": high}))[0] == code
