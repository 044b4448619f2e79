"""A stream of a PNG that is small, for pictures whose file was written by a program that took its time.

Filters are chosen row by row in several ways, as optimisers do. libdeflate tries them, the best ones at its highest level, and
zopfli those of small pictures. It stops at the first stream that is small enough.

Source: oxipng's filter strategies (MinSum, Entropy, Bigrams, Brute).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np

from bbans.images.rows import FILTERS, Bytes, filter_rows

_FAST, _CAREFUL = 6, 12
"""Levels of libdeflate."""

_FINALISTS = 3

LARGE_BYTES = 1 << 24
"""Of rows: what is larger goes by zlib, piece by piece."""

_BRUTE_BYTES = 1 << 21
"""Of rows: up to this size each row is deflated with each filter."""

_BRUTE_ROWS = 4

_ZOPFLI_BYTES = 1 << 15
"""Of rows: up to this size zopfli is tried, which takes a third of a second for so many."""


def smallest_stream(rows: Bytes, step: int, at_most: int) -> bytes | None:
    """The smallest zlib stream that is found of packed rows (H, B); None without imagecodecs.

    Args:
        step: see `rows.step_bytes`.
        at_most: bytes; a stream of no more is taken at once.
    """
    best: bytes | None = None
    for stream in _streams(rows, step):
        best = stream if best is None or len(stream) < len(best) else best
        if len(best) <= at_most:
            break
    return best


def _streams(rows: Bytes, step: int) -> Iterator[bytes]:
    """Zlib streams of packed rows, with more and more work."""
    try:
        from imagecodecs import deflate_encode, zopfli_encode
    except ImportError:
        return
    tried: list[tuple[int, bytes]] = []
    for filters in _choices(rows, step):
        filtered = filter_rows(rows, step, filters).tobytes()
        stream = bytes(deflate_encode(filtered, level=_FAST, raw=False))
        tried.append((len(stream), filtered))
        yield stream
    finalists = [filtered for _, filtered in sorted(tried, key=lambda one: one[0])[:_FINALISTS]]
    for filtered in finalists:
        yield bytes(deflate_encode(filtered, level=_CAREFUL, raw=False))
    if rows.size <= _ZOPFLI_BYTES:
        for filtered in finalists:
            yield bytes(zopfli_encode(filtered))


def _choices(rows: Bytes, step: int) -> Iterator[Bytes | int | None]:
    """Filters of all rows, in different ways, as `filter_rows` takes them."""
    yield None
    yield from range(FILTERS)
    candidates = [filter_rows(rows, step, kind) for kind in range(FILTERS)]
    yield _least(candidates, _entropy)
    yield _least(candidates, _bigrams)
    if rows.size <= _BRUTE_BYTES:
        yield _brute(candidates)


def _least(candidates: list[Bytes], cost: Callable[[Bytes], float]) -> Bytes:
    """For each row the filter of least cost."""
    costs = [[cost(row) for row in filtered] for filtered in candidates]
    chosen: Bytes = np.argmin(costs, axis=0).astype(np.uint8)
    return chosen


def _entropy(row: Bytes) -> float:
    counts = np.bincount(row)
    counts = counts[counts > 0]
    return -float((counts * np.log2(counts)).sum())


def _bigrams(row: Bytes) -> float:
    return len(np.unique(row[:-1].astype(np.uint16) << 8 | row[1:]))


def _brute(candidates: list[Bytes]) -> Bytes:
    """For each row the filter with which it is smallest after those above."""
    chosen: list[int] = []
    above: list[bytes] = []
    for row in range(len(candidates[0])):
        before = b"".join(above[-_BRUTE_ROWS:])
        sizes = [len(zlib.compress(before + filtered[row].tobytes(), 1)) for filtered in candidates]
        chosen.append(int(np.argmin(sizes)))
        above.append(candidates[chosen[-1]][row].tobytes())
    return np.array(chosen, np.uint8)
