/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and directories of the simulated disk; what a crash keeps. See sim_disk.h.
 */
#include "tests/sim/sim_disk_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

void *sim_must_alloc(void *pointer)
{
    if (!pointer)
        abort(); /* the simulator does not simulate its own memory running out */
    return pointer;
}

int sim_disk_step(struct sim_disk *disk)
{
    if (disk->dead)
        return -EIO;
    if (disk->crash_in > 0 && --disk->crash_in == 0) {
        disk->dead = true;
        return -EIO;
    }
    if (disk->stop_in > 0 && --disk->stop_in == 0)
        disk->stopped = true;
    return disk->stopped ? -EIO : 0;
}

/* ---- inodes ---- */

static struct sim_inode *inode_new(struct sim_disk *disk)
{
    struct sim_inode *inode = sim_must_alloc(calloc(1, sizeof(*inode)));
    inode->disk = disk;
    inode->pending_end = &inode->pending;
    inode->modified_ms = disk->clock->wall_ms;
    inode->next = disk->inodes;
    disk->inodes = inode;
    return inode;
}

static void inode_forget_pending(struct sim_inode *inode)
{
    while (inode->pending) {
        struct sim_write *write = inode->pending;
        inode->pending = write->next;
        free(write->data);
        free(write);
    }
    inode->pending_end = &inode->pending;
}

static void inode_free(struct sim_inode *inode)
{
    inode_forget_pending(inode);
    sim_inode_shm_free(inode);
    free(inode->volatile_data);
    free(inode->durable_data);
    free(inode->lost_pages);
    free(inode);
}

void sim_inode_unref(struct sim_inode *inode)
{
    assert(inode->references > 0);
    inode->references--;
    if (inode->references > 0)
        return;
    for (struct sim_inode **at = &inode->disk->inodes; *at; at = &(*at)->next) {
        if (*at == inode) {
            *at = inode->next;
            break;
        }
    }
    inode_free(inode);
}

static void volatile_reserve(struct sim_inode *inode, uint64_t len)
{
    if (len <= inode->volatile_capacity)
        return;
    size_t capacity = inode->volatile_capacity ? inode->volatile_capacity : 4096;
    while (capacity < len)
        capacity *= 2;
    inode->volatile_data = sim_must_alloc(realloc(inode->volatile_data, capacity));
    inode->volatile_capacity = capacity;
}

static void volatile_set_len(struct sim_inode *inode, uint64_t len)
{
    volatile_reserve(inode, len);
    if (len > inode->volatile_len)
        memset(inode->volatile_data + inode->volatile_len, 0, len - inode->volatile_len);
    inode->volatile_len = len;
}

static void note_pending(struct sim_inode *inode, uint64_t offset, const void *data, size_t len)
{
    struct sim_write *write = sim_must_alloc(calloc(1, sizeof(*write)));
    write->offset = offset;
    write->len = len;
    if (len > 0) {
        write->data = sim_must_alloc(malloc(len));
        memcpy(write->data, data, len);
    }
    *inode->pending_end = write;
    inode->pending_end = &write->next;
}

uint64_t sim_disk_used(const struct sim_disk *disk)
{
    uint64_t used = 0;
    for (const struct sim_inode *inode = disk->inodes; inode; inode = inode->next)
        used += inode->volatile_len;
    return used;
}

ssize_t sim_inode_read(const struct sim_inode *inode, void *ret, size_t len, uint64_t offset)
{
    if (offset >= inode->volatile_len)
        return 0;
    uint64_t left = inode->volatile_len - offset;
    size_t taken = left < len ? (size_t)left : len;
    memcpy(ret, inode->volatile_data + offset, taken);
    return (ssize_t)taken;
}

int sim_inode_write(struct sim_inode *inode, const void *data, size_t len, uint64_t offset)
{
    struct sim_disk *disk = inode->disk;
    int r = sim_disk_step(disk);
    if (r < 0)
        return r;
    if (len == 0)
        return 0;
    uint64_t end = offset + len;
    if (disk->capacity > 0 && end > inode->volatile_len &&
        sim_disk_used(disk) + (end - inode->volatile_len) > disk->capacity)
        return -ENOSPC;
    if (end > inode->volatile_len)
        volatile_set_len(inode, end);
    memcpy(inode->volatile_data + offset, data, len);
    inode->modified_ms = disk->clock->wall_ms;
    note_pending(inode, offset, data, len);
    disk->counts.writes++;
    return 0;
}

