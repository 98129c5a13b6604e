/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the reading of records: what is taken keeps the rules, and is the same after it was written again.
 */
#include "proto/record.h"
#include "tests/fuzz/message.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_buffer_ struct buffer first = {0}, second = {0};
    _cleanup_arena_ struct arena arena, arena_again;
    struct record record, again;
    const char *reason = NULL;

    arena_init(&arena, arena_budget_for(size));
    arena_init(&arena_again, DECODE_BUDGET_BYTES_MAX);
    switch (record_decode(bytes_of(data, size), &arena, &record, &reason)) {
    case 0:
        break;
    case -EBADMSG:
        if (!reason)
            abort();
        return 0;
    case -ENOBUFS:
        return 0;
    default:
        abort();
    }
    fuzz_check_by_protobuf_c(&wire__record__descriptor, bytes_of(data, size));
    if (record_check(&record, NULL) < 0 || record_encode(&record, &first) < 0 ||
        record_decode(buffer_bytes(&first), &arena_again, &again, NULL) < 0 ||
        record_encode(&again, &second) < 0 || !bytes_equal(buffer_bytes(&first), buffer_bytes(&second)))
        abort();
    return 0;
}
