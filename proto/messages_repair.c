/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The repair's request and answer: see messages.h; proto/README.md, "Repair".
 */
#include "proto/merkle.h"
#include "proto/run_list.h"

#include <errno.h>

/* Within the tree that its proof is for, and the proof no longer than any can be. */
static bool run_within_limits(const struct repair_run *run, uint64_t size)
{
    if (run->record_count == 0 || run->record_count > REPAIR_RECORDS_MAX || run->first_seq >= size ||
        run->record_count > size - run->first_seq || run->proof_count > MERKLE_PROOF_MAX)
        return false;
    for (size_t i = 0; i < run->record_count; i++)
        if (run->records[i].len > RECORD_BYTES_MAX)
            return false;
    return true;
}

/* Bare runs lie within the tree, and name as many positions as there are records. */
static bool bare_within_limits(const struct repair_request *request)
{
    const struct run *runs = request->bare_runs;
    size_t count = request->bare_run_count;

    if (!run_list_within_limits(runs, count, REPAIR_RUNS_MAX) ||
        request->bare_record_count > REPAIR_RECORDS_MAX ||
        run_list_total(runs, count) != request->bare_record_count ||
        (count > 0 && runs[count - 1].first + runs[count - 1].count > request->size))
        return false;
    for (size_t i = 0; i < request->bare_record_count; i++)
        if (request->bare_records[i].len > RECORD_BYTES_MAX)
            return false;
    return true;
}

static bool within_limits(const struct repair_request *request)
{
    size_t record_count = request->bare_record_count;

    if (request->size > LOG_SIZE_MAX || request->run_count > REPAIR_RUNS_MAX ||
        request->lost_count > REPAIR_LOST_MAX || request->erased_count > REPAIR_LOST_MAX ||
        request->lost_blob_count > AUDIT_WINDOW_BLOBS_MAX || !bare_within_limits(request))
        return false;
    for (size_t i = 0; i < request->run_count; i++) {
        if (!run_within_limits(&request->runs[i], request->size))
            return false;
        record_count += request->runs[i].record_count;
    }
    for (size_t i = 0; i < request->lost_count; i++)
        if (request->lost_seqs[i] >= request->size)
            return false;
    for (size_t i = 0; i < request->erased_count; i++)
        if (request->erased_seqs[i] >= request->size)
            return false;
    return record_count <= REPAIR_RECORDS_MAX;
}

static void fill_runs(const struct repair_request *request, struct arena *scratch, Wire__RepairRequest *ret)
{
    Wire__RepairRun *wire = wire_list_of_messages(scratch, request->run_count, sizeof(*wire), &ret->runs);

    for (size_t i = 0; wire && i < request->run_count; i++) {
        const struct repair_run *run = &request->runs[i];

        wire__repair_run__init(&wire[i]);
        wire[i].first_seq = run->first_seq;
        wire[i].n_records = run->record_count;
        wire[i].records = wire_list_of_bytes(scratch, run->records, run->record_count);
        wire[i].n_proof = run->proof_count;
        wire[i].proof = wire_list_of_sha256(scratch, run->proof, run->proof_count);
    }
    ret->n_runs = request->run_count;
}

int repair_request_encode(const struct repair_request *request, struct buffer *ret)
{
    Wire__RepairRequest wire = WIRE__REPAIR_REQUEST__INIT;
    _cleanup_arena_ struct arena scratch = {0};

    if (!within_limits(request))
        return -EMSGSIZE;
    arena_init(&scratch, WIRE_SCRATCH_BUDGET);
    wire.request_id = wire_of(bytes_of(request->request_id, REQUEST_ID_BYTES));
    wire.log = wire_of_uuid(&request->log);
    wire.size = request->size;
    fill_runs(request, &scratch, &wire);
    wire.n_bare_runs = 2 * request->bare_run_count;
    wire.bare_runs = run_list_fill(request->bare_runs, request->bare_run_count, &scratch);
    wire.n_bare_records = request->bare_record_count;
    wire.bare_records = wire_list_of_bytes(&scratch, request->bare_records, request->bare_record_count);
    wire.n_lost_seqs = request->lost_count;
    wire.lost_seqs = (uint64_t *)(uintptr_t)request->lost_seqs;
    if (request->lost_leaves) {
        wire.n_lost_leaves = request->lost_count;
        wire.lost_leaves = wire_list_of_sha256(&scratch, request->lost_leaves, request->lost_count);
    }
    wire.n_lost_blobs = request->lost_blob_count;
    wire.lost_blobs = wire_list_of_sha256(&scratch, request->lost_blobs, request->lost_blob_count);
    wire.n_erased_seqs = request->erased_count;
    wire.erased_seqs = (uint64_t *)(uintptr_t)request->erased_seqs;
    wire.n_erased_leaves = request->erased_count;
    wire.erased_leaves = wire_list_of_sha256(&scratch, request->erased_leaves, request->erased_count);
    return wire_pack(&wire.base, &scratch, EXCHANGE_INFLATED_BYTES_MAX, ret);
}

