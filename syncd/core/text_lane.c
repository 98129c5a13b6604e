/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanges: which log, from where, how much, and when to ask without sending anything. Pure.
 *
 *   first      [receipt ........ a)                    in flight
 *   second                     [a ........ b)          in flight, with its own checkpoint at b
 *
 * The next exchange of a log starts at the lowest position that has neither a receipt nor is in flight. So
 * when the first fails and the second is still held by the server, the gap before it is filled; when the
 * second is answered `ahead`, it simply is no longer in flight. What counts is the size that the server
 * signed, never what was sent.
 */
#include "syncd/core/batch_size.h"

#include <assert.h>

static struct log_state *find_log(struct text_lane *text, const struct uuid *id)
{
    for (size_t i = 0; i < text->log_count; i++)
        if (uuid_equal(&text->logs[i].log.id, id))
            return &text->logs[i];
    return NULL;
}

static bool log_is_held(const struct engine *engine, const struct log_state *log)
{
    return log->leave || engine->now_ms < log->hold_until_ms || resync_holds_log(engine, &log->log.id);
}

static bool log_has_work(const struct log_state *log)
{
    return !log->leave && log->log.receipt_size < log->log.size;
}

static void hold_log(struct engine *engine, struct log_state *log, uint32_t exponent, const char *reason)
{
    uint64_t wait_ms =
        engine_backoff(engine, engine->config.backoff_min_ms, engine->config.backoff_max_ms, exponent);

    log->hold_until_ms = engine_later(engine, wait_ms);
    log->hold_reason = reason;
}

static void leave_log(struct engine *engine, struct log_state *log, enum open_reason reason)
{
    if (log->leave)
        return;
    log->leave = true;
    log->leave_reason = reason;
    log->leave_at_ms = engine->now_ms;
    /* The other exchange of this log can only meet the same end. */
    for (uint32_t i = 0; i < TEXT_SLOTS; i++)
        if (engine->slots[i].use == SLOT_EXCHANGE &&
            uuid_equal(&engine->slots[i].action.exchange.log, &log->log.id))
            engine_cancel(engine, i);
}

/* A receipt for this log has another root than it, or is larger than it. */
static void receipt_does_not_fit(struct engine *engine, struct log_state *log, bool is_larger)
{
    engine_alarm(engine, is_larger ? ALARM_ROLLED_BACK : ALARM_FORK);
    leave_log(engine, log, is_larger ? OPEN_RECOVERED : OPEN_FORK);
}

/* ---- what happened ---- */

void text_outbox(struct engine *engine, const struct engine_outbox *outbox)
{
    struct text_lane old = engine->text;
    struct text_lane *text = &engine->text;

    assert(outbox->log_count <= ENGINE_LOGS_MAX);
    text->log_count = outbox->log_count;
    for (size_t i = 0; i < outbox->log_count; i++) {
        const struct log_state *known = find_log(&old, &outbox->logs[i].id);

        text->logs[i] = known ? *known : (struct log_state){0};
        text->logs[i].log = outbox->logs[i];
    }
}

void text_built(struct engine *engine, struct slot *slot, const struct engine_event *event)
{
    slot->built = true;
    slot->records = event->built.records;
    slot->plain_bytes = event->built.plain_bytes;
    slot->wire_bytes = event->built.wire_bytes;
    batch_built(&engine->text, slot);
}

void text_want_answer(struct engine *engine)
{
    engine->text.check_serial++;
}

static void note_asked(struct engine *engine, const struct engine_event *event)
{
    struct text_lane *text = &engine->text;

    if (event->exchanged.blobs_asked == 0)
        return;
    if (event->exchanged.blobs_confirmed > 0) {
        text->ask_failures = 0;
        text->ask_not_before_ms = engine->now_ms;
        return;
    }
    text->ask_failures++;
    text->ask_not_before_ms =
        engine_later(engine, engine_backoff(engine, ASK_AGAIN_MIN_MS, ASK_AGAIN_MAX_MS, text->ask_failures));
}

