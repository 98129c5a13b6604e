/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns housekeeping: files that nobody named, photos that may go, the WAL, the ballast. Called by the daemon
 * when it has time. What it removes is decided under the lock, as an append decides which files it names.
 */
#include "store/internal.h"

#define FREE_AT_ONCE 64u
/* The daemon keeps the WAL shorter than a collector does, so that a collector which is the only one to open
 * the store has little to read. */
#define WAL_PAGES_DAEMON_MAX 128u

int store_checkpoint_wal(struct store *store, bool force)
{
    if (store->role == STORE_READER)
        return -EROFS;
    if (!force && store->wal_pages < WAL_PAGES_DAEMON_MAX)
        return 0;
    int r = store_lock(store);
    if (r < 0)
        return r;
    r = database_checkpoint(store);
    if (r >= 0)
        store->wal_pages = 0;
    store_unlock(store);
    return r;
}

/* ---- files that nobody named ---- */

struct sweeping {
    struct store *store;
    uint64_t older_than_ms;
    const char *directory; /* path */
    bool temporary;        /* every file in it may go, once it is old */
    uint64_t removed;
};

/* How far a file's time is from now, either way: a clock that jumped makes files of the future. */
static uint64_t distance_ms(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? (uint64_t)b_ms - (uint64_t)a_ms : (uint64_t)a_ms - (uint64_t)b_ms;
}

/* 1 when a photo file is not needed here: no record names it, or it was freed. */
static int is_orphan(struct store *store, const char *name)
{
    struct sha256 sha256;
    struct store_blob blob;

    if (text_parse_hex(name, strlen(name), sha256.b, SHA256_BYTES) < 0)
        return 0; /* not ours: left alone */
    int r = store_blob_find(store, &sha256, &blob);
    if (r == -ENOENT)
        return 1;
    return r < 0 ? r : blob.state == BLOB_FREED;
}

static int sweep_file(void *user, const char *name)
{
    struct sweeping *sweeping = user;
    const struct world *world = sweeping->store->world;
    _cleanup_free_ char *path = files_join(sweeping->directory, name);
    int64_t modified_ms;

    if (!path)
        return -ENOMEM;
    int r = sweeping->temporary ? 1 : is_orphan(sweeping->store, name);
    if (r <= 0)
        return r;
    r = world->verbs->stat(world->context, path, NULL, &modified_ms);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (distance_ms(world->verbs->wall_ms(world->context), modified_ms) < sweeping->older_than_ms)
        return 0;
    r = world->verbs->unlink(world->context, path);
    if (r >= 0)
        sweeping->removed++;
    return r == -ENOENT ? 0 : r;
}

static int note_set_aside(void *user, const char *name)
{
    bool *is_there = user;

    *is_there = *is_there || strncmp(name, SET_ASIDE_PREFIX, strlen(SET_ASIDE_PREFIX)) == 0;
    return 0;
}

/* A damaged database that was set aside may name photos that the one in its place does not know. The centre
 * may ask for them, and people may want them. */
int store_has_set_aside(struct store *store, bool *ret)
{
    *ret = false;
    return store->world->verbs->list(store->world->context, store->directory, note_set_aside, ret);
}

static int sweep_directory(struct sweeping *sweeping, const char *name)
{
    struct store *store = sweeping->store;
    _cleanup_free_ char *path = store_path(store, name);

    if (!path)
        return -ENOMEM;
    int r = store->world->verbs->stat(store->world->context, path, NULL, NULL);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    sweeping->directory = path;
    sweeping->temporary = strcmp(name, PHOTOS_TEMPORARY_NAME) == 0;
    r = store_lock(store);
    if (r < 0)
        return r;
    r = store->world->verbs->list(store->world->context, path, sweep_file, sweeping);
    store_unlock(store);
    return r;
}

