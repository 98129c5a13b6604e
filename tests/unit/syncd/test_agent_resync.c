/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/agent.h: audits and repairs. */
#include "tests/unit/syncd/agent_story.h"

#include "proto/compression.h"
#include "store/internal.h"
#include "syncd/core/engine_state.h"

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

static void a_healthy_log_is_found_so_in_one_round_trip_of_less_than_a_kilobyte(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};

    begin_settled(&story, 1000);
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0); /* joins it */
    assert_true(story.sent[3].busy);
    centre_answer(&story, 3, &reply);
    assert_true(story.sent[3].body.len + reply.body.len < 1000);
    agent_story_deliver(&story, 3, &reply.response);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_true(story.report.finished);
    assert_int_equal(story.report.round_trips, 1);
    assert_int_equal(story.report.records_checked, 1002);
    assert_int_equal(story.report.cause, RESYNC_BY_USER);
    agent_story_end(&story);
}

static void a_person_who_asks_for_more_than_the_running_resync_looks_at_gets_it(void **state)
{
    struct agent_story story;

    begin_settled(&story, 10);
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    resync(&story, AUDIT_MEDIA);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.level, AUDIT_MEDIA);
    agent_story_end(&story);
}

static void missing_and_damaged_records_are_sent_again_with_proofs(void **state)
{
    struct agent_story story;

    begin_settled(&story, 1000);
    story.centre.missing[0] = (struct run){.first = 5, .count = 3};
    story.centre.missing[1] = (struct run){.first = 700, .count = 302};
    story.centre.missing_count = 2;
    story.centre.damaged[0] = (struct run){.first = 300, .count = 1};
    story.centre.damaged_count = 1;
    resync(&story, AUDIT_RECORDS);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.records_missing, 305);
    assert_int_equal(story.report.records_damaged, 1);
    assert_int_equal(story.report.records_sent_again, 306);
    assert_int_equal(story.centre.records_mended, 306);
    /* The first audit and the check after the repair. */
    assert_int_equal(story.centre.audits, 2);
    assert_int_equal(story.report.records_checked, 1002);
    agent_story_end(&story);
}

static void a_centre_that_checks_whole_tiles_gets_no_proofs_and_is_asked_no_more(void **state)
{
    struct agent_story story;
    size_t exchanges, with_proofs;

    begin_settled(&story, 3000);
    exchanges = story.centre.exchanges;
    for (unsigned i = 0; i < 8; i++)
        story.centre.missing[i] = (struct run){.first = 3 + 300 * i, .count = 1};
    story.centre.missing_count = 8;
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    agent_story_answer(&story, RESYNC_SLOT);
    with_proofs = story.sent[RESYNC_SLOT].body.len;
    agent_story_settle(&story);
    assert_int_equal(story.centre.records_mended, 8);
    assert_int_equal(story.centre.bare_repairs, 0);
    assert_int_equal(story.centre.audits, 2);

    story.centre.takes_bare = true;
    story.centre.missing_count = 8;
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    agent_story_answer(&story, RESYNC_SLOT);
    assert_true(story.sent[RESYNC_SLOT].body.len + 8 * 3 * SHA256_BYTES < with_proofs);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 2);
    assert_true(story.report.ok);
    assert_int_equal(story.report.records_sent_again, 8);
    assert_int_equal(story.centre.records_mended, 16);
    assert_int_equal(story.centre.bare_repairs, 1);
    assert_int_equal(story.report.round_trips, 2);
    assert_int_equal(story.centre.exchanges, exchanges); /* nothing is in quarantine: nothing to ask */
    agent_story_end(&story);
}

static void a_centre_that_cannot_check_the_tiles_after_all_gets_proofs_and_is_asked_again(void **state)
{
    struct agent_story story;

    begin_settled(&story, 1000);
    story.centre.missing[0] = (struct run){.first = 5, .count = 3};
    story.centre.missing[1] = (struct run){.first = 700, .count = 1};
    story.centre.missing_count = 2;
    story.centre.takes_bare = story.centre.refuses_bare = true;
    resync(&story, AUDIT_PRESENCE);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.centre.bare_repairs, 1);
    assert_int_equal(story.centre.repairs, 2);
    assert_int_equal(story.centre.records_mended, 4);
    assert_int_equal(story.report.records_sent_again, 4);
    assert_int_equal(story.centre.audits, 2); /* the second is the check after the repair */
    agent_story_end(&story);
}

