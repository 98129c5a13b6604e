/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/service_backup.c: which logs the centre says are in a backup, and when it says nothing. */
#include "tests/unit/server/client.h"

#define RECORDS 300u

struct scene {
    struct centre *centre;
    struct handheld *handheld, *other;
    char *target;
};

static uint64_t append_closed(struct handheld *handheld)
{
    const struct record record = {
        .kind = RECORD_CLOSED, .wall_ms = TEST_WALL_MS, .closed = {.reason = OPEN_ROTATED}};

    return append_record(handheld, &record);
}

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    scene->centre = centre_new();
    scene->target = unit_directory_make();
    scene->handheld = handheld_enrolled(scene->centre);
    scene->other = handheld_enrolled(scene->centre);
    append_opened(scene->handheld);
    append_findings(scene->handheld, RECORDS);
    append_opened(scene->other);
    deliver(scene->centre, scene->handheld);
    deliver(scene->centre, scene->other);
    *state = scene;
    return 0;
}

static int stop(void **state)
{
    struct scene *scene = *state;

    handheld_free(scene->handheld);
    handheld_free(scene->other);
    centre_free(scene->centre);
    unit_directory_remove(scene->target);
    free(scene);
    return 0;
}

static int back_up_to(struct scene *scene, const char *target, struct service_backup_report *ret)
{
    *ret = (struct service_backup_report){0};
    return service_backup(scene->centre->service, target, NULL, NULL, NULL, ret);
}

static void back_up(struct scene *scene)
{
    struct service_backup_report report;

    assert_int_equal(back_up_to(scene, scene->target, &report), 0);
    assert_int_equal(report.logs_broken, 0);
}

static void back_up_elsewhere(struct scene *scene)
{
    char *target = unit_directory_make();
    struct service_backup_report report;

    assert_int_equal(back_up_to(scene, target, &report), 0);
    assert_int_equal(report.logs_broken, 1);
    unit_directory_remove(target);
}

/* Asks, as `who`, about the log of the scene's handheld. */
static bool is_backed_up(struct scene *scene, const struct handheld *who, struct log_backed_up *ret)
{
    const struct exchange_request request = {.has_asked_log = true, .asked_log = scene->handheld->log};
    _cleanup_answered_ struct answered answered = {0};

    exchange_with(scene->centre, who, who->count, 0, &request, &answered);
    assert_false(answered.is_refused);
    *ret = answered.exchange.backed_up_log;
    return answered.exchange.has_backed_up_log;
}

static int rename_nothing(void *context, const char *from, const char *to)
{
    return strstr(to, "centre.db") ? -EIO : world_posix()->verbs->rename(NULL, from, to);
}

static void close_log(struct scene *scene)
{
    append_closed(scene->handheld);
    deliver(scene->centre, scene->handheld);
}

static void a_closed_log_is_told_with_its_root_when_a_finished_backup_has_it(void **state)
{
    struct scene *scene = *state;
    struct log_backed_up backed_up;
    struct sha256 root;

    back_up(scene); /* it goes on: what is behind would be missing */
    assert_false(is_backed_up(scene, scene->handheld, &backed_up));
    close_log(scene);
    assert_false(is_backed_up(scene, scene->handheld, &backed_up));
    back_up(scene);
    assert_true(is_backed_up(scene, scene->handheld, &backed_up));
    assert_int64_equal(backed_up.size, scene->handheld->count);
    root = merkle_root_of(scene->handheld->leaves, scene->handheld->count);
    assert_memory_equal(backed_up.root.b, root.b, SHA256_BYTES);
}

static void nobody_is_told_of_the_log_of_another_handheld(void **state)
{
    struct scene *scene = *state;
    struct log_backed_up backed_up;

    close_log(scene);
    back_up(scene);
    assert_false(is_backed_up(scene, scene->other, &backed_up));
    assert_true(is_backed_up(scene, scene->handheld, &backed_up));
}

