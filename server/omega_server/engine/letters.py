"""The bytes of tokens, in byte-level vocabularies: of a character, a token may have only a part."""

from functools import cache

from tokenizers import Tokenizer


def token_bytes(tokenizer: Tokenizer, token_id: int) -> bytes:
    """The bytes that a token stands for; none if there is no such token."""
    return _added(tokenizer).get(token_id) or bytes(
        _letters()[letter] for letter in tokenizer.id_to_token(token_id) or ""
    )


@cache
def _added(tokenizer: Tokenizer) -> dict[int, bytes]:
    """Tokens that are written as they are."""
    return {token_id: str(added.content).encode() for token_id, added in tokenizer.get_added_tokens_decoder().items()}


@cache
def _letters() -> dict[str, int]:
    """How byte-level vocabularies write bytes: printable ones as themselves, the others as letters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
