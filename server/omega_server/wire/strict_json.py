"""JSON as RFC 8259 means it: no duplicate names, no NaN, bounded depth, valid UTF-8."""

import json
import re
from typing import Any, NoReturn

from omega_server.wire.errors import bad_request

MAX_DEPTH = 64
"""Deepest nesting of arrays and objects. A chat request needs seven, and what its schemas need."""

_SCHEMAS = ("response_format", "tools")
"""Fields of a request with JSON schemas in them."""
_MARKS = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"|[\[\]{}]')


def parse(body: bytes | bytearray) -> Any:
    """The value that a request body holds.

    Raises:
        ApiError: 400 invalid_json; invalid_json_schema if a schema is nested too deep.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise bad_request("invalid_json", "The body is not UTF-8.") from error
    except RecursionError as error:
        raise _too_deep(text) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise bad_request("invalid_json", f"The body is not JSON: {error.msg} at {where}.") from error
    except ValueError as error:  # a number of thousands of digits
        raise bad_request("invalid_json", "The body holds a number that is too long.") from error
    if _deep(value):
        raise _too_deep(text)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise bad_request("invalid_json", f'The name "{twice[:64]}" occurs twice in one object.')
    return value


def _constant(name: str) -> NoReturn:
    raise bad_request("invalid_json", f"{name} is not JSON.")


def _deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in values if isinstance(child, dict | list)]


def _too_deep(text: str) -> Exception:
    field, depth = "", 0
    for mark in _MARKS.finditer(text):
        if mark[1] is not None:
            field = mark[1] if depth == 1 else field
        else:
            depth += 1 if mark[0] in "[{" else -1
        if depth > MAX_DEPTH and field in _SCHEMAS:
            return bad_request("invalid_json_schema", f"{field} is nested deeper than {MAX_DEPTH} levels.", field)
        if depth > MAX_DEPTH:
            break
    return bad_request("invalid_json", f"The body is nested deeper than {MAX_DEPTH} levels.")
