/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an erasure order of the centre does to the handheld's store: store/erase.c, and all that meets a
 * record without bytes afterwards.
 */
#include "tests/unit/store/fixture.h"

#define MARKER "Mrs-Abernathy-at-the-window"

static struct uuid current_log(struct store *store)
{
    return status_of(store).log;
}

static struct erased_record leaf_at(struct store *store, const struct uuid *log, uint64_t seq)
{
    struct erased_record record = {.at = {.log = *log, .seq = seq}};

    assert_int_equal(store_leaf(store, log, seq, &record.leaf), 0);
    return record;
}

static int erase_one(struct here *here, uint64_t number, const struct erased_record *record)
{
    const struct erasure_order order = {
        .number = number, .time_ms = 1700000000000, .records = record, .record_count = 1};

    return store_erase(here->store, &order, 1);
}

static bool is_anywhere(const char *directory, const char *marker)
{
    char command[512];

    snprintf(command, sizeof(command), "grep -rqaF '%s' '%s'", marker, directory);
    return system(command) == 0; /* NOLINT(cert-env33-c): a test's own words in a test's own directory */
}

static void assert_sound(struct here *here)
{
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
}

static struct store_record read_at(struct here *here, const struct position_in_log *at, struct buffer *bytes)
{
    struct store_record record;

    assert_int_equal(store_read(here->store, at, bytes, &record), 0);
    return record;
}

static void an_erased_record_is_in_no_file_and_every_root_stays(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct sha256 before, after;
    struct buffer bytes = {0};
    uint64_t done = 0;

    append_many(here->store, 0, 300);
    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    append_many(here->store, 300, 300);
    uint64_t size = status_of(here->store).log_size;
    assert_int_equal(receive(here->store, &appended.at.log, size), 0);
    assert_int_equal(store_root_at(here->store, &appended.at.log, size, &before), 0);
    assert_true(is_anywhere(here->directory, MARKER));

    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_int_equal(erase_one(here, 7, &record), 0);
    assert_false(is_anywhere(here->directory, MARKER));
    assert_int_equal(store_orders_done(here->store, &done), 0);
    assert_int_equal(done, 7);
    assert_int_equal(store_root_at(here->store, &appended.at.log, size, &after), 0);
    assert_true(sha256_equal(&before, &after));
    assert_sound(here);
    struct store_record erased = read_at(here, &appended.at, &bytes);
    assert_true(erased.is_erased);
    assert_int_equal(erased.erased_by, 7);
    assert_int_equal(erased.record.len, 0);
    assert_true(uuid_equal(&erased.id, &appended.id));
    assert_int_equal(erased.recorded_kind, RECORD_FINDING);
    buffer_done(&bytes);

    /* Found by its id still, and after a new start: the WAL that was cut off is no damage. */
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    assert_int_equal(store_find(here->store, &appended.id, &bytes, &erased), 0);
    assert_true(erased.is_erased);
    buffer_done(&bytes);
}

/* One that fills pages of its own: these are freed, and nothing would write over them. */
static void an_erased_record_of_several_pages_is_in_no_file(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    char note[3 * 4096 + 1] = "";

    for (size_t at = 0; at + sizeof(MARKER) < sizeof(note); at += sizeof(MARKER) - 1)
        memcpy(note + at, MARKER, sizeof(MARKER));
    append_many(here->store, 0, 3);
    assert_int_equal(append_note(here->store, note, &appended), 0);
    append_many(here->store, 3, 3);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_true(is_anywhere(here->directory, MARKER));
    assert_int_equal(erase_one(here, 1, &record), 0);
    assert_false(is_anywhere(here->directory, MARKER));
    assert_sound(here);
}

static void another_leaf_at_that_position_is_not_touched(void **state)
{
    struct here *here = *state;
    struct buffer bytes = {0};
    struct store_appended appended = {0};

    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    record.leaf.b[0] ^= 1;
    assert_int_equal(erase_one(here, 1, &record), 0);
    assert_false(read_at(here, &appended.at, &bytes).is_erased);
    buffer_done(&bytes);
}

static void the_same_order_again_changes_nothing(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct buffer bytes = {0};

    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_int_equal(erase_one(here, 1, &record), 0);
    assert_int_equal(erase_one(here, 2, &record), 0);
    assert_int_equal(read_at(here, &appended.at, &bytes).erased_by, 1);
    assert_sound(here);
    buffer_done(&bytes);
}

static void as_long_as_a_reader_is_in_the_way_the_order_is_not_done(void **state)
{
    struct here *here = *state;
    struct store *reader = store_opened_in(here->directory, STORE_READER), *reading = NULL;
    struct store_appended appended = {0};
    uint64_t done = 0, counter;

    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    assert_int_equal(store_begin_reading(reader, &reading), 0);
    assert_int_equal(store_change_counter(reader, &counter), 0);
    struct store_status status;
    assert_int_equal(store_status(reader, &status), 0);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_int_equal(erase_one(here, 1, &record), -EBUSY);
    assert_int_equal(store_orders_done(here->store, &done), 0);
    assert_int_equal(done, 0);
    store_end_reading(&reading);
    store_free(reader);
    assert_int_equal(erase_one(here, 1, &record), 0);
    assert_false(is_anywhere(here->directory, MARKER));
}

static void a_run_to_send_has_an_empty_record_and_its_leaf(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct bytes views[16];
    struct buffer bytes = {0};
    struct sha256 leaf;
    size_t count;

    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    append_many(here->store, 0, 2);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_int_equal(erase_one(here, 1, &record), 0);
    assert_int_equal(store_outbox_read(
                         here->store, &appended.at.log, appended.at.seq, 16, SIZE_MAX, &bytes, views, &count),
        0);
    assert_int_equal(count, 3);
    assert_int_equal(views[0].len, 0);
    assert_true(views[1].len > 0);
    assert_int_equal(store_leaf(here->store, &appended.at.log, appended.at.seq, &leaf), 0);
    assert_true(sha256_equal(&leaf, &record.leaf));
    buffer_done(&bytes);
}

