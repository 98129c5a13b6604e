/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/finding_json.h: a finding as `--json` prints it. */
#include "tests/unit/unit.h"

#include "proto/finding_json.h"

#define RECORDED_MS INT64_C(1784946833123) /* 2026-07-25T02:33:53.123Z */

static void assert_json(const struct finding *finding, const char *wanted)
{
    struct buffer json = {0};
    finding_put_json(finding, RECORDED_MS, 480, &json);
    assert_string_equal(buffer_text(&json), wanted);
    buffer_done(&json);
}

static void finding_with_a_fix_prints_exact_numbers(void **state)
{
    const struct finding finding = {
        .category = {bytes_of_text("GB/T 47678.5"), bytes_of_text("2026"), bytes_of_text("06010"),
            bytes_of_text("0101")},
        .severity = SEVERITY_URGENT,
        .note = bytes_of_text("kerb \"broken\""),
        .has_position = true,
        .position = {-5000000, 1163974580, 123, RECORDED_MS},
        .observed_ms = RECORDED_MS - 60000,
    };

    assert_json(&finding,
        "\"category\":{\"scheme\":\"GB/T 47678.5\",\"version\":\"2026\",\"kind\":\"matter\",\"code\":\"06010\"},\"component\":\"0101\","
        "\"severity\":\"urgent\",\"note\":\"kerb \\\"broken\\\"\","
        "\"lat\":-0.5,\"lon\":116.397458,\"accuracy_m\":12.3,\"fix_time\":\"2026-07-25T02:33:53.123Z\","
        "\"no_fix\":null,\"observed_at\":\"2026-07-25T10:32:53.123+08:00\","
        "\"recorded_at\":\"2026-07-25T10:33:53.123+08:00\",");
}

static void finding_without_a_fix_says_why(void **state)
{
    const struct finding finding = {
        .category = {bytes_of_text("s"), bytes_of_text("1"), bytes_of_text("c"), bytes_of_text("")},
        .severity = SEVERITY_NORMAL,
        .no_fix = bytes_of_text("indoors"),
    };

    assert_json(&finding,
        "\"category\":{\"scheme\":\"s\",\"version\":\"1\",\"kind\":\"matter\",\"code\":\"c\"},\"component\":null,"
        "\"severity\":\"normal\",\"note\":\"\",\"lat\":null,\"lon\":null,\"accuracy_m\":null,\"fix_time\":null,"
        "\"no_fix\":\"indoors\",\"observed_at\":\"2026-07-25T10:33:53.123+08:00\","
        "\"recorded_at\":\"2026-07-25T10:33:53.123+08:00\",");
}

static void record_without_a_finding_has_a_time_only(void **state)
{
    assert_json(NULL,
        "\"category\":null,\"component\":null,\"severity\":null,\"note\":null,\"lat\":null,\"lon\":null,"
        "\"accuracy_m\":null,\"fix_time\":null,\"no_fix\":null,\"observed_at\":null,"
        "\"recorded_at\":\"2026-07-25T10:33:53.123+08:00\",");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finding_with_a_fix_prints_exact_numbers),
        cmocka_unit_test(finding_without_a_fix_says_why),
        cmocka_unit_test(record_without_a_finding_has_a_time_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
