/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust in the centre: real handshakes in memory between a client context made by tls_trust_apply and a
 * server with a certificate made here, at instants chosen here.
 */
#include "tests/unit/unit.h"

#include "syncd/transport/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define DAY_S INT64_C(86400)
#define NOW_S INT64_C(1800000000)
#define HANDSHAKE_TURNS_MAX 32

struct authority {
    EVP_PKEY *key;
    X509 *certificate;
};

struct scene {
    struct authority ca, other_ca;
    struct buffer ca_pem;
};

static EVP_PKEY *make_key(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    return key;
}

static void set_validity(X509 *certificate, int64_t from_s, int64_t to_s)
{
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)from_s));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)to_s));
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *make_certificate(
    const char *name, EVP_PKEY *key, const struct authority *issuer, int64_t from_s, int64_t to_s)
{
    X509 *certificate = X509_new();
    X509_NAME *subject;

    assert_non_null(certificate);
    assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer->certificate) : subject);
    set_validity(certificate, from_s, to_s);
    X509_set_pubkey(certificate, key);
    if (!issuer)
        add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(certificate, issuer ? issuer->key : key, EVP_sha256()) > 0);
    return certificate;
}

static struct authority make_authority(const char *name)
{
    struct authority authority = {.key = make_key()};
    authority.certificate =
        make_certificate(name, authority.key, NULL, NOW_S - 1000 * DAY_S, NOW_S + 1000 * DAY_S);
    return authority;
}

static void authority_done(struct authority *authority)
{
    EVP_PKEY_free(authority->key);
    X509_free(authority->certificate);
}

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    scene->ca = make_authority("the CA");
    scene->other_ca = make_authority("another CA");
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, scene->ca.certificate), 1);
    char *text;
    long len = BIO_get_mem_data(bio, &text);
    buffer_put(&scene->ca_pem, text, (size_t)len);
    BIO_free(bio);
    *state = scene;
    return 0;
}

static int stop(void **state)
{
    struct scene *scene = *state;
    authority_done(&scene->ca);
    authority_done(&scene->other_ca);
    buffer_done(&scene->ca_pem);
    free(scene);
    return 0;
}

static struct tls_time believed_at(int64_t s)
{
    return (struct tls_time){.floor_ms = s * 1000, .verify_at_ms = s * 1000};
}

static struct tls_time floor_at(int64_t s)
{
    struct tls_time time = believed_at(s);
    time.ignore_not_before = true;
    return time;
}

static struct sha256 der_sha256(const X509 *certificate)
{
    struct sha256 hash;
    unsigned len = 0;
    assert_int_equal(X509_digest(certificate, EVP_sha256(), hash.b, &len), 1);
    assert_int_equal(len, SHA256_BYTES);
    return hash;
}

/* True when the client, with this trust, takes a server whose certificate is of `issuer` and valid from..to;
 * the CA is presented with it. */
static bool takes(struct tls_trust *trust, const struct authority *issuer, int64_t from_s, int64_t to_s)
{
    EVP_PKEY *key = make_key();
    X509 *certificate = make_certificate("127.0.0.1", key, issuer, from_s, to_s);
    SSL_CTX *server_context = SSL_CTX_new(TLS_server_method()),
            *client_context = SSL_CTX_new(TLS_client_method());
    BIO *server_end = NULL, *client_end = NULL;
    bool done = false;

    assert_int_equal(SSL_CTX_use_certificate(server_context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(server_context, key), 1);
    assert_int_equal(SSL_CTX_add1_chain_cert(server_context, issuer->certificate), 1);
    (void)tls_trust_apply(trust, client_context);
    SSL *server = SSL_new(server_context), *client = SSL_new(client_context);
    assert_int_equal(BIO_new_bio_pair(&server_end, 0, &client_end, 0), 1);
    SSL_set_bio(server, server_end, server_end);
    SSL_set_bio(client, client_end, client_end);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int turn = 0; turn < HANDSHAKE_TURNS_MAX && !done; turn++) {
        int client_done = SSL_do_handshake(client), server_done = SSL_do_handshake(server);
        done = client_done == 1 && server_done == 1;
    }
    SSL_free(server);
    SSL_free(client);
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    X509_free(certificate);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return done;
}

