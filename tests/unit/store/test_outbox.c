/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon reads to send, and what it puts back when the server has answered.
 */
#include "tests/unit/store/fixture.h"

static struct uuid current_log(struct store *store)
{
    return status_of(store).log;
}

static void runs_keep_count_and_bytes_and_are_the_records(void **state)
{
    struct here *here = *state;
    struct bytes views[512];
    struct buffer bytes = {0};
    size_t count;

    append_many(here->store, 0, 400);
    struct uuid log = current_log(here->store);
    assert_int_equal(store_outbox_read(here->store, &log, 2, 512, SIZE_MAX, &bytes, views, &count), 0);
    assert_int_equal(count, 400);
    for (unsigned i = 0; i < 400; i++) {
        struct arena arena;
        char note[16];
        struct record record = decode(views[i], &arena);

        snprintf(note, sizeof(note), "%u", i);
        assert_true(bytes_equal(record.finding.note, bytes_of_text(note)));
        arena_done(&arena);
    }
    size_t len = views[0].len;

    buffer_clear(&bytes);
    assert_int_equal(store_outbox_read(here->store, &log, 2, 7, SIZE_MAX, &bytes, views, &count), 0);
    assert_int_equal(count, 7);
    buffer_clear(&bytes);
    assert_int_equal(store_outbox_read(here->store, &log, 2, 512, 3 * len, &bytes, views, &count), 0);
    assert_int_equal(count, 3);
    /* At least one, however little may be sent. */
    buffer_clear(&bytes);
    assert_int_equal(store_outbox_read(here->store, &log, 2, 512, 1, &bytes, views, &count), 0);
    assert_int_equal(count, 1);
    buffer_clear(&bytes);
    assert_int_equal(store_outbox_read(here->store, &log, 402, 512, SIZE_MAX, &bytes, views, &count), 0);
    assert_int_equal(count, 0);
    buffer_done(&bytes);
}

/* As after a flipped bit in it: the index of the logs has none of them, and the table has all. */
static void a_log_that_its_index_has_lost_is_found_and_sent(void **state)
{
    struct here *here = *state;
    struct bytes views[4];
    _cleanup_buffer_ struct buffer bytes = {0};
    size_t count = 0;

    append_many(here->store, 0, 2);
    struct uuid log = current_log(here->store);
    assert_int_equal(database_run(here->store, "PRAGMA writable_schema=1"), 0);
    assert_int_equal(database_run(here->store,
                         "UPDATE sqlite_schema SET rootpage=(SELECT rootpage FROM sqlite_schema"
                         " WHERE name='sqlite_autoindex_blobs_1') WHERE name='sqlite_autoindex_logs_1'"),
        0);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    struct uuid listed = current_log(here->store);
    assert_true(uuid_equal(&listed, &log));
    assert_int_equal(store_outbox_read(here->store, &log, 2, 4, SIZE_MAX, &bytes, views, &count), 0);
    assert_int_equal(count, 2);
}

static void runs_behind_what_is_in_the_buffer_leave_that_alone(void **state)
{
    struct here *here = *state;
    struct bytes views[4];
    struct buffer bytes = {0};
    size_t count;

    append_many(here->store, 0, 2);
    struct uuid log = current_log(here->store);
    buffer_put_text(&bytes, "before");
    assert_int_equal(store_outbox_read(here->store, &log, 2, 4, SIZE_MAX, &bytes, views, &count), 0);
    assert_int_equal(count, 2);
    assert_memory_equal(bytes.data, "before", 6);
    assert_ptr_equal(views[0].data, bytes.data + 6);
    assert_ptr_equal(views[1].data, views[0].data + views[0].len);
    buffer_done(&bytes);
}

static void damage(struct store *store, uint64_t seq)
{
    char sql[128];

    snprintf(
        sql, sizeof(sql), "UPDATE records SET bytes = x'00' WHERE key = %lld", (long long)record_key(1, seq));
    assert_int_equal(database_run(store, sql), 0);
}

