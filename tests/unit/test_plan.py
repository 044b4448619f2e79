"""Which codec a group of images gets."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from bbans import sets
from bbans.formats.groups import Filter
from bbans.sets import plan
from bbans.sets.lzma import LzmaCodec


class Priced(LzmaCodec):
    """LZMA that claims other costs, and has no chunk size of its own."""

    def __init__(self, name: str, image_bits: float, begin_bits: float) -> None:
        super().__init__((4, 5, 1), Filter.NONE)
        self.called, self.bits = name, (image_bits, begin_bits)

    @property
    def name(self) -> str:
        return self.called

    def cost_bits(self, images: NDArray[np.uint8]) -> tuple[float, float]:
        return self.bits


class Two:
    def codecs(self, *_: object) -> list[Priced]:
        return [Priced("short images", 50, 1000), Priced("no beginning", 60, 0)]


@pytest.mark.parametrize(("chunk", "best"), [(1, "no beginning"), (10, "no beginning"), (400, "short images")])
def test_what_chunks_begin_with_counts(monkeypatch: pytest.MonkeyPatch, chunk: int, best: str) -> None:
    monkeypatch.setattr(plan, "SAMPLES_METHODS", [Two()])
    images = np.random.default_rng(0).integers(0, 256, (400, 4, 5), np.uint8)
    done = sets.pack(images, io.BytesIO(), chunk=chunk)
    assert any(f"400 images by {best} in chunks of {chunk}" in note for note in done.notes)


def test_no_two_ways_have_one_name() -> None:
    """A note compares them."""
    done = sets.pack(np.zeros((300, 28, 28), np.uint8), io.BytesIO())
    note = next(note for note in done.notes if note.startswith("bits/dim of"))
    names = [rate.rpartition(" ")[0] for rate in note.partition(": ")[2].split(", ")]
    assert len(names) == len(set(names)) > 2 and "LZMA of bits" in names
