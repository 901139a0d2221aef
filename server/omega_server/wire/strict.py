"""What all request bodies have in common."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """No coercion, no unknown field, no change afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def by(field: str, known: Mapping[str, str]) -> Callable[[Any], str | None]:
    """A discriminator that tags by the value of `field`; tags stand in <> so that no field can look like one."""

    def tag(value: Any) -> str | None:
        kind = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
        return known.get(kind, f"<{kind}>") if isinstance(kind, str) else None

    return tag
