"""Files that hold their samples as they are, QOI, and WebP with alpha: kept as samples, and the file comes back byte for byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from PIL import Image

import bbans
from bbans import vaez
from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats import container
from bbans.formats import stored as stored_module
from bbans.images import headers, runs, tiff, tiffstrips
from bbans.images.picture import Picture, read_picture, write_picture
from bbans.results import Result
from tests import format_file_decoder

SHAPE = (24, 29)
SMOOTH = (np.add.outer(np.arange(24) ** 2, 3 * np.arange(29))[..., None] // 2 + 40 * np.arange(4)).astype(np.uint8)
WIDE = np.add.outer(700 * np.arange(24), 900 * np.arange(29)).astype(np.uint16)[..., None] + np.arange(3, dtype=np.uint16)
BITS = SMOOTH[..., :1] >> 7


def pillow(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def qoi(samples: np.ndarray, space: int) -> bytes:
    data = bytes(imagecodecs.qoi_encode(np.ascontiguousarray(samples)))
    return data[:13] + bytes([space]) + data[14:]


def tga(kind: int, bits: int, flags: int, rows: bytes, palette: bytes = b"", id: bytes = b"", after: bytes = b"") -> bytes:
    fields = (len(id), bool(palette), kind, 0, len(palette) // 3, 24 * bool(palette), 0, 0, SHAPE[1], SHAPE[0], bits, flags)
    return struct.pack("<BBBHHBHHHHBB", *fields) + id + palette + rows + after


def tiff_of(
    samples: np.ndarray,
    strips: int = 3,
    end: str = "<",
    before: bytes = b"",
    after: bytes = b"",
    packed: list[bytes] | None = None,
    gap: bytes = b"",
    big: bool = False,
    tiles: tuple[int, int] | None = None,
    **tags: list[int],
) -> bytes:
    """A TIFF, or a BigTIFF, with its strips, or tiles of that many rows and columns, before its directory."""
    height, width, channels = samples.shape
    rows = -(-height // strips)
    wide = samples.dtype == np.uint16
    packed = packed or [samples[top : top + rows].astype(end + "u2" if wide else "u1").tobytes() for top in range(0, height, rows)]
    word, spelling = (8, "Q") if big else (4, "I")
    data = (
        (b"II" if end == "<" else b"MM")
        + struct.pack(end + "H", 43 if big else 42)
        + (struct.pack(end + "HH", 8, 0) if big else b"")
    )
    at, offsets = len(data), []
    data += bytes(word) + before
    for strip in packed:
        offsets.append(len(data))
        data += strip + gap
    entries = {
        256: [width],
        257: [height],
        258: [16 if wide else 8] * channels,
        259: [1],
        262: [2 if channels > 2 else 1],
        324 if tiles else 273: offsets,
        277: [channels],
        325 if tiles else 279: [len(strip) for strip in packed],
    }
    entries |= {322: [tiles[1]], 323: [tiles[0]]} if tiles else {278: [rows]}
    entries |= {int(name[3:]): value for name, value in tags.items()}
    place = len(data) + len(data) % 2
    directory, beside = struct.pack(end + ("Q" if big else "H"), len(entries)), b""
    heap = place + len(directory) + (4 + 2 * word) * len(entries) + word
    for tag, values in sorted(entries.items()):
        body = struct.pack(f"{end}{len(values)}{spelling}", *values)
        directory += struct.pack(f"{end}HH{spelling}", tag, 16 if big else 4, len(values))
        directory += body if len(body) <= word else struct.pack(end + spelling, heap + len(beside))
        beside += body if len(body) > word else b""
    data = data[:at] + struct.pack(end + spelling, place) + data[at + word :] + bytes(place - len(data))
    return data + directory + bytes(word) + beside + after


def deflated(samples: np.ndarray, deflate: Callable[[bytes], bytes], end: str = "<") -> bytes:
    """A TIFF of differences (predictor 2) in compressed strips of 10 rows, with a gap after each."""
    difference = samples.copy()
    difference[:, 1:] -= samples[:, :-1]
    kind = end + "u2" if samples.dtype == np.uint16 else "u1"
    strips = [bytes(deflate(difference[top : top + 10].astype(kind).tobytes())) for top in range(0, len(samples), 10)]
    return tiff_of(samples, end=end, before=b"gap", packed=strips, gap=b"!", tag259=[8], tag317=[2], tag278=[10])


def tiled(
    samples: np.ndarray,
    encode: Callable[[bytes], bytes] = bytes,
    compression: int = 1,
    end: str = "<",
    predictor: int = 1,
    from_before: bool = False,
    gap: bytes = b"",
) -> bytes:
    """A TIFF of tiles of 16 x 16, by hand."""
    height, width, channels = samples.shape
    tile, packed = np.zeros((16, 16, channels), samples.dtype), []
    for top in range(0, height, 16):
        for left in range(0, width, 16):
            part = samples[top : top + 16, left : left + 16]
            tile = tile.copy() if from_before else np.zeros_like(tile)
            tile[: len(part), : part.shape[1]] = part
            coded = np.concatenate([tile[:, :1], np.diff(tile, axis=1)], axis=1) if predictor == 2 else tile
            packed.append(encode(coded.astype(end + "u2" if samples.dtype == np.uint16 else "u1").tobytes()))
    return tiff_of(samples, end=end, packed=packed, gap=gap, tiles=(16, 16), tag259=[compression], tag317=[predictor])


def by_pillow(compression: str, channels: int) -> Callable[[bytes], bytes]:
    """What libtiff makes of a tile."""

    def encode(tile: bytes) -> bytes:
        image = Image.frombytes("L", (16 * channels, 16), tile)
        data = pillow(image, "TIFF", compression=compression, tiffinfo={278: 16})
        tags = tiff.parse(data).tags
        return data[tags[273][0] : tags[273][0] + tags[279][0]]

    return encode


RGB, RGBA, GRAY = SMOOTH[..., :3], SMOOTH, SMOOTH[..., :1]
RUNS = RGB // 64 * 64
BGR = np.ascontiguousarray(RGB[..., ::-1])
BGRA = np.ascontiguousarray(RGBA[..., [2, 1, 0, 3]])
PALETTE = bytes(range(256)) * 3
BMP_32 = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + RGBA.size, 0, 0, 54, 40, 29, -24, 1, 32, 0, 0, 0, 0, 0, 0) + BGRA.tobytes()

FILES: dict[str, tuple[bytes, np.ndarray, str, int]] = {  # name: (file, samples, format, bit depth)
    "ppm, 16 bits": (b"P6\n29 24\n65535\n" + WIDE.astype(">u2").tobytes(), WIDE, "PPM", 16),
    "pgm, 12 bits": (b"P5 29 24 4095\n" + (WIDE[..., :1] >> 4).astype(">u2").tobytes(), WIDE[..., :1] >> 4, "PGM", 16),
    "pgm, a small maximum": (b"P5 29 24 254\n" + (GRAY // 2).tobytes(), GRAY // 2, "PGM", 8),
    "ppm with a tail": (b"P6 29 24 255\n" + RGB.tobytes() + b"tail", RGB, "PPM", 8),
    "pbm": (b"P4 # bits\n29 24\n" + np.packbits(BITS[..., 0], axis=1).tobytes(), BITS, "PBM", 1),
    "pam, alpha": (
        b"P7\nWIDTH 29\nHEIGHT 24\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\n# made by hand\nENDHDR\n" + RGBA.tobytes(),
        RGBA,
        "PAM",
        8,
    ),
    "pam, 16 bits": (b"P7\nHEIGHT 24\nWIDTH 29\nMAXVAL 999\nDEPTH 3\nENDHDR\n" + WIDE.astype(">u2").tobytes(), WIDE, "PAM", 16),
    "npy, 16 bits": (npy(WIDE[..., 0]), WIDE[..., :1], "NPY", 16),
    "npy, high byte first": (npy(WIDE.astype(">u2")), WIDE, "NPY", 16),
    "npy, alpha": (npy(RGBA), RGBA, "NPY", 8),
    "npy, two channels": (npy(np.ascontiguousarray(RGBA[..., 2:])), RGBA[..., 2:], "NPY", 8),
    "bmp, bits": (pillow(Image.fromarray(BITS[..., 0] > 0), "BMP"), BITS, "BMP", 1),
    "bmp, gray": (pillow(Image.fromarray(GRAY[..., 0]), "BMP"), GRAY, "BMP", 8),
    "bmp, 32 bits": (BMP_32, RGBA, "BMP", 8),
    "bmp with a tail": (pillow(Image.fromarray(RGB), "BMP") + b"tail", RGB, "BMP", 8),
    "tga, RGB": (pillow(Image.fromarray(RGB), "TGA"), RGB, "TGA", 8),
    "tga, alpha": (pillow(Image.fromarray(RGBA), "TGA"), RGBA, "TGA", 8),
    "tga, gray, from the bottom": (tga(3, 8, 0, GRAY[::-1].tobytes(), id=b"a note"), GRAY, "TGA", 8),
    "tga, palette": (tga(1, 8, 0x20, GRAY.tobytes(), PALETTE), GRAY, "TGA", 8),
    "tga, runs": (pillow(Image.fromarray(RUNS), "TGA", compression="tga_rle"), RUNS, "TGA", 8),
    "tga, runs of gray": (tga(11, 8, 0x20, runs.encode(GRAY[..., 0], 1), after=b"a tail"), GRAY, "TGA", 8),
    "tga, runs of a palette": (tga(9, 8, 0, runs.encode(GRAY[::-1, :, 0], 1), PALETTE), GRAY, "TGA", 8),
    "tga, old": (tga(2, 24, 0, BGR[::-1].tobytes()), RGB, "TGA", 8),
    "tiff, RGB": (pillow(Image.fromarray(RGB), "TIFF"), RGB, "TIFF", 8),
    "tiff, alpha": (pillow(Image.fromarray(RGBA), "TIFF", dpi=(72, 72)), RGBA, "TIFF", 8),
    "tiff, CMYK": (pillow(Image.fromarray(RGBA, "CMYK"), "TIFF"), RGBA, "TIFF", 8),
    "tiff, 16 bits": (pillow(Image.fromarray(WIDE[..., 0]), "TIFF"), WIDE[..., :1], "TIFF", 16),
    "tiff, bits": (pillow(Image.fromarray(BITS[..., 0] > 0), "TIFF"), BITS, "TIFF", 1),
    "tiff, big-endian": (tiff_of(WIDE, 5, ">", before=b"mark"), WIDE, "TIFF", 16),
    "tiff, strips": (tiff_of(RGB, 5, after=b"a tail"), RGB, "TIFF", 8),
    "tiff, big": (tiff_of(RGB, 5, big=True), RGB, "TIFF", 8),
    "tiff, big, big-endian": (tiff_of(WIDE, 1, ">", big=True), WIDE, "TIFF", 16),
    "tiff, LZW": (pillow(Image.fromarray(RGB), "TIFF", compression="tiff_lzw", tiffinfo={278: 7}), RGB, "TIFF", 8),
    "tiff, LZW of differences": (pillow(Image.fromarray(RGBA), "TIFF", compression="tiff_lzw", tiffinfo={317: 2}), RGBA, "TIFF", 8),
    "tiff, LZW of bits": (pillow(Image.fromarray(BITS[..., 0] > 0), "TIFF", compression="tiff_lzw"), BITS, "TIFF", 1),
    "tiff, PackBits": (pillow(Image.fromarray(GRAY[..., 0]), "TIFF", compression="packbits", tiffinfo={278: 5}), GRAY, "TIFF", 8),
    "tiff, deflate": (deflated(WIDE, lambda strip: zlib.compress(strip, 9)), WIDE, "TIFF", 16),
    "tiff, libdeflate": (deflated(RGB, lambda strip: imagecodecs.deflate_encode(strip, level=6, raw=False), ">"), RGB, "TIFF", 8),
    "tiff, tiles": (tiled(RGB), RGB, "TIFF", 8),
    "tiff, tiles of before": (tiled(WIDE, from_before=True, predictor=1), WIDE, "TIFF", 16),
    "tiff, tiles, big-endian": (tiled(WIDE, end=">", gap=b"!"), WIDE, "TIFF", 16),
    "tiff, tiles, deflate": (tiled(WIDE, zlib.compress, 8, predictor=2, from_before=True), WIDE, "TIFF", 16),
    "tiff, tiles, LZW": (tiled(RGBA, by_pillow("tiff_lzw", 4), 5, predictor=2), RGBA, "TIFF", 8),
    "tiff, tiles, PackBits": (tiled(GRAY, by_pillow("packbits", 1), 32773, from_before=True), GRAY, "TIFF", 8),
    "qoi": (qoi(RGB, 0), RGB, "QOI", 8),
    "qoi, linear": (qoi(RGBA, 1), RGBA, "QOI", 8),
}


@pytest.mark.parametrize("name", FILES)
def test_files_come_back(name: str) -> None:
    data, samples, format, bit_depth = FILES[name]
    picture = read_picture(data, any_kind=True)
    assert (picture.format, picture.bit_depth) == (format, bit_depth)
    assert picture.pixels.dtype == samples.dtype and np.array_equal(picture.pixels, samples)
    assert write_picture(picture) == data
    result = bbans.compress(data, mode="stored")
    assert result.info.restores == "file" and len(result.data) <= len(data) + 64
    restored = bbans.decompress(result)
    assert restored.data == data and restored.note is None


@pytest.mark.parametrize("name", ["tga, RGB", "tiff, alpha", "npy, 16 bits", "pam, alpha", "bmp, 32 bits", "pgm, 12 bits", "qoi"])
def test_their_samples_are_coded(name: str) -> None:
    """A gradient: its samples are far smaller than its file by LZMA."""
    data = FILES[name][0]
    info = bbans.compress(data, mode="stored").info
    assert info.method in ("jxl", "webp", "rows_lzma")
    assert info.file_bytes < 0.6 * len(data)


@pytest.mark.parametrize(
    "name", [name for name, (_, _, format, depth) in FILES.items() if format not in ("PAM", "NPY") and depth == 8]
)
def test_samples_are_those_that_pillow_sees(name: str) -> None:
    """Where Pillow's image has as many channels, and no palette."""
    data, samples, _, _ = FILES[name]
    with Image.open(io.BytesIO(data)) as image:
        seen = np.asarray(image)
    seen = seen.reshape(*seen.shape[:2], -1)
    if name == "pgm, a small maximum":
        seen = (seen.astype(int) * 254 + 127) // 255
    assert name == "bmp, 32 bits" or seen.shape == samples.shape
    if seen.shape == samples.shape:
        assert np.array_equal(seen, samples)


