/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaves, nodes, the frontier and the roots of the Merkle log: see merkle.h. Proofs are in merkle_proof.c.
 *
 * This is the hottest code of an ingest: a leaf or a node is one pass of SHA-256, nothing is allocated.
 */
#include "proto/merkle.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

#define LEAF_PREFIX 0x00
#define NODE_PREFIX 0x01

struct sha256 merkle_leaf(struct bytes record)
{
    static const uint8_t prefix = LEAF_PREFIX;
    crypto_hash_sha256_state state;
    struct sha256 ret;

    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, &prefix, 1);
    crypto_hash_sha256_update(&state, record.data, record.len);
    crypto_hash_sha256_final(&state, ret.b);
    return ret;
}

struct sha256 merkle_node(const struct sha256 *left, const struct sha256 *right)
{
    uint8_t input[1 + 2 * SHA256_BYTES];
    struct sha256 ret;

    input[0] = NODE_PREFIX;
    memcpy(input + 1, left->b, SHA256_BYTES);
    memcpy(input + 1 + SHA256_BYTES, right->b, SHA256_BYTES);
    crypto_hash_sha256(ret.b, input, sizeof(input));
    return ret;
}

struct sha256 merkle_empty_root(void)
{
    return sha256_of(bytes_of(NULL, 0));
}

static size_t roots_count(uint64_t size)
{
    return (size_t)__builtin_popcountll(size);
}

void merkle_frontier_init(struct merkle_frontier *frontier)
{
    *frontier = (struct merkle_frontier){0};
}

int merkle_append_subtree(struct merkle_frontier *frontier, unsigned level, const struct sha256 *root)
{
    uint64_t units = frontier->size >> level;
    size_t count = roots_count(frontier->size);

    assert(level < MERKLE_DEPTH_MAX && frontier->size % (UINT64_C(1) << level) == 0);
    if (frontier->size > LOG_SIZE_MAX - (UINT64_C(1) << level))
        return -EOVERFLOW;
    /* As long as the last root kept is of the same height the two are joined: the carry of a binary sum. */
    if ((units & 1) == 0) {
        frontier->roots[count] = *root;
    } else {
        struct sha256 joined = merkle_node(&frontier->roots[count - 1], root);

        count--;
        for (units >>= 1; units & 1; units >>= 1) {
            joined = merkle_node(&frontier->roots[count - 1], &joined);
            count--;
        }
        frontier->roots[count] = joined;
    }
    frontier->size += UINT64_C(1) << level;
    return 0;
}

int merkle_append(struct merkle_frontier *frontier, const struct sha256 *leaf)
{
    return merkle_append_subtree(frontier, 0, leaf);
}

int merkle_append_tile(struct merkle_frontier *frontier, const struct sha256 *tile_root)
{
    return merkle_append_subtree(frontier, (unsigned)__builtin_ctz(TILE_LEAVES), tile_root);
}

struct sha256 merkle_root(const struct merkle_frontier *frontier)
{
    size_t count = roots_count(frontier->size);
    struct sha256 ret;

    if (count == 0)
        return merkle_empty_root();
    ret = frontier->roots[count - 1];
    for (size_t i = count - 1; i > 0; i--)
        ret = merkle_node(&frontier->roots[i - 1], &ret);
    return ret;
}

struct sha256 merkle_root_of(const struct sha256 *leaves, size_t count)
{
    struct merkle_frontier frontier;

    assert(count <= LOG_SIZE_MAX);
    frontier.size = 0;
    for (size_t i = 0; i < count; i++)
        (void)merkle_append(&frontier, &leaves[i]);
    return merkle_root(&frontier);
}

size_t merkle_frontier_encode(
    const struct merkle_frontier *frontier, uint8_t ret[MERKLE_DEPTH_MAX * SHA256_BYTES])
{
    size_t len = roots_count(frontier->size) * SHA256_BYTES;

    memcpy(ret, frontier->roots, len);
    return len;
}

int merkle_frontier_decode(uint64_t size, struct bytes bytes, struct merkle_frontier *ret)
{
    if (size > LOG_SIZE_MAX || bytes.len != roots_count(size) * SHA256_BYTES)
        return -EBADMSG;
    merkle_frontier_init(ret);
    ret->size = size;
    if (bytes.len > 0)
        memcpy(ret->roots, bytes.data, bytes.len);
    return 0;
}
