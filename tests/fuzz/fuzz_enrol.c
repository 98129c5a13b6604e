/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes what both ends read of an enrolment: request, answer, and a certificate from anywhere. */
#include "proto/enrolment.h"
#include "tests/fuzz/message.h"

FUZZ_MESSAGE(enrol_answer, enrol_answer_encode)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[SIGN_SEED_BYTES] = {1};
    _cleanup_arena_ struct arena arena;
    struct device_certificate certificate;
    struct enrol_request request;
    struct sign_key key;

    fuzz_enrol_answer(bytes_of(data, size));
    arena_init(&arena, arena_budget_for(size));
    if (enrol_request_decode(bytes_of(data, size), &arena, &request) == 0)
        fuzz_check_by_protobuf_c(&wire__enrol_request__descriptor, bytes_of(data, size));
    /* Nobody has signed with this key. */
    sign_key_from_seed("fuzz/receipt", seed, &key);
    if (device_certificate_verify(bytes_of(data, size), &key.public, &arena, &certificate) == 0)
        abort();
    return 0;
}
