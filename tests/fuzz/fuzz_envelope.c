/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the reading of an envelope's outside, and the inflating of its payload as if it had been signed: the
 * outside's parts lie within the input, and inflating keeps its limit.
 */
#include "proto/compression.h"
#include "proto/envelope.h"

#include <stdlib.h>

#define INFLATED_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t public_key[SIGN_PUBLIC_BYTES] = {1};
    _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};
    struct envelope envelope;

    if (envelope_parse(bytes_of(data, size), &envelope) < 0)
        return 0;
    if (envelope.payload.len == 0 || envelope.payload.data < data ||
        envelope.payload.data + envelope.payload.len > data + size)
        abort();
    if (envelope_open(&envelope, envelope.type, public_key, INFLATED_BYTES_MAX, &plain) == 0 || plain.len > 0)
        abort();

    if (inflate_bytes(envelope.payload, INFLATED_BYTES_MAX, &plain) < 0)
        return 0;
    if (plain.len > INFLATED_BYTES_MAX ||
        compress_bytes(buffer_bytes(&plain), 1, DICTIONARY_NONE, &stream) < 0 ||
        inflate_bytes(buffer_bytes(&stream), plain.len, &again) < 0 ||
        !bytes_equal(buffer_bytes(&again), buffer_bytes(&plain)))
        abort();
    return 0;
}
