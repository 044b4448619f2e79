/* What pixels around make expect of a pixel's value, in ways that histograms learn. FORMAT.md, section 5.6, specifies it. */
#ifndef BBANS_EXPECTED_H
#define BBANS_EXPECTED_H

#include "histograms.h"
#include "phase.h"

enum {
    BY_THRESHOLD = 6,
    BY_LEAST_SQUARES,
    SINGLE, /* AROUND of them */
    ALIKE = 6,
    FAR = 60 /* the largest distance that is noted */
};

/* Colours here and around that are known, for the maps that learn which go together. base: what is taken from the own colour, G for R and
 * B. The others are means of the nearest pixels if the colour that they are of is not known here. */
typedef struct {
    int32_t base, anchor, pair, other_pair, first, second;
} Colours;

/* Six means, two predictions, then single pixels: the nearest, and four of the own phase; with the contexts of their histograms. variety:
 * how far the nearest are from each other. alike: a bit for each of the first single pixels. */
typedef struct {
    int32_t values[HISTOGRAMS];
    int contexts[HISTOGRAMS], variety, alike;
    Colours colours;
} Expected;

/* How far two values are from each other. */
INLINE int apart(int64_t first, int64_t second) { return (int)smaller(magnitude(first - second), HISTOGRAM_CONTEXTS - 1); }

/* Two looks at four pixels, each of which gives the means of two pairs and of all. A pixel stands for its own value, moved by the step
 * of a known colour from there to here: of the colour before, of G for B's second look, of none for R's. G's second look is at pixels
 * of its own phase. energy is the context of means of all. at points at the pixel's place in the canvas. */
INLINE void expect_means(Expected *expected, const uint8_t *at, int colour, int energy, const Taps *taps) {
    static const int known[3][2] = {{-1, -1}, {1, -1}, {0, 1}}; /* channels */
    const int own = CHANNELS[colour];
    for (int look = 0; look < 2; look++) {
        const int64_t *offsets = !colour && look ? taps->own_phase : taps->nearest;
        const int step = known[colour][look];
        int32_t x[NEAREST];
        for (int i = 0; i < NEAREST; i++) {
            const uint8_t *other = at + offsets[i];
            x[i] = step < 0 ? other[own] : other[own] + at[step] - other[step];
        }
        int32_t *values = expected->values + 3 * look;
        int *contexts = expected->contexts + 3 * look;
        values[0] = shift_right32(x[0] + x[1] + 1, 1), contexts[0] = apart(x[0], x[1]);
        values[1] = shift_right32(x[2] + x[3] + 1, 1), contexts[1] = apart(x[2], x[3]);
        values[2] = shift_right32(x[0] + x[1] + x[2] + x[3] + 2, 2), contexts[2] = energy;
        if (!look) expected->variety = HISTOGRAM_CONTEXTS * contexts[0] + contexts[1];
    }
}

/* The mean of a channel at the nearest pixels, less that of another channel if there is one. */
INLINE int32_t nearest_mean(const uint8_t *at, int channel, int less, const Taps *taps) {
    int32_t sum = 2;
    for (int i = 0; i < NEAREST; i++) {
        const uint8_t *other = at + taps->nearest[i];
        sum += other[channel] - (less < 0 ? 0 : other[less]);
    }
    return shift_right32(sum, 2);
}

/* Once the means and the single pixels are there. */
INLINE void expect_colours(Expected *expected, const uint8_t *at, int colour, const Taps *taps) {
    Colours *colours = &expected->colours;
    const int32_t blue = colour == 2 ? 0 : nearest_mean(at, 2, 1, taps);
    if (colour == 0) {
        colours->base = 0;
        colours->anchor = at[taps->own_phase[0] + 1];
        colours->pair = nearest_mean(at, 1, -1, taps);
        colours->other_pair = nearest_mean(at, 0, 1, taps);
        colours->first = expected->values[5];
        colours->second = blue;
    } else {
        colours->base = colours->anchor = colours->second = at[1];
        colours->pair = colours->other_pair = colour == 2 ? at[0] - at[1] : blue;
        colours->first = nearest_mean(at, CHANNELS[colour], 1, taps);
    }
}

/* Single pixels, moved by the step of G from there to here. Their contexts come from how far they were from the pixels to the left and
 * above: left and above point at the distances (3, AROUND) of these. Pixels are alike where what is known of their colours is the same
 * there and here: for B, R - G; for R, G; for G, R - G there and at the pixel to the left, of the own phase. */
INLINE void expect_single(Expected *expected, const uint8_t *at, int colour, const uint8_t *left, const uint8_t *above, const Taps *taps) {
    const uint8_t *before = at + taps->own_phase[0];
    const int own = CHANNELS[colour], pixel = 3 * AROUND;
    expected->alike = 0;
    for (int i = 0; i < AROUND; i++) {
        const int64_t offset = i < NEAREST ? taps->nearest[i] : taps->own_phase[i - NEAREST];
        const uint8_t *other = at + offset;
        expected->values[SINGLE + i] = colour ? other[own] + at[1] - other[1] : other[own];
        if (i < ALIKE) {
            const int red = other[0] - other[1];
            const int alike = colour == 2 ? red == at[0] - at[1] : colour == 1 ? other[1] == at[1] : red == before[0] - before[1];
            expected->alike |= alike << i;
        }
    }
    left += colour * AROUND, above += colour * AROUND;
    for (int i = 0; i < AROUND; i++)
        expected->contexts[SINGLE + i] =
            (int)smaller((3 * left[i] + 3 * above[i] + above[i - pixel] + above[i + pixel]) >> 2, HISTOGRAM_CONTEXTS - 1);
}

/* Note how far single pixels were from the one that came. */
INLINE void note_distances(uint8_t *distances, const Expected *expected, int32_t symbol) {
    for (int i = 0; i < AROUND; i++)
        distances[i] = (uint8_t)smaller(magnitude(symbol - expected->values[SINGLE + i]), FAR);
}

#endif
