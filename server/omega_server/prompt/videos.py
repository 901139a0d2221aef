"""Videos as the checkpoint's own processor has them: what stands for one in a prompt, and its patches."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers.video_utils import VideoMetadata

from omega_server.engine.request import Medium
from omega_server.media.clip import Clip, ClipHeader, VideoDefaults

FPS = 2.0
"""Frames for each second, where the checkpoint does not say."""


class Videos:
    """Knows one checkpoint's treatment of videos.

    Attributes:
        defaults: which frames are taken when a request says nothing.
        token_id: of the placeholder.
    """

    def __init__(self, processor: Any) -> None:
        """Take a processor of the Qwen3-VL family."""
        self._processor = processor
        self._inner = processor.video_processor
        # As it is where nobody says; said, it is no longer warned of.
        self._inner.cap_pixels_per_frame = bool(self._inner.cap_pixels_per_frame)
        self._settings = self._inner.to_json_string().encode()
        self._merged = self._inner.merge_size**2
        unit = self._inner.patch_size * self._inner.merge_size
        fps = float(self._inner.fps or FPS)
        self.defaults = VideoDefaults(fps, self._inner.min_frames, self._inner.max_frames, unit)
        self.token_id: int = processor.video_token_id
        self._wrapped = getattr(processor, "wraps_videos", True)

    def count(self, video: Clip | ClipHeader) -> int:
        """Visual tokens of a video."""
        return self._patches(video) // self._merged

    def token_ids(self, video: Clip | ClipHeader) -> list[int]:
        """What stands in a prompt in the place of one placeholder: for each pair of frames the time and its tokens."""
        pairs = -(-len(video.indices) // self._inner.temporal_patch_size)
        metadata = VideoMetadata(video.total, video.fps, frames_indices=list(video.indices))
        # Only the product of a grid's height and width is asked for.
        grid = torch.tensor([[pairs, self._patches(video) // pairs, 1]])
        text = self._processor.replace_video_token({"video_grid_thw": grid, "video_metadata": [metadata]}, 0)
        return self._processor.tokenizer.encode(text, add_special_tokens=False)

    def unwrapped(self, token_ids: Sequence[int]) -> list[int]:
        """A prompt without start and end around its videos, in families that have none."""
        kept = list(token_ids)
        for at in [at for at, token in enumerate(token_ids) if token == self.token_id and not self._wrapped][::-1]:
            kept[at - 1 : at + 2] = [self.token_id]
        return kept

    def medium(self, clip: Clip, key: bytes) -> Medium:
        """A video, cut into patches.

        Args:
            clip: its frames.
            key: of its content.
        """
        shape = (len(clip.indices), clip.height, clip.width, 3)
        frames = torch.frombuffer(bytearray(clip.rgb), dtype=torch.uint8).view(shape).permute(0, 3, 1, 2)
        features = self._inner(videos=[frames], do_sample_frames=False, return_tensors="pt", **_size(clip))
        t, h, w = (int(side) for side in features["video_grid_thw"][0])
        key = hashlib.sha256(b"video|" + self._settings + key).digest()
        return Medium("video", features["pixel_values_videos"], (t, h, w), key)

    def _patches(self, video: Clip | ClipHeader) -> int:
        frames = len(video.indices)
        return self._inner.get_num_of_video_patches(frames, video.height, video.width, _size(video))


def _size(video: Clip | ClipHeader) -> dict[str, Any]:
    """What takes the place of the checkpoint's least and most pixels, if anything does."""
    return {"size": {"shortest_edge": 1, "longest_edge": 1 << 40}} if video.exact else {}
