/* The pixels of a phase of the photo model to a message and back, with the adaptive stage; and the residuals of a known phase.
 *
 * bbans/models/photo/adaptive.py says what the stage learns, FORMAT.md, section 5.6, is its specification. A message is a stack, so
 * pushing runs in two steps: the first walks through the phase as the decoder will and notes every symbol's interval, the second
 * pushes the intervals backwards.
 *
 * Numbers: centre is the mean of a mixture in 1/64 of a pixel value, spread its spread in 1/1024, inverse 2**30 / spread.
 * Residuals and features are in spreads with 8 fractional bits, biases with 20, weights have 24, slopes of the likelihood 12,
 * corrections of scales are in sixteenths of a nat with 16. */
#include <string.h>

#include "phase.h"
#include "rans.h"

enum {
    SPREAD_CLASSES = 8,
    ENERGY_CLASSES = 16,
    PATTERNS = 243,
    BINS = 16,
    BIN_BITS = PRECISION - 4,
    FEATURES = 32,    /* room for; 28 are used at most */
    MARGIN_LEFT = 2,  /* of the array of own residuals, and above */
    ONE = 256,        /* a residual of one spread */
    RESIDUAL_LIMIT = 6 * ONE,
    DISTANCE_LIMIT = 64 * ONE,
    WEIGHT_LIMIT = 1 << 26,
    BIAS_RATE = 5243, /* 0.005 */
    BIAS_LIMIT = 1 << 21,
    STEP_LIMIT = 64,
    RATE = 6711,        /* of the weights in the long run, 0.0004 */
    RATE_START = 50332, /* how much more at the start, 0.003, falling to half */
    RATE_HALF = 300,    /* after so many symbols */
    WEIGHT_START = 1 << 22, /* of what least squares predict */
    SOLVE_EVERY = 64    /* symbols of a colour */
};

/* What a strip has learned. */
typedef struct {
    int32_t weights[3][SPREAD_CLASSES][FEATURES];
    int64_t weights_seen[3][SPREAD_CLASSES];
    int64_t biases[3][PATTERNS];
    int64_t steps[3][SPREAD_CLASSES][ENERGY_CLASSES], steps_seen[3][SPREAD_CLASSES][ENERGY_CLASSES];
    int64_t maps[3][SPREAD_CLASSES][BINS + 1], maps_seen[3][SPREAD_CLASSES];
    LeastSquares squares[3];
    int64_t squares_seen[3];
} State;

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
    p->inverse = ((int64_t)1 << 30) / p->spread;
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

/* What least squares on the pixels around predict, in 1/64 of a pixel value. */
INLINE int64_t expect(State *state, int32_t *features, int *taps, int64_t *mean, const uint8_t *at, int colour, const Taps *places) {
    *taps = look_around(features, mean, at, colour, places);
    if (++state->squares_seen[colour] % SOLVE_EVERY == 0) least_squares_solve(&state->squares[colour], *taps);
    return 8 * *mean + shift_right(least_squares_sum(&state->squares[colour], features, *taps) + (1 << 12), COEFFICIENT_BITS - 3);
}