static void records_without_proofs_are_sent_by_whole_tiles(void **state)
{
    struct agent_story story;
    size_t parts = 0;

    begin_settled(&story, 18000);
    story.centre.takes_bare = true;
    story.centre.missing[0] = (struct run){.first = 100, .count = 17900};
    story.centre.missing_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_RECORDS), 0);
    while (story.resyncs_done == 0) {
        assert_true(story.sent[RESYNC_SLOT].busy);
        agent_story_answer(&story, RESYNC_SLOT);
        parts += story.centre.last_bare_end < 18000;
        assert_true(story.centre.last_bare_end % TILE_LEAVES == 0 || story.centre.last_bare_end == 18000);
    }
    assert_true(story.report.ok);
    assert_int_equal(story.centre.records_mended, 17900);
    assert_true(parts > 1);
    assert_int_equal(story.centre.audits, 1);
    agent_story_end(&story);
}

static void a_tile_of_which_something_is_lost_here_goes_with_proofs(void **state)
{
    struct agent_story story;

    begin_settled(&story, 1000);
    assert_int_equal(sqlite3_exec(story.store->database,
                         "UPDATE records SET bytes = x'00' WHERE key % 65536 = 512", NULL, NULL, NULL),
        SQLITE_OK);
    story.centre.takes_bare = true;
    story.centre.missing[0] = (struct run){.first = 10, .count = 2};
    story.centre.missing[1] = (struct run){.first = 511, .count = 3};
    story.centre.missing_count = 2;
    resync(&story, AUDIT_PRESENCE);
    assert_int_equal(story.resyncs_done, 1);
    assert_false(story.report.ok);
    assert_int_equal(story.report.records_gone, 1);
    assert_int_equal(story.centre.records_mended, 4);
    assert_int_equal(story.centre.lost_told, 1);
    assert_int_equal(story.centre.bare_repairs, 1); /* what stands before that tile */
    agent_story_end(&story);
}

static void runs_beyond_the_end_or_named_twice_are_sent_once(void **state)
{
    struct agent_story story;

    begin_settled(&story, 100);
    story.centre.missing[0] = (struct run){.first = 10, .count = 5};
    story.centre.missing[1] = (struct run){.first = 90, .count = 500};
    story.centre.missing[2] = (struct run){.first = 5000, .count = 5};
    story.centre.missing_count = 3;
    story.centre.damaged[0] = (struct run){.first = 12, .count = 6};
    story.centre.damaged_count = 1;
    resync(&story, AUDIT_RECORDS);
    assert_true(story.report.ok);
    assert_int_equal(story.centre.records_mended, 12 + 8);
    agent_story_end(&story);
}

static void a_tile_whose_root_differs_is_sent_again_whole(void **state)
{
    struct agent_story story;

    begin_settled(&story, 1000);
    story.centre.tells_tile_roots = true; /* the first tile's one is wrong */
    resync(&story, AUDIT_PRESENCE);
    assert_true(story.report.ok);
    assert_int_equal(story.centre.records_mended, TILE_LEAVES);
    agent_story_end(&story);
}

static void a_large_repair_is_sent_in_bounded_parts(void **state)
{
    struct agent_story story;

    begin_settled(&story, 18000);
    story.centre.missing[0] = (struct run){.first = 0, .count = 18002};
    story.centre.missing_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_RECORDS), 0);
    while (story.resyncs_done == 0) {
        assert_true(story.sent[3].busy);
        assert_true(story.sent[3].body.len <= EXCHANGE_ENVELOPE_BYTES_MAX);
        agent_story_answer(&story, 3);
    }
    assert_true(story.report.ok);
    assert_int_equal(story.centre.records_mended, 18002);
    assert_true(story.centre.repairs > 1);
    agent_story_end(&story);
}

