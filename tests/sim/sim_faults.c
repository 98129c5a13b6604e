/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that goes wrong with the machines: a plan drawn from the seed, one fault after another, each of
 * which ends by itself. To add one: a line in sim_coverage.h, a function here, a row in `faults`.
 */
#include "tests/sim/sim.h"

#include "base/files.h"

#include <sqlite3.h>

#define FAULTS_MAX 14u
#define OPERATIONS_MAX 120u
#define SERVER_DATABASE DATA_DIRECTORY "/centre.db"

struct fault {
    enum coverage_kind kind;
    unsigned weight;
    /* False: it could not be done now, and does not count. */
    bool (*run)(struct sim *sim, struct handheld *handheld);
};

static struct handheld *draw_handheld(struct sim *sim)
{
    return &sim->handhelds[sim_below(sim, sim->handheld_count)];
}

static uint64_t some_operations(struct sim *sim)
{
    return sim_between(sim, 1, sim_chance(sim, 60) ? 25 : OPERATIONS_MAX);
}

/* ---- the handheld's power and processes ---- */

static bool power_cut(struct sim *sim, struct handheld *handheld)
{
    handheld_power_cut(sim, handheld);
    daemon_start_later(sim, handheld, sim_between(sim, SECOND_MS, 30 * MINUTE_MS));
    return true;
}

static bool power_cut_at_operation(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->agent)
        return false;
    sim_disk_plan_crash(handheld->machine.disk, some_operations(sim));
    daemon_doorbell(sim, handheld);
    return true;
}

static bool kill_daemon(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->agent)
        return false;
    sim_disk_stop(handheld->machine.disk);
    daemon_after(sim, handheld);
    return true;
}

static bool kill_daemon_at_operation(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->agent)
        return false;
    sim_disk_plan_stop(handheld->machine.disk, some_operations(sim));
    daemon_doorbell(sim, handheld);
    return true;
}

static bool stop_daemon(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->agent)
        return false;
    daemon_stop(sim, handheld);
    daemon_start_later(sim, handheld, sim_between(sim, SECOND_MS, HOUR_MS));
    return true;
}

/* The collector that comes now dies at one of its disk operations. */
static bool cut_collector(struct sim *sim, struct handheld *handheld)
{
    sim_disk_plan_crash(handheld->machine.disk, sim_between(sim, 1, 40));
    collector_act(sim, handheld);
    sim_disk_plan_crash(handheld->machine.disk, 0);
    return true;
}

static bool kill_collector(struct sim *sim, struct handheld *handheld)
{
    sim_disk_plan_stop(handheld->machine.disk, sim_between(sim, 1, 40));
    collector_act(sim, handheld);
    sim_disk_plan_stop(handheld->machine.disk, 0);
    return true;
}

/* ---- the handheld's disk and clock ---- */

static void run_room(struct sim *sim, void *object, uint64_t number)
{
    (void)sim;
    (void)number;
    sim_disk_set_capacity(((struct machine *)object)->disk, 0);
}

static void fill_disk(struct sim *sim, struct machine *machine)
{
    sim_disk_set_capacity(machine->disk, sim_disk_used(machine->disk) + sim_below(sim, 60000));
    sim_at(sim, sim_between(sim, MINUTE_MS, HOUR_MS), run_room, machine, 0);
}

static bool handheld_disk_full(struct sim *sim, struct handheld *handheld)
{
    fill_disk(sim, &handheld->machine);
    return true;
}

/* Most times somebody records there and goes on recording, and the power is cut: what was taken for written
 * then is what counts. Where nobody else has the database open, the next one reads its WAL anew. */
static bool handheld_sync_failed(struct sim *sim, struct handheld *handheld)
{
    struct sim_disk *disk = handheld->machine.disk;

    if (sim_chance(sim, 30)) {
        sim_disk_fail_syncs(disk, (unsigned)sim_between(sim, 1, 3));
        return true;
    }
    if (handheld->agent && sim_chance(sim, 70))
        daemon_stop(sim, handheld);
    sim_disk_plan_failing_syncs(disk, sim_chance(sim, 60) ? 0 : (unsigned)sim_between(sim, 1, 4), 1);
    collector_act(sim, handheld);
    sim_disk_fail_syncs(disk, 0);
    collector_act(sim, handheld);
    return power_cut(sim, handheld);
}

