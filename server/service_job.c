/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signed request from its bytes to its answer: parse, find the device, check the signature, inflate,
 * decode; and at the end seal the answer or the refusal. What each kind of request does stands in its own
 * file.
 */
#include "server/service_internal.h"

#include "proto/compression.h"

/* ---- refusing ---- */

int job_refuse(struct service_job *job, enum refusal_reason reason, const char *text)
{
    job->is_refused = true;
    job->refusal = reason;
    job->refusal_text = text;
    if (reason == REFUSAL_BUSY)
        job->retry_after_s = BUSY_RETRY_S;
    return 0;
}

int job_refuse_undecodable(struct service_job *job, int error, const char *text)
{
    return error == -ENOMEM ? error : job_refuse(job, REFUSAL_BAD_REQUEST, text);
}

int job_refuse_busy(struct service_job *job, enum busy_cause cause, const char *text)
{
    job->busy_cause = cause;
    return job_refuse(job, REFUSAL_BUSY, text);
}

int job_refuse_storage(struct service_job *job, int error)
{
    if (error == -EUCLEAN || error == -EBADMSG)
        return job_refuse_busy(
            job, BUSY_DAMAGED, "the centre's copy is damaged; its operator has to mend it");
    return job_refuse_busy(job, BUSY_LOAD, "the centre cannot read its storage now");
}

static unsigned refusal_status(enum refusal_reason reason)
{
    switch (reason) {
    case REFUSAL_UNKNOWN_DEVICE:
        return 401;
    case REFUSAL_REVOKED:
    case REFUSAL_TOKEN_UNKNOWN:
    case REFUSAL_TOKEN_EXPIRED:
        return 403;
    case REFUSAL_TOKEN_USED:
    case REFUSAL_LOG_OF_OTHER_DEVICE:
        return 409;
    case REFUSAL_OVER_QUOTA:
        return 429;
    case REFUSAL_TOO_LARGE:
        return 413;
    case REFUSAL_BAD_REQUEST:
        return 400;
    case REFUSAL_BUSY:
        return 503;
    }
    return 400;
}

static const char *refusal_outcome(enum refusal_reason reason)
{
    switch (reason) {
    case REFUSAL_UNKNOWN_DEVICE:
        return "refused_unknown_device";
    case REFUSAL_REVOKED:
        return "refused_revoked";
    case REFUSAL_OVER_QUOTA:
        return "refused_over_quota";
    case REFUSAL_TOO_LARGE:
        return "refused_too_large";
    case REFUSAL_BAD_REQUEST:
        return "refused_bad_request";
    case REFUSAL_BUSY:
        return "refused_busy";
    case REFUSAL_TOKEN_UNKNOWN:
        return "refused_token_unknown";
    case REFUSAL_TOKEN_USED:
        return "refused_token_used";
    case REFUSAL_TOKEN_EXPIRED:
        return "refused_token_expired";
    case REFUSAL_LOG_OF_OTHER_DEVICE:
        return "refused_log_of_other_device";
    }
    return "refused";
}

void job_set_known(struct service_job *job, uint64_t known)
{
    job->signer = trust_key_for(job->service, known);
}

int job_seal(struct service_job *job, enum payload_type type, struct bytes plain, struct service_reply *ret)
{
    return envelope_seal(
        type, plain, ANSWER_LEVEL, DICTIONARY_NONE, &job->device_id, &job->signer->key, &ret->body, NULL);
}

static int answer_refusal(struct service_job *job, struct service_reply *ret)
{
    const struct refusal refusal = {
        .request_sha256 = job->request_sha256,
        .reason = job->refusal,
        .message = bytes_of_text(job->refusal_text),
        .retry_after_s = job->retry_after_s,
        .server_time_ms = service_now_ms(job->service),
        .busy_cause = job->refusal == REFUSAL_BUSY ? job->busy_cause : BUSY_LOAD,
    };
    _cleanup_buffer_ struct buffer plain = {0};
    int r = refusal_encode(&refusal, &plain);

    service_count(&job->service->counters.refusals, 1);
    if (r >= 0)
        r = job_seal(job, PAYLOAD_REFUSAL, buffer_bytes(&plain), ret);
    ret->status = refusal_status(job->refusal);
    ret->outcome = refusal_outcome(job->refusal);
    ret->retry_after_s = job->retry_after_s;
    return r;
}

