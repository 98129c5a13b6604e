/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs, records and tiles in the SQLite storage: the hot path of ingest. See storage.h.
 */
#include "server/storage/sqlite_internal.h"

#include <errno.h>

static int read_log(sqlite3_stmt *statement, struct stored_log *ret)
{
    ret->number = sqlite_number(statement, 0);
    (void)sqlite_exact(statement, 1, ret->id.b, UUID_BYTES);
    ret->device = sqlite_number(statement, 2);
    ret->kind = (enum log_kind)sqlite_number(statement, 3);
    ret->is_closed = sqlite_number(statement, 4) != 0;
    ret->has_rehomed = sqlite_number(statement, 5) != 0;
    return merkle_frontier_decode(sqlite_number(statement, 6), sqlite_bytes(statement, 7), &ret->frontier) < 0
               ? -EUCLEAN
               : 0;
}

static int one_log(sqlite3_stmt *statement, struct stored_log *ret)
{
    int r = sqlite_step(statement);

    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    r = read_log(statement, ret);
    sqlite3_reset(statement);
    return r;
}

int sqlite_log_find(struct storage *storage, const struct uuid *id, struct stored_log *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOG_FIND, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(id));
    return one_log(statement, ret);
}

int sqlite_log_at(struct storage *storage, uint64_t number, struct stored_log *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOG_AT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, number);
    return one_log(statement, ret);
}

int sqlite_log_open(struct storage *storage, struct stored_log *log)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOG_OPEN, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(&log->id));
    sqlite_bind_number(statement, 2, log->device);
    sqlite_bind_number(statement, 3, (uint64_t)log->kind);
    sqlite_bind_number(statement, 4, log->has_rehomed);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -EIO;
    log->number = sqlite_number(statement, 0);
    sqlite3_reset(statement);
    return log->number > STORAGE_LOG_NUMBER_MAX ? -ENOSPC : 0;
}

int sqlite_log_note(struct storage *storage, uint64_t log, struct buffer *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOG_NOTE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, log);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    buffer_put_bytes(ret, sqlite_bytes(statement, 0));
    sqlite3_reset(statement);
    return buffer_finish(ret);
}

int sqlite_log_advance(struct storage *storage, const struct stored_log *log, struct bytes note)
{
    uint8_t frontier[MERKLE_DEPTH_MAX * SHA256_BYTES];
    size_t len = merkle_frontier_encode(&log->frontier, frontier);
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOG_ADVANCE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, log->number);
    sqlite_bind_number(statement, 2, log->frontier.size);
    sqlite_bind_bytes(statement, 3, bytes_of(frontier, len));
    sqlite_bind_bytes(statement, 4, note);
    return sqlite_run(statement);
}

int sqlite_log_set_flags(struct storage *storage, const struct stored_log *log)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOG_FLAGS, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, log->number);
    sqlite_bind_number(statement, 2, (uint64_t)log->kind);
    sqlite_bind_number(statement, 3, log->is_closed);
    sqlite_bind_number(statement, 4, log->has_rehomed);
    return sqlite_run(statement);
}

int sqlite_log_backed_up(struct storage *storage, uint64_t log, struct log_backed_up *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOG_BACKED_UP, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, log);
    r = sqlite_step(statement);
    if (r <= 0)
        return r;
    ret->size = sqlite_number(statement, 0);
    r = sqlite_exact(statement, 1, ret->root.b, SHA256_BYTES) ? 1 : -EUCLEAN;
    sqlite3_reset(statement);
    return r;
}

int sqlite_log_set_backed_up(struct storage *storage, uint64_t log, const struct log_backed_up *backed_up)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_SET_LOG_BACKED_UP, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, log);
    sqlite_bind_number(statement, 2, backed_up->size);
    sqlite_bind_bytes(statement, 3, sha256_bytes(&backed_up->root));
    return sqlite_run(statement);
}

int sqlite_backups_forget(struct storage *storage)
{
    int code = sqlite3_exec(sqlite_of(storage)->db, sqlite_backups_forget_text, NULL, NULL, NULL);

    return code == SQLITE_OK ? 0 : sqlite_errno(code);
}

