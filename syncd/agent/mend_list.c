/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an audit window shows to be sent again, as runs of positions.
 *
 * Runs that the centre names as missing or damaged are noted as they are. When it could not tell them and its
 * root or the roots of its tiles differ from ours, the whole tiles are noted. Of a log that was left because
 * the centre holds other records behind what it has acknowledged (a copy of this handheld wrote them), only
 * the acknowledged part is ours to compare. One that has holes since this database was recovered cannot be
 * compared at all.
 */
#include "syncd/agent/agent_internal.h"

#include <errno.h>

#define MEND_RUNS_MAX (2u * AUDIT_RUNS_MAX + AUDIT_WINDOW_RECORDS_MAX / TILE_LEAVES)

void mend_list_clear(struct mend_list *mend)
{
    free(mend->runs);
    *mend = (struct mend_list){0};
}

static int add_run(struct mend_list *mend, uint64_t first, uint64_t count)
{
    if (first >= mend->size || count == 0)
        return 0;
    if (count > mend->size - first)
        count = mend->size - first;
    if (mend->run_count == MEND_RUNS_MAX)
        return -EBADMSG;
    mend->runs[mend->run_count++] = (struct run){.first = first, .count = count};
    return 0;
}

static int add_runs(struct mend_list *mend, const struct run *runs, size_t count)
{
    int r = 0;

    for (size_t i = 0; i < count && r >= 0; i++)
        r = add_run(mend, runs[i].first, runs[i].count);
    return r;
}

static int compare_runs(const void *a, const void *b)
{
    const struct run *left = a, *right = b;

    return left->first < right->first ? -1 : left->first > right->first;
}

/* In order, and no position twice. Returns how many positions there are. */
static uint64_t merge_runs(struct mend_list *mend)
{
    uint64_t total = 0;
    size_t kept = 0;

    if (mend->run_count > 0)
        qsort(mend->runs, mend->run_count, sizeof(*mend->runs), compare_runs);
    for (size_t i = 0; i < mend->run_count; i++) {
        struct run run = mend->runs[i];
        struct run *last = kept > 0 ? &mend->runs[kept - 1] : NULL;

        if (last && run.first <= last->first + last->count) {
            if (run.first + run.count > last->first + last->count)
                last->count = run.first + run.count - last->first;
            continue;
        }
        mend->runs[kept++] = run;
    }
    mend->run_count = kept;
    for (size_t i = 0; i < kept; i++)
        total += mend->runs[i].count;
    return total;
}

/* Our root of a tile in the tree of `size`; the last one may be short. */
static int own_tile_root(const struct merkle_source *source, uint64_t tile, uint64_t size, struct sha256 *ret)
{
    struct sha256 leaves[TILE_LEAVES];
    uint64_t first = tile * TILE_LEAVES;
    size_t count = size - first < TILE_LEAVES ? (size_t)(size - first) : TILE_LEAVES;

    if (count == TILE_LEAVES)
        return source->tiles(source->context, tile, 1, ret);
    for (size_t done = 0; done < count;) {
        size_t n = count - done < 64 ? count - done : 64;
        int r = source->leaves(source->context, first + done, n, leaves + done);

        if (r < 0)
            return r;
        done += n;
    }
    *ret = merkle_root_of(leaves, count);
    return 0;
}

static int add_differing_tiles(struct agent *agent, const struct audit_answer *answer, struct mend_list *mend)
{
    struct merkle_source source;
    uint64_t first_tile = answer->first_seq / TILE_LEAVES;
    int r = store_merkle_source(agent->store, &mend->log, &source);

    for (size_t i = 0; i < answer->tile_root_count && r >= 0; i++) {
        uint64_t tile = first_tile + i;
        struct sha256 own;

        if (tile * TILE_LEAVES >= mend->size)
            break;
        r = own_tile_root(&source, tile, mend->size, &own);
        if (r >= 0 && !sha256_equal(&own, &answer->tile_roots[i]))
            r = add_run(mend, tile * TILE_LEAVES, TILE_LEAVES);
    }
    return r;
}

/* A root that differs with nothing said of where: all of it. */
static int add_unexplained(
    const struct audit_answer *answer, const struct sha256 *own_root, struct mend_list *mend)
{
    if (!answer->has_root || mend->run_count > 0 || sha256_equal(own_root, &answer->root))
        return 0;
    return add_run(mend, 0, mend->size);
}

/* A log that was left with its rest carried over ends here at its receipt. When the centre has more of it,
 * that is another's. */
static bool is_diverged(const struct store_log *log, uint64_t server_size)
{
    return log->closed && log->receipt_size >= log->size && server_size > log->receipt_size;
}

static int compare_trees(struct agent *agent, const struct audit_answer *answer, struct mend_list *mend)
{
    struct sha256 own_root;
    int r = store_root_at(agent->store, &mend->log, mend->size, &own_root);

    if (r >= 0)
        r = add_differing_tiles(agent, answer, mend);
    return r < 0 ? r : add_unexplained(answer, &own_root, mend);
}

/* What was pruned cannot be sent again, and is not lost: nothing of it is told to the centre. */
static void drop_pruned(struct mend_list *mend, uint64_t pruned_size)
{
    size_t kept = 0;

    for (size_t i = 0; i < mend->run_count; i++) {
        struct run run = mend->runs[i];
        uint64_t end = run.first + run.count;

        if (run.first < pruned_size) {
            uint64_t behind = end < pruned_size ? end : pruned_size;

            mend->pruned += behind - run.first;
            run = (struct run){.first = behind, .count = end - behind};
        }
        if (run.count > 0)
            mend->runs[kept++] = run;
    }
    mend->run_count = kept;
    mend->total -= mend->pruned;
}

int mend_list_note(struct agent *agent, const struct store_log *log, const struct audit_answer *answer,
    struct mend_list *mend)
{
    int r;

    mend->log = log->id;
    mend->is_diverged = is_diverged(log, answer->size);
    mend->is_bare = answer->takes_bare_records;
    mend->is_proven = true;
    mend->size = mend->is_diverged ? log->receipt_size : answer->size;
    mend->runs = calloc(MEND_RUNS_MAX, sizeof(*mend->runs));
    if (!mend->runs)
        return -ENOMEM;
    r = add_runs(mend, answer->missing, answer->missing_count);
    if (r >= 0)
        r = add_runs(mend, answer->damaged, answer->damaged_count);
    if (r >= 0 && !mend->is_diverged)
        r = compare_trees(agent, answer, mend);
    /* -ERANGE: the hole is at its end. */
    if ((r == -EUCLEAN || r == -ERANGE) && log->may_have_holes) {
        mend->is_diverged = true;
        r = 0;
    }
    /* It ends among records that were pruned: the centre went back, and an exchange finds what is left. */
    if (r == -EIDRM)
        r = 0;
    if (r < 0)
        return r;
    mend->total = merge_runs(mend);
    drop_pruned(mend, log->pruned_size);
    return 0;
}
