/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit windows: proto/README.md, "Audit and repair". The centre says what it holds, as recomputed from its
 * own disk; here its word is held against the log of this handheld, and what is to be sent again is noted
 * (mend_list.c).
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"

#include <errno.h>

#define AUDIT_LEVEL 9

/* ---- request ---- */

int audit_send(struct agent *agent, const struct engine_action *action)
{
    struct agent_slot *slot = &agent->slots[action->slot];
    /* Without our receipt: what the server says is compared with it here. It need not tell one of the same
     * size either. */
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    struct audit_request request = {
        .log = action->audit.log,
        .level = action->audit.level,
        .from_seq = action->audit.from_seq,
        .has_after_blob = action->audit.has_after_blob,
        .after_blob = action->audit.after_blob,
        .has_command = action->audit.has_command,
        .reads_run_lists = true,
    };
    struct sha256 payload_sha256;
    uint64_t receipt_size;
    int r = outbox_receipt(agent, &action->audit.log, &receipt_size);

    if (r < 0)
        return r;
    signed_request_id(agent, request.request_id);
    request.receipt_size = receipt_size;
    memcpy(request.command_id, action->audit.command_id, COMMAND_ID_BYTES);
    r = audit_request_encode(&request, &plain);
    if (r >= 0)
        r = signed_seal(agent,
            &(struct signed_request){.type = PAYLOAD_AUDIT_REQUEST,
                .plain = buffer_bytes(&plain),
                .level = AUDIT_LEVEL,
                .dictionary = agent->dictionary},
            &body, &payload_sha256);
    if (r < 0)
        return r;
    mend_list_clear(&agent->mend);
    *slot = (struct agent_slot){
        .use = AGENT_AUDIT,
        .request_sha256 = payload_sha256,
        .log = action->audit.log,
        .receipt_before = receipt_size,
        .level = action->audit.level,
        .is_check = action->audit.is_check,
        .is_first = action->audit.from_seq == 0 && !action->audit.has_after_blob,
        .asked_at = agent->moment,
        .used_dictionary = agent->dictionary != 0,
    };
    agent->report.round_trips++;
    return signed_send(agent, action->slot, "/v1/audit", buffer_bytes(&body));
}

/* ---- what the window shows ---- */

static uint64_t run_total(const struct run *runs, size_t count)
{
    uint64_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += runs[i].count;
    return total;
}

static int note_blobs(struct agent *agent, const struct agent_slot *slot, const struct audit_answer *answer,
    struct mend_list *mend, struct engine_event *event)
{
    for (size_t i = 0; i < answer->blob_count; i++) {
        const struct blob_finding *finding = &answer->blobs[i];

        switch (finding->condition) {
        case BLOB_ERASED:
            continue;
        case BLOB_LOST:
            agent->report.blobs_lost++;
            continue;
        case BLOB_MISSING:
        case BLOB_DAMAGED:
            break;
        }
        if (blobs_uploaded_since(agent, slot, &finding->sha256))
            continue;
        int r = blobs_mend(agent, &finding->sha256);
        if (r < 0)
            return r; /* a disk that does not answer now is no proof that the photo is gone */
        agent->report.blobs_missing++;
        if (r > 0) {
            event->audited.to_mend_blobs++;
            continue;
        }
        agent->report.blobs_gone++;
        event->audited.gone_blobs++;
        if (mend->gone_blob_count < AUDIT_WINDOW_BLOBS_MAX)
            mend->gone_blobs[mend->gone_blob_count++] = finding->sha256;
    }
    agent->report.blobs_checked += answer->blobs_checked;
    return 0;
}

/* The server has less of the log than it had signed for: the rest goes out again by exchanges. */
static int take_back(struct agent *agent, const struct agent_slot *slot, const struct store_log *log,
    const struct audit_answer *answer)
{
    struct checkpoint checkpoint;
    uint64_t time_s;
    int r = -EBADMSG;

    if (answer->receipt.len > 0 &&
        signed_receipt(agent, &slot->log, answer->receipt, &checkpoint, &time_s) >= 0 &&
        checkpoint.size == answer->size)
        r = store_apply_receipt(agent->store, &slot->log, &checkpoint, time_s, answer->receipt, NULL, 0);
    if (r == -EBADMSG || r == -ERANGE || (r == -EUCLEAN && log->may_have_holes))
        r = store_drop_receipt(agent->store, &slot->log); /* all is offered again, and it skips what it has */
    return r;
}

/* The log as the store has it now, and which one comes after it. */
static int find_logs(
    struct agent *agent, const struct uuid *log, struct store_log *ret, struct engine_event *event)
{
    _cleanup_free_ struct store_log *logs = NULL;
    bool is_found = false;
    size_t count;
    int r = outbox_all_logs(agent, &logs, &count);

    for (size_t i = 0; r >= 0 && i < count; i++) {
        if (is_found && (logs[i].has_receipt || logs[i].pruned_size > 0)) {
            event->audited.has_next_log = true;
            event->audited.next_log = logs[i].id;
            break;
        }
        if (uuid_equal(&logs[i].id, log)) {
            is_found = true;
            *ret = logs[i];
        }
    }
    return r < 0 ? r : is_found ? 0 : -ENOENT;
}

