/* SPDX-License-Identifier: Apache-2.0 */
/* What the centre's storage leaves alone when the disk has failed: server/storage/sqlite.c. The simulator's
 * disk tries what it mends. */
#include "server/storage/storage.h"
#include "tests/unit/unit.h"

#include "base/files.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

struct fixture {
    char *directory;
    struct world_verbs verbs;
    struct world world;
    struct storage *storage;
};

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    bool created;

    assert_non_null(fixture);
    fixture->directory = unit_directory_make();
    fixture->verbs = *world_posix()->verbs;
    fixture->world = (struct world){.verbs = &fixture->verbs};
    const struct storage_options options = {.world = &fixture->world, .directory = fixture->directory};
    assert_int_equal(storage_sqlite_open(&options, &fixture->storage, &created, NULL), 0);
    *state = fixture;
    return 0;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;

    storage_close(fixture->storage);
    unit_directory_remove(fixture->directory);
    free(fixture);
    return 0;
}

/* SQLite takes it for a disk that fails when a process's files may not grow. */
static void let_files_grow(bool may)
{
    struct rlimit limit;

    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = may ? limit.rlim_max : 1;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static bool is_marked;

/* The disk fails from one writing of the mark to the next: in the commit between the two. */
static int write_mark_and_fail(void *context, int file, const void *data, size_t len, uint64_t offset)
{
    let_files_grow(true);
    int r = world_posix()->verbs->write(NULL, file, data, len, offset);
    let_files_grow(is_marked);
    is_marked = true;
    return r;
}

static int write_something(struct storage *storage)
{
    struct storage_state found = {.commits = 0};
    int r = storage->verbs->begin(storage);

    if (r >= 0)
        r = storage->verbs->state(storage, &found);
    found.commits++; /* what changes nothing is not written */
    if (r >= 0)
        r = storage->verbs->set_state(storage, &found);
    return r < 0 ? r : storage->verbs->commit(storage);
}

static uint64_t log_size(const struct fixture *fixture)
{
    _cleanup_free_ char *path = files_join(fixture->directory, "centre.db-wal");
    uint64_t size = 0;

    assert_non_null(path);
    assert_int_equal(world_posix()->verbs->stat(NULL, path, &size, NULL), 0);
    return size;
}

static int is_held(void *context, int lock)
{
    return -EWOULDBLOCK;
}

static void do_not_wait(void *context, unsigned ms)
{
}

/* Its frames may be in the kernel's pages, and turn up. */
static void a_commit_takes_the_place_of_one_that_failed(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(write_something(fixture->storage), 0);
    uint64_t size = log_size(fixture);
    is_marked = false;
    fixture->verbs.write = write_mark_and_fail;
    assert_int_equal(write_something(fixture->storage), -EIO);
    assert_true(log_size(fixture) > size);
}

static void after_a_failed_commit_a_scrub_without_the_lock_writes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct storage *storage = fixture->storage;

    assert_int_equal(write_something(storage), 0);
    let_files_grow(false);
    int r = write_something(storage);
    let_files_grow(true);
    assert_int_equal(r, -EIO);
    uint64_t size = log_size(fixture);
    fixture->verbs.try_lock = is_held;
    fixture->verbs.pause_ms = do_not_wait;
    assert_int_equal(storage->verbs->scrub(storage), -EBUSY);
    assert_int_equal(log_size(fixture), size);
    fixture->verbs = *world_posix()->verbs;
    assert_int_equal(storage->verbs->scrub(storage), 0);
    assert_int_equal(write_something(storage), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_commit_takes_the_place_of_one_that_failed, start, stop),
        cmocka_unit_test_setup_teardown(
            after_a_failed_commit_a_scrub_without_the_lock_writes_nothing, start, stop),
    };

    return cmocka_run_group_tests_name("centre storage on a failing disk", tests, NULL, NULL);
}
