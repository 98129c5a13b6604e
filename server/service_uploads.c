/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Photo uploads: tus 1.0.0 without HTTP. proto/README.md, "Photos". Here is who may upload what, partials
 * from their creation to their expiry, and photos that come on a data carrier; service_patches.c has the
 * requests that bring the bytes.
 */
#include "server/service_internal.h"

#define EXPIRED_AT_ONCE_MAX 256u
#define FOUND_MAX 4096u /* found in place, and not entered yet */

struct blob_entry {
    struct sha256 sha256;
    uint64_t size;
};

void uploads_open(struct service *service)
{
    pthread_mutex_init(&service->uploads.mutex, NULL);
    pthread_mutex_init(&service->uploads.create_mutex, NULL);
}

void uploads_done(struct service *service)
{
    pthread_mutex_destroy(&service->uploads.mutex);
    pthread_mutex_destroy(&service->uploads.create_mutex);
    free(service->uploads.found);
}

/* ---- who may upload what ---- */

int service_upload_authorise(struct service *service, const char *token_text, struct uuid *ret_device)
{
    struct upload_token token;
    bool revoked = false;
    int r = upload_token_check(token_text, service->upload_secret, service_now_s(service), &token);

    if (r < 0)
        return r;
    r = revocations_has(service, &token.device, &revoked);
    if (r < 0)
        return r == -EACCES ? -EIO : r; /* the file may not be read: that says nothing of the device */
    if (revoked)
        return -EACCES;
    *ret_device = token.device;
    limits_note_upload(service);
    return 0;
}

/* The blob's row, if a stored record of the device names it. -EACCES when none does. */
static int find_named(
    struct service *service, const struct uuid *device, const struct sha256 *sha256, struct stored_blob *ret)
{
    _cleanup_reader_ struct reader reader = {0};
    struct stored_device stored;
    int r = reader_take(service, &reader);

    if (r >= 0)
        r = reader.storage->verbs->device_find(reader.storage, device, &stored);
    if (r >= 0)
        r = reader.storage->verbs->blob_is_named(reader.storage, sha256, stored.number);
    if (r == -ENOENT || r == 0)
        return -EACCES;
    return r < 0 ? r : reader.storage->verbs->blob_find(reader.storage, sha256, ret);
}

void uploads_describe(const struct blob_partial *partial, struct service_upload *ret)
{
    *ret = (struct service_upload){
        .size = partial->size, .offset = partial->offset, .expires_ms = partial->expires_ms};
}

static void fill_whole(struct service *service, uint64_t size, struct service_upload *ret)
{
    *ret = (struct service_upload){
        .size = size, .offset = size, .expires_ms = service_now_ms(service) + UPLOAD_EXPIRY_MS};
}

