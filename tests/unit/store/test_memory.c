/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation that SQLite makes fails in turn, once, or with all that follow: what was asked for is
 * refused, or done all the same, and the same connection goes on as if nothing had been. A transaction that
 * stayed open would show it an old state for ever, or keep all others out.
 */
#include "tests/unit/failing_malloc.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/store/fixture.h"

/* Nothing here is about what a power cut leaves, and waiting for the disk is most of the time it would take.
 */
static struct store *opened_without_syncs(const char *directory, enum store_role role)
{
    struct store *store = store_opened_in(directory, role);

    assert_int_equal(database_run(store, "PRAGMA synchronous=OFF"), 0);
    return store;
}

/* What of it comes first, is prepared anew: statements that are kept allocate nothing. */
static void reopen(struct here *here)
{
    store_free(here->store);
    here->store = opened_without_syncs(here->directory, STORE_DAEMON);
}

static int64_t count_open_logs(struct store *store)
{
    static const char sql[] = "SELECT count(*) FROM logs WHERE final_size IS NULL";
    int64_t count = 0;

    assert_int_equal(database_read_number(store, sql, NULL, 0, &count), 1);
    return count;
}

/* The next allocation fails in turn while `work` runs; afterwards both connections see and write all. */
static void sweep(struct here *here, int (*work)(struct here *here))
{
    struct store *other = opened_without_syncs(here->directory, STORE_COLLECTOR);
    bool failed = true;

    for (unsigned at = 1; failed; at++) {
        struct store_appended appended;

        reopen(here);
        failing_memory_begin(at);
        int r = work(here);
        failed = failing_memory_end();
        assert_true(r >= 0 || (failed && r == -ENOMEM));

        uint64_t queued = status_of(here->store).records_queued;
        assert_int_equal(append_note(other, "from the other one", &appended), 0);
        assert_int_equal(status_of(here->store).records_queued, queued + 1);
        assert_int_equal(append_note(here->store, "from this one", &appended), 0);
        assert_int_equal(status_of(other).records_queued, queued + 2);
        assert_int_equal(count_open_logs(here->store), 1);
        assert_false(here->store->damage_marked);
    }
    store_free(other);
}

static int read_status(struct here *here)
{
    struct store_status status;

    return store_status(here->store, &status);
}

static void sweep_both(struct here *here, int (*work)(struct here *here))
{
    failing_memory.goes_on = false;
    sweep(here, work);
    failing_memory.goes_on = true;
    sweep(here, work);
}

static void reading_goes_on_after_any_allocation_has_failed(void **state)
{
    sweep_both(*state, read_status);
}

static int write_note(struct here *here)
{
    struct store_appended appended;

    return append_note(here->store, "under failure", &appended);
}

static void writing_goes_on_after_any_allocation_has_failed(void **state)
{
    sweep_both(*state, write_note);
}

static int write_into_the_next_log(struct here *here)
{
    here->store->rotate_records = 1;
    return write_note(here);
}

/* SQLite ends the transaction by itself when memory is short: what has left the old log must not be lost
 * while what opens the new one is kept. */
static void a_log_is_left_and_the_next_one_opened_or_neither_whatever_allocation_fails(void **state)
{
    struct here *here = *state;

    assert_int_equal(append_note(here->store, "first", NULL), 0);
    sweep_both(here, write_into_the_next_log);
}

static int go_on_after_the_end(struct store *store, void *user)
{
    assert_int_equal(database_run(store, "ROLLBACK"), 0);
    return setting_put(store, "key", bytes_of_text("value"));
}

static void a_transaction_that_sqlite_has_ended_is_not_called_done(void **state)
{
    struct here *here = *state;
    struct store_appended appended;

    assert_int_equal(store_transact(here->store, go_on_after_the_end, NULL), -EIO);
    assert_false(here->store->damage_marked);
    assert_int_equal(append_note(here->store, "goes on", &appended), 0);
}

/* ---- a recovery ---- */

/* Allocations fail between the last look at the list of logs before they are settled, and the next one. */
static struct {
    unsigned at, looks;
    bool has_failed;
} settling;

static int open_and_count_looks(void *context, const char *path, enum world_open how, bool secret)
{
    if (how == WORLD_READ && strcmp(strrchr(path, '/') + 1, LOGS_NAME) == 0) {
        settling.looks++;
        if (settling.looks == 2)
            failing_memory_begin(settling.at);
        if (settling.looks == 3)
            settling.has_failed = failing_memory_end();
    }
    return world_posix()->verbs->open(NULL, path, how, secret);
}

/* A log that was closed and never sent, one that goes on, and no WAL. */
static void leave_to_be_recovered(struct here *here)
{
    store_free(here->store);
    unit_directory_remove(here->directory);
    here->directory = unit_directory_make();
    here->store = opened_without_syncs(here->directory, STORE_DAEMON);
    append_many(here->store, 0, 5);
    here->store->rotate_records = 1;
    assert_int_equal(append_note(here->store, "behind", NULL), 0);
    assert_int_equal(store_checkpoint_wal(here->store, true), 0);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, WAL_NAME);
}

