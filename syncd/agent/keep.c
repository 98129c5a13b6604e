/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What need not be on this handheld any more. Photos go by what the centre has signed of each, and by age
 * (store_free_photos). Records go a closed log at a time (proto/README.md, "Pruning"):
 *
 *   C → S   asked_log: the oldest one that is closed, receipted and old enough
 *   S → C   backed_up_log: size and root of it, as a finished backup has it
 *
 * The answer is acted on at once or not at all; nothing is kept of it. It never makes an exchange: what is
 * asked goes with the next one.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"
#include "base/rfc3339.h"

#include <errno.h>

#define ALARM_TEXT_MAX 320u

static void free_photos(struct agent *agent, int64_t server_ms)
{
    uint64_t freed = 0;
    int r = store_free_photos(agent->store, server_ms, agent->photo_age_ms, &freed);

    if (r < 0)
        agent_store_error(agent, r);
    else if (freed > 0)
        agent_note(agent, LOG_LEVEL_INFO,
            "%llu photos that the centre has signed for were removed from this handheld",
            (unsigned long long)freed);
}

static void prune(struct agent *agent, int64_t server_ms)
{
    bool more = false;
    int r = store_prune_some(agent->store, &more);

    agent->has_prunable = false;
    /* One at a time: the next is asked for when this one's records are gone. */
    if (r >= 0 && !more)
        r = store_prunable(agent->store, server_ms, agent->records_age_ms, &agent->prunable);
    else if (r >= 0)
        r = -ENOENT;
    agent->has_prunable = r >= 0;
    agent->prunable_ms = server_ms;
    if (r < 0 && r != -ENOENT)
        agent_store_error(agent, r);
}

void agent_poll(struct agent *agent, int64_t server_ms)
{
    agent_store_changed(agent);
    free_photos(agent, server_ms);
    prune(agent, server_ms);
}

void keep_take_backed_up(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer)
{
    /* What was asked before the centre was found to lack something is not acted on, nor what one says that
     * was set up anew and not compared with yet. */
    if (!slot->has_asked_log || !answer->has_backed_up_log || slot->asked_at < agent->doubted_at ||
        agent->incarnation_differs)
        return;
    agent->has_prunable = false;
    int r = store_prune(agent->store, &slot->asked_log, answer->backed_up_log.size,
        &answer->backed_up_log.root, agent->prunable_ms, agent->records_age_ms);

    if (r == -ENOENT || r == -EBADMSG)
        return; /* not all of it, or not as it is here: it stays, and is asked for again */
    if (r < 0) {
        agent_store_error(agent, r);
        return;
    }
    agent_note(agent, LOG_LEVEL_INFO,
        "the centre has a closed log of %llu records in its backup: they are removed from this handheld",
        (unsigned long long)answer->backed_up_log.size);
}

/* ---- when the centre lacks them after all ---- */

static void tell_gone(struct agent *agent, uint64_t count, int64_t pruned_ms, const char *where)
{
    char text[ALARM_TEXT_MAX], told_at[RFC3339_LEN + 1];

    rfc3339_format(pruned_ms, 0, told_at);
    snprintf(text, sizeof(text),
        "%llu records that the centre does not have any more were removed from this handheld after it had signed, "
        "at %s, that its backup has them: they can only come from that backup%s",
        (unsigned long long)count, told_at, where);
    agent->report.records_gone += count;
    agent_alarm(agent, text);
}

void keep_tell_missing(struct agent *agent, const struct store_log *log, uint64_t count)
{
    if (count > 0)
        tell_gone(agent, count, log->pruned_ms, "");
}

static int find_log(struct agent *agent, const struct uuid *log, struct store_log *ret)
{
    _cleanup_free_ struct store_log *logs = NULL;
    size_t count;
    int r = outbox_all_logs(agent, &logs, &count);

    for (size_t i = 0; r >= 0 && i < count; i++)
        if (uuid_equal(&logs[i].id, log)) {
            *ret = logs[i];
            return 0;
        }
    return r < 0 ? r : -ENOENT;
}

int keep_give_up(struct agent *agent, const struct uuid *log)
{
    struct store_author author = agent_author(agent);
    struct store_log row = {0};
    uint64_t gone;
    int r = store_prune_stop(agent->store, log);

    if (r >= 0)
        r = find_log(agent, log, &row);
    if (r < 0 || row.receipt_size >= row.pruned_size)
        return r; /* nothing that the centre lacks had gone yet: it goes out again as it is */
    gone = row.pruned_size - row.receipt_size;
    r = store_leave_log(agent->store, &author, log, OPEN_RECOVERED, NULL, NULL);
    if (r < 0)
        return r;
    /* They had been counted as what goes out again. */
    agent->resent_by_exchange -= gone < agent->resent_by_exchange ? gone : agent->resent_by_exchange;
    tell_gone(agent, gone, row.pruned_ms, "; what was left of their log goes out again");
    return 0;
}

uint64_t keep_behind(const struct store_log *log, uint64_t server_size)
{
    uint64_t known = server_size > log->size ? server_size : log->size;

    return log->may_have_holes && log->pruned_size > known ? log->pruned_size - known : 0;
}
