/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/core/engine.h: exchanges, their order and size. */
#include "tests/unit/syncd/engine_story.h"

static const struct engine_action *exchange(const struct story *story, uint32_t slot)
{
    assert_true(story->slots[slot].busy);
    assert_int_equal(story->slots[slot].action.kind, ENGINE_SEND_EXCHANGE);
    return &story->slots[slot].action;
}

static void a_doorbell_starts_an_exchange_at_once(void **state)
{
    struct story story;

    story_begin(&story);
    assert_int_equal(story_busy(&story), 0);
    story_log(&story, 0, 1, 0);
    story_tell(&story);
    assert_int_equal(exchange(&story, 0)->exchange.first_seq, 0);
    assert_int_equal(exchange(&story, 0)->exchange.records_max, 1);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_WORKING);
    story_end(&story);
}

static void nothing_is_sent_before_the_engine_was_started(void **state)
{
    struct story story = {.config = story_config(), .now_ms = 5};
    struct engine_event outbox = {.kind = ENGINE_OUTBOX};
    struct engine_action action;

    assert_int_equal(engine_new(&story.config, &story.engine), 0);
    outbox.outbox.log_count = 1;
    outbox.outbox.logs[0] = (struct engine_log){.id = story_log_id(0), .size = 10};
    engine_feed(story.engine, &outbox, story.now_ms, 1);
    assert_false(engine_next(story.engine, &action));
    story_end(&story);
}

static void sync_is_done_when_all_is_acknowledged_and_told_once(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 3, 0);
    story_tell(&story);
    assert_int_equal(story.sync_done, 0);
    story_stored(&story, 0);
    assert_int_equal(story.sync_done, 1);
    story_tell(&story);
    assert_int_equal(story.sync_done, 1);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_NOTHING);
    story_end(&story);
}

static void two_exchanges_are_in_flight_and_the_second_starts_where_the_first_ends(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 100000, 0);
    story_tell(&story);
    /* Before anything was answered one request at a time goes out. */
    assert_int_equal(story_busy(&story), 1);
    story.now_ms += 100;
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 2);
    assert_int_equal(exchange(&story, 0)->exchange.first_seq, 256);
    assert_int_equal(exchange(&story, 1)->exchange.first_seq,
        exchange(&story, 0)->exchange.first_seq + story.slots[0].records);
    story_end(&story);
}

static void a_few_new_records_wait_for_the_answer_of_the_exchange_in_flight(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 1, 0);
    story_tell(&story);
    story_stored(&story, 0);
    story_log(&story, 0, 2, 1);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    story_log(&story, 0, 5, 1);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    story_stored(&story, 0);
    assert_int_equal(exchange(&story, 0)->exchange.first_seq, 2);
    assert_int_equal(story.slots[0].records, 3);
    story_end(&story);
}

/* Brings a story to two exchanges in flight: [256, a) in slot 0, [a, b) in slot 1. */
static void two_in_flight(struct story *story)
{
    story_begin(story);
    story_log(story, 0, 100000, 0);
    story_tell(story);
    story->now_ms += 100;
    story_stored(story, 0);
    assert_int_equal(story_busy(story), 2);
}

static void when_the_first_fails_its_gap_is_sent_again_while_the_second_is_held(void **state)
{
    struct story story;
    uint64_t second_first;

    two_in_flight(&story);
    second_first = exchange(&story, 1)->exchange.first_seq;
    story_fail(&story, 0, FAILURE_NETWORK);
    story_wait(&story, 10000); /* backoff: between 5 and 10 s */
    assert_int_equal(story_busy(&story), 1);
    /* The second is still held by the centre: one request at a time until an answer has come. It ends: */
    story.slots[1].busy = false;
    story_feed(
        &story, (struct engine_event){.kind = ENGINE_EXCHANGED,
                    .slot = 1,
                    .exchanged = {.outcome = EXCHANGE_AHEAD, .size = 256, .receipt_size_before = 256}});
    /* Halved after the failure; and none goes ahead again before this one was answered. */
    assert_int_equal(story_busy(&story), 1);
    assert_int_equal(exchange(&story, 0)->exchange.first_seq, 256);
    assert_true(exchange(&story, 0)->exchange.first_seq + story.slots[0].records < second_first);
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 2);
    story_end(&story);
}

