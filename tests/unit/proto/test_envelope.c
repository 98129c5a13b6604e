/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of proto/envelope.h: envelopes of an independent implementation (tests/vectors/envelopes.tsv) open,
 * our own open, and nothing altered, misaddressed or over a limit does.
 */
#include "tests/unit/proto/vectors.h"

#include "proto/compression.h"
#include "proto/envelope.h"
#include "proto/limits.h"

#include <errno.h>
#include <sodium.h>

#define TYPE_COUNT 11u

static const struct uuid device = {
    {0xd0, 0, 0, 0, 0x11, 0x11, 0x42, 0x22, 0x83, 0x33, 0x44, 0x44, 0x44, 0x44}};

static struct sign_key key_of(uint8_t number)
{
    const uint8_t seed[SIGN_SEED_BYTES] = {number};
    struct sign_key key;

    sign_key_from_seed("name", seed, &key);
    return key;
}

static void envelopes_of_the_independent_implementation_open(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/envelopes.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "envelope")) {
        _cleanup_buffer_ struct buffer plain = {0};
        enum payload_type type = (enum payload_type)vector_number(&vectors, 1);
        struct bytes name = vector_bytes(&vectors, 2), expected_plain = vector_bytes(&vectors, 3);
        struct bytes payload = vector_bytes(&vectors, 4), payload_hash = vector_bytes(&vectors, 5);
        struct bytes expected_device = vector_bytes(&vectors, 6), seed = vector_bytes(&vectors, 7);
        struct bytes bytes = vector_bytes(&vectors, 8);
        struct envelope envelope;
        struct sign_key key;
        struct sha256 hash;

        sign_key_from_seed("name", seed.data, &key);
        assert_true(bytes_equal(bytes_of_text(payload_type_name(type)), name));
        assert_int_equal(envelope_parse(bytes, &envelope), 0);
        assert_int_equal(envelope.type, type);
        assert_true(bytes_equal(envelope.payload, payload));
        if (expected_device.len > 0)
            assert_true(bytes_equal(uuid_bytes(&envelope.device), expected_device));
        else
            assert_true(uuid_is_nil(&envelope.device));
        hash = envelope_payload_sha256(&envelope);
        assert_true(bytes_equal(sha256_bytes(&hash), payload_hash));
        assert_int_equal(envelope_open(&envelope, type, key.public.public_key, 1000, &plain), 0);
        assert_true(bytes_equal(buffer_bytes(&plain), expected_plain));
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, TYPE_COUNT);
}

/* DSSE's PAE, written down once more. */
static void put_pae(struct buffer *ret, struct bytes kind, struct bytes payload)
{
    buffer_printf(ret, "DSSEv1 %zu ", kind.len);
    buffer_put_bytes(ret, kind);
    buffer_printf(ret, " %zu ", payload.len);
    buffer_put_bytes(ret, payload);
    assert_int_equal(buffer_finish(ret), 0);
}

/* Another zlib writes another stream of the same bytes, so that payloads cannot be compared: what is signed
 * is the PAE of our payload, written as that of the vectors is. */
static void signature_is_over_the_independent_pre_authentication_encoding(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/envelopes.tsv");
    struct vector_file plains = vector_open("tests/vectors/envelopes.tsv");
    struct sign_key key = key_of(1);

    for (unsigned type = 0; type < TYPE_COUNT; type++) {
        _cleanup_buffer_ struct buffer sealed = {0}, theirs = {0}, ours = {0};
        struct envelope envelope;

        assert_true(vector_next(&vectors, "pae"));
        assert_true(vector_next(&plains, "envelope"));
        struct bytes kind = vector_bytes(&vectors, 1);
        put_pae(&theirs, kind, vector_bytes(&vectors, 2));
        assert_true(bytes_equal(buffer_bytes(&theirs), vector_bytes(&vectors, 3)));
        assert_int_equal(envelope_seal((enum payload_type)vector_number(&plains, 1), vector_bytes(&plains, 3),
                             9, DICTIONARY_NONE, NULL, &key, &sealed, NULL),
            0);
        assert_int_equal(envelope_parse(buffer_bytes(&sealed), &envelope), 0);
        put_pae(&ours, kind, envelope.payload);
        assert_int_equal(
            crypto_sign_verify_detached(envelope.signature, ours.data, ours.len, key.public.public_key), 0);
    }
    vector_close(&vectors);
    vector_close(&plains);
}