static void read_run(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct repair_run *item = wire_item(outer, items, sizeof(*item), REPAIR_RUNS_MAX);
    struct wire_items records = {0}, proof = {0};

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            item->first_seq = wire_u64(&reader);
            break;
        case 2:
            wire_item_bytes(&reader, &records, REPAIR_RECORDS_MAX, RECORD_BYTES_MAX);
            break;
        case 3:
            wire_item_sha256(&reader, &proof, MERKLE_PROOF_MAX);
            break;
        }
    item->records = records.items;
    item->record_count = records.count;
    item->proof = proof.items;
    item->proof_count = proof.count;
    wire_end(outer, &reader);
}

static void read_request(struct wire_reader *reader, struct repair_request *ret)
{
    struct wire_items runs = {0}, lost_seqs = {0}, lost_leaves = {0}, lost_blobs = {0}, erased_seqs = {0},
                      erased_leaves = {0}, bare_records = {0};

    while (wire_next(reader))
        switch (reader->field) {
        case 1:
            wire_exact(reader, ret->request_id, REQUEST_ID_BYTES);
            break;
        case 2:
            wire_uuid(reader, &ret->log);
            break;
        case 3:
            ret->size = wire_u64(reader);
            break;
        case 4:
            read_run(reader, &runs);
            break;
        case 5:
            wire_packed_u64(reader, &lost_seqs, REPAIR_LOST_MAX);
            break;
        case 6:
            wire_item_sha256(reader, &lost_leaves, REPAIR_LOST_MAX);
            break;
        case 7:
            wire_item_sha256(reader, &lost_blobs, AUDIT_WINDOW_BLOBS_MAX);
            break;
        case 8:
            wire_packed_u64(reader, &erased_seqs, REPAIR_LOST_MAX);
            break;
        case 9:
            wire_item_sha256(reader, &erased_leaves, REPAIR_LOST_MAX);
            break;
        case 10:
            run_list_read(reader, REPAIR_RUNS_MAX, &ret->bare_runs, &ret->bare_run_count);
            break;
        case 11:
            wire_item_bytes(reader, &bare_records, REPAIR_RECORDS_MAX, RECORD_BYTES_MAX);
            break;
        }
    ret->runs = runs.items;
    ret->run_count = runs.count;
    ret->bare_records = bare_records.items;
    ret->bare_record_count = bare_records.count;
    ret->lost_seqs = lost_seqs.items;
    ret->lost_count = lost_seqs.count;
    ret->lost_leaves = lost_leaves.items;
    if (lost_leaves.count != 0 && lost_leaves.count != lost_seqs.count)
        wire_fail(reader, "not as many leaves as positions");
    ret->erased_seqs = erased_seqs.items;
    ret->erased_leaves = erased_leaves.items;
    ret->erased_count = erased_seqs.count;
    if (erased_leaves.count != erased_seqs.count)
        wire_fail(reader, "not as many leaves as erased positions");
    ret->lost_blobs = lost_blobs.items;
    ret->lost_blob_count = lost_blobs.count;
    wire_demand(reader, WIRE_FIELD(1) | WIRE_FIELD(2));
}

int repair_request_decode(struct bytes bytes, struct arena *arena, struct repair_request *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct repair_request request = {0};

    read_request(&reader, &request);
    if (!reader.error && !within_limits(&request))
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = request;
    return wire_finish(&reader, NULL);
}

int repair_answer_encode(const struct repair_answer *answer, struct buffer *ret)
{
    Wire__RepairAnswer wire = WIRE__REPAIR_ANSWER__INIT;

    if (answer->size > LOG_SIZE_MAX)
        return -EMSGSIZE;
    wire.request_sha256 = wire_of_sha256(&answer->request_sha256);
    wire.records_mended = answer->records_mended;
    wire.records_refused = answer->records_refused;
    wire.size = answer->size;
    wire.server_time_ms = answer->server_time_ms;
    return wire_pack(&wire.base, NULL, ANSWER_BYTES_MAX, ret);
}

int repair_answer_decode(struct bytes bytes, struct arena *arena, struct repair_answer *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct repair_answer answer = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, answer.request_sha256.b, SHA256_BYTES);
            break;
        case 2:
            answer.records_mended = wire_u64(&reader);
            break;
        case 3:
            answer.records_refused = wire_u64(&reader);
            break;
        case 4:
            answer.size = wire_u64(&reader);
            break;
        case 5:
            answer.server_time_ms = wire_s64(&reader);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1));
    if (!reader.error && answer.size > LOG_SIZE_MAX)
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = answer;
    return wire_finish(&reader, NULL);
}
