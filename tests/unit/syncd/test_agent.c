/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/agent.h: exchanges, and what an answer must be to count. */
#include "tests/unit/syncd/agent_story.h"

#include "proto/compression.h"

#include <spawn.h>
#include <sys/wait.h>

/* Brings the exchange of the queue into slot 0, whatever the engine waits for. */
static void try_now(struct agent_story *story)
{
    if (!story->sent[0].busy)
        agent_sync_now(story->agent);
    assert_true(story->sent[0].busy);
}

static void expect_queued(struct agent_story *story, uint64_t queued)
{
    assert_int_equal(agent_story_status(story).records_queued, queued);
}

/* ---- what counts ---- */

static void records_are_sent_in_order_and_count_by_their_receipt(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 10);
    assert_string_equal(story.sent[0].path, "/v1/exchange");
    assert_string_equal(sent_header(&story.sent[0], "patrol-device"), "d1d1d1d1-d1d1-d1d1-d1d1-d1d1d1d1d1d1");
    expect_queued(&story, 10);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    assert_int_equal(agent_story_status(&story).records_sent, 10);
    assert_int_equal(story.centre.records_again, 0);
    assert_int_equal(story.syncs_done, 1);
    agent_story_end(&story);
}

static void an_answer_cut_at_every_byte_keeps_the_queue(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &reply);
    for (size_t len = 0; len < reply.body.len; len++) {
        struct http_response cut = reply.response;

        cut.body.len = len;
        agent_story_deliver(&story, 0, &cut);
        expect_queued(&story, 3);
        /* The same request, byte for byte, will not come again: answer the new one. */
        try_now(&story);
        centre_reply_done(&reply);
        reply = (struct centre_reply){0};
        centre_answer(&story, 0, &reply);
    }
    agent_story_deliver(&story, 0, &reply.response);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    /* Taken once by the centre, offered again each time. */
    assert_int_equal(story.centre.records_appended, agent_story_status(&story).log_size);
    agent_story_end(&story);
}

static void an_answer_with_any_byte_altered_keeps_the_queue(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &reply);
    for (size_t at = 0; at < reply.body.len; at++) {
        reply.body.data[at] ^= 1u << at % 8;
        agent_story_deliver(&story, 0, &reply.response);
        expect_queued(&story, 3);
        try_now(&story);
        centre_reply_done(&reply);
        reply = (struct centre_reply){0};
        centre_answer(&story, 0, &reply);
    }
    agent_story_end(&story);
}

static void a_200_of_anybody_else_acknowledges_nothing(void **state)
{
    static const char page[] = "<html>Welcome to the free network of the station</html>";
    struct agent_story story;
    struct buffer echo = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    buffer_put_bytes(&echo, buffer_bytes(&story.sent[0].body));
    const struct http_response strangers[] = {
        {.status = 200},
        {.status = 200, .body = bytes_of_text(page)},
        {.status = 200, .body = buffer_bytes(&echo)},
        {.status = 204},
        {.status = 302, .location = "http://portal.example/"},
        {.status = 401, .body = bytes_of_text(page)},
        {.status = 403, .body = bytes_of_text(page)},
        {.status = 404},
        {.status = 500},
        {.status = 504},
    };
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        try_now(&story);
        agent_story_deliver(&story, 0, &strangers[i]);
        expect_queued(&story, 3);
    }
    assert_int_equal(story.alarms, 0);
    assert_int_equal(story.syncs_done, 0);
    buffer_done(&echo);
    agent_story_end(&story);
}

/* Whose word it is an answer says itself, by the name and the id of a key: that proves nothing. Here the
 * envelope alone is forged, or the receipt in it too. */