static void sealed_envelope_opens_for_its_type_and_key_only(void **state)
{
    struct sign_key key = key_of(1), other_key = key_of(2);

    for (unsigned type = 0; type < TYPE_COUNT; type++) {
        _cleanup_buffer_ struct buffer bytes = {0}, plain = {0};
        struct sha256 payload_hash, hash;
        struct envelope envelope;

        assert_int_equal(envelope_seal((enum payload_type)type, bytes_of_text("plain text"), 6,
                             DICTIONARY_NONE, &device, &key, &bytes, &payload_hash),
            0);
        assert_int_equal(envelope_parse(buffer_bytes(&bytes), &envelope), 0);
        hash = envelope_payload_sha256(&envelope);
        assert_true(sha256_equal(&hash, &payload_hash));
        assert_true(uuid_equal(&envelope.device, &device));
        for (unsigned other = 0; other < TYPE_COUNT; other++)
            if (other != type)
                assert_int_equal(
                    envelope_open(&envelope, (enum payload_type)other, key.public.public_key, 100, &plain),
                    -EBADMSG);
        assert_int_equal(
            envelope_open(&envelope, (enum payload_type)type, other_key.public.public_key, 100, &plain),
            -EKEYREJECTED);
        assert_int_equal(plain.len, 0);
        assert_int_equal(
            envelope_open(&envelope, (enum payload_type)type, key.public.public_key, 100, &plain), 0);
        assert_string_equal(buffer_text(&plain), "plain text");
    }
}

/* A signature over one type says nothing about the same payload as another type. */
static void payload_cannot_be_passed_off_as_another_type(void **state)
{
    _cleanup_buffer_ struct buffer bytes = {0}, plain = {0};
    struct sign_key key = key_of(1);
    struct envelope envelope;

    assert_int_equal(envelope_seal(PAYLOAD_AUDIT_ANSWER, bytes_of_text("x"), 6, DICTIONARY_NONE, &device,
                         &key, &bytes, NULL),
        0);
    assert_int_equal(envelope_parse(buffer_bytes(&bytes), &envelope), 0);
    envelope.type = PAYLOAD_REPAIR_ANSWER;
    assert_int_equal(
        envelope_open(&envelope, PAYLOAD_REPAIR_ANSWER, key.public.public_key, 100, &plain), -EKEYREJECTED);
}

/* Everything but the device's id is covered by the signature; the device's id only chooses the key. */
static void envelope_with_any_bit_changed_never_opens_as_the_same(void **state)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    struct sign_key key = key_of(1);
    size_t opened = 0;

    assert_int_equal(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, bytes_of_text("plain text"), 6, DICTIONARY_NONE,
                         &device, &key, &bytes, NULL),
        0);
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        _cleanup_buffer_ struct buffer plain = {0};
        struct envelope envelope;

        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (envelope_parse(buffer_bytes(&bytes), &envelope) == 0 &&
            envelope_open(&envelope, PAYLOAD_EXCHANGE_REQUEST, key.public.public_key, 100, &plain) == 0) {
            assert_false(uuid_equal(&envelope.device, &device));
            opened++;
        }
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(opened, UUID_BYTES * 8);
}

static void envelope_cut_anywhere_is_refused(void **state)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    struct sign_key key = key_of(1);
    struct envelope envelope;

    assert_int_equal(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, bytes_of_text("plain text"), 6, DICTIONARY_NONE,
                         &device, &key, &bytes, NULL),
        0);
    for (size_t len = 0; len < bytes.len; len++) {
        /* In memory of exactly that size, so that a sanitizer sees a read beyond it. */
        uint8_t *cut = malloc(len ? len : 1);

        assert_non_null(cut);
        memcpy(cut, bytes.data, len);
        assert_int_equal(envelope_parse(bytes_of(cut, len), &envelope), -EBADMSG);
        free(cut);
    }
}

