/* Integers as all of the core uses them: fixed widths, no floating point, nothing that C leaves undefined. */
#ifndef BBANS_INTEGERS_H
#define BBANS_INTEGERS_H

#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Ask for memory that is needed soon. */
#if defined(__GNUC__)
#define FETCH(address) __builtin_prefetch(address)
#else
#define FETCH(address) ((void)(address))
#endif

/* What a function returns in the place of a message's size. */
enum { RAN_DRY = -1, NO_ROOM = -2, BAD_ARGUMENT = -3 };

/* floor(x / 2**n). C leaves the shift of a negative number to the compiler; each one that exists does this. */
typedef char shifts_of_negative_numbers_round_down[(-3 >> 1) == -2 ? 1 : -1];

INLINE int64_t shift_right(int64_t x, int n) { return x >> n; }

INLINE int32_t shift_right32(int32_t x, int n) { return x >> n; }

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

INLINE int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : (x > high ? high : x); }

/* The same for numbers of 32 bits, of which a vector holds twice as many. */
INLINE int32_t clamp32(int32_t x, int32_t low, int32_t high) { return x < low ? low : (x > high ? high : x); }

INLINE int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }

/* numerator / denominator, of numbers below 2**32: many processors take several times as long to divide longer ones. */
INLINE int64_t divide(int64_t numerator, int64_t denominator) { return (uint32_t)numerator / (uint32_t)denominator; }

/* max(least, numerator / denominator), mostly without the division. numerator is below 2**32. */
INLINE int64_t falling(int64_t numerator, int64_t denominator, int64_t least) {
    return denominator * least >= numerator ? least : divide(numerator, denominator);
}

/* x * 2**-exponent to the nearest integer, halves to the even one. */
INLINE int64_t round_shift(int64_t x, int exponent) {
    if (!exponent) return x;
    return shift_right(x + (((int64_t)1 << (exponent - 1)) - 1) + (shift_right(x, exponent) & 1), exponent);
}

/* The same in 32 bits, for exponents to 30: nothing is added that could overflow. */
INLINE int32_t round_shift32(int32_t x, int exponent) {
    const int32_t floor = shift_right32(x, exponent), rest = (int32_t)((uint32_t)x & ((1U << exponent) - 1));
    return floor + (2 * rest + (floor & 1) > 1 << exponent);
}

#endif
