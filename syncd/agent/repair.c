/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs: proto/README.md, "Repair". The runs that the last audit window noted are sent again. The server
 * checks them against the root it had signed before it takes them: where it has said that it can, by the
 * tiles that they complete, of which a parcel then holds all that is to be mended; otherwise by range proofs
 * in the tree that it has. A position that this handheld cannot read either is told as lost.
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
    bool is_bare;         /* the runs need no proofs */
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
    parcel->is_bare = false;
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

/* A run without a proof goes on where the one before has ended. */
static void add_bare_run(struct parcel *parcel, uint64_t first, size_t count)
{
    struct repair_run *last = parcel->run_count > 0 ? &parcel->runs[parcel->run_count - 1] : NULL;

    if (last && last->first_seq + last->record_count == first)
        last->record_count += count;
    else
        parcel->runs[parcel->run_count++] = (struct repair_run){.first_seq = first, .record_count = count};
}

/* Takes the next piece of a run; returns how many positions it was. */
static int add_piece(struct agent *agent, struct parcel *parcel, const struct merkle_source *source,
    uint64_t first, uint64_t count, size_t bytes_left)
{
    struct bytes *views = parcel->records + parcel->record_count;
    size_t room = REPAIR_RECORDS_MAX - parcel->record_count, start = parcel->record_bytes.len, n = 0;
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
        parcel->record_bytes.len = start; /* what stands behind it was read for nothing */
        r = add_erased(parcel, source, first);
        return r < 0 ? r : 1;
    }
    n = count_whole(parcel, views, n);
    for (size_t i = 0; i < n; i++)
        parcel->record_lens[parcel->record_count + i] = views[i].len;
    parcel->record_count += n;
    if (parcel->is_bare) {
        add_bare_run(parcel, first, n);
        return (int)n;
    }
    parcel->runs[parcel->run_count] = (struct repair_run){.first_seq = first, .record_count = n};
    r = add_proof(parcel, source, agent->mend.size);
    return r < 0 ? r : (int)n;
}

static size_t room_left(const struct parcel *parcel, size_t bytes_max)
{
    size_t used = parcel->record_bytes.len + parcel->proofs.len;

    if (used >= bytes_max || parcel->record_count == REPAIR_RECORDS_MAX ||
        parcel->run_count == REPAIR_RUNS_MAX || parcel->lost_count == REPAIR_LOST_MAX ||
        parcel->erased_count == REPAIR_LOST_MAX)
        return 0;
    return bytes_max - used;
}

static uint64_t next_seq(const struct mend_list *mend, const struct parcel *parcel)
{
    return mend->runs[parcel->end.run].first + parcel->end.taken;
}

/* Takes up to `count` positions of the run that is next. */
static int take_next(struct agent *agent, struct parcel *parcel, const struct merkle_source *source,
    uint64_t count, size_t bytes_left)
{
    const struct mend_list *mend = &agent->mend;
    uint64_t left = mend->runs[parcel->end.run].count - parcel->end.taken;
    int r = add_piece(agent, parcel, source, next_seq(mend, parcel), count < left ? count : left, bytes_left);

    if (r < 0)
        return r;
    parcel->end.taken += (uint64_t)r;
    if ((uint64_t)r == left)
        parcel->end = (struct mend_cursor){.run = parcel->end.run + 1};
    return 0;
}

static int fill(
    struct agent *agent, struct parcel *parcel, const struct merkle_source *source, size_t bytes_max)
{
    int r = 0;

    while (r >= 0 && parcel->end.run < agent->mend.run_count) {
        size_t left = room_left(parcel, bytes_max);

        if (left == 0)
            break;
        r = take_next(agent, parcel, source, UINT64_MAX, left);
    }
    return r;
}

/* Whole tiles only. 1, or 0 when not even the first one can go without proofs: it is too large for a parcel,
 * or something of it is lost or was erased here. */
static int fill_bare(
    struct agent *agent, struct parcel *parcel, const struct merkle_source *source, size_t bytes_max)
{
    const struct mend_list *mend = &agent->mend;
    struct mend_cursor whole = parcel->end; /* up to here all tiles are */
    size_t whole_bytes = 0, whole_records = 0, whole_runs = 0, whole_last = 0;

    parcel->is_bare = true;
    while (parcel->end.run < mend->run_count) {
        uint64_t seq = next_seq(mend, parcel), tile = seq / TILE_LEAVES;
        size_t left = room_left(parcel, bytes_max);
        int r = left == 0 ? 0 : take_next(agent, parcel, source, TILE_LEAVES - seq % TILE_LEAVES, left);

        if (r < 0)
            return r;
        if (left == 0 || parcel->lost_count > 0 || parcel->erased_count > 0)
            break;
        if (parcel->end.run < mend->run_count && next_seq(mend, parcel) / TILE_LEAVES == tile)
            continue;
        whole = parcel->end;
        whole_bytes = parcel->record_bytes.len;
        whole_records = parcel->record_count;
        whole_runs = parcel->run_count;
        whole_last = parcel->runs[whole_runs - 1].record_count;
    }
    parcel->end = whole;
    parcel->record_bytes.len = whole_bytes;
    parcel->record_count = whole_records;
    parcel->run_count = whole_runs;
    parcel->lost_count = parcel->erased_count = 0;
    if (whole_runs > 0)
        parcel->runs[whole_runs - 1].record_count = whole_last;
    return whole_runs > 0;
}

