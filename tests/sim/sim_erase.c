/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lawful erasure: the centre's admin gives an order now and then, and what it names must never be seen again.
 * What was ordered is read from the orders' own file, which survives every crash and restore of this run.
 */
#include "tests/sim/sim.h"

#include "base/files.h"

#include <errno.h>

#define ORDERS_FILE DATA_DIRECTORY "/orders"
#define ORDERS_FILE_MAX (1u << 20)
#define DATABASE_FILE_MAX (1u << 28)

void erase_refresh(struct sim *sim)
{
    _cleanup_buffer_ struct buffer content = {0};
    struct orders orders = {0};
    int r = files_read(sim->server.machine.world, ORDERS_FILE, ORDERS_FILE_MAX, &content);

    if (r < 0 && r != -ENOENT)
        return; /* its disk is dying: the next start reads it again */
    sim->erase_is_uncertain = false;
    if (orders_parse(buffer_bytes(&content), &orders) < 0)
        abort();
    if (orders.count < sim->orders.count)
        sim_fail(sim, "an erasure order is gone");
    orders_done(&sim->orders);
    sim->orders = orders;
}

bool erase_something(struct sim *sim, struct handheld *handheld)
{
    struct service_erase_target target = {0};
    const struct service_erasure erasure = {.targets = &target,
        .target_count = 1,
        .by = "the admin",
        .reason = "a judgement",
        .photos_only = sim_chance(sim, 20)};
    struct service_erasure_report report = {0};
    const struct sim_finding *finding;
    int r;

    (void)handheld;
    if (!sim->server.service || sim->finding_count == 0)
        return false;
    finding = &sim->findings[sim_below(sim, sim->finding_count)];
    if (finding->truth != TRUTH_CERTAIN)
        return false;
    target.id = finding->id;
    target.is_photo = finding->photo_count > 0 && sim_chance(sim, 20);
    if (target.is_photo)
        target.sha256 = finding->photos[0].sha256;
    r = service_erase(sim->server.service, &erasure, &report);
    sim_trace(sim, "erase finding %llu: %d, order %llu", (unsigned long long)finding->number, r,
        (unsigned long long)report.order);
    sim->erase_is_uncertain = true;
    erase_refresh(sim);
    server_after(sim);
    return r >= 0;
}

bool erase_has_id(const struct sim *sim, const struct uuid *id)
{
    for (size_t i = 0; i < sim->orders.record_count; i++) {
        const struct erased_record *record = &sim->orders.records[i].record;
        struct uuid erased = record_public_id(&record->at.log, record->at.seq, &record->leaf);

        if (uuid_equal(&erased, id))
            return true;
    }
    return false;
}

bool erase_has_photo(const struct sim *sim, const struct sha256 *sha256)
{
    return orders_find_blob(&sim->orders, sha256) > 0;
}

bool erase_is_done(const struct sim *sim, const struct handheld *handheld)
{
    uint64_t done = 0;

    return orders_last(&sim->orders) == 0 ||
           (store_orders_done(handheld->store, &done) >= 0 && done >= orders_last(&sim->orders));
}

/* ---- the end ---- */

/* The note as it stands in the record's bytes, and in the list of findings: no digit follows it. */
static bool has_note(struct bytes content, uint64_t number)
{
    char note[48];
    int len = snprintf(note, sizeof(note), NOTE_PREFIX "%llu", (unsigned long long)number);

    while (content.len > (size_t)len) {
        const uint8_t *found = memmem(content.data, content.len, note, (size_t)len);

        if (!found)
            return false;
        content = bytes_of(found + len, content.len - (size_t)(found - content.data) - (size_t)len);
        if (content.len == 0 || content.data[0] < '0' || content.data[0] > '9')
            return true;
    }
    return false;
}

static void check_file(struct sim *sim, const struct machine *machine, const char *path)
{
    _cleanup_buffer_ struct buffer content = {0};

    if (files_read(machine->world, path, DATABASE_FILE_MAX, &content) < 0)
        return;
    for (size_t i = 0; i < sim->finding_count; i++) {
        const struct sim_finding *finding = &sim->findings[i];

        if (finding->truth == TRUTH_CERTAIN && erase_has_id(sim, &finding->id) &&
            has_note(buffer_bytes(&content), finding->number))
            sim_fail(sim, "finding %llu was erased, and stands in %s of %s",
                (unsigned long long)finding->number, path, machine->name);
    }
}

static void check_photo(struct sim *sim, const struct machine *machine, const char *format, const char *hash)
{
    char path[SIM_PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s/%.2s/%s", DATA_DIRECTORY, format, hash, hash);
    if (machine->world->verbs->stat(machine->disk, path, NULL, NULL) >= 0)
        sim_fail(sim, "a photo was erased, and is %s of %s", path, machine->name);
}

void erase_check(struct sim *sim)
{
    char hash[SHA256_TEXT_LEN + 1];

    if (orders_last(&sim->orders) == 0)
        return;
    sim_cover(sim, COVER_ERASED_CHECKED);
    check_file(sim, &sim->server.machine, DATA_DIRECTORY "/centre.db");
    check_file(sim, &sim->server.machine, DATA_DIRECTORY "/centre.db-wal");
    for (size_t i = 0; i < sim->orders.blob_count; i++) {
        text_hex(sim->orders.blobs[i].sha256.b, SHA256_BYTES, hash);
        check_photo(sim, &sim->server.machine, "blobs", hash);
        for (size_t k = 0; k < sim->handheld_count; k++)
            if (!sim->handhelds[k].is_shut_out) /* it is told nothing any more */
                check_photo(sim, &sim->handhelds[k].machine, "photos", hash);
    }
    for (size_t i = 0; i < sim->handheld_count; i++) {
        if (sim->handhelds[i].is_shut_out)
            continue;
        check_file(sim, &sim->handhelds[i].machine, DATA_DIRECTORY "/queue.db");
        check_file(sim, &sim->handhelds[i].machine, DATA_DIRECTORY "/queue.db-wal");
    }
}
