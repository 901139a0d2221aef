"""Where models come from."""

import pytest

from omega_schema.source import HubSource, ImageSource, PathSource, PvcSource, Source, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pvc://weights", PvcSource("weights", "")),
        ("pvc://weights/", PvcSource("weights", "")),
        ("pvc://weights/a/b-1.0/", PvcSource("weights", "a/b-1.0")),
        ("hf://org/model", HubSource("org/model", "main")),
        ("hf://Org/Model-3.5@v1.0", HubSource("Org/Model-3.5", "v1.0")),
        ("hf://org/model@refs/pr/4", HubSource("org/model", "refs/pr/4")),
        ("oci://busybox", ImageSource("busybox")),
        ("oci://registry:5000/a/b:1", ImageSource("registry:5000/a/b:1")),
        ("path:///models/omega/", PathSource("/models/omega")),
    ],
)
def test_parses(text: str, source: Source) -> None:
    """Each form becomes its parts."""
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    ["", "weights", "s3://a/b", "pvc://", "pvc://a//b", "hf://model", "hf://a/b/c", "oci://", "path://a", "hf://a/b\n"],
)
def test_refuses(text: str) -> None:
    """Anything else is refused, and the forms are named."""
    with pytest.raises(ValueError, match="pvc://CLAIM/PATH, hf://ORG/NAME"):
        parse_source(text)


@pytest.mark.parametrize("text", ["pvc://weights/../x", "pvc://weights/a..b", "path:///a/..", "hf://org/model@.."])
def test_never_climbs_out(text: str) -> None:
    """A source with .. is refused wherever it stands."""
    with pytest.raises(ValueError, match=r'must not contain "\.\."'):
        parse_source(text)
