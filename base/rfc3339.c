/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the arithmetic between Unix milliseconds and civil dates (proleptic Gregorian, RFC 3339). Called by
 * every room. Must not know the clock or any time zone but the numeric offset it is given.
 */
#include "base/rfc3339.h"

#include "base/cleanup.h"

#include <errno.h>

#define MS_PER_SECOND 1000
#define MS_PER_MINUTE (60 * MS_PER_SECOND)
#define MS_PER_DAY (INT64_C(1440) * MS_PER_MINUTE)
#define OFFSET_MIN_MAX (24 * 60 - 1)
/* 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z. */
#define FIRST_MS (INT64_C(-719528) * MS_PER_DAY)
#define LAST_MS (INT64_C(2932897) * MS_PER_DAY - 1)

struct civil {
    unsigned year, month, day;
};

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days from 0000-01-01 to the first day of `year`. */
static unsigned days_before_year(unsigned year)
{
    /* Year 0 is a leap year itself, hence the rounding up. */
    return year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

static int64_t ms_of_civil(struct civil date)
{
    unsigned days = days_before_year(date.year) + date.day - 1;

    for (unsigned month = 1; month < date.month; month++)
        days += days_in_month(date.year, month);
    return FIRST_MS + (int64_t)days * MS_PER_DAY;
}

/* The date `days` after 0000-01-01, which must lie before the year 10000. */
static struct civil civil_of_days(unsigned days)
{
    /* 146,097 days are 400 years exactly, so this is right or one too high. */
    unsigned year = (unsigned)((uint64_t)days * 400 / 146097);
    unsigned month = 1;

    if (days_before_year(year) > days)
        year--;
    else if (days_before_year(year + 1) <= days)
        year++;
    days -= days_before_year(year);
    for (; days >= days_in_month(year, month); month++)
        days -= days_in_month(year, month);
    return (struct civil){.year = year, .month = month, .day = days + 1};
}

/* Reads exactly `width` digits at `*text` and moves on. */
static bool take_number(const char **text, size_t width, unsigned max, unsigned *ret)
{
    unsigned value = 0;

    for (size_t i = 0; i < width; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        value = value * 10 + (unsigned)(**text - '0');
    }
    if (value > max)
        return false;
    *ret = value;
    return true;
}

static bool take_char(const char **text, const char *allowed)
{
    for (; *allowed; allowed++)
        if (**text == *allowed) {
            (*text)++;
            return true;
        }
    return false;
}

/* An optional fraction of 1 to 9 digits, cut to milliseconds. */
static bool take_fraction(const char **text, unsigned *ret_ms)
{
    unsigned ms = 0;
    size_t digits = 0;

    if (take_char(text, ".")) {
        for (; **text >= '0' && **text <= '9'; (*text)++, digits++)
            if (digits < 3)
                ms = ms * 10 + (unsigned)(**text - '0');
        if (digits == 0 || digits > 9)
            return false;
        for (; digits < 3; digits++)
            ms *= 10;
    }
    *ret_ms = ms;
    return true;
}

static bool take_offset(const char **text, int32_t *ret_min)
{
    unsigned hours, minutes;
    bool west = **text == '-';

    if (take_char(text, "Zz")) {
        *ret_min = 0;
        return true;
    }
    if (!take_char(text, "+-") || !take_number(text, 2, 23, &hours) || !take_char(text, ":") ||
        !take_number(text, 2, 59, &minutes))
        return false;
    *ret_min = (int32_t)(hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

int rfc3339_parse(const char *text, int64_t *ret_unix_ms, int32_t *ret_offset_min)
{
    struct civil date;
    unsigned hour, minute, second, ms;
    int32_t offset_min;

    if (!take_number(&text, 4, 9999, &date.year) || !take_char(&text, "-") ||
        !take_number(&text, 2, 12, &date.month) || !take_char(&text, "-") ||
        !take_number(&text, 2, 31, &date.day) || !take_char(&text, "Tt"))
        return -EINVAL;
    if (date.month == 0 || date.day == 0 || date.day > days_in_month(date.year, date.month))
        return -EINVAL;
    if (!take_number(&text, 2, 23, &hour) || !take_char(&text, ":") || !take_number(&text, 2, 59, &minute) ||
        !take_char(&text, ":") || !take_number(&text, 2, 60, &second) || !take_fraction(&text, &ms))
        return -EINVAL;
    if (!take_offset(&text, &offset_min) || *text != '\0')
        return -EINVAL;

    if (second == 60)
        second = 59;
    *ret_unix_ms = ms_of_civil(date) + (int64_t)hour * 60 * MS_PER_MINUTE + (int64_t)minute * MS_PER_MINUTE +
                   (int64_t)second * MS_PER_SECOND + ms - (int64_t)offset_min * MS_PER_MINUTE;
    if (ret_offset_min)
        *ret_offset_min = offset_min;
    return 0;
}

static char *put_number(char *next, unsigned value, size_t width)
{
    for (size_t i = width; i > 0; i--, value /= 10)
        next[i - 1] = (char)('0' + value % 10);
    return next + width;
}

static char *put_char(char *next, char value)
{
    *next = value;
    return next + 1;
}

static int64_t clamp(int64_t value, int64_t min, int64_t max)
{
    return value < min ? min : value > max ? max : value;
}

void rfc3339_format(int64_t unix_ms, int32_t offset_min, char ret[RFC3339_LEN + 1])
{
    /* An offset that the form cannot say is written as UTC: the instant stays right. */
    if (offset_min < -OFFSET_MIN_MAX || offset_min > OFFSET_MIN_MAX)
        offset_min = 0;

    /* Clamped twice: before the offset so that the sum cannot overflow, and after it so that the local date,
     * which is what is written, has four digits of year. */
    int64_t local_ms = clamp(unix_ms, FIRST_MS, LAST_MS) + (int64_t)offset_min * MS_PER_MINUTE;
    uint64_t since_first_ms = (uint64_t)(clamp(local_ms, FIRST_MS, LAST_MS) - FIRST_MS);
    struct civil date = civil_of_days((unsigned)(since_first_ms / (uint64_t)MS_PER_DAY));
    unsigned day_ms = (unsigned)(since_first_ms % (uint64_t)MS_PER_DAY);
    char *next = ret;

    next = put_char(put_number(next, date.year, 4), '-');
    next = put_char(put_number(next, date.month, 2), '-');
    next = put_char(put_number(next, date.day, 2), 'T');
    next = put_char(put_number(next, day_ms / (60 * MS_PER_MINUTE), 2), ':');
    next = put_char(put_number(next, day_ms / MS_PER_MINUTE % 60, 2), ':');
    next = put_number(next, day_ms / MS_PER_SECOND % 60, 2);
    if (day_ms % MS_PER_SECOND != 0)
        next = put_number(put_char(next, '.'), day_ms % MS_PER_SECOND, 3);
    if (offset_min == 0) {
        next = put_char(next, 'Z');
    } else {
        unsigned magnitude_min = (unsigned)(offset_min < 0 ? -offset_min : offset_min);
        next = put_char(next, offset_min < 0 ? '-' : '+');
        next = put_char(put_number(next, magnitude_min / 60, 2), ':');
        next = put_number(next, magnitude_min % 60, 2);
    }
    *next = '\0';
}
