"""JPEG XL of samples: exact, for every size and depth, and damage is a typed error within the memory of the picture."""

import contextlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats import jxl, stored
from bbans.formats.container import StoredMethod
from bbans.images.picture import Picture

SIZES = [
    (1, 1),
    (1, 9),
    (9, 1),
    (8, 8),
    (8, 16),
    (16, 8),
    (256, 256),
    (256, 264),
    (90, 160),
    (200, 240),
    (3, 4),
    (1, 513),
    (8193, 1),
]
SIZES += [(64, 128), (5, 6), (12, 18), (1, 10_000), (40, 50), (256, 512), (264, 528), (72, 128), (257, 257)]


def random(shape: tuple[int, ...], bit_depth: int, seed: int = 0) -> np.ndarray:
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 1 << bit_depth, shape).astype(dtype)


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_headers_are_those_of_libjxl(channels: int, bit_depth: int) -> None:
    """`encode` compares them; the aspects and sizes here have all spellings that the headers know, but for the largest sides."""
    for height, width in SIZES:
        samples = np.full((height, width, channels), (1 << bit_depth) - 1, np.uint8 if bit_depth == 8 else np.uint16)
        samples[height // 2, width // 2] = 5
        back = jxl.decode(jxl.encode(samples, 3), samples.shape, bit_depth)
        assert back.dtype == samples.dtype and np.array_equal(back, samples)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.sampled_from([8, 16]), st.sampled_from([1, 3, 7, 9]), st.data()
)
def test_exact(height: int, width: int, channels: int, bit_depth: int, effort: int, data: st.DataObject) -> None:
    samples = random((height, width, channels), bit_depth, data.draw(st.integers(0, 1 << 32)))
    samples &= np.array(data.draw(st.integers(0, (1 << bit_depth) - 1)), samples.dtype)  # some bits are never set
    back = jxl.decode(jxl.encode(samples, effort), samples.shape, bit_depth)
    assert back.dtype == samples.dtype and np.array_equal(back, samples)


@pytest.mark.parametrize(("channels", "effort"), [(1, 8), (2, 5), (3, 5), (4, 7)])
def test_all_values_of_16_bits(channels: int, effort: int) -> None:
    """In order, as extremes beside each other, and with noise in the lowest bits."""
    ramp = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    for plane in (ramp, ramp.T[::-1], ramp * 40503, (ramp % 2) * 65535, ramp // 512 * 256 + ramp % 3):
        samples = np.stack([plane, plane[::-1], 65535 - plane, plane.T][:channels], axis=2).astype(np.uint16)
        assert np.array_equal(jxl.decode(jxl.encode(samples, effort), samples.shape, 16), samples)


def test_colours_under_alpha_0_are_kept() -> None:
    samples = random((30, 40, 4), 8)
    samples[..., 3] = samples[..., 3] // 128 * 255
    assert np.array_equal(jxl.decode(jxl.encode(samples), samples.shape, 8), samples)


@pytest.mark.parametrize("shape", [(7, 9, 3), (9, 7, 1), (7, 9, 4)])
@pytest.mark.parametrize("bit_depth", [8, 16])
def test_damage_is_a_typed_error_or_other_samples(shape: tuple[int, int, int], bit_depth: int) -> None:
    stream = jxl.encode(random(shape, bit_depth))
    errors = 0
    for i in range(len(stream)):
        for changed in (stream[:i], stream[:i] + bytes([stream[i] ^ 1 << i % 8]) + stream[i + 1 :]):
            try:
                assert jxl.decode(changed, shape, bit_depth).shape == shape
            except CorruptDataError:
                errors += 1
    assert errors >= len(stream)


def test_a_stream_cannot_say_another_size() -> None:
    """The headers come from the file's header: a stream of one picture is noise or an error for another."""
    samples = random((40, 50, 3), 8)
    stream = jxl.encode(samples)
    for shape, depth in [((50, 40, 3), 8), ((40, 51, 3), 8), ((400, 500, 3), 8), ((40, 50, 1), 8), ((40, 50, 3), 16)]:
        with contextlib.suppress(CorruptDataError):
            assert jxl.decode(stream, shape, depth).shape == shape
    with pytest.raises(CorruptDataError):
        jxl.decode(jxl.headers(40, 50, 3, 8) + stream, samples.shape, 8)


def test_without_libjxl(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs it says so, all else goes on."""
    picture = Picture(random((9, 9, 3), 8) // 64, "PNG")
    stream = jxl.encode(picture.pixels)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UnsupportedImageError, match="imagecodecs"):
        jxl.decode(stream, (9, 9, 3), 8)
    assert stored.encode(bytes(9999), picture)[0] != StoredMethod.JXL


def test_another_libjxl_means_another_method(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(random((9, 9, 3), 8) // 64, "PNG")
    monkeypatch.setattr(jxl, "headers", lambda *_: b"\xff\x0a other")
    with pytest.raises(UnsupportedImageError):
        jxl.encode(picture.pixels)
    method, payload = stored.encode(bytes(9999), picture)
    assert method in (StoredMethod.WEBP, StoredMethod.ROWS_LZMA, StoredMethod.FILE_LZMA) and payload
