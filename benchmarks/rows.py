"""A row of results, one codec on one data set in one layout, and its way to JSON and back.

Sizes and bounds are the same on every machine. Speeds are not: they are a part of their own, which is measured again on a quiet
machine (`--speeds`) or left out on a loaded one (`--sizes`). `merge` puts old and new parts together.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from bbans.accounting import Accounting

PREFIX, SCATTER = "table-", "scatter-"
T = TypeVar("T")


class DirtyTreeError(click.ClickException):
    """Results would be written from a checkout that differs from its commit; the message says what to do."""


@dataclass(frozen=True)
class Stamp:
    """What something was measured on and with.

    `vnni`: whether the processor has instructions for sums of products of bytes, None where the system does not tell.
    `load`: how many processes wanted to run during the last minute before.
    """

    commit: str | None
    date: str
    processor: str
    cores: int
    system: str
    versions: dict[str, str]
    vnni: bool | None = None
    load: float | None = None

    @property
    def machine(self) -> str:
        """In words."""
        vnni = {True: " with VNNI", False: " without VNNI", None: ""}[self.vnni]
        return f"{self.processor}, {self.cores} cores{vnni}"


@dataclass(frozen=True)
class Cost:
    """What encoding or decoding took: seconds of the clock, seconds of all cores together, and how far memory rose, in MiB."""

    wall_s: float
    cpu_s: float | None = None
    mib: float | None = None


@dataclass(frozen=True)
class Speed:
    """Medians over rounds, summed over parts. `start_up_s`: seconds of a fresh process before encoding and before decoding."""

    encode: Cost
    decode: Cost
    rounds: int
    stamp: Stamp
    start_up_s: tuple[float, ...] = ()
    backend: str | None = None


@dataclass(frozen=True)
class Bound:
    """What a model could code the images in, without the coder (see bbans.models.elbo).

    `particles_bits_per_dim`: the bound of as many particles as the scheme has, None for schemes of one.
    `neg_elbo_error`: the standard error of `neg_elbo_bits_per_dim`, given the images. `adaptive`: the coder learns from each image
    beyond this.
    """

    weights: str
    kind: str
    draws: int
    neg_elbo_bits_per_dim: float
    neg_elbo_error: float
    particles_bits_per_dim: float | None = None
    adaptive: bool = False

    @property
    def bits_per_dim(self) -> float:
        return self.neg_elbo_bits_per_dim if self.particles_bits_per_dim is None else self.particles_bits_per_dim


@dataclass(frozen=True)
class Row:
    """One codec on one data set in one layout (see jobs.py). A row without `bytes` has an `error`.

    `model`: of our codecs and craystack's, with `scheme`; `trained_for_it`: on images of this kind (see datasets.Source.models).
    `files`: the bytes of each file, in the order of the images, of data sets of pictures. `accounting`: where the bits of our files
    are, as the files say; `chunks`: messages that each have initial bits.
    """

    dataset: str
    title: str
    codec: str
    layout: str
    images: int
    dims: int
    pixels: int
    threads: int
    stamp: Stamp
    model: str | None = None
    scheme: str | None = None
    trained_for_it: bool = True
    bytes: int | None = None
    files: tuple[int, ...] = ()
    error: str | None = None
    speed: Speed | None = None
    accounting: Accounting | None = None
    chunks: int | None = None
    header_bytes: int | None = None
    bound: Bound | None = None

    DERIVED: ClassVar = ("bits_per_dim", "net_bits_per_dim", "overhead")

    @property
    def ours(self) -> bool:
        return self.codec == "vaezip"

    @property
    def bits_per_dim(self) -> float | None:
        return None if self.bytes is None else 8 * self.bytes / self.dims

    @property
    def net_bits_per_dim(self) -> float | None:
        """Without initial bits."""
        if self.bytes is None or self.accounting is None:
            return None
        return (8 * self.bytes - self.accounting.initial_bits) / self.dims

    @property
    def overhead(self) -> float | None:
        """The share of the file beyond the bound. None where files and bound are not to be compared.

        The coder of a model of other images is at the floor of its frequencies, where the bound has none; an adaptive coder knows
        more than the bound.
        """
        if self.bits_per_dim is None or self.bound is None or not self.trained_for_it or self.bound.adaptive:
            return None
        return self.bits_per_dim / self.bound.bits_per_dim - 1

    @property
    def key(self) -> tuple[str | int | None, ...]:
        """What tells rows apart."""
        return self.dataset, self.codec, self.model, self.scheme, self.layout, self.images, self.threads


@dataclass(frozen=True)
class Scatter:
    """The bits of single images: a mean over z of the negative ELBO, and the code length in a chain. `dims`: of one image."""

    dataset: str
    model: str
    scheme: str
    dims: int
    neg_elbo_bits: tuple[float, ...]
    code_bits: tuple[int, ...]


def to_json(value: Any) -> Any:
    """A dataclass as the dictionary that JSON takes: empty fields are left out, derived ones added. Inverse: from_json."""
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    names = [field.name for field in dataclasses.fields(value)] + list(getattr(value, "DERIVED", ()))
    return {name: to_json(field) for name in names if (field := getattr(value, name)) not in (None, ())}


def from_json(cls: type[T], value: Mapping[str, Any]) -> T:
    """Inverse of to_json. Raises: TypeError for fields that are missing or unknown."""
    types_of = typing.get_type_hints(cls)
    known = {name: field for name, field in value.items() if name not in getattr(cls, "DERIVED", ())}
    left_out = {name: None for name, hint in types_of.items() if type(None) in typing.get_args(hint)}
    return cls(**left_out | {name: _field(types_of.get(name), field) for name, field in known.items()})


def _field(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
    if isinstance(value, dict) and dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value)
    if typing.get_origin(hint) is tuple:
        return tuple(_field(typing.get_args(hint)[0], item) for item in value)
    return value


def dump(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON, a line for each item of the outermost list or dictionary. Raises: ValueError for NaN and infinity."""
    if isinstance(value, Mapping):
        begin, end, items = "{", "}", [f"{json.dumps(key)}: {json.dumps(item, allow_nan=False)}" for key, item in value.items()]
    else:
        begin, end, items = "[", "]", [json.dumps(item, allow_nan=False) for item in value]
    path.write_text("\n ".join([begin, ",\n ".join(items)]) + f"\n{end}\n")


