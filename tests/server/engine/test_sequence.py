"""Placeholders, block hashes and lengths of a sequence."""

from dataclasses import replace

import pytest
import torch

from omega_server.engine.request import InvalidPrompt, Medium, Sampling
from omega_server.engine.sequence import Placeholders, Sequence, Span

IMAGE, VIDEO = 90, 91
PLACEHOLDERS = Placeholders(IMAGE, VIDEO, merge=2)


def medium(kind="image", grid=(1, 4, 4), key=b"a"):
    """A medium without content."""
    return Medium(kind, torch.zeros(grid[0] * grid[1] * grid[2], 4), grid, key)


def sequence(tokens, spans=(), keys=()):
    """A sequence of a prompt."""
    return Sequence(0, list(tokens), len(tokens), Sampling(4), spans=tuple(spans), keys=tuple(keys))


def test_a_picture_is_one_span_and_a_video_one_for_each_pair_of_frames():
    """Spans say which embeddings stand where."""
    tokens = [1, *[IMAGE] * 4, 2, *[VIDEO] * 2, 3, *[VIDEO] * 2, 4]
    media = [medium(), medium("video", (2, 2, 4))]
    assert PLACEHOLDERS.spans(tokens, media) == (Span(1, 5, 0, 0), Span(6, 8, 1, 0), Span(9, 11, 1, 2))


@pytest.mark.parametrize(
    ("tokens", "media"),
    [
        ([1, IMAGE, IMAGE, 2], [medium()]),
        ([1, *[IMAGE] * 4, 2], []),
        ([1, 2], [medium()]),
        ([1, *[VIDEO] * 4, 2], [medium()]),
        ([1, *[IMAGE] * 5, 2], [medium()]),
        ([1, *[IMAGE] * 4, 2, IMAGE], [medium()]),
    ],
    ids=["too few", "no picture", "no placeholder", "wrong kind", "too many", "one run too many"],
)
def test_placeholders_that_do_not_match_are_refused(tokens, media):
    """A prompt whose placeholders do not match its media is the user's fault."""
    with pytest.raises(InvalidPrompt):
        PLACEHOLDERS.spans(tokens, media)


def test_hashes_depend_on_everything_before():
    """Equal blocks after different beginnings have different hashes."""
    one, other = sequence([1, 2, 3, 4, 5, 6]), sequence([9, 2, 3, 4, 5, 6])
    assert one.block_hashes(3, 2)[2] != other.block_hashes(3, 2)[2]
    assert one.block_hashes(3, 2) == sequence([1, 2, 3, 4, 5, 6, 7, 8]).block_hashes(4, 2)[:3]


def test_hashes_know_the_pictures():
    """Equal tokens with another picture, or with pictures in another order, have other hashes from there on."""
    tokens = [1, 2, *[IMAGE] * 4, 3, 3]
    spans = PLACEHOLDERS.spans(tokens, [medium()])
    one, other = (sequence(tokens, spans, [key]).block_hashes(4, 2) for key in (b"a", b"b"))
    assert one[0] == other[0]
    assert not set(one[1:]) & set(other[1:])


def test_a_sequence_runs_up_to_the_first_picture_that_is_not_embedded():
    """What can run ends where embeddings are missing; what is computed already needs none."""
    tokens = [1, *[IMAGE] * 4, 2, *[IMAGE] * 4, 3]
    waiting = sequence(tokens, PLACEHOLDERS.spans(tokens, [medium(), medium()]), [b"a", b"b"])
    assert (waiting.runnable_end, waiting.needed_media) == (1, [0, 1])
    waiting.embedded.add(0)
    assert (waiting.runnable_end, waiting.needed_media) == (6, [0, 1])
    waiting.computed, waiting.embedded = 8, set()
    assert (waiting.runnable_end, waiting.needed_media) == (8, [1])
    waiting.computed = 10
    assert (waiting.runnable_end, waiting.needed_media) == (11, [])


def test_hashes_know_who_asks():
    """With another salt every hash is another, from the first block on."""
    tokens = [1, 2, 3, 4, 5, 6]
    hashes = [replace(sequence(tokens), salt=salt, hashes=[]).block_hashes(3, 2) for salt in (b"", b"one", b"other")]
    assert len({digest for found in hashes for digest in found}) == 9
