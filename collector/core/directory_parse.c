/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a replacement category directory. The form is described in directory.h. */
#include "base/cleanup.h"
#include "base/text.h"
#include "collector/core/directory.h"
#include "proto/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_COUNT 6u

static const char *const column_names[COLUMN_COUNT] = {
    "kind", "code", "major_zh", "major_en", "name_zh", "name_en"};
static const bool may_be_empty[COLUMN_COUNT] = {false, false, false, true, false, true};

/*
 * One allocation holds it all:
 *
 *     struct directory │ entries[], one for each line at most │ copy of the text
 *
 * The entries point into the copy, where a NUL replaces each tab and line feed.
 */
struct parser {
    struct directory *directory;
    struct directory_entry *entries;
    size_t entries_max;
    bool columns_seen;
};

static bool is_clean_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((text[i] >= 0 && text[i] < ' ' && text[i] != '\t') || text[i] == 0x7f)
            return false;
    return text_is_utf8(bytes_of(text, len));
}

static bool is_code(const char *code)
{
    static const char allowed[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-";
    const size_t len = strspn(code, allowed);

    return len > 0 && len <= CODE_BYTES_MAX && code[len] == '\0';
}

/* Takes "# name: value" into *ret_value if the comment has that name. */
static int take_header(char *comment, const char *name, const char **ret_value)
{
    const size_t name_len = strlen(name);
    char *value = comment + 1 + strspn(comment + 1, " ");
    size_t len;

    if (strncmp(value, name, name_len) != 0 || value[name_len] != ':')
        return 0;
    value += name_len + 1;
    value += strspn(value, " ");
    for (len = strlen(value); len > 0 && value[len - 1] == ' '; len--)
        ;
    value[len] = '\0';
    if (len == 0 || strchr(value, '\t') != NULL)
        return -EINVAL;
    if (len > SCHEME_BYTES_MAX)
        return -E2BIG;
    *ret_value = value;
    return 0;
}

static int read_comment(struct parser *parser, char *line)
{
    const int r = take_header(line, "scheme", &parser->directory->scheme);

    return r < 0 ? r : take_header(line, "version", &parser->directory->version);
}

/* Cuts the line into its fields, in place. */
static int split_fields(char *line, char *fields[static COLUMN_COUNT])
{
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        fields[i] = strsep(&line, "\t");
        if (fields[i] == NULL)
            return -EINVAL;
    }
    return line == NULL ? 0 : -EINVAL;
}

static int read_columns(struct parser *parser, char *fields[static COLUMN_COUNT])
{
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        if (strcmp(fields[i], column_names[i]) != 0)
            return -EINVAL;
    parser->columns_seen = true;
    return 0;
}

static int read_entry(struct parser *parser, char *fields[static COLUMN_COUNT])
{
    struct directory_entry *entry = &parser->entries[parser->directory->count];

    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        const size_t len = strlen(fields[i]);

        if (len == 0 && !may_be_empty[i])
            return -EINVAL;
        if (len > DIRECTORY_TEXT_BYTES_MAX)
            return -E2BIG;
    }
    if (parser->directory->count == parser->entries_max)
        return -E2BIG;
    if (strcmp(fields[0], category_kind_name(CATEGORY_MATTER)) == 0)
        entry->kind = CATEGORY_MATTER;
    else if (strcmp(fields[0], category_kind_name(CATEGORY_COMPONENT)) == 0)
        entry->kind = CATEGORY_COMPONENT;
    else
        return -EINVAL;
    if (!is_code(fields[1]))
        return -EINVAL;
    entry->code = fields[1];
    entry->major_zh = fields[2];
    entry->major_en = fields[3];
    entry->name_zh = fields[4];
    entry->name_en = fields[5];
    parser->directory->count++;
    return 0;
}

static int read_line(struct parser *parser, char *line, size_t len)
{
    char *fields[COLUMN_COUNT];
    int r;

    if (!is_clean_text(line, len))
        return -EILSEQ;
    if (line[0] == '\0')
        return 0;
    if (line[0] == '#')
        return read_comment(parser, line);
    r = split_fields(line, fields);
    if (r < 0)
        return r;
    return parser->columns_seen ? read_entry(parser, fields) : read_columns(parser, fields);
}

/* copy[len] is a NUL of ours, so that the last line may end without a line feed. */
static int read_lines(struct parser *parser, char *copy, size_t len, size_t *ret_line)
{
    char *const end = copy + len;
    char *next = copy;

    for (size_t line = 1; next < end; line++) {
        char *const start = next;
        char *line_end = memchr(start, '\n', (size_t)(end - start));
        int r;

        if (line_end == NULL)
            line_end = end;
        *line_end = '\0';
        next = line_end + 1;
        r = read_line(parser, start, (size_t)(line_end - start));
        if (r < 0) {
            *ret_line = line;
            return r;
        }
    }
    return 0;
}

/* text is the original, of which copy is the cut-up image: a place in the one is the same place in the other.
 */
static size_t line_of(const char *text, const char *copy, const char *place)
{
    size_t line = 1;

    for (size_t i = 0; i < (size_t)(place - copy); i++)
        if (text[i] == '\n')
            line++;
    return line;
}

static int check_whole(
    const struct directory *directory, const char *text, const char *copy, size_t *ret_line)
{
    const struct directory_entry *entries = directory->entries;

    *ret_line = 0;
    if (directory->scheme == NULL || directory->version == NULL)
        return -EINVAL;
    /* Matters sort first. */
    if (directory->count == 0 || entries[0].kind != CATEGORY_MATTER)
        return -EINVAL;
    for (size_t i = 1; i < directory->count; i++)
        if (directory_entry_compare(&entries[i - 1], &entries[i]) == 0) {
            const char *a = entries[i - 1].code, *b = entries[i].code;

            *ret_line = line_of(text, copy, a > b ? a : b);
            return -EEXIST;
        }
    return 0;
}

/* One more than there are line feeds is enough for every line to be an entry. */
static size_t count_entries_max(const char *text, size_t len)
{
    size_t count = 1;

    for (size_t i = 0; i < len && count < DIRECTORY_ENTRIES_MAX; i++)
        if (text[i] == '\n')
            count++;
    return count;
}

int directory_parse(const char *text, size_t len, struct directory **ret, size_t *ret_line)
{
    _cleanup_(directory_free_cleanup) struct directory *directory = NULL;
    struct parser parser;
    char *copy;
    int r;

    *ret_line = 0;
    if (len > DIRECTORY_BYTES_MAX)
        return -E2BIG;
    parser = (struct parser){.entries_max = count_entries_max(text, len)};
    directory = malloc(sizeof(*directory) + parser.entries_max * sizeof(parser.entries[0]) + len + 1);
    if (directory == NULL)
        return -ENOMEM;
    parser.directory = directory;
    parser.entries = (struct directory_entry *)(directory + 1);
    *directory = (struct directory){.entries = parser.entries};
    copy = (char *)(parser.entries + parser.entries_max);
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';

    r = read_lines(&parser, copy, len, ret_line);
    if (r < 0)
        return r;
    qsort(parser.entries, directory->count, sizeof(parser.entries[0]), directory_entry_compare);
    r = check_whole(directory, text, copy, ret_line);
    if (r < 0)
        return r;
    *ret = take_ptr(directory);
    return 0;
}

void directory_free(struct directory *directory)
{
    free(directory);
}
