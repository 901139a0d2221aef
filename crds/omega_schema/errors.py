"""Pydantic's errors in the words of the API server, so that a fault reads the same wherever it is found."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails


class SchemaError(Exception):
    """Something that a user wrote does not fit. Its text names the field and says what to do.

    SchemaError
      ResourceError    a resource
      ConfigError      a configuration of a server
    """


class ResourceError(SchemaError):
    """A resource that cannot be used."""


class ConfigError(SchemaError):
    """A configuration that cannot be used."""


def explain(error: ValidationError, *, limit: int = 5) -> str:
    """One line that names each wrong field and says what is wrong, without the values that may be secret.

    Args:
        error: what pydantic raised.
        limit: how many faults are named; the rest is counted.
    """
    faults = error.errors(include_url=False)
    lines = [f"{_path(fault['loc'])}: {_sentence(fault)}" for fault in faults[:limit]]
    if len(faults) > limit:
        lines.append(f"and {len(faults) - limit} more")
    return "; ".join(lines)


def _path(place: tuple[int | str, ...]) -> str:
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".") or "the document"


_TYPES = {
    "int_type": "integer",
    "int_from_float": "integer",
    "float_type": "number",
    "string_type": "string",
    "bool_type": "boolean",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
}
_SENTENCES = {
    "missing": "Required value",
    "extra_forbidden": "unknown field",
    "greater_than_equal": "should be greater than or equal to {ge}",
    "less_than_equal": "should be less than or equal to {le}",
    "string_too_long": "may not be more than {max_length} bytes",
    "string_too_short": "should be at least {min_length} chars long",
    "too_long": "must have at most {max_length} items",
    "too_short": "should have at least {min_length} items",
    "value_error": "{error}",
    **{fault: f"must be of type {name}" for fault, name in _TYPES.items()},
}


def _sentence(fault: ErrorDetails) -> str:
    context: Mapping[str, Any] = fault.get("ctx", {})
    if fault["type"] == "literal_error":
        return "Unsupported value: supported values: " + context["expected"].replace("'", '"').replace(" or ", ", ")
    sentence = _SENTENCES.get(fault["type"])
    return fault["msg"] if sentence is None else sentence.format_map(context)
