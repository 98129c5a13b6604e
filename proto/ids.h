/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ids and hashes that everything is named by. proto/README.md, "Ids". Pure.
 */
#pragma once

#include "base/bytes.h"
#include "base/text.h"

#define UUID_BYTES 16u
#define SHA256_BYTES 32u
#define SHA256_TEXT_LEN 64u

struct uuid {
    uint8_t b[UUID_BYTES];
};

struct sha256 {
    uint8_t b[SHA256_BYTES];
};

/* Where a record stands. */
struct position_in_log {
    struct uuid log;
    uint64_t seq;
};

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, UUID_BYTES) == 0;
}

static inline bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->b, b->b, SHA256_BYTES) == 0;
}

/* True for 16 zero bytes: "no id". */
bool uuid_is_nil(const struct uuid *uuid);
/* A version 4 UUID of 16 random bytes (RFC 9562, section 5.4). */
struct uuid uuid_from_random(const uint8_t random[UUID_BYTES]);
/* The public id of a record: UUIDv5 in the namespace of its log over decimal seq, ":", lower-case hex leaf
 * (by libuuid). */
struct uuid record_public_id(const struct uuid *log, uint64_t seq, const struct sha256 *leaf);

/* SHA-256 of the concatenation of up to two runs of bytes. */
struct sha256 sha256_of(struct bytes bytes);
struct sha256 sha256_of_two(struct bytes first, struct bytes second);
/* Copies a field of exactly the right length out of a message. 0 or -EBADMSG. */
int uuid_from_bytes(struct bytes bytes, struct uuid *ret);
int sha256_from_bytes(struct bytes bytes, struct sha256 *ret);
static inline struct bytes uuid_bytes(const struct uuid *uuid)
{
    return bytes_of(uuid->b, UUID_BYTES);
}
static inline struct bytes sha256_bytes(const struct sha256 *hash)
{
    return bytes_of(hash->b, SHA256_BYTES);
}
