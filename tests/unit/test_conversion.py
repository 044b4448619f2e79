"""Pictures that were luma and chroma: as libraries make them, found and converted again; files, and what is wrong in them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import bbans
from bbans import vaez
from bbans._core import conversion as core
from bbans.errors import CorruptDataError, UnsupportedVersionError
from bbans.formats import container
from bbans.formats.container import Section, SectionKind
from bbans.images import conversion
from bbans.images.conversion import CONVERSIONS, JFIF, WEBP, Conversion, Sources
from bbans.images.picture import Picture, read_picture, write_picture
from tests.format_file_decoder import Input, converted
from tests.models import codec, picture

Samples = NDArray[np.uint8]
VALLEY = Path(__file__).parents[2] / "cli" / "samples" / "valley.png"


def by_pillow(pixels: Samples, format: str, **options: int) -> Samples:
    """What comes of pixels that were kept with losses."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def vivid(height: int, width: int) -> Samples:
    """A picture that has pixels of which R, G or B is clipped when they are converted."""
    y, x = np.mgrid[:height, :width]
    colours = np.stack([2 * x + y % 7, 3 * y - x % 5, 255 - 2 * x], axis=2)
    return np.clip(colours + np.random.default_rng(3).normal(0, 4, colours.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("number", CONVERSIONS)
def test_tables_are_as_specified(number: int) -> None:
    """All chroma of some luma, whatever comes of it; and all luma of some chroma."""
    chroma = np.arange(256)
    for luma in (0, 1, 16, 127, 128, 200, 235, 255):
        samples = np.stack(np.broadcast_arrays(chroma[:, None], luma, chroma), axis=2).astype(np.uint8)
        assert np.array_equal(conversion.convert(samples.copy(), bytes([number])), converted(samples, Input(bytes([number]))))
    samples = np.stack(np.broadcast_arrays(chroma, chroma[::-1, None], chroma[::-1]), axis=2).astype(np.uint8)
    assert np.array_equal(conversion.convert(samples.copy(), bytes([number])), converted(samples, Input(bytes([number]))))


@pytest.mark.parametrize(
    ("by", "format", "options"),
    [
        (JFIF, "JPEG", {"quality": 90}),
        (JFIF, "JPEG", {"quality": 95, "subsampling": 0}),
        (JFIF, "JPEG", {"quality": 60, "subsampling": 1}),
        (WEBP, "WEBP", {"quality": 80}),
    ],
)
@pytest.mark.parametrize("of", [picture, vivid])
def test_what_libraries_decode_is_found(by: Conversion, format: str, options: dict[str, int], of: object) -> None:
    pixels = by_pillow(of(96, 120), format, **options)  # type: ignore[operator]
    found = conversion.find(pixels)
    assert isinstance(found, Sources) and found.conversion == by
    assert 40 * len(found.exceptions) <= 96 * 120
    assert of is picture or ((pixels == 0) | (pixels == 255)).any(axis=2).mean() > 0.05
    assert np.array_equal(conversion.convert(found.samples, found.pack()), pixels)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(CONVERSIONS)), st.integers(0, 1 << 32), st.integers(0, 30))
