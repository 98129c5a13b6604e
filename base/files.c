/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns whole files: bounded reading, atomic replacement, directories. Called by store, syncd and server
 * shells. Must not know any file's content, nor reach the disk but through the world's verbs.
 */
#include "base/files.h"

#include <assert.h>
#include <errno.h>

#define READ_CHUNK_LEN 65536u
#define REWRITE_CHUNK_LEN 4096u
#define REPLACE_SUFFIX ".new"

/* An open file and the world that it is open in, so that it can be closed automatically. */
struct open_file {
    const struct world *world;
    int handle;
};

static int open_file_close(struct open_file *file)
{
    int handle = take_fd(&file->handle);

    return handle < 0 ? 0 : file->world->verbs->close(file->world->context, handle);
}

static void open_file_done(struct open_file *file)
{
    (void)open_file_close(file);
}

static int open_file_init(
    struct open_file *file, const struct world *world, const char *path, enum world_open how, bool secret)
{
    *file = (struct open_file){.world = world, .handle = -1};

    int handle = world->verbs->open(world->context, path, how, secret);
    if (handle < 0)
        return handle;
    file->handle = handle;
    return 0;
}

/* Appends what is left of the file from its start; the size is not asked for, as it may change meanwhile and
 * is 0 for files of /proc. */
static int read_to_end(const struct open_file *file, size_t len_max, struct buffer *ret)
{
    size_t total = 0;

    for (;;) {
        /* One byte over the limit is asked for, to see whether there is one. */
        size_t left = len_max - total;
        size_t want = left < READ_CHUNK_LEN ? left + 1 : READ_CHUNK_LEN;
        uint8_t *room = buffer_extend(ret, want);
        if (!room)
            return -ENOMEM;

        ssize_t got = file->world->verbs->read(file->world->context, file->handle, room, want, total);
        if (got < 0)
            return (int)got;
        ret->len -= want - (size_t)got;
        total += (size_t)got;
        if (total > len_max)
            return -EFBIG;
        if ((size_t)got < want)
            return 0;
    }
}

int files_read(const struct world *world, const char *path, size_t len_max, struct buffer *ret)
{
    _cleanup_(open_file_done) struct open_file file;
    size_t len_before = ret->len;

    int r = open_file_init(&file, world, path, WORLD_READ, false);
    if (r < 0)
        return r;
    r = read_to_end(&file, len_max, ret);
    if (r < 0)
        ret->len = len_before;
    return r;
}

/* `first` with `second` behind it, allocated; NULL when memory ran out or the path is too long. */
static char *concatenate(const char *first, const char *second)
{
    size_t first_len = strlen(first);
    size_t second_len = strlen(second);

    if (first_len >= FILES_PATH_MAX || second_len >= FILES_PATH_MAX - first_len)
        return NULL;

    char *path = malloc(first_len + second_len + 1);
    if (!path)
        return NULL;
    memcpy(path, first, first_len);
    memcpy(path + first_len, second, second_len + 1);
    return path;
}

char *files_join(const char *directory, const char *name)
{
    _cleanup_free_ char *prefix = concatenate(directory, "/");

    return prefix ? concatenate(prefix, name) : NULL;
}

char *files_parent(const char *path)
{
    size_t len = strlen(path);

    /* "a/b/" names the same directory as "a/b". */
    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    if (len == 0)
        return strdup(".");
    while (len > 1 && path[len - 1] == '/')
        len--;
    return strndup(path, len);
}

static int write_new_file(const struct world *world, const char *path, struct bytes content, bool secret)
{
    _cleanup_(open_file_done) struct open_file file;

    int r = open_file_init(&file, world, path, WORLD_CREATE, secret);
    if (r < 0)
        return r;
    r = world->verbs->write(world->context, file.handle, content.data, content.len, 0);
    if (r < 0)
        return r;
    r = world->verbs->sync(world->context, file.handle);
    if (r < 0)
        return r;
    return open_file_close(&file);
}

int files_replace(const struct world *world, const char *path, struct bytes content, bool secret)
{
    _cleanup_free_ char *new_path = concatenate(path, REPLACE_SUFFIX);
    _cleanup_free_ char *parent = files_parent(path);

    if (!new_path || !parent)
        return strlen(path) >= FILES_PATH_MAX - strlen(REPLACE_SUFFIX) ? -ENAMETOOLONG : -ENOMEM;

    int r = world->verbs->unlink(world->context, new_path);
    if (r < 0 && r != -ENOENT)
        return r;
    r = write_new_file(world, new_path, content, secret);
    if (r >= 0)
        r = world->verbs->rename(world->context, new_path, path);
    if (r < 0) {
        (void)world->verbs->unlink(world->context, new_path);
        return r;
    }
    return world->verbs->sync_directory(world->context, parent);
}

int files_rewrite(const struct world *world, const char *path)
{
    _cleanup_(open_file_done) struct open_file file = {.world = world, .handle = -1};
    uint8_t chunk[REWRITE_CHUNK_LEN];
    uint64_t size;

    /* Opened for writing makes what is missing: a file that is not there shall not appear. */
    int r = world->verbs->stat(world->context, path, &size, NULL);
    if (r >= 0)
        r = open_file_init(&file, world, path, WORLD_WRITE, false);
    for (uint64_t at = 0; r >= 0 && at < size; at += sizeof(chunk)) {
        ssize_t got = world->verbs->read(world->context, file.handle, chunk, sizeof(chunk), at);
        if (got > 0)
            r = world->verbs->write(world->context, file.handle, chunk, (size_t)got, at);
        else if (got < 0 && got != -EIO)
            r = (int)got;
    }
    return r < 0 ? r : world->verbs->sync(world->context, file.handle);
}

static int stop_at_first(void *user, const char *name)
{
    return -ECANCELED;
}

int files_make_directory(const struct world *world, const char *path)
{
    _cleanup_free_ char *parent = files_parent(path);

    if (!parent)
        return -ENOMEM;

    int made = world->verbs->make_directory(world->context, path);
    if (made < 0 && made != -EEXIST)
        return made;
    if (made == -EEXIST) {
        /* Only a directory can be listed: a file in its place is reported as -ENOTDIR. */
        int r = world->verbs->list(world->context, path, stop_at_first, NULL);
        if (r < 0 && r != -ECANCELED)
            return r;
    }

    /* Also when it was there already: whoever made it may have been killed before this line. Where the
     * parent may not be read, an administrator made the directory, and it is not ours to sync. */
    int r = world->verbs->sync_directory(world->context, parent);
    return r == -EACCES && made == -EEXIST ? 0 : r;
}
