/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite's allocations fail on demand: the n-th one, alone or with all that follow it. To be taken over
 * before SQLite is used for the first time, as cmocka's group setup does.
 */
#pragma once

#include "tests/unit/unit.h"

#include <sqlite3.h>

static struct {
    sqlite3_mem_methods real;
    unsigned until; /* allocations up to the one that fails; 0: none does */
    bool goes_on;   /* all that follow it fail, too, until `is_on` is taken back */
    bool is_on;
} failing_memory;

static inline bool failing_memory_must_fail(void)
{
    if (failing_memory.is_on)
        return true;
    if (failing_memory.until == 0 || --failing_memory.until > 0)
        return false;
    failing_memory.is_on = failing_memory.goes_on;
    return true;
}

static inline void *failing_memory_allocate(int len)
{
    return failing_memory_must_fail() ? NULL : failing_memory.real.xMalloc(len);
}

static inline void *failing_memory_allocate_again(void *old, int len)
{
    return failing_memory_must_fail() ? NULL : failing_memory.real.xRealloc(old, len);
}

static inline int failing_memory_take_over(void **state)
{
    sqlite3_mem_methods own;

    (void)state;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &failing_memory.real) != SQLITE_OK)
        return -1;
    own = failing_memory.real;
    own.xMalloc = failing_memory_allocate;
    own.xRealloc = failing_memory_allocate_again;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &own) == SQLITE_OK ? 0 : -1;
}

/* The `at`-th allocation from now fails. */
static inline void failing_memory_begin(unsigned at)
{
    failing_memory.until = at;
}

/* True when it had come to that. */
static inline bool failing_memory_end(void)
{
    bool has_failed = failing_memory.until == 0;

    failing_memory.until = 0;
    failing_memory.is_on = false;
    return has_failed;
}
