"""Sizes and durations as Kubernetes writes them: "20Mi", 1048576, "10s", "1m30s"."""

import re
from decimal import Decimal
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

QUANTITY_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
DURATION_PATTERN = r"^([0-9]{1,9}(ms|s|m|h)){1,4}$"
QUANTITY_MESSAGE = "must be a size: a number with a unit, such as 20Mi or 16Gi"
DURATION_MESSAGE = "must be a duration: a number with a unit, such as 500ms, 10s or 1m30s"
MAX_TEXT = 40
"""Longest text of a size or a duration, in characters."""

_MULTIPLES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P"), start=1)},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


def value_of(quantity: str | int) -> Decimal:
    """The number that a Kubernetes quantity stands for, for example 1.5Ki -> 1536.

    Raises:
        ValueError: the text is not a quantity.
    """
    text = str(quantity)
    if not re.fullmatch(QUANTITY_PATTERN, text):
        raise ValueError(QUANTITY_MESSAGE)
    number = text.rstrip("mkKMGTPi")
    return Decimal(number) * _MULTIPLES[text[len(number) :]]


def bytes_of(quantity: str | int) -> int:
    """A size in bytes, rounded down.

    Raises:
        ValueError: the text is not a size.
    """
    return int(value_of(quantity))


def seconds_of(duration: str) -> float:
    """A duration in seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(DURATION_MESSAGE)
    parts = re.findall(r"([0-9]+)(ms|s|m|h)", duration)
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))


class Quantity(str):
    """A size that keeps the words it was written in."""

    __slots__ = ()

    @property
    def bytes(self) -> int:
        """The size in bytes."""
        return bytes_of(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take text or a whole number, refuse everything else."""
        return core_schema.no_info_plain_validator_function(
            cls._parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The one union that a structural schema knows."""
        rule = {"rule": f"string(self).matches(r'{QUANTITY_PATTERN}')", "message": QUANTITY_MESSAGE}
        return {"x-kubernetes-int-or-string": True, "maxLength": MAX_TEXT, "x-kubernetes-validations": [rule]}

    @classmethod
    def _parse(cls, value: object) -> Self:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(QUANTITY_MESSAGE)
        value_of(value)
        return cls(value)


class Duration(str):
    """A length of time that keeps the words it was written in."""

    __slots__ = ()

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return seconds_of(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take text, refuse everything else: 10 without a unit could be anything."""
        return core_schema.no_info_after_validator_function(
            cls._parse,
            core_schema.str_schema(strict=True, max_length=MAX_TEXT),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Text whose form is a rule, because a rule has a message and a pattern has none."""
        rule = {"rule": f"self.matches(r'{DURATION_PATTERN}')", "message": DURATION_MESSAGE}
        return {"type": "string", "maxLength": MAX_TEXT, "x-kubernetes-validations": [rule]}

    @classmethod
    def _parse(cls, value: str) -> Self:
        seconds_of(value)
        return cls(value)
