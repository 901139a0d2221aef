"""Files and requests that are in order, made here and small, from which the search begins."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from PIL import Image

from films import CODECS, film

WORDS = (
    *(
        "type",
        "text",
        "image",
        "image_url",
        "video",
        "video_url",
        "url",
        "uuid",
        "fps",
        "num_frames",
        "max_frames",
        "min_pixels",
        "max_pixels",
        "total_pixels",
        "detail",
        "low",
        "high",
        "auto",
        "role",
        "content",
    ),
    *(
        "user",
        "system",
        "developer",
        "assistant",
        "tool",
        "name",
        "tool_calls",
        "tool_call_id",
        "function",
        "arguments",
    ),
    *(
        "json_schema",
        "json_object",
        "schema",
        "strict",
        "properties",
        "required",
        "enum",
        "$ref",
        "include_usage",
        "prompt",
    ),
)
"""Names and values in requests that are no fields of their own."""


def pictures() -> Sequence[bytes]:
    """One picture of each format and mode."""
    small = Image.linear_gradient("L").resize((24, 16))
    colour = Image.merge("RGB", (small, small.rotate(180), small))
    clear = colour.copy()
    clear.putalpha(small)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    frames = {"save_all": True, "append_images": [colour.rotate(90)]}
    wanted: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "PNG", {}),
        (clear, "PNG", {}),
        (colour.quantize(8), "PNG", {"transparency": 3}),
        (small.convert("I;16"), "PNG", {"transparency": 500}),
        (small.convert("1"), "PNG", {}),
        (colour, "WEBP", {}),
        (clear, "WEBP", {"lossless": True}),
        (colour, "WEBP", frames),
        (colour.quantize(8), "GIF", {"transparency": 3, **frames}),
        (colour, "BMP", {}),
        (small.convert("1"), "BMP", {}),
        *(
            (colour, "TIFF", {"compression": kind})
            for kind in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg")
        ),
        (small.convert("1"), "TIFF", {"compression": "group4"}),
        (small.convert("I;16"), "TIFF", {}),
        (small.convert("F"), "TIFF", {}),
        (clear, "AVIF", {"speed": 10}),
    ]
    return [_file(*picture) for picture in wanted]


def _file(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def videos() -> Sequence[bytes]:
    """One video of each container and codec that can be written here."""
    kinds = [(container, codec) for container, codecs in CODECS.items() for codec in codecs]
    return [film(6, size=(32, 32), rate=4, container=container, codec=codec) for container, codec in kinds]


def requests() -> Sequence[bytes]:
    """Requests with all that they may have."""
    dot = "data:image/png;base64,iVBORw0KGgo="
    asked = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": dot, "detail": "low"}}]}
    bodies: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "Hello"}]},
        {"messages": [asked, {"role": "assistant", "content": "A dot."}, {"role": "user", "content": "Sure?"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "image": dot}, {"type": "text", "text": "What?"}]}
            ]
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA=="}}]}
            ]
        },
        {
            "model": "demo",
            "messages": [{"role": "system", "content": "Be brief."}, asked],
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": -1,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "presence_penalty": -1,
            "frequency_penalty": 1,
            "length_penalty": 1.0,
            "seed": 7,
            "n": 2,
            "max_tokens": 10,
            "max_completion_tokens": 10,
            "min_tokens": 1,
            "stop": ["a", "b"],
            "stop_token_ids": [5],
            "ignore_eos": False,
            "logit_bias": {"12": -5.5},
            "logprobs": True,
            "top_logprobs": 3,
            "stream": True,
            "stream_options": {"include_usage": True},
            "user": "me",
            "metadata": {"a": "b"},
            "response_format": {"type": "text"},
            "store": False,
            "modalities": ["text"],
        },
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "Sun."},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
                    },
                }
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
        },
        {
            "messages": [{"role": "user", "content": "A number."}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "n",
                    "strict": True,
                    "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
                },
            },
        },
        {"prompt": "some text", "model": "demo"},
    ]
    return [json.dumps(body).encode() for body in bodies]
