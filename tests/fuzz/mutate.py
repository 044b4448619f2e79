"""Changes of bytes and of the fields that files are made of, from a seeded generator."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from bbans.formats.wire import pack_varint

Item = TypeVar("Item")

EDGES = sorted(
    {0, 3, 5, 13, 100, 1000, 10**6, 10**9, (1 << 63) - 2}
    | {
        (1 << bits) + step
        for bits in (0, 1, 2, 4, 7, 8, 10, 12, 14, 15, 16, 20, 24, 27, 28, 30, 31, 32, 48, 62)
        for step in (-1, 0, 1)
    }
    | {(1 << 63) - 1}
)
"""Numbers at which something may change: sizes of types, limits of ours and of picture formats."""


def some_bytes(rng: Random, most: int = 40) -> bytes:
    size = rng.choice([0, 1, 2, 4, rng.randrange(most)])
    return rng.choice([rng.randbytes, lambda n: bytes(n), lambda n: b"\xff" * n])(size)


def edited(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """Data with one to four changes: flips, numbers written over, pieces left out, doubled, or put in, some of `other`."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(changed) + 1) if rng.random() < 0.6 else min(len(changed), rng.randrange(40))
        to = min(len(changed), at + rng.choice([1, 2, 4, 8, rng.randrange(60)]))
        match rng.randrange(9):
            case 0 | 1 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 2 if at < len(changed):
                changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            case 3 | 4:
                size = rng.choice([2, 4, 8])
                number = (rng.choice(EDGES) % (1 << 8 * size)).to_bytes(size, rng.choice(["little", "big"]))
                changed[at : at + size] = number
            case 5:
                del changed[at:to]
            case 6:
                changed[at:at] = changed[at:to] * rng.choice([1, 1, 1, 50])
            case 7:
                changed[at:at] = some_bytes(rng)
            case 8:
                start = rng.randrange(len(other) + 1)
                changed[at:to] = other[start : start + rng.randrange(60)]
            case _:
                del changed[at:]
    return bytes(changed)


def rearranged(rng: Random, items: Sequence[Item]) -> list[Item]:
    """Without one of the items, with one twice, or with two in each other's place."""
    changed = list(items)
    if not changed:
        return changed
    at, to = rng.randrange(len(changed)), rng.randrange(len(changed))
    match rng.randrange(3):
        case 0:
            del changed[at]
        case 1:
            changed.insert(to, changed[at])
        case 2:
            changed[at], changed[to] = changed[to], changed[at]
    return changed


def number(rng: Random, before: int) -> int:
    """Another number than `before`: near it, or one of the edges."""
    return max(0, rng.choice([before - 1, before + 1, before * 2, before // 2, rng.randrange(300), *rng.sample(EDGES, 4)]))


Field = tuple[str, Any]
"""A field of a header: its kind, `byte`, `varint`, `name` or `raw`, and its value."""


def changed_field(rng: Random, field: Field) -> Field:
    kind, value = field
    if kind == "byte":
        return kind, rng.choice([value ^ 1, value + 1, 0, 1, 2, 3, 255, rng.randrange(256)]) & 0xFF
    if kind == "varint":
        return kind, number(rng, value)
    if kind == "name":
        others = [b"", b"PNG", b"PNG1", b"WEBP", b"BMP", b"PPM", b"PGM", b"NPY", b"JPEG", b"GIF", b"tiny", b"bb-ans", b"a" * 64]
        return kind, rng.choice([*others, b"a" * 65, b"../x", edited(rng, value)])
    return kind, edited(rng, value)


def packed(fields: Sequence[Field]) -> bytes:
    return b"".join(map(_packed, fields))


def _packed(field: Field) -> bytes:
    kind, value = field
    if kind == "byte":
        return bytes([value])
    if kind == "varint":
        return pack_varint(min(value, (1 << 63) - 1))
    if kind == "name":
        return pack_varint(len(value)) + bytes(value)
    return bytes(value)
