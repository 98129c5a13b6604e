/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of photo uploads: server/service_uploads.c and server/blobs/files.c. */
#include "server/service_internal.h"
#include "tests/unit/server/client.h"

#define PHOTO_BYTES 400000u

struct scene {
    struct centre *centre;
    struct handheld *handheld;
    uint8_t photo[PHOTO_BYTES];
    struct sha256 sha256;
};

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    scene->centre = centre_new();
    scene->handheld = handheld_enrolled(scene->centre);
    for (size_t i = 0; i < PHOTO_BYTES; i++)
        scene->photo[i] = (uint8_t)(i * 7 + i / 251);
    scene->sha256 = sha256_of(bytes_of(scene->photo, PHOTO_BYTES));
    append_opened(scene->handheld);
    append_finding_with_photo(scene->handheld, &scene->sha256, PHOTO_BYTES, NULL);
    deliver(scene->centre, scene->handheld);
    *state = scene;
    return 0;
}

static int stop(void **state)
{
    struct scene *scene = *state;

    handheld_free(scene->handheld);
    centre_free(scene->centre);
    free(scene);
    return 0;
}

static void create(struct scene *scene, struct service_upload *ret)
{
    assert_int_equal(service_upload_create(
                         scene->centre->service, &scene->handheld->device, &scene->sha256, PHOTO_BYTES, ret),
        0);
}

static int begin(struct scene *scene, uint64_t offset, struct service_patch **ret)
{
    return service_patch_begin(
        scene->centre->service, &scene->handheld->device, &scene->sha256, offset, NULL, ret);
}

/* Sends bytes offset .. offset + len - 1 in pieces. */
static int patch(
    struct scene *scene, uint64_t offset, size_t len, struct service_upload *ret, bool *ret_stored)
{
    struct service_patch *patch = NULL;
    int r = begin(scene, offset, &patch);

    if (r < 0)
        return r;
    for (size_t sent = 0; sent < len;) {
        size_t piece = len - sent < 3000 ? len - sent : 3000;

        assert_int_equal(service_patch_write(patch, scene->photo + offset + sent, piece), 0);
        sent += piece;
    }
    return service_patch_end(patch, true, ret, ret_stored);
}

static uint64_t offset_now(struct scene *scene)
{
    struct service_upload upload;

    assert_int_equal(
        service_upload_find(scene->centre->service, &scene->handheld->device, &scene->sha256, &upload), 0);
    return upload.offset;
}

static void store_photo(struct scene *scene)
{
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, PHOTO_BYTES, &upload, &stored), 0);
    assert_true(stored);
    assert_int_equal(service_blob_stored(scene->centre->service, &scene->sha256, PHOTO_BYTES), 0);
}

static void a_photo_is_stored_in_chunks_and_the_finding_is_complete(void **state)
{
    struct scene *scene = *state;
    struct exchange_request asks = {.asked_blobs = &scene->sha256, .asked_blob_count = 1};
    struct service_upload upload;
    _cleanup_answered_ struct answered before = {0}, after = {0};
    char *path = NULL;
    bool stored = false;

    create(scene, &upload);
    assert_int64_equal(upload.offset, 0);
    assert_int64_equal(upload.size, PHOTO_BYTES);
    assert_int_equal(patch(scene, 0, 40000, &upload, &stored), 0);
    assert_false(stored);
    assert_int64_equal(upload.offset, 40000);
    assert_int64_equal(offset_now(scene), 40000);
    exchange_with(scene->centre, scene->handheld, 2, 0, &asks, &before);
    assert_int_equal(before.exchange.stored_blob_count, 0);
    assert_int64_equal(before.exchange.wanted_blobs[0].have, 40000);

    assert_int_equal(patch(scene, 40000, PHOTO_BYTES - 40000, &upload, &stored), 0);
    assert_true(stored);
    assert_int64_equal(upload.offset, PHOTO_BYTES);
    assert_int_equal(service_blob_stored(scene->centre->service, &scene->sha256, PHOTO_BYTES), 0);

    exchange_with(scene->centre, scene->handheld, 2, 0, &asks, &after);
    assert_int_equal(after.exchange.wanted_blob_count, 0);
    assert_int_equal(after.exchange.stored_blob_count, 1);
    assert_false(after.exchange.stored_blobs[0].backed_up);
    struct listing *listing = list_findings(scene->centre);
    assert_true(listing->rows[0].complete);
    free(listing);

    _cleanup_buffer_ struct buffer content = {0};
    assert_int_equal(service_blob_path(scene->centre->service, &scene->sha256, &path), 0);
    assert_int_equal(files_read(world_posix(), path, PHOTO_BYTES, &content), 0);
    assert_memory_equal(content.data, scene->photo, PHOTO_BYTES);
    free(path);
}

