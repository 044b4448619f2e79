"""Sets of images of one shape to messages by bits-back coding, and back: a model with a scheme, and chunks in lockstep.

::

    images   0 1 2 .. M-1 | M .. 2M-1 | 2M .. N-1        a chunk is one message on which its images are chained
    step t   image t of every chunk at the same time: the networks see a batch, each message only its own image

A chunk's images are pushed last first, so that the first comes back first. Its initial bits are those of Message.primed, of which
only those that were touched are kept; when all images are popped, they must be what is left: a check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from bbans.accounting import Accounting, Encoded
from bbans.ans import Batch, Message
from bbans.codecs import Codec
from bbans.errors import CorruptDataError
from bbans.meter import Meter, bits_of
from bbans.models.batches import MAX_BATCH
from bbans.models.config import ImageConfig
from bbans.models.grids import Samples
from bbans.models.weights import Weights

_LATENT_BITS = 64  # of a message, for each latent and particle: more than any draw takes

Result = TypeVar("Result")


class ImageCoder(Protocol):
    """A network with a scheme of bits-back coding: what a family of models for sets adds."""

    @property
    def scheme(self) -> str:
        """Its name, as files carry it."""

    @property
    def particles(self) -> int:
        """How many draws of all latents it makes."""

    @staticmethod
    def schemes(config: Any, particles: Iterable[int], /) -> list[str]:
        """Names of the schemes for a model of this config, its own first; those with particles with so many each."""

    def codec(self, batch: int, meter: Meter, /) -> Codec[Samples]:
        """The codec of images (batch, H, W, C), one on each message of a Batch.

        It counts what it pushes as "likelihood" and "prior".
        """


class SetCodec:
    """Encoder and decoder of sets of images of one shape.

    Args:
        weights: what the model was made of; files name its id and hash.
        config: what images it takes.
        coder: the networks on the backend to use, with a scheme.
        threads: chunks are shared among so many.
    """

    def __init__(self, weights: Weights, config: ImageConfig, coder: ImageCoder, threads: int) -> None:
        self.id, self.weights_hash, self.scheme = weights.id, weights.hash, coder.scheme
        self.shape, self.symbols = config.shape, config.symbols
        self._coder, self._threads = coder, threads
        self._primed_words = 64 + config.latent_count * _LATENT_BITS * coder.particles // 32

    def encode(self, images: Samples, chunk: int) -> Encoded:
        """The messages of chunks of `chunk` images each; the last may have fewer. Inverse: decode.

        Shapes: images (N, H, W, C) of 0 .. symbols - 1. Raises: ValueError for others.
        """
        if images.shape[1:] != self.shape or images.dtype != np.uint8 or not len(images) or chunk < 1:
            raise ValueError(f"the model '{self.id}' takes images of shape {self.shape}, not {images.dtype} {images.shape}")
        if int(images.max()) >= self.symbols:
            raise ValueError(f"the model '{self.id}' takes samples 0 .. {self.symbols - 1}")
        starts = range(0, len(images), chunk)
        messages = [Message.primed(self._primed_words) for _ in starts]
        primed = bits_of(messages[0])
        lengths = [min(chunk, len(images) - start) for start in starts]

        def push_all(first: int, last: int) -> Meter:
            meter = Meter()
            for step in reversed(range(lengths[first])):
                active = _active(lengths, first, last, step)
                x = np.ascontiguousarray(images[[starts[i] + step for i in range(first, active)]])
                self._coder.codec(len(x), meter).push(Batch(messages[first:active]), x)
            return meter

        meters = self._map_groups(push_all, lengths)
        initial_bits = sum(31 + 32 * (self._primed_words - message.lowest) for message in messages)
        growth = bits_of(Batch(messages)) - len(messages) * primed
        likelihood, prior = (sum(meter.bits[name] for meter in meters) for name in ("likelihood", "prior"))
        accounting = Accounting(likelihood >> 16, prior >> 16, max(0, likelihood + prior - growth >> 16), initial_bits)
        return Encoded([message.drop_untouched().to_bytes() for message in messages], accounting)

    def decode(self, messages: Sequence[bytes], counts: Sequence[int]) -> Samples:
        """The images (N, H, W, C) of chunks of so many images, N in all. Inverse: encode.

        Raises: CorruptDataError when a message is not one of so many images and this model.
        """
        order = sorted(range(len(counts)), key=lambda i: -counts[i])
        lengths = [counts[i] for i in order]
        opened = [Message.from_bytes(messages[i]) for i in order]
        ends = np.cumsum(counts, dtype=np.int64)
        starts = [int(ends[i]) - counts[i] for i in order]
        images = np.empty((sum(counts), *self.shape), np.uint8)

        def pop_all(first: int, last: int) -> None:
            for step in range(lengths[first] if last > first else 0):
                active = _active(lengths, first, last, step)
                _, x = self._coder.codec(active - first, Meter()).pop(Batch(opened[first:active]))
                images[[starts[i] + step for i in range(first, active)]] = x

        self._map_groups(pop_all, lengths)
        if not all(message.is_primed() for message in opened):
            raise CorruptDataError("a message holds other initial bits than it began with: it is damaged or another model wrote it")
        return images

    def _map_groups(self, work: Callable[[int, int], Result], lengths: list[int]) -> list[Result]:
        """`work` for groups of chunks, one for each thread and of at most a batch. `lengths` do not grow."""
        groups = max(min(self._threads, len(lengths)), -(-len(lengths) // MAX_BATCH))
        edges = [len(lengths) * i // groups for i in range(groups + 1)]

        if self._threads == 1 or groups == 1:
            return [work(first, last) for first, last in pairwise(edges)]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(work, edges[:-1], edges[1:]))


def _active(lengths: Sequence[int], first: int, last: int, step: int) -> int:
    """The end of the chunks from `first` on that have an image `step`."""
    while last > first and lengths[last - 1] <= step:
        last -= 1
    return last
