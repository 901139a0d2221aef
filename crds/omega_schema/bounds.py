"""Bounds that a JSON schema cannot say, or cannot say in words: declared once, for pydantic and for the CRD."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from omega_schema.quantity import DURATION_PATTERN, Quantity, seconds_of, value_of

IN_WORDS = "x-omega-bounds"
"""Keyword for bounds in words; it is moved into the description and never reaches the CRD."""


def _with_rule(node: dict[str, Any], rule: str, message: str) -> dict[str, Any]:
    rules = [*node.get("x-kubernetes-validations", ()), {"rule": rule, "message": message}]
    return {**node, "x-kubernetes-validations": rules}


@dataclass(frozen=True)
class Within:
    """Bounds of a Quantity, a Duration or a float, both inclusive.

    A float needs it where a bound is no whole number: the API server cuts off the fraction of `minimum` before it
    compares a value without one, so that 0 passes a minimum of 0.1.
    """

    least: str
    most: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the bounds after the text was understood."""
        measure: Callable[[Any], Any] = float
        if issubclass(source, str):
            measure = value_of if issubclass(source, Quantity) else seconds_of

        def check(value: Any) -> Any:
            if not measure(self.least) <= measure(value) <= measure(self.most):
                raise ValueError(self._message)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Say the bounds in CEL, because a structural schema compares numbers only."""
        node = handler(schema)
        # A text of the wrong form is another rule's business: this one would only add a second, odder error.
        if node.get("x-kubernetes-int-or-string"):
            size, least, most = "quantity(string(self))", f"quantity('{self.least}')", f"quantity('{self.most}')"
            rule = f"!isQuantity(string(self)) || ({size}.compareTo({least}) >= 0 && {size}.compareTo({most}) <= 0)"
        elif node["type"] == "number":
            rule = f"self >= {float(self.least)} && self <= {float(self.most)}"
        else:
            time, least, most = "duration(self)", f"duration('{self.least}')", f"duration('{self.most}')"
            rule = f"!self.matches(r'{DURATION_PATTERN}') || ({time} >= {least} && {time} <= {most})"
        return {**_with_rule(node, rule, self._message), IN_WORDS: f"From {self.least} to {self.most}."}

    @property
    def _message(self) -> str:
        return f"must be from {self.least} to {self.most}"


@dataclass(frozen=True)
class Matches:
    """Form of a text, with a message in words, which the `pattern` of a JSON schema does not have."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the form after type and length."""
        form = re.compile(self.pattern)

        def check(value: str) -> str:
            if not form.fullmatch(value):
                raise ValueError(self.message)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Say the form in CEL. The length bound of the text bounds the cost."""
        return _with_rule(handler(schema), f"self.matches(r'{self.pattern}')", self.message)


@dataclass(frozen=True)
class KeysMatch:
    """Form of the keys of a map."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check each key after the values."""
        form = re.compile(self.pattern)

        def check(values: dict[str, Any]) -> dict[str, Any]:
            if not all(form.fullmatch(key) for key in values):
                raise ValueError(self.message)
            return values

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Say it in CEL: a structural schema says nothing about keys."""
        return _with_rule(handler(schema), f"self.all(key, key.matches(r'{self.pattern}'))", self.message)


class NotReserved:
    """A name that no field of the resource stands for already."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields
        """Reserved name -> the field that sets it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Name the field that is to be set instead."""

        def check(name: str) -> str:
            if name in self._fields:
                raise ValueError(f"{name} is set by {self._fields[name]}: set that field instead")
            return name

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The same, with a message that the API server puts together."""
        table = "{" + ", ".join(f"'{name}': '{field}'" for name, field in self._fields.items()) + "}"
        node = _with_rule(handler(schema), f"!(self in {table})", "a field of this resource sets this: set that field")
        sentence = f"self + ' is set by ' + {table}[self] + ': set that field instead'"
        node["x-kubernetes-validations"][-1]["messageExpression"] = sentence
        return node


@dataclass(frozen=True)
class UniqueBy:
    """A list of objects that one field tells apart; server-side apply merges such a list item by item."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse a second item with the same key, as the API server does."""

        def check(items: list[Any]) -> list[Any]:
            keys = [item[self.key] if isinstance(item, dict) else getattr(item, self.key) for item in items]
            for key in keys:
                if keys.count(key) > 1:
                    raise ValueError(f'Duplicate value: {{"{self.key}":"{key}"}}')
            return items

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Say it in the words of Kubernetes."""
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