static void count_records(
    struct resync_report *report, const struct audit_answer *answer, const struct mend_list *mend)
{
    uint64_t missing = run_total(answer->missing, answer->missing_count);

    report->records_checked += answer->counted + missing;
    report->records_missing += missing;
    report->records_damaged +=
        mend->total + mend->pruned > missing ? mend->total + mend->pruned - missing : 0;
    report->records_erased += run_total(answer->erased, answer->erased_count);
    report->records_lost += run_total(answer->lost, answer->lost_count);
    report->records_quarantined += answer->records_quarantined;
}

static void count_back(struct agent *agent, const struct agent_slot *slot, const struct audit_answer *answer)
{
    agent->report.records_missing += slot->receipt_before - answer->size;
    agent->resent_by_exchange += slot->receipt_before - answer->size;
}

/* Proofs for a tree that is partly another's cannot be made here: what is missing of it is told as gone. */
static void note_mending(struct agent *agent, struct mend_list *mend, struct engine_event *event)
{
    if (!mend->is_diverged) {
        event->audited.to_mend_records = mend->total;
        return;
    }
    event->audited.gone_records = mend->total;
    agent->report.records_gone += mend->total;
    mend->run_count = 0;
    mend->total = 0;
}

static int take_window(struct agent *agent, const struct agent_slot *slot, const struct audit_answer *answer,
    struct engine_event *event)
{
    struct resync_report before = agent->report;
    struct mend_list mend = {0};
    struct store_log log;
    int r = find_logs(agent, &slot->log, &log, event);

    if (r >= 0)
        r = mend_list_note(agent, &log, answer, &mend);
    event->audited.went_back = r >= 0 && engine_went_back(slot->receipt_before, answer->size);
    if (event->audited.went_back) {
        agent_doubt(agent);
        r = take_back(agent, slot, &log, answer);
    }
    if (r < 0) {
        mend_list_clear(&mend);
        return r;
    }
    if (!slot->is_check)
        count_records(&agent->report, answer, &mend);
    if (event->audited.went_back)
        count_back(agent, slot, answer);
    note_mending(agent, &mend, event);
    if (slot->is_first)
        mend.pruned += keep_behind(&log, answer->size);
    event->audited.gone_records += mend.pruned;
    if (!slot->is_check)
        keep_tell_missing(agent, &log, mend.pruned);
    r = note_blobs(agent, slot, answer, &mend, event);
    if (r < 0) {
        mend_list_clear(&mend);
        agent->report = before; /* this window is asked for again */
        return r;
    }
    mend_list_clear(&agent->mend);
    agent->mend = mend;
    return 0;
}

static void take_answer(struct agent *agent, uint32_t number, const struct http_response *response,
    const struct audit_answer *answer)
{
    struct agent_slot slot = agent->slots[number];
    struct engine_event event = {.kind = ENGINE_AUDITED, .slot = number};
    int r = take_window(agent, &slot, answer, &event);

    if (r == -EBADMSG) {
        signed_invalid(agent, number, response);
        return;
    }
    if (r < 0) {
        /* Also -ERANGE: the server has more of this log than we have. An exchange finds that, and acts. */
        agent_store_error(agent, r);
        agent_feed_failed(agent, number, FAILURE_LOCAL, 0);
        return;
    }
    signed_note_answer(agent, answer->server_time_ms, response);
    (void)memory_take_incarnation(agent, &answer->incarnation);
    event.audited.size = answer->size;
    event.audited.next_seq = answer->next_seq;
    event.audited.has_next_blob = answer->has_next_blob;
    event.audited.next_blob = answer->next_blob;
    agent->slots[number].use = AGENT_FREE;
    outbox_feed(agent);
    agent_feed(agent, &event);
}

void audit_answered(struct agent *agent, uint32_t number, const struct http_response *response)
{
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct audit_answer answer;
    int r;

    switch (signed_open(agent, PAYLOAD_AUDIT_ANSWER, response, &plain)) {
    case ANSWER_REFUSAL:
        signed_refused(agent, number, response, &plain);
        return;
    case ANSWER_INVALID:
        signed_invalid(agent, number, response);
        return;
    case ANSWER_NO_MEMORY:
        signed_no_memory(agent, number);
        return;
    case ANSWER_GOOD:
        break;
    }
    /* Runs take more room here than in the short form of their lists. */
    arena_init(&arena, arena_budget_for(plain.len) + RUN_LISTS_BYTES_MAX);
    r = audit_answer_decode(buffer_bytes(&plain), &arena, &answer);
    if (r == -ENOMEM) {
        signed_no_memory(agent, number);
        return;
    }
    if (r < 0 || !sha256_equal(&answer.request_sha256, &agent->slots[number].request_sha256)) {
        signed_invalid(agent, number, response);
        return;
    }
    take_answer(agent, number, response, &answer);
}
