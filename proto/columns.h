/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of a batch, transposed: like fields of all records stand together, so that they compress
 * better. proto/README.md, "Columns". Pure.
 *
 * It is only another way to write the same records down: whatever their bytes are, decoding gives the very
 * same bytes of each. Knows the fields that are frequent (columns_table.c) and not what they mean.
 */
#pragma once

#include "proto/arena.h"

#define COLUMNS_RECORDS_MIN 3u /* fewer records are smaller in rows, and go so */

/* Appends the column form of `records` to a buffer. -ENOMEM, -EMSGSIZE over a limit of limits.h:
 * EXCHANGE_RECORDS_MAX records, RECORD_BYTES_MAX each, EXCHANGE_INFLATED_BYTES_MAX in all. */
int columns_encode(const struct bytes *records, size_t record_count, struct buffer *ret);
/* Rebuilds the records from bytes that came from elsewhere, within the arena's budget. Views point into the
 * arena. -EBADMSG malformed or over a limit, -ENOBUFS when the budget is used up, -ENOMEM. The records may be
 * far longer than `columns`, when they are alike: their bytes count against the budget, those of their texts
 * twice, and some 100 bytes a record besides. DECODE_BUDGET_BYTES_MAX is enough for whatever keeps the
 * limits. */
int columns_decode(
    struct bytes columns, struct arena *arena, const struct bytes **ret_records, size_t *ret_record_count);