def stored(picture: Picture, metadata: bytes) -> bytes:
    """A file with changed metadata whose checks hold."""
    changed = Picture(picture.pixels, picture.format, metadata, picture.bit_depth)
    made = vaez.store(vaez.Source(bytes(1 << 20), changed, changed.format, *changed.pixels.shape, changed.bit_depth))
    return container.pack(made)


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("qoi")])
def test_changed_metadata_is_refused_or_gives_a_file_of_the_format(name: str) -> None:
    picture = read_picture(FILES[name][0], any_kind=True)
    rng, errors = np.random.default_rng(8), 0
    for _ in range(40):
        metadata = bytearray(picture.metadata or b"\0\0\4head")
        for place in rng.integers(0, min(len(metadata), 32), 2):  # beyond may be a palette
            metadata[place] = rng.integers(0, 256)
        changed = Picture(picture.pixels, picture.format, bytes(metadata), picture.bit_depth)
        try:
            file = write_picture(changed)
        except CorruptDataError:
            errors += 1
        else:
            again = read_picture(file, any_kind=True)
            assert (again.format, again.pixels.shape) == (picture.format, picture.pixels.shape)
            assert np.array_equal(again.pixels, picture.pixels)
    assert errors > 3


def test_metadata_of_another_picture_in_a_file() -> None:
    picture = read_picture(FILES["tiff, RGB"][0], any_kind=True)
    other = read_picture(FILES["tiff, alpha"][0], any_kind=True).metadata
    with pytest.raises(CorruptDataError, match="metadata"):
        bbans.decompress(stored(picture, other))
    for metadata in (b"", b"\0", b"\0\4\0", b"\0\0\xff\1"):
        with pytest.raises(CorruptDataError, match="metadata"):
            write_picture(Picture(picture.pixels, "TIFF", metadata))


