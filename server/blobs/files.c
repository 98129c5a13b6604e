/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs as files. See blobs.h.
 *
 *   DATA/blobs/ab/<sha256>                        a stored blob; ab: the first two digits of its hash
 *   DATA/blobs/partial/<device>/<sha256>.part     what has come of it
 *   DATA/blobs/partial/<device>/<sha256>.offset   the promise: two slots in sectors of their own, written in
 *                                                 turn, so that a torn write leaves the one before
 *
 *   slot: u64 counter | u64 size | u64 offset | i64 expires_ms | first 16 bytes of SHA-256 of these
 */
#include "server/blobs/blobs.h"

#include "base/files.h"

#include <errno.h>
#include <sodium.h>

#define PARTIAL_DIRECTORY "partial"
#define PART_SUFFIX ".part"
#define OFFSET_SUFFIX ".offset"
#define COPY_SUFFIX ".copy"
#define SLOT_STRIDE 512u
#define SLOT_BODY_BYTES 32u
#define SLOT_CHECK_BYTES 16u
#define SLOT_BYTES (SLOT_BODY_BYTES + SLOT_CHECK_BYTES)
#define READ_BYTES 65536u

struct files {
    struct blobs blobs; /* first: handed out by its address */
    const struct world *world;
    char *directory;
};

struct blob_writer {
    struct files *files;
    struct blob_partial partial; /* as promised */
    uint64_t counter;            /* of the slot that holds the promise */
    uint64_t written;            /* end of what was written */
    int part, offset;            /* handles, -1: closed */
};

static struct files *files_of(struct blobs *blobs)
{
    return (struct files *)blobs;
}

static void close_handle(const struct world *world, int handle)
{
    if (handle >= 0)
        (void)world->verbs->close(world->context, handle);
}

/* ---- paths ---- */

static char *partial_directory(const struct files *files, const struct uuid *device)
{
    char device_text[UUID_TEXT_LEN + 1];
    char *path = NULL;

    text_uuid(device->b, device_text);
    if (asprintf(&path, "%s/" PARTIAL_DIRECTORY "/%s", files->directory, device_text) < 0)
        return NULL;
    return path;
}

static char *partial_path(
    const struct files *files, const struct uuid *device, const struct sha256 *sha256, const char *suffix)
{
    char hash_text[SHA256_TEXT_LEN + 1];
    _cleanup_free_ char *directory = partial_directory(files, device);
    char *path = NULL;

    text_hex(sha256->b, SHA256_BYTES, hash_text);
    if (!directory || asprintf(&path, "%s/%s%s", directory, hash_text, suffix) < 0)
        return NULL;
    return path;
}

static char *blob_directory(const struct files *files, const struct sha256 *sha256)
{
    char *path = NULL;

    if (asprintf(&path, "%s/%02x", files->directory, sha256->b[0]) < 0)
        return NULL;
    return path;
}

static char *blob_path(const struct files *files, const struct sha256 *sha256)
{
    char hash_text[SHA256_TEXT_LEN + 1];
    char *path = NULL;

    text_hex(sha256->b, SHA256_BYTES, hash_text);
    if (asprintf(&path, "%s/%02x/%s", files->directory, sha256->b[0], hash_text) < 0)
        return NULL;
    return path;
}

/* ---- stored blobs ---- */

static int find(struct blobs *blobs, const struct sha256 *sha256, uint64_t *ret_size)
{
    struct files *files = files_of(blobs);
    _cleanup_free_ char *path = blob_path(files, sha256);

    if (!path)
        return -ENOMEM;
    return files->world->verbs->stat(files->world->context, path, ret_size, NULL);
}

static int hash_handle(const struct world *world, int handle, struct sha256 *ret, uint64_t *ret_size)
{
    _cleanup_free_ uint8_t *chunk = malloc(READ_BYTES);
    crypto_hash_sha256_state state;
    uint64_t size = 0;
    ssize_t got;

    if (!chunk)
        return -ENOMEM;
    crypto_hash_sha256_init(&state);
    do {
        got = world->verbs->read(world->context, handle, chunk, READ_BYTES, size);
        if (got < 0)
            return (int)got;
        crypto_hash_sha256_update(&state, chunk, (size_t)got);
        size += (uint64_t)got;
    } while (got == READ_BYTES);
    crypto_hash_sha256_final(&state, ret->b);
    *ret_size = size;
    return 0;
}

