/* SPDX-License-Identifier: Apache-2.0 */
/* Records to columns: see columns.h. The layout is that of proto/README.md, "Columns". */
#include "proto/columns.h"

#include "proto/columns_table.h"
#include "proto/limits.h"

#include <errno.h>

#define SHAPE_BYTES 4u

/* What is known of the batch when the columns are written. */
struct batch {
    size_t count;
    struct buffer shapes;                /* SHAPE_BYTES each, the most significant first */
    struct buffer columns[COLUMNS_ROWS]; /* numbers (uint64_t) or struct bytes, of the records that have the
                                            row; texts of all records */
    uint32_t *order;                     /* in which texts stand */
    struct bytes *words;                 /* room for one word a record */
    uint64_t *indexes;                   /* likewise */
};

static void batch_done(struct batch *batch)
{
    buffer_done(&batch->shapes);
    for (size_t i = 0; i < COLUMNS_ROWS; i++)
        buffer_done(&batch->columns[i]);
    free(batch->order);
    free(batch->words);
    free(batch->indexes);
}

static void put_varint(struct buffer *ret, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buffer_put_u8(ret, (uint8_t)(value | 0x80));
    buffer_put_u8(ret, (uint8_t)value);
}

/* The bytes of all numbers by their weight, as few as the largest needs: the high ones are alike. */
static void put_numbers(struct buffer *ret, const uint64_t *numbers, size_t count)
{
    uint64_t all = 0;
    uint8_t width = 0;

    for (size_t i = 0; i < count; i++)
        all |= numbers[i];
    while (width < sizeof(all) && all >> 8 * width > 0)
        width++;
    buffer_put_u8(ret, width);
    for (unsigned byte = width; byte-- > 0;) {
        uint8_t *room = buffer_extend(ret, count);

        for (size_t i = 0; room && i < count; i++)
            room[i] = (uint8_t)(numbers[i] >> 8 * byte);
    }
}

static void put_differences(struct buffer *ret, uint64_t *numbers, size_t count)
{
    put_varint(ret, zigzag(numbers[0]));
    for (size_t i = count - 1; i > 0; i--)
        numbers[i] = zigzag(numbers[i] - numbers[i - 1]);
    put_numbers(ret, numbers + 1, count - 1);
}

struct occurrence {
    struct bytes word;
    size_t place;
};

static int compare_occurrences(const void *a, const void *b)
{
    const struct occurrence *left = a, *right = b;
    size_t len = left->word.len < right->word.len ? left->word.len : right->word.len;
    int r = len > 0 ? memcmp(left->word.data, right->word.data, len) : 0;

    if (r == 0)
        r = (left->word.len > right->word.len) - (left->word.len < right->word.len);
    if (r == 0)
        r = (left->place > right->place) - (left->place < right->place);
    return r;
}

/* Numbers the words as they first occur. Sorted, equal ones meet: no input makes it slow. `ret_words` has
 * room for all. */
static int find_words(const struct bytes *items, size_t count, uint64_t *ret_indexes, struct bytes *ret_words,
    size_t *ret_word_count)
{
    _cleanup_free_ struct occurrence *sorted = calloc(count, sizeof(*sorted));
    size_t word_count = 0;

    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        sorted[i] = (struct occurrence){.word = items[i], .place = i};
    qsort(sorted, count, sizeof(*sorted), compare_occurrences);
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && bytes_equal(sorted[i].word, sorted[i - 1].word);

        /* The place where it occurs first, for now. */
        ret_indexes[sorted[i].place] = same ? ret_indexes[sorted[i - 1].place] : sorted[i].place;
    }
    for (size_t i = 0; i < count; i++) {
        size_t first = (size_t)ret_indexes[i];

        if (first == i)
            ret_words[word_count++] = items[i];
        ret_indexes[i] = first == i ? word_count - 1 : ret_indexes[first];
    }
    *ret_word_count = word_count;
    return 0;
}

