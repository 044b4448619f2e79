/* A strip of a phase of the photo model, and the pixels around one of its pixels. */
#ifndef BBANS_PHASE_H
#define BBANS_PHASE_H

#include "distributions.h"
#include "least_squares.h"

enum { MAX_COMPONENTS = 8, NEAREST = 4 };

static const int CHANNELS[3] = {1, 0, 2}; /* G, R, B: colours in coding order as channels of pixels */

/* What is known before a phase is coded. Shapes: references (height, width, 3) int16; near (nears, height, width, 3);
 * params (height, width, 12 k); earlier (phases, earlier_height, earlier_width, 3) with a border of zeros, of which this strip
 * begins at row top; places (count_places, 3) of phase, row and column; canvas (2 height + 4, canvas_width, 3), the level's picture
 * with a border of 2, in which the phase's pixels, every second from row + 2 and column + 2 on, stand as soon as they are coded.
 * learned: a Learned (photo.c), what it starts from; sums (3, TRIANGLE): those of its least squares, each of a positive semidefinite
 * matrix with entries below 2**46. decided: whether the adaptive stage codes pixels by decisions; widths: those of values (widths.h),
 * which only decisions take. variant: of processor.h; the processor must have it. */
typedef struct {
    int64_t height, width, colours, components;
    const int16_t *references, *near, *params, *earlier;
    int64_t nears, phases, earlier_height, earlier_width, top;
    const int64_t *places;
    int64_t count_places, adaptive, decided;
    uint8_t *canvas;
    int64_t canvas_width, row, column;
    const int32_t *learned;
    const int64_t *sums;
    const uint16_t *widths;
    int64_t variant;
} Phase;

/* Whether what a phase says of itself keeps every look-up inside its arrays. */
static int is_sound(const Phase *p, const Tables *tables) {
    if (!tables->spreads || !tables->energies || !tables->factors || !tables->logarithms) return 0;
    if (p->height < 1 || p->width < 1 || p->height > 1 << 20 || p->width > 1 << 20) return 0;
    if ((p->colours != 1 && p->colours != 3) || p->components < 1 || p->components > MAX_COMPONENTS) return 0;
    if (p->nears < 0 || p->nears > 2 || p->count_places < 0 || p->count_places > 10) return 0;
    if (!p->adaptive) return 1;
    if (!p->learned || !p->sums || (p->decided && !p->widths)) return 0;
    if (p->row < 0 || p->row > 1 || p->column < 0 || p->column > 1 || p->row + p->column == 0) return 0;
    if (p->canvas_width < 2 * p->width + 4) return 0;
    if (!p->count_places) return 1;
    if (p->count_places < 6) return 0;
    for (int64_t i = 0; i < p->count_places; i++) {
        const int64_t *place = p->places + 3 * i;
        if (place[0] < 0 || place[0] >= p->phases) return 0;
        if (p->top + 1 + place[1] < 0 || p->top + p->height + place[1] >= p->earlier_height) return 0;
        if (1 + place[2] < 0 || p->width + place[2] >= p->earlier_width) return 0;
    }
    return 1;
}

/* Where around a pixel least squares look, as offsets in the canvas: pixels of its own colour within two rows and columns, the
 * `close` ones among them, within two steps, first; of each colour before, the close ones and that in the same place. And the
 * nearest, two pairs on opposite sides: they are of phases before; and four of the own phase. */
typedef struct {
    int count, close;
    int64_t offsets[MAX_TAPS], nearest[NEAREST], own_phase[NEAREST];
} Taps;

/* Phases in the order of coding, by odd rows and columns. */
INLINE int phase_order(int64_t row, int64_t column) {
    static const int orders[2][2] = {{0, 2}, {3, 1}};
    return orders[row & 1][column & 1];
}

static void find_taps(Taps *taps, const Phase *phase) {
    const int here = phase_order(phase->row, phase->column);
    taps->count = taps->close = 0;
    for (int far = 0; far < 2; far++) {
        for (int64_t dy = -2; dy <= 2; dy++) {
            for (int64_t dx = -2; dx <= 2; dx++) {
                const int order = phase_order(phase->row + dy, phase->column + dx);
                const int is_before = order < here || (order == here && (dy < 0 || (dy == 0 && dx < 0)));
                if (is_before && (magnitude(dy) + magnitude(dx) > 2) == far)
                    taps->offsets[taps->count++] = (dy * phase->canvas_width + dx) * 3;
            }
        }
        if (!far) taps->close = taps->count;
    }
    const int64_t column = 3, row = 3 * phase->canvas_width;
    const int diagonal = phase->row && phase->column;
    taps->nearest[0] = diagonal ? -row - column : -column;
    taps->nearest[2] = diagonal ? column - row : -row;
    for (int i = 0; i < NEAREST; i += 2) taps->nearest[i + 1] = -taps->nearest[i];
    taps->own_phase[0] = -2 * column, taps->own_phase[1] = -2 * row;
    taps->own_phase[2] = -2 * row - 2 * column, taps->own_phase[3] = -2 * row + 2 * column;
}

/* Fill in the differences of the pixels around from a local mean, with 3 fractional bits, and return how many; for R and B those of the
 * pixels further off are their differences from G. at points at the pixel's place in the canvas. */
INLINE int look_around(int32_t *features, int64_t *mean, const uint8_t *at, int colour, const Taps *taps) {
    const uint8_t *own = at + CHANNELS[colour];
    int64_t sum = 0;
    int count = 0;
    for (int i = 0; i < taps->close; i++) sum += own[taps->offsets[i]];
    *mean = (16 * sum + taps->close) / (2 * taps->close);
    for (int i = 0; i < taps->close; i++) features[count++] = (int32_t)(8 * own[taps->offsets[i]] - *mean);
    for (int i = taps->close; i < taps->count; i++) {
        const int64_t offset = taps->offsets[i];
        features[count++] = (int32_t)(8 * own[offset] - (colour ? 8 * at[offset + CHANNELS[0]] : *mean));
    }
    for (int before = 0; before < colour; before++) {
        const uint8_t *other = at + CHANNELS[before];
        for (int i = 0; i < taps->close; i++) features[count++] = (int32_t)(8 * other[taps->offsets[i]] - *mean);
        features[count++] = (int32_t)(8 * other[0] - *mean);
    }
    return count;
}

#endif
