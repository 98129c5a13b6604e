/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The centre of agent_story.h: enough of one to sign receipts for exactly what it was given, to say what it
 * lacks, and to take uploads. It asserts what a handheld must never do.
 */
#include "tests/unit/syncd/agent_story.h"

#include "proto/base64.h"

#include <sodium.h>

void centre_reply_done(struct centre_reply *reply)
{
    buffer_done(&reply->body);
}

/* ---- logs ---- */

static struct centre_log *log_of(struct centre *centre, const struct uuid *id)
{
    struct centre_log *log;

    for (size_t i = 0; i < centre->log_count; i++)
        if (uuid_equal(&centre->logs[i].id, id))
            return &centre->logs[i];
    assert_true(centre->log_count < CENTRE_LOGS_MAX);
    log = &centre->logs[centre->log_count++];
    *log = (struct centre_log){.id = *id, .leaves = calloc(CENTRE_RECORDS_MAX, sizeof(struct sha256))};
    return log;
}

/* What a server in earnest does: the same leaves are passed over, new ones taken only under the checkpoint.
 */
static enum exchange_outcome take_records(
    struct centre *centre, struct centre_log *log, const struct exchange_request *request)
{
    struct checkpoint checkpoint = {.size = 0};
    uint64_t end = request->first_seq + request->record_count;
    struct sha256 root;
    size_t erased = 0;

    centre->erased_leaves += request->erased_leaf_count;
    if (request->checkpoint.len > 0) {
        assert_int_equal(checkpoint_verify(request->checkpoint, &centre->device_key, &checkpoint), 0);
        assert_int_equal(checkpoint.size, end);
    }
    if (request->first_seq > log->size)
        return EXCHANGE_AHEAD;
    assert_true(end <= CENTRE_RECORDS_MAX);
    for (size_t i = 0; i < request->record_count; i++) {
        bool is_erased = request->erased_leaf_count > 0 && request->records[i].len == 0;
        struct sha256 leaf = is_erased ? request->erased_leaves[erased++] : merkle_leaf(request->records[i]);
        uint64_t seq = request->first_seq + i;

        if (seq < log->size && !sha256_equal(&leaf, &log->leaves[seq]))
            return EXCHANGE_FORK;
        log->leaves[seq] = leaf;
    }
    if (end <= log->size) {
        centre->records_again += request->record_count;
        return EXCHANGE_STORED;
    }
    root = merkle_root_of(log->leaves, (size_t)end);
    if (!sha256_equal(&root, &checkpoint.root))
        return EXCHANGE_ROOT_MISMATCH;
    centre->records_appended += (size_t)(end - log->size);
    centre->records_again += request->record_count - (size_t)(end - log->size);
    log->size = end;
    buffer_clear(&log->note);
    buffer_put_bytes(&log->note, request->checkpoint);
    return EXCHANGE_STORED;
}

static void sign_receipt(struct centre *centre, const struct centre_log *log, struct buffer *ret)
{
    if (log->size > 0 && log->note.len > 0)
        assert_int_equal(receipt_cosign(buffer_bytes(&log->note), &centre->receipt_key,
                             (uint64_t)(centre->time_ms / 1000), ret),
            0);
}

/* ---- envelopes ---- */

void centre_sign_again(struct centre_reply *reply, enum payload_type type, const struct sign_key *key,
    const struct uuid *device, struct bytes plain)
{
    buffer_clear(&reply->body);
    assert_int_equal(envelope_seal(type, plain, 6, 0, device, key, &reply->body, NULL), 0);
    reply->response.body = buffer_bytes(&reply->body);
}

struct bytes centre_open(
    const struct centre_reply *reply, enum payload_type type, const struct sign_key *key, struct buffer *ret)
{
    struct envelope envelope;

    assert_int_equal(envelope_parse(buffer_bytes(&reply->body), &envelope), 0);
    assert_int_equal(envelope_open(&envelope, type, key->public.public_key, 1u << 24, ret), 0);
    return buffer_bytes(ret);
}

static void open_request(struct centre *centre, const struct sent_request *sent, enum payload_type type,
    struct buffer *ret_plain, struct sha256 *ret_hash)
{
    struct envelope envelope;

    assert_int_equal(envelope_parse(buffer_bytes(&sent->body), &envelope), 0);
    assert_true(uuid_equal(&envelope.device, &centre->device));
    assert_true(envelope.payload.len <= EXCHANGE_COMPRESSED_BYTES_MAX);
    assert_int_equal(
        envelope_open(&envelope, type, centre->device_key.public_key, EXCHANGE_INFLATED_BYTES_MAX, ret_plain),
        0);
    *ret_hash = envelope_payload_sha256(&envelope);
}

