/* Integer convolutions of 1 x 1 or 3 x 3: activations 0 .. 127 times weights -127 .. 127, added up in int32, then rounded and clamped.
 *
 * Activations are (rows, columns, channels), so the channels of three neighbours in a row lie side by side: for a row of a kernel the
 * sum runs over one piece of memory, in groups of 4 bytes. Outputs are computed in blocks of 16. Weights are packed (blocks, kernel
 * rows, groups, 16, 4), so that one instruction multiplies a group with the weights of 4, 8 or 16 outputs. All variants add up the
 * same integers. Some make int16 sums of pairs of products on the way, which never overflow, as 2 x 127 x 127 < 2**15; and add up
 * those of a run of groups where the weights are so small that these do not overflow either, which is to widen them less often. */
#include <string.h>

#include "integers.h"
#include "processor.h"

#if defined(X86)
#include <immintrin.h>
#elif defined(ARM)
#include <arm_neon.h>
#endif

enum { BLOCK = 16, RUN = 4, PART = 24, ACTIVATION_MAX = 127 };

/* A layer: weights packed as above, bias and exponents (blocks, 16) with zeros at the end. small (blocks, kernel rows, whole runs):
 * whether the sums of pairs of a run stay within int16, whatever the activations. */
typedef struct {
    int64_t inputs, outputs, side;
    const int8_t *weights;
    const int32_t *bias, *exponents;
    const uint8_t *small;
} Convolution;

/* Sums (blocks, PART, 16) of a block, or of two, at the first of PART positions: bias and products. in points at the first position's
 * piece of memory in the first row of the kernel; its rows are so many bytes apart. Nothing behind a piece is read. */
typedef void AddUp(const Convolution *layer, int64_t block, const uint8_t *in, int64_t in_row, int32_t *sums);

/* Activations of the sums (positions, 16) of a block, added to skip, if there is one, before they are rounded, halves to the even
 * number. skip and out point at the block's outputs of the first position. */
typedef void Finish(const Convolution *layer, int64_t block, int64_t positions, const int32_t *sums, const uint8_t *skip, uint8_t *out);

INLINE int64_t piece_bytes(const Convolution *layer) { return layer->side * layer->inputs; }

INLINE int64_t count_groups(const Convolution *layer) { return (piece_bytes(layer) + 3) / 4; }

INLINE int64_t outputs_of(const Convolution *layer, int64_t block) { return smaller(BLOCK, layer->outputs - block * BLOCK); }

static void add_up_portable(const Convolution *layer, int64_t block, const uint8_t *in, int64_t in_row, int32_t *sums) {
    const int64_t size = piece_bytes(layer);
    const int8_t *weights = layer->weights + block * layer->side * count_groups(layer) * 4 * BLOCK;
    memcpy(sums, layer->bias + block * BLOCK, BLOCK * sizeof *sums);
    for (int64_t row = 0; row < layer->side; row++, in += in_row) {
        for (int64_t at = 0; at < size; at += 4, weights += 4 * BLOCK) {
            int32_t a[4] = {0, 0, 0, 0};
            for (int64_t i = 0; i < 4 && at + i < size; i++) a[i] = in[at + i];
            for (int j = 0; j < BLOCK; j++) {
                const int8_t *w = weights + 4 * j;
                sums[j] += a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
            }
        }
    }
}

static void finish_portable(const Convolution *layer, int64_t block, int64_t positions, const int32_t *sums, const uint8_t *skip,
                            uint8_t *out) {
    const int64_t count = outputs_of(layer, block);
    for (int64_t i = 0; i < positions; i++, sums += BLOCK, out += layer->outputs) {
        for (int64_t j = 0; j < count; j++) {
            const int exponent = layer->exponents[block * BLOCK + j];
            const int64_t onto = skip ? skip[i * layer->outputs + j] * ((int64_t)1 << exponent) : 0;
            out[j] = (uint8_t)clamp(round_shift(sums[j] + onto, exponent), 0, ACTIVATION_MAX);
        }
    }
}

#if defined(X86) || defined(ARM)
/* A group of bytes as they lie in memory. */
INLINE int32_t load_group(const uint8_t *in) {
    int32_t group;
    memcpy(&group, in, 4);
    return group;
}

/* A group of 1 to 3 bytes, and 0 for what is missing. */
INLINE int32_t load_rest(const uint8_t *in, int64_t count) {
    int32_t group = 0;
    if (count == 1) memcpy(&group, in, 1);
    if (count == 2) memcpy(&group, in, 2);
    if (count == 3) memcpy(&group, in, 3);
    return group;
}
#endif

