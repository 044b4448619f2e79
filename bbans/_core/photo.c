/* The pixels of a phase of the photo model to a message and back, with the adaptive stage; and the residuals of a known phase.
 *
 * bbans/models/photo/adaptive.py says what the stage learns, FORMAT.md, section 5.6, is its specification. A message is a stack, so
 * pushing runs in two steps: the first walks through the phase as the decoder will and notes every symbol's interval, the second
 * pushes the intervals backwards.
 *
 * Numbers: centre is the mean of a mixture in 1/64 of a pixel value, spread its spread in 1/1024, inverse 2**30 / spread.
 * Residuals and features are in spreads with 8 fractional bits, biases with 20, weights have 24, slopes of the likelihood 12,
 * corrections of scales are in sixteenths of a nat with 16. */
#include <stddef.h>
#include <string.h>

#include "coding.h"
#include "features.h"
#include "processor.h"

enum {
    MARGIN_LEFT = 2,  /* of the array of own residuals, and above */
    DISTANCE_LIMIT = 64 * ONE,
    WEIGHT_LIMIT = 1 << 26,
    BIAS_RATE = 5243, /* 0.005 */
    BIAS_LIMIT = 1 << 21,
    STEP_LIMIT = 64,
    RATE = 6711,        /* of the weights in the long run, 0.0004 */
    RATE_START = 50332, /* how much more at the start, 0.003, falling to half */
    RATE_HALF = 300,    /* after so many symbols */
    SOLVE_EVERY = 64    /* symbols of a colour */
};

/* What a strip learns, for which a model may have start values; LEARNED in bbans/_core/photo.py is its twin. */
typedef struct {
    int32_t weights[3][SPREAD_CLASSES][FEATURES], weights_seen[3][SPREAD_CLASSES];
    int32_t biases[3][PATTERNS];
    int32_t steps[3][SPREAD_CLASSES][ENERGY_CLASSES], steps_seen[3][SPREAD_CLASSES][ENERGY_CLASSES];
    int32_t maps[3][SPREAD_CLASSES][BINS + 1], maps_seen[3][SPREAD_CLASSES];
    MixingWeights mixing;
} Learned;

/* All that a strip has learned. */
typedef struct {
    LeastSquares squares[3]; /* first what has 64 bits: so all processors put what follows in the same place */
    int64_t squares_seen[3];
    Learned learned;
    Histogram histograms[3][HISTOGRAMS][HISTOGRAM_CONTEXTS];
    ContextMaps context_maps[3];
    int16_t rates[SLOWEST + 1]; /* of both */
} State;

enum { STATE_ROOM = (sizeof(State) + 7) / 8 }; /* in int64 */

/* What least squares on the pixels around predict, in 1/64 of a pixel value. */
INLINE int64_t expect(State *state, int32_t *features, int *taps, int64_t *mean, const uint8_t *at, int colour, const Taps *places) {
    *taps = look_around(features, mean, at, colour, places);
    if (++state->squares_seen[colour] % SOLVE_EVERY == 0) least_squares_solve(&state->squares[colour], *taps);
    return 8 * *mean + shift_right(least_squares_sum(&state->squares[colour], features, *taps) + (1 << 12), COEFFICIENT_BITS - 3);
}

/* The weight of a sample: less where it was further off, in 1/256 of a spread, and where spreads are large. */
INLINE int32_t sample_weight(int64_t error, int64_t spread) {
    return (int32_t)divide(1 << 28, smaller((256 + magnitude(error)) * ((spread >> 4) + 16), UINT32_MAX));
}

/* What to add to the means, in 1/64 of a pixel value. Features beyond count are 0. */
INLINE int64_t predicted_shift(const int32_t *features, int count, const int32_t *weights, int64_t bias, int64_t spread) {
    int32_t total = 0; /* 28 features of 1536 times weights of 2**14 stay below 2**30 */
    for (int i = 0; i < count; i++) total += features[i] * (weights[i] >> 12);
    return shift_right((total + bias) * spread, 24);
}

