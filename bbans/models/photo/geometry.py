"""The geometry of coding: regions of a picture, levels of a region, phases, strips and tiles of a level. Arrays only, no networks.

::

    picture -> regions (at most REGION_SIDE a side) -> levels (halved until COARSEST) -> x00 | x11, x01, x10 -> strips of rows
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bbans.models.grids import Latent
from bbans.models.photo.config import BLOCK, COARSEST, PHASES

Bytes = NDArray[np.uint8]

REGION_SIDE = 1536  # pixels; at most this many on a side of a region
REGION_STEP = 128  # pixels; regions start at multiples of it
STRIP_POSITIONS = 1 << 16  # of a grid, about; a quarter of a megapixel
STRIP_STEP = 64  # rows of a grid; strips start at multiples of it, so that no latent vector belongs to two
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

    def strips(self) -> list[slice]:
        """Rows of the grid that each message of its level covers."""
        rows = -(-self.height // STRIP_STEP)
        count = min(rows, max(1, (self.height * self.width + STRIP_POSITIONS // 2) // STRIP_POSITIONS))
        edges = [STRIP_STEP * (rows * i // count) for i in range(count)] + [self.height]
        return [slice(edges[i], edges[i + 1]) for i in range(count)]


def regions(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each region of a picture, row by row."""
    for rows in _cuts(height):
        for columns in _cuts(width):
            yield rows, columns


def _step(size: int) -> int:
    """Where a side is cut: at its multiples."""
    count = -(-size // REGION_SIDE)
    return -(-size // count // REGION_STEP) * REGION_STEP if count > 1 else size


def _cuts(size: int) -> list[slice]:
    step = _step(size)
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _side_counts(size: int) -> Counter[int]:
    """How many regions have which length along a side. In constant time: a damaged header may claim any size."""
    step = _step(size)
    whole = (size - 1) // step
    return Counter({step: whole}) + Counter([size - whole * step])


@dataclass
class Level:
    """A level while it is coded: pixels as far as they are known, and what the networks made of them."""

    index: int
    height: int
    width: int
    grid: Grid
    x00: Bytes
    phases: list[Bytes]  # x11, x01, x10 on the whole grid; where the picture has no such pixel, x00's
    references: list[NDArray[np.int16]]
    features: list[Bytes]
    prior: Latent | None = None
    posterior: Latent | None = None
    summary: Bytes | None = None

    def size(self, phase: int) -> tuple[int, int]:
        """Rows and columns of a phase that the picture has."""
        row, column = PHASES[phase]
        return (self.height + 1 - row) // 2, (self.width + 1 - column) // 2

    def inside(self, phase: int, rows: slice) -> tuple[slice, slice]:
        """Rows and columns of a phase that the picture has, of those rows of the grid."""
        height, width = self.size(phase)
        return slice(rows.start, min(rows.stop, height)), slice(width)


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Heights and widths of the levels, the picture's own first, the coarsest last."""
    sizes = [(height, width)]
    while max(sizes[-1]) > COARSEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def message_count(height: int, width: int) -> int:
    """How many messages hold a picture of this size: for each region one, and one for each strip of its levels of several."""
    return sum(
        rows * columns * _messages_of_region(h, w)
        for h, rows in _side_counts(height).items()
        for w, columns in _side_counts(width).items()
    )


def _messages_of_region(height: int, width: int) -> int:
    grids = [Grid((h + 1) // 2, (w + 1) // 2, halo=0) for h, w in level_sizes(height, width)[:-1]]
    return 1 + sum(count for count in (len(grid.strips()) for grid in grids) if count > 1)


def pyramid_of(pixels: Bytes) -> list[Bytes]:
    """The levels' pictures, in the order of level_sizes: each is x00 of the one before."""
    pyramid = [pixels]
    while max(pyramid[-1].shape[:2]) > COARSEST:
        pyramid.append(pyramid[-1][::2, ::2])
    return pyramid


def pixel_planes(x: Bytes) -> Bytes:
    """The networks' view of pixels: x >> 1 and x & 1 of each colour. (h, w, 3) -> (h, w, 6)."""
    return np.concatenate([x >> 1, x & 1], axis=2)


def reference(phase: int, x00: Bytes, x11: Bytes) -> NDArray[np.int16]:
    """Sum of the four nearest known pixels of a phase's positions, borders repeated: four times a pixel. (h, w, 3)."""
    a, d = (np.pad(x.astype(np.int16), ((1, 1), (1, 1), (0, 0)), mode="edge") for x in (x00, x11))
    here, right, below = a[1:-1, 1:-1], a[1:-1, 2:], a[2:, 1:-1]
    if phase == 0:
        return here + right + below + a[2:, 2:]
    if phase == 1:
        return here + right + d[1:-1, 1:-1] + d[:-2, 1:-1]
    return here + below + d[1:-1, 1:-1] + d[1:-1, :-2]


def near_pixels(phase: int, x11: Bytes, references: NDArray[np.int16]) -> NDArray[np.int16]:
    """Four times the two pixels of x11 nearest to a phase's positions, less the reference: (2, h, w, 3); none for x11 itself."""
    if phase == 0:
        return np.zeros((0, *references.shape), np.int16)
    d = 4 * np.pad(x11.astype(np.int16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    before = d[:-2, 1:-1] if phase == 1 else d[1:-1, :-2]
    return np.stack([d[1:-1, 1:-1], before]) - references


def block_rows(level: Level) -> list[slice]:
    """Rows of latent vectors that each strip's message holds."""
    return [slice(rows.start // BLOCK, -(-rows.stop // BLOCK)) for rows in level.grid.strips()]
