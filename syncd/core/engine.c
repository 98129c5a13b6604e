/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's frame: events to the lanes, deadlines, the one timer, and actions out in a fixed order. Pure.
 */
#include "syncd/core/batch_size.h"

#include <assert.h>
#include <errno.h>

/* ---- helpers of the lanes ---- */

/* One step of SplitMix64: several draws out of the bits of one feed. */
static uint64_t random_step(struct engine *engine)
{
    uint64_t z = engine->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t engine_random(struct engine *engine, uint64_t bound)
{
    assert(bound > 0);
    return random_step(engine) % bound;
}

uint64_t engine_later(const struct engine *engine, uint64_t delay_ms)
{
    return delay_ms > UINT64_MAX - engine->now_ms ? UINT64_MAX : engine->now_ms + delay_ms;
}

uint64_t engine_backoff(struct engine *engine, uint64_t min_ms, uint64_t max_ms, uint32_t exponent)
{
    uint64_t top_ms = min_ms;

    for (uint32_t i = 0; i < exponent && top_ms < max_ms; i++)
        top_ms = top_ms > max_ms / 2 ? max_ms : top_ms * 2;
    if (top_ms > max_ms)
        top_ms = max_ms;
    return top_ms <= min_ms ? top_ms : min_ms + engine_random(engine, top_ms - min_ms + 1);
}

void engine_alarm(struct engine *engine, enum engine_alarm alarm)
{
    engine->alarms[alarm] = true;
}

bool engine_any_busy(const struct engine *engine)
{
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        if (engine->slots[i].use != SLOT_FREE)
            return true;
    return false;
}

struct slot *engine_start(struct engine *engine, uint32_t index, enum slot_use use)
{
    struct slot *slot = &engine->slots[index];

    assert(slot->use == SLOT_FREE);
    *slot = (struct slot){
        .use = use,
        .start_wanted = true,
        .way_was_proven = engine->contact.state == CONTACT_PROVEN,
        .cancel_wanted = slot->cancel_wanted,
        .started_ms = engine->now_ms,
        .deadline_ms = engine_later(engine, engine->config.answer_deadline_ms),
        .epoch = engine->contact.epoch,
        .check_serial = engine->text.check_serial,
        .action.slot = index,
    };
    contact_started_request(engine);
    return slot;
}

static void slot_free(struct slot *slot)
{
    *slot = (struct slot){.cancel_wanted = slot->cancel_wanted};
}

void engine_cancel(struct engine *engine, uint32_t index)
{
    struct slot *slot = &engine->slots[index];

    if (slot->use == SLOT_FREE)
        return;
    if (!slot->start_wanted)
        slot->cancel_wanted = true;
    slot_free(slot);
}

void rate_add(struct rate *rate, uint64_t amount, uint64_t elapsed_ms)
{
    rate->amount = rate->amount - rate->amount / 4 + amount;
    rate->elapsed_ms = rate->elapsed_ms - rate->elapsed_ms / 4 + (elapsed_ms > 0 ? elapsed_ms : 1);
}

uint64_t rate_over(const struct rate *rate, uint64_t time_ms)
{
    return rate->elapsed_ms == 0 ? 0 : rate->amount * time_ms / rate->elapsed_ms;
}

bool engine_went_back(uint64_t receipt_size_before, uint64_t server_size)
{
    return server_size < receipt_size_before;
}

/* ---- events ---- */

/* Takes the request of an event out of its slot; false when the event is late or of another kind. */
static bool take_request(
    struct engine *engine, const struct engine_event *event, enum slot_use use, struct slot *ret)
{
    struct slot *slot;

    if (event->slot >= ENGINE_SLOTS_MAX)
        return false;
    slot = &engine->slots[event->slot];
    if (slot->use != use || slot->start_wanted)
        return false;
    *ret = *slot;
    slot_free(slot);
    return true;
}

static void lane_failed(struct engine *engine, const struct slot *slot, enum engine_failure failure)
{
    engine->counts.failures[failure]++;
    switch (slot->use) {
    case SLOT_FREE:
        break;
    case SLOT_EXCHANGE:
        text_failed(engine, slot, failure);
        break;
    case SLOT_UPLOAD:
        media_failed(engine, slot, failure);
        break;
    case SLOT_AUDIT:
    case SLOT_REPAIR:
        resync_failed(engine, slot, failure);
        break;
    }
}

static void on_failed(struct engine *engine, const struct engine_event *event)
{
    struct slot slot;

    if (event->slot >= ENGINE_SLOTS_MAX ||
        !take_request(engine, event, engine->slots[event->slot].use, &slot))
        return;
    lane_failed(engine, &slot, event->failed.failure);
    contact_failed(engine, &slot, event->failed.failure, event->failed.retry_after_s);
}

static void on_refused(struct engine *engine, const struct engine_event *event)
{
    enum refusal_reason reason = event->refused.reason;
    struct slot slot;

    if (event->slot >= ENGINE_SLOTS_MAX ||
        !take_request(engine, event, engine->slots[event->slot].use, &slot) || slot.use == SLOT_UPLOAD)
        return;
    engine->counts.refusals[reason]++;
    /* An audit over quota stops the audit alone. */
    if (refusal_is_about_device(reason) && (slot.use == SLOT_EXCHANGE || reason != REFUSAL_OVER_QUOTA)) {
        contact_refused(engine, &slot, reason);
        return;
    }
    /* It is signed: the network and the device's credential are well. */
    contact_answered(engine, &slot, true);
    if (slot.use == SLOT_EXCHANGE)
        text_refused(engine, &slot, event);
    else
        resync_refused(engine, reason, event->refused.retry_after_s);
}

static void on_nothing(struct engine *engine, const struct engine_event *event)
{
    struct slot slot;

    if (event->slot >= ENGINE_SLOTS_MAX ||
        !take_request(engine, event, engine->slots[event->slot].use, &slot))
        return;
    switch (slot.use) {
    case SLOT_FREE:
        break;
    case SLOT_EXCHANGE:
        text_nothing(engine, &slot);
        break;
    case SLOT_UPLOAD:
        media_nothing(engine, &slot);
        break;
    case SLOT_AUDIT:
    case SLOT_REPAIR:
        resync_nothing(engine, &slot);
        break;
    }
}

static void on_answer(struct engine *engine, const struct engine_event *event)
{
    struct slot slot;

    switch (event->kind) {
    case ENGINE_EXCHANGED:
        if (take_request(engine, event, SLOT_EXCHANGE, &slot)) {
            engine->counts.exchanges[event->exchanged.outcome]++;
            engine->counts.blobs_confirmed += event->exchanged.blobs_confirmed;
            contact_answered(engine, &slot, true);
            text_exchanged(engine, &slot, event);
        }
        break;
    case ENGINE_UPLOADED:
        if (take_request(engine, event, SLOT_UPLOAD, &slot)) {
            contact_answered(engine, &slot, false);
            media_uploaded(engine, &slot, event);
        }
        break;
    case ENGINE_AUDITED:
        if (take_request(engine, event, SLOT_AUDIT, &slot)) {
            contact_answered(engine, &slot, true);
            resync_audited(engine, event);
        }
        break;
    case ENGINE_REPAIRED:
        if (take_request(engine, event, SLOT_REPAIR, &slot)) {
            contact_answered(engine, &slot, true);
            resync_repaired(engine, event);
        }
        break;
    case ENGINE_STARTED:
    case ENGINE_TIMER:
    case ENGINE_OUTBOX:
    case ENGINE_LINK:
    case ENGINE_ONLINE:
    case ENGINE_NETWORK:
    case ENGINE_BUDGET:
    case ENGINE_SYNC_NOW:
    case ENGINE_RESYNC:
    case ENGINE_MISFIT:
    case ENGINE_PAUSE:
    case ENGINE_RESUME:
    case ENGINE_BUILT:
    case ENGINE_REFUSED:
    case ENGINE_FAILED:
    case ENGINE_NOTHING_TO_SEND:
        break;
    }
}

static void on_built(struct engine *engine, const struct engine_event *event)
{
    struct slot *slot;

    if (event->slot >= ENGINE_SLOTS_MAX)
        return;
    slot = &engine->slots[event->slot];
    if (slot->use == SLOT_FREE || slot->start_wanted)
        return;
    budget_charge(engine, slot->lane, event->built.wire_bytes);
    if (slot->use == SLOT_EXCHANGE)
        text_built(engine, slot, event);
}

static void on_outbox(struct engine *engine, const struct engine_event *event)
{
    engine->outbox = event->outbox;
    engine->outbox_known = true;
    text_outbox(engine, &event->outbox);
}

/* `patrol sync` and a resync that a person asked for: everything that waits may try now. */
static void urge(struct engine *engine)
{
    contact_urge(engine);
    way_urge(engine);
    text_urge(engine);
    media_urge(engine);
}

static void dispatch(struct engine *engine, const struct engine_event *event)
{
    switch (event->kind) {
    case ENGINE_STARTED:
        engine->started = true;
        engine->poll_at_ms = engine_later(engine, engine->config.slow_poll_ms);
        if (engine->config.idle_contact_ms > 0)
            engine->text.contact_at_ms =
                engine_later(engine, engine_random(engine, engine->config.idle_contact_ms));
        resync_started(engine);
        break;
    case ENGINE_TIMER:
        engine->timer_ms = 0;
        break;
    case ENGINE_OUTBOX:
        on_outbox(engine, event);
        break;
    case ENGINE_LINK:
        contact_link(engine, event->link.up);
        break;
    case ENGINE_ONLINE:
        contact_try_soon(engine);
        break;
    case ENGINE_NETWORK:
        engine->way.network = event->network.kind;
        engine->way.is_loopback = event->network.is_loopback;
        break;
    case ENGINE_BUDGET:
        budget_load(engine, &event->budget);
        break;
    case ENGINE_SYNC_NOW:
        urge(engine);
        text_want_answer(engine);
        engine->sync_announced = false;
        engine->sync_asked = true;
        break;
    case ENGINE_RESYNC:
        if (event->resync.cause == RESYNC_BY_USER)
            urge(engine);
        resync_ask(engine, event->resync.level, event->resync.cause, event->resync.command_id);
        break;
    case ENGINE_MISFIT:
        text_misfit(engine, event);
        break;
    case ENGINE_PAUSE:
        engine->contact.paused = true;
        engine->contact.urged = false;
        break;
    case ENGINE_RESUME:
        engine->contact.paused = false;
        break;
    case ENGINE_BUILT:
        on_built(engine, event);
        break;
    case ENGINE_EXCHANGED:
    case ENGINE_UPLOADED:
    case ENGINE_AUDITED:
    case ENGINE_REPAIRED:
        on_answer(engine, event);
        break;
    case ENGINE_REFUSED:
        on_refused(engine, event);
        break;
    case ENGINE_FAILED:
        on_failed(engine, event);
        break;
    case ENGINE_NOTHING_TO_SEND:
        on_nothing(engine, event);
        break;
    }
}

/* ---- deadlines, plan and timer ---- */

static void expire_requests(struct engine *engine)
{
    for (uint32_t i = 0; i < ENGINE_SLOTS_MAX; i++) {
        struct slot slot = engine->slots[i];

        if (slot.use == SLOT_FREE || slot.start_wanted || slot.deadline_ms > engine->now_ms)
            continue;
        engine_cancel(engine, i);
        lane_failed(engine, &slot, FAILURE_NETWORK);
        if (slot.link_shortened)
            contact_cut_by_link(engine, &slot);
        else
            contact_failed(engine, &slot, FAILURE_NETWORK, 0);
    }
}

static bool all_is_done(const struct engine *engine)
{
    return engine->started && engine->outbox_known && text_is_done(engine) &&
           engine->outbox.blobs_pending == 0 && engine->outbox.blobs_unconfirmed == 0;
}

static void announce(struct engine *engine)
{
    if (!all_is_done(engine)) {
        engine->sync_announced = false;
        if (!engine->started || !engine->outbox_known || !budget_holds_the_rest(engine))
            return;
        /* As far as it can go today. */
        if (engine->resync.phase == RESYNC_IDLE)
            engine->contact.urged = false;
        engine->sync_held_wanted = engine->sync_held_wanted || engine->sync_asked;
        engine->sync_asked = false;
        return;
    }
    if (engine->resync.phase == RESYNC_IDLE)
        engine->contact.urged = false;
    engine->sync_asked = false;
    if (engine->sync_announced)
        return;
    engine->sync_announced = true;
    engine->sync_done_wanted = true;
}

/* The earliest instant after now at which something may change by itself. There always is one: the poll. */
static uint64_t next_timer(const struct engine *engine)
{
    uint64_t candidates[8 + ENGINE_SLOTS_MAX] = {
        engine->poll_at_ms,
        engine->contact.hold_until_ms,
        text_timer(engine),
        media_timer(engine),
        resync_timer(engine),
        lanes_timer(engine),
    };
    uint64_t earliest = UINT64_MAX;

    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        if (engine->slots[i].use != SLOT_FREE)
            candidates[8 + i] = engine->slots[i].deadline_ms;
    for (size_t i = 0; i < ARRAY_LEN(candidates); i++)
        if (candidates[i] > engine->now_ms && candidates[i] < earliest)
            earliest = candidates[i];
    return earliest;
}

static void plan(struct engine *engine)
{
    uint64_t timer_ms;

    if (!engine->started)
        return;
    if (engine->now_ms >= engine->poll_at_ms)
        engine->poll_at_ms = engine_later(engine, engine->config.slow_poll_ms);
    budget_plan(engine);
    resync_settle(engine);
    text_plan(engine);
    media_plan(engine);
    resync_plan(engine);
    announce(engine);
    timer_ms = next_timer(engine);
    if (timer_ms != engine->timer_ms) {
        engine->timer_ms = timer_ms;
        engine->timer_wanted = true;
    }
}

/* ---- public ---- */

struct engine_config engine_config_default(void)
{
    return (struct engine_config){
        .backoff_min_ms = 5000,
        .backoff_max_ms = 30 * 60000,
        .slow_poll_ms = 60000,
        .idle_contact_ms = 3600000,
        .batch_records_first = 256,
        .batch_target_ms = 3000,
        .chunk_bytes_first = 64 * 1024,
        .chunk_target_ms = 20000,
        .ask_after_uploads = 64,
        .answer_deadline_ms = 120000,
        .resync_stall_ms = 30 * 60000,
        .self_audit_ms = 24 * 3600000,
        .budget_bytes = {{BUDGET_UNLIMITED, BUDGET_UNLIMITED, BUDGET_UNLIMITED},
            {BUDGET_UNLIMITED, BUDGET_UNLIMITED, BUDGET_UNLIMITED}},
    };
}

int engine_new(const struct engine_config *config, struct engine **ret)
{
    struct engine *engine = calloc(1, sizeof(*engine));

    if (!engine)
        return -ENOMEM;
    engine->config = *config;
    batch_begin(engine);
    engine->media.chunk_bytes = config->chunk_bytes_first;
    if (engine->media.chunk_bytes < UPLOAD_CHUNK_BYTES_MIN)
        engine->media.chunk_bytes = UPLOAD_CHUNK_BYTES_MIN;
    if (engine->media.chunk_bytes > UPLOAD_CHUNK_BYTES_MAX)
        engine->media.chunk_bytes = UPLOAD_CHUNK_BYTES_MAX;
    engine->contact.epoch = 1;
    *ret = engine;
    return 0;
}

void engine_free(struct engine *engine)
{
    free(engine);
}

void engine_feed(struct engine *engine, const struct engine_event *event, uint64_t now_ms, uint64_t random)
{
    assert(now_ms >= engine->now_ms);
    engine->now_ms = now_ms;
    engine->random = random;
    dispatch(engine, event);
    expire_requests(engine);
    plan(engine);
}

static bool next_cancel(struct engine *engine, struct engine_action *ret)
{
    for (uint32_t i = 0; i < ENGINE_SLOTS_MAX; i++) {
        if (!engine->slots[i].cancel_wanted)
            continue;
        engine->slots[i].cancel_wanted = false;
        *ret = (struct engine_action){.kind = ENGINE_CANCEL, .slot = i};
        return true;
    }
    return false;
}

static bool next_alarm(struct engine *engine, struct engine_action *ret)
{
    for (size_t i = 0; i < ALARM_COUNT; i++) {
        if (!engine->alarms[i])
            continue;
        engine->alarms[i] = false;
        *ret = (struct engine_action){
            .kind = ENGINE_ALARM, .alarm.text = alarm_text((enum engine_alarm)i, engine->contact.refusal)};
        return true;
    }
    return false;
}

static bool next_start(struct engine *engine, struct engine_action *ret)
{
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++) {
        if (engine->slots[i].use == SLOT_FREE || !engine->slots[i].start_wanted)
            continue;
        engine->slots[i].start_wanted = false;
        *ret = engine->slots[i].action;
        return true;
    }
    return false;
}

static bool next_sync_done(struct engine *engine, struct engine_action *ret)
{
    if (engine->sync_refused_wanted || engine->sync_held_wanted) {
        engine->sync_refused_wanted = engine->sync_held_wanted = false;
        engine->sync_asked = false;
        *ret = (struct engine_action){.kind = ENGINE_SYNC_DONE, .sync_done.ok = false};
        return true;
    }
    if (!engine->sync_done_wanted)
        return false;
    engine->sync_done_wanted = false;
    *ret = (struct engine_action){.kind = ENGINE_SYNC_DONE, .sync_done.ok = true};
    return true;
}

bool engine_next(struct engine *engine, struct engine_action *ret)
{
    /* A resync's start is told before its first request. */
    if (next_cancel(engine, ret) || next_alarm(engine, ret) || text_next_leave(engine, ret) ||
        resync_next_word(engine, ret) || next_sync_done(engine, ret) || next_start(engine, ret) ||
        budget_next_keep(engine, ret))
        return true;
    if (engine->timer_wanted) {
        engine->timer_wanted = false;
        *ret = (struct engine_action){.kind = ENGINE_SET_TIMER, .timer.at_ms = engine->timer_ms};
        return true;
    }
    return false;
}
