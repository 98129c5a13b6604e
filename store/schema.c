/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the tables and their versions. Called when the store is opened. Must not know what the rows mean.
 *
 * `user_version` is (oldest usable << 16 | version). A migration only adds; a program refuses a database
 * whose oldest usable version is newer than what it knows, and goes on with any other, older or newer.
 */
#include "store/internal.h"

#define SCHEMA_VERSION 3
#define SCHEMA_OLDEST_USABLE 1
#define APPLICATION_ID "1735421540" /* "gpqd" */

/* Migration n makes version n + 1 out of version n. */
static const char *const migrations[SCHEMA_VERSION] = {
    /* 1. Nothing here says whether a record was sent: that is `seq < receipt_size`. */
    "CREATE TABLE logs(number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, mark INTEGER NOT NULL,"
    " kind INTEGER NOT NULL,"
    " final_size INTEGER, rehomed_from INTEGER, boot_id BLOB, receipt_size INTEGER NOT NULL DEFAULT 0,"
    " receipt_time_s INTEGER NOT NULL DEFAULT 0, receipt_note BLOB, ids_size INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE records(key INTEGER PRIMARY KEY, kind INTEGER NOT NULL, mark INTEGER NOT NULL,"
    " leaf BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;"
    /* Sums run from the log's start to the tile's end. */
    "CREATE TABLE tiles(key INTEGER PRIMARY KEY, root BLOB NOT NULL, frontier BLOB NOT NULL,"
    " people INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;"
    "CREATE TABLE quarantined(key INTEGER PRIMARY KEY, reason TEXT NOT NULL) STRICT;"
    "CREATE TABLE blobs(number INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,"
    " role INTEGER NOT NULL, state INTEGER NOT NULL, urgent INTEGER NOT NULL, record INTEGER NOT NULL,"
    " stored_ms INTEGER) STRICT;"
    "CREATE INDEX blobs_pending ON blobs(role DESC, urgent DESC, number, size, record) WHERE state = 0;"
    "CREATE INDEX blobs_stored ON blobs(number) WHERE state = 1;"
    "CREATE INDEX blobs_lost ON blobs(number) WHERE state = 4;"
    /* By log id, as the parent's log may not be in this database any more. */
    "CREATE TABLE children(log BLOB NOT NULL, seq INTEGER NOT NULL, child INTEGER NOT NULL,"
    " PRIMARY KEY(log, seq, child)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE ids(segment INTEGER NOT NULL, prefix INTEGER NOT NULL, key INTEGER NOT NULL,"
    " PRIMARY KEY(segment, prefix, key)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE settings(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
    "PRAGMA application_id=" APPLICATION_ID,
    /* 2. Which records (whose bytes are empty then) and photos an order of the centre has erased, and where
     * such a record was recorded first, which a re-homed one cannot tell any more. */
    "CREATE TABLE erased(key INTEGER PRIMARY KEY, order_number INTEGER NOT NULL, order_ms INTEGER NOT NULL,"
    " first_seq INTEGER NOT NULL, first_log BLOB NOT NULL, first_leaf BLOB NOT NULL) STRICT;"
    "CREATE TABLE erased_blobs(sha256 BLOB PRIMARY KEY, order_number INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    /* 3. Of which logs the records below `size` need not be here any more; those below `removed` are gone.
     * The centre said so at `told_ms`, by its clock. */
    "CREATE TABLE pruned(log INTEGER PRIMARY KEY, size INTEGER NOT NULL, removed INTEGER NOT NULL, told_ms INTEGER NOT NULL) STRICT;",
};

static int read_version(struct store *store, int64_t *ret)
{
    static const char sql[] = "PRAGMA user_version";

    *ret = 0;
    int r = database_read_number(store, sql, NULL, 0, ret);
    return r < 0 ? r : 0;
}

int schema_look(struct store *store)
{
    static const char sql[] = "SELECT count(*) FROM sqlite_schema";
    int64_t version, tables = 0;

    int r = read_version(store, &version);
    if (r < 0)
        return r;
    if (version == 0) {
        r = database_read_number(store, sql, NULL, 0, &tables);
        if (r < 0)
            return r;
        return tables == 0 ? 2 : -EUCLEAN;
    }
    if (version >> 16 > SCHEMA_VERSION)
        return -EPROTONOSUPPORT;
    store->version = version & 0xffff;
    return store->version < SCHEMA_VERSION ? 1 : 0;
}

static int write_version(struct store *store, int64_t oldest_usable)
{
    char sql[64];

    snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", (int)oldest_usable << 16 | SCHEMA_VERSION);
    return database_run(store, sql);
}

int schema_note_pruned(struct store *store)
{
    int64_t version;

    int r = read_version(store, &version);
    if (r < 0 || version >> 16 >= SCHEMA_WITH_PRUNED)
        return r;
    return write_version(store, SCHEMA_WITH_PRUNED);
}

int schema_migrate(struct store *store)
{
    int64_t version, oldest;

    int r = read_version(store, &version);
    if (r < 0)
        return r;
    oldest = version >> 16 > SCHEMA_OLDEST_USABLE ? version >> 16 : SCHEMA_OLDEST_USABLE;
    version &= 0xffff;
    store->version = version > SCHEMA_VERSION ? version : SCHEMA_VERSION; /* or the open fails */
    if (version >= SCHEMA_VERSION)
        return 0; /* another program was faster */
    for (; version < SCHEMA_VERSION; version++) {
        r = database_run(store, migrations[version]);
        if (r < 0)
            return r;
    }
    return write_version(store, oldest);
}

int schema_prepare(struct store *store)
{
    static_assert(PAGE_BYTES == 4096, "the pragma below says the same");

    return database_run(store, "PRAGMA page_size=4096; PRAGMA journal_mode=WAL");
}

static int migrate(struct store *store, void *user)
{
    return schema_migrate(store);
}

int schema_make(struct store *store)
{
    int r = schema_prepare(store);

    return r < 0 ? r : store_transact_locked(store, migrate, NULL);
}
