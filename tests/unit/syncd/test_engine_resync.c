/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/core/engine.h: audit and repair. */
#include "tests/unit/syncd/engine_story.h"

static const struct engine_action *audit(const struct story *story)
{
    assert_true(story->slots[3].busy);
    assert_int_equal(story->slots[3].action.kind, ENGINE_SEND_AUDIT);
    return &story->slots[3].action;
}

static void answer_audit(struct story *story, struct engine_event event)
{
    audit(story);
    story->slots[3].busy = false;
    story_feed(story, event);
}

/* A handheld with all acknowledged, on which a person starts a resync. */
static void begin_resync(struct story *story, enum audit_level level)
{
    story_begin(story);
    story_log(story, 0, 1000, 1000);
    story_tell(story);
    story_resync(story, level, RESYNC_BY_USER, 0);
    assert_int_equal(story->resync_started, 1);
    assert_int_equal(audit(story)->audit.level, level);
}

static void a_healthy_log_needs_one_round_trip(void **state)
{
    struct story story;

    begin_resync(&story, AUDIT_PRESENCE);
    assert_true(story_report(&story).resync_running);
    answer_audit(&story, story_audited(1000));
    assert_int_equal(story.resync_done, 1);
    assert_true(story.resync_end.resync_done.ok);
    assert_null(story.resync_end.resync_done.problem);
    assert_int_equal(story.requests, 1);
    assert_false(story_report(&story).resync_running);
    story_end(&story);
}

static void a_handheld_without_receipts_has_nothing_to_compare(void **state)
{
    struct story story;

    story_begin(&story);
    story_resync(&story, AUDIT_MEDIA, RESYNC_BY_USER, 0);
    assert_int_equal(story.resync_started, 1);
    assert_int_equal(story.resync_done, 1);
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void missing_records_are_repaired_and_the_log_is_checked_again(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);

    begin_resync(&story, AUDIT_RECORDS);
    found.audited.to_mend_records = 7;
    answer_audit(&story, found);
    assert_int_equal(story.slots[3].action.kind, ENGINE_SEND_REPAIR);
    story_repaired(&story, 4, 0, 3);
    assert_int_equal(story.slots[3].action.kind, ENGINE_SEND_REPAIR);
    story_repaired(&story, 3, 0, 0);
    assert_int_equal(audit(&story)->audit.level, AUDIT_PRESENCE);
    assert_int_equal(audit(&story)->audit.from_seq, 0);
    assert_int_equal(story.resync_done, 0);
    answer_audit(&story, story_audited(1000));
    assert_int_equal(story.resync_done, 1);
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void what_the_centre_has_shown_to_be_whole_is_not_checked_again(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);
    const struct engine_event mended = {
        .kind = ENGINE_REPAIRED, .slot = 3, .repaired = {.mended = 7, .is_proven = true}};

    begin_resync(&story, AUDIT_RECORDS);
    found.audited.to_mend_records = 7;
    found.audited.next_seq = 500;
    answer_audit(&story, found);
    story.slots[3].busy = false;
    story_feed(&story, mended);
    /* A later window that is mended with proofs brings the check for the whole log. */
    found.audited.next_seq = 0;
    answer_audit(&story, found);
    story_repaired(&story, 7, 0, 0);
    assert_int_equal(audit(&story)->audit.from_seq, 0);
    answer_audit(&story, story_audited(1000));
    assert_int_equal(story.resync_done, 1);

    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_USER, 0);
    answer_audit(&story, found);
    story.slots[3].busy = false;
    story_feed(&story, mended);
    assert_int_equal(story.resync_done, 2);
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

/* ---- the self-audit ---- */

#define HOUR_MS UINT64_C(3600000)

/* A handheld that audits itself once a day, with all acknowledged and the way to the centre known. */
static void begin_self_audited(struct story *story, uint64_t random)
{
    struct engine_config config = story_config();

    config.self_audit_ms = 24 * HOUR_MS;
    config.slow_poll_ms = 120000;
    story_begin_drawn(story, &config, random);
    story_log(story, 0, 1000, 990);
    story_tell(story);
    story_drain(story);
}

/* Lets time pass until a resync starts, and answers it; returns how long it took. */
static uint64_t until_self_audit(struct story *story)
{
    uint64_t begun_ms = story->now_ms;
    size_t done = story->resync_done;

    while (!story->slots[3].busy) {
        assert_true(story->now_ms - begun_ms < 50 * HOUR_MS);
        story_wait(story, 60000);
    }
    assert_int_equal(audit(story)->audit.level, AUDIT_PRESENCE);
    assert_int_equal(story_report(story).resync_cause, RESYNC_SELF_AUDIT);
    answer_audit(story, story_audited(1000));
    assert_int_equal(story->resync_done, done + 1);
    return story->now_ms - begun_ms;
}