static void a_second_answered_ahead_is_not_sent_again_before_the_first_has_ended(void **state)
{
    struct story story;
    struct engine_event ahead;

    two_in_flight(&story);
    ahead = story_exchanged(&story, 1, EXCHANGE_AHEAD, 256);
    story.slots[1].busy = false;
    story_feed(&story, ahead);
    story_wait(&story, 60000);
    assert_int_equal(story_busy(&story), 1);
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 2);
    story_end(&story);
}

static void an_answer_to_the_second_covers_the_first_whose_answer_was_lost(void **state)
{
    struct story story;
    uint64_t end;

    two_in_flight(&story);
    end = exchange(&story, 1)->exchange.first_seq + story.slots[1].records;
    story_fail(&story, 0, FAILURE_NETWORK);
    story_stored(&story, 1);
    /* All below `end` is stored: it goes on there, and nothing is sent twice. */
    for (uint32_t i = 0; i < 2; i++)
        assert_true(exchange(&story, i)->exchange.first_seq >= end);
    story_end(&story);
}

static void a_late_answer_with_a_smaller_size_takes_nothing_back(void **state)
{
    struct story story;
    uint64_t end;
    struct engine_event late;

    two_in_flight(&story);
    end = exchange(&story, 1)->exchange.first_seq + story.slots[1].records;
    late = story_exchanged(&story, 0, EXCHANGE_STORED, exchange(&story, 1)->exchange.first_seq);
    story_stored(&story, 1);
    assert_int_equal(exchange(&story, 1)->exchange.first_seq, end);
    story.slots[0].busy = false;
    story_feed(&story, late);
    assert_true(exchange(&story, 0)->exchange.first_seq >= end);
    assert_int_equal(story.resync_started, 0);
    story_end(&story);
}

static void an_answer_after_the_deadline_changes_nothing(void **state)
{
    struct story story;
    struct engine_event late;
    struct engine_report before, after;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    late = story_exchanged(&story, 0, EXCHANGE_STORED, 10);
    story_wait(&story, story.config.answer_deadline_ms);
    assert_int_equal(story.cancels, 1);
    before = story_report(&story);
    assert_int_equal(before.failures_in_row, 1);
    story_feed(&story, late);
    after = story_report(&story);
    assert_int_equal(after.failures_in_row, 1);
    assert_int_equal(after.wait, ENGINE_WAIT_BACKOFF);
    assert_int_equal(story.sync_done, 0);
    story_end(&story);
}

static void results_of_another_kind_or_of_no_slot_change_nothing(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    story_feed(&story, (struct engine_event){.kind = ENGINE_UPLOADED, .slot = 0});
    story_feed(&story, (struct engine_event){.kind = ENGINE_AUDITED, .slot = 0});
    story_feed(&story, (struct engine_event){.kind = ENGINE_EXCHANGED, .slot = 1, .exchanged.size = 10});
    story_feed(&story, (struct engine_event){.kind = ENGINE_EXCHANGED, .slot = 77, .exchanged.size = 10});
    story_feed(&story, (struct engine_event){.kind = ENGINE_FAILED, .slot = 3});
    story_feed(&story, (struct engine_event){.kind = ENGINE_REFUSED, .slot = 99});
    assert_int_equal(story_busy(&story), 1);
    assert_int_equal(story_report(&story).failures_in_row, 0);
    assert_int_equal(story.sync_done, 0);
    story_end(&story);
}

