/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the first half of salvage: from cells, which may be anything, to rows of the new database. A cell is
 * known by its shape; a record besides by its leaf hash, which nothing but the record's own bytes can have.
 */
#include "store/salvage_rows.h"

#include "base/text.h"

#define SETTING_BYTES_MAX 65536u

static bool is_blob(const struct column *column, size_t len)
{
    return column->type == COLUMN_BLOB && column->bytes.len == len;
}

static bool is_integer(const struct column *column, int64_t min, int64_t max)
{
    return column->type == COLUMN_INTEGER && column->integer >= min && column->integer <= max;
}

static bool is_integer_or_null(const struct column *column, int64_t min, int64_t max)
{
    return column->type == COLUMN_NULL || is_integer(column, min, max);
}

static bool is_record_key(int64_t key)
{
    return key_log_number(key) >= 1 && key_log_number(key) <= LOG_NUMBER_MAX;
}

/* ---- records(key, kind, mark, leaf, bytes) ---- */

static int insert_record(
    struct salvaging *salvaging, int64_t key, int64_t kind, const struct sha256 *leaf, struct bytes bytes)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO records(key, kind, mark, leaf, bytes) VALUES(?1, ?2, ?3, ?4, ?5)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(salvaging->store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    sqlite3_bind_int64(statement, 2, kind);
    sqlite3_bind_int64(statement, 3, record_mark(key, kind, leaf));
    bind_bytes(statement, 4, sha256_bytes(leaf));
    bind_bytes(statement, 5, bytes);
    r = database_step(salvaging->store, statement);
    return r < 0 ? r : 1;
}

/* The bytes are a record's. Whether it stood at this key the mark says; where the key itself is damaged, it
 * may be the one after the row before. */
static int take_record(struct salvaging *salvaging, const struct cell *cell)
{
    const struct column *columns = cell->columns;
    int64_t key = cell->rowid, next_key = salvaging->last_key + 1;

    if (cell->column_count < 5 || columns[0].type != COLUMN_NULL || !is_integer(&columns[1], 0, UINT16_MAX) ||
        !is_integer(&columns[2], 0, UINT32_MAX) || !is_blob(&columns[3], SHA256_BYTES) ||
        columns[4].type != COLUMN_BLOB || columns[4].bytes.len > RECORD_BYTES_MAX)
        return 0;
    struct sha256 leaf = merkle_leaf(columns[4].bytes);
    /* Of one that was erased by order the leaf alone is left, and only the mark speaks for it. */
    if (columns[4].bytes.len == 0)
        memcpy(leaf.b, columns[3].bytes.data, SHA256_BYTES);
    if (memcmp(leaf.b, columns[3].bytes.data, SHA256_BYTES) != 0)
        return 0;
    if (record_mark(key, columns[1].integer, &leaf) != columns[2].integer) {
        if (record_mark(next_key, columns[1].integer, &leaf) != columns[2].integer)
            return 1;
        key = next_key;
    }
    if (!is_record_key(key))
        return 1;
    salvaging->last_key = key;
    return insert_record(salvaging, key, columns[1].integer, &leaf, columns[4].bytes);
}

/* ---- logs(number, id, mark, kind, final_size, rehomed_from, boot_id, receipt_size, receipt_time_s,
 * receipt_note, ids_size)
 */

struct salvaged_log *salvaged_log_of(struct salvaging *salvaging, int64_t number)
{
    struct salvaged_log *logs = (struct salvaged_log *)(void *)salvaging->logs.data;

    for (size_t i = 0; i < salvaging->log_count; i++)
        if (logs[i].number == number)
            return &logs[i];
    struct salvaged_log *log = (struct salvaged_log *)(void *)buffer_extend(&salvaging->logs, sizeof(*log));
    if (!log)
        return NULL;
    *log = (struct salvaged_log){.number = number};
    salvaging->log_count++;
    return log;
}

/* Of several states of a row nobody can tell the last one. A log that was left stays so; and the smaller
 * receipt is the safe one: what it does not cover is sent once more, and known by its id. */
static void merge_log(struct salvaged_log *log, const struct cell *cell)
{
    const struct column *columns = cell->columns;

    log->kind = (enum log_kind)columns[3].integer;
    if (columns[4].type != COLUMN_NULL) {
        log->is_left = true;
        log->final_size = (uint64_t)columns[4].integer;
        log->has_rehomed = log->has_rehomed || columns[5].type != COLUMN_NULL;
        log->rehomed_from = (uint64_t)columns[5].integer;
    }
    if (log->has_id && log->receipt_size <= (uint64_t)columns[7].integer)
        return;
    log->receipt_size = (uint64_t)columns[7].integer;
    log->receipt_time_s = columns[8].integer;
    log->note_len = columns[9].bytes.len;
    if (log->note_len > 0)
        memcpy(log->note, columns[9].bytes.data, log->note_len);
}