static void a_log_of_which_the_copy_lacks_or_alters_a_record_is_not_told(void **state)
{
    static const char *const damages[] = {
        "DELETE FROM records WHERE key & 1099511627775 = 7 AND key >> 40 = 1",
        "UPDATE records SET bytes = zeroblob(length(bytes)) WHERE key & 1099511627775 = 260 AND key >> 40 = 1",
        "UPDATE records SET state = 2 WHERE key & 1099511627775 = 9 AND key >> 40 = 1",
    };
    struct scene *scene = *state;
    struct log_backed_up backed_up;

    close_log(scene);
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        (void)centre_sql(scene->centre, "CREATE TABLE IF NOT EXISTS kept AS SELECT * FROM records");
        (void)centre_sql(scene->centre, damages[i]);
        back_up_elsewhere(scene);
        assert_false(is_backed_up(scene, scene->handheld, &backed_up));
        (void)centre_sql(scene->centre, "INSERT OR REPLACE INTO records SELECT * FROM kept");
        back_up(scene);
        assert_true(is_backed_up(scene, scene->handheld, &backed_up));
    }
}

/* It is moved into the place of the centre, and may be the only copy then: of logs, and of photos. */
static void a_backup_that_is_served_does_not_vouch_for_itself(void **state)
{
    struct scene *scene = *state;
    struct log_backed_up backed_up;
    char *command = NULL;

    close_log(scene);
    (void)centre_sql(
        scene->centre, "INSERT INTO blobs(sha256, state, size, backed_up) VALUES (zeroblob(32), 0, 1, 1)");
    back_up(scene);
    back_up(scene); /* has the marks of the one before */
    centre_stop(scene->centre);
    assert_true(asprintf(&command, "rm -f centre.db* && cp -r '%s'/. .", scene->target) > 0);
    centre_shell(scene->centre, command);
    free(command);
    assert_int_equal(centre_sql(scene->centre, "SELECT sum(backed_up) FROM blobs"), 1);
    centre_start(scene->centre);
    assert_false(is_backed_up(scene, scene->handheld, &backed_up));
    assert_int_equal(centre_sql(scene->centre, "SELECT sum(backed_up) FROM blobs"), 0);
    unit_directory_remove(scene->target);
    scene->target = unit_directory_make();
    back_up(scene);
    assert_true(is_backed_up(scene, scene->handheld, &backed_up));
}

static void a_mark_is_withdrawn_before_the_copy_that_has_not_all_takes_its_place(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report;
    struct log_backed_up backed_up;
    char *target = unit_directory_make();

    close_log(scene);
    back_up(scene);
    assert_true(is_backed_up(scene, scene->handheld, &backed_up));
    (void)centre_sql(scene->centre, "DELETE FROM records WHERE key & 1099511627775 = 7 AND key >> 40 = 1");
    scene->centre->verbs.rename = rename_nothing;
    assert_true(back_up_to(scene, target, &report) < 0);
    scene->centre->verbs.rename = world_posix()->verbs->rename;
    assert_false(is_backed_up(scene, scene->handheld, &backed_up));
    unit_directory_remove(target);
}

static void a_backup_that_has_a_closed_log_whole_is_not_replaced_by_one_that_has_not(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report;
    struct log_backed_up backed_up;
    struct handheld *handheld = scene->handheld;

    close_log(scene);
    back_up(scene);
    (void)centre_sql(scene->centre, "CREATE TABLE kept AS SELECT * FROM records");
    (void)centre_sql(scene->centre, "DELETE FROM records WHERE key & 1099511627775 = 7 AND key >> 40 = 1");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(back_up_to(scene, scene->target, &report), -EUCLEAN);
        assert_true(report.has_kept_before);
        assert_true(uuid_equal(&report.kept_log, &handheld->log));
        assert_true(is_backed_up(scene, handheld, &backed_up)); /* and so it is */
    }
    back_up_elsewhere(scene);
    assert_false(is_backed_up(scene, handheld, &backed_up));
    assert_int_equal(
        back_up_to(scene, scene->target, &report), -EUCLEAN); /* also when nothing is said any more */
    (void)centre_sql(scene->centre, "INSERT OR REPLACE INTO records SELECT * FROM kept");
    back_up(scene);
    assert_true(is_backed_up(scene, handheld, &backed_up));
}

