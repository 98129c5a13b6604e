/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines of the form `program [options] command [options] [arguments]`, where options may stand
 * anywhere: `--name value`, `--name=value`, and `-n value` where the row has a short name; `--` ends them,
 * `-` is an argument. Driven by a table, so that --config and --data are taken before or after the command
 * and every program words its usage errors alike. Names are never abbreviated: scripts that did would break
 * when an option is added.
 */
#pragma once

#include "base/cleanup.h"

#include <stdarg.h>

enum option_kind {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char *: borrowed from argv; the last one wins */
    OPTION_REPEATED, /* struct option_list: every one, in order */
};

#define OPTION_LIST_MAX 64u
struct option_list {
    const char *values[OPTION_LIST_MAX];
    size_t count;
};

struct option_row {
    const char *name; /* without the dashes */
    char short_name;  /* 0 for none; e.g. 'o' */
    enum option_kind kind;
    size_t offset;          /* of the field in the target struct */
    const char *value_name; /* for the help text, e.g. "FILE" */
    const char *help;
};

/* Parses options of `rows` into `target` and collects what is left into `ret_arguments` (borrowed from argv,
 * at most `arguments_max`). 0, or -EINVAL after one line on stderr that names the option and `PROGRAM
 * --help`. */
int command_line_parse(const char *program, const struct option_row *rows, size_t count, int argc,
    char **argv, void *target, const char **ret_arguments, size_t arguments_max, size_t *ret_argument_count);
/* One line on stderr for whoever gave the command: "PROGRAM: text", whatever it quotes. */
void command_line_complain(const char *program, const char *format, va_list arguments) _printf_(2, 0);
/* Prints the options, one a line, aligned. */
void command_line_help(const struct option_row *rows, size_t count, FILE *file);
