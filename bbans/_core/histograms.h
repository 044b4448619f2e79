/* Histograms that learn how far values turn out to be from what pixels around make expect. Each is of one way to expect a value, in
 * one context. FORMAT.md, section 5.6, specifies them.
 *
 * Shares have 16 fractional bits. A histogram keeps the share below each of its bars: one bar for each distance in -16 .. 15, the
 * outermost also for those beyond. */
#ifndef BBANS_HISTOGRAMS_H
#define BBANS_HISTOGRAMS_H

#include "integers.h"

enum {
    HISTOGRAMS = 8, /* ways to expect a value */
    HISTOGRAM_CONTEXTS = 16,
    BARS = 32,
    SHARE_BITS = 16,
    LEAST_SHARE = 1 << 12, /* beside each share, so that few values do not decide */
    SLOWEST = 255          /* after so many values, rates fall no further */
};

typedef struct {
    int32_t below[BARS + 1], seen;
} Histogram;

/* Shares that fall by a fifth from bar to bar, as if of three values; and the rates by which the next move them. */
static void start_histograms(Histogram *histograms, int count, int32_t *rates) {
    Histogram fresh = {{0}, 3};
    int64_t shares[BARS], all = 0, below = 0;
    for (int i = 0; i < BARS; i++) {
        int64_t share = 1 << 20;
        for (int step = i < BARS / 2 ? BARS / 2 - i : i - BARS / 2; step; step--) share = share * 210 >> 8;
        all += shares[i] = share;
    }
    for (int i = 0; i < BARS; i++) fresh.below[i + 1] = (int32_t)(((below += shares[i]) << SHARE_BITS) / all);
    for (int i = 0; i < count; i++) histograms[i] = fresh;
    for (int i = 0; i <= SLOWEST; i++) rates[i] = (2 << SHARE_BITS) / (2 * i + 3);
}

/* The share of distances below one. */
INLINE int32_t share_below(const Histogram *histogram, int64_t distance) {
    return histogram->below[clamp(distance + BARS / 2, 0, BARS)];
}

/* Move the shares towards the distance that came. */
INLINE void learn_histogram(Histogram *histogram, int64_t distance, const int32_t *rates) {
    const int32_t bar = (int32_t)clamp(distance + BARS / 2, 0, BARS - 1);
    histogram->seen += histogram->seen < SLOWEST;
    const int32_t rate = rates[histogram->seen]; /* at most 2**17 / 11, so that products stay below 2**30 */
    int32_t *below = histogram->below;
    for (int32_t i = 1; i <= BARS; i++) /* the last stays, and fills up a vector */
        below[i] += shift_right32(((i > bar ? 1 << SHARE_BITS : 0) - below[i]) * rate + (1 << (SHARE_BITS - 1)), SHARE_BITS);
}

#endif
