/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole files through the world's verbs: read, replace atomically (temp, fsync, rename, fsync directory),
 * make directories.
 */
#pragma once

#include "base/world.h"

#define FILES_PATH_MAX 4096u

/* Reads a whole file of at most `len_max` bytes into `ret` (appended). -ENOENT, -EFBIG, other -errno. */
int files_read(const struct world *world, const char *path, size_t len_max, struct buffer *ret);
/* Replaces a file: afterwards it holds either the old or the new bytes, whatever happens, and the new ones
 * are durable when 0 is returned. The temporary name is `path` + ".new"; a left-over one is removed first. */
int files_replace(const struct world *world, const char *path, struct bytes content, bool secret);
/* Writes a file over itself, in place, and fsyncs it. After a failed fsync the kernel takes pages for clean
 * that are not on the disk, so syncing again says nothing: what it shows has to be written again. What cannot
 * be read is left as it is. The caller keeps others from changing the file meanwhile. -ENOENT. */
int files_rewrite(const struct world *world, const char *path);
/* Creates a directory if it is missing, and fsyncs its parent. */
int files_make_directory(const struct world *world, const char *path);
/* `directory` + "/" + `name`, allocated; NULL when memory ran out or the path is too long. */
char *files_join(const char *directory, const char *name);
/* The directory part of a path, allocated ("." when there is none). */
char *files_parent(const char *path);