static void batches_grow_to_what_the_protocol_allows_on_a_fast_link(void **state)
{
    struct story story;
    size_t answers = 0;

    story_begin(&story);
    story_log(&story, 0, 1000000, 0);
    story_tell(&story);
    while (story.slots[0].records * RECORD_WIRE_BYTES < 200 * 1024 && answers < 12) {
        story.now_ms += 20;
        story_stored(&story, 0);
        if (story.slots[1].busy)
            story_stored(&story, 1);
        answers++;
        for (uint32_t i = 0; i < 2; i++) {
            assert_true(exchange(&story, i)->exchange.records_max <= EXCHANGE_RECORDS_MAX);
            assert_true(exchange(&story, i)->exchange.bytes_max < EXCHANGE_INFLATED_BYTES_MAX);
            assert_true(500 + story.slots[i].records * RECORD_WIRE_BYTES <= EXCHANGE_COMPRESSED_BYTES_MAX);
        }
    }
    assert_true(answers < 6);
    story_end(&story);
}

static void batches_settle_at_the_target_on_a_slow_link(void **state)
{
    struct story story;
    uint64_t took_ms = 0;

    story_begin(&story);
    story_log(&story, 0, 1000000, 0);
    story_tell(&story);
    for (size_t i = 0; i < 40; i++) {
        /* 2 kB/s, one after the other, half a second of latency. */
        took_ms = 500 + (500 + story.slots[0].records * RECORD_WIRE_BYTES) / 2;
        story.now_ms += took_ms;
        story_stored(&story, 0);
        if (story.slots[1].busy) {
            story.now_ms += 500 + (500 + story.slots[1].records * RECORD_WIRE_BYTES) / 2;
            story_stored(&story, 1);
        }
    }
    assert_true(took_ms > story.config.batch_target_ms / 4);
    assert_true(took_ms < (uint64_t)story.config.batch_target_ms * 2);
    story_end(&story);
}

static void single_records_at_leisure_do_not_shrink_the_batch(void **state)
{
    struct story story;

    story_begin(&story);
    for (uint64_t size = 1; size < 50; size++) {
        story_log(&story, 0, size, size - 1);
        story_tell(&story);
        story.now_ms += 700;
        story_stored(&story, 0);
    }
    story_log(&story, 0, 10000, 49);
    story_tell(&story);
    assert_true(exchange(&story, 0)->exchange.records_max >= story.config.batch_records_first);
    story_end(&story);
}

static void each_failure_halves_the_batch_down_to_one_record(void **state)
{
    struct story story;
    uint64_t before = UINT64_MAX;

    story_begin(&story);
    story_log(&story, 0, 10000, 0);
    story_tell(&story);
    for (size_t i = 0; i < 12; i++) {
        uint64_t records = story.slots[0].records;

        assert_true(records == 1 || records <= before / 2 + 1);
        assert_true(records >= 1);
        before = records;
        story_fail(&story, 0, FAILURE_NETWORK);
        story_wait_for_request(&story);
    }
    assert_int_equal(before, 1);
    story_end(&story);
}

/* Every exchange with records meets an unsigned 413, every one without is answered, until nothing is in
 * flight. Returns the smallest number of records that was tried. */
static uint64_t refuse_any_size(struct story *story)
{
    uint64_t smallest = UINT64_MAX;

    for (size_t i = 0; story_busy(story) > 0; i++) {
        uint32_t slot = story->slots[0].busy ? 0 : 1;

        assert_true(i < 60);
        if (story->slots[slot].records == 0) {
            story_stored(story, slot);
            continue;
        }
        if (story->slots[slot].records < smallest)
            smallest = story->slots[slot].records;
        story_fail(story, slot, FAILURE_TOO_LARGE);
    }
    return smallest;
}

static void too_large_halves_at_once_without_backoff(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10000, 0);
    story_tell(&story);
    story_fail(&story, 0, FAILURE_TOO_LARGE);
    /* What is not signed is not the last word: the centre is asked first, without records. */
    assert_int_equal(exchange(&story, 0)->exchange.records_max, 0);
    story_stored(&story, 0);
    assert_int_equal(exchange(&story, 0)->exchange.records_max, 128);
    assert_int_equal(story_report(&story).failures_in_row, 0);
    story_end(&story);
}

