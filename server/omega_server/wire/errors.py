"""The only table from what went wrong to what the client is told.

Exceptions of other layers are looked up by the names of their classes, nearest first, so that this module stays a leaf
and nothing heavy is imported to answer a 404.
"""

import traceback
from dataclasses import dataclass, replace
from typing import Any

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


@dataclass(frozen=True)
class Problem:
    """One row: what the client is told.

    Attributes:
        status: HTTP status.
        code: machine-readable word; stable.
        message: for a person; says what to do, and never names addresses, paths or internals.
        param: the request's field, such as messages[0].content.
        type: the class of error that OpenAI's clients know.
        retry_after: seconds after which another try makes sense.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    type: str = INVALID_REQUEST
    retry_after: int | None = None

    def body(self) -> dict[str, Any]:
        """The response body."""
        # A lone surrogate in a client's field name would make the answer itself impossible to encode.
        message = self.message.encode("utf-8", "replace").decode()
        param = None if self.param is None else self.param.encode("utf-8", "replace").decode()
        return {"error": {"message": message, "type": self.type, "param": param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """What goes into the response's header beside the body."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


class ApiError(Exception):
    """A problem that the HTTP side itself found."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def bad_request(code: str, message: str, param: str | None = None) -> ApiError:
    """A fault of the client that has no status of its own."""
    return ApiError(Problem(400, code, message, param))


NOT_READY = Problem(503, "not_ready", "The server is loading or stopping.", type=SERVER_ERROR, retry_after=2)
INTERNAL = Problem(500, "internal_error", "The server failed; its log has the reason.", type=SERVER_ERROR)

METHOD_NOT_ALLOWED = Problem(405, "method_not_allowed", "This path does not have this method; see the Allow header.")
NOT_FOUND = Problem(404, "not_found", "There is no such path. The API begins at /v1, for example /v1/chat/completions.")
INVALID_API_KEY = Problem(401, "invalid_api_key", "Send a valid key in the header Authorization: Bearer KEY.")
REQUEST_TIMEOUT = Problem(408, "request_timeout", "The request did not arrive in time; the connection ends.")
HEADERS_TOO_LARGE = Problem(431, "headers_too_large", "The header fields of the request are too large.")
INVALID_HTTP = Problem(400, "invalid_http", "What was sent is not an HTTP/1.1 request.")
UNSUPPORTED_MEDIA_TYPE = Problem(
    415, "unsupported_media_type", "Send the body as Content-Type: application/json, without Content-Encoding."
)

# By class name. Where the message is empty, the exception's own text is written for the client.
_BY_CLASS = {
    "InvalidPrompt": Problem(400, "invalid_value", "", "messages"),
    "InvalidGrammar": Problem(400, "invalid_json_schema", ""),
    "ContextLengthExceeded": Problem(400, "context_length_exceeded", "", "messages"),
    "QueueFull": Problem(
        429, "rate_limit_exceeded", "Too many requests wait; try again.", type="rate_limit_error", retry_after=1
    ),
    "Overloaded": Problem(
        503, "server_overloaded", "There is no memory for this now; try again later.", type=SERVER_ERROR, retry_after=5
    ),
    "NotReady": NOT_READY,
    "EngineFailed": Problem(500, "engine_failed", "The engine failed under this answer; try again.", type=SERVER_ERROR),
}


def problem_of(error: BaseException) -> Problem | None:
    """What the client is told about an exception, or None if nobody foresaw it (then it is `INTERNAL`)."""
    if isinstance(error, ApiError):
        return error.problem
    names = [cls.__name__ for cls in type(error).__mro__]
    if "MediaError" in names:  # has as many codes as a picture has ways to be broken
        return Problem(400, vars(error)["code"], str(error), vars(error)["param"])
    row = next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)
    return row if row is None or row.message else replace(row, message=str(error))


def forget(error: BaseException) -> None:
    """Let go of what the functions held that an exception came through, as soon as the client is told.

    Tasks lead to exceptions, these to functions, and they to tasks: such a circle is found late, and a picture may hang in it.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def unsupported_path(path: str) -> Problem:
    """A path that other servers have, and that is known here by its name."""
    return Problem(404, "not_found", f"This server does not have {path}; ask with POST /v1/chat/completions.")


def request_too_large(limit: int) -> Problem:
    """The body is larger than `limit` bytes."""
    return Problem(413, "request_too_large", f"The request body is larger than {limit} bytes.")
