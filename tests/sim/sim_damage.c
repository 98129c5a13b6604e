/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handheld's own database is damaged, and it starts again. What it had not delivered may be gone; what the
 * centre had signed for is there, once and under its id; and the handheld goes on.
 */
#include "tests/sim/sim.h"

#define BITS_MAX 40u

static const char *const files[] = {
    DATA_DIRECTORY "/queue.db", DATA_DIRECTORY "/queue.db-wal", DATA_DIRECTORY "/logs.txt"};

static void damage_file(struct sim *sim, struct handheld *handheld, const char *path)
{
    struct sim_disk *disk = handheld->machine.disk;
    uint64_t size = 0, bits = sim_between(sim, 1, BITS_MAX);

    if (sim_chance(sim, 25)) {
        (void)sim_disk_remove(disk, path);
        return;
    }
    if (handheld->machine.world->verbs->stat(disk, path, &size, NULL) < 0 || size == 0)
        return;
    for (uint64_t i = 0; i < bits; i++)
        (void)sim_disk_flip_bit(disk, path, sim_below(sim, size * 8));
}

/* Only what the centre holds is certain now. */
static void forget_undelivered(struct sim *sim, const struct handheld *handheld)
{
    for (size_t i = 0; i < sim->finding_count; i++) {
        struct sim_finding *finding = &sim->findings[i];

        if (finding->handheld == handheld->number && finding->truth == TRUTH_CERTAIN &&
            !check_is_held(sim, &finding->at))
            finding->truth = TRUTH_UNCERTAIN;
    }
}

bool damage_handheld(struct sim *sim, struct handheld *handheld)
{
    if (sim->was_cloned || sim->was_rolled_back || sim->was_damaged || sim->was_restored)
        return false;
    sim->was_damaged = sim->was_handheld_damaged = true;
    handheld_power_cut(sim, handheld);
    damage_file(sim, handheld, files[sim_below(sim, ARRAY_LEN(files))]);
    forget_undelivered(sim, handheld);
    daemon_start_later(sim, handheld, sim_between(sim, SECOND_MS, 10 * MINUTE_MS));
    return true;
}