static void seal_answer(
    struct centre *centre, enum payload_type type, const struct buffer *plain, struct centre_reply *ret)
{
    ret->response.status = 200;
    centre_sign_again(ret, type, &centre->receipt_key, &centre->device, buffer_bytes(plain));
}

static bool refuse(struct centre *centre, const struct sha256 *hash, struct centre_reply *ret)
{
    _cleanup_buffer_ struct buffer plain = {0};
    struct refusal refusal = {.request_sha256 = *hash,
        .reason = centre->refusal,
        .message = bytes_of_text("as the test says"),
        .server_time_ms = centre->time_ms};

    if (!centre->refuses)
        return false;
    assert_int_equal(refusal_encode(&refusal, &plain), 0);
    seal_answer(centre, PAYLOAD_REFUSAL, &plain, ret);
    ret->response.status = 403;
    return true;
}

/* ---- exchange ---- */

static struct centre_blob *blob_of(struct centre *centre, const struct sha256 *sha256)
{
    for (size_t i = 0; i < centre->blob_count; i++)
        if (sha256_equal(&centre->blobs[i].sha256, sha256))
            return &centre->blobs[i];
    return NULL;
}

static size_t list_stored(struct centre *centre, const struct exchange_request *request,
    struct blob_stored ret[EXCHANGE_ASKED_BLOBS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < request->asked_blob_count && centre->confirms_blobs; i++) {
        const struct centre_blob *blob = blob_of(centre, &request->asked_blobs[i]);

        if (blob && blob->stored)
            ret[count++] =
                (struct blob_stored){.sha256 = request->asked_blobs[i], .backed_up = blob->backed_up};
    }
    return count;
}

static bool is_quarantined(const struct centre *centre, uint64_t seq)
{
    return (centre->quarantine_every > 0 && seq % centre->quarantine_every == 0) ||
           (seq < 64 && centre->quarantine_bits >> seq & 1);
}

static size_t list_released(const struct centre *centre, const struct exchange_request *request,
    struct position_in_log ret[EXCHANGE_ASKED_QUARANTINED_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < request->asked_quarantined_count; i++)
        if (!is_quarantined(centre, request->asked_quarantined[i].seq))
            ret[count++] = request->asked_quarantined[i];
    return count;
}

static size_t list_quarantined(const struct centre *centre, const struct exchange_request *request,
    uint64_t size, struct quarantined ret[EXCHANGE_QUARANTINED_MAX])
{
    uint64_t first = request->first_seq < request->receipt_size ? request->first_seq : request->receipt_size;
    size_t count = 0;

    for (uint64_t seq = first; seq < size && count < EXCHANGE_QUARANTINED_MAX; seq++)
        if (is_quarantined(centre, seq))
            ret[count++] = (struct quarantined){.seq = seq, .reason = bytes_of_text("a reason")};
    return count;
}

static void put_token(struct centre *centre, struct buffer *sealed, struct exchange_answer *answer)
{
    uint8_t seed[32];

    if (!centre->gives_token)
        return;
    memset(seed, 0x77, sizeof(seed));
    assert_int_equal(
        seal_to_device(bytes_of_text("token-1"), centre->device_key.public_key, seed, sealed), 0);
    answer->upload_token = buffer_bytes(sealed);
    answer->upload_token_s = UPLOAD_TOKEN_S;
}

/* A command that has ended is told no more. */
static void take_results(struct centre *centre, const struct exchange_request *request)
{
    for (size_t i = 0; i < request->command_result_count; i++) {
        const struct command_result *result = &request->command_results[i];

        centre->result_count++;
        centre->last_result = *result;
        snprintf(centre->last_problem, sizeof(centre->last_problem), "%.*s", (int)result->problem.len,
            (const char *)result->problem.data);
        if (result->outcome != COMMAND_FAILED &&
            memcmp(result->id, centre->command.id, COMMAND_ID_BYTES) == 0)
            centre->has_command = false;
    }
}

