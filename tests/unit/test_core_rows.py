"""The core: the filters of a PNG and how they are undone, against plain Python and against Pillow; what it refuses."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbans._core.rows import FILTERS, LEAST_RESIDUALS, filter_rows, unfilter_rows
from bbans.images import pngfile
from bbans.images.picture import read_picture
from tests.core import Array, refuses_other_arrays


def predicted(kind: int, a: int, b: int, c: int) -> int:
    """Source: Portable Network Graphics (PNG) Specification (Third Edition), W3C, 9.2 and 9.4."""
    p = a + b - c
    nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
    return (0, a, b, (a + b) // 2, nearest)[kind]


def filter_slowly(rows: Array, step: int, above: Array, filters: Array) -> list[list[int]]:
    """Source: the same, 12.7, for which filter to take."""
    filtered, prior = [], above.tolist()
    for row, kind in zip(rows.tolist(), filters.tolist(), strict=True):
        around = [(row[i - step], prior[i], prior[i - step]) if i >= step else (0, prior[i], 0) for i in range(len(row))]
        by_kind = [[(x - predicted(each, *known)) % 256 for x, known in zip(row, around, strict=True)] for each in range(FILTERS)]
        if kind == LEAST_RESIDUALS:
            kind = min(range(FILTERS), key=lambda each: sum(min(x, 256 - x) for x in by_kind[each]))
        filtered.append([kind, *by_kind[kind]])
        prior = row
    return filtered


def unfilter_slowly(filtered: Array, step: int, above: Array) -> list[list[int]]:
    rows, prior = [], above.tolist()
    for kind, *values in filtered.tolist():
        row: list[int] = []
        for i, value in enumerate(values):
            known = (row[i - step], prior[i], prior[i - step]) if i >= step else (0, prior[i], 0)
            row.append((value + predicted(kind, *known)) % 256)
        rows.append(row)
        prior = row
    return rows


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(0, 25), st.integers(1, 8), st.booleans(), st.integers(0, 1 << 32))
def test_as_the_specification_says(height: int, size: int, step: int, ties: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [0, 1, 255] if ties else range(256)
    rows, above = (rng.choice(values, shape).astype(np.uint8) for shape in ((height, size), (size,)))
    filters = rng.choice([*range(FILTERS), LEAST_RESIDUALS], height).astype(np.uint8)
    filtered = filter_rows(rows, step, above, filters)
    assert filtered.tolist() == filter_slowly(rows, step, above, filters)
    assert np.array_equal(unfilter_rows(filtered, step, above), rows)
    filtered[:, 1:] = rng.choice(values, (height, size))
    assert unfilter_rows(filtered, step, above).tolist() == unfilter_slowly(filtered, step, above)


def test_refusals() -> None:
    rows, above, filters = np.zeros((3, 4), np.uint8), np.zeros(4, np.uint8), np.zeros(3, np.uint8)
    filtered = filter_rows(rows, 1, above, filters)
    refuses_other_arrays(filter_rows, (rows, 1, above, filters))
    refuses_other_arrays(unfilter_rows, (filtered, 1, above))
    for step, others in ((0, above), (1, above[:3]), (1, np.zeros((4, 1), np.uint8))):
        with pytest.raises(ValueError):
            filter_rows(rows, step, others, filters)
        with pytest.raises(ValueError):
            unfilter_rows(filtered, step, others)
    with pytest.raises(ValueError):
        filter_rows(rows, 1, above, filters[:2])
    for filters[1] in (FILTERS, LEAST_RESIDUALS + 1, 255):
        with pytest.raises(ValueError):
            filter_rows(rows, 1, above, filters)
    filtered[1, 0] = FILTERS
    with pytest.raises(ValueError):
        unfilter_rows(filtered, 1, above)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (700, 300), (3, 500), (500, 3)])
def test_pngs_of_pillow(mode: str, size: tuple[int, int]) -> None:
    """Smooth, so that Pillow takes every filter."""
    shape = (size[1], size[0], len(Image.new(mode, (1, 1)).getbands()))
    ramp = (np.indices(shape).sum(0) ** 2 / 900 + np.random.default_rng(1).normal(0, 1, shape)) % 256
    dtype = np.uint16 if mode == "I;16" else np.uint8
    samples = (ramp * (200 if mode == "I;16" else 1)).astype(dtype)
    if mode == "1":
        image = Image.fromarray(samples[:, :, 0]).convert("1")
        samples = np.asarray(image)[:, :, None].astype(np.uint8)
    elif mode == "P":
        image = Image.fromarray(samples[:, :, 0])
        image.putpalette(np.arange(768, dtype=np.uint32).astype(np.uint8).tobytes())
    else:
        image = Image.fromarray(samples.squeeze(2) if shape[2] == 1 else samples)
    file = io.BytesIO()
    image.save(file, "PNG")
    picture = read_picture(file.getvalue(), any_kind=True)
    assert np.array_equal(picture.pixels, samples) and pngfile.parse(file.getvalue(), 1 << 20).bit_depth == picture.bit_depth