static void the_offset_is_promised_across_a_restart(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, 40000, &upload, &stored), 0);
    centre_restart(scene->centre);
    assert_int64_equal(offset_now(scene), 40000);
    create(scene, &upload); /* found again, not begun again */
    assert_int64_equal(upload.offset, 40000);
    assert_int_equal(patch(scene, 40000, PHOTO_BYTES - 40000, &upload, &stored), 0);
    assert_true(stored);
}

static void a_request_that_breaks_off_keeps_what_has_come(void **state)
{
    struct scene *scene = *state;
    struct service_patch *patch = NULL;
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(begin(scene, 0, &patch), 0);
    assert_int_equal(service_patch_write(patch, scene->photo, 90000), 0);
    assert_int_equal(service_patch_end(patch, false, &upload, &stored), 0);
    assert_int64_equal(upload.offset, 90000);
    assert_int64_equal(offset_now(scene), 90000);
}

static void bytes_that_were_never_promised_are_cut_off(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, 40000, &upload, &stored), 0);
    /* A power cut left a torn tail behind the promise. */
    centre_shell(scene->centre, "printf torn | tee -a blobs/partial/*/*.part >/dev/null");
    assert_int64_equal(offset_now(scene), 40000);
    assert_int_equal(patch(scene, 40000, PHOTO_BYTES - 40000, &upload, &stored), 0);
    assert_true(stored);
}

static void a_torn_promise_leaves_the_one_before(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, 30000, &upload, &stored), 0);
    assert_int_equal(patch(scene, 30000, 30000, &upload, &stored), 0);
    centre_shell(
        scene->centre, "printf xxxx | dd of=$(ls blobs/partial/*/*.offset) conv=notrunc 2>/dev/null");
    assert_int64_equal(offset_now(scene), 30000);
}

static void a_wrong_offset_is_refused_and_ends_nobody(void **state)
{
    struct scene *scene = *state;
    struct service_patch *first = NULL, *wrong = NULL;
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(begin(scene, 0, &first), 0);
    assert_int_equal(begin(scene, 5, &wrong), -EINVAL);
    assert_int_equal(service_patch_write(first, scene->photo, 1000), 0);
    assert_int_equal(service_patch_end(first, true, &upload, &stored), 0);
    assert_int64_equal(upload.offset, 1000);
}

static void a_new_request_ends_a_stale_one(void **state)
{
    struct scene *scene = *state;
    struct service_patch *stale = NULL, *fresh = NULL;
    struct service_upload upload = {0};
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(begin(scene, 0, &stale), 0);
    assert_int_equal(service_patch_write(stale, scene->photo, 50000), 0);
    assert_int_equal(begin(scene, 0, &fresh), 0);
    assert_int_equal(service_patch_write(stale, scene->photo + 50000, 1000), -ECANCELED);
    assert_int_equal(service_patch_write(fresh, scene->photo, PHOTO_BYTES), 0);
    assert_int_equal(service_patch_end(stale, false, &upload, &stored), -ECANCELED);
    assert_int_equal(service_patch_end(fresh, true, &upload, &stored), 0);
    assert_true(stored);
}

