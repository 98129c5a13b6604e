/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enrolment's request and answer, and the device certificate: see enrolment.h; proto/README.md,
 * "Enrolment and trust".
 */
#include "proto/enrolment.h"

#include "proto/capabilities.h"
#include "proto/compression.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

#define ENROL_CONTEXT "gridpatrol enrol v1\n"
#define CONTEXT_BYTES (sizeof(ENROL_CONTEXT) - 1)
#define SIGNED_BYTES (CONTEXT_BYTES + ENROL_TOKEN_BYTES + UUID_BYTES + SIGN_PUBLIC_BYTES)
#define CERTIFICATE_LEVEL 9

/* What the device signs to show that it holds the key it enrols. */
static void fill_signed(const uint8_t token[ENROL_TOKEN_BYTES], const struct uuid *device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], uint8_t ret[SIGNED_BYTES])
{
    memcpy(ret, ENROL_CONTEXT, CONTEXT_BYTES);
    ret += CONTEXT_BYTES;
    memcpy(ret, token, ENROL_TOKEN_BYTES);
    ret += ENROL_TOKEN_BYTES;
    memcpy(ret, device->b, UUID_BYTES);
    ret += UUID_BYTES;
    memcpy(ret, public_key, SIGN_PUBLIC_BYTES);
}

int enrol_request_encode(
    const struct enrol_request *request, const struct sign_key *device, struct buffer *ret)
{
    Wire__EnrolRequest wire = WIRE__ENROL_REQUEST__INIT;
    uint8_t message[SIGNED_BYTES], signature[SIGNATURE_BYTES];

    if (request->software.len > SOFTWARE_BYTES_MAX)
        return -EMSGSIZE;
    fill_signed(request->token, &request->device, device->public.public_key, message);
    crypto_sign_detached(signature, NULL, message, sizeof(message), device->secret);
    wire.token = wire_of(bytes_of(request->token, ENROL_TOKEN_BYTES));
    wire.device = wire_of_uuid(&request->device);
    wire.public_key = wire_of(bytes_of(device->public.public_key, SIGN_PUBLIC_BYTES));
    wire.signature = wire_of(bytes_of(signature, sizeof(signature)));
    wire.software = wire_of(request->software);
    return wire_pack(&wire.base, NULL, ENROLMENT_BYTES_MAX, ret);
}

int enrol_request_decode(struct bytes bytes, struct arena *arena, struct enrol_request *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    uint8_t message[SIGNED_BYTES], signature[SIGNATURE_BYTES];
    struct enrol_request request = {0};
    int r;

    if (bytes.len > ENROLMENT_BYTES_MAX)
        return -EBADMSG;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, request.token, ENROL_TOKEN_BYTES);
            break;
        case 2:
            wire_uuid(&reader, &request.device);
            break;
        case 3:
            wire_exact(&reader, request.public_key, SIGN_PUBLIC_BYTES);
            break;
        case 4:
            wire_exact(&reader, signature, SIGNATURE_BYTES);
            break;
        case 5:
            request.software = wire_text(&reader, SOFTWARE_BYTES_MAX);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2) | WIRE_FIELD(3) | WIRE_FIELD(4));
    r = wire_finish(&reader, NULL);
    if (r < 0)
        return r;
    fill_signed(request.token, &request.device, request.public_key, message);
    if (crypto_sign_verify_detached(signature, message, sizeof(message), request.public_key) != 0)
        return -EKEYREJECTED;
    *ret = request;
    return 0;
}

static int pack_certificate(const struct device_certificate *certificate, struct buffer *ret)
{
    Wire__DeviceCertificate wire = WIRE__DEVICE_CERTIFICATE__INIT;

    if (certificate->authority.len > KEY_NAME_MAX || certificate->tenant.len > KEY_NAME_MAX ||
        certificate->name.len > DEVICE_NAME_BYTES_MAX || certificate->inspector.len > INSPECTOR_BYTES_MAX)
        return -EMSGSIZE;
    wire.authority = wire_of(certificate->authority);
    wire.tenant = wire_of(certificate->tenant);
    wire.device = wire_of_uuid(&certificate->device);
    wire.public_key = wire_of(bytes_of(certificate->public_key, SIGN_PUBLIC_BYTES));
    wire.issued_ms = certificate->issued_ms;
    wire.name = wire_of(certificate->name);
    wire.inspector = wire_of(certificate->inspector);
    return wire_pack(&wire.base, NULL, ENROLMENT_BYTES_MAX, ret);
}

int device_certificate_sign(
    const struct device_certificate *certificate, const struct sign_key *receipt_key, struct buffer *ret)
{
    _cleanup_buffer_ struct buffer plain = {0};
    int r = pack_certificate(certificate, &plain);

    if (r < 0)
        return r;
    return envelope_seal(PAYLOAD_DEVICE_CERTIFICATE, buffer_bytes(&plain), CERTIFICATE_LEVEL, DICTIONARY_NONE,
        NULL, receipt_key, ret, NULL);
}

