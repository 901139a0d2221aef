"""Everything that can be wrong with a picture or video is the client's fault, and has a code of the OpenAI API."""


class MediaError(Exception):
    """A picture or video that cannot be used.

    Attributes:
        code: such as invalid_image_format.
        param: where the picture stands in the request, such as messages[0].content[1]; filled in by the loader.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.param: str | None = None
