/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of collector/sources/camera_file.h, with the real patrol-photo of this build, and with helpers that
 * misbehave: shell scripts written here.
 */
#include "tests/unit/unit.h"

#include "collector/sources/camera_file.h"
#include "collector/sources/helper_process.h"
#include "tests/unit/collector/pictures.h"

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SHORT_DEADLINE_MS 400u

struct place {
    char *directory;
    char *helper; /* the real one */
};

static int place_make(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    place->directory = unit_directory_make();
    place->helper = camera_helper_path();
    *state = place;
    return access(place->helper, X_OK);
}

static int place_remove(void **state)
{
    struct place *place = *state;
    unit_directory_remove(place->directory);
    free(place->helper);
    free(place);
    return 0;
}

/* A path in the test's directory; valid until the next call. */
static const char *path_of(const struct place *place, const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", place->directory, name);
    return path;
}

static void write_file(const char *path, const void *data, size_t len, mode_t mode)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
}

static void write_photo(const char *path)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(320, 200);
    _cleanup_buffer_ struct buffer exif = {0};
    make_exif(&(struct exif_form){.orientation = 8,
                  .time = "2024:05:06 07:08:09",
                  .position = true,
                  .lat_half = 'N',
                  .lon_half = 'E',
                  .lat = {31, 1, 0, 1, 0, 1},
                  .lon = {121, 1, 30, 1, 0, 1}},
        &exif);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg_with_exif(&pixels, buffer_bytes(&exif), &file);
    write_file(path, file.data, file.len, 0600);
}

/* Opens and reads; returns what the first failing step returned. */
static int read_path(const char *path, const char *helper, uint32_t deadline_ms, struct camera_photo *ret,
    const char **ret_reason)
{
    _cleanup_close_ int fd = -1;
    int r = camera_file_open(path, &fd, ret_reason);
    if (r >= 0)
        r = camera_file_read(fd, &(struct camera_helper){helper, deadline_ms}, ret, ret_reason);
    return r;
}

static void assert_refused(const struct place *place, const char *name, int expected, const char *words)
{
    struct camera_photo photo = {0};
    const char *reason = NULL;

    assert_int_equal(
        read_path(path_of(place, name), place->helper, PHOTO_DEADLINE_MS, &photo, &reason), expected);
    assert_non_null(reason);
    if (!strstr(reason, words))
        fail_msg("reason is \"%s\", not \"%s\"", reason, words);
}

static void a_good_photo_comes_with_its_facts_and_a_preview(void **state)
{
    const struct place *place = *state;
    const char *path = path_of(place, "a.jpg");
    write_photo(path);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    struct camera_photo photo = {0};
    const char *reason = NULL;

    assert_int_equal(read_path(path, place->helper, PHOTO_DEADLINE_MS, &photo, &reason), 0);
    assert_null(reason);
    assert_string_equal(photo.mime, "image/jpeg");
    assert_int_equal(photo.size, status.st_size);
    assert_int_equal(photo.facts.width, 320);
    assert_int_equal(photo.facts.height, 200);
    assert_int_equal(photo.facts.orientation, 8);
    assert_string_equal(photo.facts.exif_time, "2024-05-06T07:08:09");
    assert_true(photo.facts.has_position);
    assert_int_equal(photo.facts.lat_e7, 310000000);
    assert_int_equal(photo.facts.lon_e7, 1215000000);
    _cleanup_pixels_ struct pixels preview = read_jpeg(bytes_of(photo.preview, photo.facts.preview_len));
    assert_int_equal(preview.width, 200);
    assert_int_equal(preview.height, 320);
    camera_photo_done(&photo);
}

