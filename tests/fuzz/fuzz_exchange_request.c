/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what a server reads of an exchange. */
#include "proto/messages.h"
#include "tests/fuzz/message.h"

FUZZ_MESSAGE(exchange_request, exchange_request_encode)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_exchange_request(bytes_of(data, size));
    return 0;
}