/* A step of least mean squares, after so many symbols of this class. */
INLINE void learn_shift(const int32_t *features, int count, int32_t *weights, int64_t gradient, int64_t seen) {
    int64_t rate = RATE + divide(RATE_START * RATE_HALF, RATE_HALF + seen);
    int32_t scaled = (int32_t)shift_right(gradient * rate, 12);
    for (int i = 0; i < count; i++) {
        int32_t weight = weights[i] + ((scaled * features[i]) >> 8);
        weights[i] = clamp32(weight, -WEIGHT_LIMIT, WEIGHT_LIMIT);
    }
}

/* Slopes of the logistic log-likelihood by the mean and by the log scale, for z the distance from the corrected mean in corrected
 * spreads: tanh(z / 2), and z tanh(z / 2) - 1 up to 3. */
INLINE int64_t likelihood_slope(int64_t distance, int64_t step, const Tables *tables, int64_t *stretch) {
    int64_t z = clamp(shift_right(distance * tables->factors[step + STEP_LIMIT], 16), -4088, 4088);
    int64_t gradient = shift_right(tables->logistic[512 + shift_right(z, 3)] - (TOTAL >> 1), 11);
    *stretch = smaller(shift_right(z * gradient, 8) - 4096, 3 * 4096);
    return gradient;
}

/* Move the map towards one under which the shares low .. high, those of the symbol that came, are all there is. */
INLINE void learn_map(int32_t *restrict edges, int64_t low, int64_t high, int64_t seen) {
    const int32_t rate = (int32_t)falling(65536, seen + 50, 131), above = (int32_t)high;
    int32_t targets[BINS + 1]; /* the last edge stays, and fills up a vector */
    for (int b = 0; b <= BINS; b++) targets[b] = b << BIN_BITS >= above ? TOTAL : 0;
    for (int64_t b = (low >> BIN_BITS) + 1; b << BIN_BITS < high; b++) /* few or none */
        targets[b] = (int32_t)((((b << BIN_BITS) - low) * (((int64_t)1 << 40) / (high - low))) >> 16);
    for (int b = 1; b <= BINS; b++) edges[b] += (int32_t)shift_right((int64_t)(targets[b] - edges[b]) * rate, 16);
}

static void start_state(State *state, const Phase *phase, const Taps *taps) {
    memset(state, 0, offsetof(State, histograms)); /* decisions start what follows */
    memcpy(&state->learned, phase->learned, sizeof state->learned);
    for (int colour = 0; colour < (int)phase->colours; colour++) {
        memcpy(state->squares[colour].sums, phase->sums + colour * TRIANGLE, sizeof state->squares[colour].sums);
        least_squares_solve(&state->squares[colour], taps->count + colour * (taps->close + 1));
    }
}

/* What a walk notes of pixels, with room around: residuals ((height + 2) rows of (width + 4) 3), zeros to begin with; their sizes
 * ((height + 1) of (width + 2) 3), 256; how far single pixels were, for two rows ((width + 2) 3 AROUND each), 6. */
typedef struct {
    int32_t *own, *errors;
    uint8_t *distances;
} Room;

