/* SPDX-License-Identifier: Apache-2.0 */
/* The subtrees above the tiles, in memory: see merkle.h. */
#include "proto/merkle.h"

#include <errno.h>

#define READ_AT_ONCE 64u /* tiles; what a source gives at once */

/* Where the roots of a level begin. Level 0 has a root for each tile, each next level one for each pair
 * below. */
static uint64_t level_start(uint64_t tile_count, unsigned level)
{
    uint64_t start = 0;

    for (unsigned i = 0; i < level; i++)
        start += tile_count >> i;
    return start;
}

static int read_tiles(struct merkle_cache *cache, const struct merkle_source *source)
{
    for (uint64_t next = 0; next < cache->tile_count;) {
        uint64_t left = cache->tile_count - next;
        size_t count = left < READ_AT_ONCE ? (size_t)left : READ_AT_ONCE;
        int r = source->tiles(source->context, next, count, cache->roots + next);

        if (r < 0)
            return r;
        next += count;
    }
    return 0;
}

int merkle_cache_init(
    struct merkle_cache *cache, const struct merkle_source *source, uint64_t size, uint64_t tiles_max)
{
    uint64_t tile_count = size / TILE_LEAVES < tiles_max ? size / TILE_LEAVES : tiles_max;
    struct merkle_cache made = {.tile_count = tile_count};
    struct sha256 *below, *above;
    int r;

    if (size > LOG_SIZE_MAX)
        return -EINVAL;
    made.roots = calloc(2 * tile_count + 1, sizeof(*made.roots));
    if (!made.roots)
        return -ENOMEM;
    r = read_tiles(&made, source);
    if (r < 0) {
        merkle_cache_done(&made);
        return r;
    }
    for (below = made.roots; tile_count > 1; below = above, tile_count >>= 1) {
        above = below + tile_count;
        for (uint64_t i = 0; i < tile_count / 2; i++)
            above[i] = merkle_node(&below[2 * i], &below[2 * i + 1]);
    }
    *cache = made;
    return 0;
}

void merkle_cache_done(struct merkle_cache *cache)
{
    if (!cache)
        return;
    free(cache->roots);
    *cache = (struct merkle_cache){0};
}

const struct sha256 *merkle_cache_root(const struct merkle_cache *cache, unsigned level, uint64_t index)
{
    if (!cache || level >= 64 || index >= cache->tile_count >> level)
        return NULL;
    return &cache->roots[level_start(cache->tile_count, level) + index];
}
