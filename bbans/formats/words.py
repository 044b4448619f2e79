"""Images of an archive in words, for notes and errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bbans.formats.archive import Archive

_NAMES = 5  # of many


def images_in_words(archive: Archive, images: Sequence[int]) -> str:
    """Such as `a.png, b.png` or `images 0-454`: the first names of files, or the numbers of images of an array."""
    return spans(images) if archive.array else first_names([archive.names[image] for image in images])


def first_names(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def spans(numbers: Iterable[int]) -> str:
    """Such as `images 0-454, 910`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    listed = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    one = len(runs) == 1 and runs[0][0] == runs[0][1]
    return f"image{'' if one else 's'} {listed}"
