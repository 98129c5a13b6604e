/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the service's exchange: server/service_exchange.c over SQLite. */
#include "tests/unit/server/client.h"

#include <pthread.h>

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

static void records_are_stored_and_receipted(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(handheld);
    append_findings(handheld, 9);
    exchange(centre, handheld, 0, 10, &answered);

    assert_int_equal(answered.status, 200);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(answered.exchange.size, 10);
    struct checkpoint checkpoint = read_receipt(handheld, answered.exchange.receipt);
    struct sha256 root = merkle_root_of(handheld->leaves, 10);
    assert_int64_equal(checkpoint.size, 10);
    assert_memory_equal(checkpoint.root.b, root.b, SHA256_BYTES);
    assert_int_equal(answered.exchange.quarantined_count, 0);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 10);
    handheld_free(handheld);
}

static void findings_are_projected_with_all_they_say(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_finding(handheld, "hoarding torn 围挡破损");
    deliver(centre, handheld);

    struct listing *listing = list_findings(centre);
    struct uuid id = record_id(handheld, 1);
    assert_int_equal(listing->count, 1);
    assert_memory_equal(listing->rows[0].id.b, id.b, UUID_BYTES);
    assert_string_equal(listing->rows[0].note, "hoarding torn 围挡破损");
    assert_string_equal(listing->rows[0].state, "stored");
    assert_int_equal(listing->rows[0].kind, RECORD_FINDING);
    assert_true(listing->rows[0].complete);
    free(listing);
    handheld_free(handheld);
}

static void the_same_request_again_changes_nothing(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_findings(handheld, 4);
    for (int i = 0; i < 3; i++) {
        _cleanup_answered_ struct answered answered = {0};

        exchange(centre, handheld, 0, 5, &answered);
        assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
        assert_int64_equal(answered.exchange.size, 5);
        assert_int64_equal(read_receipt(handheld, answered.exchange.receipt).size, 5);
    }
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 4);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 5);
    free(listing);
    handheld_free(handheld);
}

