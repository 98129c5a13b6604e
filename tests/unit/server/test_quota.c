/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/core/quota.h. */
#include "tests/unit/unit.h"

#include "server/core/quota.h"

#define NOON_MS INT64_C(1795000000000)
#define HOUR_MS INT64_C(3600000)

static void without_a_quota_nothing_is_used_up(void **state)
{
    const struct quota quota = {0};
    struct quota_use use = {0};

    quota_add(&use, UINT64_C(1) << 60, UINT64_C(1) << 60, NOON_MS);
    assert_false(quota_counts_days(&quota));
    assert_false(quota_is_used_up(&quota, &use, NOON_MS));
    assert_false(quota_photos_are_used_up(&quota, UINT64_MAX));
}

static void records_and_bytes_are_used_up_each_by_itself(void **state)
{
    const struct quota records = {.records_a_day = 10}, bytes = {.bytes_a_day = 1000};
    struct quota_use use = {0};

    quota_add(&use, 9, 999, NOON_MS);
    assert_false(quota_is_used_up(&records, &use, NOON_MS));
    assert_false(quota_is_used_up(&bytes, &use, NOON_MS));
    quota_add(&use, 1, 0, NOON_MS);
    assert_true(quota_is_used_up(&records, &use, NOON_MS));
    assert_false(quota_is_used_up(&bytes, &use, NOON_MS));
    quota_add(&use, 0, 1, NOON_MS);
    assert_true(quota_is_used_up(&bytes, &use, NOON_MS));
}

static void a_day_is_24_hours_from_its_first_record(void **state)
{
    const struct quota quota = {.records_a_day = 10};
    struct quota_use use = {0};

    quota_add(&use, 5, 0, NOON_MS);
    quota_add(&use, 5, 0, NOON_MS + 23 * HOUR_MS);
    assert_true(quota_is_used_up(&quota, &use, NOON_MS + 24 * HOUR_MS - 1));
    assert_false(quota_is_used_up(&quota, &use, NOON_MS + 24 * HOUR_MS));
    quota_add(&use, 1, 1, NOON_MS + 30 * HOUR_MS);
    assert_int_equal(use.records, 1);
    assert_int_equal(use.since_ms, NOON_MS + 30 * HOUR_MS);
}

static void a_clock_that_was_set_back_locks_nobody_out(void **state)
{
    const struct quota quota = {.records_a_day = 10};
    struct quota_use use = {0};

    quota_add(&use, 50, 0, NOON_MS + 1000 * HOUR_MS);
    assert_false(quota_is_used_up(&quota, &use, NOON_MS));
}

static void photos_are_used_up_when_their_bytes_are_reached(void **state)
{
    const struct quota quota = {.photo_bytes = 100};

    assert_false(quota_photos_are_used_up(&quota, 99));
    assert_true(quota_photos_are_used_up(&quota, 100));
    assert_false(quota_counts_days(&quota));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_quota_nothing_is_used_up),
        cmocka_unit_test(records_and_bytes_are_used_up_each_by_itself),
        cmocka_unit_test(a_day_is_24_hours_from_its_first_record),
        cmocka_unit_test(a_clock_that_was_set_back_locks_nobody_out),
        cmocka_unit_test(photos_are_used_up_when_their_bytes_are_reached),
    };

    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
