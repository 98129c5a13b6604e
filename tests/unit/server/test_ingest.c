/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the ingest decision: server/core/ingest.c. */
#include "tests/unit/unit.h"

#include "server/core/ingest.h"

#define LEAVES 1000u

static struct sha256 leaf_of(unsigned number)
{
    return sha256_of(bytes_of(&number, sizeof(number)));
}

/* A log whose leaf i is leaf_of(i), and a request for a part of it. */
struct scene {
    struct sha256 leaves[LEAVES];
    struct sha256 tiles[LEAVES / TILE_LEAVES + 1];
    bool known[LEAVES];
    struct ingest_held held;
    struct ingest_request request;
    struct ingest_decision decision;
};

static struct scene *scene_of(uint64_t size, uint64_t first_seq, size_t count)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    for (unsigned i = 0; i < LEAVES; i++) {
        scene->leaves[i] = leaf_of(i);
        scene->known[i] = true;
        if (i < size)
            assert_int_equal(merkle_append(&scene->held.frontier, &scene->leaves[i]), 0);
    }
    scene->held.overlap_count = ingest_overlap(size, first_seq, count);
    scene->held.overlap_leaves = scene->leaves + first_seq;
    scene->held.overlap_known = scene->known;
    scene->request = (struct ingest_request){.first_seq = first_seq,
        .leaves = scene->leaves + first_seq,
        .count = count,
        .has_checkpoint = true,
        .checkpoint_size = first_seq + count,
        .checkpoint_root = merkle_root_of(scene->leaves, first_seq + count)};
    return scene;
}

static enum ingest_outcome decide(struct scene *scene)
{
    ingest_decide(&scene->held, &scene->request, &scene->decision, scene->tiles);
    return scene->decision.outcome;
}

static void assert_frontier_of(struct scene *scene, uint64_t size)
{
    struct sha256 expected = merkle_root_of(scene->leaves, size),
                  root = merkle_root(&scene->decision.frontier);

    assert_int64_equal(scene->decision.frontier.size, size);
    assert_memory_equal(root.b, expected.b, SHA256_BYTES);
}

static void records_at_the_end_of_the_log_are_appended(void **state)
{
    struct scene *scene = scene_of(10, 10, 5);

    assert_int_equal(decide(scene), INGEST_STORED);
    assert_int_equal(scene->decision.skipped, 0);
    assert_int_equal(scene->decision.appended, 5);
    assert_frontier_of(scene, 15);
    free(scene);
}

static void the_overlap_is_skipped(void **state)
{
    struct scene *scene = scene_of(10, 7, 5);

    assert_int_equal(decide(scene), INGEST_STORED);
    assert_int_equal(scene->decision.skipped, 3);
    assert_int_equal(scene->decision.appended, 2);
    assert_frontier_of(scene, 12);
    free(scene);
}

static void what_is_held_already_changes_nothing_whatever_its_checkpoint_says(void **state)
{
    struct scene *scene = scene_of(10, 2, 5);

    scene->request.checkpoint_root.b[0] ^= 1;
    assert_int_equal(decide(scene), INGEST_STORED);
    assert_int_equal(scene->decision.skipped, 5);
    assert_int_equal(scene->decision.appended, 0);
    assert_frontier_of(scene, 10);
    free(scene);
}

static void a_gap_is_ahead(void **state)
{
    struct scene *scene = scene_of(10, 11, 5);

    assert_int_equal(decide(scene), INGEST_AHEAD);
    assert_frontier_of(scene, 10);
    free(scene);
}

static void another_leaf_at_a_held_position_is_a_fork(void **state)
{
    struct scene *scene = scene_of(10, 7, 5);
    struct sha256 others[5];

    memcpy(others, scene->leaves + 7, sizeof(others));
    others[1] = leaf_of(4711);
    scene->request.leaves = others;
    assert_int_equal(decide(scene), INGEST_FORK);
    assert_int64_equal(scene->decision.fork_seq, 8);
    assert_memory_equal(scene->decision.fork_leaf.b, scene->leaves[8].b, SHA256_BYTES);
    assert_frontier_of(scene, 10);
    free(scene);
}