/* Writes one field: a tag of number and wire type, and for type 2 the length. */
static void put_field(struct buffer *buffer, unsigned number, struct bytes bytes)
{
    buffer_put_u8(buffer, (uint8_t)(number << 3 | 2));
    if (bytes.len >= 0x80)
        buffer_put_u8(buffer, (uint8_t)(bytes.len | 0x80));
    buffer_put_u8(buffer, (uint8_t)(bytes.len >> (bytes.len >= 0x80 ? 7 : 0)));
    buffer_put_bytes(buffer, bytes);
}

enum alteration {
    AS_IT_SHOULD_BE,
    TYPE_MISSING,
    TYPE_UNKNOWN,
    TYPE_LONGER,
    PAYLOAD_MISSING,
    PAYLOAD_EMPTY,
    KEY_ID_MISSING,
    KEY_ID_SHORT,
    KEY_ID_LONG,
    SIGNATURE_MISSING,
    SIGNATURE_SHORT,
    SIGNATURE_LONG,
    DEVICE_SHORT,
    DEVICE_LONG,
    DEVICE_NIL,
    DEVICE_TWICE,
    PAYLOAD_TWICE,
    ENCODING_MISSING,
    ENCODING_ZERO,
    ENCODING_TWO,
    ENCODING_TWICE,
    ENCODING_AS_BYTES,
    PAYLOAD_AS_NUMBER,
    FIELD_UNKNOWN,
    FIELD_ZERO,
    FIELD_LARGE,
    LENGTH_HUGE,
    ALTERATION_COUNT,
};

static void put_altered(struct buffer *buffer, enum alteration alteration)
{
    static const uint8_t zeros[80] = {0}, ones[17] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct bytes type = bytes_of_text(payload_type_name(PAYLOAD_REFUSAL));

    if (alteration == TYPE_UNKNOWN)
        type = bytes_of_text("application/vnd.gridpatrol.refusal+zlib;v=2");
    if (alteration == TYPE_LONGER)
        type = bytes_of_text("application/vnd.gridpatrol.refusal+zlib;v=1 ");
    if (alteration != TYPE_MISSING)
        put_field(buffer, 1, type);
    if (alteration != KEY_ID_MISSING)
        put_field(buffer, 3,
            bytes_of(zeros, alteration == KEY_ID_SHORT  ? 7
                            : alteration == KEY_ID_LONG ? 9
                                                        : 8));
    if (alteration != SIGNATURE_MISSING)
        put_field(buffer, 4,
            bytes_of(zeros, alteration == SIGNATURE_SHORT  ? 63
                            : alteration == SIGNATURE_LONG ? 65
                                                           : 64));
    if (alteration == DEVICE_NIL)
        put_field(buffer, 5, bytes_of(zeros, 16));
    else
        put_field(buffer, 5,
            bytes_of(ones, alteration == DEVICE_SHORT  ? 15
                           : alteration == DEVICE_LONG ? 17
                                                       : 16));
    if (alteration == DEVICE_TWICE)
        put_field(buffer, 5, bytes_of(ones, 16));
    if (alteration == ENCODING_AS_BYTES)
        put_field(buffer, 6, bytes_of(ones, 1));
    else if (alteration != ENCODING_MISSING)
        buffer_put(buffer,
            (uint8_t[]){6 << 3, alteration == ENCODING_ZERO  ? 0
                                : alteration == ENCODING_TWO ? 2
                                                             : 1},
            2);
    if (alteration == ENCODING_TWICE)
        buffer_put(buffer, (uint8_t[]){6 << 3, 1}, 2);
    if (alteration == FIELD_UNKNOWN)
        put_field(buffer, 7, bytes_of(ones, 1));
    if (alteration == FIELD_ZERO)
        put_field(buffer, 0, bytes_of(ones, 1));
    if (alteration == FIELD_LARGE)
        buffer_put(buffer, (uint8_t[]){0xfa, 0xff, 0xff, 0xff, 0x7f, 1, 'x'}, 7);
    if (alteration == LENGTH_HUGE)
        buffer_put(buffer, (uint8_t[]){2 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 'p'}, 7);
    else if (alteration == PAYLOAD_AS_NUMBER)
        buffer_put(buffer, (uint8_t[]){2 << 3, 1}, 2);
    else if (alteration != PAYLOAD_MISSING)
        put_field(buffer, 2, bytes_of_text(alteration == PAYLOAD_EMPTY ? "" : "payload"));
    if (alteration == PAYLOAD_TWICE)
        put_field(buffer, 2, bytes_of_text("payload"));
    assert_int_equal(buffer_finish(buffer), 0);
}

