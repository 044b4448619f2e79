"""Golden files: what was written once decodes for ever, and is written the same. See make_golden.py before changing one.

The tables that the messages rest on are pinned in test_tables.py.
"""

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import bbans
from bbans import models, sets, vaez
from bbans.codecs import Codec
from bbans.errors import CorruptDataError
from bbans.exact.backends import BACKENDS
from bbans.formats import container
from bbans.formats.archive import read_head
from bbans.formats.container import ConversionNumber, SectionKind, StoredMethod, unpack
from bbans.formats.forms import Form
from bbans.formats.groups import Group, GroupMethod
from bbans.images.picture import read_picture, write_picture
from bbans.models.photo import geometry
from bbans.models.photo.codec import PhotoCodec
from bbans.sets.chunk import unpack_samples
from tests import format_decoder, format_file_decoder, format_sets_decoder
from tests.format_decoder import Decoder, cuts, strip_edges
from tests.make_golden import (
    ARCHIVES,
    EFFORTS,
    FOLDER,
    LINKS,
    PICTURES,
    PINNED,
    TIMES,
    archived,
    converted_picture,
    digest,
    kept_kinds,
    kept_picture,
    kept_rasters,
    pinned_picture,
    profiled,
    written_png,
)
from tests.models import TINY, WITHOUT_LATENTS, codec, picture, weight_file

FILES = {
    "tiny.safetensors": "e28e43915288be8bb934e8ca2d33890a3a90c25d6eea5c30951c9fd6d0cc425a",
    "messages.json": "d8fbea4de71f6260402081e1b235be9aa933f8d479aafcc4a33cfa0ade3bd47d",
    "model.vaez": "adae18c0203d85c8bc2ca550beef04bb37bb744e48c5dd6e0d9a2b029840df76",
    "file.vaez": "90bfe988c44cb2e49d4161c373f43667506ac25594ad8e3a659c5002d045ff20",
    "file_lzma.vaez": "c5c6ca178b9a64bbd4e9874c47c0b9dc9820d31d686b300728a20270eb6c46fc",
    "webp.vaez": "ab8dfe7ad10b23db49fc2209b7a9224cd077ed764afad3cef25dbd0f3a88b6c7",
    "rows_lzma.vaez": "eed73af8ad7b1dcbb456f3ed4f402176936da4e2ccc44158fefc04167508ce2d",
    "jxl.vaez": "947a4dbcc32bdcddc18f5f84f2ec311f37d595323c8a61c4c014dc4123c35643",
    "binary.safetensors": "40167d43e2b55f17907a6a5cf31bd1d0049c4114aff7cb25c9ea3312196b3209",
    "gray.safetensors": "05bd875bc5e112cd943b52e0cfe66a6e10b86631725f4041807acb2e5bf52b32",
    "colours.safetensors": "0d3097d8a66c1a7bca6ccf97c5b5afd90dad4de0c502be9d8bfdc0459fc1c178",
    "bb-ans.vaeza": "b055021dddffa3ab8f3beae7014451b80cbcda74c387b21db6e72623afd943f7",
    "mcbits-3.vaeza": "ab82b817f5f61f1f25017c58ae7a3e2a3c939438ed0d4314593387f0d25cd766",
    "mcbits-coupled-3.vaeza": "13cd15a5d1ad487669301832f3fa0afc86eae83a55c1a95440b6d53b5fe22faa",
    "bit-swap.vaeza": "270641269f0b3eee27e2d9f73561a57eafdd1971f71270aa9a23b43e83eb7c0a",
    "top-down.vaeza": "2f2141d82df48307448a2c62489937689469c09425f0538661c364e01140bffe",
    "lzma.vaeza": "35eaec11ea660f21a410b3fe4d149e80f90b4a55c4143d7cda7d129853c6d2c9",
    "files.vaeza": "888ceaa38f87d79f59269be84bce7a124a24a0f669a0a2e6fc31041de512ad64",
    "wide.vaeza": "b2bf8ed050c225bf8ab79713f625331e78018fd817486d1aa51f3c08b034a523",
    "one-by-one.vaeza": "e314748c603db4cf40c13e164fa200ec153229b5e7ef6be7b6543f67b0cfcedc",
}

KINDS = "15ba68e06796508b3bf8a7030b424a9aa70bf362d800112d5567dc77229ad088"
"""Of the files of `kept_kinds`, one after another, in the order of their names."""

