/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each allocation that SQLite makes for the centre fails in turn, once, or with all that follow: what was
 * asked for is refused, or done all the same, and the same centre goes on, as does another program beside it.
 * A transaction that stayed open would refuse all that handhelds send until the next restart.
 */
#include "tests/unit/failing_memory.h"
#include "tests/unit/server/client.h"

static int make_token(struct service *service)
{
    uint8_t token[ENROL_TOKEN_BYTES];

    return service_token_make(service, "handheld", "inspector", 3600, token);
}

static int pass_over(void *user, const struct service_device *device)
{
    return 0;
}

static int list_devices(struct service *service)
{
    return service_each_device(service, pass_over, NULL);
}

static void sweep(struct centre *centre, int (*work)(struct service *service))
{
    const struct service_options options = {.world = &centre->world, .directory = centre->directory};
    struct service *other = NULL;
    char *error = NULL;
    bool failed = true;

    assert_int_equal(service_open(&options, &other, &error), 0);
    for (unsigned at = 1; failed; at++) {
        centre_restart(centre); /* statements that are kept allocate nothing */
        failing_memory_begin(at);
        int r = work(centre->service);
        failed = failing_memory_end();
        assert_true(r >= 0 || (failed && r == -ENOMEM));
        assert_int_equal(make_token(centre->service), 0);
        assert_int_equal(list_devices(centre->service), 0);
        assert_int_equal(make_token(other), 0);
    }
    service_free(other);
}

static void sweep_both(int (*work)(struct service *service))
{
    struct centre *centre = centre_new();
    struct handheld *handheld = handheld_enrolled(centre); /* something is there to be listed */

    failing_memory.goes_on = false;
    sweep(centre, work);
    failing_memory.goes_on = true;
    sweep(centre, work);
    handheld_free(handheld);
    centre_free(centre);
}

static void writing_goes_on_after_any_allocation_has_failed(void **state)
{
    sweep_both(make_token);
}

static void reading_goes_on_after_any_allocation_has_failed(void **state)
{
    sweep_both(list_devices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_goes_on_after_any_allocation_has_failed),
        cmocka_unit_test(reading_goes_on_after_any_allocation_has_failed),
    };
    return cmocka_run_group_tests_name(
        "centre storage without memory", tests, failing_memory_take_over, NULL);
}