static void a_closed_log_stays_whole_in_a_recovery_whatever_allocation_fails(void **state)
{
    struct here *here = *state;
    static struct own_world own; /* the store is closed after this */

    failing_memory.goes_on = false;
    own_world_init(&own, NULL);
    own.verbs.open = open_and_count_looks;
    settling.has_failed = true;
    for (settling.at = 1; settling.has_failed; settling.at++) {
        struct store_opened opened;
        struct store_log logs[4];
        size_t count = 0;

        leave_to_be_recovered(here);
        settling.looks = 0;
        int r = store_open(&own.world, here->directory, STORE_DAEMON, &here->store, &opened);
        if (settling.looks < 3)
            settling.has_failed = failing_memory_end();
        assert_true(r >= 0 || (settling.has_failed && r == -ENOMEM));
        if (r < 0)
            assert_int_equal(
                store_open(world_posix(), here->directory, STORE_DAEMON, &here->store, &opened), 0);
        assert_true(opened.recovered);
        assert_int_equal(opened.records_salvaged, 2); /* "behind" and the boot */
        assert_int_equal(store_logs(here->store, false, logs, 4, &count), 0);
        assert_int_equal(count, 3);
        assert_true(logs[0].closed);
        assert_false(logs[0].may_have_holes);
        assert_true(logs[1].may_have_holes);
    }
    assert_true(settling.at > 2);
}

/* What an order erases is in no file any more once it counts as done, however short the WAL. */
static void an_order_counts_as_done_only_when_its_bytes_are_gone(void **state)
{
    struct here *here = *state;
    bool failed = true;

    failing_memory.goes_on = false;
    for (unsigned at = 1; failed; at++) {
        struct store_appended appended = {0};

        assert_int_equal(append_note(here->store, MARKER, &appended), 0);
        struct erased_record record = leaf_at(here->store, &appended.at.log, appended.at.seq);
        reopen(here);
        failing_memory_begin(at);
        int r = erase_one(here, at, &record);
        failed = failing_memory_end();
        assert_true(r >= 0 || (failed && r == -ENOMEM));
        if (r < 0)
            assert_int_equal(erase_one(here, at, &record), 0);
        assert_false(is_anywhere(here->directory, MARKER));
    }
}

struct sought {
    struct uuid id, log;
    int64_t wall_ms;
    unsigned seen;
};

static int see_rehomed(void *user, const struct store_record *record)
{
    struct sought *sought = user;

    if (record->recorded_kind == RECORD_FINDING && uuid_equal(&record->id, &sought->id))
        sought->seen++;
    return 0;
}

static int find_rehomed(struct store *store, struct sought *sought)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    struct store_record found;

    int r = store_find(store, &sought->id, &bytes, &found);
    if (r >= 0)
        assert_true(uuid_equal(&found.at.log, &sought->log));
    return r;
}

static int list_rehomed(struct store *store, struct sought *sought)
{
    sought->seen = 0;
    int r = store_each_record(store, &queued_findings, see_rehomed, sought);
    if (r >= 0)
        assert_int_equal(sought->seen, 1);
    return r;
}

static int date_rehomed(struct store *store, struct sought *sought)
{
    struct store_status status;

    int r = store_status(store, &status);
    if (r >= 0)
        assert_int_equal(status.oldest_queued_at_ms, sought->wall_ms);
    return r;
}

/* What the store allocates itself fails in turn: a record inside another one is not taken for that one. */
static void a_rehomed_record_is_known_by_its_first_id_or_memory_is_said_to_be_short(void **state)
{
    static int (*const works[])(struct store * store, struct sought * sought) = {
        find_rehomed, list_rehomed, date_rehomed};
    struct here *here = *state;
    struct store_appended appended = {0};
    struct sought sought = {.wall_ms = 1000};
    struct store_photo photo = put_photo(here->store, 7, 9000, false);
    uint64_t count;

    assert_int_equal(append_with_photos(here->store, "re-homed", &photo, 1, &appended), 0);
    sought.id = appended.id;
    assert_int_equal(
        store_leave_log(here->store, &author, &appended.at.log, OPEN_FORK, &sought.log, &count), 0);
    for (size_t i = 0; i < ARRAY_LEN(works); i++) {
        int r = -ENOMEM;

        for (size_t left = 0; r < 0; left++) {
            allocations_left = left;
            r = works[i](here->store, &sought);
            allocations_left = SIZE_MAX;
            assert_true(r == 0 || r == -ENOMEM);
            assert_in_range(left, 0, 1000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(reading_goes_on_after_any_allocation_has_failed),
        store_test(writing_goes_on_after_any_allocation_has_failed),
        store_test(a_log_is_left_and_the_next_one_opened_or_neither_whatever_allocation_fails),
        store_test(a_transaction_that_sqlite_has_ended_is_not_called_done),
        store_test(a_closed_log_stays_whole_in_a_recovery_whatever_allocation_fails),
        store_test(a_rehomed_record_is_known_by_its_first_id_or_memory_is_said_to_be_short),
        store_test(an_order_counts_as_done_only_when_its_bytes_are_gone),
    };
    return cmocka_run_group_tests(tests, failing_memory_take_over, NULL);
}
