/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of a WAL that may be damaged. Used by damaged_image.c only.
 */
#pragma once

#include "base/world.h"

#define DAMAGED_WAL_FRAMES_MAX (UINT64_C(16) * 1024 * 1024) /* 64 GiB of WAL */

struct wal_page {
    uint32_t page, frame;
};

struct wal_pages {
    struct wal_page *rows; /* by page, then frame */
    size_t count;
};

struct damaged_wal {
    uint64_t frame_count;
    struct wal_pages committed; /* what SQLite would see */
    struct wal_pages all;       /* every frame, whole or not */
    bool is_broken;             /* something committed stands behind damage */
    bool is_unreadable;         /* every read of it failed */
};

int damaged_wal_read(const struct world *world, int file, struct damaged_wal *ret);
void damaged_wal_done(struct damaged_wal *wal);
/* The newest frame that holds a page. */
bool wal_pages_find(const struct wal_pages *pages, uint32_t page, uint64_t *ret_frame);
/* Where a frame's page starts in the file. */
uint64_t damaged_wal_frame_offset(uint64_t frame);