static void jump_clock(struct sim *sim, struct machine *machine)
{
    int64_t by_ms = (int64_t)sim_below(sim, sim_chance(sim, 50) ? HOUR_MS : 400 * DAY_MS);

    machine->clock.wall_ms += sim_chance(sim, 50) ? by_ms : -by_ms;
}

static bool handheld_clock_jump(struct sim *sim, struct handheld *handheld)
{
    jump_clock(sim, &handheld->machine);
    return true;
}

/* ---- copies of the handheld ---- */

/* What was recorded since the copy and has not been acknowledged is lost with the disk: nobody can have it.
 */
static void forget_findings_since(struct sim *sim, const struct handheld *handheld)
{
    for (size_t i = handheld->backup_findings; i < sim->finding_count; i++)
        if (sim->findings[i].handheld == handheld->number)
            sim->findings[i].truth = TRUTH_UNCERTAIN;
}

static bool roll_back(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->backup || sim->was_damaged || sim->was_rolled_back)
        return false;
    handheld_power_cut(sim, handheld);
    sim_disk_restore(handheld->machine.disk, handheld->backup);
    forget_findings_since(sim, handheld);
    sim->was_rolled_back = true;
    daemon_start_later(sim, handheld, sim_between(sim, SECOND_MS, MINUTE_MS));
    return true;
}

static bool copy_handheld(struct sim *sim, struct handheld *handheld)
{
    if (handheld->backup || sim_disk_is_dead(handheld->machine.disk))
        return false;
    handheld->backup = sim_disk_snapshot(handheld->machine.disk);
    handheld->backup_findings = sim->finding_count;
    return true;
}

static bool clone_handheld(struct sim *sim, struct handheld *handheld)
{
    struct handheld *clone = &sim->handhelds[1];
    struct sim_disk_image *image;

    if (sim->handheld_count == SIM_HANDHELDS_MAX || sim->was_damaged)
        return false;
    image = sim_disk_snapshot(handheld->machine.disk);
    handheld_init(sim, clone, 1);
    sim_disk_restore(clone->machine.disk, image);
    sim_disk_image_free(image);
    clone->enrolment.device = handheld->enrolment.device; /* the rest is read from its disk */
    sim->handheld_count = 2;
    sim->was_cloned = true;
    daemon_start_later(sim, clone, sim_between(sim, SECOND_MS, 10 * MINUTE_MS));
    return true;
}

static void run_carry_copies(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    for (size_t i = 0; i < sim->handheld_count && sim->is_chaos; i++) {
        collector_act(sim, &sim->handhelds[i]);
        if (bundle_carry(sim, &sim->handhelds[i]))
            sim_cover(sim, COVER_COPIES_CARRIED);
    }
}

/* Two of one handheld, neither of which has a network: only carriers tell that there are two. */
static bool clones_without_network(struct sim *sim, struct handheld *handheld)
{
    if (sim->handheld_count < SIM_HANDHELDS_MAX && !clone_handheld(sim, handheld))
        return false;
    for (size_t i = 0; i < sim->handheld_count; i++)
        (void)link_outage(sim, &sim->handhelds[i]);
    for (uint64_t i = 1; i <= 3; i++)
        sim_at(sim, i * sim_between(sim, 5 * MINUTE_MS, 20 * MINUTE_MS), run_carry_copies, NULL, 0);
    return true;
}

/* ---- the centre ---- */

static bool cut_server(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    server_power_cut(sim);
    server_start_later(sim, sim_between(sim, SECOND_MS, HOUR_MS));
    return true;
}

static bool cut_server_at_operation(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    if (!sim->server.service)
        return false;
    sim_disk_plan_crash(sim->server.machine.disk, some_operations(sim));
    return true;
}

