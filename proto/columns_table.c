/* SPDX-License-Identifier: Apache-2.0 */
/* The table of columns, and records by it: see columns_table.h. */
#include "proto/columns_table.h"

#include "proto/wire_reader.h"

#include <assert.h>

#define NO_FIELD 0u
#define ANY_LATER UINT32_MAX

/* Rows with a range take in what has no row of its own, so that the fields of any record whose numbers ascend
 * find a place. A changed table is another version of the format. */
const struct columns_row columns_rows[COLUMNS_ROWS] = {
    {1, ROW_BYTES, NO_FIELD, NO_FIELD}, /* a whole record */
    {1, ROW_SIGNED, 1, 1},              /* wall_ms */
    {1, ROW_SIGNED, 2, 2},              /* utc_offset_min */
    {1, ROW_SIGNED, 3, 3},              /* boot_wall_ms */
    {1, ROW_WORD, 4, 4},                /* inspector */
    {1, ROW_BYTES, 5, 16},              /* opened */
    {1, ROW_MESSAGE, 17, 17},           /* finding */
    {2, ROW_MESSAGE, 1, 1},             /* category */
    {3, ROW_WORD, 1, 1},                /* scheme */
    {3, ROW_WORD, 2, 2},                /* version */
    {3, ROW_KEY, 3, 3},                 /* code */
    {3, ROW_WORD, 4, 4},                /* component */
    {3, ROW_BYTES, 5, ANY_LATER},       /* not known yet */
    {2, ROW_NUMBER, 2, 2},              /* severity */
    {2, ROW_TEXT, 3, 3},                /* note */
    {2, ROW_MESSAGE, 4, 4},             /* position */
    {3, ROW_FIXED32, 1, 1},             /* lat_e7 */
    {3, ROW_FIXED32, 2, 2},             /* lon_e7 */
    {3, ROW_NUMBER, 3, 3},              /* accuracy_dm */
    {3, ROW_SIGNED, 4, 4},              /* fix_age_s */
    {3, ROW_SIGNED, 5, 5},              /* fix_time_ms */
    {3, ROW_BYTES, 6, ANY_LATER},       /* not known yet */
    {2, ROW_TEXT, 5, 5},                /* no_fix */
    {2, ROW_SIGNED, 6, 6},              /* observed_age_s */
    {2, ROW_BYTES, 7, 7},               /* photos */
    {2, ROW_SIGNED, 8, 8},              /* observed_ms */
    {2, ROW_BYTES, 9, ANY_LATER},       /* not known yet */
    {1, ROW_BYTES, 18, ANY_LATER},      /* the other kinds of record */
};

#define WHOLE_RECORD 0u

_Static_assert(COLUMNS_ROWS <= 32, "a shape has a bit for each row");

bool columns_shape_is_valid(uint32_t shape)
{
    bool there[COLUMNS_DEPTH_MAX + 1] = {[1] = true};

    for (size_t i = 0; i < COLUMNS_ROWS; i++) {
        uint8_t depth = columns_rows[i].depth;

        if (columns_has(shape, i) && !there[depth])
            return false;
        if (columns_rows[i].kind == ROW_MESSAGE)
            there[depth + 1] = columns_has(shape, i);
    }
    return shape >> COLUMNS_ROWS == 0;
}

static enum wire_type wire_type_of(enum row_kind kind)
{
    switch (kind) {
    case ROW_NUMBER:
    case ROW_SIGNED:
        return WIRE_VARINT;
    case ROW_FIXED32:
        return WIRE_FIXED32;
    case ROW_BYTES:
    case ROW_MESSAGE:
    case ROW_WORD:
    case ROW_KEY:
    case ROW_TEXT:
        break;
    }
    return WIRE_RUN;
}

/* The first row from `row` on that this field of a message at `depth` belongs to; COLUMNS_ROWS when there is
 * none. */
static size_t find_row(size_t row, uint8_t depth, uint32_t field)
{
    for (; row < COLUMNS_ROWS && columns_rows[row].depth >= depth; row++)
        if (columns_rows[row].depth == depth && field >= columns_rows[row].first &&
            field <= columns_rows[row].last)
            return row;
    return COLUMNS_ROWS;
}

/* Sets the value of a row from the field that was read, which began at `start`. False when it has another
 * type, or a text could not stand between NULs. */
static bool set_value(
    const struct wire_reader *reader, const uint8_t *start, size_t row, struct columns_values *ret)
{
    enum row_kind kind = columns_rows[row].kind;
    struct bytes *bytes = &ret->row[row].bytes;
    uint64_t value = reader->value;

    if (kind == ROW_BYTES) {
        /* Fields of one such row stand side by side, as rows are met in order. */
        if (!columns_has(ret->shape, row))
            *bytes = bytes_of(start, 0);
        bytes->len = (size_t)(reader->next - bytes->data);
    } else {
        if (reader->type != wire_type_of(kind))
            return false;
        if (kind == ROW_TEXT && reader->run.len > 0 && memchr(reader->run.data, 0, reader->run.len))
            return false;
        *bytes = reader->run;
    }
    if (kind == ROW_SIGNED)
        value = unzigzag(value);
    else if (kind == ROW_FIXED32)
        value = (uint64_t)(int32_t)(uint32_t)value;
    ret->row[row].number = value;
    ret->shape |= UINT32_C(1) << row;
    return true;
}

