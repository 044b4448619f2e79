/* Decisions, each with a probability mixed from those of several models and histograms in the domain of logits: one of those that the
 * adaptive stage of the photo model makes of a pixel is whether its value is at least so large. FORMAT.md, section 5.6, specifies
 * them.
 *
 * Three sets of weights mix the inputs to a vote each, and weights by node mix the votes.
 *
 * Logits have 12 fractional bits, weights 20, probabilities 24. */
#ifndef BBANS_MIXING_H
#define BBANS_MIXING_H

#include "distributions.h"
#include "histograms.h"

enum {
    MODELS = 3,
    INPUTS = MODELS + HISTOGRAMS,
    VOTES = 3, /* sets of weights, each of which mixes all inputs */
    OUTWARD = 3,             /* decisions after the first, on either side */
    NODES = 1 + 2 * OUTWARD, /* places in the tree of decisions */
    CLASSES = 128, /* of spreads and of errors around */
    VARIETIES = 256, /* of how far nearest pixels are from each other */
    LOGIT_BITS = 12,
    LOGIT_LIMIT = 32358, /* 7.9 */
    MIX_LIMIT = 1 << 24,
    MIX_RATE = 98,         /* 0.0015, in the long run */
    MIX_RATE_START = 1966, /* 0.03, falling to half */
    MIX_RATE_HALF = 200,   /* after so many decisions */
    VOTE_RATE = 40,        /* 0.0006 */
    LEAST_PROBABILITY = 168 /* 1e-5 */
};

/* Weights of the inputs by node, by class and by variety, and how many decisions have taught each; and of the three votes, by node. */
typedef struct {
    int32_t of_node[3][NODES][INPUTS], of_class[3][CLASSES][INPUTS], of_variety[3][VARIETIES][INPUTS];
    int32_t node_seen[3][NODES], class_seen[3][CLASSES], variety_seen[3][VARIETIES];
    int32_t of_vote[3][NODES][VOTES];
} MixingWeights;

/* One decision: its inputs, and where they came from. */
typedef struct {
    int32_t inputs[INPUTS];
    int32_t *weights[VOTES], *seen[VOTES], *of_vote;
    int32_t votes[VOTES]; /* logits of yes, one for each set of weights */
    int64_t vote_probability[VOTES], probability; /* of yes */
} Decision;

/* log2(x) in 2**-16, rounded down to the entry of the table. */
INLINE int64_t coarse_log2(int64_t x, const int64_t *table) {
    const int64_t exponent = highest_bit(x);
    return (exponent << LOG_BITS) + (table[(x << (31 - exponent)) >> 21 & 1023] >> 16);
}

/* The logit of yes, for what a model has on its side and on the other. */
INLINE int32_t logit_of(int64_t yes, int64_t no, const int64_t *log2) {
    return (int32_t)clamp(shift_right((coarse_log2(yes, log2) - coarse_log2(no, log2)) * 45426, 20), -LOGIT_LIMIT, LOGIT_LIMIT);
}

/* The probability for a weighted sum of logits. */
INLINE int64_t squashed(int64_t sum, const int32_t *table) { return logistic_at(shift_right(sum, 7), table); }

/* Inputs times their weights. */
INLINE int64_t weighted_sum(const int32_t *weights, const int32_t *inputs, int count) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++) sum += (int64_t)weights[i] * inputs[i];
    return sum;
}

/* Mix a decision whose inputs are there. */
INLINE void mix(Decision *d, MixingWeights *w, int colour, int node, int class, int variety, const Tables *tables) {
    d->weights[0] = w->of_node[colour][node], d->seen[0] = &w->node_seen[colour][node];
    d->weights[1] = w->of_class[colour][class], d->seen[1] = &w->class_seen[colour][class];
    d->weights[2] = w->of_variety[colour][variety], d->seen[2] = &w->variety_seen[colour][variety];
    d->of_vote = w->of_vote[colour][node];
    for (int vote = 0; vote < VOTES; vote++) {
        const int64_t sum = weighted_sum(d->weights[vote], d->inputs, INPUTS);
        d->vote_probability[vote] = squashed(sum, tables->logistic);
        d->votes[vote] = (int32_t)clamp(shift_right(sum, 20), -LOGIT_LIMIT, LOGIT_LIMIT);
    }
    const int64_t all = weighted_sum(d->of_vote, d->votes, VOTES);
    d->probability = clamp(squashed(all, tables->logistic), LEAST_PROBABILITY, TOTAL - LEAST_PROBABILITY);
}

/* A step of weights against the error of the probability that they gave. */
INLINE void learn_weights(int32_t *restrict weights, const int32_t *restrict inputs, int count, int64_t error, int64_t rate) {
    const int32_t scaled = (int32_t)shift_right(error * rate, 16); /* below 2**19, so steps are below 2**18 */
    for (int i = 0; i < count; i++) {
        const int32_t weight = weights[i] + (int32_t)shift_right((int64_t)scaled * inputs[i] + (1 << 15), 16);
        weights[i] = weight < -MIX_LIMIT ? -MIX_LIMIT : (weight > MIX_LIMIT ? MIX_LIMIT : weight);
    }
}

/* Learn from what was decided. */
INLINE void learn_decision(const Decision *d, int yes) {
    const int64_t target = yes ? TOTAL : 0;
    for (int vote = 0; vote < VOTES; vote++) {
        const int64_t rate = falling(MIX_RATE_START * MIX_RATE_HALF, MIX_RATE_HALF + ++*d->seen[vote], MIX_RATE);
        learn_weights(d->weights[vote], d->inputs, INPUTS, target - d->vote_probability[vote], rate);
    }
    learn_weights(d->of_vote, d->votes, VOTES, target - d->probability, VOTE_RATE);
}

#endif
