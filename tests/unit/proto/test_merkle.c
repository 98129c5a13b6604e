/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/merkle.h, leaves to roots, against tests/vectors/merkle.tsv. */
#include "tests/unit/proto/vectors.h"

#include "proto/merkle.h"

#include <errno.h>

/* The leaf at `seq` of the log that the vectors are about. */
static struct sha256 vector_leaf(uint64_t seq)
{
    char text[32];

    snprintf(text, sizeof(text), "record %llu", (unsigned long long)seq);
    return merkle_leaf(bytes_of_text(text));
}

static struct sha256 vector_hash(const struct vector_file *vectors, size_t field)
{
    struct sha256 hash;

    assert_int_equal(sha256_from_bytes(vector_bytes(vectors, field), &hash), 0);
    return hash;
}

static void leaves_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/merkle.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "leaf")) {
        struct sha256 leaf = merkle_leaf(vector_bytes(&vectors, 1));
        struct sha256 expected = vector_hash(&vectors, 2);

        assert_memory_equal(leaf.b, expected.b, SHA256_BYTES);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 5);
}

static void nodes_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/merkle.tsv");

    assert_true(vector_next(&vectors, "node"));
    struct sha256 left = vector_hash(&vectors, 1);
    struct sha256 right = vector_hash(&vectors, 2);
    struct sha256 expected = vector_hash(&vectors, 3);
    struct sha256 node = merkle_node(&left, &right);
    assert_memory_equal(node.b, expected.b, SHA256_BYTES);
    vector_close(&vectors);
}

static void roots_of_a_growing_log_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/merkle.tsv");
    struct merkle_frontier frontier;
    size_t checked = 0;

    merkle_frontier_init(&frontier);
    while (vector_next(&vectors, "root")) {
        uint64_t size = vector_number(&vectors, 1);
        struct sha256 expected = vector_hash(&vectors, 2), root;

        for (uint64_t seq = frontier.size; seq < size; seq++) {
            struct sha256 leaf = vector_leaf(seq);

            assert_int_equal(merkle_append(&frontier, &leaf), 0);
        }
        assert_true(frontier.size == size);
        root = merkle_root(&frontier);
        assert_memory_equal(root.b, expected.b, SHA256_BYTES);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 55);
}

static void frontiers_are_encoded_as_the_independent_ones_and_read_back(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/merkle.tsv");
    struct merkle_frontier frontier, again;
    uint8_t encoded[MERKLE_DEPTH_MAX * SHA256_BYTES];
    size_t checked = 0;

    merkle_frontier_init(&frontier);
    while (vector_next(&vectors, "frontier")) {
        uint64_t size = vector_number(&vectors, 1);
        struct bytes expected = vector_bytes(&vectors, 2);
        struct sha256 root, root_again;

        for (uint64_t seq = frontier.size; seq < size; seq++) {
            struct sha256 leaf = vector_leaf(seq);

            assert_int_equal(merkle_append(&frontier, &leaf), 0);
        }
        assert_int_equal(merkle_frontier_encode(&frontier, encoded), expected.len);
        assert_memory_equal(encoded, expected.data, expected.len);

        assert_int_equal(merkle_frontier_decode(size, expected, &again), 0);
        root = merkle_root(&frontier);
        root_again = merkle_root(&again);
        assert_true(sha256_equal(&root, &root_again));
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 11);
}

static void frontier_of_a_length_that_does_not_fit_its_size_is_refused(void **state)
{
    static const uint8_t data[4 * SHA256_BYTES] = {0};
    struct merkle_frontier frontier = {.size = 77};

    assert_int_equal(merkle_frontier_decode(3, bytes_of(data, SHA256_BYTES), &frontier), -EBADMSG);
    assert_int_equal(merkle_frontier_decode(3, bytes_of(data, 2 * SHA256_BYTES - 1), &frontier), -EBADMSG);
    assert_int_equal(merkle_frontier_decode(3, bytes_of(data, 2 * SHA256_BYTES + 1), &frontier), -EBADMSG);
    assert_int_equal(merkle_frontier_decode(0, bytes_of(data, SHA256_BYTES), &frontier), -EBADMSG);
    assert_int_equal(merkle_frontier_decode(UINT64_MAX, bytes_of(data, sizeof(data)), &frontier), -EBADMSG);
    assert_int_equal(
        merkle_frontier_decode(LOG_SIZE_MAX * 2, bytes_of(data, SHA256_BYTES), &frontier), -EBADMSG);
    assert_int_equal(frontier.size, 77);
    assert_int_equal(merkle_frontier_decode(0, bytes_of(NULL, 0), &frontier), 0);
    assert_int_equal(frontier.size, 0);
    assert_int_equal(merkle_frontier_decode(LOG_SIZE_MAX, bytes_of(data, SHA256_BYTES), &frontier), 0);
}

