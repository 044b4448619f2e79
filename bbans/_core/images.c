/* The samples of one image of a model for sets to a message and back.
 *
 * Two kinds of likelihood share the walk. Of models without pixel layers a head's outputs come for all pixels. Of the others the pixel
 * layers run here, pixel by pixel, as they may look at pixels that a decoder has only just popped; an input that is 0 costs nothing.
 * Samples go in reading order, colours G, R, B. FORMAT.md, chapter 7, is the specification. */
#include <string.h>

#include "distributions.h"
#include "processor.h"
#include "rans.h"

enum {
    MAX_COMPONENTS = 8,
    BINARY_LEVEL = 32,
    LOG_SCALE_OFFSET = 48,
    LOGIT_LIMIT = 960, /* of a binary sample, in 1/64 nat */
    MEAN_LIMIT = 32767,
    MIXTURE_LOGIT_LIMIT = 16383,
    SLOPE_LIMIT = 128,
    ACTIVATION_MAX = 127
};

static const int CHANNELS[3] = {1, 0, 2};

/* A layer of one position: weights (inputs, outputs), int16 so that products of two inputs add up in it. */
typedef struct {
    int64_t inputs, outputs;
    const int16_t *weights;
    const int32_t *bias;
    const uint8_t *exponents;
} Dense;

/* Accumulators (outputs,) of activations (inputs,), without those that are 0; two at a time, whose products add up in int16: they
 * are at most 2 x 127 x 127. */
INLINE void multiply_any(const Dense *layer, const int32_t *inputs, int32_t *restrict out) {
    const int64_t outputs = layer->outputs;
    const int16_t *before = 0;
    int16_t a = 0;
    memcpy(out, layer->bias, (size_t)outputs * sizeof *out);
    for (int64_t i = 0; i < layer->inputs; i++) {
        if (!inputs[i]) continue;
        const int16_t *weights = layer->weights + i * outputs, b = (int16_t)inputs[i];
        if (before) {
            for (int64_t j = 0; j < outputs; j++) out[j] += (int16_t)(a * before[j] + b * weights[j]);
            before = 0;
        } else {
            before = weights;
            a = b;
        }
    }
    if (before)
        for (int64_t j = 0; j < outputs; j++) out[j] += (int16_t)(a * before[j]);
}

typedef void Multiply(const Dense *, const int32_t *inputs, int32_t *restrict out);

static void multiply_portable(const Dense *layer, const int32_t *inputs, int32_t *restrict out) {
    multiply_any(layer, inputs, out);
}

#if defined(X86)
/* The same loops: the compiler makes longer vectors of them. */
__attribute__((target("avx2"))) static void multiply_avx2(const Dense *layer, const int32_t *inputs, int32_t *restrict out) {
    multiply_any(layer, inputs, out);
}
#endif

/* Activations of accumulators, added to skip, if there is one, before they are rounded. */
static void activate(const Dense *layer, const int32_t *sums, const int32_t *skip, int32_t *out) {
    for (int64_t j = 0; j < layer->outputs; j++) {
        const int32_t onto = skip ? skip[j] * ((int32_t)1 << layer->exponents[j]) : 0;
        out[j] = (int32_t)clamp(round_shift(sums[j] + onto, layer->exponents[j]), 0, ACTIVATION_MAX);
    }
}

/* What the likelihood of an image needs. components is 0 for binary samples. Without pixel layers (radius -1) outputs
 * (outputs, height * width) are accumulators, each times 2**-exponent. With them, features (count_features, height * width) are
 * activations; enter is (inputs, hidden), middle depth layers (hidden, hidden), leave (hidden, count_outputs). */
typedef struct {
    int64_t height, width, colours, components, radius, relative;
    const int32_t *outputs;
    const uint8_t *exponents;
    const uint8_t *features;
    int64_t count_features, hidden, depth;
    Dense enter;
    const Dense *middle;
    Dense leave;
    int64_t variant; /* of processor.h; the processor must have it */
} Likelihood;

INLINE int64_t count_outputs(const Likelihood *p) {
    return p->components ? (p->colours == 1 ? 3 : 12) * p->components : 1;
}

INLINE int64_t count_inputs(const Likelihood *p) {
    int64_t taps = p->radius < 0 ? 0 : 2 * p->radius * (p->radius + 1);
    return taps * p->colours + p->count_features;
}

