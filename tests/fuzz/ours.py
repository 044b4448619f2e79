"""Our own files with changed fields below valid checks: `.vaez` in every mode, `.vaeza`, names of archives, and weight files.

The seeds are the golden files. A change may lie to a check too, or forge the digest of the content, as an attacker would.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import bbans
from bbans import models, sets, vaez
from bbans.errors import BbansError, CorruptDataError, FormatError, ModelError, UnsupportedImageError
from bbans.formats import archive, container, entries, lzma2, names
from bbans.formats.container import StoredMethod
from bbans.formats.groups import GroupMethod
from bbans.formats.wire import CHECK_BYTES, CRC_BYTES, ByteReader, crc32, pack_varint
from bbans.images.picture import read_picture
from bbans.sets.chunk import digest
from tests.fuzz.harness import Limits, Target, Wrong
from tests.fuzz.mutate import Field, changed_field, edited, packed, rearranged, some_bytes

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TINY = GOLDEN / "tiny.safetensors"
SET_MODELS = {"bb-ans": "binary", "mcbits-3": "binary", "mcbits-coupled-3": "binary", "bit-swap": "gray", "top-down": "colours"}


# .vaez


@dataclass
class File:
    """A `.vaez` file: the fields of its header up to the number of sections, and the sections, (kind, body)."""

    fields: list[Field]
    sections: list[tuple[int, bytes]]
    lies: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Sizes and checks in the directory that are not those of the bodies."""


CONTENT_CHECK = 8  # its place among the fields


@cache
def vaez_seeds() -> list[tuple[bytes, File, bytes]]:
    """(file, its parts, what it restores) of the golden files that the tiny model decodes."""
    seeds = []
    kinds = [path for path in GOLDEN.glob("kinds/*.vaez") if not path.name.startswith("strips")]  # those take their time
    for path in sorted([*GOLDEN.glob("*.vaez"), *GOLDEN.glob("converted/*.vaez"), *kinds]):
        data = path.read_bytes()
        contents = container.unpack(data)
        if contents.model is None or contents.model.id == "tiny":
            seeds.append((data, parsed(data), tiny().decompress(data).data))
    assert len(seeds) >= 5
    return seeds


@cache
def tiny() -> bbans.Model:
    return bbans.Model(TINY, threads=1)


def parsed(data: bytes) -> File:
    """Inverse: `signed`."""
    reader = ByteReader(data, "file")
    reader.take(5)
    reader.varint()
    fields = [("byte", reader.byte()), ("byte", reader.byte()), ("name", reader.take(reader.varint()))]
    fields += [("varint", reader.varint()) for _ in range(5)]
    fields.append(("raw", reader.take(CHECK_BYTES)))
    if fields[0][1] == container.Mode.MODEL:
        fields += [("name", reader.take(reader.varint())), ("raw", reader.take(CHECK_BYTES))]
        fields += [("varint", reader.varint()) for _ in range(4 + (fields[1][1] == 1))]
    entries = [(reader.byte(), reader.varint(), reader.take(CRC_BYTES)) for _ in range(reader.varint())]
    reader.take(CRC_BYTES)
    return File(fields, [(kind, reader.take(size)) for kind, size, _ in entries])


def signed(file: File) -> bytes:
    """The bytes of a file, with every check as it must be but for its lies."""
    header = packed(file.fields) + pack_varint(len(file.sections))
    for number, (kind, body) in enumerate(file.sections):
        size, crc = file.lies.get(number, (len(body), crc32(body)))
        header += bytes([kind]) + pack_varint(size) + crc
    head = b"VAEZ\1" + pack_varint(len(header)) + header
    return head + crc32(head) + b"".join(body for _, body in file.sections)


@dataclass(frozen=True)
class VaezCase:
    """A changed file, and the file that it was."""

    data: bytes
    seed: int
    sound: bool
    """Whether the digest of the content is the one that it was: then nothing else may come back."""


def make_vaez(rng: Random) -> VaezCase:
    number = rng.randrange(len(vaez_seeds()))
    data, file, _ = vaez_seeds()[number]
    if rng.random() < 0.05:
        return VaezCase(edited(rng, data), number, True)
    other = rng.choice(vaez_seeds())[0]
    file = File(list(file.fields), list(file.sections))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _change_vaez(rng, file, other)
    if rng.random() < 0.3:
        file = _forged(file)
    made = signed(file)
    original = vaez_seeds()[number][1].fields[CONTENT_CHECK]
    return VaezCase(made, number, len(file.fields) > CONTENT_CHECK and file.fields[CONTENT_CHECK] == original)