LOCATE: list[tuple[Callable[[bytes], object], bytes, str]] = [
    (headers.pbm, b"P4 29", "broken"),
    (headers.pgm, b"P6 29 24 255\n", "broken"),
    (headers.ppm, b"P6 29 24 65536\n", "broken"),
    (headers.ppm, b"P6 29 24 0\n", "broken"),
    (headers.pam, b"P7\nWIDTH 29\nHEIGHT 24\nDEPTH 3\nENDHDR\n", "broken"),
    (headers.pam, b"P7\nWIDTH 29\nHEIGHT 24\nDEPTH 5\nMAXVAL 255\nENDHDR\n", "5 channels"),
    (headers.bmp, b"BM", "cut short"),
    (headers.bmp, BMP_32[:28] + b"\x10" + BMP_32[29:], "16-bit BMP"),
    (headers.bmp, BMP_32[:30] + b"\x03" + BMP_32[31:], "with compression"),
    (headers.tga, bytes(17), "cut short"),
    (headers.tga, tga(12, 24, 0, b""), "of this kind"),
    (headers.tga, tga(2, 24, 0x10, b""), "of this kind"),
    (headers.tga, tga(1, 8, 0, b""), "of this kind"),
    (tiff.locate, b"II,\0" + bytes(12), "signature"),
    (tiff.locate, b"II+\0" + bytes(12), "not of 8 bytes"),
    (tiff.locate, b"II+\0\x08\0\0\0" + b"\xff" * 8, "directory"),
    (tiff.locate, b"II*\0\xff\xff\xff\xff", "directory"),
    (tiff.locate, tiff_of(RGB)[:-60], "directory"),
    (tiff.locate, tiff_of(RGB, tag259=[5]), "compression 5"),
    (tiff.locate, tiff_of(RGB, tag258=[8, 8, 4]), "tag 258"),
    (tiff.locate, tiff_of(RGB, tag262=[6]), "of this kind"),
    (tiff.locate, tiff_of(RGB, tag284=[2]), "of this kind"),
    (tiff.locate, tiff_of(RGB, tag339=[3, 3, 3]), "of this kind"),
    (tiff.locate, tiff_of(RGB, tag279=[8, 8, 8]), "not its picture"),
    (tiff.locate, tiff_of(RGB, 2, tag273=[8, 9]), "follow one another"),
    (tiff.locate, tiff_of(RGB, 2, tag273=[8]), "without strips"),
    (tiff.locate, tiff_of(RGB, tag256=[30]), "not its picture"),
]


