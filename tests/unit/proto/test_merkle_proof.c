/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of proto/merkle.h, proofs: equal to those of tests/vectors/merkle.tsv, right for every position and
 * range of small logs, and refused when anything about them is changed.
 */
#include "tests/unit/proto/vectors.h"

#include "proto/merkle.h"

#include <errno.h>

#define VECTOR_LOG_SIZE 70001u
#define SMALL_LOG_SIZE 70u

/* A log in memory, which counts what is read of it. */
struct test_log {
    struct sha256 *leaves;
    struct sha256 *tiles;
    uint64_t size;
    uint64_t leaves_read;
    uint64_t tiles_read;
    uint64_t fail_after; /* reads; 0: never */
};

static int count_read(struct test_log *log, uint64_t *counter, size_t count)
{
    *counter += count;
    assert_in_range(count, 1, 64);
    return log->fail_after > 0 && log->leaves_read + log->tiles_read > log->fail_after ? -EIO : 0;
}

static int read_leaves(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    struct test_log *log = context;

    assert_true(first + count <= log->size);
    memcpy(ret, log->leaves + first, count * sizeof(*ret));
    return count_read(log, &log->leaves_read, count);
}

static int read_tiles(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    struct test_log *log = context;

    assert_true((first + count) * TILE_LEAVES <= log->size);
    memcpy(ret, log->tiles + first, count * sizeof(*ret));
    return count_read(log, &log->tiles_read, count);
}

static struct merkle_source source_of(struct test_log *log)
{
    return (struct merkle_source){.leaves = read_leaves, .tiles = read_tiles, .context = log};
}

static struct test_log log_new(uint64_t size)
{
    struct test_log log = {.size = size};

    log.leaves = calloc(size, sizeof(*log.leaves));
    log.tiles = calloc(size / TILE_LEAVES + 1, sizeof(*log.tiles));
    assert_non_null(log.leaves);
    assert_non_null(log.tiles);
    for (uint64_t seq = 0; seq < size; seq++) {
        char text[32];

        snprintf(text, sizeof(text), "record %llu", (unsigned long long)seq);
        log.leaves[seq] = merkle_leaf(bytes_of_text(text));
    }
    for (uint64_t tile = 0; tile < size / TILE_LEAVES; tile++)
        log.tiles[tile] = merkle_root_of(log.leaves + tile * TILE_LEAVES, TILE_LEAVES);
    return log;
}

static void log_free(struct test_log *log)
{
    free(log->leaves);
    free(log->tiles);
}

static void roots_at_any_size_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/merkle.tsv");
    struct test_log log = log_new(VECTOR_LOG_SIZE);
    struct merkle_source source = source_of(&log);
    size_t checked = 0;

    while (vector_next(&vectors, "root")) {
        struct bytes expected = vector_bytes(&vectors, 2);
        struct sha256 root;

        assert_int_equal(merkle_root_at(&source, vector_number(&vectors, 1), &root), 0);
        assert_memory_equal(root.b, expected.data, SHA256_BYTES);
        checked++;
    }
    vector_close(&vectors);
    log_free(&log);
    assert_int_equal(checked, 55);
}

static void inclusion_proofs_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/merkle.tsv");
    struct test_log log = log_new(VECTOR_LOG_SIZE);
    struct merkle_source source = source_of(&log);
    size_t checked = 0;

    while (vector_next(&vectors, "inclusion")) {
        uint64_t seq = vector_number(&vectors, 1), size = vector_number(&vectors, 2);
        struct bytes expected = vector_bytes(&vectors, 3);
        struct sha256 proof[MERKLE_DEPTH_MAX], root;
        size_t count = 99;

        assert_int_equal(merkle_prove_inclusion(&source, seq, size, proof, &count), 0);
        assert_int_equal(count * SHA256_BYTES, expected.len);
        assert_memory_equal(proof, expected.data, expected.len);
        assert_int_equal(merkle_root_at(&source, size, &root), 0);
        assert_int_equal(merkle_check_inclusion(&log.leaves[seq], seq, size, proof, count, &root), 0);
        checked++;
    }
    vector_close(&vectors);
    log_free(&log);
    assert_int_equal(checked, 63);
}

