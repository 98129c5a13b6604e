/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ed25519 as used here: the vectors of RFC 8032, section 7.1, and Wycheproof's where the corpus is at hand
 * (../shared/corpus). What is tested is the library that is linked, through the calls that proto/ makes.
 */
#include "tests/unit/unit.h"

#include "base/text.h"
#include "proto/checkpoint.h"

#include <jansson.h>
#include <sodium.h>

#define WYCHEPROOF "../shared/corpus/vectors/wycheproof_ed25519_test.json"
#define MESSAGE_BYTES_MAX 4096u

static const struct {
    const char *seed, *public_key, *message, *signature;
} rfc8032[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0"
        "595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eae"
        "b4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9"
        "716ed28dc027beceea1ec40a"},
    {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423"
        "643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c"
        "138ac17ad9bef1177331a704"},
};

static size_t from_hex(const char *text, uint8_t *ret, size_t size)
{
    size_t len = strlen(text) / 2;

    assert_true(len <= size);
    assert_int_equal(text_parse_hex(text, 2 * len, ret, len), 0);
    return len;
}

static void keys_and_signatures_of_rfc_8032_are_reproduced(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rfc8032); i++) {
        uint8_t seed[SIGN_SEED_BYTES], public_key[SIGN_PUBLIC_BYTES], message[MESSAGE_BYTES_MAX];
        uint8_t expected[SIGNATURE_BYTES], signature[SIGNATURE_BYTES];
        size_t len = from_hex(rfc8032[i].message, message, sizeof(message));
        struct sign_key key;

        from_hex(rfc8032[i].seed, seed, sizeof(seed));
        from_hex(rfc8032[i].public_key, public_key, sizeof(public_key));
        from_hex(rfc8032[i].signature, expected, sizeof(expected));
        sign_key_from_seed("name", seed, &key);
        assert_memory_equal(key.public.public_key, public_key, sizeof(public_key));
        crypto_sign_detached(signature, NULL, message, len, key.secret);
        assert_memory_equal(signature, expected, sizeof(expected));
        assert_int_equal(crypto_sign_verify_detached(signature, message, len, public_key), 0);
        signature[i] ^= 1;
        assert_int_equal(crypto_sign_verify_detached(signature, message, len, public_key), -1);
    }
}

static bool verdict_of(json_t *test, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    uint8_t message[MESSAGE_BYTES_MAX], signature[MESSAGE_BYTES_MAX];
    size_t len = from_hex(json_string_value(json_object_get(test, "msg")), message, sizeof(message));
    size_t signature_len =
        from_hex(json_string_value(json_object_get(test, "sig")), signature, sizeof(signature));

    /* A signature of another length never gets this far: notes and envelopes refuse it when they are read. */
    return signature_len == SIGNATURE_BYTES &&
           crypto_sign_verify_detached(signature, message, len, public_key) == 0;
}

static void signatures_are_judged_as_wycheproof_judges_them(void **state)
{
    json_t *root = json_load_file(WYCHEPROOF, 0, NULL), *group, *test;
    size_t i, j, checked = 0;

    if (!root) {
        print_message("# no " WYCHEPROOF ": skipped\n");
        skip();
    }
    json_array_foreach(json_object_get(root, "testGroups"), i, group)
    {
        uint8_t public_key[SIGN_PUBLIC_BYTES];
        json_t *key = json_object_get(group, "publicKey");

        from_hex(json_string_value(json_object_get(key, "pk")), public_key, sizeof(public_key));
        json_array_foreach(json_object_get(group, "tests"), j, test)
        {
            bool valid = strcmp(json_string_value(json_object_get(test, "result")), "valid") == 0;

            if (verdict_of(test, public_key) != valid)
                fail_msg("Wycheproof test %lld", json_integer_value(json_object_get(test, "tcId")));
            checked++;
        }
    }
    assert_int_equal(checked, json_integer_value(json_object_get(root, "numberOfTests")));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_signatures_of_rfc_8032_are_reproduced),
        cmocka_unit_test(signatures_are_judged_as_wycheproof_judges_them),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests_name("proto ed25519", tests, NULL, NULL);
}
