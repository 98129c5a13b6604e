/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads by tus 1.0.0: headers to service_upload_* and service_patch_*, and back. The bytes of a PATCH go to
 * disk as they come; an offset is promised after they are durable. That a blob is in place is entered by the
 * writer.
 *
 *   C → S  POST /v1/blobs          Upload-Length, Upload-Metadata: sha256      C → S  PATCH /v1/blobs/<hash>
 *   S → C  201 Location, Upload-Offset, Upload-Expires                         S → C  204 Upload-Offset
 */
#include "base/log.h"
#include "server/core/tus_headers.h"
#include "server/http/routes.h"

#include <errno.h>

struct blob_request {
    struct sha256 sha256;
    struct service_patch *patch;
    struct service_upload upload;
};

/* ---- answers ---- */

static void put_offset(struct request *request, const struct service_upload *upload)
{
    char expires[TUS_DATE_LEN + 1];

    request_answer_header(request, "Upload-Offset", "%llu", (unsigned long long)upload->offset);
    if (upload->expires_ms > 0 && upload->offset < upload->size) {
        tus_format_date(upload->expires_ms, expires);
        request_answer_header(request, "Upload-Expires", "%s", expires);
    }
}

static void refuse(struct request *request, unsigned status, const char *outcome, const char *text)
{
    if (request->answer.status != 0)
        return;
    request_answer_text(request, status, outcome, text);
    request_answer_header(request, "Tus-Resumable", TUS_VERSION);
    if (status == 401)
        request_answer_header(request, "WWW-Authenticate", "Bearer");
    if (status == 412)
        request_answer_header(request, "Tus-Version", TUS_VERSION);
    if (status == 503)
        request_answer_header(request, "Retry-After", "5");
}

static void accept_upload(struct request *request, unsigned status, const char *outcome)
{
    request_answer(request, status, outcome);
    request_answer_header(request, "Tus-Resumable", TUS_VERSION);
    request_answer_header(request, "Cache-Control", "no-store");
}

/* What a refusal of the service means in tus. */
static void refuse_error(struct request *request, int error)
{
    switch (-error) {
    case ENOENT:
        refuse(request, 404, "no_upload", "no such upload: create it");
        return;
    case EKEYEXPIRED:
        refuse(request, 410, "upload_expired", "the upload has expired: create it again");
        return;
    case EACCES:
        refuse(request, 403, "not_wanted", "no stored record of this device names this blob");
        return;
    case EPERM: /* it asks for a new token, and is told why there is none */
        refuse(request, 403, "over_quota", "this device has used up what it may store of photos");
        return;
    case EFBIG:
        refuse(request, 413, "too_large", "the upload is over the limit or longer than announced");
        return;
    case EDQUOT:
        refuse(request, 413, "over_quota",
            "too much of this device is under way: finish that, or wait until it expires");
        return;
    case EINVAL:
    case ECANCELED:
        refuse(request, 409, "wrong_offset", "the offset is another one: ask by HEAD");
        return;
    case EBADMSG:
        refuse(request, 460, "wrong_checksum", "the checksum does not fit: nothing was kept");
        return;
    case EILSEQ:
        refuse(
            request, 460, "wrong_hash", "the whole blob has another hash: it was removed, create it again");
        return;
    case ENOSPC:
        refuse(request, 507, "no_space", "the server's disk is full: try again later");
        return;
    default:
        refuse(request, 503, "storage_error", "storage failed: try again later");
        log_err("upload of device's blob failed: %s", strerror(-error));
    }
}

/* ---- the steps ---- */

static void begin_options(struct request *request)
{
    request_answer(request, 204, "ok");
    request_answer_header(request, "Tus-Resumable", TUS_VERSION);
    request_answer_header(request, "Tus-Version", TUS_VERSION);
    request_answer_header(request, "Tus-Extension", TUS_EXTENSIONS);
    request_answer_header(request, "Tus-Checksum-Algorithm", TUS_CHECKSUM_ALGORITHMS);
    request_answer_header(request, "Tus-Max-Size", "%u", BLOB_BYTES_MAX);
}

/* By what stands in the request, and not because the server failed to look at it. */
static bool is_refused(int error)
{
    return error == -EACCES || error == -EKEYEXPIRED || error == -EBADMSG;
}