static void full_log_takes_no_more(void **state)
{
    static const struct sha256 leaf = {{1}};
    struct merkle_frontier frontier = {.size = LOG_SIZE_MAX};

    assert_int_equal(merkle_append(&frontier, &leaf), -EOVERFLOW);
    assert_int_equal(merkle_append_tile(&frontier, &leaf), -EOVERFLOW);
    assert_true(frontier.size == LOG_SIZE_MAX);
    frontier.size = LOG_SIZE_MAX - 1;
    assert_int_equal(merkle_append(&frontier, &leaf), 0);
    assert_int_equal(merkle_append(&frontier, &leaf), -EOVERFLOW);
}

static void tiles_appended_whole_give_the_same_frontier_as_their_leaves(void **state)
{
    struct merkle_frontier by_leaf, by_tile;
    struct sha256 leaves[TILE_LEAVES];

    merkle_frontier_init(&by_leaf);
    merkle_frontier_init(&by_tile);
    for (uint64_t tile = 0; tile < 13; tile++) {
        struct sha256 tile_root;

        for (size_t i = 0; i < TILE_LEAVES; i++) {
            leaves[i] = vector_leaf(tile * TILE_LEAVES + i);
            assert_int_equal(merkle_append(&by_leaf, &leaves[i]), 0);
        }
        tile_root = merkle_root_of(leaves, TILE_LEAVES);
        assert_int_equal(merkle_append_tile(&by_tile, &tile_root), 0);
        assert_true(by_tile.size == by_leaf.size);
        assert_memory_equal(by_tile.roots, by_leaf.roots,
            (size_t)__builtin_popcountll(by_leaf.size) * sizeof(by_leaf.roots[0]));
    }
}

static void root_of_no_leaves_is_the_hash_of_nothing(void **state)
{
    struct sha256 empty = merkle_empty_root();
    struct sha256 nothing = sha256_of(bytes_of(NULL, 0));
    struct sha256 of_none = merkle_root_of(NULL, 0);

    assert_true(sha256_equal(&empty, &nothing));
    assert_true(sha256_equal(&of_none, &nothing));
}

/* A leaf is never a node, and a node never a leaf: the prefixes keep them apart. */
static void record_that_looks_like_a_node_has_another_hash(void **state)
{
    struct sha256 left = vector_leaf(0), right = vector_leaf(1);
    struct sha256 node = merkle_node(&left, &right);
    uint8_t as_record[2 * SHA256_BYTES];
    struct sha256 leaf;

    memcpy(as_record, left.b, SHA256_BYTES);
    memcpy(as_record + SHA256_BYTES, right.b, SHA256_BYTES);
    leaf = merkle_leaf(bytes_of(as_record, sizeof(as_record)));
    assert_false(sha256_equal(&leaf, &node));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_equal_the_independent_ones),
        cmocka_unit_test(nodes_equal_the_independent_ones),
        cmocka_unit_test(roots_of_a_growing_log_equal_the_independent_ones),
        cmocka_unit_test(frontiers_are_encoded_as_the_independent_ones_and_read_back),
        cmocka_unit_test(frontier_of_a_length_that_does_not_fit_its_size_is_refused),
        cmocka_unit_test(full_log_takes_no_more),
        cmocka_unit_test(tiles_appended_whole_give_the_same_frontier_as_their_leaves),
        cmocka_unit_test(root_of_no_leaves_is_the_hash_of_nothing),
        cmocka_unit_test(record_that_looks_like_a_node_has_another_hash),
    };

    return cmocka_run_group_tests_name("proto merkle", tests, NULL, NULL);
}
