"""Markdown of the rows of run.py, and of published figures beside them, marked as such."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from .jobs import ARCHIVE, CHAIN, EACH, SHEET

Row = dict[str, Any]
LARGE_PIXELS = 1 << 16
"""Pixels of an image from which on speed is in megapixels, not in images."""
MARKS = {"read": "published", "recalled": "published, as recalled: not looked up again"}
README_PEERS = {SHEET: ("PNG*", "WebP*6", "JPEG XL, effort 9", "JPEG 2000", "xz*"), EACH: ("JPEG XL, effort 9",)}
OTHER_LAYOUTS = {SHEET: "one stream"}


@cache
def published() -> list[Row]:
    """Figures of papers: dataset, codec, bits_per_dim, status (read in a source, or recalled), note."""
    found: list[Row] = json.loads((files(__package__) / "published.json").read_text())
    return found


def table_of(rows: Sequence[Row]) -> list[str]:
    """The table of one data set: ours in bold, published ones in italics, the smallest first, what failed at the end."""
    if not rows:
        return []
    large = any(row["pixels"] >= LARGE_PIXELS * row["images"] for row in rows)
    ours = any("overhead" in row for row in rows)
    columns: dict[str, Callable[[Row], str]] = {"codec": _name, "layout": _layout, "images": lambda row: str(row.get("images", ""))}
    columns["bits/dim"] = lambda row: _number(row, "bits_per_dim", ".4f" if row.get("images") else "g")
    if ours:
        columns["-ELBO"] = lambda row: _number(row, "neg_elbo_bits_per_dim", ".4f")
        columns["bound"] = lambda row: _number(row, "bound_bits_per_dim", ".4f")
        columns["overhead"] = lambda row: _number(row, "overhead", "+.2%").replace("%", " %")
        columns["net bits/dim"] = lambda row: _number(row, "net_bits_per_dim", ".4f")
        columns["initial bits"] = lambda row: _per_chunk(row)
    columns["encode MP/s" if large else "encode images/s"] = lambda row: _speed(row, "encode_s", large)
    columns["decode MP/s" if large else "decode images/s"] = lambda row: _speed(row, "decode_s", large)
    columns["MiB"] = lambda row: _memory(row)
    columns["note"] = _note
    beside = [row for row in published() if row["dataset"] == rows[0]["dataset"]]
    sorted_rows = sorted([*rows, *beside], key=lambda row: ("error" in row, row.get("bits_per_dim", 0.0)))
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) - 3) + "---|"]
    return lines + ["| " + " | ".join(show(row) for show in columns.values()) + " |" for row in sorted_rows]


def for_readme(rows: Sequence[Row]) -> list[Row]:
    """Our models' archives, and a few of the other codecs."""

    def chosen(row: Row) -> bool:
        if row["model"] is not None:
            return row["layout"] == ARCHIVE or (row["layout"] == CHAIN and row["scheme"] in ("bb-ans", "bit-swap"))
        return any(fnmatch.fnmatch(row["codec"], pattern) for pattern in README_PEERS.get(row["layout"], ()))

    return [row for row in rows if chosen(row)]


def _name(row: Row) -> str:
    if "status" in row:
        return f"*{row['codec']}*"
    if row["model"] is None:
        return str(row["codec"])
    mark = "**" if row["codec"] == "vaezip" else ""
    return f"{mark}{row['codec']} {row['model']}{mark}" + (f", {row['scheme']}" if row["scheme"] else "")


def _layout(row: Row) -> str:
    general = str(row["codec"]).startswith(("zstd", "xz"))
    layout = str(row.get("layout", ""))
    return OTHER_LAYOUTS.get(layout, layout) if general else layout


def _number(row: Row, key: str, form: str) -> str:
    value = row.get(key)
    return "" if value is None else format(value, form)


def _per_chunk(row: Row) -> str:
    """Of each chunk, where there are some."""
    if "chunks" not in row:
        return ""
    return f"{row['initial_bits'] / row['chunks']:.0f} x {row['chunks']}"


def _speed(row: Row, key: str, large: bool) -> str:
    if key not in row:
        return ""
    amount = row["pixels"] / 1e6 if large else row["images"]
    return f"{amount / row[key]:.3g}" if amount < 1000 * row[key] else f"{amount / row[key]:.0f}"


def _memory(row: Row) -> str:
    found = [row[key] for key in ("encode_mib", "decode_mib") if row.get(key) is not None]
    return f"{max(found):.0f}" if found else ""


def _note(row: Row) -> str:
    if "status" in row:
        return f"{MARKS[row['status']]}; {row['note']}".rstrip("; ")
    if "error" in row:
        return f"**failed**: {row['error']}"
    threads = ", one thread" if row["model"] is not None and row.get("threads") == 1 else ""
    return f"{row.get('kind', '')}{threads}"
