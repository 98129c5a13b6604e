/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ingest decision: what becomes of a run of records, given what is held of their log. Called by the
 * service's writer before it writes anything; must not know storage, keys or clocks. Pure.
 *
 *        held   0 ............. size
 *     request        first_seq ....|........ first_seq + count = checkpoint.size
 *                    overlap:      rest: appended only if the root then is the checkpoint's
 *                    same leaves
 */
#pragma once

#include "proto/merkle.h"

enum ingest_outcome {
    INGEST_STORED,        /* all of the request is held, or is to be appended now */
    INGEST_AHEAD,         /* it starts beyond what is held */
    INGEST_FORK,          /* a position is held with another leaf */
    INGEST_ROOT_MISMATCH, /* with the rest appended, the root would not be the checkpoint's */
};

/* What is held of the log. `overlap_leaves[i]` is the leaf at first_seq + i, for the positions of the request
 * below the size. One that is not known (the row is gone or damaged) is passed over: the log stays as it is
 * and an audit mends it. */
struct ingest_held {
    struct merkle_frontier frontier;
    const struct sha256 *overlap_leaves;
    const bool *overlap_known;
    size_t overlap_count;
};

struct ingest_request {
    uint64_t first_seq;
    const struct sha256 *leaves;
    size_t count;
    bool has_checkpoint; /* verified under the device's key, and of this log */
    uint64_t checkpoint_size;
    struct sha256 checkpoint_root;
};

struct ingest_decision {
    enum ingest_outcome outcome;
    size_t skipped, appended; /* INGEST_STORED: they add up to the request's count */
    struct merkle_frontier frontier;
    uint64_t first_tile; /* the tiles that became whole, first of them and their number */
    size_t tile_count;
    uint64_t fork_seq; /* INGEST_FORK: the position, and the leaf held there */
    struct sha256 fork_leaf;
};

/* How many positions of a request at `first_seq` with `count` records are below `size`. */
size_t ingest_overlap(uint64_t size, uint64_t first_seq, size_t count);
/* Tiles that may become whole when `count` records are appended: what `ret_tiles` must have room for. */
size_t ingest_tiles_max(size_t count);
/* Decides. With INGEST_STORED `ret->frontier` is the log's after the append and `ret_tiles` has the roots of
 * the tiles that became whole; with any other outcome nothing is to be written. */
void ingest_decide(const struct ingest_held *held, const struct ingest_request *request,
    struct ingest_decision *ret, struct sha256 *ret_tiles);
