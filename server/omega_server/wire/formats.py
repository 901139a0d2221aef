"""What form an answer should have: plain text, any JSON object, or JSON by a schema."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from omega_server.wire.strict import Strict, by


def _unicode(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("invalid_value", "not every text in it is Unicode") from error
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Schema = Annotated[dict[str, Any], AfterValidator(_unicode)]


class TextFormat(Strict):
    """Whatever the model says."""

    type: Literal["text"]


class ObjectFormat(Strict):
    """A JSON object with anything in it."""

    type: Literal["json_object"]


class JsonSchema(Strict):
    """A schema. Its name and description are notes, as titles and descriptions inside it are."""

    name: Name
    description: Annotated[str, Field(max_length=8192)] | None = None
    body: Annotated[Schema, Field(alias="schema")]
    strict: bool | None = None


class SchemaFormat(Strict):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


_TAGS = {kind: f"<{kind}>" for kind in ("text", "json_object", "json_schema")}
ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[ObjectFormat, Tag("<json_object>")]
    | Annotated[SchemaFormat, Tag("<json_schema>")],
    Discriminator(by("type", _TAGS)),
]
