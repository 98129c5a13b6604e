/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/tus_headers.h"

#include "proto/base64.h"

#include <errno.h>
#include <stdio.h>

#define METADATA_KEYS_MAX 32u
#define DAY_S 86400
#define LAST_S INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

/* Of ASCII, whatever the locale. */
static bool starts_with(const char *text, const char *start_lower)
{
    for (; *start_lower; text++, start_lower++) {
        char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
        if (c != *start_lower)
            return false;
    }
    return true;
}

int tus_parse_number(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (!*text)
        return -EINVAL;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9')
            return -EINVAL;
        if (value > ((uint64_t)INT64_MAX - (uint64_t)(*at - '0')) / 10u)
            return -ERANGE;
        value = value * 10u + (uint64_t)(*at - '0');
    }
    *ret = value;
    return 0;
}

/* Standard base64 with padding, of exactly what is there. The decoded length, or -EINVAL. */
static int decode_base64(struct bytes text, uint8_t *ret, size_t size)
{
    size_t len;

    return base64_decode(text, BASE64_STANDARD, ret, size, &len) < 0 ? -EINVAL : (int)len;
}

/* A value of Upload-Metadata that is a hash in one of its two forms. */
static int parse_hash_value(struct bytes value, struct sha256 *ret)
{
    uint8_t decoded[SHA256_TEXT_LEN];
    int len = decode_base64(value, decoded, sizeof(decoded));

    if (len == (int)SHA256_BYTES) {
        memcpy(ret->b, decoded, SHA256_BYTES);
        return 0;
    }
    if (len == (int)SHA256_TEXT_LEN)
        return text_parse_hex((const char *)decoded, SHA256_TEXT_LEN, ret->b, SHA256_BYTES);
    return -EINVAL;
}

static struct bytes trim_blanks(struct bytes text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = bytes_of(text.data + 1, text.len - 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static struct bytes take_until(struct bytes *rest, char separator)
{
    const uint8_t *at = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;
    struct bytes taken = bytes_of(rest->data, at ? (size_t)(at - rest->data) : rest->len);

    *rest = at ? bytes_of(at + 1, rest->len - taken.len - 1) : bytes_of(NULL, 0);
    return taken;
}

static bool is_key(struct bytes key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] <= 0x20 || key.data[i] >= 0x7f || key.data[i] == ',')
            return false;
    return key.len > 0;
}

int tus_parse_metadata(const char *text, struct sha256 *ret)
{
    struct bytes rest = bytes_of_text(text);
    struct bytes wanted = bytes_of_text("sha256");
    struct sha256 found;
    bool is_found = false;
    size_t keys = 0;

    if (rest.len > TUS_METADATA_BYTES_MAX)
        return -EINVAL;
    if (trim_blanks(rest).len == 0)
        return -ENOENT;
    for (bool more = true; more;) {
        more = memchr(rest.data, ',', rest.len) != NULL;
        struct bytes pair = trim_blanks(take_until(&rest, ','));
        struct bytes key = take_until(&pair, ' ');
        struct bytes value = trim_blanks(pair);
        if (!is_key(key) || ++keys > METADATA_KEYS_MAX || (more && rest.len == 0))
            return -EINVAL;
        if (!bytes_equal(key, wanted))
            continue;
        if (is_found || parse_hash_value(value, &found) < 0)
            return -EINVAL;
        is_found = true;
    }
    if (!is_found)
        return -ENOENT;
    *ret = found;
    return 0;
}

int tus_parse_checksum(const char *text, struct sha256 *ret)
{
    struct bytes value = bytes_of_text(text);
    struct bytes algorithm = take_until(&value, ' ');
    uint8_t decoded[SHA256_BYTES];

    if (!is_key(algorithm))
        return -EINVAL;
    if (!bytes_equal(algorithm, bytes_of_text("sha256")))
        return -ENOTSUP;
    if (decode_base64(trim_blanks(value), decoded, sizeof(decoded)) != (int)SHA256_BYTES)
        return -EINVAL;
    memcpy(ret->b, decoded, SHA256_BYTES);
    return 0;
}

const char *tus_parse_bearer(const char *text)
{
    if (!starts_with(text, "bearer "))
        return NULL;
    text += 7;
    text += strspn(text, " ");
    return *text && !strpbrk(text, " \t,") ? text : NULL;
}

int tus_parse_segment(const char *text, struct sha256 *ret)
{
    if (strspn(text, "0123456789abcdef") != SHA256_TEXT_LEN || text[SHA256_TEXT_LEN] != '\0')
        return -EINVAL;
    return text_parse_hex(text, SHA256_TEXT_LEN, ret->b, SHA256_BYTES);
}

bool tus_is_patch_type(const char *content_type)
{
    static const char wanted[] = "application/offset+octet-stream";
    size_t len = sizeof(wanted) - 1;

    if (!starts_with(content_type, wanted))
        return false;
    return content_type[len] == '\0' || content_type[len] == ';' || content_type[len] == ' ';
}

/* Civil date of a day count since 1970, by the length of 400-year cycles counted from 1 March of year 0. */
static void civil_of_day(int64_t day, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    int64_t shifted = day + 719468;
    int64_t cycle = shifted / 146097;
    int64_t in_cycle = shifted % 146097;
    int64_t year_in_cycle = (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    int64_t day_in_year = in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
    int64_t month_from_march = (5 * day_in_year + 2) / 153;

    *ret_day = (unsigned)(day_in_year - (153 * month_from_march + 2) / 5 + 1);
    *ret_month = (unsigned)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *ret_year = cycle * 400 + year_in_cycle + (*ret_month <= 2 ? 1 : 0);
}

void tus_format_date(int64_t unix_ms, char ret[TUS_DATE_LEN + 1])
{
    static const char days[][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[][4] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t seconds = unix_ms < 0 ? 0 : unix_ms / 1000;
    int64_t year;
    unsigned month, day;

    if (seconds > LAST_S)
        seconds = LAST_S;
    civil_of_day(seconds / DAY_S, &year, &month, &day);
    unsigned in_day = (unsigned)(seconds % DAY_S);
    /* Reduced by what they cannot exceed, so that the compiler sees that the text fits. */
    snprintf(ret, TUS_DATE_LEN + 1, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days[seconds / DAY_S % 7],
        day % 100u, months[month - 1], (unsigned)year % 10000u, in_day / 3600 % 100u, in_day / 60 % 60,
        in_day % 60);
}
