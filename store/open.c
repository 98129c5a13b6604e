/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing the store. Called by the programs. The common case, a sound store, is a few `stat`
 * calls, one open and one PRAGMA; whatever looks otherwise is looked at again under the lock, then made,
 * migrated or recovered.
 *
 * Files are looked at by `stat` only: while a connection of this process is open, opening and closing the
 * database's files would drop SQLite's POSIX locks.
 */
#include "store/internal.h"

char *store_path(const struct store *store, const char *name)
{
    return files_join(store->directory, name);
}

int store_file_size(const struct store *store, const char *name, uint64_t *ret)
{
    _cleanup_free_ char *path = store_path(store, name);

    if (!path)
        return -ENOMEM;
    return store->world->verbs->stat(store->world->context, path, ret, NULL);
}

/* What the directory shows before anything is opened. */
enum appearance {
    APPEARS_SOUND,
    APPEARS_NEW,     /* nothing here yet, or a creation that was broken off */
    APPEARS_DAMAGED, /* something that was here is missing, or a mark says so */
};

static int exists(struct store *store, const char *name, bool *ret)
{
    uint64_t size;

    int r = store_file_size(store, name, &size);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret = r >= 0;
    return 0;
}

static int size_or_zero(struct store *store, const char *name, uint64_t *ret)
{
    *ret = 0;
    int r = store_file_size(store, name, ret);
    return r == -ENOENT ? 0 : r;
}

/* The WAL is never removed by us, so a database without one has lost what was recorded last. Only before the
 * first log was opened is there nothing to lose. */
static int look(struct store *store, enum appearance *ret)
{
    uint64_t database_size, wal_size, logs_size;
    bool damage_marked, recovering;

    int r = size_or_zero(store, DATABASE_NAME, &database_size);
    if (r >= 0)
        r = size_or_zero(store, WAL_NAME, &wal_size);
    if (r >= 0)
        r = exists(store, DAMAGE_MARK_NAME, &damage_marked);
    if (r >= 0)
        r = exists(store, RECOVERY_MARK_NAME, &recovering);
    if (r < 0)
        return r;
    if (damage_marked || recovering) {
        *ret = APPEARS_DAMAGED;
        return 0;
    }
    if (database_size > 0 && wal_size > WAL_HEADER_BYTES) {
        *ret = APPEARS_SOUND;
        return 0;
    }
    r = size_or_zero(store, LOGS_NAME, &logs_size);
    if (r < 0)
        return r;
    *ret = logs_size > 0 ? APPEARS_DAMAGED : APPEARS_NEW;
    return 0;
}

int store_make_database_file(struct store *store)
{
    const struct world *world = store->world;
    _cleanup_free_ char *path = store_path(store, DATABASE_NAME);

    if (!path)
        return -ENOMEM;
    int file = world->verbs->open(world->context, path, WORLD_WRITE, false);
    if (file < 0)
        return file;
    int r = world->verbs->close(world->context, file);
    return r < 0 ? r : world->verbs->sync_directory(world->context, store->directory);
}

/* With the lock held. */
static int create(struct store *store, struct store_opened *opened)
{
    int r = store_make_database_file(store);
    if (r < 0)
        return r;
    r = database_open(store);
    if (r < 0)
        return r;
    r = schema_look(store);
    if (r == 2) {
        r = schema_make(store);
        opened->created = r >= 0;
    }
    if (r < 0)
        return r;
    /* A disk too small for the ballast is still good for text. */
    (void)ballast_make(store);
    return 0;
}

/* With the lock held. Whoever writes looks at the WAL before SQLite does: what stands behind a damaged frame
 * SQLite drops without a word, and then writes over. */
static int open_sound(struct store *store)
{
    bool broken = false;

    int r = wal_is_broken(store, &broken);
    if (r < 0 || broken)
        return r < 0 ? r : -EUCLEAN;
    r = database_open(store);
    if (r >= 0)
        r = schema_look(store);
    return r == 1 || r == 2 ? schema_make(store) : r;
}

