"""Turns to token ids and pixels, with the checkpoint's own processor and chat template."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from omega_server.engine.request import ContextLengthExceeded, Medium, Prompt
from omega_server.media.decode import Picture
from omega_server.model.loader import load_processor
from omega_server.prompt.messages import Turn, pictures

COMPOSED = 4
"""Most characters that Unicode normalisation, which tokenizers begin with, makes one of."""


class Processor:
    """Knows one checkpoint's template, tokenizer and picture processor.

    Attributes:
        max_length: longest prompt and answer together, in tokens: what was asked for, or what the checkpoint can do.
        tokenizer: of type tokenizers.Tokenizer.
        vocabulary: number of token ids.
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
        self._merged = images.merge_size**2
        self._settings = images.to_json_string().encode()
        self._longest = max(map(len, self.tokenizer.get_vocab()))

    def build(self, turns: Sequence[Turn]) -> tuple[Prompt, tuple[int, ...]]:
        """The prompt of a conversation, which ends where the answer begins, and the tokens of each picture.

        Raises:
            ContextLengthExceeded: it leaves no room for a single token of answer.
        """
        shown = pictures(turns)
        self._check_size(turns, shown)
        features = self.inner.apply_chat_template(
            _conversation(turns),
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            # A user who writes <|image_pad|> gets these letters, not a picture.
            sanitize_control_tokens=True,
        )
        token_ids = tuple(features["input_ids"][0].tolist())
        self._check_length(len(token_ids))
        media = self._media(features, shown)
        return Prompt(token_ids, media), tuple(medium.pixels.shape[0] // self._merged for medium in media)

    def render(self, turns: Sequence[Turn]) -> str:
        """The prompt as text, with one placeholder for each picture."""
        return self.inner.apply_chat_template(_conversation(turns), tokenize=False, add_generation_prompt=True)

    def _media(self, features: Any, shown: Sequence[Picture]) -> tuple[Medium, ...]:
        if not shown:
            return ()
        grids = [(int(t), int(h), int(w)) for t, h, w in features["image_grid_thw"].tolist()]
        patches = torch.split(features["pixel_values"], [t * h * w for t, h, w in grids])
        return tuple(
            Medium("image", pixels, grid, self._key(picture))
            for pixels, grid, picture in zip(patches, grids, shown, strict=True)
        )

    def _key(self, picture: Picture) -> bytes:
        # Size and mode belong to the content: 30 x 100 and 100 x 30 can have the same bytes.
        content = hashlib.sha256(self._settings)
        content.update(f"|RGB|{picture.width}x{picture.height}|".encode())
        content.update(picture.rgb)
        return content.digest()

    def _check_size(self, turns: Sequence[Turn], shown: Sequence[Picture]) -> None:
        """Refuse what is surely too long before working on it."""
        letters = sum(len(part) for turn in turns for part in turn.parts if isinstance(part, str))
        patches = self.inner.image_processor.get_number_of_image_patches
        visual = sum(patches(picture.height, picture.width) // self._merged for picture in shown)
        self._check_length(letters // (self._longest * COMPOSED) + visual, at_least=True)

    def _check_length(self, tokens: int, *, at_least: bool = False) -> None:
        if tokens >= self.max_length:
            more = "at least " if at_least else ""
            raise ContextLengthExceeded(
                f"The prompt has {more}{tokens} tokens; prompt and answer together may have {self.max_length}. "
                "Send a shorter prompt, or fewer or smaller pictures."
            )


def _conversation(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    # The templates know the system's role only by its older name.
    roles = {"developer": "system"}
    return [
        {"role": roles.get(turn.role, turn.role), "content": [_part(part) for part in turn.parts]} for turn in turns
    ]


def _part(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image", "image": Image.frombytes("RGB", (part.width, part.height), part.rgb)}
