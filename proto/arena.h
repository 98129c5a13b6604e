/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arena with a budget: what a message from elsewhere may make us allocate. Pure.
 *
 * Decoding allocates from it; when the budget is used up decoding fails with -ENOBUFS, which says something
 * of the message; when memory is, with -ENOMEM, which says nothing of it. `arena_done` frees all at once.
 */
#pragma once

#include "base/bytes.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;
    size_t budget_left;
    bool exhausted; /* an allocation has failed */
    bool no_memory; /* not for its budget */
};

/* Zeroed memory for `budget` bytes of allocations in all. */
void arena_init(struct arena *arena, size_t budget);
void arena_done(struct arena *arena);
/* Forgets every allocation, keeps one block for reuse, and sets a new budget: for decoding record after
 * record. */
void arena_reset(struct arena *arena, size_t budget);
/* Aligned for any object; NULL when the budget or the memory is used up. */
void *arena_alloc(struct arena *arena, size_t len);
/* Why `arena_alloc` gave NULL: -ENOBUFS or -ENOMEM. */
int arena_error(const struct arena *arena);
/* The budget for a message of this inflated size: proto/README.md, "Limits". */
size_t arena_budget_for(size_t inflated_len);
#define _cleanup_arena_ _cleanup_(arena_done)
