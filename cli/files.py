"""Files and their names: where a result goes, and writing it whole or not at all.

::

    img.png --compress--> img.png.vaez --decompress--> img.png
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

from .output import Refused

SUFFIX = ".vaez"
PIPE = "-"
JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}


def compressed_name(source: Path) -> str:
    """img.png -> img.png.vaez. Inverse: `restored_name`."""
    return source.name + SUFFIX


def restored_name(source: Path, format: str) -> str:
    """img.png.vaez -> img.png. Inverse: `compressed_name`.

    A name that says nothing of vaezip gets the format's suffix, and so does a JPEG of which only the pixels were kept.
    """
    name = source.name.removesuffix(SUFFIX)
    if name in (source.name, "") or (format == "PNG" and Path(name).suffix.lower() in JPEG_SUFFIXES):
        name += "." + format.lower()
    return name


def read(source: str) -> bytes:
    """The bytes of a file, or of stdin."""
    if source == PIPE:
        if sys.stdin is None:
            raise Refused("stdin is closed")
        return sys.stdin.buffer.read()
    with open(source, "rb") as file:
        return file.read()


def write(target: Path | None, data: bytes, *, like: str, force: bool) -> None:
    """Write to a file, or to stdout if `target` is None.

    Args:
        like: the source: a file gives its mode and times to the target, where its file system has such.
        force: replace an existing target.
    Raises:
        Refused, OSError: nothing was written. The OSError of a target names it: the line begins with the source.
    """
    if target is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        status = None if like == PIPE else os.stat(like)
        try:
            _replace(target, data, status, force)
        except OSError as error:
            raise OSError(error.errno, f"{target} cannot be written: {error.strerror or error}") from error


def check_target(target: Path | None, source: str, *, force: bool) -> None:
    """Raises Refused, if `write` would have to: before any work is done."""
    if target is None:
        if sys.stdout is None:
            raise Refused("stdout is closed")
        if sys.stdout.isatty():
            raise Refused("compressed data and pictures are not written to a terminal: use -o or a pipe")
        return
    if not target.parent.is_dir():
        raise Refused(f"{target.parent} is no folder")
    if not os.path.lexists(target):
        return
    if source != PIPE and target.exists() and target.samefile(source):
        raise Refused("output and input are the same file")
    if not target.is_file():
        raise Refused(f"{target} exists and is not a file")
    if not force:
        raise Refused(f"{target} exists: use -f to replace it")


def _replace(target: Path, data: bytes, like: os.stat_result | None, force: bool) -> None:
    """All of the data under its name, or nothing: never a part of it, whatever happens in between."""
    temporary = target.with_name(f".vaezip-{secrets.token_hex(6)}.tmp")
    mode = 0o666 if like is None else 0o600  # a private picture is not open to all for a moment
    try:
        with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if like is not None:
            with contextlib.suppress(OSError):  # FAT and network folders may know neither
                os.chmod(temporary, like.st_mode & 0o777)
            with contextlib.suppress(OSError):
                os.utime(temporary, ns=(like.st_atime_ns, like.st_mtime_ns))
        if not force and os.path.lexists(target):  # since `check_target`
            raise Refused(f"{target} exists: use -f to replace it")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
