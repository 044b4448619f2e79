"""The stored fallback: exact, bounded, and damage is always found."""

import io
import lzma
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import bbans
from bbans import vaez
from bbans.errors import CorruptDataError, FormatError
from bbans.formats import container, lzma2, stored
from bbans.formats.container import Section, SectionKind, StoredMethod
from bbans.formats.forms import Layout
from bbans.images import chunks, webp
from bbans.images.picture import Picture, read_picture, write_picture

NOISE = np.random.default_rng(7).integers(0, 256, (9, 14, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(48) * 3, np.arange(64)).astype(np.uint8)[..., None] + np.array([0, 20, 40], np.uint8)
METADATA = chunks.pack([(b"tEXt", b"a\0b")], [])


def png(pixels: np.ndarray, metadata: bytes = b"") -> tuple[bytes, Picture]:
    picture = Picture(pixels, "PNG", metadata)
    return write_picture(picture), picture


METHODS = [method for method in StoredMethod if method != StoredMethod.JPEG]  # that one: test_jpeg.py


def payload_of(method: StoredMethod, data: bytes, picture: Picture) -> bytes:
    return stored.encode_file(method, data) if method.keeps_file else stored.encode_picture(method, picture)


def stored_by(method: StoredMethod, data: bytes, picture: Picture) -> container.Container:
    """The container of a file by this method, whichever is the smallest."""
    return vaez.stored_container(vaez.picture_source(data, picture), method, payload_of(method, data, picture))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (17, 1), (13, 11), (48, 64)])
def test_every_method_is_exact(size, channels):
    pixels = np.random.default_rng(8).integers(0, 256, (*size, channels), dtype=np.uint8)
    data, picture = png(pixels, METADATA)
    for method in METHODS:
        content = vaez.unstore(container.unpack(container.pack(stored_by(method, data, picture))))
        assert content == (data if method.keeps_file else picture)


def test_the_smallest_wins():
    data, picture = png(SMOOTH)
    method, payload = stored.encode(data, picture)
    assert len(payload) <= min(len(payload_of(method, data, picture)) for method in METHODS)
    assert not method.keeps_file
    assert np.array_equal(stored.decode_picture(method, payload, Layout(SMOOTH.shape)), SMOOTH)


def test_metadata_count_where_they_stand_beside_the_pixels():
    """A file has its own, and needs no section for them."""
    data, picture = png(NOISE, chunks.pack([(b"tEXt", b"a\0" + NOISE.tobytes() * 3)], []))
    assert stored.encode(data, picture, beside=1200)[0] == StoredMethod.FILE_LZMA
    sizes = [len(container.pack(stored_by(method, data, picture))) for method in METHODS]
    assert len(container.pack(vaez.store(vaez.picture_source(data, picture)))) == min(sizes)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 3, np.random.default_rng(9).bytes(999)])
def test_any_bytes_and_never_longer(data):
    method, payload = stored.encode(data, None)
    assert len(payload) <= len(data)
    assert stored.decode_file(method, payload, len(data)) == data


def test_a_file_that_is_not_compressed_is():
    file = io.BytesIO()
    Image.fromarray(SMOOTH[..., 0].astype(np.uint16) * 257).save(file, "TIFF")
    data = file.getvalue()
    method, payload = stored.encode(data, None)
    assert method == StoredMethod.FILE_LZMA and len(payload) < len(data) // 4
    assert stored.decode_file(method, payload, len(data)) == data


def test_noise_is_stored_as_its_file():
    picture = Picture(NOISE, "PPM")
    assert stored.encode(write_picture(picture), picture)[0] == StoredMethod.FILE


def test_large_files_are_sampled(monkeypatch):
    monkeypatch.setattr(stored, "SMALL_BYTES", 1000)
    assert stored.encode(np.random.default_rng(10).bytes(3000), None)[0] == StoredMethod.FILE
    assert stored.encode(bytes(3000), None)[0] == StoredMethod.FILE_LZMA