static void certificate_of_the_pinned_ca_is_taken_and_its_end_is_told(void **state)
{
    struct scene *scene = *state;
    struct tls_trust trust = {.ca_pem = scene->ca_pem, .time = believed_at(NOW_S)};
    assert_true(takes(&trust, &scene->ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    assert_int64_equal(trust.peer_not_after_ms, (NOW_S + 30 * DAY_S) * 1000);
}

static void certificate_of_another_ca_is_refused_whatever_the_clock(void **state)
{
    struct scene *scene = *state;
    struct tls_trust trust = {.ca_pem = scene->ca_pem, .time = believed_at(NOW_S)};
    assert_false(takes(&trust, &scene->other_ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    trust.time = floor_at(NOW_S);
    assert_false(takes(&trust, &scene->other_ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    assert_int64_equal(trust.peer_not_after_ms, 0);
}

static void expired_certificate_is_refused_whatever_the_clock(void **state)
{
    struct scene *scene = *state;
    struct tls_trust trust = {.ca_pem = scene->ca_pem, .time = believed_at(NOW_S)};
    assert_false(takes(&trust, &scene->ca, NOW_S - 30 * DAY_S, NOW_S - DAY_S));
    trust.time = floor_at(NOW_S);
    assert_false(takes(&trust, &scene->ca, NOW_S - 30 * DAY_S, NOW_S - DAY_S));
}

static void certificate_of_tomorrow_is_taken_only_when_the_clock_is_not_believed(void **state)
{
    struct scene *scene = *state;
    struct tls_trust trust = {.ca_pem = scene->ca_pem, .time = believed_at(NOW_S)};
    assert_false(takes(&trust, &scene->ca, NOW_S + DAY_S, NOW_S + 30 * DAY_S));
    trust.time = floor_at(NOW_S);
    assert_true(takes(&trust, &scene->ca, NOW_S + DAY_S, NOW_S + 30 * DAY_S));
}

static void without_a_readable_ca_nobody_is_taken(void **state)
{
    struct scene *scene = *state;
    static uint8_t nonsense[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    struct tls_trust trust = {
        .ca_pem = {.data = nonsense, .len = sizeof(nonsense) - 1}, .time = believed_at(NOW_S)};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    assert_int_equal(tls_trust_apply(&trust, context), -EINVAL);
    SSL_CTX_free(context);
    assert_false(takes(&trust, &scene->ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    trust.ca_pem = (struct buffer){0};
    assert_false(takes(&trust, &scene->ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
}

static void enrolment_takes_the_ca_that_the_token_names_and_gives_it_to_be_pinned(void **state)
{
    struct scene *scene = *state;
    struct tls_trust trust = {
        .has_ca_sha256 = true, .ca_sha256 = der_sha256(scene->ca.certificate), .time = believed_at(NOW_S)};
    assert_true(takes(&trust, &scene->ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    const unsigned char *der = trust.found_ca.data;
    X509 *found = d2i_X509(NULL, &der, (long)trust.found_ca.len);
    assert_non_null(found);
    assert_ptr_equal(der, trust.found_ca.data + trust.found_ca.len);
    assert_int_equal(X509_cmp(found, scene->ca.certificate), 0);
    X509_free(found);
    tls_trust_done(&trust);
}

static void enrolment_refuses_any_other_ca_and_gives_nothing(void **state)
{
    struct scene *scene = *state;
    struct tls_trust trust = {
        .has_ca_sha256 = true, .ca_sha256 = der_sha256(scene->ca.certificate), .time = believed_at(NOW_S)};
    assert_false(takes(&trust, &scene->other_ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    assert_int_equal(trust.found_ca.len, 0);
    tls_trust_done(&trust);
}

/* A chain that only carries the right CA beside it, without being signed by it. */
static void enrolment_refuses_a_certificate_that_the_named_ca_has_not_signed(void **state)
{
    struct scene *scene = *state;
    struct authority liar = {.key = scene->other_ca.key, .certificate = scene->ca.certificate};
    struct tls_trust trust = {
        .has_ca_sha256 = true, .ca_sha256 = der_sha256(scene->ca.certificate), .time = believed_at(NOW_S)};
    assert_false(takes(&trust, &liar, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    tls_trust_done(&trust);
}

/* A resumed session shows no certificate, so it may not outlive what the first one rested on. */
static void sessions_are_resumed_until_the_first_certificate_of_their_chains_ends(void **state)
{
    struct scene *scene = *state;
    struct tls_trust trust = {.ca_pem = scene->ca_pem, .time = believed_at(NOW_S)};
    assert_true(tls_trust_may_resume(&trust)); /* there is none yet */
    assert_true(takes(&trust, &scene->ca, NOW_S - DAY_S, NOW_S + DAY_S));
    assert_true(takes(&trust, &scene->ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    assert_true(tls_trust_may_resume(&trust));
    trust.time = believed_at(NOW_S + DAY_S);
    assert_true(tls_trust_may_resume(&trust));
    trust.time = believed_at(NOW_S + DAY_S + 1);
    assert_false(tls_trust_may_resume(&trust));
    /* One that ends later does not bring back the sessions of the other. */
    assert_true(takes(&trust, &scene->ca, NOW_S - DAY_S, NOW_S + 30 * DAY_S));
    assert_false(tls_trust_may_resume(&trust));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            certificate_of_the_pinned_ca_is_taken_and_its_end_is_told, start, stop),
        cmocka_unit_test_setup_teardown(certificate_of_another_ca_is_refused_whatever_the_clock, start, stop),
        cmocka_unit_test_setup_teardown(expired_certificate_is_refused_whatever_the_clock, start, stop),
        cmocka_unit_test_setup_teardown(
            certificate_of_tomorrow_is_taken_only_when_the_clock_is_not_believed, start, stop),
        cmocka_unit_test_setup_teardown(without_a_readable_ca_nobody_is_taken, start, stop),
        cmocka_unit_test_setup_teardown(
            enrolment_takes_the_ca_that_the_token_names_and_gives_it_to_be_pinned, start, stop),
        cmocka_unit_test_setup_teardown(enrolment_refuses_any_other_ca_and_gives_nothing, start, stop),
        cmocka_unit_test_setup_teardown(
            enrolment_refuses_a_certificate_that_the_named_ca_has_not_signed, start, stop),
        cmocka_unit_test_setup_teardown(
            sessions_are_resumed_until_the_first_certificate_of_their_chains_ends, start, stop),
    };
    return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
