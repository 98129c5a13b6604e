/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's frame: events in, the engine's actions out, status. See agent.h.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>

#define NOTE_TEXT_MAX 512u

/* ---- for the agent's other files ---- */

uint64_t agent_now_ms(const struct agent *agent)
{
    return agent->world->verbs->boot_ms(agent->world->context);
}

uint64_t agent_random(const struct agent *agent)
{
    uint64_t random;

    agent->world->verbs->random(agent->world->context, &random, sizeof(random));
    return random;
}

void agent_feed(struct agent *agent, const struct engine_event *event)
{
    engine_feed(agent->engine, event, agent_now_ms(agent), agent_random(agent));
}

void agent_feed_failed(
    struct agent *agent, uint32_t slot, enum engine_failure failure, uint32_t retry_after_s)
{
    agent->slots[slot].use = AGENT_FREE;
    agent_feed(agent, &(struct engine_event){.kind = ENGINE_FAILED,
                          .slot = slot,
                          .failed = {.failure = failure, .retry_after_s = retry_after_s}});
}

void agent_feed_nothing(struct agent *agent, uint32_t slot)
{
    agent->slots[slot].use = AGENT_FREE;
    agent_feed(agent, &(struct engine_event){.kind = ENGINE_NOTHING_TO_SEND, .slot = slot});
}

int agent_transport_send(struct agent *agent, uint32_t slot, const struct http_request *request)
{
    int r;

    if (agent->slots[slot].use != AGENT_EXCHANGE) /* which has told it, with more */
        agent_feed(agent, &(struct engine_event){
                              .kind = ENGINE_BUILT, .slot = slot, .built.wire_bytes = request->body.len});
    r = agent->transport.send(agent->transport.context, slot, request);
    if (r < 0) {
        agent_note(agent, LOG_LEVEL_WARNING, "a request could not be started: %s; tried again", strerror(-r));
        agent_feed_failed(agent, slot, FAILURE_NETWORK, 0);
    }
    return 0;
}

void agent_alarm(struct agent *agent, const char *text)
{
    agent->alarms++;
    if (agent->listener.alarm)
        agent->listener.alarm(agent->listener.context, text);
}

void agent_note(struct agent *agent, int level, const char *format, ...)
{
    char text[NOTE_TEXT_MAX];
    va_list arguments;

    if (!agent->listener.note)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    agent->listener.note(agent->listener.context, level, text);
}

struct store_author agent_author(const struct agent *agent)
{
    return (struct store_author){
        .inspector = bytes_of_text(agent->inspector ? agent->inspector : ""),
        .software = bytes_of_text("patrol-syncd " GRIDPATROL_VERSION),
    };
}

void agent_doubt(struct agent *agent)
{
    agent->doubted_at = ++agent->moment;
    memory_keep_doubt(agent, agent->last_server_time_ms);
}

int agent_store_error(struct agent *agent, int error)
{
    if (error == -EUCLEAN && !agent->damage_told) {
        agent->damage_told = true;
        store_mark_damage(agent->store);
        agent_alarm(agent, "the database on this device is damaged: it is recovered when it is opened again");
        if (agent->listener.store_damaged)
            agent->listener.store_damaged(agent->listener.context);
    } else if (error != -EUCLEAN) {
        agent_note(
            agent, LOG_LEVEL_WARNING, "the store could not be used: %s; tried again", strerror(-error));
    }
    return error;
}

/* ---- actions ---- */

