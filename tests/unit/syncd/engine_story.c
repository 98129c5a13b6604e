/* SPDX-License-Identifier: Apache-2.0 */
/* See engine_story.h. */
#include "tests/unit/syncd/engine_story.h"

struct uuid story_log_id(size_t number)
{
    return (struct uuid){.b = {0x10, (uint8_t)(number + 1)}};
}

struct sha256 story_blob_id(size_t number)
{
    return (struct sha256){.b = {0xb0, (uint8_t)(number >> 8), (uint8_t)number}};
}

struct engine_config story_config(void)
{
    struct engine_config config = engine_config_default();

    config.idle_contact_ms = 0;
    config.self_audit_ms = 0;
    config.slow_poll_ms = UINT64_C(10) * 24 * 3600000; /* so that it covers up no timer that was forgotten */
    return config;
}

static uint64_t log_size(const struct story *story, const struct uuid *id)
{
    for (size_t i = 0; i < story->outbox.log_count; i++)
        if (uuid_equal(&story->outbox.logs[i].id, id))
            return story->outbox.logs[i].size;
    return 0;
}

static struct engine_log *log_of(struct story *story, const struct uuid *id)
{
    for (size_t i = 0; i < story->outbox.log_count; i++)
        if (uuid_equal(&story->outbox.logs[i].id, id))
            return &story->outbox.logs[i];
    return NULL;
}

/* Builds an exchange as the agent does: no more than allowed, no more than there is, at least one record. */
static void build(struct story *story, uint32_t slot)
{
    const struct engine_action *action = &story->slots[slot].action;
    uint64_t size = log_size(story, &action->exchange.log);
    uint64_t left = size > action->exchange.first_seq ? size - action->exchange.first_seq : 0;
    uint64_t records = left < action->exchange.records_max ? left : action->exchange.records_max;
    uint64_t fitting = action->exchange.bytes_max / RECORD_PLAIN_BYTES;
    struct engine_log *log = log_of(story, &action->exchange.log);

    if (records > fitting)
        records = fitting > 0 ? fitting : 1;
    story->slots[slot].records = records;
    story->slots[slot].receipt_before = log ? log->receipt_size : 0;
    engine_feed(story->engine,
        &(struct engine_event){.kind = ENGINE_BUILT,
            .slot = slot,
            .built = {.records = records,
                .plain_bytes = records * RECORD_PLAIN_BYTES,
                .wire_bytes = 500 + records * RECORD_WIRE_BYTES}},
        story->now_ms, story->random++);
}

static void start(struct story *story, const struct engine_action *action)
{
    struct story_slot *slot;

    assert_true(action->slot < ENGINE_SLOTS_MAX);
    slot = &story->slots[action->slot];
    assert_false(slot->busy);
    *slot = (struct story_slot){.busy = true, .action = *action, .started_ms = story->now_ms};
    story->requests++;
}

static void take(struct story *story, const struct engine_action *action)
{
    switch (action->kind) {
    case ENGINE_SEND_EXCHANGE:
        start(story, action);
        build(story, action->slot);
        break;
    case ENGINE_SEND_UPLOAD:
    case ENGINE_SEND_AUDIT:
    case ENGINE_SEND_REPAIR:
        start(story, action);
        break;
    case ENGINE_CANCEL:
        assert_true(story->slots[action->slot].busy);
        story->slots[action->slot].busy = false;
        story->cancels++;
        break;
    case ENGINE_LEAVE_LOG:
        story->leaves++;
        story->leave = *action;
        break;
    case ENGINE_SET_TIMER:
        story->timer_ms = action->timer.at_ms;
        break;
    case ENGINE_SYNC_DONE:
        if (action->sync_done.ok)
            story->sync_done++;
        else
            story->sync_refused++;
        break;
    case ENGINE_RESYNC_STARTED:
        story->resync_started++;
        break;
    case ENGINE_RESYNC_DONE:
        story->resync_done++;
        story->resync_end = *action;
        break;
    case ENGINE_KEEP_BUDGET:
        story->kept++;
        story->budget = action->budget;
        break;
    case ENGINE_ALARM:
        story->alarms++;
        story->alarm = action->alarm.text;
        assert_non_null(story->alarm);
        break;
    }
}

void story_feed(struct story *story, struct engine_event event)
{
    struct engine_action action;
    size_t steps = 0;

    engine_feed(story->engine, &event, story->now_ms, story->random++ * UINT64_C(0x9e3779b97f4a7c15));
    while (engine_next(story->engine, &action)) {
        take(story, &action);
        assert_true(++steps < 100);
    }
    assert_true(story->timer_ms > story->now_ms);
    assert_true(story->timer_ms <= story->now_ms + story->config.slow_poll_ms);
}

void story_event(struct story *story, enum engine_event_kind kind)
{
    story_feed(story, (struct engine_event){.kind = kind});
}

void story_tell(struct story *story)
{
    story_feed(story, (struct engine_event){.kind = ENGINE_OUTBOX, .outbox = story->outbox});
}

void story_begin_drawn(struct story *story, const struct engine_config *config, uint64_t random)
{
    *story = (struct story){.config = *config, .now_ms = 1000, .random = random, .token_with_answers = true};
    assert_int_equal(engine_new(config, &story->engine), 0);
    story->timer_ms = UINT64_MAX;
    engine_feed(story->engine, &(struct engine_event){.kind = ENGINE_OUTBOX}, story->now_ms, 1);
    story_event(story, ENGINE_STARTED);
    story->sync_done = 0; /* an empty outbox is done at once */
}

void story_begin_with(struct story *story, const struct engine_config *config)
{
    story_begin_drawn(story, config, 7);
}

