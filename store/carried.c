/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which records were carried over into a later log already. Used by recovery, for logs whose own row,
 * which says so, could not be read: carried over once more they would stand in two logs.
 */
#include "store/internal.h"

static int compare_carried(const void *a_pointer, const void *b_pointer)
{
    const struct carried *a = a_pointer, *b = b_pointer;
    int order = memcmp(a->recorded_at.log.b, b->recorded_at.log.b, UUID_BYTES);

    if (order != 0)
        return order;
    if (a->recorded_at.seq != b->recorded_at.seq)
        return a->recorded_at.seq < b->recorded_at.seq ? -1 : 1;
    return a->holder < b->holder ? -1 : a->holder > b->holder;
}

int carried_read(struct store *store, struct carried_list *ret)
{
    static const char sql[] = "SELECT key, bytes FROM records WHERE kind % 256 = 21";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    _cleanup_buffer_ struct buffer rows = {0};

    static_assert(RECORD_REHOMED == 21 && KIND_INNER_FACTOR == 256, "the statement says the same");
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    while ((r = database_step(store, statement)) > 0) {
        struct carried row = {.holder = key_log_number(sqlite3_column_int64(statement, 0))};
        struct bytes recorded;

        r = rehomed_inner(column_bytes(statement, 1), &row.recorded_at, &recorded);
        if (r == -ENOMEM)
            return r;
        if (r >= 0)
            buffer_put(&rows, &row, sizeof(row));
    }
    if (r >= 0)
        r = buffer_finish(&rows);
    if (r < 0)
        return r;
    ret->rows = (struct carried *)(void *)rows.data;
    ret->count = rows.len / sizeof(struct carried);
    rows = (struct buffer){0}; /* given away */
    if (ret->count > 0)
        qsort(ret->rows, ret->count, sizeof(ret->rows[0]), compare_carried);
    return 0;
}

void carried_done(struct carried_list *list)
{
    free(list->rows);
    *list = (struct carried_list){0};
}

bool carried_into_later(
    const struct carried_list *list, const struct position_in_log *recorded_at, int64_t log_number)
{
    struct carried wanted = {.recorded_at = *recorded_at, .holder = log_number};
    size_t first = 0, end = list->count;

    /* The first row behind `wanted`: the same record in a later log, if it is of the same record. */
    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (compare_carried(&list->rows[middle], &wanted) <= 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first < list->count && uuid_equal(&list->rows[first].recorded_at.log, &recorded_at->log) &&
           list->rows[first].recorded_at.seq == recorded_at->seq;
}