static void send_action(struct agent *agent, const struct engine_action *action,
    int (*send)(struct agent *, const struct engine_action *))
{
    int r = send(agent, action);

    if (r >= 0)
        return;
    if (r == -ENODATA || r == -ENOENT || r == -ERANGE) {
        agent_feed_nothing(agent, action->slot);
        return;
    }
    if (r == -EUCLEAN && action->kind == ENGINE_SEND_EXCHANGE)
        r = outbox_leave_holed(agent, &action->exchange.log);
    else if (r == -EIDRM && action->kind == ENGINE_SEND_EXCHANGE)
        r = keep_give_up(agent, &action->exchange.log);
    if (r >= 0) {
        agent_feed_nothing(agent, action->slot);
        outbox_feed(agent);
        return;
    }
    if (r == -EMSGSIZE) {
        /* As if the centre had said so: the next one is made smaller. */
        agent_feed_failed(agent, action->slot, FAILURE_TOO_LARGE, 0);
        return;
    }
    agent_store_error(agent, r);
    agent_feed_failed(agent, action->slot, FAILURE_LOCAL, 0);
}

/* Before a fork came to light the centre may have been set back, and a copy of this device may have filled
 * the positions that it lost: then the receipt proves nothing any more, and nobody can tell. So all of the
 * log is carried over; the centre applies each id once. */
static int drop_doubtful_receipt(struct agent *agent, const struct engine_action *action)
{
    if (action->leave.reason != OPEN_FORK)
        return 0;
    memory_keep_doubt(agent, agent->last_server_time_ms);
    return store_drop_receipt(agent->store, &action->leave.log);
}

static void leave_log(struct agent *agent, const struct engine_action *action)
{
    struct store_author author = agent_author(agent);
    uint64_t rehomed = 0;
    struct uuid fresh;
    int r = drop_doubtful_receipt(agent, action);

    if (r >= 0)
        r = store_leave_log(
            agent->store, &author, &action->leave.log, action->leave.reason, &fresh, &rehomed);
    if (r < 0)
        agent_store_error(agent, r);
    else
        agent_note(agent, LOG_LEVEL_WARNING, "a new log was opened; %llu records were carried over into it",
            (unsigned long long)rehomed);
    outbox_feed(agent);
}

static void resync_started(struct agent *agent, const struct engine_action *action)
{
    agent->report =
        (struct resync_report){.level = action->resync_started.level, .cause = action->resync_started.cause};
    agent->mending_count = 0;
    agent->resent_by_exchange = 0;
    agent->resync_incarnation = agent->incarnation;
    mend_list_clear(&agent->mend);
}

/* For the centre, which has asked for it. When there are too many the oldest goes: its command is told, and
 * carried out, again. */
static void note_result(struct agent *agent, const struct engine_action *action)
{
    const struct resync_report *report = &agent->report;
    struct kept_result *kept;

    if (agent->result_count == RESULTS_KEPT_MAX) {
        agent->result_count--;
        memmove(agent->results, agent->results + 1, agent->result_count * sizeof(*agent->results));
    }
    kept = &agent->results[agent->result_count++];
    *kept = (struct kept_result){.noted_at = ++agent->moment,
        .result = {.outcome = report->failed ? COMMAND_FAILED
                              : report->ok   ? COMMAND_DONE
                                             : COMMAND_INCOMPLETE,
            .problem = bytes_of_text(report->problem ? report->problem : ""),
            .counts = {.records_checked = report->records_checked,
                .records_missing = report->records_missing,
                .records_damaged = report->records_damaged,
                .records_sent_again = report->records_sent_again,
                .records_erased = report->records_erased,
                .records_lost = report->records_lost,
                .records_gone = report->records_gone,
                .blobs_checked = report->blobs_checked,
                .blobs_missing = report->blobs_missing,
                .blobs_sent_again = report->blobs_sent_again,
                .blobs_gone = report->blobs_gone,
                .blobs_lost = report->blobs_lost}}};
    memcpy(kept->result.id, action->resync_done.command_id, COMMAND_ID_BYTES);
}