int sim_inode_truncate(struct sim_inode *inode, uint64_t len)
{
    int r = sim_disk_step(inode->disk);
    if (r < 0)
        return r;
    volatile_set_len(inode, len);
    note_pending(inode, len, NULL, 0);
    return 0;
}

static void durable_set_len(struct sim_inode *inode, uint64_t len)
{
    if (len > inode->durable_capacity) {
        size_t capacity = inode->durable_capacity ? inode->durable_capacity : 4096;

        while (capacity < len)
            capacity *= 2;
        inode->durable_data = sim_must_alloc(realloc(inode->durable_data, capacity));
        inode->durable_capacity = capacity;
    }
    if (len > inode->durable_len)
        memset(inode->durable_data + inode->durable_len, 0, len - inode->durable_len);
    inode->durable_len = len;
}

/* A write, or with `len` 0 a truncation to `offset`. */
static void durable_apply(struct sim_inode *inode, uint64_t offset, const uint8_t *data, size_t len)
{
    if (len == 0) {
        durable_set_len(inode, offset);
        return;
    }
    if (offset + len > inode->durable_len)
        durable_set_len(inode, offset + len);
    memcpy(inode->durable_data + offset, data, len);
}

/* The kernel writes whole pages: what a failed sync had left of this one goes along. */
static void mend_page(struct sim_inode *inode, uint64_t page)
{
    uint64_t start = page * SIM_PAGE;

    if (page >= inode->lost_page_count || !inode->lost_pages[page])
        return;
    inode->lost_pages[page] = false;
    if (start >= inode->volatile_len)
        return;
    uint64_t left = inode->volatile_len - start;
    durable_apply(inode, start, inode->volatile_data + start, left < SIM_PAGE ? (size_t)left : SIM_PAGE);
}

static void inode_flush(struct sim_inode *inode)
{
    for (const struct sim_write *write = inode->pending; write; write = write->next) {
        durable_apply(inode, write->offset, write->data, write->len);
        for (uint64_t at = write->offset / SIM_PAGE;
             write->len > 0 && at * SIM_PAGE < write->offset + write->len; at++)
            mend_page(inode, at);
    }
    inode_forget_pending(inode);
}

static void lose_page(struct sim_inode *inode, uint64_t page)
{
    if (page >= inode->lost_page_count) {
        uint64_t count = 2 * page + 16;

        inode->lost_pages = sim_must_alloc(realloc(inode->lost_pages, count * sizeof(bool)));
        memset(
            inode->lost_pages + inode->lost_page_count, 0, (count - inode->lost_page_count) * sizeof(bool));
        inode->lost_page_count = count;
    }
    inode->lost_pages[page] = true;
}

/* As Linux does: the error is told once, and the pages are taken for clean. Lengths are the journal's. */
static void inode_lose_pending(struct sim_inode *inode)
{
    for (const struct sim_write *write = inode->pending; write; write = write->next) {
        if (write->len == 0)
            durable_set_len(inode, write->offset);
        for (uint64_t at = write->offset / SIM_PAGE;
             write->len > 0 && at * SIM_PAGE < write->offset + write->len; at++)
            lose_page(inode, at);
    }
    inode_forget_pending(inode);
}

int sim_inode_sync(struct sim_inode *inode)
{
    struct sim_disk *disk = inode->disk;
    int r = sim_disk_step(disk);
    if (r < 0)
        return r;
    disk->counts.syncs++;
    if (disk->failing_syncs > 0 && disk->syncs_before_failing > 0) {
        disk->syncs_before_failing--;
    } else if (disk->failing_syncs > 0) {
        disk->failing_syncs--;
        inode_lose_pending(inode);
        return -EIO;
    }
    inode_flush(inode);
    return 0;
}

/* ---- names ---- */

struct sim_name *sim_name_find(struct sim_disk *disk, const char *path)
{
    for (struct sim_name *name = disk->names; name; name = name->next)
        if (strcmp(name->path, path) == 0)
            return name;
    return NULL;
}

