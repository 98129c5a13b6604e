/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk from inside: shared by its file verbs (sim_disk.c) and its SQLite VFS (sim_vfs.c).
 */
#pragma once

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_random.h"

#include <sqlite3.h>

#define SIM_SECTOR 512u
#define SIM_PAGE 4096u /* of the kernel's cache: what it writes is whole pages */
#define SIM_SHM_REGIONS_MAX 64u

/* A write that no sync has covered yet. */
struct sim_write {
    uint64_t offset;
    size_t len; /* 0: a truncation to `offset` */
    uint8_t *data;
    struct sim_write *next;
};

struct sim_inode {
    struct sim_disk *disk;
    uint8_t *volatile_data, *durable_data;
    uint64_t volatile_len, durable_len;
    size_t volatile_capacity, durable_capacity;
    struct sim_write *pending, **pending_end; /* since the last sync, in order */
    uint64_t references;                      /* names and open handles */
    int64_t modified_ms;
    bool *lost_pages; /* written, but given up by a failed sync: only the next write to them mends them */
    uint64_t lost_page_count;
    int flock_holder; /* lock handle + 1, 0: free */
    /* SQLite's locks on the database file. */
    unsigned shared_count;
    const void *reserved_by, *pending_by, *exclusive_by;
    /* SQLite's shared memory: on the heap, as the design asks. */
    void *shm[SIM_SHM_REGIONS_MAX];
    unsigned shm_users;
    unsigned shm_shared[SQLITE_SHM_NLOCK];
    const void *shm_exclusive[SQLITE_SHM_NLOCK];
    struct sim_inode *next; /* all inodes of the disk */
};

struct sim_name {
    char *path;
    struct sim_inode *inode; /* NULL: a directory, or nothing */
    bool directory;
    struct sim_inode *durable_inode; /* what the durable directory says */
    bool durable_directory;
    struct sim_name *next;
};

struct sim_handle {
    struct sim_inode *inode;
    uint64_t generation;
    bool open, writable, is_lock;
};

struct sim_disk {
    char *vfs_name;
    sqlite3_vfs vfs;
    struct world world;
    struct sim_clock *clock;
    struct sim_random random;
    struct sim_name *names;
    struct sim_inode *inodes;
    struct sim_handle *handles;
    size_t handle_count;
    uint64_t generation;
    uint64_t capacity;
    uint64_t crash_in; /* operations until the planned crash, 0: none */
    uint64_t stop_in;  /* operations until the planned end of a process, 0: none */
    unsigned syncs_before_failing, failing_syncs;
    bool dead, stopped;
    struct sim_disk_counts counts;
    void **graves; /* shared memory of the dead */
    size_t grave_count;
};

struct sim_name *sim_name_find(struct sim_disk *disk, const char *path);
int sim_file_open(
    struct sim_disk *disk, const char *path, bool create, bool exclusive, struct sim_inode **ret);
/* Counts one changing operation; -EIO when the machine is dead or dies by it. */
int sim_disk_step(struct sim_disk *disk);
void sim_inode_unref(struct sim_inode *inode);
ssize_t sim_inode_read(const struct sim_inode *inode, void *ret, size_t len, uint64_t offset);
int sim_inode_write(struct sim_inode *inode, const void *data, size_t len, uint64_t offset);
int sim_inode_truncate(struct sim_inode *inode, uint64_t len);
int sim_inode_sync(struct sim_inode *inode);
int sim_disk_unlink(struct sim_disk *disk, const char *path);
int sim_disk_sync_directory(struct sim_disk *disk, const char *path);
/* Registers and unregisters the disk's VFS (sim_vfs.c). */
void sim_vfs_register(struct sim_disk *disk);
void sim_vfs_unregister(struct sim_disk *disk);
void sim_inode_shm_free(struct sim_inode *inode);
/* Memory that must be there: the simulator does not simulate its own running out. */
void *sim_must_alloc(void *pointer);
struct sim_name *sim_name_get(struct sim_disk *disk, const char *path);
void sim_name_set_inode(struct sim_inode **slot, struct sim_inode *inode);
bool sim_name_is_in(const char *path, const char *directory, const char **ret_rest);
extern const struct world_verbs sim_world_verbs;
