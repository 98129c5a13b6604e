/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the real world behind `struct world_verbs`: Linux system calls and nothing else. Called through
 * `world_posix()`. Must not know what the files mean. Handles are file descriptors; there is no state, so any
 * thread may call.
 */
#include "base/text.h"
#include "base/world.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define FILE_MODE 0660
#define SECRET_FILE_MODE 0600
#define DIRECTORY_MODE 0770
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;

    int r = clock_gettime(clock, &now);
    assert(r == 0); /* Both clocks exist on every kernel that we run on. */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t posix_wall_ms(void *context)
{
    return clock_ms(CLOCK_REALTIME);
}

static uint64_t posix_boot_ms(void *context)
{
    return (uint64_t)clock_ms(CLOCK_BOOTTIME);
}

static int32_t posix_utc_offset_min(void *context, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm local;

    /* localtime_r reads the zone once only; tzset notices that the machine was moved to another one. */
    tzset();
    if (!localtime_r(&seconds, &local))
        return 0;
    return (int32_t)(local.tm_gmtoff / 60);
}

/* Opens with the flags that every descriptor of ours has. */
static int open_file(const char *path, int flags, mode_t mode)
{
    int file;

    do
        file = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    while (file < 0 && errno == EINTR);
    return file < 0 ? -errno : file;
}