/* The weight of a sample: less where it was further off, in 1/256 of a spread, and where spreads are large. */
INLINE int32_t sample_weight(int64_t error, int64_t spread) {
    return (int32_t)(((int64_t)1 << 28) / ((256 + magnitude(error)) * ((spread >> 4) + 16)));
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

/* What to add to the means, in 1/64 of a pixel value. Features beyond count are 0. */
INLINE int64_t predicted_shift(const int32_t *features, int count, const int32_t *weights, int64_t bias, int64_t spread) {
    int32_t total = 0; /* 27 features of 1536 times weights of 2**14 stay below 2**30 */
    for (int i = 0; i < count; i++) total += features[i] * (weights[i] >> 12);
    return shift_right((total + bias) * spread, 24);
}

/* A step of least mean squares, after so many symbols of this class. */
INLINE void learn_shift(const int32_t *features, int count, int32_t *weights, int64_t gradient, int64_t seen) {
    int64_t rate = RATE + RATE_START * RATE_HALF / (RATE_HALF + seen);
    int32_t scaled = (int32_t)shift_right(gradient * rate, 12);
    for (int i = 0; i < count; i++) {
        int32_t weight = weights[i] + ((scaled * features[i]) >> 8);
        weights[i] = weight < -WEIGHT_LIMIT ? -WEIGHT_LIMIT : (weight > WEIGHT_LIMIT ? WEIGHT_LIMIT : weight);
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

/* max(least, 2**16 / (seen + offset)), mostly without the division. */
INLINE int64_t falling_rate(int64_t seen, int64_t offset, int64_t least) {
    return (seen + offset) * least >= 65536 ? least : 65536 / (seen + offset);
}

/* Move the map towards one under which the shares low .. high, those of the symbol that came, are all there is. */
INLINE void learn_map(int64_t *edges, int64_t low, int64_t high, int64_t seen) {
    int64_t rate = falling_rate(seen, 50, 131), inverse = ((int64_t)1 << 40) / larger(high - low, 1);
    for (int b = 1; b < BINS; b++) {
        int64_t edge = (int64_t)b << BIN_BITS;
        int64_t target = edge >= high ? TOTAL : (edge > low ? (edge - low) * inverse >> 16 : 0);
        edges[b] += shift_right((target - edges[b]) * rate, 16);
    }
}

/* The edge of a pixel: the share of the corrected mixture below it, and the start of its interval. */
typedef struct {
    int64_t x, share, start;
} Edge;

/* At the lower edge of pixel x in 0 .. 256. */
INLINE Edge edge_at(int64_t x, const Mixture *mixture, int k, const int64_t *map, const int32_t *table) {
    if (x <= 0) return (Edge){0, 0, 0};
    if (x >= 256) return (Edge){256, TOTAL, TOTAL};
    int64_t share = mixture_total(x, mixture, k, table) >> WEIGHT_BITS;
    int64_t b = smaller(share >> BIN_BITS, BINS - 1);
    int64_t mapped = map[b] + shift_right((map[b + 1] - map[b]) * (share - (b << BIN_BITS)), BIN_BITS);
    return (Edge){x, share, (mapped * (TOTAL - 256) >> PRECISION) + x};
}

/* The edges of the pixel whose interval holds cf. Steps that begin at about half a spread and double lead from the centre, near which
 * most pixels are, to an interval that holds cf; then halves. Inverse: edge_at. */
INLINE Edge search_pixel(int64_t cf, int64_t centre, int64_t spread, const Mixture *mixture, int k, const int64_t *map,
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

INLINE void start_state(State *state, const Phase *phase) {
    memset(state, 0, sizeof *state);
    for (int colour = 0; colour < 3; colour++) {
        const int64_t last = 11 + 2 * colour + phase->count_places + phase->nears;
        for (int kind = 0; kind < SPREAD_CLASSES; kind++) {
            state->weights[colour][kind][last] = WEIGHT_START;
            for (int b = 0; b <= BINS; b++) state->maps[colour][kind][b] = (int64_t)b << BIN_BITS;
        }
    }
}

/* Go through a phase in reading order: pop its pixels, or note their intervals. own ((height + 2) rows of (width + 4) 3) and errors
 * ((height + 1) of (width + 2) 3) are room for residuals and their sizes, the former 0 and the latter 256 to begin with. */
INLINE void walk(int decoding, Lane *lane, int32_t *starts, int32_t *freqs, uint8_t *pixels, const Phase *phase, int32_t *own,
                 int32_t *errors, const Tables *tables, int colours, int k, int adaptive) {
    State state;
    Taps taps;
    start_state(&state, phase);
    find_taps(&taps, phase);
    const int64_t stride = (phase->width + 4) * 3, error_stride = (phase->width + 2) * 3;
    int32_t features[FEATURES] = {0}, around[MAX_TAPS + 1];
    int64_t differences[3] = {0, 0, 0}, n = 0;
    for (int64_t y = 0; y < phase->height; y++) {
        uint8_t *canvas = !adaptive ? 0 : phase->canvas + ((2 * y + phase->row + 2) * phase->canvas_width + phase->column + 2) * 3;
        for (int64_t x = 0; x < phase->width; x++) {
            const int64_t place = y * phase->width + x;
            const int16_t *row = phase->params + place * 12 * k;
            int32_t *here = own + (y + 2) * stride + (x + MARGIN_LEFT) * 3, *error = errors + (y + 1) * error_stride + (x + 1) * 3;
            for (int colour = 0; colour < colours; colour++) {
                const int channel = CHANNELS[colour];
                const int64_t reference = phase->references[place * 3 + channel];
                Prediction p;
                predict(&p, row, reference, colour, differences[0], differences[1], k, tables);
                const int kind = spread_class(p.spread);
                int64_t *map = state.maps[colour][kind];
                int64_t shift = 0, step = 0, energy = 0, mean = 0, expected = 0;
                int count = 0, signs = 0, count_around = 0;
                if (adaptive) {
                    count = gather(features, here, stride, y, x, colour, phase, &p, reference, differences);
                    expected = expect(&state, around, &count_around, &mean, canvas + 6 * x, colour, &taps);
                    features[count++] = residual(expected - p.centre, p.inverse);
                    signs = pattern(features);
                    energy = tables->energies[clamp(energy_around(error, error_stride, y, x, colour, phase), 0, RESIDUAL_LIMIT)];
                    shift = predicted_shift(features, count, state.weights[colour][kind], state.biases[colour][signs], p.spread);
                    step = shift_right(state.steps[colour][kind][energy] + (1 << 15), 16);
                }
                for (int i = 0; i < k; i++) {
                    p.mean[i] += shift;
                    p.inverse_scale[i] = tables->inverse_scales[clamp(p.index[i] + step, 0, SCALES - 1)];
                }
                const Mixture mixture = {p.mean, p.inverse_scale, p.weight};
                Edge low, high;
                int64_t symbol;
                if (decoding) {
                    low = search_pixel(peek_symbol(lane, PRECISION), p.centre + shift, p.spread, &mixture, k, map,
                                       tables->logistic, &high);
                    pop_symbol(lane, low.start, high.start - low.start, PRECISION);
                    if (lane->size < 0) return;
                    symbol = low.x;
                    pixels[place * 3 + channel] = (uint8_t)symbol;
                } else {
                    symbol = pixels[place * 3 + channel];
                    low = edge_at(symbol, &mixture, k, map, tables->logistic);
                    high = edge_at(symbol + 1, &mixture, k, map, tables->logistic);
                    starts[n] = (int32_t)low.start;
                    freqs[n++] = (int32_t)(high.start - low.start);
                }
                differences[colour] = 4 * symbol - reference;
                if (!adaptive) continue;
                canvas[6 * x + channel] = (uint8_t)symbol;
                if (x % 2 == 0) {
                    around[count_around] = (int32_t)(8 * symbol - mean);
                    const int32_t weight = sample_weight(residual(64 * symbol - expected, p.inverse), p.spread);
                    least_squares_add(&state.squares[colour], around, count_around, weight);
                }
                const int64_t distance = 64 * symbol - p.centre;
                here[colour] = residual(distance, p.inverse);
                const int64_t corrected =
                    clamp(shift_right((distance - shift) * p.inverse, 18), -DISTANCE_LIMIT, DISTANCE_LIMIT);
                error[colour] = (int32_t)smaller(magnitude(corrected), RESIDUAL_LIMIT);
                int64_t stretch, gradient = likelihood_slope(corrected, step, tables, &stretch);
                learn_shift(features, count, state.weights[colour][kind], gradient, ++state.weights_seen[colour][kind]);
                int64_t *bias = &state.biases[colour][signs], *scale = &state.steps[colour][kind][energy];
                *bias = clamp(*bias + shift_right(gradient * BIAS_RATE, 12), -BIAS_LIMIT, BIAS_LIMIT);
                const int64_t rate = falling_rate(++state.steps_seen[colour][kind][energy], 3, 328);
                *scale = clamp(*scale + shift_right(stretch * rate, 9), -(STEP_LIMIT << 16), STEP_LIMIT << 16);
                learn_map(map, low.share, high.share, ++state.maps_seen[colour][kind]);
            }
            if (colours == 1) pixels[place * 3] = pixels[place * 3 + 2] = pixels[place * 3 + 1];
        }
    }
}

/* The walk with what rarely varies as constants, so that the compiler unrolls its loops. */
INLINE void walk_as(int decoding, Lane *lane, int32_t *starts, int32_t *freqs, uint8_t *pixels, const Phase *phase, int32_t *own,
                    int32_t *errors, const Tables *tables) {
    const int colours = (int)phase->colours, k = (int)phase->components, adaptive = phase->adaptive != 0;
    if (colours == 3 && k == 3 && adaptive)
        walk(decoding, lane, starts, freqs, pixels, phase, own, errors, tables, 3, 3, 1);
    else
        walk(decoding, lane, starts, freqs, pixels, phase, own, errors, tables, colours, k, adaptive);
}

/* The size after pushing a phase's pixels (height, width, 3). starts and freqs: room for height * width * colours. */
EXPORT int64_t push_pixels(uint64_t *head, uint32_t *words, int64_t room, int64_t size, uint8_t *pixels, const Phase *phase,
                           int32_t *own, int32_t *errors, int32_t *starts, int32_t *freqs, const Tables *tables) {
    if (!is_sound(phase, tables) || size < 0) return BAD_ARGUMENT;
    const int64_t count = phase->height * phase->width * phase->colours;
    if (room - size < count) return NO_ROOM;
    Lane lane = {*head, words, size};
    walk_as(0, &lane, starts, freqs, pixels, phase, own, errors, tables);
    for (int64_t i = count - 1; i >= 0; i--) push_symbol(&lane, starts[i], freqs[i], PRECISION);
    *head = lane.head;
    return lane.size;
}

/* The size after popping a phase's pixels. Inverse: push_pixels. */
EXPORT int64_t pop_pixels(uint64_t *head, uint32_t *words, int64_t room, int64_t size, uint8_t *pixels, const Phase *phase,
                          int32_t *own, int32_t *errors, const Tables *tables) {
    if (!is_sound(phase, tables) || size < 0 || room < size) return BAD_ARGUMENT;
    Lane lane = {*head, words, size};
    walk_as(1, &lane, 0, 0, pixels, phase, own, errors, tables);
    *head = lane.head;
    return lane.size;
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
