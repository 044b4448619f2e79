"""Files, and folders of them, on this machine or by a URL that fsspec knows: listed, read, read in part, and written whole.

::

    photos/, file:///data/photos            this machine, without fsspec
    s3://bucket/photos, memory://, zip://   fsspec (`pip install 'bbans[remote]'`), and what the scheme needs, such as s3fs
    simplecache::s3://bucket/photos         a chain: what fsspec does by way of one scheme with what it gets by another

Keys, endpoints and retries are configuration of fsspec (`FSSPEC_S3_ENDPOINT_URL`, `~/.config/fsspec`), the same on every worker.

A file appears whole or not at all: here, and on servers of files, under a temporary name that is changed; on object storage by its
PUT, or by the end of its upload in parts, before which there is no object.

>>> folder = Folder("memory://shards-example")
>>> folder.write("a/b.txt", b"text")
>>> folder.read("a/b.txt", 1, 3), [(entry.name, entry.size) for entry in folder.find()]
(b'ex', [('a/b.txt', 4)])
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bbans.files import atomic_write, entries_below, is_temporary, temporary_name

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+"  # of two letters at least: a single one is a drive of Windows
_URL = re.compile(rf"({_SCHEME}::)*{_SCHEME}://")
_HERE = "file://"
_WINDOWS = os.name == "nt"
COPY_BYTES = 1 << 20
OBJECTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "oss", "memory"}
"""Storage without folders, where what is written is there when its last byte is."""
PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp requests"),
}
"""What fsspec needs besides itself, as pip calls it."""
STAMPS = ("ETag", "etag", "md5Hash", "checksum", "content_md5", "Content-MD5", "CRC")
TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created")
"""What file systems call a file's digest and its time."""


def is_url(name: str) -> bool:
    """Whether a name is a URL of another scheme than file."""
    return _URL.match(name) is not None and not name.startswith(_HERE)


def local(name: str) -> str:
    """The path of a `file://` URL; other names as they are."""
    path = name.removeprefix(_HERE)
    return path[1:] if _WINDOWS and path != name and re.match("/[A-Za-z]:", path) else path  # file:///C:/photos


@dataclass(frozen=True)
class RemoteFile:
    """A file by its URL, of another scheme than file."""

    url: str

    def __str__(self) -> str:
        return self.url

    def beside(self, name: str) -> RemoteFile:
        """A file of another name in the same folder."""
        before, path, after = _parts(self.url)
        return RemoteFile(f"{before}{path[: path.rfind('/') + 1]}{name}{after}")

    def exists(self) -> bool:
        """Raises: OSError."""
        with _system(self.url) as (system, file):
            return bool(system.exists(file))

    def read(self) -> bytes:
        """The bytes of the file. Raises: OSError."""
        with _system(self.url) as (system, file):
            return bytes(system.cat_file(file))

    def write(self, data: bytes) -> None:
        """Write the file, whole or not at all: see the module. Raises: OSError."""
        with _system(self.url) as (system, file):
            _write(system, file, data)


