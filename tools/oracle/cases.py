"""The questions that are put to both sides, and the media in them, drawn from a seed."""

from typing import Any

import numpy as np
from PIL import Image

# Sizes in pixels (height, width). None is a multiple of 32, the side of one visual token: each must be resized.
_PICTURES = {"wide": (70, 150), "tall": (190, 60)}
# (frames, height, width, frames per second). The first is sampled down to 4 frames, the second is taken as it is and
# has an odd number of frames, which is padded to pairs.
_VIDEOS = {"long": (24, 52, 84, 12.0), "odd": (5, 70, 60, 2.0)}


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth colours [height, width, 3], uint8: coarse noise scaled up, so that PNG files stay small."""
    coarse = rng.integers(0, 256, size=(-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), dtype=np.uint8))[:height, :width]


def media() -> dict[str, Image.Image]:
    """Name to picture; the frames of a video are stacked downwards in one picture."""
    rng = np.random.default_rng(17)
    pictures = {name: _noise(rng, *size) for name, size in _PICTURES.items()}
    for name, (frames, height, width, _) in _VIDEOS.items():
        pictures[name] = np.concatenate([_noise(rng, height, width) for _ in range(frames)])
    return {name: Image.fromarray(pixels) for name, pixels in pictures.items()}


def _user(*parts: str | tuple[str, str]) -> list[dict[str, Any]]:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": part[0], part[0]: part[1]}
        for part in parts
    ]
    return [{"role": "user", "content": content}]


def cases() -> list[dict[str, Any]]:
    """Each case has a name, chat messages, and for each video its frame count, rate and whether frames are dropped."""
    wide, tall = ("image", "wide"), ("image", "tall")
    long, odd = ("video", "long"), ("video", "odd")
    system = {"role": "system", "content": "You are a careful assistant. Answer in one sentence."}
    videos = {
        name: {"frames": frames, "fps": fps, "sample": name == "long"} for name, (frames, _, _, fps) in _VIDEOS.items()
    }
    asked = [
        ("text", [system, *_user("Why is the sky blue, and why is it red in the evening? Be brief.")]),
        ("picture", _user(wide, "What is in this picture?")),
        ("two pictures", _user("First: ", wide, " second: ", tall, " Which one is taller?")),
        ("video", _user(long, "What happens in this clip?")),
        ("picture and video", [system, *_user(tall, "Is this in the clip? ", odd)]),
    ]
    return [
        {
            "name": name,
            "messages": messages,
            "videos": [
                videos[part["video"]]
                for message in messages
                if not isinstance(message["content"], str)
                for part in message["content"]
                if part["type"] == "video"
            ],
        }
        for name, messages in asked
    ]