static void note_contact(struct engine *engine, const struct slot *slot, const struct engine_event *event)
{
    struct text_lane *text = &engine->text;
    uint64_t idle_ms = engine->config.idle_contact_ms;
    uint64_t wait_ms;

    budget_server_time(engine, event->exchanged.server_ms);
    if (text->checked_serial < slot->check_serial)
        text->checked_serial = slot->check_serial;
    text->contact_at_ms =
        idle_ms > 0 ? engine_later(engine, idle_ms + engine_random(engine, idle_ms / 4 + 1)) : 0;
    if (event->exchanged.next_contact_s == 0)
        return;
    wait_ms = contact_retry_after_ms(engine, event->exchanged.next_contact_s);
    text->contact_at_ms = engine_later(engine, wait_ms);
    if (!engine->contact.urged)
        contact_told_to_wait(engine, wait_ms, BUSY_LOAD);
}

/* An exchange that should have been stored and was not, without a word why, is not sent again at once. */
static void note_progress(
    struct engine *engine, struct log_state *log, const struct slot *slot, const struct engine_event *event)
{
    uint64_t first_seq = slot->action.exchange.first_seq;

    if (slot->records == 0)
        return;
    if (log->log.receipt_size > first_seq) {
        log->failures = log->stalls = log->root_mismatches = 0;
        log->hold_until_ms = 0;
        log->hold_reason = NULL;
        log->was_ahead = false;
        return;
    }
    if (first_seq > event->exchanged.receipt_size_before) {
        log->was_ahead = true; /* of another one, which is late or lost */
        return;
    }
    log->stalls++;
    if (log->stalls == STALLS_FOR_ALARM)
        engine_alarm(engine, ALARM_NO_PROGRESS);
    hold_log(engine, log, log->stalls, "the centre answers, but does not take these records");
}

static void take_outcome(
    struct engine *engine, struct log_state *log, const struct slot *slot, const struct engine_event *event)
{
    uint64_t size = event->exchanged.size;

    switch (event->exchanged.outcome) {
    case EXCHANGE_STORED:
    case EXCHANGE_AHEAD:
        if (event->exchanged.went_back) {
            log->log.receipt_size = size;
            break;
        }
        if (size > log->log.receipt_size && size <= log->log.size)
            log->log.receipt_size = size;
        note_progress(engine, log, slot, event);
        break;
    case EXCHANGE_FORK:
        receipt_does_not_fit(engine, log, false);
        break;
    case EXCHANGE_ROOT_MISMATCH:
        /* The receipts agree (the agent has looked), the trees do not: one side's kept hashes are damaged.
         * The server's own audit tells which; a log that cannot be reconciled is left, its records re-homed.
         */
        log->root_mismatches++;
        engine_alarm(engine, ALARM_ROOT_MISMATCH);
        if (log->root_mismatches >= ROOT_MISMATCHES_MAX) {
            leave_log(engine, log, OPEN_FORK);
            break;
        }
        hold_log(engine, log, log->root_mismatches, "the centre computes another root for this log");
        resync_ask(engine, AUDIT_PRESENCE, RESYNC_BY_ITSELF, NULL);
        break;
    }
}

void text_exchanged(struct engine *engine, const struct slot *slot, const struct engine_event *event)
{
    struct log_state *log = find_log(&engine->text, &slot->action.exchange.log);

    engine->text.ask_first = false;
    engine->text.ask_hold_failures = 0;
    note_asked(engine, event);
    note_contact(engine, slot, event);
    if (event->exchanged.ask_again)
        text_want_answer(engine);
    media_token(engine, event->exchanged.has_token, event->exchanged.token_s, event->exchanged.no_upload);
    if (slot->records > 0 && event->exchanged.outcome == EXCHANGE_STORED)
        batch_answered(engine, slot);
    if (log && event->exchanged.rolled_back) {
        receipt_does_not_fit(engine, log, true);
    } else if (log) {
        take_outcome(engine, log, slot, event);
    }
    if (event->exchanged.went_back)
        engine_alarm(engine, ALARM_WENT_BACK);
    if (event->exchanged.went_back || event->exchanged.new_incarnation)
        resync_ask(engine, AUDIT_PRESENCE, RESYNC_BY_ITSELF, NULL);
}

static void too_large(struct engine *engine, struct log_state *log, const struct slot *slot)
{
    if (!batch_halve(&engine->text, slot) && log) {
        if (log->failures == 0)
            engine_alarm(engine, ALARM_RECORD_TOO_LARGE);
        log->failures++;
        hold_log(engine, log, log->failures, "the centre does not take a record of this size");
    }
}

