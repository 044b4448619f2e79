"""Files of named arrays: round trip, the bytes of files that there are, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bbans.errors import CorruptDataError
from bbans.formats.tensors import pack_tensors, unpack_tensors
from bbans.models.store import SHIPPED

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TUTORIAL = Path(__file__).parents[2] / "benchmarks" / "tutorial" / "weights"
FILES = [*sorted(SHIPPED.glob("*.safetensors")), *sorted(GOLDEN.glob("*.safetensors"))]
TENSORS = {
    "b.weight": np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2, 1),
    "a": np.array([7, -(1 << 31), (1 << 31) - 1], np.int32),
    "empty": np.zeros((0, 3), np.uint8),
    "number": np.array(200, np.uint8),
}
METADATA = {"made": "by hand", "ünïcode": '"\\'}


def test_known_bytes() -> None:
    data = pack_tensors({"u": np.array([1], np.uint8), "i": np.array([[-2, 3]], np.int32)}, {"k": "v"})
    text = b'{"__metadata__":{"k":"v"},"i":{"dtype":"I32","shape":[1,2],"data_offsets":[0,8]},'
    text += b'"u":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}'
    assert data == bytes([136, *bytes(7)]) + text.ljust(136) + b"\xfe\xff\xff\xff\x03\0\0\0\x01"


@pytest.mark.parametrize("tensors", [TENSORS, {}], ids=["some", "none"])
@pytest.mark.parametrize("metadata", [METADATA, {}], ids=["metadata", "none"])
def test_round_trip(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    data = pack_tensors(tensors, metadata)
    assert int.from_bytes(data[:8], "little") % 8 == 0
    again, texts = unpack_tensors(data)
    assert texts == metadata
    assert_same(again, tensors)
    assert pack_tensors(again, texts) == data


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, array in right.items():
        assert left[name].dtype == array.dtype and left[name].shape == array.shape
        assert np.array_equal(left[name], array)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5).filter(lambda name: name != "__metadata__")
ARRAYS = st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.float32]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))
)


@given(st.dictionaries(NAMES, ARRAYS, max_size=5), st.dictionaries(NAMES, NAMES, max_size=3), st.randoms())
def test_any_arrays(tensors: dict[str, np.ndarray], metadata: dict[str, str], random: Any) -> None:
    """The order in which they are named does not matter."""
    tensors = {name: np.nan_to_num(array) for name, array in tensors.items()}
    data = pack_tensors(tensors, metadata)
    again, texts = unpack_tensors(data)
    assert texts == metadata
    assert_same(again, tensors)
    names = list(tensors)
    random.shuffle(names)
    assert pack_tensors({name: tensors[name] for name in names}, metadata) == data


def test_views_and_other_byte_orders() -> None:
    turned = {"a": np.arange(12, dtype=">i4").reshape(3, 4).T, "b": np.arange(12, dtype=np.int8)[::-3]}
    again, _ = unpack_tensors(pack_tensors(turned, {}))
    for name, array in turned.items():
        assert np.array_equal(again[name], array)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint32, bool, object])
def test_other_types(dtype: type) -> None:
    with pytest.raises(ValueError, match="odd is of .*, not of float32, int32, int16, int8 or uint8"):
        pack_tensors({"fine": np.zeros(1, np.int8), "odd": np.zeros(1, dtype)}, {})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_that_there_are_come_out_the_same(path: Path) -> None:
    data = path.read_bytes()
    assert pack_tensors(*unpack_tensors(data)) == data


def test_floats_of_the_tutorial() -> None:
    for path in TUTORIAL.glob("*.safetensors"):
        tensors, metadata = unpack_tensors(path.read_bytes())
        assert all(array.dtype == np.float32 for array in tensors.values())
        assert_same(unpack_tensors(pack_tensors(tensors, metadata))[0], tensors)


# Damage.


def test_every_cut_is_noticed() -> None:
    data = pack_tensors(TENSORS, METADATA)
    for size in range(len(data)):
        with pytest.raises(CorruptDataError):
            unpack_tensors(data[:size])
    with pytest.raises(CorruptDataError, match="there"):
        unpack_tensors(data + b"\0")


def test_every_flip_in_the_header_is_noticed_or_harmless() -> None:
    data = pack_tensors(TENSORS, METADATA)
    noticed = 0
    for at in range(8 * (8 + int.from_bytes(data[:8], "little"))):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        try:
            unpack_tensors(bytes(damaged))  # a name may change, or a text
        except CorruptDataError:
            noticed += 1
    assert noticed > at / 3


def file_of(header: object, body: bytes = bytes(12)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: object = "I8", shape: object = (12,), offsets: object = (0, 12)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "header",
    [
        [],
        3,
        None,
        "text",
        b"",
        b"{",
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":{"dtype":"I8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,12]}}',
        {},
        {"a": 3},
        {"a": None},
        {"a": []},
        {"a": "dtype"},
        {"a": {}},
        {"__metadata__": [], "a": entry()},
        {"__metadata__": None, "a": entry()},
        {"__metadata__": {"key": 3}, "a": entry()},
        {"a": entry("I64")},
        {"a": entry("F64")},
        {"a": entry(None)},
        {"a": entry([])},
        {"a": entry(shape=None)},
        {"a": entry(shape="12")},
        {"a": entry(shape=12)},
        {"a": entry(shape=[-12])},
        {"a": entry(shape=[-3, -4])},
        {"a": entry(shape=[12.0])},
        {"a": entry(shape=[True] * 12)},
        {"a": entry(shape=[11])},
        {"a": entry(shape=[13])},
        {"a": entry(shape=[1 << 62, 4])},
        {"a": entry(shape=[1 << 64, 12])},
        {"a": entry(shape=[1] * 99 + [12])},
        {"a": entry(offsets=None)},
        {"a": entry(offsets=[0])},
        {"a": entry(offsets=[0, 12, 12])},
        {"a": entry(offsets=[12, 0])},
        {"a": entry(offsets=[-12, 0])},
        {"a": entry(offsets=[0.0, 12.0])},
        {"a": entry(offsets=["0", "12"])},
        {"a": entry(offsets=[1, 13])},
        {"a": entry(shape=[11], offsets=[1, 12])},
        {"a": entry(shape=[11], offsets=[0, 11])},
        {"a": entry(shape=[1 << 40], offsets=[0, 1 << 40])},
        {"a": entry(shape=[6], offsets=[0, 6]), "b": entry(shape=[7], offsets=[5, 12])},
        {"a": entry(shape=[6], offsets=[0, 6]), "b": entry(shape=[5], offsets=[7, 12])},
        {"a": entry(), "b": entry()},
        {"a": entry(), "b": entry(shape=[0, 1 << 64], offsets=[12, 12])},
        {"a": entry(), "b": entry(shape=[0, 1 << 63], offsets=[12, 12])},
        {"a": entry(), "b": entry(shape=[0, 1 << 62, 1 << 62], offsets=[12, 12])},
    ],
)
def test_hostile_headers(header: object) -> None:
    assert unpack_tensors(file_of({"a": entry()}))[0]["a"].tolist() == [0] * 12
    with pytest.raises(CorruptDataError):
        unpack_tensors(file_of(header))


@pytest.mark.parametrize("size", [13, 1 << 32, (1 << 63) - 1, (1 << 64) - 1])
def test_a_header_beyond_the_end(size: int) -> None:
    with pytest.raises(CorruptDataError, match="cut short"):
        unpack_tensors(size.to_bytes(8, "little") + b"{}" + bytes(10))


LEAVES = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.sampled_from(["I8", "F32", ""])
KEYS = st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__"])
JSON = st.recursive(LEAVES, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(KEYS, parts), max_leaves=12)
SIZES = st.integers(-1, 13) | st.integers(-(1 << 70), 1 << 70)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["I8", "I32", "U8", "F32", "F64"]),
        "shape": st.lists(SIZES, max_size=3) | JSON,
        "data_offsets": st.lists(SIZES, min_size=2, max_size=2) | JSON,
    }
)


@given(st.binary(max_size=60) | (JSON | st.dictionaries(st.sampled_from("ab"), ENTRIES)).map(file_of))
@settings(max_examples=300)
def test_anything_at_all(data: bytes) -> None:
    try:
        tensors, metadata = unpack_tensors(data)
    except CorruptDataError:
        return
    assert sum(array.nbytes for array in tensors.values()) == len(data) - 8 - int.from_bytes(data[:8], "little")
    assert all(isinstance(key, str) and isinstance(text, str) for key, text in metadata.items())
