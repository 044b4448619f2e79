"""Archives on the command line: their names, and what `list` shows of them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bbans.errors import CorruptDataError
from bbans.formats.archive import Archive, Lost, damage, read_head
from bbans.formats.groups import Group
from bbans.formats.words import images_in_words

from . import files, output

if TYPE_CHECKING:
    from bbans import sets, shards


TAR = re.compile(r"\.(tar|tar\.(gz|bz2|xz)|tgz|tbz2?|txz)$", re.IGNORECASE)


def packed_name(source: str) -> Path:
    """digits.npy -> digits.npy.vaeza, photos/ or photos.tar -> photos.vaeza. Inverse: `unpacked_name`."""
    path = Path(source)
    if not path.name or path.name == "..":
        path = path.resolve()
    name = path.name if path.is_dir() else TAR.sub("", path.name) or path.name
    return path.with_name((name or "root") + files.ARCHIVE_SUFFIX)


def unpacked_name(source: Path, suffix: str) -> Path:
    """digits.npy.vaeza -> digits.npy, photos.vaeza -> photos. Inverse: `packed_name`.

    A name without the suffix of archives, or without the suffix of its contents, gets one.
    """
    name = source.name.removesuffix(files.ARCHIVE_SUFFIX)
    if name in (source.name, ""):
        name += suffix or ".unpacked"
    return source.with_name(name if name.endswith(suffix) else name + suffix)


def choose(reader: sets.ArchiveReader, wanted: Sequence[str]) -> tuple[list[int], list[int]]:
    """The numbers of the images and the places of the links that a user names, or numbers; all of them for nothing.

    Raises: Refused.
    """
    if not wanted:
        return list(range(len(reader))), list(range(len(reader.links)))
    links = {link.name: place for place, link in enumerate(reader.links)}
    places = [links[name] for name in wanted if name in links]
    return [number(reader, name) for name in wanted if name not in links], sorted(set(places))


def number(reader: sets.ArchiveReader | shards.SetReader, name: str) -> int:
    """The number of the image that a user means, by name or by number. Raises: Refused."""
    if name in reader:
        return reader.number(name)
    if name.isascii() and name.isdecimal() and int(name) < len(reader):
        return int(name)
    raise output.Refused(f"there is no image {name!r} among its {len(reader)}")


def cause(archive: Archive, lost: Sequence[Lost]) -> str:
    """Why the first of the lost images are lost, and how many more chunks are."""
    more = f" (and {len(lost) - 1} more chunks)" if len(lost) > 1 else ""
    return f"{images_in_words(archive, lost[0].images)}: {lost[0].error}{more}"


@dataclass(frozen=True)
class Contents:
    """What an archive says of itself, and what is damaged in it.

    `head_bytes` is all that comes before the chunks. `lost` are the images of damaged chunks.
    """

    index: Archive
    file_bytes: int
    head_bytes: int
    surplus_bytes: int
    lost: list[Lost]

    @property
    def kind(self) -> str:
        """Such as `10000 of 28x28x1`, or `3 images` where their shapes differ or are not in the index."""
        shapes = {image_shape(self.index, group) for group in self.index.groups}
        [shape, *others] = shapes
        return f"{len(self.index)} images" if others or shape is None else f"{len(self.index)} of {'x'.join(map(str, shape))}"

    @property
    def how(self) -> str:
        """How the only group is kept, or how many groups there are."""
        return self.index.groups[0].how if len(self.index.groups) == 1 else f"{len(self.index.groups)} groups"

    @property
    def dims(self) -> int | None:
        """Samples of all images; None where the index does not have their shapes."""
        return dims(self.index)

    def check(self) -> None:
        """Raises: CorruptDataError: something is damaged."""
        if self.lost:
            raise CorruptDataError(cause(self.index, self.lost))
        if self.surplus_bytes:
            raise CorruptDataError(f"{self.surplus_bytes} bytes too many after the last chunk")


def inspect(data: bytes) -> Contents:
    """The contents of an archive, with all checks made. Raises: FormatError: the index is damaged, or of a newer version."""
    index, head_bytes = read_head(io.BytesIO(data))
    lost = damage(index, head_bytes, lambda offset, size: data[offset : offset + size])
    return Contents(index, len(data), head_bytes, max(0, len(data) - head_bytes - index.size), lost)


def as_object(contents: Contents) -> dict[str, object]:
    """An archive as a JSON object."""
    return {
        **index_object(contents.index, contents.file_bytes),
        "header_bytes": contents.head_bytes,
        "lost": sorted(image for lost in contents.lost for image in lost.images),
        "surplus_bytes": contents.surplus_bytes,
    }


def index_object(index: Archive, file_bytes: int) -> dict[str, object]:
    """What the index of an archive says, as a JSON object."""
    count = dims(index)
    return {
        "mode": "archive",
        "images": len(index),
        "dtype": index.array.dtype if index.array else None,
        "shape": index.array.shape if index.array else None,
        "names": index.names,
        "members": index.members,
        "links": {link.name: link.target for link in index.links},
        "times_ns": index.times,
        "source_bytes": index.source_bytes,
        "file_bytes": file_bytes,
        "bits_per_dim": None if count is None else 8 * file_bytes / count,
        "groups": [
            {
                "method": group.method.name.lower(),
                "images": group.count,
                "chunk": group.chunk,
                "chunks": len(group.chunks),
                "coded_bytes": group.size,
                "shape": image_shape(index, group),
                "model": group.model.id if group.model else None,
                "scheme": group.model.scheme if group.model else None,
                "weights_hash": group.model.weights_hash.hex() if group.model else None,
                "accounting": asdict(group.model.accounting) if group.model else None,
            }
            for group in index.groups
        ],
    }


def details(contents: Contents) -> str:
    """An archive in words and tables, for `list -v`."""
    index = contents.index
    what = f"array, {index.array.dtype} {index.array.shape}" if index.array else f"{len(index)} files"
    if index.array is None:
        what += f" and {len(index.links)} link{output.plural(len(index.links))}" if index.links else ""
        what += ", with times" if index.times else ", without times"
    lost = sum(len(lost.images) for lost in contents.lost)
    lines = [
        f"  contents  {what}",
        f"  sizes     {sizes(index, contents.file_bytes, exact=True)}",
        f"  bytes     index {contents.head_bytes}, chunks {index.size}",
        f"  checks    {f'{lost} images cannot be unpacked' if lost else 'index and all chunks: whole'}",
    ]
    rows = [["group", "images", "shape", "chunk", "chunks", "bytes"]]
    for number, group in enumerate(index.groups):
        own = image_shape(index, group)
        shape = "-" if own is None else "x".join(map(str, own))
        counts = (group.count, shape, group.chunk, len(group.chunks), group.size)
        rows.append([f"{number}  {group.how}", *map(str, counts)])
    tables = [rows]
    for number, group in enumerate(index.groups):
        if group.model is not None and group.shape is not None:
            rest = ("index, other groups", contents.head_bytes + index.size - group.size)
            count = group.count * math.prod(image_shape(index, group) or ())
            tables.append(output.accounting_rows(group.model.accounting, group.size, rest, count))
            tables[-1][0][0] = f"where the bits go, group {number}"
    if index.names:
        tables.append([["file", "number", "group"]])
        entries = enumerate(zip(index.names, index.members, strict=True))
        tables[-1] += ([output.printable(name), str(number), str(member)] for number, (name, member) in entries)
        tables[-1] += ([output.printable(f"{link.name} -> {link.target}"), "", "link"] for link in index.links)
    return "\n".join([*lines, *("\n" + output.indent(output.table(table)) for table in tables)])


def dims(index: Archive) -> int | None:
    """Samples of all images; None where the index does not have their shapes."""
    shapes = [image_shape(index, group) for group in index.groups]
    counts = (group.count * math.prod(shape or ()) for group, shape in zip(index.groups, shapes, strict=True))
    return None if None in shapes else sum(counts)


def image_shape(index: Archive, group: Group) -> tuple[int, int, int] | None:
    """(H, W, C) of a group's images; None where the index does not have it."""
    if index.array is None:
        return group.shape
    height, width, *channels = index.array.shape[1:]
    return height, width, channels[0] if channels else 1


def sizes(archive: Archive, file_bytes: int, exact: bool = False) -> str:
    """Such as `10000 images, 7.84 MB -> 180 kB (2.3 %, 0.184 bits/dim)`."""
    count = dims(archive)
    rate = "" if count is None else f", {8 * file_bytes / count:.4f} bits/dim"
    share = output.ratio(file_bytes, archive.source_bytes)
    change = f"{output.size(archive.source_bytes, exact)} -> {output.size(file_bytes, exact)}"
    return f"{len(archive)} image{output.plural(len(archive))}, {change} ({share}{rate})"