static void a_png_is_named_as_one(void **state)
{
    const struct place *place = *state;
    _cleanup_pixels_ struct pixels pixels = pixels_upright(64, 48);
    _cleanup_buffer_ struct buffer file = {0};
    make_png(&pixels, &(struct png_form){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8}, &file);
    write_file(path_of(place, "a.jpg"), file.data, file.len, 0600);
    _cleanup_(camera_photo_done) struct camera_photo photo = {0};
    const char *reason = NULL;

    assert_int_equal(
        read_path(path_of(place, "a.jpg"), place->helper, PHOTO_DEADLINE_MS, &photo, &reason), 0);
    assert_string_equal(photo.mime, "image/png");
}

static void the_descriptor_is_read_from_its_start_and_left_there(void **state)
{
    const struct place *place = *state;
    write_photo(path_of(place, "a.jpg"));
    _cleanup_close_ int fd = -1;
    const char *reason = NULL;
    assert_int_equal(camera_file_open(path_of(place, "a.jpg"), &fd, &reason), 0);
    assert_int_equal(lseek(fd, 1000, SEEK_SET), 1000);

    for (int i = 0; i < 2; i++) {
        _cleanup_(camera_photo_done) struct camera_photo photo = {0};
        assert_int_equal(
            camera_file_read(fd, &(struct camera_helper){place->helper, PHOTO_DEADLINE_MS}, &photo, &reason),
            0);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    }
}

static void a_photo_can_be_read_while_standard_descriptors_are_closed(void **state)
{
    const struct place *place = *state;
    write_photo(path_of(place, "a.jpg"));
    const struct camera_helper helper = {place->helper, PHOTO_DEADLINE_MS};

    /* Each bit of `closed` is one of 0, 1 and 2; the photo is opened before they are closed, or after. */
    for (int closed = 0; closed < 16; closed++) {
        int kept[3];
        int fd = -1;
        struct camera_photo photo = {0};
        const char *reason = NULL;
        if (closed & 8)
            camera_file_open(path_of(place, "a.jpg"), &fd, &reason);
        for (int i = 0; i < 3; i++) {
            kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
            if (closed & 1 << i)
                close(i);
        }
        if (fd < 0)
            camera_file_open(path_of(place, "a.jpg"), &fd, &reason);
        int r = camera_file_read(fd, &helper, &photo, &reason);
        close(fd);
        for (int i = 0; i < 3; i++) {
            dup2(kept[i], i);
            close(kept[i]);
        }
        camera_photo_done(&photo);
        assert_int_equal(r, 0);
    }
}

static void files_that_are_no_photos_are_refused_with_the_reason(void **state)
{
    const struct place *place = *state;
    _cleanup_pixels_ struct pixels pixels = pixels_upright(64, 48);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);
    write_file(path_of(place, "empty"), "", 0, 0600);
    write_file(path_of(place, "text"), "hello\n", 6, 0600);
    write_file(path_of(place, "cut"), file.data, file.len - 1, 0600);
    _cleanup_buffer_ struct buffer huge = {0};
    make_png_header(60000, 60000, &huge);
    write_file(path_of(place, "huge"), huge.data, huge.len, 0600);

    assert_refused(place, "empty", -EBADMSG, "photo is empty: take it again");
    assert_refused(place, "text", -EBADMSG, "not a JPEG or PNG");
    assert_refused(place, "cut", -EBADMSG, "photo is truncated");
    assert_refused(place, "huge", -EBADMSG, "too many pixels");
}

static void paths_that_are_no_readable_files_are_refused_with_the_reason(void **state)
{
    const struct place *place = *state;
    assert_int_equal(mkdir(path_of(place, "directory"), 0700), 0);
    assert_int_equal(mkfifo(path_of(place, "fifo"), 0600), 0);
    assert_int_equal(symlink("loop", path_of(place, "loop")), 0);

    assert_refused(place, "missing", -ENOENT, "check the path");
    assert_refused(place, "directory", -EISDIR, "is a directory");
    assert_refused(place, "fifo", -EINVAL, "not a regular file");
    assert_refused(place, "loop", -ELOOP, "could not be read");
}

