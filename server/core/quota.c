/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/quota.h"

bool quota_counts_days(const struct quota *quota)
{
    return quota->records_a_day > 0 || quota->bytes_a_day > 0;
}

struct quota_use quota_use_now(const struct quota_use *use, int64_t now_ms)
{
    bool is_today = use->since_ms > 0 && now_ms >= use->since_ms && now_ms - use->since_ms < QUOTA_DAY_MS;

    return is_today ? *use : (struct quota_use){0};
}

void quota_add(struct quota_use *use, uint64_t records, uint64_t bytes, int64_t now_ms)
{
    *use = quota_use_now(use, now_ms);
    if (use->since_ms == 0)
        use->since_ms = now_ms;
    use->records += records;
    use->bytes += bytes;
}

static bool is_reached(uint64_t limit, uint64_t used)
{
    return limit > 0 && used >= limit;
}

bool quota_is_used_up(const struct quota *quota, const struct quota_use *use, int64_t now_ms)
{
    struct quota_use now = quota_use_now(use, now_ms);

    return is_reached(quota->records_a_day, now.records) || is_reached(quota->bytes_a_day, now.bytes);
}

bool quota_photos_are_used_up(const struct quota *quota, uint64_t photo_bytes)
{
    return is_reached(quota->photo_bytes, photo_bytes);
}
