/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine is doing and why, in words for people. Pure. */
#include "syncd/core/engine_state.h"

const char *engine_wait_name(enum engine_wait wait)
{
    switch (wait) {
    case ENGINE_WAIT_NOTHING:
        return "idle";
    case ENGINE_WAIT_WORKING:
        return "working";
    case ENGINE_WAIT_BACKOFF:
        return "backoff";
    case ENGINE_WAIT_SERVER:
        return "told to wait";
    case ENGINE_WAIT_REFUSED:
        return "refused";
    case ENGINE_WAIT_PAUSED:
        return "paused";
    case ENGINE_WAIT_LINK_UP:
        return "link up";
    case ENGINE_WAIT_BUDGET:
        return "budget";
    }
    return "unknown";
}

const char *engine_lane_name(enum engine_lane lane)
{
    switch (lane) {
    case LANE_TEXT:
        return "text";
    case LANE_PREVIEWS:
        return "previews";
    case LANE_PHOTOS:
        return "photos";
    case ENGINE_LANES:
        break;
    }
    return "unknown";
}

const char *engine_lane_wait_name(enum engine_lane_wait wait)
{
    switch (wait) {
    case LANE_WAITS_FOR_NOTHING:
        return "idle";
    case LANE_IS_SENDING:
        return "working";
    case LANE_WAITS_FOR_CONTACT:
        return "contact";
    case LANE_WAITS_FOR_TURN:
        return "turn";
    case LANE_WAITS_FOR_LINK_UP:
        return "link up";
    case LANE_WAITS_FOR_BUDGET:
        return "budget";
    case LANE_IS_HELD:
        return "held";
    }
    return "unknown";
}

const char *engine_network_name(enum engine_network network)
{
    switch (network) {
    case NETWORK_UNMETERED:
        return "unmetered";
    case NETWORK_METERED:
        return "metered";
    case ENGINE_NETWORKS:
        break;
    }
    return "unknown";
}

const char *resync_cause_name(enum resync_cause cause)
{
    switch (cause) {
    case RESYNC_BY_ITSELF:
        return "trouble";
    case RESYNC_BY_SERVER:
        return "centre";
    case RESYNC_BY_USER:
        return "person";
    case RESYNC_SELF_AUDIT:
        return "self-audit";
    }
    return "unknown";
}

const char *engine_failure_name(enum engine_failure failure)
{
    switch (failure) {
    case FAILURE_NETWORK:
        return "network";
    case FAILURE_TLS:
        return "tls";
    case FAILURE_UNSIGNED:
        return "unsigned";
    case FAILURE_BUSY:
        return "busy";
    case FAILURE_TOO_LARGE:
        return "too large";
    case FAILURE_UPLOAD_OFFSET:
        return "upload offset";
    case FAILURE_UPLOAD_GONE:
        return "upload gone";
    case FAILURE_UPLOAD_TOKEN:
        return "upload token";
    case FAILURE_UPLOAD_HASH:
        return "upload hash";
    case FAILURE_UPLOAD_FULL:
        return "upload full";
    case FAILURE_LOCAL:
        return "local";
    }
    return "unknown";
}

const char *failure_text(enum engine_failure failure)
{
    switch (failure) {
    case FAILURE_NETWORK:
        return "the centre could not be reached";
    case FAILURE_TLS:
        return "the centre's certificate could not be verified";
    case FAILURE_UNSIGNED:
        return "the answer did not come from the centre (a login page or a proxy?)";
    case FAILURE_BUSY:
        return "the centre is busy";
    case FAILURE_TOO_LARGE:
        return "a request was too large for the centre";
    case FAILURE_UPLOAD_OFFSET:
    case FAILURE_UPLOAD_GONE:
    case FAILURE_UPLOAD_HASH:
        return "an upload has to be taken up again";
    case FAILURE_UPLOAD_FULL:
        return "the centre's disk has no room for photos";
    case FAILURE_UPLOAD_TOKEN:
        return "the permission to upload has ended";
    case FAILURE_LOCAL:
        return "the store on this device could not be read";
    }
    return "unknown failure";
}

