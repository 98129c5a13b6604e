/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monotonic clock of the HTTP shell: deadlines and durations. Never the time of day.
 */
#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static inline uint64_t clock_now_ms(void)
{
    return clock_now_us() / 1000u;
}

/* For pthread_cond_timedwait; a time out of reach becomes one that is far away. */
static inline struct timespec clock_timespec(uint64_t at_ms)
{
    uint64_t seconds = at_ms / 1000u;
    if (seconds > INT32_MAX)
        seconds = INT32_MAX;
    return (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)(at_ms % 1000u) * 1000000L};
}
