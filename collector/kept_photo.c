/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/kept_photo.h"

void kept_photo_start(struct store *store, const struct sha256 *sha256, uint64_t size, struct kept_photo *ret)
{
    *ret = (struct kept_photo){.store = store, .sha256 = *sha256, .size = size};
    crypto_hash_sha256_init(&ret->state);
}

static bool has_hash(crypto_hash_sha256_state state, const struct sha256 *expected)
{
    struct sha256 hash;

    crypto_hash_sha256_final(&state, hash.b);
    return sha256_equal(&hash, expected);
}

ssize_t kept_photo_read(struct kept_photo *photo, uint8_t *chunk, size_t chunk_bytes_max)
{
    uint64_t left = photo->size - photo->at;
    size_t max = left < chunk_bytes_max ? (size_t)left : chunk_bytes_max;
    ssize_t n = store_blob_read(photo->store, &photo->sha256, photo->at, chunk, max);

    if (n <= 0)
        return n;
    crypto_hash_sha256_update(&photo->state, chunk, (unsigned long long)n);
    photo->at += (uint64_t)n;
    return photo->at < photo->size || has_hash(photo->state, &photo->sha256) ? n : 0;
}
