"""A decoder written from bbans/formats/FORMAT.md, chapter 5, alone: integers, no torch, nothing of bbans.

Slow; for a small picture.

Functions carry the names of the text. Whole levels at once, no tiles; Python's integers for messages.
"""

from __future__ import annotations

import collections
import decimal
import json
import math
from typing import Any

import numpy as np

Array = Any  # of int64
decimal.getcontext().prec = 40


def exp(numerator: int, denominator: int) -> decimal.Decimal:
    return (decimal.Decimal(numerator) / denominator).exp()


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


L = np.array([0, *(round(2**24 / (1 + exp(512 - i, 32))) for i in range(1, 1024)), 2**24, 2**24])
INV = np.array([round(2**19 * exp(48 - i, 16)) for i in range(128)])
EXP = np.array([round(2**16 * exp(-d, 16)) for d in range(256)])


SPREAD = np.array([round(1024 * exp(i - 48, 16)) for i in range(128)])
FACTOR = {i: round(2**16 * exp(-i, 16)) for i in range(-64, 65)}
LOG2 = [round(2**32 * (1 + decimal.Decimal(i) / 1024).ln() / decimal.Decimal(2).ln()) for i in range(1024)]
SETS = {"node": "nodes_seen", "class": "classes_seen", "variety": "varieties_seen", "position": "positions_seen"}
COUNTS = SETS | {name: f"{name}_seen" for name in ("weights", "steps", "maps")}
MIXED = [f"{name}_weights" for name in SETS]
OWN_PHASE = [(0, -2), (-2, 0), (-2, -2), (-2, 2)]
BARS = [0]  # below each bar of a histogram that falls by a fifth from bar to bar
for bar in range(32):
    fallen = 2**20
    for _ in range(abs(bar - 16)):
        fallen = fallen * 210 >> 8
    BARS.append(BARS[-1] + fallen)
