/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An allocation of the code under test fails on demand. For tests whose line in meson.build names
 * failing_memory_dep: the linker leads malloc and its like here. What shared libraries allocate is not meant.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *__real_malloc(size_t len);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t len);

/* The one that this counts down to fails; those after it do not. */
static size_t allocations_left = SIZE_MAX;

static bool allocation_fails(void)
{
    return allocations_left-- == 0;
}

void *__wrap_malloc(size_t len)
{
    return allocation_fails() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t len)
{
    return allocation_fails() ? NULL : __real_realloc(old, len);
}
