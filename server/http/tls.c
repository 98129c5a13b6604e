/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/tls.h"

#include "base/files.h"
#include "proto/limits.h"

#include <assert.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdarg.h>

#define CHAIN_CERTIFICATES_MAX 8u

const char tls_priorities[] = "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

struct chain {
    gnutls_x509_crt_t certificates[CHAIN_CERTIFICATES_MAX];
    unsigned count;
};

static void chain_done(struct chain *chain)
{
    for (unsigned i = 0; i < chain->count; i++)
        gnutls_x509_crt_deinit(chain->certificates[i]);
}

static void cleanup_private_key(gnutls_x509_privkey_t *key)
{
    if (*key)
        gnutls_x509_privkey_deinit(*key);
}

_printf_(2, 3) static int refuse(char **ret_error, const char *format, ...);

static int refuse(char **ret_error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vasprintf(ret_error, format, arguments);
    va_end(arguments);
    if (n < 0)
        *ret_error = NULL;
    return n < 0 ? -ENOMEM : -EINVAL;
}

/* `error` is GnuTLS's. That there is no memory says nothing of the file. */
static bool is_no_memory(int error)
{
    return error == GNUTLS_E_MEMORY_ERROR;
}

static int read_text(const char *what, const char *path, char **ret, char **ret_error)
{
    _cleanup_buffer_ struct buffer file = {0};
    int r = files_read(world_posix(), path, TLS_FILE_BYTES_MAX, &file);
    if (r < 0)
        return r == -ENOMEM ? r : refuse(ret_error, "%s: %s: %s", what, path, strerror(-r));
    const char *text = buffer_text(&file);
    *ret = text ? strdup(text) : NULL;
    return *ret ? 0 : -ENOMEM;
}

static gnutls_datum_t datum_of(char *text)
{
    assert(text);
    return (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)strlen(text)};
}

static int take_ca(gnutls_x509_crt_t certificate, struct tls *tls)
{
    gnutls_datum_t der = {0}, pem = {0};

    if (gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_DER, &der) < 0)
        return -ENOMEM;
    tls->ca_sha256 = sha256_of(bytes_of(der.data, der.size));
    gnutls_free(der.data);
    if (gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &pem) < 0)
        return -ENOMEM;
    tls->ca_pem = strndup((const char *)pem.data, pem.size);
    gnutls_free(pem.data);
    return tls->ca_pem ? 0 : -ENOMEM;
}

static int check_chain(const char *path, const struct chain *chain, char **ret_error)
{
    for (unsigned i = 0; i + 1 < chain->count; i++)
        if (!gnutls_x509_crt_check_issuer(chain->certificates[i], chain->certificates[i + 1]))
            return refuse(ret_error,
                "tls-cert: %s: certificate %u is not issued by the one after it; put the server's certificate "
                "first, then each issuer, the CA last",
                path, i + 1);
    gnutls_x509_crt_t ca = chain->certificates[chain->count - 1];
    if (!gnutls_x509_crt_check_issuer(ca, ca))
        return refuse(ret_error,
            "tls-cert: %s: the last certificate is not a CA's own; append the CA's certificate, which the "
            "handhelds pin",
            path);
    return 0;
}

static int check_key(
    const char *cert_path, const char *key_path, const struct chain *chain, char *key_pem, char **ret_error)
{
    _cleanup_(cleanup_private_key) gnutls_x509_privkey_t key = NULL;
    unsigned char of_key[64], of_certificate[64];
    size_t key_len = sizeof(of_key), certificate_len = sizeof(of_certificate);
    gnutls_datum_t datum = datum_of(key_pem);

    if (gnutls_x509_privkey_init(&key) < 0)
        return -ENOMEM;
    int r = gnutls_x509_privkey_import2(key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (is_no_memory(r))
        return -ENOMEM;
    if (r < 0)
        return refuse(ret_error, "tls-key: %s: no private key in PEM without a password", key_path);
    r = gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &key_len);
    if (r >= 0)
        r = gnutls_x509_crt_get_key_id(
            chain->certificates[0], GNUTLS_KEYID_USE_SHA256, of_certificate, &certificate_len);
    if (is_no_memory(r))
        return -ENOMEM;
    if (r < 0 || !bytes_equal(bytes_of(of_key, key_len), bytes_of(of_certificate, certificate_len)))
        return refuse(
            ret_error, "tls-key: %s: not the key of the first certificate in %s", key_path, cert_path);
    return 0;
}

