"""Markdown of rows, and of published figures beside them, marked as such."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .jobs import ARCHIVE, CHAIN, EACH, SHEET
from .peers import peers
from .rows import Cost, Row, from_json
from .theory import CONTEXT

MARKS = {"read": "published", "recalled": "published, as recalled: not looked up again"}
OTHER_LAYOUTS = {SHEET: "one stream"}
FOREIGN = "no overhead: a model of other images, whose bound has no floor"
ADAPTIVE = "no overhead: the adaptive stage knows more than the bound"
TIMES = (
    "Times are of one image, a mean over all of them, with all cores at work; in brackets, where it was measured, what all cores "
    "took together. Published rows are in italics, and nothing of them was measured here."
)
LEGEND = (
    "bits/dim: bits of all files for each sample, which is a colour of a pixel. Overhead: how far that is beyond the negative "
    "ELBO of the model, which is what bits-back promises.",
    "Archive: as `vaezip pack` writes it, in chunks; one chain: all images on one message, as papers report it. Contact sheet and "
    "one stream: all images as tiles of a picture, or one after the other, so that other codecs, too, pay for their headers once; "
    "no image can be read alone then. "
    "JPEG XL with -g 3 -E 3 -I 100, options of cjxl: larger groups, more context, more time.",
    "With pixel context: the likelihood of a pixel looks at pixels before it. Our other models for small images are VAEs whose "
    "pixels are independent given z.",
    "Our models for small images were trained on training images of the same set, and their weights are not counted, as they come "
    "with the program; codecs such as JPEG XL know nothing of the set. `bbans/models/weights` has a card for each model.",
)
"""What a reader of the README's tables has to know."""


@dataclass(frozen=True)
class Published:
    """A figure of a paper. `status`: read in a source, or recalled; `printed`: the figure there, if it is of other dimensions."""

    dataset: str
    codec: str
    bits_per_dim: float
    status: str
    note: str = ""
    printed: float | None = None

    error = None


AnyRow = Row | Published


@cache
def published() -> list[Published]:
    """All of them."""
    return [from_json(Published, row) for row in json.loads((files(__package__) / "published.json").read_text())]


def full(rows: Sequence[Row], beside: bool = True) -> list[str]:
    """The table of rows of the same images, with all columns. `beside`: published figures as well."""
    columns: dict[str, Callable[[AnyRow], str]] = {
        "codec": _name,
        "layout": lambda row: _layout(row) if isinstance(row, Row) else "",
        "bits/dim": _bits_per_dim,
    }
    if any(row.bound for row in rows):
        columns["-ELBO"] = _measured(lambda row: _form(row.bound and row.bound.neg_elbo_bits_per_dim))
        if any(row.bound and row.bound.particles_bits_per_dim for row in rows):
            columns["bound of K particles"] = _measured(lambda row: _form(row.bound and row.bound.particles_bits_per_dim))
        columns["overhead"] = _measured(_overhead)
        columns["net bits/dim"] = _measured(lambda row: _form(row.net_bits_per_dim))
        columns["initial bits"] = _measured(_initial_bits)
    columns["encode"], columns["decode"] = _measured(_encode_time), _measured(_decode_time)
    columns["MiB"] = _measured(_memory)
    columns["note"] = _note
    return _table(columns, "ll", [*rows, *(_beside(rows) if beside else [])])


def brief(rows: Sequence[Row]) -> list[str]:
    """The table of the README: whole data sets by models that were made for them, and the peers that Peer.brief names.

    Columns without a figure are left out.
    """
    columns: dict[str, Callable[[AnyRow], str]] = {
        "codec": _name_and_layout,
        "bits/dim": _bits_per_dim,
        "overhead": _measured(_overhead),
        "encode": _measured(_encode_time),
        "decode": _measured(_decode_time),
    }
    chosen = for_readme(rows)
    if not any(row.ours for row in chosen):
        return []
    shown: list[AnyRow] = [*chosen, *_beside(rows)]
    return _table({name: show for name, show in columns.items() if any(show(row) for row in shown)}, "l", shown)


def for_readme(rows: Sequence[Row]) -> list[Row]:
    """The rows of the README's table."""
    whole = [row for row in rows if row.images == max(row.images for row in rows) and row.error is None]
    own_schemes = {(row.model, row.scheme) for row in whole if row.layout == ARCHIVE}
    names = {peer.name for symbols in (2, 256) for peer in peers(symbols=symbols) if peer.brief}
    layouts = {row.layout for row in whole}
    threads = max((row.threads for row in whole), default=0)

    def chosen(row: Row) -> bool:
        if row.model is None:
            return row.codec in names and row.layout == (SHEET if SHEET in layouts else EACH)
        if not row.trained_for_it or (row.ours and row.threads < threads):
            return False
        papers = row.layout == CHAIN and row.scheme in ("bb-ans", "bit-swap") and (row.model, row.scheme) in own_schemes
        return row.layout == ARCHIVE or papers or (row.layout == EACH and row.scheme is None)

    return [row for row in whole if chosen(row)]


