"""Finds the compiled library, and says how its functions are called.

Arrays are passed as they lie in memory: C-contiguous and of the type that the function declares, else TypeError. A function that
returns a message's size may return one of `RAN_DRY`, `NO_ROOM` and `BAD_ARGUMENT` instead; `checked` turns these into exceptions.

The environment variable `BBANS_CORE` names another library file, as one that was built with sanitizers.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
PATH = Path(os.environ.get("BBANS_CORE") or Path(__file__).with_name(f"core{SUFFIX}"))
RAN_DRY, NO_ROOM, BAD_ARGUMENT = -1, -2, -3

Integer = ctypes.c_int64


class _Array:
    """A type of argument: a C-contiguous array of one dtype."""

    dtype: ClassVar[np.dtype[Any]]

    @classmethod
    def from_param(cls, array: npt.NDArray[Any]) -> Any:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"the core takes contiguous arrays of {cls.dtype}, not {type(array).__name__}")
        if array.dtype != cls.dtype or not array.flags.c_contiguous:
            layout = "" if array.flags.c_contiguous else ", not contiguous"
            raise TypeError(f"the core takes contiguous arrays of {cls.dtype}, this one is of {array.dtype}{layout}")
        if array.size and array.flags.writeable:  # by the buffer, which is four times as fast but is not there for others
            return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(array.data)))
        return ctypes.c_void_p(array.__array_interface__["data"][0])


def _array(dtype: npt.DTypeLike) -> type[_Array]:
    return type(f"Array_{np.dtype(dtype)}", (_Array,), {"dtype": np.dtype(dtype)})


_DTYPES = np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64, np.uint32, np.uint64
U8, I8, U16, I16, I32, I64, U32, U64 = map(_array, _DTYPES)


class Structure(ctypes.Structure):
    """A structure of the core, made from keyword arguments; it keeps its arrays alive. `FIELDS` has the type of each field, and
    `_fields_` is `fields(FIELDS)`."""

    FIELDS: ClassVar[dict[str, Any]]

    def __init__(self, **values: Any) -> None:
        self._kept = values
        kinds = self.FIELDS
        super().__init__(**{name: kinds[name].from_param(v) if _is_array(kinds[name]) else v for name, v in values.items()})

    def arrays(self) -> list[npt.NDArray[Any]]:
        """Those that it was made from."""
        return [value for name, value in self._kept.items() if _is_array(self.FIELDS[name])]


def fields(kinds: dict[str, Any]) -> list[tuple[str, Any]]:
    """`_fields_` of a structure with these `FIELDS`."""
    return [(name, ctypes.c_void_p if _is_array(kind) else kind) for name, kind in kinds.items()]


def _is_array(kind: Any) -> bool:
    return issubclass(kind, _Array)


@functools.lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The compiled core.

    Raises: ImportError when it was not built, with what to do.
    """
    try:
        return ctypes.CDLL(str(PATH))
    except OSError as error:
        raise ImportError(
            f"the compiled core of bbans cannot be loaded ({error}): install the package again (pip install -e . in a checkout)"
        ) from None


def function(name: str, *arguments: Any) -> Any:
    """A function of the core by its name and the types of its arguments; it returns an integer. Raises: TypeError for others."""
    found = library()[name]
    found.argtypes, found.restype = arguments, Integer

    def call(*values: Any) -> Any:
        try:
            return found(*values)
        except ctypes.ArgumentError as error:
            raise TypeError(f"{name}: {error}") from None

    return call


def checked(size: int) -> int:
    """A message's new size.

    Raises: CorruptDataError when the message ran dry; ValueError for arguments that do not fit together.
    """
    if size >= 0:
        return size
    if size == RAN_DRY:
        raise CorruptDataError("the message ran dry: it is truncated or not ours")
    raise ValueError("a message without room for its symbols" if size == NO_ROOM else "arguments that do not fit together")
