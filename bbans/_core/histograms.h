/* Histograms that learn how far values turn out to be from what pixels around make expect. Each is of one way to expect a value, in
 * one context. FORMAT.md, section 5.6, specifies them.
 *
 * Shares have 15 fractional bits, so that a vector holds many. A histogram keeps the share below each of its bars: one bar for each
 * distance in -16 .. 15, the outermost also for those beyond. */
#ifndef BBANS_HISTOGRAMS_H
#define BBANS_HISTOGRAMS_H

#include "integers.h"

enum {
    AROUND = 8,               /* pixels that are looked at singly */
    HISTOGRAMS = 8 + AROUND,  /* ways to expect a value */
    HISTOGRAM_CONTEXTS = 16,
    BARS = 32,
    SHARE_BITS = 15,
    SHARE_LIMIT = (1 << SHARE_BITS) - 1,
    LEAST_SHARE = 1 << (SHARE_BITS - 4), /* beside each share, so that few values do not decide */
    SLOWEST = 255                        /* after so many values, rates fall no further */
};

typedef struct {
    int16_t below[BARS + 1], seen;
} Histogram;

/* By how much the next value moves shares after so many, with SHARE_BITS fractional bits. */
static void find_rates(int16_t *rates) {
    rates[0] = 0; /* nothing is learned before a value is counted */
    for (int i = 1; i <= SLOWEST; i++) rates[i] = (int16_t)((2 << SHARE_BITS) / (2 * i + 3));
}

/* Shares that fall by a fifth from bar to bar, as if of three values. */
static void start_histograms(Histogram *histograms, int count) {
    Histogram fresh = {{0}, 3};
    int64_t shares[BARS], all = 0, below = 0;
    for (int i = 0; i < BARS; i++) {
        int64_t share = 1 << 20;
        for (int step = i < BARS / 2 ? BARS / 2 - i : i - BARS / 2; step; step--) share = share * 210 >> 8;
        all += shares[i] = share;
    }
    for (int i = 0; i < BARS; i++) fresh.below[i + 1] = (int16_t)((below += shares[i]) * SHARE_LIMIT / all);
    for (int i = 0; i < count; i++) histograms[i] = fresh;
}

/* The share of distances below one. */
INLINE int32_t share_below(const Histogram *histogram, int32_t distance) {
    return histogram->below[clamp32(distance + BARS / 2, 0, BARS)];
}

/* Move the shares towards the distance that came. */
INLINE void learn_histogram(Histogram *restrict histogram, int32_t distance, const int16_t *restrict rates) {
    const int16_t bar = (int16_t)clamp32(distance + BARS / 2, 0, BARS - 1);
    histogram->seen = (int16_t)(histogram->seen + (histogram->seen < SLOWEST));
    const int16_t rate = rates[histogram->seen];
    int16_t *below = histogram->below;
    for (int16_t i = 0; i < BARS; i++) { /* the first and the last stay */
        const int16_t rest = (int16_t)((i > bar ? SHARE_LIMIT : 0) - below[i]);
        below[i] = (int16_t)(below[i] + (int16_t)(((rest * rate >> 14) + 1) >> 1));
    }
}

#endif