@pytest.mark.parametrize(("locate", "data", "cause"), LOCATE)
def test_other_kinds_are_refused_by_name(locate: Callable[[bytes], object], data: bytes, cause: str) -> None:
    with pytest.raises(UnsupportedImageError, match=cause):
        locate(data)


STRIPS = [
    name
    for name in FILES
    if name.startswith("tiff, ") and (how := read_picture(FILES[name][0], any_kind=True).metadata)[0] & 8 and how[1]
]
"""Those that are compressed."""


@pytest.mark.parametrize("name", STRIPS)
def test_where_libraries_write_other_strips_pixels_and_tags_come_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, samples, _, _ = FILES[name]
    picture = read_picture(data, any_kind=True)
    payload = stored_module.encode_picture(container.StoredMethod.ROWS_LZMA, picture)
    packed = vaez.stored_container(vaez.picture_source(data, picture), container.StoredMethod.ROWS_LZMA, payload)
    encoded = tiffstrips._encoded
    monkeypatch.setattr(tiffstrips, "_encoded", lambda *args: (strip + b"\0" for strip in encoded(*args)))
    restored = vaez.restore(packed, None)
    monkeypatch.undo()
    assert restored.note == vaez.OTHER_STRIPS and restored.data != data
    assert np.array_equal(read_picture(restored.data, any_kind=True).pixels, samples)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(restored.data)) as after:
        assert (after.mode, after.size, after.tobytes()) == (before.mode, before.size, before.tobytes())
        changed = {key for key in before.tag_v2 if before.tag_v2[key] != after.tag_v2[key]}
        assert before.tag_v2.keys() == after.tag_v2.keys() and changed <= {259, 273, 279, 317, 324, 325}


