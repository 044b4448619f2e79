"""JPEG files: byte for byte, smaller where libjxl takes them, and as they are where not."""

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bbans
from bbans import vaez
from bbans.errors import CorruptDataError, FormatError, UnsupportedImageError
from bbans.formats import container, jpeg, jxl
from bbans.formats.container import Container, Section, SectionKind

SAMPLE = Path(__file__).parents[2] / "cli" / "samples" / "valley.png"


def save(mode: str = "RGB", size: tuple[int, int] = (240, 180), **options: object) -> bytes:
    file = io.BytesIO()
    with Image.open(SAMPLE) as image:
        image.crop((100, 120, 100 + size[0], 120 + size[1])).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


FILES = {
    "baseline": save(),
    "4:4:4": save(quality=95, subsampling=0),
    "4:2:2": save(subsampling=1),
    "progressive": save(progressive=True),
    "gray": save("L", quality=90),
    "optimised": save(optimize=True),
    "restart markers": save(restart_marker_rows=1),
    "a comment and Exif": save(comment=b"sea", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0"),
    "broken Exif": save(exif=b"Exif\0\0no Exif"),
    "a tail": save() + b"what a camera left here",
    "odd sides": save(size=(239, 177)),
}
REFUSED = {"CMYK": save("CMYK"), "a broken profile": save(icc_profile=bytes(500)), "a long tail": save() + bytes(1 << 20)}


@pytest.mark.parametrize("name", FILES)
def test_smaller_and_byte_for_byte(name: str) -> None:
    data = FILES[name]
    result = bbans.compress(data, mode="stored")
    assert result.info.method == "jpeg" and len(result.data) < 0.99 * len(data)
    assert bbans.decompress(result).data == data
    assert bbans.compress(data).info.method == "jpeg"


@pytest.mark.parametrize("name", REFUSED)
def test_what_libjxl_does_not_take_is_kept_as_it_is(name: str) -> None:
    data = REFUSED[name]
    result = bbans.compress(data, mode="stored")
    assert result.info.method in ("file", "file_lzma") and len(result.data) <= len(data) + 64
    assert bbans.decompress(result).data == data


def test_a_tiny_jpeg_is_not_larger() -> None:
    data = save(size=(1, 1))
    result = bbans.compress(data, mode="stored")
    assert len(result.data) <= len(data) + 64 and bbans.decompress(result).data == data


def kept(data: bytes = FILES["baseline"]) -> Container:
    return container.unpack(bbans.compress(data, mode="stored").data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_bytes": 1 << 40}, "limit"),
        ({"source_bytes": 1 << 31}, "too many for"),
        ({"source_bytes": 10}, "pixels"),
        ({"height": 1 << 14, "width": 1 << 13}, "too many"),
        ({"height": 181}, "of the header"),
        ({"height": 240, "width": 180}, "of the header"),
    ],
)
def test_claims_are_checked_before_decoding(change: dict[str, int], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept()
    monkeypatch.setattr(jpeg, "codec", None)  # whoever calls it fails
    with pytest.raises(CorruptDataError, match=message):
        vaez.restore(replace(made, **change), None)


def test_one_byte_more_or_less() -> None:
    made = kept()
    for size in (made.source_bytes - 1, made.source_bytes + 1):
        with pytest.raises(CorruptDataError):
            vaez.restore(replace(made, source_bytes=size), None)


def test_a_codestream_that_claims_more_than_the_header() -> None:
    """The size in the boxes is that of the header, or nothing is decoded."""
    made = kept()
    [payload] = made.bodies(SectionKind.PAYLOAD)
    old, new = jxl.headers(180, 240, 3, 8)[:4], jxl.headers(60_000, 60_000, 3, 8)[:4]
    assert payload.count(old) == 1
    with pytest.raises(CorruptDataError, match="of the header"):
        jpeg.decode(payload.replace(old, new), made.source_bytes, 180, 240)


def test_changed_and_signed_again() -> None:
    made = kept()
    [payload] = made.bodies(SectionKind.PAYLOAD)
    rng = np.random.default_rng(0)
    for _ in range(400):
        body = bytearray(payload)
        body[rng.integers(400 if rng.random() < 0.7 else len(body))] ^= 1 << rng.integers(8)
        changed = replace(made, sections=(Section(SectionKind.PAYLOAD, bytes(body)),))
        with suppress(FormatError):
            assert vaez.restore(container.unpack(container.pack(changed)), None).data == FILES["baseline"]
    for end in range(0, len(payload), 97):
        with pytest.raises(CorruptDataError):
            jpeg.decode(payload[:end], made.source_bytes, 180, 240)


def test_metadata_beside_a_jpeg() -> None:
    made = kept()
    with pytest.raises(CorruptDataError, match="metadata"):
        vaez.restore(replace(made, sections=(Section(SectionKind.METADATA, b"x"), *made.sections)), None)


def test_a_libjxl_that_errs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes is decoded at once."""
    monkeypatch.setattr(jpeg, "decode", lambda *_: b"another file")
    with pytest.raises(UnsupportedImageError, match="does not come back"):
        jpeg.encode(FILES["baseline"], 180, 240)
    monkeypatch.undo()
    with pytest.raises(UnsupportedImageError, match="not a JPEG"):
        jpeg.encode(b"RIFF", 1, 1)


def test_boxes_that_do_not_fill_the_file() -> None:
    for data in (b"\0\0\0\x07abcd", b"\0\0\0\x09abcd", b"\0\0\0\1abcd\0\0\0\0\0\0\0\x0f", b"\0"):
        with pytest.raises(CorruptDataError, match="boxes"):
            list(jxl.boxes(data))
    assert list(jxl.boxes(b"\0\0\0\0jxlcxy")) == [(b"jxlc", b"xy")]
    assert list(jxl.boxes(b"\0\0\0\1jxlp\0\0\0\0\0\0\0\x16\0\0\0\0xy")) == [(b"jxlp", b"xy")]


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 50), (41, 50), (256, 512), (1 << 20, 7), (7, 1 << 29)])
def test_the_size_in_headers(size: tuple[int, int]) -> None:
    assert jxl.read_size(jxl.headers(*size, 3, 8) + bytes(9)) == size
    with pytest.raises(CorruptDataError):
        jxl.read_size(b"\xff\x0a")
