"""Training batches: rows of pictures and several turns of talk about them, as token ids.

A row is a prefix (system text, pictures) and several questions. In most rows a question sees only the prefix and
itself, as if it were asked alone: many questions then cost one look at the picture. In the other rows it sees what
was said before.
"""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from album import Grid
from processor import SYSTEMS
from questions import ALONE, ONE, STORY, TALK, Asked, talk, unknown, which
from scenes import KINDS, Scene

TURNS = 8
LONGEST = 160  # tokens of a row: rows of like length waste little on padding
GRIDS = 3  # forms of pictures in one batch; the vision tower looks at the pictures of one form at once
EVERY_TEXT = 8  # each so manieth batch has no pictures
# The types that seldom fit, or are hard, are asked more often.
OFTEN = [
    *ONE,
    *("colour", "colour", "shape", "shape", "describe", "describe"),
    *("where", "where", "where", "where", "where"),
    *("count_all", "count_colour", "count_shape", "count_shape"),
]
COUNTED = 3  # running counts that a visual token is asked for: all, of its colour, of its shape


@dataclass(frozen=True)
class Look:
    """A picture of the album, perhaps as seen in a mirror."""

    grid: Grid
    index: int
    mirrored: bool


class Batches(torch.utils.data.Dataset):
    """One worker's share of the batches. Batch i depends on i, the worker's number and the album alone."""

    def __init__(
        self, tokenizer: Any, scenes: dict[Grid, list[Scene]], *, steps: int, rows: int, worker: int, seed: str = ""
    ) -> None:
        self.tokenizer, self.scenes, self.steps, self.rows = tokenizer, scenes, steps, rows
        self.name = f"batch {seed} {worker}"
        self.image_pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self.known: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self.steps

    def ids(self, text: str) -> list[int]:
        """Token ids of text, never to be changed by the caller."""
        if text not in self.known:
            if len(self.known) > 50_000:
                self.known.clear()
            self.known[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.known[text]

    def __getitem__(self, step: int) -> dict[str, Any]:
        rng = random.Random(f"{self.name} {step}")
        if step % EVERY_TEXT == EVERY_TEXT - 1:
            return self.pack([self._text_row(rng, long=i == 0) for i in range(self.rows // 2)])
        sizes = [len(scenes) for scenes in self.scenes.values()]
        grids = rng.choices(list(self.scenes), sizes, k=GRIDS)
        rows: list[tuple[Any, ...]] = []
        while len(rows) < self.rows:
            looks = [self._look(rng, rng.choice(grids)) for _ in range(2 if len(rows) % 6 == 5 else 1)]
            turns = self._turns(rng, [self.scene(look) for look in looks])
            if turns:
                rows.append(self._row(rng, turns, looks))
        return self.pack(rows)

    def _look(self, rng: random.Random, grid: Grid) -> Look:
        return Look(grid, rng.randrange(len(self.scenes[grid])), rng.random() < 0.5)

    def scene(self, look: Look) -> Scene:
        """What is in the picture."""
        scene = self.scenes[look.grid][look.index]
        return scene.mirrored() if look.mirrored else scene

    @staticmethod
    def _turns(rng: random.Random, scenes: list[Scene]) -> dict[str, str]:
        turns: dict[str, str] = {}
        for _ in range(60):
            asked: Asked
            if rng.random() < 0.02:
                asked = rng.choice((talk, unknown))(rng)
            elif len(scenes) == 1:
                asked = ONE[rng.choice(OFTEN)](scenes[0], rng)
            else:
                asked = which(scenes[0], scenes[1], rng)
            if asked and asked[1] != STORY:
                turns[asked[0]] = asked[1]
            if len(turns) == TURNS:
                break
        return turns

    def _text_row(self, rng: random.Random, *, long: bool) -> tuple[Any, ...]:
        if long:
            return self._row(rng, {rng.choice(TALK[0][0]).capitalize() + rng.choice((".", "")): STORY}, [])
        asked = [ALONE[rng.choice(("talk", "talk", "unknown", "no_picture"))](rng) for _ in range(5)]
        return self._row(rng, {q: a for q, a in asked if a != STORY} or {"Hello": TALK[1][1]}, [])

    def _row(self, rng: random.Random, turns: dict[str, str], looks: list[Look]) -> tuple[Any, ...]:
        """(ids, positions, block of each token, weight of each token in the loss, looks)."""
        system = rng.choice(SYSTEMS) if rng.random() < 0.2 else ""
        chained = rng.random() < 0.2
        ids = [*self.ids(f"<|im_start|>system\n{system}<|im_end|>\n")] if system else []
        ids += self.ids("<|im_start|>user\n")
        pos, at = [(i, i, i) for i in range(len(ids))], len(ids)
        for look in looks:
            rows, columns = look.grid
            ids += [*self.ids("<|vision_start|>"), *[self.image_pad] * (rows * columns), *self.ids("<|vision_end|>")]
            pos.append((at, at, at))
            pos += [(at + 1, at + 1 + r, at + 1 + c) for r in range(rows) for c in range(columns)]
            at += 1 + max(rows, columns)  # a picture takes as many positions as its longer side has tokens
            pos.append((at, at, at))
            at += 1
        block, weight, start = [0] * len(ids), [0.0] * len(ids), at
        for i, (question, answer) in enumerate(turns.items()):
            again = self.ids("\n<|im_start|>user\n") if chained and i else []
            asked = [*again, *self.ids(question), *self.ids("<|im_end|>\n<|im_start|>assistant\n")]
            said = [*self.ids(answer), *self.ids("<|im_end|>")]
            n = len(asked) + len(said)
            if i and len(ids) + n > LONGEST:
                break
            at = at if chained else start
            pos += [(p, p, p) for p in range(at, at + n)]
            at += n
            ids += asked + said
            block += [0 if chained else i + 1] * n
            weight += [0.0] * len(asked) + [len(said) ** -0.5] * len(said)
        return ids, pos, block, weight, looks

    def pack(self, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
        """Tensors of a batch: ids, weight (rows, n), pos (3, rows, n), mask (rows, 1, n, n), and of its pictures."""
        n = (max(len(r[0]) for r in rows) + 7) // 8 * 8
        ids, block = np.zeros((len(rows), n), np.int64), np.full((len(rows), n), -1)
        pos, weight = np.zeros((3, len(rows), n), np.int64), np.zeros((len(rows), n), np.float32)
        for i, r in enumerate(rows):
            k = len(r[0])
            ids[i, :k], pos[:, i, :k], block[i, :k], weight[i, :k] = r[0], np.array(r[1]).T, r[2], r[3]
        sees = np.tril(np.ones((n, n), bool)) & ((block[:, None] == 0) | (block[:, None] == block[:, :, None]))
        tensors = {"ids": ids, "pos": pos, "mask": sees[:, None], "weight": weight}
        batch: dict[str, Any] = {k: torch.from_numpy(v) for k, v in tensors.items()}
        looks = [(look, place) for r in rows for place, look in enumerate(r[4])]
        if looks:
            batch |= self._pictures(looks)
        return batch

    def _pictures(self, looks: list[tuple[Look, int]]) -> dict[str, Any]:
        """The looks sorted by grid, the order that puts their tokens back into rows, and the labels of the tokens."""
        order, grids, start = [np.array([])] * len(looks), {}, 0
        for grid in dict.fromkeys(look.grid for look, _ in looks):
            mine = [(i, look) for i, (look, _) in enumerate(looks) if look.grid == grid]
            grids[grid] = (
                torch.tensor([look.index for _, look in mine]),
                torch.tensor([look.mirrored for _, look in mine]),
            )
            for i, _ in mine:
                order[i] = np.arange(start, start := start + grid[0] * grid[1])
        labels = [labels_of(self.scene(look), look.grid) for look, _ in looks]
        places = [np.full(look.grid[0] * look.grid[1], place) for look, place in looks]
        return {
            "looks": grids,
            "order": torch.from_numpy(np.concatenate(order)),
            "place": torch.from_numpy(np.concatenate(places)),
            **{k: torch.from_numpy(np.concatenate([x[k] for x in labels])) for k in labels[0]},
        }


def labels_of(scene: Scene, grid: Grid) -> dict[str, np.ndarray]:
    """What the helper losses ask of each of a picture's visual tokens, in reading order.

    centre: kind of the thing whose centre is in the token's cell, 0 for none. cover: kind of the thing that covers the
    middle of the cell, 0 for none. ranks: how many things, things of its colour and of its shape have their centre in
    the cells up to and with this one, 0 where no centre is. at: where that centre is, or else the middle of the cell,
    across and down, as shares of the picture. ninth: in which of the nine places of questions.PLACES that is.
    """
    rows, columns = grid
    down, across = np.divmod(np.arange(rows * columns), columns)
    middle = np.stack([(across + 0.5) / columns, (down + 0.5) / rows], 1).astype(np.float32)
    centre, cover = np.zeros(rows * columns, np.int64), np.zeros(rows * columns, np.int64)
    ranks, at = np.zeros((rows * columns, COUNTED), np.int64), middle.copy()
    cells = []
    for thing in scene.things:
        x, y = thing.x / scene.width, thing.y / scene.height
        cells.append((int(y * rows) * columns + int(x * columns), thing, (x, y)))
        near = np.maximum(
            np.abs(middle[:, 0] - x) * scene.width, np.abs(middle[:, 1] - y) * scene.height
        ) < thing.size * 0.45  # fmt: skip
        cover[near] = 1 + KINDS.index((thing.colour, thing.shape))
    seen: Counter[str] = Counter()
    for cell, thing, spot in sorted(cells, key=lambda c: c[0]):
        seen.update(("all", thing.colour, thing.shape))
        centre[cell] = 1 + KINDS.index((thing.colour, thing.shape))
        ranks[cell] = seen["all"], seen[thing.colour], seen[thing.shape]
        at[cell] = spot
    column, row = np.minimum((at * 3).astype(np.int64), 2).T
    return {"centre": centre, "cover": cover, "ranks": ranks, "at": at, "ninth": row * 3 + column}