CONVERTED = {
    1: "ebf3663c5bfd310162950b55ddce8439221767da31dc04ac5a7a9d2aa990c2ae",
    2: "b77dc2cab4715b885e025e559abb56ea05acbbb2af0c45468610bdef4ea14b2d",
    3: "f5289af6dccdb38198ee8b8790fd576916e5198a5de0627fc91dc98f6a85eb57",
    4: "a827ec8930eed1e0f18fd80959d1da0f70edb707b6e90a76870af2e25ed71348",
    5: "3dd384f37155db8672c60d9aed4697dc19307a6f6acb7c6dd8a1fc801a32c758",
    6: "1487bf5dcfd291aac0a89998943e76ac7c08278c5a113a551e9f301003cf463e",
}
"""Of the files in ``converted``."""

WRITING = "2d14b31aad151b75d9be9f604fa2756e5f5f354f1d4ca1b59d128bca602f55f1"
PROFILE = "e9664e1f58239afeca17e54c6818fa10f3aaccc40bccd378c31b9854d16a07c7"
JPEG = [
    "dd6defd3a8d9d01e6d9ba3c82256f3a6adcc3eed98f4077ca43c9098224a080d",
    "74c958d7ac6cb3865fe9d002683ee6f88e23446835429cab60b47aa87f72b560",
]
"""Of the compressed file and of the JPEG."""


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads((FOLDER / "messages.json").read_text())


@pytest.fixture(scope="module", params=BACKENDS["cpu"])
def coder(request: pytest.FixtureRequest) -> PhotoCodec:
    return models.load(FOLDER / "tiny.safetensors", threads=1, backend=request.param)


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_the_old_ones(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == FILES[name]


def test_the_kinds_are_the_old_ones() -> None:
    data = b"".join((FOLDER / "kinds" / f"{name}.vaez").read_bytes() for name in sorted(kept_kinds()))
    assert hashlib.sha256(data).hexdigest() == KINDS


def test_all_are_there(golden: dict) -> None:
    assert golden["pictures"].keys() == PICTURES.keys()
    assert golden["pinned"].keys() == PINNED.keys()
    flags = {name: base64.b64decode(case["messages"][0])[0] for name, case in golden["pictures"].items()}
    assert flags == {"colours": 0b1, "gray": 0b1, "noise": 0, "pixel": 0, "quick": 0b1000_0001, "tuned": 0b0100_0011}


@pytest.mark.parametrize("name", PICTURES)
def test_messages_decode_and_are_made_again(golden: dict, coder: PhotoCodec, name: str) -> None:
    case = golden["pictures"][name]
    pixels = np.frombuffer(base64.b64decode(case["pixels"]), np.uint8).reshape(case["shape"])
    messages = [base64.b64decode(message) for message in case["messages"]]
    assert np.array_equal(coder.decode(messages, *pixels.shape), pixels)
    if name != "tuned":  # by floats, which may be others elsewhere
        assert coder.encode(pixels, EFFORTS.get(name, 5)).messages == messages


@pytest.mark.parametrize("name", PINNED)
def test_large_pictures_give_the_pinned_messages(golden: dict, name: str) -> None:
    pixels = pinned_picture(*PINNED[name])
    coder = models.load(FOLDER / "tiny.safetensors", threads=1)
    messages = coder.encode(pixels).messages
    assert len(messages) == {"regions": 2, "strips": 5}[name]
    assert digest(messages) == golden["pinned"][name]
    assert np.array_equal(coder.decode(messages, *pixels.shape), pixels)


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".vaez")))
def test_files_decode(golden: dict, name: str) -> None:
    """Container, metadata and every way to store: chapters 2 to 4 of FORMAT.md."""
    data = (FOLDER / name).read_bytes()
    info = bbans.inspect(data)
    assert name == f"{info.method or 'model'}.vaez"
    case = golden["pictures"]["gray"]
    pixels = np.frombuffer(base64.b64decode(case["pixels"]), np.uint8).reshape(case["shape"])
    restored = bbans.decompress(data, model=str(FOLDER / "tiny.safetensors"), threads=1)
    assert restored.format == "PNG"
    assert read_picture(restored.data) == kept_picture(pixels)


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".vaez")))
def test_a_decoder_of_files_made_from_the_specification_reads_them(golden: dict, name: str) -> None:
    case = golden["pictures"]["gray"]
    decoded = format_file_decoder.decode((FOLDER / name).read_bytes(), Decoder((FOLDER / "tiny.safetensors").read_bytes()).decode)
    source = write_picture(kept_picture(np.frombuffer(base64.b64decode(case["pixels"]), np.uint8).reshape(case["shape"])))
    assert (decoded.format, decoded.source_bytes) == ("PNG", len(source))
    if decoded.samples is None:
        assert decoded.file == source
    else:
        assert decoded.samples.astype(np.uint8).tobytes() == base64.b64decode(case["pixels"])
        assert format_file_decoder.chunks(decoded.metadata) == ([(b"tEXt", b"Comment\0kept")], [])


