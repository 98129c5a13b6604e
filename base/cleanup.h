/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Automatic cleanup: the one place where GNU attributes are spelled.
 *
 * Used by every room. A variable marked `_cleanup_(f)` is handed to `f` by address when it leaves scope;
 * destructors of the project take NULL, so a variable may be given away by `take_ptr`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _printf_(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#define _warn_unused_ __attribute__((warn_unused_result))

/* Defines `NAME_cleanup(TYPE **)`, which calls `destructor(*p)`: for use with `_cleanup_`. */
#define DEFINE_CLEANUP(type, destructor)                                                                     \
    static inline void destructor##_cleanup(type **pointer) /* NOLINT(bugprone-macro-parentheses) */         \
    {                                                                                                        \
        destructor(*pointer);                                                                                \
    }                                                                                                        \
    struct cleanup_needs_semicolon

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_fclose(FILE **file)
{
    if (*file)
        fclose(*file);
}

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* Gives away what an automatic variable owns: yields its value and leaves NULL behind. */
#define take_ptr(pointer)                                                                                    \
    ({                                                                                                       \
        __typeof__(pointer) *take_ptr_address = &(pointer);                                                  \
        __typeof__(pointer) take_ptr_value = *take_ptr_address;                                              \
        *take_ptr_address = NULL;                                                                            \
        take_ptr_value;                                                                                      \
    })

static inline int take_fd(int *fd)
{
    int value = *fd;
    *fd = -1;
    return value;
}

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))
