"""Inputs and outputs by URL, such as `s3://bucket/a.png`, through fsspec: `pip install 'bbans[remote]'`, and what schemes need."""

from __future__ import annotations

import contextlib
import errno
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .output import Refused

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # of two letters at least: a single one is a drive of Windows
_HERE = "file://"


def local(name: str) -> str:
    """The path of a `file://` URL; other names as they are."""
    return name[len(_HERE) :] if name.startswith(_HERE) else name


def is_remote(name: str) -> bool:
    """Whether a name is a URL of another scheme than file."""
    return _URL.match(name) is not None and not name.startswith(_HERE)


@dataclass(frozen=True)
class Remote:
    """A file by its URL."""

    url: str

    def __str__(self) -> str:
        return self.url

    def beside(self, name: str) -> Remote:
        """A file of another name in the same folder."""
        return Remote(f"{posixpath.dirname(self.url)}/{name}")

    def exists(self) -> bool:
        """Raises: Refused, OSError."""
        with _system(self.url) as (system, path):
            return bool(system.exists(path))

    def read(self) -> bytes:
        """The bytes of the file. Raises: Refused, OSError."""
        with _system(self.url) as (system, path), system.open(path, "rb") as file:
            return bytes(file.read())

    def write(self, data: bytes) -> None:
        """Write the file, whole or not at all where the system can do that. Raises: Refused, OSError."""
        with _system(self.url) as (system, path):
            folder = posixpath.dirname(path)
            if folder:
                system.makedirs(folder, exist_ok=True)
            with system.transaction, system.open(path, "wb") as file:
                file.write(data)


@contextlib.contextmanager
def _system(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path in it. Within this context every error is a Refused or an OSError that says what."""
    try:
        import fsspec
    except ImportError:
        raise Refused("URLs need fsspec: pip install 'bbans[remote]'") from None
    try:
        yield fsspec.core.url_to_fs(url)
    except Refused:
        raise
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "No such file or directory") from None
    except OSError as error:
        if error.strerror:
            raise
        raise OSError(error.errno or errno.EIO, " ".join(str(error).split()) or type(error).__name__) from error
    except Exception as error:  # an unknown scheme, a missing package, and all that their clients raise
        raise Refused(" ".join(str(error).split()) or type(error).__name__) from error
