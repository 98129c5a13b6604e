/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices as an admin sees them: the list, and asking for a resync. See service.h. Revoking stands in
 * service_revocations.c.
 */
#include "server/service_internal.h"

#include "base/rfc3339.h"

/* ---- the list ---- */

struct device_walk {
    struct service *service;
    struct storage *storage;
    int (*each)(void *user, const struct service_device *device);
    void *user;
};

static void format_resync(const struct stored_resync *resync, struct buffer *ret)
{
    char at[RFC3339_LEN + 1];

    rfc3339_format(resync->at_ms / 1000 * 1000, 0, at);
    buffer_printf(ret,
        "%s %s: %llu records checked, %llu missing, %llu damaged, %llu sent again, %llu erased,", at,
        audit_level_name((enum audit_level)resync->level), (unsigned long long)resync->checked,
        (unsigned long long)resync->missing, (unsigned long long)resync->damaged,
        (unsigned long long)resync->mended, (unsigned long long)resync->erased);
    buffer_printf(ret, " %llu lost", (unsigned long long)resync->lost);
    if (resync->level == AUDIT_MEDIA)
        buffer_printf(ret, "; %llu photos checked, %llu missing or damaged",
            (unsigned long long)resync->blobs_checked, (unsigned long long)resync->blobs_bad);
}

static int walk_device(void *user, const struct stored_device_line *line)
{
    struct device_walk *walk = user;
    _cleanup_buffer_ struct buffer resync = {0};
    struct service_device device = {.id = line->device.id,
        .name = line->name,
        .inspector = line->inspector,
        .enrolled_ms = line->device.enrolled_ms,
        .last_seen_ms = line->device.last_seen_ms,
        .logs = line->logs,
        .records = line->records,
        .quarantined = line->quarantined,
        .blobs_missing = line->blobs_missing,
        .alarms = line->alarms};
    int r = revocations_has(walk->service, &device.id, &device.revoked);

    if (r >= 0)
        r = limits_read(walk->service, walk->storage, line->device.number, &device);
    if (r < 0)
        return r;
    device.alarms += device.over_quota + device.photos_over_quota;
    if (line->resync.at_ms != 0) {
        format_resync(&line->resync, &resync);
        device.last_resync = buffer_text(&resync);
        if (!device.last_resync)
            return -ENOMEM;
    }
    return walk->each(walk->user, &device);
}

int service_each_device(
    struct service *service, int (*each)(void *user, const struct service_device *device), void *user)
{
    struct device_walk walk = {.service = service, .each = each, .user = user};
    _cleanup_reader_ struct reader reader = {0};
    int r = reader_take(service, &reader);

    walk.storage = reader.storage;
    return r < 0 ? r : reader.storage->verbs->devices_each(reader.storage, walk_device, &walk);
}

/* ---- asking for a resync ---- */

struct ask_walk {
    struct transaction *transaction;
    enum audit_level level;
    int asked;
};

/* One pending command of a level is enough, however often an admin asks. */
static int ask_device(struct ask_walk *walk, uint64_t device)
{
    const struct world *world = walk->transaction->service->world;
    struct storage *storage = walk->transaction->storage;
    struct command pending[EXCHANGE_COMMANDS_MAX];
    struct command command = {.has_resync = true, .resync_level = walk->level};
    size_t count = 0;
    int r = storage->verbs->commands(storage, device, pending, EXCHANGE_COMMANDS_MAX, &count);

    if (r < 0)
        return r;
    walk->asked++;
    for (size_t i = 0; i < count; i++) {
        if (pending[i].resync_level == walk->level)
            return 0;
    }
    if (count == EXCHANGE_COMMANDS_MAX)
        return 0;
    world->verbs->random(world->context, command.id, sizeof(command.id));
    walk->transaction->has_changed = true;
    return storage->verbs->command_put(storage, device, &command);
}

static int ask_walked(void *user, const struct stored_device_line *line)
{
    struct ask_walk *walk = user;
    bool revoked = false;
    int r = revocations_has(walk->transaction->service, &line->device.id, &revoked);

    return r < 0 || revoked ? r : ask_device(walk, line->device.number);
}

static int ask(struct ask_walk *walk, const struct uuid *device)
{
    struct storage *storage = walk->transaction->storage;
    struct stored_device stored;
    int r;

    if (!device)
        return storage->verbs->devices_each(storage, ask_walked, walk);
    r = storage->verbs->device_find(storage, device, &stored);
    return r < 0 ? r : ask_device(walk, stored.number);
}

int service_ask_resync(struct service *service, const struct uuid *device, enum audit_level level)
{
    struct transaction transaction;
    struct ask_walk walk = {.transaction = &transaction, .level = level};
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    r = ask(&walk, device);
    if (r < 0) {
        transaction_rollback(&transaction);
        return r;
    }
    r = transaction_commit(&transaction);
    return r < 0 ? r : walk.asked;
}
