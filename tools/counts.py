"""Do the counts of /v1/apply_template equal what is used? Random pictures and videos, asked of a running server.

    omega-server --model-path demo/model --device cpu --dtype float32 --port 8000 &
    .venv/bin/python tools/counts.py http://127.0.0.1:8000 --number 1000

Each conversation goes to /v1/apply_template and to /v1/chat/completions. Either both refuse it with the same error, or the
tokens of the prompt, of its pictures and of its videos are the same in both.
"""

import argparse
import base64
import io
import os
import random
import sys
from collections import Counter
from typing import Any

import httpx
from PIL import Image

from films import film

FILES = ("PNG", "JPEG", "WEBP", "BMP")


def conversation(rng: random.Random, *, videos: float) -> list[dict[str, Any]]:
    """Messages with up to three pictures and videos among words.

    Args:
        rng: decides.
        videos: share of videos among them.
    """
    parts: list[dict[str, Any]] = [{"type": "text", "text": "look " * rng.randint(1, 20)}]
    for _ in range(rng.choice((1, 1, 2, 3))):
        parts.append(_video(rng) if rng.random() < videos else _picture(rng))
        if rng.random() < 0.5:
            parts.append({"type": "text", "text": rng.choice(("and this", "?", "\n"))})
    return [{"role": "user", "content": parts}]


def difference(client: httpx.Client, messages: list[dict[str, Any]]) -> tuple[str, str]:
    """What came of a conversation, in a word, and in which way the two answers differ; nothing if they agree."""
    body = {"messages": messages, "max_tokens": 1, "temperature": 0}
    announced = client.post("/v1/apply_template", json=body).json()
    used = client.post("/v1/chat/completions", json=body).json()
    if "error" in announced or "error" in used:
        one, other = announced.get("error"), used.get("error")
        return (one or other)["code"], "" if one == other else f"{one} is not {other}"
    details = used["usage"]["prompt_tokens_details"]
    before = (announced["prompt_tokens"], sum(announced["image_tokens"]), sum(announced["video_tokens"]))
    after = (used["usage"]["prompt_tokens"], details["image_tokens"], details["video_tokens"])
    return "counted", "" if before == after else f"announced {before}, used {after}"


def _picture(rng: random.Random) -> dict[str, Any]:
    width = rng.randint(1, 700)
    height = rng.randint(-(-width // 200), min(700, 200 * width))
    image = Image.frombytes("RGB", (8, 8), rng.randbytes(192)).resize((width, height))
    file = io.BytesIO()
    image.save(file, rng.choice(FILES))
    look: dict[str, Any] = {}
    if rng.random() < 0.3:
        look["detail"] = rng.choice(("low", "high", "auto"))
    if rng.random() < 0.2:
        look["max_pixels"] = rng.randint(1024, 200_000)
    elif rng.random() < 0.2:
        look["min_pixels"] = rng.randint(1, 60_000)
    return {"type": "image_url", "image_url": {"url": _uri("image/png", file.getvalue()), **look}}


def _video(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("mp4", "webm"))
    size = (2 * rng.randint(8, 80), 2 * rng.randint(8, 80))
    data = film(rng.randint(1, 40), size=size, rate=rng.choice((1, 5, 10, 25, 30)), container=kind)
    look: dict[str, Any] = rng.choice(
        (
            {},
            {"fps": rng.choice((0.5, 1, 3.5))},
            {"num_frames": rng.randint(2, 12)},
            {"max_frames": rng.randint(2, 12)},
            {"max_pixels": rng.randint(1024, 20_000)},
            {"total_pixels": rng.randint(2048, 100_000), "fps": 4},
        )
    )
    return {"type": "video_url", "video_url": {"url": _uri(f"video/{kind}", data)}, **look}


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def main() -> int:
    """Ask, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the server; its key is in the environment's API_KEY")
    parser.add_argument("--number", type=int, default=1000, help="of conversations (default: %(default)s)")
    parser.add_argument(
        "--videos", type=float, default=0.3, help="share of videos among pictures (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    key = os.environ.get("API_KEY")
    rng = random.Random(given.seed)
    outcomes: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    wrong = 0
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=given.url, headers=headers, timeout=300, trust_env=False) as client:
        for index in range(given.number):
            messages = conversation(rng, videos=given.videos)
            shown.update(part["type"] for part in messages[0]["content"])
            outcome, found = difference(client, messages)
            outcomes[outcome] += 1
            if found:
                wrong += 1
                print(f"conversation {index} of seed {given.seed}: {found}", file=sys.stderr)
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    print(f"{given.number} conversations with {shown['image_url']} pictures and {shown['video_url']} videos: {told}")
    print(f"{wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
