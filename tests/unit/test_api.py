"""compress, decompress, inspect: the picture comes back, or a typed error; the model is a fake one here."""

import dataclasses
import io
import subprocess
import sys
import threading
import weakref
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import bbans
from bbans import api, errors, models, vaez
from bbans.accounting import Accounting, Encoded
from bbans.errors import (
    BbansError,
    CorruptDataError,
    FormatError,
    ModelError,
    ModelMismatchError,
    ModelMissingError,
    UnsupportedImageError,
    UnsupportedVersionError,
    VerifyError,
)
from bbans.formats import container
from bbans.formats.metadata import metadata_of
from bbans.images import chunks
from bbans.images.picture import read_picture

HASH = bytes(range(8))
GOLDEN = Path(__file__).parents[1] / "data" / "golden"


class FakeCodec:
    """Two messages of zlib, with made-up bits. `fault` is added to the pixels that it decodes."""

    def __init__(self, id: str = "fake-1", weights_hash: bytes = HASH) -> None:
        self.id, self.weights_hash, self.fault = id, weights_hash, 0
        self.hash = weights_hash  # it is its own weights

    def encode(self, pixels: np.ndarray, effort: int) -> Encoded:
        half = pixels.shape[0] // 2
        messages = [zlib.compress(part.tobytes(), 9) for part in (pixels[:half], pixels[half:])]
        return Encoded([*messages, b""], Accounting(1000, 20, 300, 0))

    def decode(self, messages: Sequence[bytes], height: int, width: int, channels: int) -> np.ndarray:
        try:
            data = b"".join(zlib.decompress(message) for message in messages[:2])
        except zlib.error as error:
            raise CorruptDataError(str(error)) from error
        if len(data) != height * width * channels:
            raise CorruptDataError("another size")
        return np.frombuffer(data, np.uint8).reshape(height, width, channels) + np.uint8(self.fault)


class FakeModels:
    """Fake codecs in the place of all models, the first of them the default. `loads` counts."""

    def __init__(self, *codecs: FakeCodec) -> None:
        self.codecs, self.default, self.loads = {codec.id: codec for codec in codecs}, codecs[0], 0

    def read(self, model: str | None = None) -> FakeCodec:
        if model is not None and model not in self.codecs:
            raise ModelMissingError(f"no model {model}")
        return self.default if model is None else self.codecs[model]

    def find(self, id: str, hash: bytes, also: str | None = None) -> FakeCodec:
        codec = self.read(id)
        if hash != codec.weights_hash:
            raise ModelMismatchError("other weights")
        return codec

    def load(self, model: FakeCodec, *, threads: int | None, device: str) -> FakeCodec:
        self.loads += 1
        return model