static void a_repair_goes_on_when_the_log_has_grown_since_the_audit(void **state)
{
    struct agent_story story;
    struct centre_log *log;

    begin_settled(&story, 100);
    log = &story.centre.logs[0];
    story.centre.missing[0] = (struct run){.first = 10, .count = 5};
    story.centre.missing_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_RECORDS), 0);
    agent_story_answer(&story, 3);
    /* The audit is answered; before the repair comes, the centre takes records whose answer is late. */
    append_many(story.store, 100, 5);
    for (uint64_t seq = log->size; seq < 107; seq++) {
        struct merkle_source source;

        assert_int_equal(store_merkle_source(story.store, &log->id, &source), 0);
        assert_int_equal(source.leaves(source.context, seq, 1, &log->leaves[seq]), 0);
    }
    log->size = 107;
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.centre.records_mended, 5);
    assert_int_equal(story.centre.repairs, 2);
    assert_int_equal(story.centre.audits, 2); /* the second is the check after the repair */
    agent_story_end(&story);
}

static void a_record_neither_side_has_is_told_and_the_resync_is_not_ok(void **state)
{
    struct agent_story story;

    begin_settled(&story, 100);
    assert_int_equal(sqlite3_exec(story.store->database,
                         "UPDATE records SET bytes = x'00' WHERE key % 256 = 12", NULL, NULL, NULL),
        SQLITE_OK);
    story.centre.missing[0] = (struct run){.first = 10, .count = 5};
    story.centre.missing_count = 1;
    resync(&story, AUDIT_RECORDS);
    assert_int_equal(story.resyncs_done, 1);
    assert_false(story.report.ok);
    assert_false(story.report.failed);
    assert_int_equal(story.report.records_gone, 1);
    assert_int_equal(story.centre.records_mended, 4);
    assert_int_equal(story.centre.lost_told, 1);
    agent_story_end(&story);
}

static void photos_found_missing_or_damaged_are_uploaded_again(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    story.centre.blobs[0].stored = false;
    buffer_clear(&story.centre.blobs[0].bytes);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = photo, .condition = BLOB_DAMAGED};
    story.centre.bad_blob_count = 1;
    resync(&story, AUDIT_MEDIA);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.blobs_missing, 1);
    assert_int_equal(story.report.blobs_sent_again, 1);
    assert_true(story.centre.blobs[0].stored);
    agent_story_end(&story);
}

/* Its record went with a damaged database. */
static void a_photo_that_no_record_here_names_any_more_is_uploaded_too(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    assert_int_equal(store_photo_put_bytes(story.store, bytes_of_text("a short photo"), &photo), 0);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = photo, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    resync(&story, AUDIT_MEDIA);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.blobs_sent_again, 1);
    assert_int_equal(story.centre.lost_told, 0);
    assert_true(story.centre.blobs[0].stored);
    agent_story_end(&story);
}

static void a_photo_neither_side_has_is_told_and_the_resync_is_not_ok(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    _cleanup_free_ char *path = store_blob_path(story.store, &photo);
    assert_int_equal(unlink(path), 0);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = photo, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    resync(&story, AUDIT_MEDIA);
    assert_int_equal(story.resyncs_done, 1);
    assert_false(story.report.ok);
    assert_int_equal(story.report.blobs_gone, 1);
    assert_int_equal(story.centre.lost_told, 1);
    agent_story_end(&story);
}

static bool disk_fails;

static ssize_t read_or_fail(void *context, int file, void *ret, size_t len, uint64_t offset)
{
    return disk_fails ? -EIO : world_posix()->verbs->read(context, file, ret, len, offset);
}

static void a_photo_that_the_disk_cannot_read_now_is_not_told_as_gone(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    story.own.verbs.read = read_or_fail;
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    story.centre.blobs[0].stored = false;
    buffer_clear(&story.centre.blobs[0].bytes);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = photo, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    disk_fails = true;
    resync(&story, AUDIT_MEDIA);
    disk_fails = false;
    assert_int_equal(story.resyncs_done, 0);
    assert_int_equal(story.centre.lost_told, 0);

    agent_story_wait(&story, 60000);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.blobs_missing, 1);
    assert_int_equal(story.report.blobs_sent_again, 1);
    assert_int_equal(story.report.blobs_gone, 0);
    assert_true(story.centre.blobs[0].stored);
    assert_int_equal(story.centre.lost_told, 0);
    agent_story_end(&story);
}

