/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes: a borrowed view, a cursor with a sticky error for reading, a growing buffer for writing.
 *
 * Used by every room; knows nothing of what the bytes mean. Pure.
 */
#pragma once

#include "base/cleanup.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes; `data` may be NULL only when `len` is 0. Valid as long as what it was taken from.
 */
struct bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){.data = data, .len = len};
}

static inline struct bytes bytes_of_text(const char *text)
{
    return (struct bytes){.data = (const uint8_t *)text, .len = text ? strlen(text) : 0};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Reads forward through a view. Once a read runs past the end `failed` stays set and every later read yields
 * zeros, so that a parser checks once at its end. */
struct cursor {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
};

struct cursor cursor_of(struct bytes bytes);
size_t cursor_left(const struct cursor *cursor);
uint8_t cursor_u8(struct cursor *cursor);
uint32_t cursor_u32be(struct cursor *cursor);
uint64_t cursor_u64be(struct cursor *cursor);
/* The next `len` bytes, borrowed from what the cursor reads; an empty view on failure. */
struct bytes cursor_take(struct cursor *cursor, size_t len);
/* Everything up to (without) `separator`, which is consumed; fails when it does not occur. */
struct bytes cursor_take_until(struct cursor *cursor, uint8_t separator);
/* 0 when all was read without a failure, else -EBADMSG. */
int cursor_finish(const struct cursor *cursor);

/* A growing buffer. Zero-initialised is valid. When memory runs out `failed` stays set and later writes do
 * nothing: check once, by `buffer_finish`. */
struct buffer {
    uint8_t *data;
    size_t len;
    size_t capacity;
    bool failed;
};

void buffer_done(struct buffer *buffer);
void buffer_clear(struct buffer *buffer);
/* Makes room for `len` more bytes and returns where they go (uninitialised, counted in `len` at once), or
 * NULL. */
uint8_t *buffer_extend(struct buffer *buffer, size_t len);
void buffer_put(struct buffer *buffer, const void *data, size_t len);
void buffer_put_bytes(struct buffer *buffer, struct bytes bytes);
void buffer_put_text(struct buffer *buffer, const char *text);
void buffer_put_u8(struct buffer *buffer, uint8_t value);
void buffer_put_u32be(struct buffer *buffer, uint32_t value);
void buffer_put_u64be(struct buffer *buffer, uint64_t value);
void buffer_printf(struct buffer *buffer, const char *format, ...) _printf_(2, 3);
/* 0, or -ENOMEM when any write failed. */
int buffer_finish(const struct buffer *buffer);
/* The buffer's bytes as a NUL-terminated text (the NUL is not counted in `len`), or NULL when memory ran out.
 */
const char *buffer_text(struct buffer *buffer);
static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    return bytes_of(buffer->data, buffer->len);
}
#define _cleanup_buffer_ _cleanup_(buffer_done)
