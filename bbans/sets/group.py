"""The chunks of one group of an archive: read, decoded, checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from bbans.errors import BbansError, CorruptDataError
from bbans.formats.archive import ArraySpec, Read, read_body
from bbans.formats.groups import Group

from .cache import ChunkCache
from .chunk import Content
from .methods import METHODS, Decoder
from .model import ModelLoader

SPAN_SAMPLES = 1 << 26
"""Chunks are coded and decoded together as long as their images have at most so many samples."""


@dataclass(frozen=True)
class ChunkPart:
    """Some images of a chunk: their places in it, and their numbers in the archive."""

    chunk: int
    places: Sequence[int]
    images: Sequence[int]


class GroupReader:
    """Reads the chunks of a group.

    Args:
        images: the numbers of the group's images in the archive.
        offset: where its first chunk begins.
        read: reads the file.
        array: the array in the archive; None if it holds files.
        cache: has chunks that were asked for by some of their images.
    """

    def __init__(
        self,
        group: Group,
        images: Sequence[int],
        offset: int,
        read: Read,
        models: ModelLoader,
        array: ArraySpec | None,
        cache: ChunkCache,
    ) -> None:
        self.group, self._images, self._read, self._models, self._array = group, images, read, models, array
        self._offsets = list(accumulate((chunk.size for chunk in group.chunks), initial=offset))
        self._cache = cache

    def parts(self) -> list[ChunkPart]:
        """All images of the group, by chunk."""
        parts = []
        for chunk in range(len(self.group.chunks)):
            start, count = chunk * self.group.chunk, self.group.images_in_chunk(chunk)
            parts.append(ChunkPart(chunk, range(count), self._images[start : start + count]))
        return parts

    def parts_at(self, places: Sequence[int]) -> list[ChunkPart]:
        """The images at these places in the group, by chunk. The places ascend."""
        size = self.group.chunk
        chunks: dict[int, list[int]] = {}
        for place in places:
            chunks.setdefault(place // size, []).append(place)
        return [
            ChunkPart(chunk, [place % size for place in places], [self._images[place] for place in places])
            for chunk, places in chunks.items()
        ]

    def contents(
        self, parts: Sequence[ChunkPart], readers: int = 1, keep: bool = False
    ) -> Iterator[tuple[ChunkPart, Content | BbansError]]:
        """Each part with what its chunk holds, or with the reason why that cannot be had, in their order.

        Chunks are decoded together, but no more than SPAN_SAMPLES at a time, which bounds the memory. Of several `readers` at the
        same time each takes its share of that. `keep`: what is decoded goes into the cache.
        """
        try:
            decode = self._decoder
        except BbansError as error:
            yield from ((part, error) for part in parts)
            return
        chunk_samples = min(self.group.chunk, self.group.count) * math.prod(self.group.shape or (SPAN_SAMPLES,))
        step = max(1, SPAN_SAMPLES // (readers * chunk_samples))
        for start in range(0, len(parts), step):
            span = parts[start : start + step]
            found: dict[int, Content | BbansError] = {}
            for part in span:
                kept = self._cache.get((self, part.chunk))
                if kept is not None:
                    found[part.chunk] = kept
            missing = [part.chunk for part in span if part.chunk not in found]
            if missing:
                decoded = self._decode(decode, missing)
                found.update(zip(missing, decoded, strict=True))
                for chunk, content in zip(missing, decoded, strict=True):
                    if keep and not isinstance(content, BbansError):
                        self._cache.put((self, chunk), content)
            yield from ((part, found[part.chunk]) for part in span)

    @cached_property
    def _decoder(self) -> Decoder:
        return METHODS[self.group.method].decoder(self.group, self._models, self._array)

    def _decode(self, decode: Decoder, chunks: Sequence[int]) -> list[Content | BbansError]:
        """What the chunks hold: decoded together, or where that fails each alone."""
        try:
            contents = decode([self.body(chunk) for chunk in chunks], list(map(self.group.images_in_chunk, chunks)))
            for chunk, content in zip(chunks, contents, strict=True):
                if content.check() != self.group.chunks[chunk].check:
                    raise CorruptDataError("the chunk decodes, but not to what was packed: its content check failed")
        except BbansError as error:
            return [error] if len(chunks) == 1 else [own for chunk in chunks for own in self._decode(decode, [chunk])]
        return list(contents)

    def body(self, chunk: int) -> bytes:
        """The bytes of a chunk. Raises: CorruptDataError."""
        return read_body(self.group.chunks[chunk], self._offsets[chunk], self._read)