/* Leaves the indexes in the batch. */
static int put_words(
    struct batch *batch, const struct bytes *items, size_t count, struct buffer *ret, size_t *ret_word_count)
{
    int r = find_words(items, count, batch->indexes, batch->words, ret_word_count);

    if (r < 0)
        return r;
    put_varint(ret, *ret_word_count);
    for (size_t i = 0; i < *ret_word_count; i++) {
        put_varint(ret, batch->words[i].len);
        buffer_put_bytes(ret, batch->words[i]);
    }
    put_numbers(ret, batch->indexes, count);
    return 0;
}

static int put_shapes(struct batch *batch, struct buffer *ret)
{
    _cleanup_free_ struct bytes *shapes = calloc(batch->count, sizeof(*shapes));
    size_t word_count;

    if (!shapes)
        return -ENOMEM;
    for (size_t i = 0; i < batch->count; i++)
        shapes[i] = bytes_of(batch->shapes.data + i * SHAPE_BYTES, SHAPE_BYTES);
    return put_words(batch, shapes, batch->count, ret, &word_count);
}

static bool has_row(const struct batch *batch, size_t record, size_t row)
{
    const uint8_t *shape = batch->shapes.data + record * SHAPE_BYTES;

    return shape[SHAPE_BYTES - 1 - row / 8] >> row % 8 & 1;
}

/* Settles the order of texts by the indexes that the batch holds of the key's words; records without a key
 * come last. */
