"""PNG files byte for byte: by the filters and the settings of zlib that they were written with."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vaezip_cli import main

import bbans
from bbans import vaez
from bbans.errors import CorruptDataError, FormatError
from bbans.formats import container
from bbans.formats.container import Section, SectionKind
from bbans.images import chunks, png, pngfile, pngstream
from bbans.images.picture import read_picture
from bbans.images.rows import filter_rows
from tests import format_file_decoder
from tests.unit.test_kinds import picture_of

ROWS = (np.add.outer(np.arange(45) * 3, np.arange(80)) + np.random.default_rng(0).integers(0, 5, (45, 80))).astype(np.uint8)
TEXT = (b"tEXt", b"Title\0Sea")


def file_of(stream: bytes, size: int = 0, rows: np.ndarray = ROWS, before: tuple[chunks.Chunk, ...] = (TEXT,)) -> bytes:
    """An 8-bit gray PNG of a zlib stream, in IDATs of `size` bytes."""
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 8, 0, 0, 0, 0)
    size = size or len(stream)
    return pngfile.assemble(header, before, [stream[i : i + size] for i in range(0, len(stream), size)], [TEXT])


def deflated(
    level: int = 6, memory: int = 8, strategy: int = 0, window: int = 15, filters: int | np.ndarray | None = None
) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, window, memory, strategy)
    return deflate.compress(filter_rows(ROWS, 1, filters).tobytes()) + deflate.flush()


MIXED = np.arange(45, dtype=np.uint8) % 5
STREAMS = {
    **{f"level {level}": deflated(level) for level in range(1, 10)},
    **{f"memory {memory}": deflated(9, memory) for memory in (8, 9)},
    **{f"strategy {strategy}": deflated(6, 8, strategy) for strategy in range(5)},
    **{f"filter {kind}": deflated(filters=kind) for kind in range(5)},
    **{f"window {window}": deflated(window=window) for window in (9, 12, 14)},
    "a filter for each row": deflated(9, 9, 1, filters=MIXED),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [0, 1000])
def test_byte_for_byte(name: str, size: int) -> None:
    data = file_of(STREAMS[name], size)
    result = bbans.compress(data, mode="stored")
    assert result.info.restores == "file" and [section.kind for section in result.info.sections][-1] == "png_writing"
    restored = bbans.decompress(result)
    assert restored.data == data and restored.note is None
    if name in ("level 6", "filter 4", "a filter for each row"):
        assert format_file_decoder.decode(result.data, lambda *_: np.zeros(0)).file == data


@pytest.mark.parametrize("name", ["gray 1", "gray 16", "palette 4", "palette with alpha", "2 channels of 16", "4 channels of 8"])
def test_every_kind(name: str) -> None:
    picture = picture_of(name, 40, 50)
    data = png.write(picture.pixels, picture.metadata, picture.bit_depth)
    result = bbans.compress(data, mode="stored")
    assert (result.info.restores, result.info.mode) == ("file", "stored")
    assert bbans.decompress(result).data == data


def test_the_cost() -> None:
    """Adaptive filters need no list."""
    data = file_of(STREAMS["level 6"])
    with_it = vaez.picture_source(data, read_picture(data), find_writing=True)
    assert 13 <= len(with_it.writing) <= 16
    assert len(vaez.picture_source(file_of(STREAMS["a filter for each row"]), read_picture(data), find_writing=True).writing) < 60


def interlaced() -> bytes:
    data = b"\0\x07" * 1 + b"\0\x09\0\x08"  # 2 x 2: pixels of passes 1, 6 and 7
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)
    return pngfile.assemble(header, [], [zlib.compress(data[:2] + b"\0\x05" + b"\0\x01\x02")])


def test_what_is_not_found() -> None:
    """Interlaced, IDATs of many sizes, or a deflate that is not zlib's: the same picture comes back."""
    stream = STREAMS["level 6"]
    header = struct.pack(">IIBBBBB", 80, 45, 8, 0, 0, 0, 0)
    uneven = pngfile.assemble(header, [], [stream[:10], stream[10:500], stream[500:]])
    body = filter_rows(ROWS, 1).tobytes()
    blocks = zlib.compressobj(6)
    flushed = (
        b"".join(blocks.compress(body[i : i + 100]) + blocks.flush(zlib.Z_FULL_FLUSH) for i in range(0, len(body), 100))
        + blocks.flush()
    )
    for data in (interlaced(), uneven, file_of(flushed)):
        result = bbans.compress(data, mode="stored")
        restored = bbans.decompress(result)
        assert read_picture(restored.data) == read_picture(data)
        assert result.info.method in ("file", "file_lzma") or (result.info.restores, restored.note) == ("picture", None)


