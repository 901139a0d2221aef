"""Pictures and videos of the request at hand that were taken out of its body while it arrived: data: URIs, or base64."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar

kept: ContextVar[Mapping[str, Sequence[bytes]]] = ContextVar("kept", default={})  # noqa: B039 - never written to
"""By the name that stands for them in the request, in pieces of which the first has the head. Set where the body is read."""