/* ---- opening the envelope ---- */

int device_note_key(const struct service *service, const struct stored_device *device, struct verify_key *ret)
{
    memcpy(ret->public_key, device->public_key, SIGN_PUBLIC_BYTES);
    return device_key_name(service->authority, service->tenant, &device->id, ret->name);
}

static enum payload_type request_type(enum service_route route)
{
    switch (route) {
    case SERVICE_EXCHANGE:
        return PAYLOAD_EXCHANGE_REQUEST;
    case SERVICE_AUDIT:
        return PAYLOAD_AUDIT_REQUEST;
    case SERVICE_REPAIR:
        return PAYLOAD_REPAIR_REQUEST;
    case SERVICE_ENROL:
        break;
    }
    return PAYLOAD_EXCHANGE_REQUEST;
}

/* The device's row. -ENOENT, and the job refused, when it is not known. */
static int find_device(struct service_job *job, const uint8_t key_id[8])
{
    _cleanup_reader_ struct reader reader = {0};
    int r = reader_take(job->service, &reader);

    if (r >= 0)
        r = reader.storage->verbs->device_find(reader.storage, &job->device_id, &job->device);
    if (r >= 0)
        job_set_known(job, stored_trust_known(&job->device.trust));
    return r < 0 ? r : device_keys_choose(job, reader.storage, key_id);
}

static int refuse_if_revoked(struct service_job *job)
{
    bool revoked = false;
    int r = revocations_has(job->service, &job->device_id, &revoked);

    if (r >= 0 && revoked)
        return job_refuse(
            job, REFUSAL_REVOKED, "this device is revoked; an admin at the centre can restore it");
    return r;
}

static int refuse_envelope(struct service_job *job, int error)
{
    switch (error) {
    case -ENOMEM:
        return error;
    case -EFBIG:
        return job_refuse(job, REFUSAL_TOO_LARGE, "the message is too large when inflated");
    case -ENOENT:
        return job_refuse(
            job, REFUSAL_BAD_REQUEST, "the dictionary that it was compressed with is not known");
    case -EKEYREJECTED:
        return job_refuse(job, REFUSAL_BAD_REQUEST, "the signature is not this device's");
    }
    return job_refuse(job, REFUSAL_BAD_REQUEST, "the envelope cannot be read");
}

static int verify_own_certificate(struct service_job *job, struct bytes certificate)
{
    const struct own_key *key = NULL;
    int r =
        certificate_verify_own(job->service, certificate, &job->certificate_arena, &job->certificate, &key);

    /* Who was given it knows the key that signed it. */
    if (r >= 0)
        job->device.trust.enrolled = key->generation;
    return r;
}

/* A device that the storage does not know, or not with this key, as after a restore, shows its certificate:
 * it stands in the request, so this one is inflated before its signature is checked, with a limit that makes
 * it harmless, and the signature is checked with the certificate's key. */
static int adopt(struct service_job *job, const struct envelope *envelope)
{
    _cleanup_buffer_ struct buffer unchecked = {0};
    struct exchange_request request = {0};
    int r;

    if (job->route != SERVICE_EXCHANGE)
        return job_refuse(job, REFUSAL_UNKNOWN_DEVICE, "this device is not enrolled here");
    arena_init(&job->certificate_arena, arena_budget_for(ADOPTION_INFLATED_BYTES_MAX));
    r = inflate_bytes(envelope->payload, ADOPTION_INFLATED_BYTES_MAX, &unchecked);
    if (r == -ENOMEM)
        return r;
    if (r >= 0)
        r = exchange_request_decode(buffer_bytes(&unchecked), &job->certificate_arena, &request);
    if (r == -ENOMEM)
        return r;
    /* The refusal has to be understood, even where the claim of what is known is anybody's. */
    job_set_known(job, request.trust_known > 0 ? request.trust_known - 1 : 0);
    if (r < 0 || request.certificate.len == 0)
        return job_refuse(job, REFUSAL_UNKNOWN_DEVICE, "this device is not enrolled here");
    r = verify_own_certificate(job, request.certificate);
    if (r == -ENOMEM)
        return r;
    if (r < 0 || !uuid_equal(&job->certificate.device, &job->device_id) ||
        !bytes_equal(job->certificate.authority, bytes_of_text(job->service->authority)) ||
        !bytes_equal(job->certificate.tenant, bytes_of_text(job->service->tenant)))
        return job_refuse(job, REFUSAL_UNKNOWN_DEVICE, "its certificate was not given by this centre");
    job->is_adopted = true;
    job->device.id = job->device_id;
    memcpy(job->device.public_key, job->certificate.public_key, SIGN_PUBLIC_BYTES);
    return 0;
}

