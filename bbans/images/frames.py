"""A frame of an animation as a still file of its own.

Pillow shows animations, and keeps several copies of the whole canvas for it, however small the file. To see that a file is whole,
each frame is decoded by itself instead; what all of them together take is known from headers, before the first is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """A frame's own size in pixels, and what makes its still file."""

    width: int
    height: int
    file: Callable[[], bytes]


@dataclass(frozen=True)
class Animation:
    """The canvas of an animation in pixels, and its frames."""

    width: int
    height: int
    frames: Sequence[Frame]
