/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One seed: machines are set up, people record while things go wrong, then all is well again and everything
 * must come to rest, acknowledged and the same at both ends.
 */
#include "tests/sim/sim_run.h"

#include "tests/sim/sim.h"

#include <errno.h>
#include <sqlite3.h>

#define ACTS_MAX 24u
#define REST_LOOK_MS (10 * SECOND_MS)
#define REST_MAX_MS (48 * HOUR_MS)

static void run_act(struct sim *sim, void *object, uint64_t number)
{
    struct handheld *handheld = &sim->handhelds[sim_below(sim, sim->handheld_count)];

    (void)object;
    (void)number;
    collector_act(sim, handheld);
}

static void plan(struct sim *sim, uint64_t chaos_ms)
{
    size_t acts = sim_between(sim, 2, ACTS_MAX);

    sim->network_faults_percent = (uint32_t)(sim_chance(sim, 25) ? 0 : sim_between(sim, 5, 60));
    for (size_t i = 0; i < acts; i++)
        sim_at(sim, sim_below(sim, chaos_ms), run_act, NULL, 0);
    faults_plan(sim, chaos_ms);
}

/* ---- rest ---- */

static bool is_at_rest(struct handheld *handheld)
{
    struct agent_status status;

    if (rotate_is_shut_out(handheld->sim, handheld))
        return true;
    return handheld->agent && erase_is_done(handheld->sim, handheld) &&
           agent_status(handheld->agent, &status) >= 0 && status.all_acknowledged &&
           !status.engine.resync_running && status.engine.wait == ENGINE_WAIT_NOTHING;
}

static void tell_stuck(struct sim *sim)
{
    for (size_t i = 0; i < sim->handheld_count; i++) {
        struct handheld *handheld = &sim->handhelds[i];
        struct agent_status status;

        if (is_at_rest(handheld))
            continue;
        if (!handheld->agent || agent_status(handheld->agent, &status) < 0)
            sim_fail(sim, "stuck: the daemon of handheld %u is not up", handheld->number);
        else if (!erase_is_done(sim, handheld))
            sim_fail(sim, "stuck: handheld %u has not carried out order %llu", handheld->number,
                (unsigned long long)orders_last(&sim->orders));
        else
            sim_fail(sim, "stuck: handheld %u has %llu records and %llu photos left, %s (%s)",
                handheld->number, (unsigned long long)status.store.records_queued,
                (unsigned long long)status.store.photos_pending, engine_wait_name(status.engine.wait),
                status.engine.reason ? status.engine.reason : "no reason");
    }
}

static void wait_for_rest(struct sim *sim)
{
    uint64_t until_ms = sim->now_ms + REST_MAX_MS;

    while (!sim_failed(sim) && sim->now_ms < until_ms) {
        bool rests = sim->server.service != NULL && service_erasure_is_finished(sim->server.service);
        uint64_t look_ms = sim->now_ms + REST_LOOK_MS;

        for (size_t i = 0; i < sim->handheld_count; i++)
            rests = rests && is_at_rest(&sim->handhelds[i]);
        if (rests) {
            backup_note_freed(sim);
            return;
        }
        while (sim_step(sim, look_ms))
            ;
    }
    tell_stuck(sim);
}

/* Somebody looks after the devices: a sync on each, and where the centre was damaged a full resync. */
static void nudge(struct sim *sim, bool with_resync)
{
    for (size_t i = 0; i < sim->handheld_count && !sim_failed(sim); i++) {
        struct handheld *handheld = &sim->handhelds[i];
        int r = 0;

        if (!handheld->agent)
            continue;
        agent_sync_now(handheld->agent);
        if (with_resync)
            r = agent_resync(handheld->agent, AUDIT_MEDIA);
        if (r < 0 && r != -EBUSY)
            sim_fail(sim, "a resync cannot be asked for: %s", strerror(-r));
        daemon_after(sim, handheld);
    }
}

/* A photo that was removed here may have been damaged there: that is told, and checked at the end. */
static bool is_mended(const struct sim *sim, const struct handheld *handheld)
{
    const struct resync_report *report = &handheld->resync;

    return handheld->resync_ok || (backup_may_lack_any(sim) && !report->failed && report->records_gone == 0);
}

