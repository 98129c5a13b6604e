/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust in the centre: hands OpenSSL the pinned CA (or, at enrolment, the CA whose hash the token URL
 * carries) and the time at which certificates are verified. Called by the curl transport for each new TLS
 * context; knows nothing of requests.
 */
#pragma once

#include "proto/ids.h"
#include "syncd/core/tls_floor.h"

#include <openssl/ssl.h>

struct tls_trust {
    const char *ca_path; /* PEM file with the pinned CA; NULL at enrolment */
    bool has_ca_sha256;  /* enrolment: the CA is taken from the presented chain when its DER hashes to this */
    struct sha256 ca_sha256;
    struct tls_time time;
    /* Filled by a handshake that went well, at enrolment: PEM of the CA that was found, to be pinned. Owned;
     * free with tls_trust_done. */
    char *found_ca_pem;
    int64_t peer_not_after_ms; /* end of the server certificate's validity, 0: none seen yet */
};

void tls_trust_done(struct tls_trust *trust);
/* Sets up a context: TLS 1.2 or newer, only this trust, verification at this time. The trust must outlive the
 * context. 0 or -EINVAL with nothing trusted (every handshake fails). */
int tls_trust_apply(struct tls_trust *trust, SSL_CTX *context);
