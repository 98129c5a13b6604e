/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of resyncs that an admin asks for: server/service_asked_resyncs.c, and the device's line, over
 * SQLite. */
#include "tests/unit/server/audit_client.h"

static int keep_resync(void *user, const struct service_device *device)
{
    snprintf(user, 256, "%s", device->last_resync ? device->last_resync : "");
    return 0;
}

static void a_resync_asked_for_at_the_centre_is_told_until_it_was_done(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 9);
    _cleanup_answered_ struct answered told = {0}, audited = {0}, after = {0};
    struct audit_request request = {.level = AUDIT_RECORDS, .has_command = true};
    struct uuid unknown = random_uuid();
    char line[256];

    assert_int_equal(service_ask_resync(centre->service, &unknown, 1, AUDIT_RECORDS), -ENOENT);
    assert_int_equal(service_ask_resync(centre->service, NULL, 0, AUDIT_RECORDS), 1);
    assert_int_equal(service_ask_resync(centre->service, &handheld->device, 1, AUDIT_RECORDS), 1);
    exchange(centre, handheld, 10, 0, &told);
    assert_int_equal(told.exchange.command_count, 1);
    assert_true(told.exchange.commands[0].has_resync);
    assert_int_equal(told.exchange.commands[0].resync_level, AUDIT_RECORDS);
    memcpy(request.command_id, told.exchange.commands[0].id, COMMAND_ID_BYTES);
    audit_with(centre, handheld, &request, &audited);
    exchange(centre, handheld, 10, 0, &after);
    assert_int_equal(after.exchange.command_count, 0);
    assert_int_equal(service_each_device(centre->service, keep_resync, line), 0);
    assert_non_null(strstr(line, "records: 10 records checked, 0 missing"));
    handheld_free(handheld);
}

static char kept_problem[PROBLEM_BYTES_MAX + 1];

static int keep_with_asked_resyncs(void *user, const struct service_device *device)
{
    struct service_device *kept = user;

    *kept = *device;
    if (device->asked_resyncs[0].problem) {
        snprintf(kept_problem, sizeof(kept_problem), "%s", device->asked_resyncs[0].problem);
        kept->asked_resyncs[0].problem = kept_problem;
    }
    return 0;
}

static struct service_asked_resync only_asked_resync(struct centre *centre)
{
    struct service_device device = {0};

    assert_int_equal(service_each_device(centre->service, keep_with_asked_resyncs, &device), 0);
    assert_int_equal(device.asked_resync_count, 1);
    return device.asked_resyncs[0];
}

static void of_several_devices_all_are_asked_or_none(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 9), *other = handheld_enrolled(centre);
    struct uuid devices[] = {handheld->device, random_uuid(), other->device};

    assert_int_equal(service_ask_resync(centre->service, devices, 3, AUDIT_RECORDS), -ENOENT);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM asked_resyncs"), 0);
    devices[1] = other->device;
    assert_int_equal(service_ask_resync(centre->service, devices, 2, AUDIT_RECORDS), 2);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM asked_resyncs"), 2);
    handheld_free(handheld);
    handheld_free(other);
}

/* The handheld says how the command has ended. */
static void tell_result(struct centre *centre, struct handheld *handheld, const struct command_result *result,
    struct answered *ret)
{
    struct exchange_request request = {.command_results = result, .command_result_count = 1};

    exchange_with(centre, handheld, handheld->count, 0, &request, ret);
}

static void a_resync_is_asked_for_delivered_counted_and_finished(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    _cleanup_answered_ struct answered told = {0}, found = {0}, mended = {0}, after = {0};
    struct audit_request request = {.level = AUDIT_RECORDS, .has_command = true, .reads_run_lists = true};
    struct command_result result = {.outcome = COMMAND_DONE,
        .counts = {.records_checked = 300, .records_missing = 5, .records_sent_again = 5}};
    struct service_asked_resync asked;

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff BETWEEN 40 AND 44");
    assert_int_equal(service_ask_resync(centre->service, &handheld->device, 1, AUDIT_RECORDS), 1);
    asked = only_asked_resync(centre);
    assert_true(asked.asked_ms > 0);
    assert_int64_equal(asked.delivered_ms, 0);
    exchange(centre, handheld, 300, 0, &told);
    assert_int64_equal(only_asked_resync(centre).delivered_ms, 0); /* the answer may be lost */

    memcpy(request.command_id, told.exchange.commands[0].id, COMMAND_ID_BYTES);
    audit_with(centre, handheld, &request, &found);
    repair(centre, handheld, found.audit.missing, found.audit.missing_count, &mended);
    asked = only_asked_resync(centre);
    assert_true(asked.delivered_ms > 0);
    assert_int64_equal(asked.finished_ms, 0);
    assert_int64_equal(asked.counts.records_checked, 295);
    /* The last window is not the end: the handheld says when that is. */
    exchange(centre, handheld, 300, 0, &after);
    assert_int_equal(after.exchange.command_count, 1);

    memcpy(result.id, request.command_id, COMMAND_ID_BYTES);
    for (unsigned i = 0; i < 2; i++) { /* the second time because the answer was lost */
        _cleanup_answered_ struct answered ended = {0};

        tell_result(centre, handheld, &result, &ended);
        assert_int_equal(ended.exchange.command_count, 0);
        asked = only_asked_resync(centre);
        assert_true(asked.finished_ms > 0);
        assert_true(asked.is_complete);
        assert_true(asked.has_counts);
        assert_int64_equal(asked.counts.records_sent_again, 5);
    }
    handheld_free(handheld);
}

