/* Replays the calls of the compiled core that record.py recorded, which says how they are written, and compares the answers.
 *
 * Prints the numbers of this processor's ways to compute a layer, then a line for each function: its name, how many calls of it were
 * made, and `equal` or `DIFFERENT`. A call that depends on the way is made once for each. Returns 1 if any answer differs. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pointers to whatever look alike to all the machines that there are. */
#define FUNCTION(number, name, types, arguments) int64_t name types;
#include "calls.h"
#undef FUNCTION

enum { INTEGER, VARIANT, ARRAY, STRUCTURES, EMBEDDED };
enum { MOST_ARGUMENTS = 24, MOST_ARRAYS = 256, MOST_FUNCTIONS = 64, MOST_VARIANTS = 16 };

typedef union {
    int64_t integer;
    void *pointer;
} Argument;

typedef struct {
    size_t size, count;
    const uint8_t *bytes;
} Array;

static const char *const NAMES[] = {
#define FUNCTION(number, name, types, arguments) #name,
#include "calls.h"
#undef FUNCTION
};

static int64_t call(int64_t function, const Argument *a) {
    switch (function) {
#define FUNCTION(number, name, types, arguments) case number: return name arguments;
#include "calls.h"
#undef FUNCTION
    }
    abort();
}

static const uint8_t *at; /* what is read next */
static Array *arrays;
static int64_t variant; /* what VARIANT stands for */
static int has_variant; /* whether a call has one */

/* What a call is made with, to be compared and freed: arrays, and structures. */
static struct {
    void *memory[MOST_ARRAYS], *structures[MOST_ARRAYS];
    int64_t number[MOST_ARRAYS], arrays, structure_count;
} made;

static int64_t next(void) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)*at++ << 8 * i;
    return (int64_t)value;
}

static void *allocated(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) abort();
    return memory;
}

/* The memory of an array as this machine has it. */
static uint8_t *array_as_here(int64_t number) {
    const size_t size = arrays[number].size, bytes = size * arrays[number].count;
    const uint16_t one = 1;
    uint8_t *memory = allocated(bytes);
    memcpy(memory, arrays[number].bytes, bytes);
    if (*(const uint8_t *)&one || size == 1) return memory; /* little-endian, as the file */
    for (size_t start = 0; start < bytes; start += size)
        for (size_t i = 0; i < size; i++) memory[start + i] = arrays[number].bytes[start + size - 1 - i];
    return memory;
}

static void *read_array(void) {
    const int64_t number = next();
    if (number < 0) return 0;
    if (made.arrays == MOST_ARRAYS) abort();
    made.number[made.arrays] = number;
    return made.memory[made.arrays++] = array_as_here(number);
}

/* A field's place in a structure, as compilers lay them out: size is a multiple of what it is aligned to. */
static size_t place(size_t *end, size_t size, size_t alignment) {
    const size_t start = (*end + alignment - 1) / alignment * alignment;
    *end = start + size;
    return start;
}

struct aligned {
    char before;
    int64_t integer;
};
enum { INTEGER_ALIGNMENT = offsetof(struct aligned, integer) };

static void *read_structures(void);

/* Writes the fields of a structure behind end; returns where the next one begins. All that are embedded or in a row have an integer. */
static size_t read_structure(uint8_t *memory, size_t end) {
    for (int64_t fields = next(); fields; fields--) {
        const int64_t kind = next();
        if (kind == EMBEDDED) {
            end = read_structure(memory, place(&end, 0, INTEGER_ALIGNMENT));
        } else if (kind == INTEGER || kind == VARIANT) {
            has_variant |= kind == VARIANT;
            const int64_t value = kind == INTEGER ? next() : variant;
            memcpy(memory + place(&end, sizeof value, INTEGER_ALIGNMENT), &value, sizeof value);
        } else {
            void *pointer = kind == ARRAY ? read_array() : read_structures();
            memcpy(memory + place(&end, sizeof pointer, sizeof pointer), &pointer, sizeof pointer);
        }
    }
    return place(&end, 0, INTEGER_ALIGNMENT);
}

static void *read_structures(void) {
    enum { ROOM = 512 };
    const int64_t count = next();
    uint8_t *memory = allocated(ROOM * (size_t)(count + 1));
    size_t end = 0;
    if (made.structure_count == MOST_ARRAYS) abort();
    made.structures[made.structure_count++] = memory;
    for (int64_t i = 0; i < count; i++) end = read_structure(memory, end);
    return memory;
}

/* Makes the call that is next; returns whether the answer is the recorded one. */
static int replay(int64_t function) {
    Argument arguments[MOST_ARGUMENTS];
    memset(&made, 0, sizeof made);
    const int64_t expected = next();
    const int64_t count = next();
    for (int64_t i = 0; i < count; i++) {
        const int64_t kind = next();
        has_variant |= kind == VARIANT;
        if (kind == INTEGER || kind == VARIANT)
            arguments[i].integer = kind == INTEGER ? next() : variant;
        else
            arguments[i].pointer = kind == ARRAY ? read_array() : read_structures();
    }
    int equal = call(function, arguments) == expected;
    if (next() != made.arrays) abort();
    for (int64_t i = 0; i < made.arrays; i++) {
        const int64_t number = next();
        uint8_t *after = array_as_here(number);
        equal &= !memcmp(after, made.memory[i], arrays[number].size * arrays[number].count);
        free(after);
        free(made.memory[i]);
    }
    for (int64_t i = 0; i < made.structure_count; i++) free(made.structures[i]);
    return equal;
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : 0;
    if (!file || fseek(file, 0, SEEK_END)) return 2;
    const size_t bytes = (size_t)ftell(file);
    uint8_t *data = allocated(bytes);
    rewind(file);
    if (fread(data, 1, bytes, file) != bytes) return 2;
    at = data;

    const size_t count = (size_t)next();
    arrays = allocated(count * sizeof *arrays);
    for (size_t i = 0; i < count; i++) {
        arrays[i].size = (size_t)next();
        arrays[i].count = (size_t)next();
        arrays[i].bytes = at;
        at += arrays[i].size * arrays[i].count;
    }
    int64_t variants[MOST_VARIANTS], calls[MOST_FUNCTIONS] = {0}, different[MOST_FUNCTIONS] = {0}, found = 0;
    for (int64_t i = 0; i < MOST_VARIANTS; i++) {
        if (!has_convolution(i)) continue;
        variants[found++] = i;
        printf("%s%d", found == 1 ? "" : " ", (int)i);
    }
    printf("\n");
    for (int64_t left = next(); left; left--) {
        const int64_t function = next();
        const uint8_t *start = at;
        has_variant = 0;
        for (int64_t i = 0; i < (has_variant ? found : 1); i++) {
            at = start;
            variant = variants[i];
            calls[function]++;
            different[function] += !replay(function);
        }
    }
    int differ = 0;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (!calls[i]) continue;
        differ |= different[i] > 0;
        printf("%s %ld %s\n", NAMES[i], (long)calls[i], different[i] ? "DIFFERENT" : "equal");
    }
    free(arrays);
    free(data);
    fclose(file);
    return differ;
}
