"""images.c, in plain Python: slow, and what the compiled core is compared with."""

from __future__ import annotations

import numpy as np

from bbans.models.config import BINARY_LEVEL
from bbans.models.grids import COLOURS, LOG_SCALE_OFFSET, LOGIT_LIMIT, MEAN_LIMIT, SLOPE_LIMIT
from bbans.tables import LOG_BITS, PRECISION, SCALES
from tests.reference.codecs import bernoulli_interval, mixture_interval, peek_one, pop_one, push_one
from tests.reference.distributions import bernoulli_start, log2, mixture_search, weights_from_logits

_BINARY_LOGIT_LIMIT = 960  # of a binary sample, in 1/64 nat


def fill_mixture(row, reference, colours, colour, green, red, logits, means, indices, weights, exponentials):
    """Fill means, scale indices and weights (K,) with the mixture of one sample.

    `reference` is four times a sample value; `colour` counts in coding order; `green`, `red`: four times the residuals of those
    colours, which only later ones look at.
    """
    k = len(means)
    for i in range(k):
        logits[i] = row[colour * k + i]
        indices[i] = row[(2 * colours + colour) * k + i]
        mean = 16 * reference + row[(colours + colour) * k + i]
        if colour == 1:
            mean += (row[9 * k + i] * green + 2) >> 2
        elif colour == 2:
            mean += (row[10 * k + i] * green + row[11 * k + i] * red + 2) >> 2
        means[i] = mean
    weights_from_logits(logits, exponentials, weights)


_LOGIT_LIMIT = 960  # of a binary sample, in 1/64 nat


def _rounded(value, limit):
    return np.int64(np.rint(min(max(value, np.float32(-limit)), np.float32(limit))))


def _dense(inputs, count, weight, bias, out):
    """out = inputs @ weight + bias, skipping zeros."""
    for j in range(len(bias)):
        out[j] = bias[j]
    for i in range(count):
        a = inputs[i]
        if a != np.float32(0):
            row = weight[i]
            for j in range(len(bias)):
                out[j] += a * row[j]


def _activate(values):
    for j in range(len(values)):
        values[j] = min(max(np.rint(values[j]), np.float32(0)), np.float32(127))


def _pixel_layers(pixels, y, x, radius, binary, known, place, layers, inputs, first, second, values):
    """Fill `values` (outputs,) with the head's outputs for a pixel."""
    enter, enter_bias, hidden, hidden_bias, out, out_bias = layers
    _, width, colours = pixels.shape
    count = 0
    for dy in range(-radius, 1):
        for dx in range(-radius, radius + 1 if dy < 0 else 0):
            row, column = y + dy, x + dx
            inside = row >= 0 and 0 <= column < width
            for colour in range(colours):
                level = 0
                if inside:
                    level = pixels[row, column, colour] * BINARY_LEVEL if binary else pixels[row, column, colour] >> 1
                inputs[count] = np.float32(level)
                count += 1
    for i in range(len(known)):
        inputs[count] = known[i, place]
        count += 1
    _dense(inputs, count, enter, enter_bias, first)
    _activate(first)
    for layer in range(len(hidden)):
        _dense(first, len(first), hidden[layer], hidden_bias[layer], second)
        for j in range(len(first)):
            first[j] += second[j]
        _activate(first)
    _dense(first, len(first), out, out_bias, values)


def _reference(pixels, y, x, channel, relative):
    """Four times what the means of a sample are relative to: 0 for gray, else 128 or the pixels at the left and above."""
    if pixels.shape[2] == 1:
        return np.int64(0)
    if not relative or (x == 0 and y == 0):
        return np.int64(512)
    left = np.int64(pixels[y, x - 1 if x else x, channel])
    above = np.int64(pixels[y - 1 if y else y, x, channel])
    if x == 0:
        left = above
    elif y == 0:
        above = left
    return 2 * (left + above)


def _fill_row(values, colours, row):
    """Round and clamp a head's outputs (outputs,) to a pixel's row of parameters."""
    k = len(row) // (3 if colours == 1 else 12)
    for i in range(colours * k):
        row[i] = _rounded(values[i], LOGIT_LIMIT)
        row[colours * k + i] = _rounded(64 * values[colours * k + i], MEAN_LIMIT)
        index = _rounded(values[2 * colours * k + i], SCALES) + LOG_SCALE_OFFSET
        row[2 * colours * k + i] = min(max(index, 0), SCALES - 1)
    for i in range(3 * colours * k, len(row)):
        row[i] = _rounded(4 * values[i], SLOPE_LIMIT)


