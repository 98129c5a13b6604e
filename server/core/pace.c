/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/pace.h"

#include <assert.h>

#define SECOND_US UINT64_C(1000000)

/* Puts one more at the end of the queue, unless it is too long; how long it is then. */
static uint64_t join(struct pace *pace, uint64_t per_second, uint64_t longest_us, uint64_t now_ms)
{
    uint64_t now_us = now_ms * 1000;

    assert(per_second > 0 && per_second <= PACE_PER_SECOND_MAX);
    if (pace->end_us < now_us)
        pace->end_us = now_us;
    if (pace->end_us - now_us < longest_us)
        pace->end_us += SECOND_US / per_second;
    return pace->end_us - now_us;
}

/* A queue that was joined just before it was too long ends a share of a second behind. */
static uint32_t wait_for(uint64_t queue_us)
{
    uint64_t wait_s = (queue_us + SECOND_US - 1) / SECOND_US;

    if (queue_us <= PACE_SLACK_MS * 1000)
        return 0;
    return wait_s < PACE_WAIT_S_MAX ? (uint32_t)wait_s : PACE_WAIT_S_MAX;
}

uint32_t pace_request(struct pace *pace, uint64_t per_second, bool has_more, uint64_t now_ms)
{
    uint64_t queue_us = join(pace, per_second, PACE_WAIT_S_MAX * SECOND_US, now_ms);

    return has_more ? wait_for(queue_us) : 0;
}

uint32_t pace_turned_away(struct pace *pace, uint64_t per_second, uint64_t now_ms)
{
    return wait_for(join(pace, per_second, PACE_TURNED_AWAY_S_MAX * SECOND_US, now_ms));
}
