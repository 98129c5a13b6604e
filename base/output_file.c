/* SPDX-License-Identifier: Apache-2.0 */
#include "base/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define TEMPORARY_SUFFIX ".part"

static int open_beside(const char *path, struct output_file *ret)
{
    _cleanup_free_ char *temporary = NULL;

    if (asprintf(&temporary, "%s" TEMPORARY_SUFFIX, path) < 0) {
        temporary = NULL;
        return -ENOMEM;
    }
    /* Never through a file that somebody else may have put there. */
    if (unlink(temporary) < 0 && errno != ENOENT)
        return -errno;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return -errno;
    *ret = (struct output_file){.fd = fd, .path = path, .temporary = temporary};
    temporary = NULL;
    return 0;
}

int output_file_open(const char *path, struct output_file *ret)
{
    struct stat status;

    if (path[0] == '\0')
        return -ENOENT;
    bool standard = strcmp(path, "-") == 0;
    if (!standard && (lstat(path, &status) < 0 || S_ISREG(status.st_mode)))
        return open_beside(path, ret);

    int fd = standard ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret = (struct output_file){.fd = fd, .path = path};
    return 0;
}

int output_file_write(struct output_file *file, const void *data, size_t len)
{
    const char *next = data;

    while (len > 0) {
        ssize_t n = write(file->fd, next, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        next += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Whoever pulls a data carrier out must find the name on it, too. */
static int sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *parent =
        slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");

    if (!parent)
        return -ENOMEM;
    _cleanup_close_ int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* One that may be written but not read, or a file system that knows no such thing: as good as it gets. */
    if (fd < 0 || fsync(fd) == 0 || errno == EINVAL)
        return 0;
    return -errno;
}

int output_file_finish(struct output_file *file)
{
    int fd = take_fd(&file->fd);
    int r = file->temporary && fsync(fd) < 0 ? -errno : 0;

    if (close(fd) < 0 && r >= 0)
        r = -errno;
    if (r < 0 || !file->temporary)
        return r;
    if (rename(file->temporary, file->path) < 0)
        return -errno;
    free(file->temporary);
    file->temporary = NULL;
    return sync_parent(file->path);
}

void output_file_done(struct output_file *file)
{
    cleanup_close(&file->fd);
    if (file->temporary)
        unlink(file->temporary);
    free(file->temporary);
    file->temporary = NULL;
}
