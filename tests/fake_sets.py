"""Codecs without networks: what tests of archives use in the place of models."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bbans import models
from bbans.accounting import Accounting, Encoded
from bbans.errors import CorruptDataError, ModelMissingError

START = b"\x80\0\0\0\x01\x02\x03\x04"
"""What each message begins with, in the place of initial bits."""


@dataclass
class FakeCodec:
    """Chunks as zlib streams of their samples and the id; it counts what it is asked for. A `models.Weights` too, for `install`."""

    id: str = "fake-1"
    shape: tuple[int, int, int] = (4, 5, 1)
    symbols: int = 256
    scheme: str = "fake"
    weights_hash: bytes = b"\1\2\3\4\5\6\7\x08"
    level: int = 9
    decoded: list[int] = field(default_factory=list)

    @property
    def hash(self) -> bytes:
        return self.weights_hash

    def takes(self, shape: tuple[int, int, int], symbols: int) -> bool:
        return (shape, symbols) == (self.shape, self.symbols)

    def encode(self, images: NDArray[np.uint8], chunk: int) -> Encoded:
        assert images.dtype == np.uint8 and images.shape[1:] == self.shape and len(images) and chunk > 0
        assert images.max() < self.symbols
        streams = [zlib.compress(images[start : start + chunk].tobytes(), self.level) for start in range(0, len(images), chunk)]
        initial_bits = 8 * len(START + self.id.encode()) * len(streams)
        accounting = Accounting(8 * sum(map(len, streams)), 0, 0, initial_bits)
        return Encoded([START + self.id.encode() + stream for stream in streams], accounting)

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> NDArray[np.uint8]:
        self.decoded += counts
        prefix = START + self.id.encode()
        samples = []
        for message, count in zip(messages, counts, strict=True):
            try:
                data = zlib.decompress(message.removeprefix(prefix))
            except zlib.error as error:
                raise CorruptDataError("the message is no message") from error
            if not message.startswith(prefix) or len(data) != count * np.prod(self.shape):
                raise CorruptDataError("the message holds other initial bits")
            samples.append(np.frombuffer(data, np.uint8).reshape(count, *self.shape))
        return np.concatenate(samples)


@dataclass
class FakePhoto:
    """A `bbans.models.registry.PictureCodec`: the pixels as a zlib stream. A `models.Weights` too, for `install`."""

    id: str = "photo-0"
    weights_hash: bytes = b"\x08\7\6\5\4\3\2\1"

    @property
    def hash(self) -> bytes:
        return self.weights_hash

    def encode(self, pixels: NDArray[np.uint8], effort: int = 5) -> Encoded:
        stream = zlib.compress(pixels.tobytes(), 9)
        return Encoded([stream], Accounting(8 * len(stream), 0, 0, 0))

    def decode(self, messages: Sequence[bytes], height: int, width: int, channels: int) -> NDArray[np.uint8]:
        [message] = messages
        return np.frombuffer(zlib.decompress(message), np.uint8).reshape(height, width, channels)


def install(monkeypatch: pytest.MonkeyPatch, *codecs: FakeCodec) -> None:
    """Have `bbans.models` know these models for sets and no others, and `FakePhoto` for photos."""
    photo = FakePhoto()
    known = {codec.id: codec for codec in codecs}

    def read(model: str | Path | None = None) -> FakeCodec | FakePhoto:
        if model is None:
            return photo
        if str(model) not in known:
            raise ModelMissingError(f"no model '{model}'")
        return known[str(model)]

    def load_set(model: str | Path | FakeCodec, *, scheme: str | None = None, threads: int | None = None) -> FakeCodec:
        if isinstance(model, FakeCodec):
            return model
        return cast(FakeCodec, read(model))

    def find(id: str, hash: bytes, also: str | Path | None = None) -> FakeCodec | FakePhoto:
        if (id, hash) == (photo.id, photo.weights_hash):
            return photo
        if id not in known or known[id].hash != hash:
            raise ModelMissingError(f"it needs the model '{id}', which is not installed")
        return known[id]

    monkeypatch.setattr(models, "installed", lambda: {id: Path(id) for id in known})
    monkeypatch.setattr(models, "read", read)
    monkeypatch.setattr(models, "load_set", load_set)
    monkeypatch.setattr(models, "find", find)
    monkeypatch.setattr(models, "load", lambda model=None, **options: photo)