static ssize_t posix_read(void *context, int file, void *ret, size_t len, uint64_t offset)
{
    size_t done = 0;

    if (len > SSIZE_MAX || offset > (uint64_t)INT64_MAX - len)
        return -EOVERFLOW;
    while (done < len) {
        ssize_t got = pread(file, (uint8_t *)ret + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static void posix_boot_id(void *context, uint8_t ret[BOOT_ID_BYTES])
{
    char text[UUID_TEXT_LEN + 1] = "";
    _cleanup_close_ int file = open_file(BOOT_ID_PATH, O_RDONLY, 0);

    /* All zeros say that the boot is not known, as where /proc is hidden. */
    memset(ret, 0, BOOT_ID_BYTES);
    if (file < 0 || posix_read(context, file, text, UUID_TEXT_LEN, 0) < 0)
        return;
    (void)text_parse_uuid(text, ret);
}

static void posix_random(void *context, void *ret, size_t len)
{
    uint8_t *next = ret;

    while (len > 0) {
        ssize_t got = getrandom(next, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort(); /* Keys and ids without random bits are worse than no program. */
        next += got;
        len -= (size_t)got;
    }
}

/* What root makes in a directory of somebody else's belongs to that one: a daemon that runs as a user of its
 * own shall be able to read what an administrator's command has left beside its files. Only for what was just
 * made: an existing file may be a link to anything. Where it cannot be given away, it stays root's. */
static void give_to_owner_of_directory(int made, const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    struct stat status;

    if (geteuid() != 0 || len >= sizeof(parent))
        return;
    memcpy(parent, path, len);
    snprintf(parent + len, sizeof(parent) - len, ".");
    if (stat(parent, &status) < 0 || status.st_uid == 0)
        return;
    int r = fchown(made, status.st_uid, status.st_gid);
    (void)r;
}

static int create_file(const char *path, mode_t mode)
{
    int file = open_file(path, O_RDWR | O_CREAT | O_EXCL, mode);

    if (file >= 0)
        give_to_owner_of_directory(file, path);
    return file;
}

static int open_or_create_file(const char *path, mode_t mode)
{
    int file = geteuid() == 0 ? create_file(path, mode) : -EEXIST;

    return file == -EEXIST ? open_file(path, O_RDWR | O_CREAT, mode) : file;
}

static int posix_open(void *context, const char *path, enum world_open how, bool secret)
{
    mode_t mode = secret ? SECRET_FILE_MODE : FILE_MODE;

    switch (how) {
    case WORLD_READ:
        /* A person may name a pipe where a photo belongs: without O_NONBLOCK the open would wait for ever.
         * Regular files do not mind. */
        return open_file(path, O_RDONLY | O_NONBLOCK, 0);
    case WORLD_CREATE:
        return create_file(path, mode);
    case WORLD_WRITE:
        return open_or_create_file(path, mode);
    }
    return -EINVAL;
}

static int posix_close(void *context, int file)
{
    /* Never repeated: after EINTR Linux has freed the descriptor already. */
    return close(file) < 0 && errno != EINTR ? -errno : 0;
}

static int posix_write(void *context, int file, const void *data, size_t len, uint64_t offset)
{
    size_t done = 0;

    if (len > SSIZE_MAX || offset > (uint64_t)INT64_MAX - len)
        return -EFBIG;
    while (done < len) {
        ssize_t put = pwrite(file, (const uint8_t *)data + done, len - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        if (put == 0)
            return -EIO;
        done += (size_t)put;
    }
    return 0;
}

static int posix_truncate(void *context, int file, uint64_t len)
{
    int r;

    if (len > INT64_MAX)
        return -EFBIG;
    do
        r = ftruncate(file, (off_t)len);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int posix_size(void *context, int file, uint64_t *ret)
{
    struct stat status;

    if (fstat(file, &status) < 0)
        return -errno;
    *ret = (uint64_t)status.st_size;
    return 0;
}

static int posix_sync(void *context, int file)
{
    return fsync(file) < 0 ? -errno : 0;
}

static int posix_rename(void *context, const char *from, const char *to)
{
    return rename(from, to) < 0 ? -errno : 0;
}

static int posix_unlink(void *context, const char *path)
{
    return unlink(path) < 0 ? -errno : 0;
}

static int posix_make_directory(void *context, const char *path)
{
    struct stat status;

    if (mkdir(path, DIRECTORY_MODE) < 0)
        return -errno;
    _cleanup_close_ int directory = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (directory >= 0)
        give_to_owner_of_directory(directory, path);
    /* What is made in it belongs to its group, whoever makes it. mkdir does not take the bit. A file system
     * that does not know it, or a group that is not ours, is no reason to do without the directory. */
    if (stat(path, &status) == 0)
        (void)chmod(path, (status.st_mode & 0777) | S_ISGID);
    return 0;
}

static int posix_sync_directory(void *context, const char *path)
{
    _cleanup_close_ int directory = open_file(path, O_RDONLY | O_DIRECTORY, 0);

    if (directory < 0)
        return directory;
    return posix_sync(context, directory);
}

static void cleanup_closedir(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

static int posix_list(void *context, const char *path, int (*each)(void *user, const char *name), void *user)
{
    _cleanup_(cleanup_closedir) DIR *directory = opendir(path);

    if (!directory)
        return -errno;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry)
            return -errno; /* 0 at the end of the directory. */
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;

        int r = each(user, entry->d_name);
        if (r < 0)
            return r;
    }
}

static int posix_stat(void *context, const char *path, uint64_t *ret_size, int64_t *ret_modified_ms)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return -errno;
    if (ret_size)
        *ret_size = (uint64_t)status.st_size;
    if (ret_modified_ms)
        *ret_modified_ms = (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000;
    return 0;
}

static int posix_space(void *context, const char *path, uint64_t *ret_free_bytes)
{
    struct statvfs status;

    if (statvfs(path, &status) < 0)
        return -errno;
    *ret_free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}

static int posix_lock_open(void *context, const char *path)
{
    return open_or_create_file(path, FILE_MODE);
}

static int lock_operation(int lock, int operation)
{
    int r;

    do
        r = flock(lock, operation);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int posix_try_lock(void *context, int lock)
{
    return lock_operation(lock, LOCK_EX | LOCK_NB);
}

static int posix_unlock(void *context, int lock)
{
    return lock_operation(lock, LOCK_UN);
}

static void posix_pause_ms(void *context, unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
}

const struct world *world_posix(void)
{
    static const struct world_verbs verbs = {
        .wall_ms = posix_wall_ms,
        .boot_ms = posix_boot_ms,
        .utc_offset_min = posix_utc_offset_min,
        .boot_id = posix_boot_id,
        .random = posix_random,
        .open = posix_open,
        .close = posix_close,
        .read = posix_read,
        .write = posix_write,
        .truncate = posix_truncate,
        .size = posix_size,
        .sync = posix_sync,
        .rename = posix_rename,
        .unlink = posix_unlink,
        .make_directory = posix_make_directory,
        .sync_directory = posix_sync_directory,
        .list = posix_list,
        .stat = posix_stat,
        .space = posix_space,
        .lock_open = posix_lock_open,
        .try_lock = posix_try_lock,
        .unlock = posix_unlock,
        .lock_close = posix_close,
        .pause_ms = posix_pause_ms,
    };
    static const struct world world = {.verbs = &verbs};

    return &world;
}
