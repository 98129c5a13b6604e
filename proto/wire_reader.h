/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads Protocol Buffers messages field by field, without copying. proto/README.md, "Encoding". Pure.
 *
 * Used by the decoders of proto/; what a field means is theirs to know. The generated code packs our messages
 * but does not read them: it copies every byte and allocates some 40 bytes of book-keeping for each field, so
 * that a budget which bounds a hostile message would also refuse an honest one of many small records.
 *
 *   struct wire_reader reader = wire_reader_of(bytes, arena);
 *
 *   while (wire_next(&reader))
 *       switch (reader.field) {
 *       case 1:
 *           size = wire_u64(&reader);
 *           break;
 *       }
 *   return wire_finish(&reader, NULL);
 *
 * Errors are sticky: after the first one every read yields zeros and the loop ends. A known field that stands
 * twice where one is meant, or with another wire type, is an error: two readers shall never understand the
 * same signed bytes differently. Unknown fields are a newer sender's and are passed over.
 */
#pragma once

#include "proto/arena.h"
#include "proto/ids.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_RUN = 2, WIRE_FIXED32 = 5 };

struct wire_reader {
    struct arena *arena; /* for the items of repeated fields */
    const uint8_t *next, *end;
    int error;          /* 0, -EBADMSG, -ENOBUFS, -ENOMEM */
    const char *reason; /* of -EBADMSG: static, English, a few words */
    uint64_t seen;      /* bit n: field n, which stands once, was read */

    /* The field that wire_next found. */
    uint32_t field;
    enum wire_type type;
    uint64_t value;   /* of a varint, or the bits of a fixed number */
    struct bytes run; /* of a length-delimited field */
};

struct wire_reader wire_reader_of(struct bytes message, struct arena *arena);
/* Steps to the next field; false at the end and after an error. */
bool wire_next(struct wire_reader *reader);
/* Notes a malformed message; the first error stays. */
void wire_fail(struct wire_reader *reader, const char *reason);
/* At the end of a message: it is an error when one of these fields, which stand once, was not there. */
void wire_demand(struct wire_reader *reader, uint64_t fields);
#define WIRE_FIELD(number) (UINT64_C(1) << (number))
/* 0, -EBADMSG with the reason (`ret_reason` may be NULL), or what arena_error() says when the arena gave
 * nothing. */
int wire_finish(const struct wire_reader *reader, const char **ret_reason);

/* The value of the current field, which stands at most once. */
uint64_t wire_u64(struct wire_reader *reader);
uint32_t wire_u32(struct wire_reader *reader);
bool wire_bool(struct wire_reader *reader);
int64_t wire_s64(struct wire_reader *reader);
int32_t wire_s32(struct wire_reader *reader);
int32_t wire_sfixed32(struct wire_reader *reader);
/* One of the values 0..max of an enum. */
unsigned wire_enum(struct wire_reader *reader, unsigned max, const char *reason);
/* At most `len_max` bytes, as a view into the message. */
struct bytes wire_bytes(struct wire_reader *reader, size_t len_max);
/* The same, checked to be UTF-8. */
struct bytes wire_text(struct wire_reader *reader, size_t len_max);
/* Copies exactly `len` bytes; any other length is an error. */
void wire_exact(struct wire_reader *reader, uint8_t *ret, size_t len);
/* The same where an empty field stands for "none": false then, and nothing copied. */
bool wire_exact_or_none(struct wire_reader *reader, uint8_t *ret, size_t len);
/* The same for UUIDs, of which the nil one stands for none and is never written. */
void wire_uuid(struct wire_reader *reader, struct uuid *ret);
void wire_uuid_or_none(struct wire_reader *reader, struct uuid *ret);

/* A message inside the message: a reader of its bytes, to be ended by wire_end, which hands its error
 * outwards. For one that stands at most once; the items of a repeated one are read by wire_item_message. */
struct wire_reader wire_message(struct wire_reader *reader);
struct wire_reader wire_item_message(struct wire_reader *reader);
void wire_end(struct wire_reader *reader, const struct wire_reader *inner);

/* The items of a repeated field, in the arena. */
struct wire_items {
    void *items;
    size_t count;
};

/* The zeroed place for the item that the current field carries; NULL after an error. At the first item all
 * are counted: more than `count_max` is an error, and the array is allocated once. */
void *wire_item(struct wire_reader *reader, struct wire_items *items, size_t item_size, size_t count_max);
void wire_item_bytes(struct wire_reader *reader, struct wire_items *items, size_t count_max, size_t len_max);
void wire_item_sha256(struct wire_reader *reader, struct wire_items *items, size_t count_max);
/* Repeated numbers stand as one packed run. */
void wire_packed_u64(struct wire_reader *reader, struct wire_items *ret, size_t count_max);
void wire_packed_fixed32(struct wire_reader *reader, struct wire_items *ret, size_t count_max);