def in_a_line(value: Mapping[str, Any]) -> str:
    """JSON in one line. Raises: ValueError for NaN and infinity."""
    return json.dumps(value, allow_nan=False)


def read(path: Path) -> list[Row]:
    """The rows of a table; none where there is no file."""
    return [from_json(Row, row) for row in json.loads(path.read_text())] if path.exists() else []


def write(rows: Iterable[Row], folder: Path, allow_dirty: bool = False) -> list[Path]:
    """Write one table a data set. What was measured again takes the place of what was. Raises: DirtyTreeError."""
    new = list(rows)
    if not allow_dirty:
        refuse_dirty(row.stamp.commit for row in new)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in dict.fromkeys(row.dataset for row in new):
        path = folder / f"{PREFIX}{name}.json"
        kept = {row.key: row for row in read(path)}
        for row in new:
            if row.dataset == name:
                kept[row.key] = merge(kept.get(row.key), row)
        dump(path, [to_json(row) for row in kept.values()])
        written.append(path)
    return written


def refuse_dirty(commits: Iterable[str | None]) -> None:
    """Raises: DirtyTreeError when a commit is marked as dirty."""
    for commit in commits:
        if commit and commit.endswith("-dirty"):
            raise DirtyTreeError(f"{commit} is no commit: commit your changes before you measure, or say --allow-dirty")


def merge(old: Row | None, new: Row) -> Row:
    """The new row, with the parts of the old one that were not measured again, if the files are still the same."""
    if old is None or old.bytes != new.bytes or new.bytes is None:
        return new
    return replace(new, speed=new.speed or old.speed, bound=new.bound or old.bound)
