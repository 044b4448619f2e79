"""Pictures whose values have gaps: found without them and restored, left alone where that is worth nothing; their files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import bbans
from bbans import vaez
from bbans.formats import container
from bbans.formats.container import SectionKind
from bbans.images import conversion, gaps
from bbans.images.gaps import WithoutGaps
from bbans.images.picture import Picture, read_picture, write_picture
from tests.format_file_decoder import Input, converted
from tests.models import codec, picture

Samples = NDArray[np.uint8]


def stretched(pixels: Samples, *factors: float) -> Samples:
    """Brighter pixels, by a factor for all channels or for each."""
    tables = np.clip(np.rint(np.outer(factors, np.arange(256))), 0, 255).astype(np.uint8)
    return np.stack([tables[channel % len(tables)][pixels[..., channel]] for channel in range(pixels.shape[2])], axis=2)


def check_restored(found: WithoutGaps, pixels: Samples) -> None:
    assert np.array_equal(converted(found.samples, Input(found.pack())), pixels)
    assert np.array_equal(conversion.convert(found.samples.copy(), found.pack()), pixels)


@pytest.mark.parametrize(("channels", "factors", "maps"), [(3, (1.3,), 1), (1, (1.3,), 1), (3, (1.2, 1.4, 1.3), 3)])
def test_stretched_pictures_are_coded_as_they_were(channels: int, factors: tuple[float, ...], maps: int) -> None:
    before = picture(128, 160, channels)
    pixels = stretched(before, *factors)
    found = conversion.find(pixels)
    assert isinstance(found, WithoutGaps) and len(found.absent) == maps
    assert len(found.pack()) == 1 + 32 * maps
    check_restored(found, pixels)
    for channel in range(channels):  # darker by as much as there was no value below, but where values come rarely
        darker = (before.astype(int) - found.samples)[..., channel][pixels[..., channel] < 255]
        assert (np.abs(darker - np.median(darker)) <= 2).mean() > 0.99
    assert conversion.samples_of(pixels).tolist() == found.samples.tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 256), st.sampled_from([1, 3]), st.integers(0, 1 << 32))
def test_found_and_restored_is_what_it_was(values: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    there = [rng.choice(256, values, replace=False) for _ in range(channels)]
    pixels = np.stack([rng.choice(of_channel, (60, 70)) for of_channel in there], axis=2).astype(np.uint8)
    found = gaps.find(pixels)
    if found is not None:
        check_restored(found, pixels)


@pytest.mark.parametrize("kind", ["photo", "noise"])
@pytest.mark.parametrize("side", [1, 7, 16, 32, 64, 200])
def test_other_pictures_are_left_alone(kind: str, side: int) -> None:
    """What small ones lack, they lack by chance."""
    assert gaps.find(picture(side, side, kind=kind)) is None
    assert gaps.find(picture(side, side, 1, kind=kind)) is None


def test_long_gaps_stay() -> None:
    """Colours that were chosen say more as they are than by their numbers."""
    pixels = (picture(128, 128) // 128 * 200).astype(np.uint8)
    assert gaps.find(pixels) is None
    both = np.concatenate([picture(128, 128) // 4 * 2, np.full((8, 128, 3), 250, np.uint8)])
    found = gaps.find(both)
    assert found is not None and found.samples[-1, -1, 0] - int(found.samples[:-8].max()) > 100
    check_restored(found, both)


def test_numbers_beyond_the_last_stand_for_it() -> None:
    maps = np.ones((1, 256), bool)
    maps[0, [3, 90]] = False
    samples = np.array([[[0], [1], [2], [255]]], np.uint8)
    body = b"\x04" + np.packbits(maps).tobytes()
    assert conversion.convert(samples.copy(), body).ravel().tolist() == [3, 90, 90, 90]
    assert converted(samples, Input(body)).ravel().tolist() == [3, 90, 90, 90]


def test_samples_are_written_over_where_they_can_be() -> None:
    found = gaps.find(stretched(picture(128, 160), 1.5))
    assert found is not None
    kept = found.samples.copy()
    kept.flags.writeable = False
    pixels = conversion.convert(found.samples, found.pack())
    assert np.shares_memory(pixels, found.samples)
    assert np.array_equal(conversion.convert(kept, found.pack()), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_smaller_and_the_same_comes_back(channels: int) -> None:
    kept = Picture(stretched(picture(128, 160, channels), 1.4), "PNG", b"")
    source, coder = vaez.picture_source(write_picture(kept), kept), codec()
    contents = vaez.code(vaez.prepare(source), coder)
    assert contents.bodies(SectionKind.CONVERSION)[0][0] == 4
    assert bbans.inspect(container.pack(contents)).conversion == "gaps"
    size = sum(map(len, contents.bodies(SectionKind.MESSAGE)))
    assert size < 0.97 * sum(map(len, coder.encode(kept.pixels).messages))
    assert read_picture(vaez.restore(contents, coder).data) == kept