static void run_ends_before_a_damaged_record_and_says_so_at_it(void **state)
{
    struct here *here = *state;
    struct bytes views[16];
    struct buffer bytes = {0};
    size_t count;

    append_many(here->store, 0, 8);
    damage(here->store, 6);
    struct uuid log = current_log(here->store);
    assert_int_equal(store_outbox_read(here->store, &log, 2, 16, SIZE_MAX, &bytes, views, &count), 0);
    assert_int_equal(count, 4);
    assert_int_equal(store_outbox_read(here->store, &log, 6, 16, SIZE_MAX, &bytes, views, &count), -EUCLEAN);
    buffer_clear(&bytes);
    assert_int_equal(store_outbox_read(here->store, &log, 7, 16, SIZE_MAX, &bytes, views, &count), 0);
    assert_int_equal(count, 3);
    buffer_done(&bytes);
}

static void unknown_log_is_told(void **state)
{
    struct here *here = *state;
    struct uuid nobody = {{1}};
    struct bytes views[1];
    struct buffer bytes = {0};
    struct merkle_source source;
    struct sha256 root;
    uint64_t size;
    size_t count;

    assert_int_equal(store_outbox_read(here->store, &nobody, 0, 1, SIZE_MAX, &bytes, views, &count), -ENOENT);
    assert_int_equal(store_root_at(here->store, &nobody, 0, &root), -ENOENT);
    assert_int_equal(store_merkle_source(here->store, &nobody, &source), -ENOENT);
    assert_int_equal(store_receipt(here->store, &nobody, &size, &bytes), -ENOENT);
    assert_int_equal(store_drop_receipt(here->store, &nobody), -ENOENT);
    buffer_done(&bytes);
}

static void proofs_from_the_kept_hashes_hold(void **state)
{
    struct here *here = *state;
    struct merkle_source source;
    struct sha256 proof[MERKLE_PROOF_MAX], root;
    size_t count;

    append_many(here->store, 0, 1500);
    struct uuid log = current_log(here->store);
    assert_int_equal(store_merkle_source(here->store, &log, &source), 0);
    for (uint64_t size = 700; size <= 1502; size += 401) {
        assert_int_equal(store_root_at(here->store, &log, size, &root), 0);
        for (uint64_t seq = 0; seq < size; seq += 83) {
            struct buffer bytes = {0};
            struct position_in_log at = {.log = log, .seq = seq};
            struct store_record record;

            assert_int_equal(store_read(here->store, &at, &bytes, &record), 0);
            assert_int_equal(merkle_prove_inclusion(&source, seq, size, proof, &count), 0);
            assert_int_equal(merkle_check_inclusion(&record.leaf, seq, size, proof, count, &root), 0);
            buffer_done(&bytes);
        }
    }
}

/* ---- receipts ---- */

static void receipt_makes_records_sent_and_is_kept(void **state)
{
    struct here *here = *state;
    struct buffer note = {0};
    uint64_t size;

    append_many(here->store, 0, 5);
    struct uuid log = current_log(here->store);
    assert_int_equal(store_receipt(here->store, &log, &size, &note), -ENOENT);
    assert_int_equal(receive(here->store, &log, 5), 0);
    assert_notes(here->store, &sent_findings, "0 1 2 ");
    assert_notes(here->store, &queued_findings, "3 4 ");
    assert_int_equal(store_receipt(here->store, &log, &size, &note), 0);
    assert_int_equal(size, 5);
    struct checkpoint checkpoint;
    assert_int_equal(checkpoint_parse(buffer_bytes(&note), &checkpoint), 0);
    assert_int_equal(checkpoint.size, 5);
    struct store_status status = status_of(here->store);
    assert_int_equal(status.records_sent, 3);
    assert_int_equal(status.records_queued, 2);
    assert_true(status.receipt_time_ms == INT64_C(1700000000000));
    assert_int_equal(status.oldest_queued_at_ms, 1003);
    buffer_done(&note);
}

