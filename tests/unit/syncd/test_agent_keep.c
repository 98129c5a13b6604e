/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/keep.c: what is removed from the handheld, on whose word, and what when that was
 * wrong. */
#include "tests/unit/syncd/agent_story.h"

#define RECORDS 600u
#define PRUNED (2u * TILE_LEAVES)

/* A log that was closed, and a finding in the one behind it; the centre has both. */
static void begin(struct agent_story *story)
{
    agent_story_begin(story);
    story->store->rotate_records = RECORDS;
    agent_story_record(story, 0, RECORDS);
    agent_story_record(story, RECORDS, 1);
    agent_story_settle(story);
    assert_int_equal(agent_story_status(story).records_queued, 0);
    assert_int_equal(story->centre.log_count, 2);
}

/* A slow poll, and an exchange that has a record to send: nothing is asked without one. */
static void poll_and_exchange(struct agent_story *story, unsigned finding)
{
    agent_poll(story->agent, story->centre.time_ms);
    agent_story_record(story, finding, 1);
    agent_story_settle(story);
    agent_poll(story->agent, story->centre.time_ms);
}

static void begin_pruned(struct agent_story *story)
{
    begin(story);
    story->centre.backs_up = true;
    poll_and_exchange(story, RECORDS + 1);
    assert_true(agent_story_status(story).records_pruned > PRUNED - 8);
    assert_int_equal(story->alarms, 0);
}

static void records_of_a_closed_log_go_when_the_centre_has_signed_that_its_backup_has_them(void **state)
{
    struct agent_story story;

    begin(&story);
    assert_int_equal(story.centre.asked_logs, 0);
    poll_and_exchange(&story, RECORDS + 1);
    assert_int_equal(story.centre.asked_logs, 1);
    assert_int_equal(agent_story_status(&story).records_pruned, 0);
    story.centre.backs_up = true;
    uint64_t sent = agent_story_status(&story).records_sent;
    poll_and_exchange(&story, RECORDS + 2);
    assert_true(agent_story_status(&story).records_pruned > PRUNED - 8);
    assert_int_equal(agent_story_status(&story).records_sent, sent + 1);
    size_t asked = story.centre.asked_logs;
    poll_and_exchange(&story, RECORDS + 3);
    assert_int_equal(story.centre.asked_logs, asked);
    assert_int_equal(agent_resync(story.agent, AUDIT_RECORDS), 0);
    agent_story_settle(&story);
    assert_true(story.report.ok);
    assert_int_equal(story.alarms, 0);
    agent_story_end(&story);
}

static void a_backup_of_other_records_frees_nothing(void **state)
{
    struct agent_story story;

    begin(&story);
    story.centre.backs_up = true;
    story.centre.logs[0].leaves[5].b[0] ^= 1;
    poll_and_exchange(&story, RECORDS + 1);
    assert_int_equal(story.centre.asked_logs, 1);
    assert_int_equal(agent_story_status(&story).records_pruned, 0);
    agent_story_end(&story);
}

static void what_the_centre_lacks_of_a_pruned_log_is_alarmed_and_not_called_lost(void **state)
{
    struct agent_story story;

    begin_pruned(&story);
    story.centre.missing[0] = (struct run){.first = PRUNED - 3, .count = 5};
    story.centre.missing_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_RECORDS), 0);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_false(story.report.ok);
    assert_int_equal(story.report.records_gone, 3);
    assert_true(story.alarms > 0);
    assert_non_null(strstr(story.last_alarm, "that its backup has them"));
    assert_int_equal(story.centre.lost_told, 0);
    assert_int_equal(story.centre.records_mended, 2);
    assert_int_equal(story.damaged, 0);
    agent_story_end(&story);
}

static void set_centre_back_to_nothing(struct agent_story *story)
{
    for (size_t i = 0; i < story->centre.log_count; i++) {
        story->centre.logs[i].size = 0;
        buffer_clear(&story->centre.logs[i].note);
    }
    story->centre.incarnation.b[0] ^= 1;
}