static bool kill_server_at_operation(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    if (!sim->server.service)
        return false;
    sim_disk_plan_stop(sim->server.machine.disk, some_operations(sim));
    return true;
}

static bool stop_server(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    if (!sim->server.service)
        return false;
    server_stop(sim);
    server_start_later(sim, sim_between(sim, SECOND_MS, HOUR_MS));
    return true;
}

static bool server_disk_full(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    fill_disk(sim, &sim->server.machine);
    return true;
}

static bool server_sync_failed(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    sim_disk_fail_syncs(sim->server.machine.disk, (unsigned)sim_between(sim, 1, 3));
    return true;
}

static bool server_clock_jump(struct sim *sim, struct handheld *handheld)
{
    sim->server_clock_was_set = true;
    (void)handheld;
    jump_clock(sim, &sim->server.machine);
    return true;
}

bool faults_copy_server(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    if (sim->server.backup)
        return false;
    sim->server.backup = sim_disk_snapshot(sim->server.machine.disk);
    sim->backup_orders = sim->orders.count;
    return true;
}

static bool may_restore(const struct sim *sim)
{
    return sim->server.backup && !sim->was_damaged && !sim->was_rolled_back;
}

static void run_restore_credential(struct sim *sim, void *object, uint64_t number)
{
    struct handheld *handheld = object;

    (void)number;
    if (!sim->server.service || service_revoke(sim->server.service, &handheld->enrolment.device, false) < 0)
        sim_at(sim, MINUTE_MS, run_restore_credential, object, 0);
    server_after(sim);
}

/* An admin whose copy is from before a device was restored restores it again. */
static void restore_credentials(struct sim *sim)
{
    for (size_t i = 0; i < sim->handheld_count; i++)
        sim_at(sim, sim_between(sim, MINUTE_MS, HOUR_MS), run_restore_credential, &sim->handhelds[i], 0);
}

bool faults_restore_server(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    /* Whoever loses the orders as well has to give them again: an operator keeps the newest file. */
    if (!may_restore(sim) || sim->erase_is_uncertain || sim->orders.count != sim->backup_orders)
        return false;
    server_power_cut(sim);
    sim_disk_restore(sim->server.machine.disk, sim->server.backup);
    sim->was_restored = sim->was_set_back_wholly = true;
    check_server_restored(sim);
    server_start_later(sim, sim_between(sim, SECOND_MS, 10 * MINUTE_MS));
    if (!sim->is_chaos) /* until then a device may be locked out; at its end all are restored */
        restore_credentials(sim);
    return true;
}

/* The files that a restore of the database alone leaves as they are. */
static bool restore_database(struct sim *sim, struct handheld *handheld)
{
    static const char *const kept[] = {
        DATA_DIRECTORY "/incarnation", DATA_DIRECTORY "/revocations", DATA_DIRECTORY "/orders"};
    const struct world *world = sim->server.machine.world;
    struct buffer content[ARRAY_LEN(kept)] = {0};
    int found[ARRAY_LEN(kept)];

    (void)handheld;
    if (!may_restore(sim))
        return false;
    server_power_cut(sim);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        found[i] = files_read(world, kept[i], 1 << 20, &content[i]);
    sim_disk_restore(sim->server.machine.disk, sim->server.backup);
    /* Whoever restores has a disk that works: a full or failing one ends here. */
    sim_disk_set_capacity(sim->server.machine.disk, 0);
    sim_disk_fail_syncs(sim->server.machine.disk, 0);
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        if (found[i] >= 0 && files_replace(world, kept[i], buffer_bytes(&content[i]), false) < 0)
            abort();
        buffer_done(&content[i]);
    }
    sim->was_restored = sim->was_set_back_wholly = true;
    check_server_restored(sim);
    server_start_later(sim, sim_between(sim, SECOND_MS, 10 * MINUTE_MS));
    return true;
}

