/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the INI files of the programs: one pass through a table of rows. Called by every program's main. Must
 * not know any program's keys.
 */
#include "base/config.h"

#include "base/files.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>

#define CONFIG_FILE_LEN_MAX (256u * 1024)
#define CONFIG_TEXT_LEN_MAX 4096u
#define UNLIMITED "unlimited"
#define OFF "off"

struct unit {
    const char *name;
    uint64_t factor;
};

/* From large to small, so that printing finds the largest that divides. */
static const struct unit duration_units[] = {
    {"d", 86400000},
    {"h", 3600000},
    {"min", 60000},
    {"s", 1000},
    {"ms", 1},
};
static const struct unit size_units[] = {
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"", 1},
};

/* Where a value stands, for messages: `name` NULL for the defaults in the table. */
struct place {
    const char *name;
    size_t line;
    char **ret_error;
};

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct bytes trim(struct bytes text)
{
    while (text.len > 0 && is_blank(text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.data[text.len - 1]))
        text.len--;
    return text;
}

_printf_(2, 3) static int refuse(const struct place *place, const char *format, ...);

static int refuse(const struct place *place, const char *format, ...)
{
    _cleanup_free_ char *what = NULL;
    char *line;
    va_list arguments;

    va_start(arguments, format);
    int len = vasprintf(&what, format, arguments);
    va_end(arguments);
    if (len < 0) {
        what = NULL;
        return -ENOMEM;
    }
    if (place->line == 0 ? asprintf(&line, "%s: %s", place->name, what) < 0
                         : asprintf(&line, "%s:%zu: %s", place->name, place->line, what) < 0)
        return -ENOMEM;
    *place->ret_error = line;
    return -EINVAL;
}

static int parse_boolean(const char *text, bool *ret)
{
    static const char *const words[][2] = {{"no", "yes"}, {"false", "true"}, {"off", "on"}, {"0", "1"}};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (size_t k = 0; k < 2; k++)
            if (strcasecmp(text, words[i][k]) == 0) {
                *ret = k == 1;
                return 0;
            }
    return -EINVAL;
}

/* Splits digits from the unit behind them and multiplies. A 0 needs no unit. */
static int parse_with_unit(const char *text, const struct unit *units, size_t count, uint64_t *ret)
{
    char digits[21] = ""; /* UINT64_MAX has 20 */
    size_t digits_len = strspn(text, "0123456789");
    const char *unit = text + digits_len + strspn(text + digits_len, " ");
    uint64_t value;

    if (digits_len >= sizeof(digits))
        return -ERANGE;
    memcpy(digits, text, digits_len);
    int r = text_parse_u64(digits, &value);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (strcmp(unit, units[i].name) == 0)
            return __builtin_mul_overflow(value, units[i].factor, ret) ? -ERANGE : 0;
    if (*unit != '\0' || value != 0)
        return -EINVAL;
    *ret = 0;
    return 0;
}

static int parse_choice(const struct config_row *row, const char *text, uint64_t *ret)
{
    for (size_t i = 0; row->choices[i]; i++)
        if (strcmp(text, row->choices[i]) == 0) {
            *ret = i;
            return 0;
        }
    return -EINVAL;
}

static int parse_number(const struct config_row *row, const char *text, uint64_t *ret)
{
    switch (row->type) {
    case CONFIG_UNSIGNED:
        return text_parse_u64(text, ret);
    case CONFIG_INTERVAL:
        if (strcmp(text, OFF) == 0) {
            *ret = 0;
            return 0;
        }
        return parse_with_unit(text, duration_units, ARRAY_LEN(duration_units), ret);
    case CONFIG_DURATION:
        return parse_with_unit(text, duration_units, ARRAY_LEN(duration_units), ret);
    case CONFIG_BUDGET:
        if (strcmp(text, UNLIMITED) == 0) {
            *ret = UINT64_MAX;
            return 0;
        }
        return parse_with_unit(text, size_units, ARRAY_LEN(size_units), ret);
    case CONFIG_SIZE:
        return parse_with_unit(text, size_units, ARRAY_LEN(size_units), ret);
    case CONFIG_CHOICE:
        return parse_choice(row, text, ret);
    case CONFIG_TEXT:
    case CONFIG_BOOLEAN:
        break;
    }
    return -EINVAL;
}

static void put_with_unit(struct buffer *buffer, const struct unit *units, size_t count, uint64_t value)
{
    size_t i = 0;

    while (i + 1 < count && (value == 0 || value % units[i].factor != 0))
        i++;
    buffer_printf(buffer, "%llu%s%s", (unsigned long long)(value / units[i].factor),
        *units[i].name ? " " : "", units[i].name);
}

