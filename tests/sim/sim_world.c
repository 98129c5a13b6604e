/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk as a world (base/world.h): its verbs over the files of sim_disk.c, and the machine's
 * clock and chances.
 */
#include "tests/sim/sim_disk_internal.h"

#include <assert.h>
#include <errno.h>

static int64_t sim_wall_ms(void *context)
{
    return ((struct sim_disk *)context)->clock->wall_ms;
}

static uint64_t sim_boot_ms(void *context)
{
    return ((struct sim_disk *)context)->clock->boot_ms;
}

static int32_t sim_utc_offset_min(void *context, int64_t wall_ms)
{
    (void)context;
    (void)wall_ms;
    return 480;
}

static void sim_boot_id(void *context, uint8_t ret[BOOT_ID_BYTES])
{
    memcpy(ret, ((struct sim_disk *)context)->clock->boot_id, BOOT_ID_BYTES);
}

static void sim_random_fill(void *context, void *ret, size_t len)
{
    struct sim_disk *disk = context;
    uint8_t *out = ret;
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(sim_random_u64(&disk->random) >> 24);
}

static int handle_new(struct sim_disk *disk, struct sim_inode *inode, bool writable, bool is_lock)
{
    size_t index = 0;
    while (index < disk->handle_count && disk->handles[index].open)
        index++;
    if (index == disk->handle_count) {
        disk->handle_count++;
        disk->handles = sim_must_alloc(realloc(disk->handles, disk->handle_count * sizeof(*disk->handles)));
    }
    inode->references++;
    disk->handles[index] = (struct sim_handle){.inode = inode,
        .generation = disk->generation,
        .open = true,
        .writable = writable,
        .is_lock = is_lock};
    return (int)index;
}

static int handle_get(struct sim_disk *disk, int file, struct sim_handle **ret)
{
    assert(file >= 0 && (size_t)file < disk->handle_count && disk->handles[file].open);
    struct sim_handle *handle = &disk->handles[file];
    if (disk->dead || handle->generation != disk->generation)
        return -EIO;
    *ret = handle;
    return 0;
}

static int sim_open(void *context, const char *path, enum world_open how, bool secret)
{
    (void)secret;
    struct sim_disk *disk = context;
    if (disk->dead)
        return -EIO;
    struct sim_inode *inode;
    int r = sim_file_open(disk, path, how != WORLD_READ, how == WORLD_CREATE, &inode);
    if (r < 0)
        return r;
    return handle_new(disk, inode, how != WORLD_READ, false);
}

static int sim_close(void *context, int file)
{
    struct sim_disk *disk = context;
    assert(file >= 0 && (size_t)file < disk->handle_count && disk->handles[file].open);
    struct sim_handle *handle = &disk->handles[file];
    if (handle->is_lock && handle->inode->flock_holder == file + 1)
        handle->inode->flock_holder = 0;
    handle->open = false;
    sim_inode_unref(handle->inode);
    return 0;
}

static ssize_t sim_read(void *context, int file, void *ret, size_t len, uint64_t offset)
{
    struct sim_handle *handle;
    int r = handle_get(context, file, &handle);
    return r < 0 ? r : sim_inode_read(handle->inode, ret, len, offset);
}

static int sim_write(void *context, int file, const void *data, size_t len, uint64_t offset)
{
    struct sim_handle *handle;
    int r = handle_get(context, file, &handle);
    if (r < 0)
        return r;
    assert(handle->writable);
    return sim_inode_write(handle->inode, data, len, offset);
}

static int sim_truncate(void *context, int file, uint64_t len)
{
    struct sim_handle *handle;
    int r = handle_get(context, file, &handle);
    return r < 0 ? r : sim_inode_truncate(handle->inode, len);
}

static int sim_size(void *context, int file, uint64_t *ret)
{
    struct sim_handle *handle;
    int r = handle_get(context, file, &handle);
    if (r < 0)
        return r;
    *ret = handle->inode->volatile_len;
    return 0;
}

static int sim_sync(void *context, int file)
{
    struct sim_handle *handle;
    int r = handle_get(context, file, &handle);
    return r < 0 ? r : sim_inode_sync(handle->inode);
}