/* The head's outputs for a pixel, as accumulators. room: int32 for the inputs and twice the hidden layer. */
static void run_pixel_layers(const Likelihood *p, const uint8_t *pixels, int64_t y, int64_t x, int32_t *values, int32_t *room) {
    int32_t *inputs = room, *first = room + count_inputs(p), *second = first + p->hidden;
    int64_t count = 0;
    for (int64_t dy = -p->radius; dy <= 0; dy++) {
        for (int64_t dx = -p->radius; dx < (dy < 0 ? p->radius + 1 : 0); dx++) {
            const int64_t row = y + dy, column = x + dx;
            const int inside = row >= 0 && column >= 0 && column < p->width;
            for (int64_t colour = 0; colour < p->colours; colour++) {
                int32_t level = 0;
                if (inside) {
                    const uint8_t sample = pixels[(row * p->width + column) * p->colours + colour];
                    level = p->components ? sample >> 1 : sample * BINARY_LEVEL;
                }
                inputs[count++] = level;
            }
        }
    }
    for (int64_t i = 0; i < p->count_features; i++) inputs[count++] = p->features[(i * p->height + y) * p->width + x];
#if defined(X86)
    Multiply *multiply = p->variant >= AVX2 ? multiply_avx2 : multiply_portable;
#else
    Multiply *multiply = multiply_portable;
#endif
    multiply(&p->enter, inputs, first);
    activate(&p->enter, first, 0, first);
    for (int64_t layer = 0; layer < p->depth; layer++) {
        multiply(&p->middle[layer], first, second);
        activate(&p->middle[layer], second, first, first);
    }
    multiply(&p->leave, first, values);
}

/* An output times a factor, rounded and limited. */
INLINE int64_t output(const int32_t *values, const uint8_t *exponents, int64_t stride, int64_t i, int64_t factor, int64_t limit) {
    return clamp(round_shift(values[i * stride] * factor, exponents[i * stride]), -limit, limit);
}

/* Four times what the means of a sample are relative to: 0 for gray, else 128 or the pixels at the left and above. */
INLINE int64_t reference_of(const Likelihood *p, const uint8_t *pixels, int64_t y, int64_t x, int channel) {
    if (p->colours == 1) return 0;
    if (!p->relative || (x == 0 && y == 0)) return 512;
    int64_t left = x ? pixels[(y * p->width + x - 1) * p->colours + channel] : 0;
    int64_t above = y ? pixels[((y - 1) * p->width + x) * p->colours + channel] : 0;
    if (x == 0) left = above;
    if (y == 0) above = left;
    return 2 * (left + above);
}

/* Go through an image: pop its samples, or note their intervals. */
INLINE void walk(int decoding, Lane *lane, int32_t *starts, int32_t *freqs, uint8_t *pixels, const Likelihood *p, int32_t *room,
                 const Tables *tables) {
    const int k = (int)p->components, colours = (int)p->colours;
    const int64_t size = p->height * p->width;
    int64_t logits[MAX_COMPONENTS], means[MAX_COMPONENTS], scales[MAX_COMPONENTS], weights[MAX_COMPONENTS];
    const Mixture mixture = {means, scales, weights};
    int64_t n = 0, x = 0, y = 0;
    for (int64_t place = 0; place < size; place++, x = x + 1 < p->width ? x + 1 : 0, y += !x) {
        const int32_t *values = p->outputs + place;
        const uint8_t *exponents = p->exponents + place;
        int64_t stride = size;
        if (p->radius >= 0) {
            int32_t *own = room + count_inputs(p) + 2 * p->hidden;
            run_pixel_layers(p, pixels, y, x, own, room);
            values = own;
            exponents = p->leave.exponents;
            stride = 1;
        }
        int64_t differences[2] = {0, 0};
        for (int colour = 0; colour < colours; colour++) {
            int64_t symbol, start, freq;
            const int channel = colours == 1 ? 0 : CHANNELS[colour];
            uint8_t *sample = pixels + place * colours + channel;
            if (!k) {
                const int64_t edge = bernoulli_start(output(values, exponents, stride, 0, 4, LOGIT_LIMIT), tables->logistic);
                symbol = decoding ? peek_symbol(lane, PRECISION) >= edge : *sample;
                start = symbol ? edge : 0;
                freq = symbol ? TOTAL - edge : edge;
            } else {
                const int64_t reference = reference_of(p, pixels, y, x, channel);
                for (int i = 0; i < k; i++) {
                    logits[i] = output(values, exponents, stride, colour * k + i, 1, MIXTURE_LOGIT_LIMIT);
                    const int64_t index = output(values, exponents, stride, (2 * colours + colour) * k + i, 1, SCALES);
                    scales[i] = tables->inverse_scales[clamp(index + LOG_SCALE_OFFSET, 0, SCALES - 1)];
                    int64_t mean = 16 * reference + output(values, exponents, stride, (colours + colour) * k + i, 64, MEAN_LIMIT);
                    if (colour == 1)
                        mean += shift_right(output(values, exponents, stride, 9 * k + i, 4, SLOPE_LIMIT) * differences[0] + 2, 2);
                    else if (colour == 2)
                        mean += shift_right(output(values, exponents, stride, 10 * k + i, 4, SLOPE_LIMIT) * differences[0] +
                                                output(values, exponents, stride, 11 * k + i, 4, SLOPE_LIMIT) * differences[1] + 2,
                                            2);
                    means[i] = mean;
                }
                weights_from_logits(logits, weights, k, tables->exponentials);
                if (decoding) {
                    symbol = mixture_search(peek_symbol(lane, PRECISION), 256, &mixture, k, tables->logistic, &start, &freq);
                } else {
                    symbol = *sample;
                    start = mixture_start(symbol, 256, &mixture, k, tables->logistic);
                    freq = mixture_start(symbol + 1, 256, &mixture, k, tables->logistic) - start;
                }
                if (colour < 2) differences[colour] = 4 * symbol - reference;
            }
            if (decoding) {
                pop_symbol(lane, start, freq, PRECISION);
                if (lane->size < 0) return;
                *sample = (uint8_t)symbol;
            } else {
                starts[n] = (int32_t)start;
                freqs[n++] = (int32_t)freq;
            }
        }
    }
}