static void who_asks_for_the_offset_is_promised_what_a_request_that_hangs_has_brought(void **state)
{
    struct scene *scene = *state;
    struct service_patch *stale = NULL, *fresh = NULL;
    struct service_upload upload = {0};
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(begin(scene, 0, &stale), 0);
    assert_int_equal(service_patch_write(stale, scene->photo, 50000), 0);
    assert_int_equal(
        service_upload_keep(scene->centre->service, &scene->handheld->device, &scene->sha256), 0);
    assert_int64_equal(offset_now(scene), 50000);
    /* It may be alive after all, and go on until another one comes. */
    assert_int_equal(service_patch_write(stale, scene->photo + 50000, 1000), 0);
    assert_int_equal(begin(scene, 50000, &fresh), 0);
    assert_int_equal(service_patch_write(fresh, scene->photo + 50000, PHOTO_BYTES - 50000), 0);
    assert_int_equal(service_patch_end(stale, false, &upload, &stored), -ECANCELED);
    assert_int_equal(service_patch_end(fresh, true, &upload, &stored), 0);
    assert_true(stored);
}

static void what_came_of_a_chunk_with_a_checksum_is_not_promised_before_its_end(void **state)
{
    struct scene *scene = *state;
    struct sha256 right = sha256_of(bytes_of(scene->photo, 50000));
    struct service_patch *patch = NULL;
    struct service_upload upload = {0};
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(service_patch_begin(
                         scene->centre->service, &scene->handheld->device, &scene->sha256, 0, &right, &patch),
        0);
    assert_int_equal(service_patch_write(patch, scene->photo, 40000), 0);
    assert_int_equal(
        service_upload_keep(scene->centre->service, &scene->handheld->device, &scene->sha256), 0);
    assert_int64_equal(offset_now(scene), 0);
    assert_int_equal(service_patch_write(patch, scene->photo + 40000, 10000), 0);
    assert_int_equal(service_patch_end(patch, true, &upload, &stored), 0);
    assert_int64_equal(upload.offset, 50000);
}

/* A long chunk is promised piece by piece: killed in its middle, the centre has most of it. */
static void a_long_chunk_is_promised_while_it_comes(void **state)
{
    struct scene *scene = *state;
    struct service_patch *patch = NULL;
    struct service_upload upload = {0};
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(begin(scene, 0, &patch), 0);
    for (size_t at = 0; at < UPLOAD_KEEP_BYTES + 30000; at += 10000)
        assert_int_equal(service_patch_write(patch, scene->photo + at, 10000), 0);
    assert_in_range(offset_now(scene), UPLOAD_KEEP_BYTES, UPLOAD_KEEP_BYTES + 10000);
    assert_int_equal(service_patch_end(patch, false, &upload, &stored), 0);
}

static void a_chunk_with_a_wrong_checksum_is_not_kept(void **state)
{
    struct scene *scene = *state;
    struct sha256 right = sha256_of(bytes_of(scene->photo, 1000)), wrong = right;
    struct service_patch *patch = NULL;
    struct service_upload upload;
    bool stored = false;

    wrong.b[0] ^= 1;
    create(scene, &upload);
    assert_int_equal(service_patch_begin(
                         scene->centre->service, &scene->handheld->device, &scene->sha256, 0, &wrong, &patch),
        0);
    assert_int_equal(service_patch_write(patch, scene->photo, 1000), 0);
    assert_int_equal(service_patch_end(patch, true, &upload, &stored), -EBADMSG);
    assert_int64_equal(offset_now(scene), 0);
    /* Nor one with a checksum that has not come whole. */
    assert_int_equal(service_patch_begin(
                         scene->centre->service, &scene->handheld->device, &scene->sha256, 0, &right, &patch),
        0);
    assert_int_equal(service_patch_write(patch, scene->photo, 999), 0);
    assert_int_equal(service_patch_end(patch, false, &upload, &stored), 0);
    assert_int64_equal(upload.offset, 0);

    assert_int_equal(service_patch_begin(
                         scene->centre->service, &scene->handheld->device, &scene->sha256, 0, &right, &patch),
        0);
    assert_int_equal(service_patch_write(patch, scene->photo, 1000), 0);
    assert_int_equal(service_patch_end(patch, true, &upload, &stored), 0);
    assert_int64_equal(upload.offset, 1000);
}

