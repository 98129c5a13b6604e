/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/enrol.h"

#include "base/files.h"
#include "proto/compression.h"
#include "proto/enrolment.h"
#include "store/enrolment_file.h"
#include "syncd/transport_worker.h"
#include "syncd/trust_time.h"

#include <errno.h>
#include <sodium.h>
#include <sys/stat.h>

#define ENROL_DEADLINE_MS 60000u
#define PEM_LINE_CHARS 64u

struct attempt {
    sd_event *event;
    struct transport_worker *transport;
    bool answered;
    unsigned status;
    struct buffer body;
    struct buffer found_ca; /* DER */
    char problem[256];
};

static void attempt_done(struct attempt *attempt)
{
    transport_worker_free(attempt->transport);
    sd_event_unref(attempt->event);
    buffer_done(&attempt->body);
    buffer_done(&attempt->found_ca);
}

static void on_response(void *context, uint32_t slot, const struct http_response *response)
{
    (void)slot;
    struct attempt *attempt = context;
    attempt->answered = true;
    attempt->status = response->status;
    buffer_put_bytes(&attempt->body, response->body);
    buffer_put_bytes(&attempt->found_ca, transport_worker_found_ca(attempt->transport));
    bool whole = buffer_finish(&attempt->body) == 0 && buffer_finish(&attempt->found_ca) == 0;
    sd_event_exit(attempt->event, whole ? 0 : -ENOMEM);
}

static void on_failed(void *context, uint32_t slot, enum engine_failure failure, const char *detail)
{
    (void)slot;
    struct attempt *attempt = context;
    snprintf(attempt->problem, sizeof(attempt->problem), "%s%s", detail,
        failure == FAILURE_TLS
            ? "; its certificate must be of the CA, and for the host, that the token URL names"
            : "");
    sd_event_exit(attempt->event, 0);
}

static int post(
    const struct world *world, const struct token_url *url, struct bytes body, struct attempt *attempt)
{
    const struct transport_worker_options options = {
        .world = world, .has_ca_sha256 = url->has_ca, .ca_sha256 = url->ca_sha256};
    const struct transport_worker_listener listener = {
        .response = on_response, .failed = on_failed, .context = attempt};
    int r = sd_event_new(&attempt->event);
    if (r >= 0)
        r = transport_worker_new(attempt->event, &options, &listener, &attempt->transport);
    if (r >= 0)
        r = transport_worker_set_server(attempt->transport, url->server_url);
    if (r < 0)
        return r;
    transport_worker_set_time(attempt->transport, trust_time_now(world, NULL));
    const struct http_request request = {
        .method = "POST", .path = "/v1/enrol", .body = body, .deadline_ms = ENROL_DEADLINE_MS};
    struct transport verbs = transport_worker_verbs(attempt->transport);
    r = verbs.send(verbs.context, 0, &request);
    return r < 0 ? r : sd_event_loop(attempt->event);
}

static const char *refusal_advice(enum refusal_reason reason)
{
    switch (reason) {
    case REFUSAL_TOKEN_UNKNOWN:
        return "the server does not know this token: ask for a new token URL";
    case REFUSAL_TOKEN_USED:
        return "this token was used by another handheld: ask for a new token URL";
    case REFUSAL_TOKEN_EXPIRED:
        return "this token has expired: ask for a new token URL";
    case REFUSAL_REVOKED:
        return "this handheld was revoked: ask the centre to restore it";
    case REFUSAL_UNKNOWN_DEVICE:
    case REFUSAL_OVER_QUOTA:
    case REFUSAL_TOO_LARGE:
    case REFUSAL_BAD_REQUEST:
    case REFUSAL_LOG_OF_OTHER_DEVICE:
        return "the server refused the request: are both programs of the same version?";
    case REFUSAL_BUSY:
        return "the server is busy: try again in a minute";
    }
    return "the server refused the request";
}

/* The answer is signed by the receipt key whose hash the token URL carries: the key itself comes in the
 * answer. */
