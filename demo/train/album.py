"""The training pictures, drawn ahead by a pool of processes and kept in memory, sorted by the grid of their tokens."""

import random
from collections import defaultdict
from dataclasses import dataclass
from multiprocessing import Pool

import numpy as np
import torch
from PIL import Image
from processor import CELL, grid_of
from scenes import Scene, any_aspect, any_size, draw, make_scene

Grid = tuple[int, int]
CHUNK = 500


@dataclass
class Page:
    """Pictures of one grid: their scenes, and uint8 pixels (n, height, width, 3)."""

    scenes: list[Scene]
    pixels: torch.Tensor


def _draw_chunk(seed: int) -> dict[Grid, tuple[list[Scene], np.ndarray]]:
    rng = random.Random(f"training pictures {seed}")
    scenes, pixels = defaultdict(list), defaultdict(list)
    for _ in range(CHUNK):
        aspect = any_aspect(rng)
        width, height = any_size(rng, aspect, 64, 450)
        scene = make_scene(rng, aspect, min(width, height))
        rows, columns = grid = grid_of(width, height)
        picture = draw(scene, rng, width, height).resize((columns * CELL, rows * CELL), Image.Resampling.BICUBIC)
        scenes[grid].append(scene)
        pixels[grid].append(np.asarray(picture))
    return {grid: (scenes[grid], np.stack(pixels[grid])) for grid in scenes}


def draw_album(pictures: int, processes: int) -> dict[Grid, Page]:
    """About `pictures` pictures, equal for equal numbers, as the processor would resize them."""
    with Pool(processes) as pool:
        chunks = pool.map(_draw_chunk, range(pictures // CHUNK), chunksize=1)
    album = {}
    for grid in sorted({grid for chunk in chunks for grid in chunk}):
        parts = [chunk.pop(grid) for chunk in chunks if grid in chunk]
        pixels = torch.from_numpy(np.concatenate([p for _, p in parts]))
        album[grid] = Page([s for scenes, _ in parts for s in scenes], pixels)
    return album