static void resync_done(struct agent *agent, const struct engine_action *action)
{
    struct resync_report *report = &agent->report;

    report->finished = true;
    report->finished_ms = agent->world->verbs->wall_ms(agent->world->context);
    report->problem = action->resync_done.problem;
    report->failed = report->problem != NULL;
    report->ok = action->resync_done.ok && report->records_gone == 0 && report->blobs_gone == 0;
    if (!report->failed) {
        report->records_sent_again += agent->resent_by_exchange;
        /* What was compared before the centre was set up anew was compared with another one. */
        if (uuid_equal(&agent->resync_incarnation, &agent->incarnation))
            memory_keep_incarnation(agent);
    }
    agent->mending_count = 0;
    mend_list_clear(&agent->mend);
    memory_keep_report(agent);
    if (action->resync_done.has_command)
        note_result(agent, action);
    if (agent->listener.resync_done)
        agent->listener.resync_done(agent->listener.context, report);
}

static void carry_out(struct agent *agent, const struct engine_action *action)
{
    switch (action->kind) {
    case ENGINE_SEND_EXCHANGE:
        send_action(agent, action, exchange_send);
        break;
    case ENGINE_SEND_UPLOAD:
        send_action(agent, action, uploads_send);
        break;
    case ENGINE_SEND_AUDIT:
        send_action(agent, action, audit_send);
        break;
    case ENGINE_SEND_REPAIR:
        send_action(agent, action, repair_send);
        break;
    case ENGINE_CANCEL:
        agent->slots[action->slot].use = AGENT_FREE;
        agent->transport.cancel(agent->transport.context, action->slot);
        break;
    case ENGINE_LEAVE_LOG:
        leave_log(agent, action);
        break;
    case ENGINE_SET_TIMER:
        agent->timer_ms = action->timer.at_ms;
        break;
    case ENGINE_SYNC_DONE:
        if (agent->listener.sync_done)
            agent->listener.sync_done(agent->listener.context, action->sync_done.ok);
        break;
    case ENGINE_KEEP_BUDGET:
        memory_keep_budget(agent, &action->budget);
        break;
    case ENGINE_RESYNC_STARTED:
        resync_started(agent, action);
        break;
    case ENGINE_RESYNC_DONE:
        resync_done(agent, action);
        break;
    case ENGINE_ALARM:
        agent_alarm(agent, action->alarm.text);
        break;
    }
}

static void run(struct agent *agent)
{
    struct engine_action action;

    while (engine_next(agent->engine, &action))
        carry_out(agent, &action);
    if (agent->listener.changed)
        agent->listener.changed(agent->listener.context);
}

static void feed_and_run(struct agent *agent, const struct engine_event *event)
{
    if (!agent->running)
        return;
    agent_feed(agent, event);
    run(agent);
}

/* ---- life ---- */

static void forget_enrolment(struct agent *agent)
{
    free(agent->authority);
    free(agent->tenant);
    free(agent->inspector);
    free(agent->server_prefix);
    free(agent->certificate);
    trust_forget(agent);
    agent->authority = agent->tenant = agent->inspector = agent->server_prefix = NULL;
    agent->certificate = NULL;
    sodium_memzero(&agent->key, sizeof(agent->key));
    sodium_memzero(agent->upload_token, sizeof(agent->upload_token));
}

void agent_free(struct agent *agent)
{
    if (!agent)
        return;
    forget_enrolment(agent);
    mend_list_clear(&agent->mend);
    free(agent->uploads_url);
    engine_free(agent->engine);
    free(agent);
}

/* The path of a server URL, without a slash at its end. */
static char *prefix_of(const char *url)
{
    const char *authority = strstr(url, "://");
    const char *path = authority ? strchr(authority + 3, '/') : NULL;
    char *prefix = strdup(path ? path : "");

    for (size_t len = prefix ? strlen(prefix) : 0; len > 0 && prefix[len - 1] == '/'; len--)
        prefix[len - 1] = 0;
    return prefix;
}

