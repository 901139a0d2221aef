"""Names that the schema keeps for us are the names that the server and the operator use."""

from omega_schema.limits import RESERVED_ENV
from omega_server import settings

FREE = {"HOST", "LOG_FORMAT"}
"""Variables of the server that no field of the resource sets; pod.env may."""


def test_every_variable_of_the_server_is_reserved_or_free() -> None:
    """A variable that the server learns later must be put on one of the two sides."""
    read = {option.env for option in (*settings.BOOT, *settings.PROCESS, *settings.LIVE)}
    assert read - FREE == set(RESERVED_ENV)
