/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of an audit's arithmetic: server/core/audit.c. */
#include "tests/unit/unit.h"

#include "server/core/audit.h"

#define ROWS 600u

struct scene {
    struct audit_row rows[ROWS];
    struct merkle_frontier frontier;
    struct audit_scan scan;
    bool gives_bytes, is_trusted, keeps_tile_roots;
    unsigned asked_for_bytes;
};

static struct sha256 leaf_of(unsigned number)
{
    return sha256_of(bytes_of(&number, sizeof(number)));
}

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    for (unsigned i = 0; i < ROWS; i++) {
        struct sha256 leaf = leaf_of(i);

        scene->rows[i] = (struct audit_row){
            .state = AUDIT_ROW_PRESENT, .has_leaf = true, .leaf = leaf, .bytes_leaf = leaf};
        assert_int_equal(merkle_append(&scene->frontier, &leaf), 0);
    }
    scene->is_trusted = true;
    *state = scene;
    return 0;
}

static int stop(void **state)
{
    free(*state);
    return 0;
}

/* What was kept when the rows were stored. */
static struct sha256 kept_root(const struct scene *scene, uint64_t tile)
{
    struct sha256 leaves[TILE_LEAVES], root;
    size_t count = tile < ROWS / TILE_LEAVES ? TILE_LEAVES : ROWS % TILE_LEAVES;

    for (size_t i = 0; i < count; i++)
        leaves[i] = leaf_of((unsigned)(tile * TILE_LEAVES + i));
    root = merkle_root_of(leaves, count);
    if (count < TILE_LEAVES) {
        struct sha256 rest;

        assert_true(audit_kept_rest_root(&scene->frontier, &rest));
        assert_memory_equal(rest.b, root.b, SHA256_BYTES);
    }
    return root;
}

static void scan_all(struct scene *scene)
{
    audit_scan_init(&scene->scan, 0, ROWS, scene->is_trusted, scene->keeps_tile_roots);
    while (audit_scan_next_count(&scene->scan) > 0) {
        struct sha256 kept = kept_root(scene, scene->scan.next / TILE_LEAVES);
        struct audit_row *rows = scene->rows + scene->scan.next;
        size_t count = audit_scan_next_count(&scene->scan);

        for (size_t i = 0; i < count; i++)
            rows[i].has_bytes = scene->gives_bytes;
        if (audit_scan_tile(&scene->scan, rows, &kept) == AUDIT_TILE_DONE)
            continue;
        scene->asked_for_bytes++;
        for (size_t i = 0; i < count; i++)
            rows[i].has_bytes = true;
        assert_int_equal(audit_scan_tile(&scene->scan, rows, &kept), AUDIT_TILE_DONE);
    }
}

static void assert_runs(const struct audit_runs *runs, size_t count, uint64_t first, uint64_t len)
{
    assert_int_equal(runs->count, count);
    if (count > 0) {
        assert_int64_equal(runs->runs[0].first, first);
        assert_int64_equal(runs->runs[0].count, len);
    }
}

static void a_healthy_log_gives_its_root_and_no_bytes_are_read(void **state)
{
    struct scene *scene = *state;
    struct sha256 root, expected = merkle_root(&scene->frontier);

    scan_all(scene);
    assert_int_equal(scene->asked_for_bytes, 0);
    assert_true(audit_scan_root(&scene->scan, &root));
    assert_memory_equal(root.b, expected.b, SHA256_BYTES);
    assert_int64_equal(scene->scan.counted, ROWS);
    assert_false(audit_scan_found_fault(&scene->scan));
}

static void missing_rows_are_told_in_runs(void **state)
{
    struct scene *scene = *state;
    struct sha256 root;

    for (size_t i = 250; i < 260; i++) /* across a tile's edge */
        scene->rows[i].state = AUDIT_ROW_MISSING;
    scan_all(scene);
    assert_runs(&scene->scan.missing, 1, 250, 10);
    assert_int_equal(scene->scan.damaged.count, 0);
    assert_false(audit_scan_root(&scene->scan, &root));
    assert_int64_equal(scene->scan.counted, ROWS - 10);
}

static void altered_bytes_are_damage_when_bytes_are_read(void **state)
{
    struct scene *scene = *state;

    scene->gives_bytes = true;
    scene->rows[300].bytes_leaf = leaf_of(9999);
    scan_all(scene);
    assert_runs(&scene->scan.damaged, 1, 300, 1);
}