static int hash(
    struct blobs *blobs, const struct sha256 *sha256, struct sha256 *ret_sha256, uint64_t *ret_size)
{
    struct files *files = files_of(blobs);
    const struct world *world = files->world;
    _cleanup_free_ char *path = blob_path(files, sha256);
    int handle, r;

    if (!path)
        return -ENOMEM;
    handle = world->verbs->open(world->context, path, WORLD_READ, false);
    if (handle < 0)
        return handle;
    r = hash_handle(world, handle, ret_sha256, ret_size);
    close_handle(world, handle);
    return r;
}

/* Its bytes were durable before it was given its name. */
static int settle(struct blobs *blobs, const struct sha256 *sha256)
{
    struct files *files = files_of(blobs);
    _cleanup_free_ char *directory = blob_directory(files, sha256);

    if (!directory)
        return -ENOMEM;
    return files->world->verbs->sync_directory(files->world->context, directory);
}

static int remove_blob(struct blobs *blobs, const struct sha256 *sha256)
{
    const struct files *files = files_of(blobs);
    _cleanup_free_ char *directory = blob_directory(files, sha256), *path = blob_path(files, sha256);
    int r;

    if (!directory || !path)
        return -ENOMEM;
    r = files->world->verbs->unlink(files->world->context, path);
    return r < 0 ? r : files->world->verbs->sync_directory(files->world->context, directory);
}

static int path_of(struct blobs *blobs, const struct sha256 *sha256, char **ret)
{
    _cleanup_free_ char *path = blob_path(files_of(blobs), sha256);
    uint64_t size;
    int r = find(blobs, sha256, &size);

    if (r < 0)
        return r;
    if (!path)
        return -ENOMEM;
    *ret = take_ptr(path);
    return 0;
}

/* From one handle to another, until the end; the hash of what was copied. */
static int copy_handle(const struct world *world, int from, int to, struct sha256 *ret)
{
    _cleanup_free_ uint8_t *chunk = malloc(READ_BYTES);
    crypto_hash_sha256_state state;
    uint64_t size = 0;
    ssize_t got;
    int r;

    if (!chunk)
        return -ENOMEM;
    crypto_hash_sha256_init(&state);
    do {
        got = world->verbs->read(world->context, from, chunk, READ_BYTES, size);
        if (got < 0)
            return (int)got;
        crypto_hash_sha256_update(&state, chunk, (size_t)got);
        r = got > 0 ? world->verbs->write(world->context, to, chunk, (size_t)got, size) : 0;
        if (r < 0)
            return r;
        size += (uint64_t)got;
    } while (got == READ_BYTES);
    crypto_hash_sha256_final(&state, ret->b);
    return world->verbs->sync(world->context, to);
}

static int copy_file(
    const struct world *world, const char *from_path, const char *to_path, const struct sha256 *wanted)
{
    struct sha256 sha256;
    int to, r, from = world->verbs->open(world->context, from_path, WORLD_READ, false);

    if (from < 0)
        return from;
    to = world->verbs->open(world->context, to_path, WORLD_CREATE, false);
    if (to < 0) {
        close_handle(world, from);
        return to;
    }
    r = copy_handle(world, from, to, &sha256);
    if (r >= 0 && !sha256_equal(&sha256, wanted))
        r = -EILSEQ;
    close_handle(world, from);
    close_handle(world, to);
    return r;
}

