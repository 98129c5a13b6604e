/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What patrol-syncd and its worker patrol-transport say to each other over their socket, as bytes and back.
 *
 *   patrol-syncd                                patrol-transport
 *     TRUST   which CA counts                ->   forgets every connection; ends what is in flight
 *     REQUEST slot, serial, the whole of it  ->
 *                                            <-   RESPONSE slot, serial, the whole of it
 *     REQUEST slot, serial                   ->
 *                                            <-   FAILED slot, serial, network or TLS, words
 *     REQUEST slot, serial                   ->
 *     CANCEL  slot, serial                   ->
 *                                            <-   FAILED slot, serial, cancelled (or an end that crossed it)
 *     NETWORK CHANGED                        ->   later requests go over new connections
 *
 * Each request has exactly one end, RESPONSE or FAILED. A message is a length (u32, of what follows), its
 * kind (u8) and its fields; all numbers are big-endian. Texts are u32 length and bytes, the terminating NUL
 * included, without control characters; length 0 is "none". Bytes are u32 length and the bytes. There is one
 * way to write each message down, and nothing else is read: the worker may have been taken over by whoever it
 * talked to.
 *
 * Pure. Called by both ends; must not know sockets, libcurl or the agent.
 */
#pragma once

#include "proto/enrolment.h"
#include "proto/limits.h"
#include "syncd/http.h"

#define TRANSPORT_SLOTS_MAX 8u
#define TRANSPORT_LENGTH_BYTES 4u
#define TRANSPORT_URL_BYTES_MAX (URL_BYTES_MAX + HTTP_LOCATION_MAX) /* with its NUL, as all texts here */
#define TRANSPORT_METHOD_BYTES_MAX 16u
#define TRANSPORT_HEADER_NAME_BYTES_MAX 64u
#define TRANSPORT_HEADER_VALUE_BYTES_MAX HTTP_LOCATION_MAX
#define TRANSPORT_SHORT_HEADER_BYTES_MAX 64u /* of those that come back */
#define TRANSPORT_DETAIL_BYTES_MAX 256u
#define TRANSPORT_REQUEST_BODY_MAX UPLOAD_CHUNK_BYTES_MAX
#define TRANSPORT_RESPONSE_BODY_MAX ANSWER_BYTES_MAX
#define TRANSPORT_CERTIFICATE_BYTES_MAX CA_PEM_BYTES_MAX
/* Everything of a request but its body, with room to spare. */
#define TRANSPORT_HEAD_BYTES_MAX (64u * 1024u)
#define TRANSPORT_MESSAGE_BYTES_MAX (TRANSPORT_REQUEST_BODY_MAX + TRANSPORT_HEAD_BYTES_MAX)

enum transport_message_kind {
    TRANSPORT_TRUST = 1,
    TRANSPORT_REQUEST,
    TRANSPORT_CANCEL,
    TRANSPORT_NETWORK_CHANGED,
    TRANSPORT_RESPONSE,
    TRANSPORT_FAILED,
};

enum transport_failure {
    TRANSPORT_FAILED_NETWORK = 1, /* no connection, reset, resolver, timeout */
    TRANSPORT_FAILED_TLS,
    TRANSPORT_FAILED_CANCELLED,
};

/* Which server is believed. Neither: nobody over TLS. */
struct transport_trust {
    struct bytes ca_pem;    /* the pinned CA; empty at enrolment */
    struct bytes ca_sha256; /* at enrolment: hash of the CA's DER, SHA256_BYTES; else empty */
};

struct transport_request {
    uint64_t deadline_ms;   /* 0: none */
    int64_t verify_at_ms;   /* Unix time at which certificates are verified */
    bool ignore_not_before; /* syncd/core/tls_floor.h */
    const char *method, *url;
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    struct bytes body;
};

struct transport_response {
    uint32_t status;      /* 100 to 999 */
    uint64_t bytes_sent;  /* of the request's body */
    int64_t not_after_ms; /* end of the server's certificate, 0: none */
    struct bytes ca;      /* at enrolment: DER of the CA that hashes as told; else empty */
    const char *location, *upload_offset, *upload_expires, *retry_after; /* NULL: none */
    struct bytes body;
};

struct transport_message {
    enum transport_message_kind kind;
    uint32_t slot, serial; /* of all but TRUST and NETWORK CHANGED */
    union {
        struct transport_trust trust;
        struct transport_request request;
        struct transport_response response;
        struct {
            enum transport_failure failure;
            const char *detail;
        } failed;
    };
};

/* Appends one message with its length. -EMSGSIZE when it breaks a limit (nothing is appended then), -ENOMEM.
 */
int transport_message_encode(const struct transport_message *message, struct buffer *ret);
/* What follows a length of these bytes. -EBADMSG when it is beyond the limit, or 0. */
int transport_message_length(const uint8_t head[TRANSPORT_LENGTH_BYTES], size_t *ret);
/* Reads what follows the length. All of it must be one message; `ret` borrows from it. -EBADMSG. */
int transport_message_decode(struct bytes bytes, struct transport_message *ret);