static void answer_exchange(struct centre *centre, const struct sent_request *sent, struct centre_reply *ret)
{
    _cleanup_buffer_ struct buffer request_plain = {0}, receipt = {0}, token = {0}, plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct quarantined quarantined[EXCHANGE_QUARANTINED_MAX];
    struct position_in_log released[EXCHANGE_ASKED_QUARANTINED_MAX];
    struct blob_stored stored[EXCHANGE_ASKED_BLOBS_MAX];
    struct exchange_request request;
    struct exchange_answer answer = {
        .incarnation = centre->incarnation, .server_time_ms = centre->time_ms, .quarantined = quarantined};
    struct centre_log *log;

    open_request(centre, sent, PAYLOAD_EXCHANGE_REQUEST, &request_plain, &answer.request_sha256);
    centre->exchanges++;
    if (refuse(centre, &answer.request_sha256, ret))
        return;
    arena_init(&arena, arena_budget_for(request_plain.len));
    assert_int_equal(exchange_request_decode(buffer_bytes(&request_plain), &arena, &request), 0);
    centre->last_trust_known = request.trust_known;
    answer.trust = buffer_bytes(&centre->trust);
    answer.next_certificate = buffer_bytes(&centre->next_certificate);
    centre->last_record_count = request.record_count;
    centre->last_had_columns = request.as_columns;
    centre->last_had_certificate = request.certificate.len > 0;
    take_results(centre, &request);
    log = log_of(centre, &request.log);
    answer.outcome = take_records(centre, log, &request);
    answer.size = log->size;
    sign_receipt(centre, log, &receipt);
    answer.receipt = buffer_bytes(&receipt);
    answer.quarantined_count = list_quarantined(centre, &request, log->size, quarantined);
    answer.released = released;
    answer.released_count = list_released(centre, &request, released);
    centre->last_asked_quarantined = request.asked_quarantined_count;
    centre->last_orders_done = request.orders_done;
    centre->asked_logs += request.has_asked_log;
    if (request.has_asked_log && centre->backs_up) {
        const struct centre_log *asked = log_of(centre, &request.asked_log);

        answer.has_backed_up_log = true;
        answer.backed_up_log =
            (struct log_backed_up){.size = asked->size, .root = merkle_root_of(asked->leaves, asked->size)};
    }
    answer.erasures = &centre->order;
    answer.erasure_count = centre->order.number > request.orders_done;
    answer.stored_blobs = stored;
    answer.stored_blob_count = list_stored(centre, &request, stored);
    answer.wanted_blobs = &centre->wanted;
    answer.wanted_blob_count = centre->has_wanted;
    answer.commands = &centre->command;
    answer.command_count = centre->has_command;
    answer.has_capabilities = centre->dictionary_count > 0 || centre->takes_columns;
    answer.capabilities = (struct capabilities){.dictionaries = centre->dictionaries,
        .dictionary_count = centre->dictionary_count,
        .takes_columns = centre->takes_columns,
        .record_bytes_max = RECORD_BYTES_MAX,
        .exchange_bytes_max = EXCHANGE_COMPRESSED_BYTES_MAX,
        .blob_bytes_max = BLOB_BYTES_MAX};
    put_token(centre, &token, &answer);
    assert_int_equal(exchange_answer_encode(&answer, &plain), 0);
    seal_answer(centre, PAYLOAD_EXCHANGE_ANSWER, &plain, ret);
}

/* ---- audit and repair ---- */

static void answer_audit(struct centre *centre, const struct sent_request *sent, struct centre_reply *ret)
{
    _cleanup_buffer_ struct buffer request_plain = {0}, receipt = {0}, plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct sha256 tile_roots[CENTRE_RECORDS_MAX / TILE_LEAVES + 1];
    struct audit_request request;
    struct audit_answer answer = {.incarnation = centre->incarnation,
        .server_time_ms = centre->time_ms,
        .missing = centre->missing,
        .missing_count = centre->missing_count,
        .damaged = centre->damaged,
        .damaged_count = centre->damaged_count,
        .blobs = centre->bad_blobs,
        .blob_count = centre->bad_blob_count,
        .tile_roots = tile_roots};
    struct centre_log *log;

    open_request(centre, sent, PAYLOAD_AUDIT_REQUEST, &request_plain, &answer.request_sha256);
    centre->audits++;
    if (refuse(centre, &answer.request_sha256, ret))
        return;
    arena_init(&arena, arena_budget_for(request_plain.len));
    assert_int_equal(audit_request_decode(buffer_bytes(&request_plain), &arena, &request), 0);
    log = log_of(centre, &request.log);
    answer.size = log->size;
    answer.counted = log->size;
    for (size_t i = 0; i < centre->missing_count; i++)
        answer.counted -= centre->missing[i].count;
    answer.has_root = centre->missing_count == 0 && !centre->tells_tile_roots;
    answer.root = merkle_root_of(log->leaves, (size_t)log->size);
    for (uint64_t first = 0; centre->tells_tile_roots && first < log->size; first += TILE_LEAVES) {
        size_t count = log->size - first < TILE_LEAVES ? (size_t)(log->size - first) : TILE_LEAVES;

        tile_roots[answer.tile_root_count++] = merkle_root_of(log->leaves + first, count);
    }
    tile_roots[0] = (struct sha256){{0}};
    answer.uses_run_lists = centre->takes_bare && request.reads_run_lists;
    answer.takes_bare_records = answer.uses_run_lists;
    sign_receipt(centre, log, &receipt);
    answer.receipt = buffer_bytes(&receipt);
    assert_int_equal(audit_answer_encode(&answer, &plain), 0);
    seal_answer(centre, PAYLOAD_AUDIT_ANSWER, &plain, ret);
}