static int take_log(struct salvaging *salvaging, const struct cell *cell)
{
    const struct column *columns = cell->columns;

    if (cell->column_count < 11 || cell->rowid < 1 || cell->rowid > LOG_NUMBER_MAX ||
        columns[0].type != COLUMN_NULL || !is_blob(&columns[1], UUID_BYTES) ||
        !is_integer(&columns[2], 0, UINT32_MAX) || !is_integer(&columns[3], LOG_FINDINGS, LOG_TRACKS) ||
        !is_integer_or_null(&columns[4], 0, (int64_t)LOG_SIZE_MAX) ||
        !is_integer_or_null(&columns[5], 0, (int64_t)LOG_SIZE_MAX) ||
        (columns[6].type != COLUMN_NULL && !is_blob(&columns[6], UUID_BYTES)) ||
        !is_integer(&columns[7], 0, (int64_t)LOG_SIZE_MAX) || columns[8].type != COLUMN_INTEGER ||
        (columns[9].type != COLUMN_NULL && columns[9].type != COLUMN_BLOB) ||
        columns[9].bytes.len > NOTE_TEXT_BYTES_MAX)
        return 0;
    struct uuid id;
    (void)uuid_from_bytes(columns[1].bytes, &id);
    if (log_mark(cell->rowid, &id) != columns[2].integer)
        return 1;
    struct salvaged_log *log = salvaged_log_of(salvaging, cell->rowid);
    if (!log)
        return -ENOMEM;
    if (salvaging->fills_gaps && log->is_committed)
        return 1; /* as it was last committed is how it was */
    merge_log(log, cell);
    log->id = id;
    log->has_id = true;
    log->is_committed = !salvaging->fills_gaps;
    return 1;
}

/* ---- quarantined(key, reason) ---- */

static int take_quarantined(struct salvaging *salvaging, const struct cell *cell)
{
    static const char sql[] = "INSERT OR IGNORE INTO quarantined(key, reason) VALUES(?1, ?2)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    struct bytes reason = cell->columns[1].bytes;

    if (cell->column_count < 2 || !is_record_key(cell->rowid) || cell->columns[0].type != COLUMN_NULL ||
        cell->columns[1].type != COLUMN_TEXT || reason.len > REASON_BYTES_MAX || !text_is_utf8(reason))
        return 0;
    int r = database_prepare(salvaging->store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, cell->rowid);
    sqlite3_bind_text64(
        statement, 2, reason.len ? (const char *)reason.data : "", reason.len, SQLITE_STATIC, SQLITE_UTF8);
    r = database_step(salvaging->store, statement);
    return r < 0 ? r : 1;
}

/* ---- blobs(number, sha256, size, role, state, urgent, record, stored_ms) ---- */

static int take_blob(struct salvaging *salvaging, const struct cell *cell)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO blobs(sha256, size, role, state, urgent, record, stored_ms, number)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    const struct column *columns = cell->columns;

    if (cell->column_count < 8 || cell->rowid < 1 || columns[0].type != COLUMN_NULL ||
        !is_blob(&columns[1], SHA256_BYTES) || !is_integer(&columns[2], 1, BLOB_BYTES_MAX) ||
        !is_integer(&columns[3], BLOB_PHOTO, BLOB_PREVIEW) ||
        !is_integer(&columns[4], BLOB_PENDING, BLOB_STATE_LOST) || !is_integer(&columns[5], 0, 1) ||
        columns[6].type != COLUMN_INTEGER || !is_record_key(columns[6].integer) ||
        !is_integer_or_null(&columns[7], INT64_MIN, INT64_MAX))
        return 0;
    int r = database_prepare(salvaging->store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, columns[1].bytes);
    for (int i = 2; i <= 7; i++)
        if (columns[i].type == COLUMN_INTEGER)
            sqlite3_bind_int64(statement, i, columns[i].integer);
    sqlite3_bind_int64(statement, 8, cell->rowid);
    r = database_step(salvaging->store, statement);
    return r < 0 ? r : 1;
}

/* ---- erased(key, order_number, order_ms, first_seq, first_log, first_leaf) ---- */

static int take_erased(struct salvaging *salvaging, const struct cell *cell)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO erased(key, order_number, order_ms, first_seq, first_log, first_leaf)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    const struct column *columns = cell->columns;

    if (cell->column_count < 6 || !is_record_key(cell->rowid) || columns[0].type != COLUMN_NULL ||
        !is_integer(&columns[1], 1, INT64_MAX) || columns[2].type != COLUMN_INTEGER ||
        !is_integer(&columns[3], 0, (int64_t)SEQ_MAX) || !is_blob(&columns[4], UUID_BYTES) ||
        !is_blob(&columns[5], SHA256_BYTES))
        return 0;
    int r = database_prepare(salvaging->store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, cell->rowid);
    for (int i = 1; i <= 3; i++)
        sqlite3_bind_int64(statement, i + 1, columns[i].integer);
    bind_bytes(statement, 5, columns[4].bytes);
    bind_bytes(statement, 6, columns[5].bytes);
    r = database_step(salvaging->store, statement);
    return r < 0 ? r : 1;
}

/* ---- pruned(log, size, removed, told_ms) ---- */

