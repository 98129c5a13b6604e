/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of upload tokens and of the sealed box against tests/vectors/enrolment.tsv. */
#include "tests/unit/proto/message_samples.h"

#include <errno.h>
#include <sodium.h>

#define VECTORS "tests/vectors/enrolment.tsv"
#define EXPIRES_S UINT64_C(1795430900)

static void sample_secret(uint8_t ret[UPLOAD_SECRET_BYTES])
{
    sample_count_up(ret, UPLOAD_SECRET_BYTES, 0x80);
}

static void make_sample_token(char ret[UPLOAD_TOKEN_TEXT_MAX])
{
    struct upload_token token = {
        .device = sample_device(), .expires_s = EXPIRES_S, .quota_bytes = UINT64_C(1) << 30};
    uint8_t secret[UPLOAD_SECRET_BYTES];

    sample_secret(secret);
    upload_token_make(&token, secret, ret);
}

static void tokens_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    uint8_t secret[UPLOAD_SECRET_BYTES];
    size_t checked = 0;

    sample_secret(secret);
    while (vector_next(&vectors, "upload_token")) {
        struct upload_token token = {
            .expires_s = vector_number(&vectors, 2), .quota_bytes = vector_number(&vectors, 3)};
        struct upload_token checked_token;
        char text[UPLOAD_TOKEN_TEXT_MAX];

        assert_int_equal(uuid_from_bytes(vector_bytes(&vectors, 1), &token.device), 0);
        upload_token_make(&token, secret, text);
        assert_bytes_equal(bytes_of_text(text), vector_bytes(&vectors, 5));
        assert_int_equal(upload_token_check(text, secret, token.expires_s - 1, &checked_token), 0);
        assert_true(uuid_equal(&checked_token.device, &token.device));
        assert_int64_equal(checked_token.expires_s, token.expires_s);
        assert_int64_equal(checked_token.quota_bytes, token.quota_bytes);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 3);
}

static void a_token_ends_at_its_second(void **state)
{
    uint8_t secret[UPLOAD_SECRET_BYTES];
    char text[UPLOAD_TOKEN_TEXT_MAX];
    struct upload_token token;

    sample_secret(secret);
    make_sample_token(text);
    assert_int_equal(upload_token_check(text, secret, EXPIRES_S - 1, &token), 0);
    assert_int_equal(upload_token_check(text, secret, EXPIRES_S, &token), -EKEYEXPIRED);
    assert_int_equal(upload_token_check(text, secret, UINT64_MAX, &token), -EKEYEXPIRED);
}

static void a_token_of_another_secret_is_refused(void **state)
{
    uint8_t secret[UPLOAD_SECRET_BYTES];
    char text[UPLOAD_TOKEN_TEXT_MAX];
    struct upload_token token;

    sample_secret(secret);
    make_sample_token(text);
    for (size_t i = 0; i < sizeof(secret); i++) {
        secret[i] ^= 1;
        assert_int_equal(upload_token_check(text, secret, 0, &token), -EBADMSG);
        secret[i] ^= 1;
    }
}

/* No character can be another one: base64url is read strictly, and all it holds is under the MAC. */
static void a_token_with_any_other_character_is_refused(void **state)
{
    uint8_t secret[UPLOAD_SECRET_BYTES];
    char text[UPLOAD_TOKEN_TEXT_MAX];
    struct upload_token token;

    sample_secret(secret);
    make_sample_token(text);
    for (size_t i = 0; text[i]; i++) {
        char right = text[i];

        for (unsigned c = 0; c <= UINT8_MAX; c++) {
            if ((char)c == right)
                continue;
            text[i] = (char)c;
            assert_int_equal(upload_token_check(text, secret, 0, &token), -EBADMSG);
        }
        text[i] = right;
    }
    assert_int_equal(upload_token_check(text, secret, 0, &token), 0);
}

static void texts_that_are_no_token_are_refused(void **state)
{
    static char longest[4096];
    uint8_t secret[UPLOAD_SECRET_BYTES];
    char text[UPLOAD_TOKEN_TEXT_MAX];
    struct upload_token token;

    sample_secret(secret);
    make_sample_token(text);
    assert_int_equal(upload_token_check("", secret, 0, &token), -EBADMSG);
    snprintf(longest, sizeof(longest), "%sA", text);
    assert_int_equal(upload_token_check(longest, secret, 0, &token), -EBADMSG);
    memset(longest, 'A', sizeof(longest) - 1);
    assert_int_equal(upload_token_check(longest, secret, 0, &token), -EBADMSG);
}