def _beside(rows: Sequence[Row]) -> list[Published]:
    return [row for row in published() if row.dataset == rows[0].dataset]


def _table(columns: dict[str, Callable[[AnyRow], str]], left: str, rows: Sequence[AnyRow]) -> list[str]:
    """Rows with the smallest first, and what failed at the end."""
    ordered = sorted(rows, key=lambda row: (row.error is not None, row.bits_per_dim or 0.0))
    rules = ["---" if index < len(left) or name == "note" else "---:" for index, name in enumerate(columns)]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join(rules) + "|"]
    return lines + ["| " + " | ".join(show(row) for show in columns.values()) + " |" for row in ordered]


def _measured(show: Callable[[Row], str]) -> Callable[[AnyRow], str]:
    """A cell of rows that were measured, empty in published ones."""
    return lambda row: show(row) if isinstance(row, Row) else ""


def _form(bits: object) -> str:
    return f"{bits:.4f}" if isinstance(bits, float) else ""


def _name(row: AnyRow) -> str:
    if isinstance(row, Published):
        return f"*{row.codec}*"
    if row.model is None:
        return row.codec
    scheme = f", {row.scheme}" if row.scheme else ""
    return f"**{row.codec} {row.model}**{scheme}" if row.ours else f"{row.codec}, {row.model}"


def _name_and_layout(row: AnyRow) -> str:
    if isinstance(row, Published):
        return f"{_name(row)} ({_note(row)})"
    context = ", with pixel context" if row.ours and row.layout != EACH and row.bound and row.bound.kind == CONTEXT else ""
    return f"{_name(row)}{context}, {_layout(row)}" if row.layout != EACH else _name(row)


def _layout(row: Row) -> str:
    general = row.codec.startswith(("zstd", "xz"))
    return OTHER_LAYOUTS.get(row.layout, row.layout) if general else row.layout


def _bits_per_dim(row: AnyRow) -> str:
    if row.bits_per_dim is None:
        return ""
    if isinstance(row, Published):
        return f"{row.bits_per_dim:.3f}".removesuffix("0")
    bits = f"{row.bits_per_dim:.{3 if row.files else 4}f}"
    return f"**{bits}**" if row.ours else bits


def _overhead(row: Row) -> str:
    return "" if row.overhead is None else f"{row.overhead:+.2%}".replace("%", " %")


def _initial_bits(row: Row) -> str:
    """Of each chunk, where there are some."""
    return f"{row.accounting.initial_bits / row.chunks:.0f} x {row.chunks}" if row.accounting and row.chunks else ""


def _encode_time(row: Row) -> str:
    return "" if row.speed is None else time_of(row.speed.encode, row.images)


def _decode_time(row: Row) -> str:
    return "" if row.speed is None else time_of(row.speed.decode, row.images)


def time_of(cost: Cost, images: int) -> str:
    """Of one image, by the clock and in brackets of all cores together, in the same unit."""
    seconds = cost.wall_s / images
    unit, factor = next(((unit, factor) for unit, factor in (("s", 1), ("ms", 1e3)) if seconds * factor >= 0.1), ("µs", 1e6))
    cpu = "" if cost.cpu_s is None else f" ({_two_digits(cost.cpu_s / images * factor)})"
    return f"{_two_digits(seconds * factor)} {unit}{cpu}"


def _two_digits(value: float) -> str:
    """At least two of them, without an exponent."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _memory(row: Row) -> str:
    mib = [cost.mib for cost in (row.speed.encode, row.speed.decode) if cost.mib is not None] if row.speed else []
    return f"{max(mib):.0f}" if mib else ""


def _note(row: AnyRow) -> str:
    if isinstance(row, Published):
        return f"{MARKS[row.status]}; {row.note}".rstrip("; ")
    if row.error is not None:
        return f"**failed**: {row.error}"
    notes = [row.bound.kind] if row.bound else []
    notes += ["one thread"] if row.model is not None and row.threads == 1 else []
    notes += [FOREIGN] if not row.trained_for_it else [ADAPTIVE] if row.bound and row.bound.adaptive else []
    return "; ".join(notes)
