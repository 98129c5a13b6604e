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
    struct buffer
        ca_pem;         /* the pinned CA; empty at enrolment. Owned, as found_ca: free with tls_trust_done */
    bool has_ca_sha256; /* enrolment: the CA is taken from the presented chain when its DER hashes to this */
    struct sha256 ca_sha256;
    struct tls_time time;
    /* Filled by a handshake that went well: at enrolment the DER of the CA that was found, to be pinned. */
    struct buffer found_ca;
    int64_t peer_not_after_ms; /* end of the server certificate's validity, 0: none seen yet */
    int64_t first_end_ms; /* when the first ends of all certificates that vouched for anybody, 0: none did */
};

void tls_trust_done(struct tls_trust *trust);
/* Sets up a context: TLS 1.2 or newer, only this trust, verification at this time. The trust must outlive the
 * context. 0 or -EINVAL with nothing trusted (every handshake fails). */
int tls_trust_apply(struct tls_trust *trust, SSL_CTX *context);
/* Whether a TLS session may be resumed, in which no certificate is looked at again: not after one of those
 * that vouched for it has ended. */
bool tls_trust_may_resume(const struct tls_trust *trust);