static void a_resync_whose_try_failed_stays_asked_for_and_says_why(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 9);
    _cleanup_answered_ struct answered told = {0}, failed = {0}, ended = {0};
    struct command_result result = {
        .outcome = COMMAND_FAILED, .problem = bytes_of_text("no progress\x1b[2J\nfor too long")};
    struct service_asked_resync asked;

    assert_int_equal(service_ask_resync(centre->service, NULL, 0, AUDIT_MEDIA), 1);
    exchange(centre, handheld, 10, 0, &told);
    memcpy(result.id, told.exchange.commands[0].id, COMMAND_ID_BYTES);
    tell_result(centre, handheld, &result, &failed);
    assert_int_equal(failed.exchange.command_count, 1);
    asked = only_asked_resync(centre);
    assert_int64_equal(asked.finished_ms, 0);
    assert_true(asked.delivered_ms > 0);
    assert_string_equal(asked.problem, "no progress [2J for too long"); /* fit for an admin's terminal */

    result = (struct command_result){.outcome = COMMAND_INCOMPLETE, .counts = {.blobs_gone = 1}};
    memcpy(result.id, told.exchange.commands[0].id, COMMAND_ID_BYTES);
    tell_result(centre, handheld, &result, &ended);
    assert_int_equal(ended.exchange.command_count, 0);
    asked = only_asked_resync(centre);
    assert_true(asked.finished_ms > 0);
    assert_false(asked.is_complete);
    assert_null(asked.problem);
    assert_int64_equal(asked.counts.blobs_gone, 1);
    handheld_free(handheld);
}

static void a_result_of_a_command_that_was_never_given_changes_nothing(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 9);
    _cleanup_answered_ struct answered told = {0};
    struct command_result result = {.id = {9, 9}, .outcome = COMMAND_DONE};
    struct service_asked_resync asked;

    assert_int_equal(service_ask_resync(centre->service, NULL, 0, AUDIT_PRESENCE), 1);
    tell_result(centre, handheld, &result, &told);
    assert_int_equal(told.exchange.command_count, 1);
    asked = only_asked_resync(centre);
    assert_int64_equal(asked.finished_ms, 0);
    handheld_free(handheld);
}

static void the_devices_line_tells_what_was_found_and_sent_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    _cleanup_answered_ struct answered found = {0}, mended = {0};
    char line[256];

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff BETWEEN 40 AND 44");
    audit(centre, handheld, AUDIT_RECORDS, &found);
    repair(centre, handheld, found.audit.missing, found.audit.missing_count, &mended);
    assert_well(centre, handheld, AUDIT_PRESENCE); /* the handheld looks once more */
    assert_int_equal(service_each_device(centre->service, keep_resync, line), 0);
    assert_non_null(strstr(line, "records: 295 records checked, 5 missing, 0 damaged, 5 sent again"));
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_resync_asked_for_at_the_centre_is_told_until_it_was_done, start, stop),
        cmocka_unit_test_setup_teardown(a_resync_is_asked_for_delivered_counted_and_finished, start, stop),
        cmocka_unit_test_setup_teardown(of_several_devices_all_are_asked_or_none, start, stop),
        cmocka_unit_test_setup_teardown(a_resync_whose_try_failed_stays_asked_for_and_says_why, start, stop),
        cmocka_unit_test_setup_teardown(
            a_result_of_a_command_that_was_never_given_changes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(the_devices_line_tells_what_was_found_and_sent_again, start, stop),
    };

    return cmocka_run_group_tests_name("server service asked resyncs", tests, NULL, NULL);
}
