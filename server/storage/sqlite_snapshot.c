/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One moment of the SQLite storage as a database of its own. See storage.h.
 *
 * SQLite's backup interface copies pages within one read transaction: writers go on meanwhile, and what they
 * commit is not in the copy.
 */
#include "server/storage/sqlite_internal.h"

#include "base/files.h"

#include <errno.h>

static int error_of(int code)
{
    return code == SQLITE_OK ? 0 : sqlite_errno(code);
}

static int copy_pages(sqlite3 *from, sqlite3 *to)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int code;

    if (!backup)
        return sqlite_errno(sqlite3_extended_errcode(to));
    code = sqlite3_backup_step(backup, -1);
    if (code == SQLITE_DONE)
        code = SQLITE_OK;
    else if (code == SQLITE_OK)
        code = SQLITE_ERROR;
    int finished = sqlite3_backup_finish(backup);
    return error_of(code != SQLITE_OK ? code : finished);
}

int sqlite_snapshot(struct storage *storage, const char *directory)
{
    struct sqlite *sqlite = sqlite_of(storage);
    const struct world *world = sqlite->world;
    _cleanup_free_ char *path = files_join(directory, SQLITE_DATABASE_NAME);
    sqlite3 *copy = NULL;
    int code, r;

    if (!path)
        return -ENOMEM;
    r = world->verbs->unlink(world->context, path);
    if (r < 0 && r != -ENOENT)
        return r;
    code = sqlite3_open_v2(path, &copy,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
        world->vfs_name);
    r = error_of(code);
    if (r >= 0)
        r = error_of(sqlite3_exec(copy, "PRAGMA synchronous = FULL", NULL, NULL, NULL));
    if (r >= 0)
        r = copy_pages(sqlite->db, copy);
    code = sqlite3_close(copy);
    if (r >= 0)
        r = error_of(code);
    return r < 0 ? r : world->verbs->sync_directory(world->context, directory);
}

int storage_sqlite_is_placed(const struct world *world, const char *directory)
{
    _cleanup_free_ char *path = files_join(directory, SQLITE_DATABASE_NAME);
    int r;

    if (!path)
        return -ENOMEM;
    r = world->verbs->stat(world->context, path, NULL, NULL);
    return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

static int remove_beside(const struct world *world, const char *directory, const char *name)
{
    _cleanup_free_ char *path = files_join(directory, name);
    int r;

    if (!path)
        return -ENOMEM;
    r = world->verbs->unlink(world->context, path);
    return r == -ENOENT ? 0 : r;
}

int storage_sqlite_tidy(const struct world *world, const char *directory)
{
    int r = remove_beside(world, directory, SQLITE_DATABASE_NAME "-wal");

    return r < 0 ? r : remove_beside(world, directory, SQLITE_DATABASE_NAME "-shm");
}

/* Whoever writes makes the lock first; whoever only reads leaves a WAL with nothing in it. */
int storage_sqlite_is_unused(const struct world *world, const char *directory)
{
    _cleanup_free_ char *lock = files_join(directory, SQLITE_LOCK_NAME);
    _cleanup_free_ char *wal = files_join(directory, SQLITE_DATABASE_NAME "-wal");
    uint64_t size = 0;
    int r;

    if (!lock || !wal)
        return -ENOMEM;
    r = world->verbs->stat(world->context, lock, NULL, NULL);
    if (r != -ENOENT)
        return r < 0 ? r : -ENOTEMPTY;
    r = world->verbs->stat(world->context, wal, &size, NULL);
    if (r < 0 && r != -ENOENT)
        return r;
    return size > 0 ? -ENOTEMPTY : storage_sqlite_tidy(world, directory);
}

int storage_sqlite_place(const struct world *world, const char *from_directory, const char *to_directory)
{
    _cleanup_free_ char *from = files_join(from_directory, SQLITE_DATABASE_NAME);
    _cleanup_free_ char *to = files_join(to_directory, SQLITE_DATABASE_NAME);
    int r;

    if (!from || !to)
        return -ENOMEM;
    r = storage_sqlite_tidy(world, from_directory);
    if (r >= 0)
        r = world->verbs->rename(world->context, from, to);
    return r < 0 ? r : world->verbs->sync_directory(world->context, to_directory);
}
