/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids and hashes: see ids.h. SHA-256 is libsodium's, UUIDv5 is libuuid's; both are functions of their
 * arguments alone.
 */
#include "proto/ids.h"

#include <errno.h>
#include <sodium.h>
#include <uuid/uuid.h>

#define SEQ_DIGITS_MAX 20u

bool uuid_is_nil(const struct uuid *uuid)
{
    static const struct uuid nil = {{0}};

    return uuid_equal(uuid, &nil);
}

struct uuid uuid_from_random(const uint8_t random[UUID_BYTES])
{
    struct uuid ret;

    memcpy(ret.b, random, UUID_BYTES);
    ret.b[6] = (uint8_t)((ret.b[6] & 0x0fu) | 0x40u); /* version 4 */
    ret.b[8] = (uint8_t)((ret.b[8] & 0x3fu) | 0x80u); /* variant 10 */
    return ret;
}

/* Writes `value` in decimal and returns the number of digits. By hand, because every record stored needs it
 * and printf costs more than the hashing. */
static size_t write_decimal(uint64_t value, char ret[SEQ_DIGITS_MAX])
{
    char reversed[SEQ_DIGITS_MAX];
    size_t len = 0;

    do {
        reversed[len++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < len; i++)
        ret[i] = reversed[len - 1 - i];
    return len;
}

struct uuid record_public_id(const struct uuid *log, uint64_t seq, const struct sha256 *leaf)
{
    char name[SEQ_DIGITS_MAX + 1 + SHA256_TEXT_LEN + 1];
    struct uuid ret;
    size_t len;

    len = write_decimal(seq, name);
    name[len++] = ':';
    text_hex(leaf->b, SHA256_BYTES, name + len);
    uuid_generate_sha1(ret.b, log->b, name, len + SHA256_TEXT_LEN);
    return ret;
}

struct sha256 sha256_of(struct bytes bytes)
{
    struct sha256 ret;

    crypto_hash_sha256(ret.b, bytes.data, bytes.len);
    return ret;
}

struct sha256 sha256_of_two(struct bytes first, struct bytes second)
{
    crypto_hash_sha256_state state;
    struct sha256 ret;

    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, first.data, first.len);
    crypto_hash_sha256_update(&state, second.data, second.len);
    crypto_hash_sha256_final(&state, ret.b);
    return ret;
}

int uuid_from_bytes(struct bytes bytes, struct uuid *ret)
{
    if (bytes.len != UUID_BYTES)
        return -EBADMSG;
    memcpy(ret->b, bytes.data, UUID_BYTES);
    return 0;
}

int sha256_from_bytes(struct bytes bytes, struct sha256 *ret)
{
    if (bytes.len != SHA256_BYTES)
        return -EBADMSG;
    memcpy(ret->b, bytes.data, SHA256_BYTES);
    return 0;
}
