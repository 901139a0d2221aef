"""Videos through the whole server: what it answers, what it counts, and what it refuses."""

import base64
import io
import random
import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_server import BASE, ROOT, Configured
from openai import OpenAI
from PIL import Image
from transformers.video_utils import load_video

from counts import conversation, difference
from films import film
from omega_server.model.loader import load, load_processor

MODEL = str(ROOT / "demo" / "model")
PART = "messages[0].content[0]"


def uri(data: bytes, kind: str = "video/mp4") -> str:
    """A file as a data: URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def video(data: bytes, **fields: Any) -> dict[str, Any]:
    """A part with a video."""
    return {"type": "video_url", "video_url": {"url": uri(data)}, **fields}


def text(words: str) -> dict[str, Any]:
    """A part with words."""
    return {"type": "text", "text": words}


def png(image: Image.Image) -> dict[str, Any]:
    """A part with a picture."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"type": "image_url", "image_url": {"url": uri(file.getvalue(), "image/png")}}


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """The demo model and its processor, as transformers has them."""
    torch.set_num_threads(1)
    return load(MODEL, "float32", "cpu"), load_processor(MODEL)


def generated(models: tuple[Any, Any], files: list[Path], content: list[dict[str, Any]]) -> tuple[str, int]:
    """What transformers alone reads from files and answers, greedily, and the tokens of the prompt."""
    model, processor = models
    loaded = [load_video(str(file), backend="pyav") for file in files]
    frames = iter([frames for frames, _ in loaded])
    content = [{**part, "video": next(frames)} if part["type"] == "video" else part for part in content]
    options = {"do_sample_frames": True, "fps": 4, "video_metadata": [[metadata for _, metadata in loaded]]}
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"videos_kwargs": options},
    )
    with torch.inference_mode():
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=12)
    length = inputs["input_ids"].shape[1]
    return processor.tokenizer.decode(tokens[0, length:], skip_special_tokens=True), length


def test_answers_equal_generate(server: Configured, models: tuple[Any, Any], tmp_path: Path) -> None:
    """A video, two of them, and a picture between them are answered as transformers answers about the same files."""
    films = [film(30, rate=10), film(11, rate=5, size=(150, 90), codec="libx264")]
    files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for file, data in zip(files, films, strict=True):
        file.write_bytes(data)
    image = Image.linear_gradient("L").convert("RGB").resize((80, 120))
    picture = {"type": "image", "image": image}
    for ours, theirs, used in (
        ([video(films[0], fps=4), text("What is there?")], [{"type": "video"}, text("What is there?")], files[:1]),
        (
            [video(films[1], fps=4), text("or"), png(image), text("and"), video(films[0], fps=4), text("?")],
            [{"type": "video"}, text("or"), picture, text("and"), {"type": "video"}, text("?")],
            files[::-1],
        ),
    ):
        answer, length = generated(models, used, theirs)
        got = server.chat(ours, max_tokens=12, repetition_penalty=1.0).json()
        assert got["choices"][0]["message"]["content"] == answer
        assert got["usage"]["prompt_tokens"] == length


def test_both_forms_and_streams(server: Configured) -> None:
    """The original's form is the same video; a stream says the same of its tokens, and a second look finds it cached."""
    data = film(10, rate=5)
    body = {"messages": [{"role": "user", "content": [video(data), text("What?")]}], "max_tokens": 2}
    announced = server.client.post("/v1/apply_template", json=body).json()
    (tokens,) = announced["video_tokens"]
    assert announced["image_tokens"] == []
    assert "<|vision_start|><|video_pad|><|vision_end|>What?" in announced["prompt"]
    original = {"type": "video", "video": uri(data)}
    usage = server.chat([original, text("What?")], max_tokens=2).json()["usage"]
    assert usage["prompt_tokens"] == announced["prompt_tokens"]
    assert usage["prompt_tokens_details"]["video_tokens"] == tokens > 0
    again = server.chat([original, text("What?")], max_tokens=2).json()["usage"]["prompt_tokens_details"]
    assert again["cached_tokens"] > 0
    other = server.chat([video(film(10, rate=5, size=(96, 62))), text("What?")], max_tokens=2).json()["usage"]
    assert other["prompt_tokens_details"]["cached_tokens"] < tokens
    client = OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)
    messages: Any = body["messages"]
    stream = client.chat.completions.create(
        model="demo", messages=messages, stream=True, stream_options={"include_usage": True}, max_tokens=2
    )
    *_, last = stream
    client.close()
    assert last.usage is not None
    assert last.usage.prompt_tokens_details.model_dump()["video_tokens"] == tokens
    counted = server.client.post("/v1/tokenize", json={"messages": body["messages"]}).json()
    assert (counted["count"], counted["video_tokens"]) == (announced["prompt_tokens"], [tokens])


