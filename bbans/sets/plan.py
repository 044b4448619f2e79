"""Which codec a group gets, and how long its chunks are: decided by coding the first images."""

from __future__ import annotations

from dataclasses import dataclass

from bbans.errors import UnsupportedImageError
from bbans.formats.archive import MAX_CHUNK_SAMPLES
from bbans.formats.wire import CHECK_BYTES

from .codec import SamplesCodec
from .methods import SAMPLES_METHODS
from .model import ModelLoader
from .source import Samples

INITIAL_SHARE = 0.003
"""At most this part of a chunk's bits is spent on what each chunk begins with, unless the user says otherwise."""

ENTRY_BITS = 8 * (2 + 4 + CHECK_BYTES)
"""Of a chunk in the index: its length, its CRC, its check."""

TRIAL_IMAGES = 256
TRIAL_SAMPLES = 1 << 20


@dataclass(frozen=True)
class GroupPlan:
    """A codec for a group, the unit of its symbols, its chunk size, and what the first images say of it, in bits.

    ``image_bits`` is what an image takes, ``begin_bits`` what each chunk takes beside its images: initial bits, rounding to whole
    words, its entry in the index.
    """

    codec: SamplesCodec
    unit: int
    chunk: int
    image_bits: float
    begin_bits: float

    @property
    def bits(self) -> float:
        """What an image takes, with its share of the chunk's."""
        return self.image_bits + self.begin_bits / self.chunk

    def share(self, chunk: int) -> float:
        """Part of the bits of chunks of that size that is not the images' own."""
        return self.begin_bits / (self.begin_bits + self.image_bits * chunk)


def plan_group(samples: Samples, models: ModelLoader, chunk: int | None) -> tuple[GroupPlan, list[str]]:
    """The plan for a group, and notes for the user.

    Args:
        chunk: what the user wants; None for the default.
    Raises: UnsupportedImageError: images beyond all limits. ModelError.
    """
    count, size, kind = len(samples.images), samples.images[0].size, "x".join(map(str, samples.shape))
    if size > MAX_CHUNK_SAMPLES:
        raise UnsupportedImageError(f"images of {kind} samples: the limit is {MAX_CHUNK_SAMPLES} samples")
    codecs = [codec for method in SAMPLES_METHODS for codec in method.codecs(samples.shape, samples.unit is not None, models)]
    plans = sorted((_try(codec, samples, chunk) for codec in codecs), key=lambda plan: plan.bits)
    best, notes = plans[0], []
    if any(plan.begin_bits > ENTRY_BITS for plan in plans):  # else there is no choice
        rates = ", ".join(f"{plan.codec.name} {plan.bits / size:.4f}" for plan in plans)
        notes.append(f"bits/dim of the first {min(count, TRIAL_IMAGES)} images of {kind}: {rates}")
        notes.append(_trade_off(best, count))
    return best, notes


def _try(codec: SamplesCodec, samples: Samples, chunk: int | None) -> GroupPlan:
    """What the first images take by a codec, and the chunk size that follows."""
    count, size = len(samples.images), samples.images[0].size
    unit = samples.unit or 1 if codec.binary else 1
    trial = samples.symbols(0, min(TRIAL_IMAGES, max(1, TRIAL_SAMPLES // size)), unit)
    image_bits, begin_bits = codec.cost_bits(trial)
    begin_bits += ENTRY_BITS
    chunk = chunk or codec.chunk
    if chunk is None:
        coded_bits = max(image_bits, 1.0)  # a model may know an image for certain
        fewest = begin_bits * (1 - INITIAL_SHARE) / (INITIAL_SHARE * coded_bits)
        chunk = -(-count // max(1, int(count / fewest)))  # all chunks of about one length, none shorter than that
    return GroupPlan(codec, unit, min(chunk, count, MAX_CHUNK_SAMPLES // size), image_bits, begin_bits)


def _trade_off(plan: GroupPlan, count: int) -> str:
    """The chunk size in words, and what another one would cost."""
    other = max(1, plan.chunk // 4)
    return (
        f"{count} images by {plan.codec.name} in chunks of {plan.chunk}: to read one image is to decode a chunk, and "
        f"{100 * plan.share(plan.chunk):.2f} % of the bits go to begin chunks (--chunk {other}: {100 * plan.share(other):.2f} %)"
    )
