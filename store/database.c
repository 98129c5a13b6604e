/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the connection to SQLite: how it is opened, its statements, its errors, and the one way to write:
 * under the file lock. Called by the store's other files. Must not know any table.
 *
 *   flock  ->  BEGIN IMMEDIATE  ->  ...  ->  COMMIT (one fsync of the WAL)  ->  [checkpoint]  ->  unlock
 *
 * The lock closes the WAL-reset race of SQLite before 3.51.3, where one connection that writes and another
 * that checkpoints at the same instant can corrupt the file (docs/decisions.md, "WAL reset").
 */
#include "store/internal.h"

/* A transaction that changes nothing that anybody reads, for the frame that it writes. */
#define HEAD_WRITE_FORM_AT 18 /* in the head of the file */
#define HEAD_WRITE_FORM_WAL 2u
#define PUT_NOTHING "INSERT OR REPLACE INTO settings(key, value) VALUES('nothing', x'')"

#define BUSY_TRIES_MAX 400
#define LOCK_PAUSE_MS_MAX 25u

static const char end_sql[] = "ROLLBACK";

/* ---- errors ---- */

/* An empty file that outlives the process. */
static int leave_mark(struct store *store, const char *name)
{
    const struct world *world = store->world;
    _cleanup_free_ char *path = store_path(store, name);

    if (!path)
        return -ENOMEM;
    int file = world->verbs->open(world->context, path, WORLD_WRITE, false);
    return file < 0 ? file : world->verbs->close(world->context, file);
}

void store_mark_damage(struct store *store)
{
    if (store->role == STORE_READER || store->damage_marked)
        return;
    store->damage_marked = leave_mark(store, DAMAGE_MARK_NAME) >= 0;
}

static int system_error(struct store *store)
{
    int error = store->database ? sqlite3_system_errno(store->database) : 0;

    if (error == ENOSPC || error == EDQUOT)
        return -ENOSPC;
    return error == EACCES || error == EPERM || error == EROFS || error == ENOENT ? -error : -EIO;
}

/* SQLite only reads a database whose head says that it was written in a newer form than it knows: a flipped
 * bit, as there is none that we would have written. Asked through its own handle: to open and close the file
 * would drop the locks on it. */
static int read_only_error(struct store *store, int code)
{
    sqlite3_file *file = NULL;
    uint8_t form = 0;

    if (code == SQLITE_READONLY_DBMOVED)
        return -EUCLEAN;
    if (store->role == STORE_READER || code != SQLITE_READONLY ||
        sqlite3_file_control(store->database, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        !file || !file->pMethods || file->pMethods->xRead(file, &form, 1, HEAD_WRITE_FORM_AT) != SQLITE_OK ||
        form <= HEAD_WRITE_FORM_WAL)
        return -EROFS;
    store_mark_damage(store);
    return -EUCLEAN;
}

int database_error(struct store *store, int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_TOOBIG:
        return -EMSGSIZE;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_READONLY:
        return read_only_error(store, code);
    case SQLITE_CANTOPEN:
        return system_error(store);
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_NOMEM)
            return -ENOMEM;
        store->disk_failed = true;
        /* A bad sector stays one: the next opening looks, and recovers what can be read. */
        if (code == SQLITE_IOERR_READ || code == SQLITE_IOERR_CORRUPTFS)
            store_mark_damage(store);
        return system_error(store);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* our keys never collide in a sound database */
    case SQLITE_MISMATCH:
    case SQLITE_ERROR: /* a table or column of ours is not there */
        store_mark_damage(store);
        return -EUCLEAN;
    }
    return -EIO;
}

/* ---- connection ---- */

static int wait_while_busy(void *user, int tries)
{
    const struct store *store = user;

    /* Only short waits are met here: another connection rebuilds the WAL's index, or a reader is being
     * counted. Writers wait for the file lock instead. */
    if (tries >= BUSY_TRIES_MAX)
        return 0;
    store->world->verbs->pause_ms(store->world->context, tries < 10 ? 1 : 10);
    return 1;
}

static int note_wal_pages(void *user, sqlite3 *database, const char *name, int pages)
{
    struct store *store = user;

    if ((uint64_t)pages < store->wal_pages)
        store->checkpoint_at = WAL_PAGES_MAX; /* it was begun again */
    store->wal_pages = (uint64_t)pages;
    return SQLITE_OK;
}

