/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two copies of each photo, or one: the centre is backed up beside its work, handhelds remove photos that are
 * old or in the backup, and the centre is set up anew from it, as docs/operating.md says. What a handheld has
 * removed because it was in a backup must be in that backup.
 */
#include "tests/sim/sim.h"

#include "base/files.h"
#include "syncd/trust_time.h"

#include <errno.h>

#define BACKUP_OPERATIONS_MAX 300u
#define KEPT_BYTES_MAX (1u << 20)

/* ---- at the handheld ---- */

/* Why each photo that went had gone: `backed_up` before the poll, or it was old. */
static void note_photos(struct sim *sim, struct handheld *handheld, bool after)
{
    for (size_t i = 0; i < sim->finding_count; i++)
        for (size_t k = 0; k < sim->findings[i].photo_count; k++) {
            struct sim_photo *photo = &sim->findings[i].photos[k];
            struct store_blob blob;

            /* One that was erased counts as freed in the store. */
            if (photo->freed_old || photo->freed_backed_up || erase_has_photo(sim, &photo->sha256) ||
                store_blob_find(handheld->store, &photo->sha256, &blob) < 0)
                continue;
            if (!after) {
                photo->is_in_backup = blob.state == BLOB_BACKED_UP;
            } else if (blob.state == BLOB_FREED) {
                photo->freed_backed_up = photo->is_in_backup;
                photo->freed_old = !photo->is_in_backup;
                sim_cover(sim, photo->is_in_backup ? COVER_PHOTO_FREED_BACKED_UP : COVER_PHOTO_FREED_OLD);
            }
        }
}

/* A poll that the power cut off has told nobody. */
void backup_note_freed(struct sim *sim)
{
    for (size_t i = 0; i < sim->handheld_count; i++)
        if (sim->handhelds[i].store)
            note_photos(sim, &sim->handhelds[i], true);
}

/* The slow poll of the daemon. */
void backup_poll(struct sim *sim, struct handheld *handheld)
{
    note_photos(sim, handheld, false);
    agent_poll(handheld->agent, trust_time_now(handheld->machine.world, handheld->store).server_ms);
    note_photos(sim, handheld, true);
    prune_check(sim, handheld, false);
}

/* ---- at the centre ---- */

static bool is_backed_up(struct sim *sim, const struct sim_photo *photo)
{
    const struct machine *centre = &sim->server.machine;
    char hash[SHA256_TEXT_LEN + 1], path[SIM_PATH_MAX];

    text_hex(photo->sha256.b, SHA256_BYTES, hash);
    snprintf(path, sizeof(path), BACKUP_DIRECTORY "/blobs/%.2s/%s", hash, hash);
    return centre->world->verbs->stat(centre->disk, path, NULL, NULL) >= 0;
}

static bool counts_as_backed_up(struct sim *sim, const struct sim_photo *photo)
{
    if (photo->freed_backed_up)
        return true;
    for (size_t i = 0; i < sim->handheld_count; i++) {
        struct store_blob blob;

        if (sim->handhelds[i].store && store_blob_find(sim->handhelds[i].store, &photo->sha256, &blob) >= 0 &&
            blob.state == BLOB_BACKED_UP)
            return true;
    }
    return false;
}

static void check_backup(struct sim *sim)
{
    if (sim->was_damaged || sim->was_set_back_wholly || sim->erase_is_uncertain)
        return;
    for (size_t i = 0; i < sim->finding_count; i++)
        for (size_t k = 0; k < sim->findings[i].photo_count; k++) {
            const struct sim_photo *photo = &sim->findings[i].photos[k];

            if (!erase_has_photo(sim, &photo->sha256) && counts_as_backed_up(sim, photo) &&
                !is_backed_up(sim, photo))
                sim_fail(sim, "a photo of finding %llu counts as backed up, and is in no backup",
                    (unsigned long long)sim->findings[i].number);
        }
}

bool backup_make(struct sim *sim, struct handheld *handheld)
{
    struct sim_disk *disk = sim->server.machine.disk;
    struct service_backup_report report = {0};
    int r;

    (void)handheld;
    if (!sim->server.service)
        return false;
    if (sim_chance(sim, 30))
        sim_disk_plan_crash(disk, sim_between(sim, 1, BACKUP_OPERATIONS_MAX));
    r = service_backup(sim->server.service, BACKUP_DIRECTORY, NULL, NULL, NULL, &report);
    sim_trace(sim, "server: backup: %d, %llu records, %llu photos", r, (unsigned long long)report.records,
        (unsigned long long)report.blobs);
    if (sim_disk_is_dead(disk))
        sim_cover(sim, COVER_BACKUP_CRASHED);
    else if (r == -EUCLEAN && !sim->was_damaged)
        sim_fail(sim, "the backup finds %llu photos damaged that nobody has damaged",
            (unsigned long long)report.blobs_bad);
    sim_disk_plan_crash(disk, 0);
    server_after(sim);
    return r >= 0;
}

/* The backup is copied to where the centre serves from; who is locked out and what was ordered away stays
 * known, where it can be read. */
bool backup_restore(struct sim *sim, struct handheld *handheld)
{
    static const char *const files[] = {DATA_DIRECTORY "/revocations", DATA_DIRECTORY "/orders"};
    struct machine *centre = &sim->server.machine;
    struct buffer kept[ARRAY_LEN(files)] = {0};
    int found[ARRAY_LEN(files)];
    struct sim_disk_image *image;

    (void)handheld;
    if (sim->was_damaged || sim->was_rolled_back)
        return false;
    server_power_cut(sim);
    if (centre->world->verbs->stat(centre->disk, BACKUP_DIRECTORY "/centre.db", NULL, NULL) < 0) {
        server_start_later(sim, SECOND_MS);
        return false;
    }
    check_backup(sim);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        found[i] = files_read(centre->world, files[i], KEPT_BYTES_MAX, &kept[i]);
    image = sim_disk_snapshot(centre->disk);
    sim_disk_image_copy(image, BACKUP_DIRECTORY, DATA_DIRECTORY);
    sim_disk_restore(centre->disk, image);
    sim_disk_image_free(image);
    /* Whoever restores has a disk that works. */
    sim_disk_set_capacity(centre->disk, 0);
    sim_disk_fail_syncs(centre->disk, 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        if (found[i] >= 0 && files_replace(centre->world, files[i], buffer_bytes(&kept[i]), false) < 0)
            abort();
        buffer_done(&kept[i]);
    }
    sim->was_restored = true;
    check_server_restored(sim);
    server_start_later(sim, sim_between(sim, SECOND_MS, 10 * MINUTE_MS));
    return true;
}

bool backup_may_lack(const struct sim *sim, const struct sim_photo *photo)
{
    return sim->was_handheld_damaged || (photo->freed_old && (sim->was_restored || sim->was_damaged)) ||
           (photo->freed_backed_up && (sim->was_set_back_wholly || sim->was_damaged));
}

bool backup_may_lack_of(const struct sim *sim, const struct sim_finding *finding)
{
    bool may = false;

    for (size_t i = 0; i < finding->photo_count; i++)
        may = may || backup_may_lack(sim, &finding->photos[i]);
    return may;
}

bool backup_may_lack_any(const struct sim *sim)
{
    bool may = false;

    for (size_t i = 0; i < sim->finding_count; i++)
        may = may || backup_may_lack_of(sim, &sim->findings[i]);
    return may;
}