static void envelopes_of_a_wrong_form_are_refused(void **state)
{
    for (unsigned i = 0; i < ALTERATION_COUNT; i++) {
        _cleanup_buffer_ struct buffer bytes = {0};
        struct envelope envelope = {.type = PAYLOAD_ENROL_ANSWER};
        int r;

        put_altered(&bytes, (enum alteration)i);
        r = envelope_parse(buffer_bytes(&bytes), &envelope);
        if (r != (i == AS_IT_SHOULD_BE ? 0 : -EBADMSG))
            fail_msg("alteration %u: %d", i, r);
        assert_int_equal(envelope.type, i == AS_IT_SHOULD_BE ? PAYLOAD_REFUSAL : PAYLOAD_ENROL_ANSWER);
    }
}

static void fields_in_another_order_are_taken(void **state)
{
    static const uint8_t zeros[64] = {0};
    _cleanup_buffer_ struct buffer bytes = {0};
    struct envelope envelope;

    put_field(&bytes, 2, bytes_of_text("payload"));
    put_field(&bytes, 4, bytes_of(zeros, 64));
    buffer_put(&bytes, (uint8_t[]){6 << 3, 1}, 2);
    put_field(&bytes, 3, bytes_of(zeros, 8));
    put_field(&bytes, 1, bytes_of_text(payload_type_name(PAYLOAD_EXCHANGE_ANSWER)));
    assert_int_equal(envelope_parse(buffer_bytes(&bytes), &envelope), 0);
    assert_int_equal(envelope.type, PAYLOAD_EXCHANGE_ANSWER);
    assert_true(bytes_equal(envelope.payload, bytes_of_text("payload")));
}

static void put_noise(struct buffer *buffer, size_t len)
{
    uint8_t seed[randombytes_SEEDBYTES] = {1};

    randombytes_buf_deterministic(buffer_extend(buffer, len), len, seed);
}

/* The longest noise whose stream fits, and one byte more. */
static void payload_is_refused_from_the_first_byte_over_the_limit_of_its_type(void **state)
{
    static const struct {
        enum payload_type type;
        size_t limit;
    } types[] = {
        {PAYLOAD_EXCHANGE_REQUEST, EXCHANGE_COMPRESSED_BYTES_MAX},
        {PAYLOAD_EXCHANGE_ANSWER, ANSWER_BYTES_MAX},
        {PAYLOAD_ENROL_ANSWER, ENROLMENT_ANSWER_BYTES_MAX},
        {PAYLOAD_DEVICE_CERTIFICATE, ENROLMENT_BYTES_MAX},
        {PAYLOAD_BUNDLE_RECEIPTS, BUNDLE_RECEIPTS_BYTES_MAX},
        {PAYLOAD_TRUST_STATEMENT, TRUST_STATEMENT_BYTES_MAX},
    };
    struct sign_key key = key_of(1);

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        _cleanup_buffer_ struct buffer noise = {0}, stream = {0}, sealed = {0}, plain = {0};
        struct envelope envelope;
        size_t fits = types[i].limit;

        put_noise(&noise, types[i].limit);
        do {
            buffer_clear(&stream);
            assert_int_equal(compress_bytes(bytes_of(noise.data, --fits), 1, DICTIONARY_NONE, &stream), 0);
        } while (stream.len > types[i].limit);
        assert_int_equal(stream.len, types[i].limit);

        assert_int_equal(envelope_seal(types[i].type, bytes_of(noise.data, fits + 1), 1, DICTIONARY_NONE,
                             &device, &key, &sealed, NULL),
            -EMSGSIZE);
        assert_int_equal(sealed.len, 0);
        assert_int_equal(envelope_seal(types[i].type, bytes_of(noise.data, fits), 1, DICTIONARY_NONE, &device,
                             &key, &sealed, NULL),
            0);
        assert_in_range(sealed.len, types[i].limit, types[i].limit + 1024);
        assert_int_equal(envelope_parse(buffer_bytes(&sealed), &envelope), 0);
        assert_int_equal(envelope_open(&envelope, types[i].type, key.public.public_key, fits, &plain), 0);
        assert_int_equal(plain.len, fits);

        /* A reader keeps the limit too, whoever signed. */
        envelope.payload.len++;
        buffer_clear(&sealed);
        put_field(&sealed, 1, bytes_of_text(payload_type_name(types[i].type)));
        put_field(&sealed, 3, bytes_of(envelope.key_id, 8));
        put_field(&sealed, 4, bytes_of(envelope.signature, 64));
        buffer_put(&sealed, (uint8_t[]){6 << 3, 1, 2 << 3 | 2}, 3);
        for (size_t len = types[i].limit + 1; len > 0; len >>= 7)
            buffer_put_u8(&sealed, (uint8_t)((len & 0x7f) | (len > 0x7f ? 0x80 : 0)));
        memset(buffer_extend(&sealed, types[i].limit + 1), 1, types[i].limit + 1);
        assert_int_equal(envelope_parse(buffer_bytes(&sealed), &envelope), -EBADMSG);
    }
}