static void range_proofs_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/merkle.tsv");
    struct test_log log = log_new(VECTOR_LOG_SIZE);
    struct merkle_source source = source_of(&log);
    size_t checked = 0;

    while (vector_next(&vectors, "range")) {
        uint64_t first = vector_number(&vectors, 1), count = vector_number(&vectors, 2);
        uint64_t size = vector_number(&vectors, 3);
        struct bytes expected = vector_bytes(&vectors, 4);
        struct sha256 proof[MERKLE_PROOF_MAX], root;
        size_t proof_count = 99;

        assert_int_equal(merkle_prove_range(&source, first, count, size, proof, &proof_count), 0);
        assert_int_equal(proof_count * SHA256_BYTES, expected.len);
        assert_memory_equal(proof, expected.data, expected.len);
        assert_int_equal(merkle_root_at(&source, size, &root), 0);
        assert_int_equal(
            merkle_check_range(log.leaves + first, first, count, size, proof, proof_count, &root), 0);
        checked++;
    }
    vector_close(&vectors);
    log_free(&log);
    assert_int_equal(checked, 94);
}

/* Each way to change an inclusion proof, or what it is said to prove. */
static void refuse_altered_inclusion(const struct test_log *log, uint64_t seq, uint64_t size,
    const struct sha256 *proof, size_t count, const struct sha256 *root)
{
    const struct sha256 *leaf = &log->leaves[seq];
    struct sha256 changed[MERKLE_DEPTH_MAX + 1] = {{{0}}};

    memcpy(changed, proof, count * sizeof(*proof));
    for (size_t bit = 0; bit < count * SHA256_BYTES * 8; bit += 37) {
        changed[bit / 256].b[bit / 8 % 32] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(merkle_check_inclusion(leaf, seq, size, changed, count, root), -EBADMSG);
        changed[bit / 256].b[bit / 8 % 32] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t shorter = 0; shorter < count; shorter++)
        assert_int_equal(merkle_check_inclusion(leaf, seq, size, proof, shorter, root), -EBADMSG);
    assert_int_equal(merkle_check_inclusion(leaf, seq, size, changed, count + 1, root), -EBADMSG);
    if (count > 0)
        assert_int_equal(merkle_check_inclusion(leaf, seq, size, proof + 1, count - 1, root), -EBADMSG);
    for (uint64_t other = 0; other < size; other++) {
        if (other == seq)
            continue;
        assert_int_equal(merkle_check_inclusion(leaf, other, size, proof, count, root), -EBADMSG);
        assert_int_equal(
            merkle_check_inclusion(&log->leaves[other], seq, size, proof, count, root), -EBADMSG);
    }
    assert_int_equal(merkle_check_inclusion(leaf, size, size, proof, count, root), -EBADMSG);
    assert_int_equal(merkle_check_inclusion(leaf, seq, 0, proof, count, root), -EBADMSG);
    assert_int_equal(merkle_check_inclusion(leaf, seq, UINT64_MAX, proof, count, root), -EBADMSG);
    assert_int_equal(merkle_check_inclusion(leaf, UINT64_MAX, size, proof, count, root), -EBADMSG);
}

static void every_inclusion_proof_of_small_logs_holds_and_no_altered_one_does(void **state)
{
    struct test_log log = log_new(SMALL_LOG_SIZE);
    struct merkle_source source = source_of(&log);

    for (uint64_t size = 1; size <= SMALL_LOG_SIZE; size++) {
        struct sha256 root = merkle_root_of(log.leaves, size);

        for (uint64_t seq = 0; seq < size; seq++) {
            struct sha256 proof[MERKLE_DEPTH_MAX];
            size_t count;

            assert_int_equal(merkle_prove_inclusion(&source, seq, size, proof, &count), 0);
            assert_int_equal(merkle_check_inclusion(&log.leaves[seq], seq, size, proof, count, &root), 0);
            if (size <= 20 || seq % 13 == 0)
                refuse_altered_inclusion(&log, seq, size, proof, count, &root);
        }
    }
    log_free(&log);
}