static void a_wrong_whole_hash_removes_the_partial_and_shows_nothing(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    bool stored = false;
    char *path = NULL;

    create(scene, &upload);
    scene->photo[77] ^= 1;
    assert_int_equal(patch(scene, 0, PHOTO_BYTES, &upload, &stored), -EILSEQ);
    assert_false(stored);
    assert_int_equal(
        service_upload_find(scene->centre->service, &scene->handheld->device, &scene->sha256, &upload),
        -ENOENT);
    assert_int_equal(service_blob_path(scene->centre->service, &scene->sha256, &path), -ENOENT);
    scene->photo[77] ^= 1;
    store_photo(scene);
}

static void more_bytes_than_announced_are_refused(void **state)
{
    struct scene *scene = *state;
    struct service_patch *patch = NULL;
    struct service_upload upload;
    bool stored = false;

    assert_int_equal(service_upload_create(
                         scene->centre->service, &scene->handheld->device, &scene->sha256, 1000, &upload),
        0);
    assert_int_equal(begin(scene, 0, &patch), 0);
    assert_int_equal(service_patch_write(patch, scene->photo, 1001), -EFBIG);
    assert_int_equal(service_patch_end(patch, false, &upload, &stored), 0);
    assert_int64_equal(upload.offset, 0);
}

static void a_photo_that_no_record_of_the_device_names_is_refused(void **state)
{
    struct scene *scene = *state;
    struct handheld *other = handheld_enrolled(scene->centre);
    struct sha256 unknown = sha256_of(bytes_of_text("unknown"));
    struct service_upload upload;

    assert_int_equal(
        service_upload_create(scene->centre->service, &scene->handheld->device, &unknown, 10, &upload),
        -EACCES);
    assert_int_equal(
        service_upload_create(scene->centre->service, &other->device, &scene->sha256, PHOTO_BYTES, &upload),
        -EACCES);
    assert_int_equal(service_upload_create(scene->centre->service, &scene->handheld->device, &scene->sha256,
                         BLOB_BYTES_MAX + 1, &upload),
        -EFBIG);
    handheld_free(other);
}

static void the_stored_list_tells_nothing_about_what_others_stored(void **state)
{
    struct scene *scene = *state;
    struct handheld *other = handheld_enrolled(scene->centre);
    struct exchange_request asks = {.asked_blobs = &scene->sha256, .asked_blob_count = 1};
    _cleanup_answered_ struct answered answered = {0};

    store_photo(scene);
    exchange_with(scene->centre, other, 0, 0, &asks, &answered);
    assert_int_equal(answered.exchange.stored_blob_count, 0);
    handheld_free(other);
}

static void a_photo_that_is_stored_already_is_not_taken_again(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;

    store_photo(scene);
    assert_int_equal(service_upload_create(scene->centre->service, &scene->handheld->device, &scene->sha256,
                         PHOTO_BYTES, &upload),
        -EEXIST);
    assert_int64_equal(upload.offset, PHOTO_BYTES);
    /* A last answer that was lost: asked for its offset, the upload is whole. */
    assert_int64_equal(offset_now(scene), PHOTO_BYTES);
}

/* The centre was killed between the photo's place and its row, and the handheld comes again. */
static void find_in_place(struct scene *scene)
{
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, PHOTO_BYTES, &upload, &stored), 0);
    centre_restart(scene->centre);
    assert_int_equal(service_upload_create(scene->centre->service, &scene->handheld->device, &scene->sha256,
                         PHOTO_BYTES, &upload),
        -EEXIST);
    assert_int64_equal(upload.offset, PHOTO_BYTES);
}

static void a_photo_in_place_that_storage_does_not_know_of_is_entered_later(void **state)
{
    struct scene *scene = *state;

    find_in_place(scene);
    while (service_housekeeping(scene->centre->service) == 1)
        ;
    assert_int64_equal(last_device(scene->centre).blobs_missing, 0);
}

static char synced_directory[256];

static int note_sync_directory(void *context, const char *path)
{
    snprintf(synced_directory, sizeof(synced_directory), "%s", path);
    return world_posix()->verbs->sync_directory(NULL, path);
}

