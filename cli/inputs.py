"""What the user names, as the files to work on: with -r, those in folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bbans.files import is_temporary
from bbans.storage import local

from . import files
from .output import Refused, plural, printable

NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Item:
    """A file to work on.

    Attributes:
        below: its folder, seen from the folder that the user named; below --output-dir it goes there too.
        link: a symbolic link found in a folder: --output-dir gets the same link.
    """

    source: str
    below: Path = Path()
    link: bool = False
    size_bytes: int = 0


@dataclass
class Inputs:
    """The files, those in folders that are left out because of their names, and folders that cannot be read."""

    items: list[Item] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    faults: list[tuple[str, Exception]] = field(default_factory=list)

    def note(self, what: str) -> str | None:
        """Such as `2 files that are not named like pictures are left out: a.txt, b.txt`; None if there are none."""
        if not self.left_out:
            return None
        count = len(self.left_out)
        more = ", ..." if count > NAMED_AT_MOST else ""
        names = ", ".join(map(printable, self.left_out[:NAMED_AT_MOST]))
        return f"left out {count} file{plural(count)} {what}: {names}{more}"


def expand(inputs: Sequence[str], *, recursive: bool, wanted: Callable[[str], bool], omit: str | None = None) -> Inputs:
    """The files that inputs name; of folders, all below them in the order of their names.

    Args:
        recursive: take folders; else they are faults.
        wanted: whether a file in a folder is one to work on, by its name.
        omit: a folder that is left out: that of the results.
    """
    found = Inputs()
    for source in map(local, inputs):
        if source == files.PIPE or not os.path.isdir(source):
            found.items.append(Item(source, size_bytes=_size(source)))
        elif recursive:
            _walk(source, Path(), wanted, omit, found)
        else:
            found.faults.append((source, Refused("it is a folder: -r takes the files in it")))
    return found


def _walk(folder: str, below: Path, wanted: Callable[[str], bool], omit: str | None, found: Inputs) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        found.faults.append((folder, error))
        return
    for entry in entries:
        if entry.is_symlink():
            found.items.append(Item(entry.path, below, link=True))
        elif entry.is_dir():
            if omit is None or not os.path.exists(omit) or not os.path.samefile(entry.path, omit):
                _walk(entry.path, below / entry.name, wanted, omit, found)
        elif is_temporary(entry.name):
            continue
        elif entry.is_file() and wanted(entry.name):
            found.items.append(Item(entry.path, below, size_bytes=_size(entry.path)))
        else:
            found.left_out.append(entry.path)


def _size(source: str) -> int:
    try:
        return os.stat(source).st_size
    except OSError:
        return 0


def folders(items: Sequence[Item]) -> Iterator[Path]:
    """The folders below --output-dir that results go to, each once."""
    yield from dict.fromkeys(item.below for item in items)
