"""The core: samples of small images against plain Python; what it refuses; any bytes as messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans._core import images
from bbans._core.convolution import variants
from bbans.ans import HEAD_MIN, Message
from bbans.errors import CorruptDataError
from bbans.tables import exp_table, inverse_scales, log2_table, logistic_table
from tests.core import MESSAGES, Array, State, assert_equal, refuses_other_arrays, state
from tests.reference import images as slow_images

SAMPLE_TABLES = logistic_table(), exp_table(), inverse_scales(), log2_table()
NO_LAYERS = tuple(np.zeros(shape, np.float32) for shape in ((1, 1), 1, (0, 1, 1), (0, 1), (1, 1), 1))


class Samples(NamedTuple):
    """Loops over an image, the image, what it brings along, and the same for the plain loops."""

    loops: images.SampleLoops
    image: Array
    own: Array
    known: Array
    theirs: tuple[Any, ...]


def some_image(rng: np.random.Generator, shape: tuple[int, int, int], binary: bool) -> Array:
    image = rng.integers(0, 2, shape) if binary else np.clip(rng.normal(128, 40, shape), 0, 255)
    return image.astype(np.uint8)


def count_outputs(shape: tuple[int, int, int], components: int) -> int:
    return (3 if shape[2] == 1 else 12) * components or 1


def by_outputs(shape: tuple[int, int, int], components: int, reach: int, relative: bool = False) -> Samples:
    """A likelihood of which a network says all; accumulators are up to `reach`."""
    rng = np.random.default_rng(2)
    size = count_outputs(shape, components), shape[0] * shape[1]
    exponents, own = rng.integers(0, 16, size), rng.integers(-reach, reach + 1, size).astype(np.int32)
    loops = images.SampleLoops(shape, components, exponents=exponents, relative=relative)
    known = np.ldexp(own.astype(np.float32), -exponents)
    return Samples(loops, some_image(rng, shape, not components), own, known, (NO_LAYERS, -1, relative, components, SAMPLE_TABLES))


def some_layer(rng: np.random.Generator, inputs: int, outputs: int) -> tuple[Array, Array, Array]:
    """Of a dense layer: weight, bias, exponent."""
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    return weight, rng.integers(-9000, 9000, outputs).astype(np.int32), rng.integers(4, 11, outputs).astype(np.int8)


def by_layers(
    shape: tuple[int, int, int], components: int, radius: int, hidden: int, depth: int, features: int, relative: bool
) -> Samples:
    """A likelihood with pixel layers."""
    rng = np.random.default_rng(2)
    inputs = 2 * radius * (radius + 1) * shape[2] + features
    enter, leave = some_layer(rng, inputs, hidden), some_layer(rng, hidden, count_outputs(shape, components))
    middle = [some_layer(rng, hidden, hidden) for _ in range(depth)]
    dense = images.dense(*enter), [images.dense(*layer) for layer in middle], images.dense(*leave)
    own = (rng.integers(0, 128, (features, shape[0] * shape[1])) * (rng.random((features, 1)) < 0.7)).astype(np.uint8)

    def floats(layer: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        weight, bias, exponent = layer
        transposed = np.ldexp(weight.astype(np.float32), -exponent.astype(np.int32)[:, None]).T
        return np.ascontiguousarray(transposed), np.ldexp(bias.astype(np.float32), -exponent.astype(np.int32))

    inner = [floats(layer) for layer in middle]
    between = (
        np.array([weight for weight, _ in inner], np.float32).reshape(depth, hidden, hidden),
        np.array([bias for _, bias in inner], np.float32).reshape(depth, hidden),
    )
    theirs = (*floats(enter), *between, *floats(leave)), radius, relative, components, SAMPLE_TABLES
    loops = images.SampleLoops(shape, components, layers=dense, radius=radius, relative=relative)
    return Samples(loops, some_image(rng, shape, not components), own, own.astype(np.float32), theirs)


SAMPLES: dict[str, Callable[[], Samples]] = {
    "binary": lambda: by_outputs((5, 4, 1), 0, 1 << 14),
    "binary, wild": lambda: by_outputs((5, 4, 1), 0, (1 << 24) - 1),
    "gray": lambda: by_outputs((4, 4, 1), 5, 1 << 14),
    "gray, wild": lambda: by_outputs((4, 4, 1), 3, (1 << 24) - 1),
    "colours": lambda: by_outputs((3, 4, 3), 2, 1 << 14),
    "colours, wild": lambda: by_outputs((3, 4, 3), 1, (1 << 24) - 1),
    "colours, relative": lambda: by_outputs((3, 4, 3), 2, 1 << 14, relative=True),
    "binary by layers": lambda: by_layers((5, 4, 1), 0, 2, 13, 2, 6, False),
    "gray by layers": lambda: by_layers((3, 5, 1), 5, 3, 9, 1, 5, False),
    "colours by layers": lambda: by_layers((4, 3, 3), 3, 1, 17, 1, 4, True),
    "colours by wide layers": lambda: by_layers((2, 3, 3), 5, 2, 48, 2, 16, True),
    "no context": lambda: by_layers((2, 3, 3), 1, 0, 4, 0, 2, False),
    "no features": lambda: by_layers((3, 3, 1), 1, 1, 4, 0, 0, True),
    "one pixel": lambda: by_layers((1, 1, 3), 2, 2, 4, 1, 1, True),
}


@pytest.fixture(params=SAMPLES)
def samples(request: pytest.FixtureRequest) -> Samples:
    return SAMPLES[request.param]()


@pytest.mark.parametrize("variant", variants())
def test_samples(samples: Samples, variant: str) -> None:
    loops, image, own, known, theirs = samples
    loops._fixed.variant = variants()[variant]
    rng = np.random.default_rng(1)
    before = state(rng, 1, 9, image.size)
    ours, words = before.copy(), before.words.copy()
    size = loops.push(*ours, image, own)
    head, expected = slow_images.push_samples(before.heads[0], words, 9, image, known, *theirs)
    assert_equal(ours, size, State(np.array([head]), words, 0), expected)
    popped, tail = np.zeros_like(image), ours.words[:size].copy()
    assert_equal(ours, loops.pop(ours.heads, tail, size, popped, own), before, 9)
    assert np.array_equal(popped, image)
    assert loops.log_freqs(image, own) == slow_images.log_freqs_of_samples(image, known, *theirs)
    any_message = state(rng, 1, image.size)
    ours, same = any_message.copy(), np.zeros_like(image)
    size = loops.pop(*ours, popped, own)
    head, expected = slow_images.pop_samples(any_message.heads[0], any_message.words, any_message.size, same, known, *theirs)
    assert_equal(ours, size, State(np.array([head]), any_message.words, 0), expected)
    assert np.array_equal(popped, same)


def test_images_that_do_not_fit(samples: Samples) -> None:
    loops, image, own, *_ = samples
    count = image.size
    message = state(np.random.default_rng(0), 1, count, count)
    refuses_other_arrays(loops.log_freqs, (image, own))
    for function in (loops.push, loops.pop):
        refuses_other_arrays(function, (*message.copy(), image.copy(), own))
        for heads in (message.heads[:0], np.repeat(message.heads, 2)):
            with pytest.raises(ValueError, match="one lane"):
                function(heads, message.words, count, image.copy(), own)
        for size in (-1, 2 * count + 1):
            with pytest.raises(ValueError):
                function(message.heads, message.words, size, image.copy(), own)
        for x, row in (
            (image[:-1], own),
            (image[None], own),
            (image, own[:, :-1].copy()),
            (image, np.concatenate([own, own, own[:1]])),
        ):
            if row.shape != own.shape or x.shape != image.shape:
                with pytest.raises(ValueError):
                    function(*message.copy(), x.copy(), row)
    with pytest.raises(ValueError, match="room"):
        loops.push(message.heads, message.words, count + 1, image, own)


def test_samples_of_a_message_that_runs_dry(samples: Samples) -> None:
    loops, image, own, *_ = samples
    head, words = np.array([HEAD_MIN], np.uint64), np.zeros(image.size, np.uint32)
    size = loops.push(head, words, 0, image, own)
    for start in range(1, size):
        with pytest.raises(CorruptDataError, match="ran dry"):
            loops.pop(head.copy(), words[start:size].copy(), size - start, np.zeros_like(image), own)


def test_likelihoods_that_there_are_not() -> None:
    rng = np.random.default_rng(0)

    def layers(**changes: Any) -> images.SampleLoops:
        sizes = {"inputs": 12 + 4, "hidden": 5, "between": 5, "last": 5, "outputs": 24} | changes
        enter = images.dense(*some_layer(rng, sizes["inputs"], sizes["hidden"]))
        middle = [images.dense(*some_layer(rng, sizes["hidden"], sizes["between"]))]
        leave = images.dense(*some_layer(rng, sizes["last"], sizes["outputs"]))
        return images.SampleLoops((3, 4, 3), changes.get("k", 2), layers=(enter, middle, leave), radius=changes.get("radius", 1))

    layers()
    for wrong in (
        {"inputs": 11},
        {"between": 4},
        {"between": 6},
        {"last": 4},
        {"outputs": 23},
        {"k": 9},
        {"k": -1},
        {"radius": -1},
    ):
        with pytest.raises(ValueError):
            layers(**wrong)
    for shape, components, size in (
        ((3, 4, 1), 2, (5, 12)),
        ((3, 4, 1), 2, (6, 11)),
        ((3, 4, 1), 2, (72,)),
        ((3, 4, 3), 0, (1, 12)),
        ((3, 4, 2), 1, (12, 12)),
        ((0, 4, 1), 1, (3, 0)),
        ((3, 4, 1), 9, (27, 12)),
    ):
        with pytest.raises(ValueError):
            images.SampleLoops(shape, components, exponents=np.zeros(size, np.uint8))
    weight, bias, exponent = some_layer(rng, 4, 3)
    for parts in (
        (weight, bias[:2], exponent),
        (weight, bias, exponent[:2]),
        (weight[:2], bias, exponent),
        (weight[0], bias, exponent),
    ):
        with pytest.raises(ValueError):
            images.dense(*parts)


@cache
def made_samples(name: str) -> Samples:
    return SAMPLES[name]()


@given(MESSAGES, st.sampled_from(sorted(SAMPLES)))
@settings(max_examples=200)
def test_any_bytes_as_samples(data: bytes, name: str) -> None:
    loops, known, own, *_ = made_samples(name)
    image = np.zeros_like(known)
    try:
        message = Message.from_bytes(data)
        before = message.copy()
        message.resize(loops.pop(message.head, message.words, message.size, image, own))
    except CorruptDataError:
        return
    message.reserve(image.size)
    message.resize(loops.push(message.head, message.words, message.size, image, own))
    assert message == before
