/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Merkle log: RFC 9162 hashes over a handheld's records. proto/README.md, "Logs". Pure.
 *
 *   leaf = SHA-256(0x00 || record bytes)      node = SHA-256(0x01 || left || right)
 *
 * Appending needs only the frontier (the roots of the perfect subtrees that cover the log, largest first).
 * The roots of 256-leaf tiles are kept by the stores, so that any proof costs O(log n) hashes and reads.
 */
#pragma once

#include "proto/ids.h"
#include "proto/limits.h"

#define MERKLE_DEPTH_MAX 41u
#define MERKLE_PROOF_MAX (2u * MERKLE_DEPTH_MAX)

struct merkle_frontier {
    uint64_t size;
    struct sha256 roots[MERKLE_DEPTH_MAX]; /* popcount(size) of them, the largest subtree first */
};

struct sha256 merkle_leaf(struct bytes record);
struct sha256 merkle_node(const struct sha256 *left, const struct sha256 *right);
/* MTH({}) is SHA-256 of nothing. */
struct sha256 merkle_empty_root(void);

void merkle_frontier_init(struct merkle_frontier *frontier);
/* Appends one leaf. -EOVERFLOW at LOG_SIZE_MAX. */
int merkle_append(struct merkle_frontier *frontier, const struct sha256 *leaf);
/* Appends the root of a whole tile at once; the size must be a multiple of TILE_LEAVES (asserted). */
int merkle_append_tile(struct merkle_frontier *frontier, const struct sha256 *tile_root);
/* The same for a perfect subtree of `1 << level` leaves, of which the size must be a multiple (asserted). */
int merkle_append_subtree(struct merkle_frontier *frontier, unsigned level, const struct sha256 *root);
struct sha256 merkle_root(const struct merkle_frontier *frontier);
/* The root of `count` leaves (any number, 0 gives the empty root). */
struct sha256 merkle_root_of(const struct sha256 *leaves, size_t count);
/* The frontier as bytes: popcount(size) * 32, and back. -EBADMSG when the length does not fit the size. */
size_t merkle_frontier_encode(
    const struct merkle_frontier *frontier, uint8_t ret[MERKLE_DEPTH_MAX * SHA256_BYTES]);
int merkle_frontier_decode(uint64_t size, struct bytes bytes, struct merkle_frontier *ret);

/* Reads leaf hashes from position `first` on, or the roots of whole tiles from tile number `first` on (tile t
 * covers leaves 256 t .. 256 t + 255), out of wherever they are kept. Both fill `count` hashes, at most 64 at
 * once; -errno ends the computation. A proof reads fewer than 768 leaves, and without a cache each other
 * tile's root. */
struct merkle_source {
    int (*leaves)(void *context, uint64_t first, size_t count, struct sha256 *ret);
    int (*tiles)(void *context, uint64_t first, size_t count, struct sha256 *ret);
    void *context;
    const struct merkle_cache *cache; /* may be NULL */
};

/* The roots of the tiles and of all subtrees above them, in memory: for making many proofs in one tree, each
 * of which then reads leaves only and costs O(log n). 64 bytes a tile. */
struct merkle_cache {
    struct sha256 *roots; /* the tiles, then their pairs, then pairs of these ... */
    uint64_t tile_count;
};

/* Reads the tiles of the first `size` leaves, each once, but at most `tiles_max`: what lies behind them is
 * still read from the source. -ENOMEM, or what the source gives. */
int merkle_cache_init(
    struct merkle_cache *cache, const struct merkle_source *source, uint64_t size, uint64_t tiles_max);
void merkle_cache_done(struct merkle_cache *cache);
/* The root of the subtree of `1 << level` tiles that is number `index` of them, or NULL when it is not held.
 */
const struct sha256 *merkle_cache_root(const struct merkle_cache *cache, unsigned level, uint64_t index);
#define _cleanup_merkle_cache_ _cleanup_(merkle_cache_done)

/* The root of the first `size` leaves. */
int merkle_root_at(const struct merkle_source *source, uint64_t size, struct sha256 *ret);
/* Inclusion proof of leaf `seq` in the tree of `size` (RFC 9162, section 2.1.3.1). -EINVAL when seq >= size.
 */
int merkle_prove_inclusion(const struct merkle_source *source, uint64_t seq, uint64_t size,
    struct sha256 ret[MERKLE_DEPTH_MAX], size_t *ret_count);
/* 0, or -EBADMSG when the proof does not lead from the leaf to the root (RFC 9162, section 2.1.3.2). */
int merkle_check_inclusion(const struct sha256 *leaf, uint64_t seq, uint64_t size, const struct sha256 *proof,
    size_t count, const struct sha256 *root);

/* Range proof: the hashes of the maximal subtrees wholly outside first .. first + count - 1, in order from
 * left to right. Defined in proto/README.md, "Range proof". `count` >= 1. */
int merkle_prove_range(const struct merkle_source *source, uint64_t first, uint64_t count, uint64_t size,
    struct sha256 ret[MERKLE_PROOF_MAX], size_t *ret_count);
int merkle_check_range(const struct sha256 *leaves, uint64_t first, uint64_t count, uint64_t size,
    const struct sha256 *proof, size_t proof_count, const struct sha256 *root);
