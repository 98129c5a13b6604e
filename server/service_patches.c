/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that bring a photo's bytes: PATCH of tus 1.0.0, without HTTP. proto/README.md, "Photos".
 *
 * A patch is one request under way. There is at most one for each partial: a new one takes over, and the one
 * before, whose connection is as good as dead, can neither write nor promise anything any more. Its thread
 * finds out when it next calls, and frees it.
 */
#include "server/service_internal.h"

#include <sodium.h>

struct service_patch {
    struct service *service;
    struct service_patch *next;
    bool is_listed; /* with uploads.mutex */
    struct uuid device;
    struct sha256 sha256;

    pthread_mutex_t mutex; /* what follows */
    bool is_cancelled;
    struct blob_writer *writer;
    struct blob_partial partial; /* as promised */
    uint64_t unkept_bytes;       /* written since */
    bool has_checksum;
    struct sha256 checksum;
    crypto_hash_sha256_state hash;
};

/* ---- one patch for each partial ---- */

static void unlist(struct uploads *uploads, struct service_patch *patch)
{
    struct service_patch **link = &uploads->patches;

    while (*link && *link != patch)
        link = &(*link)->next;
    if (*link)
        *link = patch->next;
    patch->is_listed = false;
}

static struct service_patch *find_patch(
    struct uploads *uploads, const struct uuid *device, const struct sha256 *sha256)
{
    for (struct service_patch *patch = uploads->patches; patch; patch = patch->next) {
        if (uuid_equal(&patch->device, device) && sha256_equal(&patch->sha256, sha256))
            return patch;
    }
    return NULL;
}

/* Ends the patch that is under way for this partial, if there is one. With uploads.mutex. It waits for what
 * the patch is doing at this moment, a write or an fsync. */
static void end_stale(struct uploads *uploads, const struct uuid *device, const struct sha256 *sha256)
{
    struct service_patch *stale = find_patch(uploads, device, sha256);

    if (!stale)
        return;
    pthread_mutex_lock(&stale->mutex);
    stale->is_cancelled = true;
    pthread_mutex_unlock(&stale->mutex);
    unlist(uploads, stale);
}

int patches_remove_partial(struct service *service, const struct uuid *device, const struct sha256 *sha256)
{
    struct uploads *uploads = &service->uploads;

    pthread_mutex_lock(&uploads->mutex);
    end_stale(uploads, device, sha256);
    int r = service->blobs->verbs->partial_remove(service->blobs, device, sha256);
    pthread_mutex_unlock(&uploads->mutex);
    return r;
}

bool patches_is_under_way(struct service *service, const struct uuid *device, const struct sha256 *sha256)
{
    struct uploads *uploads = &service->uploads;
    bool found;

    pthread_mutex_lock(&uploads->mutex);
    found = find_patch(uploads, device, sha256) != NULL;
    pthread_mutex_unlock(&uploads->mutex);
    return found;
}

/* ---- from its first byte to its last ---- */

static int find_at_offset(struct service *service, struct service_patch *patch, uint64_t offset)
{
    int r =
        service->blobs->verbs->partial_find(service->blobs, &patch->device, &patch->sha256, &patch->partial);

    if (r < 0)
        return r;
    if (patch->partial.expires_ms <= service_now_ms(service))
        return -ENOENT;
    return patch->partial.offset == offset ? 0 : -EINVAL;
}

/* Looks first, so that a request with a wrong offset ends nobody; and again when nobody else can write. */
static int take_over(struct service *service, struct service_patch *patch, uint64_t offset)
{
    struct uploads *uploads = &service->uploads;
    int r = find_at_offset(service, patch, offset);

    if (r < 0)
        return r;
    pthread_mutex_lock(&uploads->mutex);
    end_stale(uploads, &patch->device, &patch->sha256);
    r = find_at_offset(service, patch, offset);
    if (r >= 0)
        r = service->blobs->verbs->write_begin(service->blobs, &patch->partial, &patch->writer);
    if (r >= 0) {
        patch->next = uploads->patches;
        uploads->patches = patch;
        patch->is_listed = true;
    }
    pthread_mutex_unlock(&uploads->mutex);
    return r;
}

static void patch_free(struct service_patch *patch)
{
    patch->service->blobs->verbs->write_end(patch->writer);
    pthread_mutex_destroy(&patch->mutex);
    free(patch);
}

