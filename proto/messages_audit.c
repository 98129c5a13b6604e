/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit's request and answer: see messages.h; proto/README.md, "Audit".
 */
#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

#include <errno.h>

static const char *const level_names[] = {
    [AUDIT_PRESENCE] = "presence",
    [AUDIT_RECORDS] = "records",
    [AUDIT_MEDIA] = "media",
};

const char *audit_level_name(enum audit_level level)
{
    return level < ARRAY_LEN(level_names) ? level_names[level] : "unknown";
}

int audit_level_from_name(const char *name, enum audit_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (strcmp(name, level_names[i]) == 0) {
            *ret = (enum audit_level)i;
            return 0;
        }
    return -EINVAL;
}

int audit_request_encode(const struct audit_request *request, struct buffer *ret)
{
    Wire__AuditRequest wire = WIRE__AUDIT_REQUEST__INIT;

    if (request->checkpoint.len > NOTE_TEXT_BYTES_MAX || request->from_seq > LOG_SIZE_MAX)
        return -EMSGSIZE;
    wire.request_id = wire_of(bytes_of(request->request_id, REQUEST_ID_BYTES));
    wire.log = wire_of_uuid(&request->log);
    wire.level = (Wire__AuditLevel)request->level;
    wire.from_seq = request->from_seq;
    wire.checkpoint = wire_of(request->checkpoint);
    if (request->has_after_blob)
        wire.after_blob = wire_of_sha256(&request->after_blob);
    if (request->has_command)
        wire.command_id = wire_of(bytes_of(request->command_id, COMMAND_ID_BYTES));
    return wire_pack(&wire.base, NULL, EXCHANGE_INFLATED_BYTES_MAX, ret);
}

int audit_request_decode(struct bytes bytes, struct arena *arena, struct audit_request *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct audit_request request = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, request.request_id, REQUEST_ID_BYTES);
            break;
        case 2:
            wire_uuid(&reader, &request.log);
            break;
        case 3:
            request.level = (enum audit_level)wire_enum(&reader, AUDIT_MEDIA, "unknown level of an audit");
            break;
        case 4:
            request.from_seq = wire_u64(&reader);
            break;
        case 5:
            request.checkpoint = wire_bytes(&reader, NOTE_TEXT_BYTES_MAX);
            break;
        case 6:
            request.has_after_blob = wire_exact_or_none(&reader, request.after_blob.b, SHA256_BYTES);
            break;
        case 7:
            request.has_command = wire_exact_or_none(&reader, request.command_id, COMMAND_ID_BYTES);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (!reader.error && request.from_seq > LOG_SIZE_MAX)
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = request;
    return wire_finish(&reader, NULL);
}

/* Runs ascend, do not overlap, and lie within a log. */
static bool runs_within_limits(const struct run *runs, size_t count)
{
    uint64_t next = 0;

    if (count > AUDIT_RUNS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (runs[i].count == 0 || runs[i].first < next || runs[i].first > LOG_SIZE_MAX ||
            runs[i].count > LOG_SIZE_MAX - runs[i].first)
            return false;
        next = runs[i].first + runs[i].count;
    }
    return true;
}

static bool answer_within_limits(const struct audit_answer *answer)
{
    return answer->size <= LOG_SIZE_MAX && answer->first_seq <= LOG_SIZE_MAX &&
           answer->next_seq <= LOG_SIZE_MAX && answer->receipt.len <= NOTE_TEXT_BYTES_MAX &&
           answer->tile_root_count <= AUDIT_WINDOW_RECORDS_MAX &&
           answer->blob_count <= AUDIT_WINDOW_BLOBS_MAX &&
           runs_within_limits(answer->missing, answer->missing_count) &&
           runs_within_limits(answer->damaged, answer->damaged_count) &&
           runs_within_limits(answer->erased, answer->erased_count) &&
           runs_within_limits(answer->lost, answer->lost_count);
}

static size_t fill_runs(const struct run *runs, size_t count, struct arena *scratch, Wire__Run ***ret)
{
    Wire__Run *wire = wire_list_of_messages(scratch, count, sizeof(*wire), ret);

    for (size_t i = 0; wire && i < count; i++) {
        wire__run__init(&wire[i]);
        wire[i].first = runs[i].first;
        wire[i].count = runs[i].count;
    }
    return count;
}

static void fill_blob_states(const struct audit_answer *answer, struct arena *scratch, Wire__AuditAnswer *ret)
{
    Wire__BlobState *wire = wire_list_of_messages(scratch, answer->blob_count, sizeof(*wire), &ret->blobs);

    for (size_t i = 0; wire && i < answer->blob_count; i++) {
        wire__blob_state__init(&wire[i]);
        wire[i].sha256 = wire_of_sha256(&answer->blobs[i].sha256);
        wire[i].state = (Wire__BlobState__State)answer->blobs[i].condition;
    }
    ret->n_blobs = answer->blob_count;
}

