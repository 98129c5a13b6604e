/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the evidence file. The key that is checked against is the one of tests/vectors, whose genuine file
 * is in the corpus: nothing but its own record is ever genuine.
 */
#include "proto/evidence.h"
#include "proto/merkle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct verify_key vector_server_key(void)
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key key;

    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = (uint8_t)(100 + i);
    sign_key_from_seed("gridpatrol.example/receipt", seed, &key);
    return key.public;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct verify_key server = vector_server_key();
    _cleanup_buffer_ struct buffer first = {0}, second = {0};
    _cleanup_arena_ struct arena arena;
    struct evidence evidence, again;
    struct evidence_facts facts;
    size_t offset, offset_again;

    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    if (evidence_head_decode(bytes_of(data, size), &arena, &evidence, &offset) < 0)
        return 0;
    if (offset > size || evidence_head_encode(&evidence, &first) < 0 ||
        evidence_head_decode(buffer_bytes(&first), &arena, &again, &offset_again) < 0 ||
        offset_again != first.len || evidence_head_encode(&again, &second) < 0 ||
        !bytes_equal(buffer_bytes(&first), buffer_bytes(&second)))
        abort();
    if (evidence_check(&evidence, &server, &arena, &facts) == 0 && facts.verdict == EVIDENCE_GENUINE) {
        if (facts.receipt_size != 7 || evidence.seq != 3 || facts.record.kind != RECORD_FINDING ||
            facts.record.finding.severity != SEVERITY_URGENT)
            abort();
    }
    return 0;
}
