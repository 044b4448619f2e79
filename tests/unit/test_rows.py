"""Rows of a PNG: what Pillow and the specification say of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans.images import png
from bbans.images.rows import FILTERS, filter_rows, pack, row_bytes, unpack


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 19),
    st.sampled_from([(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (2, 8), (2, 16), (3, 8), (3, 16), (4, 8), (4, 16)]),
    st.sampled_from([None, *range(FILTERS)]),
    st.integers(0, 1 << 32),
)
def test_inverse(height: int, width: int, kind: tuple[int, int], filters: int | None, seed: int) -> None:
    channels, bit_depth = kind
    samples = np.random.default_rng(seed).integers(0, 1 << bit_depth, (height, width, channels))
    samples = samples.astype(np.uint16 if bit_depth == 16 else np.uint8)
    rows = png.to_rows(samples, bit_depth, filters)
    assert len(rows) == height * (1 + row_bytes(width, channels, bit_depth))
    back = png.from_rows(rows, samples.shape, bit_depth)
    assert back.dtype == samples.dtype and np.array_equal(back, samples)
    assert np.array_equal(unpack(pack(samples, bit_depth), width, channels, bit_depth), samples)


def test_bits_are_packed_from_the_left() -> None:
    assert pack(np.array([[[1], [0], [1], [1], [0], [0], [0], [0], [1]]], np.uint8), 1).tolist() == [[0b10110000, 0b10000000]]
    assert pack(np.array([[[15], [1], [7]]], np.uint8), 4).tolist() == [[0xF1, 0x70]]
    assert pack(np.array([[[0x1234], [0xABCD]]], np.uint16), 16).tolist() == [[0x12, 0x34, 0xAB, 0xCD]]


def test_each_row_gets_the_filter_of_least_residuals() -> None:
    rows = np.array([[10, 20, 30, 40], [10, 20, 30, 40], [0, 0, 0, 0], [255, 255, 0, 0]], np.uint8)
    assert filter_rows(rows, 1)[:, 0].tolist() == [1, 2, 0, 0]


def test_filters_of_each_row() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (10, 9), dtype=np.uint8)
    given = np.arange(10, dtype=np.uint8) % FILTERS
    mixed = filter_rows(rows, 3, given)
    assert np.array_equal(mixed[:, 0], given)
    for kind in range(FILTERS):
        assert np.array_equal(mixed[given == kind], filter_rows(rows, 3, kind)[given == kind])


@pytest.mark.parametrize("pieces", [1, 40, 1000])
def test_pieces_make_no_difference(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(1).integers(0, 65536, (30, 11, 3)).astype(np.uint16)
    whole = png.to_rows(samples, 16)
    monkeypatch.setattr("bbans.images.rows._PIECE_BYTES", pieces)
    assert png.to_rows(samples, 16) == whole
    assert np.array_equal(png.from_rows(whole, samples.shape, 16), samples)
