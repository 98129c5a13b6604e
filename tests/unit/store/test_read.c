/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists, single records, what came after them, and the way from an id to its record.
 */
#include "tests/unit/store/fixture.h"

static int count_one(void *user, const struct store_record *record)
{
    (*(unsigned *)user)++;
    return 0;
}

static void lists_show_every_record_once_in_order(void **state)
{
    struct here *here = *state;
    unsigned count = 0;

    append_many(here->store, 0, 1000);
    assert_int_equal(store_each_record(here->store, NULL, count_one, &count), 0);
    assert_int_equal(count, 1002);
    struct notes notes = list_notes(here->store, &findings);
    assert_int_equal(notes.count, 1000);
    int used;
    unsigned expected = 0, number;
    for (const char *text = (const char *)notes.text.data; *text; text += used) {
        assert_int_equal(sscanf(text, "%u %n", &number, &used), 1);
        assert_int_equal(number, expected++);
    }
    buffer_done(&notes.text);
}

static int append_once(void *user, const struct store_record *record)
{
    /* Another program appends while this one prints. */
    return append_note(user, "meanwhile", NULL) == 0 ? 1 : -1;
}

static void list_holds_no_transaction_while_the_caller_prints(void **state)
{
    struct here *here = *state;
    struct store *other = store_opened_in(here->directory, STORE_COLLECTOR);

    append_many(here->store, 0, 3);
    assert_int_equal(store_each_record(here->store, &findings, append_once, other), 1);
    assert_notes(here->store, &findings, "0 1 2 meanwhile ");
    store_free(other);
}

static void later_versions_are_the_newest_amendment_and_the_withdrawal(void **state)
{
    struct here *here = *state;
    struct store_appended first = {0}, second = {0}, amendment = {0};
    struct position_in_log newest = {0};
    bool amended, withdrawn;

    assert_int_equal(append_note(here->store, "first", &first), 0);
    assert_int_equal(append_note(here->store, "second", &second), 0);
    assert_int_equal(store_later_versions(here->store, &first.at, &amended, &newest, &withdrawn), 0);
    assert_false(amended || withdrawn);
    assert_int_equal(append_about(here->store, RECORD_AMENDMENT, "a", &first, NULL), 0);
    assert_int_equal(append_about(here->store, RECORD_AMENDMENT, "b", &first, &amendment), 0);
    assert_int_equal(store_later_versions(here->store, &first.at, &amended, &newest, &withdrawn), 0);
    assert_true(amended);
    assert_false(withdrawn);
    assert_memory_equal(&newest, &amendment.at, sizeof(newest));
    assert_int_equal(append_about(here->store, RECORD_WITHDRAWAL, "w", &first, NULL), 0);
    assert_int_equal(store_later_versions(here->store, &first.at, &amended, &newest, &withdrawn), 0);
    assert_true(amended && withdrawn);
    assert_int_equal(store_later_versions(here->store, &second.at, &amended, &newest, &withdrawn), 0);
    assert_false(amended || withdrawn);
    assert_int_equal(status_of(here->store).records_queued, 5);
}

static void what_is_not_there_is_not_found(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct buffer bytes = {0};
    struct store_record record;
    struct uuid id = {{9}};

    assert_int_equal(store_find(here->store, &id, &bytes, &record), -ENOENT);
    assert_int_equal(append_note(here->store, "x", &appended), 0);
    assert_int_equal(store_find(here->store, &id, &bytes, &record), -ENOENT);
    appended.at.seq++;
    assert_int_equal(store_read(here->store, &appended.at, &bytes, &record), -ENOENT);
    appended.at.log.b[0] ^= 1;
    assert_int_equal(store_read(here->store, &appended.at, &bytes, &record), -ENOENT);
    assert_int_equal(bytes.len, 0);
}

static void expect_found(struct store *store, const struct uuid *log, uint64_t seq)
{
    struct position_in_log at = {.log = *log, .seq = seq};
    struct buffer bytes = {0}, found_bytes = {0};
    struct store_record record, found;

    assert_int_equal(store_read(store, &at, &bytes, &record), 0);
    assert_int_equal(store_find(store, &record.id, &found_bytes, &found), 0);
    assert_memory_equal(&found.at, &at, sizeof(at));
    assert_true(bytes_equal(found.record, record.record));
    buffer_done(&bytes);
    buffer_done(&found_bytes);
}

