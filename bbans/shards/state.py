"""What a folder says of a set: the manifest, and the lines of shards while there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bbans.errors import CorruptDataError
from bbans.files import remove_stale
from bbans.formats.manifest import NAME, Manifest, Part, shard_number
from bbans.storage import Folder


def read(folder: Folder) -> Manifest | None:
    """The manifest of a folder; None if there is none. Raises: FormatError, OSError."""
    try:
        return Manifest.unpack(folder.read(NAME))
    except FileNotFoundError:
        return None


def done(folder: Folder, names: Iterable[str]) -> list[Part]:
    """The shards of a job that has not ended, by their lines; without those whose line is damaged.

    Args:
        names: of all files in the folder.
    """
    present = set(names)
    parts = []
    for name in sorted(present):
        if shard_number(name) is not None and name.endswith(".json") and name.removesuffix(".json") in present:
            try:
                parts.append(Part.from_json(folder.read(name)))
            except CorruptDataError:
                continue
    return parts


def finish(folder: Folder, manifest: Manifest) -> None:
    """Write the manifest, then remove the lines of single shards, shards that are not in it, and what dead workers left."""
    folder.write(NAME, manifest.pack())
    keep = {part.file for part in manifest.parts}
    if folder.path is not None:
        remove_stale(folder.path)
    for name in folder.names():
        if shard_number(name) is not None and name not in keep:
            folder.remove(name)


def starts(counts: Sequence[int]) -> list[int]:
    """The number of the first image of each shard, and the number of all images."""
    ends = [0]
    for count in counts:
        ends.append(ends[-1] + count)
    return ends