static void an_overlap_is_skipped_and_the_rest_appended(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered first = {0}, second = {0}, older = {0};

    append_opened(handheld);
    append_findings(handheld, 9);
    exchange(centre, handheld, 0, 6, &first);
    exchange(centre, handheld, 3, 7, &second);
    assert_int_equal(second.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(second.exchange.size, 10);
    /* An older request that comes late is answered with the newest receipt. */
    exchange(centre, handheld, 0, 6, &older);
    assert_int_equal(older.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(read_receipt(handheld, older.exchange.receipt).size, 10);
    handheld_free(handheld);
}

static void a_request_ahead_of_its_log_is_told_the_size_and_can_be_committed_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_buffer_ struct buffer body = {0};
    _cleanup_answered_ struct answered before = {0}, after = {0};
    struct service_reply reply = {0};
    struct service_job *job = NULL;
    struct sha256 sha256;
    struct uuid log;

    append_opened(handheld);
    append_findings(handheld, 9);
    make_exchange(handheld, 5, 5, NULL, &body, &sha256);
    assert_int_equal(service_prepare(centre->service, SERVICE_EXCHANGE, buffer_bytes(&body), &job), 0);
    assert_int_equal(service_commit(centre->service, &job, 1), 0);
    assert_true(service_job_is_ahead(job, &log));
    assert_memory_equal(log.b, handheld->log.b, UUID_BYTES);

    exchange(centre, handheld, 0, 5, &before);
    assert_int_equal(service_commit(centre->service, &job, 1), 0);
    assert_false(service_job_is_ahead(job, &log));
    service_answer(centre->service, job, &reply);
    after = (struct answered){.status = reply.status, .body = reply.body};
    read_answer(centre, &sha256, &after);
    assert_int_equal(after.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(after.exchange.size, 10);
    service_job_free(job);
    handheld_free(handheld);
}

static void a_request_that_stays_ahead_is_answered_ahead(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered first = {0}, ahead = {0};

    append_opened(handheld);
    append_findings(handheld, 9);
    exchange(centre, handheld, 0, 3, &first);
    exchange(centre, handheld, 5, 5, &ahead);
    assert_int_equal(ahead.status, 200);
    assert_int_equal(ahead.exchange.outcome, EXCHANGE_AHEAD);
    assert_int64_equal(ahead.exchange.size, 3);
    assert_int64_equal(read_receipt(handheld, ahead.exchange.receipt).size, 3);
    handheld_free(handheld);
}

static void a_fork_is_answered_with_the_leaf_held_and_raises_one_alarm(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct handheld *clone = handheld_new();

    append_opened(handheld);
    append_findings(handheld, 4);
    deliver(centre, handheld);

    /* A copy of the handheld's data went on by itself from record 3. */
    clone->device = handheld->device;
    clone->key = handheld->key;
    clone->log = handheld->log;
    clone->server_key = handheld->server_key;
    for (size_t i = 0; i < 3; i++)
        append_bytes(clone, handheld->records[i]);
    append_finding(clone, "what the other copy saw");
    append_finding(clone, "and then");
    append_finding(clone, "and then again");
    for (int i = 0; i < 2; i++) {
        _cleanup_answered_ struct answered answered = {0};

        exchange(centre, clone, 2, 4, &answered);
        assert_int_equal(answered.status, 200);
        assert_int_equal(answered.exchange.outcome, EXCHANGE_FORK);
        assert_int64_equal(answered.exchange.fork_seq, 3);
        assert_memory_equal(answered.exchange.fork_leaf.b, handheld->leaves[3].b, SHA256_BYTES);
        assert_int64_equal(answered.exchange.size, 5);
    }
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 5);
    assert_int64_equal(last_device(centre).alarms, 1);
    struct service_metrics metrics;
    service_metrics(centre->service, &metrics);
    assert_int64_equal(metrics.forks, 1);
    handheld_free(handheld);
    handheld_free(clone);
}

static void damage_on_this_side_is_not_taken_for_a_fork(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(handheld);
    append_findings(handheld, 299);
    deliver(centre, handheld);
    centre_sql(centre, "UPDATE records SET leaf = zeroblob(32) WHERE key & 0xffffffffff IN (7, 290)");
    append_findings(handheld, 1);
    exchange(centre, handheld, 0, 301, &answered);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(answered.exchange.size, 301);
    assert_int64_equal(last_device(centre).alarms, 0);
    handheld_free(handheld);
}

static void records_that_do_not_give_the_signed_root_are_not_taken(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered first = {0}, second = {0}, third = {0};

    append_opened(handheld);
    append_findings(handheld, 9);
    exchange(centre, handheld, 0, 5, &first);
    /* The handheld's own memory of record 3 differs from what it has sent, unseen by this request. */
    struct sha256 right = handheld->leaves[3];
    handheld->leaves[3].b[0] ^= 1;
    exchange(centre, handheld, 5, 5, &second);
    assert_int_equal(second.exchange.outcome, EXCHANGE_ROOT_MISMATCH);
    assert_int64_equal(second.exchange.size, 5);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 5);
    assert_int64_equal(last_device(centre).alarms, 1);

    handheld->leaves[3] = right;
    exchange(centre, handheld, 5, 5, &third);
    assert_int_equal(third.exchange.outcome, EXCHANGE_STORED);
    handheld_free(handheld);
}

static void rows_left_over_behind_the_log_do_not_stop_it(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered first = {0}, second = {0};

    append_opened(handheld);
    append_findings(handheld, 9);
    exchange(centre, handheld, 0, 5, &first);
    centre_sql(centre,
        "INSERT INTO records SELECT key + 1, arrival, received_ms, state, leaf, bytes FROM records"
        " ORDER BY key DESC LIMIT 1");
    exchange(centre, handheld, 5, 5, &second);
    assert_int_equal(second.exchange.outcome, EXCHANGE_STORED);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 10);
    handheld_free(handheld);
}

struct post {
    struct centre *centre;
    struct bytes body;
    struct service_job *job;
};

