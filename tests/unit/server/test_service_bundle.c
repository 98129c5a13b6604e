/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of server/service_bundle.c: bundles as handhelds make them, as they come out of a broken carrier, and
 * as somebody makes them who knows the centre's public key.
 */
#include "tests/unit/server/client.h"

#include "proto/bundle.h"

#define PHOTO_BYTES 1000u
#define FAULTS_MAX 8u

/* ---- a bundle in memory ---- */

struct carrier {
    uint8_t id[REQUEST_ID_BYTES];
    struct bundle_writer writer;
    struct buffer file;
    size_t at; /* read up to here */
    struct buffer receipts;
    char faults[FAULTS_MAX][512];
    size_t fault_count;
    int receipts_result;
};

static void carrier_done(struct carrier *carrier)
{
    buffer_done(&carrier->file);
    buffer_done(&carrier->receipts);
}
#define _cleanup_carrier_ _cleanup_(carrier_done)

static ssize_t carrier_read(void *user, void *ret, size_t len)
{
    struct carrier *carrier = user;
    size_t left = carrier->file.len - carrier->at;

    /* In odd pieces, as a pipe may give them. */
    if (len > 333)
        len = 333;
    if (len > left)
        len = left;
    memcpy(ret, carrier->file.data + carrier->at, len);
    carrier->at += len;
    return (ssize_t)len;
}

static int carrier_receipts(void *user, struct bytes bytes)
{
    struct carrier *carrier = user;

    buffer_put_bytes(&carrier->receipts, bytes);
    return carrier->receipts_result;
}

static void carrier_fault(void *user, const char *line)
{
    struct carrier *carrier = user;

    assert_true(carrier->fault_count < FAULTS_MAX);
    snprintf(carrier->faults[carrier->fault_count++], sizeof(carrier->faults[0]), "%s", line);
}

static void write_start(struct centre *centre, const struct handheld *handheld, struct carrier *ret)
{
    struct bundle_head head = {.device = handheld->device, .made_ms = TEST_WALL_MS};
    struct bundle_secrets secrets;

    *ret = (struct carrier){0};
    request_id(ret->id);
    memcpy(head.bundle, ret->id, REQUEST_ID_BYTES);
    world_posix()->verbs->random(NULL, &secrets, sizeof(secrets));
    assert_int_equal(bundle_write_start(&ret->writer, service_receipt_key(centre->service)->public_key,
                         &secrets, &ret->file),
        0);
    assert_int_equal(bundle_write_head(&ret->writer, &head, &ret->file), 0);
}

/* The request that vouches for the bundle with this id. */
static void write_first(
    const struct handheld *handheld, const uint8_t id[REQUEST_ID_BYTES], struct carrier *carrier)
{
    struct exchange_request request = {
        .log = handheld->log, .certificate = buffer_bytes(&handheld->certificate)};
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};

    memcpy(request.request_id, id, REQUEST_ID_BYTES);
    assert_int_equal(exchange_request_encode(&request, &plain), 0);
    seal_request(handheld, PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain), &body, NULL);
    assert_int_equal(bundle_write_exchange(&carrier->writer, buffer_bytes(&body), &carrier->file), 0);
}

static void write_records(
    const struct handheld *handheld, uint64_t first, size_t count, struct carrier *carrier)
{
    _cleanup_buffer_ struct buffer body = {0};
    struct sha256 sha256;

    make_exchange(handheld, first, count, NULL, &body, &sha256);
    assert_int_equal(bundle_write_exchange(&carrier->writer, buffer_bytes(&body), &carrier->file), 0);
}

static void fill_photo(unsigned seed, uint8_t ret[PHOTO_BYTES], struct sha256 *ret_sha256)
{
    for (size_t i = 0; i < PHOTO_BYTES; i++)
        ret[i] = (uint8_t)(i * seed + i / 7);
    *ret_sha256 = sha256_of(bytes_of(ret, PHOTO_BYTES));
}