FRESH = [below * 32767 // BARS[-1] for below in BARS]
EDGE = [round(256 * (decimal.Decimal(2) ** (decimal.Decimal(j - 10) / 4) - decimal.Decimal("0.02"))) for j in range(1, 16)]


class Stack:
    """Section 5.7."""

    def __init__(self, body: bytes) -> None:
        words = [int.from_bytes(body[i : i + 4], "little") for i in range(0, len(body), 4)]
        self.head, self.tail = words[0] << 32 | words[1], words[:1:-1]

    def pop(self, p: int, cf: Array) -> int:
        v = self.head % 2**p
        symbol = int(np.searchsorted(cf, v, "right")) - 1
        start, freq = int(cf[symbol]), int(cf[symbol + 1] - cf[symbol])
        self.head = freq * (self.head >> p) + v - start
        if self.head < 2**31:
            self.head = self.head << 32 | self.tail.pop()
        return symbol

    def push(self, p: int, cf: Array, symbol: int) -> None:
        start, freq = int(cf[symbol]), int(cf[symbol + 1] - cf[symbol])
        if self.head >= freq << (63 - p):
            self.tail.append(self.head % 2**32)
            self.head >>= 32
        self.head = (self.head // freq << p) + self.head % freq + start

    @property
    def empty(self) -> bool:
        return self.head == 2**31 and not self.tail


def shares(n: int, weights: Array, means: Array, scales: Array, edges: Array | None = None) -> Array:
    """The shares of 2**24 below each of the symbols 0 .. n, whose lower edges are even unless given. Section 5.5."""
    edges = 64 * np.arange(n) - 32 if edges is None else edges
    t = (edges[1:n, None] - means) * INV[scales] + 2**29
    j = np.clip(t >> 20, 0, 1023)
    below = L[j] + ((L[j + 1] - L[j]) * ((t >> 4) & 65535) >> 16)
    below = np.where(t <= 0, 0, np.where(t >= 2**30, 2**24, below))
    return np.array([0, *((weights * below).sum(1) >> 14), 2**24])


def intervals(share: Array) -> Array:
    """cf(0) .. cf(n) of shares."""
    n = len(share) - 1
    inner = (share[1:-1] * (2**24 - n) >> 24) + np.arange(1, n)
    return np.array([0, *inner, 2**24])


def lg(v: int) -> int:
    e = v.bit_length() - 1
    return (e << 16) + (LOG2[v << 31 - e >> 21 & 1023] >> 16)


LN = [lg(8 * i + 4) * 45426 >> 22 for i in range(4353)]


def squash(d: int) -> int:
    t = clamp(32 * d + 2**29, 0, 2**30)
    j = t >> 20
    return int(L[j]) + (int(L[j + 1] - L[j]) * (t >> 4 & 65535) >> 16)


def logit(f: Array, lo: int, x: int, hi: int) -> int:
    return clamp((lg(int(f[hi] - f[x])) - lg(int(f[x] - f[lo]))) * 45426 >> 22, -8090, 8090)


def sides(values: list[int], x: int) -> int:
    """Three for each value, the first the highest: 0 below x, 1 at x, 2 above."""
    number = 0
    for v in values:
        number = 3 * number + (v >= x) + (v > x)
    return number


def pack(*fields: tuple[int, int]) -> int:
    """The lowest bits of numbers, one after another, the first the highest."""
    packed = 0
    for number, bits in fields:
        packed = packed << bits | number % 2**bits
    return packed


def weighted(weights: list[int], inputs: list[int]) -> int:
    return sum((w >> 10) * i for w, i in zip(weights, inputs, strict=True))


def learn_weights(weights: list[int], inputs: list[int], error: int, rate: int) -> None:
    step = error * rate >> 18
    weights[:] = [clamp(w + (step * i + 2**11 >> 12), -(2**23), 2**23) for w, i in zip(weights, inputs, strict=True)]


class Mixture:
    """A pixel's mixture before correction. Section 5.6."""

    def __init__(self, weights: Array, means: Array, scales: Array) -> None:
        self.weights, self.means, self.scales = weights, means, scales
        self.centre = int((weights * means).sum()) >> 14
        self.spread = int((weights * (SPREAD[scales] + 8 * abs(means - self.centre))).sum()) >> 14
        self.unit = 2**30 // self.spread
        self.k = sum(self.spread >= 256 << i for i in range(7))

    def res(self, d: int) -> int:
        return clamp(d * self.unit >> 18, -1536, 1536)

    def shares(self, shift: int = 0, step: int = 0, edges: Array | None = None) -> Array:
        return shares(256, self.weights, self.means + shift, np.clip(self.scales + step, 0, 127), edges)


class Widths:
    """Of values, from the known pixels (3, n) of a region. Section 5.6."""

    def __init__(self, known: Array) -> None:
        red, green, blue = known.tolist()
        self.counts = [
            collections.Counter(green),
            collections.Counter(zip(green, red, strict=True)),
            collections.Counter((r - g, b - g) for r, g, b in zip(red, green, blue, strict=True)),
        ]

    def count(self, c: int, v: int, g: int, r: int) -> int:
        return self.counts[c][(v, (g, v), (r - g, v - g))[c]]

    def edges(self, c: int, threshold: int, g: int, r: int) -> Array:
        """edge(x) for x in 0 .. 256."""
        first, last = max(threshold - 8, 0), min(threshold + 8, 256)
        s = []
        for v in range(first, last):
            n = [self.count(c, v + i, g, r) for i in range(-2, 3)]
            s.append((n[2] + 10) * 2304 // (n[0] + 2 * n[1] + 3 * n[2] + 2 * n[3] + n[4] + 90))
        ratio = (last - first) * 2**22 // sum(s)
        edges = 64 * np.arange(257) - 32
        for x in range(first + 1, last):
            edges[x] = 64 * first - 32 + (sum(s[: x - first]) * ratio >> 16)
        return edges


class Regression:
    """Least squares of n taps. Section 5.6."""

    def __init__(self, n: int, factors: list[int]) -> None:
        self.n = n
        g = [[factors[i * (i + 1) // 2 + j] if j <= i else 0 for j in range(n + 1)] for i in range(n + 1)]
        self.sums = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in g] for one in g]
        self.a = [0] * n
        self.solve()

    def add(self, weight: int, f: list[int]) -> None:
        for i in range(self.n + 1):
            for j in range(self.n + 1):
                self.sums[i][j] += weight * f[i] * f[j]

    def solve(self) -> None:
        n, sums = self.n, self.sums
        own = [sums[i][i] + (sums[i][i] >> 14) + 2**24 for i in range(n + 1)]
        e = [-2] * (n + 1)
        for i in range(n + 1):
            while times(own[i], -2 * e[i]) >= 2**30:
                e[i] += 1
        g = [[0] * (n + 1) for _ in range(n + 1)]
        v = [0] * n
        for i in range(n + 1):
            for j in range(min(i, n - 1) + 1):
                entry = own[i] if i == j else sums[i][j]
                rest = times(entry, -e[i] - e[j]) * 2**30 - sum(g[i][m] * g[j][m] for m in range(j))
                if i == j:
                    g[i][i] = max(math.isqrt(max(rest, 0)), 2**22)
                    v[i] = 2**54 // g[i][i]
                else:
                    g[i][j] = (rest >> 30) * v[j] >> 24
        s = [0] * n
        for i in range(n - 1, -1, -1):
            rest = clamp(g[n][i] * 2**20 - sum(g[m][i] * s[m] for m in range(i + 1, n)), -(2**57), 2**57)
            s[i] = clamp((rest >> 28) * v[i] >> 26, -(2**27), 2**27)
            self.a[i] = clamp(times(s[i], e[n] - e[i] - 4), -(2**20), 2**20)
        self.sums = [[entry - (entry >> 8) for entry in row] for row in sums]


def times(x: int, exponent: int) -> int:
    """floor(x * 2**exponent)"""
    return x << exponent if exponent >= 0 else x >> -exponent


class Adaptation:
    """The state of a strip of a phase, and what it does with a symbol. Section 5.6."""

    def __init__(
        self,
        phase: int,
        top: int,
        rows: int,
        earlier: list[Array],
        on: bool,
        canvas: Array,
        decided: bool,
        start: dict[str, Array],
        widths: Widths,
    ) -> None:
        self.start = {name: array[phase] for name, array in start.items()}
        self.phase, self.top, self.rows, self.earlier, self.on, self.decided = phase, top, rows, earlier, on, decided
        self.canvas, self.widths = canvas, widths
        order = {(0, 0): -1, (1, 1): 0, (0, 1): 1, (1, 0): 2}
        self.corner = [(1, 1), (0, 1), (1, 0)][phase]
        window = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
        known = []
        for dy, dx in window:
            there = order[(self.corner[0] + dy) % 2, (self.corner[1] + dx) % 2]
            if there < phase or (there == phase and (dy, dx) < (0, 0)):
                known.append((dy, dx))
        self.nearest = [(-1, -1), (1, 1), (-1, 1), (1, -1)] if phase == 0 else [(0, -1), (0, 1), (-1, 0), (1, 0)]
        self.close = [(dy, dx) for dy, dx in known if abs(dy) + abs(dx) <= 2]
        self.far = [(dy, dx) for dy, dx in known if abs(dy) + abs(dx) > 2]
        count = len(known)
        factors = self.start["factors"].tolist() if start else 3 * [946 * [0]]
        self.squares = [Regression(count + c * (len(self.close) + 1), factors[c]) for c in range(3)]
        self.own: dict[tuple[int, int, int], int] = {}
        self.errors: dict[tuple[int, int, int], int] = {}
        self.weights: dict[tuple[int, int], list[int]] = {}
        self.biases: dict[tuple[int, int], int] = {}
        self.steps: dict[tuple[int, int, int], int] = {}
        self.edges: dict[tuple[int, int], list[int]] = {}
        self.seen: dict[Any, int] = {}
        self.histograms: dict[Any, list[int]] = {}
        self.taught: dict[Any, int] = {}
        self.distances: dict[tuple[int, int, int], list[int]] = {}
        self.chances: dict[Any, list[int]] = {}
        self.mixes: dict[Any, list[int]] = {}
        self.votes: dict[Any, list[int]] = {}

    def before(self, c: int, y: int, x: int) -> list[int]:
        """Item 4 of the features."""
        at11 = {
            0: [],
            1: [(0, 0), (-1, 0), (0, 1), (-1, 1), (0, -1), (-1, -1)],
            2: [(0, 0), (0, -1), None, None, None, None, (1, 0), (1, -1), (-1, 0), (-1, -1)],
        }[self.phase]
        at01 = [None, None, (0, 0), (1, 0), (0, -1), (1, -1), None, None, None, None]
        found = []
        for i, place in enumerate(at11):
            dy, dx = place or at01[i]
            plane = self.earlier[0 if place else 1][c]
            inside = 0 <= y + dy < plane.shape[0] and 0 <= x + dx < plane.shape[1]
            found.append(int(plane[y + dy, x + dx]) if inside else 0)
        return found

    def predict(self, m: Mixture, c: int, y: int, x: int, ref: int, rests: list[int], near: list[int]) -> None:
        """Set shift and step, features, pattern and energy of the symbol. y counts from the top of the grid."""
        self.shift = self.step = 0
        if not self.on:
            return
        own = [self.own.get((c, y + dy, x + dx), 0) for dy, dx in ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))]
        here = [self.own[j, y, x] for j in range(c)]
        others = [self.own.get((j, y + dy, x + dx), 0) for j in range(3) if j != c for dy, dx in ((0, -1), (-1, 0))]
        before = self.before(c, y, x)
        tail = [m.res(16 * ref - m.centre), *(m.res(16 * rest) for rest in rests[:c]), *(m.res(16 * n) for n in near)]
        self.features = own + here + others + before + tail + [m.res(self.expect(c, y, x) - m.centre)]
        self.pattern = 0
        for f in self.features[:5]:
            self.pattern = 3 * self.pattern + (0 if f < -128 else 2 if f > 128 else 1)
        plain = [0] * (len(self.features) - 1) + [2**22]
        weights = self.weights.setdefault((c, m.k), self.begun("weights", plain, c, m.k)[: len(plain)])
        bias = self.biases.setdefault((c, self.pattern), self.begun("biases", 0, c, self.pattern))
        total = bias + sum(f * (v >> 12) for f, v in zip(self.features, weights, strict=True))
        self.shift = total * m.spread >> 24

        def error(dy: int, dx: int, j: int = c) -> int:
            return self.errors.get((j, y + dy, x + dx), 256)

        around = 2 * error(0, -1) + 2 * error(-1, 0) + error(-1, -1)
        around += {
            0: lambda: error(0, -1) + error(-1, 0) + error(-1, 1),
            1: lambda: error(-1, 1) + 2 * error(0, 0, 0),
            2: lambda: error(0, 0, 0) + 2 * error(0, 0, 1),
        }[c]()
        if before:
            around = around + 2 * abs(before[0]) + 2 * abs(before[1]) + sum(abs(f) for f in before[2:6]) >> 1
        self.energy = sum(around >> 3 >= edge for edge in EDGE)
        place = (c, m.k, self.energy)
        self.step = (self.steps.setdefault(place, self.begun("steps", 0, *place)) + 2**15) >> 16

    def pixel(self, j: int, y: int, x: int, dy: int, dx: int) -> int:
        """Of the canvas, at an offset."""
        return int(self.canvas[(1, 0, 2)[j], 2 * y + self.corner[0] + 2 + dy, 2 * x + self.corner[1] + 2 + dx])

    def change(self, j: int, y: int, x: int, place: tuple[int, int]) -> int:
        """Of a known colour, from a place to here."""
        return self.pixel(j, y, x, 0, 0) - self.pixel(j, y, x, *place)

    def over_green(self, j: int, y: int, x: int, place: tuple[int, int]) -> int:
        """How far a colour is above G at a place."""
        return self.pixel(j, y, x, *place) - self.pixel(0, y, x, *place)

    def expectations(self, c: int, y: int, x: int) -> tuple[list[tuple[int, int]], int]:
        """v_j and w_j for the first six j, and the variety."""
        second = OWN_PHASE if c == 0 else self.nearest
        expected = []
        for places, known in ((self.nearest, (None, 0, 1)[c]), (second, (None, None, 0)[c])):
            n = [self.pixel(c, y, x, *place) for place in places]
            if known is not None:
                n = [value + self.change(known, y, x, place) for value, place in zip(n, places, strict=True)]
            apart = [min(abs(n[0] - n[1]), 15), min(abs(n[2] - n[3]), 15)]
            expected += [(n[0] + n[1] + 1 >> 1, apart[0]), (n[2] + n[3] + 1 >> 1, apart[1]), (sum(n) + 2 >> 2, self.energy)]
        return expected, 16 * expected[0][1] + expected[1][1]

    def single(self, c: int, y: int, x: int) -> list[tuple[int, int]]:
        """v_j and w_j for the last eight j, of single pixels."""
        values = [self.pixel(c, y, x, *place) for place in self.nearest + OWN_PHASE]
        if c:
            values = [v + self.change(0, y, x, place) for v, place in zip(values, self.nearest + OWN_PHASE, strict=True)]
        w, n, nw, ne = (self.distances.get((c, y + dy, x + dx), 8 * [6]) for dy, dx in ((0, -1), (-1, 0), (-1, -1), (-1, 1)))
        return [(v, min(3 * w[j] + 3 * n[j] + nw[j] + ne[j] >> 2, 15)) for j, v in enumerate(values)]

    def alike(self, c: int, y: int, x: int) -> list[bool]:
        """Whether the first six single pixels are alike this one in what is known."""
        places = self.nearest + OWN_PHASE[:2]
        if c == 1:
            return [self.change(0, y, x, place) == 0 for place in places]
        here = self.over_green(1, y, x, (0, 0) if c == 2 else (0, -2))
        return [self.over_green(1, y, x, place) == here for place in places]

    def colours(self, c: int, y: int, x: int, v5: int) -> list[int]:
        """The base and anchor, the two pairs, first and second."""
        green = self.pixel(0, y, x, 0, 0)
        means = [sum(self.over_green(j, y, x, place) for place in self.nearest) + 2 >> 2 for j in range(3)]
        if c == 0:
            mean = sum(self.pixel(0, y, x, *place) for place in self.nearest) + 2 >> 2
            return [0, self.pixel(0, y, x, 0, -2), mean, means[1], v5, means[2]]
        pair = means[2] if c == 1 else self.over_green(1, y, x, (0, 0))
        return [green, green, pair, pair, means[c], green]

    def expect(self, c: int, y: int, x: int) -> int:
        """E, and the samples for it."""
        close = [self.pixel(c, y, x, *place) for place in self.close]
        self.mean = (16 * sum(close) + len(close)) // (2 * len(close))
        less = [8 * self.pixel(0, y, x, *place) if c else self.mean for place in self.far]
        far = [8 * self.pixel(c, y, x, *place) - what for place, what in zip(self.far, less, strict=True)]
        before = [self.pixel(j, y, x, *place) for j in range(c) for place in [*self.close, (0, 0)]]
        self.around = [8 * p - self.mean for p in close] + far + [8 * p - self.mean for p in before]
        if self.count("squares", c) % 64 == 0:
            self.squares[c].solve()
        self.expected = 8 * self.mean + (sum(a * f for a, f in zip(self.squares[c].a, self.around, strict=True)) + 2**12 >> 13)
        return self.expected

    def mapped(self, m: Mixture, c: int, share: Array) -> Array:
        """The intervals of shares."""
        edges = np.array(self.edges.setdefault((c, m.k), self.begun("maps", [b << 20 for b in range(17)], c, m.k)))
        b = np.minimum(share >> 20, 15)
        return intervals(edges[b] + ((edges[b + 1] - edges[b]) * (share - (b << 20)) >> 20))

    def pop(self, stack: Stack, m: Mixture, c: int, y: int, x: int) -> int:
        """The pixel of a colour, once `predict` has been there."""
        self.share = m.shares(self.shift, self.step)
        cf = self.mapped(m, c, self.share)
        if not self.on or not self.decided:
            return stack.pop(24, cf)
        threshold = clamp((m.centre + self.shift + 32) >> 6, 1, 255)
        edges = self.widths.edges(c, threshold, *[self.pixel(j, y, x, 0, 0) for j in range(2)])
        functions = (
            cf,
            intervals(m.shares()),
            self.mapped(m, c, m.shares(self.shift, self.step, edges)),
        )
        far = max((m.spread * FACTOR[-self.step] >> 16) >> 10, 1)
        expected, variety = self.expectations(c, y, x)
        expected += [(threshold, self.energy), (clamp(self.expected + 32 >> 6, 0, 255), self.energy), *self.single(c, y, x)]
        values = [v for v, _ in expected]
        names = [(c, j, w) for j, (_, w) in enumerate(expected)]
        histograms = [self.histograms.setdefault(name, list(FRESH)) for name in names]
        alike, colours = self.alike(c, y, x), self.colours(c, y, x, values[5])
        lo, hi, at, node, outward, up = 0, 256, threshold, 0, 0, False
        while True:
            inputs = [logit(f, lo, at, hi) for f in functions]
            for h, v in zip(histograms, values, strict=True):
                low, middle, high = (h[clamp(edge - v + 16, 0, 32)] for edge in (lo, at, hi))
                inputs.append(LN[high - middle + 2048 >> 3] - LN[middle - low + 2048 >> 3])
            contexts, position = self.contexts(at, m.centre + self.shift, values, alike, colours)
            chances = [self.chances.setdefault((c, j, context), [2**15, 0]) for j, context in enumerate(contexts)]
            inputs += [LN[yes + 256 >> 4] - LN[2**16 + 256 - yes >> 4] for yes, _ in chances]
            sets = [("node", c, node), ("class", c, 16 * m.k + self.energy), ("variety", c, variety), ("position", c, position)]
            yes = self.decide(stack, sets, inputs)
            self.learn_chances(chances, yes)
            lo, hi = (at, hi) if yes else (lo, at)
            up = up if outward else yes
            further = lo + (far << outward) if up else hi - (far << outward)
            if outward < 3 and yes == up and lo < further < hi:
                at, node, outward = further, 3 * up + outward + 1, outward + 1
            elif 1 < hi - lo <= 4:
                at, node, outward = lo + hi >> 1, 7, 3
            else:
                break
        symbol = lo
        if hi - lo > 1:
            each = (2**24 - (hi - lo) << 24) // int(cf[hi] - cf[lo])
            starts = [(int(cf[v] - cf[lo]) * each >> 24) + v - lo for v in range(lo, hi)]
            symbol += stack.pop(24, np.array([*starts, 2**24]))
        self.learn_histograms(names, values, symbol)
        self.distances[c, y, x] = [min(abs(symbol - v), 60) for v in values[8:]]
        return symbol

    def contexts(self, x: int, mean: int, v: list[int], alike: list[bool], colours: list[int]) -> tuple[list[int], int]:
        """The contexts of a decision at x, and its position."""
        base, anchor, pair, other_pair, first, second = colours
        quarter = clamp((mean - 64 * x + 32 >> 4) + 12, 0, 23)
        nearest, before, own = sides(v[8:12], x), sides(v[12:], x), x - base
        both = pack((own, 7), (pair, 7))
        contexts = [
            81 * nearest + before,
            81 * quarter + nearest,
            81 * quarter + before,
            sides([*v[:6], v[7]], x),
            sum(same << 6 + j | (v[8 + j] >= x) << j for j, same in enumerate(alike)),
            24 * x + quarter,
            24 * (x - anchor + 255) + quarter,
            3 * both + quarter // 8,
            both,
            pack((own, 6), (pair, 6), (first, 4)),
            pack((own, 6), (other_pair, 6), (second, 4)),
            pack((x - v[12], 5), (x - v[8], 5), (x - v[10], 5)),
            pack((x - v[12], 5), (x - v[13], 5), (own, 5)),
        ]
        return contexts, 3 * nearest + quarter // 8

    def learn_chances(self, chances: list[list[int]], yes: bool) -> None:
        for chance in chances:
            chance[1] = min(chance[1] + 1, 255)
            chance[0] += ((2**16 - 1 if yes else 0) - chance[0]) * (65536 // (2 * chance[1] + 3)) + 2**14 >> 15

    def learn_histograms(self, names: list[Any], values: list[int], symbol: int) -> None:
        for name, v in zip(names, values, strict=True):
            self.taught[name] = min(self.taught.get(name, 3) + 1, 255)
            h, bar, rate = self.histograms[name], clamp(symbol - v + 16, 0, 31), 65536 // (2 * self.taught[name] + 3)
            for b in range(1, 32):
                h[b] += (((32767 if b > bar else 0) - h[b]) * rate >> 14) + 1 >> 1

    def decide(self, stack: Stack, sets: list[tuple[str, int, int]], inputs: list[int]) -> bool:
        mixes = []
        for name in sets:
            plain = [2**18] + 18 * [2**15] + 13 * [0]
            mixes.append(self.mixes.setdefault(name, self.begun(f"{name[0]}_weights", plain, *name[1:])))
        d = [weighted(weights, inputs) for weights in mixes]
        u = self.votes.setdefault(sets[0], self.begun("vote_weights", 4 * [2**18], *sets[0][1:]))
        votes = [clamp(sum_ >> 10, -8090, 8090) for sum_ in d]
        p = clamp(squash(weighted(u, votes)), 168, 2**24 - 168)
        yes = stack.pop(24, np.array([0, p, 2**24])) == 0
        target = 2**24 if yes else 0
        for name, weights, sum_ in zip(sets, mixes, d, strict=True):
            learn_weights(weights, inputs, target - squash(sum_), max(98, 393200 // (200 + self.count(*name))))
        learn_weights(u, votes, target - p, 40)
        return yes

    def begun(self, name: str, plain: Any, *index: int) -> Any:
        """A start value of the model, or a plain one."""
        return self.start[name][index].tolist() if self.start else plain

    def count(self, name: str, *index: Any) -> int:
        key, counts = (name, *index), COUNTS.get(name)
        if key not in self.seen:
            self.seen[key] = self.begun(counts, 0, *index) if counts else 0
        self.seen[key] += 1
        return self.seen[key]

    def learn(self, m: Mixture, c: int, y: int, x: int, symbol: int) -> None:
        if not self.on:
            return
        self.own[c, y, x] = m.res(64 * symbol - m.centre)
        self.canvas[(1, 0, 2)[c], 2 * y + self.corner[0] + 2, 2 * x + self.corner[1] + 2] = symbol
        if x % 2 == 0:
            off = abs(m.res(64 * symbol - self.expected))
            self.squares[c].add(2**28 // ((256 + off) * ((m.spread >> 4) + 16)), [*self.around, 8 * symbol - self.mean])
        deviation = clamp((64 * symbol - m.centre - self.shift) * m.unit >> 18, -16384, 16384)
        self.errors[c, y, x] = min(abs(deviation), 1536)
        z = clamp(deviation * FACTOR[self.step] >> 16, -4088, 4088)
        gradient = (int(L[512 + (z >> 3)]) - 2**23) >> 11
        stretch = min((z * gradient >> 8) - 4096, 12288)
        rate = 6711 + 15099600 // (300 + self.count("weights", c, m.k))
        weights = self.weights[c, m.k]
        for j, f in enumerate(self.features):
            weights[j] = clamp(weights[j] + ((gradient * rate >> 12) * f >> 8), -(2**26), 2**26)
        bias = self.biases[c, self.pattern] + (gradient * 5243 >> 12)
        self.biases[c, self.pattern] = clamp(bias, -(2**21), 2**21)
        key = (c, m.k, self.energy)
        faster = max(328, 65536 // (self.count("steps", *key) + 3))
        self.steps[key] = clamp(self.steps[key] + (stretch * faster >> 9), -(2**22), 2**22)
        edges, low, high = self.edges[c, m.k], int(self.share[symbol]), int(self.share[symbol + 1])
        faster = max(131, 65536 // (self.count("maps", c, m.k) + 50))
        for b in range(1, 16):
            at = b << 20
            target = 2**24 if at >= high else 0 if at <= low else (at - low) * (2**40 // (high - low)) >> 16
            edges[b] += (target - edges[b]) * faster >> 16


def rhe(numerator: Array, exponent: Array) -> Array:
    """numerator / 2**exponent to the nearest integer, halves to the even one."""
    floor, twice = numerator >> exponent, 2 * (numerator - (numerator >> exponent << exponent))
    one = np.int64(1) << exponent
    return floor + ((twice > one) | ((twice == one) & (floor % 2 == 1)))


class Decoder:
    """Decodes the messages of one picture with the model of a weight file."""

    def __init__(self, weight_file: bytes) -> None:
        end = 8 + int.from_bytes(weight_file[:8], "little")
        header = json.loads(weight_file[8:end])
        self.config = json.loads(header.pop("__metadata__")["bbans"])["config"]
        self.tensors = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            kind = {"I8": "i1", "I16": "<i2", "I32": "<i4", "U8": "u1"}[entry["dtype"]]
            values = np.frombuffer(weight_file[end + start : end + stop], kind)
            self.tensors[name] = values.reshape(entry["shape"]).astype(np.int64)
        learned = {name[8:]: array for name, array in self.tensors.items() if name.startswith("learned.")}
        self.start = {name: array << 10 if name in MIXED else array for name, array in learned.items()}

    # 5.4

    def layer(self, name: str, a: Array, skip: Array | None = None, bias: int = 0) -> Array:
        """An activation, or for heads (acc, exponent), both with channels first."""
        weight, exponent = self.tensors[f"{name}.weight"], self.tensors[f"{name}.exponent"][:, None, None]
        k, (height, width) = weight.shape[2], a.shape[1:]
        padded = np.pad(a, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        acc = self.tensors[f"{name}.bias"][bias][:, None, None] + np.zeros((1, height, width), np.int64)
        for i in range(k):
            for j in range(k):
                acc += np.einsum("oc,cyx->oyx", weight[:, :, i, j], padded[:, i : i + height, j : j + width])
        if skip is not None:
            acc += skip << exponent
        return np.clip(rhe(acc, exponent), 0, 127) if self.tensors[f"{name}.relu"][0] else (acc, exponent)

    def pop_changes(self, stack: Stack, levels: int) -> None:
        """Set the changes of a region, by level and phase. Section 5.7."""
        outputs, head = 12 * self.config["components"], self.config["head"]
        counts = np.array([[[([64, 16, 6, 3, 2] + 11 * [1])[abs(v - 15)] for v in range(31)]] * 2] * 4)
        for level in range(levels):
            for p in range(3):
                if not stack.pop(1, np.arange(3)):
                    continue
                d = np.zeros((outputs, head + 1), np.int64)
                for o in range(outputs):
                    own, total = counts[o // (outputs // 4)], []
                    for n in own:
                        freq = 1 + n * (2**16 - 31) // n.sum()
                        freq[15] += 2**16 - freq.sum()
                        total.append(np.concatenate([[0], np.cumsum(freq)]))
                    before = [int(o > 0 and d[o - 1, i] != 0) for i in range(head + 1)]
                    for i in range(head + 1):
                        d[o, i] = stack.pop(16, total[before[i]]) - 15
                    for i in range(head + 1):
                        own[before[i], d[o, i] + 15] += 2
                self.changes[level, p] = d

    def trunk(self, p: int, f: Array) -> Array:
        for b in range(self.config["blocks"]):
            f = self.layer(f"trunk.{p}.{b}.b", self.layer(f"trunk.{p}.{b}.a", f), f)
        return f

    def first(self, x00: Array, level: int, coarser: Array | None) -> Array:
        _, h, w = x00.shape
        u = np.zeros((self.config["carried"], h, w), np.int64)
        if coarser is not None:
            v = self.layer("carry", coarser).reshape(-1, 2, 2, *coarser.shape[1:])
            u = v.transpose(0, 3, 1, 4, 2).reshape(len(v), 2 * coarser.shape[1], -1)[:, :h, :w]
        return self.trunk(0, self.layer("first", np.concatenate([planes(x00), u]), bias=min(level, 3)))

    def latent(self, name: str, a: Array, base: tuple[Any, Any]) -> tuple[Array, Array]:
        acc, exponent = self.layer(name, a)
        z = self.config["latents"]
        mean = base[0] + np.clip(rhe(64 * acc[:z], exponent[:z]), -32767, 32767)
        return mean, np.clip(base[1] + np.clip(rhe(acc[z:], exponent[z:]), -128, 128), 0, 127)

    def parameters(self, p: int, given: Array, features: Array) -> Array:
        """(12 K, h, w)"""
        hidden = self.layer(f"hidden.{p}", np.concatenate([given, features]))
        acc, e = self.layer(f"out.{p}", hidden)
        if (self.here, p) in self.changes:
            d = self.changes[self.here, p]
            changed = self.tensors[f"out.{p}.weight"][:, :, 0, 0] + 4 * d[:, :-1]
            assert abs(changed).max() <= 127
            acc = acc + np.einsum("oc,cyx->oyx", 4 * d[:, :-1], hidden) + 32 * d[:, -1, None, None]
        k = self.config["components"]
        logits, means, scales, slopes = (slice(3 * k * i, 3 * k * (i + 1)) for i in range(4))
        return np.concatenate(
            [
                np.clip(rhe(acc[logits], e[logits]), -16383, 16383),
                np.clip(rhe(64 * acc[means], e[means]), -32767, 32767),
                np.clip(rhe(acc[scales], e[scales]) + 48, 0, 127),
                np.clip(rhe(4 * acc[slopes], e[slopes]), -128, 128),
            ]
        )

    # 5.5, 5.6, 5.7

    def mixture(self, r: Array, c: int, reference: int, g: int, red: int) -> Mixture:
        k = self.config["components"]
        logit, mean, scale = (r[(part + c) * k : (part + c + 1) * k] for part in (0, 3, 6))
        slope = [r[(9 + j) * k : (10 + j) * k] for j in range(3)]
        t = [0, (slope[0] * g + 2) >> 2, (slope[1] * g + slope[2] * red + 2) >> 2][c]
        e = EXP[np.minimum(logit.max() - logit, 255)]
        weights = e * 2**14 // e.sum()
        weights[logit.argmax()] += 2**14 - weights.sum()
        return Mixture(weights, 16 * reference + mean + t, scale)

    def pop_phase(
        self,
        phase: int,
        r: Array,
        pixels: Array,
        references: list[Array],
        strips: list[tuple[Stack, int, int]],
        gray: bool,
        x11: Array,
        earlier: list[Array],
        known: list[Array],
        own: list[Array],
    ) -> None:
        reference = references[phase]
        _, h, w = reference.shape
        whole = np.zeros((3, 2 * h, 2 * w), np.int64)
        for (row, column), plane in zip(((0, 0), (1, 1), (0, 1)), known, strict=False):
            whole[:, row::2, column::2] = plane
        row, column = ((1, 1), (0, 1), (1, 0))[phase]
        whole[:, row::2, column::2] = reference + 2 >> 2
        canvas = np.pad(whole, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        widths = Widths(np.concatenate([plane.reshape(3, -1) for plane in own], 1))
        for stack, top, bottom in strips:
            state = Adaptation(
                phase, top, bottom, earlier, self.config["adaptive"], canvas.copy(), self.decided, self.start, widths
            )
            for y in range(top, min(bottom, pixels.shape[1])):
                for x in range(pixels.shape[2]):
                    rests: list[int] = []
                    for c, colour in enumerate((1,) if gray else (1, 0, 2)):
                        ref = int(reference[colour, y, x])
                        places = {0: [], 1: [(y, x), (max(y - 1, 0), x)], 2: [(y, x), (y, max(x - 1, 0))]}[phase]
                        near = [4 * int(x11[colour][place]) - ref for place in places]
                        m = self.mixture(r[:, y, x], c, ref, *[*rests, 0, 0][:2])
                        state.predict(m, c, y, x, ref, rests, near)
                        pixels[colour, y, x] = symbol = state.pop(stack, m, c, y, x)
                        state.learn(m, c, y, x, symbol)
                        rests.append(4 * symbol - ref)
                    if gray:
                        pixels[:, y, x] = pixels[1, y, x]

    def residuals(self, r: Array, pixels: Array, reference: Array) -> Array:
        """Of a known phase, colours in coding order."""
        out = np.zeros(pixels.shape, np.int64)
        for y in range(pixels.shape[1]):
            for x in range(pixels.shape[2]):
                rests = [0, 0]
                for c, colour in enumerate((1, 0, 2)):
                    m = self.mixture(r[:, y, x], c, int(reference[colour, y, x]), *rests)
                    out[c, y, x] = m.res(64 * int(pixels[colour, y, x]) - m.centre)
                    if c < 2:
                        rests[c] = 4 * int(pixels[colour, y, x]) - int(reference[colour, y, x])
        return out

    def decode(self, messages: list[bytes], height: int, width: int, channels: int) -> Array:
        left, out = list(messages), np.zeros((height, width, 3), np.uint8)
        for top, bottom in cuts(height):
            for start, stop in cuts(width):
                out[top:bottom, start:stop] = self.region(left, bottom - top, stop - start, channels == 1).transpose(1, 2, 0)
        assert not left
        return out[..., :channels]

    def region(self, left: list[bytes], height: int, width: int, gray: bool) -> Array:
        body = left.pop(0)
        flags, shared = body[0], Stack(body[1:])
        self.decided, self.changes = not flags >> 7, {}
        sizes = [(height, width)]
        while max(sizes[-1]) > 4:
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        if flags >> 6 & 1:
            self.pop_changes(shared, min(len(sizes) - 1, 2))
        pixels = np.zeros((3, *sizes[-1]), np.int64)
        for y in range(sizes[-1][0]):
            for x in range(sizes[-1][1]):
                for colour in (1,) if gray else (1, 0, 2):
                    pixels[colour, y, x] = shared.pop(8, np.arange(257))
                if gray:
                    pixels[:, y, x] = pixels[1, y, x]
        features = None
        for level in reversed(range(len(sizes) - 1)):
            h, w = pixels.shape[1:]
            edges = strip_edges(h, w)
            stacks = [shared] if len(edges) == 2 else [Stack(left.pop(0)) for _ in edges[1:]]
            strips = list(zip(stacks, edges, edges[1:], strict=False))
            pixels, features = self.level(pixels, sizes[level], level, features, strips, bool(flags >> level & 1), gray)
            assert len(stacks) == 1 or all(stack.empty for stack in stacks)
        assert shared.empty
        return pixels

    def level(
        self,
        x00: Array,
        size: tuple[int, int],
        level: int,
        coarser: Array | None,
        strips: list[tuple[Stack, int, int]],
        coded: bool,
        gray: bool,
    ) -> tuple[Array, Array]:
        self.here = level
        _, h, w = x00.shape
        height, width = size
        count = self.config["latents"]
        rows, columns = -(-h // 16), -(-w // 16)
        f = self.first(x00, level, coarser)
        here = min(h, w) >= 16 and count > 0
        z = np.full((count, rows, columns), 64)
        if here:
            seen = self.layer("prior_hidden", pool(self.layer("prior_in", f)))
            prior = self.latent("prior_out", seen, (4096, 48))
            z = mode(prior[0])

        def places(top: int, bottom: int) -> list[tuple[int, int, int]]:
            return [(c, y, x) for y in range(top // 16, -(-bottom // 16)) for x in range(columns) for c in range(count)]

        def cf(latent: tuple[Array, Array], place: tuple[int, int, int]) -> Array:
            return intervals(shares(128, np.array([2**14]), latent[0][place], latent[1][place]))

        if coded:
            for stack, top, bottom in strips:
                for place in places(top, bottom):
                    z[place] = stack.pop(24, cf(prior, place))

        def spread(v: Array) -> Array:
            return v.repeat(16, 1).repeat(16, 2)[:, :h, :w]

        x11, x01, x10 = x00.copy(), x00.copy(), x00.copy()
        has11, has01, has10 = x11[:, : height // 2, : width // 2], x01[:, :, : width // 2], x10[:, : height // 2]
        references = [reference(x00, (0, 0), (0, 1), (1, 0), (1, 1))]
        features = [f]
        r11 = self.parameters(0, spread(z), f)
        self.pop_phase(0, r11, has11, references, strips, gray, x11, [], [x00], [x00])
        references.append(reference(x00, (0, 0), (0, 1)) + reference(x11, (0, 0), (-1, 0)))
        features.append(self.trunk(1, self.layer("inject.0", planes(x11), features[0])))
        r01 = self.parameters(1, spread(z), features[1])
        earlier, own = [self.residuals(r11, has11, references[0])], [x00, has11]
        self.pop_phase(1, r01, has01, references, strips, gray, x11, earlier, [x00, x11], own)
        f = self.trunk(2, self.layer("inject.1", planes(x01), features[1]))
        given = z
        if here:
            rests = [np.minimum(abs(4 * x - r) >> 1, 127) for x, r in zip((x11, x01), references, strict=True)]
            asked = pool(self.layer("posterior_in", np.concatenate([f, *rests])))
            posterior = self.latent("posterior_out", self.layer("posterior_hidden", np.concatenate([seen, asked])), prior)
            given = mode(posterior[0])
        if coded:
            for stack, top, bottom in strips:
                for place in reversed(places(top, bottom)):
                    stack.push(24, cf(posterior, place), int(z[place]))
        references.append(reference(x00, (0, 0), (1, 0)) + reference(x11, (0, 0), (0, -1)))
        earlier = [
            self.residuals(self.parameters(p, spread(given), features[p]), x, references[p]) for p, x in ((0, has11), (1, has01))
        ]
        r10, own = self.parameters(2, spread(given), f), [*own, has01]
        self.pop_phase(2, r10, has10, references, strips, gray, x11, earlier, [x00, x11, x01], own)
        whole = np.zeros((3, 2 * h, 2 * w), np.int64)
        whole[:, ::2, ::2], whole[:, 1::2, 1::2], whole[:, ::2, 1::2], whole[:, 1::2, ::2] = x00, x11, x01, x10
        return whole[:, :height, :width], f


def cuts(size: int) -> list[tuple[int, int]]:
    count = -(-size // 1536)
    least = -(-size // count)
    step = size if count == 1 else 128 * -(-least // 128)
    return [(at, min(at + step, size)) for at in range(0, size, step)]


def strip_edges(h: int, w: int) -> list[int]:
    m = h // 32
    k = 1 if h * w < 16384 else max(1, min(m, 2 * -(-h * w // 196608)))
    return [32 * (m * i // k) for i in range(k)] + [h]


def planes(x: Array) -> Array:
    return np.concatenate([x >> 1, x & 1])


def reference(x: Array, *offsets: tuple[int, int]) -> Array:
    _, h, w = x.shape
    rows = [np.clip(np.arange(h) + dy, 0, h - 1) for dy, _ in offsets]
    columns = [np.clip(np.arange(w) + dx, 0, w - 1) for _, dx in offsets]
    return sum(x[:, row][:, :, column] for row, column in zip(rows, columns, strict=True))


def pool(a: Array) -> Array:
    c, h, w = a.shape
    a = np.pad(a, ((0, 0), (0, -h % 16), (0, -w % 16)))
    total = a.reshape(c, a.shape[1] // 16, 16, a.shape[2] // 16, 16).sum((2, 4))
    return np.clip(rhe(total, np.int64(5)), 0, 127)


def mode(mean: Array) -> Array:
    return np.clip((mean + 32) >> 6, 0, 127)
