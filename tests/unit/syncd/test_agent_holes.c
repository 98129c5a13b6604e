/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/agent.h: logs that a recovery of the database has left with holes. */
#include "tests/unit/syncd/agent_story.h"

#include "store/internal.h"

/* A handheld whose records and photos are all acknowledged. */
static void begin_settled(struct agent_story *story, unsigned records)
{
    agent_story_begin(story);
    agent_story_record(story, 0, records);
    agent_story_settle(story);
    assert_int_equal(agent_story_status(story).records_queued, 0);
}

static void resync(struct agent_story *story, enum audit_level level)
{
    assert_int_equal(agent_resync(story->agent, level), 0);
    agent_story_settle(story);
}

/* A record that the centre has is damaged here, and the store is opened again, which recovers it. */
static void lose_a_record_here(struct agent_story *story)
{
    agent_free(story->agent);
    story->agent = NULL;
    assert_int_equal(
        sqlite3_exec(story->store->database,
            "UPDATE records SET bytes = zeroblob(length(bytes)), leaf = zeroblob(32) WHERE key & 255 = 3",
            NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(store_check(story->store, NULL, NULL), -EUCLEAN);
    store_free(story->store);
    assert_int_equal(store_open(story->world, story->directory, STORE_DAEMON, &story->store, NULL), 0);
    agent_story_restart(story);
}

/* What the recovery has found again is gone as well. */
static void lose_for_good(struct agent_story *story, const char *sql)
{
    assert_int_equal(sqlite3_exec(story->store->database, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* As a log is after a recovery that did not find its end. */
#define LOSE_THE_END                                                                                         \
    "DELETE FROM records WHERE key >> 40 = 1 AND key & 1099511627775 >= 290;"                                \
    "UPDATE logs SET final_size = 290, rehomed_from = 290 WHERE number = 1"
#define LOSE_ONE_RECORD "DELETE FROM records WHERE key >> 40 = 1 AND key & 1099511627775 = 3"

static void a_log_that_has_holes_since_a_recovery_ends_no_resync_and_no_daemon(void **state)
{
    struct agent_story story;

    begin_settled(&story, 300);
    lose_a_record_here(&story);
    lose_for_good(&story, "DELETE FROM records WHERE key & 255 = 3 AND key >> 40 = 1");
    agent_story_settle(&story);
    resync(&story, AUDIT_RECORDS);
    assert_int_equal(story.damaged, 0);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok && !story.report.failed);
    /* What the centre lacks of it, too, cannot be proven here any more. */
    story.centre.missing[0] = (struct run){.first = 10, .count = 2};
    story.centre.missing_count = 1;
    resync(&story, AUDIT_RECORDS);
    assert_int_equal(story.damaged, 0);
    assert_false(story.report.ok);
    assert_int_equal(story.report.records_gone, 2);
    agent_story_end(&story);
}

/* Nobody knew of it before: what the alarm says comes true, and the next resync is not ended by it again. */
static void what_a_resync_finds_damaged_here_is_recovered_when_the_store_is_opened_again(void **state)
{
    struct agent_story story;
    struct store_opened opened = {0};

    begin_settled(&story, 300);
    lose_for_good(&story, LOSE_ONE_RECORD);
    story.centre.missing[0] = (struct run){.first = 10, .count = 2};
    story.centre.missing_count = 1;
    resync(&story, AUDIT_RECORDS);
    assert_int_equal(story.damaged, 1);
    agent_free(story.agent);
    story.agent = NULL;
    store_free(story.store);
    assert_int_equal(store_open(story.world, story.directory, STORE_DAEMON, &story.store, &opened), 0);
    assert_true(opened.recovered);
    agent_story_restart(&story);
    agent_story_settle(&story);
    resync(&story, AUDIT_RECORDS);
    assert_int_equal(story.damaged, 1);
    assert_false(story.report.failed);
    assert_int_equal(story.report.records_sent_again, 2);
    agent_story_end(&story);
}

/* As above, but what a recovery did not find is the end of the log. */
static void a_log_whose_end_a_recovery_has_not_found_ends_no_resync(void **state)
{
    struct agent_story story;

    begin_settled(&story, 300);
    lose_a_record_here(&story);
    lose_for_good(&story, LOSE_THE_END);
    agent_story_settle(&story);
    resync(&story, AUDIT_RECORDS);
    assert_int_equal(story.damaged, 0);
    assert_int_equal(story.resyncs_done, 1);
    assert_null(story.report.problem);
    assert_false(story.report.failed);
    agent_story_end(&story);
}

/* What is here of it reaches the centre in another log, and the daemon goes on. */
static void a_centre_set_back_gets_again_what_is_left_of_a_log_with_holes(void **state)
{
    struct agent_story story;
    size_t appended;

    begin_settled(&story, 300);
    lose_a_record_here(&story);
    lose_for_good(&story, LOSE_ONE_RECORD);
    agent_story_settle(&story);
    appended = story.centre.records_appended;
    story.centre.logs[0].size = 0;
    buffer_clear(&story.centre.logs[0].note);
    story.centre.incarnation.b[0] ^= 1;
    agent_story_record(&story, 300, 1);
    agent_story_settle(&story);
    resync(&story, AUDIT_RECORDS);
    agent_story_settle(&story);
    assert_int_equal(story.damaged, 0);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    assert_true(story.centre.records_appended >= appended + 290);
    agent_story_end(&story);
}

static void a_photo_that_is_in_neither_place_is_told_of_a_log_with_holes_too(void **state)
{
    struct agent_story story;

    begin_settled(&story, 300);
    lose_a_record_here(&story);
    lose_for_good(&story, LOSE_ONE_RECORD);
    agent_story_settle(&story);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = {{7}}, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    resync(&story, AUDIT_MEDIA);
    assert_int_equal(story.damaged, 0);
    assert_int_equal(story.resyncs_done, 1);
    assert_null(story.report.problem);
    assert_true(story.report.blobs_gone > 0);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_that_has_holes_since_a_recovery_ends_no_resync_and_no_daemon),
        cmocka_unit_test(what_a_resync_finds_damaged_here_is_recovered_when_the_store_is_opened_again),
        cmocka_unit_test(a_log_whose_end_a_recovery_has_not_found_ends_no_resync),
        cmocka_unit_test(a_centre_set_back_gets_again_what_is_left_of_a_log_with_holes),
        cmocka_unit_test(a_photo_that_is_in_neither_place_is_told_of_a_log_with_holes_too),
    };

    return cmocka_run_group_tests_name("syncd agent holes", tests, NULL, NULL);
}
