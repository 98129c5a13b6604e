/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the small text forms: UTF-8 check, hex, UUID text, numbers. Called by every room. Must not know the
 * locale, which is why numbers are scanned by hand before strtod sees them.
 */
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <math.h>

#define E7_DIGITS 7u
#define E7_ONE 10000000

/* The length of the well-formed sequence at the start of `data`, 0 when there is none (RFC 3629, section 4).
 */
static size_t utf8_sequence(const uint8_t *data, size_t len)
{
    /* The second byte's range is what rules out overlong forms, surrogates and values over U+10FFFF. */
    static const struct {
        uint8_t first_min, first_max, second_min, second_max, len;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},
        {0xc2, 0xdf, 0x80, 0xbf, 2},
        {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3},
        {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4},
        {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (data[0] < forms[i].first_min || data[0] > forms[i].first_max)
            continue;
        if (forms[i].len > len)
            return 0;
        if (forms[i].len > 1 && (data[1] < forms[i].second_min || data[1] > forms[i].second_max))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if ((data[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].len;
    }
    return 0;
}

/* How many bytes at the start of `data`, counted in whole words, are 0x01 to 0x7f: most text is, and this is
 * fast. */
static size_t plain_ascii(const uint8_t *data, size_t len)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    size_t at = 0;
    uint64_t word;

    for (; len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, data + at, sizeof(word));
        /* A top bit is a byte from 0x80 up; a zero byte borrows, and so gets its own. */
        if ((word | (word - ones)) & tops)
            break;
    }
    return at;
}

bool text_is_utf8(struct bytes bytes)
{
    size_t at = plain_ascii(bytes.data, bytes.len);

    while (at < bytes.len) {
        size_t len = utf8_sequence(bytes.data + at, bytes.len - at);
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}

static char hex_digit(unsigned value)
{
    return "0123456789abcdef"[value & 0xf];
}

/* 0..15, or -EINVAL. */
static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -EINVAL;
}

void text_make_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

void text_hex(const uint8_t *data, size_t len, char *ret)
{
    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = hex_digit(data[i] >> 4);
        ret[2 * i + 1] = hex_digit(data[i]);
    }
    ret[2 * len] = '\0';
}

int text_parse_hex(const char *text, size_t text_len, uint8_t *ret, size_t len)
{
    if (text_len % 2 != 0 || text_len / 2 != len)
        return -EINVAL;
    /* Two passes, so that `ret` is untouched on failure. */
    for (size_t i = 0; i < text_len; i++)
        if (hex_value(text[i]) < 0)
            return -EINVAL;
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
    return 0;
}

static bool uuid_dash_before(size_t byte_index)
{
    return byte_index == 4 || byte_index == 6 || byte_index == 8 || byte_index == 10;
}

void text_uuid(const uint8_t uuid[16], char ret[UUID_TEXT_LEN + 1])
{
    char *next = ret;

    for (size_t i = 0; i < 16; i++) {
        if (uuid_dash_before(i))
            *next++ = '-';
        *next++ = hex_digit(uuid[i] >> 4);
        *next++ = hex_digit(uuid[i]);
    }
    *next = '\0';
}

int text_parse_uuid(const char *text, uint8_t ret[16])
{
    uint8_t uuid[16];

    if (strnlen(text, UUID_TEXT_LEN + 1) != UUID_TEXT_LEN)
        return -EINVAL;
    for (size_t i = 0; i < 16; i++) {
        if (uuid_dash_before(i) && *text++ != '-')
            return -EINVAL;
        if (text_parse_hex(text, 2, &uuid[i], 1) < 0)
            return -EINVAL;
        text += 2;
    }
    memcpy(ret, uuid, sizeof(uuid));
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int text_parse_u64(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (*text == '\0')
        return -EINVAL;
    for (const char *next = text; *next; next++)
        if (!is_digit(*next))
            return -EINVAL;
    for (const char *next = text; *next; next++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (unsigned)(*next - '0'), &value))
            return -ERANGE;
    *ret = value;
    return 0;
}