/* False for a handheld that uses an older dictionary, or none: it is told what it may use. */
static bool uses_newest_dictionary(struct bytes stream)
{
    struct cursor cursor = cursor_of(stream);
    const uint32_t *names = NULL;
    bool has_dictionary;

    /* RFC 1950: CMF, FLG with the bit FDICT, DICTID. */
    (void)cursor_u8(&cursor);
    has_dictionary = (cursor_u8(&cursor) & 0x20u) != 0;
    return dictionary_names(&names) == 0 || (has_dictionary && cursor_u32be(&cursor) == names[0]);
}

static int open_envelope(struct service_job *job, struct bytes body)
{
    struct envelope envelope;
    int r = envelope_parse(body, &envelope);

    if (r < 0) {
        job->request_sha256 = sha256_of(body);
        return refuse_envelope(job, r);
    }
    job->request_sha256 = envelope_payload_sha256(&envelope);
    job->device_id = envelope.device;
    if (envelope.type != request_type(job->route))
        return job_refuse(job, REFUSAL_BAD_REQUEST, "another kind of message is expected here");

    r = find_device(job, envelope.key_id);
    if (r == -ENOENT || (r >= 0 && job->key_use == KEY_UNKNOWN))
        r = adopt(job, &envelope);
    if (r >= 0 && !job->is_refused)
        r = refuse_if_revoked(job);
    if (r < 0 || job->is_refused)
        return r;
    r = envelope_open(&envelope, request_type(job->route), job->device.public_key,
        job->is_adopted ? ADOPTION_INFLATED_BYTES_MAX : EXCHANGE_INFLATED_BYTES_MAX, &job->plain);
    /* The signature is looked at first: what cannot be inflated is the device's own all the same. */
    job->is_proven = r >= 0 || r == -EFBIG || r == -ENOENT;
    if (r < 0)
        return refuse_envelope(job, r);
    if (job->key_use == KEY_RETIRED && !job->is_carried) {
        job->is_proven = false; /* whoever has it must not use up what the device itself may send */
        return job_refuse(job, REFUSAL_REVOKED,
            "this handheld's key was replaced: a copy with the old one is in use; enrol it anew if it is to report");
    }
    if (job->route == SERVICE_EXCHANGE)
        job->exchange.tells_capabilities = !uses_newest_dictionary(envelope.payload);
    /* Columns may be much shorter than the records that they stand for. */
    arena_init(&job->arena,
        job->route == SERVICE_EXCHANGE ? DECODE_BUDGET_BYTES_MAX : arena_budget_for(job->plain.len));
    return 0;
}

/* ---- the stages ---- */

static int prepare_route(struct service_job *job, struct bytes body)
{
    switch (job->route) {
    case SERVICE_EXCHANGE:
        return exchange_prepare(job);
    case SERVICE_AUDIT:
        return audit_prepare(job);
    case SERVICE_REPAIR:
        return repair_prepare(job);
    case SERVICE_ENROL:
        return enrol_prepare(job, body);
    }
    return -EINVAL;
}

static int prepare(struct service_job *job, struct bytes body)
{
    int r;

    if (job->route != SERVICE_ENROL) {
        r = open_envelope(job, body);
        if (r < 0 || job->is_refused)
            return r;
    }
    return prepare_route(job, body);
}

