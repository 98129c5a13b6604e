/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can still be read of a database's files without SQLite: the pages of the file and of its WAL, and the
 * rows on them, one page at a time. Used by recovery; knows SQLite's file format
 * (https://www.sqlite.org/fileformat2.html) and nothing of our tables.
 *
 * No tree is followed: every page that looks like a leaf is read, so one damaged page costs its own rows
 * only, and a lost header or a lost database file beside its WAL costs none. Whether a row is true is for the
 * caller to check.
 */
#pragma once

#include "base/world.h"

#define CELL_COLUMNS_MAX 16u

enum column_type { COLUMN_NULL, COLUMN_INTEGER, COLUMN_BLOB, COLUMN_TEXT, COLUMN_OTHER };

struct column {
    enum column_type type;
    int64_t integer;
    struct bytes bytes; /* blob and text; valid during the callback */
};

struct cell {
    bool has_rowid; /* of a table with row ids; else of a WITHOUT ROWID table or an index */
    int64_t rowid;
    struct column columns[CELL_COLUMNS_MAX];
    size_t column_count; /* those beyond CELL_COLUMNS_MAX are not looked at */
};

struct damaged_image;

/* Opens the two files, each of which may be missing (or its path NULL). The WAL's frames are read once. */
int damaged_image_open(
    const struct world *world, const char *database_path, const char *wal_path, struct damaged_image **ret);
void damaged_image_free(struct damaged_image *image);
DEFINE_CLEANUP(struct damaged_image, damaged_image_free);
#define _cleanup_damaged_image_ _cleanup_(damaged_image_free_cleanup)

/* Every row of the pages as they were last committed. Stops when `each` returns < 0, and returns that. */
int damaged_image_each(
    struct damaged_image *image, int (*each)(void *user, const struct cell *cell), void *user);
/* Every row that may stand nowhere else: of every frame of the WAL, newest last, committed or not, whole or
 * not, and of the database's own pages where the WAL has others of that number. */
int damaged_image_each_other(
    struct damaged_image *image, int (*each)(void *user, const struct cell *cell), void *user);
/* True when the WAL holds committed transactions behind a damaged frame: SQLite would silently drop them. */
bool damaged_image_wal_is_broken(const struct damaged_image *image);
/* There is a WAL, and every read of it failed. */
bool damaged_image_wal_is_unreadable(const struct damaged_image *image);
