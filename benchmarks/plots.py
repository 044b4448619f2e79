"""Plots of the results, as PNG. Needs matplotlib (of the extra `bench`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .jobs import ARCHIVE, EACH, SHEET
from .rows import Row, Scatter

MARKERS = {EACH: "o", SHEET: "s"}
SIZE, DPI = (8, 5), 110


def pyplot() -> Any:
    """matplotlib without a display. Raises: ImportError."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def rate_against_speed(rows: Sequence[Row], path: Path) -> None:
    """Bits/dim of each codec against the time of encoding: lower and further left is better."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=SIZE)
    for row in rows:
        if row.speed is None or row.bits_per_dim is None:
            continue
        seconds = row.speed.encode.wall_s / row.images
        axes.plot(
            seconds,
            row.bits_per_dim,
            marker="*" if row.ours else MARKERS.get(row.layout, "o"),
            color="tab:red" if row.ours else "tab:blue" if row.layout == EACH else "tab:green",
            markersize=12 if row.ours else 6,
        )
        label = f"{row.model} {row.scheme or ''}" if row.ours else row.codec
        axes.annotate(label, (seconds, row.bits_per_dim), xytext=(4, 4), textcoords="offset points", fontsize=6)
    for marker, colour, label in (("*", "tab:red", "vaezip"), ("o", "tab:blue", EACH), ("s", "tab:green", SHEET)):
        axes.plot([], [], marker=marker, color=colour, linestyle="", label=label)
    axes.set(xscale="log", xlabel="encode, seconds an image", ylabel="bits/dim", title=rows[0].title)
    axes.legend(fontsize=7, loc="upper right")
    _save(figure, path)


def bits_accounting(rows: Sequence[Row], path: Path) -> None:
    """Where the bits of our files go: what is pushed, and below 0 what q(z|x) gives back."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=SIZE)
    names = [f"{row.model}\n{row.scheme or ''}\n{row.layout}" for row in rows]
    bottom = [0.0] * len(rows)
    for label, heights in _stacked(rows).items():
        axes.bar(names, heights, bottom=bottom, label=label)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    given_back = [-row.accounting.posterior_bits / row.dims for row in rows if row.accounting is not None]
    axes.bar(names, given_back, label="-log q(z given x), given back")
    for place, row in enumerate(rows):
        axes.plot([place - 0.4, place + 0.4], [row.bits_per_dim] * 2, color="black", label=None if place else "the file")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.set(ylabel="bits/dim", title=rows[0].title)
    axes.legend(fontsize=7, loc="upper right")
    _save(figure, path)


def _stacked(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Bits/dim of each term, for each row."""
    terms = [(row, row.accounting) for row in rows if row.accounting is not None]
    return {
        "-log p(x given z)": [bits.likelihood_bits / row.dims for row, bits in terms],
        "-log p(z)": [bits.prior_bits / row.dims for row, bits in terms],
        "initial bits": [bits.initial_bits / row.dims for row, bits in terms],
        "headers, rounding": [max(8 * (row.bytes or 0) - bits.net_bits, 0) / row.dims for row, bits in terms],
    }


def picture_by_picture(rows: Sequence[Row], codecs: tuple[str, ...], path: Path) -> None:
    """Bits/dim of each picture by ours against those by other codecs, in all their settings: on the line they are alike.

    `codecs`: how their names begin.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(5, 5))
    ours = next(row for row in rows if row.ours and row.files)
    share = len(ours.files) / ours.dims * 8  # bits/dim of a byte, if pictures are of one size
    for row in (row for row in rows if row.codec.startswith(codecs) and row.files and row.layout == EACH):
        axes.plot([share * size for size in ours.files], [share * size for size in row.files], ".", label=row.codec)
    ends = [share * min(ours.files), share * max(ours.files)]
    axes.plot(ends, ends, color="black", linewidth=0.5)
    axes.set(xlabel=f"vaezip {ours.model}, bits/dim", ylabel="the other codec, bits/dim")
    axes.set_title(f"{ours.title}: above the line, vaezip is smaller", fontsize=8)
    axes.legend(fontsize=7, loc="upper left")
    _save(figure, path)


def code_length_against_elbo(scatter: Scatter, path: Path) -> None:
    """Each image's code length, at the z that was drawn for it, against its negative ELBO, a mean over z."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(5, 5))
    elbo, code = ([bits / scatter.dims for bits in values] for values in (scatter.neg_elbo_bits, scatter.code_bits))
    axes.plot(elbo, code, ".", markersize=3)
    ends = [min(elbo), max(elbo)]
    axes.plot(ends, ends, color="black", linewidth=0.5)
    ratio = sum(code) / sum(elbo)
    title = f"{scatter.dataset}, {scatter.model}, {scatter.scheme}: {len(code)} images, total ratio {ratio:.4f}"
    axes.set(xlabel="negative ELBO, bits/dim", ylabel="code length in a chain, bits/dim")
    axes.set_title(title, fontsize=8)
    _save(figure, path)


def accounted(rows: Sequence[Row]) -> list[Row]:
    """The rows that say where their bits go: whole sets, and pictures, by models that were made for them."""
    whole = [row for row in rows if row.layout == ARCHIVE or (row.layout == EACH and row.files)]
    return [row for row in whole if row.accounting is not None and row.trained_for_it]


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI, metadata={"Software": None})  # no version inside: the same results, the same file
    pyplot().close(figure)