int sqlite_logs_each(
    struct storage *storage, int (*each)(void *user, const struct stored_log *log), void *user)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_LOGS, &r);

    if (!statement)
        return r;
    while ((r = sqlite_step(statement)) == 1) {
        struct stored_log log;

        r = read_log(statement, &log);
        if (r >= 0)
            r = each(user, &log);
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

/* ---- records ---- */

static int write_record(sqlite3_stmt *statement, const struct stored_record *row)
{
    sqlite_bind_number(statement, 1, row->key);
    sqlite_bind_number(statement, 2, row->arrival);
    sqlite_bind_signed(statement, 3, row->received_ms);
    sqlite_bind_number(statement, 4, (uint64_t)row->state);
    if (row->has_leaf)
        sqlite_bind_bytes(statement, 5, sha256_bytes(&row->leaf));
    else
        (void)sqlite3_bind_null(statement, 5);
    if (row->has_bytes)
        sqlite_bind_bytes(statement, 6, row->bytes);
    else
        (void)sqlite3_bind_null(statement, 6);
    return sqlite_run(statement);
}

int sqlite_record_put(struct storage *storage, const struct stored_record *row)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_RECORD_PUT, &r);

    return statement ? write_record(statement, row) : r;
}

static void read_record(sqlite3_stmt *statement, bool with_bytes, struct stored_record *ret)
{
    ret->key = sqlite_number(statement, 0);
    ret->arrival = sqlite_number(statement, 1);
    ret->received_ms = sqlite3_column_int64(statement, 2);
    ret->state = (enum stored_record_state)sqlite_number(statement, 3);
    ret->has_leaf = sqlite_exact(statement, 4, ret->leaf.b, SHA256_BYTES);
    ret->has_bytes = with_bytes && sqlite3_column_type(statement, 5) != SQLITE_NULL;
    ret->bytes = ret->has_bytes ? sqlite_bytes(statement, 5) : bytes_of(NULL, 0);
}

int sqlite_record_at(
    struct storage *storage, uint64_t key, struct buffer *ret_bytes, struct stored_record *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_RECORD_AT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, key);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    read_record(statement, ret_bytes != NULL, ret);
    if (ret_bytes) {
        size_t start = ret_bytes->len;

        buffer_put_bytes(ret_bytes, ret->bytes);
        r = buffer_finish(ret_bytes);
        ret->bytes = r < 0 || ret->bytes.len == 0 ? bytes_of(NULL, 0)
                                                  : bytes_of(ret_bytes->data + start, ret->bytes.len);
    }
    sqlite3_reset(statement);
    return r < 0 ? r : 0;
}

int sqlite_records_each(struct storage *storage, uint64_t first_key, uint64_t end_key, bool with_bytes,
    int (*each)(void *user, const struct stored_record *record), void *user)
{
    int r = 0;
    sqlite3_stmt *statement =
        sqlite_statement(sqlite_of(storage), with_bytes ? SQL_RECORDS_BYTES : SQL_RECORDS, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, first_key);
    sqlite_bind_number(statement, 2, end_key);
    while ((r = sqlite_step(statement)) == 1) {
        struct stored_record record;

        read_record(statement, with_bytes, &record);
        r = each(user, &record);
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

/* ---- tiles: a log's tile t is kept under record_key(log, t) ---- */

int sqlite_tiles_put(
    struct storage *storage, uint64_t log, uint64_t first, const struct sha256 *roots, size_t count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_TILE_PUT, &r);

    if (!statement)
        return r;
    for (size_t i = 0; r == 0 && i < count; i++) {
        sqlite_bind_number(statement, 1, record_key(log, first + i));
        sqlite_bind_bytes(statement, 2, sha256_bytes(&roots[i]));
        r = sqlite_run(statement);
    }
    return r;
}

int sqlite_tiles(
    struct storage *storage, uint64_t log, uint64_t first, size_t count, struct sha256 *ret, bool *ret_known)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_TILES, &r);

    if (!statement)
        return r;
    for (size_t i = 0; i < count; i++)
        ret_known[i] = false;
    sqlite_bind_number(statement, 1, record_key(log, first));
    sqlite_bind_number(statement, 2, record_key(log, first + count));
    while ((r = sqlite_step(statement)) == 1) {
        size_t i = (size_t)(record_key_seq(sqlite_number(statement, 0)) - first);

        ret_known[i] = sqlite_exact(statement, 1, ret[i].b, SHA256_BYTES);
    }
    return r;
}
