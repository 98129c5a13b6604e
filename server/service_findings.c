/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of findings as `findings` prints it. See service.h.
 */
#include "proto/time_flags.h"
#include "server/service_internal.h"

struct finding_walk {
    struct storage *storage;
    int (*each)(void *user, const struct service_finding *finding);
    void *user;
};

static const char *blob_state_text(enum stored_blob_state state)
{
    switch (state) {
    case STORED_BLOB_MISSING:
        break;
    case STORED_BLOB_PRESENT:
        return "stored";
    case STORED_BLOB_ERASED:
        return "erased";
    case STORED_BLOB_LOST:
        return "lost";
    }
    return "missing";
}

/* Says the blob's state, and takes a finding for incomplete when the blob is not stored. */
static int tell_blob(struct storage *storage, const struct sha256 *sha256, const char **ret, bool *complete)
{
    struct stored_blob blob;
    int r = storage->verbs->blob_find(storage, sha256, &blob);

    if (r < 0 && r != -ENOENT)
        return r;
    enum stored_blob_state state = r < 0 ? STORED_BLOB_MISSING : blob.state;
    *ret = blob_state_text(state);
    if (state != STORED_BLOB_PRESENT)
        *complete = false;
    return 0;
}

/* A record that was re-homed is older than what stands before it in its log now. */
static int flag_times(struct storage *storage, const struct stored_finding *stored, unsigned *ret)
{
    struct time_facts facts = {.recorded_ms = stored->wall_ms,
        .fix_ms = stored->finding.has_position ? stored->finding.position.fix_time_ms : 0,
        .received_ms = stored->received_ms};
    int r = stored->is_rehomed ? 0 : storage->verbs->clock_mark(storage, stored->key, &facts.not_before_ms);

    if (r >= 0)
        *ret = stored->kind == 0 ? 0 : time_flags(&facts);
    return r;
}

static int walk_finding(void *user, const struct stored_finding *stored)
{
    struct finding_walk *walk = user;
    const char *photos[FINDING_PHOTOS_MAX] = {NULL}, *previews[FINDING_PHOTOS_MAX] = {NULL};
    struct service_finding finding = {.device = stored->device,
        .log = stored->log,
        .seq = record_key_seq(stored->key),
        .arrival = stored->arrival,
        .kind = stored->kind,
        .finding = stored->finding,
        .inspector = stored->inspector,
        .recorded_ms = stored->wall_ms,
        .received_ms = stored->received_ms,
        .utc_offset_min = stored->utc_offset_min,
        .state = finding_state_name(stored->state),
        .reason = stored->reason,
        .complete = true,
        .photo_states = photos,
        .preview_states = previews};

    if (stored->is_rehomed)
        finding.id = stored->first_id;
    else if (stored->has_leaf)
        finding.id = record_public_id(&stored->log, finding.seq, &stored->leaf);
    if (stored->has_parent)
        finding.parent = stored->parent_id;
    int r = flag_times(walk->storage, stored, &finding.time_flags);
    if (r < 0)
        return r;
    for (size_t i = 0; i < stored->finding.photo_count; i++) {
        const struct photo *photo = &stored->finding.photos[i];

        r = tell_blob(walk->storage, &photo->sha256, &photos[i], &finding.complete);
        if (r >= 0 && photo->preview_size > 0)
            r = tell_blob(walk->storage, &photo->preview_sha256, &previews[i], &finding.complete);
        if (r < 0)
            return r;
    }
    return walk->each(walk->user, &finding);
}

int service_each_finding(struct service *service, const struct service_finding_filter *filter,
    int (*each)(void *user, const struct service_finding *finding), void *user)
{
    const struct stored_findings_filter stored_filter = {
        .has_device = filter->has_device, .device = filter->device, .since = filter->since};
    _cleanup_reader_ struct reader reader = {0};
    struct finding_walk walk = {.each = each, .user = user};
    int r = reader_take(service, &reader);

    if (r < 0)
        return r;
    walk.storage = reader.storage;
    return reader.storage->verbs->findings_each(reader.storage, &stored_filter, walk_finding, &walk);
}

int service_finding_by_id(struct service *service, const struct uuid *id,
    int (*each)(void *user, const struct service_finding *finding), void *user)
{
    _cleanup_reader_ struct reader reader = {0};
    struct finding_walk walk = {.each = each, .user = user};
    uint64_t key;
    int r = reader_take(service, &reader);

    if (r < 0)
        return r;
    walk.storage = reader.storage;
    r = reader.storage->verbs->id_find(reader.storage, id, &key);
    return r < 0 ? r : reader.storage->verbs->finding(reader.storage, key, walk_finding, &walk);
}

int service_blob_path(struct service *service, const struct sha256 *sha256, char **ret)
{
    _cleanup_reader_ struct reader reader = {0};
    struct stored_blob blob;
    int r = reader_take(service, &reader);

    if (r >= 0)
        r = reader.storage->verbs->blob_find(reader.storage, sha256, &blob);
    if (r < 0)
        return r;
    if (blob.state != STORED_BLOB_PRESENT)
        return -ENOENT;
    return service->blobs->verbs->path(service->blobs, sha256, ret);
}
