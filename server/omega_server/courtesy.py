"""Who gives way on the CPU. Somebody reads the answers that are running; a prompt that is being prepared nobody sees yet.

So what prepares prompts (decoding, prompt processes, vision towers) runs with less weight than the steps of engines. It
still gets a quarter of a core that a step wants as well, and all of one that nobody wants.
"""

import os

NICENESS = 5
"""More than the server's own: a third of the weight."""


def stand_back() -> None:
    """Let the calling thread give way, and those that it starts: on Linux each has a niceness of its own."""
    os.nice(NICENESS)
