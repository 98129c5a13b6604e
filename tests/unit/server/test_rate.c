/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/core/rate.h, in simulated time. */
#include "tests/unit/unit.h"

#include "server/core/rate.h"

#define MINUTE_MS UINT64_C(60000)

static const uint8_t seed[RATE_SEED_BYTES] = {1, 2, 3};

static struct rate_key key_of(uint32_t number)
{
    return (struct rate_key){
        .b = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}};
}

static struct rate_table *table_of(uint64_t requests, uint64_t bytes)
{
    const uint64_t per_minute[RATE_KINDS] = {[RATE_REQUESTS] = requests, [RATE_BYTES] = bytes};
    struct rate_table *table = NULL;

    assert_int_equal(rate_table_new(per_minute, seed, &table), 0);
    return table;
}

static void charge(
    struct rate_table *table, uint32_t number, uint64_t requests, uint64_t bytes, uint64_t now_ms)
{
    const uint64_t amount[RATE_KINDS] = {[RATE_REQUESTS] = requests, [RATE_BYTES] = bytes};
    struct rate_key key = key_of(number), from = key_of(7);

    rate_table_charge(table, &key, &from, amount, now_ms);
}

static uint32_t wait_s(const struct rate_table *table, uint32_t number, uint64_t now_ms)
{
    struct rate_key key = key_of(number);

    return rate_table_wait_s(table, &key, now_ms);
}

static void a_minutes_worth_may_come_at_once_and_no_more(void **state)
{
    struct rate_table *table = table_of(10, 0);
    size_t taken = 0;

    assert_int_equal(wait_s(table, 1, 5), 0);
    while (wait_s(table, 1, 5) == 0 && taken < 100) {
        charge(table, 1, 1, 0, 5);
        taken++;
    }
    assert_int_equal(taken, 11); /* what brings it over is taken */
    assert_int_equal(wait_s(table, 1, 5), 6);
    assert_int_equal(wait_s(table, 1, 5 + 5999), 1);
    assert_int_equal(wait_s(table, 1, 5 + 6000), 0);
    rate_table_free(table);
}

static void over_an_hour_the_rate_is_kept_however_it_is_asked(void **state)
{
    struct rate_table *table = table_of(100, 0);
    size_t taken = 0;

    for (uint64_t now_ms = 0; now_ms < 60 * MINUTE_MS; now_ms += 7) {
        if (wait_s(table, 1, now_ms) > 0)
            continue;
        charge(table, 1, 1, 0, now_ms);
        taken++;
    }
    /* 60 minutes, and the first minute's worth at once. */
    assert_in_range(taken, 6000, 6101);
    rate_table_free(table);
}

static void whoever_waits_as_told_gets_through(void **state)
{
    struct rate_table *table = table_of(10, 1000);
    uint64_t now_ms = 12345;

    for (size_t i = 0; i < 500; i++) {
        uint32_t told_s = wait_s(table, 1, now_ms);

        now_ms += told_s * UINT64_C(1000);
        assert_int_equal(wait_s(table, 1, now_ms), 0);
        charge(table, 1, 1, 150, now_ms);
    }
    /* 150 bytes each at 1,000 a minute: it is the bytes that hold it up. */
    assert_true(now_ms >= 74 * MINUTE_MS - MINUTE_MS);
    rate_table_free(table);
}

static void nobody_is_kept_out_for_longer_than_a_minute(void **state)
{
    struct rate_table *table = table_of(10, 1000);

    charge(table, 1, UINT64_MAX, UINT64_MAX, 100);
    charge(table, 1, UINT64_MAX, 1, 100);
    assert_int_equal(wait_s(table, 1, 100), 60);
    assert_int_equal(wait_s(table, 1, 100 + MINUTE_MS), 0);
    assert_int_equal(wait_s(table, 1, UINT64_MAX), 0);
    rate_table_free(table);
}

static void to_look_charges_nobody(void **state)
{
    struct rate_table *table = table_of(1, 0);

    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(wait_s(table, 1, 1), 0);
    rate_table_free(table);
}

static void one_that_is_over_its_rate_keeps_out_no_other(void **state)
{
    struct rate_table *table = table_of(1, 0);

    charge(table, 1, 5, 0, 1);
    assert_true(wait_s(table, 1, 1) > 0);
    assert_int_equal(wait_s(table, 2, 1), 0);
    rate_table_free(table);
}