static int configure(struct store *store)
{
    sqlite3 *database = store->database;
    int off;

    sqlite3_busy_handler(database, wait_while_busy, store);
    /* Whoever closes last must not checkpoint outside the lock; the WAL stays where it is. */
    if (sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, &off) != SQLITE_OK)
        return -EIO;
    (void)sqlite3_wal_autocheckpoint(database, 0);
    (void)sqlite3_wal_hook(database, note_wal_pages, store);
    int r = database_prepare(store, end_sql, &(sqlite3_stmt *){NULL});
    if (r < 0 || store->role == STORE_READER)
        return r;
    /* FULL is SQLite's default, but a library may be built otherwise, and everything rests on it. The cache
     * holds 1 MiB: nothing here is read twice but what is near the end of a table. */
    return database_run(store,
        "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=4194304; PRAGMA cache_size=-1024;"
        " PRAGMA secure_delete=1");
}

int database_open(struct store *store)
{
    _cleanup_free_ char *path = store_path(store, DATABASE_NAME);

    static_assert(WAL_KEPT_BYTES == 4194304, "the pragma above says the same");
    assert(!store->database);
    if (!path)
        return -ENOMEM;

    int code = sqlite3_open_v2(path, &store->database,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, store->world->vfs_name);
    int r = code == SQLITE_OK ? configure(store) : database_error(store, code);
    if (r < 0)
        database_close(store);
    store->checkpoint_at = WAL_PAGES_FOUND_MAX;
    return r;
}

void database_close(struct store *store)
{
    for (size_t i = 0; i < store->statement_count; i++)
        sqlite3_finalize(store->statements[i].statement);
    store->statement_count = 0;
    sqlite3_close(store->database);
    store->database = NULL;
    store->wal_pages = 0;
}

/* ---- statements ---- */

int database_run(struct store *store, const char *sql)
{
    return database_error(store, sqlite3_exec(store->database, sql, NULL, NULL, NULL));
}

int database_prepare(struct store *store, const char *sql, sqlite3_stmt **ret)
{
    struct statement_slot *slot = NULL;

    for (size_t i = 0; i < store->statement_count && !slot; i++)
        if (store->statements[i].sql == sql)
            slot = &store->statements[i];
    if (!slot) {
        sqlite3_stmt *statement;
        int code = sqlite3_prepare_v3(store->database, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);

        if (code != SQLITE_OK)
            return database_error(store, code);
        assert(store->statement_count < STATEMENTS_MAX);
        slot = &store->statements[store->statement_count++];
        *slot = (struct statement_slot){.sql = sql, .statement = statement};
    }
    assert(!sqlite3_stmt_busy(slot->statement));
    *ret = slot->statement;
    return 0;
}

int database_step(struct store *store, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);

    if (code == SQLITE_ROW)
        return 1;
    return database_error(store, code);
}

void statement_release(sqlite3_stmt **statement)
{
    if (!*statement)
        return;
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
}

void bind_u64(sqlite3_stmt *statement, int index, uint64_t value)
{
    sqlite3_bind_int64(statement, index, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

void bind_bytes(sqlite3_stmt *statement, int index, struct bytes value)
{
    static const uint8_t nothing[1];

    sqlite3_bind_blob64(statement, index, value.data ? value.data : nothing, value.len, SQLITE_STATIC);
}

struct bytes column_bytes(sqlite3_stmt *statement, int index)
{
    const void *data = sqlite3_column_blob(statement, index);

    return bytes_of(data, data ? (size_t)sqlite3_column_bytes(statement, index) : 0);
}

int database_read_number(
    struct store *store, const char *sql, const int64_t *arguments, size_t argument_count, int64_t *ret)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    for (size_t i = 0; i < argument_count; i++)
        sqlite3_bind_int64(statement, (int)i + 1, arguments[i]);
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    if (sqlite3_column_type(statement, 0) == SQLITE_NULL)
        return 0;
    *ret = sqlite3_column_int64(statement, 0);
    return 1;
}

/* ---- lock and transactions ---- */

/* Whatever the transaction has read or written is let go. The statement was prepared when there was nothing
 * to lose: one that could not be had now would leave the transaction open for ever. */
static void end_transaction(struct store *store)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    if (sqlite3_get_autocommit(store->database))
        return; /* after some errors SQLite has ended it by itself */
    if (database_prepare(store, end_sql, &statement) >= 0)
        (void)sqlite3_step(statement);
}

