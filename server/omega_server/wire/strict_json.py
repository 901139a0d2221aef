"""JSON as RFC 8259 means it: no duplicate names, no NaN, bounded depth, valid UTF-8."""

import json
from typing import Any, NoReturn

from omega_server.wire.errors import bad_request

MAX_DEPTH = 64
"""Deepest nesting of arrays and objects. A chat request needs seven."""


def parse(body: bytes | bytearray) -> Any:
    """The value that a request body holds.

    Raises:
        ApiError: 400 invalid_json.
    """
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise bad_request("invalid_json", "The body is not UTF-8.") from error
    except RecursionError as error:
        raise _too_deep() from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise bad_request("invalid_json", f"The body is not JSON: {error.msg} at {where}.") from error
    except ValueError as error:  # a number of thousands of digits
        raise bad_request("invalid_json", "The body holds a number that is too long.") from error
    _check_depth(value)
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


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise _too_deep()


def _children(node: Any) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in values if isinstance(child, dict | list)]


def _too_deep() -> Exception:
    return bad_request("invalid_json", f"The body is nested deeper than {MAX_DEPTH} levels.")
