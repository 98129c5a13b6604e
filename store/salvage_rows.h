/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two halves of salvage: salvage_rows.c reads cells into rows of the new database, salvage.c makes logs
 * of them.
 */
#pragma once

#include "store/salvage.h"

struct salvaged_log {
    int64_t number;
    bool has_id;
    bool is_committed; /* the row is from a page as it was last committed */
    struct uuid id;
    enum log_kind kind;
    bool is_left;
    uint64_t final_size;
    bool has_rehomed;
    uint64_t rehomed_from;
    uint64_t receipt_size;
    int64_t receipt_time_s;
    uint8_t note[NOTE_TEXT_BYTES_MAX];
    size_t note_len;
    uint64_t pruned_size, pruned_removed;
    int64_t pruned_ms;
};

struct salvaging {
    struct store *store;
    struct buffer logs; /* of struct salvaged_log */
    size_t log_count;
    bool fills_gaps;  /* past what was last committed */
    int64_t last_key; /* of the record taken last: the next one on a page follows it */
};

int salvage_rows(struct salvaging *salvaging, struct damaged_image *image);
/* The log of a number, added when it is not there; valid until the next one is added. NULL: no memory. */
struct salvaged_log *salvaged_log_of(struct salvaging *salvaging, int64_t number);
