/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the way from a public id to its record. Called by the programs through store_find; the daemon may
 * build the index when it has nothing else to do.
 *
 * Public ids are as good as random, so an index over them, kept up to date, would dirty a page of its own for
 * every record. It is built behind instead, one segment of 16384 records at a time, sorted: always at the
 * right end of the table. A lookup asks each segment, and computes the ids of what is behind the last one.
 */
#include "store/internal.h"

#define SEGMENT_BITS 14u
#define SEGMENT_RECORDS (UINT64_C(1) << SEGMENT_BITS)

struct id_row {
    int64_t prefix;
    int64_t key;
};

static int64_t prefix_of(const struct uuid *id)
{
    struct cursor cursor = cursor_of(uuid_bytes(id));

    return (int64_t)cursor_u64be(&cursor);
}

static int64_t segment_of(const struct log_row *log, uint64_t seq)
{
    return log->number << (SEQ_BITS - SEGMENT_BITS) | (int64_t)(seq >> SEGMENT_BITS);
}

/* Calls `each` with the public id of every record first .. end - 1; stops when it returns non-zero. */
static int each_id(struct store *store, const struct log_row *log, uint64_t first, uint64_t end,
    int (*each)(void *user, int64_t key, const struct uuid *id), void *user)
{
    /* The bytes are needed for a re-homed record only. */
    static const char sql[] = "SELECT key, kind, leaf, CASE WHEN kind % 256 = 21 THEN bytes END FROM records"
                              " WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    static_assert(RECORD_REHOMED == 21 && KIND_INNER_FACTOR == 256, "the statement says the same");
    if (first >= end)
        return 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(log->number, first));
    sqlite3_bind_int64(statement, 2, record_key(log->number, end - 1));
    while ((r = database_step(store, statement)) > 0) {
        struct record_row row = {.seq = key_seq(sqlite3_column_int64(statement, 0)),
            .stored_kind = sqlite3_column_int64(statement, 1),
            .bytes = column_bytes(statement, 3)};

        if (sha256_from_bytes(column_bytes(statement, 2), &row.leaf) < 0)
            continue;
        /* A re-homed one that was erased: its first id is kept aside. */
        if (row.stored_kind % KIND_INNER_FACTOR == RECORD_REHOMED && row.bytes.len == 0) {
            r = erased_look(store, log, &row);
            if (r < 0)
                return r;
        }
        struct recorded recorded = recorded_of(log, &row);
        r = each(user, record_key(log->number, row.seq), &recorded.id);
        if (r != 0)
            return r;
    }
    return r;
}

/* ---- building ---- */

struct indexing {
    int64_t number;
    struct id_row rows[SEGMENT_RECORDS];
    size_t count;
};

static int note_id(void *user, int64_t key, const struct uuid *id)
{
    struct indexing *indexing = user;

    if (indexing->count < SEGMENT_RECORDS)
        indexing->rows[indexing->count++] = (struct id_row){.prefix = prefix_of(id), .key = key};
    return 0;
}

static int compare_rows(const void *a_pointer, const void *b_pointer)
{
    const struct id_row *a = a_pointer, *b = b_pointer;

    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    return a->key < b->key ? -1 : a->key > b->key;
}

static int insert_ids(struct store *store, int64_t segment, const struct id_row *rows, size_t count)
{
    static const char sql[] = "INSERT OR IGNORE INTO ids(segment, prefix, key) VALUES(?1, ?2, ?3)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    for (size_t i = 0; r >= 0 && i < count; i++) {
        sqlite3_bind_int64(statement, 1, segment);
        sqlite3_bind_int64(statement, 2, rows[i].prefix);
        sqlite3_bind_int64(statement, 3, rows[i].key);
        r = database_step(store, statement);
        sqlite3_reset(statement);
    }
    return r;
}

static int set_ids_size(struct store *store, int64_t number, uint64_t size)
{
    static const char sql[] = "UPDATE logs SET ids_size = ?2 WHERE number = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, number);
    bind_u64(statement, 2, size);
    return database_step(store, statement);
}

