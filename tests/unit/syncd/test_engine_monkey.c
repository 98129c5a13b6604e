/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monkey at the engine's door: random events in random order against a small model of handheld and centre.
 * The story checks after every event that no slot has two requests and that a timer lies ahead; here, that
 * batches stay within bounds, that nothing is sent that is acknowledged, and that once the monkey stops and
 * the centre answers, all gets done.
 */
#include "tests/unit/syncd/engine_story.h"

/* For the message of a failing run. */
static uint64_t current_seed;

static int tell_seed(void **state)
{
    print_message("# last seed: MONKEY_SEED=%llu\n", (unsigned long long)current_seed);
    return 0;
}

struct monkey {
    struct story story;
    uint64_t seed;
    uint64_t server_size[2]; /* what the centre holds of the two logs */
    bool settling;
    uint64_t blobs_made, blobs_finished, blob_offset;
};

static uint64_t draw(struct monkey *monkey, uint64_t bound)
{
    monkey->seed = monkey->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (monkey->seed >> 33) % bound;
}

/* Tells the outbox as the agent makes it: the blob that is held is passed over. */
static void tell(struct monkey *monkey)
{
    struct story *story = &monkey->story;
    uint64_t pending = monkey->blobs_made - monkey->blobs_finished;

    story_blobs(story, monkey->blobs_finished, 200000, pending, story->outbox.blobs_unconfirmed);
    if (engine_blob_is_held(story->engine, &story->outbox.blobs[BLOBS_PHOTOS].next, story->now_ms))
        story->outbox.blobs[BLOBS_PHOTOS].has_next = false;
    story_tell(story);
}

static size_t log_number(const struct uuid *log)
{
    struct uuid first = story_log_id(0);

    return uuid_equal(log, &first) ? 0 : 1;
}

/* The centre takes an exchange that starts at or below what it has. */
static void answer_exchange(struct monkey *monkey, uint32_t number)
{
    struct story *story = &monkey->story;
    struct story_slot *slot = &story->slots[number];
    size_t log = log_number(&slot->action.exchange.log);
    uint64_t end = slot->action.exchange.first_seq + slot->records;
    bool ahead = slot->action.exchange.first_seq > monkey->server_size[log];
    struct engine_event event;

    if (!ahead && end > monkey->server_size[log])
        monkey->server_size[log] = end;
    event =
        story_exchanged(story, number, ahead ? EXCHANGE_AHEAD : EXCHANGE_STORED, monkey->server_size[log]);
    if (slot->records == 0) {
        event.exchanged.blobs_asked = event.exchanged.blobs_confirmed = story->outbox.blobs_unconfirmed;
        story->outbox.blobs_unconfirmed = 0;
    }
    slot->busy = false;
    if (event.exchanged.went_back || monkey->server_size[log] > story->outbox.logs[log].receipt_size)
        story->outbox.logs[log].receipt_size = monkey->server_size[log];
    tell(monkey);
    story_feed(story, event);
}

static void answer_upload(struct monkey *monkey)
{
    struct story *story = &monkey->story;
    const struct engine_action *action = &story->slots[2].action;

    if (action->upload.step == UPLOAD_CHUNK) {
        assert_int_equal(action->upload.offset, monkey->blob_offset);
        monkey->blob_offset += action->upload.bytes_max;
    }
    if (monkey->blob_offset < 200000) {
        story_uploaded(story, monkey->blob_offset, 200000);
        return;
    }
    monkey->blob_offset = 0;
    monkey->blobs_finished++;
    story->outbox.blobs_unconfirmed++;
    tell(monkey);
    story_uploaded(story, 200000, 200000);
}