static void refuse_altered_range(const struct test_log *log, uint64_t first, uint64_t count, uint64_t size,
    const struct sha256 *proof, size_t proof_count, const struct sha256 *root)
{
    const struct sha256 *leaves = log->leaves + first;
    struct sha256 changed[MERKLE_PROOF_MAX + 1] = {{{0}}};

    memcpy(changed, proof, proof_count * sizeof(*proof));
    for (size_t bit = 0; bit < proof_count * SHA256_BYTES * 8; bit += 101) {
        changed[bit / 256].b[bit / 8 % 32] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(
            merkle_check_range(leaves, first, count, size, changed, proof_count, root), -EBADMSG);
        changed[bit / 256].b[bit / 8 % 32] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t shorter = 0; shorter < proof_count; shorter++)
        assert_int_equal(merkle_check_range(leaves, first, count, size, proof, shorter, root), -EBADMSG);
    assert_int_equal(
        merkle_check_range(leaves, first, count, size, changed, proof_count + 1, root), -EBADMSG);
    if (proof_count > 0)
        assert_int_equal(
            merkle_check_range(leaves, first, count, size, proof + 1, proof_count - 1, root), -EBADMSG);

    /* The same hashes, said to be another range, or of another tree. */
    for (uint64_t other_first = 0; other_first < size; other_first++)
        for (uint64_t other_count = 1; other_first + other_count <= size; other_count++)
            if (first + other_count <= log->size && (other_first != first || other_count != count))
                assert_int_equal(
                    merkle_check_range(leaves, other_first, other_count, size, proof, proof_count, root),
                    -EBADMSG);
    for (uint64_t other_size = 0; other_size < first + count; other_size++)
        assert_int_equal(
            merkle_check_range(leaves, first, count, other_size, proof, proof_count, root), -EBADMSG);
}

static void every_range_proof_of_small_logs_holds_and_no_altered_one_does(void **state)
{
    struct test_log log = log_new(SMALL_LOG_SIZE);
    struct merkle_source source = source_of(&log);

    for (uint64_t size = 1; size <= SMALL_LOG_SIZE; size++) {
        struct sha256 root = merkle_root_of(log.leaves, size);

        for (uint64_t first = 0; first < size; first++) {
            for (uint64_t count = 1; count <= size - first; count++) {
                struct sha256 proof[MERKLE_PROOF_MAX];
                size_t n;

                assert_int_equal(merkle_prove_range(&source, first, count, size, proof, &n), 0);
                assert_int_equal(
                    merkle_check_range(log.leaves + first, first, count, size, proof, n, &root), 0);
                if (size <= 14)
                    refuse_altered_range(&log, first, count, size, proof, n, &root);
            }
        }
    }
    log_free(&log);
}

static void altered_leaf_anywhere_in_a_range_is_refused(void **state)
{
    struct test_log log = log_new(1000);
    struct merkle_source source = source_of(&log);
    struct sha256 root = merkle_root_of(log.leaves, 1000), proof[MERKLE_PROOF_MAX];
    size_t n;

    assert_int_equal(merkle_prove_range(&source, 100, 300, 1000, proof, &n), 0);
    for (uint64_t seq = 100; seq < 400; seq++) {
        log.leaves[seq].b[seq % 32] ^= 0x10;
        assert_int_equal(merkle_check_range(log.leaves + 100, 100, 300, 1000, proof, n, &root), -EBADMSG);
        log.leaves[seq].b[seq % 32] ^= 0x10;
    }
    assert_int_equal(merkle_check_range(log.leaves + 100, 100, 300, 1000, proof, n, &root), 0);
    log_free(&log);
}

static void ranges_that_overflow_are_refused_before_anything_is_read(void **state)
{
    static const struct sha256 leaf = {{1}};
    static const struct {
        uint64_t first, count, size;
    } wrong[] = {
        {0, 0, 10},                                  /* nothing */
        {0, 11, 10},                                 /* one too many */
        {9, 2, 10},                                  /* over the end */
        {10, 1, 10},                                 /* behind the end */
        {UINT64_MAX, 1, 10},                         /* far behind it */
        {5, UINT64_MAX, 10},                         /* first + count wraps to 4 */
        {UINT64_MAX, 2, 10},                         /* wraps to 1 */
        {1, UINT64_MAX - 1, UINT64_MAX},             /* a size no log has */
        {0, 1, LOG_SIZE_MAX + 1},                    /* likewise */
        {LOG_SIZE_MAX, 1, LOG_SIZE_MAX},             /* behind the end of the largest log */
        {LOG_SIZE_MAX - 1, 2, LOG_SIZE_MAX},         /* over its end */
        {0, 0, 0},                                   /* an empty log has no range */
        {UINT64_C(1) << 63, UINT64_C(1) << 63, 100}, /* wraps to 0 */
    };
    struct test_log log = {0};
    struct merkle_source source = source_of(&log);

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct sha256 proof[MERKLE_PROOF_MAX];
        size_t n;

        assert_int_equal(
            merkle_check_range(&leaf, wrong[i].first, wrong[i].count, wrong[i].size, &leaf, 1, &leaf),
            -EBADMSG);
        assert_int_equal(
            merkle_prove_range(&source, wrong[i].first, wrong[i].count, wrong[i].size, proof, &n), -EINVAL);
    }
    assert_int_equal(merkle_check_range(&leaf, 5, 1, 10, &leaf, SIZE_MAX, &leaf), -EBADMSG);
    assert_int_equal(log.leaves_read + log.tiles_read, 0);
}

