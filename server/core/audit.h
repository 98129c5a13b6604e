/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of an audit: rows of a log, tile by tile, against the roots that were kept when they were
 * stored. Called by the service's audits and checks, which read the rows; must not know storage. Pure.
 *
 * A tile's kept root is trusted when all kept roots together give the root that the handheld signed. Then a
 * fault is found where it is:
 *   no row                              missing
 *   bytes do not hash to the leaf       damaged
 *   the tile's leaves give another root, and the two cases above do not explain it: all its rows are damaged
 * When the kept roots cannot be trusted, the recomputed roots of the tiles go into the answer and the
 * handheld compares them with its own.
 */
#pragma once

#include "proto/merkle.h"
#include "proto/messages.h"

#define AUDIT_TILE_ROOTS_MAX (AUDIT_WINDOW_RECORDS_MAX / TILE_LEAVES)

enum audit_row_state { AUDIT_ROW_MISSING = 0, AUDIT_ROW_PRESENT, AUDIT_ROW_ERASED, AUDIT_ROW_LOST };

struct audit_row {
    enum audit_row_state state;
    bool has_leaf;
    bool has_bytes;           /* the bytes were read: `bytes_leaf` is the leaf that they hash to */
    struct sha256 leaf;       /* as stored */
    struct sha256 bytes_leaf; /* as recomputed */
};

struct audit_runs {
    struct run runs[AUDIT_RUNS_MAX];
    size_t count;
};

struct audit_scan {
    uint64_t first, next; /* the window so far: first .. next - 1; both on a tile's boundary, or the size */
    uint64_t size;
    uint64_t counted; /* rows seen */
    bool is_trusted;
    bool keeps_tile_roots;
    bool has_root;
    struct merkle_frontier frontier;
    struct audit_runs missing, damaged, erased, lost;
    struct sha256 tile_roots[AUDIT_TILE_ROOTS_MAX];
    size_t tile_root_count;
};

enum audit_step {
    AUDIT_TILE_DONE,
    AUDIT_TILE_NEEDS_BYTES, /* nothing was noted: call again with the bytes of the rows hashed */
};

/* Starts a window at `first`, which is rounded down to a tile's boundary. `keeps_tile_roots` for a window of
 * at most AUDIT_WINDOW_RECORDS_MAX records. */
void audit_scan_init(
    struct audit_scan *scan, uint64_t first, uint64_t size, bool is_trusted, bool keeps_tile_roots);
/* Rows of the next tile: TILE_LEAVES, fewer at the end of the log, 0 when all was scanned. */
size_t audit_scan_next_count(const struct audit_scan *scan);
/* False when the window must end here, because the answer's lists are full. */
bool audit_scan_has_room(const struct audit_scan *scan);
/* Takes the next tile's rows, `audit_scan_next_count` of them. `kept_root` NULL: none was kept. */
enum audit_step audit_scan_tile(
    struct audit_scan *scan, const struct audit_row *rows, const struct sha256 *kept_root);
/* The root of the whole log as recomputed; false when the window is not the whole log or a leaf is unknown.
 */
bool audit_scan_root(const struct audit_scan *scan, struct sha256 *ret);
bool audit_scan_found_fault(const struct audit_scan *scan);

/* The root of the leaves after the last whole tile, as the frontier has it: what is kept of the last, growing
 * tile. False when the size is a multiple of TILE_LEAVES. */
bool audit_kept_rest_root(const struct merkle_frontier *frontier, struct sha256 *ret);
