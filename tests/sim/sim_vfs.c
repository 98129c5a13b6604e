/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite on the simulated disk: a VFS with real file locks between the connections of one process and shared
 * memory on the heap, so that WAL mode works with several connections as between processes.
 * https://www.sqlite.org/vfs.html
 */
#include "tests/sim/sim_disk_internal.h"

#include <assert.h>
#include <errno.h>

struct sim_sqlite_file {
    sqlite3_file base;
    struct sim_inode *inode;
    uint64_t generation;
    char *path;
    bool delete_on_close;
    bool sync_directory_too; /* a new journal or WAL: its name must be durable with its first sync */
    int lock_level;
    bool shm_mapped;
    unsigned shm_shared_mask, shm_exclusive_mask;
};

static struct sim_sqlite_file *file_of(sqlite3_file *file)
{
    return (struct sim_sqlite_file *)file;
}

static bool file_is_dead(const struct sim_sqlite_file *file)
{
    return file->inode->disk->dead || file->generation != file->inode->disk->generation;
}

static int code_of(int r, int io_code)
{
    if (r >= 0)
        return SQLITE_OK;
    return r == -ENOSPC ? SQLITE_FULL : io_code;
}

static int vfs_close(sqlite3_file *base);

static int vfs_read(sqlite3_file *base, void *ret, int len, sqlite3_int64 offset)
{
    struct sim_sqlite_file *file = file_of(base);
    if (file_is_dead(file))
        return SQLITE_IOERR_READ;
    ssize_t n = sim_inode_read(file->inode, ret, (size_t)len, (uint64_t)offset);
    if (n < 0)
        return SQLITE_IOERR_READ;
    if (n < len) {
        memset((uint8_t *)ret + n, 0, (size_t)(len - n));
        return SQLITE_IOERR_SHORT_READ;
    }
    return SQLITE_OK;
}

static int vfs_write(sqlite3_file *base, const void *data, int len, sqlite3_int64 offset)
{
    struct sim_sqlite_file *file = file_of(base);
    if (file_is_dead(file))
        return SQLITE_IOERR_WRITE;
    return code_of(sim_inode_write(file->inode, data, (size_t)len, (uint64_t)offset), SQLITE_IOERR_WRITE);
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 len)
{
    struct sim_sqlite_file *file = file_of(base);
    if (file_is_dead(file))
        return SQLITE_IOERR_TRUNCATE;
    return code_of(sim_inode_truncate(file->inode, (uint64_t)len), SQLITE_IOERR_TRUNCATE);
}

static void directory_of(const char *path, char *ret, size_t capacity)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    assert(len < capacity);
    memcpy(ret, path, len);
    ret[len] = '\0';
}

static int vfs_sync(sqlite3_file *base, int flags)
{
    (void)flags;
    struct sim_sqlite_file *file = file_of(base);
    if (file_is_dead(file))
        return SQLITE_IOERR_FSYNC;
    int r = sim_inode_sync(file->inode);
    if (r >= 0 && file->sync_directory_too && file->path) {
        char directory[1024];
        directory_of(file->path, directory, sizeof(directory));
        r = sim_disk_sync_directory(file->inode->disk, directory);
        if (r >= 0)
            file->sync_directory_too = false;
    }
    return code_of(r, SQLITE_IOERR_FSYNC);
}

static int vfs_file_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    struct sim_sqlite_file *file = file_of(base);
    if (file_is_dead(file))
        return SQLITE_IOERR_FSTAT;
    *ret = (sqlite3_int64)file->inode->volatile_len;
    return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *base, int level)
{
    struct sim_sqlite_file *file = file_of(base);
    struct sim_inode *inode = file->inode;
    if (file_is_dead(file))
        return SQLITE_IOERR_LOCK;
    if (file->lock_level >= level)
        return SQLITE_OK;
    if (level == SQLITE_LOCK_SHARED) {
        if ((inode->pending_by && inode->pending_by != file) ||
            (inode->exclusive_by && inode->exclusive_by != file))
            return SQLITE_BUSY;
        inode->shared_count++;
        file->lock_level = SQLITE_LOCK_SHARED;
        return SQLITE_OK;
    }
    if (level == SQLITE_LOCK_RESERVED) {
        if (inode->reserved_by && inode->reserved_by != file)
            return SQLITE_BUSY;
        inode->reserved_by = file;
        file->lock_level = SQLITE_LOCK_RESERVED;
        return SQLITE_OK;
    }
    /* Exclusive, by way of pending. */
    if ((inode->pending_by && inode->pending_by != file) ||
        (inode->reserved_by && inode->reserved_by != file))
        return SQLITE_BUSY;
    inode->pending_by = file;
    file->lock_level = SQLITE_LOCK_PENDING;
    if (inode->shared_count > 1)
        return SQLITE_BUSY;
    inode->exclusive_by = file;
    file->lock_level = SQLITE_LOCK_EXCLUSIVE;
    return SQLITE_OK;
}

