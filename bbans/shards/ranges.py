"""A file that is read by ranges: each read is one request, and reads that follow each other get blocks that are fetched ahead."""

from __future__ import annotations

import io
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from bbans.storage import Folder

AHEAD_BYTES = 4 << 20
"""What is fetched at a time of a file that is read on and on."""
STREAMS = 8
"""An archive has several groups, each of which is read on and on."""


@dataclass
class _Stream:
    """A place where reading goes on: the block that was fetched last, and the one after it, which may be on its way."""

    start: int
    data: bytes
    ahead: Future[bytes] | None = None

    @property
    def stop(self) -> int:
        return self.start + len(self.data)


class RangeFile(io.RawIOBase):
    """A file in a folder, of a known size, to read and seek in. Not thread-safe.

    Args:
        head_bytes: what is fetched by the first request, if it is for a part of that: the index of an archive.
        pool: fetches ahead; None: nothing does.
    """

    def __init__(self, folder: Folder, name: str, size: int, head_bytes: int, pool: Executor | None = None) -> None:
        self._folder, self._name, self._size, self._head_bytes, self._pool = folder, name, size, min(head_bytes, size), pool
        self._position = 0
        self._head: bytes | None = None
        self._streams: list[_Stream] = []

    def fetch_head(self) -> None:
        """Fetch what comes first, if it is not here yet. Raises: OSError."""
        if self._head is None:
            self._head = self._request(0, self._head_bytes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Bytes from here on, fewer at the end of the file. Raises: OSError."""
        stop = self._size if size < 0 else min(self._position + size, self._size)
        data = self._range(self._position, stop) if stop > self._position else b""
        self._position += len(data)
        return data

    def _range(self, start: int, stop: int) -> bytes:
        if stop <= self._head_bytes:
            self.fetch_head()
            assert self._head is not None
            return self._head[start:stop]
        stream = next((own for own in self._streams if own.start <= start <= own.stop), None)
        if stream is None:
            stream = _Stream(start, self._request(start, stop))
            self._streams = [*self._streams[-STREAMS + 1 :], stream]
            return stream.data
        data = stream.data[start - stream.start :]
        while len(data) < stop - start:  # it goes on where the last read ended: so will the next ones
            block = self._next(stream, stop)
            if not block:
                break
            data += block
        return data[: stop - start]

    def _next(self, stream: _Stream, stop: int) -> bytes:
        """The next block of a stream, and an order for the one after that."""
        start = stream.stop
        end = min(max(stop, start + AHEAD_BYTES), self._size)
        block = stream.ahead.result() if stream.ahead else self._request(start, end)
        stream.start, stream.data, stream.ahead = start, block, None
        after = stream.stop
        if self._pool is not None and after < self._size and block:
            stream.ahead = self._pool.submit(self._request, after, min(after + AHEAD_BYTES, self._size))
        return block

    def _request(self, start: int, stop: int) -> bytes:
        return self._folder.read(self._name, start, stop)
