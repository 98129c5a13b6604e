/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A centre with one handheld and a photo of its, what is erased there, and where its bytes are still to be
 * found: for the tests of lawful erasure. Used by tests only.
 */
#pragma once

#include "server/storage/storage.h"
#include "tests/unit/server/client.h"

#define MARKER "Mrs-Abernathy-at-the-window"
#define PHOTO_MARKER "her-face-in-the-jpeg"
#define PHOTO_BYTES 5000u

struct scene {
    struct centre *centre;
    struct handheld *handheld;
    uint8_t photo[PHOTO_BYTES];
    struct sha256 sha256;
};

static inline int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    scene->centre = centre_new();
    scene->handheld = handheld_enrolled(scene->centre);
    append_opened(scene->handheld);
    for (size_t i = 0; i + sizeof(PHOTO_MARKER) <= PHOTO_BYTES; i += sizeof(PHOTO_MARKER))
        memcpy(scene->photo + i, PHOTO_MARKER, sizeof(PHOTO_MARKER));
    scene->sha256 = sha256_of(bytes_of(scene->photo, PHOTO_BYTES));
    *state = scene;
    return 0;
}

static inline int stop(void **state)
{
    struct scene *scene = *state;

    handheld_free(scene->handheld);
    centre_free(scene->centre);
    free(scene);
    return 0;
}

static inline void upload(struct scene *scene)
{
    upload_photo(scene->centre, scene->handheld, bytes_of(scene->photo, PHOTO_BYTES));
}

static inline int try_erase(struct scene *scene, const struct service_erase_target *target, bool photos_only,
    bool dry_run, struct service_erasure_report *ret)
{
    const struct service_erasure erasure = {.targets = target,
        .target_count = 1,
        .by = "the clerk",
        .reason = "court order 12/3",
        .photos_only = photos_only,
        .dry_run = dry_run};

    return service_erase(scene->centre->service, &erasure, ret);
}

static inline struct service_erasure_report erase_record(
    struct scene *scene, const struct handheld *of, uint64_t seq)
{
    const struct service_erase_target target = {.id = record_id(of, seq)};
    struct service_erasure_report report = {0};

    assert_int_equal(try_erase(scene, &target, false, false, &report), 0);
    assert_true(report.is_finished);
    return report;
}

static inline void assert_nowhere(struct scene *scene, const char *marker)
{
    char command[128];

    snprintf(command, sizeof(command), "! grep -rqaF '%s' .", marker);
    centre_shell(scene->centre, command);
}

static inline void assert_somewhere(struct scene *scene, const char *marker)
{
    char command[128];

    snprintf(command, sizeof(command), "grep -rqaF '%s' .", marker);
    centre_shell(scene->centre, command);
}

/* A healthy centre: every log gives its signed root, and a rebuild changes no row of the list. */
static inline void assert_well(struct scene *scene)
{
    struct listing *before = list_findings(scene->centre), *after;
    struct service_check_report report = {0};

    assert_int_equal(service_check(scene->centre->service, true, true, NULL, NULL, &report), 0);
    after = list_findings(scene->centre);
    assert_int_equal(after->count, before->count);
    for (size_t i = 0; i < after->count; i++) {
        assert_memory_equal(after->rows[i].id.b, before->rows[i].id.b, UUID_BYTES);
        assert_string_equal(after->rows[i].state, before->rows[i].state);
    }
    free(before);
    free(after);
}

static inline uint64_t finding_with_photo(struct scene *scene, struct handheld *handheld)
{
    return append_finding_with_photo(handheld, &scene->sha256, PHOTO_BYTES, NULL);
}

static inline void repair(struct scene *scene, const struct repair_request *asked, struct answered *ret)
{
    struct repair_request request = *asked;
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    struct sha256 sha256;

    request_id(request.request_id);
    request.log = scene->handheld->log;
    request.size = scene->handheld->count;
    assert_int_equal(repair_request_encode(&request, &plain), 0);
    seal_request(scene->handheld, PAYLOAD_REPAIR_REQUEST, buffer_bytes(&plain), &body, &sha256);
    send_body(scene->centre, SERVICE_REPAIR, buffer_bytes(&body), &sha256, ret);
}

static inline void keep_copy(struct scene *scene)
{
    centre_stop(scene->centre);
    centre_shell(scene->centre, "mkdir ../$(basename $PWD).old && cp -a . ../$(basename $PWD).old/");
    centre_start(scene->centre);
}

/* To the copy, but for the orders. The centre is not started. */
static inline void set_back(struct scene *scene)
{
    centre_stop(scene->centre);
    centre_shell(scene->centre,
        "o=../$(basename $PWD).old && rm -r centre.db* blobs && cp -a $o/centre.db* $o/blobs . && rm -r $o");
}

/* As a command does that is killed when its order stands. */
static inline void give_order_and_die(struct scene *scene, unsigned number, uint64_t seq)
{
    const struct handheld *handheld = scene->handheld;
    char device[UUID_TEXT_LEN + 1], log[UUID_TEXT_LEN + 1], leaf[SHA256_TEXT_LEN + 1], command[512];

    text_uuid(handheld->device.b, device);
    text_uuid(handheld->log.b, log);
    text_hex(handheld->leaves[seq].b, SHA256_BYTES, leaf);
    snprintf(command, sizeof(command),
        "touch erasing && "
        "printf 'order %u 2026-11-24T08:00:00Z\\nby me\\nreason it\\nrecord %s %s %llu %s\\n' >>orders",
        number, device, log, (unsigned long long)seq, leaf);
    centre_shell(scene->centre, command);
}

/* The handheld has carried the order out: it has the leaf alone. */
static inline void turn_into_leaf(struct handheld *handheld, uint64_t seq)
{
    handheld->records[seq].len = 0;
}

static inline void assert_not_in(struct scene *scene, const char *directory, const char *marker)
{
    char command[256];

    snprintf(command, sizeof(command), "! grep -rqaF '%s' '%s'", marker, directory);
    centre_shell(scene->centre, command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
