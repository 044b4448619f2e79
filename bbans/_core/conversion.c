/* RGB as luma and chroma that it was converted from, and back. bbans/images/conversion.py has the tables of conversions.
 *
 * Samples of a source, as of RGB, are three bytes: in the place of G the luma, in those of R and B the luma plus the chroma of red and
 * of blue, less its middle. Chroma lies in -255 .. 255 and is an index of tables less 255. Converted values have `shift` fractional
 * bits, are rounded down and clipped to a byte. */
#include "integers.h"

enum { NEUTRAL = 255, CHROMA = 511, REACH = 16, FAILED_BITS = 10, FAILED = 1 << FAILED_BITS };

/* Shapes: luma (256,), red, green_red, green_blue and blue (CHROMA,), all int32. inverse: shares of R, G and B in the luma, with 16
 * fractional bits, and what to add. */
typedef struct {
    const int32_t *luma, *red, *green_red, *green_blue, *blue;
    const int64_t *inverse;
    int64_t shift;
} Conversion;

INLINE int64_t byte_of(int64_t value) { return clamp(value, 0, 255); }

/* Whether a source gives an RGB pixel. */
INLINE int gives(const Conversion *c, int64_t luma, int64_t red, int64_t blue, const uint8_t *rgb) {
    const int64_t y = c->luma[luma];
    const int shift = (int)c->shift;
    red += NEUTRAL;
    blue += NEUTRAL;
    return byte_of(shift_right(y + c->red[red], shift)) == rgb[0] && byte_of(shift_right(y + c->blue[blue], shift)) == rgb[2] &&
           byte_of(shift_right(y + c->green_red[red] + c->green_blue[blue], shift)) == rgb[1];
}

