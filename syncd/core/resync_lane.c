/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manual resync: which window of which log is audited next, when repairs are sent, and when it is over. Pure.
 *
 *   AUDITING   window by window, log by log ──► REPAIRING what the window showed ──► AUDITING
 *              a log that was mended is audited once more for presence (checking), at most RESYNC_CHECKS_MAX;
 *              but where the centre has shown with the repairs that the log is whole, that is the check
 *   SETTLING   photos found missing, and records of a server that was set back, go through the other lanes
 *   IDLE       until somebody asks, or the self-audit is due.
 *              Told: ok, not ok (something is in neither place), or the problem that ended it early
 */
#include "syncd/core/engine_state.h"

#include <assert.h>

static const struct {
    const char *name;
    unsigned next; /* bit set of phases */
} resync_phases[] = {
#define TO(phase) (1u << (phase))
    [RESYNC_IDLE] = {"idle", TO(RESYNC_AUDITING) | TO(RESYNC_SETTLING)},
    [RESYNC_AUDITING] = {"auditing",
        TO(RESYNC_IDLE) | TO(RESYNC_AUDITING) | TO(RESYNC_REPAIRING) | TO(RESYNC_SETTLING)},
    [RESYNC_REPAIRING] = {"repairing", TO(RESYNC_IDLE) | TO(RESYNC_AUDITING) | TO(RESYNC_SETTLING)},
    [RESYNC_SETTLING] = {"settling", TO(RESYNC_IDLE)},
#undef TO
};

static void resync_enter(struct resync_lane *resync, enum resync_phase phase)
{
    assert(resync_phases[resync->phase].next & (1u << phase));
    resync->phase = phase;
}

/* ---- commands of the server: each is done once ---- */

static bool same_command(const struct resync_command *command, const uint8_t id[COMMAND_ID_BYTES])
{
    return command->set && memcmp(command->id, id, COMMAND_ID_BYTES) == 0;
}

static struct resync_command command_of(const uint8_t id[COMMAND_ID_BYTES], enum audit_level level)
{
    struct resync_command command = {.set = true, .level = level};

    memcpy(command.id, id, COMMAND_ID_BYTES);
    return command;
}

/* The server repeats a command until it has seen it done, so answers that were under way name it again. */
static bool command_is_known(const struct engine *engine, const uint8_t id[COMMAND_ID_BYTES])
{
    const struct resync_lane *resync = &engine->resync;

    if (resync->phase != RESYNC_IDLE && same_command(&resync->command, id))
        return true;
    if (same_command(&resync->queued, id))
        return true;
    if (same_command(&resync->failed, id) && engine->now_ms < resync->failed_until_ms)
        return true;
    for (size_t i = 0; i < RESYNC_COMMANDS_KEPT; i++)
        if (same_command(&resync->done[i], id))
            return true;
    return false;
}

/* ---- start and end ---- */

/* Start and end are told in order; whoever does not fetch them loses the oldest. */
static void say(struct resync_lane *resync, const struct engine_action *word)
{
    if (resync->word_count == RESYNC_WORDS_MAX) {
        memmove(resync->words, resync->words + 1, (RESYNC_WORDS_MAX - 1) * sizeof(*word));
        resync->word_count--;
    }
    resync->words[resync->word_count++] = *word;
}

bool resync_next_word(struct engine *engine, struct engine_action *ret)
{
    struct resync_lane *resync = &engine->resync;

    if (resync->word_count == 0)
        return false;
    *ret = resync->words[0];
    resync->word_count--;
    memmove(resync->words, resync->words + 1, resync->word_count * sizeof(*ret));
    return true;
}

static void begin_log(struct resync_lane *resync, const struct uuid *log)
{
    resync->log = *log;
    resync->has_next_log = false;
    resync->more_windows = false;
    resync->from_seq = 0;
    resync->has_after_blob = false;
    resync->checking = false;
    resync->mended = resync->mending = false;
    resync->checks = 0;
}

