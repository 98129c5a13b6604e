/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what both ends read of an audit and a repair. */
#include "proto/messages.h"
#include "tests/fuzz/message.h"

FUZZ_MESSAGE(audit_request, audit_request_encode)
FUZZ_MESSAGE(audit_answer, audit_answer_encode)
FUZZ_MESSAGE(repair_request, repair_request_encode)
FUZZ_MESSAGE(repair_answer, repair_answer_encode)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_audit_request(bytes_of(data, size));
    fuzz_audit_answer(bytes_of(data, size));
    fuzz_repair_request(bytes_of(data, size));
    fuzz_repair_answer(bytes_of(data, size));
    return 0;
}
