"""A picture as tiles of one size, the last ones filled up, row by row of tiles.

::

    samples (H, W, C) --cut--> tiles (rows, width, C) each --joined--> samples

What is beside the picture in the last tiles is zeros, or, of writers that have one room for all tiles (libvips), what the tile
before has there.

>>> samples = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
>>> [tile[..., 0].tolist() for tile in cut(samples, Tiling(2, 2))]
[[[0, 1], [3, 4]], [[2, 0], [5, 0]]]
>>> [tile[..., 0].tolist() for tile in cut(samples, Tiling(2, 2, from_before=True))]
[[[0, 1], [3, 4]], [[2, 1], [5, 4]]]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bbans.images.rows import Samples

_SPARE_PX = 1 << 20
"""All tiles may have so many pixels more than four times those of the picture."""


@dataclass(frozen=True)
class Tiling:
    """The size of tiles, and what fills them up."""

    rows: int
    width: int
    from_before: bool = False
    """What the tile before has there, not zeros."""

    def count(self, height: int, width: int) -> int:
        """How many tiles a picture has; 0 if they are of no size, or far larger than it."""
        if self.rows < 1 or self.width < 1:
            return 0
        count = -(-height // self.rows) * -(-width // self.width)
        return count if count * self.rows * self.width <= 4 * height * width + _SPARE_PX else 0


def cut(samples: Samples, tiling: Tiling) -> Iterator[Samples]:
    """The tiles (rows, width, C) of samples (H, W, C); each is valid until the next. Inverse: `joined`."""
    height, width, channels = samples.shape
    tile = np.zeros((tiling.rows, tiling.width, channels), samples.dtype)
    for top in range(0, height, tiling.rows):
        for left in range(0, width, tiling.width):
            part = samples[top : top + tiling.rows, left : left + tiling.width]
            if not tiling.from_before:
                tile[:] = 0
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def joined(tiles: Samples, tiling: Tiling, height: int, width: int) -> Samples:
    """The samples (H, W, C) of tiles, one below another (N * rows, width, C). Inverse: `cut`."""
    channels = tiles.shape[2]
    grid = tiles.reshape(-(-height // tiling.rows), -(-width // tiling.width), tiling.rows, tiling.width, channels)
    whole = grid.swapaxes(1, 2).reshape(grid.shape[0] * tiling.rows, -1, channels)
    samples: Samples = np.ascontiguousarray(whole[:height, :width])
    return samples
