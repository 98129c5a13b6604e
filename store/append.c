/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns appending: rows of records, tiles, children. Called by the programs through store_append, and by the
 * life of logs. Must not know what a finding is.
 *
 * An append reads the log's row and its last key, and writes one row of `records`: one page, one fsync.
 * Nothing of the Merkle tree is written but every 256th time, when a tile is full: then its row takes the
 * tile's root, the frontier behind it, and the sums that status needs.
 */
#include "store/internal.h"

bool kind_is_of_people(int64_t stored_kind)
{
    int64_t kind = stored_kind >= KIND_INNER_FACTOR ? stored_kind / KIND_INNER_FACTOR : stored_kind;

    return kind == RECORD_FINDING || kind == RECORD_AMENDMENT || kind == RECORD_WITHDRAWAL;
}

/* ---- tiles ---- */

struct tile_row {
    struct merkle_frontier frontier; /* behind the tile */
    struct log_sums sums;
};

/* The row of the tile before `tile`; zeros for the first one. */
static int read_tile_before(struct store *store, int64_t log_number, uint64_t tile, struct tile_row *ret)
{
    static const char sql[] = "SELECT frontier, people, bytes FROM tiles WHERE key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    merkle_frontier_init(&ret->frontier);
    ret->sums = (struct log_sums){0};
    if (tile == 0)
        return 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, tile_key(log_number, tile - 1));
    r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : database_error(store, SQLITE_CORRUPT);
    ret->sums.people = (uint64_t)sqlite3_column_int64(statement, 1);
    ret->sums.bytes = (uint64_t)sqlite3_column_int64(statement, 2);
    /* Behind a hole that recovery left there is no frontier, but sums there are. */
    if (merkle_frontier_decode(tile * TILE_LEAVES, column_bytes(statement, 0), &ret->frontier) < 0) {
        merkle_frontier_init(&ret->frontier);
        return 1;
    }
    return 0;
}

/* Leaves and sums of the records first .. first + count - 1; count at most a tile. */
static int read_leaves(struct store *store, int64_t log_number, uint64_t first, uint64_t count,
    struct sha256 *ret_leaves, size_t *ret_count, struct log_sums *sums)
{
    static const char sql[] = "SELECT key, leaf, kind, length(bytes) FROM records WHERE key BETWEEN ?1 AND ?2"
                              " ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    size_t n = 0;

    *ret_count = 0;
    if (count == 0)
        return 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(log_number, first));
    sqlite3_bind_int64(statement, 2, record_key(log_number, first + count - 1));
    while ((r = database_step(store, statement)) > 0 && n < TILE_LEAVES) {
        if (sha256_from_bytes(column_bytes(statement, 1), &ret_leaves[n]) < 0)
            return database_error(store, SQLITE_CORRUPT);
        sums->people += kind_is_of_people(sqlite3_column_int64(statement, 2));
        sums->bytes += (uint64_t)sqlite3_column_int64(statement, 3);
        n++;
    }
    *ret_count = n;
    return r < 0 ? r : 0;
}

static int insert_tile(
    struct store *store, int64_t key, const struct sha256 *root, const struct tile_row *row)
{
    static const char sql[] =
        "INSERT INTO tiles(key, root, frontier, people, bytes) VALUES(?1, ?2, ?3, ?4, ?5)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    uint8_t frontier[MERKLE_DEPTH_MAX * SHA256_BYTES];
    size_t frontier_len = merkle_frontier_encode(&row->frontier, frontier);

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    bind_bytes(statement, 2, root ? sha256_bytes(root) : bytes_of(NULL, 0));
    bind_bytes(statement, 3, bytes_of(frontier, frontier_len));
    bind_u64(statement, 4, row->sums.people);
    bind_u64(statement, 5, row->sums.bytes);
    return database_step(store, statement);
}