static void *prepare_post(void *user)
{
    struct post *post = user;

    (void)service_prepare(post->centre->service, SERVICE_EXCHANGE, post->body, &post->job);
    return NULL;
}

static void five_identical_parallel_posts_store_one_record_and_give_one_receipt(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_buffer_ struct buffer body = {0};
    struct service_job *jobs[5];
    struct post posts[5];
    pthread_t threads[5];
    struct sha256 sha256;

    append_opened(handheld);
    deliver(centre, handheld);
    append_finding(handheld, "once");
    make_exchange(handheld, 1, 1, NULL, &body, &sha256);
    for (size_t i = 0; i < 5; i++) {
        posts[i] = (struct post){.centre = centre, .body = buffer_bytes(&body)};
        assert_int_equal(pthread_create(&threads[i], NULL, prepare_post, &posts[i]), 0);
    }
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        jobs[i] = posts[i].job;
    }
    assert_int_equal(service_commit(centre->service, jobs, 5), 0);
    for (size_t i = 0; i < 5; i++) {
        _cleanup_answered_ struct answered answered = {0};
        struct service_reply reply = {0};

        service_answer(centre->service, jobs[i], &reply);
        answered.body = reply.body;
        read_answer(centre, &sha256, &answered);
        assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
        struct checkpoint checkpoint = read_receipt(handheld, answered.exchange.receipt);
        struct sha256 root = merkle_root_of(handheld->leaves, 2);
        assert_int64_equal(checkpoint.size, 2);
        assert_memory_equal(checkpoint.root.b, root.b, SHA256_BYTES);
        service_job_free(jobs[i]);
    }
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 1);
    free(listing);
    handheld_free(handheld);
}

static void two_requests_of_one_log_in_one_group_are_taken_in_order(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_buffer_ struct buffer first = {0}, second = {0};
    struct service_job *jobs[2];
    struct sha256 hashes[2];

    append_opened(handheld);
    append_findings(handheld, 9);
    make_exchange(handheld, 0, 5, NULL, &first, &hashes[0]);
    make_exchange(handheld, 5, 5, NULL, &second, &hashes[1]);
    assert_int_equal(service_prepare(centre->service, SERVICE_EXCHANGE, buffer_bytes(&first), &jobs[0]), 0);
    assert_int_equal(service_prepare(centre->service, SERVICE_EXCHANGE, buffer_bytes(&second), &jobs[1]), 0);
    assert_int_equal(service_commit(centre->service, jobs, 2), 0);
    for (size_t i = 0; i < 2; i++) {
        _cleanup_answered_ struct answered answered = {0};
        struct service_reply reply = {0};

        service_answer(centre->service, jobs[i], &reply);
        answered.body = reply.body;
        read_answer(centre, &hashes[i], &answered);
        assert_int64_equal(answered.exchange.size, 5 * (i + 1));
        assert_int64_equal(read_receipt(handheld, answered.exchange.receipt).size, 5 * (i + 1));
        service_job_free(jobs[i]);
    }
    handheld_free(handheld);
}

static void a_bad_job_does_not_spoil_the_others_of_its_group(void **state)
{
    struct centre *centre = *state;
    struct handheld *good = handheld_enrolled(centre), *bad = handheld_enrolled(centre);
    struct buffer bodies[2] = {{0}, {0}};
    struct service_job *jobs[2];
    struct service_reply reply = {0};
    struct sha256 hashes[2];

    append_opened(good);
    append_opened(bad);
    bad->log = good->log; /* claims a log that will belong to the other */
    make_exchange(good, 0, 1, NULL, &bodies[0], &hashes[0]);
    make_exchange(bad, 0, 1, NULL, &bodies[1], &hashes[1]);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(
            service_prepare(centre->service, SERVICE_EXCHANGE, buffer_bytes(&bodies[i]), &jobs[i]), 0);
    assert_int_equal(service_commit(centre->service, jobs, 2), 0);

    _cleanup_answered_ struct answered first = {0}, second = {0};
    service_answer(centre->service, jobs[0], &reply);
    first.body = reply.body;
    read_answer(centre, &hashes[0], &first);
    assert_int_equal(first.exchange.outcome, EXCHANGE_STORED);
    service_answer(centre->service, jobs[1], &reply);
    second.body = reply.body;
    read_answer(centre, &hashes[1], &second);
    assert_true(second.is_refused);
    assert_int_equal(second.refusal.reason, REFUSAL_LOG_OF_OTHER_DEVICE);
    for (size_t i = 0; i < 2; i++) {
        service_job_free(jobs[i]);
        buffer_done(&bodies[i]);
    }
    handheld_free(good);
    handheld_free(bad);
}

