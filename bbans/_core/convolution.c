/* Integer convolutions of 1 x 1 or 3 x 3: activations 0 .. 127 times weights -127 .. 127, added up in int32, then rounded and clamped.
 *
 * Activations are (rows, columns, channels), so the channels of three neighbours in a row lie side by side: for a row of a kernel the
 * sum runs over one piece of memory, in groups of 4 bytes. Outputs are computed in blocks of 16. Weights are packed (blocks, kernel
 * rows, groups, 16, 4), so that one instruction multiplies a group with the weights of 4, 8 or 16 outputs. All variants add up the
 * same integers; the int16 sums of pairs that some make on the way never overflow, as 2 x 127 x 127 < 2**15. */
#include <string.h>

#include "integers.h"
#include "processor.h"

#if defined(X86)
#include <immintrin.h>
#elif defined(ARM)
#include <arm_neon.h>
#endif

enum { BLOCK = 16, MOST_SUMS = 16 * BLOCK, ACTIVATION_MAX = 127 };

/* A layer: weights packed as above, bias and exponents (blocks, 16) with zeros at the end. */
typedef struct {
    int64_t inputs, outputs, side;
    const int8_t *weights;
    const int32_t *bias, *exponents;
} Convolution;

/* Adds the products of one row of the kernel to sums (blocks, positions, 16). in points at the first position's piece of memory, of size
 * bytes; positions are stride bytes apart, and the weights of blocks next bytes. Nothing behind a piece is read. */
typedef void AddRow(const uint8_t *in, int64_t stride, int64_t size, const int8_t *weights, int64_t next, int32_t *sums);

#if defined(X86) || defined(ARM)
/* A group of bytes as they lie in memory, and 0 for what is missing. */
INLINE int32_t load_group(const uint8_t *in, int64_t count) {
    int32_t group = 0;
    memcpy(&group, in, (size_t)count);
    return group;
}
#endif

/* Activations of the sums of a block, added to skip, if there is one, before they are rounded, halves to the even number. */
typedef void Finish(const int32_t *sums, const Convolution *layer, int64_t first, const uint8_t *skip, uint8_t *out);

static void finish_portable(const int32_t *sums, const Convolution *layer, int64_t first, const uint8_t *skip, uint8_t *out) {
    const int64_t count = smaller(BLOCK, layer->outputs - first);
    for (int64_t j = 0; j < count; j++) {
        const int exponent = layer->exponents[first + j];
        const int64_t onto = skip ? skip[j] * ((int64_t)1 << exponent) : 0;
        out[j] = (uint8_t)clamp(round_shift(sums[j] + onto, exponent), 0, ACTIVATION_MAX);
    }
}

static void add_row_portable(const uint8_t *in, int64_t stride, int64_t size, const int8_t *weights, int64_t next, int32_t *sums) {
    (void)stride, (void)next;
    for (int64_t at = 0; at < size; at += 4, weights += 4 * BLOCK) {
        int32_t a[4] = {0, 0, 0, 0};
        for (int64_t i = 0; i < 4 && at + i < size; i++) a[i] = in[at + i];
        for (int j = 0; j < BLOCK; j++) {
            const int8_t *w = weights + 4 * j;
            sums[j] += a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
        }
    }
}

/* A variant: the sums of so many positions and blocks stay in registers, VECTORS for each, while a row is added up. */
#define UNROLL _Pragma("GCC unroll 16")
#define EACH UNROLL for (int b = 0; b < BLOCKS; b++) UNROLL for (int i = 0; i < POSITIONS; i++) UNROLL for (int v = 0; v < VECTORS; v++)
#define SUMS (sums + (b * POSITIONS + i) * BLOCK + v * (BLOCK / VECTORS))
#define WEIGHTS (weights + b * next + v * 4 * (BLOCK / VECTORS))
#define ADD_ROW(NAME, TARGET, POSITIONS_, BLOCKS_, VECTORS_, VECTOR, LOAD, STORE, BROADCAST, DOT)                                  \
    TARGET static void NAME(const uint8_t *in, int64_t stride, int64_t size, const int8_t *weights, int64_t next, int32_t *sums) { \
        enum { POSITIONS = POSITIONS_, BLOCKS = BLOCKS_, VECTORS = VECTORS_ };                                                    \
        VECTOR sum[BLOCKS][POSITIONS][VECTORS], w[BLOCKS][VECTORS];                                                               \
        (void)next;                                                                                                               \
        EACH sum[b][i][v] = LOAD(SUMS);                                                                                           \
        int64_t at = 0;                                                                                                           \
        for (; at + 4 <= size; at += 4, weights += 4 * BLOCK) {                                                                   \
            UNROLL for (int b = 0; b < BLOCKS; b++) UNROLL for (int v = 0; v < VECTORS; v++) w[b][v] = LOAD(WEIGHTS);             \
            UNROLL for (int i = 0; i < POSITIONS; i++) {                                                                          \
                const VECTOR a = BROADCAST(load_group(in + i * stride + at, 4));                                                  \
                UNROLL for (int b = 0; b < BLOCKS; b++) UNROLL for (int v = 0; v < VECTORS; v++)                                  \
                    sum[b][i][v] = DOT(sum[b][i][v], a, w[b][v]);                                                                 \
            }                                                                                                                     \
        }                                                                                                                         \
        if (at < size) EACH sum[b][i][v] = DOT(sum[b][i][v], BROADCAST(load_group(in + i * stride + at, size - at)), LOAD(WEIGHTS)); \
        EACH STORE(SUMS, sum[b][i][v]);                                                                                           \
    }

