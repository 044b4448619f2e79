"""Chunks that are kept: which go first, and that they keep nothing else in memory."""

import numpy as np

from bbans.results import Restored
from bbans.sets.cache import ChunkCache
from bbans.sets.chunk import FileContent, ImagesContent


def images(count: int) -> ImagesContent:
    return ImagesContent(np.zeros((count, 2, 5, 1), np.uint8))


def test_those_used_last_stay() -> None:
    cache = ChunkCache(30)
    for key in "abc":
        cache.put(key, images(1))
    cache.put("a", images(3))  # it is here already
    assert cache.get("a") is not None and cache.get("z") is None
    cache.put("d", FileContent(Restored(bytes(10), "PNG"), b""))
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]
    cache.put("e", images(2))
    assert [cache.get(key) is not None for key in "acde"] == [False, False, True, True]
    cache.clear()
    cache.put("f", images(3))
    assert [cache.get(key) is not None for key in "def"] == [False, False, True]


def test_one_that_is_too_large_stays_until_the_next() -> None:
    cache = ChunkCache(0)
    cache.put("a", images(100))
    assert cache.get("a") is not None
    cache.put("b", images(100))
    assert cache.get("a") is None and cache.get("b") is not None


def test_parts_of_larger_arrays_are_copied() -> None:
    """Chunks that were decoded together are views of one array, which would stay."""
    whole = np.arange(60, dtype=np.uint8).reshape(6, 2, 5, 1)
    cache = ChunkCache()
    cache.put("a", ImagesContent(whole[2:4]))
    kept = cache.get("a")
    assert isinstance(kept, ImagesContent) and kept.samples.base is None and np.array_equal(kept.samples, whole[2:4])
    alone = ImagesContent(whole.copy())
    assert alone.alone() is alone
