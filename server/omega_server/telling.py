"""How the choices of an answer are told in OpenAI's words: text, calls of tools, and why it ended."""

from typing import Any

from omega_server.completion import Delta, TokenLogprob
from omega_server.forms.calls import CallBegins, CallGoesOn, Calls, Piece, Words
from omega_server.wire import responses


class Telling:
    """One choice, from its first delta to its last.

    Attributes:
        finish_reason: why it ended, when it has.
    """

    def __init__(self, *, with_calls: bool) -> None:
        """Calls of tools are looked for `with_calls` only: elsewhere what looks like one is text."""
        self.finish_reason: str | None = None
        self._calls = Calls() if with_calls else None
        self._text = ""
        self._called: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []

    def add(self, index: int, delta: Delta) -> list[dict[str, Any]]:
        """What it gained, as choices of chunks."""
        pieces = self._pieces(delta)
        for piece in pieces:
            self._keep(piece)
        self.finish_reason = delta.finish_reason
        if delta.finish_reason == "stop" and self._calls is not None and self._calls.ended:
            self.finish_reason = "tool_calls"
        logprobs = [_logprob(item) for item in delta.logprobs]
        self._logprobs += logprobs
        told = [_told(piece) for piece in pieces] or ([{}] if self.finish_reason or logprobs else [])
        last = len(told) - 1
        return [
            responses.piece(index, words, self.finish_reason if at == last else None, logprobs if at == 0 else None)
            for at, words in enumerate(told)
        ]

    def choice(self, index: int, *, with_logprobs: bool) -> dict[str, Any]:
        """All of it."""
        text = self._text if self._text or not self._called else None
        logprobs = self._logprobs if with_logprobs else None
        return responses.choice(index, text, self.finish_reason or "", logprobs, self._called)

    def _pieces(self, delta: Delta) -> list[Piece]:
        if self._calls is not None:
            return self._calls.push(delta.text, last=delta.finish_reason is not None)
        return [Words(delta.text)] if delta.text else []

    def _keep(self, piece: Piece) -> None:
        match piece:
            case Words(text):
                self._text += text
            case CallBegins(_, name, number):
                self._called.append(responses.tool_call(number, name, ""))
            case CallGoesOn(index, arguments):
                self._called[index]["function"]["arguments"] += arguments


def _told(piece: Piece) -> dict[str, Any]:
    match piece:
        case Words(text):
            return {"content": text}
        case CallBegins(index, name, number):
            return {"tool_calls": [{"index": index, **responses.tool_call(number, name, "")}]}
        case CallGoesOn(index, arguments):
            return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def _logprob(item: TokenLogprob) -> dict[str, Any]:
    top = [responses.logprob(other.token, other.bytes, other.logprob) for other in item.top]
    return responses.logprob(item.token, item.bytes, item.logprob, top)
