"""The manifest of a sharded archive: JSON lines, the first of the set, then one for each shard, in order.

::

    set/
      manifest.jsonl          written last: a set without one is not complete
      set-00000.vaeza         archives, as `bbans.sets.pack` writes them
      set-00001.vaeza
      set-00001.vaeza.json    its line, until the manifest is written: written after the shard, so what has one is complete

The names of images are in the shards' own indexes. Shards hold consecutive runs of the sorted names, so that the first name of each
is enough to find any, and a line has some 350 bytes however many images its shard holds.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from bbans.errors import CorruptDataError, FormatError, UnsupportedVersionError

NAME = "manifest.jsonl"
VERSION = 1
_SHARD = re.compile(r"set-(\d{5,})\.vaeza(\.json)?")


def shard_name(number: int) -> str:
    """Such as `set-00017.vaeza`."""
    return f"set-{number:05}.vaeza"


def shard_number(name: str) -> int | None:
    """The number in the name of a shard or of its line; None for other files. Inverse: `shard_name`."""
    match = _SHARD.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Part:
    """A shard that was written.

    `file` is its name, `images` how many it holds, `first` and `last` their names (empty for an array), `head_bytes` what comes
    before its first chunk, `check` the BLAKE2b-128 of the file, `source` a digest of what it was made of and how, `models` those it
    needs.
    """

    file: str
    images: int
    first: str
    last: str
    source_bytes: int
    file_bytes: int
    head_bytes: int
    check: str
    source: str
    models: tuple[str, ...]

    def to_json(self) -> str:
        """A line. Inverse: `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Part:
        """The part of a line. Inverse: `to_json`. Raises: CorruptDataError."""
        values = _object(line)
        kinds = {"images": int, "source_bytes": int, "file_bytes": int, "head_bytes": int, "models": list}
        for field in fields(cls):
            value = values.get(field.name)
            if not isinstance(value, kinds.get(field.name, str)) or (isinstance(value, int) and value < 0):
                raise CorruptDataError(f"manifest: {field.name} of a shard is {value!r}")
        if shard_number(values["file"]) is None:
            raise CorruptDataError(f"manifest: {values['file']!r} is no name of a shard")
        values["models"] = tuple(map(str, values["models"]))
        return cls(**{field.name: values[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Manifest:
    """All shards of a set in order. `dtype` and `shape` are those of the array that was packed, or None for files."""

    parts: tuple[Part, ...]
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    @property
    def images(self) -> int:
        """How many there are in all shards."""
        return sum(part.images for part in self.parts)

    @property
    def source_bytes(self) -> int:
        """Of all files, or of the array."""
        return sum(part.source_bytes for part in self.parts)

    @property
    def file_bytes(self) -> int:
        """Of all shards."""
        return sum(part.file_bytes for part in self.parts)

    def pack(self) -> bytes:
        """The file. Inverse: `unpack`."""
        head = {"vaezip_set": VERSION, "shards": len(self.parts), "images": self.images, "dtype": self.dtype, "shape": self.shape}
        return "".join(f"{line}\n" for line in [json.dumps(head), *(part.to_json() for part in self.parts)]).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Manifest:
        """The manifest of a file. Inverse: `pack`. Raises: FormatError: another file, a damaged one, or a newer version."""
        first, *lines = data.splitlines() or [b""]
        try:
            head = _object(first)
        except CorruptDataError:
            head = {}
        version = head.get("vaezip_set")
        if not isinstance(version, int):
            raise FormatError("not the manifest of a set of archives")
        if version > VERSION:
            raise UnsupportedVersionError(f"manifest: version {version}; this program reads up to {VERSION}")
        if head.get("shards") != len(lines):
            raise CorruptDataError(f"manifest: cut short, {len(lines)} of {head.get('shards')} shards are here")
        shape = head.get("shape")
        manifest = cls(tuple(map(Part.from_json, lines)), head.get("dtype"), None if shape is None else tuple(shape))
        if head.get("images") != manifest.images:
            raise CorruptDataError(f"manifest: {head.get('images')} images, but its shards hold {manifest.images}")
        return manifest


def _object(line: str | bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise CorruptDataError("manifest: a line is no JSON object")
    return values