/* No log of that size is at hand: made-up siblings are folded up to the root that they lead to. */
static void proofs_in_the_largest_log_are_checked_up_to_its_root(void **state)
{
    const uint64_t half = LOG_SIZE_MAX / 2;
    struct sha256 leaf = {{1}}, proof[MERKLE_PROOF_MAX + 1], root;

    for (size_t i = 0; i < ARRAY_LEN(proof); i++)
        proof[i] = sha256_of(bytes_of(&i, sizeof(i)));
    root = leaf;
    for (unsigned level = 0; level < 40; level++)
        root = merkle_node(&root, &proof[level]);
    assert_int_equal(merkle_check_inclusion(&leaf, 0, LOG_SIZE_MAX, proof, 40, &root), 0);
    assert_int_equal(merkle_check_range(&leaf, 0, 1, LOG_SIZE_MAX, proof, 40, &root), 0);
    for (size_t count = 0; count <= ARRAY_LEN(proof); count++) {
        if (count == 40)
            continue;
        assert_int_equal(merkle_check_inclusion(&leaf, 0, LOG_SIZE_MAX, proof, count, &root), -EBADMSG);
        assert_int_equal(merkle_check_range(&leaf, 0, 1, LOG_SIZE_MAX, proof, count, &root), -EBADMSG);
    }

    /* The first leaf of the right half: one subtree on its left, 39 on its right. */
    root = leaf;
    for (unsigned level = 0; level < 39; level++)
        root = merkle_node(&root, &proof[1 + level]);
    root = merkle_node(&proof[0], &root);
    assert_int_equal(merkle_check_range(&leaf, half, 1, LOG_SIZE_MAX, proof, 40, &root), 0);
    assert_int_equal(merkle_check_range(&leaf, half - 1, 1, LOG_SIZE_MAX, proof, 40, &root), -EBADMSG);
}

static void proof_reads_the_leaves_of_three_tiles_at_most_and_no_tile_twice(void **state)
{
    struct test_log log = log_new(VECTOR_LOG_SIZE);
    struct merkle_source source = source_of(&log);

    for (uint64_t seq = 0; seq < VECTOR_LOG_SIZE; seq += 977) {
        struct sha256 proof[MERKLE_PROOF_MAX];
        size_t count;

        log.leaves_read = log.tiles_read = 0;
        assert_int_equal(merkle_prove_inclusion(&source, seq, VECTOR_LOG_SIZE, proof, &count), 0);
        assert_in_range(log.leaves_read, 0, 511);
        assert_in_range(log.tiles_read, 0, VECTOR_LOG_SIZE / TILE_LEAVES);
        log.leaves_read = log.tiles_read = 0;
        assert_int_equal(merkle_prove_range(&source, seq, 1, VECTOR_LOG_SIZE, proof, &count), 0);
        assert_in_range(log.leaves_read, 0, 767);
        assert_in_range(log.tiles_read, 0, VECTOR_LOG_SIZE / TILE_LEAVES);
    }
    log_free(&log);
}

/* Whole or in part, the cache changes what is read and not what is proven. */
static void proofs_with_a_cache_are_the_same_and_read_no_cached_tile(void **state)
{
    static const uint64_t tiles_max[] = {0, 1, 2, 3, 100, 128, 200, 272, 273, 1000};
    struct test_log log = log_new(VECTOR_LOG_SIZE);

    for (size_t i = 0; i < ARRAY_LEN(tiles_max); i++) {
        struct merkle_source without = source_of(&log), with = source_of(&log);
        _cleanup_merkle_cache_ struct merkle_cache cache = {0};
        uint64_t tile_count = VECTOR_LOG_SIZE / TILE_LEAVES;
        uint64_t cached = tiles_max[i] < tile_count ? tiles_max[i] : tile_count;

        log.tiles_read = 0;
        assert_int_equal(merkle_cache_init(&cache, &without, VECTOR_LOG_SIZE, tiles_max[i]), 0);
        assert_true(log.tiles_read == cached);
        with.cache = &cache;
        for (uint64_t first = 0; first < VECTOR_LOG_SIZE; first += 4999) {
            uint64_t count = first % 700 + 1;
            struct sha256 expected[MERKLE_PROOF_MAX], proof[MERKLE_PROOF_MAX];
            size_t expected_count, proof_count;

            if (count > VECTOR_LOG_SIZE - first)
                count = VECTOR_LOG_SIZE - first;
            assert_int_equal(
                merkle_prove_range(&without, first, count, VECTOR_LOG_SIZE, expected, &expected_count), 0);
            log.leaves_read = log.tiles_read = 0;
            assert_int_equal(
                merkle_prove_range(&with, first, count, VECTOR_LOG_SIZE, proof, &proof_count), 0);
            assert_in_range(log.leaves_read, 0, 767);
            assert_in_range(log.tiles_read, 0, tile_count - cached);
            assert_int_equal(proof_count, expected_count);
            assert_memory_equal(proof, expected, proof_count * sizeof(*proof));

            assert_int_equal(
                merkle_prove_inclusion(&without, first, VECTOR_LOG_SIZE, expected, &expected_count), 0);
            assert_int_equal(merkle_prove_inclusion(&with, first, VECTOR_LOG_SIZE, proof, &proof_count), 0);
            assert_int_equal(proof_count, expected_count);
            assert_memory_equal(proof, expected, proof_count * sizeof(*proof));
        }
        /* A smaller tree than the cached one has the same tiles. */
        for (uint64_t size = 1; size <= VECTOR_LOG_SIZE; size = size * 3 + 1) {
            struct sha256 expected, root;

            assert_int_equal(merkle_root_at(&without, size, &expected), 0);
            assert_int_equal(merkle_root_at(&with, size, &root), 0);
            assert_true(sha256_equal(&root, &expected));
        }
    }
    log_free(&log);
}