static void resync_begin(struct engine *engine, enum audit_level level, enum resync_cause cause,
    const struct resync_command *command)
{
    struct resync_lane *resync = &engine->resync;

    engine_cancel(engine, RESYNC_SLOT);
    resync->phase = RESYNC_IDLE;
    resync->level = level;
    resync->cause = cause;
    resync->command = command ? *command : (struct resync_command){0};
    resync->incomplete = resync->resend = false;
    resync->repair_bytes = REPAIR_BYTES_FIRST;
    resync->idle_repairs = resync->failures = 0;
    resync->hold_until_ms = 0;
    resync->progress_ms = engine->now_ms;
    say(resync, &(struct engine_action){
                    .kind = ENGINE_RESYNC_STARTED, .resync_started = {.level = level, .cause = cause}});
    if (engine->outbox.has_receipt_log) {
        begin_log(resync, &engine->outbox.receipt_log);
        resync_enter(resync, RESYNC_AUDITING);
    } else {
        resync_enter(resync, RESYNC_SETTLING); /* nothing was ever acknowledged: nothing to compare */
    }
}

static void resync_end(struct engine *engine, const char *problem)
{
    struct resync_lane *resync = &engine->resync;
    struct engine_action word = {.kind = ENGINE_RESYNC_DONE,
        .resync_done = {.ok = !problem && !resync->incomplete,
            .problem = problem,
            .cause = resync->cause,
            .has_command = resync->command.set}};

    engine_cancel(engine, RESYNC_SLOT);
    resync_enter(resync, RESYNC_IDLE);
    memcpy(word.resync_done.command_id, resync->command.id, COMMAND_ID_BYTES);
    say(resync, &word);
    if (resync->command.set)
        text_want_answer(engine); /* to the exchange that tells the server */
    if (!problem)
        resync->self_audit_at_ms = engine_later(engine, engine->config.self_audit_ms);
    else if (resync->cause == RESYNC_SELF_AUDIT)
        resync->self_audit_at_ms = engine_later(engine, SELF_AUDIT_RETRY_MS);
    if (problem && resync->cause == RESYNC_BY_ITSELF)
        resync->itself_not_before_ms = engine_later(engine, RESYNC_ITSELF_RETRY_MS);
    if (resync->command.set && problem) {
        resync->failed = resync->command;
        resync->failed_until_ms = engine_later(engine, RESYNC_COMMAND_RETRY_MS);
    } else if (resync->command.set) {
        resync->done[resync->done_next] = resync->command;
        resync->done_next = (resync->done_next + 1) % RESYNC_COMMANDS_KEPT;
    }
}

void resync_ask(
    struct engine *engine, enum audit_level level, enum resync_cause cause, const uint8_t *command_id)
{
    struct resync_lane *resync = &engine->resync;
    struct resync_command command;

    switch (cause) {
    case RESYNC_BY_ITSELF:
        if (resync->phase == RESYNC_IDLE && engine->now_ms >= resync->itself_not_before_ms)
            resync_begin(engine, level, cause, NULL);
        break;
    case RESYNC_BY_SERVER:
        if (command_is_known(engine, command_id))
            break;
        command = command_of(command_id, level);
        if (resync->phase == RESYNC_IDLE)
            resync_begin(engine, level, cause, &command);
        else
            resync->queued = command;
        break;
    case RESYNC_SELF_AUDIT:
        if (resync->phase == RESYNC_IDLE)
            resync_begin(engine, level, cause, NULL);
        break;
    case RESYNC_BY_USER:
        if (resync->phase != RESYNC_IDLE && resync->cause == cause && resync->level >= level) {
            resync->hold_until_ms = 0; /* joins it */
            break;
        }
        /* What it takes the place of, if the server asked for it, is done after. */
        if (resync->phase != RESYNC_IDLE && resync->command.set)
            resync->queued = resync->command;
        resync_begin(engine, level, cause, NULL);
        break;
    }
}

void resync_started(struct engine *engine)
{
    uint64_t share_ms = engine->config.self_audit_ms / SELF_AUDIT_FIRST_SHARE;

    engine->resync.self_audit_at_ms = engine_later(engine, engine_random(engine, share_ms + 1));
}

void resync_progress(struct engine *engine)
{
    engine->resync.progress_ms = engine->now_ms;
}

/* ---- what happened ---- */

static void next_log_or_settle(struct resync_lane *resync)
{
    struct uuid next = resync->next_log;

    if (resync->has_next_log) {
        begin_log(resync, &next);
        resync_enter(resync, RESYNC_AUDITING);
    } else {
        resync_enter(resync, RESYNC_SETTLING);
    }
}

