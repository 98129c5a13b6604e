/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of records that are applied once more, or that are held in more than one place:
 * server/service_apply.c when records are mended, and when the derived tables are made again. */
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

static void assert_listed_once(struct centre *centre, const struct uuid *id, const struct uuid *log)
{
    struct listing *listing = list_findings(centre);

    assert_int_equal(listing->count, 1);
    assert_memory_equal(listing->rows[0].id.b, id->b, UUID_BYTES);
    assert_memory_equal(listing->rows[0].log.b, log->b, UUID_BYTES);
    assert_string_equal(listing->rows[0].state, "stored");
    free(listing);
}

static void of_a_record_that_is_damaged_in_its_own_log_a_rebuild_lists_the_copy(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);
    struct service_check_report report = {0};

    append_opened(old);
    append_finding(old, "in two places");
    struct uuid id = record_id(old, 1);
    deliver(centre, old);
    append_opened(next);
    append_rehomed(next, &old->log, 1, old->records[1]);
    deliver(centre, next);
    assert_listed_once(centre, &id, &old->log);
    damage_record(centre, 1, 1);
    assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), -EUCLEAN);
    assert_listed_once(centre, &id, &next->log);
    mend_record(centre, old, 1);
    assert_listed_once(centre, &id, &next->log);
    /* The one that is listed is mended as well, and then both are there. */
    damage_record(centre, 2, 1);
    mend_record(centre, next, 1);
    assert_listed_once(centre, &id, &next->log);
    assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    assert_listed_once(centre, &id, &old->log);
    handheld_free(old);
    handheld_free(next);
}

static void a_copy_that_comes_while_the_first_is_damaged_is_not_listed_too(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);

    append_opened(old);
    append_finding(old, "in two places");
    struct uuid id = record_id(old, 1);
    deliver(centre, old);
    damage_record(centre, 1, 1);
    append_opened(next);
    append_rehomed(next, &old->log, 1, old->records[1]);
    deliver(centre, next);
    assert_listed_once(centre, &id, &old->log);
    handheld_free(old);
    handheld_free(next);
}

static void a_listed_copy_that_is_mended_keeps_why_it_is_in_quarantine(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);
    struct parent parent = {.log = random_uuid(), .seq = 1, .id = random_uuid()};

    append_opened(old);
    append_amendment(old, &parent, "of what never came");
    append_opened(next);
    append_rehomed(next, &old->log, 1, old->records[1]);
    deliver(centre, next); /* log 1 */
    deliver(centre, old);
    damage_record(centre, 1, 1);
    mend_record(centre, next, 1);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 1);
    assert_string_equal(listing->rows[0].state, "quarantined");
    assert_string_equal(listing->rows[0].reason, "the record it names is not known yet");
    free(listing);
    handheld_free(old);
    handheld_free(next);
}

static void what_can_never_be_applied_waits_no_longer(void **state)
{
    struct centre *centre = *state;
    struct handheld *first = handheld_enrolled(centre), *second = next_log(first);

    append_opened(first);
    append_finding(first, "one");
    struct parent finding = parent_of(first, 1);
    append_withdrawal(first, &finding);
    append_opened(second);
    struct parent withdrawal = parent_of(first, 2);
    append_amendment(second, &withdrawal, "amends what is no finding");
    deliver(centre, second);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM awaited"), 1);
    deliver(centre, first);
    struct listing *listing = list_findings(centre);
    assert_string_equal(listed_at(listing, &second->log, 1)->reason, "the record it names is no finding");
    free(listing);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM awaited"), 0);
    handheld_free(first);
    handheld_free(second);
}

/* Records, and the list, by the records' places: as centres had them before. */
static void give_tables_of_before(struct centre *centre)
{
    centre_sql(centre, "ALTER TABLE records RENAME TO kept");
    centre_sql(centre, "CREATE TABLE records("
                       " key INTEGER PRIMARY KEY, arrival INTEGER NOT NULL, received_ms INTEGER NOT NULL,"
                       " state INTEGER NOT NULL, leaf BLOB, bytes BLOB) STRICT");
    centre_sql(centre, "INSERT INTO records SELECT key, arrival, received_ms, state, leaf, bytes FROM kept");
    centre_sql(centre, "DROP TABLE kept");
    centre_sql(centre, "ALTER TABLE findings RENAME TO listed");
    centre_sql(centre,
        "CREATE TABLE findings("
        " key INTEGER PRIMARY KEY, arrival INTEGER NOT NULL, root INTEGER NOT NULL, state INTEGER NOT NULL,"
        " kind INTEGER NOT NULL, first_id BLOB, parent_id BLOB, recorded_ms INTEGER NOT NULL,"
        " utc_offset_min INTEGER NOT NULL, inspector TEXT, scheme TEXT, version TEXT, code TEXT,"
        " component TEXT, severity INTEGER NOT NULL, note TEXT, lat_e7 INTEGER, lon_e7 INTEGER,"
        " accuracy_dm INTEGER, fix_ms INTEGER, no_fix TEXT, observed_ms INTEGER NOT NULL, photos BLOB)"
        " STRICT");
    centre_sql(centre,
        "INSERT INTO findings SELECT key, arrival, root, state, kind, first_id, parent_id, recorded_ms,"
        " utc_offset_min, inspector, scheme, version, code, component, severity, note, lat_e7, lon_e7,"
        " accuracy_dm, fix_ms, no_fix, observed_ms, photos FROM listed");
    centre_sql(centre, "DROP TABLE listed");
    centre_sql(centre, "CREATE INDEX findings_arrival ON findings(arrival)");
}

static void assert_two_stored_of_four(struct centre *centre)
{
    struct listing *listing = list_findings(centre);

    assert_int_equal(listing->count, 4);
    assert_int_equal(count_state(listing, "stored"), 2);
    for (size_t i = 1; i < listing->count; i++)
        assert_true(listing->rows[i - 1].arrival < listing->rows[i].arrival);
    free(listing);
}

static void tables_of_before_go_on_and_a_rebuild_gives_the_list_the_shape_of_now(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct service_check_report report = {0};

    append_opened(handheld);
    append_findings(handheld, 2);
    deliver(centre, handheld);
    centre_stop(centre);
    give_tables_of_before(centre);
    centre_restart(centre);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        struct parent parent = parent_of(handheld, seq);
        append_amendment(handheld, &parent, "amended");
    }
    deliver(centre, handheld);
    assert_two_stored_of_four(centre);
    assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    assert_int_equal(
        centre_sql(centre, "SELECT count(*) FROM sqlite_schema WHERE name = 'findings_arrival'"), 0);
    assert_two_stored_of_four(centre);
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_version_that_is_mended_stays_one_when_there_are_as_many_as_can_be, start, stop),
        cmocka_unit_test_setup_teardown(
            of_a_record_that_is_damaged_in_its_own_log_a_rebuild_lists_the_copy, start, stop),
        cmocka_unit_test_setup_teardown(
            a_copy_that_comes_while_the_first_is_damaged_is_not_listed_too, start, stop),
        cmocka_unit_test_setup_teardown(
            a_listed_copy_that_is_mended_keeps_why_it_is_in_quarantine, start, stop),
        cmocka_unit_test_setup_teardown(what_can_never_be_applied_waits_no_longer, start, stop),
        cmocka_unit_test_setup_teardown(
            tables_of_before_go_on_and_a_rebuild_gives_the_list_the_shape_of_now, start, stop),
    };

    return cmocka_run_group_tests_name("server service apply again", tests, NULL, NULL);
}
