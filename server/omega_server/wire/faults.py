"""What pydantic complains about, in the codes of the contract.

Unions are tagged in <>, so that a tag in an error's path is never mistaken for a field.
"""

from pydantic_core import ErrorDetails

from omega_server.wire.errors import ApiError, bad_request

_FIXED_CODES = {
    "missing": "missing_required_parameter",
    "union_tag_not_found": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "too_long": "array_above_max_length",
    "string_too_long": "string_above_max_length",
    "int_from_float": "invalid_type",
    "int_parsing_size": "integer_above_max_value",
    "finite_number": "decimal_above_max_value",
}
_BOUNDS = {
    "less_than_equal": ("le", "above_max"),
    "less_than": ("lt", "above_max"),
    "greater_than_equal": ("ge", "below_min"),
    "greater_than": ("gt", "below_min"),
}
_OWN_CODES = {"unsupported_parameter", "unsupported_content_type", "invalid_value"}


def first_fault(errors: list[ErrorDetails]) -> ApiError:
    """The first of pydantic's complaints, in the words of the contract."""
    error = errors[0]
    param = _param(error)
    code = _code(error)
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        name = "role" if error["loc"][-2:-1] == ("messages",) else "type"
        param = f"{param}.{name}"
        if error["type"] == "union_tag_invalid":
            return bad_request("invalid_value", f"{param} has a value that is not known.", param)
        parent = error["input"]
        if not isinstance(parent, dict):
            param = param.removesuffix(f".{name}")
            return bad_request("invalid_type", f"{param} must be an object.", param)
        if name in parent:
            return bad_request("invalid_type", f"{param} must be a string.", param)
    if code == "missing_required_parameter":
        return bad_request(code, f"{param} is missing.", param)
    if code == "unknown_parameter":
        return bad_request(code, f"{param[:100]} is not a parameter of this request.", param[:100])
    # Only a field's own name leads nowhere: one that cannot be read.
    return bad_request(code, f"{param or 'A name'}: {error['msg'][:200]}.", param or None)


def _code(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind in _OWN_CODES:
        return kind
    if kind in _BOUNDS:
        bound, word = _BOUNDS[kind]
        number = "integer" if isinstance(error["ctx"][bound], int) else "decimal"
        return f"{number}_{word}_value"
    if kind == "too_short":
        return "empty_array"
    return _FIXED_CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")


def _param(error: ErrorDetails) -> str:
    path = ""
    for step in error["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith("<"):
            path += f".{step}" if path else step
    return path
