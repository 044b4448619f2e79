"""A phase of a level to messages and back: the heads of the networks, the adaptive stage, a strip by each message."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bbans.ans import Message
from bbans.models.photo import kernels
from bbans.models.photo.adaptive import EARLIER, adaptive_tables
from bbans.models.photo.geometry import Bytes, near_pixels
from bbans.models.photo.level import Level
from bbans.models.photo.network import Params, PhotoNetwork
from bbans.tables import exp_table, inverse_scales, logistic_table

Kernel = Callable[..., tuple[np.uint64, int]]
Residuals = NDArray[np.int16]


class PhaseCoder:
    """Pushes and pops the pixels of phases.

    ``z`` is what the heads are given as latents, (block rows, block columns, Z), or None for the centre; ``colours`` is 3, or 1
    for gray pictures; ``messages`` has one for each strip of the level.
    """

    def __init__(self, network: PhotoNetwork) -> None:
        self.network, self.adaptive = network, network.config.adaptive
        self._tables = (logistic_table(), exp_table(), inverse_scales(), *adaptive_tables())

    def push(self, level: Level, phase: int, messages: Sequence[Message], colours: int, z: Bytes | None) -> None:
        """Push a phase. Inverse: pop."""
        self._code(kernels.push_pixels, level, phase, messages, colours, z)

    def pop(self, level: Level, phase: int, messages: Sequence[Message], colours: int, z: Bytes | None) -> None:
        """Pop a phase, the next of the level's. Inverse: push."""
        level.phases.append(level.x00.copy())
        self._code(kernels.pop_pixels, level, phase, messages, colours, z)

    def _code(self, kernel: Kernel, level: Level, phase: int, messages: Sequence[Message], colours: int, z: Bytes | None) -> None:
        if 0 in level.size(phase):
            return
        known = self._residuals(level, phase, colours, z)
        params = level.params(phase, z)
        near = near_pixels(phase, level.phases[0], level.references(phase))
        places = np.array(EARLIER[phase] if self.adaptive else (), np.int64).reshape(-1, 3)

        def code(message: Message, rows: slice) -> None:
            inside = level.inside(phase, rows)
            pixels = np.ascontiguousarray(level.phases[phase][inside])
            references = np.ascontiguousarray(level.references(phase)[inside])
            beside = np.ascontiguousarray(near[:, inside[0], inside[1]])
            mixtures = references, beside, np.ascontiguousarray(params[inside]), colours
            history = known, rows.start, places, self.adaptive
            if kernel is kernels.push_pixels:
                message.reserve(pixels.size)
            state = message.head[0], message.words, message.size
            message.head[0], size = kernel(*state, pixels, *mixtures, *history, self._tables)
            message.resize(size)
            level.phases[phase][inside] = pixels

        self.network.in_parallel(code, messages, level.grid.strips())

    def _residuals(self, level: Level, phase: int, colours: int, z: Bytes | None) -> Residuals:
        """The residuals of the phases before one, on the whole grid with a border of zeros: (phases, h + 2, w + 2, 3).

        They are those under the ``z`` that this phase is given: x10 is pushed before z is drawn, so the x11 and x01 that it learns
        from are looked at with the posterior's mode.
        """
        known = np.zeros((phase if self.adaptive else 0, level.grid.height + 2, level.grid.width + 2, 3), np.int16)
        for before, out in enumerate(known):
            if 0 not in level.size(before):
                self._fill(out[1:-1, 1:-1], level, before, level.params(before, z), colours)
        return known

    def _fill(self, out: Residuals, level: Level, phase: int, params: Params, colours: int) -> None:
        """The residuals of a known phase into ``out`` (h, w, 3)."""

        def fill(rows: slice) -> None:
            inside = level.inside(phase, rows)
            pixels, references = level.phases[phase][inside], level.references(phase)[inside]
            x, r, p = (np.ascontiguousarray(array) for array in (pixels, references, params[inside]))
            out[inside] = kernels.residuals(x, r, p, colours, self._tables)

        self.network.in_parallel(fill, level.grid.strips())
