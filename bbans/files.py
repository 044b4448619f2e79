"""Writing a file whole, or not at all.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     with atomic_write(Path(folder, "a.txt")) as file:
...         _ = file.write(b"all of it")
...     Path(folder, "a.txt").read_bytes()
b'all of it'
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(target: Path, *, like: os.stat_result | None = None, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which gets its name when all of it is on the disk: whatever happens, no part of it is left.

    Args:
        like: the status of another file, whose mode and times this one gets, where its file system has them.
        replace: an existing target.
    Raises: FileExistsError: there is a target already. OSError.
    """
    temporary = target.with_name(temporary_name())
    mode = 0o666 if like is None else 0o600  # what is private must not be open to all for a moment
    try:
        with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if like is not None:
            with contextlib.suppress(OSError):  # FAT and network folders may know neither
                os.chmod(temporary, like.st_mode & 0o777)
            with contextlib.suppress(OSError):
                os.utime(temporary, ns=(like.st_atime_ns, like.st_mtime_ns))
        if not replace and os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(target: Path, data: bytes, *, like: os.stat_result | None = None, replace: bool = True) -> None:
    """Write a file by `atomic_write`. Raises: FileExistsError; OSError that names the target."""
    try:
        with atomic_write(target, like=like, replace=replace) as file:
            file.write(data)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"{target} cannot be written: {error.strerror or error}") from error


def temporary_name() -> str:
    """Of a file or folder beside its target."""
    return f".vaezip-{secrets.token_hex(6)}.tmp"