@pytest.mark.parametrize("shape", [(1, webp.MAX_SIDE_PX + 1, 3), (webp.MAX_SIDE_PX + 1, 1, 1)])
def test_wider_than_webp(shape):
    pixels = (np.arange(np.prod(shape)) // 40).astype(np.uint8).reshape(shape)
    data = write_picture(Picture(pixels, "PNG"))
    made = vaez.store(vaez.picture_source(data, read_picture(data)))
    assert made.method in (StoredMethod.JXL, StoredMethod.ROWS_LZMA)
    assert read_picture(vaez.restore(made, None).data) == read_picture(data)


def test_widest_webp():
    pixels = np.zeros((1, webp.MAX_SIDE_PX, 3), np.uint8)
    stream = webp.encode_stream(pixels, quality=75, method=4)
    assert webp.decode_stream(stream, pixels.shape).shape == pixels.shape


def test_the_same_twice():
    data, picture = png(SMOOTH)
    assert stored.encode(data, picture) == stored.encode(data, picture)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_flip_and_cut_and_tail_is_found(method, channels):
    data, picture = png(NOISE[:5, :6, :channels], METADATA)
    file = container.pack(stored_by(method, data, picture))
    assert vaez.restore(container.unpack(file), None)
    for i in range(len(file)):
        with pytest.raises(FormatError):
            container.unpack(file[:i])
        for flip in (0x01, 0x10, 0x80, 0xFF):
            with pytest.raises(FormatError):
                container.unpack(file[:i] + bytes([file[i] ^ flip]) + file[i + 1 :])
    with pytest.raises(CorruptDataError):
        container.unpack(file + b"x")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_damaged_section_with_checks_that_fit_never_gives_something_else(method, channels):
    """The decoders raise typed errors alone, and the content check finds what they do not."""
    data, picture = png(NOISE[:5, :6, :channels], METADATA)
    made = stored_by(method, data, picture)
    whole, tries, errors = vaez.restore(made, None).data, 0, 0
    for place, section in enumerate(made.sections):
        bodies = [section.body[:i] for i in range(1, len(section.body))] + [section.body + b"x"]
        for i, byte in enumerate(section.body):
            bodies += [section.body[:i] + bytes([byte ^ flip]) + section.body[i + 1 :] for flip in (0x01, 0x10, 0x80, 0xFF)]
        for body in bodies:
            tries += 1
            sections = (*made.sections[:place], Section(section.kind, body), *made.sections[place + 1 :])
            try:
                assert vaez.restore(container.unpack(container.pack(replace(made, sections=sections))), None).data == whole
            except CorruptDataError:
                errors += 1
    assert 0.9 * tries < errors <= tries


def test_wrong_method():
    data, picture = png(NOISE[:5, :6], METADATA)
    for method in METHODS:
        made = stored_by(method, data, picture)
        for other in [m for m in [*StoredMethod, 6, 255] if m != method]:
            with pytest.raises(FormatError):
                vaez.restore(replace(made, method=other), None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("change", [{"format": "WEBP"}, {"height": 14, "width": 9}, {"channels": 1}, {"bit_depth": 16}])
def test_a_header_of_another_picture(method, change):
    data, picture = png(NOISE, METADATA)
    made = replace(stored_by(method, data, picture), **change)
    if method.keeps_file:  # these fields are for people then
        assert vaez.restore(made, None).data == data
    else:
        with pytest.raises(CorruptDataError):
            vaez.restore(made, None)


@pytest.mark.parametrize("method", [StoredMethod.FILE, StoredMethod.FILE_LZMA])
def test_files_have_the_size_in_the_header_and_no_metadata_beside_them(method):
    data, picture = png(NOISE)
    made = stored_by(method, data, picture)
    for size in (0, len(data) - 1, len(data) + 1):
        with pytest.raises(CorruptDataError):
            vaez.restore(replace(made, source_bytes=size), None)
    with pytest.raises(CorruptDataError, match="metadata"):
        vaez.restore(replace(made, sections=(Section(SectionKind.METADATA, METADATA), *made.sections)), None)


def test_promises_beyond_the_limits_are_refused_before_decoding():
    bomb = lzma.compress(bytes(1 << 24), lzma.FORMAT_RAW, filters=lzma2.FILTERS)
    with pytest.raises(CorruptDataError, match="limit"):
        stored.decode_file(StoredMethod.FILE_LZMA, bomb, 1 << 60)
    with pytest.raises(CorruptDataError, match="size it claims"):
        stored.decode_file(StoredMethod.FILE_LZMA, bomb, 10)
    with pytest.raises(CorruptDataError, match="limit"):
        stored.decode_picture(StoredMethod.ROWS_LZMA, b"\0" + bomb, Layout((1 << 31, 1 << 31, 3)))
    with pytest.raises(CorruptDataError, match="size it claims"):
        stored.decode_picture(StoredMethod.ROWS_LZMA, b"\0" + bomb, Layout((2, 2, 3)))
    with pytest.raises(CorruptDataError, match="channels"):
        stored.decode_picture(StoredMethod.ROWS_LZMA, b"\0" + bomb, Layout((2, 2, 1 << 40)))
    data, picture = png(NOISE)
    made = stored_by(StoredMethod.ROWS_LZMA, data, picture)
    with pytest.raises(CorruptDataError, match="limit"):
        vaez.restore(replace(made, height=1 << 40), None)


def test_webp_of_another_size_or_with_colours():
    stream = webp.encode_stream(NOISE, quality=75, method=4)
    for shape in [(9, 13, 3), (14, 9, 3), (9, 14, 1)]:
        with pytest.raises(CorruptDataError, match="header"):
            webp.decode_stream(stream, shape)
    for damaged in (b"", stream[:4], b"x" + stream, stream[:-1]):
        with pytest.raises(CorruptDataError):
            webp.decode_stream(damaged, NOISE.shape)


@pytest.mark.parametrize(("effort", "tried"), [(1, {7}), (5, {7}), (7, {7, 8}), (8, {7, 8, 9}), (9, {7, 8, 9})])
def test_a_higher_effort_is_one_of_jpeg_xl_too(effort: int, tried: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures that are larger than those of which more is tried anyway."""
    wide = (np.add.outer(np.arange(400), 3 * np.arange(400))[..., None] * np.arange(1, 5)).astype(np.uint16)
    encode, efforts = stored.jxl.encode, set()

    def recorded(samples: np.ndarray, effort: int) -> bytes:
        efforts.add(effort)
        return encode(samples, 1)

    monkeypatch.setattr(stored.jxl, "encode", recorded)
    result = bbans.compress(wide, mode="stored", effort=effort)
    assert efforts == tried
    assert np.array_equal(bbans.decompress(result.data).array(), wide)
