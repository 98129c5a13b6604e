/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the real world's verbs, in a scratch directory. */
#include "tests/unit/unit.h"

#include "base/world.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

struct fixture {
    const struct world *world;
    const struct world_verbs *verbs;
    char *directory;
    char path[256];
    char other[256];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (!fixture)
        return -1;
    fixture->world = world_posix();
    fixture->verbs = fixture->world->verbs;
    fixture->directory = unit_directory_make();
    snprintf(fixture->path, sizeof(fixture->path), "%s/file", fixture->directory);
    snprintf(fixture->other, sizeof(fixture->other), "%s/other", fixture->directory);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    unit_directory_remove(fixture->directory);
    free(fixture);
    return 0;
}

static int opened(struct fixture *fixture, const char *path, enum world_open how)
{
    int file = fixture->verbs->open(NULL, path, how, false);

    assert_true(file >= 0);
    return file;
}

static void what_root_makes_belongs_to_the_owner_of_the_directory(void **state)
{
    struct fixture *fixture = *state;
    char inner[300];
    struct stat status;

    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(fixture->directory, 65534, 65533), 0);
    snprintf(inner, sizeof(inner), "%s/inner", fixture->directory);
    assert_int_equal(fixture->verbs->make_directory(NULL, inner), 0);
    _cleanup_close_ int made = opened(fixture, fixture->path, WORLD_CREATE);
    _cleanup_close_ int written = opened(fixture, fixture->other, WORLD_WRITE);

    assert_int_equal(fstat(made, &status), 0);
    assert_int_equal(status.st_uid, 65534);
    assert_int_equal(status.st_gid, 65533);
    assert_int_equal(fstat(written, &status), 0);
    assert_int_equal(status.st_uid, 65534);
    assert_int_equal(stat(inner, &status), 0);
    assert_int_equal(status.st_uid, 65534);
}

static void root_gives_no_file_away_that_was_there_before(void **state)
{
    struct fixture *fixture = *state;
    char target[] = "/tmp/patrol-world-XXXXXX";
    struct stat status;

    if (geteuid() != 0)
        skip();
    _cleanup_close_ int precious = mkstemp(target);
    assert_true(precious >= 0);
    assert_int_equal(chown(fixture->directory, 65534, 65534), 0);
    assert_int_equal(symlink(target, fixture->path), 0);
    _cleanup_close_ int written = opened(fixture, fixture->path, WORLD_WRITE);
    assert_int_equal(unlink(target), 0);
    assert_int_equal(fstat(written, &status), 0);
    assert_int_equal(status.st_uid, 0);
}

static void written_bytes_are_read_back_at_their_offsets(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_close_ int file = opened(fixture, fixture->path, WORLD_CREATE);
    char data[16] = "";
    uint64_t size = 0;

    assert_int_equal(fixture->verbs->write(NULL, file, "hello world", 11, 0), 0);
    assert_int_equal(fixture->verbs->write(NULL, file, "W", 1, 6), 0);
    assert_int_equal(fixture->verbs->sync(NULL, file), 0);
    assert_int_equal(fixture->verbs->read(NULL, file, data, 5, 6), 5);
    assert_string_equal(data, "World");
    assert_int_equal(fixture->verbs->read(NULL, file, data, sizeof(data), 9), 2);
    assert_int_equal(fixture->verbs->read(NULL, file, data, sizeof(data), 100), 0);
    assert_int_equal(fixture->verbs->truncate(NULL, file, 5), 0);
    assert_int_equal(fixture->verbs->size(NULL, file, &size), 0);
    assert_int_equal(size, 5);
}

static void offsets_beyond_the_largest_file_are_refused(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_close_ int file = opened(fixture, fixture->path, WORLD_CREATE);
    char byte = 0;

    assert_int_equal(fixture->verbs->read(NULL, file, &byte, 1, UINT64_MAX), -EOVERFLOW);
    assert_int_equal(fixture->verbs->write(NULL, file, &byte, 1, INT64_MAX), -EFBIG);
    assert_int_equal(fixture->verbs->truncate(NULL, file, UINT64_MAX), -EFBIG);
}

static void create_refuses_an_existing_file_and_write_keeps_its_content(void **state)
{
    struct fixture *fixture = *state;
    uint64_t size = 0;

    int file = opened(fixture, fixture->path, WORLD_WRITE);
    assert_int_equal(fixture->verbs->write(NULL, file, "kept", 4, 0), 0);
    assert_int_equal(fixture->verbs->close(NULL, file), 0);
    assert_int_equal(fixture->verbs->open(NULL, fixture->path, WORLD_CREATE, false), -EEXIST);
    assert_int_equal(fixture->verbs->open(NULL, fixture->other, WORLD_READ, false), -ENOENT);

    _cleanup_close_ int again = opened(fixture, fixture->path, WORLD_WRITE);
    assert_int_equal(fixture->verbs->size(NULL, again, &size), 0);
    assert_int_equal(size, 4);
}

