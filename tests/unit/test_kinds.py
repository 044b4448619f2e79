"""PNGs of every kind, stored without a model: the same samples, colour type, bit depth, palette and metadata come back."""

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import bbans
from bbans import vaez
from bbans.errors import CorruptDataError, FormatError, UnsupportedImageError
from bbans.formats import container, stored
from bbans.formats.container import Section, SectionKind, StoredMethod
from bbans.formats.forms import Form, Layout, from_form, has_form, to_form
from bbans.formats.metadata import MAX_PACKED_BYTES, metadata_of, metadata_section, profiles
from bbans.formats.wire import ByteReader, pack_varint
from bbans.images import chunks, png
from bbans.images.picture import Picture, read_picture, write_picture

PLTE = (b"PLTE", bytes(range(48)))
TRNS = (b"tRNS", bytes([0, 128]))
KINDS = {  # name: channels, bit depth, chunks before the picture
    **{f"gray {depth}": (1, depth, []) for depth in (1, 2, 4, 8, 16)},
    **{f"palette {depth}": (1, depth, [(b"PLTE", bytes(range(3 << depth))) if depth < 8 else PLTE]) for depth in (1, 2, 4, 8)},
    "palette with alpha": (1, 4, [(b"gAMA", b"\0\0\xb1\x8f"), PLTE, TRNS]),
    "gray with tRNS": (1, 2, [(b"tRNS", b"\0\1")]),
    "RGB with tRNS": (3, 8, [(b"tRNS", bytes(6))]),
    "RGB with a palette": (3, 8, [PLTE]),
    **{f"{channels} channels of {depth}": (channels, depth, []) for channels in (2, 3, 4) for depth in (8, 16)},
}


def picture_of(name: str, height: int = 11, width: int = 13, seed: int = 0) -> Picture:
    channels, bit_depth, before = KINDS[name]
    top = 16 if "palette 8" in name else 1 << bit_depth
    samples = np.random.default_rng(seed).integers(0, top, (height, width, channels))
    samples[::2] //= 3
    after = [(b"tEXt", b"Title\0" + name.encode())]
    return Picture(samples.astype(np.uint16 if bit_depth == 16 else np.uint8), "PNG", chunks.pack(before, after), bit_depth)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (19, 1), (11, 13)])
def test_what_comes_back(name: str, size: tuple[int, int]) -> None:
    picture = picture_of(name, *size)
    data = write_picture(picture)
    assert read_picture(data, any_kind=True) == picture
    result = bbans.compress(data, mode="stored")
    assert len(result.data) <= len(data) + 64
    restored = bbans.decompress(result).data
    assert read_picture(restored, any_kind=True) == picture
    assert restored[16:29] == data[16:29]  # IHDR
    assert (result.info.channels, result.info.bit_depth) == (picture.pixels.shape[2], picture.bit_depth)


@pytest.mark.parametrize("name", KINDS)
def test_libraries_read_the_same_colours(name: str) -> None:
    data = write_picture(picture_of(name))
    restored = bbans.decompress(bbans.compress(data, mode="stored")).data
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(restored)) as after:
        assert (before.mode, before.info) == (after.mode, after.info)
        assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "P", "LA", "RGB", "RGBA"])
def test_pngs_of_pillow(mode: str) -> None:
    rng = np.random.default_rng(3)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (20, 30)).astype(np.uint16))
    elif mode == "P":
        image = Image.fromarray(rng.integers(0, 9, (20, 30), dtype=np.uint8)).quantize(7)
    else:
        image = Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG")
    back = bbans.decompress(bbans.compress(file.getvalue(), mode="stored")).pil()
    assert back.mode == image.mode and np.array_equal(np.asarray(back), np.asarray(image))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(1, 20), st.integers(1, 20), st.integers(0, 1 << 32))
