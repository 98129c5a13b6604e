/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/json_text.h: what a JSON string looks like. */
#include "tests/unit/unit.h"

#include "base/json_text.h"

static void assert_json(const char *text, size_t len, const char *wanted)
{
    struct buffer json = {0};
    json_put_text(&json, bytes_of(text, len));
    assert_string_equal(buffer_text(&json), wanted);
    buffer_done(&json);
}

static void plain_text_stays_as_it_is(void **state)
{
    assert_json("", 0, "\"\"");
    assert_json("plain /text", 11, "\"plain /text\"");
    assert_json("盲道", 6, "\"盲道\"");
    assert_json("\xf0\x9f\x9a\xa7", 4, "\"\xf0\x9f\x9a\xa7\"");
}

static void what_must_be_escaped_is(void **state)
{
    assert_json("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    assert_json("\n\r\t\b", 4, "\"\\n\\r\\t\\u0008\"");
    assert_json("\0\x1f\x7f", 3, "\"\\u0000\\u001f\\u007f\"");
}

static void bytes_that_are_not_utf8_are_replaced_one_by_one(void **state)
{
    assert_json("a\xff\xfe"
                "b",
        4,
        "\"a\xef\xbf\xbd\xef\xbf\xbd"
        "b\"");
    assert_json("\xe4\xb8", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""); /* cut short */
    assert_json("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_stays_as_it_is),
        cmocka_unit_test(what_must_be_escaped_is),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