static void records_missing_at_the_servers_end_are_found_by_an_audit_too(void **state)
{
    struct agent_story story;
    struct buffer old_note = {0};
    uint64_t old_size;

    begin_settled(&story, 50);
    old_size = story.centre.logs[0].size;
    buffer_put_bytes(&old_note, buffer_bytes(&story.centre.logs[0].note));
    agent_story_record(&story, 50, 30);
    agent_story_settle(&story);
    story.centre.logs[0].size = old_size;
    buffer_clear(&story.centre.logs[0].note);
    buffer_put_bytes(&story.centre.logs[0].note, buffer_bytes(&old_note));
    resync(&story, AUDIT_PRESENCE);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.records_missing, 30);
    assert_int_equal(story.report.records_sent_again, 30);
    assert_int_equal(story.centre.logs[0].size, agent_story_status(&story).log_size);
    buffer_done(&old_note);
    agent_story_end(&story);
}

static void an_unsigned_audit_answer_proves_nothing(void **state)
{
    struct agent_story story;
    const struct http_response stranger = {.status = 200, .body = bytes_of_text("all is well")};

    begin_settled(&story, 50);
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    agent_story_deliver(&story, 3, &stranger);
    assert_int_equal(story.resyncs_done, 0);
    agent_sync_now(story.agent);
    for (size_t i = 0; i < 30 && story.resyncs_done == 0; i++) {
        agent_story_settle(&story);
        agent_story_wait(&story, 1000);
    }
    assert_true(story.report.ok);
    agent_story_end(&story);
}

static void an_audit_answer_cut_at_every_byte_proves_nothing(void **state)
{
    struct agent_story story;

    begin_settled(&story, 5);
    for (size_t len = 0;; len += 7) {
        _cleanup_(centre_reply_done) struct centre_reply reply = {0};
        size_t done = story.resyncs_done;

        while (!story.sent[3].busy) {
            assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
            done = story.resyncs_done;
            if (story.sent[0].busy)
                agent_story_answer(&story, 0);
        }
        centre_answer(&story, 3, &reply);
        if (len >= reply.body.len)
            break;
        reply.response.body.len = len;
        agent_story_deliver(&story, 3, &reply.response);
        assert_true(story.resyncs_done == done || story.report.failed);
    }
    agent_story_end(&story);
}

static void a_centre_that_has_more_of_the_log_is_no_damage_of_ours(void **state)
{
    struct agent_story story;

    begin_settled(&story, 50);
    story.centre.logs[0].size += 10;
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    agent_story_answer(&story, 3);
    assert_int_equal(story.damaged, 0);
    assert_int_equal(story.alarms, 0);
    assert_int_equal(story.resyncs_done, 0);
    agent_story_end(&story);
}

static void a_command_of_the_centre_is_carried_out_once_and_names_itself(void **state)
{
    struct agent_story story;

    begin_settled(&story, 50);
    story.centre.command =
        (struct command){.id = {1, 2, 3}, .has_resync = true, .resync_level = AUDIT_RECORDS};
    story.centre.has_command = true;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_int_equal(story.report.level, AUDIT_RECORDS);
    assert_int_equal(story.report.cause, RESYNC_BY_SERVER);
    assert_int_equal(story.centre.result_count, 1);
    assert_memory_equal(story.centre.last_result.id, story.centre.command.id, COMMAND_ID_BYTES);
    assert_int_equal(story.centre.last_result.outcome, COMMAND_DONE);
    assert_int_equal(story.centre.last_result.counts.records_checked, story.report.records_checked);
    story.centre.has_command = true; /* an answer that was made before names it again */
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_int_equal(story.centre.result_count, 1);
    agent_story_end(&story);
}

/* A settled handheld that the centre asks for a resync; its first audit window is in flight. */
static void begin_commanded(struct agent_story *story)
{
    begin_settled(story, 50);
    story->centre.command =
        (struct command){.id = {1, 2, 3}, .has_resync = true, .resync_level = AUDIT_RECORDS};
    story->centre.has_command = true;
    agent_sync_now(story->agent);
    agent_story_answer(story, 0);
    assert_true(story->sent[RESYNC_SLOT].busy);
}

