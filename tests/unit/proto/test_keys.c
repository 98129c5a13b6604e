/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/checkpoint.h, keys and names, against tests/vectors/notes.tsv and a published key. */
#include "tests/unit/proto/vectors.h"

#include "proto/checkpoint.h"

#include <errno.h>
#include <sodium.h>

static const struct uuid id = {{0x6f, 0xa1, 0xc0, 0xde, 1, 2, 0x43, 4, 0x85, 6, 7, 8, 9, 10, 11, 12}};

/* The key of the example in the documentation of Go's note package. */
static const char published_key[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

static void keys_and_their_texts_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/notes.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "key")) {
        struct bytes name = vector_bytes(&vectors, 1), seed = vector_bytes(&vectors, 2);
        struct bytes public_key = vector_bytes(&vectors, 3), short_id = vector_bytes(&vectors, 4);
        struct bytes expected[2] = {vector_bytes(&vectors, 5), vector_bytes(&vectors, 6)};
        char name_text[KEY_NAME_MAX + 1] = {0}, text[VERIFIER_KEY_TEXT_MAX];
        struct verify_key again;
        struct sign_key key;
        uint8_t key_id[8];

        memcpy(name_text, name.data, name.len);
        sign_key_from_seed(name_text, seed.data, &key);
        assert_memory_equal(key.public.public_key, public_key.data, SIGN_PUBLIC_BYTES);
        key_id_of(key.public.public_key, key_id);
        assert_memory_equal(key_id, short_id.data, sizeof(key_id));
        for (int cosigner = 0; cosigner < 2; cosigner++) {
            verify_key_format(&key.public, cosigner, text);
            assert_true(bytes_equal(bytes_of_text(text), expected[cosigner]));
            assert_int_equal(verify_key_parse(text, &again), 0);
            assert_memory_equal(&again, &key.public, sizeof(again));
        }
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 2);
}

static void published_verifier_key_is_read_and_written_back(void **state)
{
    struct verify_key key;
    char text[VERIFIER_KEY_TEXT_MAX];

    assert_int_equal(verify_key_parse(published_key, &key), 0);
    assert_string_equal(key.name, "PeterNeumann");
    verify_key_format(&key, false, text);
    assert_string_equal(text, published_key);
}

static void longest_name_fits_its_text(void **state)
{
    static const uint8_t seed[SIGN_SEED_BYTES] = {1};
    char name[KEY_NAME_MAX + 1] = {0}, text[VERIFIER_KEY_TEXT_MAX];
    struct verify_key again;
    struct sign_key key;

    memset(name, 'n', KEY_NAME_MAX);
    sign_key_from_seed(name, seed, &key);
    verify_key_format(&key.public, true, text);
    assert_int_equal(verify_key_parse(text, &again), 0);
    assert_string_equal(again.name, name);
}

static void altered_verifier_key_is_refused(void **state)
{
    struct verify_key key = {.name = "untouched"};
    char text[sizeof(published_key) + 2];

    /* Any letter changed: either the form breaks or the hash no longer fits. */
    for (size_t i = 0; i + 1 < sizeof(published_key); i++) {
        memcpy(text, published_key, sizeof(published_key));
        text[i] = text[i] == 'A' ? 'B' : 'A';
        /* The hash may be in capitals. */
        if (published_key[i] == 'a' && i > 12 && i < 22)
            continue;
        assert_int_equal(verify_key_parse(text, &key), -EINVAL);
    }
    for (size_t len = 0; len + 1 < sizeof(published_key); len++) {
        memcpy(text, published_key, len);
        text[len] = '\0';
        assert_int_equal(verify_key_parse(text, &key), -EINVAL);
    }
    snprintf(text, sizeof(text), "%s\n", published_key);
    assert_int_equal(verify_key_parse(text, &key), -EINVAL);
    snprintf(text, sizeof(text), " %s", published_key);
    assert_int_equal(verify_key_parse(text, &key), -EINVAL);
    assert_string_equal(key.name, "untouched");
}

