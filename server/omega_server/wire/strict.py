"""What all request bodies have in common."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """No coercion, no unknown field, no change afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
