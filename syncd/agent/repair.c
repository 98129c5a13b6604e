/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs: proto/README.md, "Audit and repair". The runs that the last audit window noted are sent with range
 * proofs in the tree that the server has, so that it can check each run against the root it had signed before
 * it takes it. A position that this handheld cannot read either is told as lost.
 */
#include "syncd/agent/agent_internal.h"

#include <errno.h>

#define REPAIR_LEVEL 6
#define REPAIR_BYTES_MIN 1024u

/* Runs as they are collected. The buffer of bytes moves while it grows, so views are made at the end. */
struct parcel {
    struct buffer record_bytes;
    size_t *record_lens; /* REPAIR_RECORDS_MAX */
    struct bytes *records;
    size_t record_count;
    struct repair_run runs[REPAIR_RUNS_MAX];
    size_t run_count;
    struct buffer proofs; /* struct sha256, run after run */
    uint64_t lost_seqs[REPAIR_LOST_MAX];
    struct sha256 lost_leaves[REPAIR_LOST_MAX];
    size_t lost_count;
    uint64_t erased_seqs[REPAIR_LOST_MAX];
    struct sha256 erased_leaves[REPAIR_LOST_MAX];
    size_t erased_count;
    struct mend_cursor end;
};

static void parcel_free(struct parcel *parcel)
{
    if (!parcel)
        return;
    buffer_done(&parcel->record_bytes);
    buffer_done(&parcel->proofs);
    free(parcel->record_lens);
    free(parcel->records);
    free(parcel);
}
DEFINE_CLEANUP(struct parcel, parcel_free);

static struct parcel *parcel_new(void)
{
    struct parcel *parcel = calloc(1, sizeof(*parcel));

    if (!parcel)
        return NULL;
    parcel->record_lens = calloc(REPAIR_RECORDS_MAX, sizeof(*parcel->record_lens));
    parcel->records = calloc(REPAIR_RECORDS_MAX, sizeof(*parcel->records));
    if (parcel->record_lens && parcel->records)
        return parcel;
    parcel_free(parcel);
    return NULL;
}

static void parcel_clear(struct parcel *parcel, struct mend_cursor start)
{
    buffer_clear(&parcel->record_bytes);
    buffer_clear(&parcel->proofs);
    parcel->record_count = parcel->run_count = parcel->lost_count = parcel->erased_count = 0;
    parcel->end = start;
}

/* Neither side has it; its leaf is told when it is still known here. */
static int add_lost(struct parcel *parcel, const struct merkle_source *source, uint64_t seq)
{
    size_t n = parcel->lost_count;
    int r = source->leaves(source->context, seq, 1, &parcel->lost_leaves[n]);

    if (r == -EUCLEAN) {
        parcel->lost_leaves[n] = (struct sha256){{0}};
        r = 0;
    }
    if (r < 0)
        return r;
    parcel->lost_seqs[n] = seq;
    parcel->lost_count++;
    return 0;
}

/* The centre has lost a record that was erased here by its order: it gets the leaf. */
static int add_erased(struct parcel *parcel, const struct merkle_source *source, uint64_t seq)
{
    size_t n = parcel->erased_count;
    int r = source->leaves(source->context, seq, 1, &parcel->erased_leaves[n]);

    if (r < 0)
        return r;
    parcel->erased_seqs[n] = seq;
    parcel->erased_count++;
    return 0;
}

static int add_proof(struct parcel *parcel, const struct merkle_source *source, uint64_t size)
{
    struct repair_run *run = &parcel->runs[parcel->run_count];
    struct sha256 proof[MERKLE_PROOF_MAX];
    int r = merkle_prove_range(source, run->first_seq, run->record_count, size, proof, &run->proof_count);

    if (r < 0)
        return r;
    buffer_put(&parcel->proofs, proof, run->proof_count * sizeof(*proof));
    parcel->run_count++;
    return buffer_finish(&parcel->proofs);
}

/* A run ends before a record that was erased. What stands behind it was read for nothing. */
static size_t count_whole(struct parcel *parcel, const struct bytes *views, size_t count)
{
    size_t whole = 0, len = 0;

    for (; whole < count && views[whole].len > 0; whole++)
        len += views[whole].len;
    parcel->record_bytes.len = (size_t)(views[0].data - parcel->record_bytes.data) + len;
    return whole;
}

