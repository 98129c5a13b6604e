/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of device certificates against tests/vectors/evidence.tsv. Enrolment messages are in
 * test_messages.c. */
#include "tests/unit/proto/message_samples.h"

#include <errno.h>

#define VECTORS "tests/vectors/evidence.tsv"

static void certificates_are_read_as_the_independent_writer_wrote_them(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct sign_key server = sample_server_key(), device = sample_device_key();
    _cleanup_buffer_ struct buffer signed_again = {0};
    _cleanup_arena_ struct arena arena;
    struct device_certificate certificate, again;

    arena_init(&arena, 16384);
    assert_true(vector_next(&vectors, "certificate"));
    assert_int_equal(
        device_certificate_verify(vector_bytes(&vectors, 2), &server.public, &arena, &certificate), 0);
    assert_bytes_equal(certificate.authority, bytes_of_text("gridpatrol.example"));
    assert_bytes_equal(certificate.tenant, bytes_of_text("default"));
    assert_memory_equal(certificate.device.b, sample_device().b, UUID_BYTES);
    assert_memory_equal(certificate.public_key, device.public.public_key, SIGN_PUBLIC_BYTES);
    assert_int64_equal(certificate.issued_ms, SAMPLE_WALL_MS - 1000);
    assert_bytes_equal(certificate.name, bytes_of_text("grid 12 西"));
    assert_bytes_equal(certificate.inspector, bytes_of_text("inspector-1"));
    vector_close(&vectors);

    assert_int_equal(device_certificate_sign(&certificate, &server, &signed_again), 0);
    assert_int_equal(
        device_certificate_verify(buffer_bytes(&signed_again), &server.public, &arena, &again), 0);
    assert_bytes_equal(again.name, certificate.name);
    assert_memory_equal(again.public_key, certificate.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(device_certificate_verify(buffer_bytes(&signed_again), &device.public, &arena, &again),
        -EKEYREJECTED);
}

static void every_bit_of_a_certificate_counts(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct sign_key server = sample_server_key();
    _cleanup_buffer_ struct buffer altered = {0};

    assert_true(vector_next(&vectors, "certificate"));
    buffer_put_bytes(&altered, vector_bytes(&vectors, 2));
    vector_close(&vectors);
    for (size_t bit = 0; bit < altered.len * 8; bit++) {
        struct device_certificate certificate;
        _cleanup_arena_ struct arena arena;

        arena_init(&arena, 16384);
        altered.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(
            device_certificate_verify(buffer_bytes(&altered), &server.public, &arena, &certificate) < 0);
        altered.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* What stands outside of an envelope is not signed: a device there would be a claim of whoever carried it. */
static void a_certificate_that_names_a_device_outside_is_refused(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    struct sign_key server = sample_server_key();
    struct uuid device = sample_device();
    _cleanup_buffer_ struct buffer envelope = {0};
    struct device_certificate certificate;
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, 16384);
    assert_true(vector_next(&vectors, "certificate"));
    assert_int_equal(envelope_seal(PAYLOAD_DEVICE_CERTIFICATE, vector_bytes(&vectors, 1), 9, 0, &device,
                         &server, &envelope, NULL),
        0);
    assert_int_equal(
        device_certificate_verify(buffer_bytes(&envelope), &server.public, &arena, &certificate), -EBADMSG);
    vector_close(&vectors);
}

static void a_certificate_over_its_limits_is_not_signed(void **state)
{
    static char long_text[KEY_NAME_MAX + 1];
    struct sign_key server = sample_server_key();
    _cleanup_buffer_ struct buffer ret = {0};
    struct device_certificate certificate = {
        .authority = bytes_of_text("a"), .tenant = bytes_of_text("t"), .device = sample_device()};

    certificate.name = bytes_of(long_text, DEVICE_NAME_BYTES_MAX + 1);
    assert_int_equal(device_certificate_sign(&certificate, &server, &ret), -EMSGSIZE);
    certificate.name.len = 0;
    certificate.tenant = bytes_of(long_text, sizeof(long_text));
    assert_int_equal(device_certificate_sign(&certificate, &server, &ret), -EMSGSIZE);
    assert_int_equal(ret.len, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_are_read_as_the_independent_writer_wrote_them),
        cmocka_unit_test(every_bit_of_a_certificate_counts),
        cmocka_unit_test(a_certificate_that_names_a_device_outside_is_refused),
        cmocka_unit_test(a_certificate_over_its_limits_is_not_signed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