static void answer(struct monkey *monkey, uint32_t number)
{
    struct story *story = &monkey->story;
    struct story_slot *slot = &story->slots[number];

    if (slot->action.kind == ENGINE_SEND_EXCHANGE) {
        answer_exchange(monkey, number);
    } else if (slot->action.kind == ENGINE_SEND_UPLOAD) {
        answer_upload(monkey);
    } else if (slot->action.kind == ENGINE_SEND_AUDIT) {
        size_t log = log_number(&slot->action.audit.log);
        struct engine_event event = story_audited(monkey->server_size[log]);

        event.audited.to_mend_records = !monkey->settling && draw(monkey, 3) == 0 ? 5 : 0;
        event.audited.went_back = monkey->server_size[log] < story->outbox.logs[log].receipt_size;
        if (event.audited.went_back)
            story->outbox.logs[log].receipt_size = monkey->server_size[log];
        slot->busy = false;
        tell(monkey);
        story_feed(story, event);
    } else {
        story_repaired(story, 5, 0, 0);
    }
}

static void fail_request(struct monkey *monkey, uint32_t number)
{
    static const enum engine_failure any[] = {
        FAILURE_NETWORK, FAILURE_TLS, FAILURE_UNSIGNED, FAILURE_BUSY, FAILURE_TOO_LARGE, FAILURE_LOCAL};
    static const enum engine_failure of_uploads[] = {FAILURE_UPLOAD_OFFSET, FAILURE_UPLOAD_GONE,
        FAILURE_UPLOAD_TOKEN, FAILURE_UPLOAD_HASH, FAILURE_NETWORK, FAILURE_BUSY};
    struct story *story = &monkey->story;
    enum engine_failure failure =
        number == 2 ? of_uploads[draw(monkey, ARRAY_LEN(of_uploads))] : any[draw(monkey, ARRAY_LEN(any))];

    story->slots[number].busy = false;
    story_feed(story, (struct engine_event){.kind = ENGINE_FAILED,
                          .slot = number,
                          .failed = {.failure = failure, .retry_after_s = (uint32_t)draw(monkey, 90)}});
}

static void end_request(struct monkey *monkey)
{
    static const enum refusal_reason reasons[] = {REFUSAL_UNKNOWN_DEVICE, REFUSAL_REVOKED, REFUSAL_BUSY,
        REFUSAL_TOO_LARGE, REFUSAL_BAD_REQUEST, REFUSAL_OVER_QUOTA, REFUSAL_LOG_OF_OTHER_DEVICE};
    struct story *story = &monkey->story;
    uint32_t number = (uint32_t)draw(monkey, ENGINE_SLOTS_MAX);
    uint64_t how = draw(monkey, 20);

    if (!story->slots[number].busy)
        return;
    if (how < 10) {
        answer(monkey, number);
    } else if (how < 16) {
        fail_request(monkey, number);
    } else if (how < 17 && number != 2) {
        story_refuse(story, number, reasons[draw(monkey, ARRAY_LEN(reasons))]);
    } else if (how < 18) {
        story->slots[number].busy = false;
        story_feed(story, (struct engine_event){.kind = ENGINE_NOTHING_TO_SEND, .slot = number});
    }
    /* else: no answer at all; the deadline will come. */
}

static void disturb(struct monkey *monkey)
{
    struct story *story = &monkey->story;

    switch (draw(monkey, 12)) {
    case 0:
        story_link(story, draw(monkey, 2) == 0);
        break;
    case 1:
        story_event(story, ENGINE_SYNC_NOW);
        break;
    case 2:
        story_event(story, draw(monkey, 2) == 0 ? ENGINE_PAUSE : ENGINE_RESUME);
        break;
    case 3:
        story_resync(story, (enum audit_level)draw(monkey, 3), (enum resync_cause)draw(monkey, 3),
            (uint8_t)draw(monkey, 5));
        break;
    case 4: /* the server is set back */
        if (draw(monkey, 10) == 0)
            monkey->server_size[1] /= 2;
        break;
    case 5: /* an event nobody expects */
        story_feed(story, (struct engine_event){
                              .kind = (enum engine_event_kind)(ENGINE_BUILT + draw(monkey, 6)), .slot = 9});
        break;
    default: /* records and photos are made */
        story_log(
            story, 1, story->outbox.logs[1].size + draw(monkey, 500), story->outbox.logs[1].receipt_size);
        monkey->blobs_made += draw(monkey, 4) == 0;
        tell(monkey);
        break;
    }
}