static int prepare_job(struct service *service, enum service_route route, bool is_carried, struct bytes body,
    struct service_job **ret)
{
    struct service_job *job = calloc(1, sizeof(*job));
    int r;

    if (!job)
        return -ENOMEM;
    job->service = service;
    job->route = route;
    job->is_carried = is_carried;
    job_set_known(job, UINT64_MAX);
    r = prepare(job, body);
    if (r == -ENOMEM) {
        service_job_free(job);
        return r;
    }
    if (r < 0)
        (void)job_refuse_storage(job, r);
    *ret = job;
    return 0;
}

int service_prepare(
    struct service *service, enum service_route route, struct bytes body, struct service_job **ret)
{
    return prepare_job(service, route, false, body, ret);
}

int service_prepare_carried(struct service *service, struct bytes body, struct service_job **ret)
{
    return prepare_job(service, SERVICE_EXCHANGE, true, body, ret);
}

bool service_job_is_proven(const struct service_job *job, struct uuid *ret_device)
{
    bool is_proven = job->route == SERVICE_ENROL ? !job->is_refused : job->is_proven;

    if (is_proven)
        *ret_device = job->device_id;
    return is_proven;
}

bool service_job_needs_commit(const struct service_job *job)
{
    return job->needs_commit && !job->is_refused;
}

bool service_job_is_ahead(const struct service_job *job, struct uuid *ret_log)
{
    *ret_log = (struct uuid){{0}};
    if (job->route != SERVICE_EXCHANGE || !job->needs_commit)
        return false;
    *ret_log = job->exchange.request.log;
    return !job->is_refused && job->exchange.outcome == INGEST_AHEAD;
}

static int answer_route(struct service_job *job, struct service_reply *ret)
{
    switch (job->route) {
    case SERVICE_EXCHANGE:
        return exchange_answer(job, ret);
    case SERVICE_AUDIT:
        return audit_answer(job, ret);
    case SERVICE_REPAIR:
        return repair_answer(job, ret);
    case SERVICE_ENROL:
        return enrol_answer(job, ret);
    }
    return -EINVAL;
}

void service_answer(struct service *service, struct service_job *job, struct service_reply *ret)
{
    struct service_reply reply = {.device = job->device_id};
    int r = job->is_refused ? answer_refusal(job, &reply) : answer_route(job, &reply);

    if (r < 0 && !job->is_refused) {
        buffer_clear(&reply.body);
        (void)job_refuse_storage(job, r);
        r = answer_refusal(job, &reply);
    }
    if (r < 0) {
        /* Not even a refusal could be made: a bare 503 is what a network fault looks like. */
        buffer_clear(&reply.body);
        reply.status = 503;
        reply.outcome = "failed";
        reply.retry_after_s = BUSY_RETRY_S;
    }
    *ret = reply;
}

void service_reply_done(struct service_reply *reply)
{
    if (reply)
        buffer_done(&reply->body);
}

void service_job_free(struct service_job *job)
{
    if (!job)
        return;
    switch (job->route) {
    case SERVICE_EXCHANGE:
        exchange_done(&job->exchange);
        break;
    case SERVICE_AUDIT:
        audit_done(&job->audit);
        break;
    case SERVICE_REPAIR:
        repair_done(&job->repair);
        break;
    case SERVICE_ENROL:
        enrol_done(&job->enrol);
        break;
    }
    buffer_done(&job->plain);
    arena_done(&job->arena);
    arena_done(&job->certificate_arena);
    arena_done(&job->records_arena);
    free(job);
}

bool service_knows_device(struct service *service, const struct uuid *device)
{
    _cleanup_reader_ struct reader reader = {0};
    struct stored_device stored;
    bool revoked = false;
    int r = reader_take(service, &reader);

    if (r >= 0)
        r = reader.storage->verbs->device_find(reader.storage, device, &stored);
    if (r >= 0)
        r = revocations_has(service, device, &revoked);
    /* When storage cannot be read the request is let in, to be answered properly. */
    return r == -ENOENT ? false : !revoked;
}