static void a_handheld_audits_itself_once_a_day_from_a_time_that_was_drawn(void **state)
{
    uint64_t earliest_ms = UINT64_MAX, latest_ms = 0;

    for (uint64_t i = 0; i < 50; i++) {
        struct story story;
        uint64_t first_ms;

        begin_self_audited(&story, 1000 * i);
        first_ms = until_self_audit(&story);
        assert_true(first_ms <= 6 * HOUR_MS + 120000);
        earliest_ms = first_ms < earliest_ms ? first_ms : earliest_ms;
        latest_ms = first_ms > latest_ms ? first_ms : latest_ms;
        for (unsigned day = 0; day < 3; day++) {
            uint64_t next_ms = until_self_audit(&story);

            assert_true(next_ms >= 24 * HOUR_MS && next_ms <= 24 * HOUR_MS + 2 * 120000);
        }
        story_end(&story);
    }
    assert_true(earliest_ms < HOUR_MS);
    assert_true(latest_ms > 5 * HOUR_MS);
}

static void a_self_audit_makes_no_contact_where_the_last_one_failed(void **state)
{
    struct story story;
    size_t requests;

    begin_self_audited(&story, 7);
    story_log(&story, 0, 1010, 1000);
    story_tell(&story);
    while (story.now_ms < 30 * HOUR_MS) {
        for (uint32_t slot = 0; slot < 2; slot++)
            if (story.slots[slot].busy)
                story_fail(&story, slot, FAILURE_NETWORK);
        assert_false(story.slots[3].busy);
        story_wait(&story, 60000);
    }
    requests = story.requests;
    (void)story_wait_for_request(&story);
    story.sync_done = 0;
    story_drain(&story);
    assert_true(story.requests > requests);
    assert_true(until_self_audit(&story) <= 120000);
    story_end(&story);
}

static void a_self_audit_mends_what_it_finds(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);

    begin_self_audited(&story, 7);
    while (!story.slots[3].busy)
        story_wait(&story, 60000);
    found.audited.to_mend_records = 7;
    answer_audit(&story, found);
    assert_int_equal(story.slots[3].action.kind, ENGINE_SEND_REPAIR);
    story_repaired(&story, 7, 0, 0);
    answer_audit(&story, story_audited(1000));
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void a_resync_that_somebody_asked_for_counts_as_the_days_audit(void **state)
{
    struct story story;

    begin_self_audited(&story, 7);
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_USER, 0);
    answer_audit(&story, story_audited(1000));
    assert_true(until_self_audit(&story) >= 24 * HOUR_MS);
    story_end(&story);
}

static void a_self_audit_that_failed_is_tried_again_after_an_hour(void **state)
{
    struct story story;
    uint64_t failed_ms;

    begin_self_audited(&story, 7);
    while (!story.slots[3].busy)
        story_wait(&story, 60000);
    story_refuse(&story, 3, REFUSAL_OVER_QUOTA);
    assert_non_null(story.resync_end.resync_done.problem);
    failed_ms = until_self_audit(&story);
    assert_true(failed_ms >= HOUR_MS && failed_ms <= HOUR_MS + 2 * 120000);
    story_end(&story);
}

static void a_second_resync_of_a_person_joins_the_first_one_unless_it_looks_at_more(void **state)
{
    struct story story;

    begin_resync(&story, AUDIT_RECORDS);
    story_resync(&story, AUDIT_PRESENCE, RESYNC_BY_USER, 0);
    assert_int_equal(story.resync_started, 1);
    assert_int_equal(audit(&story)->audit.level, AUDIT_RECORDS);
    story_resync(&story, AUDIT_MEDIA, RESYNC_BY_USER, 0);
    assert_int_equal(story.resync_started, 2);
    assert_int_equal(audit(&story)->audit.level, AUDIT_MEDIA);
    story_end(&story);
}

static void after_a_repair_the_centre_is_asked_what_it_could_apply_with_it(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);

    begin_resync(&story, AUDIT_RECORDS);
    found.audited.to_mend_records = 7;
    answer_audit(&story, found);
    assert_false(story.slots[0].busy);
    story_repaired(&story, 7, 0, 0);
    assert_true(story.slots[0].busy);
    assert_int_equal(story.slots[0].action.exchange.records_max, 0);
    story_stored(&story, 0);
    assert_false(story.slots[0].busy);
    story_end(&story);
}

