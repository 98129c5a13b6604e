/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/base64.h: RFC 4648's examples, and that no text but the one that was written is read. */
#include "tests/unit/unit.h"

#include "proto/base64.h"

#include <errno.h>

static const struct {
    const char *text, *standard, *url;
} examples[] = {
    {"", "", ""}, /* RFC 4648, section 10 */
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    {"\xfb\xff\xfe", "+//+", "-__-"},
};

static void examples_of_the_standard_are_read(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
        struct bytes expected = bytes_of_text(examples[i].text);
        uint8_t out[8];
        size_t len = 99;

        assert_int_equal(
            base64_decode(bytes_of_text(examples[i].standard), BASE64_STANDARD, out, sizeof(out), &len), 0);
        assert_true(bytes_equal(bytes_of(out, len), expected));
        assert_int_equal(
            base64_decode(bytes_of_text(examples[i].url), BASE64_URL, out, sizeof(out), &len), 0);
        assert_true(bytes_equal(bytes_of(out, len), expected));
        assert_int_equal(
            base64_decode_exactly(bytes_of_text(examples[i].url), BASE64_URL, out, expected.len), 0);
    }
}

static void what_is_read_is_appended_and_what_is_refused_changes_nothing(void **state)
{
    struct buffer buffer = {0};

    assert_int_equal(base64_take(bytes_of_text("Zm9vYg=="), BASE64_STANDARD, &buffer), 0);
    assert_int_equal(base64_take(bytes_of_text("Zm9vYg"), BASE64_STANDARD, &buffer), -EBADMSG);
    assert_int_equal(base64_take(bytes_of_text("Zm9\x80"), BASE64_STANDARD, &buffer), -EBADMSG);
    assert_int_equal(base64_take(bytes_of_text("Zg"), BASE64_URL, &buffer), 0);
    assert_string_equal(buffer_text(&buffer), "foobf");
    buffer_done(&buffer);
}

static bool is_standard_letter(int letter)
{
    return (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') ||
           (letter >= '0' && letter <= '9') || letter == '+' || letter == '/';
}

/* All 256 bytes at each place: only the alphabet is taken, and no two texts mean the same bytes. */
static void each_sequence_of_bytes_has_one_text_only(void **state)
{
    for (size_t place = 0; place < 4; place++) {
        bool seen[256][256] = {{false}};

        for (int letter = 0; letter < 256; letter++) {
            char text[] = "AAAA";
            uint8_t out[3];
            size_t len;
            int r;

            text[place] = (char)letter;
            r = base64_decode(bytes_of(text, 4), BASE64_STANDARD, out, sizeof(out), &len);
            if (place == 3 && letter == '=') {
                assert_int_equal(r, 0);
                assert_int_equal(len, 2);
                continue;
            }
            assert_int_equal(r, is_standard_letter(letter) ? 0 : -EBADMSG);
            if (r < 0)
                continue;
            assert_int_equal(len, 3);
            /* One letter spans two neighbouring bytes. */
            size_t first = place < 2 ? 0 : 1;
            assert_false(seen[out[first]][out[first + 1]]);
            seen[out[first]][out[first + 1]] = true;
        }
    }
}

static void wrong_padding_bits_and_lengths_are_refused(void **state)
{
    static const char *const wrong[] = {"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm8", "Zm9=", "Zm8==", "=",
        "====", "Zg==Zg==", "Zm9v ", " Zm9v", "Zm9v\n", "Zm\n9v", "-__-"};
    static const char *const wrong_url[] = {"Z", "Zg==", "Zh", "Zm9", "Zm8=", "+//+", "Zm9v\n"};
    uint8_t out[16];
    size_t len = 77;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(
            base64_decode(bytes_of_text(wrong[i]), BASE64_STANDARD, out, sizeof(out), &len), -EBADMSG);
    for (size_t i = 0; i < ARRAY_LEN(wrong_url); i++)
        assert_int_equal(
            base64_decode(bytes_of_text(wrong_url[i]), BASE64_URL, out, sizeof(out), &len), -EBADMSG);
    assert_int_equal(base64_decode(bytes_of("Zm\0v", 4), BASE64_STANDARD, out, sizeof(out), &len), -EBADMSG);
    assert_int_equal(len, 77);
}

static void text_longer_or_shorter_than_its_field_is_refused(void **state)
{
    uint8_t out[6];
    size_t len;

    assert_int_equal(base64_decode(bytes_of_text("Zm9vYmFy"), BASE64_STANDARD, out, 5, &len), -EBADMSG);
    assert_int_equal(base64_decode_exactly(bytes_of_text("Zm9vYmFy"), BASE64_STANDARD, out, 5), -EBADMSG);
    assert_int_equal(base64_decode_exactly(bytes_of_text("Zm9vYmE="), BASE64_STANDARD, out, 6), -EBADMSG);
    assert_int_equal(base64_decode_exactly(bytes_of_text("Zm9vYmFy"), BASE64_STANDARD, out, 6), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_standard_are_read),
        cmocka_unit_test(what_is_read_is_appended_and_what_is_refused_changes_nothing),
        cmocka_unit_test(each_sequence_of_bytes_has_one_text_only),
        cmocka_unit_test(wrong_padding_bits_and_lengths_are_refused),
        cmocka_unit_test(text_longer_or_shorter_than_its_field_is_refused),
    };

    return cmocka_run_group_tests_name("proto base64", tests, NULL, NULL);
}
