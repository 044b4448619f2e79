"""How much memory `compress` and `decompress` take for a picture, of what Python and numpy allocate."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bbans
from bbans.formats import jxl, stored

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


def test_a_photo(picture: np.ndarray[Any, Any], tmp_path: Path) -> None:
    """With its files, 8 bytes a pixel each way, and what does not grow with the picture."""
    source, packed = tmp_path / "a.png", tmp_path / "packed"
    Image.fromarray(picture).save(source, "PNG", compress_level=1)
    most = 8 * HEIGHT * WIDTH + (2 << 20)
    bbans.compress(source, mode="stored")  # what is imported late
    assert peak_bytes(lambda: packed.write_bytes(bbans.compress(source, mode="stored").data)) < most
    assert bbans.inspect(packed).restores == "file"
    assert peak_bytes(lambda: bbans.decompress(packed)) < most
