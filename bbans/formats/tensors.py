"""Files of named arrays in the safetensors format: bytes <-> arrays and metadata. No pickle, and nothing is executed.

::

    header length (u64) | header, JSON padded with spaces to a multiple of 8 | arrays, little-endian, one after another

The header has for each array {"dtype", "shape", "data_offsets"}, and "__metadata__" with texts. Of the format's types those that
our files use are known. Source: the format's description, https://github.com/huggingface/safetensors.

>>> unpack_tensors(pack_tensors({"a": np.arange(3, dtype=np.int8)}, {"made": "by hand"}))
({'a': array([0, 1, 2], dtype=int8)}, {'made': 'by hand'})
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbans.errors import CorruptDataError

Tensors = dict[str, NDArray[np.generic]]

_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
"""Also the order in which arrays are written: the widest first, so that each is aligned."""


def pack_tensors(tensors: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file. Inverse: `unpack_tensors`. Raises: ValueError for arrays of another type."""
    names = {dtype: name for name, dtype in _TYPES.items()}
    for name, array in tensors.items():
        if array.dtype.newbyteorder("<") not in names:
            raise ValueError(f"{name} is of {array.dtype}, not of float32, int32, int16, int8 or uint8")
    order = list(_TYPES.values())
    ordered = sorted(tensors.items(), key=lambda item: (order.index(item[1].dtype.newbyteorder("<")), item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        dtype = names[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes() for _, array in ordered]
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def unpack_tensors(data: bytes) -> tuple[Tensors, dict[str, str]]:
    """(arrays by name, metadata). Inverse: `pack_tensors`.

    Raises: CorruptDataError for bytes that are no such file: arrays must lie one after another and fill it.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise CorruptDataError("it is cut short in its header")
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise CorruptDataError("its metadata are not texts")
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        tensors: Tensors = {}
        at = 0
        for name, entry in entries:
            dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
            start, end = entry["data_offsets"]
            if not all(type(side) is int and side >= 0 for side in shape) or (start, end) != (
                at,
                at + dtype.itemsize * math.prod(shape),
            ):
                raise CorruptDataError(f"{name} is not where its header says")
            part = data[8 + size + start : 8 + size + end]
            tensors[name] = np.frombuffer(part, dtype).reshape(shape)
            at = end
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptDataError(f"its header is damaged ({error})") from None
    if at != len(data) - 8 - size:
        raise CorruptDataError(f"its arrays have {at} bytes, and {len(data) - 8 - size} are there")
    return tensors, metadata