static int receipt_key_of(
    const struct enrol_answer *answer, const struct token_url *url, struct verify_key *ret)
{
    char text[VERIFIER_KEY_TEXT_MAX];
    if (answer->receipt_key.len >= sizeof(text))
        return -EBADMSG;
    memcpy(text, answer->receipt_key.data, answer->receipt_key.len);
    text[answer->receipt_key.len] = '\0';
    struct verify_key key;
    if (verify_key_parse(text, &key) < 0)
        return -EBADMSG;
    struct sha256 hash = sha256_of(bytes_of(key.public_key, SIGN_PUBLIC_BYTES));
    if (!sha256_equal(&hash, &url->receipt_key_sha256))
        return -EKEYREJECTED;
    *ret = key;
    return 0;
}

/* Opens the answer without a key first, to find the key in it, and then checks the signature with that key.
 */
static int answer_open(struct bytes body, const struct token_url *url, const struct sha256 *request_sha256,
    struct buffer *plain, struct arena *arena, struct enrol_answer *ret, struct verify_key *ret_key)
{
    struct envelope envelope;
    int r = envelope_parse(body, &envelope);
    if (r < 0)
        return r;
    r = inflate_bytes(envelope.payload, ENROLMENT_ANSWER_BYTES_MAX, plain);
    if (r < 0)
        return r;
    r = enrol_answer_decode(buffer_bytes(plain), arena, ret);
    if (r < 0)
        return r;
    r = receipt_key_of(ret, url, ret_key);
    if (r < 0)
        return r;
    struct buffer again _cleanup_buffer_ = {0};
    r = envelope_open(
        &envelope, PAYLOAD_ENROL_ANSWER, ret_key->public_key, ENROLMENT_ANSWER_BYTES_MAX, &again);
    if (r < 0)
        return r;
    return sha256_equal(&ret->request_sha256, request_sha256) ? 0 : -EBADMSG;
}

static enum exit_status complain(enum exit_status status, const char *text)
{
    fprintf(stderr, "patrol-syncd: %s\n", text);
    return status;
}

static enum exit_status complain_refused(const struct attempt *attempt, struct arena *arena)
{
    struct envelope envelope;
    struct buffer plain _cleanup_buffer_ = {0};
    struct refusal refusal;
    /* A refusal cannot be verified here (its key is what enrolment would have brought): it only words the
     * message. */
    if (envelope_parse(buffer_bytes(&attempt->body), &envelope) >= 0 && envelope.type == PAYLOAD_REFUSAL &&
        inflate_bytes(envelope.payload, ENROLMENT_ANSWER_BYTES_MAX, &plain) >= 0 &&
        refusal_decode(buffer_bytes(&plain), arena, &refusal) >= 0)
        return complain(EXIT_STATUS_NOT_ENROLLED, refusal_advice(refusal.reason));
    fprintf(stderr,
        "patrol-syncd: HTTP status %u and no answer of a gridpatrol server: check the token URL\n",
        attempt->status);
    return EXIT_STATUS_FAILED;
}

/* A certificate as text (RFC 7468, section 5). */
static int pem_of(struct bytes der, struct buffer *ret)
{
    size_t capacity = sodium_base64_encoded_len(der.len, sodium_base64_VARIANT_ORIGINAL);
    _cleanup_free_ char *text = malloc(capacity);
    if (!text)
        return -ENOMEM;
    sodium_bin2base64(text, capacity, der.data, der.len, sodium_base64_VARIANT_ORIGINAL);
    buffer_put_text(ret, "-----BEGIN CERTIFICATE-----\n");
    for (const char *at = text; *at; at += strnlen(at, PEM_LINE_CHARS))
        buffer_printf(ret, "%.*s\n", (int)PEM_LINE_CHARS, at);
    buffer_put_text(ret, "-----END CERTIFICATE-----\n");
    return buffer_finish(ret);
}

/* The CAs that are trusted from now on: those that the centre names, or the one that vouched for its answer.
 * -EBADMSG, -EKEYREJECTED what it says of its keys does not hold. */
