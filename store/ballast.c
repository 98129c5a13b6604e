/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the ballast: a file of real bytes that is given up when the disk is full, so that a finding's text can
 * still be recorded after photos, or another program, have filled it. Called by every write transaction and
 * by the sweep, which makes it again when there is room.
 */
#include "store/internal.h"

#define BALLAST_CHUNK_BYTES 65536u

/* Bytes that no file system can make small: xorshift64, https://www.jstatsoft.org/v08/i14. */
static void fill(uint64_t *state, uint64_t *ret, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        ret[i] = *state;
    }
}

bool ballast_is_whole(struct store *store)
{
    uint64_t size;

    return store_file_size(store, BALLAST_NAME, &size) >= 0 && size >= STORE_RESERVE_BYTES;
}

static int write_ballast(const struct world *world, int file)
{
    _cleanup_free_ uint64_t *chunk = malloc(BALLAST_CHUNK_BYTES);
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

    if (!chunk)
        return -ENOMEM;
    for (uint64_t offset = 0; offset < STORE_RESERVE_BYTES; offset += BALLAST_CHUNK_BYTES) {
        fill(&state, chunk, BALLAST_CHUNK_BYTES / sizeof(*chunk));
        int r = world->verbs->write(world->context, file, chunk, BALLAST_CHUNK_BYTES, offset);
        if (r < 0)
            return r;
    }
    return world->verbs->sync(world->context, file);
}

int ballast_make(struct store *store)
{
    const struct world *world = store->world;
    _cleanup_free_ char *path = store_path(store, BALLAST_NAME);

    if (!path)
        return -ENOMEM;
    if (ballast_is_whole(store))
        return 0;
    int r = world->verbs->unlink(world->context, path);
    if (r < 0 && r != -ENOENT)
        return r;
    int file = world->verbs->open(world->context, path, WORLD_CREATE, false);
    if (file < 0)
        return file;
    r = write_ballast(world, file);
    int closed = world->verbs->close(world->context, file);
    if (r >= 0)
        r = closed;
    if (r < 0) /* half a ballast would only be in the way of what it is for */
        (void)world->verbs->unlink(world->context, path);
    return r;
}

int ballast_release(struct store *store)
{
    _cleanup_free_ char *path = store_path(store, BALLAST_NAME);

    if (!path)
        return -ENOMEM;
    int r = store->world->verbs->unlink(store->world->context, path);
    return r == -ENOENT ? 0 : r < 0 ? r : 1;
}
