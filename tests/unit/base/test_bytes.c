/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/bytes.h: the sticky cursor and the growing buffer. */
#include "tests/unit/unit.h"

#include "base/bytes.h"

#include <errno.h>

static void cursor_reads_big_endian_numbers_in_order(void **state)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
    struct cursor cursor = cursor_of(bytes_of(data, sizeof(data)));

    assert_int_equal(cursor_u8(&cursor), 1);
    assert_int_equal(cursor_u32be(&cursor), 0x02030405);
    assert_true(cursor_u64be(&cursor) == 0x1122334455667788);
    assert_int_equal(cursor_left(&cursor), 0);
    assert_int_equal(cursor_finish(&cursor), 0);
}

static void cursor_past_the_end_fails_and_stays_failed(void **state)
{
    static const uint8_t data[] = {0xff, 0xff, 0xff};
    struct cursor cursor = cursor_of(bytes_of(data, sizeof(data)));

    assert_int_equal(cursor_u32be(&cursor), 0);
    assert_true(cursor.failed);
    /* Three bytes would still be there, but the position is no longer known to be right. */
    assert_int_equal(cursor_u8(&cursor), 0);
    assert_int_equal(cursor_left(&cursor), 0);
    assert_int_equal(cursor_take(&cursor, 0).len, 0);
    assert_int_equal(cursor_finish(&cursor), -EBADMSG);
}

static void cursor_finish_refuses_left_over_bytes(void **state)
{
    struct cursor cursor = cursor_of(bytes_of("ab", 2));

    cursor_u8(&cursor);
    assert_int_equal(cursor_finish(&cursor), -EBADMSG);
    cursor_u8(&cursor);
    assert_int_equal(cursor_finish(&cursor), 0);
}

static void cursor_take_borrows_and_refuses_huge_lengths(void **state)
{
    static const char text[] = "header body";
    struct cursor cursor = cursor_of(bytes_of_text(text));
    struct bytes header = cursor_take(&cursor, 6);

    assert_ptr_equal(header.data, text);
    assert_int_equal(header.len, 6);
    assert_int_equal(cursor_take(&cursor, SIZE_MAX).len, 0);
    assert_true(cursor.failed);
}

static void cursor_take_until_consumes_the_separator(void **state)
{
    struct cursor cursor = cursor_of(bytes_of_text("one\n\ntail"));

    assert_true(bytes_equal(cursor_take_until(&cursor, '\n'), bytes_of_text("one")));

    /* An empty part is a place in the text all the same: memcpy of it is defined. */
    struct bytes empty = cursor_take_until(&cursor, '\n');
    assert_int_equal(empty.len, 0);
    assert_non_null(empty.data);
    assert_int_equal(cursor_left(&cursor), 4);
    assert_int_equal(cursor_take_until(&cursor, '\n').len, 0);
    assert_int_equal(cursor_finish(&cursor), -EBADMSG);
}

static void cursor_of_nothing_is_finished(void **state)
{
    struct cursor cursor = cursor_of((struct bytes){0});

    assert_int_equal(cursor_left(&cursor), 0);
    assert_int_equal(cursor_finish(&cursor), 0);
    assert_int_equal(cursor_take_until(&cursor, 0).len, 0);
    assert_int_equal(cursor_finish(&cursor), -EBADMSG);
}

static void buffer_keeps_what_is_put_in_while_it_grows(void **state)
{
    _cleanup_buffer_ struct buffer buffer = {0};
    struct cursor cursor;

    for (uint32_t i = 0; i < 5000; i++)
        buffer_put_u32be(&buffer, i);
    buffer_put_u8(&buffer, 0xab);
    buffer_put_u64be(&buffer, 0x0102030405060708);

    assert_int_equal(buffer_finish(&buffer), 0);
    assert_int_equal(buffer.len, 5000 * 4 + 1 + 8);
    cursor = cursor_of(buffer_bytes(&buffer));
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(cursor_u32be(&cursor), i);
    assert_int_equal(cursor_u8(&cursor), 0xab);
    assert_true(cursor_u64be(&cursor) == 0x0102030405060708);
    assert_int_equal(cursor_finish(&cursor), 0);
}

static void buffer_prints_formatted_text_of_any_length(void **state)
{
    _cleanup_buffer_ struct buffer buffer = {0};

    buffer_printf(&buffer, "%s:%d", "line", 7);
    buffer_printf(&buffer, "%*s", 1000, "x");
    assert_int_equal(buffer.len, 6 + 1000);
    assert_memory_equal(buffer_text(&buffer), "line:7  ", 8);
    assert_int_equal(strlen(buffer_text(&buffer)), 1006);
}

static void buffer_text_ends_with_a_nul_that_is_not_counted(void **state)
{
    _cleanup_buffer_ struct buffer buffer = {0};

    assert_string_equal(buffer_text(&buffer), "");
    buffer_put_text(&buffer, "abc");
    assert_string_equal(buffer_text(&buffer), "abc");
    assert_int_equal(buffer.len, 3);
    buffer_put_text(&buffer, "def");
    assert_string_equal(buffer_text(&buffer), "abcdef");
}

static void buffer_that_ran_out_of_memory_stays_failed(void **state)
{
    _cleanup_buffer_ struct buffer buffer = {0};

    buffer_put_text(&buffer, "kept");
    assert_null(buffer_extend(&buffer, SIZE_MAX - 2));
    buffer_put_text(&buffer, "not written");
    assert_int_equal(buffer_finish(&buffer), -ENOMEM);
    assert_null(buffer_text(&buffer));
    assert_int_equal(buffer.len, 4);

    buffer_clear(&buffer);
    buffer_put_text(&buffer, "again");
    assert_int_equal(buffer_finish(&buffer), 0);
    assert_string_equal(buffer_text(&buffer), "again");
}

static void buffer_put_of_nothing_needs_no_data(void **state)
{
    _cleanup_buffer_ struct buffer buffer = {0};

    buffer_put(&buffer, NULL, 0);
    buffer_put_bytes(&buffer, (struct bytes){0});
    assert_int_equal(buffer.len, 0);
    assert_int_equal(buffer_finish(&buffer), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursor_reads_big_endian_numbers_in_order),
        cmocka_unit_test(cursor_past_the_end_fails_and_stays_failed),
        cmocka_unit_test(cursor_finish_refuses_left_over_bytes),
        cmocka_unit_test(cursor_take_borrows_and_refuses_huge_lengths),
        cmocka_unit_test(cursor_take_until_consumes_the_separator),
        cmocka_unit_test(cursor_of_nothing_is_finished),
        cmocka_unit_test(buffer_keeps_what_is_put_in_while_it_grows),
        cmocka_unit_test(buffer_prints_formatted_text_of_any_length),
        cmocka_unit_test(buffer_text_ends_with_a_nul_that_is_not_counted),
        cmocka_unit_test(buffer_that_ran_out_of_memory_stays_failed),
        cmocka_unit_test(buffer_put_of_nothing_needs_no_data),
    };

    return cmocka_run_group_tests_name("base bytes", tests, NULL, NULL);
}
