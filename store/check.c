/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the full check: whether everything in the store is what it was when it was put there. Called by the
 * daemon and by tests; reads only, and never holds a read transaction for long but for SQLite's own check.
 */
#include "store/internal.h"

#include <stdarg.h>

#define FAULTS_MAX 1000u

struct checking {
    struct store *store;
    void (*fault)(void *user, const char *line);
    void *user;
    unsigned faults;
};

static void report(struct checking *checking, const char *format, ...) _printf_(2, 3);

static void report(struct checking *checking, const char *format, ...)
{
    char line[256];
    va_list arguments;

    if (++checking->faults > FAULTS_MAX || !checking->fault)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    checking->fault(checking->user, line);
}

static int check_database(struct checking *checking)
{
    static const char sql[] = "PRAGMA integrity_check(100)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(checking->store, sql, &statement);
    if (r < 0)
        return r;
    while ((r = database_step(checking->store, statement)) > 0) {
        const char *line = (const char *)sqlite3_column_text(statement, 0);
        if (line && strcmp(line, "ok") != 0)
            report(checking, "database: %s", line);
    }
    return r;
}

/* ---- records ---- */

/* One window of at most READ_ROWS_AT_ONCE positions. `frontier` follows the leaves. */
static int check_window(struct checking *checking, const struct log_row *log, bool holed, uint64_t first,
    uint64_t end, struct merkle_frontier *frontier)
{
    static const char sql[] = "SELECT key, leaf, bytes, kind, mark FROM records WHERE key BETWEEN ?1 AND ?2"
                              " ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    uint64_t next = first;

    int r = database_prepare(checking->store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(log->number, first));
    sqlite3_bind_int64(statement, 2, record_key(log->number, end - 1));
    while ((r = database_step(checking->store, statement)) > 0) {
        uint64_t seq = key_seq(sqlite3_column_int64(statement, 0));
        struct sha256 leaf = {0}, now = merkle_leaf(column_bytes(statement, 2));

        if (seq != next && !holed)
            report(checking, "log %lld: records %llu to %llu are missing", (long long)log->number,
                (unsigned long long)next, (unsigned long long)(seq - 1));
        next = seq + 1;
        /* Of one that was erased by order the leaf is left. */
        if (sha256_from_bytes(column_bytes(statement, 1), &leaf) < 0 ||
            (sqlite3_column_bytes(statement, 2) > 0 && !sha256_equal(&leaf, &now)) ||
            sqlite3_column_int64(statement, 4) !=
                record_mark(sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 3), &leaf))
            report(checking, "log %lld: record %llu is not what was recorded", (long long)log->number,
                (unsigned long long)seq);
        r = merkle_append(frontier, &leaf);
        if (r < 0)
            return r;
    }
    if (r >= 0 && next < end && !holed)
        report(checking, "log %lld: records %llu to %llu are missing", (long long)log->number,
            (unsigned long long)next, (unsigned long long)(end - 1));
    return r;
}

static int check_root(
    struct checking *checking, const struct log_row *log, const struct merkle_frontier *frontier)
{
    struct sha256 expected = merkle_root(frontier), root;

    int r = log_root_at(checking->store, log->number, frontier->size, &root);
    if (r < 0 && r != -EUCLEAN)
        return r;
    if (r < 0 || !sha256_equal(&root, &expected))
        report(checking, "log %lld: the kept tiles below %llu do not fit the records", (long long)log->number,
            (unsigned long long)frontier->size);
    return 0;
}

static int check_receipt(struct checking *checking, const struct log_row *log)
{
    _cleanup_buffer_ struct buffer note = {0};
    struct checkpoint checkpoint;
    struct sha256 root;
    uint64_t size;

    /* The centre went back to among records that were pruned: there is nothing to compare with. */
    if (log->receipt_size == 0 || log->receipt_size > log->end ||
        log_is_pruned_within(log, log->receipt_size))
        return 0;
    int r = store_receipt(checking->store, &log->id, &size, &note);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (checkpoint_parse(buffer_bytes(&note), &checkpoint) < 0)
        return 0; /* its signatures are the daemon's to check, and so is its form */
    r = log_root_at(checking->store, log->number, log->receipt_size, &root);
    if (r < 0 && r != -EUCLEAN)
        return r;
    if (r < 0 || checkpoint.size != log->receipt_size || !sha256_equal(&root, &checkpoint.root))
        report(checking, "log %lld: the records do not fit the receipt", (long long)log->number);
    return 0;
}

/* Records first .. end - 1, a tile at a time; `first` is the start of a tile unless `holed`. What stands
 * before it was pruned, or was checked. */
static int check_records(
    struct checking *checking, const struct log_row *log, bool holed, uint64_t first, uint64_t end)
{
    struct merkle_frontier frontier;