def test_every_method_and_form(name: str, height: int, width: int, seed: int) -> None:
    picture = picture_of(name, height, width, seed)
    layout = stored.layout_of(picture)
    for form in Form:
        if not has_form(form, picture.pixels, layout):
            continue
        for method in (StoredMethod.WEBP, StoredMethod.ROWS_LZMA, StoredMethod.JXL):
            if method == StoredMethod.WEBP and layout.coded(form).bit_depth == 16:
                continue
            payload = stored.encode_picture(method, picture, form, effort=3)
            back = stored.decode_picture(method, payload, layout)
            assert back.dtype == picture.pixels.dtype and np.array_equal(back, picture.pixels)


@pytest.mark.parametrize("method", [StoredMethod.WEBP, StoredMethod.JXL])
def test_strips(method: StoredMethod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "STRIP_PX", 40)
    for size in [(1, 50), (9, 13), (40, 1), (41, 1), (7, 40), (3, 41)]:
        picture = picture_of("palette with alpha", *size)
        for form in (Form.SAMPLES, Form.COLOURS):
            payload = stored.encode_picture(method, picture, form)
            assert np.array_equal(stored.decode_picture(method, payload, stored.layout_of(picture)), picture.pixels)
            for end in (1, 2, len(payload) // 3):
                with pytest.raises(CorruptDataError):  # not at its very end: libwebp does without the last bytes
                    stored.decode_picture(method, payload[:end], stored.layout_of(picture))


@pytest.mark.parametrize("method", [StoredMethod.WEBP, StoredMethod.JXL])
def test_strips_that_repeat_are_coded_once(method: StoredMethod, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a large flat picture is that of a strip; its bytes are those of all strips."""
    monkeypatch.setattr(stored, "STRIP_PX", 40)
    pixels = np.full((22, 10, 3), 90, np.uint8)
    pixels[12:16] = 91
    encode, coded = stored._encode_strip, []

    def counted(method: StoredMethod, samples: np.ndarray, effort: int) -> bytes:
        coded.append(samples.copy())
        return encode(method, samples, effort)

    monkeypatch.setattr(stored, "_encode_strip", counted)
    picture = Picture(pixels, "PNG")
    payload = stored.encode_picture(method, picture)
    assert [(len(samples), samples[0, 0, 0]) for samples in coded] == [(4, 90), (4, 91), (4, 90), (2, 90)]
    assert np.array_equal(stored.decode_picture(method, payload, stored.layout_of(picture)), pixels)
    reader = ByteReader(payload, "payload")
    reader.byte()
    streams = [reader.take(reader.varint()) for _ in range(5)]
    assert streams[0] == streams[1] == streams[2] == streams[4] == encode(method, coded[0], 7) != streams[3]


def test_more_strips_than_bytes_allocate_nothing() -> None:
    with pytest.raises(CorruptDataError, match="ends early"):
        stored.decode_picture(StoredMethod.JXL, b"\0" * 500, Layout((1 << 15, 1 << 15, 4), 16))


def test_16_bits_that_are_8() -> None:
    low = np.random.default_rng(4).integers(0, 256, (40, 40, 3))
    picture = Picture((low * 257).astype(np.uint16), "PNG", b"", 16)
    method, payload = stored.encode(write_picture(picture), picture)
    assert not method.keeps_file and payload[0] == Form.EIGHT_BITS
    narrow = Picture(low.astype(np.uint8), "PNG")
    assert len(payload) <= len(stored.encode(write_picture(narrow), narrow)[1])
    other = picture.pixels.copy()
    other[39, 39, 2] ^= 1
    assert not has_form(Form.EIGHT_BITS, other, Layout(other.shape, 16))


PALETTES = {
    "all equal": bytes(12),
    "an unused repetition": bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]),
}


@pytest.mark.parametrize("name", PALETTES)
def test_repeated_colours(name: str) -> None:
    """Which of two equal colours a pixel has is kept."""
    indices = np.array([[[0], [1], [2], [3]]], np.uint8)
    layout = Layout(indices.shape, 2, np.frombuffer(PALETTES[name], np.uint8).reshape(-1, 3))
    assert not has_form(Form.COLOURS, indices, layout)
    first = np.zeros_like(indices) if name == "all equal" else np.array([[[0], [1], [2], [1]]], np.uint8)
    assert has_form(Form.COLOURS, first, layout)
    assert np.array_equal(from_form(Form.COLOURS, to_form(Form.COLOURS, first, layout), layout), first)
    picture = Picture(indices, "PNG", chunks.pack([(b"PLTE", PALETTES[name])], []), 2)
    assert read_picture(bbans.decompress(bbans.compress(write_picture(picture), mode="stored")).data, any_kind=True) == picture


def test_colours_that_are_not_in_the_palette() -> None:
    layout = Layout((1, 2, 1), 8, np.array([[1, 2, 3]], np.uint8))
    with pytest.raises(CorruptDataError, match="palette"):
        from_form(Form.COLOURS, np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8), layout)
    for form, depth in ((Form.COLOURS, 8), (Form.EIGHT_BITS, 8)):
        with pytest.raises(CorruptDataError, match="claims"):
            stored.decode_picture(StoredMethod.JXL, bytes([form]) + b"xx", Layout((1, 2, 1), depth))
    with pytest.raises(CorruptDataError, match="form 3"):
        stored.decode_picture(StoredMethod.JXL, b"\x03xx", Layout((1, 2, 1)))


@pytest.mark.parametrize(
    ("colour_type", "bit_depth", "before"),
    [
        (3, 2, []),
        (3, 2, [(b"PLTE", bytes(15))]),
        (3, 8, [(b"tRNS", bytes(1)), PLTE]),
        (3, 8, [PLTE, (b"tRNS", bytes(17))]),
        (3, 8, [PLTE, (b"bKGD", bytes(2))]),
        (4, 8, [PLTE]),
        (6, 16, [(b"tRNS", bytes(6))]),
        (4, 16, [(b"sBIT", bytes(1))]),
    ],
)
def test_chunks_that_do_not_belong_to_the_kind(colour_type: int, bit_depth: int, before: list[chunks.Chunk]) -> None:
    """Such a file is kept as it is."""
    channels = {3: 1, 4: 2, 6: 4}[colour_type]
    header = struct.pack(">IIBBBBB", 1, 1, bit_depth, colour_type, 0, 0, 0)
    body = zlib.compress(bytes(1 + max(1, channels * bit_depth // 8)))
    parts = [(b"IHDR", header), *before, (b"IDAT", body), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    with pytest.raises(UnsupportedImageError):
        read_picture(data, any_kind=True)
    if colour_type != 3 or before == [PLTE, (b"bKGD", bytes(2))]:
        assert bbans.decompress(bbans.compress(data, mode="stored")).data == data


def test_samples_that_do_not_fit_the_depth() -> None:
    for depth in (1, 2, 4):
        with pytest.raises(CorruptDataError, match="samples over"):
            png.write(np.full((1, 1, 1), 1 << depth, np.uint8), b"", depth)
    with pytest.raises(CorruptDataError, match="4 bits"):
        png.write(np.zeros((1, 1, 3), np.uint8), b"", 4)


def signed(name: str) -> Iterator[container.Container]:
    """Files of a kind by each method and form."""
    picture = picture_of(name, 5, 6)
    source = vaez.picture_source(write_picture(picture), picture)
    layout = stored.layout_of(picture)
    for form in Form:
        for method in (StoredMethod.WEBP, StoredMethod.ROWS_LZMA, StoredMethod.JXL):
            if has_form(form, picture.pixels, layout) and not (method == 2 and layout.coded(form).bit_depth == 16):
                yield vaez.stored_container(source, method, stored.encode_picture(method, picture, form))


@pytest.mark.parametrize("name", ["palette with alpha", "gray 2", "2 channels of 16", "4 channels of 8"])
def test_changed_and_signed_again(name: str) -> None:
    """Every field and byte: a typed error, or what was compressed."""
    picture = picture_of(name, 5, 6)
    rng = np.random.default_rng(5)
    for made in signed(name):
        changes = [
            replace(made, **{field: value}) for field in ("channels", "bit_depth") for value in (1, 2, 3, 4, 5, 8, 16, 1 << 40)
        ]
        changes += [replace(made, height=height, width=width) for height, width in ((6, 5), (1, 30), (5, 7), (1 << 20, 1 << 20))]
        for place, section in enumerate(made.sections):
            for _ in range(40):
                body = bytearray(section.body)
                body[rng.integers(len(body))] ^= 1 << rng.integers(8)
                sections = (*made.sections[:place], Section(section.kind, bytes(body)), *made.sections[place + 1 :])
                changes.append(replace(made, sections=sections))
        for change in changes:
            try:
                restored = vaez.restore(container.unpack(container.pack(change)), None).data
            except FormatError:
                continue
            assert read_picture(restored, any_kind=True) == picture


def test_the_depth_is_covered_by_the_check() -> None:
    """Its samples are the same in 4 and in 8 bits."""
    picture = picture_of("gray 4")
    made = vaez.store(vaez.picture_source(write_picture(picture), picture))
    with pytest.raises(CorruptDataError):
        vaez.restore(replace(made, bit_depth=8), None)


def test_packed_metadata() -> None:
    text = b"to and fro, " * 99
    section = metadata_section(text)
    assert section.kind == SectionKind.PACKED_METADATA and len(section.body) < 99
    assert metadata_of([section]) == text
    noise = np.random.default_rng(6).bytes(50)
    assert metadata_section(noise) == Section(SectionKind.METADATA, noise)
    for body in (
        b"",
        b"\0",
        pack_varint(MAX_PACKED_BYTES + 1) + section.body[2:],
        pack_varint(9) + section.body[2:],
        section.body[:-3],
    ):
        with pytest.raises(CorruptDataError):
            metadata_of([Section(SectionKind.PACKED_METADATA, body)])


def test_the_profiles_are_those_of_the_specification() -> None:
    """Each as it is, and as streams of it that are all of it."""
    assert (len(profiles()), hashlib.blake2b(profiles(), digest_size=8).hexdigest()) == (9945, "424d04f2ae8d58ab")
    at = 0
    for streams, size, name in [(1, 480, b"sP3C"), (1, 480, b"sRGB"), (2, 3144, b"sRGB IEC61966-2.1")]:
        found = []
        for _ in range(streams):
            inflate = zlib.decompressobj()
            found.append(inflate.decompress(profiles()[at:]))
            at = len(profiles()) - len(inflate.unused_data)
        profile = profiles()[at : at + size]
        assert found == [profile] * streams and profile[36:40] == b"acsp" and name in profile.replace(b"\0", b"")
        assert int.from_bytes(profile[:4], "big") == size
        at += size
    assert at == len(profiles())


@pytest.mark.parametrize("part", [slice(-3144, None), slice(1590, 4206), slice(794, 1590)])
def test_metadata_by_profiles(part: slice) -> None:
    metadata = b"before" + profiles()[part] + b"after"
    section = metadata_section(metadata)
    assert section.kind == SectionKind.METADATA_BY_PROFILES and len(section.body) < 99
    assert metadata_of([section]) == metadata
    kind, size = section.kind, pack_varint(len(metadata))
    stream = section.body[len(size) :]
    for body in (
        b"",
        b"\0" + stream,
        size,
        size + stream[:-1],
        size + stream + b"\0",
        pack_varint(len(metadata) - 1) + stream,
        pack_varint(len(metadata) + 1) + stream,
        pack_varint(MAX_PACKED_BYTES + 1) + stream,
        size + b"\xff" * 9,
    ):
        with pytest.raises(CorruptDataError):
            metadata_of([Section(kind, body)])


def test_metadata_of_both_kinds() -> None:
    picture = picture_of("gray 8")
    made = vaez.store(vaez.picture_source(write_picture(picture), picture))
    packed = Section(SectionKind.PACKED_METADATA, b"\1x")
    with pytest.raises(ValueError, match="metadata twice"):
        container.pack(replace(made, sections=(*made.sections, packed)))
