/* SPDX-License-Identifier: Apache-2.0 */
/* The text form of what patrol-photo found; see answer.h. Called by both ends of the pipe. */
#include "collector/photo/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const verdict_words[PHOTO_VERDICT_COUNT] = {
    [PHOTO_GOOD] = "good",
    [PHOTO_EMPTY] = "empty",
    [PHOTO_TOO_LARGE] = "too_large",
    [PHOTO_NOT_AN_IMAGE] = "not_an_image",
    [PHOTO_TRUNCATED] = "truncated",
    [PHOTO_DAMAGED] = "damaged",
    [PHOTO_UNSUPPORTED] = "unsupported",
    [PHOTO_TOO_MANY_PIXELS] = "too_many_pixels",
};

static const char *const format_words[] = {
    [PHOTO_JPEG] = "jpeg",
    [PHOTO_PNG] = "png",
};

const char *photo_verdict_word(enum photo_verdict verdict)
{
    return verdict_words[verdict];
}

bool photo_time_is_valid(const char *text)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    static const int days_of_month[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (size_t i = 0; i < sizeof(shape); i++) {
        bool fits = shape[i] == 'd' ? text[i] >= '0' && text[i] <= '9' : text[i] == shape[i];
        if (!fits)
            return false;
    }
#define TWO_DIGITS(at) ((text[at] - '0') * 10 + (text[(at) + 1] - '0'))
    int year = TWO_DIGITS(0) * 100 + TWO_DIGITS(2);
    int month = TWO_DIGITS(5);
    int day = TWO_DIGITS(8);
    int hour = TWO_DIGITS(11);
    int minute = TWO_DIGITS(14);
    int second = TWO_DIGITS(17);
#undef TWO_DIGITS
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_of_month[month - 1])
        return false;
    bool leap_year = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2 && day == 29 && !leap_year)
        return false;
    return hour <= 23 && minute <= 59 && second <= 60;
}

int photo_answer_format(const struct photo_facts *facts, char *line, size_t size)
{
    int len;
    if (facts->verdict != PHOTO_GOOD) {
        len = snprintf(line, size, "bad reason=%s\n", verdict_words[facts->verdict]);
    } else {
        char position[64] = "";
        if (facts->has_position)
            snprintf(position, sizeof(position), " exif_lat_e7=%" PRId32 " exif_lon_e7=%" PRId32,
                facts->lat_e7, facts->lon_e7);
        len = snprintf(line, size,
            "ok format=%s width=%" PRIu32 " height=%" PRIu32 " orientation=%u%s%s%s preview_len=%" PRIu32
            "\n",
            format_words[facts->format], facts->width, facts->height, (unsigned)facts->orientation,
            facts->exif_time[0] != '\0' ? " exif_time=" : "", facts->exif_time, position, facts->preview_len);
    }
    if (len < 0 || (size_t)len >= size)
        return -ENOBUFS;
    return len;
}

/* A read position in a NUL-terminated line. Once a read failed, all later ones do. */
struct line_cursor {
    const char *at;
    bool failed;
};

static bool skip_word(struct line_cursor *cursor, const char *word)
{
    size_t len = strlen(word);
    if (cursor->failed || strncmp(cursor->at, word, len) != 0)
        return false;
    cursor->at += len;
    return true;
}

static void expect_word(struct line_cursor *cursor, const char *word)
{
    if (!skip_word(cursor, word))
        cursor->failed = true;
}

/* A decimal number between min and max. Leading zeros are caught later, when the line is written anew and
 * compared. */
static int64_t expect_number(struct line_cursor *cursor, int64_t min, int64_t max)
{
    bool negative = skip_word(cursor, "-");
    int64_t value = 0;
    int digits = 0;
    while (!cursor->failed && *cursor->at >= '0' && *cursor->at <= '9') {
        if (++digits > 11)
            cursor->failed = true;
        value = value * 10 + (*cursor->at++ - '0');
    }
    if (negative)
        value = -value;
    if (digits == 0 || value < min || value > max)
        cursor->failed = true;
    return cursor->failed ? 0 : value;
}

static void parse_good(struct line_cursor *cursor, struct photo_facts *facts)
{
    expect_word(cursor, "ok format=");
    if (skip_word(cursor, "jpeg"))
        facts->format = PHOTO_JPEG;
    else if (skip_word(cursor, "png"))
        facts->format = PHOTO_PNG;
    else
        cursor->failed = true;
    expect_word(cursor, " width=");
    facts->width = (uint32_t)expect_number(cursor, 1, PHOTO_SIDE_MAX);
    expect_word(cursor, " height=");
    facts->height = (uint32_t)expect_number(cursor, 1, PHOTO_SIDE_MAX);
    if ((uint64_t)facts->width * facts->height > PHOTO_PIXELS_MAX)
        cursor->failed = true;
    expect_word(cursor, " orientation=");
    facts->orientation = (uint8_t)expect_number(cursor, 1, 8);
    if (skip_word(cursor, " exif_time=")) {
        size_t len = strnlen(cursor->at, sizeof(facts->exif_time) - 1);
        memcpy(facts->exif_time, cursor->at, len);
        cursor->at += len;
        if (!photo_time_is_valid(facts->exif_time))
            cursor->failed = true;
    }
    if (skip_word(cursor, " exif_lat_e7=")) {
        facts->has_position = true;
        facts->lat_e7 = (int32_t)expect_number(cursor, -900000000, 900000000);
        expect_word(cursor, " exif_lon_e7=");
        facts->lon_e7 = (int32_t)expect_number(cursor, -1800000000, 1800000000);
    }
    expect_word(cursor, " preview_len=");
    facts->preview_len = (uint32_t)expect_number(cursor, 1, PREVIEW_BYTES_MAX);
}

static void parse_bad(struct line_cursor *cursor, struct photo_facts *facts)
{
    const char *word = cursor->at;
    for (int verdict = PHOTO_GOOD + 1; verdict < PHOTO_VERDICT_COUNT; verdict++) {
        size_t len = strlen(verdict_words[verdict]);
        if (strncmp(word, verdict_words[verdict], len) == 0 && word[len] == '\n') {
            facts->verdict = (enum photo_verdict)verdict;
            return;
        }
    }
    cursor->failed = true;
}

int photo_answer_parse(const char *line, size_t len, struct photo_facts *ret)
{
    char copy[PHOTO_ANSWER_LINE_MAX + 1];
    if (len == 0 || len > PHOTO_ANSWER_LINE_MAX)
        return -EBADMSG;
    memcpy(copy, line, len);
    copy[len] = '\0';

    struct photo_facts facts = {.verdict = PHOTO_GOOD};
    struct line_cursor cursor = {.at = copy};
    if (skip_word(&cursor, "bad reason="))
        parse_bad(&cursor, &facts);
    else
        parse_good(&cursor, &facts);
    if (cursor.failed)
        return -EBADMSG;

    char again[PHOTO_ANSWER_LINE_MAX];
    int again_len = photo_answer_format(&facts, again, sizeof(again));
    if (again_len < 0 || (size_t)again_len != len || memcmp(again, line, len) != 0)
        return -EBADMSG;
    *ret = facts;
    return 0;
}