@dataclass(frozen=True)
class Entry:
    """A file: its name below the folder, its size in bytes, and its stamp, which changes with it: an etag, or its time."""

    name: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Folder:
    """A folder by its path or URL. Names in it have `/` between their parts."""

    url: str

    @property
    def path(self) -> Path | None:
        """Of a folder on this machine; None for others."""
        return None if is_url(self.url) else Path(local(self.url))

    def find(self) -> list[Entry]:
        """All files below the folder, in the order of the bytes of their names; none if there is no folder. Raises: OSError."""
        path = self.path
        entries = self._find_remote() if path is None else _find_local(path)
        return sorted(entries, key=lambda entry: os.fsencode(entry.name))

    def names(self) -> list[str]:
        """The names of the files right in the folder; none if there is no folder. Raises: OSError."""
        path = self.path
        if path is not None:
            return [entry.name for entry in os.scandir(path) if entry.is_file()] if path.is_dir() else []
        with _system(self.url) as (system, root):
            try:
                system.invalidate_cache()
                entries = system.ls(root, detail=True)
                return [entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file" and entry["name"] != root]
            except FileNotFoundError:
                return []

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of a file, or those from `start` to before `stop`, in one request. Raises: OSError."""
        path = self.path
        if path is None:
            with _system(self.url, name) as (system, file):
                data = bytes(system.cat_file(file, start=start, end=stop))
            if stop is not None and len(data) > stop - (start or 0):  # a server of HTTP that knows no ranges sends the whole file
                return data[start:stop]
            return data
        with open(path / name, "rb") as local:
            local.seek(start or 0)
            return local.read(-1 if stop is None else stop - (start or 0))

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """The bytes of some files, which storage is asked for all at once. Raises: OSError."""
        if self.path is not None:
            return [self.read(name) for name in names]
        with _system(self.url) as (system, root):
            paths = [f"{root}/{name}" for name in names]
            return list(map(bytes, system.cat_ranges(paths, [None] * len(paths), [None] * len(paths), on_error="raise")))

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file to read from its beginning to its end. Raises: OSError."""
        path = self.path
        if path is not None:
            with open(path / name, "rb") as local:
                yield local
            return
        with _system(self.url, name) as (system, file), system.open(file, "rb") as remote:
            yield remote

    def write(self, name: str, data: bytes | Path) -> None:
        """Write a file, whole or not at all: see the module.

        Args:
            data: its bytes, or the path of a file that is copied.
        Raises: OSError.
        """
        path = self.path
        if path is not None:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path / name) as local:
                if isinstance(data, bytes):
                    local.write(data)
                else:
                    with open(data, "rb") as source:
                        shutil.copyfileobj(source, local, COPY_BYTES)
            return
        with _system(self.url, name) as (system, file):
            _write(system, file, data)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, as far as they are there: of object storage up to a thousand by a request. Raises: OSError."""
        path = self.path
        if path is not None:
            for name in names:
                (path / name).unlink(missing_ok=True)
            return
        if not names:
            return
        with _system(self.url) as (system, root), contextlib.suppress(FileNotFoundError):
            files = [f"{root}/{name}" for name in names]
            if set(root).isdisjoint("*?["):  # which `rm` would take for a pattern
                system.rm(files)
            else:
                for file in files:
                    system.rm_file(file)

    def size(self, name: str) -> int:
        """Of a file, in bytes. Raises: OSError."""
        path = self.path
        if path is not None:
            return (path / name).stat().st_size
        with _system(self.url, name) as (system, file):
            return int(system.size(file))

    def _find_remote(self) -> Iterator[Entry]:
        with _system(self.url) as (system, root):
            system.invalidate_cache()
            for path, info in system.find(root, detail=True).items():
                if path != root and not is_temporary(path.rpartition("/")[2]):
                    if info.get("size") is None:  # of a page of links, by HTTP
                        info = system.info(path)
                    yield _entry(path[len(root) :].lstrip("/"), info)


def split(url: str) -> tuple[Folder, str]:
    """The folder of a file, and its name in it."""
    before, path, after = _parts(url)
    parent, slash, name = path.rpartition("/")
    return Folder(f"{before}{parent}{after}" if before or parent else slash or "."), name


def _parts(url: str) -> tuple[str, str, str]:
    """(scheme, path, rest of a chain) of a URL; ("", path, "") of a path on this machine."""
    found = _URL.match(url)
    if found is None:
        return "", url.replace(os.sep, "/"), ""
    path, chain, rest = url[found.end() :].partition("::")
    return found[0], path, chain + rest


def _find_local(path: Path) -> Iterator[Entry]:
    for name, entry in entries_below(path) if path.is_dir() else ():
        if entry.is_file() and not is_temporary(entry.name):
            status = entry.stat()
            yield Entry(name, status.st_size, str(status.st_mtime_ns))


def _entry(name: str, info: dict[str, Any]) -> Entry:
    """What a file system says of a file. Each has keys of its own; the best stamp is an etag."""
    stamp = next((info[key] for key in STAMPS if info.get(key)), None)
    time = next((info[key] for key in TIMES if key in info), None)
    return Entry(name, int(info.get("size") or 0), str(stamp or time))


def _write(system: Any, file: str, data: bytes | Path) -> None:
    """Write a file of a file system, whole or not at all."""
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    if protocols & OBJECTS:  # a PUT, or for large files an upload in parts
        _send(system, file, data)
        return
    folder = system._parent(file)
    system.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{temporary_name()}"
    _send(system, temporary, data)
    system.mv(temporary, file)


def _send(system: Any, file: str, data: bytes | Path) -> None:
    if isinstance(data, bytes):
        system.pipe_file(file, data)
    else:
        system.put_file(str(data), file)


@contextmanager
def _system(url: str, name: str | None = None) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path of a file or of the folder itself. Every error within is an OSError that names it."""
    try:
        import fsspec
    except ImportError:
        raise OSError(errno.ENOSYS, f"{url}: URLs need fsspec: pip install 'bbans[remote]'") from None
    place = url if name is None else f"{url.rstrip('/')}/{name}"
    try:
        system, root = fsspec.core.url_to_fs(url)
        root = root.rstrip("/")
        yield system, root if name is None else f"{root}/{name}"
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, f"{place}: {os.strerror(errno.ENOENT)}") from None
    except ImportError as error:
        needed = " ".join(dict.fromkeys(PACKAGES[scheme] for scheme in re.findall(r"([\w+.-]+):", url) if scheme in PACKAGES))
        how = f"URLs like that need more than fsspec: pip install {needed}" if needed else " ".join(str(error).split())
        raise OSError(errno.ENOSYS, f"{place}: {how}") from error
    except Exception as error:  # all that the clients of object storage raise
        code = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
        raise OSError(code, f"{place}: {' '.join(str(error).split()) or type(error).__name__}") from error