def _change_vaez(rng: Random, file: File, other: bytes) -> None:
    at = rng.randrange(max(1, len(file.sections)))
    match rng.choices(range(6), [6, 1, 8, 2, 1, 1])[0]:
        case 0:
            place = rng.randrange(max(1, len(file.fields)))
            file.fields[place : place + 1] = [changed_field(rng, one) for one in file.fields[place : place + 1]]
        case 1:
            file.fields = rearranged(rng, file.fields)
        case 2 if file.sections:
            kind, body = file.sections[at]
            file.sections[at] = kind, edited(rng, body, other)
        case 3:
            file.sections = rearranged(rng, file.sections)
        case 4:
            file.sections.insert(at, (rng.choice([0, 1, 2, 3, 4, 5, 255]), some_bytes(rng)))
        case 5 if file.sections:
            size = len(file.sections[at][1])
            file.lies[at] = changed_field(rng, ("varint", size))[1], rng.randbytes(CRC_BYTES)


def _forged(file: File) -> File:
    """With the digest of what the file decodes to now, if it does."""
    try:
        contents = container.unpack(signed(file))
        content = vaez.unstore(contents) if contents.model is None else vaez.decode(contents, tiny()._named_codec(contents.model))
        digest = vaez.content_check(content)
    except Exception:  # `check` meets it again
        return file
    fields: list[Field] = [*file.fields[:CONTENT_CHECK], ("raw", digest), *file.fields[CONTENT_CHECK + 1 :]]
    return File(fields, file.sections, file.lies)


def check_vaez(case: VaezCase) -> None:
    bbans.inspect(case.data)
    restored = tiny().decompress(case.data)
    if case.sound:
        expected = vaez_seeds()[case.seed][2]  # how a PNG was written is not under the digest
        if restored.data != expected and read_picture(restored.data, any_kind=True) != read_picture(expected, any_kind=True):
            raise Wrong("another picture came back under the digest of the first")
        return
    contents = container.unpack(case.data)
    if contents.mode == container.Mode.STORED and StoredMethod(contents.method).keeps_file:
        return
    try:
        read_picture(restored.data, any_kind=True)
    except UnsupportedImageError as error:
        raise Wrong(f"what came back is no {contents.format}: {error}") from error


# What is left of a damaged .vaez