/* Each is the very record that the log has there. */
static bool takes_bare(
    const struct centre *centre, const struct centre_log *log, const struct repair_request *request)
{
    size_t record = 0;

    if (request->size != log->size || centre->refuses_bare)
        return false;
    for (size_t i = 0; i < request->bare_run_count; i++)
        for (uint64_t k = 0; k < request->bare_runs[i].count; k++, record++) {
            struct sha256 leaf = merkle_leaf(request->bare_records[record]);

            if (!sha256_equal(&leaf, &log->leaves[request->bare_runs[i].first + k]))
                return false;
        }
    return true;
}

static void mend_bare(struct centre *centre, const struct centre_log *log,
    const struct repair_request *request, struct repair_answer *answer)
{
    if (request->bare_record_count == 0)
        return;
    centre->bare_repairs++;
    centre->last_bare_end = request->bare_runs[request->bare_run_count - 1].first +
                            request->bare_runs[request->bare_run_count - 1].count;
    if (takes_bare(centre, log, request))
        answer->records_mended += request->bare_record_count;
    else
        answer->records_refused += request->bare_record_count;
}

/* Takes runs only when their proofs lead to the root it has signed; what it mended is no longer missing. */
static void answer_repair(struct centre *centre, const struct sent_request *sent, struct centre_reply *ret)
{
    _cleanup_buffer_ struct buffer request_plain = {0}, plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct repair_request request;
    struct repair_answer answer = {.server_time_ms = centre->time_ms};
    struct centre_log *log;

    open_request(centre, sent, PAYLOAD_REPAIR_REQUEST, &request_plain, &answer.request_sha256);
    centre->repairs++;
    if (refuse(centre, &answer.request_sha256, ret))
        return;
    arena_init(&arena, arena_budget_for(request_plain.len));
    assert_int_equal(repair_request_decode(buffer_bytes(&request_plain), &arena, &request), 0);
    log = log_of(centre, &request.log);
    struct sha256 root = merkle_root_of(log->leaves, (size_t)log->size);
    for (size_t i = 0; i < request.run_count; i++) {
        const struct repair_run *run = &request.runs[i];
        _cleanup_free_ struct sha256 *leaves = calloc(run->record_count, sizeof(*leaves));

        for (size_t k = 0; k < run->record_count; k++)
            leaves[k] = merkle_leaf(run->records[k]);
        if (request.size != log->size || merkle_check_range(leaves, run->first_seq, run->record_count,
                                             log->size, run->proof, run->proof_count, &root) < 0)
            answer.records_refused += run->record_count;
        else
            answer.records_mended += run->record_count;
    }
    mend_bare(centre, log, &request, &answer);
    centre->records_mended += answer.records_mended;
    centre->erased_told += request.erased_count;
    centre->lost_told += request.lost_count + request.lost_blob_count;
    if (answer.records_refused == 0) {
        centre->missing_count = centre->damaged_count = 0;
        centre->tells_tile_roots = false;
    }
    answer.size = log->size;
    assert_int_equal(repair_answer_encode(&answer, &plain), 0);
    seal_answer(centre, PAYLOAD_REPAIR_ANSWER, &plain, ret);
}

/* ---- uploads ---- */

static void put_offset(struct centre_reply *reply, uint64_t offset)
{
    snprintf(reply->upload_offset, sizeof(reply->upload_offset), "%llu", (unsigned long long)offset);
    reply->response.upload_offset = reply->upload_offset;
}

