/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what a handheld reads of an exchange: an answer or a refusal. */
#include "proto/messages.h"
#include "tests/fuzz/message.h"

FUZZ_MESSAGE(exchange_answer, exchange_answer_encode)
FUZZ_MESSAGE(refusal, refusal_encode)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_exchange_answer(bytes_of(data, size));
    fuzz_refusal(bytes_of(data, size));
    return 0;
}