static int put_copy(struct blobs *blobs, const struct sha256 *sha256, const char *path)
{
    struct files *files = files_of(blobs);
    const struct world *world = files->world;
    _cleanup_free_ char *directory = blob_directory(files, sha256);
    _cleanup_free_ char *place = blob_path(files, sha256);
    _cleanup_free_ char *copy = NULL;
    uint64_t size, size_there;
    int r;

    if (!directory || !place || asprintf(&copy, "%s" COPY_SUFFIX, place) < 0) {
        copy = NULL;
        return -ENOMEM;
    }
    r = world->verbs->stat(world->context, path, &size, NULL);
    if (r < 0)
        return r;
    if (world->verbs->stat(world->context, place, &size_there, NULL) >= 0 && size_there == size)
        return 1;
    r = files_make_directory(world, directory);
    if (r >= 0) {
        r = world->verbs->unlink(world->context, copy);
        r = r == -ENOENT ? 0 : r;
    }
    if (r >= 0)
        r = copy_file(world, path, copy, sha256);
    if (r >= 0)
        r = world->verbs->rename(world->context, copy, place);
    if (r < 0) {
        (void)world->verbs->unlink(world->context, copy);
        return r;
    }
    return world->verbs->sync_directory(world->context, directory);
}

/* ---- the promised offset ---- */

static void slot_format(const struct blob_partial *partial, uint64_t counter, struct buffer *ret)
{
    buffer_put_u64be(ret, counter);
    buffer_put_u64be(ret, partial->size);
    buffer_put_u64be(ret, partial->offset);
    buffer_put_u64be(ret, (uint64_t)partial->expires_ms);
    if (!ret->failed) {
        struct sha256 check = sha256_of(bytes_of(ret->data, SLOT_BODY_BYTES));

        buffer_put(ret, check.b, SLOT_CHECK_BYTES);
    }
}

static bool slot_parse(struct bytes slot, uint64_t *ret_counter, struct blob_partial *ret)
{
    struct cursor cursor = cursor_of(slot);
    struct sha256 check;

    if (slot.len != SLOT_BYTES)
        return false;
    check = sha256_of(bytes_of(slot.data, SLOT_BODY_BYTES));
    if (memcmp(check.b, slot.data + SLOT_BODY_BYTES, SLOT_CHECK_BYTES) != 0)
        return false;
    *ret_counter = cursor_u64be(&cursor);
    ret->size = cursor_u64be(&cursor);
    ret->offset = cursor_u64be(&cursor);
    ret->expires_ms = (int64_t)cursor_u64be(&cursor);
    return ret->size <= BLOB_BYTES_MAX && ret->offset <= ret->size;
}

/* The newer of the two slots that hold. -ENOENT when neither does. */
static int promise_read(
    const struct world *world, int handle, uint64_t *ret_counter, struct blob_partial *ret)
{
    uint64_t counter = 0;
    bool found = false;

    for (unsigned i = 0; i < 2; i++) {
        struct blob_partial partial = *ret;
        uint8_t slot[SLOT_BYTES];
        uint64_t slot_counter;
        ssize_t got =
            world->verbs->read(world->context, handle, slot, sizeof(slot), (uint64_t)i * SLOT_STRIDE);

        if (got < 0)
            return (int)got;
        if (!slot_parse(bytes_of(slot, (size_t)got), &slot_counter, &partial))
            continue;
        if (found && slot_counter <= counter)
            continue;
        found = true;
        counter = slot_counter;
        *ret = partial;
    }
    if (!found)
        return -ENOENT;
    *ret_counter = counter;
    return 0;
}

static int promise_write(
    const struct world *world, int handle, uint64_t counter, const struct blob_partial *partial)
{
    _cleanup_buffer_ struct buffer slot = {0};
    int r;

    slot_format(partial, counter, &slot);
    r = buffer_finish(&slot);
    if (r >= 0)
        r = world->verbs->write(world->context, handle, slot.data, slot.len, (counter & 1) * SLOT_STRIDE);
    return r < 0 ? r : world->verbs->sync(world->context, handle);
}

/* ---- partials ---- */

