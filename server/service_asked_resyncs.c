/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resyncs that an admin has asked handhelds for: asked, delivered, under way, ended. See service.h.
 *
 * The command is told with every exchange answer until it is done. A handheld's first audit window in its
 * name shows that it was delivered; how it ended is told in an exchange request, as only the handheld knows
 * what it has sent again, and what it has not either. An older one tells nothing: its last window is the end.
 */
#include "server/service_internal.h"

#include "base/text.h"

#include <assert.h>

_Static_assert(SERVICE_ASKED_RESYNCS_MAX == ASKED_RESYNCS_MAX, "what a device was asked for fits");

int asked_resyncs_note_window(struct service_job *job, struct transaction *transaction)
{
    const struct audit_job *audit = &job->audit;
    const struct audit_request *request = &audit->request;
    struct storage *storage = transaction->storage;
    bool is_last = audit->answer.next_seq == 0 && !audit->answer.has_next_blob;
    bool is_end = is_last && !request->reads_run_lists;
    struct stored_asked_resync asked;
    int r;

    if (!request->has_command)
        return 0;
    r = storage->verbs->asked_resync_find(storage, job->device.number, request->command_id, &asked);
    if (r >= 0 && asked.ended_ms == 0 && (asked.taken_ms == 0 || is_end)) {
        if (asked.taken_ms == 0)
            asked.taken_ms = transaction->now_ms;
        if (is_end) {
            asked.ended_ms = transaction->now_ms;
            asked.outcome = ASKED_RESYNC_UNTOLD;
        }
        r = storage->verbs->asked_resync_put(storage, job->device.number, &asked);
    }
    if (r < 0 && r != -ENOENT) /* asked for by an older program */
        return r;
    return is_end ? storage->verbs->command_done(storage, job->device.number, request->command_id) : 0;
}

static void end_asked_resync(
    const struct command_result *result, int64_t now_ms, struct stored_asked_resync *asked)
{
    if (asked->taken_ms == 0)
        asked->taken_ms = now_ms;
    asked->counts = result->counts;
    asked->problem[0] = '\0';
    switch (result->outcome) {
    case COMMAND_DONE:
        asked->outcome = ASKED_RESYNC_DONE;
        asked->ended_ms = now_ms;
        return;
    case COMMAND_INCOMPLETE:
        asked->outcome = ASKED_RESYNC_INCOMPLETE;
        asked->ended_ms = now_ms;
        return;
    case COMMAND_FAILED:
        assert(result->problem.len <= PROBLEM_BYTES_MAX);
        memcpy(asked->problem, result->problem.data, result->problem.len);
        asked->problem[result->problem.len] = '\0';
        text_make_one_line(asked->problem);
        return;
    }
}

static int take_result(
    struct service_job *job, struct transaction *transaction, const struct command_result *result)
{
    struct storage *storage = transaction->storage;
    struct stored_asked_resync asked;
    int r = storage->verbs->asked_resync_find(storage, job->device.number, result->id, &asked);

    if (r >= 0 && asked.ended_ms == 0) {
        end_asked_resync(result, transaction->now_ms, &asked);
        r = storage->verbs->asked_resync_put(storage, job->device.number, &asked);
        transaction->has_changed = true;
    }
    if (r < 0 && r != -ENOENT)
        return r;
    if (result->outcome == COMMAND_FAILED)
        return 0;
    transaction->has_changed = true;
    return storage->verbs->command_done(storage, job->device.number, result->id);
}

int asked_resyncs_take_results(struct service_job *job, struct transaction *transaction)
{
    const struct exchange_request *request = &job->exchange.request;
    int r = 0;

    for (size_t i = 0; i < request->command_result_count && r >= 0; i++)
        r = take_result(job, transaction, &request->command_results[i]);
    return r;
}

/* ---- the list ---- */

