/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enrolment: token URL, request and answer, device certificate, upload tokens. proto/README.md, "Enrolment".
 * Pure.
 */
#pragma once

#include "proto/envelope.h"
#include "proto/messages.h"

#define ENROL_TOKEN_BYTES 16u
#define URL_BYTES_MAX 1024u
#define UPLOAD_TOKEN_TEXT_MAX 256u
#define UPLOAD_SECRET_BYTES 32u

/* https://centre.example:8443/enrol#token=<base64url>&key=<base64url SHA-256>&ca=<base64url SHA-256> */
struct token_url {
    char server_url[URL_BYTES_MAX]; /* scheme://host[:port][/prefix], no trailing slash */
    uint8_t token[ENROL_TOKEN_BYTES];
    struct sha256 receipt_key_sha256; /* of the 32 key bytes */
    bool has_ca;                      /* absent on plain HTTP */
    struct sha256 ca_sha256;          /* of the CA certificate's DER */
};

int token_url_parse(const char *text, struct token_url *ret, const char **ret_reason); /* 0 or -EINVAL */
int token_url_format(const struct token_url *url, struct buffer *ret);
/* Checks the form of a server URL (http or https, host, optional port and path) and strips a trailing slash.
 */
int server_url_parse(const char *text, char ret[URL_BYTES_MAX], const char **ret_reason);

struct enrol_request {
    uint8_t token[ENROL_TOKEN_BYTES];
    struct uuid device;
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    struct bytes software;
};

/* Encodes and signs with the device's new key, whose public half it takes from `device`. -EMSGSIZE, -ENOMEM.
 * Decode checks that signature: -EBADMSG, -EKEYREJECTED. */
int enrol_request_encode(
    const struct enrol_request *request, const struct sign_key *device, struct buffer *ret);
int enrol_request_decode(struct bytes bytes, struct arena *arena, struct enrol_request *ret);

struct device_certificate {
    struct bytes authority, tenant;
    struct uuid device;
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    int64_t issued_ms;
    struct bytes name, inspector;
};

/* A certificate is an envelope signed by the receipt key. `verify` gives views into the arena. -EBADMSG,
 * -EKEYREJECTED. */
int device_certificate_sign(
    const struct device_certificate *certificate, const struct sign_key *receipt_key, struct buffer *ret);
int device_certificate_verify(struct bytes envelope, const struct verify_key *receipt_key,
    struct arena *arena, struct device_certificate *ret);

struct enrol_answer {
    struct sha256 request_sha256;
    struct bytes certificate;
    struct bytes receipt_key; /* verifier key text */
    struct bytes ca_pem;
    struct capabilities capabilities;
    int64_t server_time_ms;
    struct bytes name, inspector;
    struct bytes trust; /* a list of statements (proto/trust.h), or empty */
};

int enrol_answer_encode(const struct enrol_answer *answer, struct buffer *ret);
int enrol_answer_decode(struct bytes bytes, struct arena *arena, struct enrol_answer *ret);

/* Upload tokens: checked without state by whoever has the secret. Text: base64url of device, expiry, byte
 * quota and a MAC. */
struct upload_token {
    struct uuid device;
    uint64_t expires_s; /* Unix seconds, the server's clock */
    uint64_t quota_bytes;
};
void upload_token_make(const struct upload_token *token, const uint8_t secret[UPLOAD_SECRET_BYTES],
    char ret[UPLOAD_TOKEN_TEXT_MAX]);
/* -EBADMSG malformed or wrong MAC, -EKEYEXPIRED. */
int upload_token_check(
    const char *text, const uint8_t secret[UPLOAD_SECRET_BYTES], uint64_t now_s, struct upload_token *ret);

/* A libsodium sealed box to an Ed25519 public key (converted to X25519), with the ephemeral seed as an
 * argument. */
int seal_to_device(struct bytes plain, const uint8_t public_key[SIGN_PUBLIC_BYTES], const uint8_t seed[32],
    struct buffer *ret);
int unseal_by_device(struct bytes sealed, const struct sign_key *device, struct buffer *ret);
