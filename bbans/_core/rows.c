/* The filters of a PNG undone: each byte was replaced by its difference from a prediction, made of the bytes at the left, above, and
 * above at the left, in the pixels there. Source: Portable Network Graphics (PNG) Specification (Third Edition), W3C, 9. */
#include <string.h>

#include "integers.h"

enum { NONE, SUB, UP, AVERAGE, PAETH };

INLINE uint8_t paeth(int left, int up, int corner) {
    const int64_t far_left = magnitude(up - corner), far_up = magnitude(left - corner), far_corner = magnitude(left + up - 2 * corner);
    return (uint8_t)(far_left <= far_up && far_left <= far_corner ? left : (far_up <= far_corner ? up : corner));
}

INLINE void unfilter(const uint8_t *in, int filter, int64_t size, int64_t step, const uint8_t *above, uint8_t *out) {
    for (int64_t i = 0; i < size; i++) {
        const int left = i < step ? 0 : out[i - step], corner = i < step ? 0 : above[i - step], up = above[i];
        const int predicted = filter == SUB ? left : filter == UP ? up : filter == AVERAGE ? (left + up) >> 1 : paeth(left, up, corner);
        out[i] = (uint8_t)(in[i] + predicted);
    }
}

/* Rows (height, size) of filtered rows (height, 1 + size), whose first byte is their filter; above (size) is the row before the first. */
EXPORT int64_t unfilter_rows(const uint8_t *filtered, int64_t height, int64_t size, int64_t step, const uint8_t *above, uint8_t *out) {
    if (height < 0 || size < 0 || step < 1) return BAD_ARGUMENT;
    for (int64_t row = 0; row < height; row++, filtered += 1 + size, above = out, out += size) {
        const uint8_t *in = filtered + 1;
        switch (*filtered) { /* a loop for each, so that it asks for the filter once */
        case NONE: memcpy(out, in, (size_t)size); break;
        case SUB: unfilter(in, SUB, size, step, above, out); break;
        case UP: unfilter(in, UP, size, step, above, out); break;
        case AVERAGE: unfilter(in, AVERAGE, size, step, above, out); break;
        case PAETH: unfilter(in, PAETH, size, step, above, out); break;
        default: return BAD_ARGUMENT;
        }
    }
    return 0;
}