static int is_sound(const Likelihood *p) {
    if (p->height < 1 || p->width < 1 || (p->colours != 1 && p->colours != 3)) return 0;
    if (p->components < 0 || p->components > MAX_COMPONENTS || (!p->components && p->colours != 1)) return 0;
    if (p->radius < 0) return 1;
    if (p->hidden < 1 || p->depth < 0 || p->count_features < 0) return 0;
    return p->enter.inputs == count_inputs(p) && p->enter.outputs == p->hidden && p->leave.inputs == p->hidden &&
           p->leave.outputs == count_outputs(p);
}

/* int32 that functions below need as room, or an error. */
EXPORT int64_t samples_room(const Likelihood *p) {
    return is_sound(p) ? count_inputs(p) + 2 * p->hidden + count_outputs(p) + 1 : BAD_ARGUMENT;
}

/* The size after pushing an image. starts, freqs: room for all samples. */
EXPORT int64_t push_samples(uint64_t *head, uint32_t *words, int64_t room, int64_t size, uint8_t *pixels, const Likelihood *p,
                            int32_t *scratch, int32_t *starts, int32_t *freqs, const Tables *tables) {
    if (!is_sound(p) || size < 0) return BAD_ARGUMENT;
    const int64_t count = p->height * p->width * p->colours;
    if (room - size < count) return NO_ROOM;
    Lane lane = {*head, words, size};
    walk(0, &lane, starts, freqs, pixels, p, scratch, tables);
    for (int64_t i = count - 1; i >= 0; i--) push_symbol(&lane, starts[i], freqs[i], PRECISION);
    *head = lane.head;
    return lane.size;
}

/* The size after popping an image. Inverse: push_samples. */
EXPORT int64_t pop_samples(uint64_t *head, uint32_t *words, int64_t room, int64_t size, uint8_t *pixels, const Likelihood *p,
                           int32_t *scratch, const Tables *tables) {
    if (!is_sound(p) || size < 0 || room < size) return BAD_ARGUMENT;
    Lane lane = {*head, words, size};
    walk(1, &lane, 0, 0, pixels, p, scratch, tables);
    *head = lane.head;
    return lane.size;
}

/* The sum over an image's samples of log2(freq / 2**24), in 2**-16 bit, into sum. */
EXPORT int64_t samples_log_freqs(uint8_t *pixels, const Likelihood *p, int32_t *scratch, int32_t *starts, int32_t *freqs,
                                 int64_t *sum, const Tables *tables) {
    if (!is_sound(p)) return BAD_ARGUMENT;
    walk(0, 0, starts, freqs, pixels, p, scratch, tables);
    const int64_t count = p->height * p->width * p->colours;
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) total += log2_of(freqs[i], tables->log2);
    *sum = total - (count * PRECISION << LOG_BITS);
    return 0;
}