@pytest.mark.parametrize("name", kept_kinds())
def test_every_kind_of_png_decodes(name: str) -> None:
    """By the decoder made from the specification too."""
    data, (picture, method, form) = (FOLDER / "kinds" / f"{name}.vaez").read_bytes(), kept_kinds()[name]
    contents = unpack(data)
    assert (contents.method, contents.bodies(SectionKind.PAYLOAD)[0][0]) == (method, form)
    assert read_picture(bbans.decompress(data).data, any_kind=True) == picture
    decoded = format_file_decoder.decode(data, no_model)
    assert (decoded.method, decoded.format, decoded.bit_depth, decoded.metadata) == (
        method,
        "PNG",
        picture.bit_depth,
        picture.metadata,
    )
    assert decoded.samples is not None and np.array_equal(decoded.samples, picture.pixels)


@pytest.mark.parametrize("name", kept_rasters())
def test_files_without_compression_come_back_byte_for_byte(name: str) -> None:
    """By the decoder made from the specification too."""
    data, source = (FOLDER / "kinds" / f"{name}.vaez").read_bytes(), kept_rasters()[name]
    assert bbans.inspect(data).restores == "file"
    assert bbans.decompress(data).data == source
    decoded = format_file_decoder.decode(data, no_model)
    assert decoded.samples is not None and decoded.file == source


def test_metadata_by_profiles_decodes_for_ever() -> None:
    """By the decoder made from the specification too."""
    data, picture = (FOLDER / "profile.vaez").read_bytes(), profiled()
    assert hashlib.sha256(data).hexdigest() == PROFILE
    assert [section.kind for section in bbans.inspect(data).sections] == ["payload", "metadata_by_profiles"]
    assert read_picture(bbans.decompress(data).data, any_kind=True) == picture
    decoded = format_file_decoder.decode(data, no_model)
    assert decoded.metadata == picture.metadata and np.array_equal(decoded.samples, picture.pixels)


def test_a_jpeg_comes_back_byte_for_byte() -> None:
    """By the decoder made from the specification too."""
    data = (FOLDER / "jpeg.jpg.vaez").read_bytes()
    info, file = bbans.inspect(data), bbans.decompress(data).data
    assert (info.method, info.format, info.source_bytes) == ("jpeg", "JPEG", len(file)) and info.file_bytes < len(file)
    assert [hashlib.sha256(part).hexdigest() for part in (data, file)] == JPEG
    assert format_file_decoder.decode(data, no_model).file == file


def test_a_png_comes_back_byte_for_byte_where_zlib_is_the_same() -> None:
    """By the decoder made from the specification too."""
    data, source = (FOLDER / "writing.png.vaez").read_bytes(), written_png()
    assert hashlib.sha256(data).hexdigest() == WRITING
    info, restored = bbans.inspect(data), bbans.decompress(data)
    assert info.restores == "file"
    assert read_picture(restored.data) == read_picture(source)
    same = restored.note is None
    assert same or (zlib.ZLIB_RUNTIME_VERSION != zlib.ZLIB_VERSION or "ng" in zlib.ZLIB_RUNTIME_VERSION)
    assert not same or restored.data == source
    assert format_file_decoder.decode(data, no_model).file == (source if same else None)


@pytest.mark.parametrize("number", ConversionNumber)
def test_converted_pictures_decode_and_are_made_again(coder: PhotoCodec, number: int) -> None:
    data = (FOLDER / "converted" / f"{number}.vaez").read_bytes()
    assert hashlib.sha256(data).hexdigest() == CONVERTED[number]
    kept = kept_picture(converted_picture(number))
    restored = bbans.decompress(data, model=str(FOLDER / "tiny.safetensors"), threads=1)
    assert read_picture(restored.data, any_kind=True) == kept
    if number != ConversionNumber.ALPHA:  # whose bytes are those of a library
        assert container.pack(vaez.code(vaez.prepare(vaez.picture_source(write_picture(kept), kept)), coder)) == data