/* `len` bytes of it. */
static void write_photo_part(
    const struct sha256 *sha256, const uint8_t *photo, size_t len, struct carrier *carrier)
{
    assert_int_equal(bundle_write_photo(&carrier->writer, sha256, PHOTO_BYTES, &carrier->file), 0);
    for (size_t at = 0; at < len; at += 300) {
        size_t piece = len - at < 300 ? len - at : 300;

        assert_int_equal(
            bundle_write_chunk(&carrier->writer, bytes_of(photo + at, piece), &carrier->file), 0);
    }
}

static void write_photo(const struct sha256 *sha256, const uint8_t *photo, struct carrier *carrier)
{
    write_photo_part(sha256, photo, PHOTO_BYTES, carrier);
}

static void write_end(struct carrier *carrier)
{
    assert_int_equal(bundle_write_end(&carrier->writer, &carrier->file), 0);
}

static int import(struct centre *centre, struct carrier *carrier, struct service_bundle_report *ret)
{
    const struct service_bundle_io io = {
        .read = carrier_read, .receipts = carrier_receipts, .fault = carrier_fault, .user = carrier};

    carrier->at = 0;
    carrier->fault_count = 0;
    buffer_clear(&carrier->receipts);
    *ret = (struct service_bundle_report){0};
    return service_import_bundle(centre->service, &io, ret);
}

/* ---- what came back ---- */

struct all_receipts {
    uint32_t parts;
    bool is_last;
    uint64_t sizes[4]; /* of the receipts, in their order */
    size_t size_count;
    size_t quarantined_count;
    bool quarantined_all;
    size_t stored_count;
};

static void read_log(
    const struct handheld *handheld, const struct bundle_receipts *part, struct all_receipts *ret)
{
    struct checkpoint checkpoint;
    uint64_t time_s;

    if (uuid_is_nil(&part->log))
        return;
    assert_true(ret->size_count < ARRAY_LEN(ret->sizes));
    assert_int_equal(
        receipt_verify(part->receipt, &handheld->key.public, &handheld->server_key, &checkpoint, &time_s), 0);
    ret->sizes[ret->size_count++] = checkpoint.size;
    ret->quarantined_count += part->quarantined_count;
    ret->quarantined_all = part->quarantined_all;
}

static void read_receipts(
    const struct handheld *handheld, const struct carrier *carrier, struct all_receipts *ret)
{
    struct cursor file = cursor_of(buffer_bytes(&carrier->receipts));
    struct bytes bytes;

    *ret = (struct all_receipts){0};
    assert_int_equal(bundle_receipts_open(&file), 0);
    while (bundle_receipts_next(&file, &bytes) > 0) {
        _cleanup_buffer_ struct buffer plain = {0};
        _cleanup_arena_ struct arena arena;
        struct bundle_receipts part;
        struct envelope envelope;

        arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
        assert_int_equal(envelope_parse(bytes, &envelope), 0);
        assert_int_equal(envelope_open(&envelope, PAYLOAD_BUNDLE_RECEIPTS, handheld->server_key.public_key,
                             EXCHANGE_INFLATED_BYTES_MAX, &plain),
            0);
        assert_int_equal(bundle_receipts_decode(buffer_bytes(&plain), &arena, &part), 0);
        assert_memory_equal(part.bundle, carrier->id, REQUEST_ID_BYTES);
        assert_true(
            uuid_equal(&part.device, &handheld->device) && uuid_equal(&envelope.device, &part.device));
        assert_int_equal(part.part, ret->parts++);
        assert_false(ret->is_last);
        ret->is_last = part.is_last;
        ret->stored_count += part.stored_blob_count;
        read_log(handheld, &part, ret);
    }
    assert_true(ret->is_last);
}

static uint64_t records_held(struct centre *centre)
{
    return (uint64_t)centre_sql(centre, "SELECT count(*) FROM records");
}

/* ---- the scene: an enrolled handheld with ten findings and two photos ---- */

