"""The core: integer layers and scaling by every variant against plain integers; what they refuse. Backends: test_exact.py."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbans._core.convolution import Scaling, convolve, pack, scale, variants
from bbans._core.library import library
from bbans.exact.backends import Reference
from bbans.exact.network import IntConv
from tests.core import Array, refuses_other_arrays


def view(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Array:
    """Activations of a shape: an array of its own, or a view as layers may be given one."""
    count, height, width, channels = shape
    if kind == "own":
        return rng.integers(0, 128, shape).astype(np.uint8)
    if kind == "inside":
        return rng.integers(0, 128, (count, height + 3, width + 5, channels)).astype(np.uint8)[:, 2:-1, 1:-4]
    if kind == "every second row":
        return rng.integers(0, 128, (2 * count, 2 * height, width, channels)).astype(np.uint8)[::2, 1::2]
    if kind == "upside down":
        return rng.integers(0, 128, shape).astype(np.uint8)[::-1, ::-1]
    if kind == "one for all":
        return np.broadcast_to(rng.integers(0, 128, (1, 1, width, channels)).astype(np.uint8), shape)
    axes = {"channels first": (0, 2, 3, 1), "columns first": (0, 2, 1, 3)}[kind]
    order = np.argsort(axes)
    return rng.integers(0, 128, [shape[axis] for axis in order]).astype(np.uint8).transpose(axes)


VIEWS = ("own", "inside", "every second row", "upside down", "one for all")
ANY_ORDER = ("channels first", "columns first")  # dense where there is one channel, or one column


@given(st.data())
@settings(max_examples=200)
def test_layers_of_any_shape(data: st.DataObject) -> None:
    """By every variant, from any view whose rows are dense."""
    k = data.draw(st.sampled_from([1, 3]))
    inputs, outputs = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    count, height, width = data.draw(st.integers(0, 3)), data.draw(st.integers(k - 1, 20)), data.draw(st.integers(k - 1, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    dense = [*VIEWS, *(ANY_ORDER[:1] if inputs == 1 else ()), *(ANY_ORDER[1:] if 1 in (height, width) else ())]
    x = view(rng, (count, height, width, inputs), data.draw(st.sampled_from(dense)))
    shape = count, height - k + 1, width - k + 1, outputs
    skip = view(rng, shape, data.draw(st.sampled_from(VIEWS))) if data.draw(st.booleans()) else None
    size = np.array([data.draw(st.sampled_from([1, 20, 127]))])
    weight = rng.integers(-size, size + 1, (outputs, inputs, k, k)).astype(np.int8)
    bias = rng.integers(-(1 << 14), 1 << 14, (1, outputs)).astype(np.int32)
    layer = IntConv(weight, bias, rng.integers(0, 16, outputs).astype(np.int8), relu=True)
    packed, plain = pack(layer.weight, layer.bias[0], layer.exponent), Reference(layer)
    for variant in variants():
        sums = convolve(packed, x, sums=True, variant=variant)
        assert sums.dtype == np.int32 and np.array_equal(sums, plain.sums(x))
        y = convolve(packed, x, skip, variant=variant)
        assert y.dtype == np.uint8 and np.array_equal(y, plain(x, skip))


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("k", [1, 3])
def test_layers_at_the_ends_of_their_range(variant: str, k: int) -> None:
    """Sums up to 2**24 - 1 that any exponent rounds, and a skip on top."""
    inputs = 780 if k == 1 else 86
    for sign in (1, -1):
        for exponent in range(16):
            weight = np.full((17, inputs, k, k), sign * 127, np.int8)
            left = (1 << 24) - 1 - 127 * 127 * inputs * k * k - (127 << exponent)
            layer = IntConv(weight, np.full((1, 17), sign * left, np.int32), np.full(17, exponent, np.int8), relu=True)
            packed, plain = pack(layer.weight, layer.bias[0], layer.exponent), Reference(layer)
            x, skip = np.full((1, k, k + 4, inputs), 127, np.uint8), np.full((1, 1, 5, 17), 127, np.uint8)
            assert np.array_equal(convolve(packed, x, sums=True, variant=variant), plain.sums(x))
            for onto in (None, skip):
                assert np.array_equal(convolve(packed, x, onto, variant=variant), plain(x, onto))


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("total", [258, 259])
def test_runs_whose_products_add_up_to_about_2_to_the_15(variant: str, total: int) -> None:
    """In either half of four groups, with either sign, for one output; the other half is of the other sign."""
    for half in (0, 1):
        for sign in (1, -1):
            weight = np.zeros((20, 4, 2, 2), np.int8)  # outputs, groups, halves, pairs: 16 channels
            weight[:, :, 1 - half] = -sign * np.array([32, 31])
            weight[11, :, half] = sign * (total // 8)
            weight[11, 3, half, 1] += sign * (total % 8)
            parts = weight.reshape(20, 16, 1, 1), np.zeros((1, 20), np.int32), np.zeros(20, np.int8)
            packed, x = pack(parts[0], parts[1][0], parts[2]), np.full((1, 2, 9, 16), 127, np.uint8)
            assert packed.arrays()[-1].tolist() == [[[total == 258]], [[1]]]
            assert np.array_equal(convolve(packed, x, sums=True, variant=variant), Reference(IntConv(*parts, relu=True)).sums(x))


def test_the_best_variant_is_taken() -> None:
    packed = pack(np.ones((2, 3, 1, 1), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8))
    x = np.arange(30, dtype=np.uint8).reshape(1, 2, 5, 3)
    assert np.array_equal(convolve(packed, x), convolve(packed, x, variant=list(variants())[-1]))
    assert list(variants().values()) == sorted(variants().values()) and "portable" in variants()


def test_variants_that_there_are_not() -> None:
    packed = pack(np.ones((2, 3, 1, 1), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8))
    with pytest.raises(KeyError):
        convolve(packed, np.zeros((1, 1, 1, 3), np.uint8), variant="avx1024")
    assert [library().has_convolution(ctypes.c_int64(number)) for number in (-1, 7, 1 << 40)] == [0, 0, 0]


def test_activations_that_do_not_fit() -> None:
    packed = pack(np.ones((2, 3, 3, 3), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8))
    x, skip = np.ones((2, 5, 6, 3), np.uint8), np.ones((2, 3, 4, 2), np.uint8)
    convolve(packed, x, skip)
    wrong = [x.astype(np.int8), x.astype(np.int64), x[..., :2].copy(), x[0], x[None], np.ones((2, 5, 6, 6), np.uint8)[..., ::2]]
    wrong += [np.ones((2, 5, 12, 3), np.uint8)[:, :, ::2], x[:, :, ::-1], x[:, :1], x[:, :, :1], x.transpose(0, 2, 1, 3)]
    for other in wrong:
        with pytest.raises(ValueError):
            convolve(packed, other)
    wrong = [skip.astype(np.int8), skip[:1], skip[:, :2], skip[:, :, :3], skip[..., :1], skip[0], skip[:, :, ::-1]]
    wrong += [
        np.ones((2, 3, 8, 2), np.uint8)[:, :, ::2],
        np.ones((2, 3, 4, 4), np.uint8)[..., ::2],
        np.ones((2, 4, 3, 2), np.uint8),
    ]
    for other in wrong:
        with pytest.raises(ValueError):
            convolve(packed, x, other)
    with pytest.raises(ValueError):
        convolve(packed, np.ones((1, 1, 9, 3), np.uint8))


def test_layers_that_there_are_not() -> None:
    weight, bias, exponent = np.ones((2, 3, 3, 3), np.int8), np.zeros(2, np.int32), np.zeros(2, np.int8)
    pack(weight, bias, exponent)
    for parts in (
        (weight[0], bias, exponent),
        (weight[..., :1], bias, exponent),
        (weight[:, :0], bias, exponent),
        (weight, bias[:1], exponent),
        (weight, bias, exponent[:1]),
        (weight, bias[None], exponent),
    ):
        with pytest.raises(ValueError):
            pack(*parts)
    with pytest.raises(TypeError):
        pack(weight.astype(np.int16), bias, exponent)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 36), (0, 5), (4, 1)])
def test_scaling(shape: tuple[int, ...], variant: str) -> None:
    rng = np.random.default_rng(0)
    channels = shape[-1]
    parts = {
        "exponents": rng.integers(0, 16, channels),
        "factors": rng.choice([1, 4, 64], channels),
        "offsets": rng.integers(-60, 60, channels),
        "lows": rng.choice([-32767, 0], channels),
        "highs": rng.choice([127, 32767], channels),
    }
    by = Scaling(**{name: values.astype(np.int32) for name, values in parts.items()})
    sums = rng.integers(-(1 << 24) + 1, 1 << 24, shape).astype(np.int32)
    scaled = scale(sums, by, variant)
    assert scaled.dtype == np.int16 and scaled.shape == shape
    for row, got in zip(sums.reshape(-1, channels), scaled.reshape(-1, channels), strict=True):
        for channel, value in enumerate(row):
            exponent, factor, offset, low, high = (int(values[channel]) for values in parts.values())
            assert got[channel] == min(max(round(Fraction(int(value) * factor, 1 << exponent)) + offset, low), high)
    refuses_other_arrays(scale, (sums, by))
    for wrong in (np.zeros((2, channels + 1), np.int32), np.zeros((2, 0), np.int32), np.array(1, np.int32)):
        with pytest.raises(ValueError):
            scale(wrong, by)
    for name, values in parts.items():
        with pytest.raises(ValueError):
            scale(sums, Scaling(**{key: (part[:-1] if key == name else part).astype(np.int32) for key, part in parts.items()}))
        with pytest.raises(TypeError):
            Scaling(**{name: values})


def test_a_library_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import bbans.codecs"],
        env={**os.environ, "BBANS_CORE": "/nowhere/core.so", "LD_PRELOAD": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert "ImportError: the compiled core of bbans cannot be loaded (/nowhere/core.so" in done.stderr
    assert "install the package again (pip install -e . in a checkout)" in done.stderr