static void a_leaf_that_is_not_known_any_more_is_passed_over(void **state)
{
    struct scene *scene = scene_of(10, 7, 5);
    struct sha256 held[3];

    memcpy(held, scene->leaves + 7, sizeof(held));
    held[1] = (struct sha256){{0}};
    scene->held.overlap_leaves = held;
    scene->known[1] = false;
    assert_int_equal(decide(scene), INGEST_STORED);
    assert_frontier_of(scene, 12);
    free(scene);
}

static void another_root_than_the_signed_one_takes_nothing(void **state)
{
    struct scene *scene = scene_of(10, 8, 5);

    scene->request.checkpoint_root.b[31] ^= 1;
    assert_int_equal(decide(scene), INGEST_ROOT_MISMATCH);
    assert_int_equal(scene->decision.appended, 0);
    assert_int_equal(scene->decision.tile_count, 0);
    assert_frontier_of(scene, 10);
    free(scene);
}

static void a_checkpoint_of_another_size_or_none_takes_nothing(void **state)
{
    struct scene *scene = scene_of(10, 10, 5);

    scene->request.checkpoint_size = 14;
    assert_int_equal(decide(scene), INGEST_ROOT_MISMATCH);
    scene->request.checkpoint_size = 16;
    assert_int_equal(decide(scene), INGEST_ROOT_MISMATCH);
    scene->request.checkpoint_size = 15;
    scene->request.has_checkpoint = false;
    assert_int_equal(decide(scene), INGEST_ROOT_MISMATCH);
    free(scene);
}

static void nothing_asked_of_an_empty_log_is_stored(void **state)
{
    struct scene *scene = scene_of(0, 0, 0);

    scene->request.has_checkpoint = false;
    assert_int_equal(decide(scene), INGEST_STORED);
    assert_int_equal(scene->decision.appended, 0);
    free(scene);
}

static void every_cut_into_two_requests_gives_the_same_log_and_tiles(void **state)
{
    struct sha256 expected[3];

    for (size_t i = 0; i < 3; i++) {
        struct scene *scene = scene_of(0, 0, 1);

        expected[i] = merkle_root_of(scene->leaves + i * TILE_LEAVES, TILE_LEAVES);
        free(scene);
    }
    for (size_t cut = 0; cut <= 800; cut += 1 + cut % 37) {
        struct scene *first = scene_of(0, 0, cut), *second = scene_of(cut, cut, 800 - cut);
        size_t tiles = 0;

        assert_int_equal(decide(first), INGEST_STORED);
        assert_frontier_of(first, cut);
        second->held.frontier = first->decision.frontier;
        assert_int_equal(decide(second), INGEST_STORED);
        assert_frontier_of(second, 800);
        for (size_t i = 0; i < first->decision.tile_count; i++, tiles++)
            assert_memory_equal(&first->tiles[i], &expected[first->decision.first_tile + i], SHA256_BYTES);
        for (size_t i = 0; i < second->decision.tile_count; i++, tiles++)
            assert_memory_equal(&second->tiles[i], &expected[second->decision.first_tile + i], SHA256_BYTES);
        assert_int_equal(tiles, 3);
        assert_true(second->decision.tile_count <= ingest_tiles_max(800 - cut));
        free(first);
        free(second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_at_the_end_of_the_log_are_appended),
        cmocka_unit_test(the_overlap_is_skipped),
        cmocka_unit_test(what_is_held_already_changes_nothing_whatever_its_checkpoint_says),
        cmocka_unit_test(a_gap_is_ahead),
        cmocka_unit_test(another_leaf_at_a_held_position_is_a_fork),
        cmocka_unit_test(a_leaf_that_is_not_known_any_more_is_passed_over),
        cmocka_unit_test(another_root_than_the_signed_one_takes_nothing),
        cmocka_unit_test(a_checkpoint_of_another_size_or_none_takes_nothing),
        cmocka_unit_test(nothing_asked_of_an_empty_log_is_stored),
        cmocka_unit_test(every_cut_into_two_requests_gives_the_same_log_and_tiles),
    };

    return cmocka_run_group_tests_name("server ingest", tests, NULL, NULL);
}