/* After a window and its repairs. */
static void advance(struct resync_lane *resync)
{
    resync->mended = resync->mended || resync->mending;
    resync->mending = false;
    if (resync->more_windows) {
        resync_enter(resync, RESYNC_AUDITING);
        return;
    }
    if (resync->mended && resync->checks < RESYNC_CHECKS_MAX) {
        resync->checks++;
        resync->checking = true;
        resync->mended = false;
        resync->from_seq = 0;
        resync->has_after_blob = false;
        resync_enter(resync, RESYNC_AUDITING);
        return;
    }
    if (resync->mended)
        resync->incomplete = true; /* the last check still found something */
    next_log_or_settle(resync);
}

void resync_audited(struct engine *engine, const struct engine_event *event)
{
    struct resync_lane *resync = &engine->resync;

    if (resync->phase != RESYNC_AUDITING)
        return;
    resync->failures = 0;
    resync_progress(engine);
    resync->has_next_log = event->audited.has_next_log;
    resync->next_log = event->audited.next_log;
    resync->more_windows = event->audited.next_seq != 0 || event->audited.has_next_blob;
    resync->from_seq = event->audited.next_seq != 0 ? event->audited.next_seq : event->audited.size;
    resync->has_after_blob = event->audited.has_next_blob;
    resync->after_blob = event->audited.next_blob;
    if (event->audited.gone_records > 0 || event->audited.gone_blobs > 0)
        resync->incomplete = true;
    if (event->audited.went_back) {
        resync->resend = true;
        engine_alarm(engine, ALARM_WENT_BACK);
    }
    if (event->audited.to_mend_records > 0 || event->audited.gone_blobs > 0) {
        resync->mending = event->audited.to_mend_records > 0;
        resync->idle_repairs = 0;
        resync_enter(resync, RESYNC_REPAIRING);
        return;
    }
    advance(resync);
}

void resync_repaired(struct engine *engine, const struct engine_event *event)
{
    struct resync_lane *resync = &engine->resync;

    if (resync->phase != RESYNC_REPAIRING)
        return;
    resync->failures = 0;
    if (event->repaired.gone > 0)
        resync->incomplete = true;
    if (event->repaired.mended > 0) {
        resync_progress(engine);
        resync->idle_repairs = 0;
    } else {
        resync->idle_repairs++;
    }
    if (event->repaired.asks)
        text_want_answer(engine);
    if (event->repaired.is_proven)
        resync->mending = false;
    if (event->repaired.left > 0 && resync->idle_repairs < RESYNC_FAILURES_MAX)
        return;
    /* What was refused is found again by the check, which decides. */
    advance(resync);
}

void resync_failed(struct engine *engine, const struct slot *slot, enum engine_failure failure)
{
    struct resync_lane *resync = &engine->resync;

    if (resync->phase == RESYNC_IDLE)
        return;
    if (slot->use == SLOT_REPAIR && resync->repair_bytes > REPAIR_BYTES_MIN &&
        (failure == FAILURE_TOO_LARGE || failure == FAILURE_NETWORK)) {
        resync->repair_bytes /= 2;
        if (failure == FAILURE_TOO_LARGE)
            return;
    }
    resync->failures++;
    resync->hold_until_ms = engine_later(engine, engine_backoff(engine, engine->config.backoff_min_ms,
                                                     engine->config.backoff_max_ms, resync->failures));
    if (resync->failures >= RESYNC_FAILURES_MAX)
        resync_end(engine, failure_text(failure));
}

void resync_refused(struct engine *engine, enum refusal_reason reason, uint32_t retry_after_s)
{
    struct resync_lane *resync = &engine->resync;

    if (resync->phase == RESYNC_IDLE)
        return;
    resync->failures++;
    if (reason != REFUSAL_BUSY || resync->failures >= RESYNC_FAILURES_MAX) {
        resync_end(engine, refusal_text(reason));
        return;
    }
    resync->hold_until_ms = engine_later(engine, contact_retry_after_ms(engine, retry_after_s));
}

void resync_nothing(struct engine *engine, const struct slot *slot)
{
    struct resync_lane *resync = &engine->resync;

    if (resync->phase == RESYNC_REPAIRING && slot->use == SLOT_REPAIR)
        advance(resync);
    else if (resync->phase == RESYNC_AUDITING && slot->use == SLOT_AUDIT)
        next_log_or_settle(resync);
}

void resync_device_refused(struct engine *engine)
{
    if (engine->resync.phase != RESYNC_IDLE)
        resync_end(engine, refusal_text(engine->contact.refusal));
}

/* ---- what to do next ---- */

bool resync_holds_log(const struct engine *engine, const struct uuid *log)
{
    return engine->resync.phase == RESYNC_REPAIRING && uuid_equal(&engine->resync.log, log);
}