@pytest.fixture
def fake_models(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    fakes = FakeModels(FakeCodec(), FakeCodec("fake-2", bytes(8)))
    for name in ("read", "find", "load"):
        monkeypatch.setattr(models, name, getattr(fakes, name))
    return fakes


@pytest.fixture
def fake(fake_models: FakeModels) -> FakeCodec:
    return fake_models.default


def save(pixels: np.ndarray, format: str, mode: str | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, format, **options)
    return file.getvalue()


NOISE = np.random.default_rng(1).integers(0, 256, (13, 17, 4), dtype=np.uint8)
WIDE = np.random.default_rng(2).integers(0, 65536, (20, 30), dtype=np.uint16)
KEPT_WITHOUT_MODEL = {
    "palette": save(NOISE[..., :3], "PNG", "P"),
    "1 bit": save(NOISE[..., 0], "PNG", "1"),
    "16 bits": save(WIDE, "PNG"),
}
KEPT_AS_FILES = {
    "JPEG": save(NOISE[..., :3], "JPEG"),
    "GIF": save(NOISE[..., 0], "GIF"),
    "TIFF": save(NOISE[..., :3].astype(np.float32)[..., 0], "TIFF"),
    "lossy WebP": save(NOISE[..., :3], "WEBP"),
}


@pytest.mark.parametrize("mode", ["auto", "model", "stored"])
def test_picture_comes_back(fake: FakeCodec, tiny_png: bytes, mode: api.ModeName) -> None:
    result = api.compress(tiny_png, mode=mode)
    restored = api.decompress(result.data)
    assert read_picture(restored.data) == read_picture(tiny_png)
    assert restored.format == "PNG"
    assert result.note is None
    assert b"kept" in restored.data


def test_info_of_a_model_file(fake: FakeCodec, tiny_png: bytes) -> None:
    result = api.compress(tiny_png, mode="model")
    info = api.inspect(result.data)
    assert info == result.info
    assert (info.mode, info.method, info.model, info.weights_hash) == ("model", None, "fake-1", HASH.hex())
    assert (info.width, info.height, info.channels, info.bit_depth, info.format) == (5, 3, 3, 8, "PNG")
    assert info.accounting == Accounting(1000, 20, 300, 0)
    assert info.accounting.net_bits == 720
    assert [section.kind for section in info.sections][:4] == ["metadata", "message", "message", "message"]
    assert info.header_bytes + info.metadata_bytes + info.coded_bytes == info.file_bytes == len(result.data)
    assert info.source_bytes == len(tiny_png)
    assert info.bits_per_dim == pytest.approx(8 * len(result.data) / 45)


def test_efforts(fake: FakeCodec, tiny_png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach the codec, and others are refused before anything is read."""
    given, encode = [], fake.encode
    monkeypatch.setattr(fake, "encode", lambda pixels, effort: given.append(effort) or encode(pixels, effort))
    for effort in api.EFFORTS:
        api.compress(tiny_png, mode="model", effort=effort)
    api.compress(tiny_png, mode="model")
    assert given == [*range(1, 10), 5]
    for effort in (0, 10, -1):
        for mode in ("auto", "stored"):
            with pytest.raises(ValueError, match="effort"):
                api.compress("nowhere.png", mode=mode, effort=effort)


@pytest.mark.parametrize("name", KEPT_AS_FILES)
@pytest.mark.parametrize("mode", ["auto", "stored"])
def test_other_pictures_come_back_as_their_files(name: str, mode: api.ModeName) -> None:
    data = KEPT_AS_FILES[name]
    result = api.compress(data, mode=mode)
    assert result.info.method in ("file", "file_lzma")
    assert result.info.mode == "stored"
    assert api.decompress(result.data).data == data
    assert (result.note is None) == (mode == "stored")


@pytest.mark.parametrize("name", KEPT_WITHOUT_MODEL)
@pytest.mark.parametrize("mode", ["auto", "stored"])
def test_pngs_that_no_model_codes_are_stored(fake_models: FakeModels, name: str, mode: api.ModeName) -> None:
    data = KEPT_WITHOUT_MODEL[name]
    result = api.compress(data, mode=mode)
    assert (result.info.mode, result.info.format, fake_models.loads) == ("stored", "PNG", 0)
    assert len(result.data) <= len(data) + 64
    restored = api.decompress(result.data).data
    assert read_picture(restored, any_kind=True) == read_picture(data, any_kind=True)
    assert (result.note is None) == (mode == "stored")
    assert mode == "stored" or (result.note is not None and result.note.endswith("PNG: stored without the model"))


@pytest.mark.parametrize("name", sorted((KEPT_AS_FILES | KEPT_WITHOUT_MODEL).keys() - {"JPEG"}))
def test_mode_model_refuses_what_it_would_degrade(fake: FakeCodec, name: str) -> None:
    with pytest.raises(UnsupportedImageError):
        api.compress((KEPT_AS_FILES | KEPT_WITHOUT_MODEL)[name], mode="model")


def test_jpeg_through_the_model_keeps_pixels_and_says_so(fake: FakeCodec) -> None:
    data = KEPT_AS_FILES["JPEG"]
    result = api.compress(data, mode="model")
    assert result.note is not None and "not the JPEG file" in result.note
    restored = api.decompress(result.data)
    assert restored.format == "PNG"
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(restored.data))), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (17, 1), (33, 29)])
@pytest.mark.parametrize("channels", [1, 3])
def test_file_is_never_larger_than_its_source_and_64_bytes(fake: FakeCodec, size: tuple[int, int], channels: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*size, channels), dtype=np.uint8)
    data = save(pixels[..., 0] if channels == 1 else pixels, "PNG")
    result = api.compress(data)
    assert len(result.data) <= len(data) + 64
    assert read_picture(api.decompress(result.data).data) == read_picture(data)


def test_auto_takes_the_smaller(fake: FakeCodec, sample_png: bytes) -> None:
    # zlib is no match for WebP on a photo
    assert api.compress(sample_png, verify=False).info.mode == "stored"
    assert api.compress(sample_png, mode="model", verify=False).info.mode == "model"
    smooth = save(np.add.outer(np.arange(40), np.arange(40)).astype(np.uint8)[..., None].repeat(3, 2), "BMP")
    by_model, stored = (api.compress(smooth, mode=mode) for mode in ("model", "stored"))
    assert len(api.compress(smooth).data) == min(len(by_model.data), len(stored.data))


def test_auto_stores_flat_pictures_without_the_model(fake_models: FakeModels) -> None:
    pixels = np.full((60, 80, 3), 200, np.uint8)
    pixels[10:30, 20:50] = 7, 80, 90
    data = save(pixels, "PNG")
    result = api.compress(data)
    assert (result.info.mode, fake_models.loads) == ("stored", 0)
    assert read_picture(api.decompress(result.data).data) == read_picture(data)


def test_auto_spares_the_fallback_when_the_model_is_far_ahead(
    fake: FakeCodec, tiny_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vaez.stored, "encode", None)  # whoever calls it fails
    monkeypatch.setattr(api, "CLEARLY_SMALLER", 100.0)
    monkeypatch.setattr(api, "SMALL_PX", 0)
    assert api.compress(tiny_png).info.mode == "model"


def test_auto_stores_small_pictures_as_well(fake: FakeCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far ahead of a fast WebP the model is."""
    y, x, c = np.ogrid[:64, :64, :3]
    pixels = (y * y // 9 + 3 * x + c * x * y // 20).astype(np.uint8)
    monkeypatch.setattr(api, "CLEARLY_SMALLER", 100.0)
    monkeypatch.setattr(api, "FLAT", 0)
    small, larger = api.compress(save(pixels, "PNG")), api.compress(save(np.tile(pixels, (2, 1, 1)), "PNG"))
    assert (small.info.mode, larger.info.mode) == ("stored", "model")


@pytest.mark.parametrize("size", [(1, 600), (600, 1), (7, 129)])
def test_auto_stores_thin_pictures_without_the_model(fake_models: FakeModels, size: tuple[int, int]) -> None:
    """A pixel of theirs costs many times what it costs in others."""
    data = save(np.arange(size[0] * size[1]).astype(np.uint8).reshape(size), "PNG")
    result = api.compress(data)
    assert (result.info.mode, fake_models.loads) == ("stored", 0)
    assert result.note is not None and "too thin" in result.note
    assert read_picture(api.decompress(result.data).data) == read_picture(data)
    assert api.compress(data, mode="model").info.mode == "model"


@pytest.mark.parametrize("fault", [1, 255])
def test_verification_finds_a_wrong_decoder(fake: FakeCodec, tiny_png: bytes, fault: int) -> None:
    fake.fault = fault
    with pytest.raises(VerifyError):
        api.compress(tiny_png, mode="model")
    unverified = api.compress(tiny_png, mode="model", verify=False)
    with pytest.raises(CorruptDataError, match="content check"):
        api.decompress(unverified.data)


def test_verification_finds_a_wrong_writer(fake: FakeCodec, tiny_png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaez.png, "find_writing", lambda *_: b"")
    monkeypatch.setattr(vaez, "write_picture", lambda picture, *_: save(picture.pixels, "PNG"))  # loses the text
    with pytest.raises(VerifyError, match="another picture"):
        api.compress(tiny_png, mode="model")


def test_how_a_png_was_written_is_found_while_it_is_coded(
    fake: FakeCodec, tiny_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another thread, unless one is all there may be, or what is in memory meanwhile is large."""
    coded, found_after = threading.Event(), []
    find, encode = vaez.png.find_writing, fake.encode

    def finding(*arguments: Any) -> bytes:
        if threading.current_thread() is not threading.main_thread():
            coded.wait(60)
        found_after.append(coded.is_set())
        return find(*arguments)

    def encoding(*arguments: Any) -> Encoded:
        coded.set()
        return encode(*arguments)

    monkeypatch.setattr(vaez.png, "find_writing", finding)
    monkeypatch.setattr(fake, "encode", encoding)
    files = [api.compress(tiny_png, mode="model").data]
    coded.clear()
    files.append(api.compress(tiny_png, mode="model", threads=1).data)
    coded.clear()
    monkeypatch.setattr(vaez, "_BESIDE_BYTES", 1)
    files.append(api.compress(tiny_png, mode="model").data)
    assert found_after == [True, False, False]
    assert len(set(files)) == 1 and api.decompress(files[0]).data == tiny_png


def test_verification_holds_the_file_once(fake: FakeCodec, tiny_png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the most memory of all, and what the file was packed from is as large as the file."""
    made: list[weakref.ref[container.Container]] = []
    alive: list[bool] = []

    def watched(function: Callable[..., container.Container]) -> Callable[..., container.Container]:
        def call(*arguments: Any) -> container.Container:
            contents = function(*arguments)
            made.append(weakref.ref(contents))
            return contents

        return call

    for name in ("code", "store"):
        monkeypatch.setattr(vaez, name, watched(getattr(vaez, name)))
    monkeypatch.setattr(vaez, "verify", lambda *_: alive.extend(contents() is not None for contents in made))
    for mode in ("model", "auto", "stored"):
        api.compress(tiny_png, mode=mode)
    assert len(alive) > 3 and not any(alive)


def test_missing_and_mismatched_models(fake: FakeCodec, tiny_png: bytes) -> None:
    data = api.compress(tiny_png, mode="model").data
    parsed = container.unpack(data)
    assert parsed.model is not None
    for change, error in (({"id": "other"}, ModelMissingError), ({"weights_hash": bytes(8)}, ModelMismatchError)):
        other = dataclasses.replace(parsed, model=dataclasses.replace(parsed.model, **change))
        with pytest.raises(error):
            api.decompress(container.pack(other))


@pytest.mark.parametrize("change", [{"height": 1 << 40}, {"height": 4}, {"bit_depth": 16}, {"channels": 2}])
def test_false_headers_are_typed_errors(fake: FakeCodec, tiny_png: bytes, change: dict[str, int]) -> None:
    """With checks that fit: so no flipped bit, but a file that somebody made."""
    parsed = container.unpack(api.compress(tiny_png, mode="model").data)
    with pytest.raises(FormatError):
        api.decompress(container.pack(dataclasses.replace(parsed, **change)))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["model", "stored"])
def test_every_damaged_byte_is_a_typed_error(fake: FakeCodec, tiny_png: bytes, mode: api.ModeName) -> None:
    data = api.compress(tiny_png, mode=mode).data
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(FormatError):
                api.decompress(bytes(damaged))
        with pytest.raises(FormatError):
            api.decompress(data[:at])
    with pytest.raises(FormatError):
        api.decompress(data + b"\0")


def chunk_list(*before: tuple[bytes, bytes], after: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Metadata of a PNG or WebP."""
    return chunks.pack([*before], [*after])


def resigned(file: bytes, metadata: bytes, codec: FakeCodec) -> bytes:
    """A compressed file with other metadata, and checks that fit."""
    parsed = container.unpack(file)
    kinds = (container.SectionKind.METADATA, container.SectionKind.PACKED_METADATA)
    sections = [section for section in parsed.sections if section.kind not in kinds]
    check = vaez.content_check(dataclasses.replace(vaez.decode(parsed, codec), metadata=metadata))
    changed = (container.Section(container.SectionKind.METADATA, metadata), *sections)
    return container.pack(dataclasses.replace(parsed, sections=changed, content_check=check))


BMP_HEADER = save(NOISE[..., :3], "BMP")[:54]


@pytest.mark.parametrize(
    ("format", "metadata"),
    [
        ("PNG", chunk_list((b"CRIT", b""))),
        ("PNG", chunk_list((b"ID3T", b""))),
        ("PNG", chunk_list((b"PLTE", b""))),
        ("PNG", chunk_list((b"PLTE", bytes(4)))),
        ("PNG", chunk_list((b"PLTE", bytes(771)))),
        ("PNG", chunk_list((b"PLTE", bytes(3)), (b"PLTE", bytes(3)))),
        ("PNG", chunk_list(after=[(b"PLTE", b"abc")])),
        ("PNG", chunk_list((b"tRNS", bytes(2)))),
        ("PNG", chunk_list((b"tRNS", bytes(6)), (b"tRNS", bytes(6)))),
        ("PNG", chunk_list(after=[(b"tRNS", b"abcdef")])),
        ("PNG", chunk_list((b"gAMA", bytes(1)))),
        ("PNG", chunk_list((b"acTL", bytes(8)))),
        ("gray PNG", chunk_list((b"PLTE", bytes(3)))),
        ("gray PNG", chunk_list((b"tRNS", bytes(6)))),
        ("WEBP", chunk_list((b"VP8 ", bytes(9)))),
        ("WEBP", chunk_list((b"VP8L", bytes(9)))),
        ("WEBP", chunk_list((b"VP8X", bytes(10)))),
        ("WEBP", chunk_list((b"VP8X", bytes([16, 0, 0, 0, 16, 0, 0, 12, 0, 0])))),
        ("WEBP", chunk_list((b"ICCP", b""))),
        ("BMP", b"PM" + BMP_HEADER[2:]),
        ("BMP", BMP_HEADER[:14] + b"\x29" + BMP_HEADER[15:]),
        ("BMP", BMP_HEADER[:28] + b"\x20" + BMP_HEADER[29:]),
        ("BMP", BMP_HEADER[:-1]),
        ("PPM", b"P6 17 13 254\n"),
        ("PPM", b"P5 17 13 255\n"),
    ],
)
def test_changed_metadata_of_no_picture(fake: FakeCodec, format: str, metadata: bytes) -> None:
    """The checks fit: what would be restored is looked at, before it is handed out."""
    pixels, format = (NOISE[..., 0], "PNG") if format == "gray PNG" else (NOISE[..., :3], format)
    file = api.compress(save(pixels, format, **{"lossless": True} if format == "WEBP" else {}), mode="model").data
    with pytest.raises(CorruptDataError) as caught:
        api.decompress(resigned(file, metadata, fake))
    assert "content check" not in str(caught.value)


@pytest.mark.parametrize("mode", ["model", "stored"])
@pytest.mark.parametrize("change", ["metadata", "format"])
def test_the_content_check_covers_format_and_metadata(fake: FakeCodec, mode: api.ModeName, change: str) -> None:
    """Both would be written as a picture; it would not be the one that was compressed."""
    text = PngInfo()
    text.add_text("Title", "sea")
    pixels = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)[..., None].repeat(3, 2)
    file = api.compress(save(pixels, "BMP") if change == "format" else save(pixels, "PNG", pnginfo=text), mode=mode).data
    parsed = container.unpack(file)
    assert parsed.method in (0, 2, 3, 4)
    if change == "format":  # without its header
        bodies = (container.SectionKind.PAYLOAD, container.SectionKind.MESSAGE)
        sections = tuple(section for section in parsed.sections if section.kind in bodies)
        fields: dict[str, Any] = {"format": "PPM", "sections": sections}
    else:
        section, *others = parsed.sections
        assert b"sea" in section.body
        fields = {"sections": (dataclasses.replace(section, body=section.body.replace(b"sea", b"see")), *others)}
    with pytest.raises(CorruptDataError, match="content check"):
        api.decompress(container.pack(dataclasses.replace(parsed, **fields)))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "PPM"])
def test_any_change_of_metadata_gives_a_picture_or_an_error(fake: FakeCodec, format: str) -> None:
    rng = np.random.default_rng(5)
    pixels = NOISE[..., :3]
    if format == "PPM":
        source = b"P6\n# sea\n17 13 255\n" + pixels.tobytes()
    else:
        exif = Image.Exif()
        exif[270] = "sea"
        source = save(pixels, format, exif=exif, **{"lossless": True} if format == "WEBP" else {})
    file = api.compress(source, mode="model").data
    metadata = metadata_of(container.unpack(file).sections)
    errors = 0
    for _ in range(300):
        changed = bytearray(metadata)
        for place in rng.integers(0, len(metadata), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        try:
            restored = api.decompress(resigned(file, bytes(changed), fake)).data
        except CorruptDataError:
            errors += 1
        else:
            again = read_picture(restored)
            assert again.format == format and again.pixels.shape == pixels.shape
            if format != "BMP":  # its header says which row comes first
                assert np.array_equal(again.pixels, pixels)
            with Image.open(io.BytesIO(restored)) as image:
                image.load()
    assert 0 < errors < 300


def test_stored_method_of_a_newer_version(tiny_png: bytes) -> None:
    parsed = container.unpack(api.compress(tiny_png, mode="stored").data)
    data = container.pack(dataclasses.replace(parsed, method=200))
    assert api.inspect(data).method == "unknown (200)"
    with pytest.raises(UnsupportedVersionError, match="stored method 200"):
        api.decompress(data)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", save(NOISE, "PNG")[:-20]])
@pytest.mark.parametrize("mode", ["auto", "model", "stored"])
def test_no_picture_is_refused(data: bytes, mode: api.ModeName) -> None:
    with pytest.raises(UnsupportedImageError):
        api.compress(data, mode=mode)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "mode: auto, model or stored, not 'best'"),
        ({"mode": "stored", "model": "fake-1"}, "model: mode stored uses none"),
        ({"threads": 0}, "threads: at least 1"),
        ({"threads": -1}, "threads: at least 1"),
        ({"threads": 0, "mode": "stored"}, "threads: at least 1"),
        ({"model": api.Model(), "threads": 2}, "threads: a Model has its own"),
        ({"model": api.Model(), "device": "cuda"}, "device: a Model has its own"),
    ],
)
def test_arguments_that_cannot_be(fake: FakeCodec, tiny_png: bytes, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        api.compress(tiny_png, **arguments)
    if "mode" not in arguments:
        with pytest.raises(ValueError, match=message):
            api.decompress(b"", **arguments)


def test_a_model_does_not_store(fake: FakeCodec, tiny_png: bytes) -> None:
    with pytest.raises(ValueError, match="mode: auto or model for a model, not 'stored'"):
        api.Model().compress(tiny_png, mode="stored")


def test_an_unknown_model_is_an_error_even_where_none_is_needed(fake: FakeCodec) -> None:
    with pytest.raises(ModelMissingError):
        api.compress(KEPT_AS_FILES["JPEG"], model="no-such")


def test_a_model_for_sets_is_refused_in_a_line(sample_png: bytes) -> None:
    with pytest.raises(ModelError, match="'gray' is not for pictures of any size, but for sets of images of one size$"):
        api.compress(sample_png, model=GOLDEN / "gray.safetensors")


def test_a_model_is_loaded_once(fake_models: FakeModels, tiny_png: bytes) -> None:
    model = api.Model()
    assert model.compress(KEPT_AS_FILES["JPEG"]).info.mode == "stored"
    assert fake_models.loads == 0
    files = [model.compress(tiny_png, mode="model").data, api.compress(tiny_png, mode="model", model=model).data]
    for file in files:
        assert read_picture(model.decompress(file).data) == read_picture(api.decompress(file, model=model).data)
    assert fake_models.loads == 1
    assert (model.id, model.weights_hash) == ("fake-1", HASH.hex())


def test_a_model_decompresses_the_files_of_others(fake_models: FakeModels, tiny_png: bytes) -> None:
    files = [api.compress(tiny_png, mode="model", model=id).data for id in ("fake-1", "fake-2")]
    fake_models.loads = 0
    model = api.load_model("fake-2")
    for file in files * 2:
        assert read_picture(model.decompress(file).data) == read_picture(tiny_png)
    assert fake_models.loads == 2
    del fake_models.codecs["fake-1"]
    with pytest.raises(ModelMissingError):
        api.Model("fake-2").decompress(files[0])


def test_threads_share_a_model(tiny_png: bytes) -> None:
    """One loads it, and all code the same."""
    model = api.Model(GOLDEN / "tiny.safetensors", threads=1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: model.compress(tiny_png, mode="model"), range(8)))
    assert {result.data for result in results} == {results[0].data}
    assert read_picture(model.decompress(results[0].data).data) == read_picture(tiny_png)


INPUTS = {
    "gray": NOISE[..., 0],
    "gray with an axis": NOISE[..., :1],
    "RGB": NOISE[..., :3],
    "RGBA": NOISE,
    "uint16 of few values": WIDE % 20 * 3000,
    "uint16": WIDE,
    "float32": NOISE[..., 0].astype(np.float32),
    "bool": NOISE[..., 0] > 99,
}


@pytest.mark.parametrize("name", INPUTS)
def test_arrays_there_and_back(fake: FakeCodec, name: str) -> None:
    array = INPUTS[name]
    model = api.Model()
    for result in (api.compress(array), api.compress(array, mode="stored"), model.compress(array)):
        back = api.decompress(result, model=model).array()
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert np.array_equal(back, array)
        assert result.info.format == "NPY"
    if name in ("gray", "gray with an axis", "RGB", "RGBA", "uint16 of few values"):
        result = model.compress(array, mode="model")
        assert result.note is None and result.info.mode == "model"
        assert np.array_equal(model.decompress(result).array(), array)
        assert (result.info.metadata_bytes > 0) == (name == "gray with an axis")
    elif name == "uint16":
        assert "NPY: stored without the model" in str(model.compress(array).note)
        with pytest.raises(UnsupportedImageError, match=r"would be lost"):
            model.compress(array, mode="model")
    else:
        assert model.compress(array).note == f"{array.dtype} array {array.shape}: stored byte for byte, without the model"
        with pytest.raises(UnsupportedImageError, match="is not a picture"):
            model.compress(array, mode="model")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_images_there_and_back(fake: FakeCodec, mode: str) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    back = api.decompress(api.compress(image)).pil()
    assert (back.mode, back.size, back.tobytes()) == (image.mode, image.size, image.tobytes())


def test_a_path_is_the_file_in_it(fake: FakeCodec, tmp_path: Path, tiny_png: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(tiny_png)
    packed = api.compress(path)
    assert api.compress(str(path)) == api.compress(bytearray(tiny_png)) == api.compress(memoryview(tiny_png)) == packed
    packed.save(tmp_path / "a.vaez")
    assert api.inspect(str(tmp_path / "a.vaez")) == api.inspect(packed) == api.inspect(memoryview(packed.data)) == packed.info
    restored = api.decompress(tmp_path / "a.vaez")
    assert restored == api.decompress(packed) == api.decompress(bytearray(packed.data))
    restored.save(str(tmp_path / "b.png"))
    assert (tmp_path / "b.png").read_bytes() == restored.data
    assert np.array_equal(restored.array(), read_picture(tiny_png).pixels)


def test_errors_name_the_path(fake: FakeCodec, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"no picture")
    for mode in ("auto", "stored"):
        with pytest.raises(UnsupportedImageError, match="a.txt: not a picture"):
            api.compress(path, mode=mode)
    for function in (api.decompress, api.inspect, api.Model().decompress):
        with pytest.raises(FormatError, match="a.txt: not a vaezip file"):
            function(path)
        with pytest.raises(FileNotFoundError, match="missing"):
            function(tmp_path / "missing")


def test_errors_name_the_argument(fake: FakeCodec) -> None:
    for source in (None, 7, [1, 2], NOISE.tolist()):
        with pytest.raises(TypeError, match="source: a path, bytes, an array or a Pillow image, not "):
            api.compress(source)  # type: ignore[arg-type]
    for function in (api.decompress, api.inspect):
        with pytest.raises(TypeError, match="file: a path, bytes or a Result, not "):
            function(7)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedImageError, match="mode CMYK is not supported"):
        api.compress(Image.new("CMYK", (3, 2)))
    with pytest.raises(UnsupportedImageError, match="Python objects"):
        api.compress(np.array([None]))


PUBLIC = """compress decompress inspect load_model pack open_archive Model Result Restored Info BbansError UnsupportedImageError
    FormatError CorruptDataError UnsupportedVersionError ModelError ModelMissingError ModelMismatchError InexactBackendError
    TrainingError VerifyError __version__"""


def test_public_names() -> None:
    assert bbans.__all__ == PUBLIC.split()
    for name in bbans.__all__:
        assert getattr(bbans, name) is not None
        assert name in dir(bbans)
    for name in ("no_such_name", "_no_such_name"):
        with pytest.raises(AttributeError, match=name):
            getattr(bbans, name)
    exported = {getattr(bbans, name) for name in bbans.__all__ if name.endswith("Error")}
    assert exported == {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BbansError)}


def test_sub_modules_resolve() -> None:
    """In a process of its own: here the tests have imported them."""
    names = sorted(path.stem for path in Path(bbans.__file__).parent.glob("[a-z]*") if path.suffix in ("", ".py"))
    assert {"ans", "bitsback", "codecs", "exact", "models", "sets", "training"} <= set(names)
    script = "import bbans\n" + "\n".join(f"assert bbans.{name}.__name__ == 'bbans.{name}'" for name in names)
    subprocess.run([sys.executable, "-c", script], check=True)