int asked_resyncs_read(struct storage *storage, const struct stored_device_line *line,
    struct stored_asked_resync stored[ASKED_RESYNCS_MAX], struct service_device *ret)
{
    size_t count = 0;
    int r = storage->verbs->asked_resyncs(storage, line->device.number, stored, &count);

    for (size_t i = 0; i < count && r >= 0; i++) {
        struct service_asked_resync *asked = &ret->asked_resyncs[i];

        *asked = (struct service_asked_resync){.level = (enum audit_level)stored[i].level,
            .asked_ms = stored[i].asked_ms,
            .delivered_ms = stored[i].taken_ms,
            .finished_ms = stored[i].ended_ms,
            .is_complete = stored[i].outcome == ASKED_RESYNC_DONE,
            .has_counts =
                stored[i].outcome == ASKED_RESYNC_DONE || stored[i].outcome == ASKED_RESYNC_INCOMPLETE,
            .problem = stored[i].problem[0] ? stored[i].problem : NULL,
            .counts = stored[i].counts};
        /* While it is under way, the windows that were read for it tell how far it has come. */
        if (asked->finished_ms == 0 && line->resync.level == stored[i].level && asked->delivered_ms != 0 &&
            line->resync.at_ms >= asked->delivered_ms)
            asked->counts.records_checked = line->resync.checked;
    }
    ret->asked_resync_count = r < 0 ? 0 : count;
    return r;
}

/* ---- asking ---- */

struct ask_walk {
    struct transaction *transaction;
    enum audit_level level;
    int asked;
};

/* One pending command of a level is enough, however often an admin asks. */
static int ask_device(struct ask_walk *walk, uint64_t device)
{
    const struct world *world = walk->transaction->service->world;
    struct storage *storage = walk->transaction->storage;
    struct command pending[EXCHANGE_COMMANDS_MAX];
    struct command command = {.has_resync = true, .resync_level = walk->level};
    struct stored_asked_resync asked = {
        .level = (uint64_t)walk->level, .asked_ms = walk->transaction->now_ms};
    size_t count = 0;
    int r = storage->verbs->commands(storage, device, pending, EXCHANGE_COMMANDS_MAX, &count);

    if (r < 0)
        return r;
    walk->asked++;
    for (size_t i = 0; i < count; i++) {
        if (pending[i].resync_level == walk->level)
            return 0;
    }
    if (count == EXCHANGE_COMMANDS_MAX)
        return 0;
    world->verbs->random(world->context, command.id, sizeof(command.id));
    memcpy(asked.id, command.id, sizeof(asked.id));
    walk->transaction->has_changed = true;
    r = storage->verbs->command_put(storage, device, &command);
    return r < 0 ? r : storage->verbs->asked_resync_put(storage, device, &asked);
}

static int ask_walked(void *user, const struct stored_device_line *line)
{
    struct ask_walk *walk = user;
    bool revoked = false;
    int r = revocations_has(walk->transaction->service, &line->device.id, &revoked);

    return r < 0 || revoked ? r : ask_device(walk, line->device.number);
}

static int ask(struct ask_walk *walk, const struct uuid *devices, size_t count)
{
    struct storage *storage = walk->transaction->storage;
    int r = 0;

    if (!devices)
        return storage->verbs->devices_each(storage, ask_walked, walk);
    for (size_t i = 0; r >= 0 && i < count; i++) {
        struct stored_device stored;

        r = storage->verbs->device_find(storage, &devices[i], &stored);
        if (r >= 0)
            r = ask_device(walk, stored.number);
    }
    return r;
}

int service_ask_resync(
    struct service *service, const struct uuid *devices, size_t count, enum audit_level level)
{
    struct transaction transaction;
    struct ask_walk walk = {.transaction = &transaction, .level = level};
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    r = ask(&walk, devices, count);
    if (r < 0) {
        transaction_rollback(&transaction);
        return r;
    }
    r = transaction_commit(&transaction);
    return r < 0 ? r : walk.asked;
}