static void run_set_back(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    if (sim->is_chaos && restore_database(sim, object))
        sim_cover(sim, COVER_SERVER_DATABASE_RESTORED);
}

/* To before the handheld got another key, which it has used by then, or not. */
static bool rotate_and_set_back(struct sim *sim, struct handheld *handheld)
{
    (void)faults_copy_server(sim, handheld);
    if (!may_restore(sim) || !rotate_key(sim, handheld))
        return false;
    sim_at(sim, sim_between(sim, SECOND_MS, HOUR_MS), run_set_back, handheld, 0);
    return true;
}

/* ---- damage behind the centre's back ---- */

static bool may_damage(struct sim *sim)
{
    /* What was removed from a handheld could not be mended from there. */
    return sim->server.service && !sim->had_season && !sim->was_rolled_back && !sim->was_cloned &&
           !sim->was_restored && !sim->was_handheld_damaged;
}

static bool damage_by_sql(struct sim *sim, const char *sql)
{
    sqlite3 *database = NULL;
    bool is_done;

    if (!may_damage(sim))
        return false;
    /* What is changed behind the centre's back is changed on a disk that works. */
    sim_disk_fail_syncs(sim->server.machine.disk, 0);
    if (sqlite3_open_v2(SERVER_DATABASE, &database, SQLITE_OPEN_READWRITE,
            sim->server.machine.world->vfs_name) != SQLITE_OK) {
        sqlite3_close(database);
        return false;
    }
    sqlite3_exec(database, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0", NULL, NULL, NULL);
    sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    is_done = sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK && sqlite3_changes(database) > 0;
    sqlite3_close(database);
    /* Of a change that the end of its process cut short nobody knows whether it was made. */
    sim->was_damaged |= is_done || sim_disk_is_stopped(sim->server.machine.disk) ||
                        sim_disk_is_dead(sim->server.machine.disk);
    server_after(sim);
    return is_done;
}

static bool damage_record_gone(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    return damage_by_sql(sim, "DELETE FROM records WHERE key IN (SELECT key FROM records WHERE key % 3 = 0)");
}

static bool damage_record_changed(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    return damage_by_sql(sim,
        "UPDATE records SET bytes = CAST(x'0102' || substr(bytes, 3) AS BLOB) WHERE key % 4 = 1 AND bytes IS NOT NULL");
}

/* A stored photo's path at the centre. */
static bool draw_blob(struct sim *sim, char ret[SIM_PATH_MAX])
{
    char hash[SHA256_TEXT_LEN + 1];

    for (unsigned tries = 0; tries < 20 && sim->finding_count > 0; tries++) {
        const struct sim_finding *finding = &sim->findings[sim_below(sim, sim->finding_count)];

        if (finding->photo_count == 0)
            continue;
        text_hex(finding->photos[0].sha256.b, SHA256_BYTES, hash);
        snprintf(ret, SIM_PATH_MAX, DATA_DIRECTORY "/blobs/%.2s/%s", hash, hash);
        if (sim->server.machine.world->verbs->stat(sim->server.machine.disk, ret, NULL, NULL) >= 0)
            return true;
    }
    return false;
}

static bool damage_blob_gone(struct sim *sim, struct handheld *handheld)
{
    char path[SIM_PATH_MAX];

    (void)handheld;
    if (!may_damage(sim) || !draw_blob(sim, path) || sim_disk_remove(sim->server.machine.disk, path) < 0)
        return false;
    sim->was_damaged = true;
    return true;
}

static bool damage_blob_changed(struct sim *sim, struct handheld *handheld)
{
    char path[SIM_PATH_MAX];

    (void)handheld;
    if (!may_damage(sim) || !draw_blob(sim, path) || sim_disk_flip_bit(sim->server.machine.disk, path, 5) < 0)
        return false;
    sim->was_damaged = true;
    return true;
}

bool faults_damage_centre(struct sim *sim)
{
    static bool (*const damages[])(struct sim * sim, struct handheld * handheld) = {
        damage_record_gone, damage_record_changed, damage_blob_gone, damage_blob_changed};

    return damages[sim_below(sim, ARRAY_LEN(damages))](sim, NULL);
}

/* ---- the network, the admin, the person ---- */

static bool captive_period(struct sim *sim, struct handheld *handheld)
{
    portal_begin(sim, handheld);
    return true;
}

static void run_busy_end(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    sim->server.is_busy = false;
}

static bool busy_period(struct sim *sim, struct handheld *handheld)
{
    (void)handheld;
    sim->server.is_busy = true;
    sim_at(sim, sim_between(sim, MINUTE_MS, 30 * MINUTE_MS), run_busy_end, NULL, 0);
    return true;
}

static bool revoke_credential(struct sim *sim, struct handheld *handheld)
{
    int r;

    if (!sim->server.service)
        return false;
    r = service_revoke(sim->server.service, &handheld->enrolment.device, true);
    server_after(sim);
    sim_at(sim, sim_between(sim, MINUTE_MS, 4 * HOUR_MS), run_restore_credential, handheld, 0);
    return r >= 0;
}

static bool resync_by_person(struct sim *sim, struct handheld *handheld)
{
    int r;

    if (!handheld->agent)
        return false;
    r = agent_resync(handheld->agent, (enum audit_level)sim_below(sim, 3));
    daemon_after(sim, handheld);
    return r >= 0;
}

static bool resync_by_centre(struct sim *sim, struct handheld *handheld)
{
    int r;

    (void)handheld;
    if (!sim->server.service)
        return false;
    r = service_ask_resync(sim->server.service, NULL, 0, (enum audit_level)sim_below(sim, 3));
    server_after(sim);
    return r >= 0;
}

static bool sync_by_person(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->agent)
        return false;
    agent_sync_now(handheld->agent);
    link_check_no_wait(sim, handheld, "after a sync was asked for");
    daemon_after(sim, handheld);
    return true;
}

