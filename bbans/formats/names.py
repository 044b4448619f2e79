"""The names of an archive's files: their paths below one folder, each written as what differs from the name before it.

A name is a path with `/` between its parts; bytes that are not UTF-8 are kept as Python's `surrogateescape` has them. The limits
bound the memory that an index can make a reader take, and hold for writers too.

>>> packed = pack_names(("a/b.png", "a/c.png"))
>>> unpack_names(packed, 2)
('a/b.png', 'a/c.png')
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from bbans.errors import CorruptDataError
from bbans.formats.wire import ByteReader, pack_varint

MAX_PATH_BYTES = 4096
MAX_PATH_PARTS = 255
MAX_NAMES_BYTES = 1 << 27
"""Of all names of an archive, each counted with `NAME_OVERHEAD_BYTES` more: over a million files."""
NAME_OVERHEAD_BYTES = 64
"""About what a string takes in memory beside its bytes."""


def pack_names(names: Sequence[str]) -> bytes:
    """The names, one after another. Inverse: `unpack_names`."""
    packed = bytearray()
    before = b""
    for name in map(_encode, names):
        shared = next(
            (place for place, (a, b) in enumerate(zip(before, name, strict=False)) if a != b), min(len(before), len(name))
        )
        packed += pack_varint(shared) + name[shared:] + b"\0"
        before = name
    return bytes(packed)


def most_bytes(count: int) -> int:
    """The most that `pack_names` makes of so many names. Raises: CorruptDataError: no archive has so many."""
    if count * NAME_OVERHEAD_BYTES > MAX_NAMES_BYTES:
        raise CorruptDataError(f"index: {_TOO_MANY}")
    return min(count * (MAX_PATH_BYTES + 3), MAX_NAMES_BYTES)


def unpack_names(data: bytes, count: int) -> tuple[str, ...]:
    """So many names. Inverse: `pack_names`.

    Raises: CorruptDataError: others than `count`, or more than the limit for all of them, which is found before they are built.
    """
    packed = ByteReader(data, "index: names")
    names: list[str] = []
    name = b""
    left_bytes = MAX_NAMES_BYTES
    for _ in range(count):
        shared = packed.varint()
        end = data.find(b"\0", packed.position)
        if shared > len(name) or end < 0:
            raise CorruptDataError("index: its names do not follow from each other")
        left_bytes -= shared + end - packed.position + NAME_OVERHEAD_BYTES
        if left_bytes < 0:
            raise CorruptDataError(f"index: {_TOO_MANY}")
        before, name = name, name[:shared] + packed.take(end - packed.position)
        if name == before:  # or empty: found here, not once millions of them are in memory
            raise CorruptDataError(f"index: two files are called {name!r}" if name else "index: a file without a name")
        packed.take(1)
        names.append(name.decode("utf-8", "surrogateescape"))
    if packed.position != len(data):
        raise CorruptDataError("index: more names than files")
    return tuple(names)


_TOO_MANY = f"the names together take more than {MAX_NAMES_BYTES} bytes, with {NAME_OVERHEAD_BYTES} more for each"


def fault_of_names(names: Sequence[str]) -> str | None:
    """What is wrong with the names of an archive, or None: they must be those of different files below one folder.

    Takes about as long as sorting them.
    """
    fault = next(filter(None, map(fault_of_name, names)), None)
    if fault is not None:
        return fault
    if sum(len(_encode(name)) + NAME_OVERHEAD_BYTES for name in names) > MAX_NAMES_BYTES:
        return _TOO_MANY
    ordered = sorted(names)
    for place, (name, after) in enumerate(pairwise(ordered), 1):
        if not after.startswith(name):
            continue
        if name == after:
            return f"two files are called {name!r}"
        folder = name + "/"
        within = bisect_left(ordered, folder, place)
        if within < len(ordered) and ordered[within].startswith(folder):
            return f"{name!r} is a file and a folder"
    return None


def fault_of_name(name: str) -> str | None:
    """What is wrong with a single name, or None."""
    size = len(_encode(name))
    if size > MAX_PATH_BYTES:
        return f"a name of {size} bytes, {name[:20]!r}...: the limit is {MAX_PATH_BYTES}"
    parts = name.count("/") + 1
    if parts > MAX_PATH_PARTS:
        return f"a name of {parts} parts, {name[:20]!r}...: the limit is {MAX_PATH_PARTS}"
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        return f"{name!r} is no name of a file below a folder"
    return None


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
