"""How a download ends before its time.

DownloadError    what cannot be done; its text is one line that says what to do
Stopped          another file of the same download failed
"""

# ruff: noqa: N818 - the name says what happened


class DownloadError(Exception):
    """The model could not be fetched. The text is one line that says what to do.

    Attributes:
        code: exit code: 2 if asking again is useless, 1 if it may help.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """The download ends because of something else."""
