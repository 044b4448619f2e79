"""Nanoseconds a symbol of the entropy coder on one core: `python -m benchmarks coder [--json FILE] [--symbols N]`.

Symbols are drawn from the distributions that code them, over 256 values, with parameters as a model of photos has them: means
everywhere, scales about 3 symbols wide. Each figure is the best of several runs, compilation not counted; `make` is the time to
make the codec from its parameters. craystack's codecs of the same distributions stand beside ours, where it is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from bbans import codecs, tables
from bbans.ans import Message

from . import machine, rows

SYMBOLS = 256
RUNS = 7
CRAYSTACK_SYMBOLS = 20_000
T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    """Means (1/64 symbol), scale indices and weights, (N, components), and symbols (N,) drawn from them."""

    means: NDArray[np.int64]
    scales: NDArray[np.int64]
    weights: NDArray[np.int64]
    symbols: NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """Of one codec of one coder: nanoseconds and bits a symbol."""

    coder: str
    codec: str
    lanes: int
    make_ns: float
    push_ns: float
    pop_ns: float
    bits: float


def draw(rng: np.random.Generator, size: int, components: int) -> Drawn:
    """Parameters of so many symbols, and the symbols."""
    centre = rng.normal(128, 50, (size, 1))
    means = np.rint(64 * np.clip(centre + rng.normal(0, 4, (size, components)), 0, 255)).astype(np.int64)
    scales = np.clip(np.rint(16 * (rng.normal(1.0, 0.7, (size, components)) + 3)), 0, 127).astype(np.int64)
    weights = tables.quantise_probabilities(rng.dirichlet(np.ones(components), size), tables.WEIGHT_BITS)
    chosen = (rng.random((size, 1)) * (1 << tables.WEIGHT_BITS) >= np.cumsum(weights, 1)).sum(1)
    one = np.arange(size), chosen
    noise = rng.logistic(size=size) * np.exp(-3 + scales[one] / 16)
    symbols = np.clip(np.rint(means[one] / 64 + noise), 0, SYMBOLS - 1).astype(np.int64)
    return Drawn(means, scales, weights, symbols)


def best(function: Callable[[], T], runs: int = RUNS) -> tuple[float, T]:
    """Seconds of the fastest of some runs, and the result of the last."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result


def measure(name: str, make: Callable[[], codecs.Codec[Any]], symbols: NDArray[np.int64], lanes: int) -> Figures:
    """The figures of a codec of ours."""
    make_s, codec = best(make)
    codec.push(Message.empty(lanes), symbols)  # compiles
    push_s, message = best(lambda: codec.push(Message.empty(lanes), symbols))
    pop_s, (rest, popped) = best(lambda: codec.pop(message.copy()))
    assert rest.is_initial() and np.array_equal(popped, symbols)
    return figures_of("bbans", name, lanes, symbols.size, (make_s, push_s, pop_s), message.bits - 31 * lanes)


def figures_of(coder: str, codec: str, lanes: int, symbols: int, seconds: tuple[float, float, float], bits: float) -> Figures:
    """Figures a symbol, given those of all. `seconds`: of making, pushing and popping."""
    make_ns, push_ns, pop_ns = (1e9 * second / symbols for second in seconds)
    return Figures(coder, codec, lanes, make_ns, push_ns, pop_ns, bits / symbols)


def ours(size: int) -> list[Figures]:
    """All figures of our coder."""
    rng = np.random.default_rng(0)
    one, three = draw(rng, size, 1), draw(rng, size, 3)

    def logistic() -> codecs.Codec[Any]:
        return codecs.logistic(one.means[:, 0], one.scales[:, 0], SYMBOLS)

    def mixture() -> codecs.Codec[Any]:
        return codecs.mixture(three.means, three.scales, three.weights, SYMBOLS)

    return [
        measure(name, make, symbols, lanes)
        for lanes in (1, 4)
        for name, make, symbols in (("logistic", logistic, one.symbols), ("mixture of 3", mixture, three.symbols))
    ]


@click.command()
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON into this file as well.")
@click.option("--symbols", default=500_000, show_default=True, type=click.IntRange(min=1), help="Symbols a run.")
def main(out: Path | None, symbols: int) -> None:
    """Nanoseconds a symbol of the entropy coder, on one core."""
    from . import craystack

    figures = ours(symbols) + craystack.coder(min(symbols, CRAYSTACK_SYMBOLS))
    click.echo(f"{'coder':<10} {'codec':<13} {'lanes':>7} {'make ns':>9} {'push ns':>9} {'pop ns':>9} {'bits':>6}")
    for row in figures:
        times = " ".join(f"{ns:>9.1f}" for ns in (row.make_ns, row.push_ns, row.pop_ns))
        click.echo(f"{row.coder:<10} {row.codec:<13} {row.lanes:>7} {times} {row.bits:>6.2f}")
    if all(row.coder == "bbans" for row in figures):
        click.echo("(craystack is not installed: see bbans/craystack.py)")
    if out:
        about: dict[str, Any] = {"stamp": rows.to_json(machine.stamp()), "symbols": symbols}
        rows.dump(out, about | {"rows": [rows.to_json(row) for row in figures]})


if __name__ == "__main__":
    main()
