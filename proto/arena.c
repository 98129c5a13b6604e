/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena: see arena.h.
 *
 * Small objects are cut one after the other from the block at the head of the list; an object that is large
 * beside that block gets a block of its own behind the head. So what malloc gives exceeds the budget by at
 * most a third and one block, and the budget itself counts only what was asked for: whether a message fits
 * does not depend on what was decoded before it.
 */
#include "proto/arena.h"

#include "proto/limits.h"

#include <errno.h>
#include <stdalign.h>

#define ARENA_ALIGN alignof(max_align_t)
#define BLOCK_BYTES_MIN 4096u
#define BLOCK_BYTES_MAX 65536u

struct arena_block {
    struct arena_block *next;
    size_t capacity;
    size_t used;
    alignas(max_align_t) uint8_t data[];
};

void arena_init(struct arena *arena, size_t budget)
{
    *arena = (struct arena){.budget_left = budget};
}

static void free_blocks(struct arena_block *block)
{
    while (block) {
        struct arena_block *next = block->next;

        free(block);
        block = next;
    }
}

void arena_done(struct arena *arena)
{
    if (!arena)
        return;
    free_blocks(arena->blocks);
    *arena = (struct arena){0};
}

void arena_reset(struct arena *arena, size_t budget)
{
    struct arena_block *kept = arena->blocks;

    if (kept && kept->capacity > BLOCK_BYTES_MAX) {
        free_blocks(kept);
        kept = NULL;
    }
    if (kept) {
        free_blocks(kept->next);
        kept->next = NULL;
        kept->used = 0;
    }
    *arena = (struct arena){.blocks = kept, .budget_left = budget};
}

static struct arena_block *block_new(size_t capacity)
{
    struct arena_block *block = malloc(sizeof(*block) + capacity);

    if (!block)
        return NULL;
    *block = (struct arena_block){.capacity = capacity};
    return block;
}

static size_t next_block_bytes(const struct arena_block *head)
{
    if (!head || head->capacity < BLOCK_BYTES_MIN / 2)
        return BLOCK_BYTES_MIN;
    return head->capacity > BLOCK_BYTES_MAX / 2 ? BLOCK_BYTES_MAX : head->capacity * 2;
}

/* A block with room for `len`, which is already rounded up. */
static struct arena_block *block_for(struct arena *arena, size_t len)
{
    struct arena_block *head = arena->blocks, *block;
    size_t capacity = next_block_bytes(head);

    if (head && head->capacity - head->used >= len)
        return head;
    if (len > capacity / 4) {
        block = block_new(len);
        if (block && head) {
            block->next = head->next;
            head->next = block;
        } else if (block) {
            arena->blocks = block;
        }
        return block;
    }
    block = block_new(capacity);
    if (block) {
        block->next = head;
        arena->blocks = block;
    }
    return block;
}

static size_t round_up(size_t len)
{
    return len == 0 ? ARENA_ALIGN : (len + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

void *arena_alloc(struct arena *arena, size_t len)
{
    struct arena_block *block = NULL;
    void *ret;

    if (len < SIZE_MAX / 2 && round_up(len) <= arena->budget_left) {
        block = block_for(arena, round_up(len));
        arena->no_memory |= !block;
    }
    if (!block) {
        arena->exhausted = true;
        return NULL;
    }
    len = round_up(len);
    ret = block->data + block->used;
    block->used += len;
    arena->budget_left -= len;
    return memset(ret, 0, len);
}

int arena_error(const struct arena *arena)
{
    return arena->no_memory ? -ENOMEM : -ENOBUFS;
}

size_t arena_budget_for(size_t inflated_len)
{
    if (inflated_len > DECODE_BUDGET_BYTES_MAX / DECODE_BUDGET_FACTOR)
        return DECODE_BUDGET_BYTES_MAX;
    if (inflated_len < DECODE_BUDGET_BYTES_MIN / DECODE_BUDGET_FACTOR)
        return DECODE_BUDGET_BYTES_MIN;
    return inflated_len * DECODE_BUDGET_FACTOR;
}
