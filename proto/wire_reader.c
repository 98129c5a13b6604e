/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading Protocol Buffers fields: see wire_reader.h. The encoding is
 * https://protobuf.dev/programming-guides/encoding/ without groups, which are not used any more.
 */
#include "proto/wire_reader.h"

#include <errno.h>

#define VARINT_BYTES_MAX 10u
#define ONCE_FIELD_MAX 63u

static const char *const malformed = "malformed encoding";

struct wire_reader wire_reader_of(struct bytes message, struct arena *arena)
{
    static const uint8_t nothing;
    const uint8_t *start = message.len > 0 ? message.data : &nothing;

    return (struct wire_reader){.arena = arena, .next = start, .end = start + message.len};
}

static void stop(struct wire_reader *reader, int error, const char *reason)
{
    if (reader->error < 0)
        return;
    reader->error = error;
    reader->reason = reason;
    reader->next = reader->end;
}

void wire_fail(struct wire_reader *reader, const char *reason)
{
    stop(reader, -EBADMSG, reason);
}

int wire_finish(const struct wire_reader *reader, const char **ret_reason)
{
    if (reader->error == -EBADMSG && ret_reason)
        *ret_reason = reader->reason;
    return reader->error;
}

/* A number of up to 64 bits, seven to a byte, least significant first, in its shortest form. 0 or -EBADMSG.
 */
static int take_varint(const uint8_t **next, const uint8_t *end, uint64_t *ret)
{
    const uint8_t *byte = *next;
    uint64_t value = 0;

    for (unsigned i = 0; i < VARINT_BYTES_MAX && byte < end; i++, byte++) {
        if (i == VARINT_BYTES_MAX - 1 && *byte > 1)
            return -EBADMSG;
        value |= (uint64_t)(*byte & 0x7fu) << (7 * i);
        if (*byte == 0 && i > 0)
            return -EBADMSG;
        if (*byte < 0x80) {
            *next = byte + 1;
            *ret = value;
            return 0;
        }
    }
    return -EBADMSG;
}

static uint64_t little_endian(const uint8_t *data, size_t len)
{
    uint64_t value = 0;

    for (size_t i = len; i > 0; i--)
        value = value << 8 | data[i - 1];
    return value;
}

static int take_fixed(struct wire_reader *reader, size_t len)
{
    if ((size_t)(reader->end - reader->next) < len)
        return -EBADMSG;
    reader->value = little_endian(reader->next, len);
    reader->next += len;
    return 0;
}

static int take_run(struct wire_reader *reader)
{
    uint64_t len;

    if (take_varint(&reader->next, reader->end, &len) < 0 || len > (size_t)(reader->end - reader->next))
        return -EBADMSG;
    reader->run = bytes_of(reader->next, (size_t)len);
    reader->next += len;
    return 0;
}

static int take_field(struct wire_reader *reader)
{
    uint64_t tag;

    if (take_varint(&reader->next, reader->end, &tag) < 0 || tag > UINT32_MAX || tag >> 3 == 0)
        return -EBADMSG;
    reader->field = (uint32_t)(tag >> 3);
    reader->value = 0;
    reader->run = (struct bytes){0};
    switch (tag & 7) {
    case WIRE_VARINT:
        reader->type = WIRE_VARINT;
        return take_varint(&reader->next, reader->end, &reader->value);
    case WIRE_FIXED64:
        reader->type = WIRE_FIXED64;
        return take_fixed(reader, sizeof(uint64_t));
    case WIRE_RUN:
        reader->type = WIRE_RUN;
        return take_run(reader);
    case WIRE_FIXED32:
        reader->type = WIRE_FIXED32;
        return take_fixed(reader, sizeof(uint32_t));
    }
    return -EBADMSG;
}

bool wire_next(struct wire_reader *reader)
{
    if (reader->next == reader->end)
        return false;
    if (take_field(reader) < 0)
        wire_fail(reader, malformed);
    return reader->error == 0;
}