struct scene {
    struct centre *centre;
    struct handheld *handheld;
    uint8_t photos[2][PHOTO_BYTES];
    struct sha256 hashes[2];
};

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    scene->centre = centre_new();
    scene->handheld = handheld_enrolled(scene->centre);
    append_opened(scene->handheld);
    append_findings(scene->handheld, 8);
    for (unsigned i = 0; i < 2; i++) {
        fill_photo(3 + i, scene->photos[i], &scene->hashes[i]);
        append_finding_with_photo(scene->handheld, &scene->hashes[i], PHOTO_BYTES, NULL);
    }
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

static void write_all(struct scene *scene, struct carrier *ret)
{
    write_start(scene->centre, scene->handheld, ret);
    write_first(scene->handheld, ret->id, ret);
    write_records(scene->handheld, 0, 6, ret);
    write_records(scene->handheld, 6, scene->handheld->count - 6, ret);
    for (size_t i = 0; i < 2; i++)
        write_photo(&scene->hashes[i], scene->photos[i], ret);
    write_end(ret);
}

/* ---- stories ---- */

static void a_bundle_is_taken_and_receipts_say_what_is_there(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;
    struct all_receipts receipts;

    write_all(scene, &carrier);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(import(scene->centre, &carrier, &report), 0);
        assert_int64_equal(report.records_new, round == 0 ? 11 : 0);
        assert_int64_equal(report.records_held, round == 0 ? 0 : 11);
        assert_int64_equal(report.photos_new, round == 0 ? 2 : 0);
        assert_int64_equal(report.photos_held, round == 0 ? 0 : 2);
        assert_int64_equal(report.records_refused + report.photos_refused, 0);
        assert_false(report.is_cut || report.is_damaged || report.is_made_newer);
        assert_int64_equal(report.bytes_read, carrier.file.len);
        assert_int_equal(carrier.fault_count, 0);
        read_receipts(scene->handheld, &carrier, &receipts);
        assert_int_equal(receipts.size_count, 1);
        assert_int64_equal(receipts.sizes[0], 11);
        assert_int_equal(receipts.stored_count, 2);
        assert_true(receipts.quarantined_all);
        assert_int64_equal(records_held(scene->centre), 11);
    }
}

static void cut_anywhere_it_brings_what_is_whole(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    uint64_t before = 0;
    size_t whole;

    write_all(scene, &carrier);
    whole = carrier.file.len;
    for (size_t len = 0; len < whole; len += 29) {
        struct service_bundle_report report;
        uint64_t now;
        int r;

        carrier.file.len = len;
        r = import(scene->centre, &carrier, &report);
        assert_true(r == 0 || r == -EBADMSG);
        assert_true(r < 0 || report.is_cut);
        now = records_held(scene->centre);
        assert_true(now >= before);
        before = now;
    }
    assert_int64_equal(before, 11);
}

