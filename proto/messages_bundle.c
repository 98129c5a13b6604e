/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a bundle and the centre's receipts for one: see messages.h; proto/README.md, "Bundles".
 */
#include "proto/answer_lists.h"
#include "proto/erasures.h"

#include <errno.h>

int bundle_head_encode(const struct bundle_head *head, struct buffer *ret)
{
    Wire__BundleHead wire = WIRE__BUNDLE_HEAD__INIT;

    if (head->software.len > SOFTWARE_BYTES_MAX)
        return -EMSGSIZE;
    wire.bundle = wire_of(bytes_of(head->bundle, REQUEST_ID_BYTES));
    wire.device = wire_of_uuid(&head->device);
    wire.made_ms = head->made_ms;
    wire.software = wire_of(head->software);
    return wire_pack(&wire.base, NULL, BUNDLE_MESSAGE_BYTES_MAX - 1, ret);
}

int bundle_head_decode(struct bytes bytes, struct arena *arena, struct bundle_head *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct bundle_head head = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, head.bundle, REQUEST_ID_BYTES);
            break;
        case 2:
            wire_uuid(&reader, &head.device);
            break;
        case 3:
            head.made_ms = wire_s64(&reader);
            break;
        case 4:
            head.software = wire_text(&reader, SOFTWARE_BYTES_MAX);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (!reader.error)
        *ret = head;
    return wire_finish(&reader, NULL);
}

/* What speaks of a log names it, and the other way round. */
static bool is_consistent(const struct bundle_receipts *receipts)
{
    bool is_of_log = !uuid_is_nil(&receipts->log);

    return is_of_log == (receipts->receipt.len > 0) &&
           (is_of_log || (receipts->quarantined_count == 0 && !receipts->quarantined_all));
}

static bool within_limits(const struct bundle_receipts *receipts)
{
    return quarantined_within_limits(receipts->quarantined, receipts->quarantined_count) &&
           receipts->stored_blob_count <= BUNDLE_RECEIPTS_BLOBS_MAX &&
           erasures_within_limits(receipts->erasures, receipts->erasure_count) &&
           receipts->receipt.len <= NOTE_TEXT_BYTES_MAX;
}

int bundle_receipts_encode(const struct bundle_receipts *receipts, struct buffer *ret)
{
    Wire__BundleReceipts wire = WIRE__BUNDLE_RECEIPTS__INIT;
    _cleanup_arena_ struct arena scratch = {0};

    if (!within_limits(receipts) || !is_consistent(receipts))
        return -EMSGSIZE;
    arena_init(&scratch, WIRE_SCRATCH_BUDGET);
    wire.bundle = wire_of(bytes_of(receipts->bundle, REQUEST_ID_BYTES));
    wire.device = wire_of_uuid(&receipts->device);
    wire.server_time_ms = receipts->server_time_ms;
    wire.part = receipts->part;
    wire.last = receipts->is_last;
    wire.log = wire_of_uuid(&receipts->log);
    wire.receipt = wire_of(receipts->receipt);
    wire.n_quarantined = receipts->quarantined_count;
    wire.quarantined = quarantined_fill(receipts->quarantined, receipts->quarantined_count, &scratch);
    wire.quarantined_all = receipts->quarantined_all;
    wire.n_stored_blobs = receipts->stored_blob_count;
    wire.stored_blobs = stored_blobs_fill(receipts->stored_blobs, receipts->stored_blob_count, &scratch);
    wire.n_erasures = receipts->erasure_count;
    wire.erasures = erasures_fill(receipts->erasures, receipts->erasure_count, &scratch);
    return wire_pack(&wire.base, &scratch, EXCHANGE_INFLATED_BYTES_MAX, ret);
}

/* The lists while they are read. */
struct lists {
    struct wire_items quarantined, stored_blobs, erasures;
};

static void read_field(struct wire_reader *reader, struct lists *lists, struct bundle_receipts *ret)
{
    switch (reader->field) {
    case 1:
        wire_exact(reader, ret->bundle, REQUEST_ID_BYTES);
        break;
    case 2:
        wire_uuid(reader, &ret->device);
        break;
    case 3:
        ret->server_time_ms = wire_s64(reader);
        break;
    case 4:
        ret->part = wire_u32(reader);
        break;
    case 5:
        ret->is_last = wire_bool(reader);
        break;
    case 6:
        wire_uuid_or_none(reader, &ret->log);
        break;
    case 7:
        ret->receipt = wire_bytes(reader, NOTE_TEXT_BYTES_MAX);
        break;
    case 8:
        quarantined_read_item(reader, &lists->quarantined);
        break;
    case 9:
        ret->quarantined_all = wire_bool(reader);
        break;
    case 10:
        stored_blobs_read_item(reader, &lists->stored_blobs, BUNDLE_RECEIPTS_BLOBS_MAX);
        break;
    case 11:
        erasures_read_item(reader, &lists->erasures);
        break;
    }
}

int bundle_receipts_decode(struct bytes bytes, struct arena *arena, struct bundle_receipts *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct bundle_receipts receipts = {0};
    struct lists lists = {0};

    while (wire_next(&reader))
        read_field(&reader, &lists, &receipts);
    receipts.quarantined = lists.quarantined.items;
    receipts.quarantined_count = lists.quarantined.count;
    receipts.stored_blobs = lists.stored_blobs.items;
    receipts.stored_blob_count = lists.stored_blobs.count;
    receipts.erasures = lists.erasures.items;
    receipts.erasure_count = lists.erasures.count;
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (!reader.error && (!within_limits(&receipts) || !is_consistent(&receipts)))
        wire_fail(&reader, "a log without its receipt, or a number out of range");
    if (!reader.error)
        *ret = receipts;
    return wire_finish(&reader, NULL);
}