def test_found_and_converted_is_what_it_was(number: int, seed: int, written_over: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = conversion.convert(rng.integers(0, 256, (40, 30, 3)).astype(np.uint8), bytes([number]))
    places = rng.integers(0, 1200, written_over)
    pixels.reshape(-1, 3)[places] = rng.integers(0, 256, (written_over, 3))
    found = conversion.find(pixels)
    if found is not None:
        assert np.array_equal(converted(found.samples, Input(found.pack())), pixels)
        assert np.array_equal(conversion.convert(found.samples, found.pack()), pixels)


@pytest.mark.parametrize("number", CONVERSIONS)
def test_exceptions_are_few_and_noted(number: int) -> None:
    y, x = np.mgrid[:64, :80]
    luma = 60 + y + x // 4
    samples = np.stack([luma + x // 4 - 10, luma, luma + 12 - y // 3], axis=2).astype(np.uint8)
    pixels = conversion.convert(samples.copy(), bytes([number]))
    assert pixels.min() > 0 and pixels.max() < 255
    found = conversion.find(pixels)
    assert isinstance(found, Sources) and not len(found.exceptions) and np.array_equal(found.samples, samples)
    other = next(colour for colour in ((9, 200, 33), (9, 201, 33), (9, 202, 33), (9, 203, 33)) if not made_by(number, colour))
    pixels[20, 10:50] = other
    found = conversion.find(pixels)
    assert isinstance(found, Sources) and found.conversion.number == number
    assert found.exceptions.tolist() == [[20 * 80 + column, *other] for column in range(10, 50)]
    assert len(found.pack()) == 1 + 3 + 1 + 2 + 39
    pixels[20:24] = other  # more than one of twenty, of all and of the sample
    assert conversion.find(pixels) is None


def made_by(number: int, colour: tuple[int, int, int]) -> bool:
    tables = CONVERSIONS[number].tables()
    return core.find_sources(np.array([[colour]], np.uint8), tables, 0) is not None


@pytest.mark.parametrize("kind", ["photo", "noise"])
def test_other_pictures_are_left_alone(kind: str) -> None:
    assert conversion.find(picture(64, 64, kind=kind)) is None


def test_grays_and_few_colours_say_nothing() -> None:
    assert conversion.find(np.repeat(picture(64, 64, 1), 3, axis=2)) is None
    assert conversion.find(np.array([0, 255], np.uint8)[np.random.default_rng(1).integers(0, 2, (64, 64, 3))]) is None
    assert conversion.find(np.zeros((1, 1, 3), np.uint8)) is None


def test_files_are_smaller_and_the_same_comes_back() -> None:
    pixels = by_pillow(picture(96, 128), "JPEG", quality=85)
    kept = Picture(pixels, "PNG", b"")
    source = vaez.picture_source(write_picture(kept), kept)
    coder = codec()
    contents = vaez.code(vaez.prepare(source), coder)
    assert contents.bodies(SectionKind.CONVERSION)[0][0] == JFIF.number
    assert vaez.decode(container.unpack(container.pack(contents)), coder) == kept
    assert sum(map(len, contents.bodies(SectionKind.MESSAGE))) < 0.95 * sum(map(len, coder.encode(pixels).messages))


def test_recovered_pictures_are_converted_too() -> None:
    pixels = by_pillow(picture(96, 128), "JPEG", quality=85)
    kept = Picture(pixels, "PNG", b"")
    coder = codec()
    contents = vaez.code(vaez.prepare(vaez.picture_source(write_picture(kept), kept)), coder)
    bodies = [(section.kind, section.body) for section in contents.sections]
    assert read_picture(vaez.recover(contents, bodies, coder).data) == kept
    without = [(kind, None if kind == SectionKind.CONVERSION else body) for kind, body in bodies]
    with pytest.raises(CorruptDataError, match="converted"):
        vaez.recover(contents, without, coder)


def test_members_of_archives_are_what_they_are_alone(tmp_path: Path) -> None:
    """Files of a folder, and images of an array: so what they were converted from is found in them too."""
    valley = np.asarray(Image.open(VALLEY).convert("RGB"))
    photos = np.stack([by_pillow(valley[100:164, left : left + 72], "JPEG", quality=85) for left in (0, 100)])
    (tmp_path / "in").mkdir()
    for number, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / "in" / f"{number}.png")
    model = bbans.load_model(threads=1)
    files = [model.compress(path).data for path in sorted((tmp_path / "in").iterdir())]
    for source, alone in ((tmp_path / "in", files), (photos, [model.compress(photo).data for photo in photos])):
        assert all(container.unpack(data).bodies(SectionKind.CONVERSION) for data in alone)
        bbans.pack(source, tmp_path / "packed", threads=1)
        assert (tmp_path / "packed").read_bytes().endswith(b"".join(alone))


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", CorruptDataError, "conversion"),
        (b"\x09", UnsupportedVersionError, "conversion 9"),
        (b"\x01abc\x01\xb0\x09", CorruptDataError, "outside the picture"),
        (b"\x01abc\xff\xff\xff\xff\x7f" + bytes(1201), CorruptDataError, "outside the picture"),
        (b"\x01abc\x02\x00", CorruptDataError, "conversion"),
        (b"\x01ab", CorruptDataError, "conversion"),
        (b"\x04", CorruptDataError, "maps of 0 bytes"),
        (b"\x04" + bytes(64), CorruptDataError, "maps of 64 bytes, for 3 channels"),
        (b"\x04" + bytes(64) + b"\xff" * 32, CorruptDataError, "a channel without values"),
    ],
)
def test_bodies_that_are_wrong(body: bytes, error: type[Exception], words: str) -> None:
    shape = 40, 30, 3
    assert conversion.convert(np.zeros(shape, np.uint8), b"\x01abc\x01\xaf\x09")[39, 29].tolist() == [97, 98, 99]
    with pytest.raises(error, match=words):
        conversion.convert(np.zeros(shape, np.uint8), body)


def test_samples_are_written_over_where_they_can_be() -> None:
    """A large picture is not in memory twice; an array that must not change does not."""
    samples = picture(40, 30)
    kept = samples.copy()
    kept.flags.writeable = False
    pixels = conversion.convert(samples, b"\x01")
    assert np.shares_memory(pixels, samples) and not np.array_equal(pixels, kept)
    assert np.array_equal(conversion.convert(kept, b"\x01"), pixels) and not np.shares_memory(kept, pixels)
    assert np.array_equal(conversion.convert(kept.copy()[:, ::-1], b"\x01"), pixels[:, ::-1])


def test_containers_that_are_wrong() -> None:
    stored = container.unpack(bbans.compress(picture(20, 20, 1), mode="stored").data)
    with pytest.raises(ValueError, match="conversion"):
        container.pack(replace(stored, sections=(*stored.sections, Section(SectionKind.CONVERSION, b"\x01"))))
    gray, coder = Picture(picture(40, 40, 1), "PNG", b""), codec()
    coded = vaez.code(vaez.prepare(vaez.picture_source(write_picture(gray), gray)), coder)
    with pytest.raises(CorruptDataError, match="not RGB"):
        vaez.decode(replace(coded, sections=(*coded.sections, Section(SectionKind.CONVERSION, b"\x01"))), coder)