static void a_signed_too_large_halves_without_asking(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10000, 0);
    story_tell(&story);
    story_refuse(&story, 0, REFUSAL_TOO_LARGE);
    assert_int_equal(exchange(&story, 0)->exchange.records_max, 128);
    story_end(&story);
}

static void one_record_that_is_too_large_raises_an_alarm_and_does_not_spin(void **state)
{
    struct story story;
    size_t requests;

    story_begin(&story);
    story_log(&story, 0, 10000, 0);
    story_tell(&story);
    assert_int_equal(refuse_any_size(&story), 1);
    assert_int_equal(story.alarms, 1);
    requests = story.requests;
    for (size_t i = 0; i < 12; i++) {
        story_wait(&story, 60000);
        refuse_any_size(&story);
    }
    assert_true(story.requests > requests);
    assert_true(story.requests - requests < 24);
    assert_int_equal(story.alarms, 1);
    story_end(&story);
}

static void a_closed_predecessor_is_sent_before_its_successor(void **state)
{
    struct story story;
    struct uuid first = story_log_id(0), second = story_log_id(1);

    story_begin(&story);
    story_log(&story, 0, 300, 0);
    story_log(&story, 1, 20, 0);
    story_tell(&story);
    assert_true(uuid_equal(&exchange(&story, 0)->exchange.log, &first));
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 1);
    assert_true(uuid_equal(&exchange(&story, 0)->exchange.log, &first));
    story_stored(&story, 0);
    assert_true(uuid_equal(&exchange(&story, 0)->exchange.log, &second));
    story_end(&story);
}

static void a_log_the_centre_refuses_does_not_block_the_next_one(void **state)
{
    struct story story;
    struct uuid second = story_log_id(1);
    size_t first_hour = 0;

    story_begin(&story);
    story_log(&story, 0, 300, 0);
    story_log(&story, 1, 20, 0);
    story_tell(&story);
    story_refuse(&story, 0, REFUSAL_LOG_OF_OTHER_DEVICE);
    assert_int_equal(story.alarms, 1);
    assert_true(uuid_equal(&exchange(&story, 0)->exchange.log, &second));
    story_stored(&story, 0);
    assert_int_equal(story.sync_done, 0);
    /* The refused log is tried again, rarely. */
    for (size_t minute = 0; minute < 60; minute++) {
        story_wait(&story, 60000);
        if (story.slots[0].busy) {
            first_hour++;
            story_refuse(&story, 0, REFUSAL_LOG_OF_OTHER_DEVICE);
        }
    }
    assert_int_equal(first_hour, 1);
    assert_int_equal(story.alarms, 1);
    assert_non_null(strstr(story_report(&story).reason, "refuses this log"));
    story_end(&story);
}

static void a_queue_that_cannot_be_read_is_tried_again_and_others_go_on(void **state)
{
    struct story story;
    struct uuid second = story_log_id(1);

    story_begin(&story);
    story_log(&story, 0, 300, 0);
    story_log(&story, 1, 20, 0);
    story_tell(&story);
    story_fail(&story, 0, FAILURE_LOCAL);
    assert_true(uuid_equal(&exchange(&story, 0)->exchange.log, &second));
    assert_int_equal(story_report(&story).failures_in_row, 0);
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 0);
    story_wait(&story, 2 * story.config.backoff_min_ms);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void an_action_without_a_point_does_not_spin(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 300, 0);
    story_tell(&story);
    story.slots[0].busy = false;
    story_feed(&story, (struct engine_event){.kind = ENGINE_NOTHING_TO_SEND, .slot = 0});
    assert_int_equal(story_busy(&story), 0);
    story_wait(&story, 1000);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void an_ask_that_cannot_be_made_does_not_spin(void **state)
{
    static const enum engine_failure failures[] = {FAILURE_LOCAL, FAILURE_TOO_LARGE};

    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        struct story story;

        /* The certificate is wanted, so an exchange must go out, held log or not. */
        story_begin(&story);
        story_log(&story, 0, 300, 0);
        story_tell(&story);
        story_refuse(&story, 0, REFUSAL_UNKNOWN_DEVICE);
        for (size_t minute = 0; minute < 60; minute++) {
            if (story.slots[0].busy)
                story_fail(&story, 0, failures[i]);
            story_wait(&story, 60000);
        }
        assert_true(story.requests > 3);
        assert_true(story.requests < 20);
        story_end(&story);
    }
}