    merkle_frontier_init(&frontier);
    if (!holed && first > 0) {
        int r = log_frontier_at(checking->store, log->number, first / TILE_LEAVES, &frontier);
        if (r < 0)
            return r;
    }
    while (first < end) {
        uint64_t next = end - first > TILE_LEAVES ? first + TILE_LEAVES : end;
        unsigned faults = checking->faults;

        int r = check_window(checking, log, holed, first, next, &frontier);
        if (r >= 0 && !holed && checking->faults == faults)
            r = check_root(checking, log, &frontier);
        if (r < 0)
            return r;
        first = next;
    }
    return 0;
}

/* What recovery found may have holes, and then has no root any more. Behind the point from which a log's
 * records were carried over holes do not matter: only the rows that are there are checked. */
static int check_log(struct checking *checking, const struct log_row *log)
{
    struct sha256 root;
    bool holed = log->has_rehomed && log_root_at(checking->store, log->number, log->end, &root) == -EUCLEAN;

    /* Of those that were pruned some may be left. */
    int r = check_records(checking, log, true, 0, holed ? 0 : log->pruned_size);
    if (r >= 0 && !holed) {
        r = log_tiles_fit(checking->store, log->number, log->pruned_size / TILE_LEAVES);
        if (r == 0)
            report(checking, "log %lld: the tiles that are left of its pruned records do not fit each other",
                (long long)log->number);
    }
    if (r >= 0)
        r = check_records(checking, log, holed, holed ? 0 : log->pruned_size, log->end);
    if (r >= 0)
        r = check_records(checking, log, true, log->end, log->size);
    if (r < 0)
        return r;
    if (log->receipt_size > log->size && !log->has_rehomed)
        report(checking, "log %lld: its receipt is about %llu records, but it has %llu only",
            (long long)log->number, (unsigned long long)log->receipt_size, (unsigned long long)log->size);
    return holed ? 0 : check_receipt(checking, log);
}

/* ---- photos ---- */

static int next_blob(struct store *store, int64_t after, struct sha256 *ret_sha256, int64_t *ret_number,
    uint64_t *ret_size, enum blob_state *ret_state)
{
    static const char sql[] =
        "SELECT number, sha256, size, state FROM blobs WHERE number > ?1 ORDER BY number LIMIT 1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, after);
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    *ret_number = sqlite3_column_int64(statement, 0);
    *ret_size = (uint64_t)sqlite3_column_int64(statement, 2);
    *ret_state = (enum blob_state)sqlite3_column_int(statement, 3);
    if (sha256_from_bytes(column_bytes(statement, 1), ret_sha256) < 0)
        return database_error(store, SQLITE_CORRUPT);
    return 1;
}

static int check_blob(
    struct checking *checking, const struct sha256 *sha256, uint64_t size, enum blob_state state)
{
    char hex[SHA256_TEXT_LEN + 1];
    uint64_t found_size;
    bool is_whole;

    if (state == BLOB_FREED || state == BLOB_STATE_LOST)
        return 0;
    text_hex(sha256->b, SHA256_BYTES, hex);
    int r = photo_read_whole(checking->store, sha256, &found_size, &is_whole);
    if (r == -ENOENT)
        report(checking, "photo %s: the file is missing (%s)", hex, blob_state_name(state));
    else if (r == -EIO)
        report(checking, "photo %s: the file cannot be read (%s)", hex, blob_state_name(state));
    else if (r < 0)
        return r;
    else if (found_size != size || !is_whole)
        report(checking, "photo %s: the file is damaged (%s)", hex, blob_state_name(state));
    return 0;
}

static int check_blobs(struct checking *checking)
{
    struct sha256 sha256;
    enum blob_state state;
    uint64_t size;
    int64_t number = 0;
    int r;

    while ((r = next_blob(checking->store, number, &sha256, &number, &size, &state)) > 0) {
        r = check_blob(checking, &sha256, size, state);
        if (r < 0)
            return r;
    }
    return r;
}

/* All but the photos. */
static int check_content(struct checking *checking)
{
    struct store *store = checking->store;
    _cleanup_free_ struct log_row *logs = NULL;
    size_t count;

    int r = check_database(checking);
    if (r >= 0)
        r = logs_read(store, &logs, &count);
    for (size_t i = 0; r >= 0 && i < count; i++)
        r = check_log(checking, &logs[i]);
    if (r == -EUCLEAN) {
        report(checking, "database: it cannot be read to its end");
        return 0;
    }
    return r;
}

int database_is_sound(struct store *store, bool *ret)
{
    struct checking checking = {.store = store};

    int r = check_content(&checking);
    if (r < 0)
        return r;
    *ret = checking.faults == 0;
    return 0;
}

int store_check(struct store *store, void (*fault)(void *user, const char *line), void *user)
{
    struct checking checking = {.store = store, .fault = fault, .user = user};

    int r = check_content(&checking);
    if (r >= 0 && checking.faults > 0)
        store_mark_damage(store);
    if (r >= 0)
        r = check_blobs(&checking);
    if (r == -EUCLEAN)
        report(&checking, "database: it cannot be read to its end");
    else if (r < 0)
        return r;
    return checking.faults > 0 ? -EUCLEAN : 0;
}