static int partial_remove(struct blobs *blobs, const struct uuid *device, const struct sha256 *sha256)
{
    struct files *files = files_of(blobs);
    const struct world *world = files->world;
    _cleanup_free_ char *part = partial_path(files, device, sha256, PART_SUFFIX);
    _cleanup_free_ char *offset = partial_path(files, device, sha256, OFFSET_SUFFIX);
    int r, second;

    if (!part || !offset)
        return -ENOMEM;
    /* The promise goes first: a part without one is nothing, a promise without its part would be a lie. */
    r = world->verbs->unlink(world->context, offset);
    second = world->verbs->unlink(world->context, part);
    return r < 0 && r != -ENOENT ? r : second == -ENOENT ? 0 : second;
}

static int make_file(const struct world *world, const char *path, const struct blob_partial *promise)
{
    int handle = world->verbs->open(world->context, path, WORLD_CREATE, false);
    int r;

    if (handle < 0)
        return handle;
    r = promise ? promise_write(world, handle, 0, promise) : world->verbs->sync(world->context, handle);
    close_handle(world, handle);
    return r;
}

static int partial_create(struct blobs *blobs, const struct blob_partial *partial)
{
    struct files *files = files_of(blobs);
    const struct world *world = files->world;
    _cleanup_free_ char *directory = partial_directory(files, &partial->device);
    _cleanup_free_ char *part = partial_path(files, &partial->device, &partial->sha256, PART_SUFFIX);
    _cleanup_free_ char *offset = partial_path(files, &partial->device, &partial->sha256, OFFSET_SUFFIX);
    int r;

    if (!directory || !part || !offset)
        return -ENOMEM;
    r = files_make_directory(world, directory);
    if (r >= 0)
        r = partial_remove(blobs, &partial->device, &partial->sha256);
    if (r >= 0)
        r = make_file(world, part, NULL);
    if (r >= 0)
        r = make_file(world, offset, partial);
    if (r >= 0)
        r = world->verbs->sync_directory(world->context, directory);
    if (r < 0)
        (void)partial_remove(blobs, &partial->device, &partial->sha256);
    return r;
}

static int partial_find(
    struct blobs *blobs, const struct uuid *device, const struct sha256 *sha256, struct blob_partial *ret)
{
    struct files *files = files_of(blobs);
    const struct world *world = files->world;
    _cleanup_free_ char *part = partial_path(files, device, sha256, PART_SUFFIX);
    _cleanup_free_ char *offset = partial_path(files, device, sha256, OFFSET_SUFFIX);
    struct blob_partial partial = {.device = *device, .sha256 = *sha256};
    uint64_t counter, len;
    int handle, r;

    if (!part || !offset)
        return -ENOMEM;
    handle = world->verbs->open(world->context, offset, WORLD_READ, false);
    if (handle < 0)
        return handle;
    r = promise_read(world, handle, &counter, &partial);
    close_handle(world, handle);
    if (r >= 0)
        r = world->verbs->stat(world->context, part, &len, NULL);
    if (r < 0)
        return r;
    /* Somebody else cut the file: what is gone cannot be promised. */
    if (len < partial.offset)
        return -ENOENT;
    *ret = partial;
    return 0;
}

struct partials_walk {
    struct files *files;
    struct uuid device;
    int (*each)(void *user, const struct blob_partial *partial);
    void *user;
};

/* Every name of a device's folder that starts with a hash is one partial; seen at its `.part`, or at a lone
 * promise. */
static int walk_partial(void *user, const char *name)
{
    struct partials_walk *walk = user;
    struct blob_partial partial = {.device = walk->device};
    bool is_part = strlen(name) == SHA256_TEXT_LEN + strlen(PART_SUFFIX) &&
                   strcmp(name + SHA256_TEXT_LEN, PART_SUFFIX) == 0;
    bool is_offset = strlen(name) == SHA256_TEXT_LEN + strlen(OFFSET_SUFFIX) &&
                     strcmp(name + SHA256_TEXT_LEN, OFFSET_SUFFIX) == 0;
    int r;

    if ((!is_part && !is_offset) || text_parse_hex(name, SHA256_TEXT_LEN, partial.sha256.b, SHA256_BYTES) < 0)
        return 0;
    r = partial_find(&walk->files->blobs, &walk->device, &partial.sha256, &partial);
    if (r == -ENOENT)
        return walk->each(walk->user, &partial);
    if (r < 0)
        return r;
    return is_part ? walk->each(walk->user, &partial) : 0;
}

