"""Which codec a group gets, and how long its chunks are: found by coding the first images."""

from __future__ import annotations

from dataclasses import dataclass

from bbans.errors import UnsupportedImageError
from bbans.formats.archive import MAX_CHUNK_SAMPLES, Filter
from bbans.formats.wire import CHECK_BYTES

from .codec import GroupCodec, LzmaCodec, Models, is_binary
from .source import Samples

INITIAL_SHARE = 0.003
"""Of a chunk's bits by default: at most so much is spent on what begins anew with each chunk."""

ENTRY_BITS = 8 * (2 + 4 + CHECK_BYTES)
"""Of a chunk in the index: its length, its CRC, its check."""

LZMA_CHUNK_SAMPLES = 1 << 20
"""Of a chunk by LZMA: it finds little more in longer ones, and reads one in a tenth of a second."""

TRIAL_IMAGES = 256
TRIAL_CHUNK = 8
"""The first images are coded in chunks of so many: enough chunks at a time for networks to run as they will, and enough images in
each for the message not to run lower after the first one."""


@dataclass(frozen=True)
class Plan:
    """A codec for a group, the unit of its symbols, its chunk size, and what the first images say of it, in bits.

    ``image_bits`` is what an image takes, ``begin_bits`` what each chunk takes beside its images: initial bits, rounding to whole
    words, its entry in the index.
    """

    codec: GroupCodec
    unit: int
    chunk: int
    image_bits: float
    begin_bits: float

    @property
    def bits(self) -> float:
        """What an image takes, with its share of the chunk's."""
        return self.image_bits + self.begin_bits / self.chunk

    @property
    def name(self) -> str:
        """Such as `mnist-1 (bb-ans)`."""
        return "LZMA" if isinstance(self.codec, LzmaCodec) else f"{self.codec.id} ({self.codec.scheme})"

    def share(self, chunk: int) -> float:
        """Part of the bits of chunks of that size that is not the images' own."""
        return self.begin_bits / (self.begin_bits + self.image_bits * chunk)


def plan(samples: Samples, models: Models, chunk: int | None) -> tuple[Plan, list[str]]:
    """The plan for a group, and notes for the user.

    Args:
        chunk: what the user wants; None for the default.
    Raises: UnsupportedImageError: images beyond all limits. ModelError.
    """
    count, shape, size = len(samples.images), samples.shape, samples.images[0].size
    kind = "x".join(map(str, shape))
    if size > MAX_CHUNK_SAMPLES:
        raise UnsupportedImageError(f"images of {kind} samples: the limit is {MAX_CHUNK_SAMPLES} samples")
    fitting = models.fitting(shape, samples.binary)
    codecs: list[GroupCodec] = list(fitting)
    if models.only is None or not fitting:
        codecs += [LzmaCodec(shape, kind) for kind in (Filter.NONE, Filter.BITS if samples.binary else Filter.ROWS)]
    plans = [_try(codec, samples, chunk) for codec in codecs]
    best = min(plans, key=lambda plan: plan.bits)
    notes = []
    if fitting:
        rates = ", ".join(f"{tried.name} {tried.bits / size:.4f}" for tried in sorted(plans, key=lambda plan: plan.bits))
        notes.append(f"bits/dim of the first {min(count, TRIAL_IMAGES)} images of {kind}: {rates}")
        notes.append(_trade_off(best, count))
    return best, notes


def _try(codec: GroupCodec, samples: Samples, chunk: int | None) -> Plan:
    """What the first images take by a codec, and the chunk size that follows."""
    count, size = len(samples.images), samples.images[0].size
    unit = samples.unit if is_binary(codec) else 1
    trial = samples.symbols(0, min(TRIAL_IMAGES, max(1, LZMA_CHUNK_SAMPLES // size)), unit)
    limit = min(count, MAX_CHUNK_SAMPLES // size)
    if isinstance(codec, LzmaCodec):
        image_bits = 8 * len(codec.encode(trial, len(trial)).messages[0]) / len(trial)
        return Plan(codec, unit, min(chunk or max(1, LZMA_CHUNK_SAMPLES // size), limit), image_bits, ENTRY_BITS)
    encoded = codec.encode(trial, TRIAL_CHUNK)
    bits = encoded.accounting
    net_bits = bits.net_bits - bits.initial_bits
    begin_bits = (8 * sum(map(len, encoded.messages)) - net_bits) / len(encoded.messages) + ENTRY_BITS
    if chunk is None:
        image_bits = max(net_bits / len(trial), 1.0)  # a model may know an image for certain
        fewest = begin_bits * (1 - INITIAL_SHARE) / (INITIAL_SHARE * image_bits)
        chunk = -(-count // max(1, int(count / fewest)))  # all chunks of about one length, none shorter than that
    return Plan(codec, unit, min(chunk, limit), net_bits / len(trial), begin_bits)


def _trade_off(plan: Plan, count: int) -> str:
    """The chunk size in words, and what another one would cost."""
    other = max(1, plan.chunk // 4)
    return (
        f"{count} images by {plan.name}, {plan.chunk} in a chunk: so many are decoded to read one, and "
        f"{100 * plan.share(plan.chunk):.2f} % of the bits begin chunks (--chunk {other}: {100 * plan.share(other):.2f} %)"
    )
