"""Training the dense model: first its vision tower alone, then all of it."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from album import Grid, Page
from batches import COUNTED, Batches, labels_of
from crew import Crew
from scenes import KINDS, MOST
from torch import nn

from model import HIDDEN, Sight

SAVE_SECONDS = 240
DECAY = 0.03


class Helpers(nn.Module):
    """Heads that ask each visual token what it stands for. They are thrown away after training.

    Without them the tower has to learn from answers alone what a shape is, which takes many times as long.
    """

    balance: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Linear(HIDDEN, 1 + len(KINDS))
        self.cover = nn.Linear(HIDDEN, 1 + len(KINDS))
        self.at = nn.Linear(HIDDEN, 2)
        self.ninth = nn.Linear(HIDDEN, 9)
        self.ranks = nn.Linear(HIDDEN, COUNTED * (1 + MOST))
        self.place = nn.Linear(HIDDEN, 2)
        self.register_buffer("balance", torch.tensor([0.25] + [1.0] * len(KINDS)), persistent=False)

    def seen(self, features: torch.Tensor, labels: dict[str, torch.Tensor]) -> tuple[torch.Tensor, float]:
        """Loss of what the tower tells (features (tokens, hidden)), and the share of centres named rightly."""
        kinds, centre = self.centre(features), labels["centre"]
        loss = F.cross_entropy(kinds, centre, self.balance)
        loss = loss + 0.5 * F.cross_entropy(self.cover(features), labels["cover"], self.balance)
        loss = loss + 10 * F.mse_loss(self.at(features), labels["at"])
        loss = loss + 0.5 * F.cross_entropy(self.ninth(features), labels["ninth"])
        return loss, (kinds.argmax(-1) == centre)[centre > 0].float().mean().item()

    def counted(self, hidden: torch.Tensor, labels: dict[str, torch.Tensor]) -> torch.Tensor:
        """Loss of the running counts that a layer of the text model (hidden (tokens, hidden)) holds."""
        ranks = self.ranks(hidden).view(-1, COUNTED, 1 + MOST)
        weight = torch.where(labels["ranks"] > 0, 1.0, 0.3)
        loss = (F.cross_entropy(ranks.transpose(1, 2), labels["ranks"], reduction="none") * weight).mean()
        return loss + 0.3 * F.cross_entropy(self.place(hidden), labels["place"])


Group = tuple[float, Iterable[tuple[str, nn.Parameter]]]  # learning rate, named parameters
INNER = ("layers.", "blocks.", "merger")  # where the matrices between hidden states are


class Slope:
    """Learning rates that rise in a straight line and fall along a cosine: Muon for the matrices, AdamW for the rest.

    Muon makes all directions of a matrix learn alike. Tried here from equal weights at the full rate, its loss stood at
    0.17 where that of AdamW alone stood at 0.23.
    """

    def __init__(self, crew: Crew, groups: list[Group], steps: int, warm: float) -> None:
        self.crew, self.steps, self.warm, self.done = crew, steps, warm, 0
        matrices, others = [], []
        for rate, named in groups:
            inner: list[nn.Parameter] = []
            flat: list[nn.Parameter] = []
            rest: list[nn.Parameter] = []
            for name, p in named:
                part = inner if p.ndim == 2 and any(k in name for k in INNER) else flat if p.ndim == 1 else rest
                part.append(p)
            matrices.append({"params": inner, "lr": rate, "peak": rate, "weight_decay": DECAY})
            others.append({"params": rest, "lr": rate, "peak": rate, "weight_decay": DECAY})
            others.append({"params": flat, "lr": rate, "peak": rate, "weight_decay": 0.0})
        self.optimizers = (
            torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=(0.9, 0.98), fused=True),
        )
        self.groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self, loss: torch.Tensor) -> None:
        """One step down."""
        share = self.done / self.steps
        for group in self.groups:
            group["lr"] = (
                group["peak"] * min(1, share / self.warm + 0.01) * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))
            )
        loss.backward()
        parameters = [p for group in self.groups for p in group["params"]]
        self.crew.average(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.done += 1


class Log:
    """Means of what was measured since the last line."""

    def __init__(self, crew: Crew, name: str, every: int) -> None:
        self.crew, self.name, self.every, self.start = crew, name, every, time.monotonic()
        self.sums: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def add(self, step: int, **values: float) -> None:
        """Counts the values in, and prints a line now and then."""
        self.sums.update(values)
        self.counts.update(values.keys())
        if (step + 1) % self.every == 0 and self.crew.first:
            means = "  ".join(f"{k} {self.sums[k] / n:.4f}" for k, n in self.counts.items())
            print(f"{self.name} {step + 1}  {time.monotonic() - self.start:.0f} s  {means}", flush=True)
            self.sums.clear()
            self.counts.clear()


def looked_at(page: Page, index: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """The page's pictures of these numbers, some in the mirror."""
    pixels = page.pixels[index]
    pixels[mirrored] = pixels[mirrored].flip(2)
    return pixels


