/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/capture.h"

#include "collector/sources/camera_file.h"

#include <errno.h>
#include <stdio.h>

static int refuse_photo(struct form_refusal *refusal, const char *path, const char *reason)
{
    snprintf(refusal->message, sizeof(refusal->message), "photo: %s: %s", path, reason);
    return -EINVAL;
}

static int capture_one(struct store *store, const struct camera_helper *helper, const char *path,
    struct photo *ret, struct form_refusal *refusal)
{
    const char *reason = "cannot be read";
    _cleanup_close_ int fd = -1;
    if (camera_file_open(path, &fd, &reason) < 0)
        return refuse_photo(refusal, path, reason);
    _cleanup_(camera_photo_done) struct camera_photo camera = {0};
    int r = camera_file_read(fd, helper, &camera, &reason);
    if (r == -ENOPKG || r == -ENOMEM || r == -EMFILE || r == -ENFILE)
        return r; /* the photo is not at fault */
    if (r < 0)
        return refuse_photo(refusal, path, reason);
    struct photo photo = {.format = camera.facts.format, .preview_size = camera.facts.preview_len};
    r = store_photo_put_file(store, fd, &photo.sha256, &photo.size);
    if (r >= 0)
        r = store_photo_put_bytes(
            store, bytes_of(camera.preview, camera.facts.preview_len), &photo.preview_sha256);
    if (r < 0)
        return r;
    if (camera_file_check_unchanged(fd, &camera, &reason) < 0)
        return refuse_photo(refusal, path, reason);
    *ret = photo;
    return 0;
}

int capture_photos(struct program *program, struct store *store, const char *const *paths, size_t count,
    bool urgent, struct captured_photos *ret, struct form_refusal *refusal)
{
    if (count > FINDING_PHOTOS_MAX) {
        snprintf(refusal->message, sizeof(refusal->message),
            "photo: %zu photos, at most %u are taken; leave some out", count, FINDING_PHOTOS_MAX);
        return -EINVAL;
    }
    ret->count = 0;
    if (count == 0)
        return 0;
    _cleanup_free_ char *found = program->settings.photo_helper ? NULL : camera_helper_path();
    const struct camera_helper helper = {
        .path = program->settings.photo_helper ? program->settings.photo_helper : found,
        .deadline_ms = PHOTO_DEADLINE_MS,
    };
    if (!helper.path)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int r = capture_one(store, &helper, paths[i], &ret->photos[i], refusal);
        if (r < 0)
            return r;
        ret->stored[i] = (struct store_photo){.photo = ret->photos[i], .urgent = urgent};
        ret->count++;
    }
    return 0;
}

struct record record_now(struct program *program, enum record_kind kind, struct bytes inspector)
{
    const struct world *world = program->world;
    int64_t wall_ms = world->verbs->wall_ms(world->context);
    return (struct record){
        .kind = kind,
        .wall_ms = wall_ms,
        .utc_offset_min = world->verbs->utc_offset_min(world->context, wall_ms),
        .boot_ms = world->verbs->boot_ms(world->context),
        .inspector = inspector,
    };
}

struct store_author author_of(struct bytes inspector)
{
    return (struct store_author){.inspector = inspector, .software = bytes_of_text(SOFTWARE_NAME)};
}