@cache
def regions() -> tuple[bytes, int, Any]:
    """A file of two regions, where its bodies begin, and its pixels."""
    smooth = np.add.outer(np.arange(16) * 7, np.arange(1600) // 3)[..., None] + np.arange(3) * 40
    pixels = (smooth % 256).astype(np.uint8)
    data = tiny().compress(pixels, mode="model", verify=False).data
    return data, len(data) - sum(len(body) for _, body in parsed(data).sections), pixels


def make_damaged(rng: Random) -> bytes:
    """The file of two regions, changed behind its header and not signed again, so that what is whole shows; or any changed file."""
    if rng.random() < 0.2:
        return make_vaez(rng).data
    data, start, _ = regions()
    at = rng.randrange(start, len(data))
    changed = data[at : at + 40]
    return data[:at] + rng.choice([edited(rng, changed), bytes(len(changed))]) + data[at + 40 :]


def check_damaged(data: bytes) -> None:
    recovered = tiny().recover(data)
    pixels = read_picture(recovered.data, any_kind=True).pixels
    whole, start, expected = regions()
    if data[:start] != whole[:start]:
        return  # another header may say what it likes
    right = np.ones(pixels.shape[:2], bool)
    for part in recovered.damage:
        right[part.top : part.bottom, part.left : part.right] = False
    if not np.array_equal(pixels[right], expected[right]):
        raise Wrong("pixels are wrong that are said to be right")


# .vaeza


@dataclass
class Chunked:
    """An archive: the fields of its index, where `size` and `crc` stand for those of a body, and the bodies."""

    fields: list[Field]
    bodies: list[bytes]


@cache
def archive_seeds() -> list[tuple[str, Chunked, Any]]:
    """(name, parts, contents) of the golden archives."""
    return [(path.stem, parsed_archive(path.read_bytes()), _contents(path.stem, path.read_bytes())) for path in _archives()]


def _archives() -> list[Path]:
    return sorted(GOLDEN.glob("*.vaeza"))


@cache
def set_model(name: str) -> Any:
    """The model of a golden archive, loaded once; a weight file where it holds pictures that another one coded."""
    if name not in SET_MODELS:
        return TINY if name == "files" else None
    return models.load_set(GOLDEN / f"{SET_MODELS[name]}.safetensors", scheme=name, threads=1)


def _contents(name: str, data: bytes) -> Any:
    """(array, lost) of an array; the files by name."""
    reader = sets.ArchiveReader(io.BytesIO(data), model=set_model(name), threads=1)
    if reader.archive.array:
        return reader.recover()
    return {reader.names[number]: file for number, file in reader.files()}


def parsed_archive(data: bytes) -> Chunked:
    """Inverse: `signed_archive`."""
    found, at = archive.read_head(io.BytesIO(data))
    bodies: list[bytes] = []
    fields: list[Field]
    if found.array:
        array = found.array
        fields = [("byte", 1), ("byte", ("uint8", "bool", "uint16").index(array.dtype)), ("byte", len(array.shape))]
        fields += [("varint", size) for size in array.shape]
    else:
        members = b"".join(map(pack_varint, found.members)) if len(found.groups) > 1 else b""
        fields = [("byte", 0), ("varint", found.source_bytes), ("varint", len(found.names)), ("varint", len(found.links))]
        fields += [("blob", names.pack_names((*found.names, *(link.name for link in found.links)))), ("blob", members)]
        fields += [("blob", entries.pack_targets(found.links)), ("blob", entries.pack_times(found.times))]
    fields.append(("varint", len(found.groups)))
    for group in found.groups:
        fields += [("byte", group.method), ("varint", group.count), ("varint", group.chunk)]
        if group.shape:
            fields += [*(("varint", size) for size in group.shape), ("byte", group.unit)]
        if group.method == GroupMethod.LZMA:
            fields.append(("byte", group.filter))
        if group.model:
            bits = group.model.accounting
            counts = (bits.likelihood_bits, bits.prior_bits, bits.posterior_bits, bits.initial_bits)
            fields += [("name", group.model.id.encode()), ("raw", group.model.weights_hash), ("name", group.model.scheme.encode())]
            fields += [("varint", count) for count in counts]
        for chunk in group.chunks:
            fields += [("size", len(bodies)), ("crc", len(bodies)), ("raw", chunk.check)]
            bodies.append(data[at : at + chunk.size])
            at += chunk.size
    return Chunked(fields, bodies)


def signed_archive(made: Chunked) -> bytes:
    """The bytes of an archive, with every check as it must be. A body that is not there any more counts as empty."""

    def plain(one: Field) -> Field:
        kind, value = one
        if kind in ("size", "crc"):
            body = made.bodies[value] if value < len(made.bodies) else b""
            return ("varint", len(body)) if kind == "size" else ("raw", crc32(body))
        return ("raw", blob(value)) if kind == "blob" else one

    index = packed([plain(one) for one in made.fields])
    head = b"VAEA\1" + pack_varint(len(index)) + index
    return head + crc32(head) + b"".join(made.bodies)


def blob(data: bytes, squeezed: bool = False) -> bytes:
    """As `bbans.formats.blob` has it."""
    kept = lzma2.compress(data, fitted=True) if squeezed else data
    return pack_varint(len(data)) + pack_varint(len(kept)) + kept


@dataclass(frozen=True)
class ArchiveCase:
    """A changed archive."""

    data: bytes
    seed: int
    sound: bool
    """Whether the index is the one that it was, but for sizes and checks of bodies, and none is another's: then nothing else may
    come back. (A picture of the method VAEZ has its digest in its own body.)"""


def make_archive(rng: Random) -> ArchiveCase:
    number = rng.randrange(len(archive_seeds()))
    _, made, _ = archive_seeds()[number]
    if rng.random() < 0.05:
        return ArchiveCase(edited(rng, signed_archive(made)), number, False)
    made = Chunked(list(made.fields), list(made.bodies))
    sound = rng.random() < 0.5
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if sound and rng.random() < 0.9:
            _change_bodies(rng, made)
        elif sound:
            made.bodies, sound = rearranged(rng, made.bodies), False
            break
        else:
            _change_index(rng, made)
    return ArchiveCase(signed_archive(made), number, sound)


def _change_bodies(rng: Random, made: Chunked) -> None:
    at = rng.randrange(len(made.bodies))
    if rng.random() < 0.8:
        made.bodies[at] = edited(rng, made.bodies[at], rng.choice(made.bodies))
    else:
        made.bodies[at] = _changed_inside(rng, made.bodies[at])


def _changed_inside(rng: Random, body: bytes) -> bytes:
    """A file in a chunk, or the stream of one, changed below its checks."""
    reader = ByteReader(body, "blob")
    try:
        if body.startswith(b"VAEZ"):
            file = parsed(body)
            _change_vaez(rng, file, body)
            return signed(file)
        size, kept = reader.varint(), reader.varint()
        data = reader.take(kept)
        inside = data if kept == size else lzma2.decompress(data, size)
    except FormatError:  # it was damaged by a change before this one
        return edited(rng, body)
    return blob(edited(rng, inside), squeezed=rng.random() < 0.5) + body[reader.position :]


def _change_index(rng: Random, made: Chunked) -> None:
    if rng.random() < 0.15:
        made.fields = rearranged(rng, made.fields)
        return
    at = rng.randrange(len(made.fields))
    kind, value = made.fields[at]
    if kind == "blob":
        made.fields[at] = kind, edited(rng, value)
    elif kind == "size":
        made.fields[at] = changed_field(rng, ("varint", len(made.bodies[value])))
    elif kind == "crc":
        made.fields[at] = kind, rng.randrange(len(made.bodies))
    else:
        made.fields[at] = changed_field(rng, (kind, value))


def check_archive(case: ArchiveCase) -> None:
    name, _, before = archive_seeds()[case.seed]
    reader = sets.ArchiveReader(io.BytesIO(case.data), model=set_model(name), threads=1)
    reader.damage()
    if reader.archive.array:
        images, lost = reader.recover()
        gone = {image for part in lost for image in part.images}
        if case.sound:
            kept = [image for image in range(len(reader)) if image not in gone]
            if not np.array_equal(images[kept], before[0][kept]):
                raise Wrong("another image came back")
        errors = [part.error for part in lost]
    else:
        files = list(reader.files())
        errors = [file for _, file in files if isinstance(file, BbansError)]
        for number, file in files:
            if case.sound and not isinstance(file, BbansError) and not _alike(file, before[reader.names[number]]):
                raise Wrong(f"another {reader.names[number]} came back")
    if errors:
        raise errors[0]


# Names of archives


def _alike(one: Any, other: Any) -> bool:
    """Whether two files are equal, or pictures that are: how a PNG was written is not under the digest."""
    if one == other:
        return True
    try:
        return read_picture(one.data, any_kind=True) == read_picture(other.data, any_kind=True)
    except BbansError:
        return False


def make_names(rng: Random) -> bytes:
    """An archive of empty files whose names, counts, depths or shared beginnings are made to explode."""
    count = rng.choice([1, 2, 3, rng.randrange(1, 50), rng.randrange(1, 3000)])
    hostile, grow = rng.choice([0, 0, 1 / count, 0.1]), rng.random() < 0.2
    listed, before, number = bytearray(), 0, 0
    for number in range(1, count + 1):
        shared, own = 0, b"%d.png" % number
        if grow:
            shared = before
        elif rng.random() < 0.5 and before:
            shared, own = rng.randrange(before), b"_%d" % number
        if rng.random() < hostile:
            shared, own = _hostile_name(rng, number, before)
        listed += pack_varint(shared) + own + b"\0"
        before = shared + len(own)
        if len(listed) > 1 << 16:
            break
    count = number
    if rng.random() < 0.1:
        listed = bytearray(edited(rng, bytes(listed)))
    names_blob = blob(bytes(listed), squeezed=rng.random() < 0.5)
    if rng.random() < 0.05:
        huge = rng.choice([1 << 20, 1 << 27, (1 << 27) + 1])
        names_blob, count = _stream_of_zeros(huge), rng.choice([count, 1 << 20, huge // 2, 1 << 40])
    elif rng.random() < 0.2:
        count = changed_field(rng, ("varint", count))[1]
    links = rng.choice([0, 0, 1, rng.randrange(number + 1)]) if count == number else rng.choice([0, 1, 1 << 20, 1 << 40])
    count, number = max(count - links, 0), max(number - links, 0)
    targets = [_hostile_target(rng) if rng.random() < 0.2 else b"%d.png" % rng.randrange(9) for _ in range(min(links, 3000))]
    timed = number + len(targets)
    times = b"".join(map(pack_varint, [rng.randrange(1 << 31) for _ in range(timed)] + [0] * timed))
    about = blob(b"".join(target + b"\0" for target in targets)) + blob(rng.choice([b"", times, edited(rng, times)]))
    groups = rng.choice([1, 1, 1, 2, 500])
    members = [place * groups // max(number, 1) for place in range(number)]
    if rng.random() < 0.1:
        members = [rng.randrange(groups + 1) for _ in members]
    index = b"\0" + pack_varint(rng.choice([0, 1 << 40])) + pack_varint(count) + pack_varint(links) + names_blob
    index += blob(b"".join(map(pack_varint, members)) if groups > 1 else b"") + about + pack_varint(groups)
    for group in range(groups):
        size = members.count(group) if groups > 1 else min(count, 1 << 40)
        index += bytes([GroupMethod.FILE]) + pack_varint(size) + b"\1" + _EMPTY_FILE * min(size, 3000)
    head = b"VAEA\1" + pack_varint(len(index)) + index
    return head + crc32(head) + bytes(2 * number)


def _hostile_name(rng: Random, number: int, before: int) -> tuple[int, bytes]:
    """Bytes shared with the name before, and the rest of the name."""
    shared = rng.choice([0, 0, before, before // 2, before + 1, 1 << 40])
    part = rng.choice([b"", b".", b"..", b"/", b"//", b"a/../b", b"\xff", b"\xf0\x9f\x8c\x8a", b"a\nb", b"\\", b"a/"])
    own = rng.choice([part, part + b"%d" % number, b"a/" * rng.randrange(300) + part, b"x" * rng.choice([4095, 4096, 4097])])
    return shared, own


def _hostile_target(rng: Random) -> bytes:
    """The target of a link that leads out of its folder, perhaps through others."""
    return rng.choice([b"/", b"..", b"../..", b"./..", b"a/..", b"../1.png/..", b"", b"1.png/../../x", b"a/" * 3000, b"\xff/.."])


_EMPTY_FILE = b"\2" + crc32(bytes(2)) + digest(b"")  # an entry for the blob of nothing, which is two zeros


@cache
def _stream_of_zeros(size: int) -> bytes:
    return blob(bytes(size), squeezed=True)


def check_names(data: bytes) -> None:
    reader = sets.ArchiveReader(io.BytesIO(data), threads=1)
    if len(set(reader.names)) != len(reader):
        raise Wrong("two files of one name")
    for name in reader.names:
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in name or len(parts) > names.MAX_PATH_PARTS:
            raise Wrong(f"{name[:100]!r} was taken for the name of a file below a folder")
    if len(reader) + len(reader.links) <= 100:
        _check_links(reader)
        for _, file in reader.files():
            if isinstance(file, BbansError):
                raise file


def _check_links(reader: sets.ArchiveReader) -> None:
    """None of them leads out of the folder, not even through others."""
    names = (*reader.names, *(link.name for link in reader.links))
    if not reader.links or any(len(part) > 255 for name in names for part in name.split("/")):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in reader.names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for link in reader.links:
            (root / link.name).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(link.target, root / link.name)
        for link in reader.links:
            if not Path(os.path.realpath(root / link.name)).is_relative_to(root):
                raise Wrong(f"{link.name!r} leads out of the folder, by {link.target[:100]!r}")


# Weight files


def make_weights(rng: Random) -> bytes:
    data = rng.choice([TINY, *(GOLDEN / f"{name}.safetensors" for name in ("binary", "gray", "colours"))]).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    if rng.random() < 0.3:
        return edited(rng, data)
    header = edited(rng, data[8:end])
    return len(header).to_bytes(8, "little") + header + data[end:]


def check_weights(data: bytes) -> None:
    weights = models.weights.unpack(data, "weights")
    (models.load if weights.architecture == "photo" else models.load_set)(weights, threads=1)


TARGETS: Sequence[Target] = [
    Target(".vaez", 190, make_vaez, check_vaez, (FormatError, ModelError)),
    Target("recovered", 10, make_damaged, check_damaged, (FormatError, ModelError)),
    Target(".vaeza", 110, make_archive, check_archive, (FormatError, ModelError)),
    # its limit allows for 2**27 bytes of names (FORMAT.md, 6.2), as they are packed and as they are
    Target("names", 50, make_names, check_names, (CorruptDataError,), Limits(memory_bytes=400 << 20)),
    Target("weights", 20, make_weights, check_weights, (ModelError,)),
]