int tls_load(const char *cert_path, const char *key_path, struct tls *ret, char **ret_error)
{
    _cleanup_(chain_done) struct chain chain = {.count = CHAIN_CERTIFICATES_MAX};
    _cleanup_(tls_done) struct tls tls = {0};

    int r = read_text("tls-cert", cert_path, &tls.chain_pem, ret_error);
    if (r >= 0)
        r = read_text("tls-key", key_path, &tls.key_pem, ret_error);
    if (r < 0) {
        chain.count = 0;
        return r;
    }
    gnutls_datum_t datum = datum_of(tls.chain_pem);
    r = gnutls_x509_crt_list_import(chain.certificates, &chain.count, &datum, GNUTLS_X509_FMT_PEM,
        GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    if (r < 0 || chain.count == 0) {
        chain.count = 0;
        if (is_no_memory(r))
            return -ENOMEM;
        return refuse(ret_error, "tls-cert: %s: no chain of 1 to %u certificates in PEM", cert_path,
            CHAIN_CERTIFICATES_MAX);
    }
    r = check_chain(cert_path, &chain, ret_error);
    if (r >= 0)
        r = check_key(cert_path, key_path, &chain, tls.key_pem, ret_error);
    if (r >= 0)
        r = take_ca(chain.certificates[chain.count - 1], &tls);
    if (r < 0)
        return r;
    tls.expires_ms = (int64_t)gnutls_x509_crt_get_expiration_time(chain.certificates[0]) * 1000;
    if (gnutls_session_ticket_key_generate(&tls.ticket_key) < 0)
        return -ENOMEM;
    *ret = tls;
    tls = (struct tls){0};
    return 0;
}

static int add_pem(gnutls_x509_crt_t certificate, struct buffer *pem)
{
    gnutls_datum_t text = {0};

    if (gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text) < 0)
        return -ENOMEM;
    buffer_put(pem, text.data, text.size);
    gnutls_free(text.data);
    return buffer_finish(pem);
}

static int hash_of(gnutls_x509_crt_t certificate, struct sha256 *ret)
{
    gnutls_datum_t der = {0};

    if (gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_DER, &der) < 0)
        return -ENOMEM;
    *ret = sha256_of(bytes_of(der.data, der.size));
    gnutls_free(der.data);
    return 0;
}

int tls_load_cas(
    const char *path, const struct sha256 *must_hold, char **ret_pem, unsigned *ret_count, char **ret_error)
{
    _cleanup_(chain_done) struct chain chain = {.count = 0};
    _cleanup_buffer_ struct buffer pem = {0};
    _cleanup_free_ char *content = NULL;
    bool holds = !must_hold;
    unsigned count = CHAIN_CERTIFICATES_MAX;

    int r = read_text("ca", path, &content, ret_error);
    if (r < 0)
        return r;
    gnutls_datum_t datum = datum_of(content);
    if (gnutls_x509_crt_list_import(chain.certificates, &count, &datum, GNUTLS_X509_FMT_PEM,
            GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED) < 0 ||
        count == 0)
        return refuse(ret_error, "ca: %s: no 1 to %u certificates in PEM", path, CHAIN_CERTIFICATES_MAX);
    chain.count = count;
    for (unsigned i = 0; i < chain.count && r >= 0; i++) {
        struct sha256 hash;

        if (!gnutls_x509_crt_check_issuer(chain.certificates[i], chain.certificates[i]))
            return refuse(ret_error, "ca: %s: certificate %u is not a CA's own", path, i + 1);
        r = hash_of(chain.certificates[i], &hash);
        holds = holds || (r >= 0 && sha256_equal(&hash, must_hold));
        if (r >= 0)
            r = add_pem(chain.certificates[i], &pem);
    }
    if (r < 0)
        return r;
    if (!holds)
        return refuse(ret_error,
            "ca: %s: the CA that patrol-server serve uses now is not in it: every handheld would refuse the "
            "server; put both into it, and take the old one out when serve uses the new one",
            path);
    if (pem.len > CA_PEM_BYTES_MAX)
        return refuse(ret_error, "ca: %s: over %u bytes", path, CA_PEM_BYTES_MAX);
    const char *text = buffer_text(&pem);
    *ret_pem = text ? strdup(text) : NULL;
    if (!*ret_pem)
        return -ENOMEM;
    *ret_count = chain.count;
    return 0;
}

void tls_done(struct tls *tls)
{
    if (tls->key_pem)
        gnutls_memset(tls->key_pem, 0, strlen(tls->key_pem));
    if (tls->ticket_key.data) {
        gnutls_memset(tls->ticket_key.data, 0, tls->ticket_key.size);
        gnutls_free(tls->ticket_key.data);
    }
    free(tls->chain_pem);
    free(tls->key_pem);
    free(tls->ca_pem);
    *tls = (struct tls){0};
}
