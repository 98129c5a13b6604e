/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/write_mark.h. */
#include "base/write_mark.h"

#include "tests/unit/unit.h"

#include <errno.h>
#include <unistd.h>

static int start(void **state)
{
    static char path[64];

    strcpy(path, "/tmp/gridpatrol-mark-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(unlink(path), 0);
    *state = path;
    return 0;
}

static int stop(void **state)
{
    unlink(*state);
    return 0;
}

static void what_one_program_left_set_the_next_one_finds(void **state)
{
    struct write_mark first = WRITE_MARK_CLOSED, second = WRITE_MARK_CLOSED;
    const struct world *world = world_posix();

    assert_int_equal(write_mark_open(&first, world, *state), 0);
    assert_int_equal(write_mark_read(&first, world), 0); /* new, and so nothing was begun */
    assert_int_equal(write_mark_put(&first, world, true), 0);
    assert_int_equal(write_mark_open(&second, world, *state), 0);
    assert_int_equal(write_mark_read(&second, world), 1);
    write_mark_close(&first, world); /* as it does when the program ends */
    assert_int_equal(write_mark_read(&second, world), 1);
    assert_int_equal(write_mark_put(&second, world, false), 0);
    assert_int_equal(write_mark_read(&second, world), 0);
    write_mark_close(&second, world);
}

static void without_a_file_the_program_knows_it_all_the_same(void **state)
{
    struct write_mark mark = WRITE_MARK_CLOSED;
    const struct world *world = world_posix();

    assert_int_equal(write_mark_open(&mark, world, "/nonexistent/mark"), -ENOENT);
    assert_int_equal(write_mark_put(&mark, world, true), 0);
    assert_int_equal(write_mark_read(&mark, world), 1);
    assert_int_equal(write_mark_put(&mark, world, false), 0);
    assert_int_equal(write_mark_read(&mark, world), 0);
    write_mark_close(&mark, world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_one_program_left_set_the_next_one_finds, start, stop),
        cmocka_unit_test_setup_teardown(without_a_file_the_program_knows_it_all_the_same, start, stop),
    };

    return cmocka_run_group_tests_name("base write mark", tests, NULL, NULL);
}