def test_a_tiff_of_cmyk_is_not_said_to_have_alpha() -> None:
    kinds = {name: read_picture(FILES[f"tiff, {name}"][0], any_kind=True).kind for name in ("CMYK", "alpha", "RGB")}
    assert kinds == {"CMYK": "8-bit four-channel TIFF", "alpha": "8-bit four-channel TIFF", "RGB": "8-bit RGB TIFF"}


@pytest.mark.parametrize("name", [name for name in FILES if "tiles" in name])
def test_tiles_are_those_of_the_specification(name: str) -> None:
    data, samples, _, _ = FILES[name]
    assert format_file_decoder.decode(bbans.compress(data, mode="stored").data, lambda *_: samples).file == data


def test_tiles_of_a_lying_size_are_refused() -> None:
    data, samples, _, _ = FILES["tiff, tiles"]
    for size in (0, 1, 1 << 20, 1 << 31):
        for tag in (322, 323):
            place, spelling = tiff.parse(data).places[tag]
            lying = bytearray(data)
            struct.pack_into(spelling, lying, place, size)
            with pytest.raises(UnsupportedImageError):
                read_picture(bytes(lying), any_kind=True)
    picture = read_picture(data, any_kind=True)
    assert picture.metadata[11:13] == bytes([16, 16])
    for rows, width in [(0, 16), (16, 0), (1, 1), (16, 15), (32, 16)]:
        metadata = picture.metadata[:11] + bytes([rows, width]) + picture.metadata[13:]
        with pytest.raises(CorruptDataError):
            write_picture(Picture(samples, "TIFF", metadata))