static void an_altered_leaf_is_found_by_reading_the_bytes_of_its_tile_only(void **state)
{
    struct scene *scene = *state;

    scene->rows[300].leaf = leaf_of(9999);
    scan_all(scene);
    assert_int_equal(scene->asked_for_bytes, 1);
    assert_runs(&scene->scan.damaged, 1, 300, 1);
}

static void a_leaf_altered_with_its_bytes_makes_its_whole_tile_suspect(void **state)
{
    struct scene *scene = *state;

    scene->rows[300].leaf = scene->rows[300].bytes_leaf = leaf_of(9999);
    scan_all(scene);
    assert_runs(&scene->scan.damaged, 1, 256, 256);
}

static void a_row_without_its_leaf_is_damage(void **state)
{
    struct scene *scene = *state;

    scene->rows[599].has_leaf = false;
    scan_all(scene);
    assert_runs(&scene->scan.damaged, 1, 599, 1);
}

static void erased_and_lost_rows_are_told_and_the_root_holds(void **state)
{
    struct scene *scene = *state;
    struct sha256 root, expected = merkle_root(&scene->frontier);

    scene->rows[5].state = AUDIT_ROW_ERASED;
    scene->rows[6].state = AUDIT_ROW_LOST;
    scene->gives_bytes = true;
    scan_all(scene);
    assert_runs(&scene->scan.erased, 1, 5, 1);
    assert_runs(&scene->scan.lost, 1, 6, 1);
    assert_true(audit_scan_root(&scene->scan, &root));
    assert_memory_equal(root.b, expected.b, SHA256_BYTES);
    assert_int64_equal(scene->scan.counted, ROWS);
}

static void without_trusted_roots_the_tiles_own_roots_are_given(void **state)
{
    struct scene *scene = *state;

    scene->is_trusted = false;
    scene->keeps_tile_roots = true;
    scene->rows[300].leaf = leaf_of(9999);
    scene->rows[10].state = AUDIT_ROW_MISSING;
    scan_all(scene);
    assert_int_equal(scene->scan.tile_root_count, 3);
    struct sha256 kept = kept_root(scene, 1), last = kept_root(scene, 2), none = {{0}};
    assert_memory_equal(scene->scan.tile_roots[0].b, none.b, SHA256_BYTES);
    assert_false(sha256_equal(&scene->scan.tile_roots[1], &kept));
    assert_true(sha256_equal(&scene->scan.tile_roots[2], &last));
}

static void a_window_starts_on_a_tile_and_ends_when_its_lists_are_full(void **state)
{
    struct scene *scene = *state;
    struct audit_row rows[TILE_LEAVES] = {{.state = AUDIT_ROW_MISSING}};

    audit_scan_init(&scene->scan, 300, UINT64_C(1) << 30, true, false);
    assert_int64_equal(scene->scan.first, 256);
    for (size_t i = 1; i < TILE_LEAVES; i += 2)
        rows[i] = (struct audit_row){.state = AUDIT_ROW_LOST};
    for (unsigned tiles = 0; audit_scan_has_room(&scene->scan); tiles++) {
        assert_true(tiles < AUDIT_RUNS_MAX / (TILE_LEAVES / 2));
        (void)audit_scan_tile(&scene->scan, rows, NULL);
    }
    assert_int_equal(scene->scan.missing.count, AUDIT_RUNS_MAX);
    audit_scan_init(&scene->scan, 600, ROWS, true, false);
    assert_int_equal(audit_scan_next_count(&scene->scan), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_healthy_log_gives_its_root_and_no_bytes_are_read, start, stop),
        cmocka_unit_test_setup_teardown(missing_rows_are_told_in_runs, start, stop),
        cmocka_unit_test_setup_teardown(altered_bytes_are_damage_when_bytes_are_read, start, stop),
        cmocka_unit_test_setup_teardown(
            an_altered_leaf_is_found_by_reading_the_bytes_of_its_tile_only, start, stop),
        cmocka_unit_test_setup_teardown(
            a_leaf_altered_with_its_bytes_makes_its_whole_tile_suspect, start, stop),
        cmocka_unit_test_setup_teardown(a_row_without_its_leaf_is_damage, start, stop),
        cmocka_unit_test_setup_teardown(erased_and_lost_rows_are_told_and_the_root_holds, start, stop),
        cmocka_unit_test_setup_teardown(without_trusted_roots_the_tiles_own_roots_are_given, start, stop),
        cmocka_unit_test_setup_teardown(
            a_window_starts_on_a_tile_and_ends_when_its_lists_are_full, start, stop),
    };

    return cmocka_run_group_tests_name("server audit", tests, NULL, NULL);
}