/* A variant: the sums of so many positions and blocks stay in registers, VECTORS for each. ADD_RUNS adds up the runs of a row, if the
 * variant does so, else it is NO_RUNS. */
#define UNROLL _Pragma("GCC unroll 16")
#define EACH_VECTOR UNROLL for (int b = 0; b < BLOCKS; b++) UNROLL for (int v = 0; v < VECTORS; v++)
#define EACH UNROLL for (int i = 0; i < POSITIONS; i++) EACH_VECTOR
#define WEIGHTS (weights + b * block_bytes + v * 4 * (BLOCK / VECTORS))
#define ADD_GROUP(VECTOR, LOAD, BROADCAST, DOT, GROUP)                                    \
    do {                                                                                  \
        EACH_VECTOR w[b][v] = LOAD(WEIGHTS);                                              \
        UNROLL for (int i = 0; i < POSITIONS; i++) {                                      \
            const VECTOR a = BROADCAST(GROUP);                                            \
            EACH_VECTOR sum[b][i][v] = DOT(sum[b][i][v], a, w[b][v]);                     \
        }                                                                                 \
        weights += 4 * BLOCK;                                                             \
    } while (0)
#define NO_RUNS(VECTOR, LOAD, BROADCAST, DOT)
#define ADD_UP(NAME, TARGET, POSITIONS_, BLOCKS_, VECTORS_, VECTOR, LOAD, STORE, BROADCAST, DOT, ADD_RUNS)                              \
    TARGET static void NAME(const Convolution *layer, int64_t block, const uint8_t *in, int64_t in_row, int32_t *sums) {                \
        enum { POSITIONS = POSITIONS_, BLOCKS = BLOCKS_, VECTORS = VECTORS_ };                                                          \
        const int64_t stride = layer->inputs, size = piece_bytes(layer), block_bytes = layer->side * count_groups(layer) * 4 * BLOCK;   \
        const int8_t *weights = layer->weights + block * block_bytes;                                                                   \
        VECTOR sum[BLOCKS][POSITIONS][VECTORS], w[BLOCKS][VECTORS];                                                                     \
        EACH sum[b][i][v] = LOAD(layer->bias + (block + b) * BLOCK + v * (BLOCK / VECTORS));                                            \
        for (int64_t row = 0; row < layer->side; row++, in += in_row) {                                                                 \
            int64_t at = 0;                                                                                                             \
            ADD_RUNS(VECTOR, LOAD, BROADCAST, DOT)                                                                                      \
            for (; at + 4 <= size; at += 4) ADD_GROUP(VECTOR, LOAD, BROADCAST, DOT, load_group(in + i * stride + at));                  \
            if (at < size) ADD_GROUP(VECTOR, LOAD, BROADCAST, DOT, load_rest(in + i * stride + at, size - at));                         \
        }                                                                                                                               \
        EACH STORE(sums + (b * PART + i) * BLOCK + v * (BLOCK / VECTORS), sum[b][i][v]);                                                \
    }

#if defined(X86)
/* Left alone, the compiler multiplies all of a run first, also ahead of the branch, and has no registers for so many products. */
#define IN_REGISTER(vector) __asm__("" : "+x"(vector))

/* Runs of a variant that multiplies by PAIRS, into int16 sums of pairs; WIDEN adds these up, by twos, to int32 sums. */
#define RUNS(VECTOR, LOAD, BROADCAST, DOT, PAIRS, ADD_PAIRS, WIDEN)                                                                     \
    const uint8_t *small = layer->small + (block * layer->side + row) * (size / (4 * RUN));                                             \
    for (int64_t run = 0; run < size / (4 * RUN); run++) {                                                                              \
        if (small[run]) {                                                                                                               \
            VECTOR pairs[BLOCKS][POSITIONS][VECTORS];                                                                                   \
            UNROLL for (int group = 0; group < RUN; group++, at += 4, weights += 4 * BLOCK) {                                           \
                EACH_VECTOR w[b][v] = LOAD(WEIGHTS);                                                                                    \
                UNROLL for (int i = 0; i < POSITIONS; i++) {                                                                            \
                    const VECTOR a = BROADCAST(load_group(in + i * stride + at));                                                       \
                    EACH_VECTOR {                                                                                                       \
                        pairs[b][i][v] = group ? ADD_PAIRS(pairs[b][i][v], PAIRS(a, w[b][v])) : PAIRS(a, w[b][v]);                      \
                        IN_REGISTER(pairs[b][i][v]);                                                                                    \
                    }                                                                                                                   \
                }                                                                                                                       \
            }                                                                                                                           \
            EACH sum[b][i][v] = WIDEN(sum[b][i][v], pairs[b][i][v]);                                                                    \
        } else {                                                                                                                        \
            _Pragma("GCC unroll 1") for (int group = 0; group < RUN; group++, at += 4)                                                  \
                ADD_GROUP(VECTOR, LOAD, BROADCAST, DOT, load_group(in + i * stride + at));                                              \
        }                                                                                                                               \
    }