/* Killed between putting it there and making that durable: a power cut later would take it away. */
static void a_photo_in_place_is_made_durable_before_it_counts(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    bool stored = false;
    char hash[SHA256_TEXT_LEN + 1], directory[sizeof("/blobs/ab")];

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, PHOTO_BYTES, &upload, &stored), 0);
    centre_restart(scene->centre);
    text_hex(scene->sha256.b, SHA256_BYTES, hash);
    snprintf(directory, sizeof(directory), "/blobs/%.2s", hash);
    scene->centre->verbs.sync_directory = note_sync_directory;
    assert_int_equal(service_upload_create(scene->centre->service, &scene->handheld->device, &scene->sha256,
                         PHOTO_BYTES, &upload),
        -EEXIST);
    assert_non_null(strstr(synced_directory, directory));
}

static void a_photo_in_place_is_whole_to_who_asks_for_its_offset_before_its_row_is_written(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, PHOTO_BYTES, &upload, &stored), 0);
    assert_true(stored);
    assert_int64_equal(offset_now(scene), PHOTO_BYTES);
    assert_int64_equal(last_device(scene->centre).blobs_missing, 1);
}

static void a_photo_found_in_place_is_confirmed_to_the_handheld_that_asks_next(void **state)
{
    struct scene *scene = *state;
    struct exchange_request asks = {.asked_blobs = &scene->sha256, .asked_blob_count = 1};
    _cleanup_answered_ struct answered answered = {0};

    find_in_place(scene);
    exchange_with(scene->centre, scene->handheld, 2, 0, &asks, &answered);
    assert_int_equal(answered.exchange.wanted_blob_count, 0);
    assert_int_equal(answered.exchange.stored_blob_count, 1);
}

static struct scene *race;

/* Between the look of one request at an expired partial and its removal, another one has made it anew. */
static int stat_and_create(void *context, const char *path, uint64_t *ret_size, int64_t *ret_modified_ms)
{
    int r = world_posix()->verbs->stat(NULL, path, ret_size, ret_modified_ms);
    struct scene *scene = race;

    if (scene && strstr(path, ".part")) {
        struct service_upload upload;
        bool stored;

        race = NULL;
        create(scene, &upload);
        assert_int_equal(patch(scene, 0, 40000, &upload, &stored), 0);
    }
    return r;
}

static void a_look_at_an_expired_upload_removes_no_new_one(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;

    create(scene, &upload);
    scene->centre->wall_shift_ms += INT64_C(25) * 3600 * 1000;
    scene->centre->verbs.stat = stat_and_create;
    race = scene;
    (void)service_upload_find(scene->centre->service, &scene->handheld->device, &scene->sha256, &upload);
    assert_null(race);
    assert_int64_equal(offset_now(scene), 40000);
}

static struct service_patch *slipped_in;

/* A PATCH between the end of the one before and the removal of its partial, if one can come there. */
static int unlink_and_slip_in(void *context, const char *path)
{
    struct scene *scene = race;

    if (scene && strstr(path, ".offset")) {
        pthread_mutex_t *mutex = &scene->centre->service->uploads.mutex;

        race = NULL;
        if (pthread_mutex_trylock(mutex) == 0) {
            pthread_mutex_unlock(mutex);
            assert_int_equal(begin(scene, 0, &slipped_in), 0);
        }
    }
    return world_posix()->verbs->unlink(NULL, path);
}

static void no_request_writes_to_a_partial_that_is_being_removed(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    bool stored = false;

    create(scene, &upload);
    scene->centre->verbs.unlink = unlink_and_slip_in;
    race = scene;
    assert_int_equal(service_upload_create(scene->centre->service, &scene->handheld->device, &scene->sha256,
                         PHOTO_BYTES + 1, &upload),
        0);
    assert_null(race);
    if (slipped_in) {
        assert_int_equal(service_patch_write(slipped_in, scene->photo, PHOTO_BYTES), 0);
        (void)service_patch_end(take_ptr(slipped_in), true, &upload, &stored);
    }
    assert_false(stored); /* what would be in place is the new partial, which is empty */
}