static void a_server_set_back_is_resumed_from_its_size_and_audited(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 1000, 600);
    story_tell(&story);
    assert_int_equal(exchange(&story, 0)->exchange.first_seq, 600);
    story.outbox.logs[0].receipt_size = 400; /* the agent has applied it */
    {
        struct engine_event answer = story_exchanged(&story, 0, EXCHANGE_AHEAD, 400);

        assert_true(answer.exchanged.went_back);
        story.slots[0].busy = false;
        story_tell(&story);
        story_feed(&story, answer);
    }
    assert_int_equal(exchange(&story, 0)->exchange.first_seq, 400);
    assert_int_equal(story.resync_started, 1);
    assert_true(story.alarms >= 1);
    story_end(&story);
}

static void when_more_may_have_been_applied_it_is_asked_at_once(void **state)
{
    struct story story;
    struct engine_event answer;

    story_begin(&story);
    story_log(&story, 0, 10, 10);
    story_tell(&story);
    story_event(&story, ENGINE_SYNC_NOW);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(exchange(&story, 0)->exchange.records_max, 0);
        assert_int_equal(story.sync_done, 0);
        answer = story_exchanged(&story, 0, EXCHANGE_STORED, 10);
        answer.exchanged.ask_again = i < 2;
        story.slots[0].busy = false;
        story_feed(&story, answer);
    }
    assert_int_equal(story_busy(&story), 0);
    assert_int_equal(story.sync_done, 1);
    story_end(&story);
}

static void went_back_needs_an_answer_below_the_receipt_held_when_asking(void **state)
{
    assert_true(engine_went_back(100, 99));
    assert_true(engine_went_back(1, 0));
    assert_false(engine_went_back(100, 100));
    assert_false(engine_went_back(100, 200));
    assert_false(engine_went_back(0, 0));
}

static void a_new_incarnation_of_the_server_is_audited(void **state)
{
    struct story story;
    struct engine_event answer;

    story_begin(&story);
    story_log(&story, 0, 1000, 600);
    story_tell(&story);
    answer = story_exchanged(&story, 0, EXCHANGE_STORED, 856);
    answer.exchanged.new_incarnation = true;
    story.slots[0].busy = false;
    story_feed(&story, answer);
    assert_int_equal(story.resync_started, 1);
    assert_int_equal(story.slots[3].action.kind, ENGINE_SEND_AUDIT);
    assert_int_equal(story.slots[3].action.audit.level, AUDIT_PRESENCE);
    story_end(&story);
}

static void a_fork_leaves_the_log_and_ends_its_other_exchange(void **state)
{
    struct story story;
    struct uuid log = story_log_id(0);
    struct engine_event answer;

    two_in_flight(&story);
    answer = story_exchanged(&story, 0, EXCHANGE_FORK, 300);
    story.slots[0].busy = false;
    story_feed(&story, answer);
    assert_int_equal(story.leaves, 1);
    assert_int_equal(story.leave.leave.reason, OPEN_FORK);
    assert_true(uuid_equal(&story.leave.leave.log, &log));
    assert_int_equal(story.alarms, 1);
    assert_int_equal(story.cancels, 1);
    assert_int_equal(story_busy(&story), 0);
    /* The store was busy: asked again later, and the log is not sent meanwhile. */
    story_wait(&story, 10000);
    assert_int_equal(story.leaves, 2);
    assert_int_equal(story_busy(&story), 0);
    /* Left: the new log is what the outbox shows now. */
    story.outbox.logs[0] = (struct engine_log){.id = story_log_id(5), .size = 700};
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    story_wait(&story, 60000);
    assert_int_equal(story.leaves, 2);
    story_end(&story);
}

