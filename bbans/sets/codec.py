"""The interface of a codec for chunks of images of one shape: see `bbans.sets.lzma` and `bbans.sets.model`."""

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
        """Such as `LZMA` or `mnist-1 (bb-ans)`."""

    @property
    def shape(self) -> Shape:
        """(H, W, C) of the images."""

    @property
    def binary(self) -> bool:
        """Whether samples that are 0 or 255 are to be coded as 0 and 1."""

    @property
    def chunk(self) -> int | None:
        """The best number of images in a chunk; None if that depends on what a chunk costs besides its images."""

    def encode(self, images: Pixels, chunk: int) -> Encoded:
        """Messages of `chunk` images (N, H, W, C) each; the last may hold fewer."""

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Pixels:
        """The images (N, H, W, C) of messages that hold so many each. Inverse: `encode`. Raises: CorruptDataError."""

    def cost_bits(self, images: Pixels) -> tuple[float, float]:
        """Bits for an image, and bits that each chunk takes besides its images: estimated by coding these images."""

    def group(self, count: int, chunk: int, unit: int, accounting: Accounting) -> Group:
        """A group that this codec codes, without its chunks."""
