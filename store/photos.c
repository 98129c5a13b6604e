/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the files of the photo directory, named by the SHA-256 of their bytes. Called by the collector, which
 * puts them there before it appends the record, and by syncd, which sends them. Must not know the database.
 *
 *   photos/tmp/<random>  write, hash, fsync  ->  rename to photos/ab/<sha256>  ->  fsync photos/ab
 */
#include "store/internal.h"

#include <sodium.h>

#define CHUNK_BYTES 65536u
#define PUT_TRIES 2

void photo_directory_name(uint8_t first, char ret[PHOTO_NAME_LEN + 1])
{
    snprintf(ret, PHOTO_NAME_LEN + 1, PHOTOS_NAME "/%02x", first);
}

void photo_name(const struct sha256 *sha256, char ret[PHOTO_NAME_LEN + 1])
{
    char hex[SHA256_TEXT_LEN + 1];

    text_hex(sha256->b, SHA256_BYTES, hex);
    snprintf(ret, PHOTO_NAME_LEN + 1, PHOTOS_NAME "/%.2s/%s", hex, hex);
}

char *store_blob_path(struct store *store, const struct sha256 *sha256)
{
    char name[PHOTO_NAME_LEN + 1];

    photo_name(sha256, name);
    return store_path(store, name);
}

ssize_t store_blob_read(
    struct store *store, const struct sha256 *sha256, uint64_t offset, void *ret, size_t len)
{
    const struct world *world = store->world;
    _cleanup_free_ char *path = store_blob_path(store, sha256);

    if (!path)
        return -ENOMEM;
    int file = world->verbs->open(world->context, path, WORLD_READ, false);
    if (file < 0)
        return file;
    ssize_t n = world->verbs->read(world->context, file, ret, len, offset);
    (void)world->verbs->close(world->context, file);
    return n;
}

int photo_read_whole(struct store *store, const struct sha256 *sha256, uint64_t *ret_size, bool *ret_is_whole)
{
    _cleanup_free_ uint8_t *chunk = malloc(CHUNK_BYTES);
    crypto_hash_sha256_state state;
    struct sha256 found;
    uint64_t size = 0;
    ssize_t n;

    if (!chunk)
        return -ENOMEM;
    crypto_hash_sha256_init(&state);
    while ((n = store_blob_read(store, sha256, size, chunk, CHUNK_BYTES)) > 0) {
        crypto_hash_sha256_update(&state, chunk, (size_t)n);
        size += (uint64_t)n;
    }
    if (n < 0)
        return (int)n;
    crypto_hash_sha256_final(&state, found.b);
    *ret_size = size;
    *ret_is_whole = sha256_equal(&found, sha256);
    return 0;
}

/* ---- putting ---- */

/* Where the bytes come from: memory, or an open file. */
struct source {
    const struct world *world;
    struct bytes memory;
    int file; /* -1: memory */
};

static ssize_t source_read(const struct source *source, uint64_t offset, uint8_t *ret, size_t len)
{
    if (source->file >= 0)
        return source->world->verbs->read(source->world->context, source->file, ret, len, offset);
    if (offset >= source->memory.len)
        return 0;
    if (len > source->memory.len - offset)
        len = source->memory.len - (size_t)offset;
    memcpy(ret, source->memory.data + offset, len);
    return (ssize_t)len;
}

/* Photos stop before the disk is full, and as long as the ballast has not been made again: what is left is
 * for text. */
static int check_room(struct store *store, uint64_t size)
{
    uint64_t free_bytes;

    int r = store->world->verbs->space(store->world->context, store->directory, &free_bytes);
    if (r < 0)
        return r;
    if (!ballast_is_whole(store)) {
        if (free_bytes < size + 3 * (uint64_t)STORE_RESERVE_BYTES)
            return -ENOSPC;
        r = store_lock(store);
        if (r < 0)
            return r;
        r = ballast_make(store);
        store_unlock(store);
        if (r < 0)
            return r;
        free_bytes -= STORE_RESERVE_BYTES;
    }
    return free_bytes < size + STORE_RESERVE_BYTES ? -ENOSPC : 0;
}

struct copied {
    struct sha256 sha256;
    uint64_t size;
};