static int take_enrolment(struct agent *agent, const struct enrolment *enrolment, const uint8_t *device_seed)
{
    char name[KEY_NAME_MAX + 1];
    int r = device_key_name(enrolment->authority, enrolment->tenant, &enrolment->device, name);

    if (r < 0)
        return r;
    forget_enrolment(agent);
    agent->authority = strdup(enrolment->authority);
    agent->tenant = strdup(enrolment->tenant);
    agent->inspector = strdup(enrolment->inspector ? enrolment->inspector : "");
    agent->server_prefix = prefix_of(enrolment->server_url);
    agent->certificate = malloc(enrolment->certificate_len > 0 ? enrolment->certificate_len : 1);
    if (!agent->authority || !agent->tenant || !agent->inspector || !agent->server_prefix ||
        !agent->certificate)
        return -ENOMEM;
    if (enrolment->certificate_len > 0)
        memcpy(agent->certificate, enrolment->certificate, enrolment->certificate_len);
    agent->certificate_len = enrolment->certificate_len;
    agent->device = enrolment->device;
    text_uuid(agent->device.b, agent->device_text);
    sign_key_from_seed(name, device_seed, &agent->key);
    r = trust_load(agent, enrolment);
    if (r >= 0)
        r = device_key_load_former(agent, enrolment);
    agent->enrolled = r >= 0;
    return r;
}

int agent_new(const struct agent_options *options, struct agent **ret)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    int r;

    if (!agent)
        return -ENOMEM;
    agent->world = options->world;
    agent->store = options->store;
    agent->config = options->engine;
    agent->photo_age_ms = options->photo_age_ms;
    agent->records_age_ms = options->records_age_ms;
    agent->transport = options->transport;
    agent->listener = options->listener;
    agent->network = (struct engine_event){.kind = ENGINE_NETWORK};
    r = engine_new(&options->engine, &agent->engine);
    if (r >= 0 && options->uploads_url) {
        agent->uploads_url = strdup(options->uploads_url);
        r = agent->uploads_url ? 0 : -ENOMEM;
    }
    if (r >= 0 && options->enrolment)
        r = take_enrolment(agent, options->enrolment, options->device_seed);
    if (r < 0) {
        agent_free(agent);
        return r;
    }
    *ret = agent;
    return 0;
}

static void begin(struct agent *agent)
{
    struct engine_event event = {.kind = ENGINE_BUDGET};

    if (!agent->started || !agent->enrolled || agent->running)
        return;
    agent->running = true;
    memory_load(agent);
    if (memory_budget(agent, &event.budget) >= 0)
        agent_feed(agent, &event);
    if (agent->link_is_down)
        agent_feed(agent, &(struct engine_event){.kind = ENGINE_LINK, .link.up = false});
    agent_feed(agent, &agent->network);
    outbox_feed(agent);
    feed_and_run(agent, &(struct engine_event){.kind = ENGINE_STARTED});
}

int agent_start(struct agent *agent)
{
    agent->started = true;
    begin(agent);
    return 0;
}

int agent_set_enrolment(
    struct agent *agent, const struct enrolment *enrolment, const uint8_t device_seed[SIGN_SEED_BYTES])
{
    int r = take_enrolment(agent, enrolment, device_seed);

    if (r < 0) {
        agent->enrolled = false;
        return r;
    }
    /* What is in flight was made under the old one: its answer could not be believed any more. */
    for (uint32_t i = 0; i < ENGINE_SLOTS_MAX; i++) {
        if (agent->slots[i].use == AGENT_FREE)
            continue;
        agent->transport.cancel(agent->transport.context, i);
        agent_feed_failed(agent, i, FAILURE_NETWORK, 0);
    }
    uploads_forget(agent);
    if (agent->running)
        run(agent);
    begin(agent);
    return 0;
}

/* ---- events ---- */

void agent_store_changed(struct agent *agent)
{
    if (!agent->running)
        return;
    outbox_feed(agent);
    run(agent);
}

