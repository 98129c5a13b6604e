/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes lists of trust statements, followed from the first key of tests/vectors, whose genuine lists are in
 * the corpus: they lead to no key but those of the vectors, and what is kept of a list leads to the same.
 */
#include "proto/trust.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sign_key vector_key(unsigned number)
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key key;

    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = (uint8_t)(number == 0 ? 100 + i : 0xc0 + number);
    sign_key_from_seed("gridpatrol.example/receipt", seed, &key);
    return key;
}

static void check_keys(const struct trust *trust)
{
    if (trust->key_count == 0 || trust->key_count > 3)
        abort();
    for (unsigned i = 0; i < trust->key_count; i++) {
        const struct sign_key expected = vector_key(i);

        if (memcmp(trust->keys[i].key.public_key, expected.public.public_key, SIGN_PUBLIC_BYTES) != 0)
            abort();
    }
}

static void check_kept(const struct trust *trust, const struct verify_key *anchor)
{
    _cleanup_buffer_ struct buffer kept = {0};
    _cleanup_arena_ struct arena arena;
    struct trust again;

    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    if (trust_list_encode(trust, 0, TRUST_ALL, &kept) < 0 ||
        trust_follow(buffer_bytes(&kept), anchor, &arena, &again) < 0 || again.key_count != trust->key_count)
        abort();
    /* The newest word on CAs may be that nothing changes. */
    if (again.generation != trust->generation || !bytes_equal(again.ca_pem, trust->ca_pem))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sign_key first = vector_key(0);
    _cleanup_arena_ struct arena arena;
    struct trust trust;

    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    if (trust_follow(bytes_of(data, size), &first.public, &arena, &trust) < 0)
        return 0;
    check_keys(&trust);
    check_kept(&trust, &first.public);
    return 0;
}