#define LOAD_128(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE_128(p, x) _mm_storeu_si128((__m128i *)(p), x)
#define WIDEN_128(sum, pairs) _mm_add_epi32(sum, _mm_madd_epi16(pairs, _mm_set1_epi16(1)))
#define DOT_128(sum, a, w) WIDEN_128(sum, _mm_maddubs_epi16(a, w))
#define RUNS_128(VECTOR, LOAD, BROADCAST, DOT) RUNS(VECTOR, LOAD, BROADCAST, DOT, _mm_maddubs_epi16, _mm_add_epi16, WIDEN_128)
#define SSE4_TARGET __attribute__((target("sse4.1,ssse3")))
ADD_UP(add_up_sse4_1, SSE4_TARGET, 1, 1, 4, __m128i, LOAD_128, STORE_128, _mm_set1_epi32, DOT_128, RUNS_128)

#define LOAD_256(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE_256(p, x) _mm256_storeu_si256((__m256i *)(p), x)
#define WIDEN_256(sum, pairs) _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
#define DOT_256(sum, a, w) WIDEN_256(sum, _mm256_maddubs_epi16(a, w))
#define RUNS_256(VECTOR, LOAD, BROADCAST, DOT) RUNS(VECTOR, LOAD, BROADCAST, DOT, _mm256_maddubs_epi16, _mm256_add_epi16, WIDEN_256)
#define AVX2_TARGET __attribute__((target("avx2")))
ADD_UP(add_up_avx2_1, AVX2_TARGET, 1, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, DOT_256, RUNS_256)
ADD_UP(add_up_avx2_2, AVX2_TARGET, 2, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, DOT_256, RUNS_256)
ADD_UP(add_up_avx2_3, AVX2_TARGET, 3, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, DOT_256, RUNS_256)

/* Eight of finish_avx2, as int32. */
AVX2_TARGET static inline __m256i finish_8(__m256i sum, __m256i skip, __m256i exponent) {
    const __m256i one = _mm256_set1_epi32(1), unit = _mm256_sllv_epi32(one, exponent);
    const __m256i below_half = _mm256_srli_epi32(_mm256_sub_epi32(unit, one), 1);
    sum = _mm256_add_epi32(sum, _mm256_sllv_epi32(skip, exponent));
    const __m256i odd = _mm256_and_si256(_mm256_srav_epi32(sum, exponent), _mm256_andnot_si256(unit, one));
    return _mm256_srav_epi32(_mm256_add_epi32(sum, _mm256_add_epi32(below_half, odd)), exponent);
}

AVX2_TARGET static void finish_avx2(const Convolution *layer, int64_t block, int64_t positions, const int32_t *sums,
                                    const uint8_t *skip, uint8_t *out) {
    const size_t count = (size_t)outputs_of(layer, block);
    const __m256i exponents[2] = {LOAD_256(layer->exponents + block * BLOCK), LOAD_256(layer->exponents + block * BLOCK + 8)};
    for (int64_t i = 0; i < positions; i++, sums += BLOCK, out += layer->outputs) {
        uint8_t bytes[BLOCK] = {0};
        __m128i onto = _mm_setzero_si128();
        if (skip && count == BLOCK) {
            onto = LOAD_128(skip + i * layer->outputs);
        } else if (skip) {
            memcpy(bytes, skip + i * layer->outputs, count);
            onto = LOAD_128(bytes);
        }
        const __m256i low = finish_8(LOAD_256(sums), _mm256_cvtepu8_epi32(onto), exponents[0]);
        const __m256i high = finish_8(LOAD_256(sums + 8), _mm256_cvtepu8_epi32(_mm_srli_si128(onto, 8)), exponents[1]);
        const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8); /* int16, in order */
        const __m128i clamped = _mm_min_epu8(
            _mm_packus_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)), _mm_set1_epi8(ACTIVATION_MAX));
        if (count == BLOCK) {
            STORE_128(out, clamped);
        } else {
            STORE_128(bytes, clamped);
            memcpy(out, bytes, count);
        }
    }
}

