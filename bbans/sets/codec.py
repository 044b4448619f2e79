"""How the images of a group are coded: by a model for sets, or by LZMA; and where the models come from."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from bbans.accounting import Accounting, Encoded
from bbans.errors import CorruptDataError, ModelError
from bbans.formats import lzma2
from bbans.formats.archive import Filter, Group, GroupMethod, ModelInfo

if TYPE_CHECKING:
    from bbans.models import Weights

Pixels = npt.NDArray[np.uint8]

SPAN_SAMPLES = 1 << 26
"""Chunks are coded and decoded together as long as their images have at most so many samples."""


class SetCodec(Protocol):
    """What a model of `bbans.models` for images of one shape does for this package."""

    @property
    def id(self) -> str: ...

    @property
    def weights_hash(self) -> bytes: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images."""

    @property
    def symbols(self) -> int:
        """Samples are 0 .. symbols - 1: 2 or 256."""

    @property
    def scheme(self) -> str:
        """Of bits-back coding; with the id all that a decoder needs to know."""

    def encode(self, images: Pixels, chunk: int, /) -> Encoded:
        """Messages of `chunk` images (N, H, W, C) each; the last may hold fewer."""

    def decode(self, messages: Sequence[bytes], counts: Sequence[int], /) -> Pixels:
        """The images of messages that hold so many each. Raises: CorruptDataError."""


