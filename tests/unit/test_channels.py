"""Pictures that hold no more than one of fewer channels or bits: found and restored, left alone where they do not."""

from __future__ import annotations

import io
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import bbans
from bbans import vaez
from bbans.errors import CorruptDataError, FormatError, UnsupportedImageError
from bbans.formats import container
from bbans.formats.blob import pack_blob
from bbans.formats.container import Section, SectionKind
from bbans.images import channels, conversion, plain
from bbans.images.picture import Picture, read_picture, write_picture
from bbans.images.rows import Samples
from tests.format_file_decoder import Input, converted
from tests.models import codec, picture

TONES = np.stack([np.minimum(255, np.arange(256) * factor // 8) for factor in (10, 8, 5)]).astype(np.uint8)


def with_alpha(pixels: NDArray[np.uint8], alpha: int = 255) -> NDArray[np.uint8]:
    return np.concatenate([pixels, np.full_like(pixels[..., :1], alpha)], axis=2)


def toned(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.moveaxis(TONES[:, gray[..., 0]], 0, 2))


RGB, GRAY = picture(96, 128), picture(96, 128, 1)
OF_FEWER: dict[str, tuple[Samples, Samples]] = {  # pictures, and the samples that they are of
    "opaque RGB": (with_alpha(RGB), RGB),
    "RGB as transparent everywhere": (with_alpha(RGB, 77), RGB),
    "opaque gray": (with_alpha(GRAY), GRAY),
    "gray as RGB, opaque": (with_alpha(np.repeat(GRAY, 3, axis=2)), GRAY),
    "tones": (toned(GRAY), GRAY),
    "tones, opaque": (with_alpha(toned(GRAY)), GRAY),
    "gray in one channel": (np.concatenate([GRAY, np.zeros((96, 128, 2), np.uint8)], axis=2), GRAY),
    "alpha by gray": (np.concatenate([GRAY, 255 - GRAY], axis=2), GRAY),
}
WIDE = {
    "16 bits of 8": RGB.astype(np.uint16) * 257,
    "16 bits of gray": GRAY.astype(np.uint16) ** 2,
    "16 bits, opaque": np.concatenate([RGB.astype(np.uint16) * 256, np.full((96, 128, 1), 65535, np.uint16)], axis=2),
}
WIDE_NOISE = np.random.default_rng(7).integers(0, 65536, (40, 50, 3)).astype(np.uint16)


def check_restored(found: channels.Channels, pixels: Samples) -> None:
    body = found.pack()
    for restored in (conversion.convert(found.samples.copy(), body), converted(found.samples, Input(body))):
        assert np.array_equal(restored, pixels)
    assert conversion.convert(found.samples.copy(), body).dtype == pixels.dtype


@pytest.mark.parametrize("name", OF_FEWER)
def test_what_a_picture_is_of(name: str) -> None:
    pixels, samples = OF_FEWER[name]
    found = channels.find(pixels)
    assert found is not None
    ranks = np.unique(found.samples, return_inverse=True)[1].ravel()
    assert np.array_equal(ranks, np.unique(samples, return_inverse=True)[1].ravel())  # or another tone of the gray
    check_restored(found, pixels)
    assert len(found.pack()) < 700


@pytest.mark.parametrize("name", WIDE)
def test_wide_samples_of_few_values(name: str) -> None:
    found = channels.find(WIDE[name])
    assert found is not None and found.samples.shape[2] in (1, 3) and found.samples.dtype == np.uint8
    check_restored(found, WIDE[name])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.booleans(),
    st.integers(1, 300),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.integers(0, 1 << 32),
)
def test_found_and_restored_is_what_it_was(count: int, wide: bool, values: int, of: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    limit = 65536 if wide else 256
    own = rng.choice(rng.choice(limit, min(values, limit), replace=False), (70, 9, count))
    tables = rng.choice(limit, (count, limit))
    for channel in range(count):  # some by others, or the same everywhere
        if of[channel] == 4:
            own[..., channel] = tables[channel, 0]
        elif of[channel] < channel:
            own[..., channel] = tables[channel][own[..., of[channel]]]
    pixels = own.astype(np.uint16 if wide else np.uint8)
    found = channels.find(pixels)
    if found is not None:
        check_restored(found, pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        RGB,
        GRAY,
        np.repeat(GRAY, 3, axis=2),
        np.concatenate([RGB, GRAY], axis=2),
        np.concatenate([GRAY, picture(96, 128, 1, seed=3)], axis=2),
        np.arange(96 * 128, dtype=np.uint16).reshape(96, 128, 1),
        np.concatenate([RGB[..., :2], np.zeros((96, 128, 1), np.uint8)], axis=2),
    ],
    ids=["RGB", "gray", "gray as RGB", "RGB and alpha", "gray and alpha", "16 bits", "two channels"],
)
def test_other_pictures_are_left_alone(pixels: Samples) -> None:
    assert channels.find(pixels) is None


def test_a_channel_that_differs_in_one_pixel() -> None:
    pixels = with_alpha(RGB)
    pixels[-1, -1, 3] = 254
    assert channels.find(pixels) is None
    pixels = toned(GRAY)
    pixels[-1, -1, 0] ^= 1
    assert channels.find(pixels) is None


@pytest.mark.parametrize("name", [*OF_FEWER, *WIDE])
def test_files_by_the_model(name: str) -> None:
    pixels = (WIDE | {name: pixels for name, (pixels, _) in OF_FEWER.items()})[name]
    kept = Picture(pixels, "PNG", b"", 8 * pixels.itemsize)
    source, coder = vaez.picture_source(write_picture(kept), kept), codec()
    contents = container.unpack(container.pack(vaez.code(vaez.prepare(source), coder)))
    assert (contents.channels, contents.bit_depth) == (pixels.shape[2], 8 * pixels.itemsize)
    assert bbans.inspect(container.pack(contents)).conversion == "channels"
    assert vaez.decode(contents, coder) == kept
    assert read_picture(vaez.restore(contents, coder).data, any_kind=True) == kept
    bodies = [(section.kind, section.body) for section in contents.sections]
    recovered = vaez.recover(contents, bodies, coder)
    assert not recovered.altered and read_picture(recovered.data, any_kind=True) == kept


def test_a_decoded_jpeg_with_alpha_is_coded_by_its_luma_and_chroma() -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "JPEG", quality=90)
    pixels = with_alpha(np.asarray(Image.open(file).convert("RGB")))
    found = plain.find(Picture(pixels, "PNG"))
    assert found is not None
    samples, conversions = found.convert(5)
    assert [body[0] for body in conversions] == [1, 5]
    assert plain.channels_of_samples(conversions, 4, 8) == 3
    assert np.array_equal(plain.restore(samples, conversions), pixels)


def test_commands_take_them_in_each_mode() -> None:
    png = imagecodecs.png_encode(with_alpha(RGB))
    for mode in ("auto", "model"):
        made = bbans.compress(png, mode=mode, threads=1)  # type: ignore[arg-type]
        assert bbans.inspect(made.data).mode == "model" and made.note is None
        assert read_picture(bbans.decompress(made.data, threads=1).data, any_kind=True).pixels.tolist() == with_alpha(RGB).tolist()
    other = imagecodecs.png_encode(WIDE_NOISE)
    assert bbans.inspect(bbans.compress(other, threads=1).data).mode == "stored"
    with pytest.raises(UnsupportedImageError, match="256 values"):
        bbans.compress(other, mode="model", threads=1)


@pytest.mark.parametrize("name", ["RGB", "gray", "tones"])
def test_alpha_stands_beside_colours(name: str) -> None:
    colours = {"RGB": RGB, "gray": GRAY, "tones": toned(GRAY)}[name]
    alpha = np.minimum(picture(96, 128, 1, seed=3), 99)
    kept = Picture(np.concatenate([colours, alpha], axis=2), "PNG", b"")
    source, coder = vaez.picture_source(write_picture(kept), kept), codec()
    contents = container.unpack(container.pack(vaez.code(vaez.prepare(source), coder)))
    bodies = contents.bodies(SectionKind.CONVERSION)
    assert [body[0] for body in bodies] == ([5, 6] if name == "tones" else [6])
    assert vaez.decode(contents, coder) == kept
    samples = coder.decode(contents.bodies(SectionKind.MESSAGE), 96, 128, 3 if name == "RGB" else 1)
    for body in bodies:
        samples = converted(samples, Input(body)).astype(np.uint8)
    assert np.array_equal(samples, kept.pixels)


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"\x06", "no channel"), (b"\x06\x00abc", "no channel"), (b"\x06\x04", "payload"), (b"\x06\x63", "stored method 99")],
)
def test_alpha_that_is_wrong(body: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        plain.restore(np.zeros((4, 5, 1), np.uint8), [body])


def test_colours_are_recovered_without_their_alpha() -> None:
    kept = Picture(np.concatenate([RGB, np.minimum(GRAY, 99)], axis=2), "PNG", b"")
    source, coder = vaez.picture_source(write_picture(kept), kept), codec()
    contents = vaez.code(vaez.prepare(source), coder)
    bodies = [(section.kind, None if section.kind == SectionKind.CONVERSION else section.body) for section in contents.sections]
    recovered = vaez.recover(contents, bodies, coder)
    assert recovered.alpha_lost and not recovered.altered and not recovered.damage
    assert np.array_equal(read_picture(recovered.data, any_kind=True).pixels, with_alpha(RGB))


@pytest.mark.parametrize(("channels_", "bits"), [(0, 8), (5, 8), (3, 16), (2, 8), (4, 8), (1, 1)])
def test_headers_that_no_model_codes(channels_: int, bits: int) -> None:
    with pytest.raises(CorruptDataError, match="no model codes"):
        plain.channels_of_samples([], channels_, bits)
    for depth in (8, 16):
        if (channels_, bits, depth) not in ((2, 8, 8), (4, 8, 8)):
            with pytest.raises(CorruptDataError):
                plain.channels_of_samples([b"\x06\x03"], channels_, max(bits, depth))


def body_of(*numbers: int, samples: int = 1, bits: int = 8) -> bytes:
    return bytes([5, samples, bits]) + pack_blob(bytes(numbers))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\x05", "cut short"),
        (b"\x05\x01\x08", "cut short"),
        (body_of(), "damaged"),
        (body_of(0, 0, samples=2), "damaged"),
        (body_of(0, 0, samples=3), "of 3 channels, not 1"),
        (body_of(0, 0, bits=16), "damaged"),
        (body_of(0, 0, bits=4), "damaged"),
        (body_of(1, 0), "damaged"),
        (body_of(0, 1, 1), "damaged"),  # below 0
        (body_of(0, 2, 0x80, 0x02, 0x80, 0x02), "damaged"),  # 128 and 256
        (body_of(0, 0x81, 0x02, *[0] * 257), "damaged"),  # 257 values
        (body_of(0, 2, 0), "cut short"),
        (body_of(*[0, 0] * 5), "damaged"),
        (body_of(0, 0) + b"\x00", "damaged"),
    ],
)
def test_bodies_that_are_wrong(body: bytes, words: str) -> None:
    samples = np.zeros((4, 5, 1), np.uint8)
    assert conversion.convert(samples.copy(), body_of(0, 1, 18)).tolist() == (samples + 9).tolist()
    with pytest.raises(CorruptDataError, match=words):
        conversion.convert(samples, body)


