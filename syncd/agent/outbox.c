/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store has to send, as the engine wants to see it: logs with their sizes and receipts, and the best
 * blob that may go now.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"

#include <errno.h>

int outbox_all_logs(struct agent *agent, struct store_log **ret, size_t *ret_count)
{
    _cleanup_free_ struct store_log *logs = calloc(AUDITED_LOGS_MAX, sizeof(*logs));
    size_t count;
    int r;

    if (!logs)
        return -ENOMEM;
    r = store_logs(agent->store, false, logs, AUDITED_LOGS_MAX, &count);
    if (r < 0)
        return r;
    *ret = take_ptr(logs);
    *ret_count = count;
    return 0;
}

int outbox_is_holed(struct agent *agent, const struct uuid *log)
{
    _cleanup_free_ struct store_log *logs = NULL;
    size_t count;
    int r = outbox_all_logs(agent, &logs, &count);

    for (size_t i = 0; r >= 0 && i < count; i++)
        if (uuid_equal(&logs[i].id, log))
            return logs[i].may_have_holes;
    return r < 0 ? r : 0;
}

int outbox_leave_holed(struct agent *agent, const struct uuid *log)
{
    struct store_author author = agent_author(agent);
    uint64_t carried = 0;
    int r = outbox_is_holed(agent, log);

    if (r <= 0)
        return r < 0 ? r : -EUCLEAN;
    r = store_leave_log(agent->store, &author, log, OPEN_RECOVERED, NULL, &carried);
    if (r >= 0 && carried > 0)
        agent_note(agent, LOG_LEVEL_WARNING,
            "a log has holes since the database was recovered: %llu records were carried over into the current one",
            (unsigned long long)carried);
    return r;
}

int outbox_receipt(struct agent *agent, const struct uuid *log, uint64_t *ret_size)
{
    _cleanup_buffer_ struct buffer note = {0};
    int r = store_receipt(agent->store, log, ret_size, &note);

    if (r == -ENOENT) {
        *ret_size = 0;
        return 0;
    }
    return r;
}

static int read_logs(struct agent *agent, struct engine_outbox *outbox)
{
    struct store_log logs[ENGINE_LOGS_MAX];
    _cleanup_free_ struct store_log *all = NULL;
    size_t count, all_count;
    int r = store_logs(agent->store, true, logs, ENGINE_LOGS_MAX, &count);

    if (r >= 0)
        r = outbox_all_logs(agent, &all, &all_count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        outbox->logs[i] = (struct engine_log){.id = logs[i].id,
            .size = logs[i].size,
            .receipt_size = logs[i].receipt_size < logs[i].size ? logs[i].receipt_size : logs[i].size,
            .closed = logs[i].closed};
    outbox->log_count = count;
    for (size_t i = 0; i < all_count && !outbox->has_receipt_log; i++) {
        outbox->has_receipt_log = all[i].has_receipt || all[i].pruned_size > 0;
        outbox->receipt_log = all[i].id;
    }
    return 0;
}

/* `blobs` is room for `max`. */
static int read_class(struct agent *agent, enum engine_blob_class class, struct store_blob *blobs, size_t max,
    struct engine_blobs *ret)
{
    enum blob_role role = lane_of_blobs(class) == LANE_PREVIEWS ? BLOB_PREVIEW : BLOB_PHOTO;
    size_t count;
    int r = store_blobs_pending_of(agent->store, role, blobs_are_urgent(class), blobs, max, &count);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (blobs_is_unconfirmed(agent, &blobs[i].sha256))
            continue;
        ret->pending++;
        if (ret->has_next || agent->unconfirmed_count == UNCONFIRMED_MAX ||
            engine_blob_is_held(agent->engine, &blobs[i].sha256, agent_now_ms(agent)))
            continue;
        ret->has_next = true;
        ret->next = blobs[i].sha256;
        ret->next_size = blobs[i].size;
    }
    return 0;
}

static int read_blobs(struct agent *agent, struct engine_outbox *outbox)
{
    size_t max = agent->unconfirmed_count + PENDING_LOOK_MAX;
    _cleanup_free_ struct store_blob *blobs = calloc(max, sizeof(*blobs));

    if (!blobs)
        return -ENOMEM;
    for (size_t i = 0; i < ENGINE_BLOB_CLASSES; i++) {
        int r = read_class(agent, (enum engine_blob_class)i, blobs, max, &outbox->blobs[i]);
        if (r < 0)
            return r;
        outbox->blobs_pending += outbox->blobs[i].pending;
    }
    outbox->blobs_unconfirmed = agent->unconfirmed_count;
    outbox->blobs_mending = agent->mending_count;
    return 0;
}

void outbox_feed(struct agent *agent)
{
    struct engine_event event = {.kind = ENGINE_OUTBOX};
    uint64_t counter = 0;
    int r = store_change_counter(agent->store, &counter);

    if (r >= 0)
        r = read_logs(agent, &event.outbox);
    if (r >= 0)
        r = store_urgent_unsent(agent->store, &event.outbox.urgent_text);
    if (r >= 0)
        r = read_blobs(agent, &event.outbox);
    if (r < 0) {
        /* What the engine knows stays. Nobody may ring again: it is looked at again by itself. */
        agent_store_error(agent, r);
        agent->outbox_again_ms = agent_now_ms(agent) + OUTBOX_AGAIN_MS;
        return;
    }
    agent->outbox_again_ms = 0;
    agent->change_counter = counter;
    agent->outbox = event.outbox;
    agent_feed(agent, &event);
}
