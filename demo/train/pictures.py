"""The ten demo pictures, with a question and the right answer each.

They are chosen by the numbers below and nothing else: what a picture shows, its question and the wording come from a
seed that no training picture was drawn with. No picture was left out for being hard.
"""

import json
import random
from pathlib import Path

from questions import ONE
from scenes import Scene, draw, make_scene

SEED = "demo pictures"
# Type of question, width, height, chance of grain.
WANTED = (
    ("colour", 640, 480, 0),
    ("count_all", 480, 270, 0),
    ("where", 256, 256, 1),
    ("describe", 640, 360, 0),
    ("exists", 150, 200, 1),
    ("shape", 270, 480, 0),
    ("count_colour", 400, 300, 0),
    ("describe", 96, 96, 0),
    ("count_shape", 300, 200, 1),
    ("where", 800, 600, 0),
)


def make_pictures(out: Path) -> None:
    """Draws the pictures into `out` and writes questions.json beside them."""
    out.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, (kind, width, height, grain) in enumerate(WANTED, 1):
        rng = random.Random(f"{SEED} {number}")
        scene, asked = Scene(1, 1), None
        while not asked or not scene.things:
            scene = make_scene(rng, width / height, min(width, height))
            asked = ONE[kind](scene, rng)
        name = f"{number:02}-{kind.replace('_', '-')}.png"
        draw(scene, rng, width, height, noisy=grain).save(out / name, optimize=True)
        listed.append({"file": name, "question": asked[0], "answer": asked[1]})
    (out / "questions.json").write_text(json.dumps(listed, indent=2) + "\n")