static const char *skip_digits(const char *text)
{
    while (is_digit(*text))
        text++;
    return text;
}

/* Is the whole text `[+-] digits [. digits] [e [+-] digits]` with at least one digit in the mantissa? */
static bool is_decimal(const char *text)
{
    const char *whole = *text == '-' || *text == '+' ? text + 1 : text;
    const char *next = skip_digits(whole);
    size_t digits = (size_t)(next - whole);

    if (*next == '.') {
        const char *fraction = next + 1;
        next = skip_digits(fraction);
        digits += (size_t)(next - fraction);
    }
    if (digits == 0)
        return false;
    if (*next == 'e' || *next == 'E') {
        const char *exponent = next + 1;
        if (*exponent == '-' || *exponent == '+')
            exponent++;
        next = skip_digits(exponent);
        if (next == exponent)
            return false;
    }
    return *next == '\0';
}

int text_parse_double(const char *text, double *ret)
{
    if (!is_decimal(text))
        return -EINVAL;

    /* strtod reads the decimal point of the current locale; with all categories "C" glibc hands out its
     * built-in locale object, so nothing is allocated or loaded here. */
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain)
        return -ENOMEM;
    double value = strtod_l(text, NULL, plain);
    freelocale(plain);

    if (!isfinite(value))
        return -ERANGE;
    *ret = value;
    return 0;
}

/* A number with an exponent: rare enough that double arithmetic, good for 15 digits, will do. */
static int parse_e7_exponent(const char *text, unsigned limit_degrees, int32_t *ret)
{
    double degrees;

    int r = text_parse_double(text, &degrees);
    if (r < 0)
        return r;
    if (degrees > limit_degrees || degrees < -(double)limit_degrees)
        return -ERANGE;
    *ret = (int32_t)(degrees * E7_ONE + (degrees < 0 ? -0.5 : 0.5));
    return 0;
}

int text_parse_e7(const char *text, unsigned limit_degrees, int32_t *ret)
{
    assert(limit_degrees <= INT32_MAX / E7_ONE);

    if (!is_decimal(text))
        return -EINVAL;
    if (strpbrk(text, "eE"))
        return parse_e7_exponent(text, limit_degrees, ret);

    bool negative = *text == '-';
    const char *next = *text == '-' || *text == '+' ? text + 1 : text;
    int64_t limit = (int64_t)limit_degrees * E7_ONE;
    int64_t value = 0;

    for (; is_digit(*next); next++) {
        value = value * 10 + (*next - '0');
        if (value > limit_degrees)
            return -ERANGE;
    }
    if (*next == '.')
        next++;
    for (size_t i = 0; i < E7_DIGITS; i++)
        value = value * 10 + (is_digit(*next) ? *next++ - '0' : 0);
    if (*next >= '5') /* The eighth decimal; a NUL is less. */
        value++;
    if (value > limit)
        return -ERANGE;
    *ret = (int32_t)(negative ? -value : value);
    return 0;
}

void text_e7(int32_t value_e7, char ret[TEXT_E7_LEN + 1])
{
    uint32_t magnitude = value_e7 < 0 ? 0 - (uint32_t)value_e7 : (uint32_t)value_e7;
    uint32_t whole = magnitude / E7_ONE;
    uint32_t fraction = magnitude % E7_ONE;
    char *next = ret;

    if (value_e7 < 0)
        *next++ = '-';
    if (whole >= 100)
        *next++ = (char)('0' + whole / 100);
    if (whole >= 10)
        *next++ = (char)('0' + whole / 10 % 10);
    *next++ = (char)('0' + whole % 10);
    if (fraction > 0)
        *next++ = '.';
    while (fraction > 0) {
        fraction *= 10;
        *next++ = (char)('0' + fraction / E7_ONE);
        fraction %= E7_ONE;
    }
    *next = '\0';
}
