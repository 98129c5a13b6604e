/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handheld's link: it goes for a while, for hours, or again and again within seconds; and what its daemon
 * may do when it is back.
 */
#include "tests/sim/sim.h"

#define LONG_OUTAGE_MS (10 * MINUTE_MS) /* only after that does anything wait */
#define FLAPS_MAX 40u

static void run_up(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    link_set(sim, object, true);
}

static void run_down(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    link_set(sim, object, false);
}

/* How long a lane waits because the link is back: 0 when it does not. */
static uint64_t wait_ms(const struct handheld *handheld, const struct agent_status *status, size_t lane)
{
    const struct engine_lane_report *report = &status->engine.lanes[lane];
    uint64_t now_ms = handheld->machine.clock.boot_ms;

    return report->wait == LANE_WAITS_FOR_LINK_UP && report->until_ms > now_ms ? report->until_ms - now_ms
                                                                               : 0;
}

static void check_back(struct sim *sim, struct handheld *handheld)
{
    static const uint64_t longest_ms[ENGINE_LANES] = {
        [LANE_TEXT] = 20 * SECOND_MS, [LANE_PREVIEWS] = 40 * SECOND_MS, [LANE_PHOTOS] = 40 * SECOND_MS};
    struct agent_status status;
    bool any = false;

    if (agent_status(handheld->agent, &status) < 0)
        return;
    for (size_t lane = 0; lane < ENGINE_LANES; lane++) {
        any = any || wait_ms(handheld, &status, lane) > 0;
        if (wait_ms(handheld, &status, lane) > longest_ms[lane])
            sim_fail(sim, "handheld %u: the link is back, and %s wait for %llu ms", handheld->number,
                engine_lane_name((enum engine_lane)lane),
                (unsigned long long)wait_ms(handheld, &status, lane));
    }
    if (any)
        sim_cover(sim, COVER_LINK_UP_WAIT);
}

void link_check_no_wait(struct sim *sim, struct handheld *handheld, const char *when)
{
    struct agent_status status;

    if (!handheld->agent || agent_status(handheld->agent, &status) < 0)
        return;
    for (size_t lane = 0; lane < ENGINE_LANES; lane++)
        if (wait_ms(handheld, &status, lane) > 0)
            sim_fail(sim, "handheld %u: %s wait as after an outage, %s", handheld->number,
                engine_lane_name((enum engine_lane)lane), when);
}

void link_set(struct sim *sim, struct handheld *handheld, bool up)
{
    bool was_up = handheld->link_up;

    handheld->link_up = up;
    sim_trace(sim, "handheld %u: link %s", handheld->number, up ? "up" : "down");
    if (!handheld->agent)
        return;
    agent_link(handheld->agent, up);
    if (up && !was_up)
        check_back(sim, handheld);
    daemon_after(sim, handheld);
}

bool link_flap(struct sim *sim, struct handheld *handheld)
{
    link_set(sim, handheld, false);
    sim_at(sim, sim_between(sim, SECOND_MS, 10 * MINUTE_MS), run_up, handheld, 0);
    return true;
}

bool link_outage(struct sim *sim, struct handheld *handheld)
{
    link_set(sim, handheld, false);
    sim_at(sim, sim_between(sim, LONG_OUTAGE_MS, 12 * HOUR_MS), run_up, handheld, 0);
    return true;
}

/* The last of them leaves it up. */
bool link_flap_burst(struct sim *sim, struct handheld *handheld)
{
    uint64_t count = sim_between(sim, 3, FLAPS_MAX), at_ms = 0;

    for (uint64_t i = 0; i < count; i++) {
        at_ms += sim_between(sim, 20, 10 * SECOND_MS);
        sim_at(sim, at_ms, run_down, handheld, 0);
        at_ms += sim_between(sim, 20, 10 * SECOND_MS);
        sim_at(sim, at_ms, run_up, handheld, 0);
    }
    return true;
}
