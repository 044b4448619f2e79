/* The widths of values, from pixels that are known. */
#include "widths.h"

#include <string.h>

/* Sums of the widths of so many values at their lower edges, and at the end. */
static void sum_widths(const int32_t *counts, int n, uint16_t *sums) {
    int64_t before = 0, left = 0, own = counts[0], right = counts[1];
    uint16_t sum = 0;
    for (int i = 0; i < n; i++) {
        const int64_t after = i + 2 < n ? counts[i + 2] : 0;
        const int64_t around = before + 2 * left + 3 * own + 2 * right + after;
        sums[i] = sum;
        sum = (uint16_t)(sum + (around ? (own + EVEN_COUNT) * 9 * 256 / (around + 9 * EVEN_COUNT) : 256));
        before = left, left = own, own = right, right = after;
    }
    sums[n] = sum;
}

/* Widths from pixels (count, 3). widths has room for WIDTHS; counts are COUNTS zeros, before and afterwards. */
EXPORT int64_t find_widths(const uint8_t *pixels, int64_t count, int32_t *counts, uint16_t *widths) {
    if (count < 0) return BAD_ARGUMENT;
    int32_t *of_values = counts + VALUES, *of_differences = counts + ROWS_OF_VALUES * VALUES;
    for (int64_t i = 0; i < count; i++) {
        const int red = pixels[3 * i], green = pixels[3 * i + 1], blue = pixels[3 * i + 2];
        counts[green]++;
        of_values[green * VALUES + red]++;
        of_differences[(red - green + VALUES - 1) * DIFFERENCES + blue - green + VALUES - 1]++;
    }
    for (int row = 0; row < ROWS_OF_VALUES; row++) sum_widths(counts + row * VALUES, VALUES, widths + row * (VALUES + 1));
    widths += ROWS_OF_VALUES * (VALUES + 1);
    for (int row = 0; row < DIFFERENCES; row++)
        sum_widths(of_differences + row * DIFFERENCES, DIFFERENCES, widths + row * (DIFFERENCES + 1));
    memset(counts, 0, COUNTS * sizeof *counts);
    return 0;
}

EXPORT int64_t count_counts(void) { return COUNTS; }

EXPORT int64_t count_widths(void) { return WIDTHS; }
