/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit's request and answer: see messages.h; proto/README.md, "Audit".
 */
#include "proto/messages.h"
#include "proto/run_list.h"

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

    if (request->checkpoint.len > NOTE_TEXT_BYTES_MAX || request->from_seq > LOG_SIZE_MAX ||
        request->receipt_size > LOG_SIZE_MAX)
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
    wire.reads_run_lists = request->reads_run_lists;
    wire.receipt_size = request->receipt_size;
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
        case 8:
            request.reads_run_lists = wire_bool(&reader);
            break;
        case 9:
            request.receipt_size = wire_u64(&reader);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (!reader.error && (request.from_seq > LOG_SIZE_MAX || request.receipt_size > LOG_SIZE_MAX))
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = request;
    return wire_finish(&reader, NULL);
}

static bool answer_within_limits(const struct audit_answer *answer)
{
    return answer->size <= LOG_SIZE_MAX && answer->first_seq <= LOG_SIZE_MAX &&
           answer->next_seq <= LOG_SIZE_MAX && answer->receipt.len <= NOTE_TEXT_BYTES_MAX &&
           answer->tile_root_count <= AUDIT_WINDOW_RECORDS_MAX &&
           answer->blob_count <= AUDIT_WINDOW_BLOBS_MAX &&
           run_list_within_limits(answer->missing, answer->missing_count, AUDIT_RUNS_MAX) &&
           run_list_within_limits(answer->damaged, answer->damaged_count, AUDIT_RUNS_MAX) &&
           run_list_within_limits(answer->erased, answer->erased_count, AUDIT_RUNS_MAX) &&
           run_list_within_limits(answer->lost, answer->lost_count, AUDIT_RUNS_MAX);
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

static void fill_run_lists(const struct audit_answer *answer, struct arena *scratch, Wire__RunLists *ret)
{
    ret->n_missing = 2 * answer->missing_count;
    ret->missing = run_list_fill(answer->missing, answer->missing_count, scratch);
    ret->n_damaged = 2 * answer->damaged_count;
    ret->damaged = run_list_fill(answer->damaged, answer->damaged_count, scratch);
    ret->n_erased = 2 * answer->erased_count;
    ret->erased = run_list_fill(answer->erased, answer->erased_count, scratch);
    ret->n_lost = 2 * answer->lost_count;
    ret->lost = run_list_fill(answer->lost, answer->lost_count, scratch);
}

static void fill_lists(const struct audit_answer *answer, struct arena *scratch, Wire__AuditAnswer *ret)
{
    ret->n_missing = fill_runs(answer->missing, answer->missing_count, scratch, &ret->missing);
    ret->n_damaged = fill_runs(answer->damaged, answer->damaged_count, scratch, &ret->damaged);
    ret->n_erased = fill_runs(answer->erased, answer->erased_count, scratch, &ret->erased);
    ret->n_lost = fill_runs(answer->lost, answer->lost_count, scratch, &ret->lost);
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
    Wire__RunLists lists = WIRE__RUN_LISTS__INIT;
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
    if (!answer->uses_run_lists) {
        fill_lists(answer, &scratch, &wire);
    } else {
        fill_run_lists(answer, &scratch, &lists);
        wire.lists = &lists;
    }
    wire.blobs_checked = answer->blobs_checked;
    wire.blob_bytes_read = answer->blob_bytes_read;
    fill_blob_states(answer, &scratch, &wire);
    if (answer->has_next_blob)
        wire.next_blob = wire_of_sha256(&answer->next_blob);
    wire.server_time_ms = answer->server_time_ms;
    wire.records_quarantined = answer->records_quarantined;
    wire.takes_bare_records = answer->takes_bare_records;
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

static void read_run_lists(struct wire_reader *outer, struct audit_answer *ret)
{
    struct wire_reader reader = wire_message(outer);

    ret->uses_run_lists = true;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            run_list_read(&reader, AUDIT_RUNS_MAX, &ret->missing, &ret->missing_count);
            break;
        case 2:
            run_list_read(&reader, AUDIT_RUNS_MAX, &ret->damaged, &ret->damaged_count);
            break;
        case 3:
            run_list_read(&reader, AUDIT_RUNS_MAX, &ret->erased, &ret->erased_count);
            break;
        case 4:
            run_list_read(&reader, AUDIT_RUNS_MAX, &ret->lost, &ret->lost_count);
            break;
        }
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

static void take_lists(struct wire_reader *reader, const struct lists *lists, struct audit_answer *ret)
{
    size_t long_runs = lists->missing.count + lists->damaged.count + lists->erased.count + lists->lost.count;

    ret->tile_roots = lists->tile_roots.items;
    ret->tile_root_count = lists->tile_roots.count;
    ret->blobs = lists->blobs.items;
    ret->blob_count = lists->blobs.count;
    if (ret->uses_run_lists) {
        if (long_runs > 0)
            wire_fail(reader, "runs in both forms");
        return;
    }
    ret->missing = lists->missing.items;
    ret->missing_count = lists->missing.count;
    ret->damaged = lists->damaged.items;
    ret->damaged_count = lists->damaged.count;
    ret->erased = lists->erased.items;
    ret->erased_count = lists->erased.count;
    ret->lost = lists->lost.items;
    ret->lost_count = lists->lost.count;
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
    case 21:
        read_run_lists(reader, ret);
        break;
    case 22:
        ret->takes_bare_records = wire_bool(reader);
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
    take_lists(&reader, &lists, &answer);
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (!reader.error && !answer_within_limits(&answer))
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = answer;
    return wire_finish(&reader, NULL);
}