struct sim_name *sim_name_get(struct sim_disk *disk, const char *path)
{
    struct sim_name *name = sim_name_find(disk, path);
    if (name)
        return name;
    name = sim_must_alloc(calloc(1, sizeof(*name)));
    name->path = sim_must_alloc(strdup(path));
    name->next = disk->names;
    disk->names = name;
    return name;
}

void sim_name_set_inode(struct sim_inode **slot, struct sim_inode *inode)
{
    if (inode)
        inode->references++;
    struct sim_inode *old = *slot;
    *slot = inode;
    if (old)
        sim_inode_unref(old);
}

int sim_file_open(
    struct sim_disk *disk, const char *path, bool create, bool exclusive, struct sim_inode **ret)
{
    struct sim_name *name = sim_name_find(disk, path);
    if (name && name->directory)
        return -EISDIR;
    if (name && name->inode) {
        if (create && exclusive)
            return -EEXIST;
        *ret = name->inode;
        return 0;
    }
    if (!create)
        return -ENOENT;
    int r = sim_disk_step(disk);
    if (r < 0)
        return r;
    name = sim_name_get(disk, path);
    sim_name_set_inode(&name->inode, inode_new(disk));
    *ret = name->inode;
    return 0;
}

int sim_disk_unlink(struct sim_disk *disk, const char *path)
{
    struct sim_name *name = sim_name_find(disk, path);
    if (!name || (!name->inode && !name->directory))
        return -ENOENT;
    int r = sim_disk_step(disk);
    if (r < 0)
        return r;
    sim_name_set_inode(&name->inode, NULL);
    name->directory = false;
    return 0;
}

bool sim_name_is_in(const char *path, const char *directory, const char **ret_rest)
{
    size_t len = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
    if (strncmp(path, directory, len) != 0 || path[len] != '/')
        return false;
    *ret_rest = path + len + 1;
    return strchr(*ret_rest, '/') == NULL;
}

int sim_disk_sync_directory(struct sim_disk *disk, const char *path)
{
    int r = sim_disk_step(disk);
    if (r < 0)
        return r;
    disk->counts.directory_syncs++;
    const char *rest;
    for (struct sim_name *name = disk->names; name; name = name->next) {
        if (!sim_name_is_in(name->path, path, &rest))
            continue;
        sim_name_set_inode(&name->durable_inode, name->inode);
        name->durable_directory = name->directory;
    }
    return 0;
}

/* ---- crashes ---- */

/* A random part of what was written since the last sync reaches the disk: each 512-byte sector by its own
 * chance, lengths by chance. */
static void inode_crash(struct sim_inode *inode)
{
    struct sim_random *random = &inode->disk->random;
    bool torn = sim_random_chance(random, 70);
    for (struct sim_write *write = inode->pending; torn && write; write = write->next) {
        if (write->len == 0) {
            if (sim_random_chance(random, 50) && write->offset < inode->durable_len)
                durable_set_len(inode, write->offset);
            continue;
        }
        for (uint64_t at = 0; at < write->len;) {
            uint64_t sector_end = (write->offset + at) / SIM_SECTOR * SIM_SECTOR + SIM_SECTOR - write->offset;
            uint64_t end = sector_end < write->len ? sector_end : write->len;
            if (sim_random_chance(random, 50))
                durable_apply(inode, write->offset + at, write->data + at, end - at);
            at = end;
        }
    }
    inode_forget_pending(inode);
    for (uint64_t page = 0; page < inode->lost_page_count; page++)
        inode->lost_pages[page] = false;
    volatile_set_len(inode, 0);
    volatile_set_len(inode, inode->durable_len);
    if (inode->durable_len > 0)
        memcpy(inode->volatile_data, inode->durable_data, inode->durable_len);
}

static void locks_forget(struct sim_inode *inode)
{
    inode->flock_holder = 0;
    inode->shared_count = 0;
    inode->reserved_by = inode->pending_by = inode->exclusive_by = NULL;
    sim_inode_shm_free(inode);
}

void sim_disk_kill(struct sim_disk *disk)
{
    disk->generation++;
    for (struct sim_inode *inode = disk->inodes; inode; inode = inode->next)
        locks_forget(inode);
}

