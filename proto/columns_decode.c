/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns to records: see columns.h. The layout is that of proto/README.md, "Columns".
 *
 * Columns are read where they stand and give one value after the other, so that what is allocated besides the
 * records is one number a record, and a view for each word and text.
 */
#include "proto/columns.h"

#include "proto/columns_table.h"
#include "proto/limits.h"

#include <assert.h>
#include <errno.h>

#define VARINT_BYTES_MAX 10u

/* `count` numbers, their bytes by weight. */
struct numbers {
    const uint8_t *planes;
    size_t count;
    unsigned width;
};

struct column {
    struct numbers numbers;    /* values, differences from the second value on, indexes, or lengths */
    size_t next;               /* how many values were given */
    uint64_t sum;              /* of the differences so far */
    const struct bytes *items; /* words; texts, one a record */
    size_t item_count;
    const uint8_t *run; /* of ROW_BYTES: where the next one begins */
};

struct batch {
    struct arena *arena;
    struct cursor cursor;
    size_t count;
    uint32_t *shapes;
    uint32_t *order; /* in which texts stand */
    struct column columns[COLUMNS_ROWS];
};

static void *allocate(struct batch *batch, size_t count, size_t size)
{
    return arena_alloc(batch->arena, count * size);
}

/* A number in its shortest form; what is none makes the cursor fail. */
static uint64_t take_varint(struct cursor *cursor)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        uint8_t byte = cursor_u8(cursor);

        value |= (uint64_t)(byte & 0x7fu) << 7 * i;
        if (byte >= 0x80)
            continue;
        if ((byte == 0 && i > 0) || (i == VARINT_BYTES_MAX - 1 && byte > 1))
            break;
        return value;
    }
    cursor->failed = true;
    return 0;
}

static void take_numbers(struct cursor *cursor, size_t count, struct numbers *ret)
{
    unsigned width = cursor_u8(cursor);

    if (width > sizeof(uint64_t))
        cursor->failed = true;
    *ret = (struct numbers){.count = count, .width = width};
    ret->planes = cursor_take(cursor, width * count).data;
    if (cursor->failed)
        ret->width = 0;
}

static uint64_t number_at(const struct numbers *numbers, size_t index)
{
    uint64_t value = 0;

    for (unsigned byte = 0; byte < numbers->width; byte++)
        value = value << 8 | numbers->planes[byte * numbers->count + index];
    return value;
}

static int take_differences(struct batch *batch, size_t count, struct column *ret)
{
    ret->sum = unzigzag(take_varint(&batch->cursor));
    take_numbers(&batch->cursor, count - 1, &ret->numbers);
    return 0;
}

static int take_words(struct batch *batch, size_t count, struct column *ret)
{
    uint64_t word_count = take_varint(&batch->cursor);
    struct bytes *words;

    /* Each word is at least its length's byte long, so that the list is bounded by what was sent. */
    if (batch->cursor.failed || word_count > count || word_count > cursor_left(&batch->cursor))
        return -EBADMSG;
    words = allocate(batch, (size_t)word_count, sizeof(*words));
    if (!words)
        return arena_error(batch->arena);
    for (size_t i = 0; i < word_count; i++) {
        uint64_t len = take_varint(&batch->cursor);

        if (len > cursor_left(&batch->cursor))
            return -EBADMSG;
        words[i] = cursor_take(&batch->cursor, (size_t)len);
    }
    take_numbers(&batch->cursor, count, &ret->numbers);
    if (batch->cursor.failed)
        return -EBADMSG;
    for (size_t i = 0; i < count; i++)
        if (number_at(&ret->numbers, i) >= word_count)
            return -EBADMSG;
    ret->items = words;
    ret->item_count = (size_t)word_count;
    return 0;
}

static int take_runs(struct batch *batch, size_t count, struct column *ret)
{
    uint64_t total = 0;

    take_numbers(&batch->cursor, count, &ret->numbers);
    for (size_t i = 0; i < count && !batch->cursor.failed; i++) {
        uint64_t len = number_at(&ret->numbers, i);

        if (len > cursor_left(&batch->cursor) - total)
            return -EBADMSG;
        total += len;
    }
    ret->run = cursor_take(&batch->cursor, (size_t)total).data;
    return 0;
}

