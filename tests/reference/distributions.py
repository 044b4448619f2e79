"""distributions.h, in plain Python: slow, and what the compiled core is compared with."""

from __future__ import annotations

import numpy as np

from bbans.tables import LOG_BITS, POSITION_BITS, PRECISION, WEIGHT_BITS

_TOTAL = 1 << PRECISION
_WEIGHT_TOTAL = 1 << WEIGHT_BITS
_SYMBOL = 1 << POSITION_BITS
_ENTRIES_PER_UNIT = 32
_FRACTION_BITS = 20
_INTERPOLATION_BITS = 16
_INVERSE_SCALE_ONE = (_ENTRIES_PER_UNIT << _FRACTION_BITS) // _SYMBOL
_END = 2 * 16 * _ENTRIES_PER_UNIT << _FRACTION_BITS
_MIDDLE = _END // 2
_LOG2_BITS = 10


def log2(freq, table):
    """log2(freq) in 2**-16 bit, to the nearest, for freq in 1 .. 2**31. `table` is log2_table().

    Linear interpolation in 16 bits, with an error of at most 2**-22 bit. Powers of two are exact.
    """
    exponent, rest, step = np.int64(0), freq, 16
    while step:
        if rest >> step:
            rest >>= step
            exponent += step
        step >>= 1
    mantissa = freq << (31 - exponent)  # in [2**31, 2**32)
    entry = (mantissa >> (31 - _LOG2_BITS)) & ((1 << _LOG2_BITS) - 1)
    fraction = (mantissa >> (31 - _LOG2_BITS - _INTERPOLATION_BITS)) & ((1 << _INTERPOLATION_BITS) - 1)
    below = table[entry]
    value = below + ((table[entry + 1] - below) * fraction >> _INTERPOLATION_BITS)
    return (exponent << LOG_BITS) + ((value + (1 << (31 - LOG_BITS))) >> (32 - LOG_BITS))


def logistic_cf(position, inverse_scale, table):
    """2**24 * sigmoid(position / scale). Units: position in 1/64 of a symbol from the mean."""
    place = position * inverse_scale + _MIDDLE
    place = min(max(place, 0), _END)
    entry = place >> _FRACTION_BITS
    fraction = (place >> (_FRACTION_BITS - _INTERPOLATION_BITS)) & ((1 << _INTERPOLATION_BITS) - 1)
    below = table[entry]
    return below + ((table[entry + 1] - below) * fraction >> _INTERPOLATION_BITS)


def logistic_start(x, n, mean, inverse_scale, table):
    """cf(x) of one logistic, the start of symbol x, for x in 0 .. n: mixture_cf with one weight of 2**14."""
    if x <= 0:
        return np.int64(0)
    if x >= n:
        return np.int64(_TOTAL)
    return (logistic_cf(_edge(x) - mean, inverse_scale, table) * (_TOTAL - n) >> PRECISION) + x


def bernoulli_start(logit, table):
    """The start of symbol 1, which is the freq of symbol 0, of a Bernoulli variable. Units: logit in 1/64 nat."""
    return logistic_start(1, 2, (_SYMBOL >> 1) + logit, _INVERSE_SCALE_ONE, table)


def logistic_search(cf, n, mean, inverse_scale, table):
    """(symbol, start, freq) of the interval of a logistic that holds cf. Inverse: logistic_start.

    Steps of doubling length lead from the symbol at the mean, where cf mostly is, to a range that holds cf; then bisection.
    """
    low = min(max((mean + (_SYMBOL >> 1)) >> POSITION_BITS, 0), n - 1)
    high, step = low + 1, 1
    start = logistic_start(low, n, mean, inverse_scale, table)
    stop = logistic_start(high, n, mean, inverse_scale, table)
    while stop <= cf:
        low, start = high, stop
        high, step = min(high + step, n), 2 * step
        stop = logistic_start(high, n, mean, inverse_scale, table)
    while start > cf:
        high, stop = low, start
        low, step = max(low - step, 0), 2 * step
        start = logistic_start(low, n, mean, inverse_scale, table)
    while high - low > 1:
        middle = (low + high) >> 1
        edge = logistic_start(middle, n, mean, inverse_scale, table)
        if edge <= cf:
            low, start = middle, edge
        else:
            high, stop = middle, edge
    return low, start, stop - start


def mixture_below(edge, means, inverse_scales, weights, table):
    """2**(24 + 14) times the share of a mixture below an edge in 1/64 of a symbol. Shapes: means, inverse_scales, weights (K,)."""
    total = np.int64(0)
    for k in range(len(means)):
        total += weights[k] * logistic_cf(edge - means[k], inverse_scales[k], table)
    return total


def mixture_cf(x, n, means, inverse_scales, weights, table):
    """cf(x) of a mixture, the start of symbol x, for x in 0 .. n. Shapes: means, inverse_scales, weights (K,)."""
    if x <= 0:
        return np.int64(0)
    if x >= n:
        return np.int64(_TOTAL)
    return (mixture_below(_edge(x), means, inverse_scales, weights, table) * (_TOTAL - n) >> (PRECISION + WEIGHT_BITS)) + x


def mixture_search(cf, n, means, inverse_scales, weights, table):
    """(symbol, start, freq) of the interval of a mixture that holds cf. Inverse: mixture_cf."""
    low, high, start, stop = np.int64(0), np.int64(n), np.int64(0), np.int64(_TOTAL)
    while high - low > 1:
        middle = (low + high) >> 1
        edge = mixture_cf(middle, n, means, inverse_scales, weights, table)
        if edge <= cf:
            low, start = middle, edge
        else:
            high, stop = middle, edge
    return low, start, stop - start


def _edge(x):
    """The lower edge of symbol x, in 1/64 of a symbol."""
    return (x << POSITION_BITS) - (_SYMBOL >> 1)


def weights_from_logits(logits, exponentials, weights):
    """Fill `weights` (K,) with the softmax of the integer `logits` (K,), in 1/16 nat, as integers that sum to 2**14.

    What rounding leaves goes to the first of the largest. `exponentials` is exp_table(); for larger differences its last entry
    is taken.
    """
    largest = 0
    for k in range(1, len(logits)):
        if logits[k] > logits[largest]:
            largest = k
    total = np.int64(0)
    for k in range(len(logits)):
        weights[k] = exponentials[min(logits[largest] - logits[k], len(exponentials) - 1)]
        total += weights[k]
    rest = np.int64(_WEIGHT_TOTAL)
    for k in range(len(logits)):
        weights[k] = (weights[k] << WEIGHT_BITS) // total
        rest -= weights[k]
    weights[largest] += rest
