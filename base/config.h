/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One INI file per program, parsed once through a table of rows. An unknown section or key, a value of the
 * wrong type or out of range stops with `file:line: what and how to fix it`.
 *
 * The table is the documentation: `config_print` writes it for man pages and `--help`.
 */
#pragma once

#include "base/bytes.h"

enum config_type {
    CONFIG_TEXT,     /* char *: owned by the configuration; NULL when empty */
    CONFIG_BOOLEAN,  /* bool: yes/no, true/false, on/off, 1/0 */
    CONFIG_UNSIGNED, /* uint64_t, min..max */
    CONFIG_DURATION, /* uint64_t milliseconds: a number with ms, s, min, h or d */
    CONFIG_INTERVAL, /* the same, or `off`: 0 */
    CONFIG_SIZE,     /* uint64_t bytes: a number, with KiB, MiB or GiB if wanted */
    CONFIG_BUDGET,   /* the same, or `unlimited`: UINT64_MAX */
    CONFIG_CHOICE,   /* uint64_t: which of the row's choices, from 0 */
};

struct config_row {
    const char *section;
    const char *key;
    enum config_type type;
    size_t offset;              /* of the field in the program's own struct */
    uint64_t min, max;          /* inclusive, for numbers; max length for text (0: 4096) */
    const char *default_text;   /* parsed like a value; NULL: text stays NULL */
    const char *help;           /* one sentence */
    const char *const *choices; /* of a CONFIG_CHOICE, NULL at the end */
};

/* Fills `target`, zeros before, with the defaults of all rows. Asserts that the defaults are valid: they are
 * ours. -ENOMEM. */
int config_set_defaults(const struct config_row *rows, size_t count, void *target);
/* Parses `text` (a whole file's content) into `target`. 0; -EINVAL with one line in `ret_error` (allocated)
 * that starts with `name:line: `; -ENOMEM. `target` may be half-filled then. Of a key that
 * stands there twice the later value counts. */
int config_parse(const struct config_row *rows, size_t count, const char *name, struct bytes text,
    void *target, char **ret_error);
/* Reads and parses a file. A missing file is -ENOENT without message; the caller decides if that is an error.
 */
int config_read(
    const struct config_row *rows, size_t count, const char *path, void *target, char **ret_error);
/* Frees the texts that the rows describe. */
void config_free(const struct config_row *rows, size_t count, void *target);
/* Writes the commented default file. */
void config_print(const struct config_row *rows, size_t count, FILE *file);