static void how_a_command_ended_is_told_until_an_answer_has_come(void **state)
{
    struct agent_story story;

    begin_commanded(&story);
    assert_int_equal(sqlite3_exec(story.store->database,
                         "UPDATE records SET bytes = x'00' WHERE key % 256 = 12", NULL, NULL, NULL),
        SQLITE_OK);
    story.centre.missing[0] = (struct run){.first = 10, .count = 5};
    story.centre.missing_count = 1;
    while (story.resyncs_done == 0)
        agent_story_answer(&story, RESYNC_SLOT);
    assert_true(story.sent[0].busy); /* which tells it */
    agent_story_fail(&story, 0, FAILURE_NETWORK);
    assert_int_equal(story.centre.result_count, 0);
    for (size_t i = 0; i < 30 && story.centre.result_count == 0; i++) {
        agent_story_wait(&story, 1000);
        agent_story_settle(&story);
    }
    assert_int_equal(story.centre.result_count, 1);
    assert_int_equal(story.centre.last_result.outcome, COMMAND_INCOMPLETE);
    assert_int_equal(story.centre.last_result.counts.records_missing, 5);
    assert_int_equal(story.centre.last_result.counts.records_sent_again, 4);
    assert_int_equal(story.centre.last_result.counts.records_gone, 1);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.centre.result_count, 1);
    agent_story_end(&story);
}

static void a_command_that_failed_says_why_and_is_tried_again(void **state)
{
    struct agent_story story;

    begin_commanded(&story);
    story.centre.refuses = true;
    story.centre.refusal = REFUSAL_OVER_QUOTA;
    agent_story_answer(&story, RESYNC_SLOT);
    story.centre.refuses = false;
    assert_int_equal(story.resyncs_done, 1);
    agent_story_settle(&story);
    assert_int_equal(story.centre.last_result.outcome, COMMAND_FAILED);
    assert_string_equal(story.centre.last_problem, "this device is over its quota at the centre");
    assert_true(story.centre.has_command);
    assert_int_equal(story.resyncs_done, 1); /* not at once */
    agent_story_wait(&story, RESYNC_COMMAND_RETRY_MS);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 2);
    assert_int_equal(story.centre.last_result.outcome, COMMAND_DONE);
    assert_false(story.centre.has_command);
    agent_story_end(&story);
}

static void a_handheld_that_restarts_in_the_middle_of_a_command_begins_it_again(void **state)
{
    struct agent_story story;

    begin_commanded(&story);
    agent_story_restart(&story);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_int_equal(story.report.cause, RESYNC_BY_SERVER);
    assert_int_equal(story.centre.result_count, 1);
    assert_int_equal(story.centre.last_result.outcome, COMMAND_DONE);
    agent_story_end(&story);
}

static void a_second_command_waits_for_the_first_and_both_are_told(void **state)
{
    struct agent_story story;

    begin_commanded(&story);
    story.centre.command =
        (struct command){.id = {4, 5, 6}, .has_resync = true, .resync_level = AUDIT_PRESENCE};
    agent_sync_now(story.agent);
    agent_story_answer(&story, 0);
    assert_int_equal(story.resyncs_done, 0);
    assert_true(story.sent[RESYNC_SLOT].busy);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 2);
    assert_int_equal(story.report.level, AUDIT_PRESENCE);
    assert_int_equal(story.centre.result_count, 2);
    agent_story_end(&story);
}

static void how_the_last_resync_ended_is_known_after_a_restart(void **state)
{
    struct agent_story story;
    struct agent_status status;

    begin_settled(&story, 50);
    story.centre.missing[0] = (struct run){.first = 10, .count = 5};
    story.centre.missing_count = 1;
    resync(&story, AUDIT_RECORDS);
    agent_story_restart(&story);
    assert_int_equal(agent_status(story.agent, &status), 0);
    assert_true(status.resync.finished);
    assert_true(status.resync.ok);
    assert_int_equal(status.resync.finished_ms, story.report.finished_ms);
    assert_int_equal(status.resync.cause, RESYNC_BY_USER);
    assert_int_equal(status.resync.level, AUDIT_RECORDS);
    assert_int_equal(status.resync.records_checked, 52);
    assert_int_equal(status.resync.records_sent_again, 5);

    assert_int_equal(store_set_setting(story.store, "last_resync", bytes_of_text("1 2 three")), 0);
    agent_story_restart(&story);
    assert_int_equal(agent_status(story.agent, &status), 0);
    assert_false(status.resync.finished);
    agent_story_end(&story);
}

