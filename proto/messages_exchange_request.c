/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange request: see messages.h; proto/README.md, "Exchange".
 */
#include "proto/columns.h"
#include "proto/command_results.h"
#include "proto/positions.h"

#include <errno.h>

/* Leaves of erased records stand for the empty ones among the records. */
static bool erased_within_limits(const struct exchange_request *request)
{
    size_t empty = 0;

    for (size_t i = 0; i < request->record_count; i++)
        empty += request->records[i].len == 0;
    return request->erased_leaf_count == 0 || request->erased_leaf_count == empty;
}

static bool within_limits(const struct exchange_request *request)
{
    if (request->record_count > EXCHANGE_RECORDS_MAX || request->first_seq > LOG_SIZE_MAX ||
        request->record_count > LOG_SIZE_MAX - request->first_seq || request->receipt_size > LOG_SIZE_MAX)
        return false;
    for (size_t i = 0; i < request->record_count; i++)
        if (request->records[i].len > RECORD_BYTES_MAX)
            return false;
    return request->checkpoint.len <= NOTE_TEXT_BYTES_MAX &&
           request->certificate.len <= ENROLMENT_BYTES_MAX &&
           request->asked_blob_count <= EXCHANGE_ASKED_BLOBS_MAX && erased_within_limits(request) &&
           positions_within_limits(request->asked_quarantined, request->asked_quarantined_count) &&
           command_results_within_limits(request->command_results, request->command_result_count) &&
           (!request->has_status || request->status.software.len <= SOFTWARE_BYTES_MAX);
}

static void fill_status(const struct device_status *from, Wire__DeviceStatus *ret)
{
    wire__device_status__init(ret);
    ret->records_queued = from->records_queued;
    ret->photos_pending = from->photos_pending;
    ret->bytes_free = from->bytes_free;
    ret->software = wire_of(from->software);
    ret->wall_ms = from->wall_ms;
}

/* Whether these columns give the records back, byte for byte, and within what a reader allows. */
static bool columns_hold(struct bytes columns, const struct exchange_request *request)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct bytes *records;
    size_t count;

    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    if (columns_decode(columns, &arena, &records, &count) < 0 || count != request->record_count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!bytes_equal(records[i], request->records[i]))
            return false;
    return true;
}

/* The records transposed, when that is asked for and holds; else nothing. -ENOMEM. */
static int transpose(const struct exchange_request *request, struct buffer *ret)
{
    int r;

    if (!request->as_columns || request->record_count < COLUMNS_RECORDS_MIN)
        return 0;
    r = columns_encode(request->records, request->record_count, ret);
    if (r == -ENOMEM)
        return r;
    if (r < 0 || !columns_hold(buffer_bytes(ret), request))
        buffer_clear(ret);
    return 0;
}

int exchange_request_encode(const struct exchange_request *request, struct buffer *ret)
{
    Wire__ExchangeRequest wire = WIRE__EXCHANGE_REQUEST__INIT;
    _cleanup_arena_ struct arena scratch = {0};
    _cleanup_buffer_ struct buffer columns = {0};
    Wire__DeviceStatus status;
    int r;

    if (!within_limits(request))
        return -EMSGSIZE;
    r = transpose(request, &columns);
    if (r < 0)
        return r;
    arena_init(&scratch, WIRE_SCRATCH_BUDGET);
    wire.request_id = wire_of(bytes_of(request->request_id, REQUEST_ID_BYTES));
    wire.log = wire_of_uuid(&request->log);
    wire.first_seq = request->first_seq;
    wire.columns = wire_of(buffer_bytes(&columns));
    if (columns.len == 0) {
        wire.n_records = request->record_count;
        wire.records = wire_list_of_bytes(&scratch, request->records, request->record_count);
    }
    wire.checkpoint = wire_of(request->checkpoint);
    wire.receipt_size = request->receipt_size;
    wire.reference_cursor = request->reference_cursor;
    if (request->has_status) {
        fill_status(&request->status, &status);
        wire.status = &status;
    }
    wire.n_asked_blobs = request->asked_blob_count;
    wire.asked_blobs = wire_list_of_sha256(&scratch, request->asked_blobs, request->asked_blob_count);
    wire.certificate = wire_of(request->certificate);
    wire.n_asked_quarantined = request->asked_quarantined_count;
    wire.asked_quarantined =
        positions_fill(request->asked_quarantined, request->asked_quarantined_count, &scratch);
    wire.orders_done = request->orders_done;
    wire.n_erased_leaves = request->erased_leaf_count;
    wire.erased_leaves = wire_list_of_sha256(&scratch, request->erased_leaves, request->erased_leaf_count);
    wire.trust_known = request->trust_known;
    if (request->has_asked_log)
        wire.asked_log = wire_of_uuid(&request->asked_log);
    wire.n_command_results = request->command_result_count;
    wire.command_results =
        command_results_fill(request->command_results, request->command_result_count, &scratch);
    return wire_pack(&wire.base, &scratch, EXCHANGE_INFLATED_BYTES_MAX, ret);
}