/* Takes the next piece of a run; returns how many positions it was. */
static int add_piece(struct agent *agent, struct parcel *parcel, const struct merkle_source *source,
    uint64_t first, uint64_t count, size_t bytes_left)
{
    struct repair_run *run = &parcel->runs[parcel->run_count];
    struct bytes *views = parcel->records + parcel->record_count;
    size_t room = REPAIR_RECORDS_MAX - parcel->record_count, n = 0;
    int r = store_outbox_read(agent->store, &agent->mend.log, first, count < room ? (size_t)count : room,
        bytes_left, &parcel->record_bytes, views, &n);

    if (r == -EUCLEAN) {
        r = add_lost(parcel, source, first);
        return r < 0 ? r : 1;
    }
    if (r < 0)
        return r;
    if (n == 0)
        return -ERANGE;
    if (views[0].len == 0) {
        r = add_erased(parcel, source, first);
        return r < 0 ? r : 1;
    }
    n = count_whole(parcel, views, n);
    for (size_t i = 0; i < n; i++)
        parcel->record_lens[parcel->record_count + i] = views[i].len;
    *run = (struct repair_run){.first_seq = first, .record_count = n};
    parcel->record_count += n;
    r = add_proof(parcel, source, agent->mend.size);
    return r < 0 ? r : (int)n;
}

static int fill(struct agent *agent, struct parcel *parcel, size_t bytes_max)
{
    const struct mend_list *mend = &agent->mend;
    struct merkle_source source;
    int r = store_merkle_source(agent->store, &mend->log, &source);

    while (r >= 0 && parcel->end.run < mend->run_count) {
        const struct run *run = &mend->runs[parcel->end.run];
        size_t used = parcel->record_bytes.len + parcel->proofs.len;

        if (used >= bytes_max || parcel->record_count == REPAIR_RECORDS_MAX ||
            parcel->run_count == REPAIR_RUNS_MAX || parcel->lost_count == REPAIR_LOST_MAX ||
            parcel->erased_count == REPAIR_LOST_MAX)
            break;
        r = add_piece(agent, parcel, &source, run->first + parcel->end.taken, run->count - parcel->end.taken,
            bytes_max - used);
        if (r < 0)
            break;
        parcel->end.taken += (uint64_t)r;
        if (parcel->end.taken == run->count)
            parcel->end = (struct mend_cursor){.run = parcel->end.run + 1};
    }
    return r < 0 ? r : 0;
}

static void make_views(struct parcel *parcel)
{
    const uint8_t *bytes = parcel->record_bytes.data;
    const struct sha256 *proof = (const struct sha256 *)(const void *)parcel->proofs.data;
    size_t record = 0;

    for (size_t i = 0; i < parcel->record_count; i++) {
        parcel->records[i] = bytes_of(bytes, parcel->record_lens[i]);
        bytes += parcel->record_lens[i];
    }
    for (size_t i = 0; i < parcel->run_count; i++) {
        struct repair_run *run = &parcel->runs[i];

        run->records = parcel->records + record;
        run->proof = proof;
        record += run->record_count;
        proof += run->proof_count;
    }
}

static int make_body(
    struct agent *agent, struct parcel *parcel, struct buffer *ret_body, struct sha256 *ret_payload_sha256)
{
    _cleanup_buffer_ struct buffer plain = {0};
    struct repair_request request = {
        .log = agent->mend.log,
        .size = agent->mend.size,
        .runs = parcel->runs,
        .run_count = parcel->run_count,
        .lost_seqs = parcel->lost_seqs,
        .lost_leaves = parcel->lost_leaves,
        .lost_count = parcel->lost_count,
        .erased_seqs = parcel->erased_seqs,
        .erased_leaves = parcel->erased_leaves,
        .erased_count = parcel->erased_count,
        .lost_blobs = agent->mend.gone_blobs,
        .lost_blob_count = agent->mend.gone_blob_count,
    };
    int r;

