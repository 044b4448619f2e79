"""The likelihood of a phase: the heads of the networks and the adaptive stage, on the messages of a level's strips."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans.ans import Message
from bbans.codecs import Codec
from bbans.models.photo import kernels
from bbans.models.photo.adaptive import EARLIER, adaptive_tables
from bbans.models.photo.geometry import Bytes, near_pixels
from bbans.models.photo.level import Level
from bbans.models.photo.network import Params, PhotoNetwork
from bbans.tables import exp_table, inverse_scales, logistic_table

Kernel = Callable[..., tuple[np.uint64, int]]
Residuals = NDArray[np.int16]


class PhaseLikelihood:
    """p(phase | phases before, z), as codecs.

    Args:
        network: whose heads give the mixtures.
    """

    def __init__(self, network: PhotoNetwork) -> None:
        self.network, self.adaptive = network, network.config.adaptive
        self._tables = (logistic_table(), exp_table(), inverse_scales(), *adaptive_tables())

    def codec(self, level: Level, phase: int, colours: int, z: Bytes | None) -> Codec[Bytes]:
        """The pixels of a phase, an array as `Level` has them, on a Batch of one message for each strip of the level.

        Args:
            level: with all phases before this one.
            phase: 0, 1, 2 for x11, x01, x10.
            colours: 3, or 1 for gray pictures.
            z: (block rows, block columns, Z), or None for the centre.
        """

        def push(batch: Any, pixels: Bytes) -> Any:
            self._code(kernels.push_pixels, level, phase, colours, z, batch.messages, pixels)
            return batch

        def pop(batch: Any) -> tuple[Any, Bytes]:
            pixels = level.x00.copy()
            self._code(kernels.pop_pixels, level, phase, colours, z, batch.messages, pixels)
            return batch, pixels

        return Codec(push, pop)

    def _code(
        self, kernel: Kernel, level: Level, phase: int, colours: int, z: Bytes | None, messages: Sequence[Message], pixels: Bytes
    ) -> None:
        """Push `pixels`, or pop into them."""
        if 0 in level.size(phase):
            return
        earlier = self._residuals(level, phase, colours, z)
        params, references = level.params(phase, z), level.references(phase)
        near = near_pixels(phase, level.phases[0], references) if phase else np.zeros((0, *references.shape), np.int16)
        places = np.array(EARLIER[phase] if self.adaptive else (), np.int64).reshape(-1, 3)

        def code(message: Message, rows: slice) -> None:
            inside = level.inside(phase, rows)
            x, reference, mixtures = (np.ascontiguousarray(array[inside]) for array in (pixels, references, params))
            beside = np.ascontiguousarray(near[:, inside[0], inside[1]])
            if kernel is kernels.push_pixels:
                message.reserve(x.size)
            message.head[0], size = kernel(
                message.head[0], message.words, message.size,
                x, reference, beside, mixtures, colours, earlier, rows.start, places, self.adaptive, self._tables,
            )  # fmt: skip
            message.resize(size)
            pixels[inside] = x

        self.network.in_parallel(code, messages, level.grid.strips())

    def _residuals(self, level: Level, phase: int, colours: int, z: Bytes | None) -> Residuals:
        """The residuals of the phases before one, on the whole grid with a border of zeros: (phases, h + 2, w + 2, 3).

        They are those under the `z` of this phase: x10 is pushed before z is drawn, so for x10 they are those under the posterior's
        mode.
        """
        residuals = np.zeros((phase if self.adaptive else 0, level.grid.height + 2, level.grid.width + 2, 3), np.int16)
        for before, out in enumerate(residuals):
            if 0 not in level.size(before):
                self._fill(out[1:-1, 1:-1], level, before, level.params(before, z), colours)
        return residuals

    def _fill(self, out: Residuals, level: Level, phase: int, params: Params, colours: int) -> None:
        """Write the residuals of an earlier phase to `out` (h, w, 3)."""

        def fill(rows: slice) -> None:
            inside = level.inside(phase, rows)
            arrays = (level.phases[phase], level.references(phase), params)
            x, reference, mixtures = (np.ascontiguousarray(array[inside]) for array in arrays)
            out[inside] = kernels.residuals(x, reference, mixtures, colours, self._tables)

        self.network.in_parallel(fill, level.grid.strips())
