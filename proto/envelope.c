/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envelopes: see envelope.h. The outside is written and read by hand: it must be readable without an
 * allocation, the payload goes last so that a receiver sees who sends before it has all of it, and there is
 * to be one way only to write an envelope.
 */
#include "proto/envelope.h"

#include "proto/compression.h"
#include "proto/limits.h"
#include "proto/wire_reader.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

#define TYPE_PREFIX "application/vnd.gridpatrol."
#define TYPE_SUFFIX "+zlib;v=1"
#define ENCODING_ZLIB 1u
#define KEY_ID_BYTES 8u

enum envelope_field {
    FIELD_PAYLOAD_TYPE = 1,
    FIELD_PAYLOAD = 2,
    FIELD_KEY_ID = 3,
    FIELD_SIGNATURE = 4,
    FIELD_DEVICE = 5,
    FIELD_ENCODING = 6,
};

static const struct {
    const char *name;
    size_t payload_bytes_max;
} payload_types[] = {
    [PAYLOAD_EXCHANGE_REQUEST] = {TYPE_PREFIX "exchange-request" TYPE_SUFFIX, EXCHANGE_COMPRESSED_BYTES_MAX},
    [PAYLOAD_EXCHANGE_ANSWER] = {TYPE_PREFIX "exchange-answer" TYPE_SUFFIX, ANSWER_BYTES_MAX},
    [PAYLOAD_AUDIT_REQUEST] = {TYPE_PREFIX "audit-request" TYPE_SUFFIX, EXCHANGE_COMPRESSED_BYTES_MAX},
    [PAYLOAD_AUDIT_ANSWER] = {TYPE_PREFIX "audit-answer" TYPE_SUFFIX, ANSWER_BYTES_MAX},
    [PAYLOAD_REPAIR_REQUEST] = {TYPE_PREFIX "repair-request" TYPE_SUFFIX, EXCHANGE_COMPRESSED_BYTES_MAX},
    [PAYLOAD_REPAIR_ANSWER] = {TYPE_PREFIX "repair-answer" TYPE_SUFFIX, ANSWER_BYTES_MAX},
    [PAYLOAD_REFUSAL] = {TYPE_PREFIX "refusal" TYPE_SUFFIX, ENROLMENT_BYTES_MAX},
    [PAYLOAD_ENROL_ANSWER] = {TYPE_PREFIX "enrol-answer" TYPE_SUFFIX, ENROLMENT_ANSWER_BYTES_MAX},
    [PAYLOAD_DEVICE_CERTIFICATE] = {TYPE_PREFIX "device-certificate" TYPE_SUFFIX, ENROLMENT_BYTES_MAX},
    [PAYLOAD_BUNDLE_RECEIPTS] = {TYPE_PREFIX "bundle-receipts" TYPE_SUFFIX, BUNDLE_RECEIPTS_BYTES_MAX},
    [PAYLOAD_TRUST_STATEMENT] = {TYPE_PREFIX "trust-statement" TYPE_SUFFIX, TRUST_STATEMENT_BYTES_MAX},
};

const char *payload_type_name(enum payload_type type)
{
    assert((size_t)type < ARRAY_LEN(payload_types));
    return payload_types[type].name;
}

/* DSSE's pre-authentication encoding: what is signed. */
static void put_pae(struct buffer *buffer, enum payload_type type, struct bytes payload)
{
    const char *name = payload_type_name(type);

    buffer_printf(buffer, "DSSEv1 %zu %s %zu ", strlen(name), name, payload.len);
    buffer_put_bytes(buffer, payload);
}

static void put_varint(struct buffer *buffer, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buffer_put_u8(buffer, (uint8_t)(value | 0x80));
    buffer_put_u8(buffer, (uint8_t)value);
}

static void put_field(struct buffer *buffer, enum envelope_field field, struct bytes bytes)
{
    put_varint(buffer, (uint64_t)field << 3 | WIRE_RUN);
    put_varint(buffer, bytes.len);
    buffer_put_bytes(buffer, bytes);
}

static void put_envelope(struct buffer *buffer, enum payload_type type, const uint8_t key_id[KEY_ID_BYTES],
    const uint8_t signature[SIGNATURE_BYTES], const struct uuid *device, struct bytes payload)
{
    put_field(buffer, FIELD_PAYLOAD_TYPE, bytes_of_text(payload_type_name(type)));
    put_field(buffer, FIELD_KEY_ID, bytes_of(key_id, KEY_ID_BYTES));
    put_field(buffer, FIELD_SIGNATURE, bytes_of(signature, SIGNATURE_BYTES));
    if (device && !uuid_is_nil(device))
        put_field(buffer, FIELD_DEVICE, uuid_bytes(device));
    put_varint(buffer, (uint64_t)FIELD_ENCODING << 3 | WIRE_VARINT);
    put_varint(buffer, ENCODING_ZLIB);
    put_field(buffer, FIELD_PAYLOAD, payload);
}

