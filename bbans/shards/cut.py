"""Where a source is cut into shards: by the names and sizes of its files alone, so that every machine cuts alike.

A shard ends after a file whose hash is small, once it is half full, and before a file that would not fit. A file that is added or
gone moves the ends of its own shard; from the next small hash on, all shards are as before, and need not be packed again.

>>> entries = [Entry(f"{number:03}.png", 1000, "") for number in range(200)]
>>> whole = [shard[-1].name for shard in cut(entries, 10_000, 1000)]
>>> less = [shard[-1].name for shard in cut(entries[1:], 10_000, 1000)]
>>> len(whole), set(whole) == set(less)
(32, True)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator

from bbans.formats.names import MAX_NAMES_BYTES, NAME_OVERHEAD_BYTES
from bbans.storage import Entry

EAGERNESS = 4
"""A shard that is half full ends, on average, when another quarter is in it."""


def cut(entries: Iterable[Entry], shard_bytes: int, shard_images: int) -> Iterator[list[Entry]]:
    """Runs of files, each of at most so many bytes and files; a file that is larger has a shard alone.

    Args:
        entries: in the order of their names.
    """
    shard: list[Entry] = []
    fill = 0.0
    for entry in entries:
        share = _share(entry, shard_bytes, shard_images)
        if shard and fill + share > 1 + 1e-9:
            yield shard
            shard, fill = [], 0.0
        shard.append(entry)
        fill += share
        if fill >= 0.5 and _hash(entry.name) < EAGERNESS * share:
            yield shard
            shard, fill = [], 0.0
    if shard:
        yield shard


def _share(entry: Entry, shard_bytes: int, shard_images: int) -> float:
    """What part of a shard a file fills."""
    name_bytes = len(os.fsencode(entry.name)) + NAME_OVERHEAD_BYTES
    return max(entry.size / shard_bytes, 1 / shard_images, name_bytes / MAX_NAMES_BYTES)


def _hash(name: str) -> float:
    """In 0..1, evenly distributed."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=6).digest(), "big") / 2**48
