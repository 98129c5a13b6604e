/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packs messages of the generated code (gridpatrol.pb-c.h) into buffers. Pure.
 *
 * Used by the encoders of proto/. Field order is the schema's, so that equal messages have equal bytes.
 */
#pragma once

#include "gridpatrol.pb-c.h"
#include "proto/ids.h"

/* A view as the generated code wants it. Packing only reads it, though the type cannot say so. */
static inline ProtobufCBinaryData wire_of(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

/* A nil id is written as an empty field, which takes no bytes. */
static inline ProtobufCBinaryData wire_of_uuid(const struct uuid *uuid)
{
    return uuid_is_nil(uuid) ? (ProtobufCBinaryData){0} : wire_of(uuid_bytes(uuid));
}

static inline ProtobufCBinaryData wire_of_sha256(const struct sha256 *hash)
{
    return wire_of(sha256_bytes(hash));
}

/* Appends a message of at most `len_max` bytes. 0, -EMSGSIZE, -ENOMEM. */
int wire_pack(const ProtobufCMessage *message, size_t len_max, struct buffer *ret);
