"""What `compress`, `decompress` and `inspect` return."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bbans.accounting import Accounting
from bbans.files import atomic_write

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

StrPath = str | os.PathLike[str]

ModeName = Literal["auto", "model", "stored"]
"""How `compress` is to keep a picture."""

EFFORTS = range(1, 10)
DEFAULT_EFFORT = 5


RestoresName = Literal["file", "picture"]


@dataclass(frozen=True)
class SectionInfo:
    """A section of a file: `kind` is metadata, payload, message, packed_metadata, png_writing or conversion."""

    kind: str
    size_bytes: int


@dataclass(frozen=True)
class Info:
    """What a compressed file says of itself."""

    mode: Literal["model", "stored"]
    method: str | None
    """Of storing: file, file_lzma, webp, rows_lzma, jxl or jpeg. None in mode model."""
    model: str | None
    weights_hash: str | None
    """Hexadecimal."""
    format: str
    """Of the picture file that comes back: PNG, JPEG, NPY, ..."""
    width: int
    height: int
    channels: int
    bit_depth: int
    source_bytes: int
    file_bytes: int
    header_bytes: int
    metadata_bytes: int
    """With how a PNG was written."""
    coded_bytes: int
    """The payload, or all messages."""
    sections: tuple[SectionInfo, ...]
    accounting: Accounting | None
    restores: RestoresName
    """What comes back: the file, byte for byte (a PNG where zlib is the same), or the picture with its metadata in a new file."""
    conversion: str | None = None
    """What a model has coded in the place of the pixels: luma and chroma if it is `jfif`, `webp` or `photo_cd`; numbers of the
    values that there are if it is `gaps`; a picture of fewer channels or bits if it is `channels`; the colours beside an alpha
    if it is `alpha`; or several, as in `jfif, alpha`."""

    @property
    def bits_per_dim(self) -> float:
        """8 * file_bytes / (H * W * C): bits per sub-pixel, header and metadata included."""
        return 8 * self.file_bytes / (self.height * self.width * self.channels)


@dataclass(frozen=True)
class Result:
    """A compressed file. `note` is for the user, where something may surprise.

    `dropped`: with `strip`, the names of the metadata that was left out, and its bytes in the source.
    """

    data: bytes
    info: Info
    note: str | None = None
    dropped: tuple[tuple[str, int], ...] = ()

    def save(self, path: StrPath) -> None:
        """Write the compressed file, all of it or nothing, and replace an old one. Raises: OSError."""
        _save(self.data, path)


@dataclass(frozen=True)
class Restored:
    """A picture file, and the name of its format (PNG, JPEG, PGM, NPY, ...).

    `note` says why it is not the file that was compressed, where it should be.
    """

    data: bytes
    format: str
    note: str | None = None

    def array(self) -> npt.NDArray[np.generic]:
        """The array that was compressed, or the samples of a still picture: (H, W) or (H, W, C), the colours of a palette.

        Their dtype is that of the file where numpy has it: bool for 1 bit, uint8, uint16, ... Formats that lose something are as
        Pillow decodes them.

        Raises:
            UnsupportedImageError: not a picture, one of several frames, or more bits a sample than Pillow decodes.
        """
        from bbans.images.objects import file_to_array

        return file_to_array(self.data)

    def pil(self) -> Image.Image:
        """The Pillow image that was compressed, with its mode and pixels, or that of any picture file.

        Raises:
            UnsupportedImageError: not a picture.
        """
        from bbans.images.objects import file_to_image

        return file_to_image(self.data)

    def save(self, path: StrPath) -> None:
        """Write the picture file, all of it or nothing, and replace an old one. Raises: OSError."""
        _save(self.data, path)


@dataclass(frozen=True)
class Damage:
    """A part of a picture that is not whole: rows from `top` to before `bottom`, columns from `left` to before `right`.

    `step`: every so manieth pixel of every so manieth row is right, and stands for its neighbours; 0: nothing is.
    """

    top: int
    bottom: int
    left: int
    right: int
    step: int

    def __str__(self) -> str:
        what = f"one pixel of {self.step} x {self.step} is right" if self.step else "lost, chequered gray"
        return f"rows {self.top} to {self.bottom - 1}, columns {self.left} to {self.right - 1}: {what}"


@dataclass(frozen=True)
class Recovered:
    """What is left of a damaged picture, as a picture file, and what is not whole in it."""

    data: bytes
    format: str
    damage: tuple[Damage, ...]
    metadata_lost: bool
    altered: bool = False
    """No part of the file is damaged, and yet this is not the picture that was compressed: its content check fails."""
    alpha_lost: bool = False
    """The picture is opaque, as its alpha is damaged."""


def _save(data: bytes, path: StrPath) -> None:
    with atomic_write(Path(path)) as file:
        file.write(data)