/* Each blob is noted once, however often it is asked for. The mutex is held. */
static int note_found(struct uploads *uploads, const struct sha256 *sha256, uint64_t size)
{
    for (size_t i = 0; i < uploads->found_count; i++)
        if (sha256_equal(&uploads->found[i].sha256, sha256))
            return 0;
    if (uploads->found_count == FOUND_MAX)
        return -EBUSY;
    struct blob_entry *grown = reallocarray(uploads->found, uploads->found_count + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    uploads->found = grown;
    uploads->found[uploads->found_count++] = (struct blob_entry){.sha256 = *sha256, .size = size};
    return 0;
}

/* A blob that is in place though storage does not say so: the process was killed between the two. */
static int enter_later(struct service *service, const struct sha256 *sha256, uint64_t size)
{
    struct uploads *uploads = &service->uploads;

    pthread_mutex_lock(&uploads->mutex);
    int r = note_found(uploads, sha256, size);
    pthread_mutex_unlock(&uploads->mutex);
    return r;
}

/* 1 when the blob is here whole, as far as can be told without reading what storage vouches for. */
static int is_in_place(struct service *service, const struct stored_blob *blob, uint64_t *ret_size)
{
    struct blobs *blobs = service->blobs;
    struct sha256 found;
    uint64_t size;
    int r = blobs->verbs->find(blobs, &blob->sha256, &size);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (blob->state == STORED_BLOB_PRESENT) {
        *ret_size = size;
        return size == blob->size;
    }
    r = blobs->verbs->hash(blobs, &blob->sha256, &found, &size);
    if (r < 0)
        return r;
    if (!sha256_equal(&found, &blob->sha256))
        return 0; /* A damaged file: what is uploaded will take its place. */
    *ret_size = size;
    r = blobs->verbs->settle(blobs, &blob->sha256);
    if (r >= 0)
        r = enter_later(service, &blob->sha256, size);
    return r < 0 ? r : 1;
}

/* ---- creation ---- */

struct partials_sum {
    uint64_t bytes;
    size_t count;
};

static int add_to_quota(void *user, const struct blob_partial *partial)
{
    struct partials_sum *quota = user;

    quota->bytes += partial->size;
    quota->count++;
    return 0;
}

static int check_quota(struct service *service, const struct uuid *device)
{
    _cleanup_reader_ struct reader reader = {0};
    struct stored_device stored = {0};
    bool is_over = false;
    int r;

    if (service->quota.photo_bytes == 0)
        return 0;
    r = reader_take(service, &reader);
    if (r >= 0)
        r = reader.storage->verbs->device_find(reader.storage, device, &stored);
    if (r >= 0)
        r = limits_photos_are_used_up(service, reader.storage, stored.number, &is_over);
    return r < 0 ? r : is_over ? -EPERM : 0;
}

static int check_room(struct service *service, const struct uuid *device, uint64_t size)
{
    struct blobs *blobs = service->blobs;
    struct partials_sum quota = {0};
    uint64_t free_bytes;
    int r = blobs->verbs->partials_each(blobs, device, add_to_quota, &quota);

    if (r < 0)
        return r;
    if (quota.count >= UPLOAD_PARTIALS_MAX || quota.bytes + size > UPLOAD_QUOTA_BYTES)
        return -EDQUOT;
    r = blobs->verbs->space(blobs, &free_bytes);
    if (r < 0)
        return r;
    return free_bytes < size + UPLOAD_SPACE_LEFT_BYTES ? -ENOSPC : 0;
}

/* The partial, made if there is none that is still good. With uploads.create_mutex. */
static int find_or_create(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    uint64_t size, struct blob_partial *ret)
{
    struct blobs *blobs = service->blobs;
    int64_t now_ms = service_now_ms(service);
    int r = blobs->verbs->partial_find(blobs, device, sha256, ret);

    if (r < 0 && r != -ENOENT)
        return r;
    if (r >= 0 && ret->size == size && ret->expires_ms > now_ms)
        return 0;
    if (r >= 0)
        r = patches_remove_partial(service, device, sha256);
    if (r < 0 && r != -ENOENT)
        return r;
    r = check_quota(service, device);
    if (r >= 0)
        r = check_room(service, device, size);
    if (r < 0)
        return r;
    *ret = (struct blob_partial){
        .device = *device, .sha256 = *sha256, .size = size, .expires_ms = now_ms + UPLOAD_EXPIRY_MS};
    return blobs->verbs->partial_create(blobs, ret);
}

int service_upload_create(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    uint64_t size, struct service_upload *ret)
{
    struct blob_partial partial;
    struct stored_blob blob;
    uint64_t stored_size = 0;
    int r;

    if (size > BLOB_BYTES_MAX)
        return -EFBIG;
    if (size == 0)
        return -EINVAL;
    r = find_named(service, device, sha256, &blob);
    if (r < 0)
        return r;
    if (blob.state == STORED_BLOB_ERASED)
        return -EACCES;
    r = is_in_place(service, &blob, &stored_size);
    if (r < 0)
        return r;
    if (r > 0) {
        fill_whole(service, stored_size, ret);
        return -EEXIST;
    }
    pthread_mutex_lock(&service->uploads.create_mutex);
    r = find_or_create(service, device, sha256, size, &partial);
    pthread_mutex_unlock(&service->uploads.create_mutex);
    if (r >= 0)
        uploads_describe(&partial, ret);
    return r;
}

/* What has expired is looked at again under the lock: somebody may have created it anew. */
static int remove_if_expired(struct service *service, const struct blob_partial *partial, int64_t now_ms)
{
    struct blobs *blobs = service->blobs;
    struct blob_partial again;
    int r;

    if (patches_is_under_way(service, &partial->device, &partial->sha256))
        return 0;
    r = blobs->verbs->partial_find(blobs, &partial->device, &partial->sha256, &again);
    if (r >= 0 && again.expires_ms > now_ms)
        return 0;
    if (r < 0 && r != -ENOENT)
        return r;
    return patches_remove_partial(service, &partial->device, &partial->sha256);
}

int service_upload_find(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    struct service_upload *ret)
{
    struct blobs *blobs = service->blobs;
    struct blob_partial partial;
    struct stored_blob blob;
    int r = blobs->verbs->partial_find(blobs, device, sha256, &partial);

    if (r >= 0 && partial.expires_ms <= service_now_ms(service)) {
        pthread_mutex_lock(&service->uploads.create_mutex);
        (void)remove_if_expired(service, &partial, service_now_ms(service));
        pthread_mutex_unlock(&service->uploads.create_mutex);
        return -EKEYEXPIRED;
    }
    if (r >= 0)
        uploads_describe(&partial, ret);
    if (r != -ENOENT)
        return r;
    r = find_named(service, device, sha256, &blob);
    if (r < 0)
        return r == -EACCES ? -ENOENT : r;
    if (blob.state == STORED_BLOB_ERASED)
        return -ENOENT;
    if (blob.state != STORED_BLOB_PRESENT) {
        r = is_in_place(service, &blob, &blob.size); /* between its place and its row */
        if (r <= 0)
            return r < 0 ? r : -ENOENT;
    }
    fill_whole(service, blob.size, ret);
    return 0;
}

uint64_t uploads_have(struct service *service, const struct uuid *device, const struct sha256 *sha256)
{
    struct blob_partial partial;
    int r = service->blobs->verbs->partial_find(service->blobs, device, sha256, &partial);

    return r >= 0 && partial.expires_ms > service_now_ms(service) ? partial.offset : 0;
}

/* ---- photos on a data carrier ---- */

/* Under an id that no device has: what a handheld sends meanwhile over the network, to another process, has a
 * partial of its own. */
static const struct uuid carrier = {{0}};

int uploads_carry_begin(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    uint64_t size, struct blob_writer **ret)
{
    struct blobs *blobs = service->blobs;
    struct blob_partial partial = {.device = carrier,
        .sha256 = *sha256,
        .size = size,
        .expires_ms = service_now_ms(service) + UPLOAD_EXPIRY_MS};
    struct stored_blob blob;
    uint64_t free_bytes = 0, stored_size;
    int r = find_named(service, device, sha256, &blob);

    if (r >= 0 && blob.state == STORED_BLOB_ERASED)
        r = -EACCES;
    if (r >= 0)
        r = is_in_place(service, &blob, &stored_size);
    if (r > 0) {
        r = uploads_enter_found(service);
        return r < 0 ? r : 1;
    }
    if (r >= 0)
        r = blobs->verbs->space(blobs, &free_bytes);
    if (r >= 0 && free_bytes < size + UPLOAD_SPACE_LEFT_BYTES)
        r = -ENOSPC;
    if (r >= 0)
        r = blobs->verbs->partial_create(blobs, &partial);
    return r < 0 ? r : blobs->verbs->write_begin(blobs, &partial, ret);
}

void uploads_carry_drop(struct service *service, struct blob_writer *writer, const struct sha256 *sha256)
{
    if (!writer)
        return;
    service->blobs->verbs->write_end(writer);
    (void)service->blobs->verbs->partial_remove(service->blobs, &carrier, sha256);
}

int uploads_carry_end(
    struct service *service, struct blob_writer *writer, const struct sha256 *sha256, uint64_t size)
{
    struct blobs *blobs = service->blobs;
    struct blob_partial partial;
    int r = blobs->verbs->write_keep(writer, service_now_ms(service) + UPLOAD_EXPIRY_MS, &partial);

    if (r >= 0)
        r = partial.offset == size ? blobs->verbs->write_place(writer) : -EILSEQ;
    uploads_carry_drop(service, writer, sha256);
    return r < 0 ? r : service_blob_stored(service, sha256, size);
}

/* ---- the writer's part ---- */

int service_blob_stored(struct service *service, const struct sha256 *sha256, uint64_t size)
{
    struct transaction transaction;
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    transaction.has_changed = true;
    /* It was erased while it was on its way. */
    if (orders_cover_blob(service, sha256)) {
        transaction_rollback(&transaction);
        r = service->blobs->verbs->remove(service->blobs, sha256);
        return r == -ENOENT ? 0 : r;
    }
    r = transaction.storage->verbs->blob_set_state(transaction.storage, sha256, STORED_BLOB_PRESENT, size);
    if (r < 0) {
        transaction_rollback(&transaction);
        return r == -ENOENT ? 0 : r;
    }
    r = transaction_commit(&transaction);
    if (r >= 0) {
        service_count(&service->counters.blobs_stored, 1);
        service_count(&service->counters.blob_bytes, size);
    }
    return r;
}

static bool take_found(struct uploads *uploads, struct blob_entry *ret)
{
    bool is_there;

    pthread_mutex_lock(&uploads->mutex);
    is_there = uploads->found_count > 0;
    if (is_there)
        *ret = uploads->found[--uploads->found_count];
    pthread_mutex_unlock(&uploads->mutex);
    return is_there;
}

int uploads_enter_found(struct service *service)
{
    struct blob_entry entry;

    while (take_found(&service->uploads, &entry)) {
        int r = service_blob_stored(service, &entry.sha256, entry.size);

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- expiry ---- */

struct expired {
    int64_t now_ms;
    struct blob_partial partials[EXPIRED_AT_ONCE_MAX];
    size_t count;
};

static int note_expired(void *user, const struct blob_partial *partial)
{
    struct expired *expired = user;

    if (partial->expires_ms > expired->now_ms)
        return 0;
    if (expired->count == EXPIRED_AT_ONCE_MAX)
        return 1;
    expired->partials[expired->count++] = *partial;
    return 0;
}

int uploads_expire(struct service *service)
{
    _cleanup_free_ struct expired *expired = calloc(1, sizeof(*expired));
    int r;

    if (!expired)
        return -ENOMEM;
    expired->now_ms = service_now_ms(service);
    r = service->blobs->verbs->partials_each(service->blobs, NULL, note_expired, expired);
    for (size_t i = 0; r >= 0 && i < expired->count; i++) {
        pthread_mutex_lock(&service->uploads.create_mutex);
        r = remove_if_expired(service, &expired->partials[i], expired->now_ms);
        pthread_mutex_unlock(&service->uploads.create_mutex);
    }
    return r < 0 ? r : 0;
}
