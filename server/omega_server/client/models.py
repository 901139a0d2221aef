"""omega models: which models a server has."""

import argparse
from typing import Any

from omega_server.client.server import ClientError, Server, printable

USAGE = ""
DESCRIPTION = "Print which models the server has."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line after `omega models URL`: nothing more."""
    del parser


def models(server: Server) -> list[dict[str, Any]]:
    """The entries of /v1/models.

    Raises:
        ClientError: there is no such list.
    """
    try:
        listed = [entry for entry in server.get("models")["data"] if isinstance(entry["id"], str)]
    except (TypeError, KeyError):
        raise ClientError("the server's list of models is none; is the address right?") from None
    if not listed:
        raise ClientError("the server has no model", 1)
    return listed


def run(server: Server, options: argparse.Namespace) -> None:  # noqa: ARG001 - as all commands
    """Print a line for each model: its id, and its longest prompt and answer together, if the server says."""
    for entry in models(server):
        length = entry.get("max_model_len")
        print(printable(entry["id"]) + (f"\t{length} tokens" if isinstance(length, int) else ""))
