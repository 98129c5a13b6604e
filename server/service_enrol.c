/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enrolment: a one-time token and a new key in, a device certificate out. proto/README.md, "Enrolment".
 *
 * The same token with the same key is answered again with the same certificate, so that a lost answer costs
 * nothing; with another key it is refused. Tokens are kept as hashes.
 */
#include "server/service_internal.h"

int service_token_make(struct service *service, const char *name, const char *inspector, uint64_t valid_s,
    uint8_t ret_token[ENROL_TOKEN_BYTES])
{
    struct transaction transaction;
    uint8_t token[ENROL_TOKEN_BYTES];
    struct sha256 sha256;
    int r;

    if ((name && strlen(name) > DEVICE_NAME_BYTES_MAX) ||
        (inspector && strlen(inspector) > INSPECTOR_BYTES_MAX) || !text_is_utf8(bytes_of_text(name)) ||
        !text_is_utf8(bytes_of_text(inspector)) || valid_s > UINT32_MAX)
        return -EINVAL;
    r = transaction_begin(service, &transaction);
    if (r < 0)
        return r;
    service->world->verbs->random(service->world->context, token, sizeof(token));
    sha256 = sha256_of(bytes_of(token, sizeof(token)));
    transaction.has_changed = true;
    r = transaction.storage->verbs->token_put(
        transaction.storage, &sha256, name, inspector, transaction.now_ms + (int64_t)valid_s * 1000);
    if (r >= 0)
        r = transaction.storage->verbs->trust_put(transaction.storage, sha256_bytes(&sha256),
            &(struct stored_trust){.enrolled = trust_key_for(service, UINT64_MAX)->generation});
    if (r < 0) {
        transaction_rollback(&transaction);
        return r;
    }
    r = transaction_commit(&transaction);
    if (r >= 0)
        memcpy(ret_token, token, sizeof(token));
    return r;
}

int enrol_prepare(struct service_job *job, struct bytes body)
{
    struct enrol_request *request = &job->enrol.request;
    bool revoked = false;
    int r;

    job->request_sha256 = sha256_of(body);
    if (body.len > ENROLMENT_BYTES_MAX)
        return job_refuse(job, REFUSAL_TOO_LARGE, "the enrolment request is over the limit");
    arena_init(&job->arena, arena_budget_for(body.len));
    r = enrol_request_decode(body, &job->arena, request);
    if (r == -EKEYREJECTED)
        return job_refuse(
            job, REFUSAL_BAD_REQUEST, "the enrolment request is not signed by the key it brings");
    if (r < 0)
        return job_refuse_undecodable(job, r, "the enrolment request cannot be decoded");
    job->device_id = request->device;
    r = revocations_has(job->service, &request->device, &revoked);
    if (r < 0)
        return r;
    if (revoked)
        return job_refuse(
            job, REFUSAL_REVOKED, "this device is revoked; an admin at the centre can restore it");
    job->needs_commit = true;
    return 0;
}

static int make_certificate(
    struct service_job *job, const struct transaction *transaction, struct device_certificate *ret)
{
    struct service *service = job->service;
    struct enrol_job *enrol = &job->enrol;

    *ret = (struct device_certificate){.authority = bytes_of_text(service->authority),
        .tenant = bytes_of_text(service->tenant),
        .device = enrol->request.device,
        .issued_ms = transaction->now_ms,
        .name = buffer_bytes(&enrol->name),
        .inspector = buffer_bytes(&enrol->inspector)};
    memcpy(ret->public_key, enrol->request.public_key, SIGN_PUBLIC_BYTES);
    return device_certificate_sign(ret, &job->signer->key, &enrol->certificate);
}

/* A copy, or an image from before the handheld got another key. */
static int refuse_key(struct service_job *job)
{
    return job_refuse(job, REFUSAL_BAD_REQUEST,
        "this device id is enrolled with another key; wipe this handheld and enrol it as a new one");
}

