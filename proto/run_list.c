/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of positions: see run_list.h.
 */
#include "proto/run_list.h"

bool run_list_within_limits(const struct run *runs, size_t count, size_t count_max)
{
    uint64_t next = 0;

    if (count > count_max)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (runs[i].count == 0 || runs[i].first < next || runs[i].first > LOG_SIZE_MAX ||
            runs[i].count > LOG_SIZE_MAX - runs[i].first)
            return false;
        next = runs[i].first + runs[i].count;
    }
    return true;
}

uint64_t run_list_total(const struct run *runs, size_t count)
{
    uint64_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += runs[i].count;
    return total;
}

uint64_t *run_list_fill(const struct run *runs, size_t count, struct arena *scratch)
{
    uint64_t *pairs = count > 0 ? arena_alloc(scratch, 2 * count * sizeof(*pairs)) : NULL;
    uint64_t end = 0;

    for (size_t i = 0; pairs && i < count; i++) {
        pairs[2 * i] = runs[i].first - end;
        pairs[2 * i + 1] = runs[i].count;
        end = runs[i].first + runs[i].count;
    }
    return pairs;
}

void run_list_read(
    struct wire_reader *reader, size_t count_max, const struct run **ret_runs, size_t *ret_count)
{
    struct wire_items items = {0};
    struct run *runs;
    uint64_t end = 0;

    _Static_assert(sizeof(*runs) == 2 * sizeof(uint64_t), "a pair of numbers becomes a run in its place");
    wire_packed_u64(reader, &items, 2 * count_max);
    if (items.count % 2 != 0)
        wire_fail(reader, "half a run");
    if (reader->error < 0 || items.count == 0)
        return;
    runs = items.items;
    for (size_t i = 0; i < items.count / 2; i++) {
        if (runs[i].first > LOG_SIZE_MAX - end || runs[i].count == 0 ||
            runs[i].count > LOG_SIZE_MAX - end - runs[i].first) {
            wire_fail(reader, "a run is out of range");
            return;
        }
        runs[i].first += end;
        end = runs[i].first + runs[i].count;
    }
    *ret_runs = runs;
    *ret_count = items.count / 2;
}
