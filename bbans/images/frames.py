"""The frames of an animation, each as a still file of its own.

Pillow composes frames on copies of the whole canvas, however small the file. To check a file, each frame is decoded by itself
instead, after their sizes were added up from the headers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """The size of a frame in pixels, and a function that returns its still file."""

    width: int
    height: int
    file: Callable[[], bytes]


@dataclass(frozen=True)
class Animation:
    """The size of the canvas in pixels, and the frames."""

    width: int
    height: int
    frames: Sequence[Frame]