void story_begin(struct story *story)
{
    struct engine_config config = story_config();

    story_begin_with(story, &config);
}

void story_end(struct story *story)
{
    engine_free(story->engine);
}

void story_log(struct story *story, size_t index, uint64_t size, uint64_t receipt_size)
{
    struct engine_outbox *outbox = &story->outbox;

    assert_true(index < ENGINE_LOGS_MAX);
    outbox->logs[index] =
        (struct engine_log){.id = story_log_id(index), .size = size, .receipt_size = receipt_size};
    if (outbox->log_count <= index)
        outbox->log_count = index + 1;
    if (receipt_size > 0 && !outbox->has_receipt_log) {
        outbox->has_receipt_log = true;
        outbox->receipt_log = outbox->logs[index].id;
    }
}

void story_blobs(struct story *story, size_t next, uint64_t size, uint64_t pending, uint64_t unconfirmed)
{
    story->outbox.blobs_pending = pending;
    story->outbox.blobs_unconfirmed = unconfirmed;
    story->outbox.blobs[BLOBS_PHOTOS] = (struct engine_blobs){
        .pending = pending, .has_next = pending > 0, .next = story_blob_id(next), .next_size = size};
}

void story_link(struct story *story, bool up)
{
    story_feed(story, (struct engine_event){.kind = ENGINE_LINK, .link.up = up});
}

void story_resync(struct story *story, enum audit_level level, enum resync_cause cause, uint8_t command)
{
    story_feed(story, (struct engine_event){.kind = ENGINE_RESYNC,
                          .resync = {.level = level, .cause = cause, .command_id = {command}}});
}

void story_wait(struct story *story, uint64_t ms)
{
    uint64_t end_ms = story->now_ms + ms;

    while (story->timer_ms <= end_ms) {
        story->now_ms = story->timer_ms;
        story_event(story, ENGINE_TIMER);
    }
    story->now_ms = end_ms;
}

uint64_t story_wait_for_request(struct story *story)
{
    uint64_t start_ms = story->now_ms;

    while (story_busy(story) == 0) {
        assert_true(story->now_ms - start_ms < UINT64_C(86400000));
        story->now_ms = story->timer_ms;
        story_event(story, ENGINE_TIMER);
    }
    return story->now_ms - start_ms;
}

struct engine_event story_exchanged(
    const struct story *story, uint32_t slot, enum exchange_outcome outcome, uint64_t size)
{
    assert_true(story->slots[slot].busy);
    return (struct engine_event){.kind = ENGINE_EXCHANGED,
        .slot = slot,
        .exchanged = {.outcome = outcome,
            .size = size,
            .receipt_size_before = story->slots[slot].receipt_before,
            .went_back = engine_went_back(story->slots[slot].receipt_before, size),
            .has_token = story->token_with_answers,
            .token_s = UPLOAD_TOKEN_S}};
}

void story_stored(struct story *story, uint32_t slot)
{
    struct story_slot *own = &story->slots[slot];
    uint64_t end = own->action.exchange.first_seq + own->records;
    struct engine_log *log = log_of(story, &own->action.exchange.log);
    struct engine_event event = story_exchanged(story, slot, EXCHANGE_STORED, end);

    own->busy = false;
    if (log && log->receipt_size < end)
        log->receipt_size = end;
    story_tell(story);
    story_feed(story, event);
}

void story_drain(struct story *story)
{
    for (size_t answers = 0; story->sync_done == 0; answers++) {
        uint32_t slot = story->slots[0].busy ? 0 : 1;

        if (story->slots[0].busy && story->slots[1].busy &&
            story->slots[1].action.exchange.first_seq < story->slots[0].action.exchange.first_seq)
            slot = 1;
        assert_true(answers < 10000);
        story_stored(story, slot);
    }
}

void story_uploaded(struct story *story, uint64_t offset, uint64_t size)
{
    struct story_slot *own = &story->slots[2];

    assert_true(own->busy);
    own->busy = false;
    story_feed(story, (struct engine_event){.kind = ENGINE_UPLOADED,
                          .slot = 2,
                          .uploaded = {.step = own->action.upload.step,
                              .blob = own->action.upload.blob,
                              .offset = offset,
                              .size = size}});
}

void story_fail(struct story *story, uint32_t slot, enum engine_failure failure)
{
    assert_true(story->slots[slot].busy);
    story->slots[slot].busy = false;
    story_feed(story, (struct engine_event){.kind = ENGINE_FAILED, .slot = slot, .failed.failure = failure});
}

void story_refuse(struct story *story, uint32_t slot, enum refusal_reason reason)
{
    assert_true(story->slots[slot].busy);
    story->slots[slot].busy = false;
    story_feed(story, (struct engine_event){.kind = ENGINE_REFUSED, .slot = slot, .refused.reason = reason});
}

struct engine_event story_audited(uint64_t size)
{
    return (struct engine_event){.kind = ENGINE_AUDITED, .slot = 3, .audited.size = size};
}

void story_repaired(struct story *story, uint64_t mended, uint64_t refused, uint64_t left)
{
    assert_true(story->slots[3].busy);
    story->slots[3].busy = false;
    story_feed(
        story, (struct engine_event){.kind = ENGINE_REPAIRED,
                   .slot = 3,
                   .repaired = {.mended = mended, .refused = refused, .left = left, .asks = mended > 0}});
}

size_t story_busy(const struct story *story)
{
    size_t count = 0;

    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        count += story->slots[i].busy;
    return count;
}

struct engine_report story_report(const struct story *story)
{
    struct engine_report report;

    engine_report(story->engine, &report);
    return report;
}