static void read_status(struct wire_reader *outer, struct device_status *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            ret->records_queued = wire_u64(&reader);
            break;
        case 2:
            ret->photos_pending = wire_u64(&reader);
            break;
        case 3:
            ret->bytes_free = wire_u64(&reader);
            break;
        case 4:
            ret->software = wire_text(&reader, SOFTWARE_BYTES_MAX);
            break;
        case 5:
            ret->wall_ms = wire_s64(&reader);
            break;
        }
    wire_end(outer, &reader);
}

static void read_request(struct wire_reader *reader, struct exchange_request *ret, struct bytes *ret_columns)
{
    struct wire_items records = {0}, asked_blobs = {0}, asked_quarantined = {0}, erased_leaves = {0},
                      results = {0};

    while (wire_next(reader))
        switch (reader->field) {
        case 1:
            wire_exact(reader, ret->request_id, REQUEST_ID_BYTES);
            break;
        case 2:
            wire_uuid(reader, &ret->log);
            break;
        case 3:
            ret->first_seq = wire_u64(reader);
            break;
        case 4:
            wire_item_bytes(reader, &records, EXCHANGE_RECORDS_MAX, RECORD_BYTES_MAX);
            break;
        case 5:
            ret->checkpoint = wire_bytes(reader, NOTE_TEXT_BYTES_MAX);
            break;
        case 6:
            ret->receipt_size = wire_u64(reader);
            break;
        case 7:
            ret->reference_cursor = wire_u64(reader);
            break;
        case 8:
            read_status(reader, &ret->status);
            ret->has_status = true;
            break;
        case 9:
            wire_item_sha256(reader, &asked_blobs, EXCHANGE_ASKED_BLOBS_MAX);
            break;
        case 10:
            ret->certificate = wire_bytes(reader, ENROLMENT_BYTES_MAX);
            break;
        case 11:
            positions_read_item(reader, &asked_quarantined);
            break;
        case 12:
            *ret_columns = wire_bytes(reader, EXCHANGE_INFLATED_BYTES_MAX);
            break;
        case 13:
            ret->orders_done = wire_u64(reader);
            break;
        case 14:
            ret->trust_known = wire_u64(reader);
            break;
        case 15:
            command_results_read_item(reader, &results);
            break;
        case 16:
            wire_item_sha256(reader, &erased_leaves, EXCHANGE_RECORDS_MAX);
            break;
        case 17:
            wire_uuid(reader, &ret->asked_log);
            ret->has_asked_log = true;
            break;
        }
    ret->records = records.items;
    ret->record_count = records.count;
    ret->asked_blobs = asked_blobs.items;
    ret->asked_blob_count = asked_blobs.count;
    ret->asked_quarantined = asked_quarantined.items;
    ret->asked_quarantined_count = asked_quarantined.count;
    ret->erased_leaves = erased_leaves.items;
    ret->erased_leaf_count = erased_leaves.count;
    ret->command_results = results.items;
    ret->command_result_count = results.count;
    wire_demand(reader, WIRE_FIELD(1) | WIRE_FIELD(2));
}

static void read_columns(struct wire_reader *reader, struct bytes columns, struct exchange_request *request)
{
    int r;

    if (request->record_count > 0) {
        wire_fail(reader, "records come both in rows and in columns");
        return;
    }
    r = columns_decode(columns, reader->arena, &request->records, &request->record_count);
    request->as_columns = true;
    if (r == -EBADMSG)
        wire_fail(reader, "the columns are malformed, or over a limit");
    else if (r < 0)
        reader->error = r;
}

int exchange_request_decode(struct bytes bytes, struct arena *arena, struct exchange_request *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct exchange_request request = {0};
    struct bytes columns = {0};

    read_request(&reader, &request, &columns);
    if (!reader.error && columns.len > 0)
        read_columns(&reader, columns, &request);
    if (!reader.error && !within_limits(&request))
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = request;
    return wire_finish(&reader, NULL);
}
