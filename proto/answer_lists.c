/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists that the centre says: see answer_lists.h.
 */
#include "proto/answer_lists.h"

bool quarantined_within_limits(const struct quarantined *quarantined, size_t count)
{
    if (count > EXCHANGE_QUARANTINED_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (quarantined[i].reason.len > REASON_BYTES_MAX || quarantined[i].seq >= LOG_SIZE_MAX)
            return false;
    return true;
}

Wire__Quarantined **quarantined_fill(
    const struct quarantined *quarantined, size_t count, struct arena *scratch)
{
    Wire__Quarantined **list = NULL;
    Wire__Quarantined *wire = wire_list_of_messages(scratch, count, sizeof(*wire), &list);

    for (size_t i = 0; wire && i < count; i++) {
        wire__quarantined__init(&wire[i]);
        wire[i].seq = quarantined[i].seq;
        wire[i].reason = wire_of(quarantined[i].reason);
    }
    return list;
}

Wire__BlobStored **stored_blobs_fill(const struct blob_stored *blobs, size_t count, struct arena *scratch)
{
    Wire__BlobStored **list = NULL;
    Wire__BlobStored *wire = wire_list_of_messages(scratch, count, sizeof(*wire), &list);

    for (size_t i = 0; wire && i < count; i++) {
        wire__blob_stored__init(&wire[i]);
        wire[i].sha256 = wire_of_sha256(&blobs[i].sha256);
        wire[i].backed_up = blobs[i].backed_up;
    }
    return list;
}

void quarantined_read_item(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct quarantined *item = wire_item(outer, items, sizeof(*item), EXCHANGE_QUARANTINED_MAX);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            item->seq = wire_u64(&reader);
            break;
        case 2:
            item->reason = wire_text(&reader, REASON_BYTES_MAX);
            break;
        }
    wire_end(outer, &reader);
}

void stored_blobs_read_item(struct wire_reader *outer, struct wire_items *items, size_t count_max)
{
    struct wire_reader reader = wire_item_message(outer);
    struct blob_stored *item = wire_item(outer, items, sizeof(*item), count_max);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, item->sha256.b, SHA256_BYTES);
            break;
        case 2:
            item->backed_up = wire_bool(&reader);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1));
    wire_end(outer, &reader);
}