static void an_answer_signed_by_another_key_acknowledges_nothing(void **state)
{
    struct agent_story story;
    struct sign_key genuine, other;
    uint8_t seed[SIGN_SEED_BYTES] = {9};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    genuine = story.centre.receipt_key;
    for (unsigned forgery = 0; forgery < 4; forgery++) {
        _cleanup_(centre_reply_done) struct centre_reply reply = {0};
        _cleanup_buffer_ struct buffer plain = {0};
        bool under_true_id = (forgery & 1) != 0, with_receipt = (forgery & 2) != 0;

        sign_key_from_seed(genuine.public.name, seed, &other);
        if (under_true_id)
            other.public = genuine.public;
        story.centre.receipt_key = with_receipt ? other : genuine;
        centre_answer(&story, 0, &reply);
        story.centre.receipt_key = genuine;
        if (!with_receipt)
            centre_sign_again(&reply, PAYLOAD_EXCHANGE_ANSWER, &other, &story.centre.device,
                centre_open(&reply, PAYLOAD_EXCHANGE_ANSWER, &genuine, &plain));
        agent_story_deliver(&story, 0, &reply.response);
        expect_queued(&story, 3);
        try_now(&story);
    }
    agent_story_settle(&story);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

/* The same size and root, and both signatures are genuine: but it says of another log that it is safe. */
static void a_receipt_of_another_log_acknowledges_nothing(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};
    struct checkpoint checkpoint;
    struct sign_key device;
    struct uuid other = {.b = {7}};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &reply);
    centre_reply_done(&reply);
    reply = (struct centre_reply){0};

    struct buffer *note = &story.centre.logs[0].note;
    assert_int_equal(checkpoint_parse(buffer_bytes(note), &checkpoint), 0);
    assert_int_equal(
        origin_format(story.enrolment.authority, story.enrolment.tenant, &other, checkpoint.origin), 0);
    sign_key_from_seed(story.centre.device_key.name, story.device_seed, &device);
    buffer_clear(note);
    assert_int_equal(checkpoint_sign(&checkpoint, &device, note), 0);
    centre_answer(&story, 0, &reply);
    agent_story_deliver(&story, 0, &reply.response);
    expect_queued(&story, 3);
    assert_int_equal(story.alarms, 0);
    agent_story_end(&story);
}

static void an_answer_for_another_device_or_of_another_type_acknowledges_nothing(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};
    _cleanup_buffer_ struct buffer plain = {0};
    struct uuid other = {.b = {1}};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &reply);
    centre_open(&reply, PAYLOAD_EXCHANGE_ANSWER, &story.centre.receipt_key, &plain);
    centre_sign_again(
        &reply, PAYLOAD_EXCHANGE_ANSWER, &story.centre.receipt_key, &other, buffer_bytes(&plain));
    agent_story_deliver(&story, 0, &reply.response);
    expect_queued(&story, 3);
    try_now(&story);
    centre_sign_again(
        &reply, PAYLOAD_AUDIT_ANSWER, &story.centre.receipt_key, &story.centre.device, buffer_bytes(&plain));
    agent_story_deliver(&story, 0, &reply.response);
    expect_queued(&story, 3);
    agent_story_end(&story);
}

static void the_answer_to_another_request_acknowledges_nothing(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply old = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &old);
    agent_story_fail(&story, 0, FAILURE_NETWORK);
    try_now(&story);
    /* Signed and whole, but of the request before. */
    agent_story_deliver(&story, 0, &old.response);
    expect_queued(&story, 3);
    agent_story_end(&story);
}

static void an_answer_played_again_later_acknowledges_nothing(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply old = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &old);
    agent_story_deliver(&story, 0, &old.response);
    agent_story_record(&story, 3, 2);
    expect_queued(&story, 2);
    agent_story_deliver(&story, 0, &old.response);
    expect_queued(&story, 2);
    agent_story_end(&story);
}

static void an_answer_after_its_time_changes_nothing(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply late = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &late);
    agent_story_wait(&story, engine_config_default().answer_deadline_ms);
    assert_false(story.sent[0].busy);
    agent_response(story.agent, 0, &late.response);
    expect_queued(&story, 3);
    agent_story_end(&story);
}

static void a_lost_answer_makes_no_duplicate(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 20);
    for (size_t i = 0; i < 5; i++) {
        _cleanup_(centre_reply_done) struct centre_reply lost = {0};

        centre_answer(&story, 0, &lost);
        agent_story_fail(&story, 0, FAILURE_NETWORK);
        try_now(&story);
    }
    agent_story_settle(&story);
    expect_queued(&story, 0);
    assert_int_equal(story.centre.records_appended, agent_story_status(&story).log_size);
    assert_true(story.centre.records_again > 0);
    agent_story_end(&story);
}