/* True when the current field has the type that is meant. */
static bool is_of_type(struct wire_reader *reader, enum wire_type type)
{
    if (reader->error == 0 && reader->type != type)
        wire_fail(reader, malformed);
    return reader->error == 0;
}

/* The same for a field that stands at most once. */
static bool is_once_of_type(struct wire_reader *reader, enum wire_type type)
{
    if (!is_of_type(reader, type))
        return false;
    if (reader->field > ONCE_FIELD_MAX || (reader->seen & WIRE_FIELD(reader->field)))
        wire_fail(reader, "a field stands twice");
    else
        reader->seen |= WIRE_FIELD(reader->field);
    return reader->error == 0;
}

uint64_t wire_u64(struct wire_reader *reader)
{
    return is_once_of_type(reader, WIRE_VARINT) ? reader->value : 0;
}

/* A varint of at most `max`. */
static uint64_t number_up_to(struct wire_reader *reader, uint64_t max, const char *reason)
{
    uint64_t value = wire_u64(reader);

    if (value <= max)
        return value;
    wire_fail(reader, reason);
    return 0;
}

uint32_t wire_u32(struct wire_reader *reader)
{
    return (uint32_t)number_up_to(reader, UINT32_MAX, "a number is out of range");
}

bool wire_bool(struct wire_reader *reader)
{
    return number_up_to(reader, 1, "a number is out of range") == 1;
}

unsigned wire_enum(struct wire_reader *reader, unsigned max, const char *reason)
{
    return (unsigned)number_up_to(reader, max, reason);
}

/* 0, 1, 2, 3 ... stand for 0, -1, 1, -2 ... */
static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1 ^ -(value & 1));
}

int64_t wire_s64(struct wire_reader *reader)
{
    return unzigzag(wire_u64(reader));
}

int32_t wire_s32(struct wire_reader *reader)
{
    return (int32_t)unzigzag(wire_u32(reader));
}

int32_t wire_sfixed32(struct wire_reader *reader)
{
    return is_once_of_type(reader, WIRE_FIXED32) ? (int32_t)(uint32_t)reader->value : 0;
}

struct bytes wire_bytes(struct wire_reader *reader, size_t len_max)
{
    if (!is_once_of_type(reader, WIRE_RUN))
        return (struct bytes){0};
    if (reader->run.len <= len_max)
        return reader->run;
    wire_fail(reader, "a field is too long");
    return (struct bytes){0};
}

struct bytes wire_text(struct wire_reader *reader, size_t len_max)
{
    struct bytes text = wire_bytes(reader, len_max);

    if (text_is_utf8(text))
        return text;
    wire_fail(reader, "a text is not UTF-8");
    return (struct bytes){0};
}

bool wire_exact_or_none(struct wire_reader *reader, uint8_t *ret, size_t len)
{
    if (!is_once_of_type(reader, WIRE_RUN) || reader->run.len == 0)
        return false;
    if (reader->run.len != len) {
        wire_fail(reader, "an id, key or hash has the wrong length");
        return false;
    }
    memcpy(ret, reader->run.data, len);
    return true;
}

void wire_exact(struct wire_reader *reader, uint8_t *ret, size_t len)
{
    if (!wire_exact_or_none(reader, ret, len))
        wire_fail(reader, "an id, key or hash is empty");
}

void wire_uuid_or_none(struct wire_reader *reader, struct uuid *ret)
{
    if (wire_exact_or_none(reader, ret->b, UUID_BYTES) && uuid_is_nil(ret))
        wire_fail(reader, "an id is nil");
}

void wire_uuid(struct wire_reader *reader, struct uuid *ret)
{
    wire_exact(reader, ret->b, UUID_BYTES);
    if (!reader->error && uuid_is_nil(ret))
        wire_fail(reader, "an id is nil");
}

void wire_demand(struct wire_reader *reader, uint64_t fields)
{
    if ((reader->seen & fields) != fields)
        wire_fail(reader, "a field is missing");
}

struct wire_reader wire_message(struct wire_reader *reader)
{
    bool usable = is_once_of_type(reader, WIRE_RUN);