static void a_damaged_log_does_not_hold_up_the_others_of_its_group(void **state)
{
    struct centre *centre = *state;
    struct handheld *good = handheld_enrolled(centre), *bad = handheld_enrolled(centre);
    struct buffer bodies[2] = {{0}, {0}};
    struct service_job *jobs[2];
    struct service_reply reply = {0};
    struct sha256 hashes[2];

    append_opened(good);
    append_opened(bad);
    deliver(centre, good);
    deliver(centre, bad);
    centre_sql(centre, "UPDATE logs SET frontier = x'00' WHERE number = 2");
    append_finding(good, "goes on");
    append_finding(bad, "has to wait");
    make_exchange(bad, 1, 1, NULL, &bodies[0], &hashes[0]);
    make_exchange(good, 1, 1, NULL, &bodies[1], &hashes[1]);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(
            service_prepare(centre->service, SERVICE_EXCHANGE, buffer_bytes(&bodies[i]), &jobs[i]), 0);
    assert_int_equal(service_commit(centre->service, jobs, 2), 0);

    _cleanup_answered_ struct answered first = {0}, second = {0};
    service_answer(centre->service, jobs[0], &reply);
    assert_int_equal(reply.status, 503);
    first.body = reply.body;
    read_answer(centre, &hashes[0], &first);
    assert_int_equal(first.refusal.reason, REFUSAL_BUSY);
    service_answer(centre->service, jobs[1], &reply);
    second.body = reply.body;
    read_answer(centre, &hashes[1], &second);
    assert_int_equal(second.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(second.exchange.size, 2);
    for (size_t i = 0; i < 2; i++) {
        service_job_free(jobs[i]);
        buffer_done(&bodies[i]);
    }
    handheld_free(good);
    handheld_free(bad);
}

static void damage_that_is_met_before_a_commit_is_called_damage(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(handheld);
    deliver(centre, handheld);
    centre_sql(centre, "UPDATE logs SET frontier = x'00'");
    audit_with(centre, handheld, &(struct audit_request){.level = AUDIT_RECORDS}, &answered);
    assert_true(answered.is_refused);
    assert_int_equal(answered.refusal.reason, REFUSAL_BUSY);
    assert_int_equal(answered.refusal.busy_cause, BUSY_DAMAGED);
    handheld_free(handheld);
}

static void what_was_acknowledged_is_there_after_a_restart(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(handheld);
    append_findings(handheld, 300);
    deliver(centre, handheld);
    centre_restart(centre);
    append_findings(handheld, 1);
    exchange(centre, handheld, 301, 1, &answered);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(answered.exchange.size, 302);
    handheld_free(handheld);
}

static void a_request_that_only_asks_is_answered_with_what_is_held(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered empty = {0}, asked = {0}, ahead = {0};

    exchange(centre, handheld, 0, 0, &empty);
    assert_int_equal(empty.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(empty.exchange.size, 0);
    assert_int_equal(empty.exchange.receipt.len, 0);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM logs"), 0);

    append_opened(handheld);
    append_findings(handheld, 4);
    deliver(centre, handheld);
    exchange(centre, handheld, 5, 0, &asked);
    assert_int_equal(asked.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(read_receipt(handheld, asked.exchange.receipt).size, 5);
    append_findings(handheld, 2);
    exchange(centre, handheld, 7, 0, &ahead);
    assert_int_equal(ahead.exchange.outcome, EXCHANGE_AHEAD);
    assert_int64_equal(ahead.exchange.size, 5);
    handheld_free(handheld);
}

static void a_handheld_without_the_newest_dictionary_is_told_what_it_may_use(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    _cleanup_answered_ struct answered without = {0}, with = {0};
    struct exchange_request request = {.log = handheld->log};
    const uint32_t *names = NULL;
    struct sha256 sha256;

    request_id(request.request_id);
    assert_int_equal(exchange_request_encode(&request, &plain), 0);
    assert_int_equal(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain), 6, DICTIONARY_NONE,
                         &handheld->device, &handheld->key, &body, &sha256),
        0);
    send_body(centre, SERVICE_EXCHANGE, buffer_bytes(&body), &sha256, &without);
    assert_int_equal(without.exchange.has_capabilities, dictionary_names(&names) > 0);
    if (without.exchange.has_capabilities)
        assert_int_equal(without.exchange.capabilities.record_bytes_max, RECORD_BYTES_MAX);
    exchange(centre, handheld, 0, 0, &with);
    assert_false(with.exchange.has_capabilities);
    handheld_free(handheld);
}

static void records_in_columns_are_stored_as_those_in_rows_are(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    const struct exchange_request columns = {.as_columns = true};
    _cleanup_answered_ struct answered few = {0}, rows = {0}, transposed = {0}, again = {0};
    struct service_check_report report;

    append_opened(handheld);
    append_findings(
        handheld, 2000); /* far longer than their columns, and than what their length would allow */
    append_bytes(handheld, bytes_of_text("\xff no record"));
    exchange_with(centre, handheld, 0, 2, NULL, &few);
    assert_false(few.exchange.has_capabilities);
    exchange_with(centre, handheld, 2, 18, NULL, &rows);
    assert_int64_equal(rows.exchange.size, 20);
    assert_true(rows.exchange.has_capabilities); /* it may be that the handheld never heard of columns */
    assert_true(rows.exchange.capabilities.takes_columns);
    exchange_with(centre, handheld, 15, 1987, &columns, &transposed);
    assert_int_equal(transposed.exchange.outcome, EXCHANGE_STORED);
    assert_false(transposed.exchange.has_capabilities);
    struct checkpoint receipt = read_receipt(handheld, transposed.exchange.receipt);
    struct sha256 root = merkle_root_of(handheld->leaves, 2002);
    assert_int64_equal(receipt.size, 2002);
    assert_memory_equal(receipt.root.b, root.b, SHA256_BYTES);
    exchange_with(centre, handheld, 0, 2002, &columns, &again);
    assert_int64_equal(read_receipt(handheld, again.exchange.receipt).size, 2002);
    assert_int_equal(service_check(centre->service, false, false, NULL, NULL, &report), 0);
    assert_int64_equal(report.records, 2002);
    handheld_free(handheld);
}

/* ---- refusals ---- */

static void a_wrong_signature_is_refused_and_nothing_stored(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre), *thief = handheld_new();
    _cleanup_answered_ struct answered answered = {0};

    append_opened(thief);
    thief->device = handheld->device;
    thief->key.public = handheld->key.public; /* which it claims to have signed with */
    exchange(centre, thief, 0, 1, &answered);
    assert_int_equal(answered.status, 400);
    assert_true(answered.is_refused);
    assert_int_equal(answered.refusal.reason, REFUSAL_BAD_REQUEST);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 0);
    handheld_free(handheld);
    handheld_free(thief);
}

