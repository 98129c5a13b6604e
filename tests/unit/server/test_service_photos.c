/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the photos that stored records name: server/service_apply.c over SQLite. */
#include "tests/unit/server/client.h"

static int start(void **state)
{
    *state = centre_new();
    return 0;
}

static int stop(void **state)
{
    centre_free(*state);
    return 0;
}

static void photos_named_by_records_are_wanted_previews_first_oldest_first(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct sha256 photos[2] = {hash_of("one"), hash_of("two")};
    struct sha256 previews[2] = {hash_of("small one"), hash_of("small two")};
    _cleanup_answered_ struct answered answered = {0};
    _cleanup_buffer_ struct buffer token = {0};

    append_opened(handheld);
    for (size_t i = 0; i < 2; i++)
        append_finding_with_photo(handheld, &photos[i], 1000, &previews[i]);
    exchange(centre, handheld, 0, 3, &answered);
    assert_int_equal(answered.exchange.wanted_blob_count, 4);
    assert_false(answered.exchange.wanted_more);
    assert_memory_equal(answered.exchange.wanted_blobs[0].sha256.b, previews[0].b, SHA256_BYTES);
    assert_memory_equal(answered.exchange.wanted_blobs[1].sha256.b, photos[0].b, SHA256_BYTES);
    assert_memory_equal(answered.exchange.wanted_blobs[2].sha256.b, previews[1].b, SHA256_BYTES);
    assert_memory_equal(answered.exchange.wanted_blobs[3].sha256.b, photos[1].b, SHA256_BYTES);
    assert_int64_equal(answered.exchange.wanted_blobs[0].have, 0);

    /* The token opens with the handheld's key and is good for this device. */
    struct uuid device;
    assert_int_equal(unseal_by_device(answered.exchange.upload_token, &handheld->key, &token), 0);
    assert_int_equal(service_upload_authorise(centre->service, buffer_text(&token), &device), 0);
    assert_memory_equal(device.b, handheld->device.b, UUID_BYTES);

    struct listing *listing = list_findings(centre);
    assert_false(listing->rows[0].complete);
    free(listing);
    assert_int64_equal(last_device(centre).blobs_missing, 4);
    handheld_free(handheld);
}

/* The handheld may have none of those that were named first. Their numbers are the whole centre's: one may be
 * far from all others. */
static void of_more_wanted_photos_than_a_list_holds_each_is_told_in_the_end(void **state)
{
    enum { COUNT = 5 * EXCHANGE_WANTED_BLOBS_MAX };
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    bool is_told[COUNT] = {false};
    size_t told = 0, tries = 0;

    append_opened(handheld);
    deliver(centre, handheld);
    (void)centre_sql(centre,
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 639)"
        " INSERT INTO blobs(number, sha256, state, size, backed_up)"
        " SELECT CASE i WHEN 0 THEN 10 ELSE 5000000 + i END, unhexed, 0, 1, 0 FROM (SELECT i,"
        " CAST(printf('%032d', i) AS BLOB) AS unhexed FROM n)");
    (void)centre_sql(centre, "INSERT INTO blob_wanted(device, blob) SELECT 1, number FROM blobs");
    for (; told < COUNT && tries < 1000; tries++) {
        _cleanup_answered_ struct answered answered = {0};

        exchange(centre, handheld, handheld->count, 0, &answered);
        assert_true(answered.exchange.wanted_more);
        for (size_t i = 0; i < answered.exchange.wanted_blob_count; i++) {
            char text[SHA256_BYTES + 1] = {0};

            memcpy(text, answered.exchange.wanted_blobs[i].sha256.b, SHA256_BYTES);
            unsigned long number = strtoul(text, NULL, 10);
            assert_true(number < COUNT);
            told += !is_told[number];
            is_told[number] = true;
        }
    }
    assert_int_equal(told, COUNT);
    handheld_free(handheld);
}

static void photos_of_a_record_in_quarantine_are_wanted_too(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct sha256 sha256 = hash_of("of an amendment");
    const struct photo photo = {.sha256 = sha256, .size = 1000};
    struct record record = {.kind = RECORD_AMENDMENT,
        .wall_ms = TEST_WALL_MS,
        .amendment = {.parent = {.log = random_uuid(), .seq = 7, .id = random_uuid()},
            .finding = finding_of("of a finding that is nowhere")}};
    struct service_upload upload;
    _cleanup_answered_ struct answered answered = {0};

    record.amendment.finding.photos = &photo;
    record.amendment.finding.photo_count = 1;
    append_opened(handheld);
    append_record(handheld, &record);
    exchange(centre, handheld, 0, 2, &answered);
    assert_int_equal(answered.exchange.quarantined_count, 1);
    assert_int_equal(answered.exchange.wanted_blob_count, 1);
    assert_int_equal(service_upload_create(centre->service, &handheld->device, &sha256, 1000, &upload), 0);
    handheld_free(handheld);
}

static void a_token_for_uploads_is_given_when_nothing_is_wanted_too(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    /* A handheld whose last answer was lost asks for an upload that is whole already, and is told so. */
    append_opened(handheld);
    exchange(centre, handheld, 0, 1, &answered);
    assert_int_equal(answered.exchange.wanted_blob_count, 0);
    assert_true(answered.exchange.upload_token.len > 0);
    handheld_free(handheld);
}

