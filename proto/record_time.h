/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the times of a record are written relative to its wall_ms. proto/README.md, "Records". Pure; for
 * record_*.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What the wall clock shows for the instant of the boot: it stays the same until somebody sets the clock, and
 * so costs nothing once compressed. Modulo 2^64, so that no pair of clocks is without an encoding. */
static inline int64_t record_time_boot_wall_ms(int64_t wall_ms, uint64_t boot_ms)
{
    return (int64_t)((uint64_t)wall_ms - boot_ms);
}

static inline uint64_t record_time_boot_ms(int64_t wall_ms, int64_t boot_wall_ms)
{
    return (uint64_t)wall_ms - (uint64_t)boot_wall_ms;
}

/* Whole seconds are written as an age, others as they are. */
static inline bool record_time_is_whole(int64_t time_ms)
{
    return time_ms % 1000 == 0;
}

/* Rounded down, also before 1970. */
static inline int64_t record_time_seconds(int64_t time_ms)
{
    return time_ms / 1000 - (time_ms % 1000 < 0);
}

static inline int64_t record_time_age_s(int64_t wall_ms, int64_t time_ms)
{
    return record_time_seconds(wall_ms) - record_time_seconds(time_ms);
}

/* False when no instant has this age. */
static inline bool record_time_of_age(int64_t wall_ms, int64_t age_s, int64_t *ret_ms)
{
    int64_t seconds;

    return !__builtin_sub_overflow(record_time_seconds(wall_ms), age_s, &seconds) &&
           !__builtin_mul_overflow(seconds, 1000, ret_ms);
}