/* Go through a phase in reading order: pop its pixels, or note their intervals. */
INLINE void walk(State *state, Coder *coder, uint8_t *pixels, const Phase *phase, Room room, const Tables *tables, int colours, int k,
                 int adaptive, int decided) {
    Learned *const learned = &state->learned;
    Taps taps;
    if (adaptive) {
        find_taps(&taps, phase);
        start_state(state, phase, &taps);
    } else {
        for (int b = 0; b < 3 * SPREAD_CLASSES * (BINS + 1); b++) (&learned->maps[0][0][0])[b] = (b % (BINS + 1)) << BIN_BITS;
    }
    if (decided) {
        start_histograms(&state->histograms[0][0][0], colours * HISTOGRAMS * HISTOGRAM_CONTEXTS);
        start_context_maps(state->context_maps, colours);
        find_rates(state->rates);
    }
    const int64_t stride = (phase->width + 4) * 3, error_stride = (phase->width + 2) * 3, far_stride = error_stride * AROUND;
    int32_t features[FEATURES] = {0}, around[MAX_TAPS + 1];
    int64_t differences[3] = {0, 0, 0};
    for (int64_t y = 0; y < phase->height; y++) {
        uint8_t *canvas = !adaptive ? 0 : phase->canvas + ((2 * y + phase->row + 2) * phase->canvas_width + phase->column + 2) * 3;
        for (int64_t x = 0; x < phase->width; x++) {
            const int64_t place = y * phase->width + x;
            const int16_t *row = phase->params + place * 12 * k;
            uint8_t *far = room.distances + (y & 1) * far_stride + (x + 1) * 3 * AROUND;
            int32_t *here = room.own + (y + 2) * stride + (x + MARGIN_LEFT) * 3;
            int32_t *error = room.errors + (y + 1) * error_stride + (x + 1) * 3;
            for (int colour = 0; colour < colours; colour++) {
                const int channel = CHANNELS[colour];
                const int64_t reference = phase->references[place * 3 + channel];
                Prediction p;
                predict(&p, row, reference, colour, differences[0], differences[1], k, tables);
                const int kind = spread_class(p.spread);
                int32_t *map = learned->maps[colour][kind];
                int64_t shift = 0, step = 0, energy = 0, mean = 0, expected = 0;
                int count = 0, signs = 0, count_around = 0;
                if (adaptive) {
                    count = gather(features, here, stride, y, x, colour, phase, &p, reference, differences);
                    expected = expect(state, around, &count_around, &mean, canvas + 6 * x, colour, &taps);
                    features[count++] = residual(expected - p.centre, p.inverse);
                    signs = pattern(features);
                    energy = tables->energies[clamp(energy_around(error, error_stride, y, x, colour, phase), 0, RESIDUAL_LIMIT)];
                    shift = predicted_shift(features, count, learned->weights[colour][kind], learned->biases[colour][signs], p.spread);
                    step = shift_right(learned->steps[colour][kind][energy] + (1 << 15), 16);
                }
                int64_t raw_scale[MAX_COMPONENTS], scale[MAX_COMPONENTS];
                int64_t corrected_mean[MAX_COMPONENTS];
                const int64_t threshold = clamp(shift_right(p.centre + shift + 32, 6), 1, 255);
                for (int i = 0; i < k; i++) {
                    raw_scale[i] = tables->inverse_scales[p.index[i]];
                    scale[i] = tables->inverse_scales[clamp(p.index[i] + step, 0, SCALES - 1)];
                    corrected_mean[i] = p.mean[i] + shift;
                }
                Sources sources = {
                    .corrected = {corrected_mean, scale, p.weight},
                    .raw = {p.mean, raw_scale, p.weight},
                    .map = map,
                    .context_maps = &state->context_maps[colour],
                    .mean = p.centre + shift,
                    .threshold = threshold,
                    .step = larger((p.spread * tables->factors[STEP_LIMIT - step] >> 16) >> 10, 1),
                    .class = (int)(kind * ENERGY_CLASSES + energy),
                };
                Edge low, high;
                int64_t symbol = pixels[place * 3 + channel];
                if (decided) {
                    sources.widths = widths_at(phase->widths, canvas + 6 * x, colour, threshold);
                    const uint8_t *above = room.distances + ((y + 1) & 1) * far_stride + (x + 1) * 3 * AROUND;
                    expect_means(&sources.expected, canvas + 6 * x, colour, (int)energy, &taps);
                    expect_single(&sources.expected, canvas + 6 * x, colour, far - 3 * AROUND, above, &taps);
                    expect_colours(&sources.expected, canvas + 6 * x, colour, &taps);
                    sources.expected.values[BY_THRESHOLD] = (int32_t)threshold;
                    sources.expected.values[BY_LEAST_SQUARES] = (int32_t)clamp(shift_right(expected + 32, 6), 0, 255);
                    sources.expected.contexts[BY_THRESHOLD] = sources.expected.contexts[BY_LEAST_SQUARES] = (int)energy;
                    for (int i = 0; i < HISTOGRAMS; i++)
                        sources.histograms[i] = &state->histograms[colour][i][sources.expected.contexts[i]];
                    symbol = code_decided(coder, symbol, &learned->mixing, colour, &sources, k, tables, state->rates, &low, &high);
                } else {
                    symbol = code_whole(coder, symbol, p.centre + shift, p.spread, &sources.corrected, k, map, tables->logistic, &low, &high);
                }
                if (coder->lane.size < 0) return;
                if (decided) {
                    for (int i = 0; i < HISTOGRAMS; i++)
                        learn_histogram(sources.histograms[i], (int32_t)symbol - sources.expected.values[i], state->rates);
                    note_distances(far + colour * AROUND, &sources.expected, (int32_t)symbol);
                }
                pixels[place * 3 + channel] = (uint8_t)symbol;
                differences[colour] = 4 * symbol - reference;
                if (!adaptive) continue;
                canvas[6 * x + channel] = (uint8_t)symbol;
                if (x % 2 == 0) {
                    around[count_around] = (int32_t)(8 * symbol - mean);
                    const int32_t weight = sample_weight(residual(64 * symbol - expected, p.inverse), p.spread);
                    least_squares_add(&state->squares[colour], around, count_around, weight);
                }
                const int64_t distance = 64 * symbol - p.centre;
                here[colour] = residual(distance, p.inverse);
                const int64_t corrected =
                    clamp(shift_right((distance - shift) * p.inverse, 18), -DISTANCE_LIMIT, DISTANCE_LIMIT);
                error[colour] = (int32_t)smaller(magnitude(corrected), RESIDUAL_LIMIT);
                int64_t stretch, gradient = likelihood_slope(corrected, step, tables, &stretch);
                learn_shift(features, count, learned->weights[colour][kind], gradient, ++learned->weights_seen[colour][kind]);
                int32_t *bias = &learned->biases[colour][signs], *factor = &learned->steps[colour][kind][energy];
                *bias = (int32_t)clamp(*bias + shift_right(gradient * BIAS_RATE, 12), -BIAS_LIMIT, BIAS_LIMIT);
                const int64_t rate = falling(65536, ++learned->steps_seen[colour][kind][energy] + 3, 328);
                *factor = (int32_t)clamp(*factor + shift_right(stretch * rate, 9), -(STEP_LIMIT << 16), STEP_LIMIT << 16);
                learn_map(map, low.share, high.share, ++learned->maps_seen[colour][kind]);
            }
            if (colours == 1) pixels[place * 3] = pixels[place * 3 + 2] = pixels[place * 3 + 1];
        }
    }
}

