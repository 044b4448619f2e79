"""What an archive keeps of files beside their names and contents: symbolic links, and times.

A link is kept as a link, and only one that stays in the folder: its target is relative, and `..` stands at its beginning alone, no
more often than the link's own name has folders. As no name leads through a link either (`bbans.formats.names`), nothing that is
written when an archive is unpacked, and nothing that its links lead to, lies outside of the folder.

>>> fault_of_link(Link("a/b/sea.png", "../../c/sea.png")) is None, fault_of_link(Link("sea.png", "../sea.png"))
(True, "'sea.png' is a link to '../sea.png', outside of the folder")
>>> unpack_times(pack_times((1_700_000_000_123_456_789, -1)), 2)
(1700000000123456789, -1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from bbans.errors import CorruptDataError
from bbans.formats.names import MAX_NAMES_BYTES, MAX_PATH_BYTES
from bbans.formats.wire import ByteReader, pack_varint

SECOND = 10**9
"""In nanoseconds, the unit of times: they count from 1970 on, in UTC."""
MAX_TIME = SECOND << 40
"""Times lie between its negative and this: 34,000 years."""

_TIME_BYTES = 9 + 5  # at most: two varints


@dataclass(frozen=True)
class Link:
    """A symbolic link. `name` is its path below the folder, `target` what it holds, in the bytes of `bbans.formats.names`."""

    name: str
    target: str


def pack_targets(links: Sequence[Link]) -> bytes:
    """The targets of links. Inverse: `unpack_targets`."""
    return b"".join(_encode(link.target) + b"\0" for link in links)


def unpack_targets(data: bytes, count: int) -> list[str]:
    """So many targets. Inverse: `pack_targets`. Raises: CorruptDataError."""
    targets, start = [], 0
    for _ in range(count):
        end = data.find(b"\0", start)
        if end < 0:
            raise CorruptDataError("index: fewer targets than links")
        targets.append(data[start:end].decode("utf-8", "surrogateescape"))
        start = end + 1
    if start != len(data):
        raise CorruptDataError("index: more targets than links")
    return targets


def most_target_bytes(count: int) -> int:
    """The most that `pack_targets` makes of so many links."""
    return min(count * (MAX_PATH_BYTES + 1), MAX_NAMES_BYTES)


def fault_of_links(links: Sequence[Link]) -> str | None:
    """What is wrong with the targets of links, or None."""
    if sum(len(_encode(link.target)) + 1 for link in links) > MAX_NAMES_BYTES:
        return f"the targets of links together take more than {MAX_NAMES_BYTES} bytes"
    return next(filter(None, map(fault_of_link, links)), None)


def fault_of_link(link: Link) -> str | None:
    """What is wrong with the target of a link, or None."""
    size = len(_encode(link.target))
    if size == 0 or "\0" in link.target:
        return f"{link.name!r} is a link without a target"
    if size > MAX_PATH_BYTES:
        return f"the target of the link {link.name!r} has {size} bytes: the limit is {MAX_PATH_BYTES}"
    parts = [part for part in link.target.split("/") if part not in ("", ".")]
    climbs = parts.count("..")
    if link.target.startswith("/") or climbs > link.name.count("/"):
        return f"{link.name!r} is a link to {link.target!r}, outside of the folder"
    if ".." in parts[climbs:]:  # where that leads depends on other links
        return f"{link.name!r} is a link to {link.target!r}, which goes up after it went down"
    return None


def pack_times(times: Sequence[int]) -> bytes:
    """Times in nanoseconds: the seconds of all of them, each as its distance from the one before, then what is below a second.

    Inverse: `unpack_times`.
    """
    split = [divmod(time, SECOND) for time in times]
    distances = [after - before for before, after in pairwise([0, *(seconds for seconds, _ in split)])]
    signed = (2 * distance if distance >= 0 else -2 * distance - 1 for distance in distances)
    return b"".join([*map(pack_varint, signed), *(pack_varint(below) for _, below in split)])


def unpack_times(data: bytes, count: int) -> tuple[int, ...]:
    """So many times. Inverse: `pack_times`. Raises: CorruptDataError."""
    packed = ByteReader(data, "index: times")
    signed = [packed.varint() for _ in range(count)]
    seconds = accumulate(number >> 1 if number % 2 == 0 else -(number >> 1) - 1 for number in signed)
    below = [packed.varint() for _ in range(count)]
    if packed.position != len(data) or max(below, default=0) >= SECOND:
        raise CorruptDataError("index: its times are not well formed")
    return tuple(second * SECOND + rest for second, rest in zip(seconds, below, strict=True))


def most_time_bytes(count: int) -> int:
    """The most that `pack_times` makes of so many times."""
    return count * _TIME_BYTES


def fault_of_times(times: Sequence[int]) -> str | None:
    """What is wrong with times, or None."""
    return None if all(-MAX_TIME <= time < MAX_TIME for time in times) else "a time is more than 34,000 years away"


def _encode(target: str) -> bytes:
    return target.encode("utf-8", "surrogateescape")
