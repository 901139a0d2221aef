"""The command line of omega-server bench: what is sent, what is said about it."""

import argparse
import asyncio
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import aiohttp
import orjson

from omega_server import __version__
from omega_server.bench.client import Client, body
from omega_server.bench.figures import Figures, summarise
from omega_server.bench.load import Shot, send
from omega_server.bench.progress import Progress
from omega_server.bench.workload import SIZES, generate

MOST_REQUESTS = 10_000
"""All pictures are kept ready in memory, so that drawing them costs the server nothing while it is measured."""


class BenchError(Exception):
    """Nothing could be measured. The text is one line that says what to do.

    Attributes:
        code: exit code: 2 for something to correct, 1 if the server failed.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(f"{message}; see {self.prog} --help")


def bench(argv: Sequence[str], program: str = "omega-server bench", url: str | None = None) -> str:
    """Put load on a server and measure it. Progress goes to standard error.

    Args:
        argv: the command line after the command's name.
        program: what it was called by.
        url: of the server; None if the command line says it.

    Returns:
        a table for people.

    Raises:
        BenchError: the command line is wrong, the server cannot be used, or it answered nothing.
    """
    options = _parser(program, url).parse_args(argv)
    _check(options)
    try:
        figures, model = asyncio.run(_measure(options))
    except KeyboardInterrupt:
        raise BenchError("interrupted", 130) from None
    if options.json is not None:
        _write(options, figures, model)
    if not figures.requests:
        worst = max(figures.errors, key=lambda error: figures.errors[error])
        raise BenchError(f"the server answered none of {options.requests} requests: {worst}", _code(worst))
    return _table(figures, options, model)


def _parser(program: str, url: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        allow_abbrev=False,
        description="Put load on a server with the OpenAI API (text and pictures, streamed) and measure it.",
    )
    if url is None:
        parser.add_argument("url", metavar="URL", help="of the server, such as http://127.0.0.1:8000")
    else:
        parser.set_defaults(url=url)
    parser.add_argument("--requests", type=_whole(1, MOST_REQUESTS), default=32, help="how many (default: 32)")
    text = "most requests at once (default: 16, or with --rate no limit)"
    parser.add_argument("--concurrency", type=_whole(1, MOST_REQUESTS), help=text)
    text = "requests per second on average, at random times (default: each as soon as it may)"
    parser.add_argument("--rate", type=_positive, help=text)
    text = "small or medium: length of questions and answers, size of pictures (default: small)"
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help=text)
    parser.add_argument("--seed", type=_whole(0, 2**31 - 1), default=0, help="other seed, other requests (default: 0)")
    parser.add_argument("--model", help="model id (default: the first of /v1/models)")
    text = "bearer token (default: environment variable OMEGA_API_KEY or API_KEY; other users of this machine cannot see those)"
    parser.add_argument("--api-key", help=text)
    text = "send min_tokens, so that no answer ends early; OpenAI's own servers refuse that field"
    parser.add_argument("--fixed-length", action="store_true", help=text)
    parser.add_argument("--timeout", type=_positive, default=600.0, help="of one request, in seconds (default: 600)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def _whole(least: int, most: int) -> Any:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return value


def _check(options: argparse.Namespace) -> None:
    try:
        parts = urlsplit(options.url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise BenchError(f"{options.url} is no address of a server: write http://HOST:PORT")
    if options.json is not None and not options.json.resolve().parent.is_dir():
        raise BenchError(f"--json {options.json}: there is no such directory")


async def _measure(options: argparse.Namespace) -> tuple[Figures, str]:
    key = options.api_key or os.environ.get("OMEGA_API_KEY") or os.environ.get("API_KEY") or None
    async with Client(options.url, api_key=key, timeout=options.timeout) as client:
        model = await _model(client, options)
        requests = generate(SIZES[options.size], options.requests, options.seed)
        shots = [
            Shot(
                request.at / options.rate if options.rate else None,
                body(model, request.messages(), request.tokens, fixed_length=options.fixed_length),
            )
            for request in requests
        ]
        concurrency = options.concurrency or (len(shots) if options.rate else 16)
        progress = Progress(len(shots), sys.stderr)
        try:
            records = await send(client.ask, shots, concurrency=concurrency, progress=progress)
        finally:
            progress.close()
    return summarise(records), model


async def _model(client: Client, options: argparse.Namespace) -> str:
    """The model to ask, after a look at whether the server is there."""
    try:
        status, models = await client.models()
    except (aiohttp.ClientError, TimeoutError, OSError):
        raise BenchError(f"{options.url} cannot be reached; check the address, and that the server runs") from None
    if status in (401, 403):
        raise BenchError(f"{options.url} refuses the API key ({status}); set --api-key or API_KEY")
    if options.model is not None:
        return str(options.model)
    if not models:
        raise BenchError(f"{options.url} lists no models (/v1/models: status {status}); say which with --model")
    return models[0]


def _code(error: str) -> int:
    """Of a load that failed altogether: 2 if the server refused what was sent, 1 if it failed."""
    return 2 if error.startswith("4") and not error.startswith("429") else 1


def _write(options: argparse.Namespace, figures: Figures, model: str) -> None:
    sent = {
        name: getattr(options, name) for name in ("requests", "concurrency", "rate", "size", "seed", "fixed_length")
    }
    report = {"version": __version__, "model": model, "load": sent, "figures": figures.as_dict()}
    try:
        options.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise BenchError(f"--json {options.json} cannot be written: {error.strerror}") from None


def _table(figures: Figures, options: argparse.Namespace, model: str) -> str:
    lines = [
        ("model", model),
        ("answered", f"{figures.requests} of {options.requests} requests in {figures.seconds:.2f} s"),
        ("output", f"{figures.output_tokens_per_s:.1f} tokens/s ({figures.output_tokens} tokens)"),
        ("requests", f"{figures.requests_per_s:.2f} per second"),
        ("first token", f"p50 {_ms(figures.ttft_p50_s)}, p99 {_ms(figures.ttft_p99_s)}"),
        ("between tokens", f"p50 {_ms(figures.itl_p50_s)}, p99 {_ms(figures.itl_p99_s)}"),
    ]
    lines += [("failed", f"{count} x {error}") for error, count in sorted(figures.errors.items())]
    return "\n".join(f"{name:<16}{value}" for name, value in lines)


def _ms(seconds: float | None) -> str:
    return "none" if seconds is None else f"{1000 * seconds:.1f} ms"