static void ids_are_found_in_the_index_and_behind_it(void **state)
{
    struct here *here = *state;
    static const char indexed[] = "SELECT sum(ids_size) FROM logs";
    int64_t count;
    struct uuid next, id = {{7}};
    struct buffer bytes = {0};
    struct store_record record;

    append_many(here->store, 0, 40000);
    struct uuid log = status_of(here->store).log;
    struct store *reader = store_opened_in(here->directory, STORE_READER);
    expect_found(reader, &log, 17); /* without an index, and without making one */
    assert_int_equal(database_read_number(here->store, indexed, NULL, 0, &count), 1);
    assert_int_equal(count, 0);

    for (uint64_t seq = 0; seq < 40002; seq += 3989)
        expect_found(here->store, &log, seq);
    expect_found(here->store, &log, 16383);
    expect_found(here->store, &log, 16384);
    expect_found(here->store, &log, 40001);
    assert_int_equal(database_read_number(here->store, indexed, NULL, 0, &count), 1);
    assert_int_equal(count, 32768);
    expect_found(reader, &log, 32767);
    assert_int_equal(store_find(reader, &id, &bytes, &record), -ENOENT);

    /* What is carried over is found where it stands now, though the index knows both places. */
    struct position_in_log at = {.log = log, .seq = 20000};
    assert_int_equal(store_read(here->store, &at, &bytes, &record), 0);
    id = record.id;
    assert_int_equal(receive(here->store, &log, 100), 0);
    assert_int_equal(store_leave_log(here->store, &author, &log, OPEN_FORK, &next, NULL), 0);
    assert_int_equal(store_find(here->store, &id, &bytes, &record), 0);
    assert_memory_equal(&record.at.log, &next, sizeof(next));
    assert_memory_equal(&record.recorded_at, &at, sizeof(at));
    expect_found(here->store, &log, 50);
    buffer_done(&bytes);
    store_free(reader);
}

static void status_is_exact_across_tiles_and_receipts(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo_and_preview(here->store, 1, 300, false);
    static const uint64_t receipts[] = {1, 2, 3, 255, 256, 257, 511, 512, 513, 700, 767, 768, 769, 900, 903};

    append_many(here->store, 0, 900);
    assert_int_equal(append_with_photos(here->store, "last", &photo, 1, NULL), 0);
    struct uuid log = status_of(here->store).log;
    for (size_t i = 0; i < ARRAY_LEN(receipts); i++) {
        struct store_status status;
        struct bytes views[1024];
        struct buffer bytes = {0};
        size_t count;
        uint64_t people = receipts[i] > 2 ? receipts[i] - 2 : 0;

        assert_int_equal(receive(here->store, &log, receipts[i]), 0);
        status = status_of(here->store);
        assert_int_equal(status.log_size, 903);
        assert_int_equal(status.receipt_size, receipts[i]);
        assert_int_equal(status.records_sent, people);
        assert_int_equal(status.records_queued, 901 - people);
        assert_int_equal(
            store_outbox_read(here->store, &log, receipts[i], 1024, SIZE_MAX, &bytes, views, &count), 0);
        assert_int_equal(status.record_bytes_pending, bytes.len);
        assert_int_equal(status.photos_pending, 2);
        assert_int_equal(status.bytes_pending, bytes.len + 300 + 150);
        assert_int_equal(status.oldest_queued_at_ms, people >= 901   ? 0
                                                     : people == 900 ? 1000
                                                                     : 1000 + (int)people);
        buffer_done(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(lists_show_every_record_once_in_order),
        store_test(list_holds_no_transaction_while_the_caller_prints),
        store_test(later_versions_are_the_newest_amendment_and_the_withdrawal),
        store_test(what_is_not_there_is_not_found),
        store_test(ids_are_found_in_the_index_and_behind_it),
        store_test(status_is_exact_across_tiles_and_receipts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