static void a_file_without_permission_is_refused_with_the_reason(void **state)
{
    const struct place *place = *state;
    write_file(path_of(place, "secret"), "x", 1, 0000);
    bool is_root = geteuid() == 0;
    int fd = -1;
    const char *reason = NULL;

    /* Nothing is forbidden to root: be nobody for a moment. */
    if (is_root && seteuid(65534) < 0)
        abort();
    int r = camera_file_open(path_of(place, "secret"), &fd, &reason);
    if (is_root && seteuid(0) < 0)
        abort();
    assert_int_equal(r, -EACCES);
    assert_non_null(strstr(reason, "permissions"));
}

static void a_file_over_the_limit_is_refused_before_any_helper_is_started(void **state)
{
    const struct place *place = *state;
    write_file(path_of(place, "large"), "", 0, 0600);
    assert_int_equal(truncate(path_of(place, "large"), (off_t)BLOB_BYTES_MAX + 1), 0);
    struct camera_photo photo = {0};
    const char *reason = NULL;

    assert_int_equal(
        read_path(path_of(place, "large"), "/nonexistent", PHOTO_DEADLINE_MS, &photo, &reason), -EBADMSG);
    assert_string_equal(reason, "photo is over 64 MiB: make it smaller");
    assert_int_equal(truncate(path_of(place, "large"), (off_t)BLOB_BYTES_MAX), 0);
    assert_refused(place, "large", -EBADMSG, "not a JPEG or PNG");
}

static void a_missing_helper_is_not_blamed_on_the_photo(void **state)
{
    const struct place *place = *state;
    write_photo(path_of(place, "a.jpg"));
    struct camera_photo photo = {0};
    const char *reason = NULL;

    assert_int_equal(
        read_path(path_of(place, "a.jpg"), "/nonexistent", PHOTO_DEADLINE_MS, &photo, &reason), -ENOPKG);
    assert_string_equal(reason, "patrol-photo cannot be started: install gridpatrol completely");
}

static void a_file_that_changes_after_it_was_read_is_noticed(void **state)
{
    const struct place *place = *state;
    write_photo(path_of(place, "a.jpg"));
    _cleanup_close_ int fd = -1;
    const char *reason = NULL;
    assert_int_equal(camera_file_open(path_of(place, "a.jpg"), &fd, &reason), 0);
    _cleanup_(camera_photo_done) struct camera_photo photo = {0};
    assert_int_equal(
        camera_file_read(fd, &(struct camera_helper){place->helper, PHOTO_DEADLINE_MS}, &photo, &reason), 0);

    assert_int_equal(camera_file_check_unchanged(fd, &photo, &reason), 0);
    struct timespec later[2] = {photo.modified, photo.modified};
    later[1].tv_nsec ^= 1;
    assert_int_equal(utimensat(AT_FDCWD, path_of(place, "a.jpg"), later, 0), 0);
    assert_int_equal(camera_file_check_unchanged(fd, &photo, &reason), -ESTALE);
    assert_int_equal(
        utimensat(AT_FDCWD, path_of(place, "a.jpg"), (struct timespec[2]){photo.modified, photo.modified}, 0),
        0);
    assert_int_equal(truncate(path_of(place, "a.jpg"), (off_t)photo.size - 1), 0);
    assert_int_equal(camera_file_check_unchanged(fd, &photo, &reason), -ESTALE);
    assert_string_equal(reason, "file changed while it was read: try again when it is complete");
}

/* Helpers that misbehave */

/* What comes of a helper that is this shell script. No child may be left behind. */
static int read_with_script_until(
    const struct place *place, const char *script, uint32_t deadline_ms, const char **ret_reason)
{
    char text[1024];
    int len = snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    write_file(path_of(place, "helper"), text, (size_t)len, 0700);
    _cleanup_free_ char *helper = strdup(path_of(place, "helper"));
    write_photo(path_of(place, "a.jpg"));
    _cleanup_(camera_photo_done) struct camera_photo photo = {0};

    int r = read_path(path_of(place, "a.jpg"), helper, deadline_ms, &photo, ret_reason);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return r;
}

