/* Probabilities of decisions by context: of whether a pixel's value is at least x, by where x lies among what is known. FORMAT.md,
 * section 5.6, specifies them. A threshold is met in the same way wherever it is, so all decisions of a colour share the maps. */
#ifndef BBANS_CONTEXT_MAPS_H
#define BBANS_CONTEXT_MAPS_H

#include "expected.h"

enum {
    SIDES_OF_FOUR = 81, /* three for each of four values: below x, at x or above */
    MEAN_SIDES = 24,    /* quarters of a value, around x */
    POSITIONS = 3 * SIDES_OF_FOUR, /* of x among the nearest pixels and near the mean */
    CONTEXT_MAPS = 13,
    CHANCE_BITS = 16,
    LEAST_CHANCE = 1 << 8 /* beside each side */
};

/* Where each map begins among the contexts of all, in the order of find_contexts. */
enum {
    MAP_1 = 0,
    MAP_2 = MAP_1 + SIDES_OF_FOUR * SIDES_OF_FOUR,
    MAP_3 = MAP_2 + MEAN_SIDES * SIDES_OF_FOUR,
    MAP_4 = MAP_3 + MEAN_SIDES * SIDES_OF_FOUR,
    MAP_5 = MAP_4 + 3 * 3 * 3 * SIDES_OF_FOUR,
    MAP_6 = MAP_5 + (1 << 2 * ALIKE),
    MAP_7 = MAP_6 + 256 * MEAN_SIDES,
    MAP_8 = MAP_7 + 511 * MEAN_SIDES,
    MAP_9 = MAP_8 + (3 << 14),
    MAP_10 = MAP_9 + (1 << 14),
    MAP_11 = MAP_10 + (1 << 16),
    MAP_12 = MAP_11 + (1 << 16),
    MAP_13 = MAP_12 + (1 << 15),
    ALL_CONTEXTS = MAP_13 + (1 << 15)
};

/* The probability of yes, and how many decisions have taught it, up to SLOWEST. */
typedef struct {
    uint16_t yes, seen;
} Chance;

/* The maps of a colour, one after another. */
typedef struct {
    Chance chances[ALL_CONTEXTS];
} ContextMaps;

static void start_context_maps(ContextMaps *maps, int count) {
    for (int i = 0; i < count; i++)
        for (int j = 0; j < ALL_CONTEXTS; j++) maps[i].chances[j] = (Chance){1 << (CHANCE_BITS - 1), 0};
}

INLINE void learn_chance(Chance *chance, int yes, const int16_t *rates) {
    chance->seen = (uint16_t)(chance->seen + (chance->seen < SLOWEST));
    const int32_t rest = (yes ? (1 << CHANCE_BITS) - 1 : 0) - chance->yes;
    chance->yes = (uint16_t)(chance->yes + shift_right32(rest * rates[chance->seen] + (1 << (SHARE_BITS - 1)), SHARE_BITS));
}

/* Three for each of some values, the first the highest: 0 below x, 1 at x, 2 above. */
INLINE int sides_of(const int32_t *values, int count, int32_t x) {
    int sides = 0;
    for (int i = 0; i < count; i++) sides = 3 * sides + (values[i] >= x) + (values[i] > x);
    return sides;
}

/* The lowest bits of a number, of either sign. */
INLINE int lowest(int32_t number, int bits) { return (int)((uint32_t)number & ((1U << bits) - 1)); }

/* Look up the contexts of x in 1 .. 255, and return its position. mean: of the corrected mixture, in 1/64. */
INLINE int find_contexts(Chance **chances, ContextMaps *maps, const Expected *expected, int32_t x, int64_t mean) {
    const int32_t *values = expected->values, *single = values + SINGLE, *own_phase = single + NEAREST;
    const int quarter = (int)clamp(shift_right(mean - 64 * x + 32, 4) + MEAN_SIDES / 2, 0, MEAN_SIDES - 1), third = quarter / 8;
    const int nearest = sides_of(single, NEAREST, x), before = sides_of(own_phase, NEAREST, x);
    const Colours *colours = &expected->colours;
    const int32_t own = x - colours->base;
    const int pair = lowest(own, 7) << 7 | lowest(colours->pair, 7);
    int above = 0;
    for (int i = 0; i < ALIKE; i++) above |= (single[i] >= x) << i;
    const int contexts[CONTEXT_MAPS] = {
        MAP_1 + SIDES_OF_FOUR * nearest + before,
        MAP_2 + SIDES_OF_FOUR * quarter + nearest,
        MAP_3 + SIDES_OF_FOUR * quarter + before,
        MAP_4 + 3 * sides_of(values, 6, x) + sides_of(values + BY_LEAST_SQUARES, 1, x),
        MAP_5 + (expected->alike << ALIKE | above),
        MAP_6 + MEAN_SIDES * x + quarter,
        MAP_7 + MEAN_SIDES * (x - colours->anchor + 255) + quarter,
        MAP_8 + 3 * pair + third,
        MAP_9 + pair,
        MAP_10 + (lowest(own, 6) << 10 | lowest(colours->pair, 6) << 4 | lowest(colours->first, 4)),
        MAP_11 + (lowest(own, 6) << 10 | lowest(colours->other_pair, 6) << 4 | lowest(colours->second, 4)),
        MAP_12 + (lowest(x - own_phase[0], 5) << 10 | lowest(x - single[0], 5) << 5 | lowest(x - single[2], 5)),
        MAP_13 + (lowest(x - own_phase[0], 5) << 10 | lowest(x - own_phase[1], 5) << 5 | lowest(own, 5)),
    };
    for (int i = 0; i < CONTEXT_MAPS; i++) {
        chances[i] = maps->chances + contexts[i];
        FETCH(chances[i]);
    }
    return 3 * nearest + third;
}

#endif
