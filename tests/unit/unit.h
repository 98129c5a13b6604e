/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every unit test includes first: cmocka with the headers that it wants before itself, and a scratch
 * directory. Used by tests only.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* cmocka's asserts take integers as wide as a pointer; this keeps the casts out of the tests. */
#define assert_int64_equal(a, b) assert_true((int64_t)(a) == (int64_t)(b))

/* Makes a directory of its own under TMPDIR or /tmp; allocated. Removed by `unit_directory_remove`. */
static inline char *unit_directory_make(void)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;

    if (asprintf(&path, "%s/gridpatrol-unit-XXXXXX", base ? base : "/tmp") < 0 || !mkdtemp(path))
        abort();
    return path;
}

static inline int unit_remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline void unit_directory_remove(char *path)
{
    if (nftw(path, unit_remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        abort();
    free(path);
}