static void a_rehomed_copy_goes_with_the_record_and_keeps_its_first_id(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct store_record found;
    struct buffer bytes = {0};
    struct uuid next;
    uint64_t rehomed;

    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_int_equal(store_leave_log(here->store, &author, &appended.at.log, OPEN_FORK, &next, &rehomed), 0);
    assert_int_equal(erase_one(here, 4, &record), 0); /* it names the first place alone */
    assert_false(is_anywhere(here->directory, MARKER));
    assert_int_equal(store_find(here->store, &appended.id, &bytes, &found), 0);
    assert_true(found.is_erased);
    assert_int_equal(found.erased_by, 4);
    assert_true(uuid_equal(&found.at.log, &next));
    assert_true(uuid_equal(&found.recorded_at.log, &appended.at.log));
    assert_int_equal(found.recorded_kind, RECORD_FINDING);
    assert_sound(here);
    buffer_done(&bytes);
}

static void an_erased_record_is_not_carried_into_a_new_log(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct uuid next;
    uint64_t rehomed = 0;

    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    append_many(here->store, 0, 2);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_int_equal(erase_one(here, 1, &record), 0);
    assert_int_equal(store_leave_log(here->store, &author, &appended.at.log, OPEN_FORK, &next, &rehomed), 0);
    assert_notes(here->store, &findings, "0 1 ");
    assert_sound(here);
}

static void an_erased_amendment_amends_nothing_any_more(void **state)
{
    struct here *here = *state;
    struct store_appended finding = {0}, amendment = {0};
    struct position_in_log newest;
    bool amended = false, withdrawn = false;

    assert_int_equal(append_note(here->store, "first", &finding), 0);
    assert_int_equal(append_about(here->store, RECORD_AMENDMENT, MARKER, &finding, &amendment), 0);
    struct erased_record record = leaf_at(here->store, &amendment.at.log, amendment.at.seq);
    assert_int_equal(store_later_versions(here->store, &finding.at, &amended, &newest, &withdrawn), 0);
    assert_true(amended);
    assert_int_equal(erase_one(here, 1, &record), 0);
    assert_int_equal(store_later_versions(here->store, &finding.at, &amended, &newest, &withdrawn), 0);
    assert_false(amended);
}

static void photos_and_previews_go_and_are_never_pending_again(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo_and_preview(here->store, 7, 9000, false);
    const struct sha256 blobs[] = {photo.photo.sha256, photo.photo.preview_sha256};
    const struct erasure_order order = {.number = 3, .blobs = blobs, .blob_count = 2};
    struct store_blob pending[4], blob;
    size_t count;
    uint64_t by;

    assert_int_equal(append_with_photos(here->store, "with a photo", &photo, 1, NULL), 0);
    struct uuid log = current_log(here->store);
    assert_int_equal(receive(here->store, &log, status_of(here->store).log_size), 0);
    assert_int_equal(store_erase(here->store, &order, 1), 0);
    for (size_t i = 0; i < 2; i++) {
        char *path = store_blob_path(here->store, &blobs[i]);
        assert_int_equal(access(path, F_OK), -1);
        free(path);
        assert_int_equal(store_blob_find(here->store, &blobs[i], &blob), 0);
        assert_int_equal(blob.state, BLOB_FREED);
        assert_int_equal(store_blob_erased_by(here->store, &blobs[i], &by), 0);
        assert_int_equal(by, 3);
        assert_int_equal(store_blob_adopt(here->store, &blobs[i]), 0);
    }
    assert_int_equal(store_blobs_pending(here->store, pending, 4, &count), 0);
    assert_int_equal(count, 0);
    assert_sound(here);
}

static void a_recovery_keeps_what_is_known_of_an_erased_record(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct store_opened opened;
    struct store_record found;
    struct buffer bytes = {0};

    assert_int_equal(append_note(here->store, MARKER, &appended), 0);
    append_many(here->store, 0, 5);
    uint64_t size = status_of(here->store).log_size;
    assert_int_equal(receive(here->store, &appended.at.log, size), 0);
    append_many(here->store, 5, 2);
    struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
    assert_int_equal(erase_one(here, 9, &record), 0);
    store_free(here->store);
    remove_file(here->directory, WAL_NAME);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_DAEMON, &here->store, &opened), 0);
    assert_true(opened.recovered);
    assert_int_equal(store_find(here->store, &appended.id, &bytes, &found), 0);
    assert_true(found.is_erased);
    assert_int_equal(found.erased_by, 9);
    assert_notes(here->store, &findings, "? 0 1 2 3 4 5 6 ");
    assert_sound(here);
    assert_false(is_anywhere(here->directory, MARKER));
    buffer_done(&bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_erased_record_is_in_no_file_and_every_root_stays),
        TEST(an_erased_record_of_several_pages_is_in_no_file),
        TEST(another_leaf_at_that_position_is_not_touched),
        TEST(the_same_order_again_changes_nothing),
        TEST(as_long_as_a_reader_is_in_the_way_the_order_is_not_done),
        TEST(a_run_to_send_has_an_empty_record_and_its_leaf),
        TEST(a_rehomed_copy_goes_with_the_record_and_keeps_its_first_id),
        TEST(an_erased_record_is_not_carried_into_a_new_log),
        TEST(an_erased_amendment_amends_nothing_any_more),
        TEST(photos_and_previews_go_and_are_never_pending_again),
        TEST(a_recovery_keeps_what_is_known_of_an_erased_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
