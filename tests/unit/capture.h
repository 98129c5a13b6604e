/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Catches what a piece of code writes to standard error, in a file so that no amount can block. Used by tests
 * of messages only.
 */
#pragma once

#include "tests/unit/unit.h"

struct capture {
    FILE *file;
    int saved;
    char text[16384];
};

static inline void capture_start(struct capture *capture)
{
    fflush(stderr);
    capture->file = tmpfile();
    capture->saved = dup(STDERR_FILENO);
    if (!capture->file || capture->saved < 0 || dup2(fileno(capture->file), STDERR_FILENO) < 0)
        abort();
}

/* Ends the capture; returns what was written, kept in `capture`. */
static inline const char *capture_stop(struct capture *capture)
{
    fflush(stderr);
    if (dup2(capture->saved, STDERR_FILENO) < 0)
        abort();
    close(capture->saved);
    rewind(capture->file);
    size_t len = fread(capture->text, 1, sizeof(capture->text) - 1, capture->file);
    capture->text[len] = '\0';
    fclose(capture->file);
    return capture->text;
}
