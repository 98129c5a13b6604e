/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that a handheld has removed from itself: a season's log is closed now and then, a backup of the
 * centre is made some time after, and what goes from the handheld must be in that backup from then on,
 * however the power goes. Only who sets the centre back together with its backups may miss it, and then the
 * handheld has to say so.
 */
#include "tests/sim/sim.h"

#include "server/storage/storage.h"

#include <errno.h>

#define SEASON_RECORDS 280u     /* more than a tile */
#define SETTLE_MS (3 * HOUR_MS) /* the backup is made, and the handheld hears of it */

static void run_backup(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    (void)backup_make(sim, object);
}

bool prune_season(struct sim *sim, struct handheld *handheld)
{
    /* What is damaged at the centre could not be mended from here any more. */
    if (sim->was_damaged || handheld->photo_age_ms == 0)
        return false;
    sim->had_season = true;
    if (sim_chance(sim, 50))
        (void)faults_copy_server(sim, handheld); /* which will not have it */
    collector_season(sim, handheld, SEASON_RECORDS);
    sim_at(sim, sim_between(sim, MINUTE_MS, 2 * HOUR_MS), run_backup, handheld, 0);
    return true;
}

bool prune_aftermath(struct sim *sim)
{
    struct handheld *handheld = &sim->handhelds[0];
    uint64_t until_ms = sim->now_ms + SETTLE_MS;

    if (!sim->had_season)
        return false;
    while (sim_step(sim, until_ms))
        ;
    /* And then the centre is set up anew: from that backup, or from an older copy of all of it. */
    if (handheld->pruned == 0 || !sim_chance(sim, 60))
        return false;
    return sim_chance(sim, 50) ? backup_restore(sim, handheld) : faults_restore_server(sim, handheld);
}

/* ---- what is in the backup ---- */

struct count {
    uint64_t whole;
};

static int count_whole(void *user, const struct stored_record *stored)
{
    struct count *count = user;

    count->whole += (stored->state == STORED_RECORD_PRESENT && stored->has_bytes) ||
                    (stored->state == STORED_RECORD_ERASED && stored->has_leaf);
    return 0;
}

static void check_log(struct sim *sim, struct storage *backup, const struct store_log *log)
{
    struct stored_log stored;
    struct count count = {0};
    int r = backup->verbs->log_find(backup, &log->id, &stored);

    if (r >= 0)
        r = backup->verbs->records_each(backup, record_key(stored.number, 0),
            record_key(stored.number, log->pruned_size), true, count_whole, &count);
    if (r < 0 || count.whole < log->pruned_size)
        sim_fail(sim, "%llu records were removed from a handheld, and the backup has %llu of them: %s",
            (unsigned long long)log->pruned_size, (unsigned long long)count.whole, strerror(r < 0 ? -r : 0));
}

/* As it would be found after a power cut. */
static int open_backup(struct sim *sim, struct sim_disk *disk, struct storage **ret)
{
    const struct storage_options options = {
        .world = sim_disk_world(disk), .directory = BACKUP_DIRECTORY, .read_only = true};
    struct sim_disk_image *image = sim_disk_snapshot(sim->server.machine.disk);
    bool created;

    sim_disk_restore(disk, image);
    sim_disk_image_free(image);
    return storage_sqlite_open(&options, ret, &created, NULL);
}

static void check_logs(struct sim *sim, const struct store_log *logs, size_t count)
{
    struct sim_clock clock = sim->server.machine.clock;
    struct sim_disk *disk = sim_disk_new("backup", sim->seed, &clock);
    struct storage *backup = NULL;
    int r = open_backup(sim, disk, &backup);

    if (r < 0)
        sim_fail(
            sim, "records were removed from a handheld, and the backup cannot be opened: %s", strerror(-r));
    for (size_t i = 0; r >= 0 && i < count; i++)
        if (logs[i].pruned_size > 0)
            check_log(sim, backup, &logs[i]);
    storage_close(backup);
    sim_disk_free(disk);
}

void prune_check(struct sim *sim, struct handheld *handheld, bool is_end)
{
    struct store_log logs[SIM_LOGS_MAX];
    uint64_t pruned = 0;
    size_t count = 0;

    if (!handheld->store || sim->was_set_back_wholly ||
        store_logs(handheld->store, false, logs, SIM_LOGS_MAX, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        pruned += logs[i].pruned_size;
    if (pruned == 0 || (!is_end && pruned == handheld->pruned))
        return;
    handheld->pruned = pruned;
    sim_cover(sim, COVER_PRUNED);
    check_logs(sim, logs, count);
}

bool prune_has(const struct handheld *handheld, const struct position_in_log *at)
{
    struct store_log logs[SIM_LOGS_MAX];
    size_t count = 0;

    if (!handheld->store || store_logs(handheld->store, false, logs, SIM_LOGS_MAX, &count) < 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (uuid_equal(&logs[i].id, &at->log))
            return at->seq < logs[i].pruned_size;
    return false;
}

bool prune_is_told(struct sim *sim, const struct sim_finding *finding)
{
    const struct handheld *handheld = &sim->handhelds[finding->handheld];

    if (!sim->was_set_back_wholly || !handheld->told_gone || !prune_has(handheld, &finding->at))
        return false;
    sim_cover(sim, COVER_PRUNED_GONE);
    return true;
}
