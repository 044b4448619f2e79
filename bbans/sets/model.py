"""Images of one shape by a model for that shape, and where models come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from bbans import api, models
from bbans.accounting import Accounting, Encoded
from bbans.errors import ModelError
from bbans.formats.groups import Group, GroupMethod, ModelInfo
from bbans.models import Weights

from .chunk import Pixels, Shape

TRIAL_CHUNK = 8
"""Images in a chunk where a model is tried: few, so that many chunks are coded at a time, which networks do best; but several, so
that all but the first find enough on the message to take initial bits from."""


class SetModel(Protocol):
    """What this package needs of a model for images of one shape: see `bbans.models.load_set`."""

    @property
    def id(self) -> str: ...

    @property
    def weights_hash(self) -> bytes: ...

    @property
    def shape(self) -> Shape:
        """(H, W, C) of the images."""

    @property
    def symbols(self) -> int:
        """2 or 256: samples are 0 .. symbols - 1."""

    @property
    def scheme(self) -> str:
        """The name of its scheme of bits-back coding. Files carry it."""

    def encode(self, images: Pixels, chunk: int, /) -> Encoded:
        """Messages of `chunk` images (N, H, W, C) each; the last may hold fewer."""

    def decode(self, messages: Sequence[bytes], counts: Sequence[int], /) -> Pixels:
        """The images (N, H, W, C) of messages that hold so many each. Inverse: `encode`. Raises: CorruptDataError."""


@dataclass(frozen=True)
class ModelCodec:
    """A `bbans.sets.methods.SamplesCodec`: the messages of a model."""

    model: SetModel
    chunk = None
    alone = False

    @property
    def name(self) -> str:
        """Such as `mnist-1 (bb-ans)`."""
        return f"{self.model.id} ({self.model.scheme})"

    @property
    def shape(self) -> Shape:
        return self.model.shape

    @property
    def binary(self) -> bool:
        return self.model.symbols == 2

    def encode(self, images: Pixels, chunk: int) -> Encoded:
        return self.model.encode(images, chunk)

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Pixels:
        return self.model.decode(messages, counts)

    def cost_bits(self, images: Pixels) -> tuple[float, float]:
        encoded = self.encode(images, TRIAL_CHUNK)
        net_bits = encoded.accounting.net_bits - encoded.accounting.initial_bits
        return net_bits / len(images), (8 * sum(map(len, encoded.messages)) - net_bits) / len(encoded.messages)

    def group(self, count: int, chunk: int, unit: int, accounting: Accounting) -> Group:
        info = ModelInfo(self.model.id, self.model.weights_hash, self.model.scheme, accounting)
        return Group(GroupMethod.MODEL, count, chunk, shape=self.model.shape, unit=unit, model=info)


class ModelLoader:
    """Finds and loads models for `pack` and `ArchiveReader`, each once.

    Args:
        model: the id of an installed model, a weight file, or a model. None for all installed models.
        scheme: to encode by; None for the model's own.
        threads: the most to use; None for as many as there are cores.
        stored: use no model.
    Raises: ValueError: threads. TypeError: model.
    """

    def __init__(
        self,
        model: str | Path | SetModel | None = None,
        *,
        scheme: str | None = None,
        threads: int | None = None,
        stored: bool = False,
    ) -> None:
        if isinstance(model, api.Model):
            raise TypeError(
                "model: a bbans.Model codes pictures of any size; bbans.models.load_set loads models for sets of images"
            )
        self.stored = stored
        self.default_photo = api.Model(threads=threads)
        """Codes pictures of any size."""
        self._model, self._scheme, self._threads = model, scheme, threads
        self._loaded: dict[tuple[str, bytes, str | None], SetModel] = {}

    @cached_property
    def only(self) -> SetModel | None:
        """The model that the user named, if he did. Raises: ModelError."""
        if self._model is None or not isinstance(self._model, str | Path):
            return self._model
        return self._load(models.read(self._model), self._scheme)

    def takes(self, shape: Shape) -> bool:
        """Whether there is a model for images (H, W, C), binary ones or not."""
        if self.only:
            return self.only.shape == shape
        return bool(self._for_images(shape, 2) or self._for_images(shape, 256))

    def fitting(self, shape: Shape, binary: bool) -> list[SetModel]:
        """The models for images (H, W, C). For binary ones, those for binary images if there are any."""
        if self.only:
            return [self.only] if self.only.shape == shape and (binary or self.only.symbols == 256) else []
        weights = (self._for_images(shape, 2) if binary else []) or self._for_images(shape, 256)
        return [self._load(own, self._scheme) for own in weights]

    def find(self, info: ModelInfo) -> SetModel:
        """The model that a group names.

        Raises: ModelMissingError, ModelMismatchError: it is not installed. ModelError: it cannot run.
        """
        model = self._model
        if model is None or isinstance(model, str | Path):
            return self._load(self._weights(info.id, info.weights_hash), info.scheme)
        if (model.id, model.weights_hash, model.scheme) != (info.id, info.weights_hash, info.scheme):
            raise ModelError(f"it needs the model '{info.id}' in the scheme {info.scheme}, not '{model.id}' in {model.scheme}")
        return model

    @cached_property
    def photo(self) -> api.Model:
        """Decodes pictures of any size, each by the model that its file names. Raises: ModelError."""
        return api.Model(self._model, threads=self._threads) if isinstance(self._model, str | Path) else self.default_photo

    def _for_images(self, shape: Shape, symbols: int) -> list[Weights]:
        """The installed weights for images (H, W, C) with samples 0 .. symbols - 1."""
        return [weights for weights in self._installed if weights.takes(shape, symbols)]

    @cached_property
    def _installed(self) -> list[Weights]:
        # read once: a folder may hold pictures of many shapes
        return [] if self.stored else [models.read(id) for id in models.installed()]

    def _weights(self, id: str, weights_hash: bytes) -> Weights:
        """The weights that a file names. Raises: ModelMissingError, ModelMismatchError."""
        also = self._model if isinstance(self._model, str | Path) and models.read(self._model).id == id else None
        return models.find(id, weights_hash, also=also)

    def _load(self, weights: Weights, scheme: str | None) -> SetModel:
        key = weights.id, weights.hash, scheme
        if key not in self._loaded:
            model = models.load_set(weights, scheme=scheme, threads=self._threads)
            self._loaded[key] = self._loaded[weights.id, weights.hash, model.scheme] = model
        return self._loaded[key]