static void receipt_about_another_tree_is_refused(void **state)
{
    struct here *here = *state;
    struct checkpoint checkpoint = {.size = 4};

    append_many(here->store, 0, 5);
    struct uuid log = current_log(here->store);
    assert_int_equal(store_root_at(here->store, &log, 4, &checkpoint.root), 0);
    checkpoint.root.b[0] ^= 1;
    assert_int_equal(
        store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of_text("note"), NULL, 0), -EBADMSG);
    checkpoint.size = 8;
    assert_int_equal(
        store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of_text("note"), NULL, 0), -ERANGE);
    checkpoint.size = 4;
    checkpoint.root.b[0] ^= 1;
    assert_int_equal(
        store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of(NULL, 0), NULL, 0), -EBADMSG);
    assert_int_equal(status_of(here->store).records_sent, 0);
    assert_int_equal(
        store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of_text("note"), NULL, 0), 0);
    assert_int_equal(status_of(here->store).records_sent, 2);
}

static void server_that_went_back_makes_records_queued_again(void **state)
{
    struct here *here = *state;
    struct checkpoint checkpoint = {.size = 6};
    struct quarantined bad[2] = {{.seq = 3, .reason = bytes_of_text("unknown code")},
        {.seq = 5, .reason = bytes_of_text("another reason")}};
    uint64_t size;
    struct buffer note = {0};

    append_many(here->store, 0, 6);
    struct uuid log = current_log(here->store);
    assert_int_equal(store_root_at(here->store, &log, 6, &checkpoint.root), 0);
    assert_int_equal(store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of_text("n"), bad, 2), 0);
    assert_notes(here->store, &quarantined_findings, "1 3 ");
    assert_notes(here->store, &sent_findings, "0 2 ");

    assert_int_equal(receive(here->store, &log, 4), 0);
    assert_notes(here->store, &quarantined_findings, "1 ");
    assert_notes(here->store, &sent_findings, "0 ");
    assert_notes(here->store, &queued_findings, "2 3 4 5 ");
    struct store_status status = status_of(here->store);
    assert_int_equal(status.records_sent, 1);
    assert_int_equal(status.records_quarantined, 1);
    assert_int_equal(status.records_queued, 4);

    assert_int_equal(store_drop_receipt(here->store, &log), 0);
    assert_notes(here->store, &queued_findings, "0 1 2 3 4 5 ");
    assert_int_equal(status_of(here->store).records_quarantined, 0);
    assert_int_equal(store_receipt(here->store, &log, &size, &note), -ENOENT);
    buffer_done(&note);
}

static int expect_reason(void *user, const struct store_record *record)
{
    assert_string_equal(record->reason, user);
    return 7;
}

static void quarantined_record_carries_its_reason(void **state)
{
    struct here *here = *state;
    struct checkpoint checkpoint = {.size = 3};
    char reason[] = "unknown code";
    struct quarantined bad[2] = {{.seq = 2, .reason = bytes_of_text(reason)},
        {.seq = 3, .reason = bytes_of_text("not covered by the receipt")}};
    struct buffer bytes = {0};
    struct store_record record;

    append_many(here->store, 0, 2);
    struct uuid log = current_log(here->store);
    assert_int_equal(store_root_at(here->store, &log, 3, &checkpoint.root), 0);
    assert_int_equal(store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of_text("n"), bad, 2), 0);
    struct position_in_log at = {.log = log, .seq = 2};
    assert_int_equal(store_read(here->store, &at, &bytes, &record), 0);
    assert_int_equal(record.state, RECORD_QUARANTINED);
    assert_string_equal(record.reason, reason);
    /* The callback's value ends the list and comes back. */
    assert_int_equal(store_each_record(here->store, &quarantined_findings, expect_reason, reason), 7);

    bad[0].reason = bytes_of("\xff\xfe", 2);
    assert_int_equal(store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of_text("n"), bad, 1), 0);
    buffer_clear(&bytes);
    assert_int_equal(store_read(here->store, &at, &bytes, &record), 0);
    assert_string_equal(record.reason, "the server's reason cannot be read");
    buffer_done(&bytes);
}

