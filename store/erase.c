/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns lawful erasure on the handheld: records turn into their leaves, photos go. Called by syncd with what
 * the centre has signed.
 *
 *   rows in one transaction  ->  files of photos  ->  the WAL cut off  ->  the setting that says so
 *
 * The setting comes last: until it is there the centre tells of the order again, and all of it is done again.
 * A row's `bytes` are empty then; its place, kind, mark and leaf stay, so that every root stays as it was.
 */
#include "store/internal.h"

#include <inttypes.h>

#define SETTING_ORDERS_DONE "orders_done" /* decimal */
#define NUMBER_TEXT_MAX 24u

/* ---- what is known of an erased row ---- */

int erased_look(struct store *store, const struct log_row *log, struct record_row *row)
{
    static const char sql[] =
        "SELECT order_number, first_seq, first_log, first_leaf FROM erased WHERE key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    row->is_erased = row->bytes.len == 0;
    if (!row->is_erased)
        return 0;
    row->erased_by = 0;
    row->first = (struct position_in_log){.log = log->id, .seq = row->seq};
    row->first_leaf = row->leaf;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(log->number, row->seq));
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    if (uuid_from_bytes(column_bytes(statement, 2), &row->first.log) < 0 ||
        sha256_from_bytes(column_bytes(statement, 3), &row->first_leaf) < 0)
        return database_error(store, SQLITE_CORRUPT);
    row->erased_by = (uint64_t)sqlite3_column_int64(statement, 0);
    row->first.seq = (uint64_t)sqlite3_column_int64(statement, 1);
    return 0;
}

int store_blob_erased_by(struct store *store, const struct sha256 *sha256, uint64_t *ret)
{
    static const char sql[] = "SELECT order_number FROM erased_blobs WHERE sha256 = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    *ret = 0;
    if (store->version < SCHEMA_WITH_ERASED)
        return 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    r = database_step(store, statement);
    if (r < 0)
        return r;
    *ret = r > 0 ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
    return 0;
}

/* ---- one record ---- */

/* Where and as what a row was recorded first, by its bytes, which go. */
struct found {
    struct sha256 leaf;
    bool has_bytes;
    struct position_in_log first;
    struct sha256 first_leaf;
};

static int find_row(struct store *store, const struct position_in_log *at, int64_t key, struct found *ret)
{
    static const char sql[] = "SELECT kind, leaf, bytes FROM records WHERE key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    struct bytes recorded;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    if (sha256_from_bytes(column_bytes(statement, 1), &ret->leaf) < 0)
        return -EUCLEAN;
    ret->has_bytes = sqlite3_column_bytes(statement, 2) > 0;
    ret->first = *at;
    ret->first_leaf = ret->leaf;
    if (sqlite3_column_int64(statement, 0) % KIND_INNER_FACTOR == RECORD_REHOMED &&
        rehomed_inner(column_bytes(statement, 2), &ret->first, &recorded) >= 0)
        ret->first_leaf = merkle_leaf(recorded);
    return 0;
}

static int note_erased(
    struct store *store, int64_t key, const struct erasure_order *order, const struct found *found)
{
    static const char sql[] =
        "INSERT OR IGNORE INTO erased(key, order_number, order_ms, first_seq, first_log, first_leaf)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    bind_u64(statement, 2, order->number);
    sqlite3_bind_int64(statement, 3, order->time_ms);
    bind_u64(statement, 4, found->first.seq);
    bind_bytes(statement, 5, uuid_bytes(&found->first.log));
    bind_bytes(statement, 6, sha256_bytes(&found->first_leaf));
    return database_step(store, statement);
}

static int run_on_key(struct store *store, const char *sql, int64_t key)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    return database_step(store, statement);
}

static int erase_row(struct store *store, const struct erasure_order *order, const struct position_in_log *at,
    int64_t key, const struct sha256 *leaf)
{
    static const char empty[] = "UPDATE records SET bytes = x'' WHERE key = ?1";
    static const char orphan[] = "DELETE FROM children WHERE child = ?1";
    struct found found;

    int r = find_row(store, at, key, &found);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!sha256_equal(&found.leaf, leaf))
        return 0;
    if (found.has_bytes)
        r = run_on_key(store, empty, key);
    /* An amendment that was erased amends nothing any more. */
    if (r >= 0 && found.has_bytes)
        r = run_on_key(store, orphan, key);
    return r < 0 ? r : note_erased(store, key, order, &found);
}

/* ---- records that hold it re-homed, of which the centre may not have heard yet ---- */

struct holder {
    const struct erasure_order *order;
    int64_t key;
    struct sha256 leaf;
};

static const struct erasure_order *order_about(const struct erasure_order *orders, size_t count,
    const struct position_in_log *first, const struct sha256 *leaf)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < orders[i].record_count; k++) {
            const struct erased_record *record = &orders[i].records[k];

            if (record->at.seq == first->seq && uuid_equal(&record->at.log, &first->log) &&
                sha256_equal(&record->leaf, leaf))
                return &orders[i];
        }
    return NULL;
}

