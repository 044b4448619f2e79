/* Logistics and mixtures of logistics as integer intervals. See bbans/tables.py, which makes the tables and has the units. */
#ifndef BBANS_DISTRIBUTIONS_H
#define BBANS_DISTRIBUTIONS_H

#include "integers.h"

#define PRECISION 24
#define TOTAL ((int64_t)1 << PRECISION)
#define WEIGHT_BITS 14
#define SCALES 128
#define LOG_BITS 16

/* bbans.tables and bbans.models.photo.adaptive make these; lengths are in their docstrings. */
typedef struct {
    const int32_t *logistic;       /* 1026 */
    const int32_t *exponentials;   /* 256 */
    const int32_t *inverse_scales; /* SCALES */
    const int64_t *log2;           /* 1025 */
    const int32_t *spreads;        /* SCALES */
    const int32_t *energies;       /* 1537 */
    const int32_t *factors;        /* 129 */
    const int16_t *logarithms;     /* 4353 */
} Tables;

/* The k logistics of one symbol; means are in 1/64 of a symbol. */
typedef struct {
    const int64_t *mean, *inverse_scale, *weight;
} Mixture;

/* floor(log2(x)), for x in 1 .. 2**31. */
INLINE int64_t highest_bit(int64_t x) {
#if defined(__GNUC__)
    return 63 - __builtin_clzll((unsigned long long)x);
#else
    int64_t bit = 0;
    for (int step = 16; step; step >>= 1) {
        if (x >> step) {
            x >>= step;
            bit += step;
        }
    }
    return bit;
#endif
}

/* log2(freq) in 2**-16 bit, to the nearest, for freq in 1 .. 2**31. */
INLINE int64_t log2_of(int64_t freq, const int64_t *table) {
    const int64_t exponent = highest_bit(freq);
    int64_t mantissa = freq << (31 - exponent);
    int64_t entry = mantissa >> 21 & 1023, fraction = mantissa >> 5 & 0xFFFF;
    int64_t below = table[entry];
    int64_t value = below + ((table[entry + 1] - below) * fraction >> 16);
    return (exponent << LOG_BITS) + ((value + (1 << 15)) >> 16);
}

/* The lower edge of symbol x, in 1/64 of a symbol. */
INLINE int64_t edge_of(int64_t x) { return x * 64 - 32; }

/* 2**24 times the logistic function, at a place in the table with 20 fractional bits, 0 standing at entry 512. */
INLINE int64_t logistic_at(int64_t offset, const int32_t *table) {
    int64_t place = clamp(offset + ((int64_t)512 << 20), 0, (int64_t)1024 << 20);
    int64_t entry = place >> 20, fraction = place >> 4 & 0xFFFF;
    int64_t below = table[entry];
    return below + ((table[entry + 1] - below) * fraction >> 16);
}

/* 2**24 * sigmoid(position / scale), position in 1/64 of a symbol from the mean. */
INLINE int64_t logistic_cf(int64_t position, int64_t inverse_scale, const int32_t *table) {
    return logistic_at(position * inverse_scale, table);
}

/* The start of symbol x in 0 .. n of one logistic. */
INLINE int64_t logistic_start(int64_t x, int64_t n, int64_t mean, int64_t inverse_scale, const int32_t *table) {
    if (x <= 0) return 0;
    if (x >= n) return TOTAL;
    return (logistic_cf(edge_of(x) - mean, inverse_scale, table) * (TOTAL - n) >> PRECISION) + x;
}

/* The start of symbol 1 of a Bernoulli variable; logit in 1/64 nat. */
INLINE int64_t bernoulli_start(int64_t logit, const int32_t *table) {
    return logistic_start(1, 2, 32 + logit, 524288, table);
}

/* The symbol of a logistic whose interval holds cf; steps that double from the mean, then halves. Inverse: logistic_start. */
INLINE int64_t logistic_search(int64_t cf, int64_t n, int64_t mean, int64_t inverse_scale, const int32_t *table, int64_t *start,
                               int64_t *freq) {
    int64_t low = clamp(shift_right(mean + 32, 6), 0, n - 1), high = low + 1, step = 1;
    int64_t below = logistic_start(low, n, mean, inverse_scale, table);
    int64_t stop = logistic_start(high, n, mean, inverse_scale, table);
    while (stop <= cf) {
        low = high;
        below = stop;
        high = smaller(high + step, n);
        step *= 2;
        stop = logistic_start(high, n, mean, inverse_scale, table);
    }
    while (below > cf) {
        high = low;
        stop = below;
        low = larger(low - step, 0);
        step *= 2;
        below = logistic_start(low, n, mean, inverse_scale, table);
    }
    while (high - low > 1) {
        int64_t middle = (low + high) >> 1, edge = logistic_start(middle, n, mean, inverse_scale, table);
        if (edge <= cf) {
            low = middle;
            below = edge;
        } else {
            high = middle;
            stop = edge;
        }
    }
    *start = below;
    *freq = stop - below;
    return low;
}

/* 2**(24 + 14) times the share of a mixture of k logistics below an edge in 1/64 of a symbol. */
INLINE int64_t mixture_below(int64_t edge, const Mixture *mixture, int k, const int32_t *table) {
    int64_t total = 0;
    for (int i = 0; i < k; i++)
        total += mixture->weight[i] * logistic_cf(edge - mixture->mean[i], mixture->inverse_scale[i], table);
    return total;
}

/* The start of symbol x in 0 .. n of a mixture. */
INLINE int64_t mixture_start(int64_t x, int64_t n, const Mixture *mixture, int k, const int32_t *table) {
    if (x <= 0) return 0;
    if (x >= n) return TOTAL;
    return (mixture_below(edge_of(x), mixture, k, table) * (TOTAL - n) >> (PRECISION + WEIGHT_BITS)) + x;
}

/* The symbol of a mixture whose interval holds cf. Inverse: mixture_start. */
INLINE int64_t mixture_search(int64_t cf, int64_t n, const Mixture *mixture, int k, const int32_t *table, int64_t *start,
                              int64_t *freq) {
    int64_t low = 0, high = n, below = 0, stop = TOTAL;
    while (high - low > 1) {
        int64_t middle = (low + high) >> 1, edge = mixture_start(middle, n, mixture, k, table);
        if (edge <= cf) {
            low = middle;
            below = edge;
        } else {
            high = middle;
            stop = edge;
        }
    }
    *start = below;
    *freq = stop - below;
    return low;
}

/* The softmax of k integer logits, in 1/16 nat, as weights that sum to 2**14; what rounding leaves goes to the first of the largest. */
INLINE void weights_from_logits(const int64_t *logits, int64_t *weights, int k, const int32_t *exponentials) {
    int largest = 0;
    for (int i = 1; i < k; i++)
        if (logits[i] > logits[largest]) largest = i;
    int64_t total = 0;
    for (int i = 0; i < k; i++) {
        weights[i] = exponentials[smaller(logits[largest] - logits[i], 255)];
        total += weights[i];
    }
    int64_t rest = 1 << WEIGHT_BITS;
    for (int i = 0; i < k; i++) {
        weights[i] = divide(weights[i] << WEIGHT_BITS, total);
        rest -= weights[i];
    }
    weights[largest] += rest;
}

#endif
