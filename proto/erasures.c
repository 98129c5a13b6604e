/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Erasure orders in messages: see erasures.h.
 */
#include "proto/erasures.h"

bool erasures_within_limits(const struct erasure_order *orders, size_t count)
{
    size_t entries = 0;
    uint64_t last = 0;

    for (size_t i = 0; i < count; i++) {
        const struct erasure_order *order = &orders[i];

        if (order->number <= last || order->record_count > ORDER_ENTRIES_MAX ||
            order->blob_count > ORDER_ENTRIES_MAX)
            return false;
        last = order->number;
        entries += order->record_count + order->blob_count;
        for (size_t k = 0; k < order->record_count; k++)
            if (order->records[k].at.seq >= LOG_SIZE_MAX)
                return false;
    }
    return count <= ORDER_ENTRIES_MAX && entries <= ORDER_ENTRIES_MAX;
}

static void fill_records(const struct erasure_order *order, struct arena *scratch, Wire__ErasureOrder *ret)
{
    Wire__ErasedRecord *wire =
        wire_list_of_messages(scratch, order->record_count, sizeof(*wire), &ret->records);

    for (size_t i = 0; wire && i < order->record_count; i++) {
        wire__erased_record__init(&wire[i]);
        wire[i].log = wire_of_uuid(&order->records[i].at.log);
        wire[i].seq = order->records[i].at.seq;
        wire[i].leaf = wire_of_sha256(&order->records[i].leaf);
    }
    ret->n_records = order->record_count;
}

Wire__ErasureOrder **erasures_fill(const struct erasure_order *orders, size_t count, struct arena *scratch)
{
    Wire__ErasureOrder **list = NULL;
    Wire__ErasureOrder *wire = wire_list_of_messages(scratch, count, sizeof(*wire), &list);

    for (size_t i = 0; wire && i < count; i++) {
        wire__erasure_order__init(&wire[i]);
        wire[i].number = orders[i].number;
        wire[i].time_ms = orders[i].time_ms;
        fill_records(&orders[i], scratch, &wire[i]);
        wire[i].n_blobs = orders[i].blob_count;
        wire[i].blobs = wire_list_of_sha256(scratch, orders[i].blobs, orders[i].blob_count);
    }
    return list;
}

static void read_record(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct erased_record *item = wire_item(outer, items, sizeof(*item), ORDER_ENTRIES_MAX);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_uuid(&reader, &item->at.log);
            break;
        case 2:
            item->at.seq = wire_u64(&reader);
            break;
        case 3:
            wire_exact(&reader, item->leaf.b, SHA256_BYTES);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(3));
    wire_end(outer, &reader);
}

void erasures_read_item(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct erasure_order *item = wire_item(outer, items, sizeof(*item), ORDER_ENTRIES_MAX);
    struct wire_items records = {0}, blobs = {0};

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            item->number = wire_u64(&reader);
            break;
        case 2:
            item->time_ms = wire_s64(&reader);
            break;
        case 3:
            read_record(&reader, &records);
            break;
        case 4:
            wire_item_sha256(&reader, &blobs, ORDER_ENTRIES_MAX);
            break;
        }
    item->records = records.items;
    item->record_count = records.count;
    item->blobs = blobs.items;
    item->blob_count = blobs.count;
    wire_demand(&reader, WIRE_FIELD(1));
    wire_end(outer, &reader);
}
