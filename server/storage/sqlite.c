/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening, locking, transactions and checkpoints of the SQLite storage, and what its other files share.
 *
 *   DATA/centre.db, -wal, -shm      DATA/centre.lock      the one write lock
 *   DATA/centre.writing             a commit is under way, or met a disk that failed: write the WAL again
 *
 * Two processes may write (`serve` and an admin command), and SQLite before 3.51.3 can damage a database when
 * two connections write and checkpoint at the same instant. So every write transaction and every checkpoint
 * is made under one file lock, taken before BEGIN and released after COMMIT has returned; nothing else ever
 * checkpoints. Nothing in the process opens the database's files but SQLite.
 */
#include "server/storage/sqlite_internal.h"

#include "base/files.h"

#include <errno.h>

#define WAL_NAME "centre.db-wal"
#define MARK_NAME "centre.writing"
#define LOCK_PAUSE_MS 5u
#define BUSY_WAIT_MS 10000

/* The write-ahead log, in pages of 4 KiB: moved into the database when idle above the first limit, and at
 * once above the second. Nothing is committed meanwhile: rather little, often. */
#define WAL_PAGES_IDLE 1024
#define WAL_PAGES_MAX 1536

int sqlite_errno(int code)
{
    if (code == SQLITE_IOERR_NOMEM)
        return -ENOMEM;
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return -EROFS;
    case SQLITE_CANTOPEN:
        return -EACCES;
    case SQLITE_TOOBIG:
        return -EFBIG;
    }
    return -EIO;
}

sqlite3_stmt *sqlite_statement(struct sqlite *sqlite, enum sqlite_sql which, int *ret_error)
{
    sqlite3_stmt **statement = &sqlite->statements[which];

    if (!*statement) {
        int code = sqlite3_prepare_v3(
            sqlite->db, sqlite_sql_texts[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
        if (code != SQLITE_OK)
            *ret_error = sqlite_errno(code);
    }
    return *statement;
}

int sqlite_step(sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);

    if (code == SQLITE_ROW)
        return 1;
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? 0 : sqlite_errno(code);
}

int sqlite_run(sqlite3_stmt *statement)
{
    int r = sqlite_step(statement);

    if (r == 1)
        sqlite3_reset(statement);
    return r < 0 ? r : 0;
}

/* Binding fails only for an index that is not in the statement, or a value over SQLite's limit of 10^9 bytes:
 * neither can be. */
void sqlite_bind_number(sqlite3_stmt *statement, int index, uint64_t value)
{
    (void)sqlite3_bind_int64(statement, index, (sqlite3_int64)value);
}

void sqlite_bind_signed(sqlite3_stmt *statement, int index, int64_t value)
{
    (void)sqlite3_bind_int64(statement, index, value);
}

void sqlite_bind_bytes(sqlite3_stmt *statement, int index, struct bytes value)
{
    (void)sqlite3_bind_blob64(
        statement, index, value.len > 0 ? (const void *)value.data : "", value.len, SQLITE_STATIC);
}

/* An empty text is kept as NULL, which takes no room. */
void sqlite_bind_text(sqlite3_stmt *statement, int index, struct bytes value)
{
    if (value.len == 0)
        (void)sqlite3_bind_null(statement, index);
    else
        (void)sqlite3_bind_text64(
            statement, index, (const char *)value.data, value.len, SQLITE_STATIC, SQLITE_UTF8);
}

uint64_t sqlite_number(sqlite3_stmt *statement, int column)
{
    return (uint64_t)sqlite3_column_int64(statement, column);
}

struct bytes sqlite_bytes(sqlite3_stmt *statement, int column)
{
    const void *data = sqlite3_column_blob(statement, column);

    return bytes_of(data, (size_t)sqlite3_column_bytes(statement, column));
}

bool sqlite_exact(sqlite3_stmt *statement, int column, uint8_t *ret, size_t len)
{
    struct bytes bytes = sqlite_bytes(statement, column);

    if (bytes.len != len) {
        memset(ret, 0, len);
        return false;
    }
    memcpy(ret, bytes.data, len);
    return true;
}

static int execute(struct sqlite *sqlite, const char *text)
{
    int code = sqlite3_exec(sqlite->db, text, NULL, NULL, NULL);

    return code == SQLITE_OK ? 0 : sqlite_errno(code);
}

/* Lets go whatever the transaction has read or written. Its statement was prepared when the database was
 * opened. But SQLite may have to prepare it anew, and have no memory for that: then the transaction stays
 * open, and who begins the next one ends it first. */
static void end_transaction(struct sqlite *sqlite)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite, SQL_ROLLBACK, &r);

    /* After some errors SQLite has ended it by itself. */
    if (statement && !sqlite3_get_autocommit(sqlite->db))
        (void)sqlite_run(statement);
}

