"""The playground: one page, with which a person asks this server in a browser.

Stands beside the data path: the page is a client of the API as any other. Its files hold no secret and need no key, are
read once, and load nothing from anywhere else.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = "index.html"
"""The file that is served at /; the others are below /playground/."""
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""Nothing inline, nothing from elsewhere, nobody who frames the page, and no text that becomes markup."""


@dataclass(frozen=True)
class File:
    """One file of the page.

    Attributes:
        body: its bytes.
        headers: of the response.
    """

    body: bytes
    headers: Mapping[str, str]


def _read(path: Path) -> File:
    body = path.read_bytes()
    headers = {
        "Content-Type": MEDIA_TYPES[path.suffix],
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        "Cache-Control": "no-cache",  # a browser asks whether it is still so, and an upgrade is seen at once
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return File(body, headers)


FILES: Mapping[str, File] = {path.name: _read(path) for path in sorted((Path(__file__).parent / "files").iterdir())}
"""Name to file."""
PATHS = frozenset({"/"} | {f"/playground/{name}" for name in FILES if name != PAGE})
"""Where they are served."""