static const char *told_text(uint32_t cause)
{
    if (cause == BUSY_FULL)
        return "the centre's disk is full; tell its operator";
    if (cause == BUSY_DAMAGED)
        return "what the centre has stored is damaged; tell its operator";
    return "the centre asked to wait"; /* load, or what only a newer centre knows */
}

const char *refusal_text(enum refusal_reason reason)
{
    switch (reason) {
    case REFUSAL_UNKNOWN_DEVICE:
        return "the centre does not know this device";
    case REFUSAL_REVOKED:
        return "the centre has revoked this device";
    case REFUSAL_OVER_QUOTA:
        return "this device is over its quota at the centre";
    case REFUSAL_TOO_LARGE:
        return "the centre refuses a request as too large";
    case REFUSAL_BAD_REQUEST:
        return "the centre refuses a request as malformed";
    case REFUSAL_BUSY:
        return "the centre is busy";
    case REFUSAL_TOKEN_UNKNOWN:
    case REFUSAL_TOKEN_USED:
    case REFUSAL_TOKEN_EXPIRED:
        return "the centre refuses the enrolment token";
    case REFUSAL_LOG_OF_OTHER_DEVICE:
        return "the centre holds this log for another device";
    }
    return "the centre refuses, for a reason this program does not know";
}

const char *alarm_text(enum engine_alarm alarm, enum refusal_reason refusal)
{
    switch (alarm) {
    case ALARM_REFUSED:
        return refusal_text(refusal);
    case ALARM_LOG_REFUSED:
        return "the centre refuses one log of this device; other logs go on";
    case ALARM_FORK:
        return "the centre holds other records at the same positions: is this device a copy of another one? "
               "A new log is opened, nothing is lost";
    case ALARM_ROLLED_BACK:
        return "this device was set back to an older state: a new log is opened";
    case ALARM_ROOT_MISMATCH:
        return "the centre computes another root for the log: it is audited";
    case ALARM_WENT_BACK:
        return "the centre was set back to an older state: what it lacks is sent again";
    case ALARM_RECORD_TOO_LARGE:
        return "the centre does not take a record because of its size";
    case ALARM_NO_PROGRESS:
        return "the centre answers, but does not take the records";
    case ALARM_BLOB_REFUSED:
        return "the centre does not take a photo; others go on";
    case ALARM_COUNT:
        break;
    }
    return "unknown alarm";
}

#define LINK_UP_TEXT "the network is back after a long outage: not all handhelds send at once"
#define BUDGET_TEXT "the day's budget is used up"
#define TURN_TEXT "what goes first is not done yet"

/* ---- lanes ---- */

static bool lane_is_busy(const struct engine *engine, enum engine_lane lane)
{
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        if (engine->slots[i].use != SLOT_FREE && engine->slots[i].lane == lane)
            return true;
    return false;
}

static bool text_waits(const struct engine *engine)
{
    for (size_t i = 0; i < engine->text.log_count; i++)
        if (engine->text.logs[i].log.receipt_size < engine->text.logs[i].log.size)
            return true;
    return false;
}

/* What waits in a lane that could send something: the soonest of the logs, or the uploads as a whole. */
static void lane_report_held(
    const struct engine *engine, enum engine_lane lane, struct engine_lane_report *report)
{
    report->wait = LANE_IS_HELD;
    report->reason = "the centre did not take it; it is tried again";
    if (lane != LANE_TEXT) {
        if (engine->media.hold_until_ms > engine->now_ms)
            report->reason = engine->media.hold_reason;
        report->until_ms = media_timer(engine);
    }
    for (size_t i = 0; i < engine->text.log_count && lane == LANE_TEXT; i++) {
        const struct log_state *log = &engine->text.logs[i];

        if (log->hold_until_ms <= engine->now_ms ||
            (report->until_ms != 0 && report->until_ms <= log->hold_until_ms))
            continue;
        report->until_ms = log->hold_until_ms;
        if (log->hold_reason)
            report->reason = log->hold_reason;
    }
    if (report->until_ms == UINT64_MAX)
        report->until_ms = 0;
}

