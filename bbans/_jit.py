"""jit: numba's compiler with a cache that may be missing, full or stale without harm.

Compiled code is kept in numba's cache folder (``NUMBA_CACHE_DIR``, else ``__pycache__``, else the user's cache), so
that only the first run of a machine compiles. Three things that numba leaves to chance are settled here:

- no folder can be written: the function is compiled for this process alone;
- the cache cannot be read or written at the moment of use (disk full, damaged file): likewise, never an exception;
- numba looks at the age of a function's own file only, so an edit of a function it *calls* would go unseen and stale
  machine code would write files of another format: here one stamp covers every source file that defines compiled
  functions.

Compiled integer code does the same on every processor; no floating point is compiled anywhere in the coder.
"""

import contextlib
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# forceinline: small functions that take arrays cost three times as much when they are really called (an array is seven
# arguments).
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}
_listeners: list[Callable[[], None]] = []


def jit(function: Function) -> Function:
    """The compiled function, cached on disk where that is possible; the plain one under NUMBA_DISABLE_JIT, to find errors."""
    if getattr(numba.config, "DISABLE_JIT", False):
        return function
    try:
        dispatcher = numba.njit(cache=True, **_OPTIONS)(function)
        cache_file = dispatcher._cache._cache_file
        cache_file._source_stamp = (cache_file._source_stamp, _kernel_sources_digest())
    except (RuntimeError, AttributeError):  # no folder that can be written; or a numba whose cache is built in another way
        dispatcher = numba.njit(**_OPTIONS)(function)
    dispatcher._cache = _ForgivingCache(dispatcher._cache)
    return dispatcher  # type: ignore[no-any-return]


def before_first_compile(listener: Callable[[], None]) -> None:
    """Have `listener` called once, before this process first compiles something that no cache holds.

    For programs that want to say why a first run takes some seconds longer.
    """
    _listeners.append(listener)


class _ForgivingCache:
    """A numba cache whose failures mean compiling again, not an exception in the middle of coding."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        found = None
        try:
            found = self._cache.load_overload(signature, target_context)
        except Exception:  # a damaged pickle can raise anything
            with contextlib.suppress(Exception):
                self._cache.flush()  # else it would fail again in every later run
        while found is None and _listeners:
            _listeners.pop(0)()
        return found

    def save_overload(self, signature: Any, compiled: Any) -> None:
        with contextlib.suppress(Exception):
            self._cache.save_overload(signature, compiled)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


@functools.lru_cache(maxsize=1)
def _kernel_sources_digest() -> str:
    """SHA-256 over every source file of the package that defines compiled functions."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(__file__).parent.rglob("*.py")):
        source = path.read_bytes()
        if b"_jit import" in source:
            digest.update(source)
    return digest.hexdigest()
