/* Decisions, each with a probability mixed from those of several models, histograms and context maps in the domain of logits: one of
 * those that the adaptive stage of the photo model makes of a pixel is whether its value is at least so large. FORMAT.md, section
 * 5.6, specifies them.
 *
 * Four sets of weights mix the inputs to a vote each, and weights by node mix the votes.
 *
 * Logits have 10 fractional bits, weights 20, probabilities 24. Sums take 10 of the weights' bits, and so fit in 32. */
#ifndef BBANS_MIXING_H
#define BBANS_MIXING_H

#include "context_maps.h"

enum {
    MODELS = 3,
    INPUTS = MODELS + HISTOGRAMS + CONTEXT_MAPS, /* 32 */
    VOTES = 4,   /* sets of weights, each of which mixes all inputs */
    OUTWARD = 3, /* decisions after the first, on either side */
    INSIDE = 1 + 2 * OUTWARD, /* the node of those inside an interval of few values */
    NODES = INSIDE + 1,       /* places in the tree of decisions */
    CLASSES = 128,            /* of spreads and of errors around */
    VARIETIES = 256,          /* of how far nearest pixels are from each other */
    LOGIT_BITS = 10,
    LOGIT_LIMIT = 8090, /* 7.9 */
    MIX_LIMIT = 1 << 23,
    MIX_SHIFT = 10,        /* bits of weights that sums leave out */
    MIX_RATE = 98,         /* 0.0015, in the long run */
    MIX_RATE_START = 1966, /* 0.03, falling to half */
    MIX_RATE_HALF = 200,   /* after so many decisions */
    VOTE_RATE = 40,        /* 0.0006 */
    LEAST_PROBABILITY = 168 /* 1e-5 */
};

/* Weights of the inputs by node, by class, by variety and by position, and how many decisions have taught each; and of the four votes,
 * by node. */
typedef struct {
    int32_t of_node[3][NODES][INPUTS], of_class[3][CLASSES][INPUTS], of_variety[3][VARIETIES][INPUTS];
    int32_t of_position[3][POSITIONS][INPUTS];
    int32_t node_seen[3][NODES], class_seen[3][CLASSES], variety_seen[3][VARIETIES], position_seen[3][POSITIONS];
    int32_t of_vote[3][NODES][VOTES];
} MixingWeights;

/* One decision: its inputs, and where they came from. */
typedef struct {
    int32_t inputs[INPUTS];
    Chance *chances[CONTEXT_MAPS];
    int32_t *weights[VOTES], *seen[VOTES], *of_vote;
    int32_t votes[VOTES]; /* logits of yes, one for each set of weights */
    int32_t vote_probability[VOTES], probability; /* of yes */
} Decision;

/* log2(x) in 2**-16, rounded down to the entry of the table. */
INLINE int64_t coarse_log2(int64_t x, const int64_t *table) {
    const int64_t exponent = highest_bit(x);
    return (exponent << LOG_BITS) + (table[(x << (31 - exponent)) >> 21 & 1023] >> 16);
}

/* The logit of yes, for what a model has on its side and on the other. */
INLINE int32_t logit_of(int64_t yes, int64_t no, const int64_t *log2) {
    return (int32_t)clamp(shift_right((coarse_log2(yes, log2) - coarse_log2(no, log2)) * 45426, 22), -LOGIT_LIMIT, LOGIT_LIMIT);
}

/* The same for shares, which are below 2**15 + 2**11, from a table of logarithms. */
INLINE int32_t logit_of_shares(int32_t yes, int32_t no, const int16_t *logarithms) {
    return logarithms[yes >> 3] - logarithms[no >> 3];
}

INLINE int32_t logit_of_chance(const Chance *chance, const int16_t *logarithms) {
    const int32_t yes = chance->yes + LEAST_CHANCE, all = (1 << CHANCE_BITS) + 2 * LEAST_CHANCE;
    return logit_of_shares(yes >> 1, (all - yes) >> 1, logarithms);
}

/* The probability for a sum of logits, which has 20 fractional bits. */
INLINE int32_t squashed(int32_t sum, const int32_t *table) { return (int32_t)logistic_at((int64_t)sum * 32, table); }

/* Inputs times their weights, with 20 fractional bits: of 32 it is below 2**31. */
INLINE int32_t weighted_sum(const int32_t *weights, const int32_t *inputs, int count) {
    int32_t sum = 0;
    for (int i = 0; i < count; i++) sum += shift_right32(weights[i], MIX_SHIFT) * inputs[i];
    return sum;
}

/* Mix a decision whose inputs are there. */
INLINE void mix(Decision *d, MixingWeights *w, int colour, int node, int class, int variety, int position, const Tables *tables) {
    d->weights[0] = w->of_node[colour][node], d->seen[0] = &w->node_seen[colour][node];
    d->weights[1] = w->of_class[colour][class], d->seen[1] = &w->class_seen[colour][class];
    d->weights[2] = w->of_variety[colour][variety], d->seen[2] = &w->variety_seen[colour][variety];
    d->weights[3] = w->of_position[colour][position], d->seen[3] = &w->position_seen[colour][position];
    d->of_vote = w->of_vote[colour][node];
    for (int vote = 0; vote < VOTES; vote++) {
        const int32_t sum = weighted_sum(d->weights[vote], d->inputs, INPUTS);
        d->vote_probability[vote] = squashed(sum, tables->logistic);
        d->votes[vote] = clamp32(shift_right32(sum, 20 - LOGIT_BITS), -LOGIT_LIMIT, LOGIT_LIMIT);
    }
    const int32_t all = weighted_sum(d->of_vote, d->votes, VOTES);
    d->probability = (int32_t)clamp(squashed(all, tables->logistic), LEAST_PROBABILITY, TOTAL - LEAST_PROBABILITY);
}

/* A step of weights against the error of the probability that they gave. */
INLINE void learn_weights(int32_t *restrict weights, const int32_t *restrict inputs, int count, int64_t error, int64_t rate) {
    const int32_t scaled = (int32_t)shift_right(error * rate, 18); /* below 2**17, so products are below 2**30 */
    for (int i = 0; i < count; i++)
        weights[i] = clamp32(weights[i] + shift_right32(scaled * inputs[i] + (1 << 11), 12), -MIX_LIMIT, MIX_LIMIT);
}

/* Learn from what was decided. */
INLINE void learn_decision(const Decision *d, int yes, const int16_t *rates) {
    const int32_t target = yes ? TOTAL : 0;
    for (int vote = 0; vote < VOTES; vote++) {
        const int64_t rate = falling(MIX_RATE_START * MIX_RATE_HALF, MIX_RATE_HALF + ++*d->seen[vote], MIX_RATE);
        learn_weights(d->weights[vote], d->inputs, INPUTS, target - d->vote_probability[vote], rate);
    }
    learn_weights(d->of_vote, d->votes, VOTES, target - d->probability, VOTE_RATE);
    for (int i = 0; i < CONTEXT_MAPS; i++) learn_chance(d->chances[i], yes, rates);
}

#endif
