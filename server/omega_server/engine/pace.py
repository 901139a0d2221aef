"""How many tokens of prompts a step may take, learnt from how long steps take.

Who reads a running answer notices how long a step lasts. So a step with a prompt may last `STRETCH` times as long as one with
answers alone, and longer by as much again for each further request that waits for its first token: after a rush, what helps
most is that all of them are soon computed together. What that is in tokens depends on the machine, the model and the batch.

While a step runs nothing else happens: nobody new is let in, and whoever hung up keeps a slot and blocks. So prompts
never make it longer than about `LONGEST`, unless answers alone do. Pure: the engine tells it the times.
"""

STRETCH = 1.75
LONGEST = 0.12
"""Seconds; well below the 0.2 in which all that somebody had who hung up should be free again."""
_FIRST = 64  # tokens, of the very first prompt, to see how long they take
_FEWEST = 16  # tokens, so that prompts go on whatever the times say
_REFRESH = 16  # steps with prompts, after which one without shows again what answers alone cost
_NEWEST = 0.3  # the weight of the newest time in a mean


class Pace:
    """What is known of this engine's times: those of a step of answers alone, and what each token of a prompt adds."""

    def __init__(self) -> None:
        self._alone: float | None = None
        self._token: float | None = None
        self._mixed = 0

    def tokens(self, answers: int, prompts: int, most: int) -> int:
        """How many tokens of prompts the next step may take.

        Args:
            answers: that get a token in it.
            prompts: that could be computed now.
            most: tokens of prompts that it has room for.

        Returns:
            at most `most`; 0 to learn what answers cost alone.
        """
        if self._token is None:
            return min(most, _FIRST)
        if not answers:
            return self._within(LONGEST, most)
        if self._alone is None or self._mixed >= _REFRESH:
            return 0
        stretch = (STRETCH - 1) * self._alone
        return self._within(max(stretch, min(stretch * prompts, LONGEST - self._alone)), most)

    def learn(self, answers: int, tokens: int, seconds: float) -> None:
        """Take note of a step.

        Args:
            answers: that got a token in it.
            tokens: of prompts that it computed.
            seconds: that it took.
        """
        if not answers:
            # The whole step is more than what the tokens add to one.
            self._token = min(seconds / tokens, self._token or seconds / tokens)
        elif not tokens:
            self._alone = _mean(self._alone, seconds)
            self._mixed = 0
        else:
            self._mixed += 1
            if self._alone is not None:
                self._token = _mean(self._token, max(0.0, seconds - self._alone) / tokens)

    def _within(self, seconds: float, most: int) -> int:
        assert self._token is not None
        if self._token * most <= seconds:
            return most
        return min(most, max(_FEWEST, int(seconds / self._token)))


def _mean(before: float | None, newest: float) -> float:
    return newest if before is None else before + _NEWEST * (newest - before)
