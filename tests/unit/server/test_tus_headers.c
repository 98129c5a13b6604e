/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/core/tus_headers.h: what the headers of tus 1.0.0 say, and what is refused. */
#include "tests/unit/unit.h"

#include "server/core/tus_headers.h"

#include <errno.h>

/* SHA-256 of "abc" (FIPS 180-4, the example of its one-block message). */
#define ABC_HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_HEX_BASE64                                                                                       \
    "YmE3ODE2YmY4ZjAxY2ZlYTQxNDE0MGRlNWRhZTIyMjNiMDAzNjFhMzk2MTc3YTljYjQxMGZmNjFmMjAwMTVhZA=="
#define ABC_BASE64 "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="

static void assert_is_abc(const struct sha256 *hash)
{
    char hex[SHA256_TEXT_LEN + 1];
    text_hex(hash->b, SHA256_BYTES, hex);
    assert_string_equal(hex, ABC_HEX);
}

static void numbers_are_digits_and_nothing_else(void **state)
{
    uint64_t value = 7;

    assert_int_equal(tus_parse_number("0", &value), 0);
    assert_int64_equal(value, 0);
    assert_int_equal(tus_parse_number("67108864", &value), 0);
    assert_int64_equal(value, 67108864);
    assert_int_equal(tus_parse_number("9223372036854775807", &value), 0);
    assert_int64_equal(value, INT64_MAX);
    static const char *const wrong[] = {
        "", " 1", "1 ", "+1", "-1", "0x10", "1.5", "1e3", "one", "\xef\xbc\x91"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(tus_parse_number(wrong[i], &value), -EINVAL);
    assert_int_equal(tus_parse_number("9223372036854775808", &value), -ERANGE);
    assert_int_equal(tus_parse_number("99999999999999999999999999", &value), -ERANGE);
    assert_int64_equal(value, INT64_MAX); /* untouched by failures */
}

static void metadata_names_the_hash_in_hex_or_in_bytes(void **state)
{
    struct sha256 hash = {0};

    assert_int_equal(tus_parse_metadata("sha256 " ABC_HEX_BASE64, &hash), 0);
    assert_is_abc(&hash);
    hash = (struct sha256){0};
    assert_int_equal(tus_parse_metadata("filename YWJj,sha256 " ABC_BASE64 ",private", &hash), 0);
    assert_is_abc(&hash);
    hash = (struct sha256){0};
    assert_int_equal(tus_parse_metadata(" filename YWJj , sha256 " ABC_BASE64 " ", &hash), 0);
    assert_is_abc(&hash);
}

static void metadata_without_a_hash_is_told_apart_from_malformed(void **state)
{
    struct sha256 hash;

    assert_int_equal(tus_parse_metadata("", &hash), -ENOENT);
    assert_int_equal(tus_parse_metadata("filename YWJj", &hash), -ENOENT);
    assert_int_equal(tus_parse_metadata("SHA256 " ABC_BASE64, &hash), -ENOENT); /* keys are not folded */
    static const char *const wrong[] = {
        "sha256", "sha256 ", "sha256 !!!!", "sha256 YWJj", /* of three bytes */
        "sha256 " ABC_BASE64 ",sha256 " ABC_BASE64,        /* twice */
        "sha256 " ABC_BASE64 ",",                          /* an empty pair */
        ",sha256 " ABC_BASE64,                             /* the same */
        "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIA", /* cut */
        "sha256 " ABC_BASE64 "AAAA",                       /* too long */
        "k\xc3\xa4y YWJj,sha256 " ABC_BASE64,              /* keys are ASCII */
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(tus_parse_metadata(wrong[i], &hash), -EINVAL);
}

static void metadata_is_bounded(void **state)
{
    char text[TUS_METADATA_BYTES_MAX + 64];
    struct buffer many = {0};
    struct sha256 hash;

    for (int i = 0; i < 40; i++)
        buffer_put_text(&many, "key YWJj,");
    buffer_put_text(&many, "sha256 " ABC_BASE64);
    assert_int_equal(tus_parse_metadata(buffer_text(&many), &hash), -EINVAL); /* too many keys */
    buffer_done(&many);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(tus_parse_metadata(text, &hash), -EINVAL);
}

static void checksum_takes_sha256_only(void **state)
{
    struct sha256 hash = {0};

    assert_int_equal(tus_parse_checksum("sha256 " ABC_BASE64, &hash), 0);
    assert_is_abc(&hash);
    assert_int_equal(tus_parse_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", &hash), -ENOTSUP);
    static const char *const wrong[] = {"", "sha256", "sha256 ", " sha256 " ABC_BASE64, "sha256 " ABC_HEX,
        "sha256 YWJj", "sha256 " ABC_BASE64 "=="};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(tus_parse_checksum(wrong[i], &hash), -EINVAL);
}

static void bearer_gives_the_token_alone(void **state)
{
    assert_string_equal(tus_parse_bearer("Bearer abc-_123"), "abc-_123");
    assert_string_equal(tus_parse_bearer("bearer  abc"), "abc");
    assert_null(tus_parse_bearer(""));
    assert_null(tus_parse_bearer("Bearer"));
    assert_null(tus_parse_bearer("Bearer "));
    assert_null(tus_parse_bearer("Bearer a b"));
    assert_null(tus_parse_bearer("Bearer a, Basic b"));
    assert_null(tus_parse_bearer("Basic YTpi"));
}

static void path_segment_is_lower_case_hex(void **state)
{
    struct sha256 hash = {0};

    assert_int_equal(tus_parse_segment(ABC_HEX, &hash), 0);
    assert_is_abc(&hash);
    assert_int_equal(tus_parse_segment("", &hash), -EINVAL);
    assert_int_equal(tus_parse_segment(ABC_HEX "0", &hash), -EINVAL);
    assert_int_equal(
        tus_parse_segment("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", &hash),
        -EINVAL);
    assert_int_equal(
        tus_parse_segment("..7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &hash),
        -EINVAL);
}

static void patch_type_may_have_parameters(void **state)
{
    assert_true(tus_is_patch_type("application/offset+octet-stream"));
    assert_true(tus_is_patch_type("Application/Offset+Octet-Stream; charset=x"));
    assert_false(tus_is_patch_type("application/offset+octet-streams"));
    assert_false(tus_is_patch_type("application/octet-stream"));
    assert_false(tus_is_patch_type(""));
}

static void dates_are_imf_fixdates(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } dates[] = {
        {784111777000, "Sun, 06 Nov 1994 08:49:37 GMT"}, /* the example of RFC 9110 */
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {-5, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400000, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {951868799999, "Tue, 29 Feb 2000 23:59:59 GMT"},
        {4107542400000, "Mon, 01 Mar 2100 00:00:00 GMT"}, /* 2100 is no leap year */
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
    };

    for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
        char text[TUS_DATE_LEN + 1];
        tus_format_date(dates[i].ms, text);
        assert_string_equal(text, dates[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_and_nothing_else),
        cmocka_unit_test(metadata_names_the_hash_in_hex_or_in_bytes),
        cmocka_unit_test(metadata_without_a_hash_is_told_apart_from_malformed),
        cmocka_unit_test(metadata_is_bounded),
        cmocka_unit_test(checksum_takes_sha256_only),
        cmocka_unit_test(bearer_gives_the_token_alone),
        cmocka_unit_test(path_segment_is_lower_case_hex),
        cmocka_unit_test(patch_type_may_have_parameters),
        cmocka_unit_test(dates_are_imf_fixdates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
