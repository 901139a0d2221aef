"""What the client makes of servers, ours and others; each a real one on loopback."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from omega_server.bench.client import Client, body
from omega_server.bench.figures import Record

PIECE = b'data: {"choices": [{"delta": {"content": "word"}, "finish_reason": null}]}\n\n'
ROLE = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}\n\n'
LAST = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"completion_tokens": 7}}\n\n'
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def answering(*parts: bytes, status: int = 200) -> AsyncIterator[str]:
    """A server that answers every chat with these bytes; its address."""

    async def chat(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def ask(url: str, on_piece: Callable[[], None] = lambda: None) -> Record:
    """One request."""
    async with Client(url, api_key=None, timeout=30) as client:
        return await client.ask(body("m", [{"role": "user", "content": "hi"}], 7), time.monotonic(), on_piece)


async def test_stream() -> None:
    """Pieces with text are counted, the role is not, and tokens are what usage says."""
    seen: list[int] = []
    async with answering(ROLE, PIECE, PIECE, PIECE, LAST, USAGE, DONE) as url:
        record = await ask(url, lambda: seen.append(1))
    assert (len(record.pieces), len(seen), record.tokens, record.error) == (3, 3, 7, None)
    assert record.sent <= record.pieces[0] <= record.pieces[2] <= record.ended


async def test_stream_without_usage_or_done() -> None:
    """Some servers send neither; then pieces are tokens, and the finish reason ends the answer."""
    async with answering(ROLE, PIECE, PIECE, LAST) as url:
        record = await ask(url)
    assert (record.tokens, record.error) == (2, None)


async def test_comments_and_odd_cuts() -> None:
    """Lines come in any pieces, with comments between them."""
    text = b": keep-alive\r\n\r\n" + PIECE + LAST
    async with answering(*(text[i : i + 7] for i in range(0, len(text), 7))) as url:
        record = await ask(url)
    assert (len(record.pieces), record.error) == (1, None)


@pytest.mark.parametrize(
    ("parts", "status", "error"),
    [
        ([b'{"error": {"code": "rate_limit_exceeded"}}'], 429, "429 rate_limit_exceeded"),
        ([b'{"error": {"code": null, "type": "server_error"}}'], 503, "503 server_error"),
        ([b'{"detail": "no"}'], 422, "422"),
        ([b"<html>"], 502, "502"),
        ([b"[]"], 500, "500"),
        ([PIECE, b'data: {"error": {"code": "engine_failed"}}\n\n'], 200, "in the stream: engine_failed"),
        ([PIECE, PIECE], 200, "stream ended early"),
        ([b"data: hello\n\n"], 200, "not the OpenAI API"),
        ([b"data: [1]\n\n"], 200, "not the OpenAI API"),
    ],
)
async def test_faults(parts: list[bytes], status: int, error: str) -> None:
    """Each fault has few words, by which it is counted."""
    async with answering(*parts, status=status) as url:
        record = await ask(url)
    assert record.error == error


async def test_timeout() -> None:
    """A server that takes too long."""
    async with answering(*[PIECE] * 3) as url, Client(url, api_key=None, timeout=1e-6) as client:
        record = await client.ask(b"{}", time.monotonic(), lambda: None)
    assert record.error == "timeout"