static int walk_device(void *user, const char *name)
{
    struct partials_walk *walk = user;
    const struct world *world = walk->files->world;
    _cleanup_free_ char *directory = NULL;

    if (text_parse_uuid(name, walk->device.b) < 0)
        return 0;
    directory = partial_directory(walk->files, &walk->device);
    return directory ? world->verbs->list(world->context, directory, walk_partial, walk) : -ENOMEM;
}

static int partials_each(struct blobs *blobs, const struct uuid *device,
    int (*each)(void *user, const struct blob_partial *partial), void *user)
{
    struct files *files = files_of(blobs);
    struct partials_walk walk = {.files = files, .each = each, .user = user};
    _cleanup_free_ char *directory = NULL;
    int r;

    if (device) {
        walk.device = *device;
        directory = partial_directory(files, device);
    } else {
        directory = files_join(files->directory, PARTIAL_DIRECTORY);
    }
    if (!directory)
        return -ENOMEM;
    r = files->world->verbs->list(
        files->world->context, directory, device ? walk_partial : walk_device, &walk);
    return r == -ENOENT ? 0 : r;
}

/* ---- writing ---- */

static void write_end(struct blob_writer *writer)
{
    if (!writer)
        return;
    close_handle(writer->files->world, writer->part);
    close_handle(writer->files->world, writer->offset);
    free(writer);
}

static int open_writer(struct blob_writer *writer)
{
    const struct world *world = writer->files->world;
    const struct blob_partial *partial = &writer->partial;
    _cleanup_free_ char *part = partial_path(writer->files, &partial->device, &partial->sha256, PART_SUFFIX);
    _cleanup_free_ char *offset =
        partial_path(writer->files, &partial->device, &partial->sha256, OFFSET_SUFFIX);
    int r;

    if (!part || !offset)
        return -ENOMEM;
    r = world->verbs->open(world->context, offset, WORLD_WRITE, false);
    if (r < 0)
        return r;
    writer->offset = r;
    r = promise_read(world, writer->offset, &writer->counter, &writer->partial);
    if (r < 0)
        return r;
    r = world->verbs->open(world->context, part, WORLD_WRITE, false);
    if (r < 0)
        return r;
    writer->part = r;
    writer->written = writer->partial.offset;
    return world->verbs->truncate(world->context, writer->part, writer->written);
}

static int write_begin(
    struct blobs *blobs, const struct blob_partial *partial, struct blob_writer **ret_writer)
{
    struct blob_writer *writer = calloc(1, sizeof(*writer));
    int r;

    if (!writer)
        return -ENOMEM;
    *writer = (struct blob_writer){.files = files_of(blobs), .partial = *partial, .part = -1, .offset = -1};
    r = open_writer(writer);
    if (r < 0) {
        write_end(writer);
        return r;
    }
    *ret_writer = writer;
    return 0;
}

static int write_data(struct blob_writer *writer, const void *data, size_t len)
{
    const struct world *world = writer->files->world;
    int r;

    if (len > writer->partial.size - writer->written)
        return -EFBIG;
    r = world->verbs->write(world->context, writer->part, data, len, writer->written);
    if (r >= 0)
        writer->written += len;
    return r;
}

static int write_keep(struct blob_writer *writer, int64_t expires_ms, struct blob_partial *ret)
{
    const struct world *world = writer->files->world;
    struct blob_partial partial = writer->partial;
    int r = world->verbs->sync(world->context, writer->part);

    partial.offset = writer->written;
    partial.expires_ms = expires_ms;
    /* All of it is never promised: killed before the blob is in place, the sender must come again. */
    if (r >= 0 && partial.offset < partial.size)
        r = promise_write(world, writer->offset, writer->counter + 1, &partial);
    if (r < 0) {
        /* After a failed fsync nobody knows what is on the disk: the sender starts again. */
        (void)partial_remove(&writer->files->blobs, &partial.device, &partial.sha256);
        return r;
    }
    writer->counter++;
    writer->partial = partial;
    *ret = partial;
    return 0;
}