/* The rows are in the order of writing, so that one pass over both finds each field its row. False when the
 * record has no such order or is not Protocol Buffers at all. */
static bool take_fields(struct bytes record, struct columns_values *ret)
{
    struct wire_reader readers[COLUMNS_DEPTH_MAX + 1];
    uint8_t depth = 1;
    size_t row = 0;

    readers[1] = wire_reader_of(record, NULL);
    while (depth > 0) {
        struct wire_reader *reader = &readers[depth];
        const uint8_t *start = reader->next;

        if (!wire_next(reader)) {
            if (wire_finish(reader, NULL) < 0)
                return false;
            depth--;
            continue;
        }
        row = find_row(row, depth, reader->field);
        if (row == COLUMNS_ROWS || !set_value(reader, start, row, ret))
            return false;
        if (columns_rows[row].kind == ROW_MESSAGE)
            readers[++depth] = wire_reader_of(reader->run, NULL);
        if (columns_rows[row].kind != ROW_BYTES)
            row++;
    }
    return true;
}

void columns_take_apart(struct bytes record, uint8_t *scratch, struct columns_values *ret)
{
    ret->shape = 0;
    /* Fields that were all taken make the same record again. That is proven for each, and not believed. */
    if (take_fields(record, ret) && columns_put_together(ret, NULL, 0) == record.len) {
        columns_put_together(ret, scratch, record.len);
        if (bytes_equal(bytes_of(scratch, record.len), record))
            return;
    }
    ret->shape = UINT32_C(1) << WHOLE_RECORD;
    ret->row[WHOLE_RECORD].bytes = record;
}

/* Writes from the end to the beginning, so that a message's length is known when it is due. */
struct backwards {
    uint8_t *end; /* NULL: only counts */
    size_t len;
};

static void before(struct backwards *out, struct bytes bytes)
{
    out->len += bytes.len;
    if (out->end && bytes.len > 0)
        memcpy(out->end - out->len, bytes.data, bytes.len);
}

static void before_varint(struct backwards *out, uint64_t value)
{
    uint8_t bytes[10];
    size_t len = 0;

    for (; value >= 0x80; value >>= 7)
        bytes[len++] = (uint8_t)(value | 0x80);
    bytes[len++] = (uint8_t)value;
    before(out, bytes_of(bytes, len));
}

static void before_field(
    struct backwards *out, const struct columns_row *row, uint64_t number, struct bytes bytes)
{
    uint8_t fixed[4];

    switch (row->kind) {
    case ROW_BYTES:
        before(out, bytes);
        return;
    case ROW_NUMBER:
        before_varint(out, number);
        break;
    case ROW_SIGNED:
        before_varint(out, zigzag(number));
        break;
    case ROW_FIXED32:
        for (size_t i = 0; i < sizeof(fixed); i++)
            fixed[i] = (uint8_t)(number >> 8 * i);
        before(out, bytes_of(fixed, sizeof(fixed)));
        break;
    case ROW_MESSAGE:
        before_varint(out, number);
        break;
    case ROW_WORD:
    case ROW_KEY:
    case ROW_TEXT:
        before(out, bytes);
        before_varint(out, bytes.len);
        break;
    }
    before_varint(out, (uint64_t)row->first << 3 | (uint64_t)wire_type_of(row->kind));
}

size_t columns_put_together(const struct columns_values *values, uint8_t *room, size_t len)
{
    struct backwards out = {.end = room ? room + len : NULL};
    size_t behind[COLUMNS_DEPTH_MAX + 1] = {0}; /* how much stands behind the message of that depth */
    uint8_t depth = 1;

    for (size_t i = COLUMNS_ROWS; i-- > 0;) {
        const struct columns_row *row = &columns_rows[i];
        bool there = columns_has(values->shape, i);

        while (depth < row->depth)
            behind[++depth] = out.len;
        if (row->kind == ROW_MESSAGE) {
            size_t inside = out.len - behind[depth--];

            if (there)
                before_field(&out, row, inside, (struct bytes){0});
        } else if (there) {
            before_field(&out, row, values->row[i].number, values->row[i].bytes);
        }
    }
    assert(!room || out.len == len);
    return out.len;
}

void columns_order(
    const uint32_t *groups, size_t count, size_t group_count, uint32_t *starts, uint32_t *ret_order)
{
    for (size_t i = 0; i < count; i++)
        starts[groups[i] + 1]++;
    for (size_t i = 0; i < group_count; i++)
        starts[i + 1] += starts[i];
    for (size_t i = 0; i < count; i++)
        ret_order[starts[groups[i]]++] = (uint32_t)i;
}