def test_another_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same picture comes back, in a file of about the size of its source, and a note says so."""
    data = file_of(STREAMS["level 9"], 1000)
    result = bbans.compress(data, mode="stored")
    deflate = zlib.compressobj

    def other(level: int, method: int, bits: int, memory: int, strategy: int) -> object:
        return deflate(level - 6, method, bits, memory, strategy)

    monkeypatch.setattr(pngstream.zlib, "compressobj", other)
    restored = bbans.decompress(result)
    monkeypatch.undo()
    assert restored.note == vaez.OTHER_ZLIB and restored.data != data
    assert read_picture(restored.data) == read_picture(data)
    assert abs(len(restored.data) - len(data)) < len(data) // 5


def test_a_found_writing_must_give_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(STREAMS["level 6"])
    others = [png.write(ROWS[..., None], read_picture(data).metadata)], [data[:-1]], [data, b"and more"]
    for parts in others:
        with monkeypatch.context() as patch:
            patch.setattr(vaez.png, "rewritten", lambda *_, parts=parts: (iter(parts), b""))
            with pytest.raises(bbans.errors.VerifyError):
                bbans.compress(data, mode="stored")


def test_bits_after_the_last_sample() -> None:
    """They are no part of the picture: with them the file does not come back, but the picture does."""
    header = struct.pack(">IIBBBBB", 3, 2, 1, 0, 0, 0, 0)
    data = pngfile.assemble(header, [], [zlib.compress(b"\0\xbf\0\x40")])
    result = bbans.compress(data, mode="stored")
    assert result.info.restores == "picture" or result.info.method in ("file", "file_lzma")
    assert read_picture(bbans.decompress(result).data, any_kind=True) == read_picture(data, any_kind=True)


def test_the_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = file_of(STREAMS["level 9"])
    packed = tmp_path / "a.png.vaez"
    packed.write_bytes(bbans.compress(data, mode="stored").data)
    assert main.run(["list", "-v", str(packed)]) == 0
    assert "restores  the file, byte for byte" in capsys.readouterr().out
    assert main.run(["decompress", "--exact-file", str(packed)]) == 0
    assert (tmp_path / "a.png").read_bytes() == data
    rewrite = png.rewrite
    monkeypatch.setattr(vaez.png, "rewrite", lambda *arguments: (rewrite(*arguments)[0], False))
    assert main.run(["decompress", "-f", str(packed)]) == 0
    assert vaez.OTHER_ZLIB in capsys.readouterr().err
    (tmp_path / "a.png").unlink()
    assert main.run(["decompress", "--exact-file", str(packed)]) == 4
    assert vaez.OTHER_ZLIB in capsys.readouterr().err and not (tmp_path / "a.png").exists()


def made() -> container.Container:
    return container.unpack(bbans.compress(file_of(STREAMS["a filter for each row"], 1000), mode="stored").data)


def test_changed_and_signed_again() -> None:
    """A typed error, or a file of the same picture that others can read."""
    contents = made()
    [writing] = contents.bodies(SectionKind.PNG_WRITING)
    rng = np.random.default_rng(1)
    notes = 0
    for place in [*range(len(writing)), *rng.integers(0, len(writing), 100).tolist()]:
        for body in (writing[:place], writing[:place] + bytes([writing[place] ^ 1 << rng.integers(8)]) + writing[place + 1 :]):
            sections = (*contents.sections[:-1], Section(SectionKind.PNG_WRITING, body))
            try:
                restored = vaez.restore(container.unpack(container.pack(replace(contents, sections=sections))), None)
            except FormatError:
                continue
            notes += restored.note is not None
            assert np.array_equal(read_picture(restored.data).pixels[..., 0], ROWS)
            with Image.open(io.BytesIO(restored.data)) as image:
                assert np.array_equal(np.asarray(image), ROWS)
    assert notes > 10


@pytest.mark.parametrize(
    "body",
    [b"", bytes(12), b"\xa8\x0f\x78\x9c" + bytes(10), b"\x68\x5f\x78\x9c" + bytes(10), b"\x68\x0f\x78\x9d" + bytes(10)]
    + [
        b"\x68\x0f\x78\x9c" + bytes(8) + tail
        for tail in (b"\0\7", b"\0\0x", b"\0\6\xff", b"\1\0", b"\0\6" + zlib.compress(bytes(46))[2:-4])
    ]
    + [b"\x68\x0f\x08\x1d" + bytes(10)],
)
def test_writings_that_cannot_be(body: bytes) -> None:
    contents = container.unpack(bbans.compress(file_of(deflated(0)), mode="stored").data)
    sections = (*contents.sections[:-1], Section(SectionKind.PNG_WRITING, body))
    if body[12:] == b"\1\0":  # IDATs of one byte are possible, for a stream of less than 2**16
        assert vaez.restore(replace(contents, sections=sections), None).note
        return
    with pytest.raises(CorruptDataError):
        vaez.restore(replace(contents, sections=sections), None)


def test_a_writing_beside_a_file() -> None:
    contents = container.unpack(bbans.compress(b"P5 1 1 255 x", mode="stored").data)
    with pytest.raises(CorruptDataError, match="beside what is none"):
        vaez.restore(replace(contents, sections=(*contents.sections, Section(SectionKind.PNG_WRITING, b"x"))), None)
