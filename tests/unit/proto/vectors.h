/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads tests/vectors/<name>.tsv: one vector a line, fields between tabs, bytes in hex ("-": none). Used by
 * the tests of proto/. Tests run in the project's root.
 */
#pragma once

#include "base/bytes.h"
#include "base/text.h"
#include "tests/unit/unit.h"

#define VECTOR_FIELDS_MAX 24u

struct vector_file {
    FILE *file;
    char *line;
    size_t capacity;
    char *fields[VECTOR_FIELDS_MAX];
    size_t field_count;
};

static inline struct vector_file vector_open(const char *path)
{
    struct vector_file vectors = {.file = fopen(path, "r")};

    if (!vectors.file)
        fail_msg("%s: cannot be read; run the test in the project's root", path);
    return vectors;
}

static inline void vector_close(struct vector_file *vectors)
{
    fclose(vectors->file);
    free(vectors->line);
}

/* Moves to the next line whose first field is `what`; false at the end. */
static inline bool vector_next(struct vector_file *vectors, const char *what)
{
    while (getline(&vectors->line, &vectors->capacity, vectors->file) > 0) {
        char *rest = vectors->line;

        vectors->line[strcspn(vectors->line, "\n")] = '\0';
        vectors->field_count = 0;
        while (rest && vectors->field_count < VECTOR_FIELDS_MAX)
            vectors->fields[vectors->field_count++] = strsep(&rest, "\t");
        if (vectors->field_count > 0 && strcmp(vectors->fields[0], what) == 0)
            return true;
    }
    return false;
}

static inline uint64_t vector_number(const struct vector_file *vectors, size_t field)
{
    uint64_t value = 0;

    assert_true(field < vectors->field_count);
    assert_int_equal(text_parse_u64(vectors->fields[field], &value), 0);
    return value;
}

/* The field's bytes, decoded in place: ask for each field once; valid until the next line. */
static inline struct bytes vector_bytes(const struct vector_file *vectors, size_t field)
{
    char *text;
    size_t len;

    assert_true(field < vectors->field_count);
    text = vectors->fields[field];
    len = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte;

        assert_int_equal(text_parse_hex(text + 2 * i, 2, &byte, 1), 0);
        memcpy(text + i, &byte, 1);
    }
    return bytes_of(text, len);
}
