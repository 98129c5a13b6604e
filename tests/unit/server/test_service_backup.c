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

static void back_up(struct scene *scene)
{
    struct service_backup_report report = {0};

    assert_int_equal(service_backup(scene->centre->service, scene->target, NULL, NULL, NULL, &report), 0);
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
        back_up(scene);
        assert_false(is_backed_up(scene, scene->handheld, &backed_up));
        (void)centre_sql(scene->centre, "INSERT OR REPLACE INTO records SELECT * FROM kept");
        back_up(scene);
        assert_true(is_backed_up(scene, scene->handheld, &backed_up));
    }
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
        TEST(what_was_erased_by_order_is_whole_as_its_leaf),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