void sim_disk_crash(struct sim_disk *disk)
{
    disk->counts.crashes++;
    disk->dead = false;
    disk->crash_in = 0;
    disk->failing_syncs = disk->syncs_before_failing = 0;
    sim_disk_kill(disk);
    sim_disk_end_stop(disk);
    /* Unsynced directory changes may or may not have reached the disk: one chance for all, as a journalling
     * file system commits them together and a rename is never half done. */
    bool reached = sim_random_chance(&disk->random, 50);
    for (struct sim_name *name = disk->names; name; name = name->next) {
        if (reached) {
            sim_name_set_inode(&name->durable_inode, name->inode);
            name->durable_directory = name->directory;
        } else {
            sim_name_set_inode(&name->inode, name->durable_inode);
            name->directory = name->durable_directory;
        }
    }
    for (struct sim_inode *inode = disk->inodes; inode; inode = inode->next)
        inode_crash(inode);
}

void sim_disk_plan_crash(struct sim_disk *disk, uint64_t operations)
{
    disk->crash_in = operations;
}

void sim_disk_die(struct sim_disk *disk)
{
    disk->dead = true;
}

void sim_disk_plan_stop(struct sim_disk *disk, uint64_t operations)
{
    disk->stop_in = operations;
}

void sim_disk_stop(struct sim_disk *disk)
{
    disk->stopped = true;
}

bool sim_disk_is_stopped(const struct sim_disk *disk)
{
    return disk->stopped;
}

void sim_disk_end_stop(struct sim_disk *disk)
{
    disk->stopped = false;
    disk->stop_in = 0;
}

bool sim_disk_is_dead(const struct sim_disk *disk)
{
    return disk->dead;
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes)
{
    disk->capacity = bytes;
}

void sim_disk_fail_syncs(struct sim_disk *disk, unsigned count)
{
    sim_disk_plan_failing_syncs(disk, 0, count);
}

void sim_disk_plan_failing_syncs(struct sim_disk *disk, unsigned after, unsigned count)
{
    disk->syncs_before_failing = after;
    disk->failing_syncs = count;
}

struct sim_disk_counts sim_disk_counts(const struct sim_disk *disk)
{
    return disk->counts;
}

/* ---- backups ---- */

struct sim_saved_file {
    char *path;
    bool directory;
    uint8_t *data;
    uint64_t len;
    struct sim_saved_file *next;
};

struct sim_disk_image {
    struct sim_saved_file *files;
};

struct sim_disk_image *sim_disk_snapshot(const struct sim_disk *disk)
{
    struct sim_disk_image *image = sim_must_alloc(calloc(1, sizeof(*image)));
    for (const struct sim_name *name = disk->names; name; name = name->next) {
        if (!name->durable_inode && !name->durable_directory)
            continue;
        struct sim_saved_file *file = sim_must_alloc(calloc(1, sizeof(*file)));
        file->path = sim_must_alloc(strdup(name->path));
        file->directory = name->durable_directory;
        if (name->durable_inode) {
            file->len = name->durable_inode->durable_len;
            file->data = sim_must_alloc(malloc(file->len + 1));
            if (file->len > 0)
                memcpy(file->data, name->durable_inode->durable_data, file->len);
        }
        file->next = image->files;
        image->files = file;
    }
    return image;
}

static bool is_under(const char *path, const char *directory)
{
    size_t len = strlen(directory);

    return strncmp(path, directory, len) == 0 && (path[len] == '/' || path[len] == 0);
}

static void saved_file_free(struct sim_saved_file *file)
{
    free(file->path);
    free(file->data);
    free(file);
}

void sim_disk_image_copy(struct sim_disk_image *image, const char *from, const char *to)
{
    struct sim_saved_file *copies = NULL;

    for (struct sim_saved_file **at = &image->files; *at;) {
        struct sim_saved_file *file = *at;

        if (is_under(file->path, to)) {
            *at = file->next;
            saved_file_free(file);
            continue;
        }
        if (is_under(file->path, from)) {
            struct sim_saved_file *copy = sim_must_alloc(calloc(1, sizeof(*copy)));

            *copy = (struct sim_saved_file){.directory = file->directory, .len = file->len, .next = copies};
            if (asprintf(&copy->path, "%s%s", to, file->path + strlen(from)) < 0)
                abort();
            if (file->data) {
                copy->data = sim_must_alloc(malloc(file->len + 1));
                memcpy(copy->data, file->data, file->len);
            }
            copies = copy;
        }
        at = &file->next;
    }
    while (copies) {
        struct sim_saved_file *copy = copies;

        copies = copy->next;
        copy->next = image->files;
        image->files = copy;
    }
}