/* The first place up to `last` in a table, which does not fall, where it and what is added reach a byte. */
INLINE int64_t first_reaching(const int32_t *table, int64_t last, int64_t added, int64_t byte, int64_t shift) {
    const int64_t target = byte * ((int64_t)1 << shift) - added;
    int64_t low = 0, high = last;
    while (low < high) {
        const int64_t middle = (low + high) >> 1;
        if (table[middle] >= target)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The first chroma that with a luma's share reaches a byte. */
INLINE int64_t first_chroma(const int32_t *table, int64_t luma, int64_t byte, int64_t shift) {
    return first_reaching(table, CHROMA - 1, luma, byte, shift) - NEUTRAL;
}

INLINE int is_source(int64_t luma, int64_t red, int64_t blue) {
    return luma >= 0 && luma <= 255 && luma + red >= 0 && luma + red <= 255 && luma + blue >= 0 && luma + blue <= 255;
}

/* Set one candidate, if it is a source of the pixel. */
INLINE int try_source(const Conversion *c, int64_t luma, int64_t red, int64_t blue, const uint8_t *rgb, uint8_t *source) {
    if (!is_source(luma, red, blue) || !gives(c, luma, red, blue, rgb)) return 0;
    source[0] = (uint8_t)(luma + red);
    source[1] = (uint8_t)luma;
    source[2] = (uint8_t)(luma + blue);
    return 1;
}

INLINE int is_clipped(uint8_t byte) { return byte == 0 || byte == 255; }

/* The source with a chroma, if it has one: its luma is what a byte that was not clipped says, else about that of the pixel before. */
INLINE int try_chroma(const Conversion *c, int64_t red, int64_t blue, int64_t near, const uint8_t *rgb, uint8_t *source) {
    if (magnitude(red) > NEUTRAL || magnitude(blue) > NEUTRAL) return 0;
    const int64_t added[3] = {c->red[red + NEUTRAL], c->green_red[red + NEUTRAL] + c->green_blue[blue + NEUTRAL], c->blue[blue + NEUTRAL]};
    for (int i = 0; i < 3; i++) {
        const int channel = (i + 1) % 3; /* G first */
        if (is_clipped(rgb[channel])) continue;
        const int64_t luma = first_reaching(c->luma, 255, added[channel], rgb[channel], c->shift);
        return try_source(c, luma, red, blue, rgb, source) || try_source(c, luma + 1, red, blue, rgb, source);
    }
    return try_source(c, near, red, blue, rgb, source) || try_source(c, rgb[1], red, blue, rgb, source);
}

/* The luma that RGB say, about. */
INLINE int64_t luma_of(const Conversion *c, const uint8_t *rgb) {
    const int64_t sum = c->inverse[0] * rgb[0] + c->inverse[1] * rgb[1] + c->inverse[2] * rgb[2] + c->inverse[3];
    return byte_of(shift_right(sum, 16));
}

/* The source of a pixel that was not clipped. */
INLINE int find_exact(const Conversion *c, const uint8_t *rgb, uint8_t *source) {
    const int64_t near = luma_of(c, rgb);
    for (int64_t i = 0; i < 7; i++) {
        const int64_t luma = near + (i & 1 ? -((i + 1) >> 1) : i >> 1);
        if (luma < 0 || luma > 255) continue;
        const int64_t red = first_chroma(c->red, c->luma[luma], rgb[0], c->shift);
        const int64_t blue = first_chroma(c->blue, c->luma[luma], rgb[2], c->shift);
        for (int j = 0; j < 4; j++)
            if (try_source(c, luma, red + (j & 1), blue + (j >> 1), rgb, source)) return 1;
    }
    return 0;
}

/* The source of a pixel that was clipped, of which there are many, with a chroma as near as can be. */
INLINE int find_near(const Conversion *c, int64_t red, int64_t blue, int64_t luma, const uint8_t *rgb, uint8_t *source) {
    for (int64_t radius = 0; radius <= REACH; radius++) {
        for (int64_t i = -radius; i <= radius; i++) {
            const int64_t step = magnitude(i) == radius ? 1 : 2 * radius; /* the edge of a square */
            for (int64_t j = -radius; j <= radius; j += step)
                if (try_chroma(c, red + i, blue + j, luma, rgb, source)) return 1;
        }
    }
    return 0;
}

static int find_source(const Conversion *c, const uint8_t *rgb, const uint8_t *before, uint8_t *source) {
    if (!is_clipped(rgb[0]) && !is_clipped(rgb[1]) && !is_clipped(rgb[2])) return find_exact(c, rgb, source);
    const int64_t last = before[1], near = luma_of(c, rgb);
    return try_source(c, last, before[0] - last, before[2] - last, rgb, source) ||
           find_near(c, first_chroma(c->red, c->luma[near], rgb[0], c->shift),
                     first_chroma(c->blue, c->luma[near], rgb[2], c->shift), near, rgb, source) ||
           find_near(c, before[0] - last, before[2] - last, last, rgb, source);
}

/* A pixel and the source before it as one number. */
INLINE uint64_t key_of(const uint8_t *rgb, const uint8_t *before) {
    uint64_t key = 1;
    for (int i = 0; i < 3; i++) key = key << 16 | (uint64_t)rgb[i] << 8 | before[i];
    return key;
}

/* How many pixels (rows, columns, 3) have no source: their places are in exceptions, which has room for `most`, and what stands in
 * sources for them is that of the pixel before. Stops after `most`. */
EXPORT int64_t find_sources(const uint8_t *pixels, int64_t rows, int64_t columns, const Conversion *conversion, uint8_t *sources,
                            int64_t *exceptions, int64_t most) {
    static const uint8_t gray[3] = {128, 128, 128};
    uint64_t failed[FAILED] = {0}; /* keys that were looked for in vain, which takes long, and is often asked again */
    int64_t count = 0;
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t before = i % columns ? i - 1 : i - columns;
        const uint8_t *beside = before < 0 ? gray : sources + 3 * before;
        const uint64_t key = key_of(pixels + 3 * i, beside);
        uint64_t *known = &failed[(key * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - FAILED_BITS)];
        if (*known != key && find_source(conversion, pixels + 3 * i, beside, sources + 3 * i)) continue;
        *known = key;
        if (count == most) return count + 1;
        exceptions[count++] = i;
        for (int channel = 0; channel < 3; channel++) sources[3 * i + channel] = beside[channel];
    }
    return count;
}

/* Convert pixels in their place. Inverse: find_sources. */
EXPORT int64_t convert_sources(uint8_t *pixels, int64_t count, const Conversion *c) {
    const int shift = (int)c->shift;
    for (int64_t i = 0; i < count; i++) {
        uint8_t *pixel = pixels + 3 * i;
        const int64_t y = c->luma[pixel[1]], red = pixel[0] - pixel[1] + NEUTRAL, blue = pixel[2] - pixel[1] + NEUTRAL;
        pixel[0] = (uint8_t)byte_of(shift_right(y + c->red[red], shift));
        pixel[1] = (uint8_t)byte_of(shift_right(y + c->green_red[red] + c->green_blue[blue], shift));
        pixel[2] = (uint8_t)byte_of(shift_right(y + c->blue[blue], shift));
    }
    return 0;
}
