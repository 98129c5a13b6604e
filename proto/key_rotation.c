/* SPDX-License-Identifier: Apache-2.0 */
/* See key_rotation.h; proto/README.md, "A device's next key". */
#include "proto/key_rotation.h"

#include <errno.h>
#include <sodium.h>

#define ROTATION_CONTEXT "gridpatrol device key v1\n"
#define CONTEXT_BYTES (sizeof(ROTATION_CONTEXT) - 1)
#define SIGNED_BYTES (CONTEXT_BYTES + UUID_BYTES + SIGN_PUBLIC_BYTES + SIGN_PUBLIC_BYTES)

static void fill_signed(
    const struct uuid *device, const struct key_rotation *rotation, uint8_t ret[SIGNED_BYTES])
{
    memcpy(ret, ROTATION_CONTEXT, CONTEXT_BYTES);
    ret += CONTEXT_BYTES;
    memcpy(ret, device->b, UUID_BYTES);
    ret += UUID_BYTES;
    memcpy(ret, rotation->old_key, SIGN_PUBLIC_BYTES);
    ret += SIGN_PUBLIC_BYTES;
    memcpy(ret, rotation->new_key, SIGN_PUBLIC_BYTES);
}

void key_rotation_sign(const struct uuid *device, const uint8_t old_key[SIGN_PUBLIC_BYTES],
    const struct sign_key *next, struct key_rotation *ret)
{
    uint8_t message[SIGNED_BYTES];

    memcpy(ret->old_key, old_key, SIGN_PUBLIC_BYTES);
    memcpy(ret->new_key, next->public.public_key, SIGN_PUBLIC_BYTES);
    fill_signed(device, ret, message);
    crypto_sign_detached(ret->signature, NULL, message, sizeof(message), next->secret);
}

int key_rotation_verify(const struct key_rotation *rotation, const struct uuid *device)
{
    uint8_t message[SIGNED_BYTES];

    fill_signed(device, rotation, message);
    if (crypto_sign_verify_detached(rotation->signature, message, sizeof(message), rotation->new_key) != 0)
        return -EKEYREJECTED;
    return 0;
}
