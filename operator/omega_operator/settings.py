"""The operator's own settings, from its environment."""

import socket
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from omega_operator import __version__


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it and says what to write."""


def _names(text: object) -> object:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if isinstance(text, str) else text


class Settings(BaseModel):
    """What the operator is told at its start. Each field is the environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    server_image: Annotated[str, Field(min_length=1)]
    """Image of the server where spec.image is empty."""

    keep_server_image: bool = False
    """Pods that run the server image of an earlier release keep it; server_image is for new resources then."""

    watch_namespaces: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Namespaces to serve, separated by commas. Empty: all."""

    watch_cluster: bool = True
    """Watch which definitions and namespaces there are. Without a right to it, kinds must be there when the operator starts."""

    metrics_namespaces: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Namespaces that metrics are read from, by Prometheus or KEDA, separated by commas: a NetworkPolicy that names its
    sources lets them in too."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least urgent lines to log."""

    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""

    pod_namespace: str = "default"
    """Namespace of the operator: its Lease is here, and a NetworkPolicy lets it in from here."""

    pod_name: str = Field(default_factory=socket.gethostname)
    """Name by which this process holds the Lease."""

    probe_port: Annotated[int, Field(ge=1, le=65535)] = 8081
    """Port of /healthz, /readyz and /metrics."""

    version: str = __version__
    """The operator's version, a label of every child."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        given = {name: environment[name.upper()] for name in cls.model_fields if environment.get(name.upper())}
        given.pop("version", None)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            wrong = "; ".join(f"{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
            raise SettingsError(f"the operator's environment is not right: {wrong}") from None