/* The handheld whose resync did not end well, if there is one. */
static const struct handheld *mend_all(struct sim *sim)
{
    for (size_t i = 0; i < sim->handheld_count; i++)
        sim->handhelds[i].resync_done = false;
    nudge(sim, true);
    wait_for_rest(sim);
    for (size_t i = 0; i < sim->handheld_count; i++)
        if (!rotate_is_shut_out(sim, &sim->handhelds[i]) &&
            (!sim->handhelds[i].resync_done || !is_mended(sim, &sim->handhelds[i])))
            return &sim->handhelds[i];
    return NULL;
}

static void mend(struct sim *sim)
{
    const struct handheld *bad = mend_all(sim);

    if (bad)
        sim_fail(sim, "the resync after the damage did not end well: %s",
            bad->resync.problem ? bad->resync.problem : "no problem told");
}

/* Such a resync may be given up; but when it says that all is well, it is. */
static bool mend_under_loss(struct sim *sim)
{
    bool is_mended;

    if (!sim_chance(sim, 50))
        return false;
    audit_losses_begin(sim, (uint32_t)sim_between(sim, 20, 60));
    is_mended = mend_all(sim) == NULL;
    audit_losses_end(sim);
    if (is_mended)
        sim_cover(sim, COVER_MENDED_UNDER_LOSS);
    return is_mended;
}

static void come_to_rest(struct sim *sim)
{
    bool is_set_back;

    faults_end(sim);
    for (size_t i = 0; i < sim->handheld_count && !sim_failed(sim); i++)
        collector_record_one(sim, &sim->handhelds[i]);
    is_set_back = prune_aftermath(sim);
    nudge(sim, false);
    wait_for_rest(sim);
    /* Who has set the centre up anew has all handhelds compare everything with it. */
    if (is_set_back) {
        nudge(sim, true);
        wait_for_rest(sim);
    }
    if (!sim->was_damaged || sim_failed(sim))
        return;
    if (!mend_under_loss(sim))
        mend(sim);
}

/* ---- life ---- */

static void sim_init(struct sim *sim, uint64_t seed, bool prints_trace, struct coverage *coverage)
{
    *sim = (struct sim){.seed = seed, .prints_trace = prints_trace, .coverage = coverage, .is_chaos = true};
    sim->random.state = seed;
    sim->random.state = sim_random_u64(&sim->random); /* neighbouring seeds must not share their chances */
    crypto_hash_sha256_init(&sim->trace);
    /* SQLite salts its WAL with random numbers of its own, from the real world if it were let. */
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed % 1000000007) + 1, NULL);
    server_init(sim);
    /* A copy from before the enrolment: who is restored to it does not know the handheld. */
    if (sim_chance(sim, 15))
        sim->server.backup = sim_disk_snapshot(sim->server.machine.disk);
    handheld_init(sim, &sim->handhelds[0], 0);
    sim->handheld_count = 1;
    handheld_enrol(sim, &sim->handhelds[0]);
    daemon_start(sim, &sim->handhelds[0]);
}

static void sim_done(struct sim *sim)
{
    for (size_t i = 0; i < SIM_HANDHELDS_MAX; i++)
        handheld_done(sim, &sim->handhelds[i]);
    server_done(sim);
    network_done(sim);
    free(sim->heap);
    free(sim->findings);
    orders_done(&sim->orders);
}

void sim_run(uint64_t seed, bool prints_trace, struct coverage *coverage, struct sim_verdict *ret)
{
    _cleanup_free_ struct sim *sim = malloc(sizeof(*sim));
    uint64_t chaos_ms;

    if (!sim)
        abort();
    sim_init(sim, seed, prints_trace, coverage);
    chaos_ms = sim_chance(sim, 70) ? sim_between(sim, MINUTE_MS, HOUR_MS) : sim_between(sim, HOUR_MS, DAY_MS);
    if (sim->handhelds[0].is_metered && sim_chance(sim, 15))
        chaos_ms += sim_between(sim, DAY_MS, 3 * DAY_MS);
    plan(sim, chaos_ms);
    while (sim_step(sim, chaos_ms))
        ;
    if (!sim_failed(sim))
        come_to_rest(sim);
    if (!sim_failed(sim))
        rotate_note_shut_out(sim);
    if (!sim_failed(sim))
        check_end(sim);
    sim_trace(sim, "end after %llu events", (unsigned long long)sim->events_run);
    coverage->events += sim->events_run;
    coverage->virtual_ms += sim->now_ms;
    *ret = (struct sim_verdict){.passed = !sim_failed(sim)};
    memcpy(ret->failure, sim->failure, sizeof(ret->failure));
    crypto_hash_sha256_final(&sim->trace, ret->trace);
    sim_done(sim);
}
