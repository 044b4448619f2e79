/* A pixel's value as intervals of a message: by its mixture alone, or by decisions and by the mixture for what they leave open. */
#ifndef BBANS_CODING_H
#define BBANS_CODING_H

#include "mixing.h"
#include "rans.h"
#include "widths.h"

enum {
    BINS = 16, /* of the maps of shares */
    BIN_BITS = PRECISION - 4,
    FEW = 4,                     /* values of an interval inside of which decisions go on */
    MOST_INTERVALS = 3 + OUTWARD /* of a pixel's colour */
};

/* The edge of a pixel: the share of the corrected mixture below it, and the start of its interval. */
typedef struct {
    int64_t x, share, start;
} Edge;

/* The start of the interval of pixel x in 1 .. 255, below which lies a share of all. */
INLINE int64_t start_of(int64_t x, int64_t share) { return (share * (TOTAL - 256) >> PRECISION) + x; }

/* At pixel x in 0 .. 256, whose lower edge is there in 1/64 of a pixel value. */
INLINE Edge edge_there(int64_t x, int64_t there, const Mixture *mixture, int k, const int32_t *map, const int32_t *table) {
    if (x <= 0) return (Edge){0, 0, 0};
    if (x >= 256) return (Edge){256, TOTAL, TOTAL};
    int64_t share = mixture_below(there, mixture, k, table) >> WEIGHT_BITS;
    int64_t b = smaller(share >> BIN_BITS, BINS - 1);
    int64_t mapped = map[b] + shift_right((map[b + 1] - map[b]) * (share - (b << BIN_BITS)), BIN_BITS);
    return (Edge){x, share, start_of(x, mapped)};
}

/* At the lower edge of pixel x in 0 .. 256. */
INLINE Edge edge_at(int64_t x, const Mixture *mixture, int k, const int32_t *map, const int32_t *table) {
    return edge_there(x, edge_of(x), mixture, k, map, table);
}

/* The edges of the pixel whose interval holds cf. Steps that begin at about half a spread and double lead from the centre, near which
 * most pixels are, to an interval that holds cf; then halves. Inverse: edge_at. */
INLINE Edge search_pixel(int64_t cf, int64_t centre, int64_t spread, const Mixture *mixture, int k, const int32_t *map,
                         const int32_t *table, Edge *above) {
    int64_t step = larger(spread >> 11, 1);
    Edge low = edge_at(clamp(shift_right(centre + 32, 6), 0, 255), mixture, k, map, table), high;
    if (low.start > cf) {
        do {
            high = low;
            low = edge_at(larger(low.x - step, 0), mixture, k, map, table);
            step *= 2;
        } while (low.start > cf);
    } else {
        high = edge_at(smaller(low.x + step, 256), mixture, k, map, table);
        while (high.start <= cf) {
            low = high;
            step *= 2;
            high = edge_at(smaller(high.x + step, 256), mixture, k, map, table);
        }
    }
    while (high.x - low.x > 1) {
        Edge middle = edge_at((low.x + high.x) >> 1, mixture, k, map, table);
        if (middle.start <= cf)
            low = middle;
        else
            high = middle;
    }
    *above = high;
    return low;
}

/* Where symbols go to or come from: a message while decoding, else a list of intervals. */
typedef struct {
    int decoding;
    Lane lane;
    int32_t *starts, *freqs;
    int64_t count;
} Coder;

INLINE void code_interval(Coder *coder, int64_t start, int64_t freq) {
    if (coder->decoding) {
        pop_symbol(&coder->lane, start, freq, PRECISION);
    } else {
        coder->starts[coder->count] = (int32_t)start;
        coder->freqs[coder->count++] = (int32_t)freq;
    }
}

/* The symbol by the mixture alone; low and high are its edges. */
INLINE int64_t code_whole(Coder *coder, int64_t symbol, int64_t centre, int64_t spread, const Mixture *mixture, int k,
                          const int32_t *map, const int32_t *table, Edge *low, Edge *high) {
    if (coder->decoding) {
        *low = search_pixel(peek_symbol(&coder->lane, PRECISION), centre, spread, mixture, k, map, table, high);
    } else {
        *low = edge_at(symbol, mixture, k, map, table);
        *high = edge_at(symbol + 1, mixture, k, map, table);
    }
    code_interval(coder, low->start, high->start - low->start);
    return low->x;
}

/* What a pixel's decisions take their probabilities from. */
typedef struct {
    Mixture corrected, raw; /* as learned, and as the networks give it */
    const int32_t *map;
    Widths widths;
    Expected expected;
    Histogram *histograms[HISTOGRAMS];
    ContextMaps *context_maps;
    int64_t mean;            /* of the corrected mixture, in 1/64 */
    int64_t threshold, step; /* the first, and how far it is to the next */
    int class;               /* of the spread and of errors around */
} Sources;

/* A threshold in 1 .. 255 under each of the models and histograms. */
typedef struct {
    Edge edge;
    int64_t raw, uneven;
    int32_t shares[HISTOGRAMS];
} Cut;