#if defined(X86)
#define LOAD_128(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE_128(p, x) _mm_storeu_si128((__m128i *)(p), x)
#define DOT_128(sum, a, w) _mm_add_epi32(sum, _mm_madd_epi16(_mm_maddubs_epi16(a, w), _mm_set1_epi16(1)))
#define SSE4_TARGET __attribute__((target("sse4.1,ssse3")))
ADD_ROW(add_row_sse4_1, SSE4_TARGET, 1, 1, 4, __m128i, LOAD_128, STORE_128, _mm_set1_epi32, DOT_128)
ADD_ROW(add_row_sse4_2, SSE4_TARGET, 2, 1, 4, __m128i, LOAD_128, STORE_128, _mm_set1_epi32, DOT_128)

#define LOAD_256(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE_256(p, x) _mm256_storeu_si256((__m256i *)(p), x)
#define DOT_256(sum, a, w) _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, w), _mm256_set1_epi16(1)))
#define AVX2_TARGET __attribute__((target("avx2")))
/* Eight of finish_avx2, as int32. */
AVX2_TARGET static inline __m256i finish_8(const int32_t *sums, const int32_t *exponents, __m256i skip) {
    const __m256i exponent = LOAD_256(exponents), one = _mm256_set1_epi32(1), unit = _mm256_sllv_epi32(one, exponent);
    const __m256i sum = _mm256_add_epi32(LOAD_256(sums), _mm256_sllv_epi32(skip, exponent));
    const __m256i odd = _mm256_andnot_si256(unit, _mm256_and_si256(_mm256_srav_epi32(sum, exponent), one));
    const __m256i half = _mm256_sub_epi32(_mm256_srli_epi32(unit, 1), _mm256_and_si256(_mm256_cmpgt_epi32(unit, one), one));
    return _mm256_srav_epi32(_mm256_add_epi32(sum, _mm256_add_epi32(half, odd)), exponent);
}

