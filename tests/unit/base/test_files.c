/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/files.h: on the real world, and on one whose verbs fail one after the other. */
#include "tests/unit/unit.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* The real verbs with a countdown: the call on which `calls_left` reaches zero fails with -ENOSPC, as do all
 * after it that would change the disk. Each call that changes something is noted by one letter. */
struct failing_world {
    struct world world;
    struct world_verbs verbs;
    unsigned calls_left;
    char calls[64];
};

static bool fails(struct failing_world *failing, char letter)
{
    size_t len = strlen(failing->calls);

    if (len + 1 < sizeof(failing->calls))
        failing->calls[len] = letter;
    if (failing->calls_left == 0)
        return true;
    failing->calls_left--;
    return false;
}

static int failing_open(void *context, const char *path, enum world_open how, bool secret)
{
    return fails(context, 'o') ? -ENOSPC : world_posix()->verbs->open(NULL, path, how, secret);
}

static int failing_write(void *context, int file, const void *data, size_t len, uint64_t offset)
{
    /* A full disk takes a part before it refuses. */
    if (fails(context, 'w')) {
        (void)world_posix()->verbs->write(NULL, file, data, len / 2, offset);
        return -ENOSPC;
    }
    return world_posix()->verbs->write(NULL, file, data, len, offset);
}

static int failing_sync(void *context, int file)
{
    return fails(context, 's') ? -ENOSPC : world_posix()->verbs->sync(NULL, file);
}

static int failing_close(void *context, int file)
{
    int r = world_posix()->verbs->close(NULL, file);

    return fails(context, 'c') ? -ENOSPC : r;
}

static int failing_rename(void *context, const char *from, const char *to)
{
    return fails(context, 'r') ? -ENOSPC : world_posix()->verbs->rename(NULL, from, to);
}

static int failing_sync_directory(void *context, const char *path)
{
    return fails(context, 'd') ? -ENOSPC : world_posix()->verbs->sync_directory(NULL, path);
}

static void failing_world_init(struct failing_world *failing, unsigned calls)
{
    *failing = (struct failing_world){.verbs = *world_posix()->verbs, .calls_left = calls};
    failing->verbs.open = failing_open;
    failing->verbs.write = failing_write;
    failing->verbs.sync = failing_sync;
    failing->verbs.close = failing_close;
    failing->verbs.rename = failing_rename;
    failing->verbs.sync_directory = failing_sync_directory;
    failing->world.verbs = &failing->verbs;
    failing->world.context = failing;
}

struct fixture {
    char *directory;
    char *path;
    char *new_path;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (!fixture)
        return -1;
    fixture->directory = unit_directory_make();
    fixture->path = files_join(fixture->directory, "state");
    fixture->new_path = files_join(fixture->directory, "state.new");
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    unit_directory_remove(fixture->directory);
    free(fixture->path);
    free(fixture->new_path);
    free(fixture);
    return 0;
}

static void assert_content(const char *path, const char *expected)
{
    _cleanup_buffer_ struct buffer content = {0};

    assert_int_equal(files_read(world_posix(), path, 1024, &content), 0);
    assert_string_equal(buffer_text(&content), expected);
}

static void read_takes_a_file_up_to_the_limit_and_no_longer(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_buffer_ struct buffer content = {0};

    assert_int_equal(files_replace(world_posix(), fixture->path, bytes_of_text("12345"), false), 0);
    buffer_put_text(&content, "before ");
    assert_int_equal(files_read(world_posix(), fixture->path, 4, &content), -EFBIG);
    assert_string_equal(buffer_text(&content), "before ");
    assert_int_equal(files_read(world_posix(), fixture->path, 5, &content), 0);
    assert_string_equal(buffer_text(&content), "before 12345");
    assert_int_equal(files_read(world_posix(), fixture->new_path, 5, &content), -ENOENT);
    assert_int_equal(files_read(world_posix(), fixture->directory, 5, &content), -EISDIR);
    assert_string_equal(buffer_text(&content), "before 12345");
}

static void read_takes_files_longer_than_one_chunk(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_buffer_ struct buffer content = {0}, back = {0};

    for (uint32_t i = 0; i < 50000; i++)
        buffer_put_u32be(&content, i);
    assert_int_equal(files_replace(world_posix(), fixture->path, buffer_bytes(&content), false), 0);
    assert_int_equal(files_read(world_posix(), fixture->path, 200000, &back), 0);
    assert_true(bytes_equal(buffer_bytes(&back), buffer_bytes(&content)));
    assert_int_equal(files_read(world_posix(), fixture->path, 199999, &back), -EFBIG);
}

static void read_takes_files_whose_size_is_told_as_zero(void **state)
{
    _cleanup_buffer_ struct buffer content = {0};

    assert_int_equal(files_read(world_posix(), "/proc/self/status", 65536, &content), 0);
    assert_true(content.len > 0);
}

static void replace_is_temporary_file_fsync_rename_fsync_directory_in_this_order(void **state)
{
    struct fixture *fixture = *state;
    struct failing_world failing;

    failing_world_init(&failing, 100);
    assert_int_equal(files_replace(&failing.world, fixture->path, bytes_of_text("new"), false), 0);
    assert_string_equal(failing.calls, "owscrd");
    assert_content(fixture->path, "new");
    assert_int_equal(access(fixture->new_path, F_OK), -1);
}

