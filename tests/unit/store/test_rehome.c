/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaving a log: what goes on in the next one, and under which name people find it.
 */
#include "tests/unit/store/fixture.h"

static void fork_carries_what_has_no_receipt_over_unchanged(void **state)
{
    struct here *here = *state;
    struct store_appended appended[4] = {0};
    struct store_log logs[4];
    struct uuid next;
    uint64_t rehomed;
    size_t count;
    char note[2] = "0";

    for (int i = 0; i < 4; i++, note[0]++)
        assert_int_equal(append_note(here->store, note, &appended[i]), 0);
    struct uuid old = appended[0].at.log;
    assert_int_equal(receive(here->store, &old, 4), 0);
    assert_int_equal(store_leave_log(here->store, &author, &old, OPEN_FORK, &next, &rehomed), 0);
    assert_int_equal(rehomed, 2);

    /* The old log is done with; the new one holds opened, boot and the two. */
    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_memory_equal(&logs[0].id, &next, sizeof(next));
    assert_int_equal(logs[0].size, 4);
    assert_int_equal(store_logs(here->store, false, logs, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_true(logs[0].closed);
    assert_int_equal(logs[0].size, 4); /* where the rest was carried over from */

    struct position_in_log at = {.log = next, .seq = 0};
    struct buffer bytes = {0};
    struct store_record row = {0};
    struct arena arena;
    assert_int_equal(store_read(here->store, &at, &bytes, &row), 0);
    struct record record = decode(row.record, &arena);
    assert_int_equal(record.opened.reason, OPEN_FORK);
    assert_memory_equal(&record.opened.predecessor, &old, sizeof(old));
    assert_int_equal(record.opened.predecessor_size, 6);
    arena_done(&arena);

    buffer_clear(&bytes);
    assert_int_equal(store_find(here->store, &appended[3].id, &bytes, &row), 0);
    assert_memory_equal(&row.at.log, &next, sizeof(next));
    assert_int_equal(row.at.seq, 3);
    assert_int_equal(row.kind, RECORD_REHOMED);
    assert_int_equal(row.recorded_kind, RECORD_FINDING);
    assert_memory_equal(&row.recorded_at, &appended[3].at, sizeof(row.recorded_at));
    assert_false(row.carried_over);
    struct buffer expected = {0};
    assert_true(bytes_equal(row.recorded, encode_finding(&expected, "3", 1000)));
    record = decode(row.record, &arena);
    assert_memory_equal(&record.rehomed.log, &old, sizeof(old));
    assert_int_equal(record.rehomed.seq, appended[3].at.seq);
    assert_true(bytes_equal(record.rehomed.record, buffer_bytes(&expected)));
    arena_done(&arena);
    buffer_done(&expected);
    buffer_done(&bytes);

    assert_notes(here->store, &findings, "0 1 2 3 ");
    assert_notes(here->store, &queued_findings, "2 3 ");
    struct store_status status = status_of(here->store);
    assert_int_equal(status.records_sent, 2);
    assert_int_equal(status.records_queued, 2);
    assert_int_equal(receive(here->store, &next, 4), 0);
    status = status_of(here->store);
    assert_int_equal(status.records_sent, 4);
    assert_int_equal(status.records_queued, 0);
    assert_int_equal(status.record_bytes_pending, 0);
}

/* By a receipt that was under way, on a carrier say, when the log was left. */
static void what_was_carried_over_is_in_quarantine_where_it_stands_now_only(void **state)
{
    struct here *here = *state;
    struct quarantined quarantined = {.reason = bytes_of_text("no")};
    struct store_appended appended = {0};
    struct uuid next;
    uint64_t rehomed;

    assert_int_equal(append_note(here->store, "x", &appended), 0);
    quarantined.seq = appended.at.seq;
    assert_int_equal(store_leave_log(here->store, &author, &appended.at.log, OPEN_FORK, &next, &rehomed), 0);
    assert_int_equal(receive_with(here->store, &appended.at.log, appended.at.seq + 1, &quarantined, 1), 0);
    struct store_status status = status_of(here->store);
    assert_int_equal(status.records_sent, 0);
    assert_int_equal(status.records_queued, 1);
    assert_int_equal(status.records_quarantined, 0);
}

static void second_fork_carries_over_what_was_carried_over_not_nested(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct uuid first, second;
    uint64_t rehomed;
    struct buffer bytes = {0};
    struct store_record row = {0};

    assert_int_equal(append_note(here->store, "x", &appended), 0);
    assert_int_equal(store_leave_log(here->store, &author, &appended.at.log, OPEN_FORK, &first, &rehomed), 0);
    assert_int_equal(rehomed, 2); /* the boot and "x" */
    assert_int_equal(store_leave_log(here->store, &author, &first, OPEN_FORK, &second, &rehomed), 0);
    assert_int_equal(rehomed, 3);
    assert_int_equal(store_find(here->store, &appended.id, &bytes, &row), 0);
    assert_memory_equal(&row.at.log, &second, sizeof(second));
    assert_memory_equal(&row.recorded_at, &appended.at, sizeof(row.recorded_at));
    assert_int_equal(row.recorded_kind, RECORD_FINDING);
    buffer_done(&bytes);
    assert_notes(here->store, &findings, "x ");
    assert_int_equal(status_of(here->store).records_queued, 1);
}

static void amendments_photos_and_their_order_follow_the_record(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo_and_preview(here->store, 3, 800, false);
    struct store_appended finding = {0}, amendment = {0};
    struct position_in_log newest = {0};
    struct store_blob blob;
    struct uuid next;
    bool amended, withdrawn;

    assert_int_equal(append_with_photos(here->store, "f", &photo, 1, &finding), 0);
    assert_int_equal(append_about(here->store, RECORD_AMENDMENT, "a", &finding, &amendment), 0);
    assert_int_equal(append_about(here->store, RECORD_WITHDRAWAL, "w", &finding, NULL), 0);
    assert_int_equal(receive(here->store, &finding.at.log, finding.at.seq), 0);
    assert_int_equal(store_leave_log(here->store, &author, &finding.at.log, OPEN_FORK, &next, NULL), 0);

    assert_int_equal(store_later_versions(here->store, &finding.at, &amended, &newest, &withdrawn), 0);
    assert_true(amended);
    assert_true(withdrawn);
    assert_memory_equal(&newest.log, &next, sizeof(next));
    /* The same by where it stands now. */
    struct buffer bytes = {0};
    struct store_record row = {0};
    assert_int_equal(store_find(here->store, &finding.id, &bytes, &row), 0);
    amended = withdrawn = false;
    assert_int_equal(store_later_versions(here->store, &row.at, &amended, &newest, &withdrawn), 0);
    assert_true(amended && withdrawn);

    assert_int_equal(store_blob_find(here->store, &photo.photo.sha256, &blob), 0);
    assert_false(blob.record_sent);
    assert_int_equal(receive(here->store, &next, row.at.seq + 1), 0);
    assert_int_equal(store_blob_find(here->store, &photo.photo.sha256, &blob), 0);
    assert_true(blob.record_sent);
    buffer_done(&bytes);
}

static void photos_that_no_record_takes_along_wait_for_the_new_log(void **state)
{
    struct here *here = *state;
    struct store_photo adopted = put_photo(here->store, 5, 700, false);
    struct store_photo orphan = put_photo(here->store, 6, 700, false);
    struct store_appended finding = {0}, altered = {0};
    struct store_blob blob;
    struct uuid next;

    assert_int_equal(append_note(here->store, "f", &finding), 0);
    assert_int_equal(append_with_photos(here->store, "altered", &orphan, 1, &altered), 0);
    assert_int_equal(receive(here->store, &finding.at.log, altered.at.seq + 1), 0);
    assert_int_equal(store_blob_adopt(here->store, &adopted.photo.sha256), 1);
    assert_int_equal(
        sqlite3_exec(here->store->database,
            "UPDATE records SET bytes = x'00' WHERE key = (SELECT max(key) FROM records)", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(store_drop_receipt(here->store, &finding.at.log), 0);
    assert_int_equal(store_leave_log(here->store, &author, &finding.at.log, OPEN_FORK, &next, NULL), 0);
    assert_int_equal(store_blob_find(here->store, &adopted.photo.sha256, &blob), 0);
    assert_false(blob.record_sent);

    assert_int_equal(receive(here->store, &next, 1), 0);
    assert_int_equal(store_blob_find(here->store, &adopted.photo.sha256, &blob), 0);
    assert_true(blob.record_sent);
    assert_int_equal(store_blob_find(here->store, &orphan.photo.sha256, &blob), 0);
    assert_true(blob.record_sent);
}

static void rotated_log_is_sent_to_its_end_and_carries_nothing_over(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct store_log logs[4];
    struct uuid next;
    uint64_t rehomed = 9;
    size_t count;

    assert_int_equal(append_note(here->store, "a", &appended), 0);
    assert_int_equal(
        store_leave_log(here->store, &author, &appended.at.log, OPEN_ROTATED, &next, &rehomed), 0);
    assert_int_equal(rehomed, 0);
    assert_int_equal(append_note(here->store, "b", NULL), 0);
    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(logs[0].size, 4); /* with `closed` */
    assert_notes(here->store, &queued_findings, "a b ");
    assert_int_equal(receive(here->store, &appended.at.log, 4), 0);
    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_memory_equal(&logs[0].id, &next, sizeof(next));
}

static void fork_of_a_log_that_was_closed_carries_its_rest_into_the_current_one(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct store_log logs[4];
    struct uuid next, after;
    uint64_t rehomed;
    size_t count;

    assert_int_equal(append_note(here->store, "a", &appended), 0);
    assert_int_equal(store_leave_log(here->store, &author, &appended.at.log, OPEN_ROTATED, &next, NULL), 0);
    assert_int_equal(append_note(here->store, "b", NULL), 0);
    assert_int_equal(store_leave_log(here->store, &author, &appended.at.log, OPEN_FORK, &after, &rehomed), 0);
    assert_memory_equal(&after, &next, sizeof(next));
    assert_int_equal(rehomed, 2); /* the boot and "a", but neither opened nor closed */
    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_notes(here->store, &queued_findings, "b a ");
    /* Once is enough. */
    assert_int_equal(store_leave_log(here->store, &author, &appended.at.log, OPEN_FORK, &after, &rehomed), 0);
    assert_int_equal(rehomed, 0);
    assert_notes(here->store, &queued_findings, "b a ");
}

/* The centre was set back, and a copy of this device filled what it had lost: the receipt is gone, and what
 * was below it cannot go into that log any more. */
static void second_fork_of_a_log_carries_what_its_receipt_covers_no_longer(void **state)
{
    struct here *here = *state;
    struct store_appended appended[4] = {0};
    struct store_log logs[4];
    struct uuid next, after;
    uint64_t rehomed;
    size_t count;
    char note[2] = "a";

    for (int i = 0; i < 4; i++, note[0]++)
        assert_int_equal(append_note(here->store, note, &appended[i]), 0);
    struct uuid old = appended[0].at.log;
    assert_int_equal(receive(here->store, &old, 4), 0);
    assert_int_equal(store_leave_log(here->store, &author, &old, OPEN_RECOVERED, &next, &rehomed), 0);
    assert_int_equal(rehomed, 2);
    assert_notes(here->store, &queued_findings, "c d ");
    assert_int_equal(store_drop_receipt(here->store, &old), 0);
    assert_int_equal(store_leave_log(here->store, &author, &old, OPEN_FORK, &after, &rehomed), 0);
    assert_memory_equal(&after, &next, sizeof(next));
    assert_int_equal(rehomed, 3); /* the boot, "a" and "b": the others are there already */
    assert_notes(here->store, &queued_findings, "c d a b ");
    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_memory_equal(&logs[0].id, &next, sizeof(next));
}

static void large_backlog_is_carried_over_whole(void **state)
{
    struct here *here = *state;
    struct uuid next;
    uint64_t rehomed;

    append_many(here->store, 0, 5000);
    struct uuid old = status_of(here->store).log;
    assert_int_equal(receive(here->store, &old, 1002), 0);
    assert_int_equal(store_leave_log(here->store, &author, &old, OPEN_RECOVERED, &next, &rehomed), 0);
    assert_int_equal(rehomed, 4000);
    struct store_status status = status_of(here->store);
    assert_int_equal(status.records_sent, 1000);
    assert_int_equal(status.records_queued, 4000);
    assert_int_equal(status.oldest_queued_at_ms, 2000);
    bool sound = false;
    assert_int_equal(database_is_sound(here->store, &sound), 0);
    assert_true(sound);
}

static int64_t newest_number(struct store *store)
{
    struct store_log logs[8];
    size_t count = 0;

    assert_int_equal(store_logs(store, false, logs, ARRAY_LEN(logs), &count), 0);
    assert_true(count > 0);
    return logs[count - 1].number;
}

/* The first of them is there no more, and still its number is never given to another. */
static void a_log_after_a_lost_database_has_a_number_that_none_had_before(void **state)
{
    struct here *here = *state;
    int64_t before;

    assert_int_equal(append_note(here->store, "a", NULL), 0);
    before = newest_number(here->store);
    for (unsigned lost = 1; lost <= 2; lost++) {
        store_free(here->store);
        remove_file(here->directory, DATABASE_NAME);
        remove_file(here->directory, WAL_NAME);
        remove_file(here->directory, SHM_NAME);
        here->store = store_opened_in(here->directory, STORE_COLLECTOR);
        assert_true(newest_number(here->store) == before + lost);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(fork_carries_what_has_no_receipt_over_unchanged),
        store_test(what_was_carried_over_is_in_quarantine_where_it_stands_now_only),
        store_test(second_fork_carries_over_what_was_carried_over_not_nested),
        store_test(amendments_photos_and_their_order_follow_the_record),
        store_test(photos_that_no_record_takes_along_wait_for_the_new_log),
        store_test(rotated_log_is_sent_to_its_end_and_carries_nothing_over),
        store_test(fork_of_a_log_that_was_closed_carries_its_rest_into_the_current_one),
        store_test(second_fork_of_a_log_carries_what_its_receipt_covers_no_longer),
        store_test(large_backlog_is_carried_over_whole),
        store_test(a_log_after_a_lost_database_has_a_number_that_none_had_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
