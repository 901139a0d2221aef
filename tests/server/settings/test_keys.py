"""Who may ask, from which keys, and who may not when there are none."""

from pathlib import Path

import pytest

from omega_server.keys import Keyring, tenant


def offered(keyring: Keyring, key: bytes | str) -> bool:
    """Whether a key opens."""
    return keyring.allows([b"Bearer " + (key.encode() if isinstance(key, str) else key)])


def test_open_without_keys() -> None:
    """A server without any key is open."""
    assert Keyring(None, None).allows([])


def test_one_key() -> None:
    """A key opens if it is exactly that key, once, as a bearer."""
    keyring = Keyring(None, "sécret")
    assert offered(keyring, "sécret")
    assert keyring.allows(["bearer sécret".encode()])
    for wrong in ("secret", "SÉCRET", "sécret2", "sécre", "", "sécret sécret"):
        assert not offered(keyring, wrong)
    assert not offered(keyring, b"\xff\xfe")
    assert not keyring.allows([])
    assert not keyring.allows(["Basic sécret".encode()])
    assert not keyring.allows(["sécret".encode()])
    assert not keyring.allows(["Bearer sécret".encode()] * 2)


def test_directory(tmp_path: Path) -> None:
    """Each file is one key; links and directories of the kubelet are none; changes count at the next look."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "a").write_text("first\n")
    (tmp_path / "a").symlink_to("..data/a")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "directory").mkdir()
    (tmp_path / ".hidden").write_text("hidden")
    keyring = Keyring(tmp_path, "fixed")
    assert offered(keyring, "first")
    assert offered(keyring, "fixed")
    assert not offered(keyring, "")
    assert not offered(keyring, "hidden")
    (tmp_path / "b").write_bytes(b"second")
    (tmp_path / "a").unlink()
    assert not offered(keyring, "second")
    keyring.poll()
    assert offered(keyring, "second")
    assert not offered(keyring, "first")


@pytest.mark.parametrize("gone", [False, True])
def test_fail_closed(tmp_path: Path, gone: bool) -> None:
    """A directory that is empty, or goes away, lets nobody in."""
    directory = tmp_path / "keys"
    directory.mkdir()
    if gone:
        (directory / "a").write_text("key")
    keyring = Keyring(directory, None)
    assert offered(keyring, "key") == gone
    if gone:
        (directory / "a").unlink()
        directory.rmdir()
        keyring.poll()
    assert not offered(keyring, "key")
    assert not keyring.allows([])


def test_tenants() -> None:
    """Whoever has one key is one tenant, who is no other and does not tell the key; without keys all are the same."""
    keyring = Keyring(None, "first")
    seen = []
    for word in ("first", " first", "second"):
        allowed = offered(keyring, word)
        seen.append(tenant.get() if allowed else None)
    assert seen[0] == seen[1]
    assert seen[0] is not None
    assert len(seen[0]) == 16
    assert seen[2] is None
    assert tenant.get() == b""
    assert offered(Keyring(None, "second"), "second")
    assert tenant.get() not in (seen[0], b"")
    assert Keyring(None, None).allows([b"Bearer first"])
    assert tenant.get() == b""
