"""Response bodies of the OpenAI API."""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Head:
    """What all chunks of one answer share."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True)
class Usage:
    """What a request cost, in tokens."""

    prompt: int
    completion: int
    cached: int
    image: int
    video: int = 0

    def body(self) -> dict[str, Any]:
        """The usage object."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {
                "cached_tokens": self.cached,
                "image_tokens": self.image,
                "video_tokens": self.video,
            },
        }


def choice(
    index: int,
    text: str | None,
    finish_reason: str,
    logprobs: Sequence[dict[str, Any]] | None,
    tool_calls: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """One complete choice."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "index": index,
        "message": message | ({"tool_calls": list(tool_calls)} if tool_calls else {}),
        "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
        "finish_reason": finish_reason,
    }


def completion(head: Head, choices: Iterable[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    """A whole answer."""
    return {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": list(choices),
        "usage": usage.body(),
    }


def chunk(
    head: Head, choices: Sequence[dict[str, Any]], *, with_usage: bool = False, usage: Usage | None = None
) -> dict[str, Any]:
    """A piece of an answer. If usage was asked for, the last has it and no choice, and in the others it is null."""
    body = {
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "choices": choices,
    }
    return {**body, "usage": None if usage is None else usage.body()} if with_usage else body


def piece(
    index: int,
    delta: dict[str, Any],
    finish_reason: str | None = None,
    logprobs: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """What one choice gained."""
    return {
        "index": index,
        "delta": delta,
        "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
        "finish_reason": finish_reason,
    }


def tool_call(number: str, name: str, arguments: str) -> dict[str, Any]:
    """A call of a function, under an id for the answer to it."""
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def logprob(token: str, data: bytes, value: float, top: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
    """One token's probability; `top` is left out for the tokens that only stand beside another."""
    body = {"token": token, "logprob": value, "bytes": list(data)}
    return body if top is None else {**body, "top_logprobs": top}


def tokens(
    token_ids: Sequence[int], max_length: int, image_tokens: Sequence[int] = (), video_tokens: Sequence[int] = ()
) -> dict[str, Any]:
    """A text or a conversation as token ids; pictures and videos are counted, each by itself."""
    return {
        "count": len(token_ids),
        "max_model_len": max_length,
        "tokens": list(token_ids),
        "image_tokens": list(image_tokens),
        "video_tokens": list(video_tokens),
    }


def model(name: str, created: int, max_length: int) -> dict[str, Any]:
    """One model."""
    return {"id": name, "object": "model", "created": created, "owned_by": "omega", "max_model_len": max_length}


def models(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": list(entries)}