int tile_complete(struct store *store, int64_t log_number, uint64_t tile)
{
    struct sha256 leaves[TILE_LEAVES], root;
    struct tile_row row;
    size_t count;

    int holed = read_tile_before(store, log_number, tile, &row);
    if (holed < 0)
        return holed;
    int r = read_leaves(store, log_number, tile * TILE_LEAVES, TILE_LEAVES, leaves, &count, &row.sums);
    if (r < 0)
        return r;
    if (count < TILE_LEAVES) { /* only in what recovery carried over */
        merkle_frontier_init(&row.frontier);
        return insert_tile(store, tile_key(log_number, tile), NULL, &row);
    }
    root = merkle_root_of(leaves, count);
    if (!holed) {
        r = merkle_append_tile(&row.frontier, &root);
        if (r < 0)
            return r;
    }
    return insert_tile(store, tile_key(log_number, tile), &root, &row);
}

int log_sums_below(struct store *store, int64_t log_number, uint64_t size, struct log_sums *ret)
{
    struct sha256 leaves[TILE_LEAVES];
    struct tile_row row;
    uint64_t tile = size / TILE_LEAVES;
    size_t count;

    int r = read_tile_before(store, log_number, tile, &row);
    if (r >= 0)
        r = read_leaves(store, log_number, tile * TILE_LEAVES, size % TILE_LEAVES, leaves, &count, &row.sums);
    if (r < 0)
        return r;
    *ret = row.sums;
    return 0;
}

int log_root_at(struct store *store, int64_t log_number, uint64_t size, struct sha256 *ret)
{
    struct sha256 leaves[TILE_LEAVES];
    struct tile_row row;
    uint64_t tile = size / TILE_LEAVES;
    size_t count;

    int r = read_tile_before(store, log_number, tile, &row);
    if (r != 0)
        return r < 0 ? r : -EUCLEAN;
    r = read_leaves(store, log_number, tile * TILE_LEAVES, size % TILE_LEAVES, leaves, &count, &row.sums);
    if (r < 0)
        return r;
    if (count != size % TILE_LEAVES)
        return -EUCLEAN;
    for (size_t i = 0; i < count; i++) {
        r = merkle_append(&row.frontier, &leaves[i]);
        if (r < 0)
            return r;
    }
    *ret = merkle_root(&row.frontier);
    return 0;
}

int log_frontier_at(struct store *store, int64_t log_number, uint64_t tiles, struct merkle_frontier *ret)
{
    struct tile_row row;

    int r = read_tile_before(store, log_number, tiles, &row);
    if (r != 0)
        return r < 0 ? r : -EUCLEAN;
    *ret = row.frontier;
    return 0;
}

int log_tiles_fit(struct store *store, int64_t log_number, uint64_t tiles)
{
    static const char sql[] = "SELECT root, frontier FROM tiles WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    uint8_t encoded[MERKLE_DEPTH_MAX * SHA256_BYTES];
    struct merkle_frontier frontier;

    merkle_frontier_init(&frontier);
    if (tiles == 0)
        return 1;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, tile_key(log_number, 0));
    sqlite3_bind_int64(statement, 2, tile_key(log_number, tiles - 1));
    while ((r = database_step(store, statement)) > 0) {
        struct bytes kept = column_bytes(statement, 1);
        struct sha256 root;

        if (sha256_from_bytes(column_bytes(statement, 0), &root) < 0 ||
            merkle_append_tile(&frontier, &root) < 0 ||
            merkle_frontier_encode(&frontier, encoded) != kept.len ||
            memcmp(encoded, kept.data, kept.len) != 0)
            return 0;
    }
    return r < 0 ? r : frontier.size == tiles * TILE_LEAVES;
}

int log_root_expected(struct store *store, const struct log_row *log, uint64_t size, struct sha256 *ret)
{
    if (log_is_pruned_within(log, size))
        return -EIDRM;
    int r = log_root_at(store, log->number, size, ret);

    if (r == -EUCLEAN && !log->has_rehomed)
        store_mark_damage(store);
    return r;
}

/* ---- rows ---- */

