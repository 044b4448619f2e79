"""Files and their names: where a result goes, and writing it whole or not at all.

::

    img.png --compress--> img.png.vaez --decompress--> img.png
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from bbans.errors import UnsupportedImageError
from bbans.files import atomic_write, copy_status, is_temporary, sync_folder, temporary_name, write_whole
from bbans.storage import RemoteFile, is_url, split

from .output import Refused

if TYPE_CHECKING:
    from bbans.images.picture import Picture
    from bbans.images.plain import Plain

SUFFIX = ".vaez"
ARCHIVE_SUFFIX = ".vaeza"
PIPE = "-"
SPOOLED_BYTES = 1 << 26
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
_WINDOWS = os.name == "nt"
_NOT_ON_WINDOWS = re.compile(r'[\\:*?"<>|\x00-\x1f]|[ .]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}


def file_name(source: str) -> str:
    """Of a path or a URL, without its folder."""
    return split(source)[1] if is_url(source) else Path(source).name


def compressed_name(source: str) -> str:
    """img.png -> img.png.vaez. Inverse: `restored_name`."""
    return file_name(source) + SUFFIX


def restored_name(source: str, format: str) -> str:
    """img.png.vaez -> img.png. Inverse: `compressed_name`.

    A name that says nothing of vaezip gets the format's suffix, and so does a JPEG of which only the pixels were kept.
    """
    own = file_name(source)
    name = own.removesuffix(SUFFIX)
    if name in (own, "") or (format == "PNG" and Path(name).suffix.lower() in JPEG_SUFFIXES):
        name += "." + format.lower()
    return name


def read(source: str) -> bytes:
    """The bytes of a file, or of stdin."""
    return read_with_status(source)[0]


def read_with_status(source: str) -> tuple[bytes, os.stat_result | None]:
    """The bytes of a file and its status when it was read; of stdin no status."""
    if source == PIPE:
        if sys.stdin is None:
            raise Refused("stdin is closed")
        return sys.stdin.buffer.read(), None
    if is_url(source):
        return RemoteFile(source).read(), None
    with open(source, "rb") as file:
        return file.read(), os.fstat(file.fileno())


@contextlib.contextmanager
def spooled() -> Iterator[BinaryIO]:
    """All of stdin, in a file that can seek: in memory, or on the disk where it is large."""
    if sys.stdin is None:
        raise Refused("stdin is closed")
    with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.seek(0)
        yield cast(BinaryIO, file)


def count_pixels(data: bytes, limit: int | None) -> int:
    """The pixels that a picture file's header declares, those of all frames together; 0 if it is none that is known.

    Raises: UnsupportedImageError: more than the limit.
    """
    from bbans.images import npy, pillow

    try:
        if data.startswith(npy.SIGNATURE):
            header = npy.parse(data)
            pixels = math.prod(header.shape[:2])
        else:
            with pillow.open_any(data, sys.maxsize) as image:
                pixels = image.width * image.height * getattr(image, "n_frames", 1)
    except UnsupportedImageError:  # what is wrong with it is said when it is read
        return 0
    if limit is not None and pixels > limit:
        raise UnsupportedImageError(f"it has more pixels than --max-pixels {limit}: {pixels}")
    return pixels


def plain_picture(data: bytes) -> tuple[Picture, Plain]:
    """The picture in a file, also of a JPEG, and what the model codes of it.

    Raises: UnsupportedImageError: the model codes nothing of it.
    """
    from bbans.images import plain
    from bbans.images.picture import read_picture

    picture = read_picture(data, decoded=True, any_kind=True)
    found = plain.find(picture)
    if found is None:
        raise UnsupportedImageError(f"{picture.kind} is not coded by the model")
    return picture, found


def picture_suffixes() -> set[str]:
    """The suffixes of files that are taken for pictures, in lower case: those of the formats that Pillow reads, and .npy."""
    from PIL import Image

    from bbans.images.pillow import NOT_TRIED

    known = Image.registered_extensions()
    return {suffix for suffix, format in known.items() if format in Image.OPEN and format not in NOT_TRIED} | {".npy", ".pam"}


def remove(source: str, status: os.stat_result | None, target: Path) -> str | None:
    """Remove a source, once its result is safe on the disk; or returns why it is kept.

    Args:
        status: of the source when it was read.
        target: the result, which is written.
    Raises: OSError.
    """
    sync_folder(target.parent)
    now = os.lstat(source)
    if not stat.S_ISREG(now.st_mode):
        return "kept: it is a link"
    if status is None or (now.st_ino, now.st_size, now.st_mtime_ns) != (status.st_ino, status.st_size, status.st_mtime_ns):
        return "kept: it has changed meanwhile"
    os.unlink(source)
    return None


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in, as far as they are not there. Raises: Refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"the folder {folder} cannot be made: {error.strerror}") from error


def write(target: Path | RemoteFile | None, data: bytes, *, like: os.stat_result | None, force: bool) -> None:
    """Write to a file, or to stdout if `target` is None.

    Args:
        like: the status of the source, which gives its mode and times to the target, where its file system has such.
        force: replace an existing target.
    Raises:
        Refused, OSError: nothing was written. The OSError of a target names it: the line begins with the source.
    """
    if target is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif isinstance(target, RemoteFile):
        target.write(data)
    else:
        try:
            write_whole(target, data, like=like, replace=force)
        except FileExistsError:  # since `check_target`
            raise Refused(f"{target} exists: use -f to replace it") from None


def check_target(target: Path | RemoteFile | None, source: str, *, force: bool) -> None:
    """Raises Refused, if `write` would have to: before any work is done."""
    if target is None:
        if sys.stdout is None:
            raise Refused("stdout is closed")
        if sys.stdout.isatty():
            raise Refused("compressed data and pictures are not written to a terminal: use -o or a pipe")
        return
    if isinstance(target, RemoteFile):
        if target.url == source:
            raise Refused("output and input are the same file")
        if not force and target.exists():
            raise Refused(f"{target} exists: use -f to replace it")
        return
    if not target.parent.is_dir():
        raise Refused(f"{target.parent} is no folder")
    if not os.path.lexists(target):
        return
    if is_url(source):
        source = PIPE
    if source != PIPE and target.exists() and target.samefile(source):
        raise Refused("output and input are the same file")
    if not target.is_file():
        raise Refused(f"{target} exists and is not a file")
    if not force:
        raise Refused(f"{target} exists: use -f to replace it")


def repeat_link(link: str, target: Path, *, force: bool) -> None:
    """Make the same symbolic link somewhere else. Raises: Refused, OSError."""
    if os.path.lexists(target):
        if os.path.islink(target) and os.readlink(target) == os.readlink(link):
            return
        if not force or not os.path.islink(target):
            raise Refused(f"{target} exists" + (" and is no link" if force else ": use -f to replace it"))
    temporary = target.with_name(temporary_name())
    try:
        os.symlink(os.readlink(link), temporary)
        copy_status(temporary, os.lstat(link), follow_symlinks=False)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(target: Path, like: os.stat_result | None, force: bool) -> Iterator[BinaryIO]:
    """A file to write, which gets its name when all is written: never a part of it, whatever happens in between.

    Args:
        like: the status of the source, which gives its mode and times.
        force: replace an existing target.
    Raises: Refused, OSError: nothing was written.
    """
    try:
        with atomic_write(target, like=like, replace=force) as file:
            yield file
    except FileExistsError:
        raise Refused(f"{target} exists: use -f to replace it") from None
    except OSError as error:
        if error.errno in _FULL or is_temporary(Path(str(error.filename)).name):
            raise OSError(error.errno, f"{target} cannot be written: {error.strerror}") from error
        raise


@contextlib.contextmanager
def replacing_or_stdout(target: Path | None, like: os.stat_result | None, force: bool) -> Iterator[BinaryIO]:
    """As `replacing`; without a target, a file in memory that goes to stdout when all is written."""
    if target is not None:
        with replacing(target, like, force) as file:
            yield file
    else:
        memory = io.BytesIO()
        yield memory
        write(None, memory.getvalue(), like=None, force=force)


@contextlib.contextmanager
def staging(target: Path, force: bool) -> Iterator[Path]:
    """A folder to write files and folders into, which then appear below `target`, a folder that may be there already.

    Nothing appears before all is written, and nothing is left where that fails. Only files that replace others are forced to the
    disk: the source of the rest is still there.

    Args:
        force: replace existing files.
    Raises: Refused, OSError.
    """
    temporary = (target if target.is_dir() else target.absolute().parent) / temporary_name()
    temporary.mkdir()
    try:
        yield temporary
        written = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_symlink() or not path.is_dir())
        if written and not os.path.lexists(target):
            os.rename(temporary, target)
            return
        check_below(target, map(str, written), force=force)
        for path in written:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target / path) and not (temporary / path).is_symlink():
                with open(temporary / path, "r+b") as file:  # Windows forces to the disk what can be written
                    os.fsync(file.fileno())
            os.replace(temporary / path, target / path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_names(paths: Iterable[str]) -> None:
    """Raises Refused, if Windows takes a path of an archive for another one, or for a device: before any work is done."""
    for path in paths if _WINDOWS else ():
        if any(_NOT_ON_WINDOWS.search(part) for part in path.split("/") if part not in (".", "..")):
            raise Refused(f"{path!r} is no path on Windows: unpack the others by name, or all to a tar by -c")


def check_below(target: Path, names: Iterable[str], *, force: bool) -> None:
    """Raises Refused, if files of these names may not be written below a folder: before any work is done."""
    if not target.absolute().parent.is_dir():
        raise Refused(f"{target.parent} is no folder")
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise Refused(f"{target} exists and is no folder")
    folders: set[Path] = set()
    for name in names:
        path = target / name
        for folder in path.parents:
            if folder == target or folder in folders:
                break
            folders.add(folder)
            if os.path.lexists(folder) and not folder.is_dir():
                raise Refused(f"{folder} exists and is no folder")
            if folder.is_symlink():
                raise Refused(f"{folder} is a link, and what it leads to may lie elsewhere")
        if os.path.lexists(path):
            if not path.is_file() and not path.is_symlink():
                raise Refused(f"{path} exists and is not a file")
            if not force:
                raise Refused(f"{path} exists: use -f to replace it")
