/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to an exchange, once it is decided: the receipt, and what is wanted, stored, quarantined,
 * ordered. proto/README.md, "The exchange". Reads only, as of one moment.
 */
#include "server/service_internal.h"

#include "proto/compression.h"

#include <assert.h>

/* What an answer needs while it is put together; the answer's views point into it. */
struct answer_parts {
    struct buffer receipt, token, reasons, trust, next_certificate;
    struct quarantined *quarantined;
    size_t quarantined_count;
    struct blob_have wanted[EXCHANGE_WANTED_BLOBS_MAX];
    struct blob_stored stored[EXCHANGE_ASKED_BLOBS_MAX];
    struct command commands[EXCHANGE_COMMANDS_MAX];
    struct position_in_log released[EXCHANGE_ASKED_QUARANTINED_MAX];
    struct told_orders erasures;
};

static void answer_parts_done(struct answer_parts *parts)
{
    buffer_done(&parts->receipt);
    buffer_done(&parts->token);
    buffer_done(&parts->reasons);
    buffer_done(&parts->trust);
    buffer_done(&parts->next_certificate);
    free(parts->quarantined);
    told_orders_done(&parts->erasures);
}

static int make_receipt(struct service_job *job, struct answer_parts *parts, struct exchange_answer *answer)
{
    int r;

    if (job->exchange.note.len == 0)
        return 0;
    r = receipt_cosign(
        buffer_bytes(&job->exchange.note), &job->signer->key, service_now_s(job->service), &parts->receipt);
    answer->receipt = buffer_bytes(&parts->receipt);
    return r;
}

/* Reasons are collected in a buffer that may move: `data` is set when all are there. */
static int note_quarantined(void *user, uint64_t key, const char *reason)
{
    struct answer_parts *parts = user;
    struct quarantined *entry;

    if (parts->quarantined_count == EXCHANGE_QUARANTINED_MAX)
        return 1;
    entry = &parts->quarantined[parts->quarantined_count++];
    entry->seq = record_key_seq(key);
    entry->reason = bytes_of(NULL, strnlen(reason, REASON_BYTES_MAX));
    buffer_put(&parts->reasons, reason, entry->reason.len);
    return buffer_finish(&parts->reasons);
}

/* Of all that the receipt brings over the one that the handheld held: an answer before may have been lost. */
static int list_quarantined(struct service_job *job, struct storage *storage, struct answer_parts *parts,
    struct exchange_answer *answer)
{
    const struct exchange_job *exchange = &job->exchange;
    uint64_t first_seq = exchange->request.first_seq;
    const uint8_t *reason;
    int r;

    if (exchange->request.receipt_size < first_seq)
        first_seq = exchange->request.receipt_size;
    if (exchange->log_number == 0 || first_seq >= exchange->size)
        return 0;
    parts->quarantined = calloc(EXCHANGE_QUARANTINED_MAX, sizeof(*parts->quarantined));
    if (!parts->quarantined)
        return -ENOMEM;
    r = storage->verbs->quarantined_each(storage, record_key(exchange->log_number, first_seq),
        record_key(exchange->log_number, exchange->size), note_quarantined, parts);
    if (r < 0)
        return r;
    reason = parts->reasons.data;
    for (size_t i = 0; i < parts->quarantined_count; i++) {
        parts->quarantined[i].reason.data = reason;
        reason += parts->quarantined[i].reason.len;
    }
    answer->quarantined = parts->quarantined;
    answer->quarantined_count = parts->quarantined_count;
    return 0;
}

/* 1 when the device's record there is held, and not in quarantine. */
static int is_released(struct service_job *job, struct storage *storage,
    const struct position_in_log *position, struct stored_log *log)
{
    uint64_t key, count;
    int r = 0;

    /* Those of one log mostly stand together. */
    if (log->number == 0 || !uuid_equal(&log->id, &position->log))
        r = storage->verbs->log_find(storage, &position->log, log);
    if (r == -ENOENT)
        *log = (struct stored_log){0};
    if (r < 0 || log->device != job->device.number || position->seq >= log->frontier.size)
        return r == -ENOENT ? 0 : r;
    key = record_key(log->number, position->seq);
    r = storage->verbs->quarantined_count(storage, key, key + 1, &count);
    return r < 0 ? r : count == 0;
}

/* What the handheld holds for quarantined and could be applied since. Nothing is noted of what was told: it
 * asks until it has heard. */