#define AVX_VNNI_TARGET __attribute__((target("avx2,avxvnni")))
ADD_UP(add_up_avx_vnni_1, AVX_VNNI_TARGET, 1, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32, NO_RUNS)
ADD_UP(add_up_avx_vnni_4, AVX_VNNI_TARGET, 4, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32, NO_RUNS)
ADD_UP(add_up_avx_vnni_6, AVX_VNNI_TARGET, 6, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32, NO_RUNS)

#define LOAD_512(p) _mm512_loadu_si512((const void *)(p))
#define STORE_512(p, x) _mm512_storeu_si512((void *)(p), x)
#define AVX512_TARGET __attribute__((target("avx512f,avx512vnni")))
ADD_UP(add_up_avx512_1, AVX512_TARGET, 1, 1, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32, NO_RUNS)
ADD_UP(add_up_avx512_4, AVX512_TARGET, 4, 1, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32, NO_RUNS)
ADD_UP(add_up_avx512_8, AVX512_TARGET, 8, 1, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32, NO_RUNS)
ADD_UP(add_up_avx512_8_2, AVX512_TARGET, 8, 2, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32, NO_RUNS)
#endif

#if defined(ARM)
INLINE int32x4_t load_sums(const void *p) { return vreinterpretq_s32_u8(vld1q_u8((const uint8_t *)p)); }
INLINE void store_sums(int32_t *p, int32x4_t x) { vst1q_s32(p, x); }

INLINE int32x4_t dot_neon(int32x4_t sum, int32x4_t a, int32x4_t w) {
    const int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(w);
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(x), vget_high_s8(y)));
    return vaddq_s32(sum, vcombine_s32(vpadd_s32(vget_low_s32(low), vget_high_s32(low)),
                                       vpadd_s32(vget_low_s32(high), vget_high_s32(high))));
}
#define ANY_TARGET
ADD_UP(add_up_neon_1, ANY_TARGET, 1, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, dot_neon, NO_RUNS)
ADD_UP(add_up_neon_2, ANY_TARGET, 2, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, dot_neon, NO_RUNS)

#if defined(__aarch64__)
#define DOT_PRODUCT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define DOT_PRODUCT(sum, a, w) vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(w))
ADD_UP(add_up_neon_dot_1, DOT_PRODUCT_TARGET, 1, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, DOT_PRODUCT, NO_RUNS)
ADD_UP(add_up_neon_dot_4, DOT_PRODUCT_TARGET, 4, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, DOT_PRODUCT, NO_RUNS)
#endif
#endif

/* How a variant adds up many positions at a time, some, and one; two blocks of many positions, if it can; and what it does with sums. */
typedef struct {
    int positions[3];
    AddUp *add_up[3], *two_blocks;
    Finish *finish;
} Variant;

static const Variant VARIANT[VARIANTS] = {
    [PORTABLE] = {{1, 1, 1}, {add_up_portable, add_up_portable, add_up_portable}, 0, finish_portable},
#if defined(X86)
    [SSE4] = {{1, 1, 1}, {add_up_sse4_1, add_up_sse4_1, add_up_sse4_1}, 0, finish_portable},
    [AVX2] = {{3, 2, 1}, {add_up_avx2_3, add_up_avx2_2, add_up_avx2_1}, 0, finish_avx2},
    [AVX_VNNI] = {{6, 4, 1}, {add_up_avx_vnni_6, add_up_avx_vnni_4, add_up_avx_vnni_1}, 0, finish_avx2},
    [AVX512_VNNI] = {{8, 4, 1}, {add_up_avx512_8, add_up_avx512_4, add_up_avx512_1}, add_up_avx512_8_2, finish_avx2},
#endif
#if defined(ARM)
    [NEON] = {{2, 2, 1}, {add_up_neon_2, add_up_neon_2, add_up_neon_1}, 0, finish_portable},
#if defined(__aarch64__)
    [NEON_DOT] = {{4, 4, 1}, {add_up_neon_dot_4, add_up_neon_dot_4, add_up_neon_dot_1}, 0, finish_portable},
#endif
#endif
};

