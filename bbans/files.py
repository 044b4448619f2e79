"""Writing a file whole, or not at all; folders for what is needed on the way, of which none is left; what is below a folder.

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
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]


_WORKING = "vaezip-work-"


def entries_below(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All that is below a folder but the folders, by name with `/` between its parts. Links are not followed. Raises: OSError."""
    folders = [""]
    while folders:
        prefix = folders.pop()
        for entry in os.scandir(folder / prefix):
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name, entry


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

    def commit() -> None:
        if not replace and os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        if like is not None:
            copy_status(temporary, like)
        os.replace(temporary, target)

    try:
        with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                commit()  # with the lock still held
        if fcntl is None:
            commit()  # of Windows, which renames no open file, and sets the time once more when it is closed
    finally:
        temporary.unlink(missing_ok=True)


def copy_status(target: Path, like: os.stat_result, *, follow_symlinks: bool = True) -> None:
    """Give a file the mode and times of another, where its file system has them; a link only its times."""
    if follow_symlinks:
        with contextlib.suppress(OSError):  # FAT and network folders may know neither
            os.chmod(target, like.st_mode & 0o777)
    with contextlib.suppress(OSError, NotImplementedError):
        os.utime(target, ns=(like.st_atime_ns, like.st_mtime_ns), follow_symlinks=follow_symlinks)


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


def is_temporary(name: str) -> bool:
    """Whether a name is one of `temporary_name`."""
    return re.fullmatch(r"\.vaezip-[0-9a-f]{12}\.tmp", name) is not None


def remove_stale(folder: Path) -> None:
    """Remove what `atomic_write` left in a folder when its process was killed; of processes that still run, nothing."""
    if fcntl is None:
        return
    for path in folder.iterdir():
        if is_temporary(path.name) and path.is_file():
            with contextlib.suppress(OSError), open(path, "r+b") as file:  # an OSError: it is in use, or gone
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """An empty folder for temporary files, which ends with this context; where its process is killed, when the next one begins.

    Raises: OSError.
    """
    _remove_working_folders()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_WORKING))
        lock = _locked_folder(folder, wait=True)
        if folder.exists():  # no other process has taken it for one that was left, before it was locked
            break
        _unlock(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


def _remove_working_folders() -> None:
    """Remove those of processes that were killed; of processes that still run, none."""
    if fcntl is None:
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{_WORKING}*"):
        lock = _locked_folder(folder, wait=False)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            _unlock(lock)


def _locked_folder(folder: Path, wait: bool) -> int | None:
    """A descriptor that holds the lock of a folder; None where another has it, or there is none to be had."""
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # it is in use, gone, another user's, or in a file system without locks
        _unlock(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Force names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(file: BinaryIO) -> None:
    """Let `remove_stale` of other processes know that the file is in use."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # network folders may have no locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
