"""Exceptions of every layer have a row in the one table."""

import asyncio
import gc
import weakref

import pytest

from omega_server.engine import request as engine_request
from omega_server.media.errors import MediaError
from omega_server.wire.errors import forget, problem_of

TOLD = set(engine_request.EngineError.__subclasses__()) - {engine_request.PixelsForgotten}  # which ends in the router


@pytest.mark.parametrize("error", sorted(TOLD, key=lambda error: error.__name__))
def test_every_engine_error_has_a_row(error: type[Exception]) -> None:
    """Whatever the engine may raise is foreseen."""
    problem = problem_of(error("words for the user"))
    assert problem is not None
    assert problem.message
    assert problem.status in (400, 429, 500, 503)
    assert (problem.retry_after is not None) == (problem.status in (429, 503))


def test_own_words() -> None:
    """A too long prompt is explained in the words of whoever counted."""
    problem = problem_of(engine_request.ContextLengthExceeded("9 tokens of 8"))
    assert problem is not None
    assert (problem.status, problem.code, problem.message) == (400, "context_length_exceeded", "9 tokens of 8")


def test_media() -> None:
    """A picture's fault keeps its code and place."""
    error = MediaError("image_too_large", "too large")
    error.param = "messages[0].content[1]"
    problem = problem_of(error)
    assert problem is not None
    assert problem.body() == {
        "error": {
            "message": "too large",
            "type": "invalid_request_error",
            "param": "messages[0].content[1]",
            "code": "image_too_large",
        }
    }


def test_unforeseen() -> None:
    """What nobody foresaw has no row, so that its text cannot reach a client."""
    assert problem_of(RuntimeError("/secret/path")) is None
    assert problem_of(KeyError("x")) is None


class Picture:
    """Something large."""


async def test_what_a_failed_request_held_is_let_go() -> None:
    """A circle of tasks, exceptions and functions holds nothing that is large, without the garbage collector."""

    async def fail(picture: Picture) -> Picture:
        try:
            raise KeyError
        except KeyError as error:
            raise ValueError from error

    async def ask(picture: Picture) -> None:
        task = asyncio.ensure_future(fail(picture))
        await task

    gc.disable()
    try:
        picture = Picture()
        held = weakref.ref(picture)
        try:
            await ask(picture)
        except ValueError as error:
            del picture
            assert held() is not None
            forget(error)
        assert held() is None
    finally:
        gc.enable()
