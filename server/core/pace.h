/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a handheld shall come again, so that many which have much to send do not ask for more than the centre
 * is good for. Called by the service with each request of a handheld. Pure: the time is an argument.
 *
 * It is a queue in thought: each request takes its share of a second behind the one before. Who sends records
 * when the end of the queue is far away is told to come when it will be there; the handheld adds up to as
 * much again by a draw of its own, which spreads those that were told the same. While less than the target
 * comes there is no queue, and nobody waits.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PACE_SLACK_MS UINT64_C(1000)  /* a queue of up to this is none: requests come in bunches */
#define PACE_WAIT_S_MAX UINT32_C(900) /* a queue does not grow beyond this, so that it is gone soon after */
#define PACE_TURNED_AWAY_S_MAX UINT32_C(60)
#define PACE_PER_SECOND_MAX UINT64_C(1000000)

struct pace {
    uint64_t end_us; /* of the queue */
};

/* One request at `now_ms`, of at most `per_second` (1 to PACE_PER_SECOND_MAX) that shall come. Seconds after
 * which the next one of this handheld is welcome; 0: whenever it has something. Only one that has sent
 * records, and has more to send, is ever told to wait: what comes with nothing would come again for nothing.
 */
uint32_t pace_request(struct pace *pace, uint64_t per_second, bool has_more, uint64_t now_ms);

/* One that is turned away, whoever it is from, and will come again: when it is welcome. It takes its place in
 * the queue too, but cannot make it longer than PACE_TURNED_AWAY_S_MAX: it is not proven that anybody comes.
 */
uint32_t pace_turned_away(struct pace *pace, uint64_t per_second, uint64_t now_ms);