@dataclass(frozen=True)
class LzmaCodec:
    """Filtered samples of a chunk as one LZMA2 stream. The filter is part of the group's header."""

    shape: tuple[int, int, int]
    filter: Filter

    def encode(self, images: Pixels, chunk: int) -> Encoded:
        """See `SetCodec`. The accounting is zero: nothing is known of what LZMA does."""
        messages = []
        for start in range(0, len(images), chunk):
            messages.append(lzma2.compress(_filtered(images[start : start + chunk], self.filter), fitted=True))
        return Encoded(messages, Accounting(0, 0, 0, 0))

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Pixels:
        """See `SetCodec`."""
        decoded = []
        for message, count in zip(messages, counts, strict=True):
            shape = (count, *self.shape)
            size = count * -(-math.prod(self.shape) // 8) if self.filter == Filter.BITS else math.prod(shape)
            decoded.append(_unfiltered(lzma2.decompress(message, size), shape, self.filter))
        return np.concatenate(decoded)


def _filtered(images: Pixels, kind: Filter) -> bytes:
    """Images (N, H, W, C) as LZMA finds them easier. Inverse: `_unfiltered`."""
    if kind == Filter.BITS:
        return np.packbits(images.reshape(len(images), -1), axis=1).tobytes()
    if kind == Filter.ROWS:
        planes: Pixels = images.transpose(0, 3, 1, 2).copy()  # (N, C, H, W)
        if planes.shape[1] == 3:
            planes[:, 0::2] -= planes[:, 1:2]
        planes[:, :, 1:] -= planes[:, :, :-1].copy()
        return planes.tobytes()
    return images.tobytes()


def _unfiltered(data: bytes, shape: tuple[int, int, int, int], kind: Filter) -> Pixels:
    """The images (N, H, W, C) of filtered bytes. Inverse: `_filtered`."""
    count, height, width, channels = shape
    if kind == Filter.BITS:
        packed = np.frombuffer(data, np.uint8).reshape(count, -1)
        return np.unpackbits(packed, axis=1, count=height * width * channels).reshape(shape)
    if kind == Filter.ROWS:
        planes = np.cumsum(np.frombuffer(data, np.uint8).reshape(count, channels, height, width), axis=2, dtype=np.uint8)
        if channels == 3:
            planes[:, 0::2] += planes[:, 1:2]
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return np.frombuffer(data, np.uint8).reshape(shape)


GroupCodec = SetCodec | LzmaCodec


def is_binary(codec: GroupCodec) -> bool:
    """Whether it wants samples of two values as 0 and 1, whatever they are."""
    return isinstance(codec, LzmaCodec) or codec.symbols == 2


class Models:
    """The models for sets that `pack` and `ArchiveReader` have at hand.

    Args:
        model: an installed model's id, a weight file, or a codec. None for all that are installed.
        scheme: of bits-back coding, for the encoder; None for the model's own.
        threads: of networks and coder; None for all cores.
        stored: code by none of them.
    """

    def __init__(
        self,
        model: str | Path | SetCodec | None = None,
        *,
        scheme: str | None = None,
        threads: int | None = None,
        stored: bool = False,
    ) -> None:
        self.model, self.scheme, self.threads, self.stored = model, scheme, threads, stored

    @functools.cached_property
    def only(self) -> SetCodec | None:
        """The codec of the model that was asked for. Raises: ModelError."""
        return self._load(self.model) if isinstance(self.model, str | Path) else self.model

    def take(self, shape: tuple[int, int, int]) -> bool:
        """Whether there is a model for images of that shape (H, W, C), of 8 bits or of 1."""
        if self.only:
            return self.only.shape == shape
        return bool(self.installed(shape, 2) or self.installed(shape, 256))

    def fitting(self, shape: tuple[int, int, int], binary: bool) -> list[SetCodec]:
        """The codecs for images of that shape; where all samples are 0 or 1, of the models for such, if there are any."""
        if self.only:
            return [self.only] if self.only.shape == shape and (binary or self.only.symbols == 256) else []
        found = (self.installed(shape, 2) if binary else []) or self.installed(shape, 256)
        return [self._load(weights) for weights in found]

    def installed(self, shape: tuple[int, int, int], symbols: int) -> list[Weights]:
        """Those for images (H, W, C) of samples 0 .. symbols - 1."""
        return [weights for weights in self._installed if weights.takes(shape, symbols)]

    @functools.cached_property
    def _installed(self) -> list[Weights]:
        # Read once: a folder may hold pictures of many shapes.
        from bbans import models

        return [] if self.stored else [models.read(id) for id in models.installed()]

    def _load(self, model: str | Path | Weights) -> SetCodec:
        from bbans import models

        return models.load_set(model, scheme=self.scheme, threads=self.threads)

    def find(self, model: ModelInfo) -> SetCodec:
        """The codec that a group names.

        Raises: ModelMissingError, ModelMismatchError when it is not here; other ModelError.
        """
        given = self.model
        if given is not None and not isinstance(given, str | Path):
            if (given.id, given.weights_hash, given.scheme) != (model.id, model.weights_hash, model.scheme):
                raise ModelError(
                    f"it needs the model '{model.id}' in the scheme {model.scheme}, not '{given.id}' in {given.scheme}"
                )
            return given
        from bbans import models

        return models.load_set(self.weights(model.id, model.weights_hash), scheme=model.scheme, threads=self.threads)

    def weights(self, id: str, weights_hash: bytes) -> Weights:
        """Those that a file names. Raises: ModelMissingError, ModelMismatchError."""
        from bbans import models

        also = self.model if isinstance(self.model, str | Path) and models.read(self.model).id == id else None
        return models.find(id, weights_hash, also=also)


def codec_of(group: Group, models: Models) -> GroupCodec:
    """What decodes the messages of a group of LZMA or MODEL. Raises: ModelError, CorruptDataError."""
    assert group.shape is not None
    if group.model is None:
        return LzmaCodec(group.shape, group.filter)
    codec = models.find(group.model)
    if tuple(codec.shape) != group.shape:
        raise CorruptDataError(f"index: images of {group.shape} by the model '{codec.id}', which is for {codec.shape}")
    return codec


def group_of(codec: GroupCodec, accounting: Accounting, count: int, chunk: int, unit: int) -> Group:
    """The group, without its chunks, that `codec_of` reads."""
    if isinstance(codec, LzmaCodec):
        return Group(GroupMethod.LZMA, count, chunk, shape=codec.shape, unit=unit, filter=codec.filter)
    model = ModelInfo(codec.id, codec.weights_hash, codec.scheme, accounting)
    return Group(GroupMethod.MODEL, count, chunk, shape=codec.shape, unit=unit, model=model)
