"""From distributions to intervals of integers: the only place where reals become integers, and the integers that files depend on.

The tables are computed by correctly rounded decimal arithmetic, not by a machine's floats, so that they are the same everywhere::

    logistic_table()   2**24 * sigmoid(t)         t = -16 .. 16, 32 entries per unit     (1026,)
    inverse_scales()   2**19 * exp(-log_scale)    log_scale = -3 + i / 16                 (128,)
    exp_table()        2**16 * exp(-d / 16)       d = 0 .. 255                            (256,)
    exp2_table()       2**24 * 2**(-d / 256)      d = 0 .. 255                            (256,)
    log2_table()       2**32 * log2(m)            m = 1 .. 2, 1024 entries per unit       (1025,)

A discretised logistic over the symbols 0 .. n - 1 has its mean in 1/64 of a symbol; symbol x begins at x - 1/2::

    C(x) = 2**24 * sigmoid((x - 1/2 - mean / 64) / scale)    between table entries: linear interpolation, 16 bits
    C(0) = 0,  C(n) = 2**24                                  the tails belong to the first and the last symbol

A mixture of K of them, with integer weights that sum to 2**14, gives every symbol a freq of at least 1::

    cf(x) = floor(sum_k weight_k * C_k(x) * (2**24 - n) / 2**38) + x        cf(0) = 0,  cf(n) = 2**24

so symbol x owns [cf(x), cf(x + 1)). A Bernoulli variable is a logistic of two symbols: mean 32 + 64 * logit and log_scale 0
give P(1) = sigmoid(logit). With parameters like a photo's, all of this rounding costs about 0.00002 bits a symbol.

The compiled functions take the tables as arguments and allocate nothing.

Source of the discretised logistic mixture: Salimans, Karpathy, Chen, Kingma, "PixelCNN++", ICLR 2017, section 2.1.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import decimal
import functools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

MAX_BITS = 31  # of any precision, as bbans.ans has it
PRECISION = 24  # bits: the intervals of logistics and mixtures divide [0, 2**24)
WEIGHT_BITS = 14  # mixture weights sum to 2**14
POSITION_BITS = 6  # means and edges are in 1/64 of a symbol
SCALES = 128
LOG_BITS = 16  # logarithms of freqs are in 2**-16 bit
MAX_SYMBOLS = 1 << 16  # keeps a mixture's floor of one per symbol below 1 % of the range

_TOTAL = 1 << PRECISION
_SYMBOL = 1 << POSITION_BITS
_ENTRIES_PER_UNIT = 32
_RANGE = 16  # the table ends where 2**-24 is about all that is left
_ENTRIES = 2 * _RANGE * _ENTRIES_PER_UNIT
_FRACTION_BITS = 20  # of a position in the table
_INVERSE_SCALE_ONE = (_ENTRIES_PER_UNIT << _FRACTION_BITS) // _SYMBOL  # of log_scale 0
_EXP2_BITS = 8  # exp2_table has 2**8 entries per unit
DECIMAL = decimal.Context(prec=40)
_LARGE = 2.0**960  # any 2**31 smaller floats have a finite sum

IntArray = npt.NDArray[np.int64]
Locate = Callable[[IntArray], tuple[IntArray, IntArray]]  # symbols -> (starts, freqs)
Search = Callable[[IntArray], IntArray]  # cfs -> the symbols whose intervals hold them


@functools.lru_cache(maxsize=1)
def logistic_table() -> IntArray:
    """round(2**24 * sigmoid((i - 512) / 32)) for i in 0 .. 1024, int64, read-only; the ends are 0 and 2**24.

    The last entry is there twice, so that interpolation at the end is no special case.
    """
    with decimal.localcontext(DECIMAL):
        half = [rounded(_TOTAL / (1 + (decimal.Decimal(i) / _ENTRIES_PER_UNIT).exp())) for i in range(1, _ENTRIES // 2)]
    return frozen([0, *reversed(half), _TOTAL // 2, *(_TOTAL - value for value in half), _TOTAL, _TOTAL])


@functools.lru_cache(maxsize=1)
def inverse_scales() -> IntArray:
    """round(2**20 * 32 / 64 * exp(3 - i / 16)) for i in 0 .. 127, int64, read-only.

    Units: entries of logistic_table per 1/64 of a symbol, with 20 fractional bits.
    """
    with decimal.localcontext(DECIMAL):
        return frozen([rounded(_INVERSE_SCALE_ONE * (3 - decimal.Decimal(i) / 16).exp()) for i in range(SCALES)])


@functools.lru_cache(maxsize=1)
def exp_table() -> IntArray:
    """round(2**16 * exp(-d / 16)) for d in 0 .. 255, int64, read-only."""
    with decimal.localcontext(DECIMAL):
        return frozen([rounded((1 << 16) * (-decimal.Decimal(d) / 16).exp()) for d in range(256)])


@functools.lru_cache(maxsize=1)
def exp2_table() -> IntArray:
    """round(2**24 * 2**(-d / 256)) for d in 0 .. 255, int64, read-only."""
    with decimal.localcontext(DECIMAL):
        return frozen([rounded(_TOTAL * decimal.Decimal(2) ** (-decimal.Decimal(d) / 256)) for d in range(256)])


@functools.lru_cache(maxsize=1)
def log2_table() -> IntArray:
    """round(2**32 * log2(1 + i / 1024)) for i in 0 .. 1024, int64, read-only."""
    with decimal.localcontext(DECIMAL):
        logs = logarithms(2049)
        scale = (1 << 32) / logs[2]
        return frozen([rounded(scale * (logs[1024 + i] - logs[1024])) for i in range(1025)])


def logarithms(end: int) -> list[decimal.Decimal]:
    """The natural logarithms of 1 .. end - 1, to nearly the digits of the context; the first entry stands for 0, and is 0 too.

    A hundred times faster than `Decimal.ln` for each: of a product by its factors, and of an odd prime p by its neighbours, which
    have smaller factors, as ln p = (ln (p - 1) + ln (p + 1)) / 2 + artanh(1 / (2 p**2 - 1)).
    """
    logs = [decimal.Decimal(0)] * 2 + [decimal.Decimal(2).ln()] + [decimal.Decimal(0)] * max(end - 3, 0)
    factors = list(range(end + 1))  # the smallest of each number
    for prime in range(2, math.isqrt(end) + 1):
        if factors[prime] == prime:
            for multiple in range(prime * prime, end + 1, prime):
                factors[multiple] = min(factors[multiple], prime)
    tiny = decimal.Decimal(10) ** -decimal.getcontext().prec
    for number in range(3, end):
        factor = factors[number]
        if factor < number:
            logs[number] = logs[factor] + logs[number // factor]
            continue
        above = logs[2] + logs[(number + 1) // 2]
        term = x = 1 / decimal.Decimal(2 * number * number - 1)
        logs[number] = (logs[number - 1] + above) / 2
        power = 1
        while term > tiny:
            logs[number] += term / power
            term, power = term * x * x, power + 2
    return logs[:end]


def rounded(value: decimal.Decimal) -> int:
    """The nearest integer, halves to the even one."""
    return int(value.to_integral_value(decimal.ROUND_HALF_EVEN))


def frozen(values: npt.ArrayLike) -> IntArray:
    """A read-only table of int64."""
    table = np.array(values, np.int64)
    table.flags.writeable = False
    return table


def quantise_probabilities(probabilities: npt.ArrayLike, precision: int) -> IntArray:
    """Integer freqs >= 1 that sum to 2**precision, in proportion to `probabilities`.

    Every symbol gets 1 and its share of the rest, rounded down; what remains goes to the largest remainders, of equal ones to
    the first. The result depends on the probabilities alone: only operations that IEEE 754 rounds in one way are used.

    Shapes: probabilities (..., n), which need not sum to 1; returns int64 (..., n). Units: precision in bits, up to 31.
    Raises: ValueError for negative or non-finite values, a row of zeros, no symbols or more than 2**precision.
    """
    if not 0 <= precision <= MAX_BITS:
        raise ValueError(f"precision is between 0 and {MAX_BITS} bits, not {precision}")
    try:
        p = np.asarray(probabilities, np.float64)
    except OverflowError:  # an integer of Python beyond all floats
        raise ValueError("probabilities are finite and not negative") from None
    if p.ndim == 0 or p.shape[-1] == 0 or p.shape[-1] > 1 << precision:
        raise ValueError(f"between 1 and 2**{precision} probabilities are needed, not an array of shape {p.shape}")
    if not np.all(np.isfinite(p)) or np.any(p < 0):
        raise ValueError("probabilities are finite and not negative")
    rows = p.reshape(-1, p.shape[-1])
    total = (1 << precision) - rows.shape[1]  # to share once every symbol has 1
    freqs = np.empty(rows.shape, np.int64)
    for row, freq in zip(rows, freqs, strict=True):
        if row.max() > _LARGE:  # the sum may be no float; a power of two leaves all shares as they are
            row = row * 2.0**-64
        row_sum = math.fsum(row)  # exact, in any order: np.sum is not
        if row_sum == 0:
            raise ValueError("a row of probabilities is all zero")
        share = row / row_sum * total
        freq[:] = np.floor(share)
        missing = total - int(freq.sum())
        freq[np.argsort(freq - share, kind="stable")[:missing]] += 1
        freq += 1
    return freqs.reshape(p.shape)


def quantise_cdf(cdf: Callable[[IntArray], npt.ArrayLike], n: int, precision: int) -> tuple[Locate, Search]:
    """(locate, search), as codecs.from_intervals takes them, of the symbols 0 .. n - 1 by their cumulative distribution function.

    cdf(k) = P(X < k), for arrays of k in 0 .. n, must not fall. The first and the last symbol take the tails. With
    scipy.stats it is, for example, `lambda k: poisson(3.5).cdf(k - 1)`. Every symbol gets a freq of 1 and its share of the
    rest. No table is made, so n may be large::

        start(k) = floor(cdf(k) * (2**precision - n)) + k        start(0) = 0,  start(n) = 2**precision

    The result depends on the floats of `cdf`, which must be the same wherever the message is popped.

    Raises: ValueError for no symbols or more than 2**precision; from locate for symbols outside 0 .. n - 1, from both for NaN.
    """
    if not 0 <= precision <= MAX_BITS or not 1 <= n <= 1 << precision:
        raise ValueError(f"between 1 and 2**precision symbols are needed, and at most {MAX_BITS} bits, not {n} and {precision}")

    def start(k: IntArray) -> IntArray:
        shares = np.asarray(cdf(np.clip(k, 0, n)), np.float64)
        if np.any(np.isnan(shares)):
            raise ValueError("a cumulative distribution function gives numbers from 0 to 1")
        inner = np.floor(np.clip(shares, 0, 1) * ((1 << precision) - n)).astype(np.int64) + k
        return np.where(k <= 0, 0, np.where(k >= n, 1 << precision, inner))

    def locate(symbols: IntArray) -> tuple[IntArray, IntArray]:
        k = np.asarray(symbols, np.int64)
        if np.any(k < 0) or np.any(k >= n):
            raise ValueError(f"symbols are in 0 .. {n - 1}")
        starts = start(k)
        return starts, start(k + 1) - starts

    def search(cfs: IntArray) -> IntArray:
        low = np.zeros_like(cfs)
        for step in (1 << bit for bit in reversed(range(n.bit_length()))):
            higher = low + step
            low = np.where((higher < n) & (start(higher) <= cfs), higher, low)
        return low

    return locate, search


def freqs_from_log2(log_weights: npt.ArrayLike) -> IntArray:
    """Integer freqs >= 1 that sum to 2**24, in proportion to 2**(log_weights / 2**16), by integers alone.

    Differences from the largest are rounded to 1/256 bit (halves up) and looked up in exp2_table, whole bits being shifts. Every
    symbol gets 1 and its share of the rest, rounded down; what remains goes to the largest, of equal ones to the first.

    Shapes: log_weights (..., n), int64 below 2**61 in magnitude; returns int64 (..., n).
    """
    logs = np.asarray(log_weights, np.int64)
    below = (logs.max(-1, keepdims=True) - logs + (1 << (LOG_BITS - _EXP2_BITS - 1))) >> (LOG_BITS - _EXP2_BITS)
    parts = exp2_table()[below & ((1 << _EXP2_BITS) - 1)] >> np.minimum(below >> _EXP2_BITS, 63)
    freqs: IntArray = parts * (_TOTAL - logs.shape[-1]) // parts.sum(-1, keepdims=True) + 1
    largest = np.expand_dims(logs.argmax(-1), -1)
    rest = _TOTAL - freqs.sum(-1, keepdims=True)
    np.put_along_axis(freqs, largest, np.take_along_axis(freqs, largest, -1) + rest, -1)
    return freqs
