/* The filters of a PNG, and how they are undone: each byte is replaced by its difference from a prediction, made of the bytes at the
 * left, above, and above at the left, in the pixels there. Source: Portable Network Graphics (PNG) Specification (Third Edition),
 * W3C, 9 and 12.7. */
#include <string.h>

#include "integers.h"

enum { NONE, SUB, UP, AVERAGE, PAETH, FILTERS, LEAST_RESIDUALS };

INLINE int predicted(int filter, int left, int up, int corner) {
    if (filter == NONE) return 0;
    if (filter == SUB) return left;
    if (filter == UP) return up;
    if (filter == AVERAGE) return (left + up) >> 1;
    const int64_t far_left = magnitude(up - corner), far_up = magnitude(left - corner), far_corner = magnitude(left + up - 2 * corner);
    return far_left <= far_up && far_left <= far_corner ? left : (far_up <= far_corner ? up : corner);
}

/* Filter a row. The sum of the sizes of its residuals, as signed bytes. */
INLINE int64_t filter_row(const uint8_t *restrict in, int filter, int64_t size, int64_t step, const uint8_t *restrict above,
                          uint8_t *restrict out) {
    int64_t sum = 0;
    for (int64_t i = 0; i < smaller(step, size); i++) out[i] = (uint8_t)(in[i] - predicted(filter, 0, above[i], 0));
    for (int64_t i = step; i < size; i++) out[i] = (uint8_t)(in[i] - predicted(filter, in[i - step], above[i], above[i - step]));
    for (int64_t i = 0; i < size; i++) sum += out[i] < 128 ? out[i] : 256 - out[i];
    return sum;
}

static int64_t filter_row_by(int filter, const uint8_t *in, int64_t size, int64_t step, const uint8_t *above, uint8_t *out) {
    switch (filter) { /* a loop for each, so that it asks for the filter once */
    case NONE: return filter_row(in, NONE, size, step, above, out);
    case SUB: return filter_row(in, SUB, size, step, above, out);
    case UP: return filter_row(in, UP, size, step, above, out);
    case AVERAGE: return filter_row(in, AVERAGE, size, step, above, out);
    default: return filter_row(in, PAETH, size, step, above, out);
    }
}

/* Filtered rows (height, 1 + size), whose first byte is their filter, of rows (height, size); above (size) is the row before the first.
 * filters (height): of each row, or LEAST_RESIDUALS for the one with the least sum of their sizes. Inverse: unfilter_rows. */
EXPORT int64_t filter_rows(const uint8_t *rows, int64_t height, int64_t size, int64_t step, const uint8_t *above, const uint8_t *filters,
                           uint8_t *out) {
    if (height < 0 || size < 0 || step < 1) return BAD_ARGUMENT;
    for (int64_t row = 0; row < height; row++, above = rows, rows += size, out += 1 + size) {
        int filter = filters[row];
        if (filter > LEAST_RESIDUALS || filter == FILTERS) return BAD_ARGUMENT;
        if (filter == LEAST_RESIDUALS) {
            int64_t least = INT64_MAX;
            for (int each = 0; each < FILTERS; each++) {
                const int64_t sum = filter_row_by(each, rows, size, step, above, out + 1);
                if (sum < least) least = sum, filter = each;
            }
        }
        *out = (uint8_t)filter;
        filter_row_by(filter, rows, size, step, above, out + 1);
    }
    return 0;
}

INLINE void unfilter_row(const uint8_t *in, int filter, int64_t size, int64_t step, const uint8_t *above, uint8_t *out) {
    for (int64_t i = 0; i < size; i++) {
        const int left = i < step ? 0 : out[i - step], corner = i < step ? 0 : above[i - step];
        out[i] = (uint8_t)(in[i] + predicted(filter, left, above[i], corner));
    }
}

/* Rows (height, size) of filtered rows (height, 1 + size), whose first byte is their filter; above (size) is the row before the first. */
EXPORT int64_t unfilter_rows(const uint8_t *filtered, int64_t height, int64_t size, int64_t step, const uint8_t *above, uint8_t *out) {
    if (height < 0 || size < 0 || step < 1) return BAD_ARGUMENT;
    for (int64_t row = 0; row < height; row++, filtered += 1 + size, above = out, out += size) {
        const uint8_t *in = filtered + 1;
        switch (*filtered) { /* as in filter_row_by */
        case NONE: memcpy(out, in, (size_t)size); break;
        case SUB: unfilter_row(in, SUB, size, step, above, out); break;
        case UP: unfilter_row(in, UP, size, step, above, out); break;
        case AVERAGE: unfilter_row(in, AVERAGE, size, step, above, out); break;
        case PAETH: unfilter_row(in, PAETH, size, step, above, out); break;
        default: return BAD_ARGUMENT;
        }
    }
    return 0;
}
