/* SPDX-License-Identifier: Apache-2.0 */
/* The file of metrics on a real loop, with a boot clock of the test's own. */
#include "tests/unit/capture.h"

#include "base/files.h"
#include "syncd/metrics_file.h"

#include <errno.h>
#include <sys/stat.h>

#define HOUR_MS UINT64_C(3600000)
#define LOOP_US UINT64_C(20000000) /* at most, for a timer that must fire */

struct scene {
    char *directory, *path;
    struct world world;
    struct world_verbs verbs;
    uint64_t boot_ms;
    sd_event *event;
    struct metrics_file *file;
    const char *text;
    int answer;
    unsigned composed;
};

static uint64_t fake_boot_ms(void *context)
{
    return ((struct scene *)context)->boot_ms;
}

static int fake_compose(void *context, struct buffer *ret)
{
    struct scene *scene = context;

    scene->composed++;
    buffer_put_text(ret, scene->text);
    return scene->answer;
}

static void begin(struct scene *scene, uint64_t interval_ms)
{
    *scene = (struct scene){.directory = unit_directory_make(), .boot_ms = 1000, .text = "a 1\n"};
    scene->path = files_join(scene->directory, "syncd.prom");
    scene->verbs = *world_posix()->verbs;
    scene->verbs.boot_ms = fake_boot_ms;
    scene->world = (struct world){.verbs = &scene->verbs, .context = scene};
    assert_int_equal(sd_event_new(&scene->event), 0);
    const struct metrics_file_options options = {.world = &scene->world,
        .path = scene->path,
        .interval_ms = interval_ms,
        .compose = fake_compose,
        .context = scene};
    assert_int_equal(metrics_file_new(scene->event, &options, &scene->file), 0);
}

static void end(struct scene *scene)
{
    metrics_file_free(scene->file);
    sd_event_unref(scene->event);
    free(scene->path);
    unit_directory_remove(scene->directory);
}

static void assert_file(const struct scene *scene, const char *expected)
{
    _cleanup_buffer_ struct buffer text = {0};
    int r = files_read(world_posix(), scene->path, 4096, &text);

    if (!expected) {
        assert_int_equal(r, -ENOENT);
        return;
    }
    assert_int_equal(r, 0);
    assert_true(bytes_equal(buffer_bytes(&text), bytes_of_text(expected)));
}

/* While the timer runs nothing is composed: it will be when it fires. */
static bool timer_runs(struct scene *scene)
{
    unsigned before = scene->composed;

    metrics_file_changed(scene->file);
    return scene->composed == before;
}

static void the_first_text_is_written_at_once_and_gone_at_the_end(void **state)
{
    struct scene scene;
    begin(&scene, HOUR_MS);
    assert_file(&scene, NULL);
    metrics_file_changed(scene.file);
    assert_file(&scene, "a 1\n");
    metrics_file_free(scene.file);
    scene.file = NULL;
    assert_file(&scene, NULL);
    end(&scene);
}

static void a_change_within_the_interval_waits_for_its_end(void **state)
{
    struct scene scene;
    begin(&scene, HOUR_MS);
    metrics_file_changed(scene.file);
    scene.text = "a 2\n";
    scene.boot_ms += HOUR_MS - 1;
    metrics_file_changed(scene.file);
    assert_file(&scene, "a 1\n");
    scene.text = "a 3\n";
    assert_true(timer_runs(&scene));
    /* It was set for the millisecond that was left. */
    scene.boot_ms++;
    assert_true(sd_event_run(scene.event, LOOP_US) > 0);
    assert_file(&scene, "a 3\n");
    assert_false(timer_runs(&scene));
    end(&scene);
}

static void a_change_after_the_interval_is_written_at_once(void **state)
{
    struct scene scene;
    begin(&scene, HOUR_MS);
    metrics_file_changed(scene.file);
    scene.text = "a 2\n";
    scene.boot_ms += HOUR_MS;
    metrics_file_changed(scene.file);
    assert_file(&scene, "a 2\n");
    end(&scene);
}

static void what_has_not_changed_is_not_written_and_wakes_nobody(void **state)
{
    struct scene scene;
    begin(&scene, 0);
    metrics_file_changed(scene.file);
    assert_int_equal(unlink(scene.path), 0);
    metrics_file_changed(scene.file);
    assert_file(&scene, NULL);
    assert_false(timer_runs(&scene));
    end(&scene);
}

static void the_same_text_within_the_interval_sets_no_timer(void **state)
{
    struct scene scene;
    begin(&scene, HOUR_MS);
    metrics_file_changed(scene.file);
    scene.boot_ms += HOUR_MS - 1;
    metrics_file_changed(scene.file);
    assert_false(timer_runs(&scene));
    end(&scene);
}

static void a_directory_that_is_not_there_is_told_once_and_tried_again(void **state)
{
    struct scene scene;
    struct capture capture;
    begin(&scene, 0);
    assert_int_equal(rmdir(scene.directory), 0);
    capture_start(&capture);
    metrics_file_changed(scene.file);
    metrics_file_changed(scene.file);
    const char *told = capture_stop(&capture);
    const char *first = strstr(told, "cannot be written");
    assert_true(first && !strstr(first + 1, "cannot be written"));
    assert_int_equal(mkdir(scene.directory, 0700), 0);
    metrics_file_changed(scene.file);
    assert_file(&scene, "a 1\n");
    end(&scene);
}

static void what_cannot_be_composed_leaves_the_file_as_it_was(void **state)
{
    struct scene scene;
    begin(&scene, 0);
    metrics_file_changed(scene.file);
    scene.text = "a 2\n";
    scene.answer = -EIO;
    metrics_file_changed(scene.file);
    assert_file(&scene, "a 1\n");
    end(&scene);
}

static void a_path_that_would_do_harm_or_never_be_read_is_a_problem(void **state)
{
    char *directory = unit_directory_make();
    _cleanup_free_ char *good = files_join(directory, "syncd.prom");
    _cleanup_free_ char *other = files_join(directory, "syncd.txt");
    _cleanup_free_ char *nameless = files_join(directory, ".prom");
    _cleanup_free_ char *data = files_join(directory, "data");
    _cleanup_free_ char *inside = files_join(data, "syncd.prom");
    _cleanup_free_ char *linked = files_join(directory, "link");
    _cleanup_free_ char *inside_too = files_join(linked, "syncd.prom");

    assert_null(metrics_file_problem(good, data));
    assert_null(metrics_file_problem("/no/such/directory/syncd.prom", data));
    assert_non_null(metrics_file_problem("syncd.prom", data));
    assert_non_null(metrics_file_problem(other, data));
    assert_non_null(metrics_file_problem(nameless, data));
    assert_non_null(metrics_file_problem(inside, data)); /* before there is one, too */
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(symlink("data", linked), 0);
    assert_non_null(metrics_file_problem(inside_too, data));
    assert_int_equal(mkdir(good, 0700), 0);
    assert_non_null(metrics_file_problem(good, data));
    unit_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_text_is_written_at_once_and_gone_at_the_end),
        cmocka_unit_test(a_change_within_the_interval_waits_for_its_end),
        cmocka_unit_test(a_change_after_the_interval_is_written_at_once),
        cmocka_unit_test(what_has_not_changed_is_not_written_and_wakes_nobody),
        cmocka_unit_test(the_same_text_within_the_interval_sets_no_timer),
        cmocka_unit_test(a_directory_that_is_not_there_is_told_once_and_tried_again),
        cmocka_unit_test(what_cannot_be_composed_leaves_the_file_as_it_was),
        cmocka_unit_test(a_path_that_would_do_harm_or_never_be_read_is_a_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
