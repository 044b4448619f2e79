"""What `compress`, `decompress` and `inspect` return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bbans.accounting import Accounting

ModeName = Literal["auto", "model", "stored"]
"""How `compress` is to keep a picture."""


@dataclass(frozen=True)
class SectionInfo:
    """A section of a file: `kind` is metadata, payload or message."""

    kind: str
    size_bytes: int


@dataclass(frozen=True)
class Info:
    """What a file says of itself."""

    mode: Literal["model", "stored"]
    method: str | None
    """How it is stored: file, file_lzma, webp or lzma. None in mode model."""
    model: str | None
    weights_hash: str | None
    """Hexadecimal."""
    format: str
    """Of the picture file that comes back."""
    width: int
    height: int
    channels: int
    bit_depth: int
    source_bytes: int
    file_bytes: int
    header_bytes: int
    metadata_bytes: int
    """In mode model. A stored payload holds its own metadata."""
    coded_bytes: int
    """Of the payload, or of all messages."""
    sections: tuple[SectionInfo, ...]
    accounting: Accounting | None

    @property
    def bits_per_dim(self) -> float:
        """8 * file_bytes / (H * W * C): bits per sub-pixel, header and metadata included."""
        return 8 * self.file_bytes / (self.height * self.width * self.channels)


@dataclass(frozen=True)
class Result:
    """A compressed file. `note` is what the user should know of how it was done, if anything."""

    data: bytes
    info: Info
    note: str | None = None


@dataclass(frozen=True)
class Restored:
    """A picture file, and the name of its format (PNG, JPEG, PGM, ...)."""

    data: bytes
    format: str
