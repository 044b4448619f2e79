"""The core: luma and chroma of RGB, against what is converted by the specification; what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans._core.conversion import convert, find_sources
from bbans.images.conversion import CONVERSIONS
from tests.core import refuses_other_arrays
from tests.format_file_decoder import Input, converted


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CONVERSIONS)), st.integers(0, 12), st.integers(0, 12), st.booleans(), st.integers(0, 1 << 32))
def test_any_samples_are_converted_and_any_pixels_looked_for(number: int, height: int, width: int, ends: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = CONVERSIONS[number].tables()
    samples = rng.choice([0, 1, 254, 255] if ends else range(256), (height, width, 3)).astype(np.uint8)
    made = samples.copy()
    convert(made, tables)
    assert np.array_equal(made, converted(samples, Input(bytes([number]))))
    for pixels in (made, samples):  # the latter are mostly RGB that no conversion gives
        found = find_sources(pixels, tables, pixels.size)
        assert found is not None
        sources, exceptions = found
        convert(sources, tables)
        differs = (sources != pixels).any(axis=2).ravel()
        assert np.array_equal(np.flatnonzero(differs), exceptions)
        if len(exceptions):
            assert find_sources(pixels, tables, len(exceptions) - 1) is None


@pytest.mark.parametrize("number", CONVERSIONS)
def test_every_rgb_that_is_not_clipped_has_its_source(number: int) -> None:
    samples = np.random.default_rng(number).integers(60, 180, (100, 100, 3)).astype(np.uint8)
    pixels = samples.copy()
    tables = CONVERSIONS[number].tables()
    convert(pixels, tables)
    clear = ((pixels > 0) & (pixels < 255)).all(axis=2)
    found = find_sources(pixels, tables, pixels.size)
    assert found is not None and clear.mean() > 0.3
    assert not clear.ravel()[found[1]].any()


def test_it_refuses_other_arrays() -> None:
    tables = CONVERSIONS[1].tables()
    refuses_other_arrays(lambda pixels: convert(pixels, tables), (np.zeros((2, 3, 3), np.uint8),))
    refuses_other_arrays(lambda pixels: find_sources(pixels, tables, 6), (np.zeros((2, 3, 3), np.uint8),))
    with pytest.raises(ValueError, match="pixels are"):
        find_sources(np.zeros((2, 3, 4), np.uint8), tables, 1)
