"""The adaptive stage of the photo model: each pixel of a phase is coded with what those before it have taught, in integers.

The networks give every symbol of a phase a mixture of logistics without looking at the other symbols of that phase. Encoder and
decoder then go through the symbols one by one, and correct each mixture by what the symbols before it have shown::

    mean    + a linear function of residuals       online least mean squares, a set of weights for each class of spread
            + a bias                               for each pattern of the signs of five neighbours' residuals
    scale   x a factor                             for each class of spread and of the neighbours' actual errors
    shares  mapped by a monotone piecewise linear function, so that the shares of actual symbols are evenly spread

A residual is the distance of a pixel from the mean of its network's mixture, in units of that mixture's spread: so pictures,
colours and places of different noise teach the same weights. The gradients are those of the logistic log-likelihood.

State belongs to one strip of one phase and starts from nothing, so strips stay independent of each other. Residuals and features
are in spreads with 8 fractional bits, biases in spreads with 20; weights have 24 fractional bits, slopes of the likelihood 12; the
corrections of scales are in sixteenths of a nat with 16.

Sources: linear prediction by least mean squares on the coded past with context mixing of scales, as in TMW (Meyer and Tischer,
1997) and Monkey's Audio; secondary estimation of probabilities, PAQ (Mahoney, 2005). FORMAT.md, section 5.6, specifies it.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import decimal
import functools

import numpy as np
from numpy.typing import NDArray

from bbans._jit import jit
from bbans.tables import DECIMAL, PRECISION, SCALES, WEIGHT_BITS, frozen, mixture_total, rounded

SPREAD_CLASSES = 8  # octaves of the spread, from a quarter of a pixel value
ENERGY_CLASSES = 16  # quarter octaves of the neighbours' errors
PATTERNS = 3**5
BINS = 16
MOST_FEATURES = 32  # of which 27 are used at most

_ONE = 256  # a residual of one spread
RESIDUAL_LIMIT = 6 * _ONE
_DEVIATION_LIMIT = 64 * _ONE
_WEIGHT_LIMIT = 1 << 26
_BIAS_RATE = 5243  # 0.005
_BIAS_LIMIT = 1 << 21
_STEP_LIMIT = 64  # of a scale's correction, in sixteenths of a nat
_RATE = 6711  # 0.0004: of the weights, in the long run
_RATE_START = 50332  # 0.003: how much more it is at the start
_RATE_HALF = 300  # symbols after which that has halved
_BIN_BITS = PRECISION - 4
assert BINS << _BIN_BITS == 1 << PRECISION
_TOTAL = 1 << PRECISION

# Where x11, x01 and x10 look at residuals of the phases before them, as (phase, row, column).
EARLIER = (
    (),
    ((0, 0, 0), (0, -1, 0), (0, 0, 1), (0, -1, 1), (0, 0, -1), (0, -1, -1)),
    ((0, 0, 0), (0, 0, -1), (1, 0, 0), (1, 1, 0), (1, 0, -1), (1, 1, -1), (0, 1, 0), (0, 1, -1), (0, -1, 0), (0, -1, -1)),
)


@functools.lru_cache(maxsize=1)
def adaptive_tables() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(spreads, energy classes, factors), read-only.

    Spreads (128,): round(1024 exp(i / 16 - 3)), scales in 1/1024 of a pixel value. Energy classes (1537,): that of a mean error in
    1/256 of a spread. Factors (129,): round(2**16 exp((64 - i) / 16)), by which a step of i - 64 divides residuals.
    """
    with decimal.localcontext(DECIMAL):
        sixteenth = (decimal.Decimal(1) / 16).exp()
        spreads = [rounded(1024 * sixteenth ** (i - 48)) for i in range(SCALES)]
        factors = [rounded((1 << 16) * sixteenth ** (_STEP_LIMIT - i)) for i in range(2 * _STEP_LIMIT + 1)]
        quarter = decimal.Decimal(2) ** (decimal.Decimal(1) / 4)
        edges = [rounded(_ONE * (quarter ** (j - 10) - decimal.Decimal("0.02"))) for j in range(1, ENERGY_CLASSES)]
    classes = np.searchsorted(edges, np.arange(RESIDUAL_LIMIT + 1), side="right")
    return frozen(spreads), frozen(classes), frozen(factors)


