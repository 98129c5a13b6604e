/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/text.h: UTF-8, hex, UUID text, numbers, degrees. */
#include "tests/unit/unit.h"

#include "base/text.h"

#include <errno.h>

static bool is_utf8(const char *data, size_t len)
{
    return text_is_utf8(bytes_of(data, len));
}

static void well_formed_utf8_is_accepted(void **state)
{
    static const char *const texts[] = {
        "",
        "plain",
        "\x7f",
        "盲道破损",
        "\xc2\x80",         /* U+0080, the first of two bytes */
        "\xe0\xa0\x80",     /* U+0800 */
        "\xed\x9f\xbf",     /* U+D7FF, below the surrogates */
        "\xee\x80\x80",     /* U+E000, above them */
        "\xef\xbf\xbf",     /* U+FFFF: a noncharacter, but well-formed */
        "\xf0\x90\x80\x80", /* U+10000 */
        "\xf4\x8f\xbf\xbf", /* U+10FFFF */
        "a\xf0\x9f\x9a\xa7z",
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_true(text_is_utf8(bytes_of_text(texts[i])));
}

static void ill_formed_utf8_is_refused(void **state)
{
    static const char *const texts[] = {
        "\x80",                                 /* a continuation without a start */
        "\xc0\xaf",                             /* overlong "/" */
        "\xc1\xbf",                             /* overlong U+007F */
        "\xe0\x9f\xbf",                         /* overlong U+07FF */
        "\xf0\x8f\xbf\xbf",                     /* overlong U+FFFF */
        "\xed\xa0\x80",                         /* U+D800, a surrogate */
        "\xed\xbf\xbf",                         /* U+DFFF */
        "\xf4\x90\x80\x80",                     /* U+110000 */
        "\xf5\x80\x80\x80", "\xff", "\xe4\xb8", /* cut short */
        "ok\xe4\xb8 ",                          /* cut short in the middle */
        "\xf0\x9f\x9a",                         /* cut short */
        "\xb0\xa1",                             /* GB2312 */
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(text_is_utf8(bytes_of_text(texts[i])));
}

static void nul_inside_text_is_refused(void **state)
{
    assert_false(is_utf8("a\0b", 3));
    assert_true(is_utf8("ab", 2));
}

/* Decodes by the definition of RFC 3629 and compares with the check, for every one- to three-byte sequence
 * and the four-byte ones with their last byte fixed. */
static bool decodes(const uint8_t *data, size_t len)
{
    static const uint32_t smallest[] = {0, 1, 0x80, 0x800, 0x10000};
    size_t want = data[0] < 0x80       ? 1
                  : data[0] >> 5 == 6  ? 2
                  : data[0] >> 4 == 14 ? 3
                  : data[0] >> 3 == 30 ? 4
                                       : 0;
    uint32_t value = want == 1 ? data[0] : data[0] & (0x7fu >> want);

    if (want != len)
        return false;
    for (size_t i = 1; i < len; i++) {
        if (data[i] >> 6 != 2)
            return false;
        value = value << 6 | (data[i] & 0x3fu);
    }
    return value >= smallest[len] && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
}

static void utf8_check_agrees_with_the_definition_on_all_sequences(void **state)
{
    uint8_t data[4] = {0};

    for (uint32_t i = 0; i < 1u << 24; i++) {
        data[0] = (uint8_t)(i >> 16);
        data[1] = (uint8_t)(i >> 8);
        data[2] = (uint8_t)i;
        data[3] = 0x80;
        /* Three bytes are also well-formed as three or as one and two; only sequences of one are compared. */
        if (data[0] >= 0xe0 && data[0] < 0xf0)
            assert_int_equal(text_is_utf8(bytes_of(data, 3)), decodes(data, 3));
        if (data[0] >= 0xf0)
            assert_int_equal(text_is_utf8(bytes_of(data, 4)), decodes(data, 4));
        if (data[2] == 0 && data[0] >= 0x80 && data[0] < 0xe0)
            assert_int_equal(text_is_utf8(bytes_of(data, 2)), decodes(data, 2));
        if ((i & 0xffff) == 0)
            assert_int_equal(text_is_utf8(bytes_of(data, 1)), decodes(data, 1));
    }
}

/* Words at once must find the one byte that is no ASCII, wherever it stands. */
static void one_wrong_byte_is_found_anywhere_in_a_long_text(void **state)
{
    char text[35];

    for (size_t len = 1; len < sizeof(text); len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned byte = 0; byte <= UINT8_MAX; byte++) {
                memset(text, at % 2 ? '\x01' : '\x7f', len);
                text[at] = (char)byte;
                assert_int_equal(is_utf8(text, len), byte > 0 && byte < 0x80);
            }
    memcpy(text, "12345678é234567盲道234567\xff", 29);
    assert_true(is_utf8(text, 28));
    assert_false(is_utf8(text, 29));
}

static void hex_goes_out_and_comes_back_in_either_case(void **state)
{
    static const uint8_t data[] = {0x00, 0x0f, 0xf0, 0xab, 0xff};
    uint8_t back[5] = {0};
    char text[11];

    text_hex(data, sizeof(data), text);
    assert_string_equal(text, "000ff0abff");
    assert_int_equal(text_parse_hex(text, 10, back, 5), 0);
    assert_memory_equal(back, data, 5);
    assert_int_equal(text_parse_hex("000FF0ABFF", 10, back, 5), 0);
    assert_memory_equal(back, data, 5);
}

static void hex_of_wrong_length_or_digit_leaves_the_result_untouched(void **state)
{
    uint8_t back[2] = {0x11, 0x22};

    assert_int_equal(text_parse_hex("abc", 3, back, 2), -EINVAL);
    assert_int_equal(text_parse_hex("abcdef", 6, back, 2), -EINVAL);
    assert_int_equal(text_parse_hex("", 0, back, 2), -EINVAL);
    assert_int_equal(text_parse_hex("ab0g", 4, back, 2), -EINVAL);
    assert_int_equal(text_parse_hex("ab 1", 4, back, 2), -EINVAL);
    assert_int_equal(text_parse_hex("\xe1\x62\x63\x64", 4, back, 2), -EINVAL);
    assert_int_equal(back[0], 0x11);
    assert_int_equal(back[1], 0x22);
}

static void uuid_text_is_the_form_of_rfc_9562(void **state)
{
    static const uint8_t uuid[16] = {
        0xf8, 0x1d, 0x4f, 0xae, 0x7d, 0xec, 0x11, 0xd0, 0xa7, 0x65, 0x00, 0xa0, 0xc9, 0x1e, 0x6b, 0xf6};
    uint8_t back[16];
    char text[UUID_TEXT_LEN + 1];

    text_uuid(uuid, text);
    assert_string_equal(text, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    assert_int_equal(text_parse_uuid("F81D4FAE-7dec-11d0-A765-00a0c91e6bf6", back), 0);
    assert_memory_equal(back, uuid, 16);
}

static void uuid_text_with_any_flaw_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "f81d4fae",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6a",
        "f81d4fae07dec-11d0-a765-00a0c91e6bf6",
        "f81d4fae-7dec-11d0-a76500-a0c91e6bf6",
        "{81d4fae-7dec-11d0-a765-00a0c91e6bf}",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bfx",
        "f81d4fae7dec11d0a76500a0c91e6bf6----",
    };
    uint8_t back[16] = {0x5a};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(text_parse_uuid(texts[i], back), -EINVAL);
    assert_int_equal(back[0], 0x5a);
}

static void unsigned_numbers_are_whole_strings_of_digits(void **state)
{
    static const char *const wrong[] = {"", " 1", "1 ", "+1", "-1", "1x", "0x10", "1.0", "1e3", "１"};
    uint64_t value = 42;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(text_parse_u64(wrong[i], &value), -EINVAL);
    assert_int_equal(text_parse_u64("18446744073709551616", &value), -ERANGE);
    assert_int_equal(text_parse_u64("99999999999999999999999", &value), -ERANGE);
    assert_int_equal(text_parse_u64("99999999999999999999999z", &value), -EINVAL);
    assert_true(value == 42);

    assert_int_equal(text_parse_u64("18446744073709551615", &value), 0);
    assert_true(value == UINT64_MAX);
    assert_int_equal(text_parse_u64("007", &value), 0);
    assert_true(value == 7);
}

static double parsed(const char *text)
{
    double value = 0;

    assert_int_equal(text_parse_double(text, &value), 0);
    return value;
}

static void doubles_are_whole_decimal_strings(void **state)
{
    static const char *const wrong[] = {"", " 1", "1 ", "nan", "inf", "-inf", "infinity", "0x1p3", "1,5", ".",
        "-", "+-1", "1e", "1e+", "1.2.3"};
    double value = 0;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(text_parse_double(wrong[i], &value), -EINVAL);
    assert_int_equal(text_parse_double("1e999", &value), -ERANGE);
    assert_int_equal(text_parse_double("-1e999", &value), -ERANGE);

    assert_true(parsed("-73.9530344") == -73.9530344);
    assert_true(parsed("+.5") == 0.5);
    assert_true(parsed("5.") == 5.0);
    assert_true(parsed("12E-1") == 1.2);
}

static int32_t parsed_e7(const char *text, unsigned limit)
{
    int32_t value = INT32_MIN;

    assert_int_equal(text_parse_e7(text, limit, &value), 0);
    return value;
}

static void degrees_are_exact_to_seven_decimals_and_rounded_beyond(void **state)
{
    assert_int_equal(parsed_e7("40.7801253", 90), 407801253);
    assert_int_equal(parsed_e7("-73.9530344", 180), -739530344);
    assert_int_equal(parsed_e7("0", 90), 0);
    assert_int_equal(parsed_e7("-0.0", 90), 0);
    assert_int_equal(parsed_e7("+12.5", 90), 125000000);
    assert_int_equal(parsed_e7(".5", 90), 5000000);
    assert_int_equal(parsed_e7("7.", 90), 70000000);
    assert_int_equal(parsed_e7("1.00000004", 90), 10000000);
    assert_int_equal(parsed_e7("1.00000005", 90), 10000001);
    assert_int_equal(parsed_e7("-1.00000005", 90), -10000001);
    assert_int_equal(parsed_e7("1.999999999999999999999999999", 90), 20000000);
    assert_int_equal(parsed_e7("000090", 90), 900000000);
    assert_int_equal(parsed_e7("-180.0000000", 180), -1800000000);
    assert_int_equal(parsed_e7("5e-05", 90), 500);
    assert_int_equal(parsed_e7("-1.25E1", 90), -125000000);
}

static void degrees_out_of_range_or_malformed_are_refused(void **state)
{
    static const char *const malformed[] = {
        "", "abc", "nan", "40,78", "40.78 ", " 40", "4 0", "--1", "40°", "1e"};
    static const char *const beyond[] = {
        "90.0000001", "91", "-90.1", "1e3", "-1e300", "1e999", "99999999999999999999"};
    int32_t value = 7;

    for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
        assert_int_equal(text_parse_e7(malformed[i], 90, &value), -EINVAL);
    for (size_t i = 0; i < ARRAY_LEN(beyond); i++)
        assert_int_equal(text_parse_e7(beyond[i], 90, &value), -ERANGE);
    assert_int_equal(value, 7);
}

static void degrees_are_written_in_their_shortest_form(void **state)
{
    static const struct {
        int32_t value_e7;
        const char *text;
    } cases[] = {
        {407801253, "40.7801253"},
        {-5000000, "-0.5"},
        {120000000, "12"},
        {0, "0"},
        {-1, "-0.0000001"},
        {1050000, "0.105"},
        {-1800000000, "-180"},
        {1090000010, "109.000001"},
        {INT32_MAX, "214.7483647"},
        {INT32_MIN, "-214.7483648"},
    };
    char text[TEXT_E7_LEN + 1];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        text_e7(cases[i].value_e7, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void degrees_come_back_unchanged_over_their_whole_range(void **state)
{
    char text[TEXT_E7_LEN + 1];

    /* A prime step visits all digits. */
    for (int64_t value = -1800000000; value <= 1800000000; value += 10007) {
        text_e7((int32_t)value, text);
        assert_int_equal(parsed_e7(text, 180), value);
    }
}

static void control_characters_become_blanks_and_the_rest_stays(void **state)
{
    char text[] = "a\nb\r\t\x1b[2J\x7f\xe4\xba\xba";

    text_make_one_line(text);
    assert_string_equal(text, "a b   [2J \xe4\xba\xba");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_characters_become_blanks_and_the_rest_stays),
        cmocka_unit_test(well_formed_utf8_is_accepted),
        cmocka_unit_test(ill_formed_utf8_is_refused),
        cmocka_unit_test(nul_inside_text_is_refused),
        cmocka_unit_test(utf8_check_agrees_with_the_definition_on_all_sequences),
        cmocka_unit_test(one_wrong_byte_is_found_anywhere_in_a_long_text),
        cmocka_unit_test(hex_goes_out_and_comes_back_in_either_case),
        cmocka_unit_test(hex_of_wrong_length_or_digit_leaves_the_result_untouched),
        cmocka_unit_test(uuid_text_is_the_form_of_rfc_9562),
        cmocka_unit_test(uuid_text_with_any_flaw_is_refused),
        cmocka_unit_test(unsigned_numbers_are_whole_strings_of_digits),
        cmocka_unit_test(doubles_are_whole_decimal_strings),
        cmocka_unit_test(degrees_are_exact_to_seven_decimals_and_rounded_beyond),
        cmocka_unit_test(degrees_out_of_range_or_malformed_are_refused),
        cmocka_unit_test(degrees_are_written_in_their_shortest_form),
        cmocka_unit_test(degrees_come_back_unchanged_over_their_whole_range),
    };

    return cmocka_run_group_tests_name("base text", tests, NULL, NULL);
}