/* ---- the lock and the write-ahead log ---- */

static int lock_take(struct sqlite *sqlite)
{
    const struct world *world = sqlite->world;

    for (unsigned waited_ms = 0;; waited_ms += LOCK_PAUSE_MS) {
        int r = world->verbs->try_lock(world->context, sqlite->lock);

        if (r != -EWOULDBLOCK) {
            sqlite->holds_lock = r >= 0;
            return r < 0 ? r : 0;
        }
        if (waited_ms >= STORAGE_LOCK_WAIT_MS)
            return -EBUSY;
        world->verbs->pause_ms(world->context, LOCK_PAUSE_MS);
    }
}

static void lock_release(struct sqlite *sqlite)
{
    if (!sqlite->holds_lock)
        return;
    (void)sqlite->world->verbs->unlock(sqlite->world->context, sqlite->lock);
    sqlite->holds_lock = false;
}

static int note_wal_pages(void *user, sqlite3 *db, const char *schema, int pages)
{
    struct sqlite *sqlite = user;

    sqlite->wal_pages = pages;
    return SQLITE_OK;
}

/* Every commit is made under the mark: whoever dies in it, or meets a failure, leaves it set. */
static int execute_marked(struct sqlite *sqlite, const char *sql)
{
    int r;

    /* Best effort: on a disk that is full the commit itself will tell. */
    (void)write_mark_open(&sqlite->mark, sqlite->world, sqlite->mark_path);
    (void)write_mark_put(&sqlite->mark, sqlite->world, true);
    r = execute(sqlite, sql);
    if (r >= 0 || (sqlite3_errcode(sqlite->db) & 0xff) != SQLITE_IOERR)
        (void)write_mark_put(&sqlite->mark, sqlite->world, false);
    return r;
}

static int commit_marked(struct sqlite *sqlite)
{
    return execute_marked(sqlite, "COMMIT");
}

/* The disk failed a write or an fsync under the lock. The kernel tells it once, takes the pages for clean,
 * and goes on showing what was written, so two things are kept off, as in store/database.c: a commit that
 * hangs on frames which are not on the disk (before the next one all of the WAL is written again), and a
 * transaction that was rolled back and turns up when the WAL is read anew (one that changes nothing takes its
 * place: it sets what is set, in the database's header, as SQLite writes no row that is the same). */
static void distrust_disk(struct sqlite *sqlite)
{
    (void)write_mark_open(&sqlite->mark, sqlite->world, sqlite->mark_path);
    (void)write_mark_put(&sqlite->mark, sqlite->world, true);
    if (execute(sqlite, "BEGIN IMMEDIATE; PRAGMA application_id = 0; COMMIT") < 0)
        end_transaction(sqlite);
}

static int trust_disk_again(struct sqlite *sqlite)
{
    const struct world *world = sqlite->world;
    int r;

    (void)write_mark_open(&sqlite->mark, world, sqlite->mark_path);
    r = write_mark_read(&sqlite->mark, world);
    if (r <= 0)
        return r;
    /* SQLite's POSIX locks are on the database and the -shm: closing the -wal drops none. */
    r = files_rewrite(world, sqlite->wal_path);
    if (r < 0 && r != -ENOENT)
        return r;
    return write_mark_put(&sqlite->mark, world, false);
}