AVX2_TARGET static void finish_avx2(const int32_t *sums, const Convolution *layer, int64_t first, const uint8_t *skip,
                                    uint8_t *out) {
    const size_t count = (size_t)smaller(BLOCK, layer->outputs - first);
    uint8_t bytes[BLOCK] = {0};
    if (skip) memcpy(bytes, skip, count);
    const __m128i onto = LOAD_128(bytes);
    const __m256i low = finish_8(sums, layer->exponents + first, _mm256_cvtepu8_epi32(onto));
    const __m256i high = finish_8(sums + 8, layer->exponents + first + 8, _mm256_cvtepu8_epi32(_mm_srli_si128(onto, 8)));
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
ADD_ROW(add_row_avx2_1, AVX2_TARGET, 1, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, DOT_256)
ADD_ROW(add_row_avx2_4, AVX2_TARGET, 4, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, DOT_256)

#define AVX_VNNI_TARGET __attribute__((target("avx2,avxvnni")))
ADD_ROW(add_row_avx_vnni_1, AVX_VNNI_TARGET, 1, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32)
ADD_ROW(add_row_avx_vnni_4, AVX_VNNI_TARGET, 4, 1, 2, __m256i, LOAD_256, STORE_256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32)

#define LOAD_512(p) _mm512_loadu_si512((const void *)(p))
#define STORE_512(p, x) _mm512_storeu_si512((void *)(p), x)
#define AVX512_TARGET __attribute__((target("avx512f,avx512vnni")))
ADD_ROW(add_row_avx512_1, AVX512_TARGET, 1, 1, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32)
ADD_ROW(add_row_avx512_4, AVX512_TARGET, 4, 1, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32)
ADD_ROW(add_row_avx512_8, AVX512_TARGET, 8, 1, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32)
ADD_ROW(add_row_avx512_8_2, AVX512_TARGET, 8, 2, 1, __m512i, LOAD_512, STORE_512, _mm512_set1_epi32, _mm512_dpbusd_epi32)
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
ADD_ROW(add_row_neon_1, ANY_TARGET, 1, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, dot_neon)
ADD_ROW(add_row_neon_2, ANY_TARGET, 2, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, dot_neon)

#if defined(__aarch64__)
#define DOT_PRODUCT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define DOT_PRODUCT(sum, a, w) vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(w))
ADD_ROW(add_row_neon_dot_1, DOT_PRODUCT_TARGET, 1, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, DOT_PRODUCT)
ADD_ROW(add_row_neon_dot_4, DOT_PRODUCT_TARGET, 4, 1, 4, int32x4_t, load_sums, store_sums, vdupq_n_s32, DOT_PRODUCT)
#endif
#endif

/* How a variant adds up many positions at a time, some, and one; two blocks of many positions, if it can; and what it does with sums. */
typedef struct {
    int positions[3];
    AddRow *add_row[3], *two_blocks;
    Finish *finish;
} Variant;

static const Variant VARIANT[VARIANTS] = {
    [PORTABLE] = {{1, 1, 1}, {add_row_portable, add_row_portable, add_row_portable}, 0, finish_portable},
#if defined(X86)
    [SSE4] = {{2, 2, 1}, {add_row_sse4_2, add_row_sse4_2, add_row_sse4_1}, 0, finish_portable},
    [AVX2] = {{4, 4, 1}, {add_row_avx2_4, add_row_avx2_4, add_row_avx2_1}, 0, finish_avx2},
    [AVX_VNNI] = {{4, 4, 1}, {add_row_avx_vnni_4, add_row_avx_vnni_4, add_row_avx_vnni_1}, 0, finish_avx2},
    [AVX512_VNNI] = {{8, 4, 1}, {add_row_avx512_8, add_row_avx512_4, add_row_avx512_1}, add_row_avx512_8_2, finish_avx2},
#endif
#if defined(ARM)
    [NEON] = {{2, 2, 1}, {add_row_neon_2, add_row_neon_2, add_row_neon_1}, 0, finish_portable},
#if defined(__aarch64__)
    [NEON_DOT] = {{4, 4, 1}, {add_row_neon_dot_4, add_row_neon_dot_4, add_row_neon_dot_1}, 0, finish_portable},
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
    const int64_t size = layer->side * layer->inputs, row_bytes = (size + 3) / 4 * 4 * BLOCK, block_bytes = layer->side * row_bytes;
    int32_t block[MOST_SUMS];
    if (layer->side == 1 && in_row == width * size && (!skip || skip_row == width * layer->outputs)) { /* rows without a gap are one */
        width *= height;
        height = 1;
    }
    for (int64_t y = 0; y < images * height; y++) {
        const uint8_t *from = in + y / height * in_image + y % height * in_row;
        const uint8_t *onto = skip ? skip + y / height * skip_image + y % height * skip_row : 0;
        for (int64_t x = 0; x < width;) {
            int kernel = 0;
            while (v->positions[kernel] > width - x) kernel++;
            const int positions = v->positions[kernel];
            for (int64_t first = 0; first < layer->outputs;) {
                const int blocks = kernel == 0 && v->two_blocks && layer->outputs - first > BLOCK ? 2 : 1;
                const int8_t *weights = layer->weights + first / BLOCK * block_bytes;
                AddRow *add_row = blocks == 2 ? v->two_blocks : v->add_row[kernel];
                for (int i = 0; i < blocks * positions; i++)
                    memcpy(block + i * BLOCK, layer->bias + first + i / positions * BLOCK, BLOCK * sizeof *block);
                for (int64_t row = 0; row < layer->side; row++)
                    add_row(from + row * in_row + x * layer->inputs, layer->inputs, size, weights + row * row_bytes, block_bytes, block);
                for (int b = 0; b < blocks; b++, first += BLOCK) {
                    for (int i = 0; i < positions; i++) {
                        const int32_t *own = block + (b * positions + i) * BLOCK;
                        const int64_t place = (x + i) * layer->outputs + first, at = y * width * layer->outputs + place;
                        if (sums)
                            memcpy(sums + at, own, (size_t)smaller(BLOCK, layer->outputs - first) * sizeof *own);
                        else
                            v->finish(own, layer, first, onto ? onto + place : 0, out + at);
                    }
                }
            }
            x += positions;
        }
    }
    return 0;
}

/* What parameters of distributions are made of accumulators, by channel: times a factor and 2**-exponent, rounded, plus an offset, within
 * limits. The product of an accumulator and a factor stays within int32, and limits within int16. */
typedef struct {
    const int32_t *exponents, *factors, *offsets, *lows, *highs;
} Scaling;

EXPORT int64_t scale(const int32_t *sums, int64_t positions, int64_t channels, const Scaling *by, int16_t *out) {
    for (int64_t i = 0; i < positions; i++, sums += channels, out += channels) {
        for (int64_t j = 0; j < channels; j++) {
            const int64_t y = round_shift((int64_t)sums[j] * by->factors[j], by->exponents[j]) + by->offsets[j];
            out[j] = (int16_t)clamp(y, by->lows[j], by->highs[j]);
        }
    }
    return 0;
}