static void an_upload_expires_after_a_day_without_bytes(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    struct service_patch *late = NULL;
    bool stored = false;

    create(scene, &upload);
    assert_int_equal(patch(scene, 0, 40000, &upload, &stored), 0);
    scene->centre->wall_shift_ms += 23 * 3600 * 1000;
    assert_int64_equal(offset_now(scene), 40000);
    scene->centre->wall_shift_ms += 2 * 3600 * 1000;
    assert_int_equal(begin(scene, 40000, &late), -ENOENT);
    assert_int_equal(
        service_upload_find(scene->centre->service, &scene->handheld->device, &scene->sha256, &upload),
        -EKEYEXPIRED);
    create(scene, &upload);
    assert_int64_equal(upload.offset, 0);
}

static void expired_uploads_are_removed_when_idle(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;

    create(scene, &upload);
    scene->centre->wall_shift_ms += 25 * 3600 * 1000;
    centre_restart(scene->centre);
    while (service_housekeeping(scene->centre->service) == 1)
        ;
    assert_int_equal(
        service_upload_find(scene->centre->service, &scene->handheld->device, &scene->sha256, &upload),
        -ENOENT);
    centre_shell(scene->centre, "test -z \"$(find blobs/partial -type f)\"");
}

static void one_device_cannot_fill_the_disk_with_partials(void **state)
{
    struct scene *scene = *state;
    struct service_upload upload;
    int r = 0;

    for (unsigned i = 0; i < 9; i++) {
        char text[16];

        snprintf(text, sizeof(text), "photo %u", i);
        struct sha256 sha256 = sha256_of(bytes_of_text(text));
        append_finding_with_photo(scene->handheld, &sha256, BLOB_BYTES_MAX, NULL);
        deliver(scene->centre, scene->handheld);
        r = service_upload_create(
            scene->centre->service, &scene->handheld->device, &sha256, BLOB_BYTES_MAX, &upload);
        assert_int_equal(r, i < 8 ? 0 : -EDQUOT);
    }
}

static void a_token_is_good_for_a_while_and_not_for_the_revoked(void **state)
{
    struct scene *scene = *state;
    _cleanup_answered_ struct answered answered = {0};
    _cleanup_buffer_ struct buffer token = {0};
    struct uuid device;

    exchange(scene->centre, scene->handheld, 2, 0, &answered);
    assert_int_equal(answered.exchange.upload_token_s, UPLOAD_TOKEN_S);
    assert_int_equal(unseal_by_device(answered.exchange.upload_token, &scene->handheld->key, &token), 0);
    assert_int_equal(service_upload_authorise(scene->centre->service, buffer_text(&token), &device), 0);
    assert_int_equal(service_upload_authorise(scene->centre->service, "nonsense", &device), -EBADMSG);
    assert_int_equal(service_revoke(scene->centre->service, &scene->handheld->device, true), 0);
    assert_int_equal(service_upload_authorise(scene->centre->service, buffer_text(&token), &device), -EACCES);
    assert_int_equal(service_revoke(scene->centre->service, &scene->handheld->device, false), 0);
    scene->centre->wall_shift_ms += (int64_t)(UPLOAD_TOKEN_S + 1) * 1000;
    assert_int_equal(
        service_upload_authorise(scene->centre->service, buffer_text(&token), &device), -EKEYEXPIRED);
}

/* ---- audits of photos ---- */

static void audit_media_of(struct centre *centre, struct handheld *handheld, struct answered *ret)
{
    audit_with(centre, handheld, &(struct audit_request){.level = AUDIT_MEDIA}, ret);
}

static void audit_media(struct scene *scene, struct answered *ret)
{
    audit_media_of(scene->centre, scene->handheld, ret);
}