static void plain_bytes_over_the_limit_are_refused_at_both_ends(void **state)
{
    _cleanup_buffer_ struct buffer plain = {0}, sealed = {0}, out = {0};
    struct sign_key key = key_of(1);
    struct envelope envelope;

    memset(buffer_extend(&plain, EXCHANGE_INFLATED_BYTES_MAX + 1), 0, EXCHANGE_INFLATED_BYTES_MAX + 1);
    assert_int_equal(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain), 6, DICTIONARY_NONE,
                         &device, &key, &sealed, NULL),
        -EMSGSIZE);
    plain.len--;
    assert_int_equal(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain), 6, DICTIONARY_NONE,
                         &device, &key, &sealed, NULL),
        0);
    assert_int_equal(envelope_parse(buffer_bytes(&sealed), &envelope), 0);
    assert_int_equal(envelope_open(&envelope, PAYLOAD_EXCHANGE_REQUEST, key.public.public_key,
                         EXCHANGE_INFLATED_BYTES_MAX - 1, &out),
        -EFBIG);
    assert_int_equal(envelope_open(&envelope, PAYLOAD_EXCHANGE_REQUEST, key.public.public_key,
                         EXCHANGE_INFLATED_BYTES_MAX, &out),
        0);
}

static void unknown_dictionary_seals_nothing(void **state)
{
    _cleanup_buffer_ struct buffer sealed = {0};
    struct sign_key key = key_of(1);

    assert_int_equal(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, bytes_of_text("x"), 6, 0x12345678, &device, &key,
                         &sealed, NULL),
        -ENOENT);
    assert_int_equal(sealed.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelopes_of_the_independent_implementation_open),
        cmocka_unit_test(signature_is_over_the_independent_pre_authentication_encoding),
        cmocka_unit_test(sealed_envelope_opens_for_its_type_and_key_only),
        cmocka_unit_test(payload_cannot_be_passed_off_as_another_type),
        cmocka_unit_test(envelope_with_any_bit_changed_never_opens_as_the_same),
        cmocka_unit_test(envelope_cut_anywhere_is_refused),
        cmocka_unit_test(envelopes_of_a_wrong_form_are_refused),
        cmocka_unit_test(fields_in_another_order_are_taken),
        cmocka_unit_test(payload_is_refused_from_the_first_byte_over_the_limit_of_its_type),
        cmocka_unit_test(plain_bytes_over_the_limit_are_refused_at_both_ends),
        cmocka_unit_test(unknown_dictionary_seals_nothing),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests_name("proto envelope", tests, NULL, NULL);
}
