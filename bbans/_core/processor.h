/* Which instructions this processor and its system have. */
#ifndef BBANS_PROCESSOR_H
#define BBANS_PROCESSOR_H

#include <stdint.h>

/* Ways to compute a layer, the better the larger the number. A processor may have several. */
enum { PORTABLE, SSE4, AVX2, AVX_VNNI, AVX512_VNNI, NEON, NEON_DOT, VARIANTS };

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#define X86 1

static inline int has_variant(int variant) {
    unsigned a, b, c, d, low = 0, high = 0;
    if (variant == PORTABLE) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const unsigned sse41 = c >> 19 & 1, ssse3 = c >> 9 & 1, osxsave = c >> 27 & 1;
    if (variant == SSE4) return sse41 && ssse3;
    if (!osxsave) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 6) != 6) return 0; /* the system keeps the upper halves of registers */
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c >> 5 & 1)) return 0; /* LZCNT: with BMI2, as old as AVX2 */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b >> 5 & 1) || !(b >> 8 & 1)) return 0; /* AVX2, BMI2 */
    if (variant == AVX2) return 1;
    if (variant == AVX512_VNNI)
        return (low & 0xE0) == 0xE0 && (b >> 16 & 1) && (b >> 30 & 1) && (b >> 31 & 1) && (b >> 17 & 1) && (c >> 11 & 1);
    if (variant == AVX_VNNI) return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
    return 0;
}

#elif defined(__aarch64__) || defined(__ARM_NEON)
#define ARM 1
#if defined(__linux__)
#include <sys/auxv.h>
#endif

static inline int has_variant(int variant) {
    if (variant == PORTABLE || variant == NEON) return 1;
#if defined(__aarch64__) && defined(__linux__)
    if (variant == NEON_DOT) return getauxval(AT_HWCAP) >> 20 & 1;
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
    if (variant == NEON_DOT) return 1;
#endif
    return 0;
}

#else

static inline int has_variant(int variant) { return variant == PORTABLE; }

#endif

#endif
