/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of when a photo counts as lost: server/service_audit.c and apply_blob_lost of server/service_apply.c.
 */
#include "server/storage/storage.h"
#include "tests/unit/server/client.h"

#define PHOTO_BYTES 5000u

struct scene {
    struct centre *centre;
    struct handheld *handheld, *other; /* records of both name the photo */
    uint8_t photo[PHOTO_BYTES];
    struct sha256 sha256;
};

static bool no_descriptors; /* blobs cannot be opened now */

static int open_blob(void *context, const char *path, enum world_open how, bool secret)
{
    if (no_descriptors && how == WORLD_READ && strstr(path, "/blobs/"))
        return -EMFILE;
    return world_posix()->verbs->open(context, path, how, secret);
}

static struct handheld *handheld_with_photo(struct scene *scene)
{
    struct handheld *handheld = handheld_enrolled(scene->centre);

    append_opened(handheld);
    append_finding_with_photo(handheld, &scene->sha256, PHOTO_BYTES, NULL);
    deliver(scene->centre, handheld);
    return handheld;
}

static void upload(struct scene *scene)
{
    upload_photo(scene->centre, scene->handheld, bytes_of(scene->photo, PHOTO_BYTES));
}

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    scene->centre = centre_new();
    scene->centre->verbs.open = open_blob;
    for (size_t i = 0; i < PHOTO_BYTES; i++)
        scene->photo[i] = (uint8_t)(i * 7 + i / 251);
    scene->sha256 = sha256_of(bytes_of(scene->photo, PHOTO_BYTES));
    scene->handheld = handheld_with_photo(scene);
    scene->other = handheld_with_photo(scene);
    upload(scene);
    *state = scene;
    return 0;
}

static int stop(void **state)
{
    struct scene *scene = *state;

    no_descriptors = false;
    handheld_free(scene->handheld);
    handheld_free(scene->other);
    centre_free(scene->centre);
    free(scene);
    return 0;
}

static void audit_media(struct scene *scene, struct handheld *handheld, struct answered *ret)
{
    audit_with(scene->centre, handheld, &(struct audit_request){.level = AUDIT_MEDIA}, ret);
}

/* This handheld has freed its copy, or lost it, and says so. */
static void tell_gone(struct scene *scene, struct handheld *handheld)
{
    struct repair_request request = {
        .log = handheld->log, .size = handheld->count, .lost_blobs = &scene->sha256, .lost_blob_count = 1};
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    _cleanup_answered_ struct answered answered = {0};
    struct sha256 sha256;

    request_id(request.request_id);
    assert_int_equal(repair_request_encode(&request, &plain), 0);
    seal_request(handheld, PAYLOAD_REPAIR_REQUEST, buffer_bytes(&plain), &body, &sha256);
    send_body(scene->centre, SERVICE_REPAIR, buffer_bytes(&body), &sha256, &answered);
    assert_false(answered.is_refused);
}

static enum blob_condition condition_told(struct scene *scene, struct handheld *handheld)
{
    _cleanup_answered_ struct answered answered = {0};

    audit_media(scene, handheld, &answered);
    assert_int_equal(answered.audit.blob_count, 1);
    return answered.audit.blobs[0].condition;
}

static void lose_file(struct scene *scene)
{
    centre_shell(scene->centre, "rm blobs/[0-9a-f][0-9a-f]/*");
}

static void a_file_that_cannot_be_opened_for_now_makes_no_photo_damaged(void **state)
{
    struct scene *scene = *state;
    _cleanup_answered_ struct answered answered = {0}, later = {0};

    no_descriptors = true;
    audit_media(scene, scene->handheld, &answered);
    assert_int_equal(answered.audit.blob_count, 0);
    no_descriptors = false;
    audit_media(scene, scene->handheld, &later);
    assert_int_equal(later.audit.blob_count, 0);
    assert_int64_equal(later.audit.blob_bytes_read, PHOTO_BYTES);
    assert_int64_equal(centre_sql(scene->centre, "SELECT state FROM blobs"), STORED_BLOB_PRESENT);
}

static void a_photo_that_another_handheld_may_still_have_is_not_lost(void **state)
{
    struct scene *scene = *state;

    lose_file(scene);
    assert_int_equal(condition_told(scene, scene->handheld), BLOB_MISSING);
    tell_gone(scene, scene->handheld);
    assert_int_equal(condition_told(scene, scene->other), BLOB_MISSING);
    upload(scene);
    assert_int64_equal(centre_sql(scene->centre, "SELECT state FROM blobs"), STORED_BLOB_PRESENT);
}

static void a_photo_that_none_of_its_handhelds_has_is_lost(void **state)
{
    struct scene *scene = *state;

    lose_file(scene);
    assert_int_equal(condition_told(scene, scene->handheld), BLOB_MISSING);
    tell_gone(scene, scene->handheld);
    tell_gone(scene, scene->other);
    assert_int_equal(condition_told(scene, scene->other), BLOB_LOST);
}

static void a_photo_whose_file_is_there_after_all_is_not_lost(void **state)
{
    struct scene *scene = *state;

    centre_shell(scene->centre, "mkdir aside; mv blobs/[0-9a-f][0-9a-f]/* aside");
    assert_int_equal(condition_told(scene, scene->handheld), BLOB_MISSING);
    centre_shell(scene->centre, "for f in aside/*; do mv $f blobs/$(basename $f | cut -c1-2)/; done");
    tell_gone(scene, scene->other);
    tell_gone(scene, scene->handheld);
    assert_int64_equal(centre_sql(scene->centre, "SELECT state FROM blobs"), STORED_BLOB_PRESENT);
    assert_int64_equal(last_device(scene->centre).blobs_missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_file_that_cannot_be_opened_for_now_makes_no_photo_damaged, start, stop),
        cmocka_unit_test_setup_teardown(
            a_photo_that_another_handheld_may_still_have_is_not_lost, start, stop),
        cmocka_unit_test_setup_teardown(a_photo_that_none_of_its_handhelds_has_is_lost, start, stop),
        cmocka_unit_test_setup_teardown(a_photo_whose_file_is_there_after_all_is_not_lost, start, stop),
    };

    return cmocka_run_group_tests_name("server service lost photos", tests, NULL, NULL);
}