/* The walk with what rarely varies as constants, so that the compiler unrolls its loops. */
INLINE void walk_as(int decoding, State *state, Coder *coder, uint8_t *pixels, const Phase *phase, Room room, const Tables *tables) {
    const int colours = (int)phase->colours, k = (int)phase->components, adaptive = phase->adaptive != 0;
    const int decided = adaptive && phase->decided;
    coder->decoding = decoding;
    if (colours == 3 && k == 3 && decided)
        walk(state, coder, pixels, phase, room, tables, 3, 3, 1, 1);
    else if (colours == 3 && k == 3 && adaptive)
        walk(state, coder, pixels, phase, room, tables, 3, 3, 1, 0);
    else
        walk(state, coder, pixels, phase, room, tables, colours, k, adaptive, decided);
}

typedef void Walk(int decoding, State *state, Coder *coder, uint8_t *pixels, const Phase *phase, Room room, const Tables *tables);

static void walk_portable(int decoding, State *state, Coder *coder, uint8_t *pixels, const Phase *phase, Room room,
                          const Tables *tables) {
    if (decoding)
        walk_as(1, state, coder, pixels, phase, room, tables);
    else
        walk_as(0, state, coder, pixels, phase, room, tables);
}

#if defined(X86)
/* The same walks: the compiler makes vectors of their loops. */
__attribute__((target("avx2,bmi2,lzcnt"))) static void walk_avx2(int decoding, State *state, Coder *coder, uint8_t *pixels,
                                                           const Phase *phase, Room room, const Tables *tables) {
    if (decoding)
        walk_as(1, state, coder, pixels, phase, room, tables);
    else
        walk_as(0, state, coder, pixels, phase, room, tables);
}
#endif

static Walk *best_walk(const Phase *phase) {
#if defined(X86)
    if (phase->variant >= AVX2) return walk_avx2;
#endif
    (void)phase;
    return walk_portable;
}