static void replace_that_fails_at_any_step_leaves_the_old_or_the_new_bytes(void **state)
{
    struct fixture *fixture = *state;
    struct failing_world failing;

    for (unsigned calls = 0; calls < 6; calls++) {
        assert_int_equal(files_replace(world_posix(), fixture->path, bytes_of_text("old"), false), 0);
        failing_world_init(&failing, calls);
        assert_int_equal(
            files_replace(&failing.world, fixture->path, bytes_of_text("new bytes"), false), -ENOSPC);
        /* Only the sync of the directory comes after the rename. */
        assert_content(fixture->path, calls < 5 ? "old" : "new bytes");
        assert_int_equal(access(fixture->new_path, F_OK), -1);
    }
}

static void replace_removes_what_an_interrupted_one_left(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(
        files_replace(world_posix(), fixture->new_path, bytes_of_text("half of something longer"), false), 0);
    assert_int_equal(files_replace(world_posix(), fixture->path, bytes_of_text("whole"), true), 0);
    assert_content(fixture->path, "whole");
}

static void replaced_secret_is_readable_by_its_owner_only(void **state)
{
    struct fixture *fixture = *state;
    struct stat status;

    assert_int_equal(files_replace(world_posix(), fixture->path, bytes_of_text("open"), false), 0);
    assert_int_equal(files_replace(world_posix(), fixture->path, bytes_of_text("key"), true), 0);
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
}

static void rewrite_writes_all_of_a_file_again_and_then_syncs_it(void **state)
{
    const struct fixture *fixture = *state;
    const char *path = fixture->path;
    struct failing_world failing;
    uint8_t content[3 * 4096 + 5];

    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 7);
    assert_int_equal(files_replace(world_posix(), path, bytes_of(content, sizeof(content)), false), 0);
    failing_world_init(&failing, 100);
    assert_int_equal(files_rewrite(&failing.world, path), 0);
    assert_string_equal(failing.calls, "owwwwsc");
    _cleanup_buffer_ struct buffer again = {0};
    assert_int_equal(files_read(world_posix(), path, sizeof(content), &again), 0);
    assert_int_equal(again.len, sizeof(content));
    assert_memory_equal(again.data, content, sizeof(content));
}

static void rewrite_says_when_the_disk_fails_again_and_makes_no_file(void **state)
{
    const struct fixture *fixture = *state;
    const char *path = fixture->path;
    struct failing_world failing;

    assert_int_equal(files_rewrite(world_posix(), path), -ENOENT);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(files_replace(world_posix(), path, bytes_of_text("hello"), false), 0);
    failing_world_init(&failing, 2); /* after opening and writing */
    assert_int_equal(files_rewrite(&failing.world, path), -ENOSPC);
    assert_content(path, "hello");
}

static void make_directory_is_content_with_one_that_is_there(void **state)
{
    struct fixture *fixture = *state;
    struct failing_world failing;

    assert_int_equal(files_make_directory(world_posix(), fixture->path), 0);
    assert_int_equal(files_make_directory(world_posix(), fixture->path), 0);
    assert_int_equal(files_make_directory(world_posix(), "/nowhere/at/all"), -ENOENT);

    /* A directory that may vanish with the power is not made. */
    failing_world_init(&failing, 0);
    assert_int_equal(files_make_directory(&failing.world, fixture->new_path), -ENOSPC);
}

static void make_directory_refuses_a_file_in_its_place(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(files_replace(world_posix(), fixture->path, bytes_of_text("x"), false), 0);
    assert_int_equal(files_make_directory(world_posix(), fixture->path), -ENOTDIR);
}

static void paths_are_joined_and_taken_apart(void **state)
{
    static const struct {
        const char *path, *parent;
    } cases[] = {{"a/b", "a"}, {"a", "."}, {"/a", "/"}, {"/", "/"}, {"a/b/", "a"}, {"a//b", "a"}, {"", "."},
        {"/var/lib/x", "/var/lib"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_free_ char *parent = files_parent(cases[i].path);
        assert_string_equal(parent, cases[i].parent);
    }
    _cleanup_free_ char *joined = files_join("a", "b");
    assert_string_equal(joined, "a/b");
}

static void paths_beyond_the_limit_are_refused(void **state)
{
    char name[FILES_PATH_MAX + 1];

    memset(name, 'x', FILES_PATH_MAX);
    name[FILES_PATH_MAX] = '\0';
    assert_null(files_join("a", name));
    assert_null(files_join(name, "a"));
    assert_int_equal(files_replace(world_posix(), name, bytes_of_text(""), false), -ENAMETOOLONG);
}

#define FILES_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(read_takes_a_file_up_to_the_limit_and_no_longer),
        FILES_TEST(read_takes_files_longer_than_one_chunk),
        FILES_TEST(read_takes_files_whose_size_is_told_as_zero),
        FILES_TEST(replace_is_temporary_file_fsync_rename_fsync_directory_in_this_order),
        FILES_TEST(replace_that_fails_at_any_step_leaves_the_old_or_the_new_bytes),
        FILES_TEST(replace_removes_what_an_interrupted_one_left),
        FILES_TEST(replaced_secret_is_readable_by_its_owner_only),
        FILES_TEST(rewrite_writes_all_of_a_file_again_and_then_syncs_it),
        FILES_TEST(rewrite_says_when_the_disk_fails_again_and_makes_no_file),
        FILES_TEST(make_directory_is_content_with_one_that_is_there),
        FILES_TEST(make_directory_refuses_a_file_in_its_place),
        FILES_TEST(paths_are_joined_and_taken_apart),
        FILES_TEST(paths_beyond_the_limit_are_refused),
    };

    return cmocka_run_group_tests_name("base files", tests, NULL, NULL);
}
