/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/ids.h against tests/vectors/ids.tsv and the published examples. */
#include "tests/unit/proto/vectors.h"

#include "proto/ids.h"

#include <errno.h>

static void public_ids_equal_the_independent_ones(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/ids.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "public_id")) {
        struct uuid log, expected, id;
        struct sha256 leaf;

        assert_int_equal(uuid_from_bytes(vector_bytes(&vectors, 1), &log), 0);
        assert_int_equal(sha256_from_bytes(vector_bytes(&vectors, 3), &leaf), 0);
        assert_int_equal(uuid_from_bytes(vector_bytes(&vectors, 4), &expected), 0);
        id = record_public_id(&log, vector_number(&vectors, 2), &leaf);
        assert_memory_equal(id.b, expected.b, UUID_BYTES);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 14);
}

static void public_id_of_the_largest_seq_fits(void **state)
{
    static const struct uuid log = {{1}};
    static const struct sha256 leaf = {{2}};
    struct uuid a = record_public_id(&log, UINT64_MAX, &leaf);
    struct uuid b = record_public_id(&log, UINT64_MAX - 1, &leaf);

    assert_false(uuid_equal(&a, &b));
    assert_int_equal(a.b[6] >> 4, 5);
    assert_int_equal(a.b[8] >> 6, 2);
}

static void random_ids_carry_version_4_and_keep_the_other_bits(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/ids.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "uuid4")) {
        struct uuid expected, id;

        id = uuid_from_random(vector_bytes(&vectors, 1).data);
        assert_int_equal(uuid_from_bytes(vector_bytes(&vectors, 2), &expected), 0);
        assert_memory_equal(id.b, expected.b, UUID_BYTES);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 3);
}

static void only_sixteen_zero_bytes_are_nil(void **state)
{
    struct uuid id = {{0}};

    assert_true(uuid_is_nil(&id));
    for (size_t i = 0; i < UUID_BYTES; i++) {
        id.b[i] = 1;
        assert_false(uuid_is_nil(&id));
        id.b[i] = 0;
    }
}

/* FIPS 180-4's own example. */
static void sha256_of_abc_is_the_published_one(void **state)
{
    uint8_t expected[SHA256_BYTES];
    struct sha256 whole = sha256_of(bytes_of_text("abc"));
    struct sha256 parts = sha256_of_two(bytes_of_text("a"), bytes_of_text("bc"));
    struct sha256 one_empty = sha256_of_two(bytes_of(NULL, 0), bytes_of_text("abc"));

    assert_int_equal(text_parse_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                         SHA256_TEXT_LEN, expected, sizeof(expected)),
        0);
    assert_memory_equal(whole.b, expected, SHA256_BYTES);
    assert_true(sha256_equal(&whole, &parts));
    assert_true(sha256_equal(&whole, &one_empty));
}

static void fields_of_a_wrong_length_are_refused_and_change_nothing(void **state)
{
    static const uint8_t data[33] = {7};
    struct uuid id = {{42}};
    struct sha256 hash = {{42}};

    for (size_t len = 0; len <= sizeof(data); len++) {
        if (len != UUID_BYTES)
            assert_int_equal(uuid_from_bytes(bytes_of(data, len), &id), -EBADMSG);
        if (len != SHA256_BYTES)
            assert_int_equal(sha256_from_bytes(bytes_of(data, len), &hash), -EBADMSG);
    }
    assert_int_equal(id.b[0], 42);
    assert_int_equal(hash.b[0], 42);
    assert_int_equal(uuid_from_bytes(bytes_of(data, UUID_BYTES), &id), 0);
    assert_int_equal(sha256_from_bytes(bytes_of(data, SHA256_BYTES), &hash), 0);
    assert_int_equal(id.b[0], 7);
    assert_int_equal(hash.b[0], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_ids_equal_the_independent_ones),
        cmocka_unit_test(public_id_of_the_largest_seq_fits),
        cmocka_unit_test(random_ids_carry_version_4_and_keep_the_other_bits),
        cmocka_unit_test(only_sixteen_zero_bytes_are_nil),
        cmocka_unit_test(sha256_of_abc_is_the_published_one),
        cmocka_unit_test(fields_of_a_wrong_length_are_refused_and_change_nothing),
    };

    return cmocka_run_group_tests_name("proto ids", tests, NULL, NULL);
}