static void put_number(struct buffer *buffer, const struct config_row *row, uint64_t value)
{
    switch (row->type) {
    case CONFIG_DURATION:
    case CONFIG_INTERVAL:
        put_with_unit(buffer, duration_units, ARRAY_LEN(duration_units), value);
        break;
    case CONFIG_SIZE:
    case CONFIG_BUDGET:
        put_with_unit(buffer, size_units, ARRAY_LEN(size_units), value);
        break;
    case CONFIG_UNSIGNED:
    case CONFIG_CHOICE:
    case CONFIG_TEXT:
    case CONFIG_BOOLEAN:
        buffer_printf(buffer, "%llu", (unsigned long long)value);
        break;
    }
}

/* "from 1 s to 30 min", and which units there are. */
static const char *describe_range(struct buffer *buffer, const struct config_row *row)
{
    if (row->type == CONFIG_CHOICE) {
        for (size_t i = 0; row->choices[i]; i++) {
            buffer_put_text(buffer, i == 0 ? "" : row->choices[i + 1] ? ", " : " or ");
            buffer_put_text(buffer, row->choices[i]);
        }
        return buffer_text(buffer);
    }
    buffer_put_text(buffer, "from ");
    put_number(buffer, row, row->min);
    if (row->type != CONFIG_BUDGET) {
        buffer_put_text(buffer, " to ");
        put_number(buffer, row, row->max);
    }
    if (row->type == CONFIG_DURATION || row->type == CONFIG_INTERVAL)
        buffer_put_text(buffer, ", in ms, s, min, h or d");
    if (row->type == CONFIG_INTERVAL)
        buffer_put_text(buffer, ", or " OFF);
    if (row->type == CONFIG_SIZE || row->type == CONFIG_BUDGET)
        buffer_put_text(buffer, ", in bytes, KiB, MiB or GiB");
    if (row->type == CONFIG_BUDGET)
        buffer_put_text(buffer, ", or " UNLIMITED);
    return buffer_text(buffer);
}

static size_t text_len_max(const struct config_row *row)
{
    return row->max ? (size_t)row->max : CONFIG_TEXT_LEN_MAX;
}

static int set_text(const struct config_row *row, struct bytes value, const struct place *place, void *target)
{
    char **field = (char **)(void *)((char *)target + row->offset);
    char *text = NULL;

    if (value.len > text_len_max(row))
        return refuse(
            place, "%s: %zu bytes are too long; give at most %zu", row->key, value.len, text_len_max(row));
    if (value.len > 0) {
        text = strndup((const char *)value.data, value.len);
        if (!text)
            return -ENOMEM;
    }
    free(*field);
    *field = text;
    return 0;
}

static int set_value(
    const struct config_row *row, struct bytes value, const struct place *place, void *target)
{
    void *field = (char *)target + row->offset;
    _cleanup_buffer_ struct buffer range = {0};
    _cleanup_free_ char *text = NULL;

    if (row->type == CONFIG_TEXT)
        return set_text(row, value, place, target);

    text = strndup(value.len > 0 ? (const char *)value.data : "", value.len);
    if (!text)
        return -ENOMEM;
    if (row->type == CONFIG_BOOLEAN)
        return parse_boolean(text, field) < 0
                   ? refuse(place, "%s: \"%s\" is neither yes nor no; give one of them", row->key, text)
                   : 0;

    uint64_t number;
    int r = parse_number(row, text, &number);
    bool is_off = row->type == CONFIG_INTERVAL && strcmp(text, OFF) == 0;
    if (r == 0 && row->type != CONFIG_CHOICE && !is_off && (number < row->min || number > row->max))
        r = -ERANGE;
    if (r < 0 && !describe_range(&range, row))
        return -ENOMEM;
    if (r == -ERANGE)
        return refuse(place, "%s: \"%s\" is out of range; give one %s", row->key, text, buffer_text(&range));
    if (r < 0 && row->type == CONFIG_CHOICE)
        return refuse(place, "%s: \"%s\" is not known; give %s", row->key, text, buffer_text(&range));
    if (r < 0)
        return refuse(
            place, "%s: \"%s\" is no valid number; give one %s", row->key, text, buffer_text(&range));
    *(uint64_t *)field = number;
    return 0;
}

int config_set_defaults(const struct config_row *rows, size_t count, void *target)
{
    char *error = NULL;
    struct place place = {.name = "default", .ret_error = &error};

    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == CONFIG_TEXT)
            *(char **)(void *)((char *)target + rows[i].offset) = NULL;
        if (!rows[i].default_text && rows[i].type == CONFIG_TEXT)
            continue;
        int r = set_value(&rows[i], bytes_of_text(rows[i].default_text), &place, target);
        if (r == -ENOMEM)
            return r;
        if (r < 0) {
            fprintf(stderr, "%s\n", error ? error : strerror(-r));
            abort();
        }
    }
    return 0;
}