static int64_t still_wall_ms(void *context)
{
    const struct centre *centre = context;

    return TEST_WALL_MS + centre->wall_shift_ms;
}

/* Exchanges once more; appends the token as it came, and says for how long it is good. */
static uint32_t ask_for_token(struct centre *centre, struct handheld *handheld, struct buffer *ret)
{
    _cleanup_answered_ struct answered answered = {0};
    _cleanup_buffer_ struct buffer token = {0};
    struct uuid device;

    exchange(centre, handheld, handheld->count, 0, &answered);
    assert_int_equal(unseal_by_device(answered.exchange.upload_token, &handheld->key, &token), 0);
    assert_int_equal(service_upload_authorise(centre->service, buffer_text(&token), &device), 0);
    assert_memory_equal(device.b, handheld->device.b, UUID_BYTES);
    buffer_put_bytes(ret, answered.exchange.upload_token);
    assert_int_equal(buffer_finish(ret), 0);
    return answered.exchange.upload_token_s;
}

static void the_token_of_the_answer_before_is_given_again_for_some_minutes(void **state)
{
    struct centre *centre = *state;
    _cleanup_buffer_ struct buffer first = {0}, of_other = {0}, again = {0}, later = {0}, earlier = {0};

    centre->verbs.wall_ms = still_wall_ms;
    struct handheld *handheld = handheld_enrolled(centre), *other = handheld_enrolled(centre);
    assert_int_equal(ask_for_token(centre, handheld, &first), UPLOAD_TOKEN_S);
    assert_int_equal(ask_for_token(centre, other, &of_other), UPLOAD_TOKEN_S);
    assert_false(bytes_equal(buffer_bytes(&first), buffer_bytes(&of_other)));
    centre->wall_shift_ms += 200 * 1000;
    assert_int_equal(ask_for_token(centre, handheld, &again), UPLOAD_TOKEN_S - 200);
    assert_true(bytes_equal(buffer_bytes(&first), buffer_bytes(&again)));
    centre->wall_shift_ms += 200 * 1000;
    assert_int_equal(ask_for_token(centre, handheld, &later), UPLOAD_TOKEN_S);
    assert_false(bytes_equal(buffer_bytes(&first), buffer_bytes(&later)));
    /* A clock that is set back: the token would be good for longer than it says. */
    centre->wall_shift_ms -= 3600 * 1000;
    assert_int_equal(ask_for_token(centre, handheld, &earlier), UPLOAD_TOKEN_S);
    assert_false(bytes_equal(buffer_bytes(&later), buffer_bytes(&earlier)));
    handheld_free(handheld);
    handheld_free(other);
}

static void photos_that_the_handheld_has_lost_are_wanted_no_more(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct sha256 photo = hash_of("gone");
    const struct record event = {.kind = RECORD_DEVICE_EVENT,
        .wall_ms = TEST_WALL_MS,
        .device_event = {.lost_blobs = &photo, .lost_blob_count = 1}};
    _cleanup_answered_ struct answered before = {0}, after = {0};

    append_opened(handheld);
    append_finding_with_photo(handheld, &photo, 1000, NULL);
    exchange(centre, handheld, 0, 2, &before);
    assert_int_equal(before.exchange.wanted_blob_count, 1);
    append_record(handheld, &event);
    exchange(centre, handheld, 2, 1, &after);
    assert_int_equal(after.exchange.wanted_blob_count, 0);
    assert_int64_equal(last_device(centre).alarms, 1);
    handheld_free(handheld);
}

static void a_photo_that_is_stored_again_is_in_no_backup(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct sha256 photo = hash_of("again");

    append_opened(handheld);
    append_finding_with_photo(handheld, &photo, 1000, NULL);
    deliver(centre, handheld);
    (void)centre_sql(centre, "UPDATE blobs SET state = 0, backed_up = 1");
    assert_int_equal(service_blob_stored(centre->service, &photo, 1000), 0);
    assert_int_equal(centre_sql(centre, "SELECT state FROM blobs"), 1);
    assert_int_equal(centre_sql(centre, "SELECT backed_up FROM blobs"), 0);
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            photos_named_by_records_are_wanted_previews_first_oldest_first, start, stop),
        cmocka_unit_test_setup_teardown(photos_that_the_handheld_has_lost_are_wanted_no_more, start, stop),
        cmocka_unit_test_setup_teardown(a_photo_that_is_stored_again_is_in_no_backup, start, stop),
        cmocka_unit_test_setup_teardown(
            of_more_wanted_photos_than_a_list_holds_each_is_told_in_the_end, start, stop),
        cmocka_unit_test_setup_teardown(photos_of_a_record_in_quarantine_are_wanted_too, start, stop),
        cmocka_unit_test_setup_teardown(a_token_for_uploads_is_given_when_nothing_is_wanted_too, start, stop),
        cmocka_unit_test_setup_teardown(
            the_token_of_the_answer_before_is_given_again_for_some_minutes, start, stop),
    };

    return cmocka_run_group_tests_name("server service photos", tests, NULL, NULL);
}
