/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device key is replaced by another: the record that announces it. proto/README.md, "A device's next
 * key". Pure. The old key's consent is the checkpoint over the record; here is that of the new one.
 */
#pragma once

#include "proto/record.h"

/* Signed by the next key: who holds it wants it to be this device's, in the place of `old_key`. */
void key_rotation_sign(const struct uuid *device, const uint8_t old_key[SIGN_PUBLIC_BYTES],
    const struct sign_key *next, struct key_rotation *ret);
/* 0, or -EKEYREJECTED: nobody who holds the new key has said so. */
int key_rotation_verify(const struct key_rotation *rotation, const struct uuid *device);
