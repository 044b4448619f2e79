"""What codes chunks of images of one shape: see `bbans.sets.lzma` and `bbans.sets.model`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bbans.accounting import Accounting, Encoded
from bbans.formats.archive import Group

from .chunk import Pixels

Shape = tuple[int, int, int]
"""(H, W, C)"""


class SamplesCodec(Protocol):
    """Codes chunks of images of one shape."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def shape(self) -> Shape:
        """(H, W, C) of the images."""

    @property
    def binary(self) -> bool:
        """Whether it wants samples of two values as 0 and 1, whatever they are."""

    @property
    def chunk(self) -> int | None:
        """Images in a chunk that suit it; None for as few as keep the cost of beginning chunks low."""

    def encode(self, images: Pixels, chunk: int) -> Encoded:
        """Messages of `chunk` images (N, H, W, C) each; the last may hold fewer."""

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Pixels:
        """The images of messages that hold so many each. Inverse: `encode`. Raises: CorruptDataError."""

    def cost_bits(self, images: Pixels) -> tuple[float, float]:
        """About what an image takes, and what each chunk takes beside its images, in bits: found by coding these images."""

    def group(self, count: int, chunk: int, unit: int, accounting: Accounting) -> Group:
        """The header of a group, without its chunks."""
