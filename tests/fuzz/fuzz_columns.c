/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the reading of columns, and that records of any bytes come back from them. The input counts as
 * columns; and as records, each behind a byte that tells its length.
 */
#include "proto/columns.h"
#include "proto/limits.h"

#include <errno.h>

#define RECORDS_MAX 512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_comes_back(const struct bytes *records, size_t count)
{
    _cleanup_buffer_ struct buffer columns = {0};
    _cleanup_arena_ struct arena arena;
    const struct bytes *again;
    size_t again_count;

    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    if (columns_encode(records, count, &columns) < 0 ||
        columns_decode(buffer_bytes(&columns), &arena, &again, &again_count) < 0 || again_count != count)
        abort();
    for (size_t i = 0; i < count; i++)
        if (!bytes_equal(records[i], again[i]))
            abort();
}

static void read_columns(struct bytes columns)
{
    _cleanup_arena_ struct arena arena;
    const struct bytes *records;
    size_t count, total = 0;

    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    switch (columns_decode(columns, &arena, &records, &count)) {
    case 0:
        break;
    case -EBADMSG:
        return;
    default:
        /* That budget is enough for whatever keeps the limits. */
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        if (records[i].len > RECORD_BYTES_MAX)
            abort();
        total += records[i].len;
    }
    if (count > EXCHANGE_RECORDS_MAX || total > EXCHANGE_INFLATED_BYTES_MAX)
        abort();
    check_comes_back(records, count);
}

static void split_into_records(struct cursor input)
{
    static struct bytes records[RECORDS_MAX];
    size_t count = 0;

    while (count < RECORDS_MAX && cursor_left(&input) > 0) {
        size_t len = cursor_u8(&input), left = cursor_left(&input);

        records[count++] = cursor_take(&input, len < left ? len : left);
    }
    check_comes_back(records, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_columns(bytes_of(data, size));
    split_into_records(cursor_of(bytes_of(data, size)));
    return 0;
}
