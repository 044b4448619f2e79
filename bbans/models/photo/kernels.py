"""Compiled loops that push and pop the pixels of a phase.

Symbols are on a message of one lane in reading order, G before R before B, and the adaptive stage learns in that order. A message
is a stack, so pushing takes two steps: the first goes through the phase as the decoder will and notes every symbol's interval, the
second pushes the intervals backwards. Nothing is allocated for a symbol.

Args of all::

    pixels      (h, w, 3) uint8                     of a strip of a phase, in RGB
    references  (h, w, 3) int16                     four times a pixel
    near        (n, h, w, 3) int16                  four times a pixel of x11, less the reference
    params      (h, w, 12 K) int16                  those of PhotoNetwork.head
    colours                                         3, or 1 for gray pictures, whose R and B are G
    earlier     (phases, H + 2, W + 2, 3) int16     residuals of the phases before, on the whole grid with a border of zeros,
                                                    colours in coding order
    top                                             the row of the grid at which the strip begins
    places      (n, 3)                              where to look in them: see adaptive.EARLIER

All arrays are contiguous: numba would compile a version of these functions for every other layout.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np

from bbans._jit import jit
from bbans.ans import peek_one, pop_one, push_one
from bbans.models.mixture import fill_mixture
from bbans.models.photo.adaptive import (
    MOST_FEATURES,
    RESIDUAL_LIMIT,
    describe,
    deviation_from,
    learn_map,
    learn_shift,
    learned_bias,
    learned_step,
    likelihood_slope,
    mapped_cf,
    mapped_search,
    new_state,
    pattern,
    predicted_shift,
    residual,
    spread_class,
)
from bbans.tables import PRECISION

_GREEN, _RED, _BLUE = 1, 0, 2


@jit
def _channel(colour):
    return _BLUE if colour == 2 else (_RED if colour == 1 else _GREEN)


@jit
def _gather(features, own, y, x, colour, earlier, row, places, reference, offsets, near, channel, centre, inverse):
    """Fill the features of a symbol; returns how many. (y, x) is its place in `own`, `row` its row in `earlier`."""
    features[0] = own[y, x - 1, colour]
    features[1] = own[y - 1, x, colour]
    features[2] = own[y - 1, x - 1, colour]
    features[3] = own[y - 1, x + 1, colour]
    features[4] = own[y, x - 2, colour]
    features[5] = own[y - 2, x, colour]
    count = 6
    for other in range(colour):
        features[count] = own[y, x, other]
        count += 1
    for other in range(3):
        if other != colour:
            features[count] = own[y, x - 1, other]
            features[count + 1] = own[y - 1, x, other]
            count += 2
    for i in range(len(places)):
        features[count] = earlier[places[i, 0], row + places[i, 1], x - 1 + places[i, 2], colour]
        count += 1
    features[count] = residual(16 * reference - centre, inverse)
    count += 1
    for other in range(colour):
        features[count] = residual(16 * offsets[other], inverse)
        count += 1
    for i in range(len(near)):
        features[count] = residual(16 * np.int64(near[i, y - 2, x - 2, channel]), inverse)
        count += 1
    return count


@jit
def _energy(errors, y, x, colour, earlier, row, places):
    """The mean error of the symbols around, in 1/256 of a spread. `errors` has a border of 256.

    Symbols of earlier phases count with their residuals, which are distances from the networks' mixtures, the two nearest twice.
    """
    total = 2 * errors[y, x - 1, colour] + 2 * errors[y - 1, x, colour] + errors[y - 1, x - 1, colour]
    if colour == 0:
        total += errors[y, x - 1, colour] + errors[y - 1, x, colour] + errors[y - 1, x + 1, colour]
    elif colour == 1:
        total += errors[y - 1, x + 1, colour] + 2 * errors[y, x, 0]
    else:
        total += errors[y, x, 0] + 2 * errors[y, x, 1]
    if len(places) == 0:
        return total >> 3
    for i in range(6):
        error = abs(np.int64(earlier[places[i, 0], row + places[i, 1], x + places[i, 2], colour]))
        total += 2 * error if i < 2 else error
    return total >> 4


@jit
def _walk(decoding, head, words, size, starts, freqs, pixels, references, near, params, colours, earlier, top, places,
          adaptive, tables):  # fmt: skip
    """Go through a phase in reading order: pop its pixels, or note their intervals. (head, size); size -1: the message ran dry."""
    table, exponentials, inverse_scales, spreads, energies, factors = tables
    k = params.shape[2] // 12
    logits, means, indices = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    scales, weights = np.empty(k, np.int64), np.empty(k, np.int64)
    features = np.zeros(MOST_FEATURES, np.int32)
    offsets = np.zeros(3, np.int64)  # 4 * pixel - reference, of the colours here
    own = np.zeros((pixels.shape[0] + 2, pixels.shape[1] + 4, 3), np.int32)  # residuals, with zeros above and at the sides
    errors = np.full((pixels.shape[0] + 1, pixels.shape[1] + 2, 3), 256, np.int64)
    linear, linear_counts, biases, steps, step_counts, maps, map_counts = new_state()
    shift, step, count, signs, kind, energy = 0, 0, 0, 0, 0, 0
    n = 0
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            row = params[y, x]
            for colour in range(colours):
                channel = _channel(colour)
                reference = np.int64(references[y, x, channel])
                fill_mixture(row, reference, 3, colour, offsets[0], offsets[1], logits, means, indices, weights, exponentials)
                centre, spread = describe(means, indices, weights, spreads)
                inverse = (1 << 30) // spread
                kind = spread_class(spread)
                edges = maps[colour, kind]
                if adaptive:
                    count = _gather(features, own, y + 2, x + 2, colour, earlier, top + y + 1, places, reference, offsets, near,
                                    channel, centre, inverse)  # fmt: skip
                    signs = pattern(features)
                    energy = energies[_energy(errors, y + 1, x + 1, colour, earlier, top + y + 1, places)]
                    shift = predicted_shift(features, count, linear[colour, kind], biases[colour, signs], spread)
                    step = (steps[colour, kind, energy] + (1 << 15)) >> 16
                for i in range(k):
                    means[i] += shift
                    scales[i] = inverse_scales[min(max(indices[i] + step, 0), len(inverse_scales) - 1)]
                if decoding:
                    cf = peek_one(head, PRECISION)
                    symbol, low, high, start, stop = mapped_search(cf, centre + shift, spread, means, scales, weights, edges, table)
                    head, size = pop_one(head, words, size, start, stop - start, PRECISION)
                    if size < 0:
                        return head, size
                    pixels[y, x, channel] = symbol
                else:
                    symbol = np.int64(pixels[y, x, channel])
                    low, start = mapped_cf(symbol, means, scales, weights, edges, table)
                    high, stop = mapped_cf(symbol + 1, means, scales, weights, edges, table)
                    starts[n], freqs[n] = start, stop - start
                    n += 1
                offsets[colour] = 4 * symbol - reference
                if not adaptive:
                    continue
                distance = 64 * symbol - centre
                own[y + 2, x + 2, colour] = residual(distance, inverse)
                deviation = deviation_from(distance, shift, inverse)
                errors[y + 1, x + 1, colour] = min(abs(deviation), RESIDUAL_LIMIT)
                gradient, stretch = likelihood_slope(deviation, step, table, factors)
                linear_counts[colour, kind] += 1
                learn_shift(features, count, linear[colour, kind], gradient, linear_counts[colour, kind])
                biases[colour, signs] = learned_bias(biases[colour, signs], gradient)
                step_counts[colour, kind, energy] += 1
                steps[colour, kind, energy] = learned_step(steps[colour, kind, energy], stretch, step_counts[colour, kind, energy])
                map_counts[colour, kind] += 1
                learn_map(edges, low, high, map_counts[colour, kind])
            if colours == 1:
                pixels[y, x, _RED] = pixels[y, x, _GREEN]
                pixels[y, x, _BLUE] = pixels[y, x, _GREEN]
    return head, size


@jit
def push_pixels(head, words, size, pixels, references, near, params, colours, earlier, top, places, adaptive, tables):
    """(head, size) after pushing a phase's pixels. The message must have room for all of them."""
    count = pixels.shape[0] * pixels.shape[1] * colours
    starts, freqs = np.empty(count, np.int32), np.empty(count, np.int32)
    _walk(False, head, words, size, starts, freqs, pixels, references, near, params, colours, earlier, top, places, adaptive,
          tables)  # fmt: skip
    for i in range(count - 1, -1, -1):
        head, size = push_one(head, words, size, np.int64(starts[i]), np.int64(freqs[i]), PRECISION)
    return head, size