static void an_audit_asked_for_before_an_upload_was_finished_says_nothing_of_that_photo(void **state)
{
    struct agent_story story;
    struct sha256 photo;
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};
    size_t patches;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    story.centre.gives_token = true;
    while (!story.sent[MEDIA_SLOT].busy)
        agent_story_answer(&story, 0);
    assert_int_equal(agent_resync(story.agent, AUDIT_MEDIA), 0);
    assert_true(story.sent[RESYNC_SLOT].busy);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = photo, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    centre_answer(&story, RESYNC_SLOT, &reply);
    story.centre.bad_blob_count = 0;
    while (!story.centre.blobs[0].stored)
        agent_story_answer(&story, MEDIA_SLOT);
    patches = story.centre.patches;
    agent_story_deliver(&story, RESYNC_SLOT, &reply.response);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.blobs_missing, 0);
    assert_int_equal(story.centre.patches, patches);
    agent_story_end(&story);
}

/* A settled handheld that uses a dictionary, at a centre that lacks three records. */
static void begin_with_dictionary(struct agent_story *story)
{
    agent_story_begin(story);
    story->centre.dictionary_count = dictionary_names(&story->centre.dictionaries);
    assert_true(story->centre.dictionary_count > 0);
    agent_story_record(story, 0, 50);
    agent_story_settle(story);
    story->centre.missing[0] = (struct run){.first = 5, .count = 3};
    story->centre.missing_count = 1;
    assert_int_equal(agent_resync(story->agent, AUDIT_PRESENCE), 0);
}

/* The centre does not know the dictionary of this request; it takes the next ones. */
static void refuse_and_go_on(struct agent_story *story, uint32_t slot)
{
    assert_true(story->sent[slot].busy);
    story->centre.refuses = true;
    story->centre.refusal = REFUSAL_BAD_REQUEST;
    agent_story_answer(story, slot);
    story->centre.refuses = false;
    for (size_t i = 0; i < 30 && story->resyncs_done == 0; i++) {
        agent_story_settle(story);
        agent_story_wait(story, 1000);
    }
}

static void an_audit_refused_for_its_dictionary_is_sent_again_without_one(void **state)
{
    struct agent_story story;

    begin_with_dictionary(&story);
    refuse_and_go_on(&story, RESYNC_SLOT);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.records_checked, agent_story_status(&story).log_size);
    assert_int_equal(story.centre.records_mended, 3);
    agent_story_end(&story);
}

static void a_repair_refused_for_its_dictionary_is_sent_again_without_one(void **state)
{
    struct agent_story story;

    begin_with_dictionary(&story);
    agent_story_answer(&story, RESYNC_SLOT);
    assert_int_equal(story.centre.repairs, 0);
    refuse_and_go_on(&story, RESYNC_SLOT);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.centre.records_mended, 3);
    assert_int_equal(story.centre.repairs, 2);
    assert_int_equal(story.centre.audits, 2); /* the second is the check after the repair */
    agent_story_end(&story);
}

static void a_refusal_heard_again_counts_once(void **state)
{
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};
    struct agent_story story;

    begin_settled(&story, 50);
    story.centre.refuses = true;
    story.centre.refusal = REFUSAL_BUSY;
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    centre_answer(&story, RESYNC_SLOT, &reply);
    for (unsigned i = 0; i < RESYNC_FAILURES_MAX; i++)
        agent_response(story.agent, RESYNC_SLOT, &reply.response);
    assert_int_equal(story.resyncs_done, 0);
    agent_story_end(&story);
}

