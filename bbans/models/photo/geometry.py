"""The geometry of coding: regions of a picture, levels of a region, phases, strips and tiles of a level. Arrays only, no networks.

::

    picture -> regions (at most REGION_SIDE a side) -> levels (halved until COARSEST) -> x00 | x11, x01, x10 -> strips of rows
                                                                                                             -> tiles
Strips and regions belong to the format. Tiles do not: however a grid is cut into them, the integers are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bbans.models.photo.config import BLOCK, COARSEST

Bytes = NDArray[np.uint8]
Array = TypeVar("Array", bound=NDArray[np.generic])

REGION_SIDE = 1536  # pixels; at most this many on a side of a region
REGION_STEP = 128  # pixels; regions start at multiples of it
STRIP_POSITIONS = 3 << 15  # of a grid, about, at most; 0.4 megapixels
STRIP_STEP = 32  # rows of a grid; strips start at multiples of it, so that no latent vector belongs to two
TILES = (16, 32, 64)  # sides of square tiles: the smallest that holds a grid, else the largest
THIN_TILES = ((4, 256), (16, 128))  # short and long side of tiles for grids that are as thin, and longer than the largest square


@dataclass(frozen=True)
class Grid:
    """The positions of a phase, (height, width), cut into tiles of the shape `tile`. Buffers have a border of `halo`."""

    height: int
    width: int
    halo: int
    tile: tuple[int, int]

    def buffer(self, channels: int) -> Bytes:
        """A zeroed buffer (rows, columns, channels) of whole tiles and the halo."""
        sides = zip((self.height, self.width), self.tile, strict=True)
        rows, columns = (-(-size // side) * side + 2 * self.halo for size, side in sides)
        return np.zeros((rows, columns, channels), np.uint8)

    def inner(self, buffer: Bytes) -> Bytes:
        """The view (height, width, channels) of what lies inside the picture."""
        return buffer[self.halo : self.halo + self.height, self.halo : self.halo + self.width]

    @property
    def rows(self) -> slice:
        """All of them."""
        return slice(0, self.height)

    def tiles(self, rows: slice | None = None) -> list[Tile]:
        """Row by row; those that have any of some rows."""
        wanted = self.rows if rows is None else rows
        starts = range(wanted.start // self.tile[0] * self.tile[0], wanted.stop, self.tile[0])
        return [Tile(self, row, column) for row in starts for column in range(0, self.width, self.tile[1])]

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of latent vectors; none when the grid is smaller than a block."""
        return block_counts(self.height, self.width)

    def strips(self) -> list[slice]:
        """Rows that each message of the level covers."""
        return strips(self.height, self.width)

    def block_rows(self) -> list[slice]:
        """Rows of latent vectors that each message of the level holds."""
        return [slice(rows.start // BLOCK, -(-rows.stop // BLOCK)) for rows in self.strips()]


@dataclass(frozen=True)
class Tile:
    """A part of a grid that the networks compute at a time, from (row, column) on. It may reach beyond the picture."""

    grid: Grid
    row: int
    column: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.grid.tile

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of latent vectors. A tile smaller than a block belongs to a grid that has none."""
        return self.shape[0] // BLOCK, self.shape[1] // BLOCK

    def input(self, buffer: Bytes, margin: int = 0) -> Bytes:
        """What a layer reads: the tile and `margin` positions on each side, as a view."""
        row, column = (start + self.grid.halo - margin for start in (self.row, self.column))
        return buffer[row : row + self.shape[0] + 2 * margin, column : column + self.shape[1] + 2 * margin]

    def store(self, values: Array, array: Array, top: int = 0) -> None:
        """Write the tile's `values` (rows, columns, C) into an array (rows, width, C) of the grid's rows from `top` on."""
        self._store(values[max(0, top - self.row) :], array, max(0, self.row - top), self.column)

    def store_doubled(self, values: Array, array: Array) -> None:
        """Write values (2 rows, 2 columns, C) into an array of a grid that is twice as fine."""
        self._store(values, array, 2 * self.row, 2 * self.column)

    def store_blocks(self, values: Array, array: Array) -> None:
        """Write values of latent vectors into an array (block rows, block columns, C) of the grid. Inverse: `load_blocks`."""
        self._store(values, array, self.row // BLOCK, self.column // BLOCK)

    def load_blocks(self, array: Array) -> Array:
        """The tile's part of an array (block rows, block columns, C), with zeros for blocks that the grid does not have."""
        row, column = self.row // BLOCK, self.column // BLOCK
        part = array[row : row + self.blocks[0], column : column + self.blocks[1]]
        missing = [(0, whole - there) for whole, there in zip(self.blocks, part.shape[:2], strict=True)]
        return np.pad(part, [*missing, (0, 0)])  # type: ignore[return-value]

    @staticmethod
    def _store(values: Array, array: Array, row: int, column: int) -> None:
        target = array[row : row + values.shape[0], column : column + values.shape[1]]
        target[...] = values[: target.shape[0], : target.shape[1]]


def tile_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a grid's tiles: the smallest square that holds the grid, else a thin one, else the largest square.

    So the cost is linear in pixels, whatever the shape: a long picture of one row costs 15 times as much a pixel as a large one,
    because of padding and halo, and one of five rows or more at most 5 times as much.
    """
    shortest, longest = sorted((height, width))
    squares = ((side, side) for side in TILES if side >= longest)
    thin = (shape for shape in THIN_TILES if shape[0] >= shortest)
    short, long = next(chain(squares, thin), (TILES[-1], TILES[-1]))
    return (short, long) if height < width else (long, short)


def is_thin(height: int, width: int) -> bool:
    """Whether a pixel of the picture costs many times what it costs in others: see `tile_shape`."""
    return min(height, width) < 8 and max(height, width) > 2 * TILES[-1]


def strips(height: int, width: int) -> list[slice]:
    """Rows of a grid that each message of its level covers.

    An even number of strips keeps two cores at work to the end. Small grids are one: a strip learns on its own.
    """
    steps, positions = height // STRIP_STEP, height * width
    count = 1 if positions < STRIP_POSITIONS // 6 else max(1, min(steps, 2 * -(-positions // (2 * STRIP_POSITIONS))))
    edges = [STRIP_STEP * (steps * i // count) for i in range(count)] + [height]
    return [slice(edges[i], edges[i + 1]) for i in range(count)]


def block_counts(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of latent vectors on a grid; none when it is smaller than a block."""
    return (-(-height // BLOCK), -(-width // BLOCK)) if min(height, width) >= BLOCK else (0, 0)


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid of a level with a picture of this size."""
    return (height + 1) // 2, (width + 1) // 2


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Heights and widths of the levels, the picture's own first, the coarsest last."""
    sizes = [(height, width)]
    while max(sizes[-1]) > COARSEST:
        sizes.append(grid_size(*sizes[-1]))
    return sizes


def pyramid(pixels: Bytes) -> list[Bytes]:
    """The levels' pictures, in the order of `level_sizes`: each is x00 of the one before."""
    pictures = [pixels]
    while max(pictures[-1].shape[:2]) > COARSEST:
        pictures.append(pictures[-1][::2, ::2])
    return pictures


def regions(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each region of a picture, row by row."""
    for rows in _cuts(height):
        for columns in _cuts(width):
            yield rows, columns


def _cuts(size: int) -> list[slice]:
    step = _step(size)
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _step(size: int) -> int:
    """Where a side is cut: at its multiples."""
    count = -(-size // REGION_SIDE)
    return -(-size // count // REGION_STEP) * REGION_STEP if count > 1 else size


def message_count(height: int, width: int) -> int:
    """How many messages hold a picture of this size: one for each region, and one for each strip of its levels with several."""
    return sum(
        rows * columns * _messages_of_region(h, w)
        for h, rows in _side_counts(height).items()
        for w, columns in _side_counts(width).items()
    )


def _messages_of_region(height: int, width: int) -> int:
    counts = [len(strips(*grid_size(*size))) for size in level_sizes(height, width)[:-1]]
    return 1 + sum(count for count in counts if count > 1)


def _side_counts(size: int) -> Counter[int]:
    """How many regions have which length along a side. In constant time: a damaged header may claim any size."""
    step = _step(size)
    whole = (size - 1) // step
    return Counter({step: whole}) + Counter([size - whole * step])


def pixel_planes(x: Bytes) -> Bytes:
    """The networks' view of pixels: x >> 1 and x & 1 of each colour. (h, w, 3) -> (h, w, 6)."""
    return np.concatenate([x >> 1, x & 1], axis=2)


def framed(x: Bytes, rows: slice) -> NDArray[np.int16]:
    """Some rows of x (h, w, C) with a border of one: its own pixels above and below them, those at its edges repeated."""
    pixels = x[max(0, rows.start - 1) : rows.stop + 1].astype(np.int16)
    return np.pad(pixels, ((int(rows.start == 0), int(rows.stop == len(x))), (1, 1), (0, 0)), mode="edge")


def reference(phase: int, x00: Bytes, x11: Bytes, rows: slice) -> NDArray[np.int16]:
    """Sum of the four nearest pixels in the phases before, borders repeated: four times a pixel, of some rows (rows, w, 3)."""
    a = framed(x00, rows)
    here, right, below = a[1:-1, 1:-1], a[1:-1, 2:], a[2:, 1:-1]
    if phase == 0:
        return here + right + below + a[2:, 2:]
    d = framed(x11, rows)
    if phase == 1:
        return here + right + d[1:-1, 1:-1] + d[:-2, 1:-1]
    return here + below + d[1:-1, 1:-1] + d[1:-1, :-2]


def near_pixels(phase: int, x11: Bytes, references: NDArray[np.int16], rows: slice) -> NDArray[np.int16]:
    """Four times the two pixels of x11 nearest to some rows of x01 or x10, less the reference (rows, w, 3): (2, rows, w, 3)."""
    d = 4 * framed(x11, rows)
    before = d[:-2, 1:-1] if phase == 1 else d[1:-1, :-2]
    return np.stack([d[1:-1, 1:-1], before]) - references
