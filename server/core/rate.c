/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/rate.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_MS UINT64_C(60000)
#define WAYS 8u
#define SETS (RATE_ENTRIES / WAYS)
_Static_assert((SETS & (SETS - 1)) == 0, "a set is found by a mask");
_Static_assert(RATE_SEED_BYTES == crypto_shorthash_KEYBYTES && sizeof(uint64_t) == crypto_shorthash_BYTES,
    "the hash is libsodium's");

/* ---- one bucket ---- */

static uint64_t level_at(const struct rate_bucket *bucket, uint64_t per_minute, uint64_t now_ms)
{
    uint64_t elapsed_ms = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;

    /* So that the product below stays in range: by then it is empty in any case. */
    if (elapsed_ms >= 2 * MINUTE_MS)
        return 0;
    uint64_t leaked = elapsed_ms * per_minute;
    return bucket->level > leaked ? bucket->level - leaked : 0;
}

void rate_bucket_charge(struct rate_bucket *bucket, uint64_t per_minute, uint64_t amount, uint64_t now_ms)
{
    assert(per_minute > 0 && per_minute <= RATE_PER_MINUTE_MAX);
    uint64_t level_max = 2 * per_minute * MINUTE_MS;
    uint64_t level = level_at(bucket, per_minute, now_ms);

    if (amount > 2 * per_minute || level + amount * MINUTE_MS > level_max)
        level = level_max;
    else
        level += amount * MINUTE_MS;
    bucket->level = level;
    if (now_ms > bucket->at_ms)
        bucket->at_ms = now_ms;
}

uint64_t rate_bucket_wait_ms(
    const struct rate_bucket *bucket, uint64_t per_minute, uint64_t allowed, uint64_t now_ms)
{
    uint64_t level = level_at(bucket, per_minute, now_ms);

    if (allowed >= 2 * per_minute || level <= allowed * MINUTE_MS)
        return 0;
    return (level - allowed * MINUTE_MS + per_minute - 1) / per_minute;
}

/* ---- many ---- */

struct rate_entry {
    struct rate_key key, from;
    struct rate_bucket buckets[RATE_KINDS];
    uint64_t seen_ms;
    bool is_used;
};

struct rate_table {
    uint64_t per_minute[RATE_KINDS];
    uint8_t seed[RATE_SEED_BYTES];
    struct rate_entry entries[SETS][WAYS];
};

int rate_table_new(
    const uint64_t per_minute[RATE_KINDS], const uint8_t seed[RATE_SEED_BYTES], struct rate_table **ret)
{
    struct rate_table *table = calloc(1, sizeof(*table));

    if (!table)
        return -ENOMEM;
    for (size_t i = 0; i < RATE_KINDS; i++) {
        assert(per_minute[i] <= RATE_PER_MINUTE_MAX);
        table->per_minute[i] = per_minute[i];
    }
    memcpy(table->seed, seed, RATE_SEED_BYTES);
    *ret = table;
    return 0;
}

void rate_table_free(struct rate_table *table)
{
    free(table);
}

static size_t set_of(const struct rate_table *table, const struct rate_key *key)
{
    uint64_t hash;

    crypto_shorthash((uint8_t *)&hash, key->b, RATE_KEY_BYTES, table->seed);
    return (size_t)(hash & (SETS - 1));
}

static bool is_same(const struct rate_key *a, const struct rate_key *b)
{
    return memcmp(a->b, b->b, RATE_KEY_BYTES) == 0;
}

static const struct rate_entry *find(const struct rate_table *table, const struct rate_key *key)
{
    const struct rate_entry *set = table->entries[set_of(table, key)];

    for (size_t i = 0; i < WAYS; i++)
        if (set[i].is_used && is_same(&set[i].key, key))
            return &set[i];
    return NULL;
}

/* How far its fullest bucket is from empty, in milliseconds of leaking. */
static uint64_t fullness_ms(const struct rate_table *table, const struct rate_entry *entry, uint64_t now_ms)
{
    uint64_t fullest = 0;

    for (size_t i = 0; i < RATE_KINDS; i++) {
        uint64_t per_minute = table->per_minute[i];
        uint64_t ms = per_minute > 0 ? rate_bucket_wait_ms(&entry->buckets[i], per_minute, 0, now_ms) : 0;

        if (ms > fullest)
            fullest = ms;
    }
    return fullest;
}

static struct rate_entry *find_or_make(struct rate_table *table, const struct rate_key *key, uint64_t now_ms)
{
    struct rate_entry *set = table->entries[set_of(table, key)], *place = NULL;
    uint64_t least_ms = UINT64_MAX;

    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].is_used && is_same(&set[i].key, key))
            return &set[i];
        uint64_t ms = set[i].is_used ? fullness_ms(table, &set[i], now_ms) : 0;
        bool is_older = place && place->is_used && (!set[i].is_used || set[i].seen_ms < place->seen_ms);

        if (ms < least_ms || (ms == least_ms && is_older)) {
            least_ms = ms;
            place = &set[i];
        }
    }
    *place = (struct rate_entry){.key = *key, .is_used = true};
    return place;
}

uint32_t rate_table_wait_s(const struct rate_table *table, const struct rate_key *key, uint64_t now_ms)
{
    const struct rate_entry *entry = find(table, key);
    uint64_t longest_ms = 0;

    for (size_t i = 0; entry && i < RATE_KINDS; i++) {
        uint64_t per_minute = table->per_minute[i];
        uint64_t ms =
            per_minute > 0 ? rate_bucket_wait_ms(&entry->buckets[i], per_minute, per_minute, now_ms) : 0;

        if (ms > longest_ms)
            longest_ms = ms;
    }
    return (uint32_t)((longest_ms + 999) / 1000);
}

void rate_table_charge(struct rate_table *table, const struct rate_key *key, const struct rate_key *from,
    const uint64_t amount[RATE_KINDS], uint64_t now_ms)
{
    struct rate_entry *entry = find_or_make(table, key, now_ms);

    entry->from = *from;
    entry->seen_ms = now_ms;
    for (size_t i = 0; i < RATE_KINDS; i++)
        if (table->per_minute[i] > 0)
            rate_bucket_charge(&entry->buckets[i], table->per_minute[i], amount[i], now_ms);
}

bool rate_table_is_from(
    const struct rate_table *table, const struct rate_key *key, const struct rate_key *from)
{
    const struct rate_entry *entry = find(table, key);

    return entry && is_same(&entry->from, from);
}