int store_lock(struct store *store)
{
    const struct world *world = store->world;

    assert(!store->locked);
    if (store->lock < 0) {
        _cleanup_free_ char *path = store_path(store, LOCK_NAME);
        if (!path)
            return -ENOMEM;
        int lock = world->verbs->lock_open(world->context, path);
        if (lock < 0)
            return lock;
        store->lock = lock;
    }
    /* Counted by the pauses asked for, not by a clock: the simulator lets nobody wait. */
    for (unsigned waited_ms = 0, tries = 0;; tries++) {
        int r = world->verbs->try_lock(world->context, store->lock);
        if (r >= 0)
            break;
        if (r != -EWOULDBLOCK)
            return r;
        if (waited_ms >= STORE_LOCK_WAIT_MS)
            return -EBUSY;
        unsigned pause_ms = 1 + tries / 8 < LOCK_PAUSE_MS_MAX ? 1 + tries / 8 : LOCK_PAUSE_MS_MAX;
        world->verbs->pause_ms(world->context, pause_ms);
        waited_ms += pause_ms;
    }
    store->locked = true;
    return 0;
}

void store_unlock(struct store *store)
{
    if (!store->locked)
        return;
    store->locked = false;
    (void)store->world->verbs->unlock(store->world->context, store->lock);
}

static void set_mark(struct store *store)
{
    _cleanup_free_ char *path = store->mark.file < 0 ? store_path(store, WRITING_MARK_NAME) : NULL;

    /* Best effort: on a disk that is full the commit itself will tell. */
    if (path)
        (void)write_mark_open(&store->mark, store->world, path);
    (void)write_mark_put(&store->mark, store->world, true);
}

/* Every commit is made under the mark: whoever dies in it, or meets a failure of the disk, leaves it set. */
static int commit_marked(struct store *store)
{
    bool was_set = store->mark.is_set;

    set_mark(store);
    store->disk_failed = false;
    int r = database_run(store, "COMMIT");
    if (!store->disk_failed && !was_set)
        (void)write_mark_put(&store->mark, store->world, false);
    return r;
}