static void a_centre_set_back_to_before_a_pruned_log_gets_what_is_left_and_the_rest_is_alarmed(void **state)
{
    struct agent_story story;

    begin_pruned(&story);
    set_centre_back_to_nothing(&story);
    agent_story_record(&story, RECORDS + 5, 1);
    agent_story_settle(&story);
    struct store_status status = agent_story_status(&story);
    assert_int_equal(status.records_queued, 0);
    assert_int_equal(story.centre.logs[1].size, status.log_size);
    assert_int_equal(story.centre.logs[0].size, 0);
    assert_int_equal(story.damaged, 0);
    assert_true(story.resyncs_done > 0);
    assert_false(story.report.ok);
    assert_int_equal(story.report.records_gone, PRUNED);
    assert_true(story.alarms > 0);
    agent_story_restart(&story);
    agent_story_record(&story, RECORDS + 6, 1);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    agent_story_end(&story);
}

/* What it says to be in a backup may be itself, set up from it. */
static void the_word_of_a_centre_that_turns_out_to_be_another_one_frees_nothing(void **state)
{
    struct agent_story story;

    begin(&story);
    agent_poll(story.agent, story.centre.time_ms);
    story.centre.backs_up = true;
    story.centre.incarnation.b[0] ^= 1;
    agent_story_record(&story, RECORDS + 1, 1);
    agent_sync_now(story.agent);
    assert_true(story.sent[0].busy);
    agent_story_answer(&story, 0);
    struct store_log log;
    size_t count;
    assert_int_equal(store_logs(story.store, false, &log, 1, &count), 0);
    assert_int_equal(log.pruned_size, 0);
    agent_story_settle(&story); /* it has all that it should have */
    poll_and_exchange(&story, RECORDS + 2);
    assert_int_equal(store_logs(story.store, false, &log, 1, &count), 0);
    assert_int_equal(log.pruned_size, PRUNED);
    agent_story_end(&story);
}

static void what_was_marked_and_not_removed_yet_goes_out_again_to_a_centre_that_was_set_back(void **state)
{
    struct agent_story story;

    begin(&story);
    story.centre.backs_up = true;
    agent_poll(story.agent, story.centre.time_ms);
    agent_story_record(&story, RECORDS + 1, 1);
    agent_story_settle(&story);
    struct store_log log;
    size_t count;
    assert_int_equal(store_logs(story.store, false, &log, 1, &count), 0);
    assert_int_equal(log.pruned_size, PRUNED);
    set_centre_back_to_nothing(&story);
    story.centre.backs_up = false;
    agent_story_record(&story, RECORDS + 2, 1);
    agent_story_settle(&story);
    /* The log is held for a moment, as it was not what it seemed. */
    for (size_t i = 0; i < 60 && story.centre.logs[0].size < log.size; i++) {
        agent_story_wait(&story, 1000);
        agent_story_settle(&story);
    }
    assert_int_equal(story.centre.logs[0].size, log.size);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    assert_int_equal(story.report.records_gone, 0);
    assert_true(story.report.ok);
    assert_int_equal(store_check(story.store, NULL, NULL), 0);
    agent_story_end(&story);
}

static void each_resync_says_what_is_in_neither_place_until_the_centre_has_it_again(void **state)
{
    struct agent_story story;

    begin_pruned(&story);
    uint64_t size = story.centre.logs[0].size;
    set_centre_back_to_nothing(&story);
    agent_story_record(&story, RECORDS + 5, 1);
    agent_story_settle(&story);
    for (enum audit_level level = AUDIT_PRESENCE; level <= AUDIT_MEDIA; level++) {
        story.report = (struct resync_report){0};
        assert_int_equal(agent_resync(story.agent, level), 0);
        agent_story_settle(&story);
        assert_int_equal(story.report.level, level);
        assert_false(story.report.ok);
        assert_int_equal(story.report.records_gone, PRUNED);
    }
    /* The right backup was found. */
    story.centre.logs[0].size = size;
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    agent_story_settle(&story);
    assert_true(story.report.ok);
    assert_int_equal(story.report.records_gone, 0);
    agent_story_end(&story);
}

