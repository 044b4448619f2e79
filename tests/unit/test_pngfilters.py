"""A PNG that is written anew is hardly larger than its source."""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
import pytest

import bbans
from bbans.images import png, pngfile, pngfilters
from bbans.images.picture import read_picture, write_picture
from bbans.images.rows import FILTERS, filter_rows, pack

Y, X = np.mgrid[:48, :48]
DISC = ((X - 24) ** 2 + (Y - 24) ** 2 < 400) * np.uint8(1)
ICON = np.stack([(X * Y // 9) % 256, (Y * 5 + X // 3) % 256, 255 - X * 4, DISC * 255 - DISC * X], axis=2).astype(np.uint8)


def optimised(samples: np.ndarray, filters: np.ndarray | int | None = None) -> bytes:
    """A PNG of samples (H, W, C) as an optimiser writes it: by zopfli."""
    height, width, channels = samples.shape
    stream = imagecodecs.zopfli_encode(filter_rows(pack(samples, 8), channels, filters).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    return pngfile.assemble(header, [(b"tEXt", b"Title\0sea")], [stream])


@pytest.mark.parametrize("samples", [ICON, ICON[..., :3], ICON[..., :1]], ids=["RGBA", "RGB", "gray"])
@pytest.mark.parametrize("filters", [None, 0, 4])
def test_a_png_by_an_optimiser_comes_back_as_small(samples: np.ndarray, filters: int | None) -> None:
    data = optimised(np.ascontiguousarray(samples), filters)
    picture = read_picture(data, any_kind=True)
    assert not png.find_writing(data, picture.pixels, 8)  # it would come back byte for byte
    result = bbans.compress(data, mode="stored")
    restored = bbans.decompress(result).data
    assert len(restored) <= 1.01 * len(data)
    assert read_picture(restored, any_kind=True) == picture


def test_work_stops_where_the_size_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pack(ICON, 8)
    sizes = [len(stream) for stream in pngfilters._streams(rows, 4)]
    assert len(sizes) == FILTERS + 4 + 2 * 3
    assert len(pngfilters.smallest_stream(rows, 4, 0) or b"") == min(sizes)
    assert len(pngfilters.smallest_stream(rows, 4, max(sizes)) or b"") == sizes[0]
    for stream in pngfilters._streams(rows, 4):
        unpacked = np.frombuffer(zlib.decompress(stream), np.uint8).reshape(48, -1)
        assert np.array_equal(png.from_rows(unpacked.tobytes(), ICON.shape, 8), ICON)
    data = optimised(ICON)
    quick = write_picture(read_picture(data, any_kind=True))
    monkeypatch.setattr(png, "LARGE_BYTES", 100)
    large = write_picture(read_picture(data, any_kind=True), at_most=1)
    assert read_picture(large, any_kind=True) == read_picture(data, any_kind=True) and len(large) < len(quick)


def test_without_imagecodecs_it_is_written_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    data = optimised(ICON)
    picture = read_picture(data, any_kind=True)
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    assert pngfilters.smallest_stream(pack(ICON, 8), 4, 0) is None
    assert write_picture(picture, at_most=1) == write_picture(picture)
