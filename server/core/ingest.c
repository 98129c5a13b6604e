/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ingest decision: see ingest.h and proto/README.md, "The exchange". Pure.
 */
#include "server/core/ingest.h"

#include <assert.h>

size_t ingest_overlap(uint64_t size, uint64_t first_seq, size_t count)
{
    if (first_seq >= size)
        return 0;
    return size - first_seq < count ? (size_t)(size - first_seq) : count;
}

size_t ingest_tiles_max(size_t count)
{
    return count / TILE_LEAVES + 1;
}

/* A frontier taken apart at the last whole tile: `tiles` covers the whole tiles, `rest` the leaves after
 * them. */
struct growing {
    struct merkle_frontier tiles;
    struct merkle_frontier rest;
};

static void take_apart(const struct merkle_frontier *frontier, struct growing *ret)
{
    uint64_t rest = frontier->size % TILE_LEAVES;
    size_t tile_roots = (size_t)__builtin_popcountll(frontier->size - rest);
    size_t rest_roots = (size_t)__builtin_popcountll(rest);

    ret->tiles.size = frontier->size - rest;
    memcpy(ret->tiles.roots, frontier->roots, tile_roots * sizeof(frontier->roots[0]));
    ret->rest.size = rest;
    memcpy(ret->rest.roots, frontier->roots + tile_roots, rest_roots * sizeof(frontier->roots[0]));
}

static void put_together(const struct growing *growing, struct merkle_frontier *ret)
{
    size_t tile_roots = (size_t)__builtin_popcountll(growing->tiles.size);
    size_t rest_roots = (size_t)__builtin_popcountll(growing->rest.size);

    merkle_frontier_init(ret);
    ret->size = growing->tiles.size + growing->rest.size;
    memcpy(ret->roots, growing->tiles.roots, tile_roots * sizeof(ret->roots[0]));
    memcpy(ret->roots + tile_roots, growing->rest.roots, rest_roots * sizeof(ret->roots[0]));
}

/* Appends the leaves to the frontier and collects the roots of the tiles that they fill. */
static void grow(const struct merkle_frontier *from, const struct sha256 *leaves, size_t count,
    struct ingest_decision *ret, struct sha256 *ret_tiles)
{
    struct growing growing;

    take_apart(from, &growing);
    ret->first_tile = growing.tiles.size / TILE_LEAVES;
    ret->tile_count = 0;
    for (size_t i = 0; i < count; i++) {
        int r = merkle_append(&growing.rest, &leaves[i]);

        assert(r == 0);
        if (growing.rest.size < TILE_LEAVES)
            continue;
        ret_tiles[ret->tile_count++] = growing.rest.roots[0];
        r = merkle_append_tile(&growing.tiles, &growing.rest.roots[0]);
        assert(r == 0);
        growing.rest.size = 0;
    }
    put_together(&growing, &ret->frontier);
}

static bool find_fork(
    const struct ingest_held *held, const struct ingest_request *request, struct ingest_decision *ret)
{
    for (size_t i = 0; i < held->overlap_count; i++) {
        if (!held->overlap_known[i] || sha256_equal(&held->overlap_leaves[i], &request->leaves[i]))
            continue;
        ret->outcome = INGEST_FORK;
        ret->fork_seq = request->first_seq + i;
        ret->fork_leaf = held->overlap_leaves[i];
        return true;
    }
    return false;
}

void ingest_decide(const struct ingest_held *held, const struct ingest_request *request,
    struct ingest_decision *ret, struct sha256 *ret_tiles)
{
    uint64_t size = held->frontier.size;
    struct sha256 root;
    size_t rest;

    *ret = (struct ingest_decision){.frontier = held->frontier};
    if (request->first_seq > size) {
        ret->outcome = INGEST_AHEAD;
        return;
    }
    assert(held->overlap_count == ingest_overlap(size, request->first_seq, request->count));
    if (find_fork(held, request, ret))
        return;

    rest = request->count - held->overlap_count;
    ret->outcome = INGEST_STORED;
    ret->skipped = held->overlap_count;
    if (rest == 0)
        return;

    if (!request->has_checkpoint || rest > LOG_SIZE_MAX - size || request->checkpoint_size != size + rest) {
        ret->outcome = INGEST_ROOT_MISMATCH;
        return;
    }
    grow(&held->frontier, request->leaves + held->overlap_count, rest, ret, ret_tiles);
    root = merkle_root(&ret->frontier);
    if (!sha256_equal(&root, &request->checkpoint_root)) {
        *ret = (struct ingest_decision){.outcome = INGEST_ROOT_MISMATCH, .frontier = held->frontier};
        return;
    }
    ret->appended = rest;
}
