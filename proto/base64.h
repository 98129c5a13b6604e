/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict reading of base64 (RFC 4648). Pure. Whoever reads base64 calls this and not libsodium (scripts/check
 * sees to it): its decoder (1.0.18) takes each byte from 0x80 up for a "/", so that altered text would pass.
 */
#pragma once

#include "base/bytes.h"

enum base64_form {
    BASE64_STANDARD, /* section 4, with padding */
    BASE64_URL,      /* section 5, without padding */
};

/* Decodes at most `size` bytes. 0, or -EBADMSG: a letter outside of the alphabet, wrong padding, bits set
 * behind the end, or too long. Each sequence of bytes has one text only. `ret` is scratch on failure. */
int base64_decode(struct bytes text, enum base64_form form, uint8_t *ret, size_t size, size_t *ret_len);
/* The same for a field of exactly `len` bytes. */
int base64_decode_exactly(struct bytes text, enum base64_form form, uint8_t *ret, size_t len);
/* The same, appended; unchanged on failure. -ENOMEM too. */
int base64_take(struct bytes text, enum base64_form form, struct buffer *ret);