static int order_by_key(struct batch *batch, size_t key_row, size_t word_count)
{
    _cleanup_free_ uint32_t *groups = calloc(batch->count, sizeof(*groups));
    _cleanup_free_ uint32_t *starts = calloc(word_count + 2, sizeof(*starts));

    if (!groups || !starts)
        return -ENOMEM;
    for (size_t i = 0, next = 0; i < batch->count; i++)
        groups[i] = (uint32_t)(has_row(batch, i, key_row) ? batch->indexes[next++] : word_count);
    columns_order(groups, batch->count, word_count + 1, starts, batch->order);
    return 0;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* Appends a text to `letters`, each run of digits as one 0, and the runs to `digits`. */
static void split_text(struct bytes text, struct buffer *letters, struct buffer *digits)
{
    for (size_t i = 0, len; i < text.len; i += len) {
        bool number = is_digit(text.data[i]);

        for (len = 1; i + len < text.len && is_digit(text.data[i + len]) == number;)
            len++;
        buffer_put(number ? digits : letters, text.data + i, len);
        if (number) {
            buffer_put_u8(letters, '0');
            buffer_put_u8(digits, 0);
        }
    }
    buffer_put_u8(letters, 0);
}

/* Texts of records without the row are empty here and are left out. */
static int put_texts(const struct batch *batch, size_t row, struct buffer *ret)
{
    const struct bytes *texts = (const struct bytes *)(const void *)batch->columns[row].data;
    _cleanup_buffer_ struct buffer digits = {0};

    for (size_t i = 0; i < batch->count; i++)
        if (has_row(batch, batch->order[i], row))
            split_text(texts[batch->order[i]], ret, &digits);
    buffer_put_bytes(ret, buffer_bytes(&digits));
    return buffer_finish(&digits);
}

static void put_runs(struct batch *batch, const struct bytes *runs, size_t count, struct buffer *ret)
{
    for (size_t i = 0; i < count; i++)
        batch->indexes[i] = runs[i].len;
    put_numbers(ret, batch->indexes, count);
    for (size_t i = 0; i < count; i++)
        buffer_put_bytes(ret, runs[i]);
}

static int put_column(struct batch *batch, size_t row, struct buffer *ret)
{
    struct buffer *column = &batch->columns[row];
    const struct bytes *items = (const struct bytes *)(const void *)column->data;
    uint64_t *numbers = (uint64_t *)(void *)column->data;
    size_t item_count = column->len / sizeof(*items), word_count;
    int r = 0;

    if (column->len == 0)
        return 0;
    switch (columns_rows[row].kind) {
    case ROW_MESSAGE:
        break;
    case ROW_BYTES:
        put_runs(batch, items, item_count, ret);
        break;
    case ROW_NUMBER:
        put_numbers(ret, numbers, column->len / sizeof(*numbers));
        break;
    case ROW_SIGNED:
    case ROW_FIXED32:
        put_differences(ret, numbers, column->len / sizeof(*numbers));
        break;
    case ROW_WORD:
        r = put_words(batch, items, item_count, ret, &word_count);
        break;
    case ROW_KEY:
        r = put_words(batch, items, item_count, ret, &word_count);
        if (r == 0)
            r = order_by_key(batch, row, word_count);
        break;
    case ROW_TEXT:
        r = put_texts(batch, row, ret);
        break;
    }
    return r;
}

static void collect(struct batch *batch, const struct columns_values *values)
{
    for (size_t row = 0; row < COLUMNS_ROWS; row++) {
        bool there = columns_has(values->shape, row);
        struct bytes text = there ? values->row[row].bytes : (struct bytes){0};

        switch (columns_rows[row].kind) {
        case ROW_MESSAGE:
            break;
        case ROW_NUMBER:
        case ROW_SIGNED:
        case ROW_FIXED32:
            if (there)
                buffer_put(&batch->columns[row], &values->row[row].number, sizeof(uint64_t));
            break;
        case ROW_BYTES:
        case ROW_WORD:
        case ROW_KEY:
            if (there)
                buffer_put(&batch->columns[row], &text, sizeof(text));
            break;
        case ROW_TEXT:
            buffer_put(&batch->columns[row], &text, sizeof(text));
            break;
        }
    }
    buffer_put_u32be(&batch->shapes, values->shape);
}

static int collect_all(struct batch *batch, const struct bytes *records)
{
    _cleanup_free_ uint8_t *scratch = malloc(RECORD_BYTES_MAX);
    struct columns_values values;
    int r;

    batch->order = calloc(batch->count, sizeof(*batch->order));
    batch->words = calloc(batch->count, sizeof(*batch->words));
    batch->indexes = calloc(batch->count, sizeof(*batch->indexes));
    if (!scratch || !batch->order || !batch->words || !batch->indexes)
        return -ENOMEM;
    for (size_t i = 0; i < batch->count; i++) {
        columns_take_apart(records[i], scratch, &values);
        collect(batch, &values);
        batch->order[i] = (uint32_t)i;
    }
    r = buffer_finish(&batch->shapes);
    for (size_t row = 0; r == 0 && row < COLUMNS_ROWS; row++)
        r = buffer_finish(&batch->columns[row]);
    return r;
}

static int put_batch(struct batch *batch, const struct bytes *records, struct buffer *ret)
{
    int r;

    buffer_put_u8(ret, COLUMNS_VERSION);
    put_varint(ret, batch->count);
    if (batch->count == 0)
        return buffer_finish(ret);
    r = collect_all(batch, records);
    if (r == 0)
        r = put_shapes(batch, ret);
    for (size_t row = 0; r == 0 && row < COLUMNS_ROWS; row++)
        r = put_column(batch, row, ret);
    return r < 0 ? r : buffer_finish(ret);
}

static bool are_within_limits(const struct bytes *records, size_t record_count)
{
    size_t total = 0;

    if (record_count > EXCHANGE_RECORDS_MAX)
        return false;
    for (size_t i = 0; i < record_count; i++) {
        if (records[i].len > RECORD_BYTES_MAX || records[i].len > EXCHANGE_INFLATED_BYTES_MAX - total)
            return false;
        total += records[i].len;
    }
    return true;
}

int columns_encode(const struct bytes *records, size_t record_count, struct buffer *ret)
{
    size_t start = ret->len;
    int r;

    if (!are_within_limits(records, record_count))
        return -EMSGSIZE;
    _cleanup_(batch_done) struct batch batch = {.count = record_count};
    r = put_batch(&batch, records, ret);
    if (r < 0)
        ret->len = start;
    return r;
}
