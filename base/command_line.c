/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the parsing of command lines through a table. Called by every program's main. Must not know any
 * program's options. Written out rather than built on getopt_long, which accepts abbreviations (a script that
 * uses one breaks when an option is added), obeys POSIXLY_CORRECT, and keeps its place in globals.
 */
#include "base/command_line.h"

#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

struct parser {
    const char *program;
    const struct option_row *rows;
    size_t count;
    char **arguments; /* argv from the next word on */
    size_t left;
    void *target;
};

void command_line_complain(const char *program, const char *format, va_list arguments)
{
    _cleanup_free_ char *text = NULL;

    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    if (text)
        text_make_one_line(text);
    fprintf(stderr, "%s: %s\n", program, text ? text : "out of memory");
}

static void complain(const struct parser *parser, const char *format, ...) _printf_(2, 3);

static void complain(const struct parser *parser, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    command_line_complain(parser->program, format, arguments);
    va_end(arguments);
}

static const char *next_word(struct parser *parser)
{
    assert(parser->left > 0);
    parser->left--;
    return *parser->arguments++;
}

static int usage_error(const struct parser *parser, const char *option, size_t option_len, const char *what)
{
    complain(parser, "%.*s: %s; see %s --help", (int)option_len, option, what, parser->program);
    return -EINVAL;
}

static const struct option_row *find_long(const struct parser *parser, const char *name, size_t name_len)
{
    for (size_t i = 0; i < parser->count; i++)
        if (strlen(parser->rows[i].name) == name_len && memcmp(parser->rows[i].name, name, name_len) == 0)
            return &parser->rows[i];
    return NULL;
}

static const struct option_row *find_short(const struct parser *parser, char name)
{
    for (size_t i = 0; i < parser->count; i++)
        if (parser->rows[i].short_name == name)
            return &parser->rows[i];
    return NULL;
}

static int store_value(const struct parser *parser, const struct option_row *row, const char *value)
{
    /* The table promises that a field of the row's kind lies at its offset. */
    void *field = (char *)parser->target + row->offset;

    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)field = value;
        return 0;
    case OPTION_REPEATED: {
        struct option_list *list = field;
        if (list->count == OPTION_LIST_MAX)
            return -E2BIG;
        list->values[list->count++] = value;
        return 0;
    }
    }
    return -EINVAL;
}

/* One word that starts with a dash, and the next one when it is its value. */
static int parse_option(struct parser *parser, const char *word)
{
    bool is_long = word[1] == '-';
    size_t word_len = strlen(word);
    const char *attached = is_long ? strchr(word, '=') : word_len > 2 ? word + 2 : NULL;
    size_t option_len = attached ? (size_t)(attached - word) : word_len;
    const struct option_row *row =
        is_long ? find_long(parser, word + 2, option_len - 2) : find_short(parser, word[1]);

    if (!row)
        return usage_error(parser, word, option_len, "no such option");
    if (row->kind == OPTION_FLAG) {
        if (attached)
            return usage_error(parser, word, option_len, "takes no value");
        return store_value(parser, row, NULL);
    }

    const char *value = attached;
    if (attached && is_long)
        value = attached + 1;
    if (!value) {
        if (parser->left == 0)
            return usage_error(parser, word, option_len, "needs a value");
        value = next_word(parser);
    }
    if (store_value(parser, row, value) < 0)
        return usage_error(parser, word, option_len, "given too often");
    return 0;
}

int command_line_parse(const char *program, const struct option_row *rows, size_t count, int argc,
    char **argv, void *target, const char **ret_arguments, size_t arguments_max, size_t *ret_argument_count)
{
    struct parser parser = {.program = program, .rows = rows, .count = count, .target = target};
    size_t argument_count = 0;
    bool options_ended = false;

    if (argc > 1) {
        parser.arguments = argv + 1;
        parser.left = (size_t)argc - 1;
    }
    while (parser.left > 0) {
        const char *word = next_word(&parser);

        if (!options_ended && strcmp(word, "--") == 0) {
            options_ended = true;
        } else if (!options_ended && word[0] == '-' && word[1] != '\0') { /* "-" alone is standard input. */
            int r = parse_option(&parser, word);
            if (r < 0)
                return r;
        } else if (argument_count == arguments_max) {
            return usage_error(&parser, word, strlen(word), "one argument too many");
        } else {
            ret_arguments[argument_count++] = word;
        }
    }
    *ret_argument_count = argument_count;
    return 0;
}

/* Writes "-o, --output FILE" when `file` is given; returns its width. */
static int option_form(const struct option_row *row, FILE *file)
{
    char short_form[] = "    ";
    const char *value_name = row->kind == OPTION_FLAG || !row->value_name ? "" : row->value_name;
    const char *gap = *value_name ? " " : "";
    const char *more = row->kind == OPTION_REPEATED ? "..." : "";

    if (row->short_name) {
        short_form[0] = '-';
        short_form[1] = row->short_name;
        short_form[2] = ',';
    }
    if (file)
        return fprintf(file, "  %s--%s%s%s%s", short_form, row->name, gap, value_name, more);
    return snprintf(NULL, 0, "  %s--%s%s%s%s", short_form, row->name, gap, value_name, more);
}

void command_line_help(const struct option_row *rows, size_t count, FILE *file)
{
    int width_max = 0;

    for (size_t i = 0; i < count; i++) {
        int width = option_form(&rows[i], NULL);
        if (width > width_max)
            width_max = width;
    }
    for (size_t i = 0; i < count; i++) {
        int width = option_form(&rows[i], file);
        fprintf(file, "%*s%s\n", width_max - width + 2, "", rows[i].help ? rows[i].help : "");
    }
}