static void cache_holds_nothing_after_an_error_of_the_source(void **state)
{
    struct test_log log = log_new(2000);
    struct merkle_source source = source_of(&log);
    struct merkle_cache cache = {0};

    log.fail_after = 3;
    assert_int_equal(merkle_cache_init(&cache, &source, 2000, 100), -EIO);
    assert_null(cache.roots);
    assert_int_equal(merkle_cache_init(&cache, &source, LOG_SIZE_MAX + 1, 100), -EINVAL);
    assert_null(merkle_cache_root(NULL, 0, 0));
    assert_null(merkle_cache_root(&cache, 0, 0));
    log_free(&log);
}

static void error_of_the_source_ends_the_computation(void **state)
{
    struct test_log log = log_new(2000);
    struct merkle_source source = source_of(&log);
    struct sha256 proof[MERKLE_PROOF_MAX], root = {{42}};
    size_t count = 42;

    for (uint64_t fail_after = 1; fail_after < 200; fail_after += 7) {
        log.fail_after = fail_after;
        log.leaves_read = log.tiles_read = 0;
        assert_int_equal(merkle_root_at(&source, 2000, &root), -EIO);
        log.leaves_read = log.tiles_read = 0;
        assert_int_equal(merkle_prove_inclusion(&source, 1234, 2000, proof, &count), -EIO);
        log.leaves_read = log.tiles_read = 0;
        assert_int_equal(merkle_prove_range(&source, 1234, 5, 2000, proof, &count), -EIO);
    }
    assert_int_equal(count, 42);
    assert_int_equal(root.b[0], 42);
    assert_int_equal(merkle_prove_inclusion(&source, 2000, 2000, proof, &count), -EINVAL);
    assert_int_equal(merkle_prove_inclusion(&source, 0, LOG_SIZE_MAX + 1, proof, &count), -EINVAL);
    assert_int_equal(merkle_root_at(&source, LOG_SIZE_MAX + 1, &root), -EINVAL);
    log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_at_any_size_equal_the_independent_ones),
        cmocka_unit_test(inclusion_proofs_equal_the_independent_ones),
        cmocka_unit_test(range_proofs_equal_the_independent_ones),
        cmocka_unit_test(every_inclusion_proof_of_small_logs_holds_and_no_altered_one_does),
        cmocka_unit_test(every_range_proof_of_small_logs_holds_and_no_altered_one_does),
        cmocka_unit_test(altered_leaf_anywhere_in_a_range_is_refused),
        cmocka_unit_test(ranges_that_overflow_are_refused_before_anything_is_read),
        cmocka_unit_test(proofs_in_the_largest_log_are_checked_up_to_its_root),
        cmocka_unit_test(proof_reads_the_leaves_of_three_tiles_at_most_and_no_tile_twice),
        cmocka_unit_test(proofs_with_a_cache_are_the_same_and_read_no_cached_tile),
        cmocka_unit_test(cache_holds_nothing_after_an_error_of_the_source),
        cmocka_unit_test(error_of_the_source_ends_the_computation),
    };

    return cmocka_run_group_tests_name("proto merkle proofs", tests, NULL, NULL);
}
