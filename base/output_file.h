/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that a person named to be written (-o FILE): whole under its name, or not there. Written beside it
 * and renamed. What is there and is no regular file (a link such as /dev/stdout, a pipe, a device) is written
 * to as it is, never replaced; "-" is standard output.
 *
 * Used by the programs' commands. Such files are not the store's: they need no world, and no crash is
 * simulated on them.
 */
#pragma once

#include "base/cleanup.h"

struct output_file {
    int fd; /* -1: not open */
    const char *path;
    char *temporary; /* NULL: `path` itself is written to */
};

/* `path` is borrowed until done. 0 or -errno; -ENOENT also for an empty path. */
int output_file_open(const char *path, struct output_file *ret);
/* All of it or -errno: a full disk takes a part before it refuses. */
int output_file_write(struct output_file *file, const void *data, size_t len);
/* Now the file is there, durable. 0 or -errno. */
int output_file_finish(struct output_file *file);
/* Takes away what was not finished. Takes a closed one too. */
void output_file_done(struct output_file *file);
