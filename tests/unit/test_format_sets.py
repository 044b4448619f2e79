"""FORMAT.md, chapter 7, says all that is needed: a decoder made from it reads what the models for small images write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbans import models, tables
from bbans.ans import splitmix64
from bbans.models.config import ImageConfig
from bbans.models.markov.config import MarkovConfig
from bbans.models.topdown.config import TopDownConfig
from tests.format_sets_decoder import LOG, POWER, Decoder, freqs_of, share, v
from tests.make_golden import random_weights, set_images
from tests.reference.distributions import log2

BINARY = MarkovConfig(height=6, width=5, symbols=2, latents=(7,), hidden=(11,))
GRAY = MarkovConfig(height=4, width=6, symbols=256, components=2, latents=(6, 5, 3), hidden=(12, 10, 8))
COLOURS = MarkovConfig(height=4, width=4, channels=3, symbols=256, components=2, latents=(6,), hidden=(12,))
DENSE = TopDownConfig(6, 4, 1, 256, 2, (2,), (12,), (1,), ((3, 2),), features=0, hidden=1, context=0)
GRIDS = TopDownConfig(
    8, 16, 1, 2, 1, (8, 4, 2, 1), (6, 4, 3, 2), (2, 1, 0, 1), ((), (2, 1), (), (1,)), features=0, hidden=1, context=0
)
SINGLE = TopDownConfig(8, 8, 1, 2, 1, (8, 4), (10, 12), (1, 1), ((5,), (2, 1)), features=3, hidden=8, depth=0, context=2)
CONTEXT = TopDownConfig(8, 12, 1, 256, 5, (4,), (12,), (1,), ((2, 2),), features=4, hidden=8, depth=2, context=3)
RGB = TopDownConfig(8, 8, 3, 256, 2, (8, 4, 2), (10, 12, 8), (0, 1, 1), ((3,), (), (1,)), features=4, hidden=8, context=1)

CASES: dict[str, tuple[ImageConfig, str]] = {
    "one vector": (BINARY, "bb-ans"),
    "one vector, swapped": (COLOURS, "bit-swap"),
    "chain": (GRAY, "bb-ans"),
    "chain, swapped": (GRAY, "bit-swap"),
    "one particle": (BINARY, "mcbits-1"),
    "particles": (COLOURS, "mcbits-3"),
    "particles, a power of two": (BINARY, "mcbits-4"),
    "coupled": (BINARY, "mcbits-coupled-5"),
    "coupled, one particle": (BINARY, "mcbits-coupled-1"),
    "coupled colours": (COLOURS, "mcbits-coupled-3"),
    "head without pixel layers": (DENSE, "top-down"),
    "colours without pixel layers": (replace(DENSE, channels=3), "top-down"),
    "grids without latents": (GRIDS, "top-down"),
    "grid of one position": (SINGLE, "top-down"),
    "context": (CONTEXT, "top-down"),
    "pixel layers without context": (replace(CONTEXT, context=0), "top-down"),
    "colours": (RGB, "top-down"),
    "colours without context": (replace(RGB, context=0), "top-down"),
}


@pytest.mark.parametrize("reach", [16, 20_000])
@pytest.mark.parametrize("name", CASES)
def test_a_decoder_made_from_the_specification_reads_messages(name: str, reach: int, tmp_path: Path) -> None:
    """With random weights: as they are when trained, and so large that means, scales and logits are clamped."""
    config, scheme = CASES[name]
    data = random_weights(config, "random", reach)
    (tmp_path / "random.safetensors").write_bytes(data)
    codec = models.load_set(tmp_path / "random.safetensors", scheme=scheme, threads=1, backend="native")
    images = set_images(config, 5)
    messages = codec.encode(images, 3).messages
    decoder = Decoder(data, codec.scheme)
    decoded = [decoder.decode(message, count) for message, count in zip(messages, (3, 2), strict=True)]
    assert np.array_equal(np.concatenate(decoded), images)


def test_its_numbers_are_those_of_the_library() -> None:
    assert splitmix64(500).tolist() == [v(j) for j in range(500)]
    assert tables.log2_table().tolist() == LOG
    assert tables.exp2_table().tolist() == POWER
    rng = np.random.default_rng(0)
    for freq in [1, 2, 3, 2**24 - 1, 2**24, *(int(2**bits) for bits in rng.uniform(0, 24, 500))]:
        assert share(freq) == log2(np.int64(freq), tables.log2_table()) - (24 << 16)
    for count in (1, 2, 3, 50):
        for spread in (0, 1 << 10, 1 << 16, 1 << 24):
            logs = rng.integers(-spread, spread + 1, count).tolist()
            assert freqs_of(logs) == tables.freqs_from_log2(logs).tolist()
