/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/core/pace.h, in simulated time. */
#include "tests/unit/unit.h"

#include "server/core/pace.h"

#define SECOND_MS UINT64_C(1000)

static void below_the_target_nobody_waits(void **state)
{
    struct pace pace = {0};

    for (uint64_t i = 0; i < 600000; i++) /* 1,000 a second for ten minutes */
        assert_int_equal(pace_request(&pace, 1000, true, 5000 + i), 0);
}

static void a_bunch_of_a_seconds_worth_waits_for_nothing(void **state)
{
    struct pace pace = {0};

    for (size_t i = 0; i < 100; i++)
        assert_int_equal(pace_request(&pace, 100, true, 5000), 0);
    assert_int_equal(pace_request(&pace, 100, true, 5000), 2);
    assert_int_equal(pace_request(&pace, 100, true, 5000 + 2 * SECOND_MS), 0);
}

static void those_that_come_at_once_are_told_times_that_the_centre_is_good_for(void **state)
{
    struct pace pace = {0};
    uint32_t told[201] = {0};

    for (size_t i = 0; i < 10000; i++) {
        uint32_t wait_s = pace_request(&pace, 100, true, 5000);

        assert_in_range(wait_s, 0, 100);
        told[wait_s]++;
    }
    for (size_t second = 2; second <= 100; second++)
        assert_int_equal(told[second], 100);
}

static void who_has_nothing_more_to_send_is_never_told_to_come_again(void **state)
{
    struct pace pace = {0};

    for (size_t i = 0; i < 10000; i++)
        assert_int_equal(pace_request(&pace, 10, false, 5000), 0);
}

static void the_queue_ends_soon_after_the_herd_has(void **state)
{
    struct pace pace = {0};
    uint32_t longest = 0;

    for (size_t i = 0; i < 1000000; i++) {
        uint32_t wait_s = pace_request(&pace, 1, true, 5000);

        longest = wait_s > longest ? wait_s : longest;
    }
    assert_int_equal(longest, PACE_WAIT_S_MAX);
    assert_int_equal(pace_request(&pace, 1, true, 5000 + (PACE_WAIT_S_MAX + 1) * SECOND_MS), 0);
}

static void those_that_are_turned_away_come_spread_out_and_cannot_hold_others_up_for_long(void **state)
{
    struct pace pace = {0};
    uint32_t last = 0;

    for (size_t i = 0; i < 100000; i++) {
        uint32_t wait_s = pace_turned_away(&pace, 100, 5000);

        assert_true(wait_s == last || wait_s == last + 1 || (last == 0 && wait_s == 2));
        last = wait_s;
    }
    assert_int_equal(last, PACE_TURNED_AWAY_S_MAX);
    assert_in_range(pace_request(&pace, 100, true, 5000), PACE_TURNED_AWAY_S_MAX, PACE_TURNED_AWAY_S_MAX + 1);
}

static void a_clock_that_goes_back_is_a_clock_that_stands(void **state)
{
    struct pace pace = {0};

    assert_int_equal(pace_request(&pace, 1, true, 100 * SECOND_MS), 0);
    assert_in_range(pace_request(&pace, 1, true, 0), 1, PACE_WAIT_S_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(below_the_target_nobody_waits),
        cmocka_unit_test(a_bunch_of_a_seconds_worth_waits_for_nothing),
        cmocka_unit_test(those_that_come_at_once_are_told_times_that_the_centre_is_good_for),
        cmocka_unit_test(who_has_nothing_more_to_send_is_never_told_to_come_again),
        cmocka_unit_test(the_queue_ends_soon_after_the_herd_has),
        cmocka_unit_test(those_that_are_turned_away_come_spread_out_and_cannot_hold_others_up_for_long),
        cmocka_unit_test(a_clock_that_goes_back_is_a_clock_that_stands),
    };

    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