/* The order of texts, by the words of the key that were just read. */
static int order_by_key(struct batch *batch, size_t key_row)
{
    const struct column *key = &batch->columns[key_row];
    uint32_t *groups = allocate(batch, batch->count, sizeof(*groups));
    uint32_t *starts = allocate(batch, key->item_count + 2, sizeof(*starts));

    if (!groups || !starts)
        return arena_error(batch->arena);
    for (size_t i = 0, next = 0; i < batch->count; i++)
        groups[i] = (uint32_t)(columns_has(batch->shapes[i], key_row) ? number_at(&key->numbers, next++)
                                                                      : key->item_count);
    columns_order(groups, batch->count, key->item_count + 1, starts, batch->order);
    return 0;
}

/* Appends a text whose runs of digits come from `digits`; returns where the next one goes. */
static uint8_t *join_text(struct bytes letters, struct cursor *digits, uint8_t *room)
{
    struct cursor rest = cursor_of(letters);

    while (cursor_left(&rest) > 0) {
        const uint8_t *zero = memchr(rest.next, '0', cursor_left(&rest));
        struct bytes plain = cursor_take(&rest, zero ? (size_t)(zero - rest.next) : cursor_left(&rest));

        if (plain.len > 0)
            memcpy(room, plain.data, plain.len);
        room += plain.len;
        if (zero) {
            struct bytes run = cursor_take_until(digits, 0);

            cursor_take(&rest, 1);
            if (run.len > 0)
                memcpy(room, run.data, run.len);
            room += run.len;
        }
    }
    return room;
}

static void join_texts(const struct batch *batch, size_t row, struct cursor letters, struct cursor digits,
    uint8_t *room, struct bytes *ret_texts)
{
    for (size_t i = 0; i < batch->count; i++) {
        size_t record = batch->order[i];
        uint8_t *start = room;

        if (!columns_has(batch->shapes[record], row))
            continue;
        room = join_text(cursor_take_until(&letters, 0), &digits, room);
        ret_texts[record] = bytes_of(start, (size_t)(room - start));
    }
}

static int take_texts(struct batch *batch, size_t row, size_t count, struct column *ret)
{
    struct cursor *cursor = &batch->cursor;
    struct cursor letters = *cursor, digits;
    size_t run_count = 0, start = cursor_left(cursor);
    struct bytes *texts;
    uint8_t *room;

    for (size_t i = 0; i < count; i++) {
        struct bytes text = cursor_take_until(cursor, 0);

        for (size_t j = 0; j < text.len; j++)
            run_count += text.data[j] == '0';
    }
    digits = *cursor;
    for (size_t i = 0; i < run_count; i++)
        cursor_take_until(cursor, 0);
    if (cursor->failed)
        return -EBADMSG;
    texts = allocate(batch, batch->count, sizeof(*texts));
    room = allocate(batch, start - cursor_left(cursor), 1);
    if (!texts || !room)
        return arena_error(batch->arena);
    join_texts(batch, row, letters, digits, room, texts);
    ret->items = texts;
    return 0;
}

static int take_column(struct batch *batch, size_t row, size_t count)
{
    struct column *column = &batch->columns[row];
    int r = 0;

    switch (columns_rows[row].kind) {
    case ROW_MESSAGE:
        break;
    case ROW_BYTES:
        r = take_runs(batch, count, column);
        break;
    case ROW_NUMBER:
        take_numbers(&batch->cursor, count, &column->numbers);
        break;
    case ROW_SIGNED:
    case ROW_FIXED32:
        r = take_differences(batch, count, column);
        break;
    case ROW_WORD:
        r = take_words(batch, count, column);
        break;
    case ROW_KEY:
        r = take_words(batch, count, column);
        if (r == 0)
            r = order_by_key(batch, row);
        break;
    case ROW_TEXT:
        r = take_texts(batch, row, count, column);
        break;
    }
    return r < 0 ? r : batch->cursor.failed ? -EBADMSG : 0;
}

static int take_shapes(struct batch *batch)
{
    struct column column = {0};
    int r = take_words(batch, batch->count, &column);

    if (r < 0)
        return r;
    assert(column.items || batch->count == 0);
    for (size_t i = 0; i < batch->count; i++) {
        struct cursor word = cursor_of(column.items[number_at(&column.numbers, i)]);

        batch->shapes[i] = cursor_u32be(&word);
        if (cursor_finish(&word) < 0 || !columns_shape_is_valid(batch->shapes[i]))
            return -EBADMSG;
        batch->order[i] = (uint32_t)i;
    }
    return 0;
}

