"""Decoded chunks, kept for the next images of them: those that were used last, up to so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from .chunk import Content

CACHE_BYTES = 1 << 26
"""The default of a reader."""


class ChunkCache:
    """The chunks that were used last.

    Args:
        limit_bytes: the most that they take; the one that was used last of all stays in any case.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._contents: OrderedDict[Hashable, Content] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Content | None:
        """A chunk, if it is here."""
        content = self._contents.get(key)
        if content is not None:
            self._contents.move_to_end(key)
        return content

    def put(self, key: Hashable, content: Content) -> None:
        """Keep a chunk; those that were not used for longest go for it."""
        if key in self._contents:
            return
        content = content.alone()
        self._contents[key] = content
        self._bytes += content.nbytes
        while self._bytes > self._limit and len(self._contents) > 1:
            _, oldest = self._contents.popitem(last=False)
            self._bytes -= oldest.nbytes

    def clear(self) -> None:
        """Keep nothing that is here now."""
        self._contents.clear()
        self._bytes = 0