static const struct fault faults[] = {
    {COVER_HANDHELD_POWER_CUT, 6, power_cut},
    {COVER_NET_GOOD, 10, power_cut_at_operation}, /* counted when it comes to pass */
    {COVER_DAEMON_KILLED, 5, kill_daemon},
    {COVER_NET_GOOD, 10, kill_daemon_at_operation},
    {COVER_DAEMON_STOPPED, 4, stop_daemon},
    {COVER_NET_GOOD, 10, cut_collector},
    {COVER_NET_GOOD, 6, kill_collector},
    {COVER_HANDHELD_DISK_FULL, 5, handheld_disk_full},
    {COVER_HANDHELD_SYNC_FAILED, 10, handheld_sync_failed},
    {COVER_HANDHELD_CLOCK_JUMP, 4, handheld_clock_jump},
    {COVER_NET_GOOD, 4, copy_handheld},
    {COVER_HANDHELD_ROLLED_BACK, 4, roll_back},
    {COVER_HANDHELD_DAMAGED, 4, damage_handheld},
    {COVER_HANDHELD_CLONED, 2, clone_handheld},
    {COVER_HANDHELD_CLONED, 3, clones_without_network},
    {COVER_SERVER_POWER_CUT, 6, cut_server},
    {COVER_SERVER_POWER_CUT_AT_OPERATION, 10, cut_server_at_operation},
    {COVER_SERVER_KILLED_AT_OPERATION, 6, kill_server_at_operation},
    {COVER_SERVER_STOPPED, 4, stop_server},
    {COVER_SERVER_DISK_FULL, 5, server_disk_full},
    {COVER_SERVER_SYNC_FAILED, 6, server_sync_failed},
    {COVER_SERVER_CLOCK_JUMP, 4, server_clock_jump},
    {COVER_NET_GOOD, 6, faults_copy_server},
    {COVER_SERVER_RESTORED, 4, faults_restore_server},
    {COVER_SERVER_DATABASE_RESTORED, 4, restore_database},
    {COVER_BACKED_UP, 8, backup_make},
    {COVER_BACKUP_RESTORED, 4, backup_restore},
    {COVER_SEASON, 16, prune_season},
    {COVER_DAMAGE_RECORD_GONE, 2, damage_record_gone},
    {COVER_DAMAGE_RECORD_CHANGED, 2, damage_record_changed},
    {COVER_DAMAGE_BLOB_GONE, 2, damage_blob_gone},
    {COVER_DAMAGE_BLOB_CHANGED, 2, damage_blob_changed},
    {COVER_LINK_FLAP, 5, link_flap},
    {COVER_FLAP_BURST, 4, link_flap_burst},
    {COVER_LINK_OUTAGE, 5, link_outage},
    {COVER_CAPTIVE_PERIOD, 8, captive_period},
    {COVER_BUSY_PERIOD, 4, busy_period},
    {COVER_CREDENTIAL_REVOKED, 3, revoke_credential},
    {COVER_RESYNC_BY_PERSON, 4, resync_by_person},
    {COVER_RESYNC_BY_CENTRE, 4, resync_by_centre},
    {COVER_SYNC_BY_PERSON, 5, sync_by_person},
    {COVER_KEY_ROTATED, 6, rotate_key},
    {COVER_KEY_ROTATED, 4, rotate_and_set_back},
    {COVER_OTHER_NETWORK, 3, budget_other_network},
    {COVER_AUDIT_UNDER_LOSS, 3, audit_under_loss},
    {COVER_AUDIT_AFTER_DAMAGE, 3, audit_after_damage},
    {COVER_NET_GOOD, 8, bundle_carry},
    {COVER_ERASED, 16, erase_something},
};