static void files_are_private_to_owner_and_group_and_secrets_to_the_owner(void **state)
{
    struct fixture *fixture = *state;
    mode_t mask = umask(0007);
    struct stat status;

    _cleanup_close_ int shared = fixture->verbs->open(NULL, fixture->path, WORLD_CREATE, false);
    _cleanup_close_ int secret = fixture->verbs->open(NULL, fixture->other, WORLD_CREATE, true);
    umask(mask);
    assert_int_equal(fstat(shared, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0660);
    assert_int_equal(fstat(secret, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
}

static void directories_hand_their_group_down(void **state)
{
    struct fixture *fixture = *state;
    mode_t mask = umask(0007);
    struct stat status;

    assert_int_equal(fixture->verbs->make_directory(NULL, fixture->path), 0);
    umask(mask);
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 02770);
}

static void no_descriptor_survives_exec(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_close_ int file = opened(fixture, fixture->path, WORLD_CREATE);
    _cleanup_close_ int lock = fixture->verbs->lock_open(NULL, fixture->other);

    assert_true(fcntl(file, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(lock, F_GETFD) & FD_CLOEXEC);
}

static void reading_a_pipe_fails_instead_of_waiting(void **state)
{
    struct fixture *fixture = *state;
    char data[4];

    assert_int_equal(mkfifo(fixture->path, 0600), 0);
    _cleanup_close_ int pipe = opened(fixture, fixture->path, WORLD_READ);
    assert_int_equal(fixture->verbs->read(NULL, pipe, data, sizeof(data), 0), -ESPIPE);
}

static void rename_unlink_and_stat_tell_what_is_there(void **state)
{
    struct fixture *fixture = *state;
    uint64_t size = 0;
    int64_t modified_ms = 0;

    int file = opened(fixture, fixture->path, WORLD_CREATE);
    assert_int_equal(fixture->verbs->write(NULL, file, "12345", 5, 0), 0);
    assert_int_equal(fixture->verbs->close(NULL, file), 0);
    assert_int_equal(fixture->verbs->rename(NULL, fixture->path, fixture->other), 0);
    assert_int_equal(fixture->verbs->sync_directory(NULL, fixture->directory), 0);

    assert_int_equal(fixture->verbs->stat(NULL, fixture->path, &size, &modified_ms), -ENOENT);
    assert_int_equal(fixture->verbs->stat(NULL, fixture->other, &size, &modified_ms), 0);
    assert_int_equal(size, 5);
    int64_t age_ms = fixture->verbs->wall_ms(NULL) - modified_ms;
    assert_true(age_ms > -1000 && age_ms < 60000);
    assert_int_equal(fixture->verbs->stat(NULL, fixture->directory, NULL, NULL), 0);

    assert_int_equal(fixture->verbs->unlink(NULL, fixture->other), 0);
    assert_int_equal(fixture->verbs->unlink(NULL, fixture->other), -ENOENT);
    assert_int_equal(fixture->verbs->sync_directory(NULL, fixture->other), -ENOENT);
}

static int count_names(void *user, const char *name)
{
    size_t *count = user;

    (*count)++;
    return 0;
}

static int stop_with_code(void *user, const char *name)
{
    (*(size_t *)user)++;
    return -EPIPE;
}

static void list_names_each_entry_once_and_stops_when_told(void **state)
{
    struct fixture *fixture = *state;
    size_t count = 0, stopped_after = 0;

    assert_int_equal(fixture->verbs->list(NULL, fixture->directory, count_names, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(fixture->verbs->make_directory(NULL, fixture->path), 0);
    assert_int_equal(fixture->verbs->make_directory(NULL, fixture->path), -EEXIST);
    assert_int_equal(fixture->verbs->make_directory(NULL, fixture->other), 0);
    assert_int_equal(fixture->verbs->list(NULL, fixture->directory, count_names, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(fixture->verbs->list(NULL, fixture->directory, stop_with_code, &stopped_after), -EPIPE);
    assert_int_equal(stopped_after, 1);
}

static void lock_is_exclusive_between_descriptors_of_one_process(void **state)
{
    struct fixture *fixture = *state;
    const struct world_verbs *verbs = fixture->verbs;

    int mine = verbs->lock_open(NULL, fixture->path);
    int theirs = verbs->lock_open(NULL, fixture->path);
    assert_true(mine >= 0 && theirs >= 0);
    assert_int_equal(verbs->try_lock(NULL, mine), 0);
    assert_int_equal(verbs->try_lock(NULL, theirs), -EWOULDBLOCK);
    assert_int_equal(verbs->unlock(NULL, mine), 0);
    assert_int_equal(verbs->try_lock(NULL, theirs), 0);
    assert_int_equal(verbs->try_lock(NULL, mine), -EWOULDBLOCK);
    /* Closing gives the lock back, as when a process dies. */
    assert_int_equal(verbs->lock_close(NULL, theirs), 0);
    assert_int_equal(verbs->try_lock(NULL, mine), 0);
    assert_int_equal(verbs->lock_close(NULL, mine), 0);
}

static void clocks_go_forward_and_agree_with_the_system(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before_ms = fixture->verbs->boot_ms(NULL);

    fixture->verbs->pause_ms(NULL, 5);
    assert_true(fixture->verbs->boot_ms(NULL) >= before_ms + 4);
    int64_t off_ms = fixture->verbs->wall_ms(NULL) - (int64_t)time(NULL) * 1000;
    assert_true(off_ms > -2000 && off_ms < 2000);
}

static void utc_offset_is_that_of_the_instant_in_the_zone(void **state)
{
    struct fixture *fixture = *state;

    setenv("TZ", "CST-8", 1);
    assert_int_equal(fixture->verbs->utc_offset_min(NULL, 0), 480);
    setenv("TZ", "NST3:30NDT,M3.2.0,M11.1.0", 1);
    assert_int_equal(fixture->verbs->utc_offset_min(NULL, 1768000000000), -210); /* January 2026 */
    assert_int_equal(fixture->verbs->utc_offset_min(NULL, 1783000000000), -150); /* July 2026 */
    unsetenv("TZ");
}

static void boot_id_is_the_kernels_and_does_not_change(void **state)
{
    struct fixture *fixture = *state;
    uint8_t first[BOOT_ID_BYTES], second[BOOT_ID_BYTES];

    fixture->verbs->boot_id(NULL, first);
    fixture->verbs->boot_id(NULL, second);
    assert_memory_equal(first, second, BOOT_ID_BYTES);
    if (access("/proc/sys/kernel/random/boot_id", R_OK) == 0)
        assert_memory_not_equal(first, (uint8_t[BOOT_ID_BYTES]){0}, BOOT_ID_BYTES);
}

static void random_bytes_differ_and_fill_long_runs(void **state)
{
    struct fixture *fixture = *state;
    uint8_t first[1024] = {0}, second[1024] = {0};

    fixture->verbs->random(NULL, first, sizeof(first));
    fixture->verbs->random(NULL, second, sizeof(second));
    assert_memory_not_equal(first, second, sizeof(first));
    /* A tail of 32 zeros comes by chance once in 2^256 runs. */
    assert_memory_not_equal(first + sizeof(first) - 32, (uint8_t[32]){0}, 32);
}

static void space_is_told_for_a_directory(void **state)
{
    struct fixture *fixture = *state;
    uint64_t free_bytes = 0;

    assert_int_equal(fixture->verbs->space(NULL, fixture->directory, &free_bytes), 0);
    assert_true(free_bytes > 0);
    assert_int_equal(fixture->verbs->space(NULL, fixture->other, &free_bytes), -ENOENT);
}

#define WRITERS 4
#define BYTES_EACH 2000

struct writer {
    struct fixture *fixture;
    int file;
    uint8_t mark;
    int result;
};

static void *write_own_stripe(void *user)
{
    struct writer *writer = user;

    for (uint64_t i = 0; i < BYTES_EACH && writer->result == 0; i++)
        writer->result =
            writer->fixture->verbs->write(NULL, writer->file, &writer->mark, 1, i * WRITERS + writer->mark);
    return NULL;
}

static void threads_may_share_a_handle(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_close_ int file = opened(fixture, fixture->path, WORLD_CREATE);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    uint8_t data[WRITERS * BYTES_EACH];

    for (uint8_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.fixture = fixture, .file = file, .mark = i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_own_stripe, &writers[i]), 0);
    }
    for (size_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(writers[i].result, 0);
    }
    assert_int_equal(fixture->verbs->read(NULL, file, data, sizeof(data), 0), sizeof(data));
    for (size_t i = 0; i < sizeof(data); i++)
        assert_int_equal(data[i], i % WRITERS);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(what_root_makes_belongs_to_the_owner_of_the_directory),
        WORLD_TEST(root_gives_no_file_away_that_was_there_before),
        WORLD_TEST(written_bytes_are_read_back_at_their_offsets),
        WORLD_TEST(offsets_beyond_the_largest_file_are_refused),
        WORLD_TEST(create_refuses_an_existing_file_and_write_keeps_its_content),
        WORLD_TEST(files_are_private_to_owner_and_group_and_secrets_to_the_owner),
        WORLD_TEST(directories_hand_their_group_down),
        WORLD_TEST(no_descriptor_survives_exec),
        WORLD_TEST(reading_a_pipe_fails_instead_of_waiting),
        WORLD_TEST(rename_unlink_and_stat_tell_what_is_there),
        WORLD_TEST(list_names_each_entry_once_and_stops_when_told),
        WORLD_TEST(lock_is_exclusive_between_descriptors_of_one_process),
        WORLD_TEST(clocks_go_forward_and_agree_with_the_system),
        WORLD_TEST(utc_offset_is_that_of_the_instant_in_the_zone),
        WORLD_TEST(boot_id_is_the_kernels_and_does_not_change),
        WORLD_TEST(random_bytes_differ_and_fill_long_runs),
        WORLD_TEST(space_is_told_for_a_directory),
        WORLD_TEST(threads_may_share_a_handle),
    };

    return cmocka_run_group_tests_name("base world_posix", tests, NULL, NULL);
}
