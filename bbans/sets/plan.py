"""Choosing the codec of a group and the size of its chunks, by coding its first images."""

from __future__ import annotations

from dataclasses import dataclass

from bbans.errors import UnsupportedImageError
from bbans.formats.groups import MAX_CHUNK_SAMPLES
from bbans.formats.wire import CHECK_BYTES

from .methods import SAMPLES_METHODS, SamplesCodec
from .model import ModelLoader
from .source import Samples

INITIAL_SHARE = 0.003
"""The default chunks are long enough that no more than this part of their bits is not their images' own."""

ENTRY_BITS = 8 * (2 + 4 + CHECK_BYTES)
"""What a chunk takes in the index: its length, its CRC, its check."""

TRIAL_IMAGES = 256
TRIAL_SAMPLES = 1 << 20


@dataclass(frozen=True)
class GroupPlan:
    """How to code a group: the codec, the unit of its symbols, the images in a chunk; and estimates from the first images.

    `image_bits` is what an image takes, `begin_bits` what each chunk takes besides its images: initial bits, rounding to whole
    words, its entry in the index.
    """

    codec: SamplesCodec
    unit: int
    chunk: int
    image_bits: float
    begin_bits: float

    @property
    def bits(self) -> float:
        """What an image takes with its share of the chunk's own bits."""
        return self.image_bits + self.begin_bits / self.chunk

    def share(self, chunk: int) -> float:
        """The part of the bits of chunks of that size that is not their images' own."""
        return self.begin_bits / (self.begin_bits + self.image_bits * chunk)


def plan_group(samples: Samples, models: ModelLoader, chunk: int | None) -> tuple[GroupPlan, list[str]]:
    """The plan for a group, and notes for the user.

    Args:
        chunk: images in a chunk; None for the default.
    Raises: UnsupportedImageError: images larger than a chunk may be. ModelError.
    """
    count, size, kind = len(samples.images), samples.images[0].size, "x".join(map(str, samples.shape))
    if size > MAX_CHUNK_SAMPLES:
        raise UnsupportedImageError(f"images of {kind} samples: the limit is {MAX_CHUNK_SAMPLES} samples")
    binary = samples.unit is not None
    codecs = [codec for method in SAMPLES_METHODS for codec in method.codecs(samples.shape, binary, models, samples.array)]
    if chunk is not None and chunk > 1:
        codecs = [codec for codec in codecs if not codec.alone]
    plans = sorted((_try(codec, samples, chunk) for codec in codecs), key=lambda plan: plan.bits)
    best, notes = plans[0], []
    if any(plan.begin_bits > ENTRY_BITS for plan in plans):  # else there is no choice
        rates = ", ".join(f"{plan.codec.name} {plan.bits / size:.4f}" for plan in plans)
        notes.append(f"bits/dim of the first {min(count, TRIAL_IMAGES)} images of {kind}: {rates}")
        notes.append(_trade_off(best, count))
    return best, notes


def _try(codec: SamplesCodec, samples: Samples, chunk: int | None) -> GroupPlan:
    """The plan with that codec."""
    count, size = len(samples.images), samples.images[0].size
    unit = samples.unit or 1 if codec.binary else 1
    trial = samples.symbols(0, min(TRIAL_IMAGES, max(1, TRIAL_SAMPLES // size)), unit)
    image_bits, begin_bits = codec.cost_bits(trial)
    begin_bits += ENTRY_BITS
    chunk = chunk or codec.chunk
    if chunk is None:
        coded_bits = max(image_bits, 1.0)  # a model may be certain of an image
        fewest = begin_bits * (1 - INITIAL_SHARE) / (INITIAL_SHARE * coded_bits)
        chunk = -(-count // max(1, int(count / fewest)))  # all about equally long, and none shorter than that
    return GroupPlan(codec, unit, min(chunk, count, MAX_CHUNK_SAMPLES // size), image_bits, begin_bits)


def _trade_off(plan: GroupPlan, count: int) -> str:
    """What the size of the chunks costs, and what smaller ones would cost."""
    other = max(1, plan.chunk // 4)
    return (
        f"{count} images by {plan.codec.name} in chunks of {plan.chunk}: reading an image decodes its chunk, and starting chunks "
        f"takes {100 * plan.share(plan.chunk):.2f} % of the bits (--chunk {other}: {100 * plan.share(other):.2f} %)"
    )