int envelope_seal(enum payload_type type, struct bytes plain, int level, uint32_t dictionary,
    const struct uuid *device, const struct sign_key *key, struct buffer *ret,
    struct sha256 *ret_payload_sha256)
{
    _cleanup_buffer_ struct buffer payload = {0}, signed_bytes = {0};
    uint8_t signature[SIGNATURE_BYTES], key_id[KEY_ID_BYTES];
    size_t start = ret->len;
    int r;

    if (plain.len > EXCHANGE_INFLATED_BYTES_MAX)
        return -EMSGSIZE;
    r = compress_bytes(plain, level, dictionary, &payload);
    if (r < 0)
        return r;
    if (payload.len > payload_types[type].payload_bytes_max)
        return -EMSGSIZE;

    put_pae(&signed_bytes, type, buffer_bytes(&payload));
    r = buffer_finish(&signed_bytes);
    if (r < 0)
        return r;
    crypto_sign_detached(signature, NULL, signed_bytes.data, signed_bytes.len, key->secret);
    key_id_of(key->public.public_key, key_id);

    put_envelope(ret, type, key_id, signature, device, buffer_bytes(&payload));
    r = buffer_finish(ret);
    if (r < 0) {
        ret->len = start;
        return r;
    }
    if (ret_payload_sha256)
        *ret_payload_sha256 = sha256_of(buffer_bytes(&payload));
    return 0;
}

static int payload_type_of(struct bytes name, enum payload_type *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(payload_types); i++) {
        if (bytes_equal(name, bytes_of_text(payload_types[i].name))) {
            *ret = (enum payload_type)i;
            return 0;
        }
    }
    return -EBADMSG;
}

int envelope_parse(struct bytes bytes, struct envelope *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, NULL);
    const uint64_t required = UINT64_C(1) << FIELD_KEY_ID | UINT64_C(1) << FIELD_SIGNATURE;
    struct envelope envelope = {0};
    struct bytes type = {0};
    uint32_t encoding = 0;

    while (wire_next(&reader)) {
        switch (reader.field) {
        case FIELD_PAYLOAD_TYPE:
            type = wire_bytes(&reader, SIZE_MAX);
            break;
        case FIELD_PAYLOAD:
            envelope.payload = wire_bytes(&reader, SIZE_MAX);
            break;
        case FIELD_KEY_ID:
            wire_exact(&reader, envelope.key_id, KEY_ID_BYTES);
            break;
        case FIELD_SIGNATURE:
            wire_exact(&reader, envelope.signature, SIGNATURE_BYTES);
            break;
        case FIELD_DEVICE:
            wire_uuid(&reader, &envelope.device);
            if (uuid_is_nil(&envelope.device))
                return -EBADMSG;
            break;
        case FIELD_ENCODING:
            encoding = wire_u32(&reader);
            break;
        default:
            /* Nobody signed what stands outside: nothing that is not understood belongs there. */
            return -EBADMSG;
        }
    }
    if (wire_finish(&reader, NULL) < 0 || (reader.seen & required) != required || encoding != ENCODING_ZLIB)
        return -EBADMSG;
    if (payload_type_of(type, &envelope.type) < 0 || envelope.payload.len == 0 ||
        envelope.payload.len > payload_types[envelope.type].payload_bytes_max)
        return -EBADMSG;
    *ret = envelope;
    return 0;
}

int envelope_open(const struct envelope *envelope, enum payload_type type,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], size_t inflated_max, struct buffer *ret_plain)
{
    _cleanup_buffer_ struct buffer signed_bytes = {0};
    uint8_t key_id[KEY_ID_BYTES];
    int r;

    if (envelope->type != type)
        return -EBADMSG;
    key_id_of(public_key, key_id);
    if (memcmp(key_id, envelope->key_id, sizeof(key_id)) != 0)
        return -EKEYREJECTED;
    put_pae(&signed_bytes, type, envelope->payload);
    r = buffer_finish(&signed_bytes);
    if (r < 0)
        return r;
    if (crypto_sign_verify_detached(envelope->signature, signed_bytes.data, signed_bytes.len, public_key) !=
        0)
        return -EKEYREJECTED;
    return inflate_bytes(envelope->payload, inflated_max, ret_plain);
}

struct sha256 envelope_payload_sha256(const struct envelope *envelope)
{
    return sha256_of(envelope->payload);
}
