"""What the tests of training share: callbacks that keep what they are told, and small images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbans.sets.arrays import write_npy
from bbans.training.callbacks import Callbacks, Status
from tests.models import picture


class Rows(Callbacks):
    """Keeps what it is told, and stops after a step if asked to."""

    def __init__(self, stop_after: int = -1) -> None:
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.counts: list[tuple[str, int, int]] = []
        self.stop_after, self.steps = stop_after, 0

    def note(self, message: str) -> None:
        self.notes.append(message)

    def progress(self, what: str, done: int, total: int) -> None:
        self.counts.append((what, done, total))

    def step(self, status: Callable[[], Status]) -> None:
        self.steps = status().step

    def report(self, row: dict[str, Any], status: Status) -> None:
        self.rows.append(row)

    def stop(self) -> bool:
        return self.steps + 1 == self.stop_after


def folder_of_pictures(folder: Path, count: int = 3) -> Path:
    """A new folder with pictures of 40 x 48 pixels."""
    folder.mkdir()
    for index in range(count):
        Image.fromarray(picture(40, 48, seed=index)).save(folder / f"{index}.png")
    return folder


def drawings(count: int, side: int = 8, channels: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """Bars on a dark ground, with soft edges: (count, side, side, channels)."""
    rng = np.random.default_rng(seed)
    centre, width = rng.uniform(1, side - 1, (2, count, 1, 1, 1))
    x = np.arange(side)[:, None]
    light = np.clip(width / 3 - abs(x - centre) + 0.5, 0, 1) * np.array([255, 200, 150][:channels])
    return np.broadcast_to(light, (count, side, side, channels)).astype(np.uint8)


def save(path: Path, array: NDArray[Any]) -> Path:
    """Write an array as .npy."""
    with path.open("wb") as file:
        write_npy(file, array)
    return path