static bool authorise(struct request *request)
{
    const char *header = request_header(request, "Authorization");
    const char *token = header ? tus_parse_bearer(header) : NULL;

    int r = token ? service_upload_authorise(request->shell->service, token, &request->device) : -EBADMSG;
    /* Whoever has a good token is proven already: the address does not matter. */
    if (request_is_kept_out(
            request, r == 0 ? &request->device : NULL, r == 0 ? NULL : request_address(request))) {
        request_answer_header(request, "Tus-Resumable", TUS_VERSION);
        return false;
    }
    if (r == 0)
        gate_charge_device(request->shell->gate, &request->device, request_address(request), 0);
    else if (is_refused(r))
        gate_charge_unproven(request->shell->gate, request_address(request));
    request->is_charged = r == 0;
    if (r == -EACCES)
        refuse(request, 403, "revoked", "this device may not send");
    else if (r == -EKEYEXPIRED)
        refuse(request, 401, "token_expired", "the upload token has expired: get a new one by an exchange");
    else if (r == -EBADMSG)
        refuse(request, 401, "no_token", "Authorization: give the upload token of an exchange");
    else if (r < 0)
        refuse_error(request, r);
    return r == 0;
}

static void begin_create(struct request *request)
{
    const char *length = request_header(request, "Upload-Length");
    const char *metadata = request_header(request, "Upload-Metadata");
    char hash[SHA256_TEXT_LEN + 1];
    struct sha256 sha256;
    uint64_t size;

    if (!length || tus_parse_number(length, &size) < 0) {
        refuse(request, 400, "bad_header", "Upload-Length: give the number of bytes");
        return;
    }
    if (size > BLOB_BYTES_MAX) {
        refuse(request, 413, "too_large", "Upload-Length: over Tus-Max-Size");
        request_answer_header(request, "Tus-Max-Size", "%u", BLOB_BYTES_MAX);
        return;
    }
    if (!metadata || tus_parse_metadata(metadata, &sha256) < 0) {
        refuse(request, 400, "bad_header", "Upload-Metadata: give sha256, base64 of the blob's hash in hex");
        return;
    }
    int r = service_upload_create(
        request->shell->service, &request->device, &sha256, size, &request->blob->upload);
    if (r < 0 && r != -EEXIST) {
        refuse_error(request, r == -EINVAL ? -EFBIG : r);
        return;
    }
    text_hex(sha256.b, SHA256_BYTES, hash);
    accept_upload(request, 201, r == -EEXIST ? "stored_already" : "created");
    request_answer_header(request, "Location", "/v1/blobs/%s", hash);
    put_offset(request, &request->blob->upload);
}

static void begin_head(struct request *request)
{
    struct service *service = request->shell->service;
    const struct sha256 *sha256 = &request->blob->sha256;
    struct service_upload upload;
    int r = service_upload_keep(service, &request->device, sha256);

    if (r >= 0)
        r = service_upload_find(service, &request->device, sha256, &upload);
    if (r < 0) {
        refuse_error(request, r);
        return;
    }
    accept_upload(request, 200, "ok");
    put_offset(request, &upload);
    request_answer_header(request, "Upload-Length", "%llu", (unsigned long long)upload.size);
}

static void answer_patch(struct request *request)
{
    accept_upload(
        request, 204, request->blob->upload.offset == request->blob->upload.size ? "stored" : "appended");
    put_offset(request, &request->blob->upload);
}