/* Whether this processor has a variant. To be asked once: a virtual machine takes 30 us to answer. */
EXPORT int64_t has_convolution(int64_t variant) {
    return variant >= 0 && variant < VARIANTS && VARIANT[variant].finish && has_variant((int)variant);
}

/* Activations of a layer with a clamp: out (images, height, width, outputs) uint8; or if sums are given, accumulators of that shape.
 * The processor must have the variant. in is (images, height + side - 1, width + side - 1, inputs), skip as out or 0; their images and rows are so many bytes apart. */
EXPORT int64_t convolve(const Convolution *layer, int64_t variant, int64_t images, int64_t height, int64_t width, const uint8_t *in,
                        int64_t in_image, int64_t in_row, const uint8_t *skip, int64_t skip_image, int64_t skip_row, uint8_t *out,
                        int32_t *sums) {
    if (variant < 0 || variant >= VARIANTS || !VARIANT[variant].finish || images < 0 || height < 0 || width < 0) return BAD_ARGUMENT;
    const Variant *v = &VARIANT[variant];
    const int64_t inputs = layer->inputs, outputs = layer->outputs;
    int32_t part_sums[2 * PART * BLOCK];
    if (layer->side == 1 && in_row == width * inputs && (!skip || skip_row == width * outputs)) { /* rows without a gap are one */
        width *= height;
        height = 1;
    }
    for (int64_t y = 0; y < images * height; y++) {
        const uint8_t *from = in + y / height * in_image + y % height * in_row;
        const uint8_t *onto = skip ? skip + y / height * skip_image + y % height * skip_row : 0;
        for (int64_t block = 0, blocks; block * BLOCK < outputs; block += blocks) { /* whose weights stay near for a row */
            blocks = v->two_blocks && outputs > (block + 1) * BLOCK ? 2 : 1;
            for (int64_t x = 0; x < width; x += PART) {
                const int64_t part = smaller(PART, width - x);
                for (int64_t i = 0, positions; i < part; i += positions) {
                    int kernel = 0;
                    while (v->positions[kernel] > part - i) kernel++;
                    positions = v->positions[kernel];
                    for (int64_t b = 0, more; b < blocks; b += more) {
                        more = kernel == 0 ? blocks : 1;
                        AddUp *add_up = more == 2 ? v->two_blocks : v->add_up[kernel];
                        add_up(layer, block + b, from + (x + i) * inputs, in_row, part_sums + (b * PART + i) * BLOCK);
                    }
                }
                for (int64_t b = 0; b < blocks; b++) {
                    const int32_t *own = part_sums + b * PART * BLOCK;
                    const int64_t place = x * outputs + (block + b) * BLOCK, at = y * width * outputs + place;
                    if (!sums) {
                        v->finish(layer, block + b, part, own, onto ? onto + place : 0, out + at);
                        continue;
                    }
                    for (int64_t i = 0; i < part; i++)
                        memcpy(sums + at + i * outputs, own + i * BLOCK, (size_t)outputs_of(layer, block + b) * sizeof *own);
                }
            }
        }
    }
    return 0;
}

/* What parameters of distributions are made of accumulators, by channel: times a factor and 2**-exponent, rounded, plus an offset, within
 * limits. The product of an accumulator and a factor stays within 31 bits, and limits within int16. */
typedef struct {
    const int32_t *exponents, *factors, *offsets, *lows, *highs;
} Scaling;

INLINE void scale_as(const int32_t *restrict sums, int64_t positions, int64_t channels, const Scaling *by, int16_t *restrict out) {
    for (int64_t i = 0; i < positions; i++, sums += channels, out += channels) {
        for (int64_t j = 0; j < channels; j++) {
            const int32_t y = round_shift32(sums[j] * by->factors[j], by->exponents[j]) + by->offsets[j];
            out[j] = (int16_t)clamp32(y, by->lows[j], by->highs[j]);
        }
    }
}

#if defined(X86)
AVX2_TARGET static void scale_avx2(const int32_t *sums, int64_t positions, int64_t channels, const Scaling *by, int16_t *out) {
    scale_as(sums, positions, channels, by, out);
}
#endif

EXPORT int64_t scale(int64_t variant, const int32_t *sums, int64_t positions, int64_t channels, const Scaling *by, int16_t *out) {
#if defined(X86)
    if (variant >= AVX2) {
        scale_avx2(sums, positions, channels, by, out);
        return 0;
    }
#endif
    (void)variant;
    scale_as(sums, positions, channels, by, out);
    return 0;
}