    signed_request_id(agent, request.request_id);
    make_views(parcel);
    r = repair_request_encode(&request, &plain);
    if (r < 0)
        return r;
    buffer_clear(ret_body);
    return signed_seal(agent,
        &(struct signed_request){.type = PAYLOAD_REPAIR_REQUEST,
            .plain = buffer_bytes(&plain),
            .level = REPAIR_LEVEL,
            .dictionary = agent->dictionary},
        ret_body, ret_payload_sha256);
}

int repair_send(struct agent *agent, const struct engine_action *action)
{
    _cleanup_(parcel_free_cleanup) struct parcel *parcel = parcel_new();
    _cleanup_buffer_ struct buffer body = {0};
    struct sha256 payload_sha256, root;
    size_t bytes_max = action->repair.bytes_max;
    uint64_t receipt_size;
    int r = outbox_receipt(agent, &agent->mend.log, &receipt_size);

    if (!parcel)
        return -ENOMEM;
    if (r < 0)
        return r;
    /* Records may have been stored since the audit: the proofs are for the tree as it is now. */
    if (agent->mend.size < receipt_size)
        agent->mend.size = receipt_size;
    /* -ERANGE: the server has more of this log than we have; an exchange finds that, and acts. */
    r = store_root_at(agent->store, &agent->mend.log, agent->mend.size, &root);
    if (r < 0)
        return r;
    for (;;) {
        parcel_clear(parcel, agent->mend.cursor);
        r = fill(agent, parcel, bytes_max);
        if (r < 0)
            return r;
        if (parcel->run_count == 0 && parcel->lost_count == 0 && parcel->erased_count == 0 &&
            agent->mend.gone_blob_count == 0)
            return -ENODATA;
        r = make_body(agent, parcel, &body, &payload_sha256);
        if (r != -EMSGSIZE || bytes_max <= REPAIR_BYTES_MIN)
            break;
        bytes_max /= 2;
    }
    if (r < 0)
        return r;
    agent->slots[action->slot] = (struct agent_slot){
        .use = AGENT_REPAIR,
        .request_sha256 = payload_sha256,
        .log = agent->mend.log,
        .mend_end = parcel->end,
        .tree_size = agent->mend.size,
        .gone = parcel->lost_count,
        .used_dictionary = agent->dictionary != 0,
    };
    agent->report.round_trips++;
    return signed_send(agent, action->slot, "/v1/repair", buffer_bytes(&body));
}

static uint64_t left_to_mend(const struct mend_list *mend)
{
    uint64_t left = 0;

    for (size_t i = mend->cursor.run; i < mend->run_count; i++)
        left += mend->runs[i].count;
    return left - mend->cursor.taken;
}

void repair_answered(struct agent *agent, uint32_t number, const struct http_response *response)
{
    struct agent_slot slot = agent->slots[number];
    struct engine_event event = {.kind = ENGINE_REPAIRED, .slot = number};
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct repair_answer answer;

    switch (signed_open(agent, PAYLOAD_REPAIR_ANSWER, response, &plain)) {
    case ANSWER_REFUSAL:
        signed_refused(agent, number, response, &plain);
        return;
    case ANSWER_INVALID:
        signed_invalid(agent, number, response);
        return;
    case ANSWER_GOOD:
        break;
    }
    arena_init(&arena, arena_budget_for(plain.len));
    if (repair_answer_decode(buffer_bytes(&plain), &arena, &answer) < 0 ||
        !sha256_equal(&answer.request_sha256, &slot.request_sha256)) {
        signed_invalid(agent, number, response);
        return;
    }
    signed_note_answer(agent, answer.server_time_ms, response);
    agent->slots[number].use = AGENT_FREE;
    if (answer.records_mended == 0 && answer.records_refused > 0 && answer.size != slot.tree_size) {
        agent->mend.size = answer.size; /* the proofs were for another tree: the same again */
    } else {
        agent->mend.cursor = slot.mend_end;
        agent->mend.gone_blob_count = 0;
        agent->report.records_gone += slot.gone;
        event.repaired.gone = slot.gone;
    }
    agent->report.records_sent_again += answer.records_mended;
    event.repaired.mended = answer.records_mended;
    event.repaired.refused = answer.records_refused;
    event.repaired.left = left_to_mend(&agent->mend);
    agent_feed(agent, &event);
}
