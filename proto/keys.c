/* SPDX-License-Identifier: Apache-2.0 */
/* Signing keys, their names and their text form: see checkpoint.h. */
#include "proto/checkpoint.h"

#include "base/text.h"
#include "proto/base64.h"
#include "proto/note.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

#define TYPED_KEY_BYTES (1u + SIGN_PUBLIC_BYTES)
#define TYPED_KEY_BASE64_BYTES                                                                               \
    sodium_base64_ENCODED_LEN(1u + SIGN_PUBLIC_BYTES, sodium_base64_VARIANT_ORIGINAL)

void sign_key_from_seed(const char *name, const uint8_t seed[SIGN_SEED_BYTES], struct sign_key *ret)
{
    size_t len = strlen(name);

    assert(len <= KEY_NAME_MAX);
    *ret = (struct sign_key){0};
    memcpy(ret->public.name, name, len);
    crypto_sign_seed_keypair(ret->public.public_key, ret->secret, seed);
}

void key_id_of(const uint8_t public_key[SIGN_PUBLIC_BYTES], uint8_t ret[8])
{
    struct sha256 hash = sha256_of(bytes_of(public_key, SIGN_PUBLIC_BYTES));

    memcpy(ret, hash.b, 8);
}

void verify_key_format(const struct verify_key *key, bool cosigner, char ret[VERIFIER_KEY_TEXT_MAX])
{
    enum signature_type type = cosigner ? SIGNATURE_COSIGNATURE : SIGNATURE_ED25519;
    uint8_t key_id[NOTE_KEY_ID_BYTES], typed_key[TYPED_KEY_BYTES];
    char key_id_hex[2 * NOTE_KEY_ID_BYTES + 1], base64[TYPED_KEY_BASE64_BYTES];

    note_key_id(key, type, key_id);
    text_hex(key_id, sizeof(key_id), key_id_hex);
    typed_key[0] = (uint8_t)type;
    memcpy(typed_key + 1, key->public_key, SIGN_PUBLIC_BYTES);
    sodium_bin2base64(base64, sizeof(base64), typed_key, sizeof(typed_key), sodium_base64_VARIANT_ORIGINAL);
    snprintf(ret, VERIFIER_KEY_TEXT_MAX, "%s+%s+%s", key->name, key_id_hex, base64);
}

int verify_key_parse(const char *text, struct verify_key *ret)
{
    uint8_t key_id[NOTE_KEY_ID_BYTES], expected_id[NOTE_KEY_ID_BYTES], typed_key[TYPED_KEY_BYTES];
    struct cursor cursor = cursor_of(bytes_of_text(text));
    struct bytes name = cursor_take_until(&cursor, '+');
    struct bytes key_id_hex = cursor_take_until(&cursor, '+');
    struct bytes base64 = cursor_take(&cursor, cursor_left(&cursor));
    struct verify_key key = {0};

    if (cursor_finish(&cursor) < 0 || !note_name_is_valid(name) || name.len > KEY_NAME_MAX)
        return -EINVAL;
    if (text_parse_hex((const char *)key_id_hex.data, key_id_hex.len, key_id, sizeof(key_id)) < 0)
        return -EINVAL;
    if (base64_decode_exactly(base64, BASE64_STANDARD, typed_key, sizeof(typed_key)) < 0)
        return -EINVAL;
    if (typed_key[0] != SIGNATURE_ED25519 && typed_key[0] != SIGNATURE_COSIGNATURE)
        return -EINVAL;

    memcpy(key.name, name.data, name.len);
    memcpy(key.public_key, typed_key + 1, SIGN_PUBLIC_BYTES);
    note_key_id(&key, (enum signature_type)typed_key[0], expected_id);
    if (memcmp(key_id, expected_id, sizeof(key_id)) != 0)
        return -EINVAL;
    *ret = key;
    return 0;
}

/* One part between the slashes of a name. */
static bool part_is_valid(const char *part)
{
    return note_name_is_valid(bytes_of_text(part)) && !strchr(part, '/');
}

/* Puts a name together: parts that are checked, with what is fixed between and behind them. */
static int join_name(
    const char *authority, const char *tenant, const char *between, const char *last, size_t size, char *ret)
{
    char name[ORIGIN_BYTES_MAX];
    int len;

    if (!part_is_valid(authority) || (tenant && !part_is_valid(tenant)))
        return -EINVAL;
    len = snprintf(
        name, sizeof(name), "%s%s%s%s%s", authority, tenant ? "/" : "", tenant ? tenant : "", between, last);
    if (len < 0 || (size_t)len >= size || (size_t)len >= sizeof(name))
        return -EINVAL;
    memcpy(ret, name, (size_t)len + 1);
    return 0;
}

int origin_format(
    const char *authority, const char *tenant, const struct uuid *log, char ret[ORIGIN_BYTES_MAX])
{
    char text[UUID_TEXT_LEN + 1];

    text_uuid(log->b, text);
    return join_name(authority, tenant, "/", text, ORIGIN_BYTES_MAX, ret);
}

int device_key_name(
    const char *authority, const char *tenant, const struct uuid *device, char ret[KEY_NAME_MAX + 1])
{
    char text[UUID_TEXT_LEN + 1];

    text_uuid(device->b, text);
    return join_name(authority, tenant, "/device/", text, KEY_NAME_MAX + 1, ret);
}

int receipt_key_name(const char *authority, char ret[KEY_NAME_MAX + 1])
{
    return join_name(authority, NULL, "/", "receipt", KEY_NAME_MAX + 1, ret);
}