static void a_log_that_stays_broken_is_not_called_well(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);
    size_t rounds = 0;

    begin_resync(&story, AUDIT_PRESENCE);
    found.audited.to_mend_records = 7;
    while (story.resync_done == 0) {
        answer_audit(&story, found);
        if (story.slots[3].busy && story.slots[3].action.kind == ENGINE_SEND_REPAIR)
            story_repaired(&story, 0, 7, 0);
        assert_true(++rounds < 10);
    }
    assert_false(story.resync_end.resync_done.ok);
    assert_null(story.resync_end.resync_done.problem);
    story_end(&story);
}

static void what_neither_side_has_makes_it_not_ok(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);

    begin_resync(&story, AUDIT_RECORDS);
    found.audited.gone_records = 1;
    answer_audit(&story, found);
    assert_int_equal(story.resync_done, 1);
    assert_false(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void windows_follow_each_other_by_record_and_by_blob(void **state)
{
    struct story story;
    struct engine_event window = story_audited(1000);

    begin_resync(&story, AUDIT_MEDIA);
    window.audited.next_seq = 600;
    answer_audit(&story, window);
    assert_int_equal(audit(&story)->audit.from_seq, 600);
    assert_false(audit(&story)->audit.has_after_blob);
    window.audited.next_seq = 0;
    window.audited.has_next_blob = true;
    window.audited.next_blob = story_blob_id(5);
    answer_audit(&story, window);
    /* The records are done: from their end on. */
    assert_int_equal(audit(&story)->audit.from_seq, 1000);
    assert_true(audit(&story)->audit.has_after_blob);
    assert_true(sha256_equal(&audit(&story)->audit.after_blob, &window.audited.next_blob));
    answer_audit(&story, story_audited(1000));
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void every_log_with_a_receipt_is_audited(void **state)
{
    struct story story;
    struct engine_event window = story_audited(1000);
    struct uuid second = story_log_id(8);

    begin_resync(&story, AUDIT_PRESENCE);
    window.audited.has_next_log = true;
    window.audited.next_log = second;
    answer_audit(&story, window);
    assert_true(uuid_equal(&audit(&story)->audit.log, &second));
    assert_int_equal(audit(&story)->audit.from_seq, 0);
    answer_audit(&story, story_audited(50));
    assert_int_equal(story.resync_done, 1);
    story_end(&story);
}

static void photos_found_missing_are_uploaded_and_confirmed_before_it_is_done(void **state)
{
    struct story story;
    struct engine_event window = story_audited(1000);
    struct engine_event answer;

    begin_resync(&story, AUDIT_MEDIA);
    window.audited.to_mend_blobs = 1;
    story_blobs(&story, 1, 5000, 1, 0);
    story.outbox.blobs_mending = 1;
    story_tell(&story);
    answer_audit(&story, window);
    assert_int_equal(story.resync_done, 0);
    story_stored(&story, 0);
    assert_true(story.slots[2].busy);
    story_blobs(&story, 1, 5000, 0, 1);
    story_tell(&story);
    story_uploaded(&story, 5000, 5000);
    assert_int_equal(story.resync_done, 0);
    answer = story_exchanged(&story, 0, EXCHANGE_STORED, 1000);
    answer.exchanged.blobs_asked = answer.exchanged.blobs_confirmed = 1;
    story_blobs(&story, 1, 5000, 0, 0);
    story.outbox.blobs_mending = 0;
    story.slots[0].busy = false;
    story_tell(&story);
    story_feed(&story, answer);
    assert_int_equal(story.resync_done, 1);
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void records_a_server_lost_at_the_end_go_through_the_exchange(void **state)
{
    struct story story;
    struct engine_event window = story_audited(700);

    begin_resync(&story, AUDIT_PRESENCE);
    window.audited.went_back = true;
    story_log(&story, 0, 1000, 700);
    story_tell(&story);
    answer_audit(&story, window);
    assert_int_equal(story.resync_done, 0);
    assert_int_equal(story.slots[0].action.exchange.first_seq, 700);
    story_drain(&story);
    assert_int_equal(story.resync_done, 1);
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void without_a_network_it_fails_in_bounded_time_with_the_reason(void **state)
{
    struct story story;
    uint64_t start_ms;

    begin_resync(&story, AUDIT_RECORDS);
    start_ms = story.now_ms;
    while (story.resync_done == 0) {
        if (story.slots[3].busy)
            story_fail(&story, 3, FAILURE_NETWORK);
        if (story.slots[0].busy)
            story_fail(&story, 0, FAILURE_NETWORK);
        story_wait(&story, 1000);
        assert_true(story.now_ms - start_ms < UINT64_C(4) * 3600000);
    }
    assert_false(story.resync_end.resync_done.ok);
    assert_non_null(strstr(story.resync_end.resync_done.problem, "could not be reached"));
    story_end(&story);
}

static void a_centre_that_is_busy_with_an_audit_is_asked_again(void **state)
{
    struct story story;

    begin_resync(&story, AUDIT_MEDIA);
    story.slots[3].busy = false;
    story_feed(&story,
        (struct engine_event){
            .kind = ENGINE_REFUSED, .slot = 3, .refused = {.reason = REFUSAL_BUSY, .retry_after_s = 30}});
    assert_int_equal(story.resync_done, 0);
    assert_true(story_wait_for_request(&story) >= 30000);
    answer_audit(&story, story_audited(1000));
    assert_true(story.resync_end.resync_done.ok);
    story_end(&story);
}

static void an_audit_over_quota_ends_the_resync_but_not_the_sync(void **state)
{
    struct story story;

    begin_resync(&story, AUDIT_MEDIA);
    story_refuse(&story, 3, REFUSAL_OVER_QUOTA);
    assert_int_equal(story.resync_done, 1);
    assert_non_null(strstr(story.resync_end.resync_done.problem, "quota"));
    story_log(&story, 0, 1001, 1000);
    story_tell(&story);
    assert_true(story.slots[0].busy);
    story_end(&story);
}

static void a_revoked_device_learns_it_at_once(void **state)
{
    struct story story;

    begin_resync(&story, AUDIT_PRESENCE);
    story_refuse(&story, 3, REFUSAL_REVOKED);
    assert_int_equal(story.resync_done, 1);
    assert_non_null(strstr(story.resync_end.resync_done.problem, "revoked"));
    assert_true(story_report(&story).refused);
    story_end(&story);
}

static void a_repair_that_is_too_large_is_halved(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);
    uint32_t bytes;

    begin_resync(&story, AUDIT_RECORDS);
    found.audited.to_mend_records = 7;
    answer_audit(&story, found);
    bytes = story.slots[3].action.repair.bytes_max;
    story_fail(&story, 3, FAILURE_TOO_LARGE);
    assert_int_equal(story.slots[3].action.kind, ENGINE_SEND_REPAIR);
    assert_int_equal(story.slots[3].action.repair.bytes_max, bytes / 2);
    story_end(&story);
}

static void while_a_log_is_repaired_no_records_are_added_to_it(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);

    begin_resync(&story, AUDIT_RECORDS);
    found.audited.to_mend_records = 7;
    answer_audit(&story, found);
    story_log(&story, 0, 1005, 1000);
    story_tell(&story);
    assert_false(story.slots[0].busy);
    story_repaired(&story, 7, 0, 0);
    assert_true(story.slots[0].busy);
    story_end(&story);
}

static void a_repair_waits_for_the_records_that_are_on_their_way(void **state)
{
    struct story story;
    struct engine_event found = story_audited(1000);

    begin_resync(&story, AUDIT_RECORDS);
    story_log(&story, 0, 1005, 1000);
    story_tell(&story);
    assert_false(story.slots[0].busy); /* nothing was answered yet: one request at a time */
    found.audited.next_seq = 500;
    answer_audit(&story, found);
    assert_true(story.slots[0].busy && story.slots[3].busy);
    found.audited.next_seq = 0;
    found.audited.to_mend_records = 7;
    answer_audit(&story, found);
    assert_false(story.slots[3].busy);
    story_stored(&story, 0);
    assert_int_equal(story.slots[3].action.kind, ENGINE_SEND_REPAIR);
    assert_true(story.slots[3].busy);
    story_end(&story);
}

static void a_command_of_the_server_is_carried_out_once(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 1000, 1000);
    story_tell(&story);
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_SERVER, 42);
    assert_true(audit(&story)->audit.has_command);
    assert_int_equal(audit(&story)->audit.command_id[0], 42);
    /* Answers that were under way repeat it. */
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_SERVER, 42);
    answer_audit(&story, story_audited(1000));
    assert_int_equal(story.resync_done, 1);
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_SERVER, 42);
    assert_int_equal(story.resync_started, 1);
    /* Another one is another one. */
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_SERVER, 43);
    assert_int_equal(story.resync_started, 2);
    story_end(&story);
}

