/* push and pop of one symbol on one lane of a message: the only places where a head changes. See bbans/ans.py. */
#ifndef BBANS_RANS_H
#define BBANS_RANS_H

#include "integers.h"

/* A lane while symbols are pushed or popped: its head, and the tail that all lanes share. */
typedef struct {
    uint64_t head;
    uint32_t *words;
    int64_t size; /* negative once the message has run dry */
} Lane;

/* Needs room for one more word. */
INLINE void push_symbol(Lane *lane, int64_t start, int64_t freq, int precision) {
    uint64_t head = lane->head, width = (uint64_t)freq;
    if (head >= width << (63 - precision)) {
        lane->words[lane->size++] = (uint32_t)head;
        head >>= 32;
    }
    uint64_t quotient = head / width;
    lane->head = (quotient << precision) + (head - quotient * width) + (uint64_t)start;
}

/* The cf of a head: a number inside the interval of the symbol on top. */
INLINE int64_t peek_symbol(const Lane *lane, int precision) {
    return (int64_t)(lane->head & (((uint64_t)1 << precision) - 1));
}

/* Inverse of push_symbol, for the symbol whose interval holds peek_symbol. */
INLINE void pop_symbol(Lane *lane, int64_t start, int64_t freq, int precision) {
    uint64_t head = (uint64_t)freq * (lane->head >> precision) + (uint64_t)(peek_symbol(lane, precision) - start);
    if (head < (uint64_t)1 << 31) {
        if (lane->size <= 0) {
            lane->size = RAN_DRY;
            return;
        }
        head = head << 32 | lane->words[--lane->size];
    }
    lane->head = head;
}

#endif
