/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and checking inclusion and range proofs: see merkle.h and proto/README.md, "Logs" and "Range proof".
 *
 * A subtree of the tree of `size` leaves is named by where it starts and ends. Every subtree of 256 leaves or
 * more starts on a tile's boundary, so its root comes from tile roots and at most one tile's leaves.
 */
#include "proto/merkle.h"

#include <assert.h>
#include <errno.h>

#define READ_AT_ONCE 64u /* hashes: 2 KiB of stack */
#define TILE_LEVEL ((unsigned)__builtin_ctz(TILE_LEAVES))

/* The highest perfect subtree that starts at tile `next`, ends at `last` or before, and is in the cache; NULL
 * when none is. */
static const struct sha256 *find_cached(
    const struct merkle_cache *cache, uint64_t next, uint64_t last, unsigned *ret_level)
{
    unsigned fits = 63u - (unsigned)__builtin_clzll(last - next);
    unsigned starts = next == 0 ? fits : (unsigned)__builtin_ctzll(next);
    const struct sha256 *root = NULL;

    for (unsigned level = (fits < starts ? fits : starts) + 1; level > 0 && !root; level--) {
        root = merkle_cache_root(cache, level - 1, next >> (level - 1));
        *ret_level = level - 1;
    }
    return root;
}

/* The whole tiles in start .. end - 1, appended to `frontier`; `start` is on a tile's boundary. */
static int append_tiles(
    const struct merkle_source *source, uint64_t start, uint64_t end, struct merkle_frontier *frontier)
{
    struct sha256 hashes[READ_AT_ONCE];
    uint64_t next = start / TILE_LEAVES;
    uint64_t last = end / TILE_LEAVES;

    while (next < last) {
        size_t count = last - next < READ_AT_ONCE ? (size_t)(last - next) : READ_AT_ONCE;
        unsigned level;
        const struct sha256 *cached = find_cached(source->cache, next, last, &level);
        int r;

        if (cached) {
            r = merkle_append_subtree(frontier, TILE_LEVEL + level, cached);
            if (r < 0)
                return r;
            next += UINT64_C(1) << level;
            continue;
        }
        r = source->tiles(source->context, next, count, hashes);
        if (r < 0)
            return r;
        for (size_t i = 0; i < count; i++) {
            r = merkle_append_tile(frontier, &hashes[i]);
            if (r < 0)
                return r;
        }
        next += count;
    }
    return 0;
}

static int append_leaves(
    const struct merkle_source *source, uint64_t start, uint64_t end, struct merkle_frontier *frontier)
{
    struct sha256 hashes[READ_AT_ONCE];

    while (start < end) {
        size_t count = end - start < READ_AT_ONCE ? (size_t)(end - start) : READ_AT_ONCE;
        int r = source->leaves(source->context, start, count, hashes);

        if (r < 0)
            return r;
        for (size_t i = 0; i < count; i++) {
            r = merkle_append(frontier, &hashes[i]);
            if (r < 0)
                return r;
        }
        start += count;
    }
    return 0;
}

/* The root of the subtree over start .. end - 1. */
static int subtree_root(const struct merkle_source *source, uint64_t start, uint64_t end, struct sha256 *ret)
{
    struct merkle_frontier frontier;
    int r;

    frontier.size = 0;
    if (end - start >= TILE_LEAVES) {
        r = append_tiles(source, start, end, &frontier);
        if (r < 0)
            return r;
    }
    r = append_leaves(source, start + frontier.size, end, &frontier);
    if (r < 0)
        return r;
    *ret = merkle_root(&frontier);
    return 0;
}

int merkle_root_at(const struct merkle_source *source, uint64_t size, struct sha256 *ret)
{
    if (size > LOG_SIZE_MAX)
        return -EINVAL;
    return subtree_root(source, 0, size, ret);
}

/* The largest power of two below `count`, which is 2 or more: where RFC 9162 splits a tree. */
static uint64_t split_of(uint64_t count)
{
    return UINT64_C(1) << (63 - __builtin_clzll(count - 1));
}

int merkle_prove_inclusion(const struct merkle_source *source, uint64_t seq, uint64_t size,
    struct sha256 ret[MERKLE_DEPTH_MAX], size_t *ret_count)
{
    struct sha256 downwards[MERKLE_DEPTH_MAX];
    uint64_t start = 0, end = size;
    size_t count = 0;

