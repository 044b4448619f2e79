"""rans.h and codecs.c, in plain Python: slow, and what the compiled core is compared with."""

from __future__ import annotations

import numpy as np

from bbans.tables import LOG_BITS, PRECISION
from tests.reference.distributions import bernoulli_start, log2, logistic_search, logistic_start, mixture_cf, mixture_search


def push_one(head, words, size, start, freq, precision):
    """(head, size) after pushing the symbol of interval [start, start + freq). Needs words.size > size."""
    freq = np.uint64(freq)
    if head >= freq << np.uint64(63 - precision):
        words[size] = np.uint32(head)
        size += 1
        head >>= np.uint64(32)
    quotient = head // freq
    return (quotient << np.uint64(precision)) + (head - quotient * freq) + np.uint64(start), size


def pop_one(head, words, size, start, freq, precision):
    """(head, size) after popping the symbol whose interval holds `peek_one`; size -1 once the message has run dry."""
    head = np.uint64(freq) * (head >> np.uint64(precision)) + np.uint64(peek_one(head, precision) - start)
    if head < np.uint64(1 << 31):
        if size <= 0:
            return head, -1
        size -= 1
        head = head << np.uint64(32) | np.uint64(words[size])
    return head, size


def peek_one(head, precision):
    """The cf of a head, int64."""
    return np.int64(head & ((np.uint64(1) << np.uint64(precision)) - np.uint64(1)))


# Lanes are counted: a remainder for each symbol would take longer than the rest of a short push.


def last_lane(count, heads):
    return (count - 1) % len(heads)


def lane_before(lane, heads):
    return lane - 1 if lane else len(heads) - 1


def lane_after(lane, heads):
    return lane + 1 if lane + 1 < len(heads) else 0


def sum_log_freqs(freqs, precision, table, sums):
    """Fill sums with the sums of log2(freq / 2**precision) over as many equal parts of freqs."""
    row = len(freqs) // max(len(sums), 1)
    for r in range(len(sums)):
        total = np.int64(0)
        for i in range(r * row, (r + 1) * row):
            total += log2(freqs[i], table) - (precision << LOG_BITS)
        sums[r] = total


# Any intervals: starts take the place of symbols.


def push_intervals(heads, words, size, starts, begin, end, freqs, precision):
    lane = last_lane(end - begin, heads)
    for i in range(end - 1, begin - 1, -1):
        heads[lane], size = push_one(heads[lane], words, size, starts[i], freqs[i], precision)
        lane = lane_before(lane, heads)
    return size


def pop_intervals(heads, words, size, starts, freqs, precision):
    """One symbol from each of the first lanes, as many as there are starts."""
    for lane in range(len(starts)):
        heads[lane], size = pop_one(heads[lane], words, size, starts[lane], freqs[lane], precision)
    return size


# Uniform: ns[i * step] symbols.


def uniform_interval(symbol, n, precision):
    start = (symbol << precision) // n
    return start, ((symbol + 1) << precision) // n - start


def push_uniform(heads, words, size, symbols, begin, end, ns, step, precision):
    lane = last_lane(end - begin, heads)
    for i in range(end - 1, begin - 1, -1):
        start, freq = uniform_interval(symbols[i], ns[i * step], precision)
        heads[lane], size = push_one(heads[lane], words, size, start, freq, precision)
        lane = lane_before(lane, heads)
    return size


def pop_uniform(heads, words, size, symbols, begin, end, ns, step, precision):
    lane = 0
    for i in range(begin, end):
        n = ns[i * step]
        symbols[i] = ((peek_one(heads[lane], precision) + 1) * n - 1) >> precision
        start, freq = uniform_interval(symbols[i], n, precision)
        heads[lane], size = pop_one(heads[lane], words, size, start, freq, precision)
        lane = lane_after(lane, heads)
    return size


def uniform_intervals(symbols, starts, freqs, ns, step, precision):
    for i in range(len(symbols)):
        starts[i], freqs[i] = uniform_interval(symbols[i], ns[i * step], precision)


# Categorical: symbol i has the starts edges[i * step], and 2**precision behind them.


def table_interval(symbol, edges, row):
    return edges[row, symbol], edges[row, symbol + 1] - edges[row, symbol]


def push_table(heads, words, size, symbols, begin, end, edges, step, precision):
    lane = last_lane(end - begin, heads)
    for i in range(end - 1, begin - 1, -1):
        start, freq = table_interval(symbols[i], edges, i * step)
        heads[lane], size = push_one(heads[lane], words, size, start, freq, precision)
        lane = lane_before(lane, heads)
    return size


def pop_table(heads, words, size, symbols, begin, end, edges, step, precision):
    lane = 0
    for i in range(begin, end):
        cf = peek_one(heads[lane], precision)
        low, high = 0, edges.shape[1] - 1
        while high - low > 1:
            middle = (low + high) >> 1
            if edges[i * step, middle] <= cf:
                low = middle
            else:
                high = middle
        symbols[i] = low
        start, freq = table_interval(low, edges, i * step)
        heads[lane], size = pop_one(heads[lane], words, size, start, freq, precision)
        lane = lane_after(lane, heads)
    return size