INLINE void shares_at(int64_t x, const Sources *s, int32_t *shares) {
    for (int i = 0; i < HISTOGRAMS; i++) shares[i] = share_below(s->histograms[i], (int32_t)x - s->expected.values[i]);
}

INLINE Cut cut_at(int64_t x, const Sources *s, int k, const Tables *tables) {
    Cut cut;
    cut.edge = edge_at(x, &s->corrected, k, s->map, tables->logistic);
    cut.raw = start_of(x, mixture_below(edge_of(x), &s->raw, k, tables->logistic) >> WEIGHT_BITS);
    cut.uneven = edge_there(x, uneven_edge(x, &s->widths), &s->corrected, k, s->map, tables->logistic).start;
    shares_at(x, s, cut.shares);
    return cut;
}

/* Below or above all values. */
INLINE Cut cut_at_end(int64_t x, const Sources *s) {
    const int64_t start = x ? TOTAL : 0;
    Cut cut = {{x, start, start}, start, start, {0}};
    shares_at(x, s, cut.shares);
    return cut;
}

/* The symbol by decisions, the first at the threshold, the next outward in steps that double, until it lies between two thresholds; then
 * inside, if these are a few values apart. What is left by the corrected mixture. low and high are its edges. */
INLINE int64_t code_decided(Coder *coder, int64_t symbol, MixingWeights *weights, int colour, const Sources *s, int k,
                            const Tables *tables, const int16_t *rates, Edge *low, Edge *high) {
    Cut below = cut_at_end(0, s), above = cut_at_end(256, s);
    int64_t x = s->threshold;
    for (int outward = 0, up = 0, node = 0;;) {
        Decision decision;
        const int position = find_contexts(decision.chances, s->context_maps, &s->expected, (int32_t)x, s->mean);
        const Cut cut = cut_at(x, s, k, tables); /* while chances come from memory */
        decision.inputs[0] = logit_of(above.edge.start - cut.edge.start, cut.edge.start - below.edge.start, tables->log2);
        decision.inputs[1] = logit_of(above.raw - cut.raw, cut.raw - below.raw, tables->log2);
        decision.inputs[2] = logit_of(above.uneven - cut.uneven, cut.uneven - below.uneven, tables->log2);
        for (int i = 0; i < HISTOGRAMS; i++)
            decision.inputs[MODELS + i] = logit_of_shares(above.shares[i] - cut.shares[i] + LEAST_SHARE,
                                                          cut.shares[i] - below.shares[i] + LEAST_SHARE, tables->logarithms);
        for (int i = 0; i < CONTEXT_MAPS; i++)
            decision.inputs[MODELS + HISTOGRAMS + i] = logit_of_chance(decision.chances[i], tables->logarithms);
        mix(&decision, weights, colour, node, s->class, s->expected.variety, position, tables);
        const int64_t share = decision.probability;
        const int yes = coder->decoding ? peek_symbol(&coder->lane, PRECISION) < share : symbol >= x;
        code_interval(coder, yes ? 0 : share, yes ? share : TOTAL - share);
        learn_decision(&decision, yes, rates);
        if (yes)
            below = cut;
        else
            above = cut;
        if (outward == 0) up = yes;
        if (yes == up && outward < OUTWARD) {
            x = up ? below.edge.x + (s->step << outward) : above.edge.x - (s->step << outward);
            if (x > below.edge.x && x < above.edge.x) {
                node = 1 + OUTWARD * up + outward++;
                continue;
            }
        }
        if (above.edge.x - below.edge.x == 1 || above.edge.x - below.edge.x > FEW) break;
        x = (below.edge.x + above.edge.x) >> 1;
        outward = OUTWARD; /* none of these any more */
        node = INSIDE;
    }
    *low = below.edge;
    *high = above.edge;
    const int64_t count = high->x - low->x, first = low->x, last = high->x, base = low->start;
    if (count == 1) return first;
    const int64_t inverse = ((TOTAL - count) << 24) / (high->start - base);
#define REST_START(edge) ((edge).x == last ? TOTAL : (((edge).start - base) * inverse >> 24) + (edge).x - first)
    if (coder->decoding) {
        const int64_t cf = peek_symbol(&coder->lane, PRECISION);
        while (high->x - low->x > 1) {
            const Edge middle = edge_at((low->x + high->x) >> 1, &s->corrected, k, s->map, tables->logistic);
            if (REST_START(middle) <= cf)
                *low = middle;
            else
                *high = middle;
        }
    } else {
        if (symbol > first) *low = edge_at(symbol, &s->corrected, k, s->map, tables->logistic);
        if (symbol + 1 < last) *high = edge_at(symbol + 1, &s->corrected, k, s->map, tables->logistic);
    }
    const int64_t start = REST_START(*low);
    code_interval(coder, start, REST_START(*high) - start);
#undef REST_START
    return low->x;
}

#endif
