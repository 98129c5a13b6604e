/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/rfc3339.h, against known instants and against the C library's calendar. */
#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "base/rfc3339.h"

#include <errno.h>
#include <time.h>

static int64_t parsed(const char *text, int32_t offset_min_expected)
{
    int64_t unix_ms = INT64_MIN;
    int32_t offset_min = INT32_MIN;

    assert_int_equal(rfc3339_parse(text, &unix_ms, &offset_min), 0);
    assert_int_equal(offset_min, offset_min_expected);
    return unix_ms;
}

static void known_instants_are_read(void **state)
{
    assert_int64_equal(parsed("1970-01-01T00:00:00Z", 0), 0);
    assert_int64_equal(parsed("1985-04-12T23:20:50.52Z", 0), 482196050520);
    assert_int64_equal(parsed("1996-12-19T16:39:57-08:00", -480), 851042397000);
    assert_int64_equal(parsed("1937-01-01T12:00:27.87+00:20", 20), -1041337172130);
    assert_int64_equal(parsed("0000-01-01T00:00:00Z", 0), -62167219200000);
    assert_int64_equal(parsed("9999-12-31T23:59:59.999Z", 0), 253402300799999);
    assert_int64_equal(parsed("2024-02-29t00:00:00z", 0), 1709164800000);
    assert_int64_equal(parsed("2026-11-23T16:33:53.123+08:00", 480), 1795422833123);
    assert_int64_equal(parsed("1970-01-01T00:00:00-00:00", 0), 0);
}

static void leap_second_is_taken_as_the_second_before(void **state)
{
    assert_int64_equal(parsed("1990-12-31T23:59:60Z", 0), parsed("1990-12-31T23:59:59Z", 0));
}

static void fractions_are_cut_to_milliseconds(void **state)
{
    assert_int64_equal(parsed("1970-01-01T00:00:00.1Z", 0), 100);
    assert_int64_equal(parsed("1970-01-01T00:00:00.019Z", 0), 19);
    assert_int64_equal(parsed("1970-01-01T00:00:00.999999999Z", 0), 999);
}

static void offset_may_be_left_unasked(void **state)
{
    int64_t unix_ms;

    assert_int_equal(rfc3339_parse("1970-01-01T01:00:00+01:00", &unix_ms, NULL), 0);
    assert_int64_equal(unix_ms, 0);
}

static void texts_that_are_no_date_time_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "2026",
        "2026-11-23",
        "2026-11-23T16:33:53",  /* no offset */
        "2026-11-23 16:33:53Z", /* no T */
        "2026-11-23T16:33Z",    /* no seconds */
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-11-00T00:00:00Z",
        "2026-02-29T00:00:00Z", /* not a leap year */
        "1900-02-29T00:00:00Z", /* nor was this */
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:60:00Z",
        "2026-11-23T23:59:61Z",
        "2026-11-23T23:59:59.Z",
        "2026-11-23T23:59:59.1234567890Z",
        "2026-11-23T23:59:59+8:00",
        "2026-11-23T23:59:59+0800",
        "2026-11-23T23:59:59+24:00",
        "2026-11-23T23:59:59+08:60",
        "2026-11-23T23:59:59Zz",
        "2026-11-23T23:59:59Z ",
        " 2026-11-23T23:59:59Z",
        "+026-11-23T23:59:59Z",
        "12026-11-23T23:59:59Z",
        "2026-11-23T23:59:5\xd9\xa1Z",
    };
    int64_t unix_ms = 42;
    int32_t offset_min = 43;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(rfc3339_parse(texts[i], &unix_ms, &offset_min), -EINVAL);
    assert_int64_equal(unix_ms, 42);
    assert_int_equal(offset_min, 43);
}

static const char *formatted(int64_t unix_ms, int32_t offset_min, char text[RFC3339_LEN + 1])
{
    rfc3339_format(unix_ms, offset_min, text);
    return text;
}

static void instants_are_written_in_their_offset(void **state)
{
    char text[RFC3339_LEN + 1];

    assert_string_equal(formatted(0, 0, text), "1970-01-01T00:00:00Z");
    assert_string_equal(formatted(1795422833123, 480, text), "2026-11-23T16:33:53.123+08:00");
    assert_string_equal(formatted(1795422833000, -210, text), "2026-11-23T05:03:53-03:30");
    assert_string_equal(formatted(-1, 0, text), "1969-12-31T23:59:59.999Z");
    assert_string_equal(formatted(5, 0, text), "1970-01-01T00:00:00.005Z");
    /* An offset that cannot be written keeps the instant right. */
    assert_string_equal(formatted(0, 1440, text), "1970-01-01T00:00:00Z");
}

static void instants_outside_four_digit_years_become_the_nearest_inside(void **state)
{
    char text[RFC3339_LEN + 1];

    assert_string_equal(formatted(INT64_MIN, 0, text), "0000-01-01T00:00:00Z");
    assert_string_equal(formatted(INT64_MAX, 0, text), "9999-12-31T23:59:59.999Z");
    assert_string_equal(formatted(INT64_MAX, 480, text), "9999-12-31T23:59:59.999+08:00");
    assert_string_equal(formatted(INT64_MIN, -480, text), "0000-01-01T00:00:00-08:00");
}

static void days_of_ten_thousand_years_agree_with_the_c_library(void **state)
{
    char ours[RFC3339_LEN + 1], theirs[RFC3339_LEN + 1];
    int64_t unix_ms, back_ms;

    /* Each day from 1860 to 2135, every fifth otherwise, to keep the test short. */
    for (int64_t day = -719528; day<2932897; day += day> - 40000 && day < 60000 ? 1 : 5) {
        /* Another time of day every day, so that all fields are compared. */
        unix_ms = day * 86400000 + (int64_t)((uint64_t)(day + 719528) * 7919 % 86400) * 1000;
        time_t seconds = (time_t)(unix_ms / 1000);
        struct tm date;

        assert_non_null(gmtime_r(&seconds, &date));
        snprintf(theirs, sizeof(theirs), "%04u-%02u-%02uT%02u:%02u:%02uZ",
            (unsigned)(date.tm_year + 1900) % 10000, (unsigned)(date.tm_mon + 1) % 100,
            (unsigned)date.tm_mday % 100, (unsigned)date.tm_hour % 100, (unsigned)date.tm_min % 100,
            (unsigned)date.tm_sec % 100);
        rfc3339_format(unix_ms, 0, ours);
        if (strcmp(ours, theirs) != 0)
            assert_string_equal(ours, theirs);
        if (rfc3339_parse(ours, &back_ms, NULL) < 0 || back_ms != unix_ms)
            fail_msg("%s does not come back", ours);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_instants_are_read),
        cmocka_unit_test(leap_second_is_taken_as_the_second_before),
        cmocka_unit_test(fractions_are_cut_to_milliseconds),
        cmocka_unit_test(offset_may_be_left_unasked),
        cmocka_unit_test(texts_that_are_no_date_time_are_refused),
        cmocka_unit_test(instants_are_written_in_their_offset),
        cmocka_unit_test(instants_outside_four_digit_years_become_the_nearest_inside),
        cmocka_unit_test(days_of_ten_thousand_years_agree_with_the_c_library),
    };

    return cmocka_run_group_tests_name("base rfc3339", tests, NULL, NULL);
}
