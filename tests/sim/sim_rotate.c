/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handheld gets another device key of its own, as `patrol rotate-key` does, at any moment. What it is
 * enrolled with is read from its disk at every start, as the daemon does. Of two copies of one handheld only
 * one can go on: whoever has the key that was replaced is shut out, and keeps what it has.
 */
#include "tests/sim/sim.h"

#include "server/storage/storage.h"
#include "syncd/rotation.h"

#include <errno.h>

#define OPERATIONS_MAX 60u
#define RELOAD_AGAIN_MS (30 * SECOND_MS)

/* ---- the daemon's shell ---- */

int rotate_load(struct handheld *handheld)
{
    const struct world *world = handheld->machine.world;
    struct enrolment fresh = {0};
    _cleanup_free_ char *error = NULL;
    int r = enrolment_read(world, DATA_DIRECTORY, &fresh, &error);

    if (r >= 0)
        r = rotation_load(world, DATA_DIRECTORY, &fresh, handheld->device_seed);
    if (r < 0) {
        enrolment_done(&fresh);
        return r;
    }
    enrolment_done(&handheld->enrolment);
    handheld->enrolment = fresh;
    return 0;
}

bool rotate_go_on(struct handheld *handheld)
{
    bool waits = false;
    int r = rotation_go_on(
        handheld->machine.world, DATA_DIRECTORY, &handheld->enrolment, handheld->agent, &waits);

    if (r < 0)
        sim_trace(
            handheld->sim, "handheld %u: the next key is not announced: %s", handheld->number, strerror(-r));
    return waits;
}

static void run_reload(struct sim *sim, void *object, uint64_t life)
{
    struct handheld *handheld = object;
    int r;

    if (!handheld->agent || handheld->life != life)
        return;
    r = rotate_load(handheld);
    if (r >= 0)
        r = agent_set_enrolment(handheld->agent, &handheld->enrolment, handheld->device_seed);
    if (r < 0) {
        sim_trace(sim, "handheld %u: the enrolment cannot be read: %s", handheld->number, strerror(-r));
        sim_at(sim, RELOAD_AGAIN_MS, run_reload, handheld, life);
    } else {
        (void)rotate_go_on(handheld);
        agent_sync_now(handheld->agent);
    }
    daemon_after(sim, handheld);
}

int rotate_take(void *context, struct bytes envelope, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    struct handheld *handheld = context;
    struct sim *sim = handheld->sim;
    int r =
        rotation_take(handheld->machine.world, DATA_DIRECTORY, &handheld->enrolment, envelope, public_key);

    sim_trace(sim, "handheld %u: the certificate of its next key: %d", handheld->number, r);
    if (r > 0)
        sim_cover(sim, COVER_KEY_CERTIFIED);
    /* enrolment.conf may have changed also when that was not well. */
    if (r != 0)
        sim_at(sim, sim_below(sim, 20), run_reload, handheld, handheld->life);
    return r;
}

/* ---- the fault ---- */

bool rotate_key(struct sim *sim, struct handheld *handheld)
{
    struct sim_disk *disk = handheld->machine.disk;
    bool waited;
    int r;

    if (!handheld->agent)
        return false;
    /* Some die on the way, which ends with the first exchange by the new key. */
    if (sim_chance(sim, 25))
        sim_disk_plan_crash(disk, sim_between(sim, 1, OPERATIONS_MAX));
    else if (sim_chance(sim, 25))
        sim_disk_plan_stop(disk, sim_between(sim, 1, OPERATIONS_MAX));
    sim->was_rotated = true;
    r = rotation_begin(
        handheld->machine.world, DATA_DIRECTORY, &handheld->enrolment, handheld->agent, &waited);
    sim_trace(sim, "handheld %u: another key: %d", handheld->number, r);
    if (r >= 0)
        agent_sync_now(handheld->agent);
    daemon_after(sim, handheld);
    return r >= 0;
}

/* ---- who is shut out ---- */

/* True when the centre has another key in force for the handheld than the one that it signs with. */
static bool has_other_key(struct sim *sim, const struct handheld *handheld)
{
    const struct storage_options options = {
        .world = sim->server.machine.world, .directory = DATA_DIRECTORY, .read_only = true};
    _cleanup_free_ char *error = NULL;
    struct storage *storage = NULL;
    struct stored_device device;
    struct sign_key key;
    bool created, is_other = false;

    sign_key_from_seed("device", handheld->device_seed, &key);
    if (storage_sqlite_open(&options, &storage, &created, &error) >= 0 &&
        storage->verbs->device_find(storage, &handheld->enrolment.device, &device) >= 0)
        is_other = memcmp(device.public_key, key.public.public_key, SIGN_PUBLIC_BYTES) != 0;
    storage_close(storage);
    return is_other;
}

bool rotate_is_shut_out(struct sim *sim, const struct handheld *handheld)
{
    struct agent_status status;

    /* Whoever is alone, and goes on with what it had, is never shut out. */
    return sim->was_rotated && (sim->was_cloned || sim->was_rolled_back) && handheld->agent &&
           agent_status(handheld->agent, &status) >= 0 && status.engine.wait == ENGINE_WAIT_REFUSED &&
           has_other_key(sim, handheld);
}

void rotate_note_shut_out(struct sim *sim)
{
    size_t shut_out = 0;

    for (size_t i = 0; i < sim->handheld_count; i++) {
        sim->handhelds[i].is_shut_out = rotate_is_shut_out(sim, &sim->handhelds[i]);
        shut_out += sim->handhelds[i].is_shut_out;
    }
    if (shut_out == 0)
        return;
    sim_cover(sim, COVER_KEY_SHUT_OUT);
    if (shut_out == sim->handheld_count && !sim->was_rolled_back)
        sim_fail(sim, "both copies of a handheld are shut out");
}