static void check(const struct story *story)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct story_slot *slot = &story->slots[i];

        if (!slot->busy)
            continue;
        assert_int_equal(slot->action.kind, ENGINE_SEND_EXCHANGE);
        assert_true(slot->action.exchange.records_max <= EXCHANGE_RECORDS_MAX);
        assert_true(slot->action.exchange.bytes_max <= EXCHANGE_INFLATED_BYTES_MAX);
        assert_true(slot->action.exchange.records_max == 0 || slot->action.exchange.bytes_max > 0);
        /* Nothing that had a receipt when the request was made is sent. */
        assert_true(slot->action.exchange.first_seq >= slot->receipt_before);
    }
    if (story->slots[2].busy) {
        assert_int_equal(story->slots[2].action.kind, ENGINE_SEND_UPLOAD);
        assert_true(story->slots[2].action.upload.bytes_max <= UPLOAD_CHUNK_BYTES_MAX);
    }
    /* Two exchanges of one log never overlap. */
    if (story->slots[0].busy && story->slots[1].busy &&
        uuid_equal(&story->slots[0].action.exchange.log, &story->slots[1].action.exchange.log)) {
        uint64_t a = story->slots[0].action.exchange.first_seq, b = story->slots[1].action.exchange.first_seq;

        assert_true(a + story->slots[0].records <= b || b + story->slots[1].records <= a);
    }
}

/* From now on the centre answers everything: a day must be enough, whatever state the monkey left. */
static void settle(struct monkey *monkey)
{
    struct story *story = &monkey->story;
    uint64_t end_ms = story->now_ms + UINT64_C(24) * 3600000;

    story_event(story, ENGINE_RESUME);
    monkey->settling = true;
    while (story->now_ms < end_ms) {
        bool done = story->outbox.logs[0].receipt_size == story->outbox.logs[0].size &&
                    story->outbox.logs[1].receipt_size == story->outbox.logs[1].size &&
                    story->outbox.blobs_pending == 0 && story->outbox.blobs_unconfirmed == 0;

        if (done && story_busy(story) == 0 && !story_report(story).resync_running)
            return;
        /* When nothing is in flight, only the engine's own timer moves time on: a lost one is a lost day. */
        if (story_busy(story) == 0) {
            story->now_ms = story->timer_ms;
            story_event(story, ENGINE_TIMER);
            tell(monkey);
        }
        for (uint32_t i = 0; i < ENGINE_SLOTS_MAX; i++) {
            story->now_ms += 5;
            if (story->slots[i].busy)
                answer(monkey, i);
        }
        check(story);
    }
    fail_msg("a day was not enough");
}

static void run(uint64_t seed)
{
    struct monkey monkey = {.seed = seed};
    struct story *story = &monkey.story;

    story_begin(story);
    story_log(story, 0, 100, 0);
    story_log(story, 1, 5000, 0);
    story_tell(story);
    for (size_t step = 0; step < 2000; step++) {
        if (draw(&monkey, 3) == 0)
            disturb(&monkey);
        else
            end_request(&monkey);
        check(story);
        story_wait(story, draw(&monkey, 50) == 0 ? draw(&monkey, 600000) : draw(&monkey, 400));
        check(story);
    }
    settle(&monkey);
    story_end(story);
}

static void whatever_happens_all_gets_done_in_the_end(void **state)
{
    /* MONKEY_SEED=n replays one seed, MONKEY_RUNS=n goes on for longer. */
    const char *from = getenv("MONKEY_SEED"), *runs = getenv("MONKEY_RUNS");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1;
    uint64_t count = runs ? strtoull(runs, NULL, 10) : from ? 1 : 100;

    for (uint64_t seed = first; seed < first + count; seed++) {
        current_seed = seed;
        run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(whatever_happens_all_gets_done_in_the_end, tell_seed),
    };

    return cmocka_run_group_tests_name("engine monkey", tests, NULL, NULL);
}
