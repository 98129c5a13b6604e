/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of an audit: see audit.h and proto/README.md, "Audit and repair". Pure.
 */
#include "server/core/audit.h"

#include <assert.h>

#define TILE_RUNS_MAX (TILE_LEAVES / 2u) /* every other row */

void audit_scan_init(
    struct audit_scan *scan, uint64_t first, uint64_t size, bool is_trusted, bool keeps_tile_roots)
{
    first = first < size ? first - first % TILE_LEAVES : size;
    scan->first = scan->next = first;
    scan->size = size;
    scan->counted = 0;
    scan->is_trusted = is_trusted;
    scan->keeps_tile_roots = keeps_tile_roots;
    scan->has_root = first == 0;
    merkle_frontier_init(&scan->frontier);
    scan->missing.count = scan->damaged.count = scan->erased.count = scan->lost.count = 0;
    scan->tile_root_count = 0;
}

size_t audit_scan_next_count(const struct audit_scan *scan)
{
    uint64_t left = scan->size - scan->next;

    return left < TILE_LEAVES ? (size_t)left : TILE_LEAVES;
}

static bool runs_have_room(const struct audit_runs *runs)
{
    return runs->count + TILE_RUNS_MAX <= AUDIT_RUNS_MAX;
}

bool audit_scan_has_room(const struct audit_scan *scan)
{
    if (scan->keeps_tile_roots && scan->tile_root_count == AUDIT_TILE_ROOTS_MAX)
        return false;
    return runs_have_room(&scan->missing) && runs_have_room(&scan->damaged) &&
           runs_have_room(&scan->erased) && runs_have_room(&scan->lost);
}

static void runs_add(struct audit_runs *runs, uint64_t seq)
{
    struct run *last = runs->count > 0 ? &runs->runs[runs->count - 1] : NULL;

    if (last && last->first + last->count == seq) {
        last->count++;
        return;
    }
    assert(runs->count < AUDIT_RUNS_MAX);
    runs->runs[runs->count++] = (struct run){.first = seq, .count = 1};
}

static bool row_is_damaged(const struct audit_row *row)
{
    if (row->state != AUDIT_ROW_PRESENT)
        return false;
    return !row->has_leaf || (row->has_bytes && !sha256_equal(&row->leaf, &row->bytes_leaf));
}

/* The root of the rows' leaves, as stored or as their bytes hash. False when a leaf is not known. */
static bool rows_root(const struct audit_row *rows, size_t count, bool by_bytes, struct sha256 *ret)
{
    struct merkle_frontier frontier;

    frontier.size = 0;
    for (size_t i = 0; i < count; i++) {
        bool takes_bytes = by_bytes && rows[i].has_bytes;

        if (rows[i].state == AUDIT_ROW_MISSING || (!takes_bytes && !rows[i].has_leaf))
            return false;
        (void)merkle_append(&frontier, takes_bytes ? &rows[i].bytes_leaf : &rows[i].leaf);
    }
    *ret = merkle_root(&frontier);
    return true;
}

enum tile_state {
    TILE_WELL,        /* its leaves give the kept root */
    TILE_EXPLAINED,   /* they do not, or cannot, but the rows that are to blame are known */
    TILE_UNEXPLAINED, /* a row's leaf and bytes were altered together */
};

static enum tile_state compare_tile(const struct audit_scan *scan, const struct audit_row *rows, size_t count,
    const struct sha256 *kept_root, const struct sha256 *root, bool has_root)
{
    struct sha256 root_by_bytes;

    if (!scan->is_trusted || !kept_root)
        return TILE_EXPLAINED;
    if (has_root && sha256_equal(root, kept_root))
        return TILE_WELL;
    if (!rows_root(rows, count, true, &root_by_bytes))
        return TILE_EXPLAINED; /* Rows are missing: once they are back, the next audit can tell. */
    return sha256_equal(&root_by_bytes, kept_root) ? TILE_EXPLAINED : TILE_UNEXPLAINED;
}

static bool rows_have_bytes(const struct audit_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].state == AUDIT_ROW_PRESENT && !rows[i].has_bytes)
            return false;
    }
    return true;
}

static void note_row(
    struct audit_scan *scan, const struct audit_row *row, uint64_t seq, enum tile_state tile_state)
{
    if (row->state != AUDIT_ROW_MISSING)
        scan->counted++;
    switch (row->state) {
    case AUDIT_ROW_MISSING:
        runs_add(&scan->missing, seq);
        return;
    case AUDIT_ROW_PRESENT:
        if (tile_state == TILE_UNEXPLAINED || row_is_damaged(row))
            runs_add(&scan->damaged, seq);
        return;
    case AUDIT_ROW_ERASED:
        runs_add(&scan->erased, seq);
        return;
    case AUDIT_ROW_LOST:
        runs_add(&scan->lost, seq);
        return;
    }
}

/* Carries the recomputed root on; `root` is NULL where it could not be computed. */
static void note_root(
    struct audit_scan *scan, const struct audit_row *rows, size_t count, const struct sha256 *root)
{
    if (scan->keeps_tile_roots)
        scan->tile_roots[scan->tile_root_count++] = root ? *root : (struct sha256){{0}};
    if (!root)
        scan->has_root = false;
    if (!scan->has_root)
        return;
    if (count == TILE_LEAVES) {
        (void)merkle_append_tile(&scan->frontier, root);
        return;
    }
    for (size_t i = 0; i < count; i++)
        (void)merkle_append(&scan->frontier, &rows[i].leaf);
}

enum audit_step audit_scan_tile(
    struct audit_scan *scan, const struct audit_row *rows, const struct sha256 *kept_root)
{
    size_t count = audit_scan_next_count(scan);
    struct sha256 root;
    bool has_root = rows_root(rows, count, false, &root);
    bool is_well =
        has_root && (!scan->is_trusted || (kept_root && sha256_equal(&root, kept_root)) || !kept_root);
    enum tile_state state;

    assert(count > 0 && audit_scan_has_room(scan));
    if (!is_well && !rows_have_bytes(rows, count))
        return AUDIT_TILE_NEEDS_BYTES;
    state = compare_tile(scan, rows, count, kept_root, &root, has_root);
    for (size_t i = 0; i < count; i++)
        note_row(scan, &rows[i], scan->next + i, state);
    note_root(scan, rows, count, has_root ? &root : NULL);
    scan->next += count;
    return AUDIT_TILE_DONE;
}

bool audit_scan_root(const struct audit_scan *scan, struct sha256 *ret)
{
    if (!scan->has_root || scan->next != scan->size)
        return false;
    *ret = merkle_root(&scan->frontier);
    return true;
}

bool audit_scan_found_fault(const struct audit_scan *scan)
{
    return scan->missing.count > 0 || scan->damaged.count > 0;
}

bool audit_kept_rest_root(const struct merkle_frontier *frontier, struct sha256 *ret)
{
    struct merkle_frontier rest;
    size_t roots_before;

    rest.size = frontier->size % TILE_LEAVES;
    if (rest.size == 0)
        return false;
    roots_before = (size_t)__builtin_popcountll(frontier->size - rest.size);
    memcpy(rest.roots, frontier->roots + roots_before,
        (size_t)__builtin_popcountll(rest.size) * sizeof(rest.roots[0]));
    *ret = merkle_root(&rest);
    return true;
}
