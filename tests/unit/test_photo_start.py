"""Start values of the photo model's adaptive stage: in weight files, learned from pictures, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bbans import models
from bbans._core.photo import NAMES, SUMS
from bbans.errors import ModelError
from bbans.models.photo.codec import PhotoCodec
from bbans.models.photo.start import MIXED, factors_of, from_arrays, plain_starts, to_arrays
from bbans.models.registry import FAMILIES
from bbans.models.weights import PHOTO, Weights, unpack
from tests.models import TINY, codec, picture, weight_file, weights

Arrays = dict[str, NDArray[np.int32]]


@cache
def learned(kind: str = "photo") -> Weights:
    pictures = [picture(48, 64, kind=kind, seed=seed) for seed in range(4)]
    return unpack(FAMILIES[PHOTO].with_start_values(weight_file(), pictures), "learned")


def codec_that_learned(kind: str) -> PhotoCodec:
    made = models.load(learned(kind), threads=1)
    assert isinstance(made, PhotoCodec)
    return made


def length(coder: PhotoCodec, pixels: NDArray[np.uint8]) -> int:
    return sum(len(message) for message in coder.encode(pixels).messages)


@pytest.mark.parametrize("kind", ["photo", "gradient"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_like_those_learned_from_are_smaller(channels: int, kind: str) -> None:
    coder, pixels = codec_that_learned(kind), picture(52, 70, channels, kind=kind, seed=9)
    assert length(coder, pixels) < 0.985 * length(codec(), pixels)
    assert np.array_equal(coder.decode(coder.encode(pixels).messages, *pixels.shape), pixels)


def test_a_model_without_start_values_has_plain_ones() -> None:
    assert weights().arrays == {}
    assert from_arrays({}) == plain_starts()
    for phase, start in enumerate(plain_starts()):
        assert (start.learned[0]["weights"] != 0).sum() == 3 * 8, phase
        assert not start.sums.any()


def test_start_values_of_a_weight_file_are_those_that_were_learned() -> None:
    arrays = dict(learned().arrays)
    starts = from_arrays(arrays)
    again = to_arrays(starts, arrays["learned.factors"])  # type: ignore[arg-type]
    assert again.keys() == arrays.keys() and all(np.array_equal(again[name], arrays[name]) for name in arrays)
    assert all(start.sums.any() and start.learned[0]["classes_seen"].max() <= 100 for start in starts)


def test_a_model_without_the_stage_learns_nothing() -> None:
    config = replace(TINY, adaptive=False)
    data = FAMILIES[PHOTO].with_start_values(weight_file(config), [picture(32, 32)])
    assert unpack(data, "plain").arrays == {}
    assert FAMILIES["markov"].with_start_values(b"any bytes", []) == b"any bytes"


def test_families_that_learn_nothing_refuse_start_values() -> None:
    golden = Path(__file__).parents[1] / "data" / "golden" / "gray.safetensors"
    with pytest.raises(ModelError, match="the family 'markov' does not know"):
        models.load_set(replace(models.read(golden), arrays=learned().arrays), threads=1)


@pytest.mark.parametrize("seed", range(3))
def test_factors_give_the_sums_again(seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-2000, 2000, (60, 43)) * 100
    sums = (samples.T @ samples)[np.tril_indices(43)]
    factors = factors_of(sums // 16)
    starts = from_arrays({**learned().arrays, "learned.factors": np.broadcast_to(factors, (3, *SUMS)).copy()})
    for start in starts:
        assert np.allclose(start.sums, sums // 16, atol=1e-3 * np.abs(sums).max() / 16)


def changed(name: str, place: tuple[int, ...], value: int) -> Arrays:
    """The learned arrays, but for one value."""
    arrays = {key: array.copy() for key, array in learned().arrays.items()}
    arrays[f"learned.{name}"][place] = value
    return arrays


WRONG = [
    *((name, (0, 0, 0), value) for name in NAMES if name not in ("maps", *MIXED) for value in (1 << 27, -(1 << 27))),
    *((name, (0, 0, 0), value) for name in MIXED for value in ((1 << 13) + 1, -(1 << 13) - 1)),
    *((name, (1, 2, 3), -1) for name in NAMES if name.endswith("_seen")),
    ("factors", (0, 0, 5), (1 << 20) + 1),
    ("maps", (0, 0, 0, 0), 1),
    ("maps", (0, 0, 0, 16), (1 << 24) - 1),
    ("maps", (0, 0, 0, 3), 1 << 24),
]


@pytest.mark.parametrize(("name", "place", "value"), WRONG)
def test_values_out_of_range_are_refused(name: str, place: tuple[int, ...], value: int) -> None:
    arrays = changed(name, place, value)
    with pytest.raises(ModelError, match=r"learned\.\w+ of the model"):
        models.load(replace(learned(), arrays=arrays), threads=1)


def test_other_arrays_are_refused() -> None:
    arrays = dict(learned().arrays)
    biases = arrays["learned.biases"]
    others = [
        {name: array for name, array in arrays.items() if name != "learned.maps"},
        {**arrays, "learned.more": biases},
        {**arrays, "learned.biases": biases[:2]},
        {**arrays, "learned.biases": biases.astype(np.int64)},
        {**arrays, "learned.node_weights": arrays["learned.node_weights"].astype(np.int32)},
    ]
    for other in others:
        with pytest.raises(ModelError, match="start values"):
            models.load(replace(learned(), arrays=other), threads=1)
