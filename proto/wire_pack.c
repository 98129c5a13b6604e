/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing: see wire_pack.h.
 */
#include "proto/wire_pack.h"

#include <errno.h>

ProtobufCBinaryData *wire_list_of_bytes(struct arena *scratch, const struct bytes *items, size_t count)
{
    ProtobufCBinaryData *list = count > 0 ? arena_alloc(scratch, count * sizeof(*list)) : NULL;

    for (size_t i = 0; list && i < count; i++)
        list[i] = wire_of(items[i]);
    return list;
}

ProtobufCBinaryData *wire_list_of_sha256(struct arena *scratch, const struct sha256 *items, size_t count)
{
    ProtobufCBinaryData *list = count > 0 ? arena_alloc(scratch, count * sizeof(*list)) : NULL;

    for (size_t i = 0; list && i < count; i++)
        list[i] = wire_of_sha256(&items[i]);
    return list;
}

void *wire_list_of_messages(struct arena *scratch, size_t count, size_t size, void *ret_list)
{
    uint8_t *messages = count > 0 ? arena_alloc(scratch, count * size) : NULL;
    void **list = messages ? arena_alloc(scratch, count * sizeof(*list)) : NULL;

    if (!list)
        return NULL;
    for (size_t i = 0; i < count; i++)
        list[i] = messages + i * size;
    memcpy(ret_list, &list, sizeof(list));
    return messages;
}

int wire_pack(
    const ProtobufCMessage *message, const struct arena *scratch, size_t len_max, struct buffer *ret)
{
    size_t len;
    uint8_t *place;

    if (scratch && scratch->exhausted)
        return -ENOMEM;
    len = protobuf_c_message_get_packed_size(message);
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
