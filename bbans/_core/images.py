"""The samples of an image of a model for sets. images.c has the loops, and says what they do."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bbans._core.convolution import variants
from bbans._core.library import I16, I32, I64, U8, U32, U64, Integer, Structure, checked, fields, function
from bbans._core.tables import Tables, core_tables

Samples = npt.NDArray[np.uint8]


class Dense(Structure):
    """A layer that runs pixel by pixel: weights (inputs, outputs), bias and exponents (outputs,); images.c has its twin."""

    FIELDS: ClassVar = {"inputs": Integer, "outputs": Integer, "weights": I16, "bias": I32, "exponents": U8}
    _fields_ = fields(FIELDS)


def dense(weight: npt.NDArray[np.int8], bias: npt.NDArray[np.int32], exponent: npt.NDArray[np.int8]) -> Dense:
    """A layer from its weight (C_out, C_in), bias and exponent (C_out,). Raises: ValueError for other shapes."""
    if not weight.shape[:1] == bias.shape == exponent.shape:
        raise ValueError(f"{weight.shape}, {bias.shape} and {exponent.shape} are not the shapes of a layer")
    return Dense(
        inputs=weight.shape[1],
        outputs=weight.shape[0],
        weights=np.ascontiguousarray(weight.T, np.int16),
        bias=np.ascontiguousarray(bias, np.int32),
        exponents=np.ascontiguousarray(exponent, np.uint8),
    )


class Likelihood(ctypes.Structure):
    """What the likelihood of an image needs; images.c has its twin."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        *((name, Integer) for name in ("height", "width", "colours", "components", "radius", "relative")),
        *((name, ctypes.c_void_p) for name in ("outputs", "exponents", "features")),
        *((name, Integer) for name in ("count_features", "hidden", "depth")),
        ("enter", Dense),
        ("middle", ctypes.c_void_p),
        ("leave", Dense),
        ("variant", Integer),
    ]


_STATE = (U64, U32, Integer, Integer)  # head, words, how many there is room for, how many there are
_LIKELIHOOD, _TABLES = ctypes.POINTER(Likelihood), ctypes.POINTER(Tables)
_room = function("samples_room", _LIKELIHOOD)
_push = function("push_samples", *_STATE, U8, _LIKELIHOOD, I32, I32, I32, _TABLES)
_pop = function("pop_samples", *_STATE, U8, _LIKELIHOOD, I32, _TABLES)
_log_freqs = function("samples_log_freqs", U8, _LIKELIHOOD, I32, I32, I32, I64, _TABLES)


class SampleLoops:
    """The likelihood of images of one shape (H, W, C), to which each image brings its own parameters.

    Args:
        components: logistics of a mixture, 0 for binary samples.
        exponents: (outputs, H * W), of the accumulators that an image brings: each stands for itself times 2**-exponent. Or:
        layers: the first, the middle and the last pixel layer; then an image brings activations (features, H * W).
        radius: of the square of pixels that pixel layers look at, of which those coded before count.
        relative: whether means are relative to the pixels at the left and above.
    Raises: ValueError for sizes that do not fit together.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        components: int,
        *,
        exponents: npt.NDArray[np.integer[Any]] | None = None,
        layers: tuple[Dense, Sequence[Dense], Dense] | None = None,
        radius: int = 0,
        relative: bool = False,
    ) -> None:
        self._dtype: np.dtype[Any] = np.dtype(np.int32 if layers is None else np.uint8)
        self.shape, self._layers, self._tables = shape, layers, core_tables()
        height, width, colours = shape
        self._fixed = Likelihood(height=height, width=width, colours=colours, components=components, radius=-1, relative=relative)
        self._fixed.variant = max(variants().values())
        if layers is None:
            self._exponents = np.ascontiguousarray(exponents, np.uint8)
            self._rows = (3 if colours == 1 else 12) * components or 1
            if self._exponents.shape != (self._rows, height * width):
                raise ValueError(f"exponents are {(self._rows, height * width)}, not {self._exponents.shape}")
            self._fixed.exponents = self._exponents.__array_interface__["data"][0]
        else:
            enter, middle, leave = layers
            if radius < 0 or any((layer.inputs, layer.outputs) != (enter.outputs, enter.outputs) for layer in middle):
                raise ValueError("pixel layers do not fit together")
            self._middle = (Dense * len(middle))(*middle)
            self._rows = enter.inputs - 2 * radius * (radius + 1) * colours
            self._fixed.radius, self._fixed.hidden, self._fixed.depth = radius, enter.outputs, len(middle)
            self._fixed.enter, self._fixed.leave, self._fixed.middle = enter, leave, ctypes.addressof(self._middle)
            self._fixed.count_features = self._rows
        self._scratch_size = checked(_room(ctypes.byref(self._fixed)))

    def push(self, head: npt.NDArray[np.uint64], words: Any, size: int, image: Samples, own: npt.NDArray[Any]) -> int:
        """The size of a one-lane message after pushing an image (H, W, C). It must have room for all samples. Inverse: `pop`."""
        starts, freqs = np.empty(image.size, np.int32), np.empty(image.size, np.int32)
        likelihood = self._with(image, own, head)
        return checked(
            _push(head, words, words.size, size, image, likelihood, self._scratch(), starts, freqs, ctypes.byref(self._tables))
        )

    def pop(self, head: npt.NDArray[np.uint64], words: Any, size: int, image: Samples, own: npt.NDArray[Any]) -> int:
        """Pop an image into an array. Inverse: `push`. Raises: CorruptDataError when the message runs dry."""
        likelihood = self._with(image, own, head)
        return checked(_pop(head, words, words.size, size, image, likelihood, self._scratch(), ctypes.byref(self._tables)))

    def log_freqs(self, image: Samples, own: npt.NDArray[Any]) -> int:
        """The sum over an image's samples of log2(freq / 2**24), in 2**-16 bit."""
        starts, freqs, total = np.empty(image.size, np.int32), np.empty(image.size, np.int32), np.empty(1, np.int64)
        checked(_log_freqs(image, self._with(image, own), self._scratch(), starts, freqs, total, ctypes.byref(self._tables)))
        return int(total[0])

    def _with(self, image: Samples, own: npt.NDArray[Any], head: npt.NDArray[np.uint64] | None = None) -> Any:
        """The likelihood with an image's parameters, by reference; it is copied, so that threads may share this object."""
        if head is not None and head.shape != (1,):
            raise ValueError(f"an image goes on a message of one lane, not of {head.size}")
        if image.shape != self.shape or own.shape != (self._rows, self.shape[0] * self.shape[1]) or own.dtype != self._dtype:
            raise ValueError(f"{own.dtype} {own.shape} are not the parameters of an image {self.shape}")
        if not own.flags.c_contiguous:
            raise TypeError("the parameters of an image are not contiguous")
        likelihood = Likelihood.from_buffer_copy(self._fixed)
        setattr(likelihood, "outputs" if self._layers is None else "features", own.__array_interface__["data"][0])
        return ctypes.byref(likelihood)

    def _scratch(self) -> npt.NDArray[np.int32]:
        return np.empty(self._scratch_size, np.int32)
