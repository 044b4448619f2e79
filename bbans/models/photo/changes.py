"""Changes of the networks to one picture: small integers that are added to the last layers of the heads.

An encoder that takes its time tunes these layers to a region (`bbans.models.photo.tuning`). Its changes are the first symbols of
the region's first message; a decoder reads them, adds them to the weights, and has no other work.

The two finest levels may have changes, one array for each phase. They are coded by how often each value has come before, counted
apart for logits, means, scales and slopes, and for inputs whose weight to the output before has changed: most have not.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bbans.codecs import Codec, categorical, uniform
from bbans.combinators import dependent, mapped
from bbans.errors import CorruptDataError, ModelError
from bbans.exact.network import WEIGHT_MAX, IntConv
from bbans.models.photo.config import PhotoConfig
from bbans.tables import IntArray

LEVELS = 2
REACH = 15
"""Changes are from -REACH to REACH steps."""

WEIGHT_STEP, BIAS_STEP = 4, 32

Changes = Mapping[int, IntArray]
"""Of a level, by phase: (outputs, inputs + 1) steps of each weight, the last of the bias."""

_KINDS = 4  # logits, means, scales, slopes: so many outputs each
_PRECISION = 16
_START = [64, 16, 6, 3, 2] + [1] * (REACH - 4)  # counts of 0, of 1 and of -1, ...
_LEARNED = 2  # for each change that has come


def changed(layer: IntConv, changes: IntArray) -> IntConv:
    """The layer with changes (outputs, inputs + 1) added. Raises: CorruptDataError: no layer may have such weights."""
    weight = layer.weight.astype(np.int64) + WEIGHT_STEP * changes[:, :-1, None, None]
    if np.abs(weight).max() > WEIGHT_MAX:
        raise CorruptDataError("a changed weight is out of range")
    bias = layer.bias + BIAS_STEP * changes[:, -1].astype(np.int32)
    try:
        return replace(layer, weight=weight.astype(np.int8), bias=bias)
    except ModelError as error:
        raise CorruptDataError(f"after changes, {error}") from error


def changes_codec(config: PhotoConfig, levels: int) -> Codec[Mapping[int, Changes]]:
    """The changes of a region's so many finest levels, by level; a level without any may be missing."""

    def to_changes(symbols: Any) -> dict[int, dict[int, IntArray]]:
        left, found = iter(symbols), {}
        for level in range(levels):
            of_phases = {phase: [next(left) for _ in range(config.outputs)] for phase in range(3) if next(left)}
            found[level] = {phase: np.stack(rows) - REACH for phase, rows in of_phases.items()}
        return found

    def to_symbols(changes: Mapping[int, Changes]) -> list[Any]:
        symbols: list[Any] = []
        for level in range(levels):
            for phase in range(3):
                rows = changes.get(level, {}).get(phase)
                symbols += [0] if rows is None else [1, *(rows + REACH)]
        return symbols

    return mapped(_rows(3 * levels, config.outputs, config.head + 1), to_changes, to_symbols)


@dependent
def _rows(heads: int, outputs: int, inputs: int) -> Generator[Codec[Any], Any, None]:
    """For each head whether it has changes; if so, those of each output, as 0 .. 2 REACH."""
    counts = np.tile(np.array([*_START[:0:-1], *_START]), (_KINDS, 2, 1))
    for _ in range(heads):
        before = np.zeros(inputs, np.int64)
        has_changes = yield uniform(2)
        for output in range(outputs if has_changes else 0):
            own = counts[output * _KINDS // outputs]
            symbols = yield categorical(_freqs(own)[before])
            np.add.at(own, (before, symbols), _LEARNED)
            before = (symbols != REACH).astype(np.int64)


def _freqs(counts: IntArray) -> IntArray:
    """Frequencies with a sum of 2**_PRECISION in the ratios of counts (..., n), each at least 1."""
    n = counts.shape[-1]
    freqs: IntArray = 1 + counts * ((1 << _PRECISION) - n) // counts.sum(-1, keepdims=True)
    freqs[..., REACH] += (1 << _PRECISION) - freqs.sum(-1)
    return freqs