def _walk(decoding, head, words, size, starts, freqs, pixels, known, layers, radius, relative, components, tables):
    """Go through an image in reading order: pop its samples, or note their intervals. (head, size); size -1: it ran dry.

    `components` is 0 for binary samples; `radius` is -1 where outputs are known for all pixels.
    """
    table, exponentials, inverse_scales, _ = tables
    height, width, colours = pixels.shape
    binary = components == 0
    outputs = 1 if binary else (3 if colours == 1 else 12) * components
    logits, means = np.empty(components, np.int64), np.empty(components, np.int64)
    indices, scales, weights = np.empty(components, np.int64), np.empty(components, np.int64), np.empty(components, np.int64)
    values, row = np.empty(outputs, np.float32), np.empty(outputs, np.int64)
    inputs = np.empty(layers[0].shape[0], np.float32)
    first, second = np.empty(len(layers[1]), np.float32), np.empty(len(layers[1]), np.float32)
    n = 0
    for y in range(height):
        for x in range(width):
            place = y * width + x
            if radius < 0:
                for i in range(outputs):
                    values[i] = known[i, place]
            else:
                _pixel_layers(pixels, y, x, radius, binary, known, place, layers, inputs, first, second, values)
            if binary:
                edge = bernoulli_start(_rounded(4 * values[0], _BINARY_LOGIT_LIMIT), table)
                if decoding:
                    symbol = np.int64(peek_one(head, PRECISION) >= edge)
                    pixels[y, x, 0] = symbol
                else:
                    symbol = np.int64(pixels[y, x, 0])
                start, freq = bernoulli_interval(symbol, edge)
                if decoding:
                    head, size = pop_one(head, words, size, start, freq, PRECISION)
                    if size < 0:
                        return head, size
                else:
                    starts[n], freqs[n] = start, freq
                n += 1
                continue
            _fill_row(values, colours, row)
            green, red = np.int64(0), np.int64(0)
            for colour in range(colours):
                channel = 0 if colours == 1 else COLOURS[colour]
                reference = _reference(pixels, y, x, channel, relative)
                fill_mixture(row, reference, colours, colour, green, red, logits, means, indices, weights, exponentials)
                for i in range(components):
                    scales[i] = inverse_scales[indices[i]]
                if decoding:
                    symbol, start, freq = mixture_search(peek_one(head, PRECISION), 256, means, scales, weights, table)
                    head, size = pop_one(head, words, size, start, freq, PRECISION)
                    if size < 0:
                        return head, size
                    pixels[y, x, channel] = symbol
                else:
                    symbol = np.int64(pixels[y, x, channel])
                    starts[n], freqs[n] = mixture_interval(symbol, 256, means, scales, weights, table)
                n += 1
                if colour == 0:
                    green = 4 * symbol - reference
                elif colour == 1:
                    red = 4 * symbol - reference
    return head, size


def push_samples(head, words, size, pixels, known, layers, radius, relative, components, tables):
    """(head, size) after pushing an image. The message must have room for all of its samples."""
    starts, freqs = np.empty(pixels.size, np.int32), np.empty(pixels.size, np.int32)
    _walk(False, head, words, size, starts, freqs, pixels, known, layers, radius, relative, components, tables)
    for i in range(pixels.size - 1, -1, -1):
        head, size = push_one(head, words, size, np.int64(starts[i]), np.int64(freqs[i]), PRECISION)
    return head, size


def pop_samples(head, words, size, pixels, known, layers, radius, relative, components, tables):
    """(head, size) after popping an image into `pixels`; size -1 when the message ran dry. Inverse: push_samples."""
    none = np.empty(0, np.int32)
    return _walk(True, head, words, size, none, none, pixels, known, layers, radius, relative, components, tables)


def log_freqs_of_samples(pixels, known, layers, radius, relative, components, tables):
    """The sum over an image's samples of log2(freq / 2**24), in 2**-16 bit."""
    starts, freqs = np.empty(pixels.size, np.int32), np.empty(pixels.size, np.int32)
    none = np.empty(0, np.uint32)
    _walk(False, np.uint64(0), none, 0, starts, freqs, pixels, known, layers, radius, relative, components, tables)
    total = np.int64(0)
    for i in range(pixels.size):
        total += log2(np.int64(freqs[i]), tables[3])
    return total - (np.int64(pixels.size) * PRECISION << LOG_BITS)
