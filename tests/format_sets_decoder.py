"""Decoders written from bbans/formats/FORMAT.md, chapters 6 and 7, alone: integers, no torch, nothing of bbans.

Of chapter 6 the index, of chapter 7 the chunks, for small images.

Functions carry the names of the text. What chapter 7 takes from chapter 5 comes from the decoder of that chapter.
"""

from __future__ import annotations

import decimal
import itertools
import json
import lzma
import re
import zlib
from typing import Any, NamedTuple

import numpy as np

from tests import format_decoder
from tests.format_decoder import EXP, INV, Array, L, Stack, clamp, intervals, rhe, shares


class Bytes:
    """What is left of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        assert self.at <= len(self.data)
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        number = shift = 0
        while True:
            [byte] = self.take(1)
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def blob(self) -> bytes:
        size, kept = self.varint(), self.varint()
        data = self.take(kept)
        if kept == size:
            return data
        chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 24}]
        data = lzma.decompress(data, lzma.FORMAT_RAW, filters=chain)
        assert len(data) == size
        return data

    def until_zero(self) -> bytes:
        return self.take(self.data.index(0, self.at) - self.at + 1)[:-1]


def index(data: bytes) -> tuple[dict[str, Any], int]:
    """Of an archive, sections 6.1 to 6.3, and how many bytes come before the first chunk."""
    file = Bytes(data)
    assert file.take(5) == b"VAEA\1"
    found: dict[str, Any] = {"groups": [], "chunks": []}
    end = file.varint() + file.at
    if file.take(1) == b"\1":
        [dtype], [axes] = file.take(1), file.take(1)
        found |= {"dtype": ("uint8", "bool", "uint16")[dtype], "shape": tuple(file.varint() for _ in range(axes))}
    else:
        file.varint()
        count, links = file.varint(), file.varint()
        listed, names = Bytes(file.blob()), [b""]
        for _ in range(count + links):
            names.append(names[-1][: listed.varint()] + listed.until_zero())
        members, targets, times = (Bytes(file.blob()) for _ in range(3))
        found["names"] = names[1 : count + 1]
        found["links"] = {name: targets.until_zero() for name in names[count + 1 :]}
        found["members"] = [members.varint() if members.data else 0 for _ in range(count)]
        signed = [times.varint() for _ in range(count + links)] if times.data else []
        seconds = itertools.accumulate(n // 2 if n % 2 == 0 else -(n + 1) // 2 for n in signed)
        found["times"] = [10**9 * second + times.varint() for second in seconds]
        assert all(own.at == len(own.data) for own in (listed, members, targets, times))
    for _ in range(file.varint()):
        [method] = file.take(1)
        count, chunk = file.varint(), file.varint()
        shape = (file.varint(), file.varint(), file.varint()) if method > 1 else None
        file.take({2: 2, 3: 1}.get(method, 0))
        if method == 3:
            file.take(file.varint() + 8)
            file.take(file.varint())
            for _ in range(4):
                file.varint()
        found["groups"].append((method, count, chunk, shape))
        for _ in range(-(-count // chunk)):
            found["chunks"].append((file.varint(), file.take(4), b"" if method == 1 else file.take(8)))
    assert file.at == end
    assert int.from_bytes(file.take(4), "little") == zlib.crc32(data[:end])
    return found, file.at


def v(j: int) -> int:
    u = (j + 1) * 0x9E3779B97F4A7C15 % 2**64
    u = (u ^ u >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    u = (u ^ u >> 27) * 0x94D049BB133111EB % 2**64
    return u ^ u >> 31


LN2 = decimal.Decimal(2).ln()
LOG = [round(2**32 * (1 + decimal.Decimal(i) / 1024).ln() / LN2) for i in range(1025)]
POWER = [round(2**24 * decimal.Decimal(2) ** (-decimal.Decimal(i) / 256)) for i in range(256)]


def share(freq: int) -> int:
    e = freq.bit_length() - 1
    m = freq << 31 - e
    a = m >> 21 & 1023
    log = (e << 16) + ((LOG[a] + ((LOG[a + 1] - LOG[a]) * (m >> 5 & 65535) >> 16) + 2**15) >> 16)
    return log - (24 << 16)


def freqs_of(w: list[int]) -> list[int]:
    """Of a choice with these logarithms of weights."""
    b = [(max(w) - own + 128) >> 8 for own in w]
    e = [POWER[own % 256] >> min(own >> 8, 63) for own in b]
    freqs = [own * (2**24 - len(w)) // sum(e) + 1 for own in e]
    freqs[w.index(max(w))] += 2**24 - sum(freqs)
    return freqs


class Message(Stack):
    """Section 7.1. An interval is a cf of one symbol."""

    def push_uniform(self, symbol: int, n: int, p: int) -> None:
        self.push(p, np.array([(symbol << p) // n, (symbol + 1 << p) // n]), 0)

    def pop_uniform(self, n: int, p: int) -> int:
        at = self.head % 2**p
        symbol = at * n >> p
        while (symbol + 1 << p) // n <= at:
            symbol += 1
        self.pop(p, np.array([(symbol << p) // n, (symbol + 1 << p) // n]))
        return symbol

    @property
    def primed(self) -> bool:
        words = [v(j) >> 32 for j in range(1, len(self.tail) + 1)]
        return self.head == 2**31 + (v(0) >> 33) and self.tail[::-1] == words


def precision(n: int) -> int:
    """Of uniform symbols, one of n."""
    b = n.bit_length()
    return b - 1 if n == 2 ** (b - 1) else min(b + 12, 31)


class Latents(NamedTuple):
    """A distribution of latents: a vector of means and one of scales."""

    means: Array
    scales: Array

    def cfs(self) -> list[Array]:
        one = np.array([2**14])
        return [intervals(shares(128, one, mean, scale)) for mean, scale in zip(self.means, self.scales, strict=True)]

    def pop(self, message: Message) -> Array:
        return np.array([message.pop(24, cf) for cf in self.cfs()])

    def push(self, message: Message, z: Array) -> None:
        for cf, symbol in reversed(list(zip(self.cfs(), z, strict=True))):
            message.push(24, cf, int(symbol))

    def shares(self, z: Array) -> int:
        return sum(share(int(cf[symbol + 1] - cf[symbol])) for cf, symbol in zip(self.cfs(), z, strict=True))


def latents(head: tuple[Array, Array], base: Latents | None = None) -> Latents:
    """Of a head's (acc, exponent). Section 7.2."""
    acc, exponent = head
    z = len(acc) // 2
    means = rhe(64 * acc[:z], exponent[:z]).reshape(-1) + (4096 if base is None else base.means)
    scales = rhe(acc[z:], exponent[z:]).reshape(-1) + (48 if base is None else base.scales)
    return Latents(np.clip(means, -32768, 32768), np.clip(scales, 0, 127))


