/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upload tokens, and the sealed box in which a device gets one: see enrolment.h; proto/README.md, "Upload
 * tokens".
 */
#include "proto/enrolment.h"

#include "proto/base64.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

/* The fields stand behind a name of their own, so that no other use of the secret can make a token. */
#define TOKEN_CONTEXT "gridpatrol upload v1\n"
#define CONTEXT_BYTES (sizeof(TOKEN_CONTEXT) - 1)
#define FIELDS_BYTES (UUID_BYTES + 8u + 8u)
#define TOKEN_BYTES (FIELDS_BYTES + crypto_auth_BYTES)
#define BASE64_VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

_Static_assert(UPLOAD_SECRET_BYTES == crypto_auth_KEYBYTES, "the secret is a key of HMAC-SHA-512-256");
_Static_assert(UPLOAD_TOKEN_TEXT_MAX >= sodium_base64_ENCODED_LEN(TOKEN_BYTES, BASE64_VARIANT),
    "the text holds a token");
_Static_assert(
    UPLOAD_TOKEN_TEXT_MAX + crypto_box_SEALBYTES <= SEALED_TOKEN_BYTES_MAX, "a sealed token has room");

static void put_u64be(uint8_t *ret, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        ret[i] = (uint8_t)(value >> (56 - 8 * i));
}

static void authenticate(const uint8_t fields[FIELDS_BYTES], const uint8_t secret[UPLOAD_SECRET_BYTES],
    uint8_t ret[crypto_auth_BYTES])
{
    uint8_t message[CONTEXT_BYTES + FIELDS_BYTES];

    memcpy(message, TOKEN_CONTEXT, CONTEXT_BYTES);
    memcpy(message + CONTEXT_BYTES, fields, FIELDS_BYTES);
    crypto_auth(ret, message, sizeof(message), secret);
}

void upload_token_make(const struct upload_token *token, const uint8_t secret[UPLOAD_SECRET_BYTES],
    char ret[UPLOAD_TOKEN_TEXT_MAX])
{
    uint8_t bytes[TOKEN_BYTES];

    memcpy(bytes, token->device.b, UUID_BYTES);
    put_u64be(bytes + UUID_BYTES, token->expires_s);
    put_u64be(bytes + UUID_BYTES + 8, token->quota_bytes);
    authenticate(bytes, secret, bytes + FIELDS_BYTES);
    sodium_bin2base64(ret, UPLOAD_TOKEN_TEXT_MAX, bytes, sizeof(bytes), BASE64_VARIANT);
}

int upload_token_check(
    const char *text, const uint8_t secret[UPLOAD_SECRET_BYTES], uint64_t now_s, struct upload_token *ret)
{
    uint8_t bytes[TOKEN_BYTES], expected[crypto_auth_BYTES];
    struct upload_token token;
    struct cursor cursor;

    if (base64_decode_exactly(
            bytes_of(text, strnlen(text, UPLOAD_TOKEN_TEXT_MAX)), BASE64_URL, bytes, sizeof(bytes)) < 0)
        return -EBADMSG;
    authenticate(bytes, secret, expected);
    if (sodium_memcmp(expected, bytes + FIELDS_BYTES, sizeof(expected)) != 0)
        return -EBADMSG;
    cursor = cursor_of(bytes_of(bytes, FIELDS_BYTES));
    memcpy(token.device.b, cursor_take(&cursor, UUID_BYTES).data, UUID_BYTES);
    token.expires_s = cursor_u64be(&cursor);
    token.quota_bytes = cursor_u64be(&cursor);
    if (now_s >= token.expires_s)
        return -EKEYEXPIRED;
    *ret = token;
    return 0;
}

int seal_to_device(struct bytes plain, const uint8_t public_key[SIGN_PUBLIC_BYTES], const uint8_t seed[32],
    struct buffer *ret)
{
    uint8_t ephemeral_public[crypto_box_PUBLICKEYBYTES], ephemeral_secret[crypto_box_SECRETKEYBYTES];
    uint8_t recipient[crypto_box_PUBLICKEYBYTES], nonce[crypto_box_NONCEBYTES];
    crypto_generichash_state state;
    uint8_t *place;
    int r;

    if (crypto_sign_ed25519_pk_to_curve25519(recipient, public_key) != 0)
        return -EINVAL;
    place = buffer_extend(ret, crypto_box_SEALBYTES + plain.len);
    if (!place)
        return -ENOMEM;
    crypto_box_seed_keypair(ephemeral_public, ephemeral_secret, seed);
    crypto_generichash_init(&state, NULL, 0, sizeof(nonce));
    crypto_generichash_update(&state, ephemeral_public, sizeof(ephemeral_public));
    crypto_generichash_update(&state, recipient, sizeof(recipient));
    crypto_generichash_final(&state, nonce, sizeof(nonce));

    memcpy(place, ephemeral_public, sizeof(ephemeral_public));
    r = crypto_box_easy(
        place + sizeof(ephemeral_public), plain.data, plain.len, nonce, recipient, ephemeral_secret);
    sodium_memzero(ephemeral_secret, sizeof(ephemeral_secret));
    if (r == 0)
        return 0;
    /* The recipient's point has a small order: no honest key has. */
    ret->len -= crypto_box_SEALBYTES + plain.len;
    return -EINVAL;
}

int unseal_by_device(struct bytes sealed, const struct sign_key *device, struct buffer *ret)
{
    uint8_t public_key[crypto_box_PUBLICKEYBYTES], secret_key[crypto_box_SECRETKEYBYTES];
    size_t plain_len;
    uint8_t *place;
    int r;

    if (sealed.len < crypto_box_SEALBYTES)
        return -EBADMSG;
    plain_len = sealed.len - crypto_box_SEALBYTES;
    if (crypto_sign_ed25519_pk_to_curve25519(public_key, device->public.public_key) != 0)
        return -EBADMSG;
    place = buffer_extend(ret, plain_len);
    if (!place)
        return -ENOMEM;
    crypto_sign_ed25519_sk_to_curve25519(secret_key, device->secret);
    r = crypto_box_seal_open(place, sealed.data, sealed.len, public_key, secret_key);
    sodium_memzero(secret_key, sizeof(secret_key));
    if (r == 0)
        return 0;
    ret->len -= plain_len;
    return -EBADMSG;
}