static struct engine_event misfit(const struct uuid *log, bool rolled_back)
{
    return (struct engine_event){.kind = ENGINE_MISFIT, .misfit = {.log = *log, .rolled_back = rolled_back}};
}

static void a_receipt_by_hand_that_does_not_fit_leaves_the_log_as_an_answer_would(void **state)
{
    for (unsigned rolled_back = 0; rolled_back < 2; rolled_back++) {
        struct story story;
        struct uuid log = story_log_id(0);

        two_in_flight(&story);
        story_feed(&story, misfit(&log, rolled_back));
        assert_int_equal(story.leaves, 1);
        assert_int_equal(story.leave.leave.reason, rolled_back ? OPEN_RECOVERED : OPEN_FORK);
        assert_true(uuid_equal(&story.leave.leave.log, &log));
        assert_int_equal(story.alarms, 1);
        assert_int_equal(story.cancels, 2);
        assert_int_equal(story_busy(&story), 0);
        /* Once more, before the store has left it: it is known. */
        story_feed(&story, misfit(&log, rolled_back));
        assert_int_equal(story.leaves, 1);
        assert_int_equal(story.alarms, 1);
        story_end(&story);
    }
}

static void a_receipt_by_hand_for_a_log_that_is_not_in_the_outbox_changes_nothing(void **state)
{
    struct story story;
    struct uuid other = story_log_id(7);

    two_in_flight(&story);
    story_feed(&story, misfit(&other, false));
    assert_int_equal(story.leaves + story.alarms + story.cancels, 0);
    assert_int_equal(story_busy(&story), 2);
    story_end(&story);
}

static void a_handheld_set_back_opens_a_new_log(void **state)
{
    struct story story;
    struct engine_event answer;

    story_begin(&story);
    story_log(&story, 0, 10, 5);
    story_tell(&story);
    answer = story_exchanged(&story, 0, EXCHANGE_STORED, 25);
    answer.exchanged.rolled_back = true;
    story.slots[0].busy = false;
    story_feed(&story, answer);
    assert_int_equal(story.leaves, 1);
    assert_int_equal(story.leave.leave.reason, OPEN_RECOVERED);
    assert_int_equal(story_busy(&story), 0);
    story_end(&story);
}

static void a_root_that_never_agrees_is_audited_and_the_log_is_left_at_last(void **state)
{
    struct story story;
    struct engine_event answer;

    story_begin(&story);
    story_log(&story, 0, 1000, 600);
    story_tell(&story);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(story.leaves, 0);
        answer = story_exchanged(&story, 0, EXCHANGE_ROOT_MISMATCH, 600);
        story.slots[0].busy = false;
        story_feed(&story, answer);
        if (story.slots[3].busy) {
            story.slots[3].busy = false;
            story_feed(&story, story_audited(600));
        }
        story_wait(&story, i < 2 ? 80000 : 0);
    }
    assert_int_equal(story.resync_started, 2);
    assert_int_equal(story.leaves, 1);
    assert_int_equal(story.leave.leave.reason, OPEN_FORK);
    story_end(&story);
}

static void a_server_that_answers_but_takes_nothing_is_not_hammered(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    for (size_t minute = 0; minute < 60; minute++) {
        if (story.slots[0].busy) {
            struct engine_event answer = story_exchanged(&story, 0, EXCHANGE_STORED, 0);

            story.slots[0].busy = false;
            story_feed(&story, answer);
        }
        story_wait(&story, 60000);
    }
    assert_true(story.requests > 4);
    assert_true(story.requests < 15);
    assert_int_equal(story.alarms, 1);
    story_end(&story);
}

