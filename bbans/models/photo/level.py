"""A level of a region while it is coded: the phases that are known, and the networks' outputs for the others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bbans.exact.backends import Layer
from bbans.models.grids import Latent
from bbans.models.photo.changes import Changes
from bbans.models.photo.config import PHASES
from bbans.models.photo.geometry import Bytes, pixel_planes, pyramid, reference
from bbans.models.photo.network import Params, PhotoNetwork


class Level:
    """A level of which x00 is known, and more phases as they are added.

    A phase (x11, x01, x10) is an array (height, width, 3) on the whole grid; where the picture has no such pixel, it holds x00's.
    Networks run when their outputs are first needed: the trunk of x11 and the prior need x00 alone, the trunks of x01 and x10 the
    phases before them, the posterior x11 and x01.

    Args:
        network: the networks.
        index: of the level, 0 the finest.
        height, width: of the level's picture.
        x00: every second pixel of every second row: the whole picture of the next coarser level.
        coarser: that level, whose features this one takes; None above the coarsest pixels, which need no networks.
        decided: whether the adaptive stage codes pixels by decisions.
    """

    def __init__(
        self,
        network: PhotoNetwork,
        index: int,
        height: int,
        width: int,
        x00: Bytes,
        coarser: Level | None,
        decided: bool = True,
    ) -> None:
        self.network, self.index, self.height, self.width, self.decided = network, index, height, width, decided
        self.x00 = np.ascontiguousarray(x00)
        self.grid = network.grid(*x00.shape[:2])
        self.phases: list[Bytes] = []
        self._coarser = coarser
        self._features: list[Bytes] = []
        self._params_of_x11: dict[tuple[int, int], tuple[Bytes | None, Params]] = {}  # by their rows
        self._tuned: dict[int, Layer] = {}

    def tune(self, changes: Changes) -> None:
        """Change the last layers of the heads; without changes they are the model's. Raises: CorruptDataError: see `changed`."""
        self._tuned = {phase: self.network.tuned(phase, own) for phase, own in changes.items()}
        self._params_of_x11.clear()

    def add(self, phase: int, pixels: Bytes) -> None:
        """Add the next phase. Does nothing where it is known, as when encoding."""
        if phase == len(self.phases):
            self.phases.append(pixels)

    def size(self, phase: int) -> tuple[int, int]:
        """Rows and columns of a phase that the picture has."""
        row, column = PHASES[phase]
        return (self.height + 1 - row) // 2, (self.width + 1 - column) // 2

    def inside(self, phase: int, rows: slice) -> tuple[slice, slice]:
        """Rows and columns of a phase that the picture has, of those rows of the grid."""
        height, width = self.size(phase)
        return slice(rows.start, min(rows.stop, height)), slice(width)

    def known(self, phase: int) -> Bytes:
        """The pixels (n, 3) that are known before a phase: those of x00 and of the phases before that the picture has."""
        before = [pixels[self.inside(i, self.grid.rows)] for i, pixels in enumerate(self.phases[:phase])]
        return np.concatenate([pixels.reshape(-1, 3) for pixels in (self.x00, *before)])

    def split(self, x: Bytes) -> list[Bytes]:
        """x11, x01 and x10 of the level's picture. Inverse: `joined`."""
        phases = []
        for phase, (row, column) in enumerate(PHASES):
            pixels = self.x00.copy()
            height, width = self.size(phase)
            pixels[:height, :width] = x[row::2, column::2]
            phases.append(pixels)
        return phases

    def joined(self) -> Bytes:
        """The level's picture, once all phases are known. Inverse: `split`."""
        x = np.empty((self.height, self.width, 3), np.uint8)
        x[::2, ::2] = self.x00
        for phase, (row, column) in enumerate(PHASES):
            height, width = self.size(phase)
            x[row::2, column::2] = self.phases[phase][:height, :width]
        return x

    def canvas(self, phase: int, rows: slice) -> Bytes:
        """The picture of some rows of the grid as far as it is known before a phase, with two pixels around: (2 n + 4, 2 w + 4, 3).

        Beyond the picture's edges it is mirrored, so that a pixel there is one of the same phase. In the place of the phase's own
        pixels are the means of their four nearest; in those of later phases, which nobody may look at, zeros.
        """
        height, width, _ = self.x00.shape
        around = slice(max(0, rows.start - 1), min(rows.stop + 1, height))
        x = np.zeros((2 * (around.stop - around.start), 2 * width, 3), np.uint8)
        x[::2, ::2] = self.x00[around]
        for (row, column), pixels in zip(PHASES[:phase], self.phases, strict=False):
            x[row::2, column::2] = pixels[around]
        row, column = PHASES[phase]
        x[row::2, column::2] = (self.references(phase, around) + 2) >> 2
        edges = 2 * (rows.start == 0), 2 * (rows.stop == height)
        return np.pad(x, (edges, (2, 2), (0, 0)), mode="reflect")

    def features(self, phase: int) -> Bytes:
        """The trunk's outputs for a phase, a buffer of the grid."""
        while len(self._features) <= phase:
            done = len(self._features)
            if done == 0:
                coarse = (self._coarser.features(2), self._coarser.grid) if self._coarser else (None, None)
                source, planes = self.network.first_input(self.grid, pixel_planes(self.x00), *coarse), None
                self._coarser = None  # its buffers are large, and not needed any more
            else:
                source, planes = self._features[-1], self.grid.buffer(6)
                self.grid.inner(planes)[...] = pixel_planes(self.phases[done - 1])
            self._features.append(self.network.trunk(done, self.index, self.grid, source, planes))
        return self._features[phase]

    def x10_is_pushed(self) -> None:
        """Forget the features of x10, which are large, unless the next finer level takes them. They come again if need be."""
        if self.index == 0:
            del self._features[2:]

    def references(self, phase: int, rows: slice | None = None) -> NDArray[np.int16]:
        """Sums of the four nearest pixels in phases before, of all rows or some: (rows, width, 3), four times a pixel."""
        return reference(phase, self.x00, self.phases[0] if phase else self.x00, self.grid.rows if rows is None else rows)

    @property
    def has_latents(self) -> bool:
        return self.network.config.latents > 0 and self.grid.blocks[0] > 0

    @cached_property
    def _prior(self) -> tuple[Latent, Bytes]:
        return self.network.prior(self.grid, self.features(0))

    @property
    def prior(self) -> Latent:
        """p(z | x00), of a level with latents."""
        return self._prior[0]

    @cached_property
    def posterior(self) -> Latent:
        """q(z | x00, x11, x01), of a level with latents."""
        residuals = self.grid.buffer(6)
        inner = self.grid.inner(residuals)
        for phase in (0, 1):
            for rows in self.grid.strips():
                distance = np.abs(4 * self.phases[phase][rows].astype(np.int16) - self.references(phase, rows)) >> 1
                inner[rows, :, 3 * phase : 3 * phase + 3] = np.minimum(distance, 127)
        return self.network.posterior(self.grid, self.features(2), residuals, self._prior[1], self.prior)

    def params(self, phase: int, z: Bytes | None, rows: slice | None = None, again: bool = False) -> Params:
        """Parameters of the mixtures of a phase, of all rows or some, given z; None for the centre, in a level without latents.

        again: those of x11 are kept until they are wanted once more, of the same rows with the same z: x11 is coded by them, and
        x01 next to it wants the residuals that they leave. No other residuals are wanted with a z that was there before, as x10 is
        pushed before z is drawn: its own are those under the posterior's mode.
        """
        wanted = self.grid.rows if rows is None else rows
        key = wanted.start, wanted.stop
        if again and phase == 0:
            kept = self._params_of_x11.pop(key, None)
            if kept is not None and _same(kept[0], z):
                return kept[1]
        params = self.network.head(phase, self.grid, self.features(phase), z, self._tuned.get(phase), wanted)
        if again and phase == 0:
            self._params_of_x11[key] = z, params
        return params


def _same(z: Bytes | None, other: Bytes | None) -> bool:
    return z is other or (z is not None and other is not None and np.array_equal(z, other))


def known_levels(network: PhotoNetwork, pixels: Bytes, kind: type[Level] = Level, decided: bool = True) -> Iterator[Level]:
    """The levels of a region (H, W, 3), all of whose pixels are known, the coarsest first."""
    pictures = pyramid(pixels)
    level: Level | None = None
    for index in reversed(range(len(pictures) - 1)):
        height, width, _ = pictures[index].shape
        level = kind(network, index, height, width, pictures[index + 1], level, decided)
        level.phases = level.split(pictures[index])
        yield level
