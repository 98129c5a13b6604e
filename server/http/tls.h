/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's certificate chain and key: read, checked for what would otherwise show at every handheld, and
 * what follows from them. Called by the command `serve`. Must not know HTTP.
 */
#pragma once

#include "base/bytes.h"
#include "proto/ids.h"

#include <gnutls/gnutls.h>

#define TLS_FILE_BYTES_MAX (256u * 1024u)

struct tls {
    char *chain_pem; /* as in the file: leaf first, the CA last */
    char *key_pem;
    char *ca_pem;            /* the CA alone, for enrolment answers */
    struct sha256 ca_sha256; /* of its DER, for token URLs */
    gnutls_datum_t ticket_key;
    int64_t expires_ms; /* the leaf's notAfter */
};

/* 0, or -EINVAL after filling `ret_error` with one line that names the file and the fix; -ENOMEM. */
int tls_load(const char *cert_path, const char *key_path, struct tls *ret, char **ret_error);
void tls_done(struct tls *tls);
/* The certificates of a PEM file, and nothing else of it, for handhelds to trust as CAs. Each must be a CA's;
 * the one with the hash `must_hold` (may be NULL), which vouches for the server now, must be among them. Text
 * allocated; errors as tls_load. */
int tls_load_cas(
    const char *path, const struct sha256 *must_hold, char **ret_pem, unsigned *ret_count, char **ret_error);
/* TLS 1.2 and later only. */
extern const char tls_priorities[];
