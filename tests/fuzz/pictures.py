"""Picture files of every kind with lying headers, and files of arrays: read exactly, kept exactly, or refused by an error of ours.

What is read is compared with what Pillow or numpy make of the file, is written, and read again. Small pictures are also compressed
without the model and come back.
"""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

import bbans
from bbans.errors import BbansError, UnsupportedImageError
from bbans.images.picture import probe_picture, read_picture, write_picture
from bbans.sets.arrays import read_array
from tests.fuzz.harness import Limits, Target, Wrong
from tests.fuzz.mutate import EDGES, changed_field, edited, number, rearranged, some_bytes

MAX_PIXELS = 1 << 20
TILES = Path(__file__).parents[1] / "data" / "golden" / "kinds" / "tiff-tiles.vaez"
SMALL_PIXELS = 1 << 12  # that are compressed too: the careful WebP takes its time


@cache
def seeds() -> list[tuple[str, bytes]]:
    """(format, file) of small pictures of every kind that Pillow writes, and some that it does not."""
    rng = np.random.default_rng(0)
    found: list[tuple[str, bytes]] = []

    def image(mode: str, height: int = 9, width: int = 13) -> Image.Image:
        bands = len(mode) if mode in ("RGB", "RGBA", "LA", "CMYK") else 1
        smooth = np.add.outer(np.arange(height) * 9, np.arange(width) * 5)[..., None] + rng.integers(0, 30, (height, width, bands))
        pixels = (smooth % 256).astype(np.uint8)
        if mode == "1":
            return Image.fromarray(pixels[..., 0]).convert("1")
        if mode == "P":
            return Image.fromarray(np.repeat(pixels, 3, 2)).quantize(16)
        if mode == "I;16":
            return Image.fromarray(pixels[..., 0].astype(np.uint16) * 251)
        return Image.fromarray(pixels if bands > 1 else pixels[..., 0], mode=None if mode != "CMYK" else "CMYK")

    def save(format: str, mode: str, **options: Any) -> None:
        file = io.BytesIO()
        image(mode).save(file, format, **options)
        found.append((format, file.getvalue()))

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        save("PNG", mode)
    save("PNG", "RGB", dpi=(72, 72), icc_profile=b"profile" * 9)
    save("PNG", "P", transparency=3)
    save("PNG", "L", save_all=True, append_images=[image("L"), image("L")])
    for mode in ("RGB", "RGBA"):
        save("WEBP", mode, lossless=True, exif=b"Exif\0\0II*\0" + bytes(8))
        save("WEBP", mode, quality=50)
    save("WEBP", "RGB", lossless=True, save_all=True, append_images=[image("RGB"), image("RGB")])
    for mode in ("L", "P", "RGB"):
        save("GIF", mode, save_all=True, append_images=[image(mode)], comment=b"a comment")
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        save("BMP", mode)
    for mode in ("1", "L", "RGB", "I;16"):
        save("PPM", mode)
    found.append(("PPM", b"P7\nWIDTH 2\nHEIGHT 3\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(range(18))))
    found += [("PPM", b"P3 2 1 255 1 2 3 4 5 6\n"), ("PPM", b"P2\n# gray\n3 1\n9\n1 2 3\n"), ("PPM", b"P5 3 2 # c\n255\nabcdef")]
    for mode in ("1", "L", "RGB", "RGBA", "CMYK", "I;16"):
        save("TIFF", mode)
    save("TIFF", "RGB", compression="tiff_lzw")
    save("TIFF", "RGB", big_tiff=True)
    found.append(("TIFF", bbans.decompress(TILES.read_bytes()).data))
    for mode in ("L", "RGB", "RGBA"):
        save("TGA", mode)
        save("TGA", mode, compression="tga_rle")
    for mode in ("L", "RGB", "CMYK"):
        save("JPEG", mode)
    for array in (
        np.zeros((3, 4), np.uint8),
        np.arange(36, dtype=np.uint8).reshape(3, 4, 3),
        np.ones((2, 3), "<u2"),
        np.zeros((2, 2, 5)),
    ):
        file = io.BytesIO()
        np.save(file, array)
        found.append(("NPY", file.getvalue()))
    return found


# Changes, format by format


def make(rng: Random) -> bytes:
    format, data = rng.choice(seeds())
    other = rng.choice(seeds())[1]
    change = _CHANGES.get(format)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = change(rng, data, other) if change and rng.random() < 0.8 else edited(rng, data, other)
        if change and not data.startswith(_STARTS[format]):
            break
    return data


def _png(rng: Random, data: bytes, other: bytes) -> bytes:
    """With changed chunks, signed again."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    if not chunks:
        return edited(rng, data, other)
    place = rng.randrange(len(chunks))
    kind, body = chunks[place]
    match rng.randrange(8):
        case 0 | 1:
            kind, body = chunks[0]
            place = 0
            if rng.random() < 0.5:
                at = rng.choice([0, 4])
                body = body[:at] + struct.pack(">I", _side(rng, body[at : at + 4])) + body[at + 4 :]
            else:
                body = body[:8] + bytes(rng.choice([own, rng.randrange(17), 255]) for own in body[8:13])
            chunks[place] = kind, body
        case 2 if kind in (b"IDAT", b"fdAT", b"iCCP", b"zTXt"):
            skip = {b"fdAT": 4, b"iCCP": body.find(b"\0") + 2}.get(kind, 0)
            try:
                inside = zlib.decompress(body[skip:])
            except zlib.error:
                inside = b""
            inside = rng.choice([edited(rng, inside, other), inside + bytes(rng.choice([1, 1000, 1 << 22]))])
            packed = body[:skip] + zlib.compress(inside, rng.choice([0, 1, 9]))
            cut = rng.randrange(1 + len(packed))
            chunks[place : place + 1] = [(kind, packed)] if rng.random() < 0.6 else [(kind, packed[:cut]), (kind, packed[cut:])]
        case 3:
            chunks = rearranged(rng, chunks)
        case 4:
            kinds = [
                b"tRNS",
                b"PLTE",
                b"IDAT",
                b"acTL",
                b"fcTL",
                b"fdAT",
                b"IEND",
                b"gAMA",
                b"sRGB",
                b"iCCP",
                b"eXIf",
                b"CgBI",
                b"cICP",
            ]
            chunks.insert(place, (rng.choice([*kinds, rng.randbytes(4)]), some_bytes(rng)))
        case 5:
            numbers = struct.pack(">II", rng.choice(EDGES) & 0xFFFFFFFF, rng.choice(EDGES) & 0xFFFFFFFF)
            chunks.insert(place, (rng.choice([b"acTL", b"fcTL", b"pHYs"]), numbers + rng.choice([b"", bytes(1), bytes(18)])))
        case 6:
            chunks[place] = edited(rng, kind)[:4].ljust(4, b"x"), body
        case _:
            chunks[place] = kind, edited(rng, body, other)
    lie = rng.randrange(len(chunks) or 1) if rng.random() < 0.04 else -1
    made = data[:8]
    for place, (kind, body) in enumerate(chunks):
        size = _side(rng, bytes(4)) if place == lie else len(body)
        made += struct.pack(">I", size) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return made


def _side(rng: Random, field: bytes) -> int:
    return number(rng, int.from_bytes(field, "big")) & 0xFFFFFFFF


def _webp(rng: Random, data: bytes, other: bytes) -> bytes:
    """With changed chunks, and sizes that fit."""
    chunks, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    if not chunks:
        return edited(rng, data, other)
    place = rng.randrange(len(chunks))
    kind, body = chunks[place]
    match rng.randrange(5):
        case 0:
            chunks = rearranged(rng, chunks)
        case 1:
            kinds = [b"VP8L", b"VP8 ", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "]
            chunks.insert(place, (rng.choice(kinds), rng.choice([body, some_bytes(rng)])))
        case 2:
            start = {b"VP8L": 1, b"VP8X": 4, b"ANMF": rng.choice([0, 6, 12])}.get(kind, 0)
            size = rng.choice([3, 4])
            written = (rng.choice(EDGES) % (1 << 8 * size)).to_bytes(size, "little")
            chunks[place] = kind, body[:start] + written + body[start + size :]
        case _:
            chunks[place] = kind, edited(rng, body, other)
    inside = b"WEBP"
    for kind, body in chunks:
        size = number(rng, len(body)) & 0xFFFFFFFF if rng.random() < 0.02 else len(body)
        inside += kind + struct.pack("<I", size) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def _gif(rng: Random, data: bytes, other: bytes) -> bytes:
    """With other sides of the screen or of a frame, or other flags."""
    places = [6, 8, 10, *(at + step for at in range(len(data)) if data[at] == 0x2C for step in (1, 3, 5, 7, 9))]
    at = rng.choice(places)
    size = 1 if at == 10 else 2
    return data[:at] + (rng.choice(EDGES) % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :]


def _bmp(rng: Random, data: bytes, other: bytes) -> bytes:
    """With another number in the header."""
    at, size = rng.choice([(2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4), (50, 4)])
    before = int.from_bytes(data[at : at + size], "little")
    written = rng.choice([number(rng, before), -before, 1, 4, 8, 16, 24, 32]) % (1 << 8 * size)
    return data[:at] + written.to_bytes(size, "little") + data[at + size :]


def _pnm(rng: Random, data: bytes, other: bytes) -> bytes:
    """With another number in the header, or other space between them."""
    end = min(len(data), 70)
    places = [at for at in range(2, end) if data[at : at + 1].isdigit() and not data[at - 1 : at].isdigit()][:4]
    if not places:
        return edited(rng, data, other)
    at = rng.choice(places)
    to = next((to for to in range(at, end) if not data[to : to + 1].isdigit()), end)
    digits = b"%d" % rng.choice([number(rng, int(data[at:to])), 65535, 255, 1, 10**30])
    digits = rng.choice([digits, digits, digits, b"0" * 50 + digits, b"-" + digits, b"+" + digits, digits + b".0", b"#\n" + digits])
    return data[:at] + digits + rng.choice([b"", b"", b" ", b"\r", b"\n#\n", b"\0"]) + data[to:]


def _npy(rng: Random, data: bytes, other: bytes) -> bytes:
    """With another header, whose length fits."""
    end = 10 + int.from_bytes(data[8:10], "little")
    kind = rng.choice(["|u1", "<u1", ">u1", "<u2", ">f4", "<c16", "|O", "|b1", "|S5", "<M8[s]", "|V9", "u1,u1", "", "<i8"])
    shape = tuple(rng.choice([0, 1, 2, 3, 4, 9, -1, *rng.sample(EDGES, 2)]) for _ in range(rng.choice([0, 1, 2, 2, 3, 3, 4, 40])))
    order = rng.choice(["False", "False", "True", "0", "None"])
    header = f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"
    header = rng.choice([header, header, header, header.replace("}", ", 'more': 1}"), "[" * 500, header * 2, "(" * 20 + header])
    written = header.encode() + rng.choice([b"\n", b" " * 20 + b"\n", b""])
    if rng.random() < 0.2:
        written = edited(rng, data[10:end])
    return (
        data[:6]
        + rng.choice([b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\4\0"])
        + struct.pack("<H", len(written) & 0xFFFF)
        + written
        + data[end:]
    )


_CHANGES: dict[str, Callable[[Random, bytes, bytes], bytes]] = {
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "PPM": _pnm,
    "NPY": _npy,
}
_STARTS = {"PNG": b"\x89PNG\r\n\x1a\n", "WEBP": b"RIFF", "GIF": b"GIF8", "BMP": b"BM", "PPM": b"P", "NPY": b"\x93NUMPY"}


# What must hold


def check(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = _check_read(data)
        except UnsupportedImageError:
            info = probe_picture(data, max_pixels=MAX_PIXELS)
            pixels = info.width * info.height * info.frames
        if pixels <= SMALL_PIXELS:
            _check_kept(data)


def _check_read(data: bytes) -> int:
    """The number of samples of what is read."""
    picture = read_picture(data, max_pixels=MAX_PIXELS, any_kind=True)
    if read_picture(write_picture(picture), max_pixels=MAX_PIXELS, any_kind=True) != picture:
        raise Wrong("the picture that is written is another")
    if picture.bit_depth == 8 and picture.format not in ("TIFF", "PAM", "PGM", "PPM"):  # others scale, or turn white into black
        _check_by_others(data, picture.pixels)
    if picture.plain is not None and read_picture(data, max_pixels=MAX_PIXELS) != picture:
        raise Wrong("the picture of a plain PNG is another")
    return picture.pixels.size


def _check_by_others(data: bytes, pixels: Any) -> None:
    """They may refuse what they find in metadata, which we keep unseen, but they may not see another picture."""
    if data.startswith(_STARTS["NPY"]):
        theirs = np.load(io.BytesIO(data))
    else:
        try:
            with Image.open(io.BytesIO(data)) as image:
                theirs = np.asarray(image)
        except Exception:  # of any kind
            return
    theirs = theirs.reshape(*theirs.shape[:2], -1)
    if theirs.dtype == np.bool_:  # Pillow takes indices of a palette with few colours for black and white
        return
    if theirs.shape == pixels.shape and not np.array_equal(theirs, pixels):
        raise Wrong("others read another picture")


def _check_kept(data: bytes) -> None:
    restored = bbans.decompress(bbans.compress(data, mode="stored").data).data
    if restored != data and read_picture(restored, any_kind=True) != read_picture(data, any_kind=True):
        raise Wrong("another picture comes back")


# Files of arrays


def make_array(rng: Random) -> bytes:
    shape = tuple(rng.choice([1, 2, 5]) for _ in range(rng.choice([3, 3, 4])))
    array = np.frombuffer(rng.randbytes(int(np.prod(shape))), np.uint8).reshape(shape)
    file = io.BytesIO()
    kind = rng.randrange(3)
    if kind == 0:
        np.save(file, array)
        data = file.getvalue()
        data = _npy(rng, data, data) if rng.random() < 0.7 else edited(rng, data)
    elif kind == 1:
        sides = [changed_field(rng, ("varint", side))[1] & 0xFFFFFFFF if rng.random() < 0.3 else side for side in shape]
        axes = rng.choice([len(shape), len(shape), rng.randrange(256)])
        head = bytes([0, 0, rng.choice([8, 8, 8, 9, 0x0D, rng.randrange(256)]), axes])
        data = head + b"".join(struct.pack(">I", side) for side in sides) + array.tobytes()
    else:
        with zipfile.ZipFile(file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
            for place in range(rng.choice([1, 1, 2])):
                inner = io.BytesIO()
                np.save(inner, array)
                archive.writestr(f"a{place}.npy", inner.getvalue() if rng.random() < 0.5 else _npy(rng, inner.getvalue(), b""))
        return edited(rng, file.getvalue()) if rng.random() < 0.7 else file.getvalue()
    if rng.random() < 0.3:
        data = gzip.compress(data, mtime=0)
        return edited(rng, data) if rng.random() < 0.5 else data
    return data


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="vaezip-fuzz-"))


def check_array(data: bytes) -> None:
    path = _folder() / "array"
    path.write_bytes(data)
    array = read_array(path)
    if array.dtype not in (np.uint8, np.bool_) or array.ndim not in (3, 4) or not array.size:
        raise Wrong(f"images of {array.dtype} {array.shape}")


TARGETS = [
    Target("pictures", 190, make, check, (BbansError,), Limits(memory_bytes=128 << 20)),
    Target("arrays", 30, make_array, check_array, (UnsupportedImageError,), Limits(memory_bytes=64 << 20)),
]