@pytest.mark.parametrize("number", ConversionNumber)
def test_a_decoder_made_from_the_specification_converts_pictures(number: int) -> None:
    data = (FOLDER / "converted" / f"{number}.vaez").read_bytes()
    decoded = format_file_decoder.decode(data, Decoder((FOLDER / "tiny.safetensors").read_bytes()).decode)
    assert np.array_equal(decoded.samples, kept_picture(converted_picture(number)).pixels)


def no_model(*_: object) -> NoReturn:
    raise AssertionError("a stored file needs no model")


def test_kinds_hold_every_method_form_and_depth() -> None:
    kinds = kept_kinds().values()
    assert {(method, form) for _, method, form in kinds} >= {
        *((method, Form.SAMPLES) for method in StoredMethod if not method.keeps_file),
        *((method, Form.COLOURS) for method in (StoredMethod.WEBP, StoredMethod.JXL)),
        (StoredMethod.JXL, Form.EIGHT_BITS),
    }
    assert {(picture.pixels.shape[2], picture.bit_depth) for picture, _, _ in kinds} >= {
        *((1, depth) for depth in (1, 2, 4, 16)),
        *((channels, depth) for channels in (2, 4) for depth in (8, 16)),
        (3, 16),
    }


@pytest.mark.parametrize("name", PICTURES)
def test_a_decoder_made_from_the_specification_reads_them(golden: dict, name: str) -> None:
    """FORMAT.md says all that is needed."""
    case = golden["pictures"][name]
    decoded = Decoder((FOLDER / "tiny.safetensors").read_bytes()).decode(
        [base64.b64decode(message) for message in case["messages"]], *case["shape"]
    )
    assert decoded.tobytes() == base64.b64decode(case["pixels"])


CASES = {
    "no adaptive stage": (replace(TINY, adaptive=False), picture(41, 50)),
    "no latents": (WITHOUT_LATENTS, picture(37, 45)),
    "latents not coded": (TINY, picture(40, 40)),
    "odd": (TINY, picture(39, 45)),
    "odd and gray": (TINY, picture(45, 39, 1)),
    "strips": (TINY, picture(70, 41)),
}


def too_few_bits(*_: object) -> NoReturn:
    raise CorruptDataError("there are too few bits")


@pytest.mark.parametrize("name", CASES)
def test_what_it_reads_beside_the_golden_pictures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, pixels = CASES[name]
    if name == "strips":
        monkeypatch.setattr(geometry, "STRIP_STEP", 16)
        monkeypatch.setattr(geometry, "STRIP_POSITIONS", 16 * 21)
        monkeypatch.setattr(format_decoder, "strip_edges", lambda h, w: [0, 16, h] if h == 35 else [0, h])
    if name == "latents not coded":  # as when x10 has too few bits
        monkeypatch.setattr(PhotoCodec, "latent_codec", lambda *_: Codec(too_few_bits, too_few_bits))
    messages = codec(config).encode(pixels).messages
    assert len(messages) == (3 if name == "strips" else 1)
    assert (messages[0][0] == 0) == (name in ("no latents", "latents not coded"))
    assert np.array_equal(Decoder(weight_file(config)).decode(messages, *pixels.shape), pixels)


@pytest.mark.parametrize("size", [1, 2, 1535, 1536, 1537, 1793, 3072, 3073, 5000, 18433, 100_000])
def test_regions_are_cut_as_the_specification_says(size: int) -> None:
    assert [(part.start, part.stop) for part, _ in geometry.regions(size, 1)] == cuts(size)
    assert [(part.start, part.stop) for _, part in geometry.regions(1, size)] == cuts(size)


def test_strips_are_cut_as_the_specification_says() -> None:
    for h in (1, 63, 64, 65, 200, 321, 640, 705, 767, 768):
        for w in (1, 100, 256, 511, 512, 768):
            strips = geometry.strips(h, w)
            assert [0, *(strip.stop for strip in strips)] == strip_edges(h, w)
            assert [strip.start for strip in strips] == strip_edges(h, w)[:-1]