static void bytes_that_are_no_envelope_are_refused(void **state)
{
    struct centre *centre = *state;
    _cleanup_answered_ struct answered answered = {0};
    struct bytes body = bytes_of_text("not an envelope");
    struct sha256 sha256 = sha256_of(body);

    send_body(centre, SERVICE_EXCHANGE, body, &sha256, &answered);
    assert_int_equal(answered.status, 400);
    assert_int_equal(answered.refusal.reason, REFUSAL_BAD_REQUEST);
}

static void a_checkpoint_of_another_log_or_key_is_refused(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre), *other = handheld_enrolled(centre);

    append_opened(handheld);
    append_opened(other);
    for (int i = 0; i < 2; i++) {
        _cleanup_buffer_ struct buffer note = {0}, plain = {0}, body = {0};
        _cleanup_answered_ struct answered answered = {0};
        struct exchange_request request = {
            .log = handheld->log, .records = handheld->records, .record_count = 1};
        struct sha256 sha256;

        /* First the handheld's own note of another log, then another's note. */
        if (i == 0) {
            struct uuid log = handheld->log;

            handheld->log = random_uuid();
            sign_checkpoint(handheld, 1, &note);
            handheld->log = log;
        } else {
            sign_checkpoint(other, 1, &note);
        }
        request.checkpoint = buffer_bytes(&note);
        assert_int_equal(exchange_request_encode(&request, &plain), 0);
        seal_request(handheld, PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain), &body, &sha256);
        send_body(centre, SERVICE_EXCHANGE, buffer_bytes(&body), &sha256, &answered);
        assert_int_equal(answered.refusal.reason, REFUSAL_BAD_REQUEST);
    }
    handheld_free(handheld);
    handheld_free(other);
}

