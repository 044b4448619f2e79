/* Weighted least squares that forget, in integers, solved now and then by Cholesky's method. FORMAT.md, section 5.6, specifies them.
 *
 * Features and target are at most 2040 in size, weights below 2**16. Sums of their products are a triangle whose last row is the
 * target's; they may start below 2**46, as those of a positive semidefinite matrix. To solve, each row is scaled by a power of two
 * until its own sum is below 2**30, and then stands for a number below one with 30 fractional bits. What is added to the diagonal
 * keeps pivots above 2**-14. So the rows of the factor are shorter than one, and by Cauchy and Schwarz no sum of products of two rows
 * leaves 64 bits. */
#ifndef BBANS_LEAST_SQUARES_H
#define BBANS_LEAST_SQUARES_H

#include "integers.h"

enum {
    MAX_TAPS = 42,
    TRIANGLE = (MAX_TAPS + 1) * (MAX_TAPS + 2) / 2,
    RIDGE = 1 << 24,
    FORGET_BITS = 8, /* each solution takes this part from the sums */
    COEFFICIENT_BITS = 16,
    COEFFICIENT_LIMIT = 1 << 20,
    SOLUTION_BITS = 20, /* of coefficients of scaled features */
    SOLUTION_LIMIT = 1 << 27
};

typedef struct {
    int64_t sums[TRIANGLE];
    int32_t coefficients[MAX_TAPS];
} LeastSquares;

/* The features by their coefficients, with COEFFICIENT_BITS more fractional bits than they have. */
INLINE int64_t least_squares_sum(const LeastSquares *squares, const int32_t *features, int taps) {
    int64_t total = 0;
    for (int i = 0; i < taps; i++) total += (int64_t)squares->coefficients[i] * features[i];
    return total;
}

/* Take in a sample, whose target is features[taps]. */
INLINE void least_squares_add(LeastSquares *squares, const int32_t *features, int taps, int32_t weight) {
    int64_t *row = squares->sums;
    for (int i = 0; i <= taps; row += ++i) {
        const int32_t weighted = weight * features[i];
        for (int j = 0; j <= i; j++) row[j] += (int64_t)weighted * features[j];
    }
}

/* floor(sqrt(x)), x below 2**62. */
INLINE int64_t square_root(int64_t x) {
    int64_t root = 0;
    for (int64_t bit = (int64_t)1 << 30; bit; bit >>= 1)
        if ((root + bit) * (root + bit) <= x) root += bit;
    return root;
}

/* x * 2**-exponent. */
INLINE int64_t scaled(int64_t x, int exponent) { return exponent < 0 ? x * ((int64_t)1 << -exponent) : shift_right(x, exponent); }

/* Set the coefficients, and forget a part of the sums. */
static void least_squares_solve(LeastSquares *squares, int taps) {
    int64_t factor[TRIANGLE], inverse[MAX_TAPS], solution[MAX_TAPS]; /* inverse: 2**54 / pivot */
    int exponents[MAX_TAPS + 1];
    const int64_t *sums = squares->sums;
    int64_t *row = factor;
    for (int i = 0; i <= taps; i++, sums += i, row += i) {
        const int64_t own = sums[i] + (sums[i] >> 14) + RIDGE;
        exponents[i] = -2;
        while (scaled(own, 2 * exponents[i]) >= (int64_t)1 << 30) exponents[i]++;
        const int64_t *other = factor;
        for (int j = 0; j < i; other += ++j) {
            int64_t rest = scaled(sums[j], exponents[i] + exponents[j]) * ((int64_t)1 << 30);
            for (int l = 0; l < j; l++) rest -= row[l] * other[l];
            row[j] = shift_right(shift_right(rest, 30) * inverse[j], 24);
        }
        if (i == taps) break; /* the target's row is the factor's inverse by what is to be solved for */
        int64_t rest = scaled(own, 2 * exponents[i]) << 30;
        for (int l = 0; l < i; l++) rest -= row[l] * row[l];
        row[i] = larger(square_root(larger(rest, 0)), 1 << 22);
        inverse[i] = ((int64_t)1 << 54) / row[i];
    }
    for (int i = taps - 1; i >= 0; i--) {
        int64_t rest = row[i] * (1 << SOLUTION_BITS);
        for (int l = i + 1; l < taps; l++) rest -= factor[l * (l + 1) / 2 + i] * solution[l];
        rest = clamp(rest, -((int64_t)1 << 57), (int64_t)1 << 57);
        solution[i] = clamp(shift_right(shift_right(rest, 28) * inverse[i], 26), -SOLUTION_LIMIT, SOLUTION_LIMIT);
        const int64_t coefficient = scaled(solution[i], SOLUTION_BITS - COEFFICIENT_BITS + exponents[i] - exponents[taps]);
        squares->coefficients[i] = (int32_t)clamp(coefficient, -COEFFICIENT_LIMIT, COEFFICIENT_LIMIT);
    }
    for (int i = 0; i < (taps + 1) * (taps + 2) / 2; i++) squares->sums[i] -= shift_right(squares->sums[i], FORGET_BITS);
}

#endif