static void a_photo_removed_behind_the_centres_back_is_found_and_taken_again(void **state)
{
    struct scene *scene = *state;
    struct service_check_report report;
    _cleanup_answered_ struct answered found = {0}, wanted = {0}, after = {0};

    store_photo(scene);
    centre_shell(scene->centre, "rm blobs/[0-9a-f][0-9a-f]/*");
    assert_int_equal(service_check(scene->centre->service, false, false, NULL, NULL, &report), -EUCLEAN);
    assert_int64_equal(report.blobs_bad, 1);
    audit_media(scene, &found);
    assert_int64_equal(found.audit.blobs_checked, 1);
    assert_int_equal(found.audit.blob_count, 1);
    assert_int_equal(found.audit.blobs[0].condition, BLOB_MISSING);
    exchange(scene->centre, scene->handheld, 2, 0, &wanted);
    assert_int_equal(wanted.exchange.wanted_blob_count, 1);
    store_photo(scene);
    audit_media(scene, &after);
    assert_int_equal(after.audit.blob_count, 0);
    assert_int64_equal(after.audit.blob_bytes_read, PHOTO_BYTES);
}

static void a_photo_damaged_behind_the_centres_back_is_found_and_taken_again(void **state)
{
    struct scene *scene = *state;
    struct service_check_report report;
    _cleanup_answered_ struct answered found = {0}, after = {0};

    store_photo(scene);
    centre_shell(scene->centre,
        "printf x | dd of=$(ls blobs/[0-9a-f][0-9a-f]/*) seek=9 bs=1 conv=notrunc 2>/dev/null");
    assert_int_equal(service_check(scene->centre->service, true, false, NULL, NULL, &report), -EUCLEAN);
    audit_media(scene, &found);
    assert_int_equal(found.audit.blob_count, 1);
    assert_int_equal(found.audit.blobs[0].condition, BLOB_DAMAGED);
    store_photo(scene);
    audit_media(scene, &after);
    assert_int_equal(after.audit.blob_count, 0);
    assert_int_equal(service_check(scene->centre->service, true, false, NULL, NULL, &report), 0);
}

static void a_media_audit_of_many_photos_goes_on_in_windows(void **state)
{
    struct scene *scene = *state;
    struct audit_request request = {.level = AUDIT_MEDIA, .log = scene->handheld->log};
    uint64_t checked = 0;
    unsigned windows = 0;
    bool more;

    for (unsigned i = 0; i < 299; i++) {
        char text[16];

        snprintf(text, sizeof(text), "photo %u", i);
        struct sha256 sha256 = sha256_of(bytes_of_text(text));
        append_finding_with_photo(scene->handheld, &sha256, 10, NULL);
    }
    deliver(scene->centre, scene->handheld);
    do {
        _cleanup_buffer_ struct buffer plain = {0}, body = {0};
        _cleanup_answered_ struct answered answered = {0};
        struct sha256 sha256;

        assert_int_equal(audit_request_encode(&request, &plain), 0);
        seal_request(scene->handheld, PAYLOAD_AUDIT_REQUEST, buffer_bytes(&plain), &body, &sha256);
        send_body(scene->centre, SERVICE_AUDIT, buffer_bytes(&body), &sha256, &answered);
        assert_int64_equal(answered.audit.next_seq, 0);
        checked += answered.audit.blobs_checked;
        more = answered.audit.has_next_blob;
        request.has_after_blob = more;
        request.after_blob = answered.audit.next_blob;
        request.from_seq = answered.audit.size;
        windows++;
    } while (more);
    assert_int64_equal(checked, 300);
    assert_int_equal(windows, 2);
}

static struct handheld *audits_meanwhile; /* while another handheld's photo is being read */
static struct answered answered_meanwhile;

static int open_while_another_audits(void *context, const char *path, enum world_open how, bool secret)
{
    struct handheld *other = audits_meanwhile;

    if (other && how == WORLD_READ && strstr(path, "/blobs/")) {
        audits_meanwhile = NULL;
        audit_media_of(context, other, &answered_meanwhile);
    }
    return world_posix()->verbs->open(NULL, path, how, secret);
}