    if (size > LOG_SIZE_MAX || seq >= size)
        return -EINVAL;
    while (end - start > 1) {
        uint64_t middle = start + split_of(end - start);
        bool goes_left = seq < middle;
        int r;

        r = subtree_root(source, goes_left ? middle : start, goes_left ? end : middle, &downwards[count]);
        if (r < 0)
            return r;
        count++;
        if (goes_left)
            end = middle;
        else
            start = middle;
    }
    for (size_t i = 0; i < count; i++)
        ret[i] = downwards[count - 1 - i];
    *ret_count = count;
    return 0;
}

int merkle_check_inclusion(const struct sha256 *leaf, uint64_t seq, uint64_t size, const struct sha256 *proof,
    size_t count, const struct sha256 *root)
{
    struct sha256 hash = *leaf;
    uint64_t node = seq, last;

    if (size > LOG_SIZE_MAX || seq >= size || count > MERKLE_DEPTH_MAX)
        return -EBADMSG;
    last = size - 1;
    for (size_t i = 0; i < count; i++) {
        if (last == 0)
            return -EBADMSG;
        if ((node & 1) || node == last) {
            hash = merkle_node(&proof[i], &hash);
            /* The right edge has no sibling on the levels where it is a left child: go up past them. */
            while (!(node & 1) && node != 0) {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = merkle_node(&hash, &proof[i]);
        }
        node >>= 1;
        last >>= 1;
    }
    return last == 0 && sha256_equal(&hash, root) ? 0 : -EBADMSG;
}

/* The end of the largest subtree that starts at `start` (> 0) in the tree of `size`. It is as high as the
 * trailing zeros of `start` allow, and is cut off at the tree's end. */
static uint64_t subtree_end(uint64_t start, uint64_t size)
{
    uint64_t width = start & (~start + 1);

    return size - start < width ? size : start + width;
}

static bool range_is_valid(uint64_t first, uint64_t count, uint64_t size)
{
    return size <= LOG_SIZE_MAX && first < size && count >= 1 && count <= size - first;
}

int merkle_prove_range(const struct merkle_source *source, uint64_t first, uint64_t count, uint64_t size,
    struct sha256 ret[MERKLE_PROOF_MAX], size_t *ret_count)
{
    uint64_t start = 0;
    size_t n = 0;

    if (!range_is_valid(first, count, size))
        return -EINVAL;
    /* On the left: the frontier of a log of `first` leaves, one subtree for each bit set. */
    while (start < first) {
        uint64_t width = UINT64_C(1) << (63 - __builtin_clzll(first - start));
        int r = subtree_root(source, start, start + width, &ret[n]);

        if (r < 0)
            return r;
        n++;
        start += width;
    }
    start = first + count;
    while (start < size) {
        uint64_t end = subtree_end(start, size);
        int r = subtree_root(source, start, end, &ret[n]);

        if (r < 0)
            return r;
        n++;
        start = end;
    }
    *ret_count = n;
    return 0;
}

/* How many subtrees are to the right of a range that ends at `start`. */
static size_t right_count(uint64_t start, uint64_t size)
{
    size_t n = 0;

    for (; start < size; n++)
        start = subtree_end(start, size);
    return n;
}

int merkle_check_range(const struct sha256 *leaves, uint64_t first, uint64_t count, uint64_t size,
    const struct sha256 *proof, size_t proof_count, const struct sha256 *root)
{
    struct merkle_frontier frontier;
    size_t left_count;
    struct sha256 hash;
    int r = 0;

    if (!range_is_valid(first, count, size))
        return -EBADMSG;
    left_count = (size_t)__builtin_popcountll(first);
    if (proof_count != left_count + right_count(first + count, size))
        return -EBADMSG;

    /* The left part of the proof is the frontier at `first`; the leaves are appended to it as they once were.
     */
    frontier.size = first;
    if (left_count > 0)
        memcpy(frontier.roots, proof, left_count * sizeof(proof[0]));
    for (uint64_t i = 0; r == 0 && i < count; i++)
        r = merkle_append(&frontier, &leaves[i]);

    /* Each subtree on the right is as high as the last root on its left, and joins with it; only the last one
     * may be lower, and ends the tree. */
    if (proof_count == left_count) {
        hash = merkle_root(&frontier);
    } else {
        for (size_t i = left_count; r == 0 && i + 1 < proof_count; i++)
            r = merkle_append_subtree(&frontier, (unsigned)__builtin_ctzll(frontier.size), &proof[i]);
        hash = proof[proof_count - 1];
        for (size_t i = (size_t)__builtin_popcountll(frontier.size); i > 0; i--)
            hash = merkle_node(&frontier.roots[i - 1], &hash);
    }
    assert(r == 0);
    return sha256_equal(&hash, root) ? 0 : -EBADMSG;
}
