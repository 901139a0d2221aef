"""omega chat: pictures and a question -> the answer, printed while it comes."""

import argparse
import base64
import mimetypes
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omega_server.client import models
from omega_server.client.server import ClientError, Server, printable

SAMPLING = ("temperature", "top_p", "max_tokens", "seed")
USAGE = "[PICTURE ...] QUESTION [FLAGS]"
DESCRIPTION = "Ask about pictures, and print the answer while it comes."
MOST_BYTES = 512 * 2**20
"""Of what is read from standard input. Far more than any server takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line after `omega chat URL`."""
    text = "files, http(s) addresses or - for standard input; the last word is the question, or - for standard input"
    parser.add_argument("words", nargs="+", metavar="PICTURE QUESTION", help=text)
    parser.add_argument("--model", help="model id (default: the first of /v1/models)")
    parser.add_argument("--system", metavar="TEXT", help="instructions for the whole conversation")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="0 takes the likeliest token (default: the server's)"
    )
    parser.add_argument("--top-p", type=float, metavar="P", help="(default: the server's)")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest answer (default: the server's)")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same answer")
    parser.add_argument("--stats", action="store_true", help="tokens and times, on standard error")


def run(server: Server, options: argparse.Namespace) -> None:
    """Ask, and print the answer.

    Raises:
        ClientError: a picture cannot be read, or the server refuses or fails.
    """
    body = _body(options)
    body["model"] = options.model or models.models(server)[0]["id"]
    _print(server.stream("chat/completions", body), stats=options.stats)


def _body(options: argparse.Namespace) -> dict[str, Any]:
    """The request, without its model."""
    *pictures, question = options.words
    if options.words.count("-") > 1:
        raise ClientError("standard input can be one thing only: - stands for a picture or for the question")
    if question == "-":
        question = _input().decode("utf-8", errors="replace").strip()
    elif _is_file(question):
        raise ClientError(
            f'there is no question: write it after the pictures, omega chat URL {question} "What is this?"'
        )
    if not question:
        raise ClientError("the question is empty")
    parts = [{"type": "image_url", "image_url": {"url": _address(picture)}} for picture in pictures]
    messages: list[dict[str, Any]] = [{"role": "system", "content": options.system}] if options.system else []
    messages.append({"role": "user", "content": [*parts, {"type": "text", "text": question}]})
    chosen = {name: getattr(options, name) for name in SAMPLING if getattr(options, name) is not None}
    return {"messages": messages, **chosen, "stream": True, "stream_options": {"include_usage": True}}


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or no name at all
        return False


def _input() -> bytes:
    if sys.stdin.isatty():
        print("omega: reading standard input; end it with Ctrl+D", file=sys.stderr)
    return sys.stdin.buffer.read(MOST_BYTES)


def _address(picture: str) -> str:
    """An address that the server fetches, or a picture of ours as a data: URI."""
    if picture.startswith(("http://", "https://")):
        return picture
    try:
        data = _input() if picture == "-" else Path(picture).read_bytes()
    except OSError as error:
        raise ClientError(f"{picture} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ClientError("a picture's name has a character that no name has") from None
    if not data:
        raise ClientError(f"{'standard input' if picture == '-' else picture} is empty")
    kind = mimetypes.guess_type(picture)[0] or ""
    # What it really is the server sees in the bytes; a name may say anything.
    kind = kind if kind.startswith("image/") else "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _print(events: Iterator[dict[str, Any]], *, stats: bool) -> None:
    began = time.monotonic()
    times: list[float] = []
    usage: dict[str, Any] = {}
    finish = None
    try:
        for event in events:
            for choice in event.get("choices") or ():
                if text := (choice.get("delta") or {}).get("content"):
                    times.append(time.monotonic() - began)
                    print(printable(text), end="", flush=True)
                finish = choice.get("finish_reason") or finish
            usage = event.get("usage") or usage
    finally:
        if times:
            print(flush=True)
    if finish == "length":
        print("omega: the answer ends here because it may not be longer; see --max-tokens", file=sys.stderr)
    if stats:
        print(_stats(times, usage), file=sys.stderr)


def _stats(times: Sequence[float], usage: dict[str, Any]) -> str:
    details = usage.get("prompt_tokens_details") or {}
    counted = {
        "prompt": usage.get("prompt_tokens"),
        "image": details.get("image_tokens"),
        "cached": details.get("cached_tokens"),
        "answer": usage.get("completion_tokens"),
    }
    said = [f"{name} {count} tokens" for name, count in counted.items() if count is not None]
    if times:
        said.insert(0, f"first token {times[0]:.2f} s")
    tokens = usage.get("completion_tokens") or 0
    if tokens > 1 and times and times[-1] > times[0]:
        said.append(f"{(tokens - 1) / (times[-1] - times[0]):.1f} tokens/s")
    return ", ".join(said)
