"""Tar streams: what `tar c` writes goes into an archive, and what is in an archive of files goes to `tar x`.

>>> import io, tempfile
>>> stream = io.BytesIO()
>>> with open_tar(stream) as tar:
...     add_file(tar, "a/sea.txt", b"blue", 1_500_000_000)
...     add_link(tar, Link("a/ocean.txt", "sea.txt"), 0)
>>> with tempfile.TemporaryDirectory() as folder:
...     listing = read_tar(io.BytesIO(stream.getvalue()), Path(folder))
...     [(name, path.read_bytes(), time) for name, (path, time) in listing.files.items()], listing.links
([('a/sea.txt', b'blue', 1500000000)], {'a/ocean.txt': ('sea.txt', 0)})
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

from bbans.errors import UnsupportedImageError
from bbans.formats.entries import SECOND, Link

from .listing import Listing

_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_READ_BYTES = 1 << 20
_END = bytes(tarfile.BLOCKSIZE)


def is_tar(file: BinaryIO) -> bool:
    """Whether a file that can seek begins with a member of a tar, compressed or not."""
    start = file.tell()
    try:
        with tarfile.open(fileobj=file, mode="r:*") as tar:
            return tar.next() is not None  # None: 512 zeros, the end of an empty tar, but of much else too
    except (*_DAMAGED, OSError):
        return False
    finally:
        file.seek(start)


def read_tar(file: BinaryIO, folder: Path) -> Listing:
    """The files and links of a tar, which may be compressed. Inverse: `open_tar`, `add_file`, `add_link`.

    Args:
        folder: gets the contents of files, under numbers: no name of the tar touches the disk.
    Raises: UnsupportedImageError: damaged, or cut short. OSError.
    """
    listing = Listing("this tar")
    try:
        with tarfile.open(fileobj=file, mode="r:*", encoding="utf-8", errors="surrogateescape") as tar:
            for number, member in enumerate(tar):
                _take(tar, member, folder / str(number), listing)
            assert tar.fileobj is not None  # while it is open
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(len(_END)) != _END:  # tarfile ends at the first header that is none
                raise tarfile.ReadError("it is cut short")
            while tar.fileobj.read(_READ_BYTES):  # up to the check of gzip
                pass
    except _DAMAGED as error:
        raise UnsupportedImageError(f"a damaged tar: {error}") from None
    return listing


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, listing: Listing) -> None:
    """Put a member into the listing. One of the same name as an earlier one replaces it, as `tar x` does."""
    if member.isdir():
        return
    name, time = _plain(member.name), _time(member)
    listing.files.pop(name, None)
    listing.links.pop(name, None)
    if member.issym():
        listing.links[name] = member.linkname, time
    elif member.islnk():
        if _plain(member.linkname) not in listing.files:
            raise tarfile.ReadError(f"{name} is another name of {member.linkname}, which is not there")
        listing.files[name] = listing.files[_plain(member.linkname)]
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None  # it is a file
        with content, open(path, "wb") as file:
            shutil.copyfileobj(content, file)
        listing.files[name] = path, time
    else:
        listing.notes.append(f"{name} is not a file: left out")


def _plain(name: str) -> str:
    """A name without the `./` that `tar c .` puts before it."""
    return name.removeprefix("./")


def _time(member: tarfile.TarInfo) -> int:
    """The time of a member, in nanoseconds: from its text, of which tarfile makes a float. 0 if there is none."""
    found = re.fullmatch(r"(-?)(\d{1,12})(?:\.(\d*))?", str(member.pax_headers.get("mtime", member.mtime)))
    if found is None:
        return 0
    sign, seconds, below = found.groups(default="")
    size = int(seconds) * SECOND + int(below[:9].ljust(9, "0"))
    return -size if sign else size


def open_tar(file: BinaryIO) -> tarfile.TarFile:
    """A tar to write to a file that need not seek."""
    return tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")


def add_file(tar: tarfile.TarFile, name: str, data: bytes, time: int) -> None:
    """Append a file; time in nanoseconds since 1970."""
    member = _member(name, time)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def add_link(tar: tarfile.TarFile, link: Link, time: int) -> None:
    """Append a symbolic link."""
    member = _member(link.name, time)
    member.type, member.linkname = tarfile.SYMTYPE, link.target
    tar.addfile(member)


def _member(name: str, time: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = time // SECOND
    if time % SECOND:
        sign, (seconds, below) = "-" * (time < 0), divmod(abs(time), SECOND)
        member.pax_headers = {"mtime": f"{sign}{seconds}.{below:09}"}
    return member