# Compiled. All integers are int64, weights are stored as int32. Names: `centre` is the mean of a mixture in 1/64 of a pixel
# value, `spread` its spread in 1/1024, `inverse` 2**30 // spread.


@jit
def describe(means, indices, weights, spreads):
    """(centre, spread) of a mixture. Shapes: means, scale indices, weights (K,)."""
    centre = np.int64(0)
    for k in range(len(means)):
        centre += weights[k] * means[k]
    centre >>= WEIGHT_BITS
    spread = np.int64(0)
    for k in range(len(means)):
        spread += weights[k] * (spreads[indices[k]] + 8 * abs(means[k] - centre))
    return centre, spread >> WEIGHT_BITS


@jit
def residual(distance, inverse):
    """A distance in 1/64 of a pixel value in units of the spread, 8 fractional bits, clamped."""
    return min(max(distance * inverse >> 18, -RESIDUAL_LIMIT), RESIDUAL_LIMIT)


@jit
def spread_class(spread):
    """Octave of the spread: 0 below a quarter of a pixel value, 7 from 16."""
    octave, edge = 0, np.int64(256)
    while octave < SPREAD_CLASSES - 1 and spread >= edge:
        octave += 1
        edge <<= 1
    return octave


@jit
def new_state():
    """Nothing learned yet. Of each colour in coding order: weights, counts, biases, steps, counts, maps, counts."""
    maps = np.empty((3, SPREAD_CLASSES, BINS + 1), np.int64)
    for b in range(BINS + 1):
        maps[:, :, b] = b << _BIN_BITS
    return (
        np.zeros((3, SPREAD_CLASSES, MOST_FEATURES), np.int32),
        np.zeros((3, SPREAD_CLASSES), np.int64),
        np.zeros((3, PATTERNS), np.int64),
        np.zeros((3, SPREAD_CLASSES, ENERGY_CLASSES), np.int64),
        np.zeros((3, SPREAD_CLASSES, ENERGY_CLASSES), np.int64),
        maps,
        np.zeros((3, SPREAD_CLASSES), np.int64),
    )


