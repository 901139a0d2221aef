"""What the server keeps of pictures and videos, in the server, its manual and the operator's arithmetic."""

from pathlib import Path

from omega_operator.desired import resources
from omega_server.media import downloads, loader
from omega_server.prompt import builder

ROOT = Path(__file__).parents[2]


def test_all_of_it_counts() -> None:
    """A pod's memory and the manual have the bytes that the caches may take."""
    kept = [limit >> 20 for limit in (downloads.MAX_BYTES, loader.DECODED_BYTES, builder.CACHE_BYTES)]
    assert sum(kept) == resources.KEPT_MIB
    manual = " ".join((ROOT / "docs" / "server.md").read_text().split())
    assert "keeps {} MiB of downloads, {} MiB decoded and {} MiB cut".format(*kept) in manual
