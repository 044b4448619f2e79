/* What is known of a pixel of the photo model before it is coded: its mixture as the networks give it, and the residuals around.
 *
 * Numbers: centre is the mean of a mixture in 1/64 of a pixel value, spread its spread in 1/1024, inverse 2**30 / spread.
 * Residuals and features are in spreads with 8 fractional bits. */
#ifndef BBANS_FEATURES_H
#define BBANS_FEATURES_H

#include "phase.h"

enum {
    SPREAD_CLASSES = 8,
    ENERGY_CLASSES = 16,
    PATTERNS = 243,
    FEATURES = 32, /* room for; 28 are used at most */
    ONE = 256,     /* a residual of one spread */
    RESIDUAL_LIMIT = 6 * ONE
};

/* The mixture of one symbol. */
typedef struct {
    int64_t logit[MAX_COMPONENTS], mean[MAX_COMPONENTS], index[MAX_COMPONENTS];
    int64_t inverse_scale[MAX_COMPONENTS], weight[MAX_COMPONENTS];
    int64_t centre, spread, inverse;
} Prediction;

/* first, second: four times the residuals from the references of the colours before, G then R. */
INLINE void predict(Prediction *p, const int16_t *row, int64_t reference, int colour, int64_t first, int64_t second, int k,
                    const Tables *tables) {
    for (int i = 0; i < k; i++) {
        p->logit[i] = row[colour * k + i];
        p->index[i] = clamp(row[(6 + colour) * k + i], 0, SCALES - 1);
        int64_t mean = 16 * reference + row[(3 + colour) * k + i];
        if (colour == 1)
            mean += shift_right(row[9 * k + i] * first + 2, 2);
        else if (colour == 2)
            mean += shift_right(row[10 * k + i] * first + row[11 * k + i] * second + 2, 2);
        p->mean[i] = mean;
    }
    weights_from_logits(p->logit, p->weight, k, tables->exponentials);
    int64_t centre = 0, spread = 0;
    for (int i = 0; i < k; i++) centre += p->weight[i] * p->mean[i];
    centre = shift_right(centre, WEIGHT_BITS);
    for (int i = 0; i < k; i++) spread += p->weight[i] * (tables->spreads[p->index[i]] + 8 * magnitude(p->mean[i] - centre));
    p->centre = centre;
    p->spread = spread >> WEIGHT_BITS;
    p->inverse = divide(1 << 30, smaller(p->spread, UINT32_MAX));
}

/* A distance in 1/64 of a pixel value in spreads. */
INLINE int32_t residual(int64_t distance, int64_t inverse) {
    return (int32_t)clamp(shift_right(distance * inverse, 18), -RESIDUAL_LIMIT, RESIDUAL_LIMIT);
}

/* Octave of the spread: 0 below a quarter of a pixel value, 7 from 16. */
INLINE int spread_class(int64_t spread) {
    int octave = 0;
    while (octave < SPREAD_CLASSES - 1 && spread >= (int64_t)256 << octave) octave++;
    return octave;
}

/* Fill in the features of a symbol but the last, which is what least squares predict; returns how many. own points at its place
 * among own residuals, which have stride values a row. */
INLINE int gather(int32_t *features, const int32_t *own, int64_t stride, int64_t y, int64_t x, int colour, const Phase *phase,
                  const Prediction *p, int64_t reference, const int64_t *differences) {
    const int32_t *left = own - 3, *above = own - stride;
    features[0] = left[colour];
    features[1] = above[colour];
    features[2] = above[colour - 3];
    features[3] = above[colour + 3];
    features[4] = own[colour - 6];
    features[5] = own[colour - 2 * stride];
    int count = 6;
    for (int other = 0; other < colour; other++) features[count++] = own[other];
    for (int other = 0; other < 3; other++) {
        if (other == colour) continue;
        features[count++] = left[other];
        features[count++] = above[other];
    }
    for (int64_t i = 0; i < phase->count_places; i++) {
        const int64_t *place = phase->places + 3 * i;
        int64_t row = phase->top + y + 1 + place[1], column = x + 1 + place[2];
        features[count++] = phase->earlier[((place[0] * phase->earlier_height + row) * phase->earlier_width + column) * 3 + colour];
    }
    features[count++] = residual(16 * reference - p->centre, p->inverse);
    for (int other = 0; other < colour; other++) features[count++] = residual(16 * differences[other], p->inverse);
    for (int64_t i = 0; i < phase->nears; i++) {
        int64_t near = phase->near[((i * phase->height + y) * phase->width + x) * 3 + CHANNELS[colour]];
        features[count++] = residual(16 * near, p->inverse);
    }
    return count;
}

/* The mean error of the symbols around, in 1/256 of a spread. errors points at the symbol's place. Of the phases before, it is the
 * distance from the networks' mixtures that counts, and the two nearest count twice. */
INLINE int64_t energy_around(const int32_t *errors, int64_t stride, int64_t y, int64_t x, int colour, const Phase *phase) {
    const int32_t *left = errors - 3, *above = errors - stride;
    int64_t total = 2 * left[colour] + 2 * above[colour] + above[colour - 3];
    if (colour == 0)
        total += left[colour] + above[colour] + above[colour + 3];
    else if (colour == 1)
        total += above[colour + 3] + 2 * errors[0];
    else
        total += errors[0] + 2 * errors[1];
    if (!phase->count_places) return total >> 3;
    for (int i = 0; i < 6; i++) {
        const int64_t *place = phase->places + 3 * i;
        int64_t row = phase->top + y + 1 + place[1], column = x + 1 + place[2];
        int64_t error =
            magnitude(phase->earlier[((place[0] * phase->earlier_height + row) * phase->earlier_width + column) * 3 + colour]);
        total += i < 2 ? 2 * error : error;
    }
    return total >> 4;
}

/* The signs of the first five features, those within half a spread being none, as a number to the base of 3. */
INLINE int pattern(const int32_t *features) {
    int number = 0;
    for (int i = 0; i < 5; i++) number = 3 * number + 1 - (features[i] < -ONE / 2) + (features[i] > ONE / 2);
    return number;
}

#endif