@pytest.fixture(scope="module", params=ARCHIVES)
def archived_set(request: pytest.FixtureRequest) -> tuple[str, Path | None, bytes]:
    """Name, weight file if there is one, and bytes of a golden archive."""
    model, _ = ARCHIVES[request.param]
    weights = FOLDER / f"{model}.safetensors" if model else None
    return request.param, weights, (FOLDER / f"{request.param}.vaeza").read_bytes()


def messages_of(data: bytes) -> Iterator[tuple[Group, list[bytes], list[int]]]:
    """For each group its messages, and how many images each holds; pictures without what is around their samples."""
    found, at = read_head(io.BytesIO(data))
    for group in found.groups:
        bodies, counts = [], [group.images_in_chunk(number) for number in range(len(group.chunks))]
        for chunk, count in zip(group.chunks, counts, strict=True):
            body, at = data[at : at + chunk.size], at + chunk.size
            bodies.append(unpack_samples(body, count)[1] if group.shape and found.array is None else body)
        yield group, bodies, counts


def test_archives_decode(archived_set: tuple[str, Path | None, bytes]) -> None:
    """Chapters 6 and 7 of FORMAT.md."""
    name, weights, data = archived_set
    reader, source = sets.ArchiveReader(io.BytesIO(data), model=weights, threads=1), archived(name)
    assert reader.surplus_bytes == 0
    if not isinstance(source, dict):
        restored = reader.array()
        assert restored.dtype == source.dtype
        assert np.array_equal(restored, source)
        return
    files = {reader.names[number]: file.data for number, file in reader.files()}
    assert files.keys() == source.keys()
    if name == "files":
        assert {link.name: link.target for link in reader.links} == LINKS
        assert dict(zip((*reader.names, *LINKS), reader.times, strict=True)) == TIMES
    for path, file in files.items():
        if path.endswith(".png"):
            assert read_picture(file) == read_picture(source[path])
        else:
            assert file == source[path]


def test_an_index_is_as_the_specification_says(archived_set: tuple[str, Path | None, bytes]) -> None:
    """Chapter 6 of FORMAT.md."""
    _, _, data = archived_set
    found, size = read_head(io.BytesIO(data))
    own, read_bytes = format_sets_decoder.index(data)
    assert read_bytes == size
    assert own["groups"] == [(group.method, group.count, group.chunk, group.shape) for group in found.groups]
    assert own["chunks"] == [(chunk.size, chunk.crc, chunk.check) for group in found.groups for chunk in group.chunks]
    if found.array:
        assert (own["dtype"], own["shape"]) == (found.array.dtype, found.array.shape)
    else:
        assert [name.decode("utf-8", "surrogateescape") for name in own["names"]] == [*found.names]
        assert {name.decode(): target.decode() for name, target in own["links"].items()} == {
            link.name: link.target for link in found.links
        }
        assert (own["members"], own["times"]) == ([*found.members], [*found.times])


def test_archives_hold_every_method_and_scheme() -> None:
    held = {}
    for name in ARCHIVES:
        groups = [group for group, _, _ in messages_of((FOLDER / f"{name}.vaeza").read_bytes())]
        held[name] = [group.model.scheme if group.model else group.method for group in groups]
    schemes = {name: [name] for name, (model, _) in ARCHIVES.items() if model}
    assert held == schemes | {
        "top-down": ["top-down", GroupMethod.FILE],
        "lzma": [GroupMethod.LZMA],
        "wide": [GroupMethod.LZMA],
        "one-by-one": [GroupMethod.VAEZ],
        "files": [GroupMethod.VAEZ, GroupMethod.FILE],
    }


def test_messages_of_archives_are_made_again(archived_set: tuple[str, Path | None, bytes]) -> None:
    """And a decoder made from the specification reads them."""
    _, weights, data = archived_set
    for group, messages, counts in messages_of(data):
        if group.method != GroupMethod.MODEL:
            continue
        assert weights and group.model
        codec = models.load_set(weights, scheme=group.model.scheme, threads=1)
        images = codec.decode(messages, counts)
        assert codec.encode(images, group.chunk).messages == messages
        decoder = format_sets_decoder.Decoder(weights.read_bytes(), group.model.scheme)
        for message, count, own in zip(messages, counts, np.split(images, np.cumsum(counts)[:-1]), strict=True):
            assert np.array_equal(decoder.decode(message, count), own)
