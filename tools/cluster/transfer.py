"""An image from buildah's store into containerd's, without the layers that containerd has.

The layer of the server's requirements has 6 GB and changes seldom; the layer of its code has kilobytes and changes
often. skopeo does not copy a layer whose file is there already, so an empty file stands for each layer that containerd
has unpacked, and containerd does not ask for the content of a layer that it has unpacked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from cluster import buildah
from cluster.places import PLACES
from cluster.shell import ClusterError, run, tail

LAYOUT = PLACES.cache / "image-layout"


def transfer(image: str, unpacked: Iterable[str], importer: Sequence[str]) -> None:
    """Give the image ``image`` of buildah's store to ``importer``.

    Args:
        image: its name in both stores.
        unpacked: the chain ids of the layers that the importer need not get.
        importer: a command that reads an OCI layout as a tar from its standard input.

    Raises:
        ClusterError: if one of the two stores refuses.
    """
    shutil.rmtree(LAYOUT, ignore_errors=True)
    try:
        present = _present(buildah.layers(image), set(unpacked))
        blobs = LAYOUT / "blobs/sha256"
        blobs.mkdir(parents=True)
        for digest in present:
            (blobs / digest).touch()
        run(*buildah.export(image, LAYOUT))
        _name(image)
        _send([f"--exclude=./blobs/sha256/{digest}" for digest in present], importer, image)
    finally:
        shutil.rmtree(LAYOUT, ignore_errors=True)


def _present(layers: Sequence[str], unpacked: set[str]) -> list[str]:
    """The digests, in hex, of those of ``layers`` whose chain is in ``unpacked``."""
    return [
        layer.removeprefix("sha256:")
        for layer, chain in zip(layers, chain_ids(layers), strict=True)
        if chain in unpacked
    ]


def chain_ids(layers: Iterable[str]) -> Iterator[str]:
    """For each layer the id of it and all below it, as the OCI image specification defines it."""
    chain = ""
    for layer in layers:
        chain = f"sha256:{hashlib.sha256(f'{chain} {layer}'.encode()).hexdigest()}" if chain else layer
        yield chain


def _name(image: str) -> None:
    """Write ``image`` into the layout's index where containerd looks for it."""
    index = LAYOUT / "index.json"
    content = json.loads(index.read_text())
    for manifest in content["manifests"]:
        manifest["annotations"] = {"io.containerd.image.name": image}
    index.write_text(json.dumps(content))


def _send(excluded: Sequence[str], importer: Sequence[str], image: str) -> None:
    command = ("tar", "--create", f"--directory={LAYOUT}", *excluded, ".")
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as source,
        subprocess.Popen(importer, stdin=source.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as sink,
    ):
        assert source.stdout is not None
        assert source.stderr is not None
        assert sink.stdout is not None
        source.stdout.close()  # the importer alone reads it now
        imported, packed = sink.stdout.read(), source.stderr.read()
    if sink.returncode or source.returncode:
        raise ClusterError(f"importing {image} failed:\n{tail((packed + imported).decode())}")
