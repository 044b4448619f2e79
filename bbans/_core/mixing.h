/* Decisions, each with a probability mixed from those of several models in the domain of logits: one of those that the adaptive
 * stage of the photo model makes of a pixel is whether its value is at least so large. FORMAT.md, section 5.6, specifies them.
 *
 * Three sets of weights mix the inputs to a vote each, and weights by node mix the votes.
 *
 * Logits have 12 fractional bits, weights 20, probabilities 24. A context's maps say which probability followed when the first model
 * gave such a logit, one interpolated map for each context and node. */
#ifndef BBANS_MIXING_H
#define BBANS_MIXING_H

#include <string.h>

#include "distributions.h"

enum {
    CONTEXTS = 4,
    ALL_CONTEXTS = 128 + 3 * 256,
    MODELS = 4,
    INPUTS = MODELS + CONTEXTS,
    VOTES = 3, /* sets of weights, each of which mixes all inputs */
    OUTWARD = 3,             /* decisions after the first, on either side */
    NODES = 1 + 2 * OUTWARD, /* places in the tree of decisions */
    LOGIT_BITS = 12,
    LOGIT_LIMIT = 32358, /* 7.9 */
    POINTS = 17,         /* of a map, from -8 to 8 */
    MAP_ROOM = 3 * NODES * ALL_CONTEXTS * (POINTS + 1),
    MIX_LIMIT = 1 << 24,
    MIX_RATE = 98,         /* 0.0015, in the long run */
    MIX_RATE_START = 1966, /* 0.03, falling to half */
    MIX_RATE_HALF = 200,   /* after so many decisions */
    VOTE_RATE = 40,        /* 0.0006 */
    MAP_RATE = 393,        /* 0.006 */
    MAP_COUNTS = 318,      /* after so many decisions */
    LEAST_PROBABILITY = 168 /* 1e-5 */
};

static const int CONTEXT_OFFSETS[CONTEXTS] = {0, 128, 384, 640};

/* Weights of the inputs by node, by class and by threshold, and how many decisions have taught each; and of the three votes, by node. */
typedef struct {
    int32_t of_node[3][NODES][INPUTS], of_class[3][128][INPUTS], of_threshold[3][256][INPUTS];
    int32_t node_seen[3][NODES], class_seen[3][128], threshold_seen[3][256];
    int32_t of_vote[3][NODES][VOTES];
} MixingWeights;

/* What a strip has learned of its decisions. maps (colours, nodes, contexts, points and a count). rates (MAP_COUNTS + 1) are those of
 * maps, by their counts: which of them are low, no processor can guess. */
typedef struct {
    MixingWeights *weights;
    int32_t *maps, *rates;
} Mixer;

/* One decision: its inputs, and where they came from. */
typedef struct {
    int64_t inputs[INPUTS], point, part;
    int32_t *cells[CONTEXTS];
    int32_t *weights[VOTES], *seen[VOTES], *of_vote;
    int64_t votes[VOTES]; /* logits of yes, one for each set of weights */
    int64_t vote_probability[VOTES], probability; /* of yes */
} Decision;

/* Maps that give back the first model's probability. */
static void start_maps(const Mixer *mixer, int colours, const Tables *tables) {
    int32_t fresh[POINTS + 1] = {0};
    for (int count = 0; count <= MAP_COUNTS; count++) mixer->rates[count] = (int32_t)falling(131072, 16 + count, MAP_RATE);
    for (int i = 0; i < POINTS; i++) fresh[i] = tables->logistic[512 + 32 * (i - POINTS / 2)];
    for (int i = 0; i < colours * NODES * ALL_CONTEXTS; i++) memcpy(mixer->maps + i * (POINTS + 1), fresh, sizeof fresh);
}