static int list_released(struct service_job *job, struct storage *storage, struct answer_parts *parts,
    struct exchange_answer *answer)
{
    const struct exchange_request *request = &job->exchange.request;
    struct stored_log log = {0};
    size_t count = 0;

    assert(request->asked_quarantined_count <= EXCHANGE_ASKED_QUARANTINED_MAX);
    for (size_t i = 0; i < request->asked_quarantined_count; i++) {
        int r = is_released(job, storage, &request->asked_quarantined[i], &log);

        if (r < 0)
            return r;
        if (r > 0)
            parts->released[count++] = request->asked_quarantined[i];
    }
    answer->released = parts->released;
    answer->released_count = count;
    return 0;
}

static int put_token(struct service_job *job, struct storage *storage, struct answer_parts *parts,
    struct exchange_answer *answer)
{
    bool is_over = false;
    int r = limits_photos_are_used_up(job->service, storage, job->device.number, &is_over);

    if (r < 0)
        return r;
    if (is_over) { /* records go on: only photos wait */
        answer->no_upload = NO_UPLOAD_OVER_QUOTA;
        return 0;
    }
    r = token_for(job->service, &job->device, &parts->token, &answer->upload_token_s);
    answer->upload_token = buffer_bytes(&parts->token);
    return r;
}

static int list_wanted(struct service_job *job, struct storage *storage, struct answer_parts *parts,
    struct exchange_answer *answer)
{
    struct sha256 wanted[EXCHANGE_WANTED_BLOBS_MAX + 1];
    size_t count = 0;
    int r = storage->verbs->blobs_wanted(storage, job->device.number, 0, wanted, ARRAY_LEN(wanted), &count);

    if (r < 0 || count == 0)
        return r;
    answer->wanted_more = count > EXCHANGE_WANTED_BLOBS_MAX;
    /* Of too many the handheld may have lost the first ones: they must not keep the others back for ever. */
    if (answer->wanted_more) {
        uint16_t from = (uint16_t)(job->request_sha256.b[0] << 8 | job->request_sha256.b[1]);
        r = storage->verbs->blobs_wanted(
            storage, job->device.number, from, wanted, EXCHANGE_WANTED_BLOBS_MAX, &count);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < count; i++) {
        parts->wanted[i] = (struct blob_have){
            .sha256 = wanted[i], .have = uploads_have(job->service, &job->device_id, &wanted[i])};
    }
    answer->wanted_blobs = parts->wanted;
    answer->wanted_blob_count = count;
    return 0;
}

/* Only of blobs that the device's own records name: the answer tells nothing about what others stored. */
static int list_stored(struct service_job *job, struct storage *storage, struct answer_parts *parts,
    struct exchange_answer *answer)
{
    const struct exchange_request *request = &job->exchange.request;
    size_t count = 0;

    assert(request->asked_blob_count <= EXCHANGE_ASKED_BLOBS_MAX);
    for (size_t i = 0; i < request->asked_blob_count; i++) {
        const struct sha256 *sha256 = &request->asked_blobs[i];
        struct stored_blob blob = {0};
        int r = storage->verbs->blob_is_named(storage, sha256, job->device.number);

        if (r > 0)
            r = storage->verbs->blob_find(storage, sha256, &blob);
        else if (r == 0)
            continue;
        if (r < 0)
            return r;
        if (blob.state == STORED_BLOB_PRESENT)
            parts->stored[count++] = (struct blob_stored){.sha256 = *sha256, .backed_up = blob.is_backed_up};
    }
    answer->stored_blobs = parts->stored;
    answer->stored_blob_count = count;
    return 0;
}

/* A closed log of this device that the last backup has whole, and that is here as well: the handheld may
 * prune it. */
static int tell_backed_up_log(
    struct service_job *job, struct storage *storage, struct exchange_answer *answer)
{
    const struct exchange_request *request = &job->exchange.request;
    struct stored_log log;
    int r = request->has_asked_log ? storage->verbs->log_find(storage, &request->asked_log, &log) : -ENOENT;

    if (r < 0 || log.device != job->device.number)
        return r == -ENOENT ? 0 : r;
    r = storage->verbs->log_backed_up(storage, log.number, &answer->backed_up_log);
    answer->has_backed_up_log = r > 0 && log.is_closed && answer->backed_up_log.size == log.frontier.size;
    return r;
}

