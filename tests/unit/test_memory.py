"""How much memory `compress` and `decompress` take for a picture, of what Python and numpy allocate.

By the model there is a part for each pixel of the picture, and one for each pixel of a region, of which one is coded at a time.
"""

from __future__ import annotations

import io
import platform
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bbans
from bbans import models
from bbans.accounting import Accounting, Encoded
from bbans.formats import jxl, stored
from bbans.images import pngfile
from bbans.images.rows import filter_rows, pack
from bbans.models.photo import geometry
from tests.models import codec, weights, write_weight_file

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
    return photo(HEIGHT, WIDTH)


def photo(height: int, width: int) -> np.ndarray[Any, Any]:
    y, x, c = np.ogrid[:height, :width, :3]
    smooth = 128 + 70 * np.sin(x / 300 + c) * np.cos(y / 300)
    noise = np.random.default_rng(1).normal(0, 1.5, (height, width, 3))
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


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


class Rows:
    """A codec that takes no memory of its own: some rows at a time, deflated. It notes how much there is when it begins."""

    id, weights_hash = "tiny", weights().hash

    def __init__(self) -> None:
        self.held: list[int] = []

    def encode(self, pixels: np.ndarray[Any, Any], effort: int) -> Encoded:
        self.held.append(tracemalloc.get_traced_memory()[0])
        messages = [zlib.compress(pixels[top : top + 64].tobytes(), 1) for top in range(0, len(pixels), 64)]
        return Encoded(messages, Accounting(0, 0, 0, 0))

    def decode(self, messages: list[bytes], height: int, width: int, channels: int) -> np.ndarray[Any, Any]:
        self.held.append(tracemalloc.get_traced_memory()[0])
        out = np.empty((height, width, channels), np.uint8)
        for number, message in enumerate(messages):
            part = out[64 * number :][:64]
            part[...] = np.frombuffer(zlib.decompress(message), np.uint8).reshape(part.shape)
        return out


@pytest.mark.parametrize("jpeg", [False, True])
def test_a_photo_by_a_model(jpeg: bool, picture: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As above. While a model codes, there is the picture once, RGB or what it was made of; to check it, files alone."""
    if jpeg:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=80)
        picture = np.asarray(Image.open(file))
    source, packed, coder = tmp_path / "a.png", tmp_path / "packed", Rows()
    source.write_bytes(png_of(picture, False))
    monkeypatch.setattr(models, "load", lambda *_, **__: coder)
    model = bbans.load_model(write_weight_file(tmp_path / "tiny.bbans"))
    packed.write_bytes(model.compress(source, mode="model").data)
    coder.held.clear()
    most = 8 * HEIGHT * WIDTH + (8 << 20)
    assert peak_bytes(lambda: model.compress(source, mode="model")) < most
    assert peak_bytes(lambda: model.decompress(packed)) < most
    file_bytes, packed_bytes, some = source.stat().st_size, packed.stat().st_size, 1 << 20
    encode, verify, decode = coder.held
    assert encode < picture.size + file_bytes + some
    assert verify < file_bytes + 2 * packed_bytes + some
    assert decode < 2 * packed_bytes + some


def test_a_pixel_of_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """What networks say of how a phase is distributed is there for a strip alone: of a whole level it takes 18 bytes a pixel."""
    monkeypatch.setattr(geometry, "STRIP_POSITIONS", 1 << 13)
    coder, pixels, peaks = codec(), photo(768, 256), []
    for height in (384, 768):
        messages = coder.encode(pixels[:height]).messages
        encode = peak_bytes(lambda height=height: coder.encode(pixels[:height]))
        peaks.append((encode, peak_bytes(lambda height=height, messages=messages: coder.decode(messages, height, 256, 3))))
    (encode, decode), (encode_large, decode_large) = peaks
    assert encode_large - encode < 40 * 384 * 256
    assert decode_large - decode < 30 * 384 * 256


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("given_back", [False, True])
def test_large_blocks_go_back_to_the_system(given_back: bool) -> None:
    """Those of the command do; without that, small blocks between them keep them in the process."""
    code = f"""
import resource
import numpy as np
from vaezip_cli.batch import give_back_large_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

if {given_back}:
    give_back_large_blocks()
np.ones(24 << 20, np.uint8)  # when this is freed, the C library begins to keep blocks of that size
before = resident()
large, small = [], []
for _ in range(10):
    large.append(np.ones(6 << 20, np.uint8))
    small.append(np.ones(100_000, np.uint8))
large.clear()
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 10 << 20) == given_back