static int enrol_device(struct service_job *job, struct transaction *transaction, const struct sha256 *token)
{
    struct storage *storage = transaction->storage;
    struct enrol_job *enrol = &job->enrol;
    struct device_certificate certificate;
    struct stored_device device;
    bool is_next = false;
    uint64_t number;
    int r = storage->verbs->device_find(storage, &enrol->request.device, &device);

    if (r < 0 && r != -ENOENT)
        return r;
    if (r >= 0 && memcmp(device.public_key, enrol->request.public_key, SIGN_PUBLIC_BYTES) != 0) {
        r = device_keys_is_next(storage, device.number, enrol->request.public_key);
        if (r == 0)
            return refuse_key(job);
        if (r < 0)
            return r;
        is_next = true;
    }
    r = make_certificate(job, transaction, &certificate);
    if (r < 0)
        return r;
    transaction->has_changed = true;
    r = storage->verbs->device_put(
        storage, &certificate, buffer_bytes(&enrol->certificate), transaction->now_ms, &number);
    if (r >= 0 && is_next)
        r = device_keys_put_enrolled_into_force(
            job, transaction, &device, enrol->request.public_key, buffer_bytes(&enrol->certificate));
    if (r >= 0)
        r = storage->verbs->trust_put(storage, uuid_bytes(&enrol->request.device),
            &(struct stored_trust){.enrolled = job->signer->generation});
    return r < 0
               ? r
               : storage->verbs->token_use(storage, token, &enrol->request.device, enrol->request.public_key);
}

int enrol_commit(struct service_job *job, struct transaction *transaction)
{
    struct enrol_job *enrol = &job->enrol;
    struct storage *storage = transaction->storage;
    struct sha256 sha256 = sha256_of(bytes_of(enrol->request.token, ENROL_TOKEN_BYTES));
    struct stored_device device;
    struct stored_token token;
    int r;

    buffer_clear(&enrol->certificate);
    buffer_clear(&enrol->name);
    buffer_clear(&enrol->inspector);
    r = storage->verbs->token_find(storage, &sha256, &token, &enrol->name, &enrol->inspector);
    if (r == -ENOENT)
        return job_refuse(
            job, REFUSAL_TOKEN_UNKNOWN, "this token was not given by this centre; ask for a new one");
    if (r < 0)
        return r;
    /* The key that the token's URL names, whatever the date is by now. */
    job_set_known(job, token.trust.enrolled);
    if (!token.is_used && token.expires_ms < transaction->now_ms)
        return job_refuse(job, REFUSAL_TOKEN_EXPIRED, "this token has expired; ask for a new one");
    if (!token.is_used)
        return enrol_device(job, transaction, &sha256);
    if (!uuid_equal(&token.used_by, &enrol->request.device) ||
        memcmp(token.used_key, enrol->request.public_key, SIGN_PUBLIC_BYTES) != 0)
        return job_refuse(
            job, REFUSAL_TOKEN_USED, "this token was used by another handheld; ask for a new one");
    r = storage->verbs->device_find(storage, &enrol->request.device, &device);
    if (r >= 0 && memcmp(device.public_key, enrol->request.public_key, SIGN_PUBLIC_BYTES) != 0)
        return refuse_key(job);
    return r < 0 ? r : storage->verbs->device_certificate(storage, device.number, &enrol->certificate);
}

int enrol_answer(struct service_job *job, struct service_reply *ret)
{
    struct service *service = job->service;
    struct enrol_job *enrol = &job->enrol;
    char receipt_key[VERIFIER_KEY_TEXT_MAX];
    _cleanup_buffer_ struct buffer plain = {0}, trust = {0};
    struct enrol_answer answer = {.request_sha256 = job->request_sha256,
        .certificate = buffer_bytes(&enrol->certificate),
        .ca_pem = buffer_bytes(&service->ca_pem),
        .server_time_ms = service_now_ms(service),
        .name = buffer_bytes(&enrol->name),
        .inspector = buffer_bytes(&enrol->inspector)};
    int r;

    verify_key_format(&job->signer->key.public, true, receipt_key);
    answer.receipt_key = bytes_of_text(receipt_key);
    service_capabilities(&answer.capabilities);
    r = trust_list_after(service, 0, &trust);
    answer.trust = buffer_bytes(&trust);
    if (r >= 0)
        r = enrol_answer_encode(&answer, &plain);
    if (r >= 0)
        r = job_seal(job, PAYLOAD_ENROL_ANSWER, buffer_bytes(&plain), ret);
    ret->status = 200;
    ret->outcome = "enrolled";
    return r;
}

void enrol_done(struct enrol_job *enrol)
{
    buffer_done(&enrol->certificate);
    buffer_done(&enrol->name);
    buffer_done(&enrol->inspector);
}