static void an_answer_the_store_cannot_take_is_not_an_acknowledgement(void **state);

/* ---- a server or a handheld that went back, and copies ---- */

static void a_server_set_back_gets_again_what_it_lost(void **state)
{
    struct agent_story story;
    struct buffer old_note = {0};
    uint64_t old_size;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 5);
    agent_story_settle(&story);
    old_size = story.centre.logs[0].size;
    buffer_put_bytes(&old_note, buffer_bytes(&story.centre.logs[0].note));
    agent_story_record(&story, 5, 5);
    agent_story_settle(&story);
    /* Restored from a backup. */
    story.centre.logs[0].size = old_size;
    buffer_clear(&story.centre.logs[0].note);
    buffer_put_bytes(&story.centre.logs[0].note, buffer_bytes(&old_note));
    agent_story_record(&story, 10, 1);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    assert_int_equal(story.centre.logs[0].size, agent_story_status(&story).log_size);
    assert_true(story.alarms >= 1);
    /* And it was audited by itself. */
    assert_true(story.centre.audits >= 1);
    buffer_done(&old_note);
    agent_story_end(&story);
}

static void a_server_that_lost_the_whole_log_gets_it_again(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 5);
    agent_story_settle(&story);
    story.centre.logs[0].size = 0;
    buffer_clear(&story.centre.logs[0].note);
    agent_sync_now(story.agent);
    agent_story_answer(&story, 0);
    expect_queued(&story, 5);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    assert_int_equal(story.centre.logs[0].size, agent_story_status(&story).log_size);
    agent_story_end(&story);
}

static void a_late_small_receipt_is_not_taken_for_a_server_set_back(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply first = {0}, second = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    agent_story_record(&story, 1, 600);
    centre_answer(&story, 0, &first);
    centre_answer(&story, 1, &second);
    agent_story_deliver(&story, 1, &second.response);
    agent_story_deliver(&story, 0, &first.response);
    agent_story_settle(&story);
    assert_int_equal(story.alarms, 0);
    assert_int_equal(story.centre.audits, 0);
    assert_int_equal(story.centre.records_again, 0);
    agent_story_end(&story);
}

/* Copies the data directory as it is now; the story goes on there after `become_copy`. */
static char *copy_directory(struct agent_story *story)
{
    char *copy = unit_directory_make(), *from = files_join(story->directory, ".");
    char *arguments[] = {(char *)(uintptr_t) "cp", (char *)(uintptr_t) "-r", from, copy, NULL};
    int status;
    pid_t pid;

    assert_int_equal(store_checkpoint_wal(story->store, true), 0);
    assert_int_equal(posix_spawnp(&pid, "cp", NULL, NULL, arguments, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    free(from);
    return copy;
}

static void become_copy(struct agent_story *story, char *copy)
{
    struct store_opened opened;

    agent_free(story->agent);
    store_free(story->store);
    unit_directory_remove(story->directory);
    story->directory = copy;
    story->store = NULL;
    assert_int_equal(store_open(story->world, copy, STORE_DAEMON, &story->store, &opened), 0);
    story->agent = NULL;
    agent_story_restart(story);
}

static void a_copy_of_a_handheld_opens_a_new_log_and_loses_nothing(void **state)
{
    struct agent_story story;
    char *copy;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 5);
    agent_story_settle(&story);
    copy = copy_directory(&story);
    agent_story_record(&story, 100, 5);
    agent_story_settle(&story);
    become_copy(&story, copy);
    agent_story_record(&story, 200, 4);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    assert_int_equal(agent_story_status(&story).records_sent, 9);
    assert_int_equal(story.centre.log_count, 2);
    assert_non_null(strstr(story.last_alarm, "copy"));
    /* opened, boot, and all nine, also the five that had a receipt: the centre may have been set back before
     * the other one wrote there. */
    assert_true(story.centre.logs[1].size >= 10);
    /* What the other one wrote in the old log is none of our business. */
    assert_int_equal(agent_resync(story.agent, AUDIT_RECORDS), 0);
    agent_story_settle(&story);
    assert_int_equal(story.centre.audits, 1);
    assert_true(story.report.ok);
    agent_story_end(&story);
}

static void a_handheld_set_back_opens_a_new_log_before_it_appends(void **state)
{
    struct agent_story story;
    struct uuid old_log;
    char *copy;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 5);
    agent_story_settle(&story);
    copy = copy_directory(&story);
    agent_story_record(&story, 100, 5);
    agent_story_settle(&story);
    become_copy(&story, copy);
    old_log = agent_story_status(&story).log;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_non_null(strstr(story.last_alarm, "set back"));
    struct uuid new_log = agent_story_status(&story).log;
    assert_false(uuid_equal(&old_log, &new_log));
    agent_story_record(&story, 300, 3);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    assert_int_equal(story.centre.log_count, 2);
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), 0);
    agent_story_settle(&story);
    assert_true(story.report.ok);
    agent_story_end(&story);
}