void agent_timer(struct agent *agent)
{
    uint64_t counter;

    if (!agent->running)
        return;
    /* A blob that was held back may be due, and a doorbell may have been missed. */
    if (agent->outbox.blobs_pending > 0 || agent->outbox_again_ms > 0 ||
        store_change_counter(agent->store, &counter) < 0 || counter != agent->change_counter)
        outbox_feed(agent);
    feed_and_run(agent, &(struct engine_event){.kind = ENGINE_TIMER});
}

void agent_link(struct agent *agent, bool up)
{
    agent->link_is_down = !up;
    feed_and_run(agent, &(struct engine_event){.kind = ENGINE_LINK, .link.up = up});
}

void agent_online(struct agent *agent)
{
    feed_and_run(agent, &(struct engine_event){.kind = ENGINE_ONLINE});
}

void agent_network(struct agent *agent, enum engine_network kind, bool is_loopback)
{
    agent->network =
        (struct engine_event){.kind = ENGINE_NETWORK, .network = {.kind = kind, .is_loopback = is_loopback}};
    feed_and_run(agent, &agent->network);
}

void agent_sync_now(struct agent *agent)
{
    if (!agent->running)
        return;
    outbox_feed(agent);
    feed_and_run(agent, &(struct engine_event){.kind = ENGINE_SYNC_NOW});
}

int agent_resync(struct agent *agent, enum audit_level level)
{
    if (!agent->running)
        return -ENOTCONN;
    outbox_feed(agent);
    feed_and_run(agent,
        &(struct engine_event){.kind = ENGINE_RESYNC, .resync = {.level = level, .cause = RESYNC_BY_USER}});
    return 0;
}

void agent_pause(struct agent *agent, bool paused)
{
    feed_and_run(agent, &(struct engine_event){.kind = paused ? ENGINE_PAUSE : ENGINE_RESUME});
}

void agent_response(struct agent *agent, uint32_t slot, const struct http_response *response)
{
    if (slot >= ENGINE_SLOTS_MAX || !agent->running)
        return;
    agent->bytes_up += response->bytes_sent;
    agent->bytes_down += response->bytes_received;
    switch (agent->slots[slot].use) {
    case AGENT_FREE:
        return; /* its time was over */
    case AGENT_EXCHANGE:
        exchange_answered(agent, slot, response);
        break;
    case AGENT_UPLOAD:
        uploads_answered(agent, slot, response);
        break;
    case AGENT_AUDIT:
        audit_answered(agent, slot, response);
        break;
    case AGENT_REPAIR:
        repair_answered(agent, slot, response);
        break;
    }
    run(agent);
}

void agent_failed(struct agent *agent, uint32_t slot, enum engine_failure failure)
{
    if (slot >= ENGINE_SLOTS_MAX || !agent->running || agent->slots[slot].use == AGENT_FREE)
        return;
    agent_feed_failed(agent, slot, failure, 0);
    run(agent);
}

uint64_t agent_next_timer_ms(const struct agent *agent)
{
    if (agent->outbox_again_ms > 0 && (agent->timer_ms == 0 || agent->outbox_again_ms < agent->timer_ms))
        return agent->outbox_again_ms;
    return agent->timer_ms;
}

/* ---- status ---- */

int agent_status(struct agent *agent, struct agent_status *ret)
{
    struct agent_status status = {
        .enrolled = agent->enrolled,
        .last_server_time_ms = agent->last_server_time_ms,
        .last_answer_wall_ms = agent->last_answer_wall_ms,
        .exchanges = agent->exchanges,
        .bytes_up = agent->bytes_up,
        .bytes_down = agent->bytes_down,
        .alarms = agent->alarms,
        .resync = agent->report,
    };
    int r = store_status(agent->store, &status.store);

    if (r < 0)
        return r;
    engine_report(agent->engine, &status.engine);
    if (!agent->enrolled)
        status.engine.reason = "not enrolled";
    if (status.engine.failures_in_row > 0)
        status.last_failure = status.engine.reason;
    status.all_acknowledged = status.store.record_bytes_pending == 0 && status.store.photos_pending == 0;
    *ret = status;
    return 0;
}
