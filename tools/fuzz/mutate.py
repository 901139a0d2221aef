"""JSON that stays JSON while it changes: bytes turned at random would seldom come past the parser."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, -0.5, 2.5, 1e308, 1e-308, 10**30)
TEXTS = (
    "",
    "\ud800",
    "\u0000",
    "<|image_pad|>",
    "data:,",
    "http://[::1]",
    "a" * 2000,
    "text",
    "user",
    "tool",
    "json_schema",
)


def json_mutator(words: Sequence[str], fallback: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """A mutator for JSON bodies.

    Args:
        words: names of fields to try.
        fallback: changes bytes, for what is no JSON and now and then for what is.
    """

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        dice = random.Random(seed)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return fallback(data, max_size)
        if dice.random() < 0.25:
            return fallback(data, max_size)
        for _ in range(dice.choice((1, 1, 2, 4))):
            value = _changed(value, dice, words)
        changed = json.dumps(value, separators=(",", ":")).encode()
        return changed if len(changed) <= max_size else fallback(data, max_size)

    return mutate


def _changed(value: Any, dice: random.Random, words: Sequence[str]) -> Any:
    """A value with one change somewhere."""
    if dice.random() < 0.8:
        if isinstance(value, dict) and value:
            return _changed_object(value, dice, words)
        if isinstance(value, list) and value:
            return _changed_array(value, dice, words)
        if isinstance(value, str) and value:
            at = dice.randrange(len(value))
            return value[:at] + dice.choice(TEXTS) + value[at + 1 :]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value + dice.choice((-1, 1, 0.5))
    return _any(dice, words)


def _changed_object(value: dict[str, Any], dice: random.Random, words: Sequence[str]) -> dict[str, Any]:
    name, kind = dice.choice(sorted(value)), dice.random()
    if kind < 0.1:
        return {other: item for other, item in value.items() if other != name}
    if kind < 0.3:
        return {**value, dice.choice(words): _any(dice, words)}
    return {**value, name: _changed(value[name], dice, words)}


def _changed_array(value: list[Any], dice: random.Random, words: Sequence[str]) -> list[Any]:
    at, kind = dice.randrange(len(value)), dice.random()
    if kind < 0.1:
        return value[:at] + value[at + 1 :]
    if kind < 0.2:
        return [*value, value[at]]
    return [*value[:at], _changed(value[at], dice, words), *value[at + 1 :]]


def _any(dice: random.Random, words: Sequence[str]) -> Any:
    kind = dice.randrange(8)
    if kind < 2:
        return dice.choice(NUMBERS)
    if kind < 4:
        return dice.choice((*TEXTS, dice.choice(words)))
    if kind == 4:
        return dice.choice((None, True, False))
    if kind == 5:
        return [_any(dice, words) for _ in range(dice.randrange(3))]
    return {dice.choice(words): _any(dice, words) for _ in range(dice.randrange(3))}