/* It has the log half, and open; handhelds may have removed what only the backup has. */
static void a_centre_that_was_set_back_does_not_replace_the_newer_backup(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report;
    struct log_backed_up backed_up;

    centre_stop(scene->centre);
    centre_shell(scene->centre, "mkdir older && cp centre.db* older/");
    centre_start(scene->centre);
    close_log(scene);
    back_up(scene);
    centre_stop(scene->centre);
    centre_shell(scene->centre, "rm -f centre.db* && cp older/centre.db* .");
    centre_start(scene->centre);
    assert_int_equal(back_up_to(scene, scene->target, &report), -EUCLEAN);
    assert_true(report.has_kept_before && uuid_equal(&report.kept_log, &scene->handheld->log));
    deliver(scene->centre, scene->handheld); /* which has it all still */
    back_up(scene);
    assert_true(is_backed_up(scene, scene->handheld, &backed_up));
}

/* No log counts as closed while the list of findings is made anew. */
static void a_backup_during_a_rebuild_replaces_the_one_before(void **state)
{
    struct scene *scene = *state;

    close_log(scene);
    back_up(scene);
    (void)centre_sql(scene->centre, "UPDATE logs SET closed = 0");
    back_up(scene);
}

static void who_has_only_read_a_backup_leaves_it_a_backup(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report;
    char *command = NULL;

    back_up(scene);
    assert_true(asprintf(&command, ": > '%s/centre.db-wal' && : > '%s/centre.db-shm'", scene->target,
                    scene->target) > 0);
    centre_shell(scene->centre, command);
    free(command);
    back_up(scene);
    assert_true(asprintf(&command, ": > '%s/centre.lock'", scene->target) > 0);
    centre_shell(scene->centre, command);
    free(command);
    assert_int_equal(back_up_to(scene, scene->target, &report), -ENOTEMPTY); /* a server ran there */
}

static void a_photo_that_a_backup_could_not_copy_is_not_told_to_be_in_one(void **state)
{
    struct scene *scene = *state;
    struct service_backup_report report;

    (void)centre_sql(
        scene->centre, "INSERT INTO blobs(sha256, state, size, backed_up) VALUES (zeroblob(32), 1, 1, 1)");
    assert_int_equal(back_up_to(scene, scene->target, &report), -EUCLEAN);
    assert_int_equal(report.blobs_bad, 1);
    assert_int_equal(centre_sql(scene->centre, "SELECT sum(backed_up) FROM blobs"), 0);
}

static void what_was_erased_by_order_is_whole_as_its_leaf(void **state)
{
    struct scene *scene = *state;
    struct log_backed_up backed_up;

    (void)centre_sql(scene->centre,
        "UPDATE records SET state = 1, bytes = NULL WHERE key & 1099511627775 = 9 AND key >> 40 = 1");
    close_log(scene);
    back_up(scene);
    assert_true(is_backed_up(scene, scene->handheld, &backed_up));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_closed_log_is_told_with_its_root_when_a_finished_backup_has_it),
        TEST(nobody_is_told_of_the_log_of_another_handheld),
        TEST(a_log_of_which_the_copy_lacks_or_alters_a_record_is_not_told),
        TEST(a_backup_that_is_served_does_not_vouch_for_itself),
        TEST(a_mark_is_withdrawn_before_the_copy_that_has_not_all_takes_its_place),
        TEST(a_backup_that_has_a_closed_log_whole_is_not_replaced_by_one_that_has_not),
        TEST(a_centre_that_was_set_back_does_not_replace_the_newer_backup),
        TEST(a_backup_during_a_rebuild_replaces_the_one_before),
        TEST(who_has_only_read_a_backup_leaves_it_a_backup),
        TEST(a_photo_that_a_backup_could_not_copy_is_not_told_to_be_in_one),
        TEST(what_was_erased_by_order_is_whole_as_its_leaf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
