"""Integer convolutions. convolution.c has them, and says how weights are packed."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import ClassVar, Literal, overload

import numpy as np
import numpy.typing as npt

from bbans._core.library import I8, I16, I32, U8, Integer, Structure, checked, fields, function

Bytes = npt.NDArray[np.uint8]

BLOCK, GROUP, RUN, ACTIVATION_MAX = 16, 4, 4, 127
VARIANTS = ("portable", "sse4", "avx2", "avx-vnni", "avx512-vnni", "neon", "neon-dot")
"""Ways to compute the same integers, by the instructions that they need; processor.h has their numbers."""


class PackedLayer(Structure):
    """Packed weights, biases and exponents; convolution.c has its twin. Made by `pack`."""

    FIELDS: ClassVar = {
        **dict.fromkeys(("inputs", "outputs", "side"), Integer),
        **{"weights": I8, "bias": I32, "exponents": I32, "small": U8},
    }
    _fields_ = fields(FIELDS)


_has = function("has_convolution", Integer)
_VIEW = (ctypes.c_void_p, Integer, Integer)  # with the strides of images and rows
_convolve = function("convolve", ctypes.POINTER(PackedLayer), *[Integer] * 4, *_VIEW, *_VIEW, ctypes.c_void_p, ctypes.c_void_p)


@functools.lru_cache(maxsize=1)
def variants() -> dict[str, int]:
    """The variants that this processor has, by name, the best last."""
    return {name: number for number, name in enumerate(VARIANTS) if _has(number)}


def pack(weight: npt.NDArray[np.int8], bias: npt.NDArray[np.int32], exponent: npt.NDArray[np.int8]) -> PackedLayer:
    """A layer for `convolve`. Shapes: weight (C_out, C_in, k, k); bias and exponent (C_out,). Raises: ValueError for others."""
    outputs, inputs, side, _ = weight.shape
    if weight.size == 0 or weight.shape[3] != side or not bias.shape == exponent.shape == (outputs,):
        raise ValueError(f"{weight.shape}, {bias.shape} and {exponent.shape} are not the shapes of a layer")
    blocks, groups = -(-outputs // BLOCK), -(-side * inputs // GROUP)
    rows = np.zeros((blocks * BLOCK, side, groups * GROUP), weight.dtype)
    rows[:outputs, :, : side * inputs] = weight.transpose(0, 2, 3, 1).reshape(outputs, side, side * inputs)
    packed = rows.reshape(blocks, BLOCK, side, groups, GROUP).transpose(0, 2, 3, 1, 4)

    def padded(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int32]:
        return np.pad(values.astype(np.int32), (0, blocks * BLOCK - outputs))

    return PackedLayer(
        inputs=inputs,
        outputs=outputs,
        side=side,
        weights=np.ascontiguousarray(packed),
        bias=padded(bias),
        exponents=padded(exponent),
        small=_are_small(packed[:, :, : side * inputs // GROUP]),
    )


def _are_small(groups: npt.NDArray[np.int8]) -> Bytes:
    """Whether the products of each run of whole groups add up within int16, by pairs, whatever the activations: (blocks, k, runs).

    Shapes: groups (blocks, k, groups, BLOCK, GROUP).
    """
    blocks, side, count, _, _ = groups.shape
    runs = count // RUN
    pairs = groups[:, :, : runs * RUN].reshape(blocks, side, runs, RUN, BLOCK, GROUP // 2, 2).astype(np.int64)
    largest = np.maximum(pairs.clip(0).sum((3, 6)), -pairs.clip(None, 0).sum((3, 6)))  # (blocks, k, runs, BLOCK, GROUP / 2)
    small: Bytes = (largest * ACTIVATION_MAX < 1 << 15).all((3, 4)).astype(np.uint8)
    return small


@overload
def convolve(
    layer: PackedLayer, x: Bytes, skip: Bytes | None = None, *, sums: Literal[False] = False, variant: str | None = None
) -> Bytes: ...
@overload
def convolve(layer: PackedLayer, x: Bytes, *, sums: Literal[True], variant: str | None = None) -> npt.NDArray[np.int32]: ...
def convolve(
    layer: PackedLayer, x: Bytes, skip: Bytes | None = None, *, sums: bool = False, variant: str | None = None
) -> Bytes | npt.NDArray[np.int32]:
    """Activations (N, h - k + 1, w - k + 1, C_out) uint8 of x (N, h, w, C_in); or accumulators int32, with `sums`.

    x and skip (shaped as the result) may be views, as long as pixels and channels of a row lie side by side.
    Raises: ValueError for arrays that do not fit the layer, KeyError for a variant that this processor does not have.
    """
    images, height, width, inputs = x.shape
    shape = images, height - layer.side + 1, width - layer.side + 1, layer.outputs
    if x.dtype != np.uint8 or inputs != layer.inputs or min(shape) < 0 or not _is_dense(x):
        raise ValueError(f"a layer of {layer.inputs} channels does not take {x.dtype} of shape {x.shape}")
    if skip is not None and (skip.dtype != np.uint8 or skip.shape != shape or not _is_dense(skip)):
        raise ValueError(f"to {shape} activations of that shape are added, not {skip.dtype} {skip.shape} of strides {skip.strides}")
    out = np.empty(shape, np.int32 if sums else np.uint8)
    checked(
        _convolve(
            ctypes.byref(layer),
            _number(variant),
            *shape[:3],
            _address(x),
            *x.strides[:2],
            None if skip is None else _address(skip),
            *((0, 0) if skip is None else skip.strides[:2]),
            None if sums else _address(out),
            _address(out) if sums else None,
        )
    )
    return out


@contextlib.contextmanager
def using(variant: str) -> Iterator[None]:
    """Within this context `convolve` takes that variant, in all threads, where none is named. Raises: KeyError, as `convolve`."""
    global _BEST
    before, _BEST = _BEST, variants()[variant]
    try:
        yield
    finally:
        _BEST = before


class Scaling(Structure):
    """What parameters are made of accumulators, (C,) each: see `scale`. convolution.c has its twin."""

    FIELDS: ClassVar = dict.fromkeys(("exponents", "factors", "offsets", "lows", "highs"), I32)
    _fields_ = fields(FIELDS)


_scale = function("scale", Integer, I32, Integer, Integer, ctypes.POINTER(Scaling), I16)


def scale(sums: npt.NDArray[np.int32], by: Scaling, variant: str | None = None) -> npt.NDArray[np.int16]:
    """Accumulators times factors and 2**-exponents, rounded, plus offsets, within limits: (.., C).

    Raises: ValueError where there are not C of each, KeyError for a variant that this processor does not have.
    """
    if any(array.shape != sums.shape[-1:] for array in by.arrays()):
        raise ValueError(f"there are other numbers of channels to scale than in {sums.shape}")
    out = np.empty(sums.shape, np.int16)
    checked(_scale(_number(variant), sums, sums.size // sums.shape[-1], sums.shape[-1], ctypes.byref(by), out))
    return out


def _number(variant: str | None) -> int:
    return _BEST if variant is None else variants()[variant]


def _is_dense(array: npt.NDArray[np.generic]) -> bool:
    """Whether each row of pixels is one piece of memory. Strides along an axis of length 1 mean nothing."""
    _, _, width, channels = array.shape
    return not array.size or ((channels == 1 or array.strides[3] == 1) and (width == 1 or array.strides[2] == channels))


def _address(array: npt.NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


_BEST = max(variants().values())
