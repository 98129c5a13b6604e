/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world as one table of verbs: clock, random, files, lock, and the database's VFS.
 *
 * The store and the server's storage reach everything outside the process through it, so that the simulator
 * can put a clock and a disk of its own underneath and crash everything at one instant. `world_posix()` is
 * the real one.
 *
 * Paths are plain path names. All verbs return 0 (or a count, or a handle >= 0) or -errno. Handles are opaque
 * numbers.
 */
#pragma once

#include "base/bytes.h"

#define BOOT_ID_BYTES 16u

enum world_open {
    WORLD_READ,   /* existing file, reading */
    WORLD_CREATE, /* new file for writing and reading; -EEXIST when it exists */
    WORLD_WRITE,  /* existing or new file for writing and reading, not truncated */
};

struct world_verbs {
    /* Wall clock: Unix ms, may jump. Boot clock: ms since boot, counts suspend, never goes back within a
     * boot. The boot id is all zeros where it cannot be known. */
    int64_t (*wall_ms)(void *context);
    uint64_t (*boot_ms)(void *context);
    /* Minutes east of UTC of the local time zone at `wall_ms`. */
    int32_t (*utc_offset_min)(void *context, int64_t wall_ms);
    void (*boot_id)(void *context, uint8_t ret[BOOT_ID_BYTES]);
    /* Cryptographic random bytes. */
    void (*random)(void *context, void *ret, size_t len);

    /* New files get mode 0660 less the umask, `secret` ones 0600. */
    int (*open)(void *context, const char *path, enum world_open how, bool secret);
    int (*close)(void *context, int file);
    /* Bytes read at `offset`: fewer than `len` only at the end of the file. */
    ssize_t (*read)(void *context, int file, void *ret, size_t len, uint64_t offset);
    /* Writes all of it or fails. */
    int (*write)(void *context, int file, const void *data, size_t len, uint64_t offset);
    int (*truncate)(void *context, int file, uint64_t len);
    int (*size)(void *context, int file, uint64_t *ret);
    /* fsync. After a failure the file's content is unknown: rewrite it under a new name, never sync it again.
     */
    int (*sync)(void *context, int file);
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);
    /* Mode 0770 less the umask, setgid. */
    int (*make_directory)(void *context, const char *path);
    int (*sync_directory)(void *context, const char *path);
    /* Calls `each` with every name in a directory except "." and ".."; stops when it returns < 0 and returns
     * that. Order is not defined. Names are valid during the call only. */
    int (*list)(void *context, const char *path, int (*each)(void *user, const char *name), void *user);
    /* -ENOENT when there is none. Directories count. `ret_size` and `ret_modified_ms` may be NULL. */
    int (*stat)(void *context, const char *path, uint64_t *ret_size, int64_t *ret_modified_ms);
    int (*space)(void *context, const char *path, uint64_t *ret_free_bytes);

    /* One advisory exclusive lock file (flock, own O_CLOEXEC descriptor). `try_lock` is -EWOULDBLOCK when
     * another holds it. */
    int (*lock_open)(void *context, const char *path);
    int (*try_lock)(void *context, int lock);
    int (*unlock)(void *context, int lock);
    int (*lock_close)(void *context, int lock);
    /* Waits between lock attempts. The simulator lets nobody wait. */
    void (*pause_ms)(void *context, unsigned ms);
};

struct world {
    const struct world_verbs *verbs;
    void *context;
    const char *vfs_name; /* SQLite VFS to open databases with, NULL for the default */
};

/* The real world. Never freed; context-free; thread-safe. */
const struct world *world_posix(void);