static void a_million_queued_records_are_cut_into_bounded_batches(void **state)
{
    struct story story;
    size_t answers = 0;
    uint64_t before = 0;

    story_begin(&story);
    story_log(&story, 0, 1000000, 0);
    story_tell(&story);
    while (story.sync_done == 0) {
        uint32_t slot = story.slots[0].busy ? 0 : 1;

        if (story.slots[0].busy && story.slots[1].busy &&
            story.slots[1].action.exchange.first_seq < story.slots[0].action.exchange.first_seq)
            slot = 1;
        story.now_ms += 50;
        assert_true(story.slots[slot].action.exchange.records_max <= EXCHANGE_RECORDS_MAX);
        assert_true(story.slots[slot].action.exchange.bytes_max <= EXCHANGE_INFLATED_BYTES_MAX);
        story_stored(&story, slot);
        assert_true(story.outbox.logs[0].receipt_size > before);
        before = story.outbox.logs[0].receipt_size;
        assert_true(++answers < 1000);
    }
    assert_int_equal(before, 1000000);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_doorbell_starts_an_exchange_at_once),
        cmocka_unit_test(nothing_is_sent_before_the_engine_was_started),
        cmocka_unit_test(sync_is_done_when_all_is_acknowledged_and_told_once),
        cmocka_unit_test(two_exchanges_are_in_flight_and_the_second_starts_where_the_first_ends),
        cmocka_unit_test(a_few_new_records_wait_for_the_answer_of_the_exchange_in_flight),
        cmocka_unit_test(when_the_first_fails_its_gap_is_sent_again_while_the_second_is_held),
        cmocka_unit_test(a_second_answered_ahead_is_not_sent_again_before_the_first_has_ended),
        cmocka_unit_test(an_answer_to_the_second_covers_the_first_whose_answer_was_lost),
        cmocka_unit_test(a_late_answer_with_a_smaller_size_takes_nothing_back),
        cmocka_unit_test(an_answer_after_the_deadline_changes_nothing),
        cmocka_unit_test(results_of_another_kind_or_of_no_slot_change_nothing),
        cmocka_unit_test(batches_grow_to_what_the_protocol_allows_on_a_fast_link),
        cmocka_unit_test(batches_settle_at_the_target_on_a_slow_link),
        cmocka_unit_test(single_records_at_leisure_do_not_shrink_the_batch),
        cmocka_unit_test(each_failure_halves_the_batch_down_to_one_record),
        cmocka_unit_test(too_large_halves_at_once_without_backoff),
        cmocka_unit_test(a_signed_too_large_halves_without_asking),
        cmocka_unit_test(one_record_that_is_too_large_raises_an_alarm_and_does_not_spin),
        cmocka_unit_test(a_closed_predecessor_is_sent_before_its_successor),
        cmocka_unit_test(a_log_the_centre_refuses_does_not_block_the_next_one),
        cmocka_unit_test(a_queue_that_cannot_be_read_is_tried_again_and_others_go_on),
        cmocka_unit_test(an_action_without_a_point_does_not_spin),
        cmocka_unit_test(an_ask_that_cannot_be_made_does_not_spin),
        cmocka_unit_test(a_server_set_back_is_resumed_from_its_size_and_audited),
        cmocka_unit_test(when_more_may_have_been_applied_it_is_asked_at_once),
        cmocka_unit_test(went_back_needs_an_answer_below_the_receipt_held_when_asking),
        cmocka_unit_test(a_new_incarnation_of_the_server_is_audited),
        cmocka_unit_test(a_fork_leaves_the_log_and_ends_its_other_exchange),
        cmocka_unit_test(a_receipt_by_hand_that_does_not_fit_leaves_the_log_as_an_answer_would),
        cmocka_unit_test(a_receipt_by_hand_for_a_log_that_is_not_in_the_outbox_changes_nothing),
        cmocka_unit_test(a_handheld_set_back_opens_a_new_log),
        cmocka_unit_test(a_root_that_never_agrees_is_audited_and_the_log_is_left_at_last),
        cmocka_unit_test(a_server_that_answers_but_takes_nothing_is_not_hammered),
        cmocka_unit_test(a_million_queued_records_are_cut_into_bounded_batches),
    };

    return cmocka_run_group_tests_name("engine text", tests, NULL, NULL);
}