static void an_audit_over_the_limit_is_told_to_come_again(void **state)
{
    struct scene *scene = *state;
    struct handheld *other = handheld_enrolled(scene->centre);

    store_photo(scene);
    append_opened(other);
    deliver(scene->centre, other);
    scene->centre->verbs.open = open_while_another_audits;
    for (size_t limit = 1; limit <= 2; limit++) {
        _cleanup_answered_ struct answered audited = {0};

        service_limit_audits(scene->centre->service, limit);
        audits_meanwhile = other;
        audit_media(scene, &audited);
        assert_null(audits_meanwhile);
        assert_false(audited.is_refused);
        assert_int_equal(answered_meanwhile.is_refused, limit == 1);
        if (answered_meanwhile.is_refused)
            assert_int_equal(answered_meanwhile.refusal.reason, REFUSAL_BUSY);
        answered_done(&answered_meanwhile);
        answered_meanwhile = (struct answered){0};
    }
    handheld_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_photo_is_stored_in_chunks_and_the_finding_is_complete, start, stop),
        cmocka_unit_test_setup_teardown(the_offset_is_promised_across_a_restart, start, stop),
        cmocka_unit_test_setup_teardown(a_request_that_breaks_off_keeps_what_has_come, start, stop),
        cmocka_unit_test_setup_teardown(bytes_that_were_never_promised_are_cut_off, start, stop),
        cmocka_unit_test_setup_teardown(a_torn_promise_leaves_the_one_before, start, stop),
        cmocka_unit_test_setup_teardown(a_wrong_offset_is_refused_and_ends_nobody, start, stop),
        cmocka_unit_test_setup_teardown(a_new_request_ends_a_stale_one, start, stop),
        cmocka_unit_test_setup_teardown(
            who_asks_for_the_offset_is_promised_what_a_request_that_hangs_has_brought, start, stop),
        cmocka_unit_test_setup_teardown(
            what_came_of_a_chunk_with_a_checksum_is_not_promised_before_its_end, start, stop),
        cmocka_unit_test_setup_teardown(a_long_chunk_is_promised_while_it_comes, start, stop),
        cmocka_unit_test_setup_teardown(a_chunk_with_a_wrong_checksum_is_not_kept, start, stop),
        cmocka_unit_test_setup_teardown(
            a_wrong_whole_hash_removes_the_partial_and_shows_nothing, start, stop),
        cmocka_unit_test_setup_teardown(more_bytes_than_announced_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_photo_that_no_record_of_the_device_names_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(the_stored_list_tells_nothing_about_what_others_stored, start, stop),
        cmocka_unit_test_setup_teardown(a_photo_that_is_stored_already_is_not_taken_again, start, stop),
        cmocka_unit_test_setup_teardown(
            a_photo_in_place_that_storage_does_not_know_of_is_entered_later, start, stop),
        cmocka_unit_test_setup_teardown(a_photo_in_place_is_made_durable_before_it_counts, start, stop),
        cmocka_unit_test_setup_teardown(
            a_photo_in_place_is_whole_to_who_asks_for_its_offset_before_its_row_is_written, start, stop),
        cmocka_unit_test_setup_teardown(
            a_photo_found_in_place_is_confirmed_to_the_handheld_that_asks_next, start, stop),
        cmocka_unit_test_setup_teardown(a_look_at_an_expired_upload_removes_no_new_one, start, stop),
        cmocka_unit_test_setup_teardown(no_request_writes_to_a_partial_that_is_being_removed, start, stop),
        cmocka_unit_test_setup_teardown(an_upload_expires_after_a_day_without_bytes, start, stop),
        cmocka_unit_test_setup_teardown(expired_uploads_are_removed_when_idle, start, stop),
        cmocka_unit_test_setup_teardown(one_device_cannot_fill_the_disk_with_partials, start, stop),
        cmocka_unit_test_setup_teardown(a_token_is_good_for_a_while_and_not_for_the_revoked, start, stop),
        cmocka_unit_test_setup_teardown(
            a_photo_removed_behind_the_centres_back_is_found_and_taken_again, start, stop),
        cmocka_unit_test_setup_teardown(
            a_photo_damaged_behind_the_centres_back_is_found_and_taken_again, start, stop),
        cmocka_unit_test_setup_teardown(a_media_audit_of_many_photos_goes_on_in_windows, start, stop),
        cmocka_unit_test_setup_teardown(an_audit_over_the_limit_is_told_to_come_again, start, stop),
    };

    return cmocka_run_group_tests_name("server service uploads", tests, NULL, NULL);
}