/* What goes next, from the mend list's cursor on. */
static int fill_parcel(struct agent *agent, struct parcel *parcel, size_t bytes_max)
{
    struct merkle_source source;
    int r = store_merkle_source(agent->store, &agent->mend.log, &source);

    parcel_clear(parcel, agent->mend.cursor);
    if (r >= 0 && agent->mend.is_bare)
        r = fill_bare(agent, parcel, &source, bytes_max);
    if (r != 0)
        return r < 0 ? r : 0;
    parcel_clear(parcel, agent->mend.cursor);
    return fill(agent, parcel, &source, bytes_max);
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
        if (run->proof_count > 0) /* bare runs have no buffer of proofs at all */
            proof += run->proof_count;
    }
}

/* The runs of a parcel that is bare, as a request names them. */
static void name_bare(const struct parcel *parcel, struct run *runs, struct repair_request *ret)
{
    for (size_t i = 0; i < parcel->run_count; i++)
        runs[i] = (struct run){.first = parcel->runs[i].first_seq, .count = parcel->runs[i].record_count};
    ret->bare_runs = runs;
    ret->bare_run_count = parcel->run_count;
    ret->bare_records = parcel->records;
    ret->bare_record_count = parcel->record_count;
}

static int make_body(
    struct agent *agent, struct parcel *parcel, struct buffer *ret_body, struct sha256 *ret_payload_sha256)
{
    _cleanup_buffer_ struct buffer plain = {0};
    struct run bare_runs[REPAIR_RUNS_MAX];
    struct repair_request request = {
        .log = agent->mend.log,
        .size = agent->mend.size,
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
    if (parcel->is_bare) {
        name_bare(parcel, bare_runs, &request);
    } else {
        request.runs = parcel->runs;
        request.run_count = parcel->run_count;
    }
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
    /* -ERANGE: the server has more of this log than we have; an exchange finds that, and acts. Of a log that
     * cannot be compared, or that ends among records that were pruned, only photos are told of, which are in
     * neither place. */
    r = agent->mend.is_diverged ? 0 : store_root_at(agent->store, &agent->mend.log, agent->mend.size, &root);
    if (r == -EIDRM && agent->mend.run_count == 0)
        r = 0;
    if (r < 0)
        return r;
    for (;;) {
        r = fill_parcel(agent, parcel, bytes_max);
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
        .is_bare = parcel->is_bare,
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

/* Does this handheld hold a record for quarantined, which may be so no longer? When it cannot be told, it is
 * asked for. */
static bool holds_quarantined(struct agent *agent)
{
    struct position_in_log position;
    int64_t cursor = 0;
    size_t count = 0;
    int r = store_quarantined(agent->store, &cursor, &position, 1, &count);

    return r < 0 || count > 0;
}

static void take_repaired(struct agent *agent, const struct agent_slot *slot,
    const struct repair_answer *answer, struct engine_event *event)
{
    struct mend_list *mend = &agent->mend;

    if (answer->records_mended == 0 && answer->records_refused > 0 && answer->size != slot->tree_size) {
        mend->size = answer->size; /* the proofs were for another tree: the same again */
    } else if (slot->is_bare && answer->records_refused > 0) {
        mend->is_bare = false; /* the tiles are not well for other reasons: the same again, with proofs */
    } else {
        mend->cursor = slot->mend_end;
        mend->gone_blob_count = 0;
        mend->is_proven = mend->is_proven && slot->is_bare;
        agent->report.records_gone += slot->gone;
        event->repaired.gone = slot->gone;
    }
    agent->report.records_sent_again += answer->records_mended;
    event->repaired.mended = answer->records_mended;
    event->repaired.refused = answer->records_refused;
    event->repaired.left = left_to_mend(mend);
    event->repaired.is_proven = event->repaired.left == 0 && mend->is_proven;
    event->repaired.asks = answer->records_mended > 0 && holds_quarantined(agent);
}

void repair_answered(struct agent *agent, uint32_t number, const struct http_response *response)
{
    struct agent_slot slot = agent->slots[number];
    struct engine_event event = {.kind = ENGINE_REPAIRED, .slot = number};
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct repair_answer answer;
    int r;

    switch (signed_open(agent, PAYLOAD_REPAIR_ANSWER, response, &plain)) {
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
    arena_init(&arena, arena_budget_for(plain.len));
    r = repair_answer_decode(buffer_bytes(&plain), &arena, &answer);
    if (r == -ENOMEM) {
        signed_no_memory(agent, number);
        return;
    }
    if (r < 0 || !sha256_equal(&answer.request_sha256, &slot.request_sha256)) {
        signed_invalid(agent, number, response);
        return;
    }
    signed_note_answer(agent, answer.server_time_ms, response);
    agent->slots[number].use = AGENT_FREE;
    take_repaired(agent, &slot, &answer, &event);
    agent_feed(agent, &event);
}