/* Under the lock. What a reader still needs stays for the next time. */
static int checkpoint(struct sqlite *sqlite, int mode)
{
    int code, in_log = 0, moved = 0;
    int r = trust_disk_again(sqlite);

    if (r < 0)
        return r;
    code = sqlite3_wal_checkpoint_v2(sqlite->db, "main", mode, &in_log, &moved);
    if (code == SQLITE_OK)
        sqlite->wal_pages = in_log == moved ? 0 : in_log;
    if ((code & 0xff) == SQLITE_IOERR)
        distrust_disk(sqlite);
    return code == SQLITE_OK ? 0 : sqlite_errno(code);
}

static int begin(struct storage *storage)
{
    struct sqlite *sqlite = sqlite_of(storage);
    int r;

    if (sqlite->lock < 0)
        return -EROFS;
    r = lock_take(sqlite);
    if (r < 0)
        return r;
    end_transaction(sqlite);
    r = trust_disk_again(sqlite);
    if (r >= 0)
        r = execute(sqlite, "BEGIN IMMEDIATE");
    if (r < 0)
        lock_release(sqlite);
    return r;
}

static void rollback(struct storage *storage)
{
    struct sqlite *sqlite = sqlite_of(storage);

    end_transaction(sqlite);
    lock_release(sqlite);
}

static int commit(struct storage *storage)
{
    struct sqlite *sqlite = sqlite_of(storage);
    int r = commit_marked(sqlite);

    if (r < 0) {
        bool disk_failed = (sqlite3_errcode(sqlite->db) & 0xff) == SQLITE_IOERR;

        end_transaction(sqlite);
        if (disk_failed)
            distrust_disk(sqlite);
        lock_release(sqlite);
        return r;
    }
    /* The commit is durable whatever becomes of the checkpoint, which is tried again. */
    if (sqlite->wal_pages > WAL_PAGES_MAX)
        (void)checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE);
    lock_release(sqlite);
    return 0;
}

static int view(struct storage *storage)
{
    end_transaction(sqlite_of(storage));
    return execute(sqlite_of(storage), "BEGIN");
}

static void view_end(struct storage *storage)
{
    end_transaction(sqlite_of(storage)); /* nothing was written */
}

static int maintain(struct storage *storage)
{
    struct sqlite *sqlite = sqlite_of(storage);
    int r;

    if (sqlite->wal_pages <= WAL_PAGES_IDLE)
        return 0;
    r = lock_take(sqlite);
    if (r < 0)
        return r;
    r = checkpoint(sqlite, SQLITE_CHECKPOINT_PASSIVE);
    lock_release(sqlite);
    return r;
}

/* What is overwritten or deleted is zeroed in its page (secure_delete), but pages that were split earlier may
 * hold an older copy of a row behind their last cell: of 2,000 rows 8 did. Only writing all pages anew is
 * sure. Then the WAL is moved and cut off. */
static int scrub(struct storage *storage)
{
    struct sqlite *sqlite = sqlite_of(storage);
    int r = lock_take(sqlite);

    if (r >= 0)
        r = trust_disk_again(sqlite);
    /* Tried first, as a reader that is in the way now will be so afterwards. */
    if (r >= 0)
        r = checkpoint(sqlite, SQLITE_CHECKPOINT_TRUNCATE);
    if (r >= 0) {
        r = execute_marked(sqlite, "VACUUM");
        if (r < 0 && (sqlite3_errcode(sqlite->db) & 0xff) == SQLITE_IOERR)
            distrust_disk(sqlite);
    }
    if (r >= 0)
        r = checkpoint(sqlite, SQLITE_CHECKPOINT_TRUNCATE);
    /* SQLite does not fsync what it has cut off: after a power cut the old log would be back. */
    if (r >= 0)
        r = files_rewrite(sqlite->world, sqlite->wal_path);
    lock_release(sqlite);
    return r;
}

/* ---- the storage's own state ---- */

int sqlite_state(struct storage *storage, struct storage_state *ret)
{
    struct storage_state state;
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_STATE, &r);

    if (!statement)
        return r;
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -EUCLEAN;
    (void)sqlite_exact(statement, 0, state.incarnation.b, UUID_BYTES);
    state.commits = sqlite_number(statement, 1);
    state.next_arrival = sqlite_number(statement, 2);
    state.indexed_arrival = sqlite_number(statement, 3);
    sqlite3_reset(statement);
    *ret = state;
    return 0;
}