def test_tiles_with_something_beside_their_picture_are_kept_as_their_file() -> None:
    data = bytearray(FILES["tiff, tiles"][0])
    tags = tiff.parse(bytes(data)).tags
    data[tags[324][-1] + tags[325][-1] - 1] = 1
    with pytest.raises(UnsupportedImageError, match="bits beside its picture"):
        read_picture(bytes(data), any_kind=True)
    assert bbans.decompress(bbans.compress(bytes(data), mode="stored")).data == data


def test_strips_with_bits_after_their_rows_are_kept_as_their_file() -> None:
    """They compressed to what the check after compression refused."""
    rows = np.packbits(BITS[..., 0], axis=1)
    rows[:, -1] |= 1
    data = tiff_of(BITS, packed=[zlib.compress(rows.tobytes())], tag258=[1], tag259=[8], tag278=[24])
    with pytest.raises(UnsupportedImageError, match="bits beside its picture"):
        read_picture(data, any_kind=True)
    assert bbans.decompress(bbans.compress(data, mode="stored")).data == data


def test_strips_by_another_encoder_are_kept_as_their_file() -> None:
    data = deflated(RGB, lambda strip: zlib.compressobj(6, memLevel=1).compress(strip) + b"")
    with pytest.raises(UnsupportedImageError, match="broken"):
        read_picture(data, any_kind=True)

    def short(strip: bytes) -> bytes:
        deflate = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
        return deflate.compress(strip) + deflate.flush()

    data = deflated(RGB, short)
    with pytest.raises(UnsupportedImageError, match="encoder that is not known"):
        read_picture(data, any_kind=True)
    assert bbans.decompress(bbans.compress(data, mode="stored")).data == data


@pytest.mark.parametrize("values", [2, 9, 200])
@pytest.mark.parametrize("width", [1, 2, 127, 128, 129, 130, 255, 257, 600])
def test_runs_are_those_of_pillow(width: int, values: int) -> None:
    """Of random runs, whose lengths are mostly short, or near the longest that a packet holds."""
    rng = np.random.default_rng(width * values)
    lengths = rng.choice([1, 1, 1, 2, 3, 127, 128, 129, 256, 257], (8, width))
    rows = np.stack([np.repeat(rng.integers(0, values, (width, 3), np.uint8), own, axis=0)[:width] for own in lengths])
    data = pillow(Image.fromarray(rows), "TGA", compression="tga_rle")
    picture = read_picture(data)
    assert np.array_equal(picture.pixels, rows) and write_picture(picture) == data


