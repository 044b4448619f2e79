"""Nanoseconds a symbol of the entropy coder on one core: ``python -m benchmarks.coder [--json] [--symbols N]``.

Symbols are drawn from the distributions that code them, over 256 values, with parameters as a model of photos has them:
means everywhere, scales about 3 symbols wide. Each figure is the best of several runs, compilation not counted;
``make`` is the time to make the codec from its parameters. craystack's codecs of the same distributions stand beside,
where it is importable, on as many lanes as there are symbols: its fastest way, at 31 bits a lane.
"""

import functools
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from bbans import codecs, tables
from bbans.ans import Message
from bbans.craystack import load

SYMBOLS = 256
RUNS = 7
CRAYSTACK_SYMBOLS = 20_000


def parameters(rng: np.random.Generator, size: int, components: int) -> dict[str, np.ndarray]:
    """Means (1/64 symbol), scale indices and weights, (size, components), and symbols (size,) drawn from them."""
    centre = rng.normal(128, 50, (size, 1))
    means = np.rint(64 * np.clip(centre + rng.normal(0, 4, (size, components)), 0, 255)).astype(np.int64)
    scales = np.clip(np.rint(16 * (rng.normal(1.0, 0.7, (size, components)) + 3)), 0, 127).astype(np.int64)
    weights = tables.quantise_probabilities(rng.dirichlet(np.ones(components), size), tables.WEIGHT_BITS)
    chosen = (rng.random((size, 1)) * (1 << tables.WEIGHT_BITS) >= np.cumsum(weights, 1)).sum(1)
    rows = np.arange(size)
    noise = rng.logistic(size=size) * np.exp(-3 + scales[rows, chosen] / 16)
    symbols = np.clip(np.rint(means[rows, chosen] / 64 + noise), 0, SYMBOLS - 1).astype(np.int64)
    return {"means": means, "scales": scales, "weights": weights, "symbols": symbols}


def best(function: Callable[[], Any], runs: int = RUNS) -> tuple[float, Any]:
    """Seconds of the fastest of some runs, and the result of the last."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), result


def measure(name: str, make: Callable[[], codecs.Codec[Any]], symbols: np.ndarray, lanes: int) -> dict[str, Any]:
    make_seconds, codec = best(make)
    codec.push(Message.empty(lanes), symbols)  # compiles
    push_seconds, message = best(lambda: codec.push(Message.empty(lanes), symbols))
    pop_seconds, (rest, popped) = best(lambda: codec.pop(message.copy()))
    assert rest.is_initial() and np.array_equal(popped, symbols)
    return {
        "coder": "bbans",
        "codec": name,
        "lanes": lanes,
        "make_ns": make_seconds / symbols.size * 1e9,
        "push_ns": push_seconds / symbols.size * 1e9,
        "pop_ns": pop_seconds / symbols.size * 1e9,
        "bits": (message.bits - 31 * lanes) / symbols.size,
    }


def ours(size: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    one, three = parameters(rng, size, 1), parameters(rng, size, 3)

    def logistic() -> codecs.Codec[Any]:
        return codecs.logistic(one["means"][:, 0], one["scales"][:, 0], SYMBOLS)

    def mixture() -> codecs.Codec[Any]:
        return codecs.mixture(three["means"], three["scales"], three["weights"], SYMBOLS)

    return [
        measure(name, make, symbols, lanes)
        for lanes in (1, 4)
        for name, make, symbols in (("logistic", logistic, one["symbols"]), ("mixture of 3", mixture, three["symbols"]))
    ]


def craystack(size: int) -> list[dict[str, Any]]:
    try:
        library = load()
    except ImportError:
        return []
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    make: Callable[[], Any]
    for components, name in ((1, "logistic"), (3, "mixture of 3")):
        drawn = parameters(rng, size, components)
        means, log_scales = drawn["means"] / 64, drawn["scales"] / 16 - 3
        if components == 1:  # its intervals must be wide enough for 24 bits, so scales are kept from being very small
            scales = np.maximum(log_scales[:, 0], 0)
            make = functools.partial(library.Logistic_UnifBins, means[:, 0], scales, 24, 8, -0.5, 255.5)
        else:
            logits = np.log(np.maximum(drawn["weights"], 1))
            make = functools.partial(library.LogisticMixture_UnifBins, means, log_scales, logits, 24, 8, -0.5, 255.5)
        make_seconds, codec = best(make, 3)
        symbols = drawn["symbols"].astype(np.uint64)
        push_seconds, (state,) = best(functools.partial(_push, codec, library, symbols), 3)
        pop_seconds, (_, popped) = best(functools.partial(codec.pop, state), 3)
        assert np.array_equal(popped, symbols)
        rows.append(
            {
                "coder": "craystack",
                "codec": name,
                "lanes": size,
                "make_ns": make_seconds / size * 1e9,
                "push_ns": push_seconds / size * 1e9,
                "pop_ns": pop_seconds / size * 1e9,
                "bits": (np.log2(state[0].astype(float)).sum() - 31 * size + 32 * tail_words(state[1])) / size,
            }
        )
    return rows


def _push(codec: Any, library: Any, symbols: np.ndarray) -> Any:
    return codec.push(library.base_message(symbols.shape), symbols)


def tail_words(tail: Any) -> int:
    count = 0
    while tail:
        words, tail = tail
        count += len(words)
    return count


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--symbols", default=500_000, show_default=True, type=click.IntRange(min=1), help="Symbols a run.")
def main(as_json: bool, symbols: int) -> None:
    """Nanoseconds a symbol of the entropy coder, on one core."""
    rows = ours(symbols) + craystack(min(symbols, CRAYSTACK_SYMBOLS))
    if as_json:
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        print(json.dumps({"machine": platform.machine(), **versions, "symbols": symbols, "rows": rows}))
        return
    print(f"{'coder':<10} {'codec':<13} {'lanes':>7} {'make ns':>9} {'push ns':>9} {'pop ns':>9} {'bits':>6}")
    for row in rows:
        times = " ".join(f"{row[name]:>9.1f}" for name in ("make_ns", "push_ns", "pop_ns"))
        print(f"{row['coder']:<10} {row['codec']:<13} {row['lanes']:>7} {times} {row['bits']:>6.2f}")
    if len(rows) == 4:
        print("(craystack is not importable; pip install git+https://github.com/j-towns/craystack)")


if __name__ == "__main__":
    main()