static int cas_of(const struct enrol_answer *answer, const struct verify_key *key, struct bytes found_der,
    struct buffer *ret_pem)
{
    struct arena arena _cleanup_arena_;
    struct trust trust;
    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    int r = trust_follow(answer->trust, key, &arena, &trust);
    if (r < 0 || found_der.len == 0)
        return r;
    if (trust.ca_pem.len == 0)
        return pem_of(found_der, ret_pem);
    buffer_put_bytes(ret_pem, trust.ca_pem);
    return buffer_finish(ret_pem);
}

static char *text_of(struct bytes bytes)
{
    return strndup((const char *)bytes.data ? (const char *)bytes.data : "", bytes.len);
}

static enum exit_status keep(const struct world *world, const char *directory, const struct token_url *url,
    const struct enrol_answer *answer, const struct verify_key *key, const struct uuid *device,
    struct bytes ca)
{
    struct arena arena _cleanup_arena_;
    arena_init(&arena, DECODE_BUDGET_BYTES_MIN * 4);
    struct device_certificate certificate;
    if (device_certificate_verify(answer->certificate, key, &arena, &certificate) < 0 ||
        !uuid_equal(&certificate.device, device))
        return complain(
            EXIT_STATUS_FAILED, "the server's device certificate does not hold: nothing was kept");

    struct enrolment enrolment _cleanup_(enrolment_done) = {
        .server_url = strdup(url->server_url),
        .authority = text_of(certificate.authority),
        .tenant = text_of(certificate.tenant),
        .device = *device,
        .receipt_key = *key,
        .certificate = malloc(answer->certificate.len + 1),
        .certificate_len = answer->certificate.len,
        .name = text_of(answer->name),
        .inspector = text_of(answer->inspector),
    };
    if (!enrolment.server_url || !enrolment.authority || !enrolment.tenant || !enrolment.certificate ||
        !enrolment.name || !enrolment.inspector)
        return complain(EXIT_STATUS_FAILED, "out of memory: nothing was kept");
    memcpy(enrolment.certificate, answer->certificate.data, answer->certificate.len);

    _cleanup_free_ char *ca_path = files_join(directory, "ca.pem");
    struct buffer pem _cleanup_buffer_ = {0};
    int r = ca_path ? cas_of(answer, key, ca, &pem) : -ENOMEM;
    if (r == -EBADMSG || r == -EKEYREJECTED)
        return complain(
            EXIT_STATUS_FAILED, "what the server says of its keys does not hold: nothing was kept");
    if (r >= 0 && ca.len > 0)
        r = files_replace(world, ca_path, buffer_bytes(&pem), false);
    if (r >= 0)
        r = enrolment_trust_write(world, directory, answer->trust);
    if (r >= 0)
        r = enrolment_write(world, directory, &enrolment);
    if (r < 0) {
        fprintf(stderr, "patrol-syncd: cannot write in %s: %s\n", directory, strerror(-r));
        return r == -ENOSPC ? EXIT_STATUS_NO_SPACE : EXIT_STATUS_FAILED;
    }
    char device_text[UUID_TEXT_LEN + 1];
    text_uuid(device->b, device_text);
    printf("enrolled%s%s (device %s) at %s\n", enrolment.name[0] ? " as " : "", enrolment.name, device_text,
        url->server_url);
    return EXIT_STATUS_DONE;
}

/* A handheld that belongs to one centre is not moved to another by chance: its backlog would follow. */
static enum exit_status check_not_elsewhere(
    const struct world *world, const char *directory, const struct token_url *url)
{
    struct enrolment old _cleanup_(enrolment_done) = {0};
    _cleanup_free_ char *error = NULL;
    if (enrolment_read(world, directory, &old, &error) < 0)
        return EXIT_STATUS_DONE;
    struct arena arena _cleanup_arena_;
    struct trust trust;
    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    if (enrolment_trust(&old, &arena, &trust) < 0)
        return complain(EXIT_STATUS_FAILED, "out of memory: nothing was kept");
    for (size_t i = 0; i < trust.key_count; i++) {
        struct sha256 hash = sha256_of(bytes_of(trust.keys[i].key.public_key, SIGN_PUBLIC_BYTES));
        if (sha256_equal(&hash, &url->receipt_key_sha256))
            return EXIT_STATUS_DONE;
    }
    fprintf(stderr,
        "patrol-syncd: already enrolled at %s, whose receipt key is another: give --replace to leave that centre\n",
        old.server_url);
    return EXIT_STATUS_REFUSED;
}

