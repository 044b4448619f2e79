"""JPEG XL with options that imagecodecs does not pass on, by the very libjxl inside imagecodecs' Linux wheels.

What cjxl calls `-g`, `-E` and `-I`: the size of groups, how many channels before a channel are context, and the share of pixels
that trees are learned from. It makes the files of photos clearly smaller. Decoding is imagecodecs' own.

Source: https://libjxl.readthedocs.io/en/latest/api_encoder.html
"""

from __future__ import annotations

import ctypes
import functools
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .datasets import Pixels

# Of JxlEncoderFrameSettingId.
EFFORT, GROUP_SIZE, TREE_PERCENT, PREVIOUS_CHANNELS = 0, 26, 28, 29
# Fields of JxlBasicInfo, as 32-bit words.
_XSIZE, _YSIZE, _BITS, _ORIGINAL_PROFILE, _COLOURS, _INFO_WORDS = 1, 2, 3, 9, 13, 64
_UINT8, _FROM_CODESTREAM = 2, 1
_Pointer = ctypes.c_void_p


class _PixelFormat(ctypes.Structure):
    _fields_ = (("channels", ctypes.c_uint32), ("type", ctypes.c_int), ("endianness", ctypes.c_int), ("align", ctypes.c_size_t))


class _BitDepth(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("bits", ctypes.c_uint32), ("exponent_bits", ctypes.c_uint32))


@functools.cache
def libraries() -> tuple[ctypes.CDLL, ctypes.CDLL] | None:
    """libjxl and libjxl_threads; None where imagecodecs is missing or does not bring them as files."""
    spec = find_spec("imagecodecs")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.parent / "imagecodecs.libs"
    paths = [next(iter(folder.glob(f"{name}-*.so*")), None) for name in ("libjxl", "libjxl_threads")]
    if None in paths:
        return None
    import imagecodecs._jpegxl  # noqa: F401  loads what they depend on

    jxl, threads = (ctypes.CDLL(str(path)) for path in paths)
    for create in (jxl.JxlEncoderCreate, jxl.JxlEncoderFrameSettingsCreate, threads.JxlThreadParallelRunnerCreate):
        create.restype = _Pointer
    return jxl, threads


def encode(pixels: Pixels, bits: int, threads: int, options: dict[int, int]) -> bytes:
    """A lossless file of (H, W, C) samples of so many bits. Inverse: imagecodecs.jpegxl_decode.

    Raises: ImportError where there is no such libjxl; RuntimeError when it fails.
    """
    loaded = libraries()
    if loaded is None:
        raise ImportError("imagecodecs brings no libjxl here whose other options can be set")
    jxl, runners = loaded
    encoder = _Pointer(jxl.JxlEncoderCreate(None))
    runner = _Pointer(runners.JxlThreadParallelRunnerCreate(None, ctypes.c_size_t(threads)))
    try:
        run = ctypes.cast(runners.JxlThreadParallelRunner, _Pointer)
        _check(jxl.JxlEncoderSetParallelRunner(encoder, run, runner))
        return _encode(jxl, encoder, np.ascontiguousarray(pixels), bits, options)
    finally:
        jxl.JxlEncoderDestroy(encoder)
        runners.JxlThreadParallelRunnerDestroy(runner)


def _encode(jxl: ctypes.CDLL, encoder: _Pointer, pixels: Pixels, bits: int, options: dict[int, int]) -> bytes:
    height, width, colours = pixels.shape
    info = (ctypes.c_uint32 * _INFO_WORDS)()
    jxl.JxlEncoderInitBasicInfo(info)
    info[_XSIZE], info[_YSIZE], info[_BITS], info[_COLOURS], info[_ORIGINAL_PROFILE] = width, height, bits, colours, 1
    _check(jxl.JxlEncoderSetBasicInfo(encoder, info))
    encoding = ctypes.create_string_buffer(512)  # a JxlColorEncoding is smaller
    jxl.JxlColorEncodingSetToSRGB(encoding, int(colours == 1))
    _check(jxl.JxlEncoderSetColorEncoding(encoder, encoding))
    settings = _Pointer(jxl.JxlEncoderFrameSettingsCreate(encoder, None))
    _check(jxl.JxlEncoderSetFrameLossless(settings, 1))
    _check(jxl.JxlEncoderSetFrameBitDepth(settings, ctypes.byref(_BitDepth(_FROM_CODESTREAM, 0, 0))))
    for option, value in options.items():
        if option == TREE_PERCENT:
            _check(jxl.JxlEncoderFrameSettingsSetFloatOption(settings, option, ctypes.c_float(value)))
        else:
            _check(jxl.JxlEncoderFrameSettingsSetOption(settings, option, ctypes.c_int64(value)))
    samples, size = pixels.ctypes.data_as(_Pointer), ctypes.c_size_t(pixels.size)
    _check(jxl.JxlEncoderAddImageFrame(settings, ctypes.byref(_PixelFormat(colours, _UINT8, 0, 0)), samples, size))
    jxl.JxlEncoderCloseInput(encoder)
    out = ctypes.create_string_buffer(2 * pixels.size + (1 << 16))  # noise takes little more than its samples
    place, left = _Pointer(ctypes.addressof(out)), ctypes.c_size_t(len(out))
    _check(jxl.JxlEncoderProcessOutput(encoder, ctypes.byref(place), ctypes.byref(left)))
    return out.raw[: len(out) - left.value]


def _check(status: int) -> None:
    """Raises: RuntimeError for anything but JXL_ENC_SUCCESS."""
    if status:
        raise RuntimeError(f"libjxl gave status {status}")