static int read_certificate(struct bytes plain, struct arena *arena, struct device_certificate *ret)
{
    struct wire_reader reader = wire_reader_of(plain, arena);
    struct device_certificate certificate = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            certificate.authority = wire_text(&reader, KEY_NAME_MAX);
            break;
        case 2:
            certificate.tenant = wire_text(&reader, KEY_NAME_MAX);
            break;
        case 3:
            wire_uuid(&reader, &certificate.device);
            break;
        case 4:
            wire_exact(&reader, certificate.public_key, SIGN_PUBLIC_BYTES);
            break;
        case 5:
            certificate.issued_ms = wire_s64(&reader);
            break;
        case 6:
            certificate.name = wire_text(&reader, DEVICE_NAME_BYTES_MAX);
            break;
        case 7:
            certificate.inspector = wire_text(&reader, INSPECTOR_BYTES_MAX);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2) | WIRE_FIELD(3) | WIRE_FIELD(4));
    if (!reader.error)
        *ret = certificate;
    return wire_finish(&reader, NULL);
}

int device_certificate_verify(struct bytes envelope, const struct verify_key *receipt_key,
    struct arena *arena, struct device_certificate *ret)
{
    _cleanup_buffer_ struct buffer plain = {0};
    struct envelope parsed;
    uint8_t *kept;
    int r;

    r = envelope_parse(envelope, &parsed);
    if (r < 0)
        return r;
    /* The device stands inside: one outside would be a claim that nobody signed. */
    if (!uuid_is_nil(&parsed.device))
        return -EBADMSG;
    r = envelope_open(
        &parsed, PAYLOAD_DEVICE_CERTIFICATE, receipt_key->public_key, ENROLMENT_BYTES_MAX, &plain);
    if (r == -EFBIG || r == -ENOENT)
        return -EBADMSG;
    if (r < 0)
        return r;
    kept = arena_alloc(arena, plain.len);
    if (!kept)
        return arena_error(arena);
    if (plain.len > 0)
        memcpy(kept, plain.data, plain.len);
    return read_certificate(bytes_of(kept, plain.len), arena, ret);
}

int enrol_answer_encode(const struct enrol_answer *answer, struct buffer *ret)
{
    Wire__EnrolAnswer wire = WIRE__ENROL_ANSWER__INIT;
    struct capability_values values;
    Wire__Capabilities capabilities;

    if (answer->certificate.len > ENROLMENT_BYTES_MAX || answer->receipt_key.len >= VERIFIER_KEY_TEXT_MAX ||
        answer->ca_pem.len > CA_PEM_BYTES_MAX || answer->name.len > DEVICE_NAME_BYTES_MAX ||
        answer->inspector.len > INSPECTOR_BYTES_MAX || answer->trust.len > TRUST_LIST_BYTES_MAX ||
        !capabilities_within_limits(&answer->capabilities))
        return -EMSGSIZE;
    wire.request_sha256 = wire_of_sha256(&answer->request_sha256);
    wire.certificate = wire_of(answer->certificate);
    wire.receipt_key = wire_of(answer->receipt_key);
    wire.ca_pem = wire_of(answer->ca_pem);
    capabilities_fill(&answer->capabilities, &values, &capabilities);
    wire.capabilities = &capabilities;
    wire.server_time_ms = answer->server_time_ms;
    wire.name = wire_of(answer->name);
    wire.inspector = wire_of(answer->inspector);
    wire.trust = wire_of(answer->trust);
    return wire_pack(&wire.base, NULL, ENROLMENT_ANSWER_BYTES_MAX, ret);
}

int enrol_answer_decode(struct bytes bytes, struct arena *arena, struct enrol_answer *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct enrol_answer answer = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, answer.request_sha256.b, SHA256_BYTES);
            break;
        case 2:
            answer.certificate = wire_bytes(&reader, ENROLMENT_BYTES_MAX);
            break;
        case 3:
            answer.receipt_key = wire_text(&reader, VERIFIER_KEY_TEXT_MAX - 1);
            break;
        case 4:
            answer.ca_pem = wire_text(&reader, CA_PEM_BYTES_MAX);
            break;
        case 5:
            capabilities_read(&reader, &answer.capabilities);
            break;
        case 6:
            answer.server_time_ms = wire_s64(&reader);
            break;
        case 7:
            answer.name = wire_text(&reader, DEVICE_NAME_BYTES_MAX);
            break;
        case 8:
            answer.inspector = wire_text(&reader, INSPECTOR_BYTES_MAX);
            break;
        case 9:
            answer.trust = wire_bytes(&reader, TRUST_LIST_BYTES_MAX);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2) | WIRE_FIELD(3) | WIRE_FIELD(5));
    if (!reader.error)
        *ret = answer;
    return wire_finish(&reader, NULL);
}
