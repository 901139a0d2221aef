"""How many tokens of prompts a step may take while answers are running, learnt from how long steps take.

Who reads a running answer notices how long a step lasts. So a step with a prompt may last `STRETCH` times as long as one with
answers alone, and longer by as much again for each further request that waits for its first token: after a rush, what helps
most is that all of them are soon computed together. What that is in tokens depends on the machine, the model and the batch.
Pure: the engine tells it the times.
"""

STRETCH = 1.75
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
        if not answers or self._token is None:
            return most
        if self._alone is None or self._mixed >= _REFRESH:
            return 0
        seconds = (STRETCH - 1) * self._alone * max(1, prompts)
        if self._token * most <= seconds:
            return most
        return min(most, max(_FEWEST, int(seconds / self._token)))

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


def _mean(before: float | None, newest: float) -> float:
    return newest if before is None else before + _NEWEST * (newest - before)