def fit_sight(
    crew: Crew, sight: Sight, helpers: Helpers, album: dict[Grid, Page], *, steps: int, rate: float, pictures: int
) -> None:
    """The tower alone learns to tell what is where, from `pictures` pictures a step and worker."""
    dice = torch.Generator().manual_seed(crew.worker)
    sizes = torch.tensor([float(len(page.scenes)) for page in album.values()])
    labels = {
        grid: [
            [{k: torch.from_numpy(v) for k, v in labels_of(s, grid).items()} for s in (scene, scene.mirrored())]
            for scene in page.scenes
        ]
        for grid, page in album.items()
    }
    slope = Slope(crew, [(rate, [*sight.tower.named_parameters(), *helpers.named_parameters()])], steps, 0.05)
    log = Log(crew, "sight", 50)
    for step in range(steps):
        features, told = [], []
        for choice in torch.multinomial(sizes, 2, generator=dice).tolist():
            grid = list(album)[choice]
            index = torch.randint(len(album[grid].scenes), (pictures // 2,), generator=dice)
            mirrored = torch.rand(len(index), generator=dice) < 0.5
            features.append(sight(looked_at(album[grid], index, mirrored))[0].flatten(0, 1))
            told += [labels[grid][i][m] for i, m in zip(index.tolist(), mirrored.int().tolist(), strict=True)]
        loss, right = helpers.seen(torch.cat(features), {k: torch.cat([t[k] for t in told]) for k in told[0]})
        slope.step(loss)
        log.add(step, loss=loss.item(), centres=right)


class Lesson:
    """One batch through a whole model: its losses, with or without those of the helpers."""

    def __init__(self, model: Any, album: dict[Grid, Page], helpers: Helpers | None = None) -> None:
        self.model, self.album, self.helpers = model, album, helpers
        self.text, self.sight = model.model.language_model, Sight(model.model.visual)
        self.kept: dict[str, torch.Tensor] = {}
        self.text.layers[1].register_forward_hook(lambda _layer, _inputs, out: self.kept.update(hidden=out))

    def __call__(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, float]]:
        """(loss, measures of it) of a batch of Batches."""
        ids, extra, loss, told = batch["ids"], {}, torch.tensor(0.0), {}
        x = self.text.embed_tokens(ids)
        pictures = ids == self.model.config.image_token_id
        if "looks" in batch:
            looks = [self.sight(looked_at(self.album[g], *which)) for g, which in batch["looks"].items()]
            features = torch.cat([f.flatten(0, 1) for f, _ in looks])[batch["order"]]
            deep = [torch.cat([d[i].flatten(0, 1) for _, d in looks])[batch["order"]] for i in range(len(looks[0][1]))]
            x = x.masked_scatter(pictures[..., None], features.to(x.dtype))
            extra = {"visual_pos_masks": pictures, "deepstack_visual_embeds": deep}
            if self.helpers:
                seen, told["centres"] = self.helpers.seen(features, batch)
                loss = loss + 0.3 * seen
        hidden = self.text(
            inputs_embeds=x, position_ids=batch["pos"], attention_mask=batch["mask"], use_cache=False, **extra
        ).last_hidden_state
        if "looks" in batch and self.helpers:
            counted = self.helpers.counted(self.kept["hidden"][pictures], batch)
            loss, told["counts"] = loss + 0.5 * counted, counted.item()
        asked = batch["weight"][:, 1:] > 0
        weight, gold = batch["weight"][:, 1:][asked], ids[:, 1:][asked]
        logits = self.model.lm_head(hidden[:, :-1][asked])
        answer = (F.cross_entropy(logits, gold, reduction="none") * weight).sum() / weight.sum()
        told["answers" if "looks" in batch else "talk"] = answer.item()
        if "looks" in batch:
            told["tokens"] = (logits.argmax(-1) == gold).float().mean().item()
        return loss + answer, told


def fit(
    crew: Crew,
    lesson: Lesson,
    batches: Batches,
    *,
    groups: list[Group],
    out: Path,
    aside: Callable[[], torch.Tensor] | None = None,
) -> None:
    """The model learns to answer: groups are (learning rate, parameters). A copy is saved in `out` every few minutes.

    aside is a loss of its own that is asked for after each batch.
    """
    slope = Slope(crew, groups, len(batches), 0.03)
    log, saved = Log(crew, "all", 50), time.monotonic()
    loader = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=8)
    for step, batch in enumerate(loader):
        loss, told = lesson(batch)
        slope.step(loss if aside is None else loss + aside())
        log.add(step, **told)
        if crew.first and time.monotonic() - saved > SAVE_SECONDS:
            lesson.model.save_pretrained(out)
            saved = time.monotonic()