static void a_resync_that_the_centre_asks_for_tells_it_what_is_in_neither_place(void **state)
{
    struct agent_story story;

    begin_pruned(&story);
    story.centre.missing[0] = (struct run){.first = PRUNED - 3, .count = 5};
    story.centre.missing_count = 1;
    story.centre.command = (struct command){.id = {7}, .has_resync = true, .resync_level = AUDIT_RECORDS};
    story.centre.has_command = true;
    agent_story_record(&story, RECORDS + 5, 1);
    agent_story_settle(&story);
    agent_story_record(&story, RECORDS + 6, 1);
    agent_story_settle(&story);
    assert_int_equal(story.centre.last_result.outcome, COMMAND_INCOMPLETE);
    assert_int_equal(story.centre.last_result.counts.records_gone, 3);
    assert_int_equal(story.centre.last_result.counts.records_sent_again, 2);
    agent_story_end(&story);
}

/* It can prove nothing of the part that it has pruned, and has nothing to prove. */
static void a_photo_in_neither_place_is_told_to_a_centre_that_was_set_back_into_a_pruned_log(void **state)
{
    struct agent_story story;

    begin_pruned(&story);
    story.centre.logs[0].size = 100;
    buffer_clear(&story.centre.logs[0].note);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = {{7}}, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_MEDIA), 0);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_false(story.report.ok);
    assert_false(story.report.failed);
    assert_true(story.centre.repairs > 0);
    assert_int_equal(story.centre.logs[0].size, 100);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    agent_story_end(&story);
}

static void photos_go_by_age_at_the_slow_poll_and_only_by_the_time_of_the_centre(void **state)
{
    struct agent_story story;
    struct store_blob blob;

    agent_story_begin(&story);
    struct sha256 photo = agent_story_photo(&story, "with a photo", "content");
    agent_story_settle(&story);
    agent_poll(story.agent, 0);
    assert_int_equal(store_blob_find(story.store, &photo, &blob), 0);
    assert_int_equal(blob.state, BLOB_STORED);
    assert_int_equal(agent_story_status(&story).photos_held, 1);
    assert_int_equal(agent_story_status(&story).held_bytes, 7);
    agent_poll(story.agent, story.centre.time_ms);
    assert_int_equal(store_blob_find(story.store, &photo, &blob), 0);
    assert_int_equal(blob.state, BLOB_FREED);
    assert_int_equal(agent_story_status(&story).photos_held, 0);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_a_closed_log_go_when_the_centre_has_signed_that_its_backup_has_them),
        cmocka_unit_test(a_backup_of_other_records_frees_nothing),
        cmocka_unit_test(what_the_centre_lacks_of_a_pruned_log_is_alarmed_and_not_called_lost),
        cmocka_unit_test(a_centre_set_back_to_before_a_pruned_log_gets_what_is_left_and_the_rest_is_alarmed),
        cmocka_unit_test(the_word_of_a_centre_that_turns_out_to_be_another_one_frees_nothing),
        cmocka_unit_test(what_was_marked_and_not_removed_yet_goes_out_again_to_a_centre_that_was_set_back),
        cmocka_unit_test(each_resync_says_what_is_in_neither_place_until_the_centre_has_it_again),
        cmocka_unit_test(a_resync_that_the_centre_asks_for_tells_it_what_is_in_neither_place),
        cmocka_unit_test(a_photo_in_neither_place_is_told_to_a_centre_that_was_set_back_into_a_pruned_log),
        cmocka_unit_test(photos_go_by_age_at_the_slow_poll_and_only_by_the_time_of_the_centre),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