def table_intervals(symbols, starts, freqs, edges, step, precision):
    for i in range(len(symbols)):
        starts[i], freqs[i] = table_interval(symbols[i], edges, i * step)


# Bernoulli.


def bernoulli_interval(symbol, edge):
    """Symbol 1 begins at `edge`."""
    return (edge, (1 << PRECISION) - edge) if symbol else (np.int64(0), edge)


def push_bernoulli(heads, words, size, symbols, begin, end, logits, table):
    lane = last_lane(end - begin, heads)
    for i in range(end - 1, begin - 1, -1):
        start, freq = bernoulli_interval(symbols[i], bernoulli_start(logits[i], table))
        heads[lane], size = push_one(heads[lane], words, size, start, freq, PRECISION)
        lane = lane_before(lane, heads)
    return size


def pop_bernoulli(heads, words, size, symbols, begin, end, logits, table):
    lane = 0
    for i in range(begin, end):
        edge = bernoulli_start(logits[i], table)
        symbol = peek_one(heads[lane], PRECISION) >= edge
        start, freq = bernoulli_interval(symbol, edge)
        symbols[i] = symbol
        heads[lane], size = pop_one(heads[lane], words, size, start, freq, PRECISION)
        lane = lane_after(lane, heads)
    return size


def bernoulli_intervals(symbols, starts, freqs, logits, table):
    for i in range(len(symbols)):
        starts[i], freqs[i] = bernoulli_interval(symbols[i], bernoulli_start(logits[i], table))


# Logistic.


def logistic_interval(symbol, n, mean, inverse_scale, table):
    start = logistic_start(symbol, n, mean, inverse_scale, table)
    return start, logistic_start(symbol + 1, n, mean, inverse_scale, table) - start


def push_logistic(heads, words, size, symbols, begin, end, n, means, inverse_scales, table):
    lane = last_lane(end - begin, heads)
    for i in range(end - 1, begin - 1, -1):
        start, freq = logistic_interval(symbols[i], n, means[i], inverse_scales[i], table)
        heads[lane], size = push_one(heads[lane], words, size, start, freq, PRECISION)
        lane = lane_before(lane, heads)
    return size


def pop_logistic(heads, words, size, symbols, begin, end, n, means, inverse_scales, table):
    lane = 0
    for i in range(begin, end):
        cf = peek_one(heads[lane], PRECISION)
        symbols[i], start, freq = logistic_search(cf, n, means[i], inverse_scales[i], table)
        heads[lane], size = pop_one(heads[lane], words, size, start, freq, PRECISION)
        lane = lane_after(lane, heads)
    return size


def logistic_intervals(symbols, starts, freqs, n, means, inverse_scales, table):
    for i in range(len(symbols)):
        starts[i], freqs[i] = logistic_interval(symbols[i], n, means[i], inverse_scales[i], table)


# Mixture of logistics. Each row of parameters is copied: a view of it takes longer than the rest of a push.


def mixture_interval(symbol, n, mean, inverse_scale, weight, table):
    start = mixture_cf(symbol, n, mean, inverse_scale, weight, table)
    return start, mixture_cf(symbol + 1, n, mean, inverse_scale, weight, table) - start


def room(rows):
    return np.empty(rows.shape[1], np.int64)


def copy_row(i, means, inverse_scales, weights, mean, inverse_scale, weight):
    for k in range(means.shape[1]):
        mean[k], inverse_scale[k], weight[k] = means[i, k], inverse_scales[i, k], weights[i, k]


def push_mixture(heads, words, size, symbols, begin, end, n, means, inverse_scales, weights, table):
    mean, inverse_scale, weight = room(means), room(means), room(means)
    lane = last_lane(end - begin, heads)
    for i in range(end - 1, begin - 1, -1):
        copy_row(i, means, inverse_scales, weights, mean, inverse_scale, weight)
        start, freq = mixture_interval(symbols[i], n, mean, inverse_scale, weight, table)
        heads[lane], size = push_one(heads[lane], words, size, start, freq, PRECISION)
        lane = lane_before(lane, heads)
    return size


def pop_mixture(heads, words, size, symbols, begin, end, n, means, inverse_scales, weights, table):
    mean, inverse_scale, weight = room(means), room(means), room(means)
    lane = 0
    for i in range(begin, end):
        copy_row(i, means, inverse_scales, weights, mean, inverse_scale, weight)
        cf = peek_one(heads[lane], PRECISION)
        symbols[i], start, freq = mixture_search(cf, n, mean, inverse_scale, weight, table)
        heads[lane], size = pop_one(heads[lane], words, size, start, freq, PRECISION)
        lane = lane_after(lane, heads)
    return size


def mixture_intervals(symbols, starts, freqs, n, means, inverse_scales, weights, table):
    mean, inverse_scale, weight = room(means), room(means), room(means)
    for i in range(len(symbols)):
        copy_row(i, means, inverse_scales, weights, mean, inverse_scale, weight)
        starts[i], freqs[i] = mixture_interval(symbols[i], n, mean, inverse_scale, weight, table)