/* How many intervals the pixels (height, width, 3) of a phase are: in the order of popping, in starts and freqs, which have room for
 * MOST_INTERVALS of each of height * width * colours. state has room for a State; what the adaptive stage has learned is left in
 * learned and sums. */
EXPORT int64_t note_pixels(uint8_t *pixels, const Phase *phase, int32_t *own, int32_t *errors, uint8_t *distances, int32_t *starts,
                           int32_t *freqs, const Tables *tables, int64_t *state, int32_t *learned, int64_t *sums) {
    if (!is_sound(phase, tables)) return BAD_ARGUMENT;
    State *end = (State *)state;
    Coder coder = {0, {0, 0, 0}, starts, freqs, 0};
    best_walk(phase)(0, end, &coder, pixels, phase, (Room){own, errors, distances}, tables);
    if (phase->adaptive) {
        memcpy(learned, &end->learned, sizeof end->learned);
        for (int colour = 0; colour < (int)phase->colours; colour++)
            memcpy(sums + colour * TRIANGLE, end->squares[colour].sums, sizeof end->squares[colour].sums);
    }
    memset(end, 0, STATE_ROOM * sizeof *state); /* what is left is the same on every processor, whatever its byte order */
    return coder.count;
}

/* The size of what is learned, in bytes, and how many sums there are. */
EXPORT int64_t learned_size(void) { return sizeof(Learned); }

/* The size of a State in int64: it is too large for the stacks of some threads. */
EXPORT int64_t state_room(void) { return STATE_ROOM; }

EXPORT int64_t count_sums(void) { return 3 * TRIANGLE; }

/* For how many intervals of a pixel's colour its callers need room. */
EXPORT int64_t most_intervals(void) { return MOST_INTERVALS; }

/* The size after pushing what note_pixels noted. */
EXPORT int64_t push_noted(uint64_t *head, uint32_t *words, int64_t room, int64_t size, const int32_t *starts, const int32_t *freqs,
                          int64_t count) {
    if (size < 0) return BAD_ARGUMENT;
    Lane lane = {*head, words, size};
    for (int64_t i = count - 1; i >= 0; i--) {
        if (lane.size >= room) return NO_ROOM;
        push_symbol(&lane, starts[i], freqs[i], PRECISION);
    }
    *head = lane.head;
    return lane.size;
}

/* The size after popping a phase's pixels. Inverse: note_pixels, push_noted. */
EXPORT int64_t pop_pixels(uint64_t *head, uint32_t *words, int64_t room, int64_t size, uint8_t *pixels, const Phase *phase,
                          int32_t *own, int32_t *errors, uint8_t *distances, const Tables *tables, int64_t *state) {
    if (!is_sound(phase, tables) || size < 0 || room < size) return BAD_ARGUMENT;
    Coder coder = {1, {*head, words, size}, 0, 0, 0};
    best_walk(phase)(1, (State *)state, &coder, pixels, phase, (Room){own, errors, distances}, tables);
    memset(state, 0, STATE_ROOM * sizeof *state);
    *head = coder.lane.head;
    return coder.lane.size;
}

/* The residuals (height, width, 3) int16 of a known phase, colours in coding order. */
EXPORT int64_t phase_residuals(const uint8_t *pixels, const Phase *phase, int16_t *out, const Tables *tables) {
    if (!is_sound(phase, tables)) return BAD_ARGUMENT;
    const int k = (int)phase->components;
    int64_t differences[3] = {0, 0, 0};
    for (int64_t place = 0; place < phase->height * phase->width; place++) {
        for (int colour = 0; colour < (int)phase->colours; colour++) {
            const int64_t symbol = pixels[place * 3 + CHANNELS[colour]], reference = phase->references[place * 3 + CHANNELS[colour]];
            Prediction p;
            predict(&p, phase->params + place * 12 * k, reference, colour, differences[0], differences[1], k, tables);
            out[place * 3 + colour] = (int16_t)residual(64 * symbol - p.centre, p.inverse);
            differences[colour] = 4 * symbol - reference;
        }
    }
    return 0;
}