/* Of a lane that has something to send. Where urgent blobs wait and others too, what holds the others is
 * told. */
static void lane_report_waiting(const struct engine *engine, enum engine_lane lane, bool urgent,
    const struct engine_report *all, struct engine_lane_report *report)
{
    bool is_whole =
        all->next_attempt_ms != 0 || all->wait == ENGINE_WAIT_REFUSED || all->wait == ENGINE_WAIT_PAUSED;

    if (lane_is_busy(engine, lane)) {
        report->wait = LANE_IS_SENDING;
        report->reason = "sending";
    } else if (lane_is_over_budget(engine, lane, urgent)) {
        report->wait = LANE_WAITS_FOR_BUDGET;
        report->reason = BUDGET_TEXT;
        report->until_ms = lane_opens_ms(engine, lane, urgent);
    } else if (is_whole) {
        report->wait = LANE_WAITS_FOR_CONTACT;
        report->reason = all->reason;
        report->until_ms = all->next_attempt_ms;
    } else if (lane_waits_for_link_up(engine, lane, urgent)) {
        report->wait = LANE_WAITS_FOR_LINK_UP;
        report->reason = LINK_UP_TEXT;
        report->until_ms = lane_opens_ms(engine, lane, urgent);
    } else if (engine_any_busy(engine)) {
        report->wait = LANE_WAITS_FOR_TURN;
        report->reason = TURN_TEXT;
    } else {
        lane_report_held(engine, lane, report);
    }
}

static void report_lane(const struct engine *engine, enum engine_lane lane, struct engine_report *all)
{
    struct engine_lane_report report = {
        .used = engine->budget.day.used[engine->way.network][lane],
        .budget_bytes = engine->config.budget_bytes[engine->way.network][lane],
    };
    bool waits = lane == LANE_TEXT && text_waits(engine), urgent = engine->outbox.urgent_text;

    for (size_t i = 0; i < ENGINE_BLOB_CLASSES && lane != LANE_TEXT; i++) {
        if (lane_of_blobs((enum engine_blob_class)i) != lane || engine->outbox.blobs[i].pending == 0)
            continue;
        urgent = !waits && blobs_are_urgent((enum engine_blob_class)i);
        waits = true;
    }
    if (waits)
        lane_report_waiting(engine, lane, urgent, all, &report);
    all->lanes[lane] = report;
}

/* Work that waits for a lane to open although the way to the server is open: the one that opens first. */
static bool report_closed(const struct engine *engine, struct engine_report *report)
{
    bool found = false;

    for (size_t i = 0; i < ENGINE_LANES; i++) {
        const struct engine_lane_report *lane = &report->lanes[i];
        bool is_budget = lane->wait == LANE_WAITS_FOR_BUDGET;

        if ((!is_budget && lane->wait != LANE_WAITS_FOR_LINK_UP) ||
            (found && (lane->until_ms == 0 || report->next_attempt_ms <= lane->until_ms)))
            continue;
        found = true;
        report->wait = is_budget ? ENGINE_WAIT_BUDGET : ENGINE_WAIT_LINK_UP;
        report->reason = lane->reason;
        report->next_attempt_ms = lane->until_ms;
    }
    return found;
}

/* ---- all of it ---- */

