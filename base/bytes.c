/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns reading through a view and growing a buffer; called by every room. Must not know what the bytes mean.
 */
#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>

/* The first allocation: small enough for a header, large enough that a record needs no second one. */
#define BUFFER_CAPACITY_MIN 256u

struct cursor cursor_of(struct bytes bytes)
{
    if (bytes.len == 0)
        return (struct cursor){.next = NULL, .end = NULL};
    return (struct cursor){.next = bytes.data, .end = bytes.data + bytes.len};
}

size_t cursor_left(const struct cursor *cursor)
{
    return cursor->failed || cursor->next == cursor->end ? 0 : (size_t)(cursor->end - cursor->next);
}

struct bytes cursor_take(struct cursor *cursor, size_t len)
{
    if (cursor->failed || len > cursor_left(cursor)) {
        cursor->failed = true;
        return (struct bytes){0};
    }

    struct bytes taken = {.data = cursor->next, .len = len};
    if (len > 0) /* NULL, as over an empty view, is not to be moved even by 0. */
        cursor->next += len;
    return taken;
}

struct bytes cursor_take_until(struct cursor *cursor, uint8_t separator)
{
    size_t left = cursor_left(cursor);
    const uint8_t *found = left > 0 ? memchr(cursor->next, separator, left) : NULL;

    if (!found) {
        cursor->failed = true;
        return (struct bytes){0};
    }

    struct bytes taken = cursor_take(cursor, (size_t)(found - cursor->next));
    cursor->next++;
    return taken;
}

static uint64_t cursor_big_endian(struct cursor *cursor, size_t len)
{
    struct bytes taken = cursor_take(cursor, len);
    uint64_t value = 0;

    for (size_t i = 0; i < taken.len; i++)
        value = value << 8 | taken.data[i];
    return value;
}

uint8_t cursor_u8(struct cursor *cursor)
{
    return (uint8_t)cursor_big_endian(cursor, 1);
}

uint32_t cursor_u32be(struct cursor *cursor)
{
    return (uint32_t)cursor_big_endian(cursor, 4);
}

uint64_t cursor_u64be(struct cursor *cursor)
{
    return cursor_big_endian(cursor, 8);
}

int cursor_finish(const struct cursor *cursor)
{
    return cursor->failed || cursor->next != cursor->end ? -EBADMSG : 0;
}

void buffer_done(struct buffer *buffer)
{
    if (!buffer)
        return;
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->len = 0;
    buffer->failed = false;
}

/* Makes `len` more bytes fit; on failure marks the buffer failed. */
static bool buffer_reserve(struct buffer *buffer, size_t len)
{
    if (buffer->failed)
        return false;
    if (len <= buffer->capacity - buffer->len && buffer->data)
        return true;
    if (len > SIZE_MAX / 2 - buffer->len) {
        buffer->failed = true;
        return false;
    }

    size_t needed = buffer->len + len;
    size_t capacity = buffer->capacity < BUFFER_CAPACITY_MIN ? BUFFER_CAPACITY_MIN : buffer->capacity;
    while (capacity < needed)
        capacity *= 2;

    uint8_t *data = realloc(buffer->data, capacity);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

uint8_t *buffer_extend(struct buffer *buffer, size_t len)
{
    if (!buffer_reserve(buffer, len))
        return NULL;

    uint8_t *room = buffer->data + buffer->len;
    buffer->len += len;
    return room;
}

void buffer_put(struct buffer *buffer, const void *data, size_t len)
{
    if (len == 0)
        return;

    uint8_t *room = buffer_extend(buffer, len);
    if (room)
        memcpy(room, data, len);
}

void buffer_put_bytes(struct buffer *buffer, struct bytes bytes)
{
    buffer_put(buffer, bytes.data, bytes.len);
}

void buffer_put_text(struct buffer *buffer, const char *text)
{
    buffer_put_bytes(buffer, bytes_of_text(text));
}

static void buffer_put_big_endian(struct buffer *buffer, uint64_t value, size_t len)
{
    uint8_t *room = buffer_extend(buffer, len);

    for (size_t i = len; room && i > 0; i--, value >>= 8)
        room[i - 1] = (uint8_t)(value & 0xff);
}

void buffer_put_u8(struct buffer *buffer, uint8_t value)
{
    buffer_put_big_endian(buffer, value, 1);
}

void buffer_put_u32be(struct buffer *buffer, uint32_t value)
{
    buffer_put_big_endian(buffer, value, 4);
}

void buffer_put_u64be(struct buffer *buffer, uint64_t value)
{
    buffer_put_big_endian(buffer, value, 8);
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int needed = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (needed < 0) {
        buffer->failed = true;
        return;
    }

    /* One byte more than counted: vsnprintf ends its text with a NUL. */
    if (!buffer_reserve(buffer, (size_t)needed + 1))
        return;
    va_start(arguments, format);
    int written = vsnprintf((char *)buffer->data + buffer->len, (size_t)needed + 1, format, arguments);
    va_end(arguments);
    assert(written == needed);
    buffer->len += (size_t)needed;
}

int buffer_finish(const struct buffer *buffer)
{
    return buffer->failed ? -ENOMEM : 0;
}

const char *buffer_text(struct buffer *buffer)
{
    if (!buffer_reserve(buffer, 1))
        return NULL;
    buffer->data[buffer->len] = '\0';
    return (const char *)buffer->data;
}
