"""The grid of a level's phases, cut into tiles, and the latents over it. Arrays only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bbans.models.photo_layout import BLOCK, LATENT_LEVELS

Bytes = NDArray[np.uint8]

TILES = (16, 32, 64)  # sides of a tile: the smallest that holds a grid, else the largest


@dataclass(frozen=True)
class Grid:
    """The positions of a phase, cut into square tiles."""

    height: int
    width: int
    halo: int

    @property
    def tile(self) -> int:
        longest = max(self.height, self.width)
        return next((t for t in TILES if t >= longest), TILES[-1])

    def buffer(self, channels: int) -> Bytes:
        """A zeroed buffer (rows, columns, channels) of whole tiles and the halo."""
        rows, columns = (-(-n // self.tile) * self.tile + 2 * self.halo for n in (self.height, self.width))
        return np.zeros((rows, columns, channels), np.uint8)

    def inner(self, buffer: Bytes) -> Bytes:
        """The view (height, width, channels) of what lies inside the picture."""
        return buffer[self.halo : self.halo + self.height, self.halo : self.halo + self.width]

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Top left positions of the tiles, row by row."""
        for row in range(0, self.height, self.tile):
            for column in range(0, self.width, self.tile):
                yield row, column

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of latent vectors; none when the grid is smaller than a block."""
        if min(self.height, self.width) < BLOCK:
            return 0, 0
        return -(-self.height // BLOCK), -(-self.width // BLOCK)


@dataclass
class Latent:
    """Discretised logistics over 0..127 for each latent: means in 1/64, scale indices. Shapes: (rows, columns, Z) int64."""

    mean: NDArray[np.int64]
    scale: NDArray[np.int64]

    def mode(self) -> Bytes:
        nearest: Bytes = np.clip((self.mean + 32) >> 6, 0, LATENT_LEVELS - 1).astype(np.uint8)
        return nearest