void sim_disk_restore(struct sim_disk *disk, const struct sim_disk_image *image)
{
    sim_disk_kill(disk);
    disk->dead = false;
    disk->crash_in = 0;
    for (struct sim_name *name = disk->names; name; name = name->next) {
        sim_name_set_inode(&name->inode, NULL);
        sim_name_set_inode(&name->durable_inode, NULL);
        name->directory = name->durable_directory = false;
    }
    for (const struct sim_saved_file *file = image->files; file; file = file->next) {
        struct sim_name *name = sim_name_get(disk, file->path);
        name->directory = name->durable_directory = file->directory;
        if (file->directory)
            continue;
        struct sim_inode *inode = inode_new(disk);
        volatile_set_len(inode, file->len);
        durable_set_len(inode, file->len);
        inode->modified_ms = disk->clock->wall_ms;
        if (file->len > 0) {
            memcpy(inode->volatile_data, file->data, file->len);
            memcpy(inode->durable_data, file->data, file->len);
        }
        sim_name_set_inode(&name->inode, inode);
        sim_name_set_inode(&name->durable_inode, inode);
    }
}

void sim_disk_image_free(struct sim_disk_image *image)
{
    if (!image)
        return;
    while (image->files) {
        struct sim_saved_file *file = image->files;
        image->files = file->next;
        saved_file_free(file);
    }
    free(image);
}

int sim_disk_remove(struct sim_disk *disk, const char *path)
{
    struct sim_name *name = sim_name_find(disk, path);
    if (!name || !name->inode)
        return -ENOENT;
    sim_name_set_inode(&name->inode, NULL);
    sim_name_set_inode(&name->durable_inode, NULL);
    return 0;
}

int sim_disk_flip_bit(struct sim_disk *disk, const char *path, uint64_t bit)
{
    struct sim_name *name = sim_name_find(disk, path);
    if (!name || !name->inode)
        return -ENOENT;
    uint64_t at = bit / 8;
    if (at >= name->inode->volatile_len)
        return -EINVAL;
    name->inode->volatile_data[at] ^= (uint8_t)(1u << (bit % 8));
    if (at < name->inode->durable_len)
        name->inode->durable_data[at] ^= (uint8_t)(1u << (bit % 8));
    return 0;
}

/* ---- birth and death ---- */

struct sim_disk *sim_disk_new(const char *name, uint64_t seed, struct sim_clock *clock)
{
    struct sim_disk *disk = sim_must_alloc(calloc(1, sizeof(*disk)));
    if (asprintf(&disk->vfs_name, "sim-%s-%p", name, (void *)disk) < 0)
        abort();
    disk->clock = clock;
    disk->random.state = seed;
    sim_vfs_register(disk);
    disk->world = (struct world){.verbs = &sim_world_verbs, .context = disk, .vfs_name = disk->vfs_name};
    return disk;
}

const struct world *sim_disk_world(struct sim_disk *disk)
{
    return &disk->world;
}

void sim_disk_free(struct sim_disk *disk)
{
    if (!disk)
        return;
    sim_vfs_unregister(disk);
    while (disk->names) {
        struct sim_name *name = disk->names;
        disk->names = name->next;
        sim_name_set_inode(&name->inode, NULL);
        sim_name_set_inode(&name->durable_inode, NULL);
        free(name->path);
        free(name);
    }
    for (size_t i = 0; i < disk->handle_count; i++)
        if (disk->handles[i].open)
            sim_inode_unref(disk->handles[i].inode);
    assert(!disk->inodes); /* a SQLite handle was left open */
    for (size_t i = 0; i < disk->grave_count; i++)
        free(disk->graves[i]);
    free(disk->graves);
    free(disk->handles);
    free(disk->vfs_name);
    free(disk);
}
