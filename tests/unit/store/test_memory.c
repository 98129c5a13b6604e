/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation that SQLite makes fails in turn, once, or with all that follow: what was asked for is
 * refused, or done all the same, and the same connection goes on as if nothing had been. A transaction that
 * stayed open would show it an old state for ever, or keep all others out.
 */
#include "tests/unit/failing_malloc.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/store/fixture.h"

/* What of it comes first, is prepared anew: statements that are kept allocate nothing. */
static void reopen(struct here *here)
{
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
}

/* The next allocation fails in turn while `work` runs; afterwards both connections see and write all. */
static void sweep(struct here *here, int (*work)(struct here *here))
{
    struct store *other = store_opened_in(here->directory, STORE_COLLECTOR);
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
        store_test(a_rehomed_record_is_known_by_its_first_id_or_memory_is_said_to_be_short),
        store_test(an_order_counts_as_done_only_when_its_bytes_are_gone),
    };
    return cmocka_run_group_tests(tests, failing_memory_take_over, NULL);
}
