/* How wide the interval of a pixel's value is, by how often known pixels have that value. Where colours were converted, or a picture
 * was made brighter, some values come rarely or never next to others that come often. FORMAT.md, section 5.6, specifies widths.
 *
 * Sums of widths with 8 fractional bits, modulo 2**16, at the lower edge of each value and at the end: of G, of R for each G, and of
 * B - G for each R - G. An even width is 1. */
#ifndef BBANS_WIDTHS_H
#define BBANS_WIDTHS_H

#include "integers.h"

enum {
    VALUES = 256,
    DIFFERENCES = 2 * VALUES - 1, /* of two values */
    ROWS_OF_VALUES = 1 + VALUES,
    COUNTS = ROWS_OF_VALUES * VALUES + DIFFERENCES * DIFFERENCES,
    WIDTHS = ROWS_OF_VALUES * (VALUES + 1) + DIFFERENCES * (DIFFERENCES + 1),
    WIDTHS_REACH = 8, /* values on either side of the threshold */
    EVEN_COUNT = 10   /* pixels that each value has beside those that came */
};

/* The widths around the threshold of a pixel's colour, which fill the room between even edges. */
typedef struct {
    const uint16_t *sums; /* at the lower edges of values 0 .. 256 */
    int64_t first, last, ratio;
} Widths;

/* Of a pixel whose colours before are known. */
INLINE Widths widths_at(const uint16_t *widths, const uint8_t *pixel, int colour, int64_t threshold) {
    const int64_t green = pixel[1], red = pixel[0];
    const uint16_t *of_differences = widths + ROWS_OF_VALUES * (VALUES + 1);
    const uint16_t *sums = colour == 0   ? widths
                           : colour == 1 ? widths + (1 + green) * (VALUES + 1)
                                         : of_differences + (red - green + VALUES - 1) * (DIFFERENCES + 1) + VALUES - 1 - green;
    const int64_t first = larger(threshold - WIDTHS_REACH, 0), last = smaller(threshold + WIDTHS_REACH, VALUES);
    const int64_t all = (uint16_t)(sums[last] - sums[first]);
    return (Widths){sums, first, last, ((last - first) << 22) / larger(all, 1)};
}

/* The lower edge of value x, in 1/64 of a value. */
INLINE int64_t uneven_edge(int64_t x, const Widths *w) {
    if (x <= w->first || x >= w->last) return 64 * x - 32;
    return 64 * w->first - 32 + ((uint16_t)(w->sums[x] - w->sums[w->first]) * w->ratio >> 16);
}

#endif