static void begin_patch(struct request *request)
{
    const char *type = request_header(request, "Content-Type");
    const char *offset_text = request_header(request, "Upload-Offset");
    const char *checksum_text = request_header(request, "Upload-Checksum");
    struct sha256 checksum;
    uint64_t offset;

    if (!type || !tus_is_patch_type(type)) {
        refuse(
            request, 415, "bad_header", "Content-Type: application/offset+octet-stream is what PATCH takes");
        return;
    }
    if (!offset_text || tus_parse_number(offset_text, &offset) < 0) {
        refuse(request, 400, "bad_header", "Upload-Offset: give the number of bytes that are there");
        return;
    }
    if (checksum_text && tus_parse_checksum(checksum_text, &checksum) < 0) {
        refuse(request, 400, "bad_header", "Upload-Checksum: sha256 and base64 of the body's hash");
        return;
    }
    struct service_upload *upload = &request->blob->upload;
    int r = service_upload_find(request->shell->service, &request->device, &request->blob->sha256, upload);
    bool is_whole = r >= 0 && upload->offset == upload->size;
    if (is_whole && offset == upload->size && request->has_length && request->length == 0) {
        answer_patch(request); /* nothing was to be added */
        return;
    }
    if (is_whole)
        r = -EINVAL;
    else if (r >= 0 &&
             (offset > upload->size || (request->has_length && request->length > upload->size - offset)))
        r = offset > upload->offset ? -EINVAL : -EFBIG;
    if (r >= 0)
        r = service_patch_begin(request->shell->service, &request->device, &request->blob->sha256, offset,
            checksum_text ? &checksum : NULL, &request->blob->patch);
    if (r < 0)
        refuse_error(request, r);
}

static void blob_begin(struct request *request)
{
    enum blob_route what = (enum blob_route)request->route->kind;
    const char *override = request_header(request, "X-HTTP-Method-Override");
    const char *version = request_header(request, "Tus-Resumable");

    if (what == BLOB_OVERRIDE && override && strcmp(override, "PATCH") == 0)
        what = BLOB_PATCH;
    else if (what == BLOB_OVERRIDE && override && strcmp(override, "HEAD") == 0)
        what = BLOB_HEAD;
    if (what == BLOB_OPTIONS) {
        begin_options(request);
        return;
    }
    if (what == BLOB_OVERRIDE) {
        refuse(request, 405, "wrong_method", "this path takes HEAD and PATCH");
        request_answer_header(request, "Allow", "OPTIONS, HEAD, PATCH");
        return;
    }
    if (!version || strcmp(version, TUS_VERSION) != 0) {
        refuse(request, 412, "wrong_version", "Tus-Resumable: 1.0.0 is what this server speaks");
        return;
    }
    if (!authorise(request))
        return;
    request->blob = calloc(1, sizeof(*request->blob));
    if (!request->blob) {
        refuse(request, 503, "no_memory", "out of memory: try again");
        return;
    }
    if (what != BLOB_CREATE && tus_parse_segment(request->tail, &request->blob->sha256) < 0)
        refuse(request, 404, "not_found", "not found");
    else if (what == BLOB_CREATE)
        begin_create(request);
    else if (what == BLOB_HEAD)
        begin_head(request);
    else
        begin_patch(request);
}

static int blob_data(struct request *request, const void *data, size_t len)
{
    struct blob_request *blob = request->blob;

    int r = service_patch_write(blob->patch, data, len);
    if (r < 0)
        refuse_error(request, r); /* what is left of the body is dropped */
    return 0;
}

static void blob_end(struct request *request)
{
    struct blob_request *blob = request->blob;
    bool stored = false;

    int r = service_patch_end(take_ptr(blob->patch), true, &blob->upload, &stored);
    if (r < 0) {
        refuse_error(request, r);
        return;
    }
    if (!stored) {
        answer_patch(request);
        return;
    }
    request->item.sha256 = blob->sha256;
    request->item.size = blob->upload.size;
    request_submit(request);
}

static void blob_resumed(struct request *request)
{
    if (request->item.result < 0)
        refuse_error(request, request->item.result);
    else
        answer_patch(request);
}

/* A request that was broken off: what came is kept, and may even have been the rest. */
static void blob_done(struct request *request, bool complete)
{
    struct blob_request *blob = request->blob;
    bool stored = false;

    if (blob && blob->patch) {
        int r = service_patch_end(take_ptr(blob->patch), false, &blob->upload, &stored);
        if (r >= 0 && stored)
            writer_submit_stored(request->shell->writer, &blob->sha256, blob->upload.size);
    }
    if (request->is_charged)
        gate_charge_bytes(
            request->shell->gate, &request->device, request_address(request), request->received);
    free(blob);
    request->blob = NULL;
}

const struct route_handler blob_handler = {
    .begin = blob_begin,
    .data = blob_data,
    .end = blob_end,
    .resumed = blob_resumed,
    .done = blob_done,
};
