"""What a folder says of a set: the manifest, and the lines of shards while there is none."""

from __future__ import annotations

from collections.abc import Iterable

from bbans.errors import CorruptDataError
from bbans.files import remove_stale
from bbans.formats.manifest import NAME, Manifest, Part, shard_number
from bbans.storage import Folder

AT_ONCE = 1000
"""Lines that storage is asked for at the same time."""


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
    lines = [name for name in sorted(present) if name.endswith(".json") and name.removesuffix(".json") in present]
    lines = [name for name in lines if shard_number(name) is not None]
    parts = []
    for start in range(0, len(lines), AT_ONCE):
        for line in folder.read_many(lines[start : start + AT_ONCE]):
            try:
                parts.append(Part.from_json(line))
            except CorruptDataError:
                continue
    return parts


def earlier(folder: Folder) -> tuple[list[Part], dict[str, Part]]:
    """The shards that earlier jobs wrote, by manifest and lines; and those of them that are there, by what they are made of.

    Raises: FormatError, OSError.
    """
    names = set(folder.names())
    old = read(folder) if NAME in names else None
    parts = [*(old.parts if old else ()), *done(folder, names)]
    return parts, {part.source: part for part in parts if part.file in names}


def finish(folder: Folder, manifest: Manifest) -> None:
    """Write the manifest, then remove the lines of single shards, shards that are not in it, and what dead workers left."""
    folder.write(NAME, manifest.pack())
    keep = {part.file for part in manifest.parts}
    if folder.path is not None:
        remove_stale(folder.path)
    folder.remove([name for name in folder.names() if shard_number(name) is not None and name not in keep])
