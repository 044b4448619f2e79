/* The loops of bbans.codecs over symbols[begin:end] of flat arrays; symbol begin + i rides on lane i % lanes.
 *
 * For every distribution X there is X_interval, which gives the interval of one symbol, and X_search, which finds the symbol
 * whose interval holds a cf; push, pop and intervals are the same for all. Each returns the size of the message, or an error of
 * integers.h. Callers have checked that symbols are in the alphabet, and that arrays have a row of parameters for every symbol. */
#include "distributions.h"
#include "rans.h"

/* The parameters of one distribution; which of them there are is up to each. */
typedef struct {
    int precision;
    int64_t n, step, columns;
    const int64_t *ns, *edges, *means, *inverse_scales, *weights;
    const int32_t *table;
} Parameters;

typedef struct {
    int64_t start, freq;
} Interval;

typedef Interval IntervalOf(const Parameters *, int64_t i, int64_t symbol);
typedef int64_t Search(const Parameters *, int64_t i, int64_t cf, Interval *);

/* Room for a word for each symbol is checked here, so that nothing is ever written outside. */
INLINE int64_t push_all(uint64_t *heads, int64_t lanes, uint32_t *words, int64_t room, int64_t size, const int64_t *symbols,
                        int64_t begin, int64_t end, const Parameters *p, IntervalOf interval) {
    if (begin < 0 || end < begin || size < 0 || (lanes < 1 && end > begin)) return BAD_ARGUMENT;
    if (room - size < end - begin) return NO_ROOM;
    int64_t at = end > begin ? (end - begin - 1) % lanes : 0;
    for (int64_t i = end - 1; i >= begin; i--) {
        Interval own = interval(p, i, symbols[i]);
        Lane lane = {heads[at], words, size};
        push_symbol(&lane, own.start, own.freq, p->precision);
        heads[at] = lane.head;
        size = lane.size;
        at = at ? at - 1 : lanes - 1; /* lanes take turns: a remainder for each symbol would take longer than the rest */
    }
    return size;
}

INLINE int64_t pop_all(uint64_t *heads, int64_t lanes, uint32_t *words, int64_t room, int64_t size, int64_t *symbols,
                       int64_t begin, int64_t end, const Parameters *p, Search search) {
    if (begin < 0 || end < begin || size < 0 || room < size || (lanes < 1 && end > begin)) return BAD_ARGUMENT;
    int64_t at = 0;
    for (int64_t i = begin; i < end; i++) {
        Lane lane = {heads[at], words, size};
        Interval own;
        symbols[i] = search(p, i, peek_symbol(&lane, p->precision), &own);
        pop_symbol(&lane, own.start, own.freq, p->precision);
        if (lane.size < 0) return RAN_DRY;
        heads[at] = lane.head;
        size = lane.size;
        at = at + 1 < lanes ? at + 1 : 0;
    }
    return size;
}

INLINE int64_t all_intervals(const int64_t *symbols, int64_t count, int64_t *starts, int64_t *freqs, const Parameters *p,
                             IntervalOf interval) {
    for (int64_t i = 0; i < count; i++) {
        Interval own = interval(p, i, symbols[i]);
        starts[i] = own.start;
        freqs[i] = own.freq;
    }
    return 0;
}

