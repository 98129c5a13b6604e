/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/time_flags.h"

static const struct {
    enum time_flag flag;
    const char *name;
} names[] = {
    {TIME_CLOCK_BEHIND, "clock_behind"},
    {TIME_CLOCK_AHEAD, "clock_ahead"},
    {TIME_FIX_DISAGREES, "fix_disagrees"},
    {TIME_FIX_OLD, "fix_old"},
};

/* True when `a` is after `b` by more than `by`. Clocks may show anything: no overflow. */
static bool is_after(int64_t a_ms, int64_t b_ms, int64_t by_ms)
{
    int64_t limit_ms;

    return !__builtin_add_overflow(b_ms, by_ms, &limit_ms) && a_ms > limit_ms;
}

static unsigned fix_flags(const struct time_facts *facts)
{
    if (facts->fix_ms == 0)
        return 0;
    if (is_after(facts->fix_ms, facts->recorded_ms, TIME_TOLERANCE_MS) ||
        is_after(facts->recorded_ms, facts->fix_ms, TIME_FIX_AGE_MAX_MS))
        return TIME_FIX_DISAGREES;
    return is_after(facts->recorded_ms, facts->fix_ms, TIME_FIX_OLD_MS) ? TIME_FIX_OLD : 0;
}

unsigned time_flags(const struct time_facts *facts)
{
    unsigned flags = fix_flags(facts);

    if (facts->recorded_ms < TIME_EARLIEST_MS ||
        (facts->not_before_ms != 0 && is_after(facts->not_before_ms, facts->recorded_ms, TIME_TOLERANCE_MS)))
        flags |= TIME_CLOCK_BEHIND;
    if (facts->received_ms != 0 && is_after(facts->recorded_ms, facts->received_ms, TIME_TOLERANCE_MS))
        flags |= TIME_CLOCK_AHEAD;
    return flags;
}

static void put_names(unsigned flags, const char *between, struct buffer *ret)
{
    bool any = false;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!(flags & names[i].flag))
            continue;
        if (any)
            buffer_put_text(ret, between);
        buffer_put_text(ret, names[i].name);
        any = true;
    }
}

void time_flags_put_json(unsigned flags, struct buffer *ret)
{
    buffer_put_text(ret, flags ? "\"flags\":[\"" : "\"flags\":[");
    put_names(flags, "\",\"", ret);
    buffer_put_text(ret, flags ? "\"]," : "],");
}

void time_flags_put_text(unsigned flags, struct buffer *ret)
{
    put_names(flags, " ", ret);
}
