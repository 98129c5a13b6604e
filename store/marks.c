/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks: four bytes that tie a row to its key. A record's leaf hash says that its bytes are what was
 * recorded, but not where; with the mark a row that is found on a damaged page, without a tree round it, says
 * that as well. Called by whatever writes or salvages rows of records and logs.
 */
#include "store/internal.h"

static uint32_t first_four(const uint8_t *data, size_t len)
{
    struct sha256 hash = sha256_of(bytes_of(data, len));
    struct cursor cursor = cursor_of(sha256_bytes(&hash));

    return cursor_u32be(&cursor);
}

static void put_i64(uint8_t *at, int64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
}

uint32_t record_mark(int64_t key, int64_t stored_kind, const struct sha256 *leaf)
{
    uint8_t data[8 + 8 + SHA256_BYTES];

    put_i64(data, key);
    put_i64(data + 8, stored_kind);
    memcpy(data + 16, leaf->b, SHA256_BYTES);
    return first_four(data, sizeof(data));
}

uint32_t log_mark(int64_t number, const struct uuid *id)
{
    uint8_t data[8 + UUID_BYTES];

    put_i64(data, number);
    memcpy(data + 8, id->b, UUID_BYTES);
    return first_four(data, sizeof(data));
}