static void boxes_equal_the_independent_ones_and_libsodium_opens_them(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct sign_key device = sample_device_key();
    uint8_t public_key[crypto_box_PUBLICKEYBYTES], secret_key[crypto_box_SECRETKEYBYTES];
    size_t checked = 0;

    assert_int_equal(crypto_sign_ed25519_pk_to_curve25519(public_key, device.public.public_key), 0);
    assert_int_equal(crypto_sign_ed25519_sk_to_curve25519(secret_key, device.secret), 0);
    while (vector_next(&vectors, "sealed")) {
        struct bytes plain = vector_bytes(&vectors, 1);
        struct bytes key = vector_bytes(&vectors, 2), seed = vector_bytes(&vectors, 3);
        _cleanup_buffer_ struct buffer sealed = {0}, opened = {0};
        uint8_t by_libsodium[256];

        assert_memory_equal(key.data, device.public.public_key, SIGN_PUBLIC_BYTES);
        assert_int_equal(seal_to_device(plain, key.data, seed.data, &sealed), 0);
        assert_bytes_equal(buffer_bytes(&sealed), vector_bytes(&vectors, 4));
        assert_int_equal(
            crypto_box_seal_open(by_libsodium, sealed.data, sealed.len, public_key, secret_key), 0);
        assert_bytes_equal(bytes_of(by_libsodium, plain.len), plain);
        assert_int_equal(unseal_by_device(buffer_bytes(&sealed), &device, &opened), 0);
        assert_bytes_equal(buffer_bytes(&opened), plain);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 3);
}

static void a_changed_or_cut_box_is_not_opened(void **state)
{
    struct sign_key device = sample_device_key();
    _cleanup_buffer_ struct buffer sealed = {0}, opened = {0};
    uint8_t seed[32];

    sample_count_up(seed, sizeof(seed), 0x60);
    assert_int_equal(seal_to_device(bytes_of_text("token"), device.public.public_key, seed, &sealed), 0);
    /* X25519 ignores the top bit of the ephemeral key; the nonce, which is made of it, does not. */
    for (size_t bit = 0; bit < sealed.len * 8; bit++) {
        sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(unseal_by_device(buffer_bytes(&sealed), &device, &opened), -EBADMSG);
        sealed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < sealed.len; len++)
        assert_int_equal(unseal_by_device(bytes_of(sealed.data, len), &device, &opened), -EBADMSG);
    assert_int_equal(opened.len, 0);
}

static void another_device_does_not_open_the_box(void **state)
{
    struct sign_key device = sample_device_key(), other = sample_server_key();
    _cleanup_buffer_ struct buffer sealed = {0}, opened = {0};
    uint8_t seed[32];

    sample_count_up(seed, sizeof(seed), 0x60);
    assert_int_equal(seal_to_device(bytes_of_text("token"), device.public.public_key, seed, &sealed), 0);
    assert_int_equal(unseal_by_device(buffer_bytes(&sealed), &other, &opened), -EBADMSG);
}

static void nothing_is_sealed_to_what_is_no_key(void **state)
{
    static const uint8_t zero[SIGN_PUBLIC_BYTES], one[SIGN_PUBLIC_BYTES] = {1}, seed[32];
    _cleanup_buffer_ struct buffer sealed = {0};

    assert_int_equal(seal_to_device(bytes_of_text("token"), zero, seed, &sealed), -EINVAL);
    assert_int_equal(seal_to_device(bytes_of_text("token"), one, seed, &sealed), -EINVAL);
    assert_int_equal(sealed.len, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_equal_the_independent_ones),
        cmocka_unit_test(a_token_ends_at_its_second),
        cmocka_unit_test(a_token_of_another_secret_is_refused),
        cmocka_unit_test(a_token_with_any_other_character_is_refused),
        cmocka_unit_test(texts_that_are_no_token_are_refused),
        cmocka_unit_test(boxes_equal_the_independent_ones_and_libsodium_opens_them),
        cmocka_unit_test(a_changed_or_cut_box_is_not_opened),
        cmocka_unit_test(another_device_does_not_open_the_box),
        cmocka_unit_test(nothing_is_sealed_to_what_is_no_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