/* With a deadline that no machine is too busy for. */
static int read_with_script(const struct place *place, const char *script, const char **ret_reason)
{
    return read_with_script_until(place, script, 60000, ret_reason);
}

/* A frame of a JPEG is four bytes; more is not looked at. */
#define SCRIPT_LINE "ok format=jpeg width=5 height=5 orientation=1 preview_len=4"
#define SCRIPT_JPEG "\\377\\330\\377\\331"

static void a_well_behaved_script_is_believed(void **state)
{
    const char *reason = NULL;

    assert_int_equal(read_with_script(*state, "printf '" SCRIPT_LINE "\\n" SCRIPT_JPEG "'", &reason), 0);
}

static void every_refusal_of_the_helper_has_a_reason_with_a_fix(void **state)
{
    for (int verdict = PHOTO_GOOD + 1; verdict < PHOTO_VERDICT_COUNT; verdict++) {
        char script[128];
        const char *reason = NULL;
        snprintf(
            script, sizeof(script), "echo bad reason=%s", photo_verdict_word((enum photo_verdict)verdict));
        assert_int_equal(read_with_script(*state, script, &reason), -EBADMSG);
        assert_non_null(strchr(reason, ':'));
        assert_null(strstr(reason, "could not be decoded"));
    }
}

static void whatever_is_not_a_complete_answer_means_could_not_be_decoded(void **state)
{
    static const char *const scripts[] = {
        "true",
        "echo hello",
        "head -c 100000 /dev/zero",
        "cat",
        "yes",
        "printf '" SCRIPT_LINE "'",
        "printf '" SCRIPT_LINE "\\n'",
        "printf '" SCRIPT_LINE "\\n" SCRIPT_JPEG "x'",
        "printf '" SCRIPT_LINE "\\nabcd'",
        "printf '" SCRIPT_LINE "\\n" SCRIPT_JPEG "'; exit 1",
        "printf '" SCRIPT_LINE "\\n" SCRIPT_JPEG "'; kill -SEGV $$",
        "echo bad reason=truncated; echo more",
        "echo bad reason=good",
        "kill -KILL $$",
    };

    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        const char *reason = NULL;
        int r = read_with_script(*state, scripts[i], &reason);
        if (r != -EBADMSG || strcmp(reason, "photo could not be decoded: take it again") != 0)
            fail_msg("%s: %d, %s", scripts[i], r, reason ? reason : "no reason");
    }
}

static void a_helper_that_writes_without_end_is_stopped_at_once(void **state)
{
    const struct place *place = *state;
    uint8_t answer[100];
    size_t len = 0;
    static const char script[] = "#!/bin/sh\nexec yes\n";
    write_file(path_of(place, "helper"), script, sizeof(script) - 1, 0700);
    write_photo(path_of(place, "a.jpg"));
    _cleanup_close_ int fd = open(path_of(place, "a.jpg"), O_RDONLY | O_CLOEXEC);

    assert_int_equal(
        helper_process_run(path_of(place, "helper"), fd, 30000, answer, sizeof(answer), &len), -EBADMSG);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void a_helper_that_does_not_end_is_killed_at_the_deadline(void **state)
{
    static const char *const scripts[] = {
        "exec sleep 60",
        "printf '" SCRIPT_LINE "\\n" SCRIPT_JPEG "'; exec sleep 60",
        "printf '" SCRIPT_LINE "\\n" SCRIPT_JPEG "'; exec sleep 60 >&-",
        "trap '' TERM INT HUP; printf ok; while :; do :; done",
    };

    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        const char *reason = NULL;
        int64_t start_ms = now_ms();
        assert_int_equal(read_with_script_until(*state, scripts[i], SHORT_DEADLINE_MS, &reason), -EBADMSG);
        assert_string_equal(reason, "photo could not be decoded: take it again");
        assert_in_range(now_ms() - start_ms, SHORT_DEADLINE_MS - 1, 20000);
    }
}

