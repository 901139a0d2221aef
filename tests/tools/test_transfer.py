"""Which layers are known by what lies below them."""

from __future__ import annotations

import hashlib

from cluster import transfer


def test_chain_ids() -> None:
    """The lowest layer is named by itself, each other one by the hash of the chain below and itself (OCI image spec)."""
    first, second, third = "sha256:a", "sha256:b", "sha256:c"
    two = f"sha256:{hashlib.sha256(b'sha256:a sha256:b').hexdigest()}"
    three = f"sha256:{hashlib.sha256(f'{two} sha256:c'.encode()).hexdigest()}"
    assert list(transfer.chain_ids([first, second, third])) == [first, two, three]
    assert list(transfer.chain_ids([])) == []


def test_the_same_layer_elsewhere_is_another_chain() -> None:
    """A layer that is known above one base is not known above another."""
    assert (
        list(transfer.chain_ids(["sha256:a", "sha256:c"]))[1] != list(transfer.chain_ids(["sha256:b", "sha256:c"]))[1]
    )