/* Work that waits in a lane although the way to the server is open: the soonest of what holds it. */
static void report_held(const struct engine *engine, struct engine_report *report)
{
    for (size_t i = 0; i < engine->text.log_count; i++) {
        const struct log_state *log = &engine->text.logs[i];
        uint64_t at_ms = log->leave ? log->leave_at_ms : log->hold_until_ms;

        if (log->log.receipt_size >= log->log.size || at_ms <= engine->now_ms)
            continue;
        if (report->next_attempt_ms != 0 && report->next_attempt_ms <= at_ms)
            continue;
        report->wait = ENGINE_WAIT_BACKOFF;
        report->reason = log->hold_reason ? log->hold_reason : "a log waits";
        report->next_attempt_ms = at_ms;
    }
    if (report->wait == ENGINE_WAIT_BACKOFF ||
        engine->outbox.blobs_pending + engine->outbox.blobs_unconfirmed == 0)
        return;
    report->wait = ENGINE_WAIT_BACKOFF;
    if (engine->media.hold_until_ms > engine->now_ms) {
        report->reason = engine->media.hold_reason;
        report->next_attempt_ms = engine->media.hold_until_ms;
    } else if (engine->outbox.blobs_pending > 0) {
        report->reason = "the centre does not take a photo";
        report->next_attempt_ms = media_timer(engine);
    } else {
        report->reason = "photos were uploaded, the centre has not confirmed them yet";
        report->next_attempt_ms = engine->text.ask_not_before_ms;
    }
    if (report->next_attempt_ms == UINT64_MAX)
        report->next_attempt_ms = 0;
}

static void report_contact(const struct engine *engine, struct engine_report *report)
{
    const struct contact *contact = &engine->contact;
    bool waits = contact->hold_until_ms > engine->now_ms;

    if (contact->paused && !contact->urged) {
        report->wait = ENGINE_WAIT_PAUSED;
        report->reason = "sending is paused";
        report->next_attempt_ms = 0;
        return;
    }
    report->next_attempt_ms = waits ? contact->hold_until_ms : 0;
    switch (contact->state) {
    case CONTACT_REFUSED:
        report->wait = ENGINE_WAIT_REFUSED;
        report->reason = refusal_text(contact->refusal);
        break;
    case CONTACT_TOLD_TO_WAIT:
        if (!waits)
            break;
        report->wait = ENGINE_WAIT_SERVER;
        report->reason = told_text(contact->told_cause);
        break;
    case CONTACT_FAILING:
        report->wait = ENGINE_WAIT_BACKOFF;
        report->reason = failure_text(contact->failure);
        if (contact->failure == FAILURE_NETWORK && contact->link_up_seen && !contact->link_is_up)
            report->reason = "there is no network";
        break;
    case CONTACT_UNPROVEN:
    case CONTACT_PROVEN:
        break;
    }
}

void engine_report(const struct engine *engine, struct engine_report *ret)
{
    const struct contact *contact = &engine->contact;
    struct engine_report report = {
        .wait = ENGINE_WAIT_NOTHING,
        .reason = "nothing to send",
        .failures_in_row = contact->failures,
        .refused = contact->state == CONTACT_REFUSED,
        .refusal = contact->refusal,
        .resync_running = engine->resync.phase != RESYNC_IDLE,
        .resync_level = engine->resync.level,
        .resync_cause = engine->resync.cause,
        .network = engine->way.network,
        .day_ends_ms = budget_day_ends_ms(engine),
        .counts = engine->counts,
    };
    bool may_be_closed;

    if (!engine->started || !engine->outbox_known) {
        report.reason = "not started";
    } else if (engine_any_busy(engine)) {
        report.wait = ENGINE_WAIT_WORKING;
        report.reason = "sending";
    } else {
        report_contact(engine, &report);
    }
    for (size_t i = 0; i < ENGINE_LANES; i++)
        report_lane(engine, (enum engine_lane)i, &report);
    memcpy(report.used_bytes, engine->budget.day.used, sizeof(report.used_bytes));
    memcpy(report.budget_bytes, engine->config.budget_bytes, sizeof(report.budget_bytes));
    /* After a failure whose wait is over a lane may still be closed. */
    may_be_closed = report.wait == ENGINE_WAIT_NOTHING || report.wait == ENGINE_WAIT_BACKOFF;
    if (engine->started && engine->outbox_known && may_be_closed && report.next_attempt_ms == 0 &&
        !report_closed(engine, &report) && report.wait == ENGINE_WAIT_NOTHING)
        report_held(engine, &report);
    *ret = report;
}