class Decoder:
    """Decodes the messages of chunks with the model of a weight file."""

    def __init__(self, weight_file: bytes, scheme: str) -> None:
        layers = format_decoder.Decoder(weight_file)
        header = json.loads(weight_file[8 : 8 + int.from_bytes(weight_file[:8], "little")])
        self.architecture = json.loads(header["__metadata__"]["bbans"])["architecture"]
        self.layer, self.config, self.scheme = layers.layer, layers.config, scheme
        self.h, self.w, self.c, self.k = (self.config[name] for name in ("height", "width", "channels", "components"))
        self.binary = self.config["symbols"] == 2
        self.context = self.config["context"] if self.architecture == "topdown" else 0

    def decode(self, body: bytes, count: int) -> Array:
        """The images (count, H, W, C) of a message."""
        message = Message(body)
        images = np.array([self.image(message) for _ in range(count)])
        assert message.primed
        return images

    def image(self, message: Message) -> Array:
        """Pop an image (H, W, C). Section 7.6."""
        if self.scheme == "top-down":
            return self.top_down(message)
        if self.scheme in ("bb-ans", "bit-swap"):
            return self.markov(message)
        found = re.fullmatch("mcbits-(coupled-)?([0-9]+)", self.scheme)
        assert found
        return self.monte_carlo(message, int(found[2]), bool(found[1]))

    def seen(self, x: Array) -> Array:
        """An image (H, W, C) as activations, channels first."""
        return (32 * x if self.binary else x >> 1).transpose(2, 0, 1)

    # 7.3

    def arrow(self, name: str, vector: Array) -> Any:
        return self.layer(f"{name}.out", self.layer(f"{name}.hidden", vector[:, None, None]))

    def q(self, level: int, below: Array) -> Latents:
        """q(z_{level+1} | z_level), of an image (H, W, C) for level 0."""
        return latents(self.arrow(f"posterior.{level}", below if level else self.seen(below).reshape(-1)))

    def p(self, level: int, above: Array) -> Latents:
        """p(z_level | z_{level+1}), level not 0."""
        return latents(self.arrow(f"likelihood.{level}", above))

    def top(self) -> Latents:
        size = self.config["latents"][-1]
        return Latents(np.full(size, 4096), np.full(size, 81))

    def outputs(self, z: Array) -> Any:
        """Those of p(x | z_1): (O, H, W) with the exponents."""
        acc, exponent = self.arrow("likelihood.0", z)
        return acc.reshape(-1, self.h, self.w), exponent.reshape(-1, self.h, self.w)

    def markov(self, message: Message) -> Array:
        vectors = [self.top().pop(message)]  # z_L, .., z_0
        for level in reversed(range(len(self.config["latents"]))):
            above = vectors[-1]
            vectors.append(self.p(level, above).pop(message) if level else self.pop_samples(message, self.outputs(above)))
            if self.scheme == "bit-swap":
                self.q(level, vectors[-1]).push(message, above)
        if self.scheme == "bb-ans":
            for level, above, below in zip(reversed(range(len(vectors) - 1)), vectors, vectors[1:], strict=False):
                self.q(level, below).push(message, above)
        return vectors[-1]

    def monte_carlo(self, message: Message, count: int, coupled: bool) -> Array:
        k = message.pop_uniform(count, precision(count))
        prior = self.top()
        chosen = prior.pop(message)
        x = self.pop_samples(message, self.outputs(chosen))
        q, numbers = self.q(0, x), range(len(chosen))
        if coupled:
            cfs, s = q.cfs(), []
            for d in numbers:
                start, end = (int(edge) for edge in cfs[d][chosen[d] : chosen[d] + 2])
                s.append((start + message.pop_uniform(end - start, 31) - (v(k * len(chosen) + d) >> 40)) % 2**24)
            shifted = [[(s[d] + (v(i * len(chosen) + d) >> 40)) % 2**24 for d in numbers] for i in range(count)]
            vectors = [np.array([np.searchsorted(cfs[d], row[d], "right") - 1 for d in numbers]) for row in shifted]
            assert np.array_equal(vectors[k], chosen)
        else:
            vectors = [chosen if i == k else q.pop(message) for i in range(count)]
        w = [prior.shares(z) + self.shares_of_samples(x, self.outputs(z)) - q.shares(z) for z in vectors]
        message.push(24, np.cumsum([0, *freqs_of(w)]), k)
        if coupled:
            for number in reversed(s):
                message.push_uniform(number, 2**24, 24)
        else:
            for z in reversed(vectors):
                q.push(message, z)
        return x

    # 7.4

    def blocks(self, name: str, grid: int, t: Array) -> Array:
        for b in range(self.config["blocks"][grid]):
            t = self.layer(f"{name}.blocks.{b}.b", self.layer(f"{name}.blocks.{b}.a", t), t)
        return t

    def up(self, x: Array) -> list[Array]:
        """u_0, u_1, .."""
        u = [self.seen(x)]
        for grid, e in reversed(list(enumerate(self.ratios))):
            u.insert(0, self.blocks(f"up.{grid}", grid, self.layer(f"up.{grid}.enter", unshuffle(u[0], e))))
        return u[:-1]

    @property
    def ratios(self) -> list[int]:
        divisors = [*self.config["divisors"], 1]
        return [d // finer for d, finer in itertools.pairwise(divisors)]

    def top_down(self, message: Message) -> Array:
        height, width = self.h // self.config["divisors"][0], self.w // self.config["divisors"][0]
        t = self.layer("start", 16 * np.eye(height * width, dtype=np.int64).reshape(-1, height, width))
        popped = []  # grid, name, state before, p, z
        for grid, e in enumerate(self.ratios):
            for n in range(len(self.config["latents"][grid])):
                name = f"down.{grid}.layers.{n}"
                p = latents(self.layer(f"{name}.prior", t))
                z = p.pop(message)
                popped.append((grid, name, t, p, z))
                injected = self.layer(f"{name}.inject", np.concatenate([z.reshape(-1, *t.shape[1:]), t]), t)
                t = self.blocks(name, grid, injected)
            if not self.config["latents"][grid]:
                t = self.blocks(f"down.{grid}", grid, t)
            t = self.layer(f"down.{grid}.leave", t)
            if isinstance(t, tuple):
                acc, exponent = t
                t = shuffle(acc, e), shuffle(exponent + np.zeros_like(acc), e)
            else:
                t = shuffle(t, e)
        x = self.pop_samples(message, t)
        u = self.up(x)
        for grid, name, t, p, z in reversed(popped):
            head = self.layer(f"{name}.posterior", self.layer(f"{name}.seen", np.concatenate([t, u[grid]])))
            latents(head, p).push(message, z)
        return x

    def pixel(self, x: Array, y: int, column: int, t: Array) -> tuple[Array, Array]:
        """r of a pixel: (O,) with exponents."""
        r, seen, context = self.context, self.seen(x), []
        for dy in range(-r, 1):
            for dx in range(-r, r + 1 if dy < 0 else 0):
                inside = y + dy >= 0 and 0 <= column + dx < self.w
                context += seen[:, y + dy, column + dx].tolist() if inside else [0] * self.c
        f = self.layer("pixel.enter", np.array([*context, *t[:, y, column]])[:, None, None])
        for index in range(self.config["depth"]):
            f = self.layer(f"pixel.hidden.{index}", f, f)
        acc, exponent = self.layer("pixel.out", f)
        return acc[:, 0, 0], exponent[:, 0, 0]

    # 7.5

    def walk(self, x: Array, t: Any, message: Message | None) -> int:
        """Pop the samples of x from the message; or without one, the sum of their shares. t: outputs or features."""
        total = 0
        for y in range(self.h):
            for column in range(self.w):
                if isinstance(t, tuple):
                    r = t[0][:, y, column], np.broadcast_to(t[1], t[0].shape)[:, y, column]
                else:
                    r = self.pixel(x, y, column, t)
                rests: list[int] = []
                for c, channel in enumerate((1, 0, 2) if self.c == 3 else (0,)):
                    ref = self.reference(x[:, :, channel], y, column)
                    cf = self.bernoulli(r) if self.binary else self.mixture(r, c, ref, *[*rests, 0, 0][:2])
                    if message:
                        x[y, column, channel] = message.pop(24, cf)
                    symbol = int(x[y, column, channel])
                    total += share(int(cf[symbol + 1] - cf[symbol]))
                    rests.append(4 * symbol - ref)
        return total

    def pop_samples(self, message: Message, t: Any) -> Array:
        x = np.zeros((self.h, self.w, self.c), np.int64)
        self.walk(x, t, message)
        return x

    def shares_of_samples(self, x: Array, t: Any) -> int:
        return self.walk(x, t, None)

    def reference(self, x: Array, y: int, column: int) -> int:
        if self.c == 1:
            return 0
        if not self.context or (y == 0 and column == 0):
            return 512
        left = x[y, column - 1] if column else x[y - 1, column]
        above = x[y - 1, column] if y else x[y, column - 1]
        return 2 * int(left + above)

    def bernoulli(self, r: tuple[Array, Array]) -> Array:
        logit = clamp(int(rhe(4 * r[0][0], r[1][0])), -960, 960)
        return intervals(shares(2, np.array([2**14]), 32 + logit, 48))

    def mixture(self, r: tuple[Array, Array], c: int, ref: int, g: int, red: int) -> Array:
        """cf(0) .. cf(256)."""
        acc, exponent = r

        def part(first: int, factor: int, low: int, high: int, offset: int = 0) -> Array:
            places = slice(first * self.k, (first + 1) * self.k)
            return np.clip(rhe(factor * acc[places], exponent[places]) + offset, low, high)

        def slope(j: int) -> Array:
            return part(9 + j, 4, -128, 128)

        logits = part(c, 1, -16383, 16383)
        means = 16 * ref + part(self.c + c, 64, -32767, 32767)
        scales = part(2 * self.c + c, 1, 0, 127, 48)
        if c == 1:
            means += (slope(0) * g + 2) >> 2
        elif c == 2:
            means += (slope(1) * g + slope(2) * red + 2) >> 2
        e = EXP[np.minimum(logits.max() - logits, 255)]
        weights = e * 2**14 // e.sum()
        weights[logits.argmax()] += 2**14 - weights.sum()
        x = np.arange(1, 256)
        summed = np.sum([weight * below(x, m, s) for weight, m, s in zip(weights, means, scales, strict=True)], 0)
        return np.array([0, *((summed * (2**24 - 256) >> 38) + x), 2**24])


def below(x: Array, mean: int, scale: int) -> Array:
    """C(x) of one logistic. Section 5.5."""
    t = (64 * x - 32 - mean) * INV[scale] + 2**29
    j = np.clip(t >> 20, 0, 1023)
    inside = L[j] + ((L[j + 1] - L[j]) * (t >> 4 & 65535) >> 16)
    return np.where(t <= 0, 0, np.where(t >= 2**30, 2**24, inside))


def unshuffle(a: Array, e: int) -> Array:
    c, h, w = a.shape
    out = np.zeros((c * e * e, h // e, w // e), np.int64)
    for i in range(e):
        for j in range(e):
            out[i * e + j :: e * e] = a[:, i::e, j::e]
    return out


def shuffle(a: Array, e: int) -> Array:
    c, h, w = a.shape
    out = np.zeros((c // (e * e), h * e, w * e), np.int64)
    for i in range(e):
        for j in range(e):
            out[:, i::e, j::e] = a[i * e + j :: e * e]
    return out