static int vfs_unlock(sqlite3_file *base, int level)
{
    struct sim_sqlite_file *file = file_of(base);
    struct sim_inode *inode = file->inode;
    if (file->lock_level <= level)
        return SQLITE_OK;
    if (!file_is_dead(file)) {
        if (inode->reserved_by == file)
            inode->reserved_by = NULL;
        if (inode->pending_by == file)
            inode->pending_by = NULL;
        if (inode->exclusive_by == file)
            inode->exclusive_by = NULL;
        if (level == SQLITE_LOCK_NONE && file->lock_level >= SQLITE_LOCK_SHARED) {
            assert(inode->shared_count > 0);
            inode->shared_count--;
        }
    }
    file->lock_level = level;
    return SQLITE_OK;
}

static int vfs_check_reserved_lock(sqlite3_file *base, int *ret)
{
    struct sim_sqlite_file *file = file_of(base);
    *ret = file->inode->reserved_by != NULL;
    return SQLITE_OK;
}

static int vfs_file_control(sqlite3_file *base, int op, void *argument)
{
    (void)base;
    (void)op;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int vfs_sector_size(sqlite3_file *base)
{
    (void)base;
    return SIM_SECTOR;
}

/* As SQLite's own VFS for Unix says of every file system: what is not written to stays as it is. */
static int vfs_device_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- shared memory ---- */

/* Regions are buried, not freed: the connections of a dead machine still point into them until they are
 * closed. */
void sim_inode_shm_free(struct sim_inode *inode)
{
    struct sim_disk *disk = inode->disk;
    for (size_t i = 0; i < SIM_SHM_REGIONS_MAX; i++) {
        if (!inode->shm[i])
            continue;
        disk->graves = realloc(disk->graves, (disk->grave_count + 1) * sizeof(*disk->graves));
        if (!disk->graves)
            abort();
        disk->graves[disk->grave_count++] = inode->shm[i];
        inode->shm[i] = NULL;
    }
    inode->shm_users = 0;
    memset(inode->shm_shared, 0, sizeof(inode->shm_shared));
    memset(inode->shm_exclusive, 0, sizeof(inode->shm_exclusive));
}

static int vfs_shm_map(sqlite3_file *base, int region, int region_size, int extend, void volatile **ret)
{
    struct sim_sqlite_file *file = file_of(base);
    struct sim_inode *inode = file->inode;
    if (file_is_dead(file) || region < 0 || (unsigned)region >= SIM_SHM_REGIONS_MAX)
        return SQLITE_IOERR_SHMMAP;
    if (!file->shm_mapped) {
        file->shm_mapped = true;
        inode->shm_users++;
    }
    if (!inode->shm[region]) {
        if (!extend) {
            *ret = NULL;
            return SQLITE_OK;
        }
        inode->shm[region] = calloc(1, (size_t)region_size);
        if (!inode->shm[region])
            return SQLITE_IOERR_NOMEM;
    }
    *ret = inode->shm[region];
    return SQLITE_OK;
}

static int shm_unlock(struct sim_sqlite_file *file, unsigned mask)
{
    struct sim_inode *inode = file->inode;
    for (unsigned i = 0; i < SQLITE_SHM_NLOCK; i++) {
        if (!(mask & (1u << i)))
            continue;
        if (file->shm_shared_mask & (1u << i)) {
            assert(inode->shm_shared[i] > 0);
            inode->shm_shared[i]--;
        }
        if (inode->shm_exclusive[i] == file)
            inode->shm_exclusive[i] = NULL;
    }
    file->shm_shared_mask &= ~mask;
    file->shm_exclusive_mask &= ~mask;
    return SQLITE_OK;
}

static int vfs_shm_lock(sqlite3_file *base, int offset, int count, int flags)
{
    struct sim_sqlite_file *file = file_of(base);
    struct sim_inode *inode = file->inode;
    if (file_is_dead(file))
        return SQLITE_IOERR_SHMLOCK;
    unsigned mask = ((1u << (offset + count)) - 1) & ~((1u << offset) - 1);
    if (flags & SQLITE_SHM_UNLOCK)
        return shm_unlock(file, mask);
    for (int i = offset; i < offset + count; i++) {
        if (inode->shm_exclusive[i] && inode->shm_exclusive[i] != file)
            return SQLITE_BUSY;
        unsigned own = file->shm_shared_mask >> i & 1u;
        if ((flags & SQLITE_SHM_EXCLUSIVE) && inode->shm_shared[i] > own)
            return SQLITE_BUSY;
    }
    for (int i = offset; i < offset + count; i++) {
        if (flags & SQLITE_SHM_EXCLUSIVE) {
            inode->shm_exclusive[i] = file;
        } else if (!(file->shm_shared_mask >> i & 1u)) {
            inode->shm_shared[i]++;
        }
    }
    if (flags & SQLITE_SHM_EXCLUSIVE)
        file->shm_exclusive_mask |= mask;
    else
        file->shm_shared_mask |= mask;
    return SQLITE_OK;
}

static void vfs_shm_barrier(sqlite3_file *base)
{
    (void)base;
}

static int vfs_shm_unmap(sqlite3_file *base, int delete_it)
{
    (void)delete_it;
    struct sim_sqlite_file *file = file_of(base);
    if (!file->shm_mapped)
        return SQLITE_OK;
    file->shm_mapped = false;
    if (file_is_dead(file))
        return SQLITE_OK; /* the crash has freed it */
    shm_unlock(file, ~0u);
    assert(file->inode->shm_users > 0);
    if (--file->inode->shm_users == 0)
        sim_inode_shm_free(file->inode);
    return SQLITE_OK;
}

static const sqlite3_io_methods sim_io_methods = {
    .iVersion = 2,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_file_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_check_reserved_lock,
    .xFileControl = vfs_file_control,
    .xSectorSize = vfs_sector_size,
    .xDeviceCharacteristics = vfs_device_characteristics,
    .xShmMap = vfs_shm_map,
    .xShmLock = vfs_shm_lock,
    .xShmBarrier = vfs_shm_barrier,
    .xShmUnmap = vfs_shm_unmap,
};

static int vfs_close(sqlite3_file *base)
{
    struct sim_sqlite_file *file = file_of(base);
    vfs_shm_unmap(base, 0);
    vfs_unlock(base, SQLITE_LOCK_NONE);
    if (file->delete_on_close && file->path && !file_is_dead(file))
        sim_disk_unlink(file->inode->disk, file->path);
    sim_inode_unref(file->inode);
    free(file->path);
    return SQLITE_OK;
}

/* ---- the VFS ---- */

static struct sim_disk *disk_of(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *ret_flags)
{
    struct sim_disk *disk = disk_of(vfs);
    struct sim_sqlite_file *file = file_of(base);
    memset(file, 0, sizeof(*file));
    if (disk->dead)
        return SQLITE_CANTOPEN;
    char temporary[64];
    if (!path) {
        snprintf(temporary, sizeof(temporary), "/sqlite-temp-%llx",
            (unsigned long long)sim_random_u64(&disk->random));
        path = temporary;
    }
    bool create = flags & SQLITE_OPEN_CREATE;
    bool existed = sim_name_find(disk, path) && sim_name_find(disk, path)->inode;
    struct sim_inode *inode;
    int r = sim_file_open(disk, path, create, flags & SQLITE_OPEN_EXCLUSIVE, &inode);
    if (r < 0)
        return SQLITE_CANTOPEN;
    file->path = strdup(path);
    if (!file->path)
        return SQLITE_NOMEM;
    file->inode = inode;
    inode->references++;
    file->generation = disk->generation;
    file->delete_on_close = flags & SQLITE_OPEN_DELETEONCLOSE;
    file->sync_directory_too =
        !existed && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL));
    file->base.pMethods = &sim_io_methods;
    if (ret_flags)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
    struct sim_disk *disk = disk_of(vfs);
    int r = sim_disk_unlink(disk, path);
    if (r == -ENOENT)
        return SQLITE_IOERR_DELETE_NOENT;
    if (r >= 0 && sync_directory) {
        char directory[1024];
        directory_of(path, directory, sizeof(directory));
        r = sim_disk_sync_directory(disk, directory);
    }
    return code_of(r, SQLITE_IOERR_DELETE);
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *ret)
{
    (void)flags;
    struct sim_disk *disk = disk_of(vfs);
    if (disk->dead)
        return SQLITE_IOERR_ACCESS;
    struct sim_name *name = sim_name_find(disk, path);
    *ret = name && (name->inode || name->directory) &&
           (flags != SQLITE_ACCESS_EXISTS || name->directory || name->inode);
    return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *path, int capacity, char *ret)
{
    (void)vfs;
    if (snprintf(ret, (size_t)capacity, "%s", path) >= capacity)
        return SQLITE_CANTOPEN;
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int len, char *ret)
{
    struct sim_disk *disk = disk_of(vfs);
    for (int i = 0; i < len; i++)
        ret[i] = (char)(sim_random_u64(&disk->random) >> 16);
    return len;
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    disk_of(vfs)->clock->boot_ms += (uint64_t)us / 1000 + 1;
    return us;
}

static int vfs_current_time(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
    *ret = disk_of(vfs)->clock->wall_ms +
           INT64_C(210866760000000); /* Julian day number of the Unix epoch, in ms */
    return SQLITE_OK;
}

static int vfs_current_time_days(sqlite3_vfs *vfs, double *ret)
{
    sqlite3_int64 ms;
    vfs_current_time(vfs, &ms);
    *ret = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int vfs_get_last_error(sqlite3_vfs *vfs, int len, char *ret)
{
    (void)vfs;
    (void)len;
    (void)ret;
    return 0;
}

void sim_vfs_register(struct sim_disk *disk)
{
    disk->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = sizeof(struct sim_sqlite_file),
        .mxPathname = 1000,
        .zName = disk->vfs_name,
        .pAppData = disk,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_current_time_days,
        .xCurrentTimeInt64 = vfs_current_time,
        .xGetLastError = vfs_get_last_error,
    };
    if (sqlite3_vfs_register(&disk->vfs, 0) != SQLITE_OK)
        abort();
}

void sim_vfs_unregister(struct sim_disk *disk)
{
    sqlite3_vfs_unregister(&disk->vfs);
}
