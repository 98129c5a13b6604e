/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where photos are kept, as one table of functions: files fill it now, an S3 store later. Called by the
 * service's uploads, audits and checks; knows nothing of tus, tokens, or of which record names what.
 *
 * A partial is an upload that is not whole yet, keyed by (device, hash). Its offset is a promise: the bytes
 * below it are durable, and it never goes back before it expires. A stored blob is visible only after its
 * whole hash has matched.
 *
 * The functions may be called by any thread; one writer of a partial at a time.
 */
#pragma once

#include "base/world.h"
#include "proto/ids.h"
#include "proto/limits.h"

struct blobs;
struct blob_writer;

struct blob_partial {
    struct uuid device;
    struct sha256 sha256;
    uint64_t size, offset;
    int64_t expires_ms;
};

/* Errors: -errno; -ENOENT not there; -ENOSPC. */
struct blob_verbs {
    void (*close)(struct blobs *blobs);

    /* ---- stored blobs ---- */
    int (*find)(struct blobs *blobs, const struct sha256 *sha256, uint64_t *ret_size);
    /* Reads the whole blob and hashes it. */
    int (*hash)(
        struct blobs *blobs, const struct sha256 *sha256, struct sha256 *ret_sha256, uint64_t *ret_size);
    /* Makes durable that it is in place: who put it there may have been killed before he had. */
    int (*settle)(struct blobs *blobs, const struct sha256 *sha256);
    /* A path to read it from, allocated. */
    int (*path)(struct blobs *blobs, const struct sha256 *sha256, char **ret);

    /* Copies the file at `path` into the store, hashed on the way and durable. 0; 1 when a blob of this hash
     * and size is there already; -EILSEQ the file has another hash: nothing is stored. */
    int (*put_copy)(struct blobs *blobs, const struct sha256 *sha256, const char *path);

    /* Durably gone when 0 is returned. -ENOENT. */
    int (*remove)(struct blobs *blobs, const struct sha256 *sha256);

    /* ---- partials ---- */
    int (*partial_create)(struct blobs *blobs, const struct blob_partial *partial);
    int (*partial_find)(struct blobs *blobs, const struct uuid *device, const struct sha256 *sha256,
        struct blob_partial *ret);
    int (*partial_remove)(struct blobs *blobs, const struct uuid *device, const struct sha256 *sha256);
    /* Of one device, or of all (NULL). Stops at a non-zero result, which is returned. What cannot be read any
     * more is passed with an expiry of 0. */
    int (*partials_each)(struct blobs *blobs, const struct uuid *device,
        int (*each)(void *user, const struct blob_partial *partial), void *user);

    /* Opens a partial for appending at its offset; what was written behind it is cut off. */
    int (*write_begin)(
        struct blobs *blobs, const struct blob_partial *partial, struct blob_writer **ret_writer);
    int (*write)(struct blob_writer *writer, const void *data, size_t len);
    /* Makes all that was written durable and promises the new offset, unless that is all of it: then the blob
     * is to be put in place first. After a failure the partial is gone. */
    int (*write_keep)(struct blob_writer *writer, int64_t expires_ms, struct blob_partial *ret);
    /* Checks the whole hash and puts the blob in place, durably. -EILSEQ: it does not match, the partial is
     * removed. To be called when all of it was kept. */
    int (*write_place)(struct blob_writer *writer);
    /* Closes; what was not kept is cut off at the next beginning. */
    void (*write_end)(struct blob_writer *writer);

    int (*space)(struct blobs *blobs, uint64_t *ret_free_bytes);
};

struct blobs {
    const struct blob_verbs *verbs;
};

/* blobs/files.c: DATA/blobs. Makes what is missing unless `read_only`. */
int blobs_files_open(const struct world *world, const char *directory, bool read_only, struct blobs **ret);

static inline void blobs_close(struct blobs *blobs)
{
    if (blobs)
        blobs->verbs->close(blobs);
}