@jit
def pattern(features):
    """The signs of the first five features, where less than half a spread counts as 0, as a number to the base of 3."""
    number = 0
    for i in range(5):
        number = 3 * number + (0 if features[i] < -_ONE // 2 else (2 if features[i] > _ONE // 2 else 1))
    return number


@jit
def predicted_shift(features, count, weights, bias, spread):
    """What is added to the means, in 1/64 of a pixel value. Shapes: features, weights (MOST_FEATURES,)."""
    total = bias
    for i in range(count):
        total += np.int64(features[i]) * (weights[i] >> 12)
    return total * spread >> 24


@jit
def learn_shift(features, count, weights, gradient, times):
    """A step of least mean squares, after `times` symbols of this class."""
    rate = _RATE + _RATE_START * _RATE_HALF // (_RATE_HALF + times)
    scaled = gradient * rate >> 12
    for i in range(count):
        weight = np.int64(weights[i]) + (scaled * features[i] >> 8)
        weights[i] = min(max(weight, -_WEIGHT_LIMIT), _WEIGHT_LIMIT)


@jit
def likelihood_slope(deviation, step, table, factors):
    """(gradient, stretch): slopes of the logistic log-likelihood by the mean and by the log scale, 12 fractional bits.

    With z the distance from the corrected mean in units of the corrected spread: tanh(z / 2), and z tanh(z / 2) - 1, at most 3.
    """
    z = min(max(deviation * factors[step + _STEP_LIMIT] >> 16, -4088), 4088)
    gradient = (table[512 + (z >> 3)] - (_TOTAL >> 1)) >> 11
    return gradient, min((z * gradient >> 8) - 4096, 3 * 4096)


@jit
def mapped(share, edges):
    """The recalibrated share of 2**24. Shapes: edges (BINS + 1,)."""
    b = min(share >> _BIN_BITS, BINS - 1)
    return edges[b] + ((edges[b + 1] - edges[b]) * (share - (b << _BIN_BITS)) >> _BIN_BITS)


@jit
def deviation_from(distance, shift, inverse):
    """A distance from the corrected mean in units of the spread, less tightly clamped than a residual."""
    return min(max((distance - shift) * inverse >> 18, -_DEVIATION_LIMIT), _DEVIATION_LIMIT)


@jit
def learned_bias(bias, gradient):
    """A bias after a symbol."""
    return min(max(bias + (gradient * _BIAS_RATE >> 12), -_BIAS_LIMIT), _BIAS_LIMIT)


@jit
def learned_step(step, stretch, times):
    """The correction of a scale, with its 16 fractional bits, after `times` symbols of its classes."""
    limit = np.int64(_STEP_LIMIT) << 16
    return min(max(step + (stretch * falling_rate(times, 3, 328) >> 9), -limit), limit)


@jit
def falling_rate(times, offset, least):
    """max(least, 2**16 // (times + offset)), mostly without the division."""
    return np.int64(least) if (times + offset) * least >= 65536 else 65536 // (times + offset)


@jit
def learn_map(edges, low, high, times):
    """Move the map towards one that gives everything to the shares low..high, those of the symbol that came."""
    rate = falling_rate(times, 50, 131)
    inverse = (np.int64(1) << 40) // max(high - low, 1)
    for b in range(1, BINS):
        edge = np.int64(b) << _BIN_BITS
        target = np.int64(0)
        if edge >= high:
            target = np.int64(_TOTAL)
        elif edge > low:
            target = (edge - low) * inverse >> 16
        edges[b] += (target - edges[b]) * rate >> 16


@jit
def mapped_cf(x, means, inverse_scales, weights, edges, table):
    """(share, cf) at the lower edge of pixel x in 0..256: cf is the start of its interval."""
    if x <= 0:
        return np.int64(0), np.int64(0)
    if x >= 256:
        return np.int64(_TOTAL), np.int64(_TOTAL)
    share = mixture_total(x, means, inverse_scales, weights, table) >> WEIGHT_BITS
    return share, (mapped(share, edges) * (_TOTAL - 256) >> PRECISION) + x


@jit
def mapped_search(cf, centre, spread, means, inverse_scales, weights, edges, table):
    """(symbol, share below, share above, start, stop) of the interval that holds cf. Inverse: mapped_cf.

    Steps that begin at about half a spread and double lead from the centre, near which most pixels are, to an interval that holds
    cf; then halves.
    """
    low = min(max((centre + 32) >> 6, 0), 255)
    step = max(spread >> 11, 1)
    high = min(low + step, 256)
    below, start = mapped_cf(low, means, inverse_scales, weights, edges, table)
    if start > cf:
        while start > cf:
            high = low
            above, stop = below, start
            low = max(low - step, 0)
            step *= 2
            below, start = mapped_cf(low, means, inverse_scales, weights, edges, table)
    else:
        above, stop = mapped_cf(high, means, inverse_scales, weights, edges, table)
        while stop <= cf:
            low, below, start = high, above, stop
            step *= 2
            high = min(high + step, 256)
            above, stop = mapped_cf(high, means, inverse_scales, weights, edges, table)
    while high - low > 1:
        middle = (low + high) >> 1
        share, edge = mapped_cf(middle, means, inverse_scales, weights, edges, table)
        if edge <= cf:
            low, below, start = middle, share, edge
        else:
            high, above, stop = middle, share, edge
    return low, below, above, start, stop
