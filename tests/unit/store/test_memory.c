/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation that SQLite makes fails in turn, once, or with all that follow: what was asked for is
 * refused, or done all the same, and the same connection goes on as if nothing had been. A transaction that
 * stayed open would show it an old state for ever, or keep all others out.
 */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(reading_goes_on_after_any_allocation_has_failed),
        store_test(writing_goes_on_after_any_allocation_has_failed),
    };
    return cmocka_run_group_tests(tests, failing_memory_take_over, NULL);
}