def test_containers_that_are_wrong() -> None:
    kept = Picture(with_alpha(RGB), "PNG", b"")
    source, coder = vaez.picture_source(write_picture(kept), kept), codec()
    contents = vaez.code(vaez.prepare(source), coder)

    def with_conversions(*bodies: bytes) -> container.Container:
        others = [section for section in contents.sections if section.kind != SectionKind.CONVERSION]
        sections = [*others, *(Section(SectionKind.CONVERSION, body) for body in bodies)]
        return replace(contents, sections=tuple(sorted(sections, key=lambda section: section.kind)))

    [good] = contents.bodies(SectionKind.CONVERSION)
    wide = bytes([5, 3, 16]) + pack_blob(bytes([0, 1, 0] * 4))
    fewer = bytes([5, 3, 8]) + pack_blob(bytes([0, 0] * 3))
    for bodies, words in (
        ((), "no model codes 4 channels"),
        ((b"\x05\x02\x08" + good[3:],), "damaged"),
        ((good, b"\x01"), "out of order"),
        ((wide,), "to 4 channels of 16 bits"),
        ((fewer,), "to 3 channels of 8 bits"),
        ((good, b"\x06\x03"), "to 4 channels of 8 bits"),
    ):
        with pytest.raises(CorruptDataError, match=words):
            vaez.decode(with_conversions(*bodies), coder)
    with pytest.raises(ValueError, match="conversion"):
        container.pack(with_conversions(good, good, good, good))