int service_patch_begin(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    uint64_t offset, const struct sha256 *checksum, struct service_patch **ret)
{
    struct service_patch *patch = calloc(1, sizeof(*patch));
    int r;

    if (!patch)
        return -ENOMEM;
    patch->service = service;
    patch->device = *device;
    patch->sha256 = *sha256;
    pthread_mutex_init(&patch->mutex, NULL);
    patch->has_checksum = checksum != NULL;
    if (checksum) {
        patch->checksum = *checksum;
        crypto_hash_sha256_init(&patch->hash);
    }
    r = take_over(service, patch, offset);
    if (r < 0) {
        patch_free(patch);
        return r;
    }
    *ret = patch;
    return 0;
}

/* Promises what has come so far; the patch goes on. With its mutex. A chunk with a checksum counts only
 * whole, and the last byte is for the patch's end, which puts the blob in its place. */
static int keep_so_far(struct service_patch *patch)
{
    struct service *service = patch->service;
    int r;

    if (patch->is_cancelled || patch->has_checksum || patch->unkept_bytes == 0 ||
        patch->partial.offset + patch->unkept_bytes >= patch->partial.size)
        return 0;
    r = service->blobs->verbs->write_keep(
        patch->writer, service_now_ms(service) + UPLOAD_EXPIRY_MS, &patch->partial);
    if (r < 0)
        patch->is_cancelled = true; /* with the partial removed, nothing can be promised any more */
    else
        patch->unkept_bytes = 0;
    return r;
}

int service_upload_keep(struct service *service, const struct uuid *device, const struct sha256 *sha256)
{
    struct uploads *uploads = &service->uploads;
    struct service_patch *patch;
    int r = 0;

    pthread_mutex_lock(&uploads->mutex);
    patch = find_patch(uploads, device, sha256);
    if (patch) {
        pthread_mutex_lock(&patch->mutex);
        r = keep_so_far(patch);
        pthread_mutex_unlock(&patch->mutex);
    }
    pthread_mutex_unlock(&uploads->mutex);
    return r;
}

int service_patch_write(struct service_patch *patch, const void *data, size_t len)
{
    int r = -ECANCELED;

    pthread_mutex_lock(&patch->mutex);
    if (!patch->is_cancelled)
        r = patch->service->blobs->verbs->write(patch->writer, data, len);
    if (r >= 0 && patch->has_checksum)
        crypto_hash_sha256_update(&patch->hash, data, len);
    if (r >= 0)
        patch->unkept_bytes += len;
    if (r >= 0 && patch->unkept_bytes >= UPLOAD_KEEP_BYTES)
        r = keep_so_far(patch);
    pthread_mutex_unlock(&patch->mutex);
    return r;
}

/* With a checksum a chunk counts only whole and right. 1: to be kept, 0: not, -EBADMSG wrong. */
static int judge_chunk(struct service_patch *patch, bool complete)
{
    struct sha256 sha256;

    if (!patch->has_checksum)
        return 1;
    if (!complete)
        return 0;
    crypto_hash_sha256_final(&patch->hash, sha256.b);
    return sha256_equal(&sha256, &patch->checksum) ? 1 : -EBADMSG;
}

static int keep(struct service_patch *patch, bool complete, bool *ret_stored)
{
    struct service *service = patch->service;
    struct blobs *blobs = service->blobs;
    int r = judge_chunk(patch, complete);

    if (r <= 0)
        return r;
    r = blobs->verbs->write_keep(patch->writer, service_now_ms(service) + UPLOAD_EXPIRY_MS, &patch->partial);
    if (r < 0 || patch->partial.offset < patch->partial.size)
        return r;
    r = blobs->verbs->write_place(patch->writer);
    *ret_stored = r >= 0;
    return r;
}

int service_patch_end(
    struct service_patch *patch, bool complete, struct service_upload *ret, bool *ret_blob_stored)
{
    struct uploads *uploads = &patch->service->uploads;
    bool is_stored = false;
    int r = -ECANCELED;

    pthread_mutex_lock(&patch->mutex);
    if (!patch->is_cancelled)
        r = keep(patch, complete, &is_stored);
    pthread_mutex_unlock(&patch->mutex);

    pthread_mutex_lock(&uploads->mutex);
    if (patch->is_listed)
        unlist(uploads, patch);
    pthread_mutex_unlock(&uploads->mutex);
    if (r >= 0) {
        uploads_describe(&patch->partial, ret);
        *ret_blob_stored = is_stored;
    }
    patch_free(patch);
    return r;
}