static int take_batch(struct batch *batch)
{
    size_t counts[COLUMNS_ROWS] = {0};
    int r;

    batch->shapes = allocate(batch, batch->count, sizeof(*batch->shapes));
    batch->order = allocate(batch, batch->count, sizeof(*batch->order));
    if (!batch->shapes || !batch->order)
        return arena_error(batch->arena);
    r = take_shapes(batch);
    for (size_t i = 0; r == 0 && i < batch->count; i++)
        for (size_t row = 0; row < COLUMNS_ROWS; row++)
            counts[row] += columns_has(batch->shapes[i], row);
    for (size_t row = 0; r == 0 && row < COLUMNS_ROWS; row++)
        if (counts[row] > 0)
            r = take_column(batch, row, counts[row]);
    return r;
}

/* The value of `row` in the record at `record`, which has one. */
static int next_value(struct batch *batch, size_t row, size_t record, struct columns_values *ret)
{
    struct column *column = &batch->columns[row];
    size_t index = column->next++;
    struct bytes *bytes = &ret->row[row].bytes;
    uint64_t *number = &ret->row[row].number;

    switch (columns_rows[row].kind) {
    case ROW_MESSAGE:
        break;
    case ROW_BYTES:
        *bytes = bytes_of(column->run, (size_t)number_at(&column->numbers, index));
        if (bytes->len > 0)
            column->run += bytes->len;
        break;
    case ROW_NUMBER:
        *number = number_at(&column->numbers, index);
        break;
    case ROW_FIXED32:
    case ROW_SIGNED:
        if (index > 0)
            column->sum += unzigzag(number_at(&column->numbers, index - 1));
        *number = column->sum;
        if (columns_rows[row].kind == ROW_FIXED32 && *number != (uint64_t)(int32_t)(uint32_t)*number)
            return -EBADMSG;
        break;
    case ROW_WORD:
    case ROW_KEY:
        *bytes = column->items[number_at(&column->numbers, index)];
        break;
    case ROW_TEXT:
        *bytes = column->items[record];
        break;
    }
    return 0;
}

static int make_record(struct batch *batch, size_t record, size_t *total, struct bytes *ret)
{
    struct columns_values values = {.shape = batch->shapes[record]};
    uint8_t *room;
    size_t len;

    for (size_t row = 0; row < COLUMNS_ROWS; row++)
        if (columns_has(values.shape, row) && next_value(batch, row, record, &values) < 0)
            return -EBADMSG;
    len = columns_put_together(&values, NULL, 0);
    if (len > RECORD_BYTES_MAX || len > EXCHANGE_INFLATED_BYTES_MAX - *total)
        return -EBADMSG;
    room = allocate(batch, len, 1);
    if (!room)
        return arena_error(batch->arena);
    columns_put_together(&values, room, len);
    *total += len;
    *ret = bytes_of(room, len);
    return 0;
}

int columns_decode(
    struct bytes columns, struct arena *arena, const struct bytes **ret_records, size_t *ret_record_count)
{
    struct batch batch = {.arena = arena, .cursor = cursor_of(columns)};
    struct bytes *records = NULL;
    uint64_t count;
    size_t total = 0;
    int r;

    if (cursor_u8(&batch.cursor) != COLUMNS_VERSION)
        return -EBADMSG;
    count = take_varint(&batch.cursor);
    if (count > EXCHANGE_RECORDS_MAX)
        return -EBADMSG;
    batch.count = (size_t)count;
    r = count > 0 ? take_batch(&batch) : 0;
    if (r < 0 || cursor_finish(&batch.cursor) < 0)
        return r < 0 ? r : -EBADMSG;
    if (count > 0)
        records = allocate(&batch, batch.count, sizeof(*records));
    if (count > 0 && !records)
        return arena_error(batch.arena);
    for (size_t i = 0; i < batch.count; i++) {
        r = make_record(&batch, i, &total, &records[i]);
        if (r < 0)
            return r;
    }
    *ret_records = records;
    *ret_record_count = batch.count;
    return 0;
}