/* The key is readable by its owner alone, which must be the daemon: that is who owns the directory. Root may
 * make it for others (world_posix gives what it makes to the directory's owner). */
static int key_make(const struct world *world, const char *directory, struct uuid *ret_device,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    struct stat status;
    int r = files_make_directory(world, directory);
    if (r < 0 && r != -EEXIST)
        return r;
    if (stat(directory, &status) < 0)
        return -errno;
    if (geteuid() != 0 && geteuid() != status.st_uid)
        return -EPERM;
    return device_key_make(world, directory, ret_device, ret_seed);
}

static enum exit_status complain_key(const char *directory, int r)
{
    bool no_right = r == -EACCES || r == -EPERM;
    fprintf(stderr, "patrol-syncd: cannot make or read the device key in %s: %s%s\n", directory, strerror(-r),
        no_right ? "; enrol as root, or as the daemon's user, who owns that directory" : "");
    return r == -ENOSPC ? EXIT_STATUS_NO_SPACE : EXIT_STATUS_FAILED;
}

/* The worker has to say which CA vouched for the answer: without it nobody could be believed later on. */
static bool lacks_ca(const struct token_url *url, const struct attempt *attempt)
{
    return attempt->found_ca.len == 0 && strncmp(url->server_url, "https:", 6) == 0;
}

enum exit_status enrol_run(const struct world *world, const char *directory, const char *text, bool replace)
{
    struct token_url url;
    const char *reason = NULL;
    if (token_url_parse(text, &url, &reason) < 0) {
        fprintf(stderr, "patrol-syncd: token URL: %s\n", reason);
        return EXIT_STATUS_REFUSED;
    }
    if (!replace) {
        enum exit_status status = check_not_elsewhere(world, directory, &url);
        if (status != EXIT_STATUS_DONE)
            return status;
    }
    struct uuid device;
    uint8_t seed[SIGN_SEED_BYTES];
    int r = key_make(world, directory, &device, seed);
    if (r < 0)
        return complain_key(directory, r);
    struct sign_key key;
    sign_key_from_seed("device", seed, &key);
    sodium_memzero(seed, sizeof(seed));
    struct enrol_request request = {
        .device = device, .software = bytes_of_text("gridpatrol " GRIDPATROL_VERSION)};
    memcpy(request.token, url.token, sizeof(request.token));
    memcpy(request.public_key, key.public.public_key, sizeof(request.public_key));
    struct buffer body _cleanup_buffer_ = {0};
    r = enrol_request_encode(&request, &key, &body);
    sodium_memzero(&key, sizeof(key));
    if (r < 0)
        return complain(EXIT_STATUS_FAILED, "cannot make the request");
    struct sha256 request_sha256 = sha256_of(buffer_bytes(&body));

    struct attempt attempt _cleanup_(attempt_done) = {0};
    struct arena arena _cleanup_arena_;
    arena_init(&arena, arena_budget_for(ENROLMENT_ANSWER_BYTES_MAX));
    struct buffer plain _cleanup_buffer_ = {0};
    struct enrol_answer answer;
    struct verify_key receipt_key;
    enum exit_status status;
    r = post(world, &url, buffer_bytes(&body), &attempt);
    if (r < 0 || !attempt.answered) {
        fprintf(stderr, "patrol-syncd: %s cannot be reached: %s\n", url.server_url,
            r < 0 ? strerror(-r) : attempt.problem);
        status = EXIT_STATUS_FAILED;
    } else if (attempt.status != 200) {
        status = complain_refused(&attempt, &arena);
    } else if (lacks_ca(&url, &attempt) || answer_open(buffer_bytes(&attempt.body), &url, &request_sha256,
                                               &plain, &arena, &answer, &receipt_key) < 0) {
        status = complain(EXIT_STATUS_FAILED,
            "the answer is not from the server that the token URL names: nothing was kept");
    } else {
        status =
            keep(world, directory, &url, &answer, &receipt_key, &device, buffer_bytes(&attempt.found_ca));
    }
    return status;
}
