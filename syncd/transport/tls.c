/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <time.h>

void tls_trust_done(struct tls_trust *trust)
{
    buffer_done(&trust->ca_pem);
    buffer_done(&trust->found_ca);
}

static bool certificate_has_sha256(X509 *certificate, const struct sha256 *wanted)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    return X509_digest(certificate, EVP_sha256(), digest, &len) == 1 && len == SHA256_BYTES &&
           memcmp(digest, wanted->b, SHA256_BYTES) == 0;
}

static int keep_der(X509 *certificate, struct buffer *ret)
{
    int len = i2d_X509(certificate, NULL);
    buffer_clear(ret);
    unsigned char *room = len > 0 ? buffer_extend(ret, (size_t)len) : NULL;
    return room && i2d_X509(certificate, &room) == len ? 0 : -ENOMEM;
}

/* At enrolment: trusts exactly the certificate of the presented chain that the token URL names. */
static int pin_from_chain(struct tls_trust *trust, X509_STORE_CTX *store_context)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store_context);
    X509_STORE *store = X509_STORE_CTX_get0_store(store_context);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        if (!certificate_has_sha256(certificate, &trust->ca_sha256))
            continue;
        if (X509_STORE_add_cert(store, certificate) != 1)
            return -ENOMEM;
        return keep_der(certificate, &trust->found_ca);
    }
    return -ENOENT;
}

static int64_t unix_ms_of(const ASN1_TIME *asn1)
{
    struct tm civil;
    if (ASN1_TIME_to_tm(asn1, &civil) != 1)
        return 0;
    return (int64_t)timegm(&civil) * 1000;
}

/* With a clock that is not believed, "not yet valid" is no reason to refuse: the floor only says what is
 * past. */
static int judge_each(int ok, X509_STORE_CTX *store_context)
{
    if (ok)
        return 1;
    if (X509_STORE_CTX_get_error(store_context) != X509_V_ERR_CERT_NOT_YET_VALID)
        return 0;
    X509_STORE_CTX_set_error(store_context, X509_V_OK);
    return 1;
}

/* Of all chains that were seen: a session may be of any of them. */
static void note_ends(struct tls_trust *trust, STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t end_ms = unix_ms_of(X509_get0_notAfter(sk_X509_value(chain, i)));
        if (trust->first_end_ms == 0 || end_ms < trust->first_end_ms)
            trust->first_end_ms = end_ms;
    }
}

static int verify_peer(X509_STORE_CTX *store_context, void *argument)
{
    struct tls_trust *trust = argument;
    if (trust->has_ca_sha256 && pin_from_chain(trust, store_context) < 0) {
        X509_STORE_CTX_set_error(store_context, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
        return 0;
    }
    if (trust->time.ignore_not_before)
        X509_STORE_CTX_set_verify_cb(store_context, judge_each);
    int ok = X509_verify_cert(store_context);
    if (ok == 1) {
        trust->peer_not_after_ms = unix_ms_of(X509_get0_notAfter(X509_STORE_CTX_get0_cert(store_context)));
        note_ends(trust, X509_STORE_CTX_get0_chain(store_context));
    }
    return ok == 1;
}

/* 0, or -EINVAL when there is no certificate in it. */
static int trust_pem(X509_STORE *store, struct bytes pem)
{
    BIO *bio = pem.len > 0 ? BIO_new_mem_buf(pem.data, (int)pem.len) : NULL;
    unsigned count = 0;
    X509 *certificate;
    while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        count += X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(bio);
    ERR_clear_error(); /* the end of the text is an error to OpenSSL */
    return count > 0 ? 0 : -EINVAL;
}

bool tls_trust_may_resume(const struct tls_trust *trust)
{
    return trust->first_end_ms == 0 || trust->time.verify_at_ms <= trust->first_end_ms;
}

int tls_trust_apply(struct tls_trust *trust, SSL_CTX *context)
{
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context, verify_peer, trust);

    X509_STORE *store = X509_STORE_new();
    if (!store)
        return -ENOMEM;
    SSL_CTX_set_cert_store(context, store); /* whatever libcurl had loaded is gone: only our trust counts */
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(param, (time_t)(trust->time.verify_at_ms / 1000));
    return trust->has_ca_sha256 ? 0 : trust_pem(store, buffer_bytes(&trust->ca_pem));
}
