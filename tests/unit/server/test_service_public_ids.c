/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the index of public ids, which is built behind: server/service.c and
 * server/storage/sqlite_findings.c. */
#include "tests/unit/server/client.h"

#include "server/storage/storage.h"

static int start(void **state)
{
    *state = centre_new();
    return 0;
}

static int stop(void **state)
{
    centre_free(*state);
    return 0;
}

static int keep_id(void *user, const struct service_finding *finding)
{
    struct uuid *found = user;

    *found = finding->id;
    return 0;
}

static int keep_log(void *user, const struct service_finding *finding)
{
    struct uuid *found = user;

    *found = finding->log;
    return 0;
}

static void assert_found(struct centre *centre, const struct handheld *handheld, uint64_t seq)
{
    struct uuid id = record_id(handheld, seq), found = {{0}};

    assert_int_equal(service_finding_by_id(centre->service, &id, keep_id, &found), 0);
    assert_memory_equal(found.b, id.b, UUID_BYTES);
}

static void a_finding_is_found_by_its_public_id_before_and_after_it_was_indexed(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct uuid unknown = random_uuid(), found;

    append_opened(handheld);
    append_findings(handheld, 4 * STORAGE_IDS_BATCH + 200);
    deliver(centre, handheld);
    assert_found(centre, handheld, 7);
    while (service_housekeeping(centre->service) == 1)
        ;
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM id_segments"), 4 * STORAGE_IDS_BATCH - 1);
    assert_found(centre, handheld, 7);
    assert_found(centre, handheld, 4 * STORAGE_IDS_BATCH + 190);
    assert_int_equal(service_finding_by_id(centre->service, &unknown, keep_id, &found), -ENOENT);

    /* Mended rows that had been indexed, and were lost with the index's row, are found again. */
    centre_sql(centre, "DELETE FROM id_segments WHERE key & 0xffffffffff = 7");
    struct service_check_report report;
    assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    assert_found(centre, handheld, 7);
    handheld_free(handheld);
}

/* One look for a batch, after which so many are indexed. */
static void assert_indexed_by(struct centre *centre, int64_t count)
{
    assert_int_equal(service_index_ids(centre->service), 0);
    assert_int64_equal(centre_sql(centre, "SELECT count(*) FROM id_segments"), count);
}

/* A minute of many exchanges would be many batches in a row, and each holds up what is to be committed. */
static void public_ids_are_indexed_as_they_come_a_batch_at_a_time(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(handheld); /* it has an arrival and no public id */
    append_findings(handheld, 2 * STORAGE_IDS_BATCH);
    deliver(centre, handheld);
    assert_indexed_by(centre, STORAGE_IDS_BATCH - 1);
    assert_indexed_by(centre, 2 * STORAGE_IDS_BATCH - 1);
    assert_indexed_by(centre, 2 * STORAGE_IDS_BATCH - 1);
    append_findings(handheld, STORAGE_IDS_BATCH);
    exchange(centre, handheld, 1 + 2 * STORAGE_IDS_BATCH, STORAGE_IDS_BATCH, &answered);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    assert_indexed_by(centre, 3 * STORAGE_IDS_BATCH - 1);
    handheld_free(handheld);
}

/* As when a handheld's data were copied to another one, which was then enrolled by itself. */
static void a_copy_of_another_devices_record_does_not_take_its_public_id(void **state)
{
    struct centre *centre = *state;
    struct handheld *owner = handheld_enrolled(centre), *copyist = handheld_enrolled(centre);
    struct service_check_report report;

    append_opened(owner);
    append_finding(owner, "the owner's");
    deliver(centre, owner);
    append_opened(copyist);
    append_rehomed(copyist, &owner->log, 1, owner->records[1]);
    deliver(centre, copyist);
    for (int rebuilt = 0; rebuilt < 2; rebuilt++) {
        struct uuid id = record_id(owner, 1), copy_id = record_id(copyist, 1), found = {{0}};
        struct listing *listing = list_findings(centre);
        const struct listed *copy = must_list(listing, &copyist->log, 1);

        assert_int_equal(listing->count, 2);
        assert_string_equal(copy->state, "quarantined");
        assert_memory_equal(copy->id.b, copy_id.b, UUID_BYTES);
        assert_int_equal(service_finding_by_id(centre->service, &id, keep_log, &found), 0);
        assert_memory_equal(found.b, owner->log.b, UUID_BYTES);
        assert_int_equal(service_finding_by_id(centre->service, &copy_id, keep_log, &found), 0);
        assert_memory_equal(found.b, copyist->log.b, UUID_BYTES);
        free(listing);
        assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    }
    handheld_free(owner);
    handheld_free(copyist);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_finding_is_found_by_its_public_id_before_and_after_it_was_indexed, start, stop),
        cmocka_unit_test_setup_teardown(public_ids_are_indexed_as_they_come_a_batch_at_a_time, start, stop),
        cmocka_unit_test_setup_teardown(
            a_copy_of_another_devices_record_does_not_take_its_public_id, start, stop),
    };

    return cmocka_run_group_tests_name("server service public ids", tests, NULL, NULL);
}
