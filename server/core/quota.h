/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one handheld may have stored at the centre. Called by the service, which keeps what was used. Pure.
 *
 * A day is 24 hours from the first record of it by the centre's clock, so that it has no time zone. The batch
 * that brings a handheld over its quota is still taken: otherwise one of several would pass where one large
 * one does not, and a small quota might be too small for any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define QUOTA_DAY_MS INT64_C(86400000)

/* 0: no limit of this kind. */
struct quota {
    uint64_t records_a_day, bytes_a_day; /* records, and their bytes */
    uint64_t photo_bytes;                /* of photos and previews stored in all */
};

struct quota_use {
    int64_t since_ms; /* when the day began; 0: never */
    uint64_t records, bytes;
};

bool quota_counts_days(const struct quota *quota);
/* The use as it stands now: nothing when its day is over, or begins in the future, as a clock was set back.
 */
struct quota_use quota_use_now(const struct quota_use *use, int64_t now_ms);
void quota_add(struct quota_use *use, uint64_t records, uint64_t bytes, int64_t now_ms);
bool quota_is_used_up(const struct quota *quota, const struct quota_use *use, int64_t now_ms);
bool quota_photos_are_used_up(const struct quota *quota, uint64_t photo_bytes);