/* The promise is taken back first, durably. A crash may leave a file that was renamed with both of its names;
 * whoever went on with the partial then would write into the blob. */
static int forget_promise(struct blob_writer *writer)
{
    const struct files *files = writer->files;
    const struct blob_partial *partial = &writer->partial;
    _cleanup_free_ char *directory = partial_directory(files, &partial->device);
    _cleanup_free_ char *offset = partial_path(files, &partial->device, &partial->sha256, OFFSET_SUFFIX);
    int r;

    if (!directory || !offset)
        return -ENOMEM;
    r = files->world->verbs->unlink(files->world->context, offset);
    if (r >= 0 || r == -ENOENT)
        r = files->world->verbs->sync_directory(files->world->context, directory);
    return r;
}

static int place(struct blob_writer *writer)
{
    struct files *files = writer->files;
    const struct blob_partial *partial = &writer->partial;
    _cleanup_free_ char *part = partial_path(files, &partial->device, &partial->sha256, PART_SUFFIX);
    _cleanup_free_ char *directory = blob_directory(files, &partial->sha256);
    _cleanup_free_ char *path = blob_path(files, &partial->sha256);
    int r;

    if (!part || !directory || !path)
        return -ENOMEM;
    r = files_make_directory(files->world, directory);
    if (r >= 0)
        r = forget_promise(writer);
    if (r >= 0)
        r = files->world->verbs->rename(files->world->context, part, path);
    if (r >= 0)
        r = files->world->verbs->sync_directory(files->world->context, directory);
    return r;
}

static int write_place(struct blob_writer *writer)
{
    struct files *files = writer->files;
    const struct blob_partial *partial = &writer->partial;
    struct sha256 sha256;
    uint64_t size = 0;
    int r = hash_handle(files->world, writer->part, &sha256, &size);

    if (r < 0)
        return r;
    if (size != partial->size || !sha256_equal(&sha256, &partial->sha256))
        r = -EILSEQ;
    else
        r = place(writer);
    if (r == 0 || r == -EILSEQ)
        (void)partial_remove(&files->blobs, &partial->device, &partial->sha256);
    return r;
}

static int space(struct blobs *blobs, uint64_t *ret_free_bytes)
{
    struct files *files = files_of(blobs);

    return files->world->verbs->space(files->world->context, files->directory, ret_free_bytes);
}

/* ---- opening ---- */

static void close_blobs(struct blobs *blobs)
{
    free(files_of(blobs)->directory);
    free(files_of(blobs));
}

static const struct blob_verbs files_verbs = {
    .close = close_blobs,
    .find = find,
    .hash = hash,
    .settle = settle,
    .path = path_of,
    .put_copy = put_copy,
    .remove = remove_blob,
    .partial_create = partial_create,
    .partial_find = partial_find,
    .partial_remove = partial_remove,
    .partials_each = partials_each,
    .write_begin = write_begin,
    .write = write_data,
    .write_keep = write_keep,
    .write_place = write_place,
    .write_end = write_end,
    .space = space,
};

int blobs_files_open(const struct world *world, const char *directory, bool read_only, struct blobs **ret)
{
    struct files *files = calloc(1, sizeof(*files));
    _cleanup_free_ char *partial = NULL;
    int r = 0;

    if (!files)
        return -ENOMEM;
    files->blobs.verbs = &files_verbs;
    files->world = world;
    files->directory = files_join(directory, "blobs");
    if (files->directory)
        partial = files_join(files->directory, PARTIAL_DIRECTORY);
    if (!partial)
        r = -ENOMEM;
    if (r >= 0 && !read_only)
        r = files_make_directory(world, files->directory);
    if (r >= 0 && !read_only)
        r = files_make_directory(world, partial);
    if (r < 0) {
        close_blobs(&files->blobs);
        return r;
    }
    *ret = &files->blobs;
    return 0;
}