static int copy(const struct source *source, const struct world *world, int file, struct copied *ret)
{
    _cleanup_free_ uint8_t *chunk = malloc(CHUNK_BYTES);
    crypto_hash_sha256_state state;
    uint64_t size = 0;

    if (!chunk)
        return -ENOMEM;
    crypto_hash_sha256_init(&state);
    for (;;) {
        ssize_t n = source_read(source, size, chunk, CHUNK_BYTES);

        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        if ((uint64_t)n > BLOB_BYTES_MAX - size)
            return -EFBIG;
        int r = world->verbs->write(world->context, file, chunk, (size_t)n, size);
        if (r < 0)
            return r == -EDQUOT ? -ENOSPC : r;
        crypto_hash_sha256_update(&state, chunk, (size_t)n);
        size += (uint64_t)n;
    }
    crypto_hash_sha256_final(&state, ret->sha256.b);
    ret->size = size;
    return 0;
}

static char *temporary_path(struct store *store)
{
    uint8_t random[8];
    char hex[2 * sizeof(random) + 1];
    char name[sizeof(PHOTOS_TEMPORARY_NAME) + sizeof(hex) + 1];

    store->world->verbs->random(store->world->context, random, sizeof(random));
    text_hex(random, sizeof(random), hex);
    snprintf(name, sizeof(name), PHOTOS_TEMPORARY_NAME "/%s", hex);
    return store_path(store, name);
}

/* Writes a durable temporary file. `ret_sync_failed`: the bytes were fine, the disk was not. */
static int write_temporary(struct store *store, const struct source *source, const char *path,
    struct copied *ret, bool *ret_sync_failed)
{
    const struct world *world = store->world;

    int file = world->verbs->open(world->context, path, WORLD_CREATE, false);
    if (file < 0)
        return file;
    int r = copy(source, world, file, ret);
    if (r >= 0) {
        r = world->verbs->sync(world->context, file);
        *ret_sync_failed = r < 0;
    }
    int closed = world->verbs->close(world->context, file);
    return r < 0 ? r : closed;
}

static int put_in_place(struct store *store, const char *temporary, const struct sha256 *sha256)
{
    const struct world *world = store->world;
    char name[PHOTO_NAME_LEN + 1];
    _cleanup_free_ char *directory = NULL, *path = store_blob_path(store, sha256);

    photo_directory_name(sha256->b[0], name);
    directory = store_path(store, name);
    if (!directory || !path)
        return -ENOMEM;
    int r = files_make_directory(world, directory);
    if (r >= 0)
        r = world->verbs->rename(world->context, temporary, path);
    return r < 0 ? r : world->verbs->sync_directory(world->context, directory);
}

static int put_once(struct store *store, const struct source *source, struct copied *ret, bool *ret_again)
{
    _cleanup_free_ char *path = temporary_path(store);
    bool sync_failed = false;

    *ret_again = false;
    if (!path)
        return -ENOMEM;
    int r = write_temporary(store, source, path, ret, &sync_failed);
    if (r >= 0)
        r = put_in_place(store, path, &ret->sha256);
    if (r < 0)
        (void)store->world->verbs->unlink(store->world->context, path);
    /* After a failed fsync nobody knows what the disk holds: it is written again under a new name. And a
     * clock that jumped may have made the sweep take the temporary file for an old one. */
    *ret_again = sync_failed || r == -ENOENT;
    return r;
}

static int put(struct store *store, const struct source *source, struct copied *ret)
{
    int r = -EIO;
    bool again = true;

    if (store->role == STORE_READER)
        return -EROFS;
    for (int tries = 0; again && tries < PUT_TRIES; tries++) {
        r = put_once(store, source, ret, &again);
        if (r == -ENOENT) {
            /* Somebody has removed the whole directory. */
            int made = store_make_directories(store);
            if (made < 0)
                return made;
        }
    }
    return r;
}

int store_photo_put_file(struct store *store, int fd, struct sha256 *ret_sha256, uint64_t *ret_size)
{
    struct source source = {.world = store->world, .file = fd};
    struct copied copied;
    uint64_t size;

    int r = store->world->verbs->size(store->world->context, fd, &size);
    if (r < 0)
        return r;
    if (size > BLOB_BYTES_MAX)
        return -EFBIG;
    r = check_room(store, size);
    if (r >= 0)
        r = put(store, &source, &copied);
    if (r < 0)
        return r;
    *ret_sha256 = copied.sha256;
    *ret_size = copied.size;
    return 0;
}

int store_photo_put_bytes(struct store *store, struct bytes content, struct sha256 *ret_sha256)
{
    struct source source = {.world = store->world, .memory = content, .file = -1};
    struct copied copied;

    if (content.len > BLOB_BYTES_MAX)
        return -EFBIG;
    int r = check_room(store, content.len);
    if (r >= 0)
        r = put(store, &source, &copied);
    if (r < 0)
        return r;
    *ret_sha256 = copied.sha256;
    return 0;
}
