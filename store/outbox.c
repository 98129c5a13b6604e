/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns what the daemon reads to send: runs of records, roots, and the hashes that proofs are made of. Called
 * by syncd and, for evidence, by the collector. Must not know what a batch is good for.
 */
#include "store/internal.h"

/* ---- runs of records ---- */

/* One row into the buffer; -EUCLEAN when the disk has altered it. One without bytes was erased by order. */
static int take_row(sqlite3_stmt *statement, uint64_t expected_key, struct buffer *ret_bytes, size_t *ret_len)
{
    struct bytes bytes = column_bytes(statement, 2);
    struct sha256 leaf, now;

    if ((uint64_t)sqlite3_column_int64(statement, 0) != expected_key ||
        sha256_from_bytes(column_bytes(statement, 1), &leaf) < 0)
        return -EUCLEAN;
    now = merkle_leaf(bytes);
    if (bytes.len > 0 && !sha256_equal(&leaf, &now))
        return -EUCLEAN;
    buffer_put_bytes(ret_bytes, bytes);
    *ret_len = bytes.len;
    return buffer_finish(ret_bytes);
}

/* `ret[i].len` is set as rows are read; the views are made when the buffer has stopped moving. */
static int read_run(struct store *store, const struct log_row *log, uint64_t first_seq, size_t max_count,
    size_t max_bytes, struct buffer *ret_bytes, struct bytes *ret, size_t *ret_count)
{
    static const char sql[] = "SELECT key, leaf, bytes FROM records WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    size_t start = ret_bytes->len, n = 0;
    uint64_t key = (uint64_t)record_key(log->number, first_seq);

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_u64(statement, 1, key);
    sqlite3_bind_int64(statement, 2, record_key(log->number, log->size - 1));
    while (n < max_count && (r = database_step(store, statement)) > 0) {
        if (n > 0 && ret_bytes->len - start + (size_t)sqlite3_column_bytes(statement, 2) > max_bytes)
            break;
        r = take_row(statement, key + n, ret_bytes, &ret[n].len);
        if (r < 0)
            break;
        n++;
    }
    *ret_count = n;
    /* A run that ends before a damaged record is a run all the same. */
    return r == -EUCLEAN && n > 0 ? 0 : r < 0 ? r : 0;
}

int store_outbox_read(struct store *store, const struct uuid *log_id, uint64_t first_seq, size_t max_count,
    size_t max_bytes, struct buffer *ret_bytes, struct bytes *ret, size_t *ret_count)
{
    size_t start = ret_bytes->len, count = 0;
    struct log_row log;

    int r = log_find(store, log_id, &log);
    if (r < 0)
        return r;
    if (first_seq < log.pruned_size)
        return -EIDRM;
    if (first_seq < log.size && max_count > 0) {
        r = read_run(store, &log, first_seq, max_count, max_bytes, ret_bytes, ret, &count);
        if (r >= 0 && count == 0)
            r = -EUCLEAN; /* the row is not there */
        /* What was never sent stands before all that follows it: only a new log goes on. (That a log which
         * was left has holes is known since its recovery.) */
        if (r == -EUCLEAN && first_seq >= log.receipt_size && !log.has_rehomed)
            store_mark_damage(store);
        if (r < 0) {
            ret_bytes->len = start;
            return r;
        }
    }
    for (size_t i = 0, at = start; i < count; at += ret[i].len, i++)
        ret[i].data = ret[i].len > 0 ? ret_bytes->data + at : NULL; /* empty: erased */
    *ret_count = count;
    return 0;
}

/* ---- hashes ---- */

static int read_hashes(
    struct store *store, sqlite3_stmt *statement, uint64_t first_key, size_t count, struct sha256 *ret)
{
    bind_u64(statement, 1, first_key);
    bind_u64(statement, 2, first_key + count - 1);
    for (size_t i = 0; i < count; i++) {
        int r = database_step(store, statement);
        if (r < 0)
            return r;
        if (r == 0 || (uint64_t)sqlite3_column_int64(statement, 0) != first_key + i ||
            sha256_from_bytes(column_bytes(statement, 1), &ret[i]) < 0)
            return -EUCLEAN;
    }
    return 0;
}

static int source_leaves(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    static const char sql[] = "SELECT key, leaf FROM records WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    struct store *store = context;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    r = read_hashes(store, statement, (uint64_t)record_key(store->merkle_log_number, first), count, ret);
    return r == -EUCLEAN && first < store->merkle_pruned_size ? -EIDRM : r;
}

static int source_tiles(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    static const char sql[] = "SELECT key, root FROM tiles WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    struct store *store = context;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    return read_hashes(store, statement, (uint64_t)tile_key(store->merkle_log_number, first), count, ret);
}

int store_merkle_source(struct store *store, const struct uuid *log_id, struct merkle_source *ret)
{
    struct log_row log;

    int r = log_find(store, log_id, &log);
    if (r < 0)
        return r;
    store->merkle_log_number = log.number;
    store->merkle_pruned_size = log.pruned_size;
    *ret = (struct merkle_source){.leaves = source_leaves, .tiles = source_tiles, .context = store};
    return 0;
}

int store_leaf(struct store *store, const struct uuid *log, uint64_t seq, struct sha256 *ret)
{
    struct merkle_source source;

    int r = store_merkle_source(store, log, &source);
    return r < 0 ? r : source.leaves(source.context, seq, 1, ret);
}

int store_root_at(struct store *store, const struct uuid *log_id, uint64_t size, struct sha256 *ret)
{
    struct log_row log;

    int r = log_find(store, log_id, &log);
    if (r < 0)
        return r;
    if (size > log.size)
        return -ERANGE;
    return log_root_expected(store, &log, size, ret);
}