int sqlite_set_state(struct storage *storage, const struct storage_state *state)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_SET_STATE, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(&state->incarnation));
    sqlite_bind_number(statement, 2, state->commits);
    sqlite_bind_number(statement, 3, state->next_arrival);
    sqlite_bind_number(statement, 4, state->indexed_arrival);
    return sqlite_run(statement);
}

/* ---- opening ---- */

static void close_session(struct storage *storage)
{
    struct sqlite *sqlite = sqlite_of(storage);

    for (size_t i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(sqlite->statements[i]);
    if (sqlite->db)
        (void)sqlite3_close(sqlite->db);
    if (sqlite->lock >= 0) {
        lock_release(sqlite);
        (void)sqlite->world->verbs->lock_close(sqlite->world->context, sqlite->lock);
    }
    write_mark_close(&sqlite->mark, sqlite->world);
    free(sqlite->path);
    free(sqlite->wal_path);
    free(sqlite->lock_path);
    free(sqlite->mark_path);
    free(sqlite);
}

static const struct storage_verbs sqlite_verbs = {
    .close = close_session,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .view = view,
    .view_end = view_end,
    .maintain = maintain,
    .state = sqlite_state,
    .set_state = sqlite_set_state,
    .device_find = sqlite_device_find,
    .device_at = sqlite_device_at,
    .device_certificate = sqlite_device_certificate,
    .device_put = sqlite_device_put,
    .device_seen = sqlite_device_seen,
    .device_keys = sqlite_device_keys,
    .device_key_put = sqlite_device_key_put,
    .device_key_drop = sqlite_device_key_drop,
    .device_set_key = sqlite_device_set_key,
    .device_resync = sqlite_device_resync,
    .device_set_resync = sqlite_device_set_resync,
    .devices_each = sqlite_devices_each,
    .token_put = sqlite_token_put,
    .token_find = sqlite_token_find,
    .token_use = sqlite_token_use,
    .trust_put = sqlite_trust_put,
    .trust_each = sqlite_trust_each,
    .command_put = sqlite_command_put,
    .command_done = sqlite_command_done,
    .commands = sqlite_commands,
    .quota_use = sqlite_quota_use,
    .set_quota_use = sqlite_set_quota_use,
    .photo_bytes = sqlite_photo_bytes,
    .asked_resync_put = sqlite_asked_resync_put,
    .asked_resync_find = sqlite_asked_resync_find,
    .asked_resyncs = sqlite_asked_resyncs,
    .alarm_put = sqlite_alarm_put,
    .log_find = sqlite_log_find,
    .log_at = sqlite_log_at,
    .log_open = sqlite_log_open,
    .log_note = sqlite_log_note,
    .log_advance = sqlite_log_advance,
    .log_set_flags = sqlite_log_set_flags,
    .log_backed_up = sqlite_log_backed_up,
    .log_set_backed_up = sqlite_log_set_backed_up,
    .backups_forget = sqlite_backups_forget,
    .logs_each = sqlite_logs_each,
    .record_put = sqlite_record_put,
    .record_at = sqlite_record_at,
    .records_each = sqlite_records_each,
    .tiles_put = sqlite_tiles_put,
    .tiles = sqlite_tiles,
    .finding_put = sqlite_finding_put,
    .finding_at = sqlite_finding_at,
    .finding_set_state = sqlite_finding_set_state,
    .findings_each = sqlite_findings_each,
    .finding = sqlite_finding,
    .version_put = sqlite_version_put,
    .versions = sqlite_versions,
    .quarantine = sqlite_quarantine,
    .quarantine_end = sqlite_quarantine_end,
    .quarantined_each = sqlite_quarantined_each,
    .quarantined_count = sqlite_quarantined_count,
    .awaited_put = sqlite_awaited_put,
    .awaited_end = sqlite_awaited_end,
    .awaited = sqlite_awaited,
    .rehomed_put = sqlite_rehomed_put,
    .rehomed_find = sqlite_rehomed_find,
    .rehomed_any = sqlite_rehomed_any,
    .clock_mark_put = sqlite_clock_mark_put,
    .clock_mark = sqlite_clock_mark,
    .derived_clear = sqlite_derived_clear,
    .ids_build = sqlite_ids_build,
    .id_put = sqlite_id_put,
    .id_find = sqlite_id_find,
    .blob_find = sqlite_blob_find,
    .blob_name = sqlite_blob_name,
    .blob_is_named = sqlite_blob_is_named,
    .blob_given_up = sqlite_blob_given_up,
    .blob_set_state = sqlite_blob_set_state,
    .blobs_wanted = sqlite_blobs_wanted,
    .blobs_each = sqlite_blobs_each,
    .blob_set_backed_up = sqlite_blob_set_backed_up,
    .record_forget = sqlite_record_forget,
    .blob_namers = sqlite_blob_namers,
    .orders_done = sqlite_orders_done,
    .set_orders_done = sqlite_set_orders_done,
    .orders_done_max = sqlite_orders_done_max,
    .scrub = scrub,
    .snapshot = sqlite_snapshot,
};

/* One number that a statement yields. */
static int read_number(struct sqlite *sqlite, const char *text, int64_t *ret)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(sqlite->db, text, -1, &statement, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sqlite_errno(code);
}

/* An additive change: programs of this schema go on using the database after a newer one has added to it. */
static int check_schema(struct sqlite *sqlite)
{
    int64_t oldest = 0;
    int r = read_number(sqlite, "SELECT oldest_schema FROM state", &oldest);

    if (r < 0)
        return r == -ENOENT ? -EUCLEAN : r;
    return oldest > CENTRE_SCHEMA ? -EPROTONOSUPPORT : 0;
}

static int create_schema(struct sqlite *sqlite)
{
    _cleanup_buffer_ struct buffer text = {0};
    uint8_t random[UUID_BYTES];
    char incarnation[2 * UUID_BYTES + 1];
    struct uuid uuid;

    sqlite->world->verbs->random(sqlite->world->context, random, sizeof(random));
    uuid = uuid_from_random(random);
    text_hex(uuid.b, UUID_BYTES, incarnation);
    buffer_put_text(&text, sqlite_schema_text);
    buffer_printf(&text, "INSERT INTO state VALUES (1, %d, %d, x'%s', 0, 1, 0);", CENTRE_SCHEMA,
        CENTRE_SCHEMA_OLDEST, incarnation);
    if (!buffer_text(&text))
        return -ENOMEM;
    return execute(sqlite, (const char *)text.data);
}

static int add_table(struct sqlite *sqlite, const char *what, const char *addition)
{
    _cleanup_buffer_ struct buffer text = {0};

    buffer_printf(&text, "CREATE %s %s", what, addition);
    return buffer_text(&text) ? execute(sqlite, (const char *)text.data) : -ENOMEM;
}

/* A program that only reads may meet a database that no writer has opened since tables were added. It sees
 * them empty, which is what they would be: as temporary ones, which stand nowhere but in this connection. */
static int stand_in_for_additions(struct sqlite *sqlite)
{
    int r = execute(sqlite, "PRAGMA temp_store = MEMORY");

    for (size_t i = 0; r >= 0 && sqlite_schema_additions[i]; i++) {
        const char *addition = sqlite_schema_additions[i];
        _cleanup_buffer_ struct buffer text = {0};
        int64_t tables = 0;

        buffer_printf(&text, "SELECT count(*) FROM main.sqlite_schema WHERE name = '%.*s'",
            (int)strcspn(addition, "("), addition);
        r = buffer_text(&text) ? read_number(sqlite, (const char *)text.data, &tables) : -ENOMEM;
        if (r >= 0 && tables == 0)
            r = add_table(sqlite, "TEMP TABLE", addition);
    }
    return r;
}

/* Makes the schema if the database is new. Under the lock. */
static int create_if_new(struct sqlite *sqlite, bool *ret_created)
{
    int64_t tables = 0;
    int r = execute(sqlite, "PRAGMA journal_mode = WAL");

    if (r >= 0)
        r = execute(sqlite, "BEGIN IMMEDIATE");
    if (r < 0)
        return r;
    r = read_number(sqlite, "SELECT count(*) FROM sqlite_schema WHERE name = 'state'", &tables);
    if (r >= 0 && tables == 0)
        r = create_schema(sqlite);
    for (size_t i = 0; r >= 0 && sqlite_schema_additions[i]; i++)
        r = add_table(sqlite, "TABLE IF NOT EXISTS", sqlite_schema_additions[i]);
    if (r >= 0)
        r = commit_marked(sqlite);
    if (r < 0)
        end_transaction(sqlite);
    if (r >= 0)
        *ret_created = tables == 0;
    return r;
}

static int open_writer(struct sqlite *sqlite, bool *ret_created)
{
    const struct world *world = sqlite->world;
    int r = world->verbs->lock_open(world->context, sqlite->lock_path);

    if (r < 0)
        return r;
    sqlite->lock = r;
    r = lock_take(sqlite);
    if (r < 0)
        return r;
    r = trust_disk_again(sqlite);
    if (r >= 0)
        r = create_if_new(sqlite, ret_created);
    lock_release(sqlite);
    if (r < 0)
        return r;
    sqlite3_wal_hook(sqlite->db, note_wal_pages, sqlite);
    return execute(sqlite, "PRAGMA cache_size = -65536; PRAGMA journal_size_limit = 67108864;"
                           " PRAGMA secure_delete = 1");
}

static int open_database(struct sqlite *sqlite, bool read_only, bool *ret_created)
{
    int code, r = 0;

    code = sqlite3_open_v2(sqlite->path, &sqlite->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
            (read_only ? 0 : SQLITE_OPEN_CREATE),
        sqlite->world->vfs_name);
    if (code != SQLITE_OK)
        return sqlite_errno(code);
    if (!sqlite_statement(sqlite, SQL_ROLLBACK, &r))
        return r;
    (void)sqlite3_busy_timeout(sqlite->db, BUSY_WAIT_MS);
    (void)sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)sqlite3_db_config(sqlite->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    r = execute(sqlite, "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL");
    if (r < 0)
        return r;
    r = read_only ? stand_in_for_additions(sqlite) : open_writer(sqlite, ret_created);
    if (r >= 0 && read_only)
        r = execute(sqlite, "PRAGMA query_only = 1; PRAGMA cache_size = -8192");
    return r < 0 ? r : check_schema(sqlite);
}

static const char *open_problem(int error)
{
    switch (error) {
    case -EPROTONOSUPPORT:
        return "it was written by a newer patrol-server; update this program";
    case -EUCLEAN:
        return "the database is damaged; restore a backup, handhelds will send again what it lacks";
    case -EBUSY:
        return "another process holds its lock; try again";
    }
    return strerror(-error);
}

int storage_sqlite_open(
    const struct storage_options *options, struct storage **ret, bool *ret_created, char **ret_error)
{
    struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
    bool created = false;
    int r;

    if (!sqlite)
        return -ENOMEM;
    sqlite->storage.verbs = &sqlite_verbs;
    sqlite->world = options->world;
    sqlite->lock = -1;
    sqlite->mark = (struct write_mark)WRITE_MARK_CLOSED;
    sqlite->path = files_join(options->directory, SQLITE_DATABASE_NAME);
    sqlite->wal_path = files_join(options->directory, WAL_NAME);
    sqlite->lock_path = files_join(options->directory, SQLITE_LOCK_NAME);
    sqlite->mark_path = files_join(options->directory, MARK_NAME);
    if (!sqlite->path || !sqlite->wal_path || !sqlite->lock_path || !sqlite->mark_path)
        r = -ENOMEM;
    else
        r = open_database(sqlite, options->read_only, &created);
    if (r < 0) {
        if (ret_error && asprintf(ret_error, "%s: %s", sqlite->path ? sqlite->path : SQLITE_DATABASE_NAME,
                             open_problem(r)) < 0)
            *ret_error = NULL;
        close_session(&sqlite->storage);
        return r;
    }
    *ret = &sqlite->storage;
    *ret_created = created;
    return 0;
}