int append_row(struct store *store, struct log_row *log, int64_t stored_kind, struct bytes record,
    const struct sha256 *leaf)
{
    static const char sql[] = "INSERT INTO records(key, kind, mark, leaf, bytes) VALUES(?1, ?2, ?3, ?4, ?5)";

    if (log->size > SEQ_MAX)
        return -EOVERFLOW;
    {
        _cleanup_statement_ sqlite3_stmt *statement = NULL;
        int r = database_prepare(store, sql, &statement);
        if (r < 0)
            return r;
        int64_t key = record_key(log->number, log->size);
        sqlite3_bind_int64(statement, 1, key);
        sqlite3_bind_int64(statement, 2, stored_kind);
        sqlite3_bind_int64(statement, 3, record_mark(key, stored_kind, leaf));
        bind_bytes(statement, 4, sha256_bytes(leaf));
        bind_bytes(statement, 5, record);
        r = database_step(store, statement);
        if (r < 0)
            return r;
    }
    log->size++;
    if (log->size % TILE_LEAVES != 0)
        return 0;
    return tile_complete(store, log->number, log->size / TILE_LEAVES - 1);
}

int append_own(struct store *store, struct log_row *log, const struct store_author *author,
    struct record *record, int64_t inner_kind)
{
    const struct world *world = store->world;
    _cleanup_buffer_ struct buffer bytes = {0};
    struct sha256 leaf;

    record->wall_ms = world->verbs->wall_ms(world->context);
    record->utc_offset_min = world->verbs->utc_offset_min(world->context, record->wall_ms);
    record->boot_ms = world->verbs->boot_ms(world->context);
    record->inspector = author->inspector;
    int r = record_encode(record, &bytes);
    if (r < 0)
        return r;
    leaf = merkle_leaf(buffer_bytes(&bytes));
    return append_row(store, log, kind_stored(record->kind, inner_kind), buffer_bytes(&bytes), &leaf);
}

int child_add(struct store *store, const struct position_in_log *parent, int64_t child)
{
    static const char sql[] = "INSERT OR IGNORE INTO children(log, seq, child) VALUES(?1, ?2, ?3)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, uuid_bytes(&parent->log));
    bind_u64(statement, 2, parent->seq);
    sqlite3_bind_int64(statement, 3, child);
    return database_step(store, statement);
}

/* ---- appending entries ---- */

struct appending {
    const struct store_author *author;
    const struct store_entry *entries;
    size_t count;
    struct sha256 leaves[STORE_APPEND_MAX];
    struct store_appended *ret;
};

static int append_entry(
    struct store *store, struct log_row *log, const struct store_entry *entry, const struct sha256 *leaf)
{
    int64_t key = record_key(log->number, log->size);

    int r = append_row(store, log, kind_stored(entry->kind, 0), entry->record, leaf);
    if (r >= 0 && entry->photo_count > 0)
        r = blobs_add(store, entry->photos, entry->photo_count, key);
    if (r >= 0 && entry->has_parent)
        r = child_add(store, &entry->parent, key);
    if (r >= 0 && entry->is_urgent)
        r = urgent_note(store, key);
    return r;
}

static int append_all(struct store *store, void *user)
{
    struct appending *appending = user;
    struct log_row log;

    int r = log_for_append(store, appending->author, &log);
    if (r < 0)
        return r;
    for (size_t i = 0; i < appending->count; i++) {
        struct store_appended *appended = &appending->ret[i];

        appended->at = (struct position_in_log){.log = log.id, .seq = log.size};
        appended->id = record_public_id(&log.id, log.size, &appending->leaves[i]);
        r = append_entry(store, &log, &appending->entries[i], &appending->leaves[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

int store_append(struct store *store, const struct store_author *author, const struct store_entry *entries,
    size_t count, struct store_appended *ret)
{
    struct appending appending = {.author = author, .entries = entries, .count = count};
    struct store_appended appended[STORE_APPEND_MAX];

    assert(count >= 1 && count <= STORE_APPEND_MAX);
    appending.ret = appended;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].record.len > RECORD_CAPTURE_BYTES_MAX)
            return -EMSGSIZE;
        appending.leaves[i] = merkle_leaf(entries[i].record);
    }
    int r = store_transact(store, append_all, &appending);
    if (r < 0)
        return r;
    memcpy(ret, appended, count * sizeof(*ret));
    return 0;
}
