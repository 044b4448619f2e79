"""What goes into an archive of files, by name: those below a folder, or the members of a tar."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bbans.errors import UnsupportedImageError
from bbans.files import entries_below
from bbans.formats.entries import MAX_TIME, Link, fault_of_links
from bbans.formats.names import fault_of_names


@dataclass
class Listing:
    """Files and links, in any order.

    Attributes:
        what: what they come from, for messages.
        files: by name the path to read, and the time of the last change, in nanoseconds since 1970.
        links: by name the target, and the time.
    """

    what: str
    files: dict[str, tuple[Path, int]] = field(default_factory=dict)
    links: dict[str, tuple[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def sort(self) -> None:
        """Sort by name, and check. Raises: UnsupportedImageError: no files, or names or links that no archive has."""
        if not self.files:
            raise UnsupportedImageError(f"there are no pictures in {self.what}")
        self.files = {name: self.files[name] for name in sorted(self.files, key=os.fsencode)}
        self.links = {name: self.links[name] for name in sorted(self.links, key=os.fsencode)}
        fault = fault_of_names([*self.files, *self.links]) or fault_of_links(self.link_list)
        if fault:
            raise UnsupportedImageError(f"{self.what} cannot be packed: {fault}")

    @property
    def link_list(self) -> list[Link]:
        return [Link(name, target) for name, (target, _) in self.links.items()]

    @property
    def times(self) -> list[int]:
        """Of the files, then of the links; the nearest that an archive can have."""
        times = [time for kept in (self.files, self.links) for _, time in kept.values()]
        return [min(max(time, -MAX_TIME), MAX_TIME - 1) for time in times]


def scan(folder: Path, follow: bool) -> Listing:
    """All files and links below a folder. What is neither, nor a folder, is left out and noted.

    Args:
        follow: take the files that links lead to, instead of the links. Links to folders are left out.
    Raises: OSError.
    """
    listing = Listing("this folder")
    for name, entry in entries_below(folder):
        if entry.is_symlink() and not follow:
            target = os.readlink(entry).replace(os.sep, "/")
            listing.links[name] = target, entry.stat(follow_symlinks=False).st_mtime_ns
        elif entry.is_file():
            listing.files[name] = folder / name, entry.stat().st_mtime_ns
        else:
            listing.notes.append(f"{name} is not a file: left out")
    return listing