/* Once there a row stays as it is, but for `removed`. What it says must fit its log: salvage.c. */
static int take_pruned(struct salvaging *salvaging, const struct cell *cell)
{
    const struct column *columns = cell->columns;

    if (cell->column_count < 4 || cell->rowid < 1 || cell->rowid > LOG_NUMBER_MAX ||
        columns[0].type != COLUMN_NULL || !is_integer(&columns[1], TILE_LEAVES, (int64_t)LOG_SIZE_MAX) ||
        !is_integer(&columns[2], 0, columns[1].integer) || columns[3].type != COLUMN_INTEGER)
        return 0;
    struct salvaged_log *log = salvaged_log_of(salvaging, cell->rowid);
    if (!log)
        return -ENOMEM;
    log->pruned_size = (uint64_t)columns[1].integer;
    log->pruned_removed = (uint64_t)columns[2].integer;
    log->pruned_ms = columns[3].integer;
    return 1;
}

/* ---- tiles(key, root, frontier, people, bytes) ---- */

/* Of what was pruned the tiles are all that is left; the others are made anew: salvage.c. */
static int take_tile(struct salvaging *salvaging, const struct cell *cell)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO tiles(key, root, frontier, people, bytes) VALUES(?1, ?2, ?3, ?4, ?5)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    const struct column *columns = cell->columns;

    if (cell->column_count < 5 || columns[0].type != COLUMN_NULL || !is_blob(&columns[1], SHA256_BYTES) ||
        columns[2].type != COLUMN_BLOB || columns[2].bytes.len == 0 ||
        columns[2].bytes.len > MERKLE_DEPTH_MAX * SHA256_BYTES || !is_integer(&columns[3], 0, INT64_MAX) ||
        !is_integer(&columns[4], 0, INT64_MAX))
        return 0;
    int r = database_prepare(salvaging->store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, cell->rowid);
    bind_bytes(statement, 2, columns[1].bytes);
    bind_bytes(statement, 3, columns[2].bytes);
    sqlite3_bind_int64(statement, 4, columns[3].integer);
    sqlite3_bind_int64(statement, 5, columns[4].integer);
    r = database_step(salvaging->store, statement);
    return r < 0 ? r : 1;
}

/* ---- settings(key, value), WITHOUT ROWID ---- */

static int take_setting(struct salvaging *salvaging, const struct cell *cell)
{
    static const char sql[] = "INSERT OR IGNORE INTO settings(key, value) VALUES(?1, ?2)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    const struct column *columns = cell->columns;

    if (cell->column_count != 2 || columns[0].type != COLUMN_TEXT || !text_is_utf8(columns[0].bytes) ||
        columns[0].bytes.len == 0 || columns[1].type != COLUMN_BLOB ||
        columns[1].bytes.len > SETTING_BYTES_MAX)
        return 0;
    int r = database_prepare(salvaging->store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_text64(
        statement, 1, (const char *)columns[0].bytes.data, columns[0].bytes.len, SQLITE_STATIC, SQLITE_UTF8);
    bind_bytes(statement, 2, columns[1].bytes);
    r = database_step(salvaging->store, statement);
    return r < 0 ? r : 1;
}

/* ---- children(log, seq, child), WITHOUT ROWID ---- */

/* They are made anew of the records that are there; of those that were pruned nothing else speaks: salvage.c.
 */
static int take_child(struct salvaging *salvaging, const struct cell *cell)
{
    static const char sql[] = "INSERT OR IGNORE INTO children(log, seq, child) VALUES(?1, ?2, ?3)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    const struct column *columns = cell->columns;

    if (cell->column_count != 3 || !is_blob(&columns[0], UUID_BYTES) ||
        !is_integer(&columns[1], 0, (int64_t)SEQ_MAX) || !is_integer(&columns[2], INT64_MIN, INT64_MAX) ||
        !is_record_key(columns[2].integer))
        return 0;
    int r = database_prepare(salvaging->store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, columns[0].bytes);
    sqlite3_bind_int64(statement, 2, columns[1].integer);
    sqlite3_bind_int64(statement, 3, columns[2].integer);
    r = database_step(salvaging->store, statement);
    return r < 0 ? r : 1;
}

static int take_cell(void *user, const struct cell *cell)
{
    static int (*const takers[])(struct salvaging * salvaging, const struct cell *cell) = {
        take_record, take_log, take_blob, take_erased, take_quarantined, take_tile, take_pruned};
    struct salvaging *salvaging = user;

    if (!cell->has_rowid) {
        int r = take_setting(salvaging, cell);
        return r != 0 ? r : take_child(salvaging, cell);
    }
    for (size_t i = 0; i < ARRAY_LEN(takers); i++) {
        int r = takers[i](salvaging, cell);
        if (r != 0)
            return r;
    }
    return 0;
}

int salvage_rows(struct salvaging *salvaging, struct damaged_image *image)
{
    /* What was last committed first: whatever else there is only fills gaps. */
    int r = damaged_image_each(image, take_cell, salvaging);

    salvaging->fills_gaps = true;
    return r < 0 ? r : damaged_image_each_other(image, take_cell, salvaging);
}