static void the_helper_inherits_nothing(void **state)
{
    const struct place *place = *state;
    _cleanup_free_ char *seen = strdup(path_of(place, "seen"));
    _cleanup_free_ char *script = NULL;
    assert_true(
        asprintf(&script, "{ ls /proc/self/fd; echo \"$GRIDPATROL_SECRET\"; echo $#; } > %s", seen) > 0);
    int leaked = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library might */
    assert_true(leaked > 2);
    setenv("GRIDPATROL_SECRET", "secret", 1);
    const char *reason = NULL;

    read_with_script(place, script, &reason);
    unsetenv("GRIDPATROL_SECRET");
    close(leaked);
    char text[64] = "";
    _cleanup_fclose_ FILE *file = fopen(seen, "re");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    assert_in_range(len, 1, sizeof(text) - 1);
    /* 3 is the directory that ls itself reads. */
    assert_string_equal(text, "0\n1\n2\n3\n\n0\n");
}

static void the_helper_takes_signals_as_usual_whatever_the_caller_ignores(void **state)
{
    const char *reason = NULL;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    sigset_t all;
    sigset_t mask_before;
    sigaction(SIGALRM, &ignore, &before);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &mask_before);

    int r = read_with_script(*state, "kill -ALRM $$; printf '" SCRIPT_LINE "\\n" SCRIPT_JPEG "'", &reason);
    sigprocmask(SIG_SETMASK, &mask_before, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(r, -EBADMSG);
}

/* The real program */