static uint64_t stalled_at(const struct engine *engine)
{
    uint64_t since_ms = engine->resync.progress_ms, stall_ms = engine->config.resync_stall_ms;

    return since_ms > UINT64_MAX - stall_ms ? UINT64_MAX : since_ms + stall_ms;
}

static bool is_settled(const struct engine *engine)
{
    return engine->outbox_known && engine->outbox.blobs_mending == 0 &&
           (!engine->resync.resend || text_is_done(engine));
}

static const char *stall_problem(const struct engine *engine)
{
    if (engine->contact.failures > 0)
        return failure_text(engine->contact.failure);
    if (lane_is_over_budget(engine, LANE_TEXT, false) || lane_is_over_budget(engine, LANE_PHOTOS, false))
        return "the day's budget is used up";
    return engine->contact.paused ? "sending is paused" : "no progress for too long";
}

static void settle(struct engine *engine)
{
    struct resync_lane *resync = &engine->resync;

    if (resync->phase == RESYNC_SETTLING && is_settled(engine))
        resync_end(engine, NULL);
    else if (resync->phase != RESYNC_IDLE && engine->now_ms >= stalled_at(engine))
        resync_end(engine, stall_problem(engine));
    if (resync->phase == RESYNC_IDLE && resync->queued.set) {
        struct resync_command command = resync->queued;

        resync->queued = (struct resync_command){0};
        resync_begin(engine, command.level, RESYNC_BY_SERVER, &command);
    }
}

/* It waits for a way to the centre that was just found good, and makes no contact of its own: it has no
 * timer, and comes with whatever happens next, at the latest the slow poll. */
static void plan_self_audit(struct engine *engine)
{
    if (engine->config.self_audit_ms == 0 || engine->now_ms < engine->resync.self_audit_at_ms ||
        engine->resync.phase != RESYNC_IDLE || engine->contact.state != CONTACT_PROVEN ||
        !contact_open(engine) || !lane_is_open(engine, LANE_TEXT, false) || text_is_busy(engine) ||
        !engine->outbox.has_receipt_log)
        return;
    resync_ask(engine, AUDIT_PRESENCE, RESYNC_SELF_AUDIT, NULL);
}

void resync_settle(struct engine *engine)
{
    settle(engine);
    plan_self_audit(engine);
}

void resync_plan(struct engine *engine)
{
    struct resync_lane *resync = &engine->resync;
    struct slot *slot;

    if (engine->slots[RESYNC_SLOT].use != SLOT_FREE || contact_needs_exchange(engine) ||
        engine->now_ms < resync->hold_until_ms || !contact_open(engine) ||
        (resync->cause != RESYNC_BY_USER && !lane_is_open(engine, LANE_TEXT, false)))
        return;
    if (resync->phase == RESYNC_REPAIRING && text_log_is_in_flight(engine, &resync->log))
        return; /* the tree must stand still: the server checks the proofs against the one it has now */
    if (resync->phase == RESYNC_REPAIRING) {
        slot = engine_start(engine, RESYNC_SLOT, SLOT_REPAIR);
        slot->action.kind = ENGINE_SEND_REPAIR;
        slot->action.repair.bytes_max = resync->repair_bytes;
    } else if (resync->phase == RESYNC_AUDITING && engine->outbox.blobs_mending < RESYNC_MENDING_BLOBS_MAX) {
        slot = engine_start(engine, RESYNC_SLOT, SLOT_AUDIT);
        slot->action.kind = ENGINE_SEND_AUDIT;
        slot->action.audit.log = resync->log;
        slot->action.audit.level = resync->checking ? AUDIT_PRESENCE : resync->level;
        slot->action.audit.from_seq = resync->from_seq;
        slot->action.audit.has_after_blob = resync->has_after_blob;
        slot->action.audit.after_blob = resync->after_blob;
        slot->action.audit.is_check = resync->checking;
        slot->action.audit.has_command = resync->command.set;
        memcpy(slot->action.audit.command_id, resync->command.id, COMMAND_ID_BYTES);
    }
}

uint64_t resync_timer(const struct engine *engine)
{
    const struct resync_lane *resync = &engine->resync;
    uint64_t earliest = UINT64_MAX;

    if (resync->phase == RESYNC_IDLE)
        return earliest;
    earliest = stalled_at(engine);
    if (resync->hold_until_ms > engine->now_ms && resync->hold_until_ms < earliest)
        earliest = resync->hold_until_ms;
    return earliest;
}
