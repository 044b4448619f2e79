"""How much memory `compress` and `decompress` take for a picture, of what Python and numpy allocate."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bbans
from bbans.formats import jxl, stored
from bbans.images import pngfile
from bbans.images.rows import filter_rows, pack

HEIGHT, WIDTH = 1300, 2000


def peak_bytes(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def picture(monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Smooth, and some noise. A strip takes little, as it does beside a large picture, and little time."""
    encode = jxl.encode
    monkeypatch.setattr(jxl, "encode", lambda samples, effort=7: encode(samples, 1))
    monkeypatch.setattr(stored, "STRIP_PX", 1 << 17)
    x, y = np.arange(WIDTH) / 300, np.arange(HEIGHT)[:, None] / 300
    smooth = 128 + 70 * np.sin(x) * np.cos(y)
    noise = np.random.default_rng(1).normal(0, 1.5, (HEIGHT, WIDTH, 3))
    return np.clip(smooth[..., None] + noise, 0, 255).astype(np.uint8)


def png_of(picture: np.ndarray[Any, Any], known: bool) -> bytes:
    """By settings of zlib that are found again, or with IDATs of all sizes, which no writing has."""
    stream = zlib.compress(filter_rows(pack(picture, 8), 3, 4).tobytes(), 1)
    edges = range(0, len(stream), 1 << 16) if known else [0, 100, 300, 1000]
    parts = [stream[start:end] for start, end in pairwise([*edges, len(stream)])]
    return pngfile.assemble(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0), [], parts)


@pytest.mark.parametrize(("known", "restores"), [(True, "file"), (False, "picture")])
def test_a_photo(known: bool, restores: str, picture: np.ndarray[Any, Any], tmp_path: Path) -> None:
    """With its files, 8 bytes a pixel each way, and what filters take for some rows."""
    source, packed = tmp_path / "a.png", tmp_path / "packed"
    source.write_bytes(png_of(picture, known))
    most = 8 * HEIGHT * WIDTH + (8 << 20)
    bbans.compress(source, mode="stored")  # what is imported late
    assert peak_bytes(lambda: packed.write_bytes(bbans.compress(source, mode="stored").data)) < most
    assert bbans.inspect(packed).restores == restores
    assert peak_bytes(lambda: bbans.decompress(packed)) < most