static void no_bit_of_a_bundle_can_change_what_is_taken_behind_it(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;

    write_all(scene, &carrier);
    for (size_t bit = 0; bit < carrier.file.len * 8; bit += 211) {
        struct service_bundle_report report;
        int r;

        carrier.file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = import(scene->centre, &carrier, &report);
        if (r == 0 && !report.is_cut && !report.is_damaged)
            fail_msg("bit %zu of byte %zu can change", bit % 8, bit / 8);
        assert_int64_equal(report.records_refused, 0);
        carrier.file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_bundle_that_its_handheld_did_not_sign_for_brings_nothing(void **state)
{
    struct scene *scene = *state;
    struct handheld *other = handheld_enrolled(scene->centre);
    uint8_t id[REQUEST_ID_BYTES] = {1};
    struct service_bundle_report report;

    append_opened(other);
    {
        /* A true request, taken from another bundle or from the network. */
        _cleanup_carrier_ struct carrier carrier;

        write_start(scene->centre, scene->handheld, &carrier);
        write_first(scene->handheld, id, &carrier);
        write_records(scene->handheld, 0, 5, &carrier);
        write_end(&carrier);
        assert_int_equal(import(scene->centre, &carrier, &report), -EBADMSG);
    }
    {
        /* Another handheld's request under this one's name. */
        _cleanup_carrier_ struct carrier carrier;

        write_start(scene->centre, scene->handheld, &carrier);
        write_first(other, carrier.id, &carrier);
        write_end(&carrier);
        assert_int_equal(import(scene->centre, &carrier, &report), -EBADMSG);
    }
    {
        /* No request at all: only a photo, or only an end. */
        _cleanup_carrier_ struct carrier carrier, empty;

        write_start(scene->centre, scene->handheld, &carrier);
        write_photo(&scene->hashes[0], scene->photos[0], &carrier);
        write_end(&carrier);
        assert_int_equal(import(scene->centre, &carrier, &report), -EBADMSG);
        write_start(scene->centre, scene->handheld, &empty);
        write_end(&empty);
        assert_int_equal(import(scene->centre, &empty, &report), -EBADMSG);
        assert_int_equal(empty.receipts.len, 0);
    }
    assert_int64_equal(records_held(scene->centre), 0);
    handheld_free(other);
}

static void a_photo_before_the_first_request_is_not_taken_though_a_record_names_it(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;

    deliver(scene->centre, scene->handheld);
    write_start(scene->centre, scene->handheld, &carrier);
    write_photo(&scene->hashes[0], scene->photos[0], &carrier);
    write_first(scene->handheld, carrier.id, &carrier);
    write_end(&carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), -EBADMSG);
    assert_int64_equal(report.photos_new, 0);
    assert_int_equal(carrier.receipts.len, 0);
    centre_shell(scene->centre, "test -z \"$(find blobs -type f ! -name '*.lock')\"");
}

static void a_request_of_another_handheld_inside_is_not_taken(void **state)
{
    struct scene *scene = *state;
    struct handheld *other = handheld_enrolled(scene->centre);
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;
    struct all_receipts receipts;

    append_opened(other);
    write_start(scene->centre, scene->handheld, &carrier);
    write_first(scene->handheld, carrier.id, &carrier);
    write_records(other, 0, 1, &carrier);
    write_records(scene->handheld, 0, 3, &carrier);
    write_end(&carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    assert_int64_equal(report.records_new, 3);
    assert_int_equal(carrier.fault_count, 1);
    assert_non_null(strstr(carrier.faults[0], "not one of this handheld"));
    read_receipts(scene->handheld, &carrier, &receipts);
    assert_int_equal(receipts.size_count, 1);
    assert_int64_equal(records_held(scene->centre), 3);
    handheld_free(other);
}

static void a_photo_counts_only_whole_right_and_named_by_a_record_of_this_handheld(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;
    uint8_t other[PHOTO_BYTES];
    struct all_receipts receipts;
    struct sha256 other_hash;

    fill_photo(9, other, &other_hash);
    write_start(scene->centre, scene->handheld, &carrier);
    write_first(scene->handheld, carrier.id, &carrier);
    write_records(scene->handheld, 0, scene->handheld->count, &carrier);
    write_photo(&other_hash, other, &carrier);                            /* nobody names it */
    write_photo(&scene->hashes[0], other, &carrier);                      /* other bytes */
    write_photo_part(&scene->hashes[0], scene->photos[0], 700, &carrier); /* not whole */
    write_photo_part(&scene->hashes[1], scene->photos[1], 0, &carrier);   /* no byte of it */
    write_photo(&scene->hashes[1], scene->photos[1], &carrier);
    write_photo_part(&scene->hashes[0], scene->photos[0], 999, &carrier);
    write_end(&carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    assert_int64_equal(report.photos_new, 1);
    assert_int64_equal(report.photos_refused, 5);
    assert_int_equal(carrier.fault_count, 5);
    assert_non_null(strstr(carrier.faults[0], "names it"));
    assert_non_null(strstr(carrier.faults[1], "another hash"));
    assert_non_null(strstr(carrier.faults[2], "not whole"));
    read_receipts(scene->handheld, &carrier, &receipts);
    assert_int_equal(receipts.stored_count, 1);
    /* Nothing is left of those that were not taken. */
    centre_shell(scene->centre,
        "test -z \"$(find blobs/partial -type f)\" && test $(ls blobs/[0-9a-f]*/* | wc -l) -eq 1");
}

static void records_behind_a_gap_are_told_with_the_place_where_it_begins(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;
    struct all_receipts receipts;

    write_start(scene->centre, scene->handheld, &carrier);
    write_first(scene->handheld, carrier.id, &carrier);
    write_records(scene->handheld, 0, 2, &carrier);
    write_records(scene->handheld, 5, 3, &carrier);
    write_end(&carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    assert_int64_equal(report.records_new, 2);
    assert_int64_equal(report.records_refused, 3);
    assert_int_equal(carrier.fault_count, 1);
    assert_non_null(strstr(carrier.faults[0], "from 2 on"));
    assert_non_null(strstr(carrier.faults[0], "patrol export --bundle FILE --all"));
    read_receipts(scene->handheld, &carrier, &receipts);
    assert_int64_equal(receipts.sizes[0], 2);
}

static void a_copy_of_the_handheld_raises_the_alarm_as_over_the_network(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier, clones;
    struct service_bundle_report report;

    write_all(scene, &carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    bytes_free(scene->handheld->records[4]);
    scene->handheld->count = 4;
    append_finding(scene->handheld, "of the copy");
    write_start(scene->centre, scene->handheld, &clones);
    write_first(scene->handheld, clones.id, &clones);
    write_records(scene->handheld, 3, 2, &clones);
    write_end(&clones);
    assert_int_equal(import(scene->centre, &clones, &report), 0);
    assert_int64_equal(report.records_refused, 2);
    assert_non_null(strstr(clones.faults[0], "two copies"));
    assert_int64_equal(centre_sql(scene->centre, "SELECT count(*) FROM alarms"), 1);
    assert_int64_equal(records_held(scene->centre), 11);
    for (size_t i = 5; i < 11; i++)
        bytes_free(scene->handheld->records[i]);
}

static void a_revoked_handheld_is_refused_with_the_words_of_the_network(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;

    write_all(scene, &carrier);
    assert_int_equal(service_revoke(scene->centre->service, &scene->handheld->device, true), 0);
    assert_int_equal(import(scene->centre, &carrier, &report), -EACCES);
    assert_string_equal(report.refusal, "this device is revoked; an admin at the centre can restore it");
    assert_int_equal(carrier.receipts.len, 0);
    assert_int64_equal(records_held(scene->centre), 0);
}

static void a_handheld_that_was_never_enrolled_here_is_refused(void **state)
{
    struct scene *scene = *state;
    struct handheld *stranger = handheld_new();
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;

    append_opened(stranger);
    write_start(scene->centre, stranger, &carrier);
    write_first(stranger, carrier.id, &carrier);
    write_end(&carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), -EACCES);
    assert_string_equal(report.refusal, "this device is not enrolled here");
    handheld_free(stranger);
}

static void quarantined_records_are_named_with_the_log(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;
    struct all_receipts receipts;

    append_bytes(scene->handheld, bytes_of_text("\xff no record"));
    append_bytes(scene->handheld, bytes_of_text("\xff neither"));
    write_all(scene, &carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    assert_int64_equal(report.records_new, 13);
    assert_int64_equal(report.records_quarantined, 2);
    read_receipts(scene->handheld, &carrier, &receipts);
    assert_int_equal(receipts.quarantined_count, 2);
    assert_true(receipts.quarantined_all);
}

static void receipts_for_very_many_photos_and_records_in_quarantine_come_in_parts(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;
    struct all_receipts receipts;
    size_t many = BUNDLE_RECEIPTS_BLOBS_MAX + 5;

    for (size_t i = 0; i <= EXCHANGE_QUARANTINED_MAX; i++)
        append_bytes(scene->handheld, bytes_of_text("\xff"));
    write_start(scene->centre, scene->handheld, &carrier);
    write_first(scene->handheld, carrier.id, &carrier);
    write_records(scene->handheld, 0, scene->handheld->count, &carrier);
    for (size_t i = 0; i < many; i++)
        write_photo(&scene->hashes[0], scene->photos[0], &carrier);
    write_end(&carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    assert_int64_equal(report.photos_held, many - 1);
    read_receipts(scene->handheld, &carrier, &receipts);
    assert_int_equal(receipts.parts, 3);
    assert_int_equal(receipts.stored_count, many);
    assert_int_equal(receipts.quarantined_count, EXCHANGE_QUARANTINED_MAX);
    assert_false(receipts.quarantined_all);
}

static int no_space(void *context, const char *path, uint64_t *ret_free_bytes)
{
    (void)context;
    (void)path;
    *ret_free_bytes = 1000;
    return 0;
}

static void a_full_disk_and_failing_receipts_end_the_import_and_it_goes_on_later(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;

    write_all(scene, &carrier);
    scene->centre->verbs.space = no_space;
    assert_int_equal(import(scene->centre, &carrier, &report), -ENOSPC);
    assert_int64_equal(records_held(scene->centre), 11);
    scene->centre->verbs.space = world_posix()->verbs->space;
    carrier.receipts_result = -EIO;
    assert_int_equal(import(scene->centre, &carrier, &report), -EIO);
    carrier.receipts_result = 0;
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    assert_int64_equal(report.records_held, 11);
    assert_int64_equal(report.photos_new, 2);
}

static void two_imports_do_not_meet(void **state)
{
    struct scene *scene = *state;
    const struct world_verbs *verbs = world_posix()->verbs;
    _cleanup_carrier_ struct carrier carrier;
    char *path = files_join(scene->centre->directory, "blobs/import.lock");
    struct service_bundle_report report;
    int lock = verbs->lock_open(NULL, path);

    write_all(scene, &carrier);
    assert_true(lock >= 0);
    assert_int_equal(verbs->try_lock(NULL, lock), 0);
    assert_int_equal(import(scene->centre, &carrier, &report), -EWOULDBLOCK);
    assert_int64_equal(records_held(scene->centre), 0);
    verbs->lock_close(NULL, lock);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    free(path);
}

static void parts_of_a_newer_sender_are_passed_over_and_told(void **state)
{
    struct scene *scene = *state;
    _cleanup_carrier_ struct carrier carrier;
    struct service_bundle_report report;
    uint8_t frame[BUNDLE_FRAME_MORE_BYTES + 6];

    write_start(scene->centre, scene->handheld, &carrier);
    write_first(scene->handheld, carrier.id, &carrier);
    crypto_secretstream_xchacha20poly1305_push(
        &carrier.writer.state, frame, NULL, (const uint8_t *)"\x21later", 6, NULL, 0, 0);
    buffer_put_u32be(&carrier.file, sizeof(frame));
    buffer_put(&carrier.file, frame, sizeof(frame));
    write_records(scene->handheld, 0, 3, &carrier);
    write_end(&carrier);
    assert_int_equal(import(scene->centre, &carrier, &report), 0);
    assert_true(report.is_made_newer);
    assert_int64_equal(report.records_new, 3);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_bundle_is_taken_and_receipts_say_what_is_there),
        STORY(cut_anywhere_it_brings_what_is_whole),
        STORY(no_bit_of_a_bundle_can_change_what_is_taken_behind_it),
        STORY(a_bundle_that_its_handheld_did_not_sign_for_brings_nothing),
        STORY(a_photo_before_the_first_request_is_not_taken_though_a_record_names_it),
        STORY(a_request_of_another_handheld_inside_is_not_taken),
        STORY(a_photo_counts_only_whole_right_and_named_by_a_record_of_this_handheld),
        STORY(records_behind_a_gap_are_told_with_the_place_where_it_begins),
        STORY(a_copy_of_the_handheld_raises_the_alarm_as_over_the_network),
        STORY(a_revoked_handheld_is_refused_with_the_words_of_the_network),
        STORY(a_handheld_that_was_never_enrolled_here_is_refused),
        STORY(quarantined_records_are_named_with_the_log),
        STORY(receipts_for_very_many_photos_and_records_in_quarantine_come_in_parts),
        STORY(a_full_disk_and_failing_receipts_end_the_import_and_it_goes_on_later),
        STORY(two_imports_do_not_meet),
        STORY(parts_of_a_newer_sender_are_passed_over_and_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
