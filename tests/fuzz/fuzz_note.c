/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the reading of notes and of verifier keys: what is accepted comes back from what is written of it.
 */
#include "proto/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_key(const uint8_t *data, size_t size)
{
    char text[VERIFIER_KEY_TEXT_MAX + 1] = {0}, ed25519[VERIFIER_KEY_TEXT_MAX],
                                      cosigner[VERIFIER_KEY_TEXT_MAX];
    struct verify_key key;

    memcpy(text, data, size < VERIFIER_KEY_TEXT_MAX ? size : VERIFIER_KEY_TEXT_MAX);
    if (verify_key_parse(text, &key) < 0)
        return;
    verify_key_format(&key, false, ed25519);
    verify_key_format(&key, true, cosigner);
    /* The hash may have been given in capitals. */
    if (strcasecmp(text, ed25519) != 0 && strcasecmp(text, cosigner) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t seed[SIGN_SEED_BYTES] = {1};
    _cleanup_buffer_ struct buffer receipt = {0}, note = {0};
    struct checkpoint checkpoint, again;
    struct sign_key key;
    uint64_t time_s;
    int r;

    check_key(data, size);
    if (checkpoint_parse(bytes_of(data, size), &checkpoint) < 0)
        return 0;
    sign_key_from_seed("fuzz", seed, &key);
    if (checkpoint_verify(bytes_of(data, size), &key.public, &again) == 0)
        abort();

    r = receipt_cosign(bytes_of(data, size), &key, size, &receipt);
    if (r == 0 && (checkpoint_parse(buffer_bytes(&receipt), &again) < 0 ||
                      memcmp(&again, &checkpoint, sizeof(again)) != 0))
        abort();
    buffer_clear(&receipt);
    if (checkpoint_sign(&checkpoint, &key, &note) < 0 ||
        receipt_cosign(buffer_bytes(&note), &key, size, &receipt) < 0 ||
        receipt_verify(buffer_bytes(&receipt), &key.public, &key.public, &again, &time_s) < 0 ||
        memcmp(&again, &checkpoint, sizeof(again)) != 0 || time_s != size)
        abort();
    return 0;
}
