/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/time_flags.h: what is doubtful about the times of a record. */
#include "tests/unit/unit.h"

#include "proto/time_flags.h"

#define NOW_MS INT64_C(1784946833123) /* 2026-07-25 */
#define MINUTE_MS INT64_C(60000)
#define WEEK_MS (7 * 24 * 60 * MINUTE_MS)

static void record_whose_times_agree_is_not_flagged(void **state)
{
    const struct time_facts facts = {.recorded_ms = NOW_MS,
        .fix_ms = NOW_MS - MINUTE_MS,
        .not_before_ms = NOW_MS - WEEK_MS,
        .received_ms = NOW_MS + WEEK_MS};
    const struct time_facts only_its_own = {.recorded_ms = NOW_MS};

    assert_int_equal(time_flags(&facts), 0);
    assert_int_equal(time_flags(&only_its_own), 0);
}

static void clocks_that_differ_by_minutes_still_agree(void **state)
{
    const struct time_facts ahead = {.recorded_ms = NOW_MS,
        .fix_ms = NOW_MS + 5 * MINUTE_MS,
        .not_before_ms = NOW_MS + 5 * MINUTE_MS,
        .received_ms = NOW_MS - 5 * MINUTE_MS};
    struct time_facts more = ahead;

    assert_int_equal(time_flags(&ahead), 0);
    more.fix_ms++;
    more.not_before_ms++;
    more.received_ms--;
    assert_int_equal(time_flags(&more), TIME_FIX_DISAGREES | TIME_CLOCK_BEHIND | TIME_CLOCK_AHEAD);
}

static void fix_older_than_two_minutes_is_flagged(void **state)
{
    struct time_facts facts = {.recorded_ms = NOW_MS, .fix_ms = NOW_MS - 2 * MINUTE_MS};

    assert_int_equal(time_flags(&facts), 0);
    facts.fix_ms--;
    assert_int_equal(time_flags(&facts), TIME_FIX_OLD);
}

static void receiver_that_counts_its_weeks_wrong_disagrees_with_the_clock(void **state)
{
    const struct time_facts behind = {.recorded_ms = NOW_MS, .fix_ms = NOW_MS - 1024 * WEEK_MS};
    const struct time_facts ahead = {.recorded_ms = NOW_MS, .fix_ms = NOW_MS + 1024 * WEEK_MS};

    assert_int_equal(time_flags(&behind), TIME_FIX_DISAGREES);
    assert_int_equal(time_flags(&ahead), TIME_FIX_DISAGREES);
}

static void clock_that_booted_in_1970_is_behind_whatever_else_is_known(void **state)
{
    const struct time_facts facts = {.recorded_ms = 30000};

    assert_int_equal(time_flags(&facts), TIME_CLOCK_BEHIND);
}

static void clock_set_back_a_year_is_behind_a_receipt_that_was_held(void **state)
{
    const struct time_facts facts = {.recorded_ms = NOW_MS - 20 * WEEK_MS, .not_before_ms = NOW_MS - WEEK_MS};

    assert_int_equal(time_flags(&facts), TIME_CLOCK_BEHIND);
}

static void clock_of_2099_is_ahead_once_the_centre_has_the_record(void **state)
{
    struct time_facts facts = {.recorded_ms = INT64_C(4084041600000)};

    assert_int_equal(time_flags(&facts), 0);
    facts.received_ms = NOW_MS;
    assert_int_equal(time_flags(&facts), TIME_CLOCK_AHEAD);
}

static void clocks_at_the_ends_of_time_overflow_nothing(void **state)
{
    const struct time_facts first = {INT64_MIN, INT64_MAX, INT64_MAX, INT64_MIN};
    const struct time_facts last = {INT64_MAX, INT64_MIN, INT64_MIN, INT64_MAX};

    assert_int_equal(time_flags(&first), TIME_FIX_DISAGREES | TIME_CLOCK_BEHIND);
    assert_int_equal(time_flags(&last), TIME_FIX_DISAGREES);
}

static void flags_are_named_in_one_order(void **state)
{
    struct buffer json = {0}, text = {0};

    time_flags_put_json(0, &json);
    time_flags_put_json(TIME_FIX_OLD, &json);
    time_flags_put_json(TIME_FIX_DISAGREES | TIME_CLOCK_AHEAD, &json);
    assert_string_equal(buffer_text(&json),
        "\"flags\":[],\"flags\":[\"fix_old\"],\"flags\":[\"clock_ahead\",\"fix_disagrees\"],");
    time_flags_put_text(TIME_FIX_OLD | TIME_CLOCK_BEHIND, &text);
    assert_string_equal(buffer_text(&text), "clock_behind fix_old");
    buffer_done(&json);
    buffer_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_whose_times_agree_is_not_flagged),
        cmocka_unit_test(clocks_that_differ_by_minutes_still_agree),
        cmocka_unit_test(fix_older_than_two_minutes_is_flagged),
        cmocka_unit_test(receiver_that_counts_its_weeks_wrong_disagrees_with_the_clock),
        cmocka_unit_test(clock_that_booted_in_1970_is_behind_whatever_else_is_known),
        cmocka_unit_test(clock_set_back_a_year_is_behind_a_receipt_that_was_held),
        cmocka_unit_test(clock_of_2099_is_ahead_once_the_centre_has_the_record),
        cmocka_unit_test(clocks_at_the_ends_of_time_overflow_nothing),
        cmocka_unit_test(flags_are_named_in_one_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
