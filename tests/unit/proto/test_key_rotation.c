/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the record that announces a device's next key, against vectors of an independent implementation.
 */
#include "tests/unit/proto/vectors.h"

#include "proto/key_rotation.h"

#include <errno.h>

#define VECTORS "tests/vectors/key_rotation.tsv"

struct named_keys {
    struct uuid device;
    uint8_t old_key[SIGN_PUBLIC_BYTES];
    struct sign_key next;
};

static void take_exact(const struct vector_file *vectors, size_t field, uint8_t *ret, size_t len)
{
    struct bytes bytes = vector_bytes(vectors, field);

    assert_int_equal(bytes.len, len);
    memcpy(ret, bytes.data, len);
}

static struct named_keys read_keys(void)
{
    struct vector_file vectors = vector_open(VECTORS);
    uint8_t seed[SIGN_SEED_BYTES], public_key[SIGN_PUBLIC_BYTES];
    struct named_keys keys = {0};

    assert_true(vector_next(&vectors, "keys"));
    take_exact(&vectors, 1, keys.device.b, UUID_BYTES);
    take_exact(&vectors, 2, keys.old_key, SIGN_PUBLIC_BYTES);
    take_exact(&vectors, 3, seed, SIGN_SEED_BYTES);
    take_exact(&vectors, 4, public_key, SIGN_PUBLIC_BYTES);
    sign_key_from_seed("device", seed, &keys.next);
    assert_memory_equal(keys.next.public.public_key, public_key, SIGN_PUBLIC_BYTES);
    vector_close(&vectors);
    return keys;
}

static int decode(struct bytes bytes, struct record *ret)
{
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, DECODE_BUDGET_BYTES_MIN);
    return record_decode(bytes, &arena, ret, NULL);
}

static void the_announcement_of_the_vectors_is_made_and_holds(void **state)
{
    struct named_keys keys = read_keys();
    struct vector_file vectors = vector_open(VECTORS);
    _cleanup_buffer_ struct buffer again = {0};
    struct key_rotation made;
    struct record record;
    struct bytes bytes;

    (void)state;
    assert_true(vector_next(&vectors, "record"));
    bytes = vector_bytes(&vectors, 2);
    assert_int_equal(decode(bytes, &record), 0);
    assert_int_equal(record.kind, RECORD_KEY_ROTATION);
    assert_memory_equal(record.key_rotation.old_key, keys.old_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(key_rotation_verify(&record.key_rotation, &keys.device), 0);
    key_rotation_sign(&keys.device, keys.old_key, &keys.next, &made);
    assert_memory_equal(&made, &record.key_rotation, sizeof(made));
    assert_int_equal(record_encode(&record, &again), 0);
    assert_true(bytes_equal(buffer_bytes(&again), bytes));
    vector_close(&vectors);
}

static void what_the_new_key_has_not_said_of_this_device_and_this_old_key_does_not_hold(void **state)
{
    struct named_keys keys = read_keys();
    struct vector_file vectors = vector_open(VECTORS);
    size_t count = 0;

    (void)state;
    for (; vector_next(&vectors, "unsigned"); count++) {
        struct record record;

        assert_int_equal(decode(vector_bytes(&vectors, 2), &record), 0);
        if (key_rotation_verify(&record.key_rotation, &keys.device) != -EKEYREJECTED)
            fail_msg("\"%s\" holds", vectors.fields[1]);
    }
    assert_int_equal(count, 5);
    vector_close(&vectors);
}

static void what_is_not_whole_is_no_announcement(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    size_t count = 0;

    (void)state;
    for (; vector_next(&vectors, "refused"); count++) {
        struct record record;

        if (decode(vector_bytes(&vectors, 2), &record) != -EBADMSG)
            fail_msg("\"%s\" was read", vectors.fields[1]);
    }
    assert_int_equal(count, 6);
    vector_close(&vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_announcement_of_the_vectors_is_made_and_holds),
        cmocka_unit_test(what_the_new_key_has_not_said_of_this_device_and_this_old_key_does_not_hold),
        cmocka_unit_test(what_is_not_whole_is_no_announcement),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