static bool text_is(const char *text, struct bytes bytes)
{
    return bytes_equal(bytes_of_text(text), bytes);
}

static const struct config_row *find_row(
    const struct config_row *rows, size_t count, struct bytes section, struct bytes key)
{
    for (size_t i = 0; i < count; i++)
        if (text_is(rows[i].section, section) && text_is(rows[i].key, key))
            return &rows[i];
    return NULL;
}

static int parse_section(const struct config_row *rows, size_t count, struct bytes line,
    const struct place *place, struct bytes *section)
{
    struct bytes name = trim(bytes_of(line.data + 1, line.len - 1));

    if (name.len == 0 || name.data[name.len - 1] != ']')
        return refuse(place, "a section must end with ]");
    name.len--;
    name = trim(name);
    for (size_t i = 0; i < count; i++)
        if (text_is(rows[i].section, name)) {
            *section = name;
            return 0;
        }
    return refuse(place, "no section is called [%.*s]", (int)name.len, (const char *)name.data);
}

static int parse_line(const struct config_row *rows, size_t count, struct bytes line,
    const struct place *place, void *target, struct bytes *section)
{
    line = trim(line);
    if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
        return 0;
    if (!text_is_utf8(line))
        return refuse(place, "this line is not UTF-8 text");
    if (line.data[0] == '[')
        return parse_section(rows, count, line, place, section);

    struct cursor cursor = cursor_of(line);
    struct bytes key = trim(cursor_take_until(&cursor, '='));
    if (cursor.failed || key.len == 0)
        return refuse(place, "expected \"key = value\", \"[section]\" or a comment that starts with #");
    struct bytes value = trim(cursor_take(&cursor, cursor_left(&cursor)));

    if (!section->data)
        return refuse(place, "%.*s: stands before any [section]", (int)key.len, (const char *)key.data);
    const struct config_row *row = find_row(rows, count, *section, key);
    if (!row)
        return refuse(place, "%.*s: no such key in [%.*s]", (int)key.len, (const char *)key.data,
            (int)section->len, (const char *)section->data);
    return set_value(row, value, place, target);
}

int config_parse(const struct config_row *rows, size_t count, const char *name, struct bytes text,
    void *target, char **ret_error)
{
    struct place place = {.name = name, .ret_error = ret_error};
    struct bytes section = {0};

    if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        text = bytes_of(text.data + 3, text.len - 3); /* What some editors put before UTF-8 text. */
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t line_len = end ? (size_t)(end - text.data) : text.len;
        size_t step = end ? line_len + 1 : line_len;

        place.line++;
        int r = parse_line(rows, count, bytes_of(text.data, line_len), &place, target, &section);
        if (r < 0)
            return r;
        text = bytes_of(text.data + step, text.len - step);
    }
    return 0;
}

int config_read(const struct config_row *rows, size_t count, const char *path, void *target, char **ret_error)
{
    _cleanup_buffer_ struct buffer text = {0};
    struct place place = {.name = path, .ret_error = ret_error};

    int r = files_read(world_posix(), path, CONFIG_FILE_LEN_MAX, &text);
    if (r == -EFBIG)
        return refuse(&place, "longer than %u bytes; is this the configuration?", CONFIG_FILE_LEN_MAX);
    if (r < 0)
        return r;
    return config_parse(rows, count, path, buffer_bytes(&text), target, ret_error);
}

void config_free(const struct config_row *rows, size_t count, void *target)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].type == CONFIG_TEXT) {
            char **field = (char **)(void *)((char *)target + rows[i].offset);
            free(*field);
            *field = NULL;
        }
}

void config_print(const struct config_row *rows, size_t count, FILE *file)
{
    for (size_t i = 0; i < count; i++) {
        const struct config_row *row = &rows[i];
        _cleanup_buffer_ struct buffer range = {0};

        if (i == 0 || strcmp(row->section, rows[i - 1].section) != 0)
            fprintf(file, "%s[%s]\n", i == 0 ? "" : "\n", row->section);
        fprintf(file, "# %s", row->help);
        if (row->type == CONFIG_BOOLEAN)
            fprintf(file, " (yes or no)");
        else if (row->type != CONFIG_TEXT && describe_range(&range, row))
            fprintf(file, " (%s)", buffer_text(&range));
        fprintf(file, "\n#%s = %s\n", row->key, row->default_text ? row->default_text : "");
    }
}