/* Runs the program on a file, and tells what it took. */
static struct rusage run_alone(const struct place *place, const char *path)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, path, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    int status;
    struct rusage usage;
    assert_int_equal(
        posix_spawn(&pid, place->helper, &actions, NULL, (char *[]){place->helper, NULL}, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return usage;
}

static void a_large_png_is_read_in_little_memory(void **state)
{
    const struct place *place = *state;
    const char *path = path_of(place, "large.png");
    _cleanup_buffer_ struct buffer file = {0};
    make_blank_png(5000, 4000, &file);
    write_file(path, file.data, file.len, 0600);
    _cleanup_(camera_photo_done) struct camera_photo photo = {0};
    const char *reason = NULL;

    assert_int_equal(read_path(path, place->helper, PHOTO_DEADLINE_MS, &photo, &reason), 0);
    assert_int_equal(photo.facts.width, 5000);
    struct rusage usage = run_alone(place, path);
#ifndef PHOTO_SANDBOX_LIGHT
    /* Its pixels would be 60 MB. */
    assert_in_range(usage.ru_maxrss, 1, 32 * 1024);
#else
    (void)usage;
#endif
}

static void a_claim_of_endless_pixels_takes_neither_time_nor_memory(void **state)
{
    const struct place *place = *state;
    const char *path = path_of(place, "bomb.png");
    _cleanup_buffer_ struct buffer file = {0};
    make_png_header(65535, 65535, &file);
    write_file(path, file.data, file.len, 0600);

    struct rusage usage = run_alone(place, path);
    assert_int_equal(usage.ru_utime.tv_sec, 0);
#ifndef PHOTO_SANDBOX_LIGHT
    assert_in_range(usage.ru_maxrss, 1, 16 * 1024);
#endif
}

static void the_helper_can_be_chosen_by_the_environment(void **state)
{
    setenv("PATROL_PHOTO_HELPER", "/some/where", 1);
    _cleanup_free_ char *chosen = camera_helper_path();
    unsetenv("PATROL_PHOTO_HELPER");
    _cleanup_free_ char *found = camera_helper_path();

    assert_string_equal(chosen, "/some/where");
    assert_string_not_equal(found, "/some/where");
    assert_int_equal(access(found, X_OK), 0);
}

/* A line of a file of /proc, or "" when it is not there. */
static void proc_line(pid_t pid, const char *name, const char *key, char *line, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    while (file && fgets(line, (int)size, file)) {
        if (strncmp(line, key, strlen(key)) == 0)
            return;
    }
    line[0] = '\0';
}

/* The program, started by hand on a pipe that stays silent, so that it waits for its photo in its finished
 * sandbox. */
static pid_t start_waiting(const struct place *place, int *ret_input)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    assert_int_equal(
        posix_spawn(&pid, place->helper, &actions, NULL, (char *[]){place->helper, NULL}, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    *ret_input = ends[1];
    return pid;
}

static void the_program_confines_itself_before_it_reads(void **state)
{
#ifndef PHOTO_SANDBOX_LIGHT
    static const char *const last_step[] = {"Seccomp:", "Seccomp:\t2\n"};
#else
    static const char *const last_step[] = {"NoNewPrivs:", "NoNewPrivs:\t1\n"};
#endif
    static const struct {
        const char *key;
        unsigned long value;
    } limits[] = {
#ifndef PHOTO_SANDBOX_LIGHT
        {"Max address space", 512ul * 1024 * 1024},
        {"Max open files", 3},
#endif
        {"Max cpu time", 10},
        {"Max file size", 0},
        {"Max core file size", 0},
    };
    char line[256] = "";
    int input;
    pid_t pid = start_waiting(*state, &input);
    int64_t end_ms = now_ms() + 10000;
    while (strcmp(line, last_step[1]) != 0 && now_ms() < end_ms) {
        poll(NULL, 0, 2);
        proc_line(pid, "status", last_step[0], line, sizeof(line));
    }
    assert_string_equal(line, last_step[1]);

    proc_line(pid, "status", "NoNewPrivs:", line, sizeof(line));
    assert_string_equal(line, "NoNewPrivs:\t1\n");
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        unsigned long soft = 1;
        unsigned long hard = 1;
        proc_line(pid, "limits", limits[i].key, line, sizeof(line));
        assert_int_equal(sscanf(line + strlen(limits[i].key), "%lu %lu", &soft, &hard), 2);
        assert_int_equal(soft, limits[i].value);
        assert_int_equal(hard, limits[i].value);
    }
    close(input);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define in_place(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_place(a_good_photo_comes_with_its_facts_and_a_preview),
        in_place(a_png_is_named_as_one),
        in_place(the_descriptor_is_read_from_its_start_and_left_there),
        in_place(a_photo_can_be_read_while_standard_descriptors_are_closed),
        in_place(files_that_are_no_photos_are_refused_with_the_reason),
        in_place(paths_that_are_no_readable_files_are_refused_with_the_reason),
        in_place(a_file_without_permission_is_refused_with_the_reason),
        in_place(a_file_over_the_limit_is_refused_before_any_helper_is_started),
        in_place(a_missing_helper_is_not_blamed_on_the_photo),
        in_place(a_file_that_changes_after_it_was_read_is_noticed),
        in_place(a_well_behaved_script_is_believed),
        in_place(every_refusal_of_the_helper_has_a_reason_with_a_fix),
        in_place(whatever_is_not_a_complete_answer_means_could_not_be_decoded),
        in_place(a_helper_that_writes_without_end_is_stopped_at_once),
        in_place(a_helper_that_does_not_end_is_killed_at_the_deadline),
        in_place(the_helper_inherits_nothing),
        in_place(the_helper_takes_signals_as_usual_whatever_the_caller_ignores),
        in_place(a_large_png_is_read_in_little_memory),
        in_place(a_claim_of_endless_pixels_takes_neither_time_nor_memory),
        in_place(the_helper_can_be_chosen_by_the_environment),
        in_place(the_program_confines_itself_before_it_reads),
    };
    return cmocka_run_group_tests_name("collector camera_file", tests, NULL, NULL);
}