static int sim_rename(void *context, const char *from, const char *to)
{
    struct sim_disk *disk = context;
    struct sim_name *source = sim_name_find(disk, from);
    if (!source || (!source->inode && !source->directory))
        return -ENOENT;
    int r = sim_disk_step(disk);
    if (r < 0)
        return r;
    assert(!source->directory); /* nobody renames directories */
    struct sim_name *target = sim_name_get(disk, to);
    sim_name_set_inode(&target->inode, source->inode);
    sim_name_set_inode(&source->inode, NULL);
    return 0;
}

static int sim_unlink(void *context, const char *path)
{
    return sim_disk_unlink(context, path);
}

static int sim_make_directory(void *context, const char *path)
{
    struct sim_disk *disk = context;
    struct sim_name *name = sim_name_find(disk, path);
    if (name && (name->directory || name->inode))
        return -EEXIST;
    int r = sim_disk_step(disk);
    if (r < 0)
        return r;
    sim_name_get(disk, path)->directory = true;
    return 0;
}

static int sim_sync_directory_verb(void *context, const char *path)
{
    return sim_disk_sync_directory(context, path);
}

static int sim_list(void *context, const char *path, int (*each)(void *user, const char *name), void *user)
{
    struct sim_disk *disk = context;
    if (disk->dead)
        return -EIO;
    struct sim_name *directory = sim_name_find(disk, path);
    if (!directory || !directory->directory)
        return -ENOENT;
    /* The callback may add names (put in front) or unlink (kept as empty names): walking on stays valid. */
    for (struct sim_name *name = disk->names; name; name = name->next) {
        const char *rest;
        if ((!name->inode && !name->directory) || !sim_name_is_in(name->path, path, &rest))
            continue;
        int r = each(user, rest);
        if (r < 0)
            return r;
    }
    return 0;
}

static int sim_stat(void *context, const char *path, uint64_t *ret_size, int64_t *ret_modified_ms)
{
    struct sim_disk *disk = context;
    if (disk->dead)
        return -EIO;
    struct sim_name *name = sim_name_find(disk, path);
    if (!name || (!name->inode && !name->directory))
        return -ENOENT;
    if (ret_size)
        *ret_size = name->inode ? name->inode->volatile_len : 0;
    if (ret_modified_ms)
        *ret_modified_ms = name->inode ? name->inode->modified_ms : 0;
    return 0;
}

static int sim_space(void *context, const char *path, uint64_t *ret_free_bytes)
{
    (void)path;
    struct sim_disk *disk = context;
    uint64_t used = sim_disk_used(disk);
    if (disk->capacity == 0)
        *ret_free_bytes = UINT64_C(1) << 40;
    else
        *ret_free_bytes = used < disk->capacity ? disk->capacity - used : 0;
    return 0;
}

static int sim_lock_open(void *context, const char *path)
{
    struct sim_disk *disk = context;
    if (disk->dead)
        return -EIO;
    struct sim_inode *inode;
    int r = sim_file_open(disk, path, true, false, &inode);
    if (r < 0)
        return r;
    return handle_new(disk, inode, true, true);
}

static int sim_try_lock(void *context, int lock)
{
    struct sim_handle *handle;
    int r = handle_get(context, lock, &handle);
    if (r < 0)
        return r;
    assert(handle->inode->flock_holder != lock + 1); /* nobody takes it twice */
    if (handle->inode->flock_holder != 0)
        return -EWOULDBLOCK;
    handle->inode->flock_holder = lock + 1;
    return 0;
}

static int sim_unlock(void *context, int lock)
{
    struct sim_handle *handle;
    int r = handle_get(context, lock, &handle);
    if (r < 0)
        return r;
    assert(handle->inode->flock_holder == lock + 1);
    handle->inode->flock_holder = 0;
    return 0;
}

static void sim_pause_ms(void *context, unsigned ms)
{
    ((struct sim_disk *)context)->clock->boot_ms += ms;
}

const struct world_verbs sim_world_verbs = {
    .wall_ms = sim_wall_ms,
    .boot_ms = sim_boot_ms,
    .utc_offset_min = sim_utc_offset_min,
    .boot_id = sim_boot_id,
    .random = sim_random_fill,
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .truncate = sim_truncate,
    .size = sim_size,
    .sync = sim_sync,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .make_directory = sim_make_directory,
    .sync_directory = sim_sync_directory_verb,
    .list = sim_list,
    .stat = sim_stat,
    .space = sim_space,
    .lock_open = sim_lock_open,
    .try_lock = sim_try_lock,
    .unlock = sim_unlock,
    .lock_close = sim_close,
    .pause_ms = sim_pause_ms,
};