/* An ask may stand on a log that is held, so it has a patience of its own. */
static void hold_asks(struct engine *engine)
{
    struct text_lane *text = &engine->text;

    text->ask_first = false;
    text->ask_hold_failures++;
    text->ask_hold_until_ms =
        engine_later(engine, engine_backoff(engine, engine->config.backoff_min_ms,
                                 engine->config.backoff_max_ms, text->ask_hold_failures));
}

void text_failed(struct engine *engine, const struct slot *slot, enum engine_failure failure)
{
    struct log_state *log = find_log(&engine->text, &slot->action.exchange.log);

    switch (failure) {
    case FAILURE_NETWORK:
        batch_halve(&engine->text, slot);
        break;
    case FAILURE_TLS:
    case FAILURE_UNSIGNED:
    case FAILURE_BUSY:
        break;
    case FAILURE_TOO_LARGE:
        /* Not signed, and so not the last word: a device that is not known may send little. An exchange
         * without records brings the signed one. */
        if (slot->ask) {
            hold_asks(engine);
            break;
        }
        engine->text.ask_first = true;
        too_large(engine, log, slot);
        break;
    case FAILURE_UPLOAD_OFFSET:
    case FAILURE_UPLOAD_GONE:
    case FAILURE_UPLOAD_TOKEN:
    case FAILURE_UPLOAD_HASH:
    case FAILURE_UPLOAD_FULL:
    case FAILURE_LOCAL:
        if (slot->ask)
            hold_asks(engine);
        if (log) {
            log->failures++;
            hold_log(engine, log, log->failures, "the queue could not be read");
        }
        break;
    }
}

void text_refused(struct engine *engine, const struct slot *slot, const struct engine_event *event)
{
    struct log_state *log = find_log(&engine->text, &slot->action.exchange.log);

    engine->text.ask_first = false;
    switch (event->refused.reason) {
    case REFUSAL_BUSY:
        contact_told_to_wait(
            engine, contact_retry_after_ms(engine, event->refused.retry_after_s), event->refused.busy_cause);
        break;
    case REFUSAL_TOO_LARGE:
        too_large(engine, log, slot);
        break;
    case REFUSAL_LOG_OF_OTHER_DEVICE:
    case REFUSAL_BAD_REQUEST:
    case REFUSAL_TOKEN_UNKNOWN:
    case REFUSAL_TOKEN_USED:
    case REFUSAL_TOKEN_EXPIRED:
    case REFUSAL_UNKNOWN_DEVICE:
    case REFUSAL_REVOKED:
    case REFUSAL_OVER_QUOTA:
        if (!log)
            break;
        /* This log alone waits, at the pace of any signed refusal: once more soon, then every 6 h. */
        if (log->failures == 0)
            engine_alarm(engine, ALARM_LOG_REFUSED);
        log->hold_until_ms =
            engine_later(engine, log->failures == 0 ? REFUSAL_FIRST_PROBE_MS : REFUSAL_PROBE_MS);
        log->hold_reason = "the centre refuses this log";
        log->failures++;
        if (slot->ask)
            hold_asks(engine);
        break;
    }
}

void text_nothing(struct engine *engine, const struct slot *slot)
{
    struct log_state *log = find_log(&engine->text, &slot->action.exchange.log);

    if (slot->ask)
        hold_asks(engine);
    if (log) {
        log->hold_until_ms = engine_later(engine, NOTHING_HOLD_MS);
        log->hold_reason = "the queue changed while it was read";
    }
}

/* One that was left already is not in the outbox. */
void text_misfit(struct engine *engine, const struct engine_event *event)
{
    struct log_state *log = find_log(&engine->text, &event->misfit.log);

    if (log && !log->leave)
        receipt_does_not_fit(engine, log, event->misfit.rolled_back);
}

void text_urge(struct engine *engine)
{
    for (size_t i = 0; i < engine->text.log_count; i++)
        engine->text.logs[i].hold_until_ms = 0;
    engine->text.ask_not_before_ms = 0;
    engine->text.ask_hold_until_ms = 0;
}

/* ---- what to do next ---- */

/* The lowest position of a log that has no receipt and is not in flight, and where the next request in flight
 * begins. False when an exchange is on its way that has not told yet how far it goes. */
