/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the numbers that `patrol status` and the daemon show. Called by the programs. Nothing is counted row
 * by row but what stands behind the last full tile, so a log of a million records is as quick as one of a
 * thousand.
 */
#include "store/internal.h"

#define DECODE_BUDGET (DECODE_BUDGET_FACTOR * RECORD_BYTES_MAX)

/* 0 when nobody can read the record; -ENOMEM. */
static int read_wall_ms(struct bytes bytes, int64_t *ret)
{
    _cleanup_arena_ struct arena arena;
    struct record record;

    arena_init(&arena, DECODE_BUDGET);
    int r = record_decode(bytes, &arena, &record, NULL);
    if (r == -ENOMEM)
        return r;
    *ret = r < 0 ? 0 : record.wall_ms;
    return 0;
}

/* When the oldest queued record of people in this log was recorded; 0 when there is none. Of one that was
 * erased nobody knows. */
static int read_oldest(struct store *store, const struct log_row *log, int64_t *ret_ms)
{
    static const char sql[] = "SELECT key, kind, leaf, bytes FROM records WHERE key BETWEEN ?1 AND ?2"
                              " AND kind IN " PEOPLE_KINDS " AND bytes <> x'' ORDER BY key LIMIT 1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(log->number, log->receipt_size));
    sqlite3_bind_int64(statement, 2, record_key(log->number, log->end - 1));
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    struct record_row row = {.seq = key_seq(sqlite3_column_int64(statement, 0)),
        .stored_kind = sqlite3_column_int64(statement, 1),
        .bytes = column_bytes(statement, 3)};
    (void)sha256_from_bytes(column_bytes(statement, 2), &row.leaf);
    return read_wall_ms(recorded_of(log, &row).bytes, ret_ms);
}

/* Those that stayed, as they were erased or in quarantine, are here. */
static int add_pruned(struct store *store, const struct log_row *log, struct store_status *status)
{
    static const char sql[] =
        "SELECT count(*) FROM records WHERE key BETWEEN ?1 AND ?2 AND kind IN " PEOPLE_KINDS;
    struct log_sums sums;
    int64_t left = 0;

    /* Behind `end` they are in neither place, as the centre went back: the alarm has said so. */
    uint64_t size = log->pruned_removed < log->end ? log->pruned_removed : log->end;
    int r = log_sums_below(store, log->number, size, &sums);
    if (r >= 0 && size > 0)
        r = database_read_number(
            store, sql, (int64_t[]){record_key(log->number, 0), record_key(log->number, size - 1)}, 2, &left);
    if (r < 0)
        return r;
    status->records_pruned += sums.people > (uint64_t)left ? sums.people - (uint64_t)left : 0;
    return 0;
}

static int add_log(struct store *store, const struct log_row *log, struct store_status *status)
{
    struct log_sums all, sent;

    int r = log_sums_below(store, log->number, log->end, &all);
    if (r < 0)
        return r;
    sent = all;
    if (log->receipt_size < log->end)
        r = log_sums_below(store, log->number, log->receipt_size, &sent);
    if (r < 0)
        return r;
    status->records_sent += sent.people;
    status->records_queued += all.people - sent.people;
    status->record_bytes_pending += all.bytes - sent.bytes;
    if (all.people > sent.people && status->oldest_queued_at_ms == 0)
        r = read_oldest(store, log, &status->oldest_queued_at_ms);
    if (log->receipt_size > 0 && log->receipt_time_s * 1000 > status->receipt_time_ms)
        status->receipt_time_ms = log->receipt_time_s * 1000;
    if (!log->left && log->kind == LOG_FINDINGS) {
        status->has_log = true;
        status->log = log->id;
        status->log_size = log->size;
        status->receipt_size = log->receipt_size;
    }
    status->logs++;
    if (r >= 0 && log->pruned_size > 0)
        r = add_pruned(store, log, status);
    return r;
}

/* What was carried over counts where it stands now. */
static int read_quarantined(struct store *store, uint64_t *ret)
{
    static const char sql[] = "SELECT count(*) FROM quarantined AS q CROSS JOIN records AS r ON r.key = q.key"
                              " CROSS JOIN logs AS l ON l.number = q.key >> 40"
                              " WHERE r.kind IN " PEOPLE_KINDS
                              " AND (l.rehomed_from IS NULL OR (q.key & 1099511627775) < l.rehomed_from)";
    int64_t count = 0;

    int r = database_read_number(store, sql, NULL, 0, &count);
    if (r < 0)
        return r;
    *ret = (uint64_t)count;
    return 0;
}

static int read_blobs(struct store *store, struct store_status *status)
{
    static const char pending[] = "SELECT count(*), sum(size), sum(role) FROM blobs WHERE state = 0";
    static const char lost[] = "SELECT count(*) FROM blobs WHERE state = 4";
    static const char held[] = "SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE state = 1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    int64_t count = 0;

    int r = database_read_number(store, lost, NULL, 0, &count);
    if (r < 0)
        return r;
    status->blobs_lost = (uint64_t)count;
    r = database_prepare(store, pending, &statement);
    if (r >= 0)
        r = database_step(store, statement);
    if (r <= 0)
        return r;
    status->photos_pending = (uint64_t)sqlite3_column_int64(statement, 0);
    status->previews_pending = (uint64_t)sqlite3_column_int64(statement, 2); /* their role is 1 */
    status->bytes_pending = status->record_bytes_pending + (uint64_t)sqlite3_column_int64(statement, 1);
    _cleanup_statement_ sqlite3_stmt *stored = NULL;
    r = database_prepare(store, held, &stored);
    if (r >= 0)
        r = database_step(store, stored);
    if (r <= 0)
        return r;
    status->photos_held = (uint64_t)sqlite3_column_int64(stored, 0);
    status->held_bytes = (uint64_t)sqlite3_column_int64(stored, 1);
    return 0;
}

int store_status(struct store *store, struct store_status *ret)
{
    _cleanup_reading_ struct store *reading = NULL;
    _cleanup_free_ struct log_row *logs = NULL;
    struct store_status status = {0};
    size_t count;

    int r = store_begin_reading(store, &reading);
    if (r >= 0)
        r = logs_read(store, &logs, &count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        r = add_log(store, &logs[i], &status);
        if (r < 0)
            return r;
    }
    r = read_quarantined(store, &status.records_quarantined);
    if (r < 0)
        return r;
    status.records_sent -= status.records_quarantined;
    r = read_blobs(store, &status);
    if (r >= 0)
        r = store->world->verbs->space(store->world->context, store->directory, &status.free_bytes);
    if (r < 0)
        return r;
    *ret = status;
    return 0;
}