static void no_limit_of_a_kind_is_none(void **state)
{
    struct rate_table *table = table_of(0, 0);

    charge(table, 1, UINT64_MAX, UINT64_MAX, 1);
    assert_int_equal(wait_s(table, 1, 1), 0);
    rate_table_free(table);
}

static void the_largest_rate_does_not_wrap(void **state)
{
    struct rate_bucket bucket = {0};

    rate_bucket_charge(&bucket, RATE_PER_MINUTE_MAX, 2 * RATE_PER_MINUTE_MAX, 1);
    rate_bucket_charge(&bucket, RATE_PER_MINUTE_MAX, RATE_PER_MINUTE_MAX, 1);
    assert_int_equal(rate_bucket_wait_ms(&bucket, RATE_PER_MINUTE_MAX, RATE_PER_MINUTE_MAX, 1), MINUTE_MS);
    assert_int_equal(
        rate_bucket_wait_ms(&bucket, RATE_PER_MINUTE_MAX, RATE_PER_MINUTE_MAX, 1 + MINUTE_MS), 0);
}

static void a_clock_that_stands_still_or_goes_back_frees_nobody(void **state)
{
    struct rate_bucket bucket = {0};

    rate_bucket_charge(&bucket, 60, 90, 100000);
    rate_bucket_charge(&bucket, 60, 10, 99000);
    assert_int_equal(rate_bucket_wait_ms(&bucket, 60, 60, 99000), 40000);
    assert_int_equal(rate_bucket_wait_ms(&bucket, 60, 60, 100000), 40000);
}

static void where_it_came_from_is_remembered_of_the_last_charge(void **state)
{
    struct rate_table *table = table_of(1, 0);
    const uint64_t amount[RATE_KINDS] = {1, 1};
    struct rate_key key = key_of(1), here = key_of(100), there = key_of(200);

    assert_false(rate_table_is_from(table, &key, &here));
    rate_table_charge(table, &key, &here, amount, 1);
    assert_true(rate_table_is_from(table, &key, &here));
    rate_table_charge(table, &key, &there, amount, 2);
    assert_false(rate_table_is_from(table, &key, &here));
    assert_true(rate_table_is_from(table, &key, &there));
    rate_table_free(table);
}

/* A flood of names is let through, each of them once; it does not free the one that is over its rate. */
static void a_flood_of_new_keys_does_not_wash_out_who_is_over(void **state)
{
    struct rate_table *table = table_of(10, 0);

    charge(table, 1, 15, 0, 1000);
    for (uint32_t i = 2; i < 500000; i++)
        charge(table, i, 1, 0, 1000);
    assert_int_equal(wait_s(table, 1, 1000), 30);
    rate_table_free(table);
}

static void as_many_as_a_city_has_are_all_remembered(void **state)
{
    struct rate_table *table = table_of(10, 0);
    size_t remembered = 0;

    for (uint32_t i = 0; i < 10000; i++)
        charge(table, i, 15, 0, 1000);
    for (uint32_t i = 0; i < 10000; i++)
        remembered += wait_s(table, i, 1000) > 0;
    assert_true(remembered >= 9950); /* 8 share a place; a few places have more */
    rate_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minutes_worth_may_come_at_once_and_no_more),
        cmocka_unit_test(over_an_hour_the_rate_is_kept_however_it_is_asked),
        cmocka_unit_test(whoever_waits_as_told_gets_through),
        cmocka_unit_test(nobody_is_kept_out_for_longer_than_a_minute),
        cmocka_unit_test(to_look_charges_nobody),
        cmocka_unit_test(one_that_is_over_its_rate_keeps_out_no_other),
        cmocka_unit_test(no_limit_of_a_kind_is_none),
        cmocka_unit_test(the_largest_rate_does_not_wrap),
        cmocka_unit_test(a_clock_that_stands_still_or_goes_back_frees_nobody),
        cmocka_unit_test(where_it_came_from_is_remembered_of_the_last_charge),
        cmocka_unit_test(a_flood_of_new_keys_does_not_wash_out_who_is_over),
        cmocka_unit_test(as_many_as_a_city_has_are_all_remembered),
    };

    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
