/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/core/tls_floor.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BUILD INT64_C(1790000000000)
#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)

static struct tls_floor_input input_at(int64_t wall_ms)
{
    return (struct tls_floor_input){.build_ms = BUILD, .wall_ms = wall_ms, .boot_ms = 1000};
}

static void a_clock_after_the_build_is_believed(void **state)
{
    (void)state;
    struct tls_floor_input input = input_at(BUILD + 100 * DAY);
    struct tls_time time = tls_time_for(&input);
    assert_int_equal(time.verify_at_ms, BUILD + 100 * DAY);
    assert_false(time.ignore_not_before);
}

static void the_servers_clock_goes_on_with_the_boot_clock_and_knows_nothing_of_ours(void **state)
{
    struct tls_floor_input input = input_at(INT64_C(4080000000000));

    assert_int_equal(tls_time_for(&input).server_ms, 0);
    input.server_time_ms = BUILD - DAY;
    input.server_boot_ms = 1000;
    input.boot_ms = 1000 + HOUR;
    assert_int_equal(tls_time_for(&input).server_ms, BUILD - DAY + HOUR);
    input.boot_id[0] = 1; /* another boot: how long it was off nobody knows */
    assert_int_equal(tls_time_for(&input).server_ms, BUILD - DAY);
}

static void a_clock_in_1970_verifies_at_the_build_time(void **state)
{
    (void)state;
    struct tls_floor_input input = input_at(0);
    struct tls_time time = tls_time_for(&input);
    assert_int_equal(time.verify_at_ms, BUILD);
    assert_true(time.ignore_not_before);
}

static void a_clock_in_2099_verifies_at_the_floor(void **state)
{
    (void)state;
    struct tls_floor_input input = input_at(INT64_C(4080000000000));
    struct tls_time time = tls_time_for(&input);
    assert_int_equal(time.verify_at_ms, BUILD);
    assert_true(time.ignore_not_before);
}

static void the_400_day_line_is_believed_and_one_ms_more_is_not(void **state)
{
    (void)state;
    struct tls_floor_input input = input_at(BUILD + TLS_FLOOR_TRUST_MS);
    assert_false(tls_time_for(&input).ignore_not_before);
    input.wall_ms++;
    assert_true(tls_time_for(&input).ignore_not_before);
}

static void a_server_time_raises_the_floor_and_grows_with_the_boot_clock(void **state)
{
    (void)state;
    struct tls_floor_input input = input_at(0);
    input.server_time_ms = BUILD + 10 * DAY;
    input.server_boot_ms = 5000;
    input.boot_ms = 5000 + (uint64_t)HOUR;
    assert_int_equal(tls_time_for(&input).floor_ms, BUILD + 10 * DAY + HOUR);
}

static void after_a_reboot_the_boot_clock_does_not_count(void **state)
{
    (void)state;
    struct tls_floor_input input = input_at(0);
    input.server_time_ms = BUILD + 10 * DAY;
    input.server_boot_ms = 5000;
    input.boot_ms = 5000 + (uint64_t)HOUR;
    input.boot_id[0] = 1;
    assert_int_equal(tls_time_for(&input).floor_ms, BUILD + 10 * DAY);
}

static void an_old_server_time_never_lowers_the_floor(void **state)
{
    (void)state;
    struct tls_floor_input input = input_at(BUILD + DAY);
    input.server_time_ms = BUILD - 10 * DAY;
    assert_int_equal(tls_time_for(&input).floor_ms, BUILD);
}

static void a_server_time_beyond_its_certificate_is_not_taken(void **state)
{
    (void)state;
    assert_true(tls_floor_takes(BUILD, BUILD));
    assert_false(tls_floor_takes(BUILD + 1, BUILD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_after_the_build_is_believed),
        cmocka_unit_test(the_servers_clock_goes_on_with_the_boot_clock_and_knows_nothing_of_ours),
        cmocka_unit_test(a_clock_in_1970_verifies_at_the_build_time),
        cmocka_unit_test(a_clock_in_2099_verifies_at_the_floor),
        cmocka_unit_test(the_400_day_line_is_believed_and_one_ms_more_is_not),
        cmocka_unit_test(a_server_time_raises_the_floor_and_grows_with_the_boot_clock),
        cmocka_unit_test(after_a_reboot_the_boot_clock_does_not_count),
        cmocka_unit_test(an_old_server_time_never_lowers_the_floor),
        cmocka_unit_test(a_server_time_beyond_its_certificate_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