static void a_new_incarnation_of_the_server_is_audited_until_that_has_succeeded(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 5);
    agent_story_settle(&story);
    assert_int_equal(story.centre.audits, 0);
    memset(story.centre.incarnation.b, 0x2d, UUID_BYTES);
    agent_sync_now(story.agent);
    agent_story_answer(&story, 0);
    assert_true(story.sent[3].busy);
    assert_string_equal(story.sent[3].path, "/v1/audit");
    /* Killed before the audit was answered: the next process asks again. */
    agent_story_restart(&story);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.centre.audits, 1);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.centre.audits, 1);
    agent_story_end(&story);
}

static void a_resync_that_began_before_the_new_incarnation_does_not_count_for_it(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 5);
    agent_story_settle(&story);
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    assert_true(story.sent[3].busy);
    memset(story.centre.incarnation.b, 0x2d, UUID_BYTES);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.resyncs_done, 1);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.centre.audits, 2);
    assert_int_equal(story.resyncs_done, 2);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.centre.audits, 2);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_log_is_found_so_in_one_round_trip_of_less_than_a_kilobyte),
        cmocka_unit_test(a_person_who_asks_for_more_than_the_running_resync_looks_at_gets_it),
        cmocka_unit_test(a_new_incarnation_of_the_server_is_audited_until_that_has_succeeded),
        cmocka_unit_test(a_resync_that_began_before_the_new_incarnation_does_not_count_for_it),
        cmocka_unit_test(missing_and_damaged_records_are_sent_again_with_proofs),
        cmocka_unit_test(a_centre_that_checks_whole_tiles_gets_no_proofs_and_is_asked_no_more),
        cmocka_unit_test(a_centre_that_cannot_check_the_tiles_after_all_gets_proofs_and_is_asked_again),
        cmocka_unit_test(records_without_proofs_are_sent_by_whole_tiles),
        cmocka_unit_test(a_tile_of_which_something_is_lost_here_goes_with_proofs),
        cmocka_unit_test(runs_beyond_the_end_or_named_twice_are_sent_once),
        cmocka_unit_test(a_tile_whose_root_differs_is_sent_again_whole),
        cmocka_unit_test(a_large_repair_is_sent_in_bounded_parts),
        cmocka_unit_test(a_repair_goes_on_when_the_log_has_grown_since_the_audit),
        cmocka_unit_test(a_record_neither_side_has_is_told_and_the_resync_is_not_ok),
        cmocka_unit_test(photos_found_missing_or_damaged_are_uploaded_again),
        cmocka_unit_test(a_photo_that_no_record_here_names_any_more_is_uploaded_too),
        cmocka_unit_test(a_photo_neither_side_has_is_told_and_the_resync_is_not_ok),
        cmocka_unit_test(a_photo_that_the_disk_cannot_read_now_is_not_told_as_gone),
        cmocka_unit_test(records_missing_at_the_servers_end_are_found_by_an_audit_too),
        cmocka_unit_test(an_unsigned_audit_answer_proves_nothing),
        cmocka_unit_test(an_audit_answer_cut_at_every_byte_proves_nothing),
        cmocka_unit_test(a_centre_that_has_more_of_the_log_is_no_damage_of_ours),
        cmocka_unit_test(a_command_of_the_centre_is_carried_out_once_and_names_itself),
        cmocka_unit_test(how_a_command_ended_is_told_until_an_answer_has_come),
        cmocka_unit_test(a_command_that_failed_says_why_and_is_tried_again),
        cmocka_unit_test(a_handheld_that_restarts_in_the_middle_of_a_command_begins_it_again),
        cmocka_unit_test(a_second_command_waits_for_the_first_and_both_are_told),
        cmocka_unit_test(how_the_last_resync_ended_is_known_after_a_restart),
        cmocka_unit_test(an_audit_asked_for_before_an_upload_was_finished_says_nothing_of_that_photo),
        cmocka_unit_test(an_audit_refused_for_its_dictionary_is_sent_again_without_one),
        cmocka_unit_test(a_repair_refused_for_its_dictionary_is_sent_again_without_one),
        cmocka_unit_test(a_refusal_heard_again_counts_once),
    };

    return cmocka_run_group_tests_name("agent resync", tests, NULL, NULL);
}
