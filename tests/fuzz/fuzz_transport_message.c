/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what patrol-syncd and patrol-transport say to each other: what is read is what would be written. */
#include "syncd/transport/message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct transport_message message;
    if (transport_message_decode(bytes_of(data, size), &message) < 0)
        return 0;
    struct buffer again _cleanup_buffer_ = {0};
    if (transport_message_encode(&message, &again) < 0 || again.len != size + TRANSPORT_LENGTH_BYTES ||
        memcmp(again.data + TRANSPORT_LENGTH_BYTES, data, size) != 0)
        abort();
    return 0;
}
