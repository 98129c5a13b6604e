/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envelopes: DSSE (pre-authentication encoding `DSSEv1`) around a compressed payload. proto/README.md,
 * "Envelopes". Pure.
 *
 * Order of opening, so that nothing unauthenticated is ever inflated: parse, look up the key, check the
 * signature, inflate with a cap, decode within a budget.
 */
#pragma once

#include "proto/arena.h"
#include "proto/checkpoint.h"
#include "proto/ids.h"

enum payload_type {
    PAYLOAD_EXCHANGE_REQUEST,
    PAYLOAD_EXCHANGE_ANSWER,
    PAYLOAD_AUDIT_REQUEST,
    PAYLOAD_AUDIT_ANSWER,
    PAYLOAD_REPAIR_REQUEST,
    PAYLOAD_REPAIR_ANSWER,
    PAYLOAD_REFUSAL,
    PAYLOAD_ENROL_ANSWER,
    PAYLOAD_DEVICE_CERTIFICATE,
    PAYLOAD_BUNDLE_RECEIPTS,
    PAYLOAD_TRUST_STATEMENT,
};

/* What stands outside, read before anything is trusted. Views into the envelope's bytes. */
struct envelope {
    enum payload_type type;
    struct bytes payload; /* the compressed stream */
    struct uuid device;   /* nil when absent */
    uint8_t key_id[8];
    uint8_t signature[SIGNATURE_BYTES];
};

const char *payload_type_name(enum payload_type type);
/* Compresses, signs and encodes `plain`; `ret_payload_sha256` (may be NULL) is what the answer must name.
 * -ENOMEM, -ENOENT unknown dictionary, -EMSGSIZE when `plain` is over EXCHANGE_INFLATED_BYTES_MAX or the
 * payload over the limit of its type (proto/README.md, "Envelopes"). */
int envelope_seal(enum payload_type type, struct bytes plain, int level, uint32_t dictionary,
    const struct uuid *device, const struct sign_key *key, struct buffer *ret,
    struct sha256 *ret_payload_sha256);
/* Reads the outside; views in `ret` point into `bytes`. -EBADMSG when a field is unknown, twice, missing or
 * of a wrong length, the type unknown, or the payload over the limit of its type. */
int envelope_parse(struct bytes bytes, struct envelope *ret);
/* Checks type and signature, then inflates into `ret_plain` (appended). -EBADMSG wrong type, damaged stream;
 * -EKEYREJECTED wrong key or signature; -EFBIG, -ENOENT as inflate_bytes. */
int envelope_open(const struct envelope *envelope, enum payload_type type,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], size_t inflated_max, struct buffer *ret_plain);
struct sha256 envelope_payload_sha256(const struct envelope *envelope);
