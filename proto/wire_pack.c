/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing: see wire_pack.h.
 */
#include "proto/wire_pack.h"

#include <errno.h>

int wire_pack(const ProtobufCMessage *message, size_t len_max, struct buffer *ret)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *place;

    if (len > len_max)
        return -EMSGSIZE;
    if (len == 0)
        return 0;
    place = buffer_extend(ret, len);
    if (!place)
        return -ENOMEM;
    protobuf_c_message_pack(message, place);
    return 0;
}
