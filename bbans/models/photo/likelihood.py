"""The likelihood of a phase: the heads of the networks and the adaptive stage, on the messages of a level's strips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans._core.photo import Phase, Start, empty_start, find_widths, note_pixels, pop_pixels, push_noted, residuals, words_needed
from bbans._core.photo import phase as strip_of_phase
from bbans._core.tables import core_tables
from bbans.ans import Message
from bbans.codecs import Codec
from bbans.models.photo.adaptive import EARLIER, adaptive_tables
from bbans.models.photo.config import PHASES
from bbans.models.photo.geometry import Bytes, near_pixels
from bbans.models.photo.level import Level
from bbans.models.photo.network import PhotoNetwork

Loop = Callable[[Message, Bytes, Phase], None]
Residuals = NDArray[np.int16]


class PhaseLikelihood:
    """p(phase | phases before, z), as codecs.

    Args:
        network: whose heads give the mixtures.
        starts: what the adaptive stage of each phase starts from.
        learned: takes a phase and what the stage has learned of a strip of it, each time one is pushed.
    """

    def __init__(self, network: PhotoNetwork, starts: Sequence[Start], learned: Callable[[int, Start], None] | None = None) -> None:
        self.network, self.adaptive, self._starts = network, network.config.adaptive, starts
        self._learned = learned
        self._tables = core_tables(*adaptive_tables())

    def codec(self, level: Level, phase: int, colours: int, z: Bytes | None) -> Codec[Bytes]:
        """The pixels of a phase, an array as `Level` has them, on a Batch of one message for each strip of the level.

        Args:
            level: with all phases before this one.
            phase: 0, 1, 2 for x11, x01, x10.
            colours: 3, or 1 for gray pictures.
            z: (block rows, block columns, Z), or None for the centre.
        """

        def push(batch: Any, pixels: Bytes) -> Any:
            self._code(self._push, level, phase, colours, z, batch.messages, pixels)
            if phase == 2:
                level.x10_is_pushed()
            return batch

        def pop(batch: Any) -> tuple[Any, Bytes]:
            pixels = level.x00.copy()
            self._code(self._pop, level, phase, colours, z, batch.messages, pixels)
            return batch, pixels

        return Codec(push, pop)

    def _code(
        self, loop: Loop, level: Level, phase: int, colours: int, z: Bytes | None, messages: Sequence[Message], pixels: Bytes
    ) -> None:
        """Push `pixels`, or pop into them. What a strip needs is made with it: it is large."""
        if 0 in level.size(phase):
            return
        earlier = self._residuals(level, phase, colours, z)
        places = np.array(EARLIER[phase] if self.adaptive else (), np.int64).reshape(-1, 3)
        level.features(phase)  # by all threads
        widths = find_widths(level.known(phase)) if self.adaptive and level.decided else None

        def code(message: Message, rows: slice) -> None:
            inside = own, columns = level.inside(phase, rows)
            x, references = np.ascontiguousarray(pixels[inside]), level.references(phase, own)
            near = near_pixels(phase, level.phases[0], references, own)[:, :, columns] if phase else None
            strip = strip_of_phase(
                np.ascontiguousarray(references[:, columns]),
                np.ascontiguousarray(level.params(phase, z, own, again=phase != 2)[:, columns]),
                colours,
                None if near is None else np.ascontiguousarray(near),
                earlier,
                rows.start,
                places,
                self.adaptive,
                level.canvas(phase, own) if self.adaptive else None,
                PHASES[phase],
                level.decided,
                self._starts[phase],
                widths,
            )
            loop(message, x, strip)
            pixels[inside] = x

        self.network.in_parallel(code, messages, level.grid.strips())

    def _residuals(self, level: Level, phase: int, colours: int, z: Bytes | None) -> Residuals:
        """The residuals of the phases before one, on the whole grid with a border of zeros: (phases, h + 2, w + 2, 3).

        They are those under the `z` of this phase: x10 is pushed before z is drawn, so for x10 they are those under the posterior's
        mode.
        """
        earlier = np.zeros((phase if self.adaptive else 0, level.grid.height + 2, level.grid.width + 2, 3), np.int16)
        for before, out in enumerate(earlier):
            if 0 not in level.size(before):
                self._fill(out[1:-1, 1:-1], level, before, colours, z, again=phase == 1)
        return earlier

    def _fill(self, out: Residuals, level: Level, phase: int, colours: int, z: Bytes | None, again: bool) -> None:
        """Write the residuals of an earlier phase to `out` (h, w, 3). again: see `Level.params`."""
        level.features(phase)  # by all threads

        def fill(rows: slice) -> None:
            inside = own, columns = level.inside(phase, rows)
            references = np.ascontiguousarray(level.references(phase, own)[:, columns])
            params = np.ascontiguousarray(level.params(phase, z, own, again)[:, columns])
            strip = strip_of_phase(references, params, colours)
            out[inside] = residuals(np.ascontiguousarray(level.phases[phase][inside]), strip, self._tables)

        self.network.in_parallel(fill, level.grid.strips())

    def _push(self, message: Message, pixels: Bytes, strip: Phase) -> None:
        left = empty_start()
        noted = note_pixels(pixels, strip, self._tables, left)
        message.reserve(words_needed(noted))
        message.resize(push_noted(message.head, message.words, message.size, noted))
        if self._learned:
            self._learned(PHASES.index((strip.row, strip.column)), left)

    def _pop(self, message: Message, pixels: Bytes, strip: Phase) -> None:
        message.resize(pop_pixels(message.head, message.words, message.size, pixels, strip, self._tables))