static struct sha256 hash_of_hex(const char *hex)
{
    struct sha256 hash = {{0}};

    assert_int_equal(text_parse_hex(hex, SHA256_TEXT_LEN, hash.b, SHA256_BYTES), 0);
    return hash;
}

static void create_upload(struct centre *centre, const struct sent_request *sent, struct centre_reply *ret)
{
    const char *metadata = sent_header(sent, "upload-metadata"), *length = sent_header(sent, "upload-length");
    char hex[SHA256_TEXT_LEN + 1] = "";
    struct sha256 hash;
    struct centre_blob *blob;

    assert_non_null(metadata);
    assert_non_null(length);
    assert_memory_equal(metadata, "sha256 ", 7);
    assert_int_equal(
        base64_decode_exactly(bytes_of_text(metadata + 7), BASE64_STANDARD, (uint8_t *)hex, SHA256_TEXT_LEN),
        0);
    hash = hash_of_hex(hex);
    centre->posts++;
    blob = blob_of(centre, &hash);
    if (!blob) {
        assert_true(centre->blob_count < CENTRE_BLOBS_MAX);
        blob = &centre->blobs[centre->blob_count++];
        *blob = (struct centre_blob){.sha256 = hash};
    }
    assert_int_equal(text_parse_u64(length, &blob->size), 0);
    ret->response.status = 201;
    snprintf(ret->location, sizeof(ret->location), "https://other-name.example/patrol/v1/blobs/%s", hex);
    ret->response.location = ret->location;
    put_offset(ret, blob->stored ? blob->size : blob->bytes.len);
}

static void patch_upload(struct centre_blob *blob, const struct sent_request *sent, struct centre_reply *ret)
{
    const char *offset = sent_header(sent, "upload-offset");
    struct sha256 whole;
    uint64_t at;

    assert_non_null(offset);
    /* With one, what has come of a chunk that breaks off could not be kept. */
    assert_null(sent_header(sent, "upload-checksum"));
    assert_string_equal(sent_header(sent, "content-type"), "application/offset+octet-stream");
    assert_int_equal(text_parse_u64(offset, &at), 0);
    if (at != blob->bytes.len) {
        ret->response.status = 409;
        return;
    }
    buffer_put_bytes(&blob->bytes, buffer_bytes(&sent->body));
    assert_true(blob->bytes.len <= blob->size);
    whole = sha256_of(buffer_bytes(&blob->bytes));
    blob->stored = blob->bytes.len == blob->size && sha256_equal(&whole, &blob->sha256);
    ret->response.status = 204;
    put_offset(ret, blob->bytes.len);
}

static void answer_upload(struct centre *centre, const struct sent_request *sent, struct centre_reply *ret)
{
    struct centre_blob *blob;
    struct sha256 hash;

    assert_string_equal(sent_header(sent, "tus-resumable"), "1.0.0");
    assert_string_equal(sent_header(sent, "authorization"), "Bearer token-1");
    if (strcmp(sent->path, "/v1/blobs") == 0) {
        create_upload(centre, sent, ret);
        return;
    }
    assert_memory_equal(sent->path, "/v1/blobs/", 10);
    hash = hash_of_hex(sent->path + 10);
    blob = blob_of(centre, &hash);
    ret->response.status = 404;
    if (!blob)
        return;
    if (strcmp(sent->method, "HEAD") == 0) {
        centre->heads++;
        ret->response.status = 200;
        put_offset(ret, blob->stored ? blob->size : blob->bytes.len);
        return;
    }
    assert_string_equal(sent->method, "PATCH");
    centre->patches++;
    patch_upload(blob, sent, ret);
}

void centre_answer(struct agent_story *story, uint32_t slot, struct centre_reply *ret)
{
    const struct sent_request *sent = &story->sent[slot];

    assert_true(sent->busy);
    if (strcmp(sent->path, "/v1/exchange") == 0)
        answer_exchange(&story->centre, sent, ret);
    else if (strcmp(sent->path, "/v1/audit") == 0)
        answer_audit(&story->centre, sent, ret);
    else if (strcmp(sent->path, "/v1/repair") == 0)
        answer_repair(&story->centre, sent, ret);
    else
        answer_upload(&story->centre, sent, ret);
    ret->response.body = buffer_bytes(&ret->body);
    ret->response.bytes_sent = sent->body.len;
    ret->response.bytes_received = ret->body.len;
}