    return wire_reader_of(usable ? reader->run : (struct bytes){0}, reader->arena);
}

struct wire_reader wire_item_message(struct wire_reader *reader)
{
    bool usable = is_of_type(reader, WIRE_RUN);

    return wire_reader_of(usable ? reader->run : (struct bytes){0}, reader->arena);
}

void wire_end(struct wire_reader *reader, const struct wire_reader *inner)
{
    if (inner->error < 0)
        stop(reader, inner->error, inner->reason);
}

/* How often the current field occurs from here on, itself included. A malformed rest ends the count: the
 * reader will come to it and fail there. */
static size_t count_items(const struct wire_reader *reader)
{
    struct wire_reader ahead = *reader;
    size_t count = 1;

    while (wire_next(&ahead))
        count += ahead.field == reader->field;
    return count;
}

static void *allocate(struct wire_reader *reader, size_t count, size_t size)
{
    void *ret = arena_alloc(reader->arena, count * size);

    if (!ret)
        stop(reader, arena_error(reader->arena), NULL);
    return ret;
}

void *wire_item(struct wire_reader *reader, struct wire_items *items, size_t item_size, size_t count_max)
{
    if (reader->error < 0)
        return NULL;
    if (!items->items) {
        size_t count = count_items(reader);

        if (count > count_max) {
            wire_fail(reader, "a list is too long");
            return NULL;
        }
        items->items = allocate(reader, count, item_size);
        if (!items->items)
            return NULL;
    }
    return (uint8_t *)items->items + items->count++ * item_size;
}

void wire_item_bytes(struct wire_reader *reader, struct wire_items *items, size_t count_max, size_t len_max)
{
    struct bytes *item;

    if (!is_of_type(reader, WIRE_RUN))
        return;
    item = wire_item(reader, items, sizeof(*item), count_max);
    if (!item)
        return;
    if (reader->run.len > len_max)
        wire_fail(reader, "a field is too long");
    *item = reader->run;
}

void wire_item_sha256(struct wire_reader *reader, struct wire_items *items, size_t count_max)
{
    struct sha256 *item;

    if (!is_of_type(reader, WIRE_RUN))
        return;
    item = wire_item(reader, items, sizeof(*item), count_max);
    if (item && sha256_from_bytes(reader->run, item) < 0)
        wire_fail(reader, "an id, key or hash has the wrong length");
}

void wire_packed_u64(struct wire_reader *reader, struct wire_items *ret, size_t count_max)
{
    struct bytes run = wire_bytes(reader, SIZE_MAX);
    const uint8_t *next = run.data, *end;
    size_t count = 0;
    uint64_t *items;

    for (size_t i = 0; i < run.len; i++)
        count += run.data[i] < 0x80;
    if (count > count_max)
        wire_fail(reader, "a list is too long");
    if (reader->error < 0 || run.len == 0)
        return;
    items = allocate(reader, count > 0 ? count : 1, sizeof(*items));
    if (!items)
        return;
    end = next + run.len;
    for (size_t i = 0; next < end; i++)
        if (i == count || take_varint(&next, end, &items[i]) < 0) {
            wire_fail(reader, malformed);
            return;
        }
    *ret = (struct wire_items){.items = items, .count = count};
}

void wire_packed_fixed32(struct wire_reader *reader, struct wire_items *ret, size_t count_max)
{
    struct bytes run = wire_bytes(reader, SIZE_MAX);
    size_t count = run.len / sizeof(uint32_t);
    uint32_t *items;

    if (run.len % sizeof(uint32_t) != 0)
        wire_fail(reader, malformed);
    if (count > count_max)
        wire_fail(reader, "a list is too long");
    if (reader->error < 0 || count == 0)
        return;
    items = allocate(reader, count, sizeof(*items));
    if (!items)
        return;
    for (size_t i = 0; i < count; i++)
        items[i] = (uint32_t)little_endian(run.data + i * sizeof(*items), sizeof(*items));
    *ret = (struct wire_items){.items = items, .count = count};
}
