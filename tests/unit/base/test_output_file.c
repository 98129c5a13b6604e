/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/output_file.h. */
#include "tests/unit/unit.h"

#include "base/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct place {
    char *directory;
    char file[128], temporary[160];
};

static int place_make(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    place->directory = unit_directory_make();
    snprintf(place->file, sizeof(place->file), "%s/file", place->directory);
    snprintf(place->temporary, sizeof(place->temporary), "%s.part", place->file);
    *state = place;
    return 0;
}

static int place_remove(void **state)
{
    struct place *place = *state;

    unit_directory_remove(place->directory);
    free(place);
    return 0;
}

static void put(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void assert_holds(const char *path, const char *content)
{
    char text[64] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, content);
}

static void file_is_there_when_it_is_finished_and_not_before(void **state)
{
    struct place *place = *state;
    struct output_file output;

    assert_int_equal(output_file_open(place->file, &output), 0);
    assert_int_equal(output_file_write(&output, "new", 3), 0);
    assert_int_not_equal(access(place->file, F_OK), 0);
    assert_int_equal(output_file_finish(&output), 0);
    output_file_done(&output);
    assert_holds(place->file, "new");
    assert_int_not_equal(access(place->temporary, F_OK), 0);
}

static void unfinished_file_leaves_what_was_there_and_nothing_beside_it(void **state)
{
    struct place *place = *state;
    struct output_file output;

    put(place->file, "old");
    put(place->temporary, "of one that was killed");
    assert_int_equal(output_file_open(place->file, &output), 0);
    assert_int_equal(output_file_write(&output, "new", 3), 0);
    output_file_done(&output);
    assert_holds(place->file, "old");
    assert_int_not_equal(access(place->temporary, F_OK), 0);
}

static void part_that_a_full_disk_took_is_no_success(void **state)
{
    struct place *place = *state;
    struct output_file output;
    struct rlimit limit, before;
    char data[4096] = {1};

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){.rlim_cur = 1000, .rlim_max = before.rlim_max};
    assert_int_equal(output_file_open(place->file, &output), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    errno = 0;
    int r = output_file_write(&output, data, sizeof(data));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(r, -EFBIG);
    output_file_done(&output);
    assert_int_not_equal(access(place->file, F_OK), 0);
}

static void pipe_is_written_to_and_stays_a_pipe(void **state)
{
    struct place *place = *state;
    struct output_file output;
    struct stat status;
    char text[8] = "";

    assert_int_equal(mkfifo(place->file, 0600), 0);
    int reader = open(place->file, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(output_file_open(place->file, &output), 0);
    assert_int_equal(output_file_write(&output, "new", 3), 0);
    assert_int_equal(output_file_finish(&output), 0);
    output_file_done(&output);
    assert_int_equal(read(reader, text, sizeof(text) - 1), 3);
    assert_string_equal(text, "new");
    close(reader);
    assert_int_equal(lstat(place->file, &status), 0);
    assert_true(S_ISFIFO(status.st_mode));
}

static void link_is_written_through_and_stays_a_link(void **state)
{
    struct place *place = *state;
    struct output_file output;
    struct stat status;

    put(place->file, "old and longer");
    assert_int_equal(symlink("file", place->temporary), 0);
    assert_int_equal(output_file_open(place->temporary, &output), 0);
    assert_int_equal(output_file_write(&output, "new", 3), 0);
    assert_int_equal(output_file_finish(&output), 0);
    output_file_done(&output);
    assert_holds(place->file, "new");
    assert_int_equal(lstat(place->temporary, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
}

static void directory_and_empty_name_are_refused(void **state)
{
    struct place *place = *state;
    struct output_file output = {.fd = -1};

    assert_int_equal(output_file_open(place->directory, &output), -EISDIR);
    assert_int_equal(output_file_open("", &output), -ENOENT);
    output_file_done(&output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            file_is_there_when_it_is_finished_and_not_before, place_make, place_remove),
        cmocka_unit_test_setup_teardown(
            unfinished_file_leaves_what_was_there_and_nothing_beside_it, place_make, place_remove),
        cmocka_unit_test_setup_teardown(part_that_a_full_disk_took_is_no_success, place_make, place_remove),
        cmocka_unit_test_setup_teardown(pipe_is_written_to_and_stays_a_pipe, place_make, place_remove),
        cmocka_unit_test_setup_teardown(link_is_written_through_and_stays_a_link, place_make, place_remove),
        cmocka_unit_test_setup_teardown(directory_and_empty_name_are_refused, place_make, place_remove),
    };

    return cmocka_run_group_tests_name("base output_file", tests, NULL, NULL);
}