@jit
def pop_pixels(head, words, size, pixels, references, near, params, colours, earlier, top, places, adaptive, tables):
    """(head, size) after popping a phase's pixels into `pixels`; size -1 when the message ran dry. Inverse: push_pixels."""
    none = np.empty(0, np.int32)
    return _walk(True, head, words, size, none, none, pixels, references, near, params, colours, earlier, top, places,
                 adaptive, tables)  # fmt: skip


@jit
def residuals(pixels, references, params, colours, tables):
    """The residuals of a known phase, colours in coding order: (h, w, 3) int16."""
    out = np.zeros(pixels.shape, np.int16)
    _, exponentials, _, spreads, _, _ = tables
    k = params.shape[2] // 12
    logits, means, indices = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    weights, offsets = np.empty(k, np.int64), np.zeros(3, np.int64)
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            for colour in range(colours):
                symbol = np.int64(pixels[y, x, _channel(colour)])
                reference = np.int64(references[y, x, _channel(colour)])
                fill_mixture(
                    params[y, x], reference, 3, colour, offsets[0], offsets[1], logits, means, indices, weights, exponentials
                )
                centre, spread = describe(means, indices, weights, spreads)
                out[y, x, colour] = residual(64 * symbol - centre, (1 << 30) // spread)
                offsets[colour] = 4 * symbol - reference
    return out