static bool find_gap(
    const struct engine *engine, const struct engine_log *log, uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t first = log->receipt_size, end = log->size;

    for (size_t pass = 0; pass < TEXT_SLOTS; pass++) {
        for (size_t i = 0; i < TEXT_SLOTS; i++) {
            const struct slot *slot = &engine->slots[i];
            uint64_t slot_first = slot->action.exchange.first_seq;

            if (slot->use != SLOT_EXCHANGE || slot->ask || !uuid_equal(&slot->action.exchange.log, &log->id))
                continue;
            if (!slot->built)
                return false;
            if (slot_first <= first && first < slot_first + slot->records)
                first = slot_first + slot->records;
            else if (slot_first > first && slot_first < end)
                end = slot_first;
        }
    }
    *ret_first = first;
    *ret_end = end;
    return true;
}

static struct slot *free_text_slot(struct engine *engine, uint32_t *ret_index)
{
    for (uint32_t i = 0; i < TEXT_SLOTS; i++) {
        if (engine->slots[i].use == SLOT_FREE) {
            *ret_index = i;
            return &engine->slots[i];
        }
    }
    return NULL;
}

static bool any_exchange(const struct engine *engine)
{
    return engine->slots[0].use == SLOT_EXCHANGE || engine->slots[1].use == SLOT_EXCHANGE;
}

static struct slot *start_exchange(struct engine *engine, const struct uuid *log, uint64_t first_seq,
    uint32_t records_max, uint32_t bytes_max)
{
    const struct contact *contact = &engine->contact;
    struct slot *slot;
    uint32_t index;

    if (!free_text_slot(engine, &index))
        return NULL;
    slot = engine_start(engine, index, SLOT_EXCHANGE);
    slot->ask = records_max == 0;
    slot->action.kind = ENGINE_SEND_EXCHANGE;
    slot->action.exchange.log = *log;
    slot->action.exchange.first_seq = first_seq;
    slot->action.exchange.records_max = records_max;
    slot->action.exchange.bytes_max = bytes_max;
    slot->action.exchange.with_certificate =
        contact->certificate_wanted ||
        (contact->state == CONTACT_REFUSED && contact->refusal == REFUSAL_UNKNOWN_DEVICE);
    return slot;
}

/* Starts an exchange of a log if one is due; false when this log has nothing (more) to start. */
static bool plan_log(struct engine *engine, const struct log_state *log)
{
    struct batch_limit limit = batch_limit(&engine->text);
    uint64_t first, end;
    uint32_t index;

    if (!free_text_slot(engine, &index) || !contact_open(engine) || !lane_text_is_open(engine) ||
        !find_gap(engine, &log->log, &first, &end) || first >= end)
        return false;
    if (any_exchange(engine) &&
        (log->was_ahead || (end - first < SECOND_EXCHANGE_RECORDS_MIN && end - first < limit.records)))
        return false;
    if (end - first < limit.records)
        limit.records = (uint32_t)(end - first);
    start_exchange(engine, &log->log.id, first, limit.records, limit.bytes);
    return true;
}

/* The log to ask on: the newest that is not held; when nothing but an exchange can help, any. */
static const struct log_state *ask_log(const struct engine *engine)
{
    const struct text_lane *text = &engine->text;

    for (size_t i = text->log_count; i > 0; i--)
        if (!log_is_held(engine, &text->logs[i - 1]))
            return &text->logs[i - 1];
    if ((!contact_needs_exchange(engine) && !text->ask_first) || text->log_count == 0)
        return NULL;
    return &text->logs[text->log_count - 1];
}

/* `*ret_lane` is the one that pays: a token is asked for on behalf of what is uploaded with it. */
static bool wants_ask(const struct engine *engine, enum engine_lane *ret_lane)
{
    const struct text_lane *text = &engine->text;
    bool is_open = lane_text_is_open(engine);

    *ret_lane = LANE_TEXT;
    if (contact_needs_exchange(engine) || text->ask_first)
        return is_open;
    if (is_open && text->check_serial != text->checked_serial)
        return true;
    if (is_open && text->contact_at_ms > 0 && engine->now_ms >= text->contact_at_ms)
        return true;
    if (media_wants_token(engine, ret_lane))
        return true;
    return is_open && media_wants_states(engine) && engine->now_ms >= text->ask_not_before_ms;
}