/* The logit of yes, for what a model has on its side and on the other. */
INLINE int32_t logit_of(int64_t yes, int64_t no, const int64_t *log2) {
    return (int32_t)clamp(shift_right((log2_of(yes, log2) - log2_of(no, log2)) * 45426, 20), -LOGIT_LIMIT, LOGIT_LIMIT);
}

/* The probability for a weighted sum of logits. */
INLINE int64_t squashed(int64_t sum, const int32_t *table) { return logistic_at(shift_right(sum, 7), table); }

/* Inputs times their weights. */
INLINE int64_t weighted_sum(const int32_t *weights, const int64_t *inputs, int count) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++) sum += weights[i] * inputs[i];
    return sum;
}

/* Mix a decision whose first inputs, the models' logits, are there. contexts: one of each kind; the first is the class,
 * the second the threshold. */
INLINE void mix(Decision *d, const Mixer *mixer, int colour, int node, const int *contexts, const Tables *tables) {
    const int64_t place = d->inputs[0] + (POINTS / 2 << LOGIT_BITS);
    d->point = place >> LOGIT_BITS;
    d->part = place & ((1 << LOGIT_BITS) - 1);
    int32_t *maps = mixer->maps + (int64_t)(colour * NODES + node) * ALL_CONTEXTS * (POINTS + 1);
    for (int i = 0; i < CONTEXTS; i++) {
        int32_t *cells = d->cells[i] = maps + (CONTEXT_OFFSETS[i] + contexts[i]) * (POINTS + 1);
        const int64_t below = cells[d->point], above = cells[d->point + 1];
        const int64_t probability = below + shift_right((above - below) * d->part, LOGIT_BITS);
        d->inputs[MODELS + i] = tables->stretches[smaller(probability >> 12, 4095)];
    }
    MixingWeights *w = mixer->weights;
    d->weights[0] = w->of_node[colour][node], d->seen[0] = &w->node_seen[colour][node];
    d->weights[1] = w->of_class[colour][contexts[0]], d->seen[1] = &w->class_seen[colour][contexts[0]];
    d->weights[2] = w->of_threshold[colour][contexts[1]], d->seen[2] = &w->threshold_seen[colour][contexts[1]];
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
INLINE void learn_weights(int32_t *restrict weights, const int64_t *restrict inputs, int count, int64_t error, int64_t rate) {
    const int32_t scaled = (int32_t)shift_right(error * rate, 16); /* below 2**19, so steps are below 2**18 */
    for (int i = 0; i < count; i++) {
        const int32_t weight = weights[i] + (int32_t)shift_right((int64_t)scaled * (int32_t)inputs[i] + (1 << 15), 16);
        weights[i] = weight < -MIX_LIMIT ? -MIX_LIMIT : (weight > MIX_LIMIT ? MIX_LIMIT : weight);
    }
}

/* Learn from what was decided. */
INLINE void learn_decision(const Decision *d, const Mixer *mixer, int yes) {
    const int64_t target = yes ? TOTAL : 0, part = d->part;
    for (int vote = 0; vote < VOTES; vote++) {
        const int64_t rate = falling(MIX_RATE_START * MIX_RATE_HALF, MIX_RATE_HALF + ++*d->seen[vote], MIX_RATE);
        learn_weights(d->weights[vote], d->inputs, INPUTS, target - d->vote_probability[vote], rate);
    }
    learn_weights(d->of_vote, d->votes, VOTES, target - d->probability, VOTE_RATE);
    for (int i = 0; i < CONTEXTS; i++) {
        int32_t *cells = d->cells[i], *below = &cells[d->point], *above = &cells[d->point + 1];
        const int64_t rate = mixer->rates[smaller(++cells[POINTS], MAP_COUNTS)];
        *below += (int32_t)shift_right(shift_right((target - *below) * rate, 16) * ((1 << LOGIT_BITS) - part), LOGIT_BITS);
        *above += (int32_t)shift_right(shift_right((target - *above) * rate, 16) * part, LOGIT_BITS);
    }
}

#endif
