/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A photo or preview as the store keeps it, read from its first byte to its last and held against the hash by
 * which records name it: what is altered never goes out as whole. Called by the commands that write photos
 * into a file; knows nothing of that file.
 */
#pragma once

#include "store/store.h"

#include <sodium.h>

struct kept_photo {
    struct store *store;
    struct sha256 sha256;
    uint64_t size, at; /* as records name it; how much of it was read */
    crypto_hash_sha256_state state;
};

void kept_photo_start(
    struct store *store, const struct sha256 *sha256, uint64_t size, struct kept_photo *ret);
/* The next chunk, while `at` is below `size`: its length; 0 when the disk gives no more of it, or when this
 * chunk would complete a photo that is another one: then it is kept back. -ENOENT the file is gone; other
 * -errno. */
ssize_t kept_photo_read(struct kept_photo *photo, uint8_t *chunk, size_t chunk_bytes_max);
