/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Positions: see positions.h.
 */
#include "proto/positions.h"

bool positions_within_limits(const struct position_in_log *positions, size_t count)
{
    if (count > EXCHANGE_ASKED_QUARANTINED_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (positions[i].seq >= LOG_SIZE_MAX)
            return false;
    return true;
}

Wire__RecordPosition **positions_fill(
    const struct position_in_log *positions, size_t count, struct arena *scratch)
{
    Wire__RecordPosition **list = NULL;
    Wire__RecordPosition *wire = wire_list_of_messages(scratch, count, sizeof(*wire), &list);

    for (size_t i = 0; wire && i < count; i++) {
        wire__record_position__init(&wire[i]);
        wire[i].log = wire_of_uuid(&positions[i].log);
        wire[i].seq = positions[i].seq;
    }
    return list;
}

void positions_read_item(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct position_in_log *item = wire_item(outer, items, sizeof(*item), EXCHANGE_ASKED_QUARANTINED_MAX);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_uuid(&reader, &item->log);
            break;
        case 2:
            item->seq = wire_u64(&reader);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1));
    wire_end(outer, &reader);
}