static void a_log_of_another_device_is_refused(void **state)
{
    struct centre *centre = *state;
    struct handheld *owner = handheld_enrolled(centre), *other = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(owner);
    append_opened(other);
    deliver(centre, owner);
    other->log = owner->log;
    exchange(centre, other, 0, 1, &answered);
    assert_int_equal(answered.status, 409);
    assert_int_equal(answered.refusal.reason, REFUSAL_LOG_OF_OTHER_DEVICE);
    handheld_free(owner);
    handheld_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_are_stored_and_receipted, start, stop),
        cmocka_unit_test_setup_teardown(findings_are_projected_with_all_they_say, start, stop),
        cmocka_unit_test_setup_teardown(the_same_request_again_changes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(an_overlap_is_skipped_and_the_rest_appended, start, stop),
        cmocka_unit_test_setup_teardown(
            a_request_ahead_of_its_log_is_told_the_size_and_can_be_committed_again, start, stop),
        cmocka_unit_test_setup_teardown(a_request_that_stays_ahead_is_answered_ahead, start, stop),
        cmocka_unit_test_setup_teardown(
            a_fork_is_answered_with_the_leaf_held_and_raises_one_alarm, start, stop),
        cmocka_unit_test_setup_teardown(damage_on_this_side_is_not_taken_for_a_fork, start, stop),
        cmocka_unit_test_setup_teardown(records_that_do_not_give_the_signed_root_are_not_taken, start, stop),
        cmocka_unit_test_setup_teardown(rows_left_over_behind_the_log_do_not_stop_it, start, stop),
        cmocka_unit_test_setup_teardown(
            five_identical_parallel_posts_store_one_record_and_give_one_receipt, start, stop),
        cmocka_unit_test_setup_teardown(two_requests_of_one_log_in_one_group_are_taken_in_order, start, stop),
        cmocka_unit_test_setup_teardown(a_bad_job_does_not_spoil_the_others_of_its_group, start, stop),
        cmocka_unit_test_setup_teardown(a_damaged_log_does_not_hold_up_the_others_of_its_group, start, stop),
        cmocka_unit_test_setup_teardown(damage_that_is_met_before_a_commit_is_called_damage, start, stop),
        cmocka_unit_test_setup_teardown(what_was_acknowledged_is_there_after_a_restart, start, stop),
        cmocka_unit_test_setup_teardown(a_request_that_only_asks_is_answered_with_what_is_held, start, stop),
        cmocka_unit_test_setup_teardown(records_in_columns_are_stored_as_those_in_rows_are, start, stop),
        cmocka_unit_test_setup_teardown(
            a_handheld_without_the_newest_dictionary_is_told_what_it_may_use, start, stop),
        cmocka_unit_test_setup_teardown(a_wrong_signature_is_refused_and_nothing_stored, start, stop),
        cmocka_unit_test_setup_teardown(bytes_that_are_no_envelope_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_checkpoint_of_another_log_or_key_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_log_of_another_device_is_refused, start, stop),
    };

    return cmocka_run_group_tests_name("server service exchange", tests, NULL, NULL);
}
