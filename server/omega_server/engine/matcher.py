"""Grammars in the language of llguidance, over the tokens of one checkpoint.

What a grammar may cost is bounded: in its size, in the states that an answer can lead it to, and in the work for one
token. Which tokens may come next is worked out in a thread, while the model computes.
"""

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from tokenizers import Tokenizer

from omega_server.engine.grammar_limits import LIMITS, reason
from omega_server.engine.letters import token_bytes
from omega_server.engine.request import InvalidGrammar

logger = logging.getLogger(__name__)


class Grammars:
    """Begins to follow answers of a form."""

    def __init__(self, tokenizer: Tokenizer, end_tokens: Iterable[int], vocabulary: int) -> None:
        """Takes about a second for a vocabulary of 150,000 tokens.

        Args:
            tokenizer: byte-level.
            end_tokens: any of which ends an answer.
            vocabulary: number of token ids that the model knows.
        """
        size = max(vocabulary, tokenizer.get_vocab_size())
        self._tokens = LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer)), n_vocab=size, eos_token=list(end_tokens))
        # One thread, so that a grammar is never in two of them.
        self._thread = ThreadPoolExecutor(1, "grammar")

    @classmethod
    def load(cls, model_path: str, end_tokens: Iterable[int], vocabulary: int) -> "Grammars":
        """Of a checkpoint.

        Raises:
            OSError: it has no tokenizer.json.
        """
        tokenizer = Tokenizer.from_str((Path(model_path) / "tokenizer.json").read_text(encoding="utf-8"))
        return cls(tokenizer, end_tokens, vocabulary)

    def begin(self, text: str) -> "Matcher":
        """A grammar where an answer begins. Takes milliseconds.

        Raises:
            InvalidGrammar: the text is no grammar, or a too costly one.
        """
        inner = LLMatcher(self._tokens, text, log_level=0, limits=LIMITS)
        # The first tokens cost most; what is too much for them is found now.
        mask = inner.compute_bitmask() if not inner.is_error() else b""
        if inner.is_error():
            raise InvalidGrammar(reason(inner.get_error()))
        return Matcher(inner, mask, self._thread)


class Matcher:
    """A grammar that follows one answer; see `Grammar`."""

    def __init__(self, inner: LLMatcher, mask: bytes, thread: ThreadPoolExecutor) -> None:
        self._inner = inner
        self._thread = thread
        self._accepted: deque[int] = deque()
        self._mask = np.frombuffer(mask, dtype=np.int32)
        self._next: Future[np.ndarray] | None = None
        self._context = copy_context()  # what is logged there is about the request, too

    def allowed(self) -> np.ndarray:
        """See Grammar. No token at all, if the grammar has become too costly: then the answer cannot go on."""
        return self._mask if self._next is None else self._next.result()

    def accept(self, token: int) -> None:
        """See Grammar."""
        self._accepted.append(token)
        self._next = self._thread.submit(self._context.run, self._advance)

    def _advance(self) -> np.ndarray:
        if not self._accepted:  # the last call had it already
            return self._mask
        while self._accepted:
            self._inner.consume_token(self._accepted.popleft())
        mask = self._inner.compute_bitmask()
        self._mask = np.frombuffer(mask, dtype=np.int32)
        if self._inner.is_error():
            logger.error("A grammar cannot be followed any further: %s", reason(self._inner.get_error()))
            self._mask = np.zeros_like(self._mask)
        return self._mask


class _Vocabulary:
    """A tokenizer as llguidance wants to see it.

    It would read tokenizer.json by itself, but takes every added token for one that is no text; `<tool_call>` and
    `<think>` are.
    """

    bos_token_id = None
    eos_token_id = 0  # the real ones are named apart

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder()
        self._tokenizer = tokenizer
        self.tokens = [token_bytes(tokenizer, token_id) for token_id in range(tokenizer.get_vocab_size())]
        self.special_token_ids = [token_id for token_id, token in added.items() if token.special]

    def __call__(self, text: bytes | str) -> list[int]:
        words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        ids: list[int] = self._tokenizer.encode(words, add_special_tokens=False).ids
        return ids
