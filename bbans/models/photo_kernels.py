"""Compiled loops that push and pop the pixels of a phase.

One symbol after another on a one-lane message; nothing is allocated per symbol. Push runs through the positions backwards and
through the colours backwards, so that pop meets them in reading order, G before R before B.

Shapes: pixels (h, w, 3) uint8 of a phase, in RGB; references (h, w, 3) int16, four times a pixel; params (h, w, 12 K) int16 as
PhotoNetwork.head gives them; colours 3, or 1 for gray pictures, whose R and B are G.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np

from bbans._jit import jit
from bbans.ans import peek_one, pop_one, push_one
from bbans.tables import PRECISION, mixture_cf, mixture_search, weights_from_logits

_PIXELS = 256
_GREEN, _RED, _BLUE = 1, 0, 2


@jit
def _mixture(row, reference, colour, first, second, k, logits, means, scales, weights, exponentials, inverse):
    """Fill means, scales and weights (K,) with the mixture of one symbol.

    ``colour``: 0, 1, 2 in coding order; ``first``, ``second``: four times the rests of the colours before it, G then R.
    """
    for i in range(k):
        logits[i] = row[colour * k + i]
        scales[i] = inverse[row[(6 + colour) * k + i]]
        mean = 16 * reference + row[(3 + colour) * k + i]
        if colour == 1:
            mean += (row[9 * k + i] * first + 2) >> 2
        elif colour == 2:
            mean += (row[10 * k + i] * first + row[11 * k + i] * second + 2) >> 2
        means[i] = mean
    weights_from_logits(logits, exponentials, weights)


@jit
def push_pixels(head, words, size, pixels, references, params, colours, table, exponentials, inverse):
    """(head, size) after pushing a phase's pixels. The message must have room for all of them."""
    k = params.shape[2] // 12
    logits, means = np.empty(k, np.int64), np.empty(k, np.int64)
    scales, weights = np.empty(k, np.int64), np.empty(k, np.int64)
    for y in range(pixels.shape[0] - 1, -1, -1):
        for x in range(pixels.shape[1] - 1, -1, -1):
            row = params[y, x]
            green = 4 * np.int64(pixels[y, x, _GREEN]) - references[y, x, _GREEN]
            red = 4 * np.int64(pixels[y, x, _RED]) - references[y, x, _RED]
            for colour in range(colours - 1, -1, -1):
                channel = _BLUE if colour == 2 else (_RED if colour == 1 else _GREEN)
                reference = np.int64(references[y, x, channel])
                _mixture(row, reference, colour, green, red, k, logits, means, scales, weights, exponentials, inverse)
                symbol = np.int64(pixels[y, x, channel])
                start = mixture_cf(symbol, _PIXELS, means, scales, weights, table)
                freq = mixture_cf(symbol + 1, _PIXELS, means, scales, weights, table) - start
                head, size = push_one(head, words, size, start, freq, PRECISION)
    return head, size


@jit
def pop_pixels(head, words, size, pixels, references, params, colours, table, exponentials, inverse):
    """(head, size) after popping a phase's pixels into ``pixels``; size -1 when the message ran dry. Inverse: push_pixels."""
    k = params.shape[2] // 12
    logits, means = np.empty(k, np.int64), np.empty(k, np.int64)
    scales, weights = np.empty(k, np.int64), np.empty(k, np.int64)
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            row = params[y, x]
            green, red = np.int64(0), np.int64(0)
            for colour in range(colours):
                channel = _BLUE if colour == 2 else (_RED if colour == 1 else _GREEN)
                reference = np.int64(references[y, x, channel])
                _mixture(row, reference, colour, green, red, k, logits, means, scales, weights, exponentials, inverse)
                cf = peek_one(head, PRECISION)
                symbol, start, freq = mixture_search(cf, _PIXELS, means, scales, weights, table)
                head, size = pop_one(head, words, size, start, freq, PRECISION)
                if size < 0:
                    return head, size
                pixels[y, x, channel] = symbol
                if colour == 0:
                    green = 4 * symbol - reference
                elif colour == 1:
                    red = 4 * symbol - reference
            if colours == 1:
                pixels[y, x, _RED] = pixels[y, x, _GREEN]
                pixels[y, x, _BLUE] = pixels[y, x, _GREEN]
    return head, size