/* ---- refusals ---- */

static void a_signed_refusal_is_believed_and_an_unsigned_one_is_not(void **state)
{
    struct agent_story story;
    struct agent_status status;
    const struct http_response unsigned_refusal = {.status = 403};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    agent_story_deliver(&story, 0, &unsigned_refusal);
    assert_int_equal(agent_status(story.agent, &status), 0);
    assert_false(status.engine.refused);
    story.centre.refuses = true;
    story.centre.refusal = REFUSAL_REVOKED;
    try_now(&story);
    agent_story_answer(&story, 0);
    assert_int_equal(agent_status(story.agent, &status), 0);
    assert_true(status.engine.refused);
    assert_int_equal(story.alarms, 1);
    assert_int_equal(story.syncs_refused, 1);
    expect_queued(&story, 3);
    /* Restored: nothing was lost meanwhile. */
    story.centre.refuses = false;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

static void a_refusal_of_another_request_is_a_network_fault(void **state)
{
    struct agent_story story;
    struct agent_status status;
    _cleanup_(centre_reply_done) struct centre_reply old = {0};

    agent_story_begin(&story);
    story.centre.refuses = true;
    story.centre.refusal = REFUSAL_REVOKED;
    agent_story_record(&story, 0, 3);
    centre_answer(&story, 0, &old);
    agent_story_fail(&story, 0, FAILURE_NETWORK);
    try_now(&story);
    agent_story_deliver(&story, 0, &old.response);
    assert_int_equal(agent_status(story.agent, &status), 0);
    assert_false(status.engine.refused);
    agent_story_end(&story);
}

static void an_unknown_device_sends_its_certificate(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    story.centre.refuses = true;
    story.centre.refusal = REFUSAL_UNKNOWN_DEVICE;
    agent_story_record(&story, 0, 3);
    agent_story_answer(&story, 0);
    story.centre.refuses = false;
    agent_story_answer(&story, 0);
    assert_true(story.centre.last_had_certificate);
    assert_int_equal(story.centre.last_record_count, 0);
    agent_story_settle(&story);
    assert_false(story.centre.last_had_certificate);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

static void a_dictionary_is_used_when_the_server_names_it_and_dropped_when_it_forgot_it(void **state)
{
    struct agent_story story;
    const uint32_t *names;
    size_t without, with, dropped;

    agent_story_begin(&story);
    assert_true(dictionary_names(&names) > 0);
    agent_story_record(&story, 0, 1);
    without = story.sent[0].body.len;
    story.centre.dictionaries = names;
    story.centre.dictionary_count = 1;
    agent_story_settle(&story);
    agent_story_record(&story, 1, 1);
    with = story.sent[0].body.len;
    assert_true(with < without);
    /* It survives a restart. */
    agent_story_restart(&story);
    assert_true(story.sent[0].busy);
    assert_true(story.sent[0].body.len < without);
    /* An older server, from a backup of the whole machine. */
    story.centre.dictionary_count = 0;
    story.centre.refuses = true;
    story.centre.refusal = REFUSAL_BAD_REQUEST;
    agent_story_answer(&story, 0);
    story.centre.refuses = false;
    agent_story_wait(&story, 1000);
    dropped = story.sent[0].body.len;
    assert_true(dropped > with);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    assert_int_equal(story.alarms, 0);
    agent_story_end(&story);
}

static void columns_are_sent_when_the_server_takes_them_and_rows_when_it_forgot_them(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    story.centre.takes_columns = true;
    agent_story_record(&story, 0, 8);
    agent_story_settle(&story);
    assert_false(story.centre.last_had_columns); /* nobody had said that it takes them */
    agent_story_record(&story, 8, 8);
    agent_story_settle(&story);
    assert_true(story.centre.last_had_columns);
    agent_story_record(&story, 16, 2);
    agent_story_settle(&story);
    assert_false(story.centre.last_had_columns); /* so few are smaller in rows */
    /* It survives a restart. */
    agent_story_restart(&story);
    agent_story_settle(&story);
    agent_story_record(&story, 18, 8);
    assert_true(story.sent[0].busy);
    /* An older server, from a backup of the whole machine. */
    story.centre.takes_columns = false;
    story.centre.refuses = true;
    story.centre.refusal = REFUSAL_BAD_REQUEST;
    agent_story_answer(&story, 0);
    story.centre.refuses = false;
    agent_story_wait(&story, 1000);
    agent_story_settle(&story);
    assert_false(story.centre.last_had_columns);
    expect_queued(&story, 0);
    assert_int_equal(story.alarms, 0);
    agent_story_end(&story);
}

/* ---- the store ---- */

static bool lock_is_held_by_another;

static int refuse_lock(void *context, int lock)
{
    return lock_is_held_by_another ? -EWOULDBLOCK : world_posix()->verbs->try_lock(context, lock);
}

static void pause_nothing(void *context, unsigned ms)
{
    ((struct agent_story *)context)->boot_ms += ms;
}

static void an_answer_the_store_cannot_take_is_not_an_acknowledgement(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    story.own.verbs.try_lock = refuse_lock;
    story.own.verbs.pause_ms = pause_nothing;
    lock_is_held_by_another = true;
    agent_story_answer(&story, 0);
    expect_queued(&story, 3);
    assert_int_equal(story.syncs_done, 0);
    lock_is_held_by_another = false;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

static void a_damaged_record_that_was_never_sent_is_told_to_the_owner_of_the_store(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    append_many(story.store, 1, 3);
    assert_int_equal(sqlite3_exec(story.store->database,
                         "UPDATE records SET bytes = x'00' WHERE key % 256 = 3", NULL, NULL, NULL),
        SQLITE_OK);
    agent_store_changed(story.agent);
    assert_false(story.sent[0].busy);
    assert_int_equal(story.damaged, 1);
    agent_story_wait(&story, 60000);
    assert_int_equal(story.damaged, 1);
    agent_story_end(&story);
}

static void a_long_backlog_goes_out_in_bounded_requests(void **state)
{
    struct agent_story story;
    size_t largest = 0, both = 0;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 12000);
    while (story.syncs_done == 0) {
        for (uint32_t slot = 0; slot < 2; slot++) {
            if (!story.sent[slot].busy)
                continue;
            if (story.sent[slot].body.len > largest)
                largest = story.sent[slot].body.len;
            both += story.sent[0].busy && story.sent[1].busy;
            story.boot_ms += 20;
            agent_story_answer(&story, slot);
        }
    }
    assert_true(largest <= EXCHANGE_ENVELOPE_BYTES_MAX);
    assert_true(both > 0);
    assert_int_equal(story.centre.records_again, 0);
    assert_int_equal(agent_story_status(&story).records_sent, 12000);
    agent_story_end(&story);
}

static void a_request_that_cannot_be_started_is_a_network_fault(void **state)
{
    struct agent_story story;
    struct agent_status status;

    agent_story_begin(&story);
    story.send_result = -EMFILE;
    agent_story_record(&story, 0, 3);
    assert_int_equal(agent_status(story.agent, &status), 0);
    assert_int_equal(status.engine.wait, ENGINE_WAIT_BACKOFF);
    assert_int_equal(status.engine.failures_in_row, 1);
    story.send_result = 0;
    agent_story_wait(&story, 10000);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

static void without_an_enrolment_it_waits_and_then_sends_all(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_free(story.agent);
    {
        struct agent_options options = {
            .world = story.world, .store = story.store, .engine = engine_config_default()};

        assert_int_equal(agent_new(&options, &story.agent), 0);
    }
    assert_int_equal(agent_start(story.agent), 0);
    agent_story_record(&story, 0, 3);
    agent_sync_now(story.agent);
    assert_int_equal(agent_resync(story.agent, AUDIT_PRESENCE), -ENOTCONN);
    assert_int_equal(agent_next_timer_ms(story.agent), 0);
    agent_free(story.agent);
    story.agent = NULL;
    agent_story_restart(&story);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

static void a_new_enrolment_ends_what_was_in_flight(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 3);
    assert_true(story.sent[0].busy);
    assert_int_equal(agent_set_enrolment(story.agent, &story.enrolment, story.device_seed), 0);
    assert_false(story.sent[0].busy);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

static int interrupt_it(void *user)
{
    return 1;
}

/* And nobody rings again, as nothing else is recorded. */
static void a_store_that_could_not_be_read_is_looked_at_again_by_itself(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    assert_true(agent_story_status(&story).records_queued == 0);
    struct store_appended appended;
    assert_int_equal(append_note(story.store, "recorded while the store cannot be read", &appended), 0);
    sqlite3_progress_handler(story.store->database, 1, interrupt_it, NULL);
    agent_store_changed(story.agent);
    sqlite3_progress_handler(story.store->database, 0, NULL, NULL);
    expect_queued(&story, 1);
    assert_true(agent_next_timer_ms(story.agent) > 0);
    assert_true(agent_next_timer_ms(story.agent) <= story.boot_ms + 60000);
    agent_story_wait(&story, 60000);
    agent_story_settle(&story);
    expect_queued(&story, 0);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_could_not_be_read_is_looked_at_again_by_itself),
        cmocka_unit_test(records_are_sent_in_order_and_count_by_their_receipt),
        cmocka_unit_test(an_answer_cut_at_every_byte_keeps_the_queue),
        cmocka_unit_test(an_answer_with_any_byte_altered_keeps_the_queue),
        cmocka_unit_test(a_200_of_anybody_else_acknowledges_nothing),
        cmocka_unit_test(an_answer_signed_by_another_key_acknowledges_nothing),
        cmocka_unit_test(a_receipt_of_another_log_acknowledges_nothing),
        cmocka_unit_test(an_answer_for_another_device_or_of_another_type_acknowledges_nothing),
        cmocka_unit_test(the_answer_to_another_request_acknowledges_nothing),
        cmocka_unit_test(an_answer_played_again_later_acknowledges_nothing),
        cmocka_unit_test(an_answer_after_its_time_changes_nothing),
        cmocka_unit_test(a_lost_answer_makes_no_duplicate),
        cmocka_unit_test(a_server_set_back_gets_again_what_it_lost),
        cmocka_unit_test(a_server_that_lost_the_whole_log_gets_it_again),
        cmocka_unit_test(a_late_small_receipt_is_not_taken_for_a_server_set_back),
        cmocka_unit_test(a_copy_of_a_handheld_opens_a_new_log_and_loses_nothing),
        cmocka_unit_test(a_handheld_set_back_opens_a_new_log_before_it_appends),
        cmocka_unit_test(a_signed_refusal_is_believed_and_an_unsigned_one_is_not),
        cmocka_unit_test(a_refusal_of_another_request_is_a_network_fault),
        cmocka_unit_test(an_unknown_device_sends_its_certificate),
        cmocka_unit_test(columns_are_sent_when_the_server_takes_them_and_rows_when_it_forgot_them),
        cmocka_unit_test(a_dictionary_is_used_when_the_server_names_it_and_dropped_when_it_forgot_it),
        cmocka_unit_test(an_answer_the_store_cannot_take_is_not_an_acknowledgement),
        cmocka_unit_test(a_damaged_record_that_was_never_sent_is_told_to_the_owner_of_the_store),
        cmocka_unit_test(a_long_backlog_goes_out_in_bounded_requests),
        cmocka_unit_test(a_request_that_cannot_be_started_is_a_network_fault),
        cmocka_unit_test(without_an_enrolment_it_waits_and_then_sends_all),
        cmocka_unit_test(a_new_enrolment_ends_what_was_in_flight),
    };

    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
