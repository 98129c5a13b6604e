/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns pruning: see store.h. Called by syncd, which has checked the centre's signature.
 *
 *   mark        one transaction: from now on nobody expects the records to be here
 *   remove      in small transactions, each of which notes how far it has come
 *   stop        the centre has gone back: what is still there stays
 *
 * Broken off anywhere it goes on at the next look. Rows of the last, unfinished tile are never touched.
 */
#include "store/internal.h"

#define REMOVE_AT_ONCE 2048u /* positions in a transaction: a collector waits for it */
#define REMOVE_STEPS_MAX 8u  /* transactions in one go: the daemon does nothing else meanwhile */

static int run_between(struct store *store, const char *sql, int64_t first, int64_t last)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, first);
    sqlite3_bind_int64(statement, 2, last);
    return database_step(store, statement);
}

/* ---- which log ---- */

/* 1 while a photo that a record of this log was the first to name is still to be sent, or waits for its
 * backup or its age: nobody could say any more whose it is. */
static int has_photos(struct store *store, const struct log_row *log)
{
    static const char sql[] = "SELECT 1 FROM blobs WHERE state = 0 AND record BETWEEN ?1 AND ?2 UNION ALL"
                              " SELECT 1 FROM blobs WHERE state = 1 AND record BETWEEN ?1 AND ?2 LIMIT 1";
    int64_t one;

    return database_read_number(
        store, sql, (int64_t[]){record_key(log->number, 0), record_key(log->number, SEQ_MAX)}, 2, &one);
}

/* One that was left with its rest carried over was not closed, and stays; one that is shorter than a tile has
 * nothing to give. */
static bool is_considered(const struct log_row *log)
{
    return log->left && !log->has_rehomed && log->pruned_size == 0 && log->size >= TILE_LEAVES;
}

static bool is_old(const struct log_row *log, int64_t now_ms, uint64_t age_ms)
{
    int64_t receipt_ms = log->receipt_time_s * 1000;

    return now_ms >= receipt_ms && (uint64_t)(now_ms - receipt_ms) >= age_ms;
}

/* The oldest first, and no other before it. */
static int find_prunable(struct store *store, int64_t now_ms, uint64_t age_ms, struct log_row *ret)
{
    _cleanup_free_ struct log_row *logs = NULL;
    size_t count, i = 0;

    int r = logs_read(store, &logs, &count);
    if (r < 0)
        return r;
    while (i < count && !is_considered(&logs[i]))
        i++;
    if (i == count || logs[i].receipt_size < logs[i].size || !is_old(&logs[i], now_ms, age_ms))
        return -ENOENT;
    r = has_photos(store, &logs[i]);
    if (r != 0)
        return r < 0 ? r : -ENOENT;
    *ret = logs[i];
    return 0;
}

int store_prunable(struct store *store, int64_t now_ms, uint64_t age_ms, struct uuid *ret_log)
{
    struct log_row log;

    int r = find_prunable(store, now_ms, age_ms, &log);
    if (r < 0)
        return r;
    *ret_log = log.id;
    return 0;
}

/* ---- marking ---- */

int pruned_put(struct store *store, int64_t log_number, uint64_t size, uint64_t removed, int64_t told_ms)
{
    static const char sql[] = "INSERT INTO pruned(log, size, removed, told_ms) VALUES(?1, ?2, ?3, ?4)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = schema_note_pruned(store);
    if (r >= 0)
        r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, log_number);
    bind_u64(statement, 2, size);
    bind_u64(statement, 3, removed);
    sqlite3_bind_int64(statement, 4, told_ms);
    return database_step(store, statement);
}

struct marking {
    const struct uuid *log;
    uint64_t size;
    const struct sha256 *root;
    int64_t now_ms;
    uint64_t age_ms;
};