def test_frames_and_pixels(server: Configured) -> None:
    """Fewer frames or pixels are fewer tokens, and the times of the frames stand in the prompt."""
    data = film(60, rate=10, size=(320, 240))

    def tokens(**fields: Any) -> int:
        body = {"messages": [{"role": "user", "content": [video(data, **fields)]}]}
        (count,) = server.client.post("/v1/apply_template", json=body).json()["video_tokens"]
        return int(count)

    assert tokens(max_pixels=64 * 64, num_frames=4) == 2 * 2  # two pairs, of 64 x 32 pixels each
    assert tokens(total_pixels=4 * 1024, fps=10) == 2
    assert tokens(max_pixels=64 * 64, fps=1) < tokens(max_pixels=64 * 64) < tokens(max_pixels=64 * 64, fps=4)
    assert tokens(max_pixels=64 * 64, fps=4, max_frames=6) == 3 * 2


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        ({"type": "video_url", "video_url": {"url": "file:///etc/passwd"}}, "invalid_video_url", PART),
        ({"type": "video_url", "video_url": {"url": "http://127.0.0.1/a.mp4"}}, "invalid_video_url", PART),
        ({"type": "video", "video": "AAAA"}, "invalid_video_url", PART),
        ({"type": "video", "video": uri(b"x", "image/png")}, "unsupported_video_media_type", PART),
        ({"type": "video", "video": "data:video/mp4;base64,*"}, "invalid_base64_video", PART),
        ({"type": "video", "video": "data:video/mp4;base64,"}, "empty_video_file", PART),
        ({"type": "video", "video": uri(b"#EXTM3U\nhttp://127.0.0.1/a.ts")}, "invalid_video_format", PART),
        ({"type": "video", "video": uri(film(20)[:2000])}, "video_parse_error", PART),
        ({"type": "video", "video": uri(film(5, codec="mpeg2video"))}, "unsupported_video_codec", PART),
        (video(film(20, rate=Fraction(1, 60))), "video_too_long", PART),
        (video(film(4, size=(16, 4096))), "invalid_video", PART),
        (video(b"x", num_frames=769), "integer_above_max_value", f"{PART}.num_frames"),
        (video(b"x", max_frames=769), "integer_above_max_value", f"{PART}.max_frames"),
        (video(film(40, size=(512, 512)), fps=25, total_pixels=1 << 30), "context_length_exceeded", "messages"),
    ],
)
def test_refused(server: Configured, part: dict[str, Any], code: str, param: str) -> None:
    """What is wrong with a video is said by a code, with the part's place."""
    response = server.chat([part])
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)


@pytest.mark.parametrize("kind", ["input_audio", "audio_url", "audio"])
@pytest.mark.parametrize("role", ["user", "system"])
def test_sound(server: Configured, kind: str, role: str) -> None:
    """Sound is refused by the name of the model, which cannot hear, whatever is in it."""
    part = {"type": kind, kind: {"data": "AAAA", "format": "wav"}, "x": 1}
    response = server.client.post("/v1/chat/completions", json={"messages": [{"role": role, "content": [part]}]})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_content_type", PART)
    assert "The model demo cannot hear" in error["message"]


def test_live_limits(server: Configured) -> None:
    """The limits of videos are live, each of them; pictures and videos count together."""
    data = film(30, rate=10)
    limits = {"maxBytes": "1Ki", "maxSeconds": 2, "maxFrames": 2}
    codes = {"maxBytes": "video_file_too_large", "maxSeconds": "video_too_long", "maxFrames": "integer_above_max_value"}
    try:
        for name, value in limits.items():
            assert server.configure({**BASE, "video": {name: value}}) is None
            assert server.chat([video(data, num_frames=4)]).json()["error"]["code"] == codes[name]
        assert server.configure({**BASE, "images": {**BASE["images"], "maxPerRequest": 1}}) is None
        both = server.chat([video(data), png(Image.new("RGB", (40, 40)))]).json()["error"]
        assert (both["code"], both["param"]) == ("array_above_max_length", "messages")
    finally:
        server.configure(BASE)


@pytest.fixture
def site() -> Iterator[tuple[str, bytes]]:
    """A site with a film."""
    data = film(10, container="webm")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/a.webm" else 404)
            self.send_header("Content-Type", "video/webm")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", data
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_address(server: Configured, site: tuple[str, bytes]) -> None:
    """A video is fetched under the policy of pictures; a failed download has its code."""
    address, data = site
    part = {"type": "video_url", "video_url": {"url": f"{address}/a.webm"}}
    assert server.chat([part]).json()["error"]["code"] == "invalid_video_url"
    try:
        server.configure({**BASE, "images": {**BASE["images"], "allowedCidrs": ["127.0.0.0/8"]}})
        far, near = (server.chat([given], max_tokens=4) for given in (part, video(data)))
        assert far.json()["choices"] == near.json()["choices"]
        part["video_url"] = {"url": f"{address}/b.webm"}
        assert server.chat([part]).json()["error"]["code"] == "failed_to_download_video"
    finally:
        server.configure(BASE)


def test_counts(server: Configured) -> None:
    """What apply_template announces is what is used, for random pictures and videos; tools/counts.py asks for more."""
    rng = random.Random(3)
    outcomes = []
    for _ in range(40):
        outcome, found = difference(server.client, conversation(rng, videos=0.3))
        assert found == ""
        outcomes.append(outcome)
    assert outcomes.count("counted") > 20
