"""Every code that an error of the API may have, by status: what docs/errors.md and /openapi.json list."""

from collections.abc import Mapping

_ABOUT_MEDIA = (
    "invalid_{}_url",
    "failed_to_download_{}",
    "unsupported_{}_media_type",
    "invalid_base64_{}",
    "empty_{}_file",
    "{}_file_too_large",
    "invalid_{}_format",
    "{}_parse_error",
    "{}_too_large",
    "invalid_{}",
)
MEDIA = (
    *(code.format(medium) for medium in ("image", "video") for code in _ABOUT_MEDIA),
    "image_too_small",
    "video_too_long",
    "unsupported_video_codec",
)
"""Of a picture or a video, all with status 400."""

BODY = (
    "invalid_json",
    "invalid_type",
    "invalid_value",
    "missing_required_parameter",
    "unknown_parameter",
    "unsupported_parameter",
    "unsupported_content_type",
    "empty_array",
    "array_above_max_length",
    "string_above_max_length",
    "integer_above_max_value",
    "integer_below_min_value",
    "decimal_above_max_value",
    "decimal_below_min_value",
    "context_length_exceeded",
)
"""Of a request's body, all with status 400."""

FORMS = ("invalid_json_schema",)
"""Of the form that an answer shall have, all with status 400."""

CODES: Mapping[int, tuple[str, ...]] = {
    400: (*BODY, *FORMS, *MEDIA, "invalid_http"),
    401: ("invalid_api_key",),
    404: ("not_found", "model_not_found"),
    405: ("method_not_allowed",),
    408: ("request_timeout",),
    413: ("request_too_large",),
    415: ("unsupported_media_type",),
    429: ("rate_limit_exceeded",),
    431: ("headers_too_large",),
    500: ("engine_failed", "internal_error"),
    503: ("server_overloaded", "not_ready"),
}
"""By status."""
