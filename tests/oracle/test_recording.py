"""What is recorded belongs to the script and to the pins that are checked in."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from oracle.cases import cases, media

HERE = Path(__file__).parent
TOOL = HERE.parents[1] / "tools" / "oracle"


@pytest.mark.parametrize("family", ["omega17_vl", "omega17_vl_exp"])
def test_every_case_was_recorded(recordings, family):
    """The recording answers the very questions of the script, in order."""
    found = [
        {"name": case.name, "messages": case.messages, "videos": case.videos}
        for case in recordings
        if case.family == family
    ]
    assert found == json.loads(json.dumps(cases()))


def test_the_media_are_the_scripts():
    """The pictures beside the recording are the ones that the script draws."""
    drawn = media()
    assert {path.stem for path in (HERE / "media").iterdir()} == set(drawn)
    for name, picture in drawn.items():
        stored = Image.open(HERE / "media" / f"{name}.png")
        assert stored.size == picture.size
        assert ImageChops.difference(stored, picture).getbbox() is None


@pytest.mark.parametrize("family", ["omega17_vl", "omega17_vl_exp"])
def test_the_recording_was_made_with_the_pins(family):
    """Fork, torch and tokenizers of the recording are the pinned versions."""
    pins = (TOOL / "requirements.txt").read_text()
    versions = json.loads((HERE / "recorded" / f"{family}.json").read_text())["versions"]
    assert f"transformers-usf-om-vl-exp-v0=={versions['transformers']} " in pins
    assert f"torch=={versions['torch'].partition('+')[0]} " in pins
    assert f"tokenizers=={versions['tokenizers']} " in pins