int audit_answer_encode(const struct audit_answer *answer, struct buffer *ret)
{
    Wire__AuditAnswer wire = WIRE__AUDIT_ANSWER__INIT;
    _cleanup_arena_ struct arena scratch = {0};

    if (!answer_within_limits(answer))
        return -EMSGSIZE;
    arena_init(&scratch, WIRE_SCRATCH_BUDGET);
    wire.request_sha256 = wire_of_sha256(&answer->request_sha256);
    wire.incarnation = wire_of_uuid(&answer->incarnation);
    wire.size = answer->size;
    wire.receipt = wire_of(answer->receipt);
    wire.first_seq = answer->first_seq;
    wire.next_seq = answer->next_seq;
    wire.counted = answer->counted;
    if (answer->has_root)
        wire.root = wire_of_sha256(&answer->root);
    wire.n_tile_roots = answer->tile_root_count;
    wire.tile_roots = wire_list_of_sha256(&scratch, answer->tile_roots, answer->tile_root_count);
    wire.n_missing = fill_runs(answer->missing, answer->missing_count, &scratch, &wire.missing);
    wire.n_damaged = fill_runs(answer->damaged, answer->damaged_count, &scratch, &wire.damaged);
    wire.n_erased = fill_runs(answer->erased, answer->erased_count, &scratch, &wire.erased);
    wire.n_lost = fill_runs(answer->lost, answer->lost_count, &scratch, &wire.lost);
    wire.blobs_checked = answer->blobs_checked;
    wire.blob_bytes_read = answer->blob_bytes_read;
    fill_blob_states(answer, &scratch, &wire);
    if (answer->has_next_blob)
        wire.next_blob = wire_of_sha256(&answer->next_blob);
    wire.server_time_ms = answer->server_time_ms;
    wire.records_quarantined = answer->records_quarantined;
    return wire_pack(&wire.base, &scratch, EXCHANGE_INFLATED_BYTES_MAX, ret);
}

static void read_run(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct run *item = wire_item(outer, items, sizeof(*item), AUDIT_RUNS_MAX);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            item->first = wire_u64(&reader);
            break;
        case 2:
            item->count = wire_u64(&reader);
            break;
        }
    wire_end(outer, &reader);
}

static void read_blob_state(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct blob_finding *item = wire_item(outer, items, sizeof(*item), AUDIT_WINDOW_BLOBS_MAX);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, item->sha256.b, SHA256_BYTES);
            break;
        case 2:
            item->condition = (enum blob_condition)wire_enum(&reader, BLOB_LOST, "unknown state of a blob");
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1));
    wire_end(outer, &reader);
}

/* The lists of an answer while they are read. */
struct lists {
    struct wire_items tile_roots, missing, damaged, erased, lost, blobs;
};

static void read_list_item(struct wire_reader *reader, struct lists *lists)
{
    switch (reader->field) {
    case 9:
        wire_item_sha256(reader, &lists->tile_roots, AUDIT_WINDOW_RECORDS_MAX);
        break;
    case 10:
        read_run(reader, &lists->missing);
        break;
    case 11:
        read_run(reader, &lists->damaged);
        break;
    case 12:
        read_run(reader, &lists->erased);
        break;
    case 13:
        read_run(reader, &lists->lost);
        break;
    case 16:
        read_blob_state(reader, &lists->blobs);
        break;
    }
}

static void take_lists(const struct lists *lists, struct audit_answer *ret)
{
    ret->tile_roots = lists->tile_roots.items;
    ret->tile_root_count = lists->tile_roots.count;
    ret->missing = lists->missing.items;
    ret->missing_count = lists->missing.count;
    ret->damaged = lists->damaged.items;
    ret->damaged_count = lists->damaged.count;
    ret->erased = lists->erased.items;
    ret->erased_count = lists->erased.count;
    ret->lost = lists->lost.items;
    ret->lost_count = lists->lost.count;
    ret->blobs = lists->blobs.items;
    ret->blob_count = lists->blobs.count;
}

static void read_field(struct wire_reader *reader, struct audit_answer *ret)
{
    switch (reader->field) {
    case 1:
        wire_exact(reader, ret->request_sha256.b, SHA256_BYTES);
        break;
    case 2:
        wire_uuid(reader, &ret->incarnation);
        break;
    case 3:
        ret->size = wire_u64(reader);
        break;
    case 4:
        ret->receipt = wire_bytes(reader, NOTE_TEXT_BYTES_MAX);
        break;
    case 5:
        ret->first_seq = wire_u64(reader);
        break;
    case 6:
        ret->next_seq = wire_u64(reader);
        break;
    case 7:
        ret->counted = wire_u64(reader);
        break;
    case 8:
        ret->has_root = wire_exact_or_none(reader, ret->root.b, SHA256_BYTES);
        break;
    case 14:
        ret->blobs_checked = wire_u64(reader);
        break;
    case 15:
        ret->blob_bytes_read = wire_u64(reader);
        break;
    case 17:
        ret->has_next_blob = wire_exact_or_none(reader, ret->next_blob.b, SHA256_BYTES);
        break;
    case 18:
        ret->server_time_ms = wire_s64(reader);
        break;
    case 19:
        ret->records_quarantined = wire_u64(reader);
        break;
    }
}

int audit_answer_decode(struct bytes bytes, struct arena *arena, struct audit_answer *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct audit_answer answer = {0};
    struct lists lists = {0};

    while (wire_next(&reader)) {
        read_field(&reader, &answer);
        read_list_item(&reader, &lists);
    }
    take_lists(&lists, &answer);
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (!reader.error && !answer_within_limits(&answer))
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = answer;
    return wire_finish(&reader, NULL);
}
