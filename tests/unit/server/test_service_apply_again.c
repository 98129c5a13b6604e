/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of records that are applied once more, or that are held in more than one place: server/service_apply.c
 * when records are mended, and when the derived tables are made again. */
#include "server/storage/storage.h"
#include "tests/unit/server/audit_client.h"

static void damage_record(struct centre *centre, uint64_t log, uint64_t seq)
{
    char sql[128];

    snprintf(sql, sizeof(sql),
        "UPDATE records SET bytes = CAST('damaged' AS BLOB) WHERE key = (%llu << 40) + %llu",
        (unsigned long long)log, (unsigned long long)seq);
    centre_sql(centre, sql);
}

static void mend_record(struct centre *centre, struct handheld *handheld, uint64_t seq)
{
    const struct run run = {.first = seq, .count = 1};
    _cleanup_answered_ struct answered answered = {0};

    repair(centre, handheld, &run, 1, &answered);
    assert_int64_equal(answered.repair.records_mended, 1);
}

static void a_version_that_is_mended_stays_one_when_there_are_as_many_as_can_be(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_finding(handheld, "one");
    struct parent parent = parent_of(handheld, 1);
    for (size_t i = 0; i < STORAGE_VERSIONS_MAX; i++)
        append_amendment(handheld, &parent, "and another word");
    deliver(centre, handheld);
    damage_record(centre, 1, 7);
    mend_record(centre, handheld, 7);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, STORAGE_VERSIONS_MAX + 1);
    assert_int_equal(count_state(listing, "quarantined"), 0);
    assert_int_equal(count_state(listing, "amended"), STORAGE_VERSIONS_MAX);
    free(listing);
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_version_that_is_mended_stays_one_when_there_are_as_many_as_can_be, start, stop),
    };

    return cmocka_run_group_tests_name("server service apply again", tests, NULL, NULL);
}