/* Only with room to spare: the disk is not to be filled for the sake of a full disk. */
static int restore_ballast(struct store *store)
{
    uint64_t free_bytes;

    if (ballast_is_whole(store))
        return 0;
    int r = store->world->verbs->space(store->world->context, store->directory, &free_bytes);
    if (r < 0 || free_bytes < 2 * (uint64_t)STORE_RESERVE_BYTES)
        return r;
    r = store_lock(store);
    if (r < 0)
        return r;
    r = ballast_make(store);
    store_unlock(store);
    return r == -ENOSPC || r == -EDQUOT ? 0 : r;
}

int store_sweep(struct store *store, uint64_t older_than_ms, uint64_t *ret_removed)
{
    struct sweeping sweeping = {.store = store, .older_than_ms = older_than_ms};
    char name[PHOTO_NAME_LEN + 1];
    bool kept = true;

    if (store->role == STORE_READER)
        return -EROFS;
    int r = sweep_directory(&sweeping, PHOTOS_TEMPORARY_NAME);
    if (r >= 0)
        r = store_has_set_aside(store, &kept);
    for (unsigned first = 0; r >= 0 && !kept && first <= UINT8_MAX; first++) {
        photo_directory_name((uint8_t)first, name);
        r = sweep_directory(&sweeping, name);
    }
    if (r >= 0)
        r = restore_ballast(store);
    if (r >= 0)
        r = store_index_ids(store);
    if (r < 0)
        return r;
    (void)sqlite3_db_release_memory(store->database);
    if (ret_removed)
        *ret_removed = sweeping.removed;
    return 0;
}

/* ---- photos that may go ---- */

struct freeing {
    int64_t now_ms;
    uint64_t age_ms;
    struct sha256 freed[FREE_AT_ONCE];
    size_t count;
};

static int choose(struct store *store, struct freeing *freeing)
{
    static const char sql[] =
        "SELECT sha256 FROM blobs WHERE state = 2 OR (state = 1 AND ?1 - stored_ms >= ?2)"
        " ORDER BY number LIMIT ?3";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    static_assert(BLOB_STORED == 1 && BLOB_BACKED_UP == 2, "the statement says the same");
    freeing->count = 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, freeing->now_ms);
    bind_u64(statement, 2, freeing->age_ms);
    sqlite3_bind_int64(statement, 3, FREE_AT_ONCE);
    while ((r = database_step(store, statement)) > 0 && freeing->count < FREE_AT_ONCE) {
        r = sha256_from_bytes(column_bytes(statement, 0), &freeing->freed[freeing->count]);
        if (r < 0)
            return database_error(store, SQLITE_CORRUPT);
        freeing->count++;
    }
    return r < 0 ? r : 0;
}

static int mark_freed(struct store *store, void *user)
{
    struct freeing *freeing = user;

    int r = choose(store, freeing);
    for (size_t i = 0; r >= 0 && i < freeing->count; i++)
        r = blob_set_state(store, &freeing->freed[i], BLOB_FREED, 0);
    return r;
}

int store_free_photos(struct store *store, int64_t now_ms, uint64_t age_ms, uint64_t *ret_freed)
{
    const struct world *world = store->world;
    struct freeing freeing = {.now_ms = now_ms, .age_ms = age_ms};
    uint64_t freed = 0;

    /* The row first: a file that outlives it is swept, a row that outlived its file would be a loss. */
    do {
        int r = choose(store, &freeing);
        if (r >= 0 && freeing.count > 0)
            r = store_transact(store, mark_freed, &freeing);
        if (r < 0)
            return r;
        for (size_t i = 0; i < freeing.count; i++) {
            _cleanup_free_ char *path = store_blob_path(store, &freeing.freed[i]);
            if (!path)
                return -ENOMEM;
            r = world->verbs->unlink(world->context, path);
            if (r < 0 && r != -ENOENT)
                return r;
            freed++;
        }
    } while (freeing.count > 0);
    if (ret_freed)
        *ret_freed = freed;
    return 0;
}