static int index_segment(struct store *store, void *user)
{
    struct indexing *indexing = user;
    struct log_row log;

    /* Read again: another program may have built it meanwhile. */
    int r = log_find_number(store, indexing->number, &log);
    if (r < 0)
        return r;
    uint64_t first = log.ids_size;
    if (log.size < first + SEGMENT_RECORDS)
        return 0;
    indexing->count = 0;
    r = each_id(store, &log, first, first + SEGMENT_RECORDS, note_id, indexing);
    if (r < 0)
        return r;
    qsort(indexing->rows, indexing->count, sizeof(indexing->rows[0]), compare_rows);
    r = insert_ids(store, segment_of(&log, first), indexing->rows, indexing->count);
    return r < 0 ? r : set_ids_size(store, log.number, first + SEGMENT_RECORDS);
}

int store_index_ids(struct store *store)
{
    _cleanup_free_ struct log_row *logs = NULL;
    _cleanup_free_ struct indexing *indexing = NULL;
    size_t count;

    int r = logs_read(store, &logs, &count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        for (; logs[i].size >= logs[i].ids_size + SEGMENT_RECORDS; logs[i].ids_size += SEGMENT_RECORDS) {
            if (!indexing)
                indexing = malloc(sizeof(*indexing));
            if (!indexing)
                return -ENOMEM;
            indexing->number = logs[i].number;
            r = store_transact(store, index_segment, indexing);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int ids_forget(struct store *store, int64_t log_number, uint64_t first, uint64_t end)
{
    static const char sql[] = "DELETE FROM ids WHERE segment BETWEEN ?1 AND ?2"
                              " AND NOT EXISTS (SELECT 1 FROM records WHERE records.key = ids.key)";
    const struct log_row log = {.number = log_number};
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, segment_of(&log, first));
    sqlite3_bind_int64(statement, 2, segment_of(&log, end - 1));
    return database_step(store, statement);
}

/* ---- finding ---- */

struct search {
    struct store *store;
    const struct log_row *log;
    const struct uuid *id;
    struct buffer *bytes;
    struct store_record *record;
    bool found; /* maybe a record that was carried over: the one that carries it now is better */
};

/* A row that may be it: reads and compares. */
static int try_row(struct search *search, int64_t key)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    struct store_record record;

    int r = store_read_row(search->store, search->log, key_seq(key), &bytes, &record);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!uuid_equal(&record.id, search->id) || (search->found && record.carried_over))
        return 0;
    buffer_done(search->bytes);
    *search->bytes = bytes;
    bytes = (struct buffer){0};
    *search->record = record;
    search->found = true;
    return record.carried_over ? 0 : 1;
}

static int compare_id(void *user, int64_t key, const struct uuid *id)
{
    struct search *search = user;

    return uuid_equal(id, search->id) ? try_row(search, key) : 0;
}

static int search_segment(struct search *search, int64_t segment)
{
    static const char sql[] = "SELECT key FROM ids WHERE segment = ?1 AND prefix = ?2";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(search->store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, segment);
    sqlite3_bind_int64(statement, 2, prefix_of(search->id));
    while ((r = database_step(search->store, statement)) > 0) {
        r = try_row(search, sqlite3_column_int64(statement, 0));
        if (r != 0)
            return r;
    }
    return r;
}

static int search_log(struct search *search)
{
    const struct log_row *log = search->log;

    int r = each_id(search->store, log, log->ids_size, log->size, compare_id, search);
    for (uint64_t end = log->ids_size; r == 0 && end > 0; end -= SEGMENT_RECORDS)
        r = search_segment(search, segment_of(log, end - SEGMENT_RECORDS));
    return r;
}

int store_find(struct store *store, const struct uuid *id, struct buffer *ret_bytes, struct store_record *ret)
{
    _cleanup_free_ struct log_row *logs = NULL;
    _cleanup_buffer_ struct buffer bytes = {0};
    struct store_record record;
    struct search search = {.store = store, .id = id, .bytes = &bytes, .record = &record};
    size_t count;
    int r = 0;

    if (store->role != STORE_READER) {
        r = store_index_ids(store);
        /* Without an index it is slower, that is all. */
        if (r < 0 && r != -EBUSY && r != -ENOSPC)
            return r;
    }
    r = logs_read(store, &logs, &count);
    for (size_t i = count; r == 0 && i > 0; i--) {
        search.log = &logs[i - 1];
        r = search_log(&search);
    }
    if (r < 0)
        return r;
    if (!search.found)
        return -ENOENT;
    buffer_done(ret_bytes);
    *ret_bytes = bytes;
    bytes = (struct buffer){0};
    *ret = record;
    return 0;
}