/* Three exported functions for a distribution, whose parameters are named twice: as C declares them, and as fields. */
#define DISTRIBUTION(NAME, DECLARED, ...)                                                                                     \
    EXPORT int64_t push_##NAME(uint64_t *heads, int64_t lanes, uint32_t *words, int64_t room, int64_t size,                   \
                               const int64_t *symbols, int64_t begin, int64_t end, DECLARED) {                                \
        Parameters p = {__VA_ARGS__};                                                                                         \
        return push_all(heads, lanes, words, room, size, symbols, begin, end, &p, NAME##_interval);                           \
    }                                                                                                                         \
    EXPORT int64_t pop_##NAME(uint64_t *heads, int64_t lanes, uint32_t *words, int64_t room, int64_t size, int64_t *symbols,  \
                              int64_t begin, int64_t end, DECLARED) {                                                         \
        Parameters p = {__VA_ARGS__};                                                                                         \
        return pop_all(heads, lanes, words, room, size, symbols, begin, end, &p, NAME##_search);                              \
    }                                                                                                                         \
    EXPORT int64_t NAME##_intervals(const int64_t *symbols, int64_t count, int64_t *starts, int64_t *freqs, DECLARED) {       \
        Parameters p = {__VA_ARGS__};                                                                                         \
        return all_intervals(symbols, count, starts, freqs, &p, NAME##_interval);                                             \
    }
#define LIST(...) __VA_ARGS__

/* Uniform: ns[i * step] symbols. */

INLINE Interval uniform_interval(const Parameters *p, int64_t i, int64_t symbol) {
    int64_t n = p->ns[i * p->step], start = (symbol << p->precision) / n;
    return (Interval){start, ((symbol + 1) << p->precision) / n - start};
}

INLINE int64_t uniform_search(const Parameters *p, int64_t i, int64_t cf, Interval *own) {
    int64_t symbol = ((cf + 1) * p->ns[i * p->step] - 1) >> p->precision;
    *own = uniform_interval(p, i, symbol);
    return symbol;
}

DISTRIBUTION(uniform, LIST(const int64_t *ns, int64_t step, int64_t precision), .precision = (int)precision, .ns = ns,
             .step = step)

/* Categorical: rows of edges, the starts and the end, of which symbol i has row i * step. */

INLINE Interval table_interval(const Parameters *p, int64_t i, int64_t symbol) {
    const int64_t *row = p->edges + i * p->step * p->columns;
    return (Interval){row[symbol], row[symbol + 1] - row[symbol]};
}

INLINE int64_t table_search(const Parameters *p, int64_t i, int64_t cf, Interval *own) {
    const int64_t *row = p->edges + i * p->step * p->columns;
    int64_t low = 0, high = p->columns - 1;
    while (high - low > 1) {
        int64_t middle = (low + high) >> 1;
        if (row[middle] <= cf)
            low = middle;
        else
            high = middle;
    }
    *own = table_interval(p, i, low);
    return low;
}

DISTRIBUTION(table, LIST(const int64_t *edges, int64_t columns, int64_t step, int64_t precision),
             .precision = (int)precision, .edges = edges, .columns = columns, .step = step)

/* Bernoulli, by logits in means. */

INLINE Interval bernoulli_interval(const Parameters *p, int64_t i, int64_t symbol) {
    int64_t edge = bernoulli_start(p->means[i], p->table);
    return symbol ? (Interval){edge, TOTAL - edge} : (Interval){0, edge};
}

INLINE int64_t bernoulli_search(const Parameters *p, int64_t i, int64_t cf, Interval *own) {
    int64_t edge = bernoulli_start(p->means[i], p->table), symbol = cf >= edge;
    *own = symbol ? (Interval){edge, TOTAL - edge} : (Interval){0, edge};
    return symbol;
}

DISTRIBUTION(bernoulli, LIST(const int64_t *logits, const int32_t *table), .precision = PRECISION, .means = logits,
             .table = table)

/* Logistic. */

INLINE Interval logistic_interval(const Parameters *p, int64_t i, int64_t symbol) {
    int64_t start = logistic_start(symbol, p->n, p->means[i], p->inverse_scales[i], p->table);
    return (Interval){start, logistic_start(symbol + 1, p->n, p->means[i], p->inverse_scales[i], p->table) - start};
}

INLINE int64_t logistic_find(const Parameters *p, int64_t i, int64_t cf, Interval *own) {
    return logistic_search(cf, p->n, p->means[i], p->inverse_scales[i], p->table, &own->start, &own->freq);
}

#define logistic_search logistic_find
DISTRIBUTION(logistic, LIST(int64_t n, const int64_t *means, const int64_t *inverse_scales, const int32_t *table),
             .precision = PRECISION, .n = n, .means = means, .inverse_scales = inverse_scales, .table = table)
#undef logistic_search

/* Mixture of k logistics: rows of k means, inverse scales and weights. */

INLINE Mixture mixture_row(const Parameters *p, int64_t i) {
    return (Mixture){p->means + i * p->columns, p->inverse_scales + i * p->columns, p->weights + i * p->columns};
}

INLINE Interval mixture_interval(const Parameters *p, int64_t i, int64_t symbol) {
    Mixture mixture = mixture_row(p, i);
    int64_t start = mixture_start(symbol, p->n, &mixture, (int)p->columns, p->table);
    return (Interval){start, mixture_start(symbol + 1, p->n, &mixture, (int)p->columns, p->table) - start};
}

INLINE int64_t mixture_find(const Parameters *p, int64_t i, int64_t cf, Interval *own) {
    Mixture mixture = mixture_row(p, i);
    return mixture_search(cf, p->n, &mixture, (int)p->columns, p->table, &own->start, &own->freq);
}

#define mixture_search mixture_find
DISTRIBUTION(mixture,
             LIST(int64_t n, int64_t k, const int64_t *means, const int64_t *inverse_scales, const int64_t *weights,
                  const int32_t *table),
             .precision = PRECISION, .n = n, .columns = k, .means = means, .inverse_scales = inverse_scales,
             .weights = weights, .table = table)
#undef mixture_search

/* Any intervals: symbols are starts. */

INLINE Interval any_interval(const Parameters *p, int64_t i, int64_t start) { return (Interval){start, p->ns[i]}; }

EXPORT int64_t push_intervals(uint64_t *heads, int64_t lanes, uint32_t *words, int64_t room, int64_t size, const int64_t *starts,
                              int64_t begin, int64_t end, const int64_t *freqs, int64_t precision) {
    Parameters p = {.precision = (int)precision, .ns = freqs};
    return push_all(heads, lanes, words, room, size, starts, begin, end, &p, any_interval);
}

/* A symbol on every lane, and off the first lanes; logarithms of freqs. */

EXPORT int64_t push_lanes(uint64_t *heads, int64_t lanes, uint32_t *words, int64_t room, int64_t size, const int64_t *starts,
                          const int64_t *freqs, int64_t precision) {
    if (lanes < 1 || size < 0) return BAD_ARGUMENT;
    if (room - size < lanes) return NO_ROOM;
    for (int64_t at = lanes - 1; at >= 0; at--) {
        Lane lane = {heads[at], words, size};
        push_symbol(&lane, starts[at], freqs[at], (int)precision);
        heads[at] = lane.head;
        size = lane.size;
    }
    return size;
}

EXPORT int64_t pop_lanes(uint64_t *heads, int64_t lanes, uint32_t *words, int64_t room, int64_t size, const int64_t *starts,
                         const int64_t *freqs, int64_t precision) {
    if (lanes < 1 || size < 0 || room < size) return BAD_ARGUMENT;
    for (int64_t at = 0; at < lanes; at++) {
        Lane lane = {heads[at], words, size};
        pop_symbol(&lane, starts[at], freqs[at], (int)precision);
        if (lane.size < 0) return RAN_DRY;
        heads[at] = lane.head;
        size = lane.size;
    }
    return size;
}

/* log2(freq / 2**precision) in 2**-16 bit, summed over so many equal parts of freqs as there are sums. */
EXPORT int64_t sum_log_freqs(const int64_t *freqs, int64_t count, int64_t precision, const int64_t *table, int64_t *sums,
                             int64_t parts) {
    int64_t row = count / larger(parts, 1);
    for (int64_t r = 0; r < parts; r++) {
        int64_t total = 0;
        for (int64_t i = r * row; i < (r + 1) * row; i++) total += log2_of(freqs[i], table) - (precision << LOG_BITS);
        sums[r] = total;
    }
    return 0;
}
