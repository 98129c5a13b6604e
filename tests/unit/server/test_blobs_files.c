/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of copies into the store of photos: server/blobs/files.c. Uploads are tested with the service. */
#include "server/blobs/blobs.h"

#include "base/files.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <unistd.h>

struct fixture {
    char directory[64];
    struct blobs *blobs;
};

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    strcpy(fixture->directory, "/tmp/gridpatrol-blobs-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    assert_int_equal(blobs_files_open(world_posix(), fixture->directory, false, &fixture->blobs), 0);
    *state = fixture;
    return 0;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_free_ char *command = NULL;

    blobs_close(fixture->blobs);
    assert_true(asprintf(&command, "rm -r '%s'", fixture->directory) > 0);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test's own directory */
    free(fixture);
    return 0;
}

static char *file_with(const struct fixture *fixture, const char *content, struct sha256 *ret)
{
    char *path = files_join(fixture->directory, "source");

    assert_non_null(path);
    assert_int_equal(files_replace(world_posix(), path, bytes_of_text(content), false), 0);
    *ret = sha256_of(bytes_of_text(content));
    return path;
}

static void a_copy_is_stored_under_its_hash_and_not_copied_twice(void **state)
{
    struct fixture *fixture = *state;
    struct sha256 sha256, found;
    _cleanup_free_ char *path = file_with(fixture, "a photo", &sha256);
    uint64_t size = 0;

    assert_int_equal(fixture->blobs->verbs->put_copy(fixture->blobs, &sha256, path), 0);
    assert_int_equal(fixture->blobs->verbs->hash(fixture->blobs, &sha256, &found, &size), 0);
    assert_true(sha256_equal(&sha256, &found));
    assert_int_equal(size, strlen("a photo"));
    assert_int_equal(fixture->blobs->verbs->put_copy(fixture->blobs, &sha256, path), 1);
}

static void a_file_with_other_bytes_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct sha256 other = sha256_of(bytes_of_text("another photo")), sha256;
    _cleanup_free_ char *path = file_with(fixture, "a photo", &sha256), *folder = NULL;
    uint64_t size;

    assert_int_equal(fixture->blobs->verbs->put_copy(fixture->blobs, &other, path), -EILSEQ);
    assert_int_equal(fixture->blobs->verbs->find(fixture->blobs, &other, &size), -ENOENT);
    assert_true(asprintf(&folder, "%s/blobs/%02x", fixture->directory, other.b[0]) > 0);
    assert_int_equal(rmdir(folder), 0); /* empty: no half copy either */
}

static void a_copy_cut_short_before_is_made_again(void **state)
{
    struct fixture *fixture = *state;
    struct sha256 sha256, found;
    _cleanup_free_ char *path = file_with(fixture, "a photo", &sha256), *stored = NULL;
    uint64_t size;

    assert_int_equal(fixture->blobs->verbs->put_copy(fixture->blobs, &sha256, path), 0);
    assert_int_equal(fixture->blobs->verbs->path(fixture->blobs, &sha256, &stored), 0);
    assert_int_equal(truncate(stored, 3), 0);
    assert_int_equal(fixture->blobs->verbs->put_copy(fixture->blobs, &sha256, path), 0);
    assert_int_equal(fixture->blobs->verbs->hash(fixture->blobs, &sha256, &found, &size), 0);
    assert_true(sha256_equal(&sha256, &found));
}

static void a_file_that_is_not_there_is_said_so(void **state)
{
    struct fixture *fixture = *state;
    struct sha256 sha256 = sha256_of(bytes_of_text("x"));

    assert_int_equal(fixture->blobs->verbs->put_copy(fixture->blobs, &sha256, "/nonexistent/file"), -ENOENT);
}

static unsigned directory_syncs;

static int count_directory_sync(void *context, const char *path)
{
    directory_syncs++;
    return world_posix()->verbs->sync_directory(NULL, path);
}

static void a_photo_that_somebody_removed_who_died_then_is_removed_for_good(void **state)
{
    struct fixture *fixture = *state;
    struct world_verbs verbs = *world_posix()->verbs;
    const struct world world = {.verbs = &verbs};
    struct blobs *blobs = NULL;
    struct sha256 sha256, never = sha256_of(bytes_of_text("a photo that never came"));
    _cleanup_free_ char *path = file_with(fixture, "a photo", &sha256), *stored = NULL;

    assert_int_equal(fixture->blobs->verbs->put_copy(fixture->blobs, &sha256, path), 0);
    assert_int_equal(fixture->blobs->verbs->path(fixture->blobs, &sha256, &stored), 0);
    assert_int_equal(unlink(stored), 0);
    verbs.sync_directory = count_directory_sync;
    assert_int_equal(blobs_files_open(&world, fixture->directory, false, &blobs), 0);
    directory_syncs = 0;
    assert_int_equal(blobs->verbs->remove(blobs, &sha256), -ENOENT);
    assert_int_equal(directory_syncs, 1);
    assert_int_equal(blobs->verbs->remove(blobs, &never), -ENOENT); /* not even its directory is there */
    blobs_close(blobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_photo_that_somebody_removed_who_died_then_is_removed_for_good, start, stop),
        cmocka_unit_test_setup_teardown(a_copy_is_stored_under_its_hash_and_not_copied_twice, start, stop),
        cmocka_unit_test_setup_teardown(a_file_with_other_bytes_leaves_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_copy_cut_short_before_is_made_again, start, stop),
        cmocka_unit_test_setup_teardown(a_file_that_is_not_there_is_said_so, start, stop),
    };

    return cmocka_run_group_tests_name("server blobs files", tests, NULL, NULL);
}