static int mark(struct store *store, void *user)
{
    const struct marking *marking = user;
    struct log_row log;
    struct sha256 root;

    int r = find_prunable(store, marking->now_ms, marking->age_ms, &log);
    if (r < 0)
        return r;
    if (!uuid_equal(&log.id, marking->log))
        return -ENOENT;
    r = log_root_expected(store, &log, log.size, &root);
    if (r < 0)
        return r;
    if (marking->size != log.size || !sha256_equal(&root, marking->root))
        return -EBADMSG;
    return pruned_put(store, log.number, log.size - log.size % TILE_LEAVES, 0, marking->now_ms);
}

int store_prune(struct store *store, const struct uuid *log, uint64_t size, const struct sha256 *root,
    int64_t now_ms, uint64_t age_ms)
{
    struct marking marking = {.log = log, .size = size, .root = root, .now_ms = now_ms, .age_ms = age_ms};

    return store_transact(store, mark, &marking);
}

/* ---- removing ---- */

struct removing {
    bool is_done;
};

/* Where the next piece begins and where all of it ends. 1, or 0: nothing is left to be removed. */
static int next_piece(struct store *store, int64_t *ret_log, uint64_t *ret_first, uint64_t *ret_size)
{
    static const char sql[] = "SELECT log, removed, size FROM pruned WHERE removed < size LIMIT 1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r >= 0)
        r = database_step(store, statement);
    if (r <= 0)
        return r;
    *ret_log = sqlite3_column_int64(statement, 0);
    *ret_first = (uint64_t)sqlite3_column_int64(statement, 1);
    *ret_size = (uint64_t)sqlite3_column_int64(statement, 2);
    return 1;
}

/* What came after these records: all of it stands behind them, in this log or a later one. */
static int forget_children(struct store *store, int64_t log_number, uint64_t first, uint64_t end)
{
    static const char sql[] = "DELETE FROM children WHERE log = (SELECT id FROM logs WHERE number = ?1)"
                              " AND seq BETWEEN ?2 AND ?3"
                              " AND NOT EXISTS (SELECT 1 FROM records WHERE key = ?1 << 40 | seq)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, log_number);
    bind_u64(statement, 2, first);
    bind_u64(statement, 3, end - 1);
    return database_step(store, statement);
}

static int remove_piece(struct store *store, void *user)
{
    static const char records[] = "DELETE FROM records WHERE key BETWEEN ?1 AND ?2 AND length(bytes) > 0"
                                  " AND key NOT IN (SELECT key FROM quarantined)";
    static const char removed[] = "UPDATE pruned SET removed = ?2 WHERE log = ?1";
    struct removing *removing = user;
    uint64_t first, size;
    int64_t log;

    int r = next_piece(store, &log, &first, &size);
    removing->is_done = r == 0;
    if (r <= 0)
        return r;
    uint64_t end = size - first > REMOVE_AT_ONCE ? first + REMOVE_AT_ONCE : size;
    r = run_between(store, records, record_key(log, first), record_key(log, end - 1));
    if (r >= 0)
        r = forget_children(store, log, first, end);
    if (r >= 0)
        r = ids_forget(store, log, first, end);
    return r < 0 ? r : run_between(store, removed, log, (int64_t)end);
}

int store_prune_some(struct store *store, bool *ret_more)
{
    struct removing removing = {0};
    uint64_t first, size;
    int64_t log;

    int r = next_piece(store, &log, &first, &size);
    removing.is_done = r == 0;
    for (unsigned i = 0; r >= 0 && !removing.is_done && i < REMOVE_STEPS_MAX; i++)
        r = store_transact(store, remove_piece, &removing);
    if (r < 0)
        return r;
    *ret_more = !removing.is_done;
    return 0;
}

/* ---- stopping ---- */

static int stop(struct store *store, void *user)
{
    static const char shorter[] = "UPDATE pruned SET size = removed WHERE log = ?1 AND removed > ?2";
    static const char none[] = "DELETE FROM pruned WHERE log = ?1 AND removed = ?2";
    struct log_row log;

    int r = log_find(store, user, &log);
    if (r >= 0)
        r = run_between(store, shorter, log.number, 0);
    return r < 0 ? r : run_between(store, none, log.number, 0);
}

int store_prune_stop(struct store *store, const struct uuid *log)
{
    struct uuid wanted = *log;

    return store_transact(store, stop, &wanted);
}