static void plan_ask(struct engine *engine)
{
    const struct log_state *log = NULL;
    enum engine_lane lane = LANE_TEXT;
    struct slot *slot;

    if (!any_exchange(engine) && contact_open(engine) && engine->now_ms >= engine->text.ask_hold_until_ms &&
        wants_ask(engine, &lane))
        log = ask_log(engine);
    if (!log)
        return;
    slot = start_exchange(engine, &log->log.id, log->log.receipt_size, 0, 0);
    if (slot)
        slot->lane = lane;
}

/* Leaving a log may fail (a full disk, a busy store): it is asked for until the outbox shows it no more. */
static void plan_leaves(struct engine *engine)
{
    for (size_t i = 0; i < engine->text.log_count; i++) {
        struct log_state *log = &engine->text.logs[i];

        if (!log->leave || engine->now_ms < log->leave_at_ms)
            continue;
        log->leave_wanted = true;
        log->leave_at_ms = engine_later(engine, LEAVE_RETRY_MS);
    }
}

void text_plan(struct engine *engine)
{
    struct text_lane *text = &engine->text;
    const struct log_state *log = NULL;

    plan_leaves(engine);
    /* A probe carries no records: they would be refused with it. */
    if (contact_needs_exchange(engine) || text->ask_first) {
        plan_ask(engine);
        return;
    }
    /* A predecessor before its successor, unless it cannot go on. */
    for (size_t i = 0; i < text->log_count && !log; i++)
        if (log_has_work(&text->logs[i]) && !log_is_held(engine, &text->logs[i]) && lane_text_is_open(engine))
            log = &text->logs[i];
    if (!log)
        plan_ask(engine);
    while (log && plan_log(engine, log))
        ;
}

bool text_next_leave(struct engine *engine, struct engine_action *ret)
{
    for (size_t i = 0; i < engine->text.log_count; i++) {
        struct log_state *log = &engine->text.logs[i];

        if (!log->leave_wanted)
            continue;
        log->leave_wanted = false;
        *ret = (struct engine_action){
            .kind = ENGINE_LEAVE_LOG, .leave = {.log = log->log.id, .reason = log->leave_reason}};
        return true;
    }
    return false;
}

bool text_is_in_flight(const struct engine *engine)
{
    for (size_t i = 0; i < TEXT_SLOTS; i++)
        if (engine->slots[i].use == SLOT_EXCHANGE && !engine->slots[i].ask)
            return true;
    return false;
}

bool text_is_busy(const struct engine *engine)
{
    if (text_is_in_flight(engine))
        return true;
    for (size_t i = 0; i < engine->text.log_count; i++)
        if (log_has_work(&engine->text.logs[i]) && !log_is_held(engine, &engine->text.logs[i]))
            return lane_text_is_open(engine);
    return false;
}

bool text_log_is_in_flight(const struct engine *engine, const struct uuid *log)
{
    for (size_t i = 0; i < TEXT_SLOTS; i++)
        if (engine->slots[i].use == SLOT_EXCHANGE && !engine->slots[i].ask &&
            uuid_equal(&engine->slots[i].action.exchange.log, log))
            return true;
    return false;
}

bool text_is_done(const struct engine *engine)
{
    const struct text_lane *text = &engine->text;

    for (size_t i = 0; i < text->log_count; i++)
        if (text->logs[i].leave || text->logs[i].log.receipt_size < text->logs[i].log.size)
            return false;
    /* With no log there is nobody to ask about, and nothing to wait for. */
    return text->log_count == 0 || text->check_serial == text->checked_serial;
}

uint64_t text_timer(const struct engine *engine)
{
    const struct text_lane *text = &engine->text;
    uint64_t earliest = UINT64_MAX;

    for (size_t i = 0; i < text->log_count; i++) {
        const struct log_state *log = &text->logs[i];
        uint64_t at_ms = log->leave ? log->leave_at_ms : log->hold_until_ms;

        if (at_ms > engine->now_ms && at_ms < earliest)
            earliest = at_ms;
    }
    if (text->contact_at_ms > engine->now_ms && text->contact_at_ms < earliest)
        earliest = text->contact_at_ms;
    if (text->ask_not_before_ms > engine->now_ms && text->ask_not_before_ms < earliest)
        earliest = text->ask_not_before_ms;
    if (text->ask_hold_until_ms > engine->now_ms && text->ask_hold_until_ms < earliest)
        earliest = text->ask_hold_until_ms;
    return earliest;
}
