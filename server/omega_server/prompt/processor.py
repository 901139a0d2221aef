"""Turns to token ids and pixels, with the checkpoint's own processor and chat template."""

import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from PIL import Image

from omega_server.engine.request import ContextLengthExceeded, Medium, Prompt
from omega_server.media.clip import Clip, ClipHeader
from omega_server.media.picture import Picture, PictureHeader
from omega_server.model.loader import load_processor
from omega_server.prompt.messages import Call, Header, Shown, Tokens, Tools, Turn, shown
from omega_server.prompt.sizes import seen_size
from omega_server.prompt.videos import Videos

logger = logging.getLogger(__name__)

COMPOSED = 4
"""Most characters that Unicode normalisation, which tokenizers begin with, makes one of."""


class Processor:
    """Knows one checkpoint's template, tokenizer and picture processor.

    Attributes:
        max_length: longest prompt and answer together, in tokens: what was asked for, or what the checkpoint can do.
        tokenizer: of type tokenizers.Tokenizer.
        vocabulary: number of token ids.
        videos: how it treats them.
    """

    def __init__(self, model_path: str, max_length: int) -> None:
        """Load it.

        Raises:
            ModelError: the checkpoint has no usable processor.
        """
        self.inner: Any = load_processor(model_path)
        self.inner.tokenizer.model_max_length = sys.maxsize  # we check the length, with better words
        self.tokenizer = self.inner.tokenizer.backend_tokenizer
        self.vocabulary = len(self.inner.tokenizer)
        config = json.loads((Path(model_path) / "config.json").read_bytes())
        self.max_length = min(max_length, config["text_config"]["max_position_embeddings"])
        images = self.inner.image_processor
        self._factor = images.patch_size * images.merge_size
        self._merged = images.merge_size**2
        self.videos = Videos(self.inner)
        self._settings = images.to_json_string().encode()
        self._longest = max(map(len, self.tokenizer.get_vocab()))

    def build(self, turns: Sequence[Turn], salt: bytes = b"") -> tuple[Prompt, Tokens]:
        """The prompt of a conversation, which ends where the answer begins, and what it is made of.

        Raises:
            ContextLengthExceeded: it leaves no room for a single token of answer.
        """
        tokens = self.tokens(turns)
        media = tuple(self.medium(part, part.key(salt)) for part in shown(turns))
        return Prompt(tokens.token_ids, media), tokens

    def tokens(self, turns: Sequence[Turn], tools: Tools = ()) -> Tokens:
        """The prompt without its pixels; of pictures and videos it needs the headers alone.

        Raises:
            ContextLengthExceeded: it leaves no room for a single token of answer.
        """
        parts = [part for turn in turns for part in turn.parts]
        image_tokens = tuple(self._count(part) for part in parts if isinstance(part, Picture | PictureHeader))
        clips = [part for part in parts if isinstance(part, Clip | ClipHeader)]
        video_tokens = tuple(map(self.videos.count, clips))
        letters = sum(len(part) for part in parts if isinstance(part, str))
        letters += sum(len(call.arguments) for turn in turns for call in turn.calls)
        # Refuse what is surely too long before working on it.
        self._check_length(letters // (self._longest * COMPOSED) + sum(image_tokens + video_tokens), at_least=True)
        token_ids = self.inner.tokenizer.apply_chat_template(
            _conversation(turns),
            chat_template=self.inner.chat_template,
            tools=list(tools) or None,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=False,
            # A user who writes <|image_pad|> gets these letters, not a picture.
            sanitize_control_tokens=True,
        )
        whole = tuple(self._with_placeholders(token_ids, image_tokens, clips))
        self._check_length(len(whole))
        return Tokens(whole, image_tokens, video_tokens)

    def render(self, turns: Sequence[Turn], tools: Tools = ()) -> str:
        """The prompt as text, with one placeholder for each picture and video."""
        text: str = self.inner.apply_chat_template(
            _conversation(turns), tools=list(tools) or None, tokenize=False, add_generation_prompt=True
        )
        return text

    def knows_tools(self) -> bool:
        """Whether the template tells the model of tools, and writes calls and what came of them as Qwen's does."""
        probe = {"type": "function", "function": {"name": "probe_tool", "parameters": {"type": "object"}}}
        turns = [
            Turn("user", ("hello",)),
            Turn("assistant", (), (Call("probe_call", '{"a": 1}'),)),
            Turn("tool", ("probe_result",)),
        ]
        try:
            text = self.render(turns, (probe,))
        except Exception as error:  # noqa: BLE001 - templates raise what they like
            logger.info("The chat template has no tools: %s", error)
            return False
        call = '<tool_call>\n{"name": "probe_call", "arguments": {"a": 1}}\n</tool_call>'
        return all(part in text for part in ("probe_tool", call, "probe_result"))

    def medium(self, part: Shown, key: bytes) -> Medium:
        """A picture or video, cut into patches.

        Args:
            part: its pixels.
            key: of its content.
        """
        return self.videos.medium(part, key) if isinstance(part, Clip) else self._picture(part, key)

    def _picture(self, picture: Picture, key: bytes) -> Medium:
        images = self.inner.image_processor
        image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
        options: dict[str, Any] = {}
        if picture.bounds is not None:
            height, width = self._seen(picture.header)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
            options = {"size": {"shortest_edge": height * width, "longest_edge": height * width}}
        features = images(images=[image], return_tensors="pt", **options)
        t, h, w = (int(side) for side in features["image_grid_thw"][0])
        return Medium("image", features["pixel_values"], (t, h, w), self._key(key))

    def _key(self, content: bytes) -> bytes:
        return hashlib.sha256(self._settings + content).digest()

    def _seen(self, picture: PictureHeader) -> tuple[int, int]:
        size = self.inner.image_processor.size
        return seen_size(picture, self._factor, size["shortest_edge"], size["longest_edge"])

    def _count(self, part: Picture | PictureHeader) -> int:
        height, width = self._seen(part.header if isinstance(part, Picture) else part)
        return height * width // self._factor**2

    def _with_placeholders(
        self, token_ids: Sequence[int], image_tokens: Sequence[int], clips: Sequence[Clip | ClipHeader]
    ) -> Iterator[int]:
        """The token ids with all that stands for a picture or video where the template wrote one placeholder."""
        counts, videos = iter(image_tokens), iter(clips)
        for token in self.videos.unwrapped(token_ids):
            if token == self.videos.token_id:
                yield from self.videos.token_ids(next(videos))
            else:
                yield from repeat(token, next(counts) if token == self.inner.image_token_id else 1)

    def _check_length(self, tokens: int, *, at_least: bool = False) -> None:
        if tokens >= self.max_length:
            more = "at least " if at_least else ""
            raise ContextLengthExceeded(
                f"The prompt has {more}{tokens} tokens; prompt and answer together may have {self.max_length}. "
                "Send a shorter prompt, fewer or smaller pictures, or fewer or smaller frames of videos."
            )


def _conversation(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    # The templates know the system's role only by its older name.
    roles = {"developer": "system"}
    return [
        {"role": roles.get(turn.role, turn.role), "content": [_part(part) for part in turn.parts]} | _calls(turn)
        for turn in turns
    ]


def _calls(turn: Turn) -> dict[str, Any]:
    calls = [{"name": call.name, "arguments": call.arguments} for call in turn.calls]
    return {"tool_calls": [{"type": "function", "function": call} for call in calls]} if calls else {}


def _part(part: str | Shown | Header) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "video" if isinstance(part, Clip | ClipHeader) else "image"}
