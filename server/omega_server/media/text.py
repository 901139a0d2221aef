"""Base64 text to the bytes of a file. Pure, and meant to run where it may be killed: text can be long, or odd."""

import binascii
from urllib.parse import unquote_to_bytes


def decoded(text: bytes) -> bytes:
    """The file.

    Args:
        text: base64 with padding and without line breaks; in a data: URI, letters may be written as %XX.

    Raises:
        ValueError: it is not that.
    """
    return binascii.a2b_base64(unquote_to_bytes(text) if b"%" in text else text, strict_mode=True)
