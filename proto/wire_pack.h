/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs messages of the generated code (gridpatrol.pb-c.h) into buffers. Pure.
 *
 * Used by the encoders of proto/. Fields are written in the order of their numbers, so that equal messages
 * have equal bytes.
 */
#pragma once

#include "gridpatrol.pb-c.h"
#include "proto/arena.h"
#include "proto/ids.h"

/* A view as the generated code wants it. Packing only reads it, though the type cannot say so. */
static inline ProtobufCBinaryData wire_of(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

/* A nil id is written as an empty field, which takes no bytes. */
static inline ProtobufCBinaryData wire_of_uuid(const struct uuid *uuid)
{
    struct bytes bytes = {0};

    if (!uuid_is_nil(uuid))
        bytes = uuid_bytes(uuid);
    return wire_of(bytes);
}

static inline ProtobufCBinaryData wire_of_sha256(const struct sha256 *hash)
{
    return wire_of(sha256_bytes(hash));
}

/* The budget of the arena for the lists that a message needs while it is packed: what they are made of is
 * ours. */
#define WIRE_SCRATCH_BUDGET (SIZE_MAX / 4)

/* Lists for the generated code, in the scratch arena. NULL when there is nothing or memory ran out, which
 * wire_pack tells. */
ProtobufCBinaryData *wire_list_of_bytes(struct arena *scratch, const struct bytes *items, size_t count);
ProtobufCBinaryData *wire_list_of_sha256(struct arena *scratch, const struct sha256 *items, size_t count);
/* `count` zeroed messages of `size` bytes, one behind the other; `ret_list`, a pointer to a Wire__X **, gets
 * the list of their addresses. */
void *wire_list_of_messages(struct arena *scratch, size_t count, size_t size, void *ret_list);

/* Appends a message of at most `len_max` bytes. 0, -EMSGSIZE, -ENOMEM, also when the scratch arena ran out
 * (NULL: the message needed none). */
int wire_pack(
    const ProtobufCMessage *message, const struct arena *scratch, size_t len_max, struct buffer *ret);