static void a_command_that_failed_is_taken_up_again_later(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 1000, 1000);
    story_tell(&story);
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_SERVER, 42);
    story_refuse(&story, 3, REFUSAL_OVER_QUOTA);
    assert_int_equal(story.resync_done, 1);
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_SERVER, 42);
    assert_int_equal(story.resync_started, 1);
    story_wait(&story, 601000);
    story_resync(&story, AUDIT_RECORDS, RESYNC_BY_SERVER, 42);
    assert_int_equal(story.resync_started, 2);
    story_end(&story);
}

static void a_person_takes_the_place_of_a_command_which_is_done_after(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 1000, 1000);
    story_tell(&story);
    story_resync(&story, AUDIT_PRESENCE, RESYNC_BY_SERVER, 42);
    story_resync(&story, AUDIT_MEDIA, RESYNC_BY_USER, 0);
    assert_int_equal(story.cancels, 1);
    assert_int_equal(audit(&story)->audit.level, AUDIT_MEDIA);
    assert_false(audit(&story)->audit.has_command);
    answer_audit(&story, story_audited(1000));
    assert_int_equal(story.resync_done, 1);
    assert_int_equal(story.resync_end.resync_done.cause, RESYNC_BY_USER);
    assert_int_equal(story.resync_started, 3);
    assert_int_equal(audit(&story)->audit.level, AUDIT_PRESENCE);
    assert_int_equal(audit(&story)->audit.command_id[0], 42);
    story_end(&story);
}