static int find_holders(
    struct store *store, const struct erasure_order *orders, size_t count, struct buffer *ret)
{
    static const char sql[] = "SELECT key, leaf, bytes FROM records WHERE kind % 256 = 21";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    static_assert(RECORD_REHOMED == 21 && KIND_INNER_FACTOR == 256, "the statement says the same");
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    while ((r = database_step(store, statement)) > 0) {
        struct holder holder = {.key = sqlite3_column_int64(statement, 0)};
        struct position_in_log first;
        struct bytes recorded;

        if (rehomed_inner(column_bytes(statement, 2), &first, &recorded) < 0 ||
            sha256_from_bytes(column_bytes(statement, 1), &holder.leaf) < 0)
            continue;
        struct sha256 leaf = merkle_leaf(recorded);
        holder.order = order_about(orders, count, &first, &leaf);
        if (holder.order)
            buffer_put(ret, &holder, sizeof(holder));
    }
    return r < 0 ? r : buffer_finish(ret);
}

static int erase_holders(struct store *store, const struct erasure_order *orders, size_t count)
{
    _cleanup_buffer_ struct buffer found = {0};

    int r = find_holders(store, orders, count, &found);
    const struct holder *holders = (const struct holder *)(const void *)found.data;
    for (size_t i = 0; r >= 0 && i < found.len / sizeof(*holders); i++) {
        struct log_row log;

        r = log_find_number(store, key_log_number(holders[i].key), &log);
        if (r < 0)
            return r;
        struct position_in_log at = {.log = log.id, .seq = key_seq(holders[i].key)};
        r = erase_row(store, holders[i].order, &at, holders[i].key, &holders[i].leaf);
    }
    return r;
}

/* ---- an order ---- */

static int erase_record(
    struct store *store, const struct erasure_order *order, const struct erased_record *record)
{
    struct log_row log;

    int r = log_find(store, &record->at.log, &log);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return erase_row(store, order, &record->at, record_key(log.number, record->at.seq), &record->leaf);
}

/* `freed` is how every program takes a photo that need not be here and is not sent again. */
static int erase_blob(struct store *store, const struct erasure_order *order, const struct sha256 *sha256)
{
    static const char sql[] = "INSERT OR IGNORE INTO erased_blobs(sha256, order_number) VALUES(?1, ?2)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    bind_u64(statement, 2, order->number);
    r = database_step(store, statement);
    if (r >= 0)
        r = blob_set_state(store, sha256, BLOB_FREED, 0);
    return r == -ENOENT ? 0 : r;
}

struct erasing {
    const struct erasure_order *orders;
    size_t count;
};

static int erase_rows(struct store *store, void *user)
{
    const struct erasing *erasing = user;
    bool any_record = false;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < erasing->count; i++) {
        const struct erasure_order *order = &erasing->orders[i];

        any_record = any_record || order->record_count > 0;
        for (size_t k = 0; r >= 0 && k < order->record_count; k++)
            r = erase_record(store, order, &order->records[k]);
        for (size_t k = 0; r >= 0 && k < order->blob_count; k++)
            r = erase_blob(store, order, &order->blobs[k]);
    }
    return r < 0 || !any_record ? r : erase_holders(store, erasing->orders, erasing->count);
}

static int remove_photo(struct store *store, const struct sha256 *sha256)
{
    const struct world *world = store->world;
    char name[PHOTO_NAME_LEN + 1];

    photo_directory_name(sha256->b[0], name);
    _cleanup_free_ char *path = store_blob_path(store, sha256), *directory = store_path(store, name);
    if (!path || !directory)
        return -ENOMEM;
    int r = world->verbs->unlink(world->context, path);
    /* Whoever removed it before may have died before it was on the disk. */
    if (r >= 0 || r == -ENOENT)
        r = world->verbs->sync_directory(world->context, directory);
    return r == -ENOENT ? 0 : r;
}

static int remove_photos(struct store *store, const struct erasing *erasing)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && i < erasing->count; i++)
        for (size_t k = 0; r >= 0 && k < erasing->orders[i].blob_count; k++)
            r = remove_photo(store, &erasing->orders[i].blobs[k]);
    return r;
}

static int scrub(struct store *store)
{
    int r = store_lock(store);

    if (r < 0)
        return r;
    r = database_scrub(store);
    store_unlock(store);
    return r;
}

int store_erase(struct store *store, const struct erasure_order *orders, size_t count)
{
    struct erasing erasing = {.orders = orders, .count = count};
    char number[NUMBER_TEXT_MAX];

    if (count == 0)
        return 0;
    int r = store_transact(store, erase_rows, &erasing);
    if (r >= 0)
        r = remove_photos(store, &erasing);
    if (r >= 0)
        r = scrub(store);
    if (r < 0)
        return r;
    snprintf(number, sizeof(number), "%" PRIu64, orders[count - 1].number);
    return store_set_setting(store, SETTING_ORDERS_DONE, bytes_of_text(number));
}

int orders_forget(struct store *store)
{
    return database_run(store, "DELETE FROM settings WHERE key = '" SETTING_ORDERS_DONE "'");
}

int store_orders_done(struct store *store, uint64_t *ret)
{
    _cleanup_buffer_ struct buffer text = {0};

    int r = store_setting(store, SETTING_ORDERS_DONE, &text);
    if (r < 0 && r != -ENOENT)
        return r;
    if (!buffer_text(&text))
        return -ENOMEM;
    uint64_t number;
    *ret = r >= 0 && text_parse_u64((const char *)text.data, &number) >= 0 ? number : 0;
    return 0;
}
