/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds for every message that a decoder takes, whoever wrote it. Used by the harnesses of proto/'s
 * messages.
 *
 *   - protobuf-c can read it too: our reader is the stricter one;
 *   - it can be encoded (both directions keep the same limits), and that is decoded and encoded to the same
 * bytes.
 */
#pragma once

#include "base/bytes.h"
#include "proto/arena.h"

#include "gridpatrol.pb-c.h"

#include <stdlib.h>

static inline void fuzz_check_by_protobuf_c(const ProtobufCMessageDescriptor *descriptor, struct bytes bytes)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, bytes.len, bytes.data);

    if (!message)
        abort();
    protobuf_c_message_free_unpacked(message, NULL);
}

/* Defines `fuzz_TYPE(bytes)`, which is true when TYPE_decode took them. `encoder` appends to a buffer. */
#define FUZZ_MESSAGE(type, encoder)                                                                          \
    static bool fuzz_##type(struct bytes bytes)                                                              \
    {                                                                                                        \
        _cleanup_buffer_ struct buffer first = {0}, second = {0};                                            \
        _cleanup_arena_ struct arena arena, arena_again;                                                     \
        struct type message, again;                                                                          \
                                                                                                             \
        arena_init(&arena, arena_budget_for(bytes.len));                                                     \
        arena_init(&arena_again, DECODE_BUDGET_BYTES_MAX);                                                   \
        if (type##_decode(bytes, &arena, &message) < 0)                                                      \
            return false;                                                                                    \
        fuzz_check_by_protobuf_c(&wire__##type##__descriptor, bytes);                                        \
        if (encoder(&message, &first) < 0 ||                                                                 \
            type##_decode(buffer_bytes(&first), &arena_again, &again) < 0 || encoder(&again, &second) < 0 || \
            !bytes_equal(buffer_bytes(&first), buffer_bytes(&second)))                                       \
            abort();                                                                                         \
        return true;                                                                                         \
    }