def test_other_packets_are_kept_as_their_file() -> None:
    """A run of two as pixels as they are, one across rows, and packets that end early."""
    rows = np.zeros((SHAPE[0], SHAPE[1]), np.uint8)
    single = b"".join(bytes([SHAPE[1] - 1]) + row.tobytes() for row in rows)
    across = (b"\xff\0" * (rows.size // 128)) + bytes([127 + rows.size % 128, 0])
    for packets, cause in [
        (single, "other packets"),
        (across, "across its rows"),
        (runs.encode(rows, 1)[:-1], "cut short"),
        (b"", "cut short"),
    ]:
        data = tga(11, 8, 0x20, packets)
        with pytest.raises(UnsupportedImageError, match=cause):
            read_picture(data, any_kind=True)
        if cause == "other packets":  # Pillow reads none of the others
            assert bbans.decompress(bbans.compress(data, mode="stored")).data == data


def test_refused_files_are_kept_as_they_are() -> None:
    """Bits between rows; much more than a picture; cut short."""
    odd = bytearray(FILES["bmp, gray"][0])
    odd[-1] = 7
    for data, cause in [
        (bytes(odd), "bits between its rows"),
        (pillow(Image.fromarray(RGB[:2]), "BMP") + bytes(9000), "beside its picture"),
    ]:
        with pytest.raises(UnsupportedImageError, match=cause):
            read_picture(data, any_kind=True)
        assert bbans.decompress(bbans.compress(data, mode="stored")).data == data
    for name in ("ppm, 16 bits", "tga, RGB", "tiff, bits", "qoi", "pbm"):
        data = FILES[name][0]
        with pytest.raises(UnsupportedImageError):
            read_picture(data[: len(data) // 2], any_kind=True)


def test_qoi_by_another_encoder_is_kept_as_it_is() -> None:
    """The first pixel as RGB again where the specification's encoder makes a run."""
    data = qoi(np.full((1, 3, 3), (9, 8, 7), np.uint8), 0)
    other = data[:14] + b"\xfe\x09\x08\x07" * 3 + bytes(7) + b"\1"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(other))), np.asarray(Image.open(io.BytesIO(data))))
    with pytest.raises(UnsupportedImageError, match="encoder of its own"):
        read_picture(other, any_kind=True)
    assert bbans.decompress(bbans.compress(other, mode="stored")).data == other
    for changed in (data[:12] + b"\5" + data[13:], data[:13] + b"\2" + data[14:], data[:9], data[:-9]):
        with pytest.raises(UnsupportedImageError):
            read_picture(changed, any_kind=True)
    with pytest.raises(CorruptDataError, match="QOI"):
        write_picture(Picture(np.zeros((1, 3, 3), np.uint8), "QOI", b"\2"))


def webp(samples: np.ndarray, **options: object) -> bytes:
    return pillow(Image.fromarray(samples), "WEBP", lossless=True, exact=True, **options)


def test_webp_with_alpha_is_kept_as_samples() -> None:
    hidden = RGBA.copy()
    hidden[:9, :, 3] = 0  # colours under full transparency
    data = webp(hidden, exif=b"Exif\0\0II*\0" + bytes(8))
    picture = read_picture(data, any_kind=True)
    assert np.array_equal(picture.pixels, hidden) and picture.kind == "8-bit RGB and alpha WEBP"
    assert read_picture(write_picture(picture), any_kind=True) == picture
    with pytest.raises(UnsupportedImageError, match="alpha channel would be lost"):
        read_picture(data)
    result: Result = bbans.compress(webp(hidden), mode="stored")
    again = bbans.decompress(result).data
    assert read_picture(again, any_kind=True) == read_picture(webp(hidden), any_kind=True)


def test_webp_that_disagrees_about_alpha_is_kept_as_its_file() -> None:
    opaque = bytearray(webp(RGB))
    opaque[24] |= 0x10  # the header of VP8L says that there is alpha
    said = bytearray(webp(RGBA, exif=b"Exif\0\0II*\0" + bytes(8)))
    said[20] &= ~0x10
    for data, cause in [(bytes(opaque), "nothing but 255"), (bytes(said), "disagree")]:
        with pytest.raises(UnsupportedImageError, match=cause):
            read_picture(data, any_kind=True)
        assert bbans.decompress(bbans.compress(data, mode="stored")).data == data
    with pytest.raises(CorruptDataError, match="nothing but 255"):
        write_picture(Picture(np.full((2, 2, 4), 255, np.uint8), "WEBP"))
