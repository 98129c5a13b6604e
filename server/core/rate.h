/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much somebody has asked for lately: buckets that fill with what is charged and leak at a fixed rate,
 * and a table of them by id. Called by server/http (who is refused before a body is read). Must not know
 * requests, devices or addresses. Pure: the time is an argument, and the caller sees to it that one thread at
 * a time uses a bucket or a table.
 *
 *   charged ──► [ level ]  over a minute's worth: wait until it has leaked to that
 *                  │ leaks `per_minute`, in whole units of 1/60,000 a millisecond: nothing is rounded
 *
 * To look and to charge are two steps, so that a request may be looked at by the name that it gives, and be
 * charged only to who is proven to have sent it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_PER_MINUTE_MAX (UINT64_C(1) << 40)
#define RATE_KEY_BYTES 16u
#define RATE_SEED_BYTES 16u
#define RATE_ENTRIES 32768u /* of a table: at most so many are remembered, about 2 MiB */

/* ---- one bucket ---- */

struct rate_bucket {
    uint64_t level; /* units * 60,000 */
    uint64_t at_ms; /* when it stood so */
};

/* A bucket holds no more than twice a minute's worth: nobody is kept out for longer than a minute after it
 * has stopped. `per_minute` is at least 1 and at most RATE_PER_MINUTE_MAX. */
void rate_bucket_charge(struct rate_bucket *bucket, uint64_t per_minute, uint64_t amount, uint64_t now_ms);
/* Milliseconds until no more than `allowed` units are left in it; 0: so it is. */
uint64_t rate_bucket_wait_ms(
    const struct rate_bucket *bucket, uint64_t per_minute, uint64_t allowed, uint64_t now_ms);

/* ---- many ---- */

enum rate_kind { RATE_REQUESTS, RATE_BYTES, RATE_KINDS };

struct rate_key {
    uint8_t b[RATE_KEY_BYTES];
};

struct rate_table;

/* `per_minute[kind]` 0: no limit of this kind. `seed` is random, so that nobody can choose keys that share a
 * place. -ENOMEM. */
int rate_table_new(
    const uint64_t per_minute[RATE_KINDS], const uint8_t seed[RATE_SEED_BYTES], struct rate_table **ret);
void rate_table_free(struct rate_table *table);

/* Whole seconds until `key` may go on, rounded up; 0: now. Changes nothing. */
uint32_t rate_table_wait_s(const struct rate_table *table, const struct rate_key *key, uint64_t now_ms);
/* When its place is full the one whose buckets are emptiest gives way, of equals the one not seen for
 * longest. `from` is kept as where the key was last charged from. */
void rate_table_charge(struct rate_table *table, const struct rate_key *key, const struct rate_key *from,
    const uint64_t amount[RATE_KINDS], uint64_t now_ms);
/* True when the key was last charged from there, as far as the table remembers. */
bool rate_table_is_from(
    const struct rate_table *table, const struct rate_key *key, const struct rate_key *from);