static void quarantined_records_are_named_in_turn_and_count_as_sent_when_released(void **state)
{
    struct here *here = *state;
    struct checkpoint checkpoint = {.size = 6};
    struct quarantined bad[3] = {{.seq = 2}, {.seq = 3}, {.seq = 5}};
    struct position_in_log held[2];
    int64_t cursor = 0;
    size_t count;

    append_many(here->store, 0, 4);
    struct uuid log = current_log(here->store), other = {.b = {1}};
    assert_int_equal(store_quarantined(here->store, &cursor, held, 2, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(store_root_at(here->store, &log, 6, &checkpoint.root), 0);
    assert_int_equal(store_apply_receipt(here->store, &log, &checkpoint, 1, bytes_of_text("n"), bad, 3), 0);
    assert_notes(here->store, &quarantined_findings, "0 1 3 ");

    assert_int_equal(store_quarantined(here->store, &cursor, held, 2, &count), 0);
    assert_int_equal(count, 2);
    assert_true(uuid_equal(&held[0].log, &log));
    assert_int_equal(held[0].seq, 2);
    assert_int_equal(held[1].seq, 3);
    assert_int_equal(store_quarantined(here->store, &cursor, held, 2, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(held[0].seq, 5);
    assert_int_equal(cursor, 0);

    const struct position_in_log released[] = {
        {.log = log, .seq = 3}, {.log = log, .seq = 4}, {.log = other, .seq = 5}, {.log = log, .seq = 500}};
    assert_int_equal(store_release(here->store, released, 4), 0);
    assert_notes(here->store, &quarantined_findings, "0 3 ");
    assert_notes(here->store, &sent_findings, "1 2 ");
    assert_int_equal(status_of(here->store).records_quarantined, 2);
    assert_int_equal(status_of(here->store).records_sent, 2);
}

static void settings_are_kept_by_key(void **state)
{
    struct here *here = *state;
    struct buffer value = {0};

    assert_int_equal(store_setting(here->store, "server_time", &value), -ENOENT);
    assert_int_equal(store_set_setting(here->store, "server_time", bytes_of_text("1")), 0);
    assert_int_equal(store_set_setting(here->store, "server_time", bytes_of_text("22")), 0);
    assert_int_equal(store_set_setting(here->store, "empty", bytes_of(NULL, 0)), 0);
    assert_int_equal(store_setting(here->store, "server_time", &value), 0);
    assert_true(bytes_equal(buffer_bytes(&value), bytes_of_text("22")));
    buffer_clear(&value);
    assert_int_equal(store_setting(here->store, "empty", &value), 0);
    assert_int_equal(value.len, 0);
    buffer_done(&value);
}

static void change_counter_tells_of_other_programs(void **state)
{
    struct here *here = *state;
    struct store *other = store_opened_in(here->directory, STORE_COLLECTOR);
    uint64_t before, after;

    assert_int_equal(store_change_counter(here->store, &before), 0);
    assert_int_equal(store_change_counter(here->store, &after), 0);
    assert_int_equal(before, after);
    assert_int_equal(append_note(other, "x", NULL), 0);
    assert_int_equal(store_change_counter(here->store, &after), 0);
    assert_int_not_equal(before, after);
    store_free(other);
}

static void an_urgent_finding_waits_until_its_own_record_has_a_receipt(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo(here->store, 1, 100, true);
    struct store_appended urgent = {0}, last = {0};

    assert_false(urgent_waits(here->store));
    assert_int_equal(append_note(here->store, "calm", NULL), 0);
    assert_false(urgent_waits(here->store));
    assert_int_equal(append_with_photos(here->store, "urgent", &photo, 1, &urgent), 0);
    assert_int_equal(append_note(here->store, "calm again", &last), 0);
    assert_true(urgent_waits(here->store));
    assert_int_equal(receive(here->store, &urgent.at.log, urgent.at.seq), 0);
    assert_true(urgent_waits(here->store));
    assert_int_equal(receive(here->store, &urgent.at.log, urgent.at.seq + 1), 0);
    assert_false(urgent_waits(here->store)); /* the rest of the log does not matter */
    assert_int_equal(store_drop_receipt(here->store, &urgent.at.log), 0);
    assert_true(urgent_waits(here->store));
}

static void an_urgent_finding_that_was_carried_over_waits_in_the_new_log(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo(here->store, 1, 100, true);
    struct store_appended urgent;
    struct uuid next;
    uint64_t rehomed;

    assert_int_equal(append_with_photos(here->store, "urgent", &photo, 1, &urgent), 0);
    assert_int_equal(store_leave_log(here->store, &author, &urgent.at.log, OPEN_FORK, &next, &rehomed), 0);
    assert_true(urgent_waits(here->store));
    assert_int_equal(receive(here->store, &next, 3), 0); /* opened, boot, the boot event carried over */
    assert_true(urgent_waits(here->store));
    assert_int_equal(receive(here->store, &next, 4), 0);
    assert_false(urgent_waits(here->store));
}

static void a_setting_for_urgent_findings_that_is_no_key_counts_as_none(void **state)
{
    static const char *const values[] = {"", "x", "-1", "18446744073709551616", "9223372036854775807", "7"};
    struct here *here = *state;

    assert_int_equal(append_note(here->store, "calm", NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_int_equal(store_set_setting(here->store, "urgent_record", bytes_of_text(values[i])), 0);
        assert_false(urgent_waits(here->store));
    }
}

static void pending_photos_are_counted_and_listed_by_role_and_urgency(void **state)
{
    struct here *here = *state;
    struct store_photo calm = put_photo_and_preview(here->store, 1, 100, false);
    struct store_photo urgent = put_photo_and_preview(here->store, 2, 100, true);
    const struct {
        enum blob_role role;
        bool urgent;
        const struct sha256 *expected;
    } cases[] = {
        {BLOB_PREVIEW, true, &urgent.photo.preview_sha256},
        {BLOB_PREVIEW, false, &calm.photo.preview_sha256},
        {BLOB_PHOTO, true, &urgent.photo.sha256},
        {BLOB_PHOTO, false, &calm.photo.sha256},
    };
    struct store_appended last = {0};
    struct store_blob blobs[4];
    size_t count;

    assert_int_equal(append_with_photos(here->store, "calm", &calm, 1, NULL), 0);
    assert_int_equal(append_with_photos(here->store, "urgent", &urgent, 1, &last), 0);
    assert_int_equal(status_of(here->store).photos_pending, 4);
    assert_int_equal(status_of(here->store).previews_pending, 2);
    assert_int_equal(store_blobs_pending_of(here->store, BLOB_PHOTO, false, blobs, 4, &count), 0);
    assert_int_equal(count, 0); /* their records have no receipt */
    assert_int_equal(receive(here->store, &last.at.log, last.at.seq + 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(
            store_blobs_pending_of(here->store, cases[i].role, cases[i].urgent, blobs, 4, &count), 0);
        assert_int_equal(count, 1);
        assert_memory_equal(&blobs[0].sha256, cases[i].expected, sizeof(struct sha256));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(runs_keep_count_and_bytes_and_are_the_records),
        store_test(a_log_that_its_index_has_lost_is_found_and_sent),
        store_test(runs_behind_what_is_in_the_buffer_leave_that_alone),
        store_test(run_ends_before_a_damaged_record_and_says_so_at_it),
        store_test(unknown_log_is_told),
        store_test(proofs_from_the_kept_hashes_hold),
        store_test(receipt_makes_records_sent_and_is_kept),
        store_test(receipt_about_another_tree_is_refused),
        store_test(server_that_went_back_makes_records_queued_again),
        store_test(quarantined_record_carries_its_reason),
        store_test(quarantined_records_are_named_in_turn_and_count_as_sent_when_released),
        store_test(settings_are_kept_by_key),
        store_test(change_counter_tells_of_other_programs),
        store_test(an_urgent_finding_waits_until_its_own_record_has_a_receipt),
        store_test(an_urgent_finding_that_was_carried_over_waits_in_the_new_log),
        store_test(a_setting_for_urgent_findings_that_is_no_key_counts_as_none),
        store_test(pending_photos_are_counted_and_listed_by_role_and_urgency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
