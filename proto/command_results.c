/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results of commands: see command_results.h.
 */
#include "proto/command_results.h"

bool command_results_within_limits(const struct command_result *results, size_t count)
{
    if (count > EXCHANGE_COMMAND_RESULTS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        if (results[i].problem.len > PROBLEM_BYTES_MAX)
            return false;
    return true;
}

Wire__CommandResult **command_results_fill(
    const struct command_result *results, size_t count, struct arena *scratch)
{
    Wire__CommandResult **list = NULL;
    Wire__CommandResult *wire = wire_list_of_messages(scratch, count, sizeof(*wire), &list);

    for (size_t i = 0; wire && i < count; i++) {
        const struct resync_counts *counts = &results[i].counts;

        wire__command_result__init(&wire[i]);
        wire[i].id = wire_of(bytes_of(results[i].id, COMMAND_ID_BYTES));
        wire[i].outcome = (Wire__CommandResult__Outcome)results[i].outcome;
        wire[i].problem = wire_of(results[i].problem);
        wire[i].records_checked = counts->records_checked;
        wire[i].records_missing = counts->records_missing;
        wire[i].records_damaged = counts->records_damaged;
        wire[i].records_sent_again = counts->records_sent_again;
        wire[i].records_erased = counts->records_erased;
        wire[i].records_lost = counts->records_lost;
        wire[i].records_gone = counts->records_gone;
        wire[i].blobs_checked = counts->blobs_checked;
        wire[i].blobs_missing = counts->blobs_missing;
        wire[i].blobs_sent_again = counts->blobs_sent_again;
        wire[i].blobs_gone = counts->blobs_gone;
        wire[i].blobs_lost = counts->blobs_lost;
    }
    return list;
}

static void read_count(struct wire_reader *reader, struct resync_counts *ret)
{
    switch (reader->field) {
    case 4:
        ret->records_checked = wire_u64(reader);
        break;
    case 5:
        ret->records_missing = wire_u64(reader);
        break;
    case 6:
        ret->records_damaged = wire_u64(reader);
        break;
    case 7:
        ret->records_sent_again = wire_u64(reader);
        break;
    case 8:
        ret->records_erased = wire_u64(reader);
        break;
    case 9:
        ret->records_lost = wire_u64(reader);
        break;
    case 10:
        ret->records_gone = wire_u64(reader);
        break;
    case 11:
        ret->blobs_checked = wire_u64(reader);
        break;
    case 12:
        ret->blobs_missing = wire_u64(reader);
        break;
    case 13:
        ret->blobs_sent_again = wire_u64(reader);
        break;
    case 14:
        ret->blobs_gone = wire_u64(reader);
        break;
    case 15:
        ret->blobs_lost = wire_u64(reader);
        break;
    }
}

void command_results_read_item(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct command_result *item = wire_item(outer, items, sizeof(*item), EXCHANGE_COMMAND_RESULTS_MAX);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, item->id, COMMAND_ID_BYTES);
            break;
        case 2:
            item->outcome =
                (enum command_outcome)wire_enum(&reader, COMMAND_FAILED, "unknown outcome of a command");
            break;
        case 3:
            item->problem = wire_text(&reader, PROBLEM_BYTES_MAX);
            break;
        default:
            read_count(&reader, &item->counts);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1));
    wire_end(outer, &reader);
}