static void verifier_key_of_another_type_is_refused(void **state)
{
    /* Type 2 (ECDSA) over the same key, with the hash that fits it. */
    uint8_t typed_key[33] = {2}, hashed[64] = "n\n\x02", hash[32];
    char base64[64], hash_hex[9], text[VERIFIER_KEY_TEXT_MAX];
    struct verify_key key;

    memcpy(hashed + 3, typed_key + 1, 32);
    crypto_hash_sha256(hash, hashed, 3 + 32);
    text_hex(hash, 4, hash_hex);
    sodium_bin2base64(base64, sizeof(base64), typed_key, sizeof(typed_key), sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, sizeof(text), "n+%s+%s", hash_hex, base64);
    assert_int_equal(verify_key_parse(text, &key), -EINVAL);
}

static void names_are_put_together_as_the_protocol_says(void **state)
{
    char origin[ORIGIN_BYTES_MAX], name[KEY_NAME_MAX + 1];

    assert_int_equal(origin_format("gridpatrol.example", "default", &id, origin), 0);
    assert_string_equal(origin, "gridpatrol.example/default/6fa1c0de-0102-4304-8506-0708090a0b0c");
    assert_int_equal(device_key_name("gridpatrol.example", "default", &id, name), 0);
    assert_string_equal(name, "gridpatrol.example/default/device/6fa1c0de-0102-4304-8506-0708090a0b0c");
    assert_int_equal(receipt_key_name("gridpatrol.example:8443", name), 0);
    assert_string_equal(name, "gridpatrol.example:8443/receipt");
    assert_int_equal(origin_format("上海.example", "徐汇区", &id, origin), 0);
}

static void parts_that_no_key_name_may_have_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "with space",
        "with+plus",
        "with/slash",
        "tab\t",
        "line\n",
        "\x7f",
        "no-break\xc2\xa0space",
        "\xe1\x9a\x80",
        "\xe2\x80\x80",
        "\xe2\x80\x8a",
        "\xe2\x80\xa8",
        "\xe2\x80\xaf",
        "\xe2\x81\x9f",
        "ideographic\xe3\x80\x80space",
        "next\xc2\x85line",
        "not utf-8 \xff",
        "cut \xe4\xb8",
    };
    char origin[ORIGIN_BYTES_MAX] = "untouched", name[KEY_NAME_MAX + 1] = "untouched";

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(origin_format(bad[i], "default", &id, origin), -EINVAL);
        assert_int_equal(origin_format("gridpatrol.example", bad[i], &id, origin), -EINVAL);
        assert_int_equal(device_key_name("gridpatrol.example", bad[i], &id, name), -EINVAL);
        assert_int_equal(receipt_key_name(bad[i], name), -EINVAL);
    }
    assert_string_equal(origin, "untouched");
    assert_string_equal(name, "untouched");
}

static void names_are_refused_from_the_first_byte_over_the_limit(void **state)
{
    char part[ORIGIN_BYTES_MAX + 1] = {0}, origin[ORIGIN_BYTES_MAX], name[KEY_NAME_MAX + 1];
    size_t last_origin = 0, last_device = 0, last_receipt = 0;

    for (size_t len = 1; len <= ORIGIN_BYTES_MAX; len++) {
        memset(part, 'a', len);
        last_origin = origin_format("h", part, &id, origin) == 0 ? len : last_origin;
        last_device = device_key_name("h", part, &id, name) == 0 ? len : last_device;
        last_receipt = receipt_key_name(part, name) == 0 ? len : last_receipt;
    }
    assert_int_equal(last_origin, ORIGIN_BYTES_MAX - 1 - strlen("h//") - UUID_TEXT_LEN);
    assert_int_equal(last_device, KEY_NAME_MAX - strlen("h//device/") - UUID_TEXT_LEN);
    assert_int_equal(last_receipt, KEY_NAME_MAX - strlen("/receipt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_their_texts_equal_the_independent_ones),
        cmocka_unit_test(published_verifier_key_is_read_and_written_back),
        cmocka_unit_test(longest_name_fits_its_text),
        cmocka_unit_test(altered_verifier_key_is_refused),
        cmocka_unit_test(verifier_key_of_another_type_is_refused),
        cmocka_unit_test(names_are_put_together_as_the_protocol_says),
        cmocka_unit_test(parts_that_no_key_name_may_have_are_refused),
        cmocka_unit_test(names_are_refused_from_the_first_byte_over_the_limit),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests_name("proto keys", tests, NULL, NULL);
}
