/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audits and repairs while their answers are lost, cut, late or doubled, of any level: what was mended counts
 * once, and what was not is asked for again.
 */
#include "tests/sim/sim.h"

static const enum sim_fate losses[] = {
    FATE_REQUEST_LOST,
    FATE_RESET_AFTER,
    FATE_ANSWER_LOST,
    FATE_ANSWER_CUT,
    FATE_ANSWER_LATE,
    FATE_DUPLICATE,
};

static bool loses_the_answer(enum sim_fate fate)
{
    return fate != FATE_REQUEST_LOST && fate != FATE_DUPLICATE;
}

static enum coverage_kind audit_kind(struct handheld *handheld)
{
    struct agent_status status;

    return agent_status(handheld->agent, &status) >= 0 && status.engine.resync_level == AUDIT_MEDIA
               ? COVER_MEDIA_AUDIT_ANSWER_LOST
               : COVER_AUDIT_ANSWER_LOST;
}

bool audit_meets_loss(struct sim *sim, struct handheld *handheld, const char *path, enum sim_fate *ret)
{
    bool is_audit = strcmp(path, "/v1/audit") == 0, is_repair = strcmp(path, "/v1/repair") == 0;

    if ((!is_audit && !is_repair) || sim->audit_faults_percent == 0 ||
        !sim_chance(sim, sim->audit_faults_percent))
        return false;
    *ret = losses[sim_below(sim, ARRAY_LEN(losses))];
    if (loses_the_answer(*ret))
        sim_cover(sim, is_repair ? COVER_REPAIR_ANSWER_LOST : audit_kind(handheld));
    return true;
}

void audit_losses_begin(struct sim *sim, uint32_t percent)
{
    sim->audit_faults_percent = percent;
    sim->audit_faults_number++;
}

void audit_losses_end(struct sim *sim)
{
    sim->audit_faults_percent = 0;
    sim->audit_faults_number++;
}

static void run_end(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    if (sim->audit_faults_number == number)
        audit_losses_end(sim);
}

bool audit_under_loss(struct sim *sim, struct handheld *handheld)
{
    enum audit_level level = sim_chance(sim, 50) ? AUDIT_MEDIA : (enum audit_level)sim_below(sim, 2);
    int r;

    if (!handheld->agent)
        return false;
    audit_losses_begin(sim, (uint32_t)sim_between(sim, 20, 80));
    sim_at(sim, sim_between(sim, 10 * MINUTE_MS, 2 * HOUR_MS), run_end, NULL, sim->audit_faults_number);
    r = agent_resync(handheld->agent, level);
    daemon_after(sim, handheld);
    return r >= 0;
}

bool audit_after_damage(struct sim *sim, struct handheld *handheld)
{
    return faults_damage_centre(sim) && audit_under_loss(sim, handheld);
}
