"""The stored fallback: exact, bounded, and damage is always found."""

import io
import lzma
import struct

import numpy as np
import pytest
from PIL import Image

from bbans.errors import CorruptDataError
from bbans.formats import lzma2, stored
from bbans.formats.stored import Method
from bbans.images import webp
from bbans.images.picture import Picture, read_picture, write_picture

NOISE = np.random.default_rng(7).integers(0, 256, (9, 14, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(48) * 3, np.arange(64)).astype(np.uint8)[..., None] + np.array([0, 20, 40], np.uint8)
METADATA = b"\0\0\0\3tEXta\0b\0\0\0\0IDAT"


def png(pixels: np.ndarray, metadata: bytes = b"") -> tuple[bytes, Picture]:
    picture = Picture(pixels, "PNG", metadata)
    return write_picture(picture), picture


def payloads(pixels: np.ndarray) -> dict[Method, bytes]:
    """The same file stored in each way, whichever is the smallest."""
    data, picture = png(pixels, METADATA)
    return {
        Method.FILE: stored._crc(data) + data,
        Method.FILE_LZMA: stored._encode_file(data),
        Method.WEBP: stored._encode_picture(picture, stored._encode_webp(pixels)),
        Method.LZMA: stored._encode_picture(picture, stored._encode_rows(pixels)),
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (17, 1), (13, 11), (48, 64)])
def test_every_method_is_exact(size, channels):
    pixels = np.random.default_rng(8).integers(0, 256, (*size, channels), dtype=np.uint8)
    data, picture = png(pixels, METADATA)
    for method, payload in payloads(pixels).items():
        decoded = stored.decode(int(method), payload)
        assert decoded == (data if method in (Method.FILE, Method.FILE_LZMA) else picture)


def test_the_smallest_wins():
    data, picture = png(SMOOTH)
    method, payload = stored.encode(data, picture)
    assert len(payload) == min(map(len, [*(stored.encode(data, p)[1] for p in (None, picture))]))
    assert method in (Method.WEBP, Method.LZMA)
    assert stored.decode(method, payload) == picture


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 3, np.random.default_rng(9).bytes(999)])
def test_any_bytes_and_never_more_than_four_bytes_longer(data):
    method, payload = stored.encode(data, None)
    assert len(payload) <= len(data) + 4
    assert stored.decode(method, payload) == data


def test_a_file_that_is_not_compressed_is():
    file = io.BytesIO()
    Image.fromarray(SMOOTH[..., 0].astype(np.uint16) * 257).save(file, "TIFF")
    method, payload = stored.encode(file.getvalue(), None)
    assert method == Method.FILE_LZMA and len(payload) < len(file.getvalue()) // 4
    assert stored.decode(method, payload) == file.getvalue()


def test_noise_is_stored_as_its_file():
    picture = Picture(NOISE, "PPM")
    assert stored.encode(write_picture(picture), picture)[0] == Method.FILE


def test_large_files_are_sampled(monkeypatch):
    monkeypatch.setattr(stored, "SMALL_BYTES", 1000)
    assert stored.encode(np.random.default_rng(10).bytes(3000), None)[0] == Method.FILE
    assert stored.encode(bytes(3000), None)[0] == Method.FILE_LZMA


@pytest.mark.parametrize("shape", [(1, webp.MAX_SIDE_PX + 1, 3), (webp.MAX_SIDE_PX + 1, 1, 1)])
def test_wider_than_webp(shape):
    pixels = (np.arange(np.prod(shape)) // 40).astype(np.uint8).reshape(shape)
    data = write_picture(Picture(pixels, "PNG"))
    picture = read_picture(data)
    method, payload = stored.encode(data, picture)
    assert method != Method.WEBP
    decoded = stored.decode(method, payload)
    assert decoded in (data, picture)


def test_widest_webp():
    pixels = np.zeros((1, webp.MAX_SIDE_PX, 3), np.uint8)
    assert stored._decode_webp(stored._encode_webp(pixels), pixels.shape).shape == pixels.shape


def test_the_same_twice():
    data, picture = png(SMOOTH)
    assert stored.encode(data, picture) == stored.encode(data, picture)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_flip_and_cut_and_tail_is_found(method, channels):
    payload = payloads(NOISE[:5, :6, :channels])[method]
    for i in range(len(payload)):
        with pytest.raises(CorruptDataError):
            stored.decode(method, payload[:i], max_pixels=1 << 12, max_bytes=1 << 12)
        for flip in (0x01, 0x10, 0x80, 0xFF):
            damaged = payload[:i] + bytes([payload[i] ^ flip]) + payload[i + 1 :]
            with pytest.raises(CorruptDataError):
                stored.decode(method, damaged, max_pixels=1 << 12, max_bytes=1 << 12)
    with pytest.raises(CorruptDataError):
        stored.decode(method, payload + b"x")


def test_wrong_method():
    for method, payload in payloads(NOISE).items():
        for other in [m for m in [*Method, 4, 255, -1] if m != method]:
            with pytest.raises(CorruptDataError):
                stored.decode(other, payload, max_pixels=1 << 12, max_bytes=1 << 12)


def test_promises_beyond_the_limits_are_refused_before_decoding():
    bomb = lzma.compress(bytes(1 << 24), lzma.FORMAT_RAW, filters=lzma2.FILTERS)
    with pytest.raises(CorruptDataError, match="limit"):
        stored.decode(Method.FILE_LZMA, bytes(4) + struct.pack(">Q", 1 << 60) + bomb)
    with pytest.raises(CorruptDataError, match="size it claims"):
        stored.decode(Method.FILE_LZMA, bytes(4) + struct.pack(">Q", 10) + bomb)
    with pytest.raises(CorruptDataError, match="limit"):
        stored.decode(Method.LZMA, bytes(4) + b"\3PNG" + struct.pack(">IIBI", 1 << 31, 1 << 31, 3, 0) + bomb)
    with pytest.raises(CorruptDataError, match="size it claims"):
        stored.decode(Method.LZMA, bytes(4) + b"\3PNG" + struct.pack(">IIBI", 2, 2, 3, 0) + bomb)


def test_webp_of_another_size_or_with_colours():
    stream = webp.encode(NOISE)
    for shape in [(9, 13, 3), (14, 9, 3), (9, 14, 1)]:
        with pytest.raises(CorruptDataError):
            stored._decode_webp(stream, shape)
