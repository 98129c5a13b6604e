/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte in a small file that says: something was being made durable, and how that ended is not known. Owned
 * by whoever holds the lock of the database beside it; set before a commit, cleared when the commit is known
 * to be durable.
 *
 * After a failed fsync the kernel shows pages that are not on the disk. A program that met the failure knows;
 * one that is started after the first was killed in that instant does not, unless it finds the mark. The mark
 * itself need not be durable: a power cut takes the pages with it, and what the disk shows then is what it
 * has. So it costs two small writes to the page cache, and no fsync.
 */
#pragma once

#include "base/world.h"

struct write_mark {
    int file;    /* handle, -1: not open */
    bool is_set; /* as this program left it */
};

#define WRITE_MARK_CLOSED                                                                                    \
    {                                                                                                        \
        .file = -1                                                                                           \
    }

/* Opens or makes the file at `path` unless it is open. -errno. */
int write_mark_open(struct write_mark *mark, const struct world *world, const char *path);
void write_mark_close(struct write_mark *mark, const struct world *world);
/* 1 when it is set, by whatever program; 0; -errno. Without a file it is as this program left it. */
int write_mark_read(struct write_mark *mark, const struct world *world);
/* 0 or -errno: on a full disk there may be no file to write to; it is kept in memory all the same. */
int write_mark_put(struct write_mark *mark, const struct world *world, bool is_set);