/* With the lock held: nobody else is creating or recovering now. */
static int open_slowly(struct store *store, struct store_opened *opened)
{
    enum appearance appearance;

    int r = look(store, &appearance);
    if (r < 0)
        return r;
    if (appearance == APPEARS_NEW)
        r = create(store, opened);
    else
        r = appearance == APPEARS_SOUND ? open_sound(store) : -EUCLEAN;
    if (r != -EUCLEAN)
        return r;
    database_close(store);
    return recover(store, opened);
}

int store_make_directories(struct store *store)
{
    const struct world *world = store->world;
    _cleanup_free_ char *photos = store_path(store, PHOTOS_NAME);
    _cleanup_free_ char *temporary = store_path(store, PHOTOS_TEMPORARY_NAME);

    if (!photos || !temporary)
        return -ENOMEM;
    int r = files_make_directory(world, store->directory);
    if (r >= 0)
        r = files_make_directory(world, photos);
    if (r >= 0)
        r = files_make_directory(world, temporary);
    return r;
}

/* Without the lock: while another program is writing, the WAL may look worse than it is, and is looked at
 * again under the lock. */
static int look_at_wal(struct store *store, enum appearance *appearance)
{
    bool broken = false;

    if (*appearance != APPEARS_SOUND || store->role != STORE_COLLECTOR)
        return 0;
    int r = wal_is_broken(store, &broken);
    if (r >= 0 && broken)
        *appearance = APPEARS_DAMAGED;
    return r;
}

static int open_store(struct store *store, struct store_opened *opened)
{
    enum appearance appearance;

    int r = look(store, &appearance);
    if (r >= 0)
        r = look_at_wal(store, &appearance);
    if (r < 0)
        return r;
    if (appearance == APPEARS_SOUND && store->role != STORE_DAEMON) {
        r = database_open(store);
        if (r >= 0)
            r = schema_look(store);
        if (r == 0)
            return 0;
        /* What came with later versions is not there yet: whoever writes next adds it. */
        if (store->role == STORE_READER && r == 1)
            return 0;
        /* Somebody is just making it. */
        if (store->role == STORE_READER && r == 2)
            return -ENOENT;
        if (store->role == STORE_READER)
            return r > 0 ? -EUCLEAN : r;
        database_close(store);
        if (r < 0 && r != -EUCLEAN)
            return r;
    }
    if (store->role == STORE_READER)
        return appearance == APPEARS_NEW ? -ENOENT : -EUCLEAN;
    r = store_make_directories(store);
    if (r < 0)
        return r;
    r = store_lock(store);
    if (r < 0)
        return r;
    r = open_slowly(store, opened);
    store_unlock(store);
    return r;
}

int store_open(const struct world *world, const char *directory, enum store_role role, struct store **ret,
    struct store_opened *ret_opened)
{
    _cleanup_store_ struct store *store = calloc(1, sizeof(*store));
    struct store_opened opened = {0};

    if (!store)
        return -ENOMEM;
    store->world = world;
    store->role = role;
    store->lock = -1;
    store->mark = (struct write_mark)WRITE_MARK_CLOSED;
    store->rotate_records = LOG_ROTATE_RECORDS;
    store->directory = strdup(directory);
    if (!store->directory)
        return -ENOMEM;
    int r = open_store(store, &opened);
    if (r < 0)
        return r;
    if (ret_opened)
        *ret_opened = opened;
    *ret = take_ptr(store);
    return 0;
}

void store_free(struct store *store)
{
    if (!store)
        return;
    database_close(store);
    store_unlock(store);
    write_mark_close(&store->mark, store->world);
    if (store->lock >= 0)
        (void)store->world->verbs->lock_close(store->world->context, store->lock);
    free(store->directory);
    free(store);
}
