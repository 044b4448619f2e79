"""What archives and sets have in common: images as a sequence."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import SupportsIndex, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt

from bbans.results import Restored

from .arrays import Images

Image = npt.NDArray[np.uint8] | npt.NDArray[np.bool_] | npt.NDArray[np.uint16]
"""An image of an array: (H, W) or (H, W, C)."""

Self = TypeVar("Self", bound="ImageSequence")  # in typing from Python 3.11 on


class ImageSequence(ABC):
    """Images by their number or name, or some by a slice: see `ArchiveReader`. Negative numbers count from the end."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def number(self, name: str) -> int:
        """The number of the file of that name. Raises: KeyError."""

    @abstractmethod
    def many(self, numbers: Iterable[int]) -> Images | list[Restored]:
        """The images with these numbers, in that order; an array for those of an array. Negative numbers count from the end.

        Raises: IndexError: there is no such image. CorruptDataError, ModelError: it cannot be had. OSError.
        """

    @abstractmethod
    def __iter__(self) -> Iterator[Image | Restored]: ...

    @overload
    def __getitem__(self, key: str) -> Restored: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> Image | Restored: ...
    @overload
    def __getitem__(self, key: slice) -> Images | list[Restored]: ...
    def __getitem__(self, key: str | SupportsIndex | slice) -> Image | Restored | Images | list[Restored]:
        """An image by its number or name, or some by a slice. Raises: KeyError: there is no such name; else as `many`."""
        if isinstance(key, slice):
            return self.many(range(len(self))[key])
        number = self.number(key) if isinstance(key, str) else operator.index(key)
        return cast("Image | Restored", self.many([number])[0])

    def _checked(self, numbers: Iterable[int]) -> list[int]:
        """The numbers, with negative ones counted from the end. Raises: IndexError."""
        count, checked = len(self), list(map(operator.index, numbers))
        for number in checked:
            if not -count <= number < count:
                raise IndexError(f"there is no image {number} among {count}")
        return [number % count for number in checked]
