/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of columns, and single records by it: taken apart into values, put together again. Both
 * directions of columns.h go through here, so that a new field is a row. Pure; for columns_*.c.
 */
#pragma once

#include "base/bytes.h"

#define COLUMNS_VERSION 1u
#define COLUMNS_ROWS 28u
#define COLUMNS_DEPTH_MAX 3u

enum row_kind {
    ROW_BYTES,   /* whole fields of other numbers, tags and all */
    ROW_MESSAGE, /* the rows below it, which are one deeper */
    ROW_NUMBER,  /* a varint as it stands */
    ROW_SIGNED,  /* a zigzag varint: differences */
    ROW_FIXED32, /* four bytes: differences */
    ROW_WORD,    /* a text that recurs: an index into those that occur */
    ROW_KEY,     /* a word whose records' texts stand together */
    ROW_TEXT,    /* text, its numbers apart */
};

struct columns_row {
    uint8_t depth;
    enum row_kind kind;
    uint32_t first, last; /* field numbers; only ROW_BYTES covers more than one */
};

/* In the order in which the fields of a record are written. */
extern const struct columns_row columns_rows[COLUMNS_ROWS];

/* A record as its rows. Bit n of `shape`: row n is there; only then its value is set. */
struct columns_values {
    uint32_t shape;
    struct {
        uint64_t number; /* two's complement where the row is signed or fixed */
        struct bytes bytes;
    } row[COLUMNS_ROWS];
};

/* Of two's complement: small for small numbers of either sign, as protobuf's sint64. */
static inline uint64_t zigzag(uint64_t value)
{
    return value << 1 ^ -(value >> 63);
}

static inline uint64_t unzigzag(uint64_t value)
{
    return value >> 1 ^ -(value & 1);
}

static inline bool columns_has(uint32_t shape, size_t row)
{
    return shape >> row & 1;
}

/* True when a record can have this shape: no row is unknown, none is there without its message. */
bool columns_shape_is_valid(uint32_t shape);

/* The values of a record, views into it. What would not be put together to the very same bytes becomes one
 * value, the record itself. `scratch` has room for as many bytes as the record. */
void columns_take_apart(struct bytes record, uint8_t *scratch, struct columns_values *ret);
/* Puts a record together into `room`, and returns its length; with NULL only the length is told. `len` is
 * that length, as it was told. */
size_t columns_put_together(const struct columns_values *values, uint8_t *room, size_t len);

/* The order in which texts stand: records by their group, those of a group as they come. `starts` are
 * `group_count` + 1 zeros, used up; groups are below `group_count`. */
void columns_order(
    const uint32_t *groups, size_t count, size_t group_count, uint32_t *starts, uint32_t *ret_order);