static void a_person_overrides_the_backoff(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 1000, 999);
    story_tell(&story);
    story_fail(&story, 0, FAILURE_NETWORK);
    assert_int_equal(story_busy(&story), 0);
    story_resync(&story, AUDIT_PRESENCE, RESYNC_BY_USER, 0);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void many_missing_photos_are_sent_before_the_next_window(void **state)
{
    struct story story;
    struct engine_event window = story_audited(1000);

    begin_resync(&story, AUDIT_MEDIA);
    window.audited.has_next_blob = true;
    window.audited.to_mend_blobs = 2000;
    story_blobs(&story, 1, 5000, 2000, 0);
    story.outbox.blobs_mending = 2000;
    story_tell(&story);
    answer_audit(&story, window);
    assert_false(story.slots[3].busy);
    story.outbox.blobs_mending = 10;
    story_tell(&story);
    story_stored(&story, 0);
    assert_true(story.slots[3].busy);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_log_needs_one_round_trip),
        cmocka_unit_test(a_handheld_without_receipts_has_nothing_to_compare),
        cmocka_unit_test(missing_records_are_repaired_and_the_log_is_checked_again),
        cmocka_unit_test(what_the_centre_has_shown_to_be_whole_is_not_checked_again),
        cmocka_unit_test(a_handheld_audits_itself_once_a_day_from_a_time_that_was_drawn),
        cmocka_unit_test(a_self_audit_makes_no_contact_where_the_last_one_failed),
        cmocka_unit_test(a_self_audit_mends_what_it_finds),
        cmocka_unit_test(a_resync_that_somebody_asked_for_counts_as_the_days_audit),
        cmocka_unit_test(a_self_audit_that_failed_is_tried_again_after_an_hour),
        cmocka_unit_test(a_second_resync_of_a_person_joins_the_first_one_unless_it_looks_at_more),
        cmocka_unit_test(after_a_repair_the_centre_is_asked_what_it_could_apply_with_it),
        cmocka_unit_test(a_log_that_stays_broken_is_not_called_well),
        cmocka_unit_test(what_neither_side_has_makes_it_not_ok),
        cmocka_unit_test(windows_follow_each_other_by_record_and_by_blob),
        cmocka_unit_test(every_log_with_a_receipt_is_audited),
        cmocka_unit_test(photos_found_missing_are_uploaded_and_confirmed_before_it_is_done),
        cmocka_unit_test(records_a_server_lost_at_the_end_go_through_the_exchange),
        cmocka_unit_test(without_a_network_it_fails_in_bounded_time_with_the_reason),
        cmocka_unit_test(a_centre_that_is_busy_with_an_audit_is_asked_again),
        cmocka_unit_test(an_audit_over_quota_ends_the_resync_but_not_the_sync),
        cmocka_unit_test(a_revoked_device_learns_it_at_once),
        cmocka_unit_test(a_repair_that_is_too_large_is_halved),
        cmocka_unit_test(while_a_log_is_repaired_no_records_are_added_to_it),
        cmocka_unit_test(a_repair_waits_for_the_records_that_are_on_their_way),
        cmocka_unit_test(a_command_of_the_server_is_carried_out_once),
        cmocka_unit_test(a_command_that_failed_is_taken_up_again_later),
        cmocka_unit_test(a_person_takes_the_place_of_a_command_which_is_done_after),
        cmocka_unit_test(a_person_overrides_the_backoff),
        cmocka_unit_test(many_missing_photos_are_sent_before_the_next_window),
    };

    return cmocka_run_group_tests_name("engine resync", tests, NULL, NULL);
}