/* A program that knows of no statements has no use for them. */
static int list_trust(struct service_job *job, struct answer_parts *parts, struct exchange_answer *answer)
{
    uint64_t known = job->exchange.request.trust_known;
    int r = known > 0 ? trust_list_after(job->service, known - 1, &parts->trust) : 0;

    answer->trust = buffer_bytes(&parts->trust);
    return r;
}

void service_capabilities(struct capabilities *ret)
{
    *ret = (struct capabilities){.record_bytes_max = RECORD_BYTES_MAX,
        .exchange_bytes_max = EXCHANGE_COMPRESSED_BYTES_MAX,
        .blob_bytes_max = BLOB_BYTES_MAX,
        .takes_columns = true};
    ret->dictionary_count = dictionary_names(&ret->dictionaries);
}

static enum exchange_outcome answer_outcome(enum ingest_outcome outcome, const char **ret_word)
{
    switch (outcome) {
    case INGEST_STORED:
        break;
    case INGEST_AHEAD:
        *ret_word = "ahead";
        return EXCHANGE_AHEAD;
    case INGEST_FORK:
        *ret_word = "fork";
        return EXCHANGE_FORK;
    case INGEST_ROOT_MISMATCH:
        *ret_word = "root_mismatch";
        return EXCHANGE_ROOT_MISMATCH;
    }
    *ret_word = "stored";
    return EXCHANGE_STORED;
}

static int read_lists(struct service_job *job, struct storage *storage, struct answer_parts *parts,
    struct exchange_answer *answer)
{
    int r = list_quarantined(job, storage, parts, answer);

    if (r >= 0)
        r = list_released(job, storage, parts, answer);
    if (r >= 0)
        r = list_wanted(job, storage, parts, answer);
    if (r >= 0)
        r = list_stored(job, storage, parts, answer);
    if (r >= 0)
        r = tell_backed_up_log(job, storage, answer);
    if (r >= 0)
        r = storage->verbs->commands(
            storage, job->device.number, parts->commands, EXCHANGE_COMMANDS_MAX, &answer->command_count);
    answer->commands = parts->commands;
    return r;
}

static int fill_answer(struct service_job *job, struct answer_parts *parts, struct exchange_answer *answer)
{
    _cleanup_reader_ struct reader reader = {0};
    int r = reader_take(job->service, &reader);

    /* One view: the lists are of one moment. */
    if (r >= 0)
        r = reader.storage->verbs->view(reader.storage);
    if (r >= 0) {
        r = read_lists(job, reader.storage, parts, answer);
        reader.storage->verbs->view_end(reader.storage);
    }
    if (r >= 0)
        r = make_receipt(job, parts, answer);
    /* Also when nothing is wanted: the handheld may not know yet that its last upload has come through. */
    if (r >= 0)
        r = put_token(job, reader.storage, parts, answer);
    if (r >= 0)
        r = orders_tell(job->service, &job->device_id, job->exchange.request.orders_done, &parts->erasures);
    answer->erasures = parts->erasures.orders;
    answer->erasure_count = parts->erasures.count;
    if (r >= 0)
        r = device_keys_tell(job, reader.storage, &parts->next_certificate);
    answer->next_certificate = buffer_bytes(&parts->next_certificate);
    if (r >= 0)
        r = list_trust(job, parts, answer);
    return r;
}

int exchange_answer(struct service_job *job, struct service_reply *ret)
{
    const struct exchange_job *exchange = &job->exchange;
    _cleanup_(answer_parts_done) struct answer_parts parts = {0};
    _cleanup_buffer_ struct buffer plain = {0};
    struct exchange_answer answer = {.request_sha256 = job->request_sha256,
        .incarnation = job->service->incarnation,
        .size = exchange->size,
        .fork_seq = exchange->fork_seq,
        .fork_leaf = exchange->fork_leaf,
        .server_time_ms = service_now_ms(job->service),
        .reference_cursor = exchange->request.reference_cursor};
    int r;

    answer.outcome = answer_outcome(exchange->outcome, &ret->outcome);
    answer.has_capabilities = exchange->tells_capabilities;
    service_capabilities(&answer.capabilities);
    answer.next_contact_s = limits_next_contact_s(job->service, &exchange->request);
    r = fill_answer(job, &parts, &answer);
    if (r >= 0)
        r = exchange_answer_encode(&answer, &plain);
    if (r >= 0)
        r = job_seal(job, PAYLOAD_EXCHANGE_ANSWER, buffer_bytes(&plain), ret);
    ret->status = 200;
    ret->records = exchange->appended;
    return r;
}