static void commit_nothing(struct store *store)
{
    /* Without database_run: where the disk failed while the tables were being made there are none yet, and
     * that is no damage. */
    int code = sqlite3_exec(store->database, "BEGIN IMMEDIATE; " PUT_NOTHING, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        (void)commit_marked(store);
    end_transaction(store);
}

/* The disk failed a write or an fsync under the lock. What of the WAL is on the disk nobody can say: the
 * kernel tells it once, takes the pages for clean, and goes on showing what was written. Two things are kept
 * off:
 *
 * - A commit that hangs on what is not there. Before the next transaction, of whatever program, all of the
 * WAL is written again.
 * - A transaction that was refused, and turns up when the WAL is read anew. Its frames stand behind the last
 * good commit, where the next one writes: so a next one follows at once, that changes nothing. */
static void distrust_disk(struct store *store)
{
    set_mark(store);
    commit_nothing(store);
}

static int trust_disk_again(struct store *store)
{
    const struct world *world = store->world;
    _cleanup_free_ char *path = store->mark.file < 0 ? store_path(store, WRITING_MARK_NAME) : NULL;

    if (path)
        (void)write_mark_open(&store->mark, world, path);
    int r = write_mark_read(&store->mark, world);
    if (r <= 0)
        return r;
    _cleanup_free_ char *wal = store_path(store, WAL_NAME);
    if (!wal)
        return -ENOMEM;
    /* SQLite's POSIX locks are on the database and the -shm: closing the -wal drops none. */
    r = files_rewrite(world, wal);
    if (r < 0 && r != -ENOENT)
        return r;
    return write_mark_put(&store->mark, world, false);
}

/* Another program may have set the files aside while this one had them open: what is written to them now
 * would be lost. */
static int check_not_moved(struct store *store)
{
    int moved = 0;

    if (sqlite3_file_control(store->database, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK)
        return 0;
    return moved ? -EUCLEAN : 0;
}

static int transact_once(struct store *store, int (*body)(struct store *store, void *user), void *user)
{
    int r = check_not_moved(store);
    if (r >= 0)
        r = trust_disk_again(store);
    store->disk_failed = false;
    if (r >= 0)
        r = database_run(store, "BEGIN IMMEDIATE");
    if (r < 0)
        return r;
    r = body(store, user);
    /* After some errors SQLite has ended it by itself, and whatever a body did that went on all the same
     * stands alone: it must not look done. */
    if (r >= 0 && sqlite3_get_autocommit(store->database))
        r = -EIO;
    if (r >= 0)
        r = commit_marked(store);
    end_transaction(store);
    if (r < 0 && store->disk_failed)
        distrust_disk(store);
    return r;
}

int store_transact_locked(struct store *store, int (*body)(struct store *store, void *user), void *user)
{
    assert(store->locked && store->role != STORE_READER);

    int r = transact_once(store, body, user);
    if (r == -ENOSPC && ballast_release(store) > 0)
        r = transact_once(store, body, user);
    if (r < 0)
        return r;
    /* That the WAL was moved only connections know. When the last one ends, the next program reads all of it
     * again and writes behind it: so it is begun again now, by the next write. */
    if (store->wal_pages >= store->checkpoint_at) {
        if (database_checkpoint(store) >= 0)
            commit_nothing(store);
    } else if (store->checkpoint_at < WAL_PAGES_MAX) {
        store->checkpoint_at = WAL_PAGES_MAX; /* this one was the first */
    }
    return 0;
}

int store_transact(struct store *store, int (*body)(struct store *store, void *user), void *user)
{
    if (store->role == STORE_READER)
        return -EROFS;

    int r = store_lock(store);
    if (r < 0)
        return r;
    r = store_transact_locked(store, body, user);
    store_unlock(store);
    return r;
}

int store_begin_reading(struct store *store, struct store **ret_reading)
{
    *ret_reading = NULL;
    if (!sqlite3_get_autocommit(store->database))
        return 0; /* within a transaction already */

    int r = database_run(store, "BEGIN");
    if (r >= 0)
        *ret_reading = store;
    return r;
}

void store_end_reading(struct store **reading)
{
    if (*reading)
        end_transaction(*reading);
}

int database_checkpoint(struct store *store)
{
    assert(store->locked);
    /* Passive: a reader at work is not waited for. As long as one holds the WAL it grows; then this is not
     * done again for every append. */
    store->checkpoint_at = store->wal_pages + WAL_PAGES_MAX;
    int r = trust_disk_again(store);
    if (r < 0)
        return r;
    store->disk_failed = false;
    r = database_error(
        store, sqlite3_wal_checkpoint_v2(store->database, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL));
    if (r < 0 && store->disk_failed)
        distrust_disk(store);
    return r;
}

static int put_nothing(struct store *store, void *user)
{
    return database_run(store, PUT_NOTHING);
}

/* All of the WAL moved into the database; `*ret_pages` were in it, and still are until it is begun again. */
static int move_wal(struct store *store, uint64_t *ret_pages)
{
    int pages = 0;

    int r = trust_disk_again(store);
    if (r < 0)
        return r;
    store->disk_failed = false;
    r = database_error(
        store, sqlite3_wal_checkpoint_v2(store->database, NULL, SQLITE_CHECKPOINT_RESTART, &pages, NULL));
    if (r < 0 && store->disk_failed)
        distrust_disk(store);
    if (r >= 0)
        *ret_pages = pages > 0 ? (uint64_t)pages : 0;
    return r;
}

/* Whether the last commit has begun a WAL of `old_pages` pages again, and nothing is left behind it. Where a
 * reader came in between, or the file could not be cut off, SQLite says nothing of it. 0, -EBUSY. */
static int check_cut_off(struct store *store, uint64_t old_pages)
{
    bool begun_again = old_pages == 0 || store->wal_pages <= old_pages;
    uint64_t size = 0;

    int r = store_file_size(store, WAL_NAME, &size);
    if (r < 0)
        return r;
    return begun_again && size == WAL_HEADER_BYTES + store->wal_pages * WAL_FRAME_BYTES ? 0 : -EBUSY;
}

int database_scrub(struct store *store)
{
    _cleanup_free_ char *wal = store_path(store, WAL_NAME);
    uint64_t old_pages = 0;

    assert(store->locked);
    int r = wal ? move_wal(store, &old_pages) : -ENOMEM;
    if (r >= 0)
        r = database_run(store, "PRAGMA journal_size_limit=0");
    if (r < 0)
        return r;
    /* The first commit of a WAL that is begun again cuts it off behind itself, down to that limit. A WAL of
     * no length at all would look like one that was lost. */
    r = transact_once(store, put_nothing, NULL);
    (void)database_run(store, "PRAGMA journal_size_limit=4194304");
    if (r >= 0)
        r = check_cut_off(store, old_pages);
    /* SQLite does not fsync what it has cut off: after a power cut the old end would be back. */
    return r < 0 ? r : files_rewrite(store->world, wal);
}

int store_change_counter(struct store *store, uint64_t *ret)
{
    static const char sql[] = "PRAGMA data_version";
    int64_t version = 0;

    int r = check_not_moved(store);
    if (r >= 0)
        r = database_read_number(store, sql, NULL, 0, &version);
    if (r < 0)
        return r;
    *ret = (uint64_t)version;
    return 0;
}
