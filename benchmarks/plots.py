"""Plots of the results, as PNG. Needs matplotlib (of the extra ``bench``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .jobs import ARCHIVE, EACH, SHEET
from .tables import LARGE_PIXELS, Row

MARKERS = {EACH: "o", SHEET: "s"}
SIZE, DPI = (8, 5), 110
TERMS = {
    "likelihood_bits": "-log p(x given z)",
    "prior_bits": "-log p(z)",
    "initial_bits": "initial bits",
    "header_bits": "headers, rounding",
}


def pyplot() -> Any:
    """matplotlib without a display. Raises: ImportError."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def rate_against_speed(rows: Sequence[Row], path: Path) -> None:
    """Bits/dim of each codec against the speed of encoding: lower and further right is better."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=SIZE)
    large = any(row["pixels"] >= LARGE_PIXELS * row["images"] for row in rows)
    for row in rows:
        if "error" in row:
            continue
        ours = row["codec"] == "vaezip"
        speed = (row["pixels"] / 1e6 if large else row["images"]) / row["encode_s"]
        axes.plot(
            speed,
            row["bits_per_dim"],
            marker="*" if ours else MARKERS.get(row["layout"], "o"),
            color="tab:red" if ours else "tab:blue" if row["layout"] == EACH else "tab:green",
            markersize=12 if ours else 6,
        )
        label = f"{row['model']} {row['scheme'] or ''}" if ours else row["codec"]
        axes.annotate(label, (speed, row["bits_per_dim"]), xytext=(4, 4), textcoords="offset points", fontsize=6)
    for marker, colour, label in (("*", "tab:red", "vaezip"), ("o", "tab:blue", EACH), ("s", "tab:green", SHEET)):
        axes.plot([], [], marker=marker, color=colour, linestyle="", label=label)
    axes.set(xscale="log", xlabel="encode, MP/s" if large else "encode, images/s", ylabel="bits/dim", title=rows[0]["title"])
    axes.legend(fontsize=7, loc="upper right")
    _save(figure, path)


def bits_accounting(rows: Sequence[Row], path: Path) -> None:
    """Where the bits of our files go: what is pushed, and below 0 what q(z|x) gives back."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=SIZE)
    names = [f"{row['model']}\n{row['scheme'] or ''}\n{row['layout']}" for row in rows]
    bottom = [0.0] * len(rows)
    for term, label in TERMS.items():
        heights = [max(_term(row, term), 0.0) / row["dims"] for row in rows]
        axes.bar(names, heights, bottom=bottom, label=label)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    axes.bar(names, [-row["posterior_bits"] / row["dims"] for row in rows], label="-log q(z given x), given back")
    for place, row in enumerate(rows):
        axes.plot([place - 0.4, place + 0.4], [row["bits_per_dim"]] * 2, color="black", label=None if place else "the file")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.set(ylabel="bits/dim", title=rows[0]["title"])
    axes.legend(fontsize=7, loc="upper right")
    _save(figure, path)


def _term(row: Row, term: str) -> float:
    if term != "header_bits":
        return float(row[term])
    known = row["likelihood_bits"] + row["prior_bits"] - row["posterior_bits"] + row["initial_bits"]
    return float(8 * row["bytes"] - known)


def code_length_against_elbo(scatter: dict[str, Any], path: Path) -> None:
    """Each image's code length, at the z that was drawn for it, against its negative ELBO, a mean over z."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(5, 5))
    elbo, code = ([bits / scatter["dims"] for bits in scatter[key]] for key in ("neg_elbo_bits", "code_bits"))
    axes.plot(elbo, code, ".", markersize=3)
    ends = [min(elbo), max(elbo)]
    axes.plot(ends, ends, color="black", linewidth=0.5)
    ratio = sum(code) / sum(elbo)
    title = f"{scatter['dataset']}, {scatter['model']}, {scatter['scheme']}: {len(code)} images, total ratio {ratio:.4f}"
    axes.set(xlabel="negative ELBO, bits/dim", ylabel="code length in a chain, bits/dim")
    axes.set_title(title, fontsize=8)
    _save(figure, path)


def accounted(rows: Sequence[Row]) -> list[Row]:
    """The rows that say where their bits go: whole sets, and pictures."""
    return [row for row in rows if "likelihood_bits" in row and row["layout"] in (ARCHIVE, EACH) and "error" not in row]


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI, metadata={"Software": None})  # no version inside: the same results, the same file
    pyplot().close(figure)
