/* SPDX-License-Identifier: Apache-2.0 */
#include "server/core/pace.h"

#include <assert.h>

#define SECOND_US UINT64_C(1000000)

uint32_t pace_request(struct pace *pace, uint64_t per_second, bool has_more, uint64_t now_ms)
{
    uint64_t now_us = now_ms * 1000;

    assert(per_second > 0 && per_second <= PACE_PER_SECOND_MAX);
    if (pace->end_us < now_us)
        pace->end_us = now_us;
    if (pace->end_us - now_us < PACE_WAIT_S_MAX * SECOND_US)
        pace->end_us += SECOND_US / per_second;
    uint64_t queue_us = pace->end_us - now_us;
    if (!has_more || queue_us <= PACE_SLACK_MS * 1000)
        return 0;
    uint32_t wait_s = (uint32_t)((queue_us + SECOND_US - 1) / SECOND_US);
    return wait_s < PACE_WAIT_S_MAX ? wait_s : PACE_WAIT_S_MAX;
}