static void run_fault(struct sim *sim, void *object, uint64_t index)
{
    const struct fault *fault = &faults[index];
    struct handheld *handheld = draw_handheld(sim);

    (void)object;
    if (!sim->is_chaos)
        return;
    sim_trace(sim, "fault %llu: %s", (unsigned long long)index, coverage_name(fault->kind));
    if (fault->run(sim, handheld) && fault->kind != COVER_NET_GOOD)
        sim_cover(sim, fault->kind);
}

static uint64_t draw_fault(struct sim *sim)
{
    uint64_t total = 0, drawn;

    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        total += faults[i].weight;
    drawn = sim_below(sim, total);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        if (drawn < faults[i].weight)
            return i;
        drawn -= faults[i].weight;
    }
    return 0;
}

void faults_plan(struct sim *sim, uint64_t chaos_ms)
{
    size_t count = sim_between(sim, 0, FAULTS_MAX);

    for (size_t i = 0; i < count; i++) {
        uint64_t fault =
            draw_fault(sim); /* one chance after the other: compilers differ in the order of arguments */

        sim_at(sim, sim_below(sim, chaos_ms), run_fault, NULL, fault);
    }
}

static void machine_heal(struct machine *machine)
{
    sim_disk_plan_crash(machine->disk, 0);
    sim_disk_plan_stop(machine->disk, 0);
    sim_disk_set_capacity(machine->disk, 0);
    sim_disk_fail_syncs(machine->disk, 0);
}

void faults_end(struct sim *sim)
{
    unsigned copies = 0;

    sim->is_chaos = false;
    sim->server.is_busy = false;
    audit_losses_end(sim);
    machine_heal(&sim->server.machine);
    if (!sim->server.service)
        server_start(sim);
    for (size_t i = 0; i < sim->handheld_count; i++) {
        struct handheld *handheld = &sim->handhelds[i];

        machine_heal(&handheld->machine);
        portal_end(handheld);
        if (sim->server.service)
            (void)service_revoke(sim->server.service, &handheld->enrolment.device, false);
        if (!handheld->agent)
            daemon_start(sim, handheld);
        if (sim->handheld_count == SIM_HANDHELDS_MAX)
            copies += handheld->delivered_as_copy;
        link_set(sim, handheld, true);
        budget_end(sim, handheld);
    }
    if (copies == SIM_HANDHELDS_MAX)
        sim_cover(sim, COVER_COPIES_AT_WORK);
}
