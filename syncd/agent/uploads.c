/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blob uploads by tus 1.0.0 (https://tus.io/protocols/resumable-upload: core, creation).
 *
 *   POST  /v1/blobs   Upload-Length, Upload-Metadata: sha256 <hash>    ──►  201 Location [Upload-Offset]
 *   HEAD  Location                                                     ──►  200 Upload-Offset
 *   PATCH Location    Upload-Offset, bytes                             ──►  204 Upload-Offset
 *
 * These answers are not signed: they say how to go on, and nothing more. Before a blob is offered its file is
 * read and hashed once, so that damage on this disk is found here and not by the centre. A chunk carries no
 * checksum: with one, nothing of a chunk could be kept that breaks off. TLS guards it on its way, and the
 * whole hash decides.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"

#include <errno.h>
#include <sodium.h>

#define UPLOADS_PATH "/v1/blobs"
#define NUMBER_TEXT_MAX 24u
#define BASE64_TEXT_MAX 96u /* of a hash in hex */
#define HASH_HEADER_TEXT_MAX (BASE64_TEXT_MAX + 8u)
#define AUTHORIZATION_TEXT_MAX (UPLOAD_TOKEN_TEXT_MAX + 16u)

/* ---- places ---- */

static struct upload_place *find_place(struct agent *agent, const struct sha256 *blob)
{
    for (size_t i = 0; i < UPLOAD_PLACES_MAX; i++) {
        if (agent->places[i].used && sha256_equal(&agent->places[i].blob, blob)) {
            agent->places[i].touched = ++agent->place_clock;
            return &agent->places[i];
        }
    }
    return NULL;
}

static struct upload_place *new_place(struct agent *agent, const struct sha256 *blob)
{
    struct upload_place *oldest = &agent->places[0];

    for (size_t i = 0; i < UPLOAD_PLACES_MAX; i++) {
        if (!agent->places[i].used) {
            oldest = &agent->places[i];
            break;
        }
        if (agent->places[i].touched < oldest->touched)
            oldest = &agent->places[i];
    }
    *oldest = (struct upload_place){.used = true, .blob = *blob, .touched = ++agent->place_clock};
    return oldest;
}

static void forget_place(struct agent *agent, const struct sha256 *blob)
{
    struct upload_place *place = find_place(agent, blob);

    if (place)
        place->used = false;
}

void uploads_forget(struct agent *agent)
{
    memset(agent->places, 0, sizeof(agent->places));
    agent->upload_token[0] = 0;
}

/* The part of a URL behind its authority; the URL itself when it has none. */
static const char *url_path(const char *url)
{
    const char *authority = strstr(url, "://");
    const char *path;

    if (!authority)
        return url;
    path = strchr(authority + 3, '/');
    return path ? path : "/";
}

static bool is_header_text(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    return true;
}

/* Where a Location leads, for a foreign server: only ever to that server. */
static int foreign_url(const struct agent *agent, const char *location, char ret[HTTP_LOCATION_MAX])
{
    size_t origin_len = (size_t)(url_path(agent->uploads_url) - agent->uploads_url);
    const char *last_slash = strrchr(agent->uploads_url + origin_len, '/');
    size_t base_len =
        location[0] == '/' || !last_slash ? origin_len : (size_t)(last_slash - agent->uploads_url) + 1;
    int len;

    if (strstr(location, "://")) {
        if (strncmp(location, agent->uploads_url, origin_len) != 0 || location[origin_len] != '/')
            return -EBADMSG;
        base_len = 0;
    }
    len = snprintf(ret, HTTP_LOCATION_MAX, "%.*s%s", (int)base_len, agent->uploads_url, location);
    return len < 0 || (size_t)len >= HTTP_LOCATION_MAX ? -EBADMSG : 0;
}

/* A Location of the centre, under whatever name it knows itself by: its path, under our server URL. The token
 * goes nowhere else. */
static int own_path(const struct agent *agent, const char *location, char ret[HTTP_LOCATION_MAX])
{
    const char *path = url_path(location);
    size_t prefix_len = strlen(agent->server_prefix);

    if (path[0] != '/' || strlen(path) >= HTTP_LOCATION_MAX)
        return -EBADMSG;
    if (prefix_len > 0 && strncmp(path, agent->server_prefix, prefix_len) == 0 && path[prefix_len] == '/')
        path += prefix_len;
    memcpy(ret, path, strlen(path) + 1);
    return 0;
}

static int resolve(const struct agent *agent, const char *location, char ret[HTTP_LOCATION_MAX])
{
    if (!location || location[0] == 0 || !is_header_text(location))
        return -EBADMSG;
    return agent->uploads_url ? foreign_url(agent, location, ret) : own_path(agent, location, ret);
}

/* ---- requests ---- */

static void add_header(struct http_request *request, const char *name, const char *value)
{
    request->headers[request->header_count++] = (struct http_header){.name = name, .value = value};
}

static int send_upload(struct agent *agent, uint32_t slot, struct http_request *request)
{
    char authorization[AUTHORIZATION_TEXT_MAX];

    add_header(request, "tus-resumable", "1.0.0");
    if (!agent->uploads_url) {
        snprintf(authorization, sizeof(authorization), "Bearer %s", agent->upload_token);
        add_header(request, "authorization", authorization);
    }
    request->deadline_ms = agent->config.answer_deadline_ms + DEADLINE_MARGIN_MS;
    int r = agent_transport_send(agent, slot, request);
    request->header_count = 0; /* the transport has copied them; one of them ends with this function */
    memset(request->headers, 0, sizeof(request->headers));
    return r;
}

static int send_create(struct agent *agent, uint32_t slot, const struct store_blob *blob)
{
    char length[NUMBER_TEXT_MAX], metadata[HASH_HEADER_TEXT_MAX], hash[SHA256_TEXT_LEN + 1];
    struct http_request request = {
        .method = "POST", .path = agent->uploads_url ? agent->uploads_url : UPLOADS_PATH};
    char encoded[BASE64_TEXT_MAX];

    text_hex(blob->sha256.b, SHA256_BYTES, hash);
    sodium_bin2base64(
        encoded, sizeof(encoded), (const uint8_t *)hash, SHA256_TEXT_LEN, sodium_base64_VARIANT_ORIGINAL);
    snprintf(length, sizeof(length), "%llu", (unsigned long long)blob->size);
    snprintf(metadata, sizeof(metadata), "sha256 %s", encoded);
    add_header(&request, "upload-length", length);
    add_header(&request, "upload-metadata", metadata);
    agent->slots[slot].step = UPLOAD_CREATE;
    return send_upload(agent, slot, &request);
}

static int send_head(struct agent *agent, uint32_t slot, const struct upload_place *place)
{
    struct http_request request = {.method = "HEAD", .path = place->url};

    agent->slots[slot].step = UPLOAD_OFFSET;
    return send_upload(agent, slot, &request);
}

static int send_chunk(
    struct agent *agent, uint32_t slot, const struct upload_place *place, struct bytes chunk)
{
    struct http_request request = {.method = "PATCH", .path = place->url, .body = chunk};
    char offset[NUMBER_TEXT_MAX];

    snprintf(offset, sizeof(offset), "%llu", (unsigned long long)agent->slots[slot].offset);
    add_header(&request, "content-type", "application/offset+octet-stream");
    add_header(&request, "upload-offset", offset);
    agent->slots[slot].step = UPLOAD_CHUNK;
    agent->slots[slot].len = chunk.len;
    return send_upload(agent, slot, &request);
}

/* ---- steps ---- */

static int give_up(struct agent *agent, const struct sha256 *blob)
{
    forget_place(agent, blob);
    blobs_gone(agent, blob);
    outbox_feed(agent);
    return -ENODATA;
}

static int create(struct agent *agent, uint32_t slot, const struct store_blob *blob)
{
    const struct upload_place *place = find_place(agent, &blob->sha256);
    int r;

    if (place)
        return send_head(agent, slot, place);
    r = blobs_file_is_whole(agent, blob);
    if (r < 0)
        return r;
    return r > 0 ? send_create(agent, slot, blob) : give_up(agent, &blob->sha256);
}

static int chunk(
    struct agent *agent, uint32_t slot, const struct store_blob *blob, uint64_t offset, uint32_t max)
{
    const struct upload_place *place = find_place(agent, &blob->sha256);
    uint64_t left = offset < blob->size ? blob->size - offset : 0;
    size_t len = left < max ? (size_t)left : max, have = 0;
    _cleanup_free_ uint8_t *bytes = NULL;

    if (!place || len == 0)
        return create(agent, slot, blob); /* where it stands has to be learnt again */
    bytes = malloc(len);
    if (!bytes)
        return -ENOMEM;
    while (have < len) {
        ssize_t n = store_blob_read(agent->store, &blob->sha256, offset + have, bytes + have, len - have);

        if (n == 0 || n == -ENOENT)
            return give_up(agent, &blob->sha256);
        if (n < 0)
            return (int)n;
        have += (size_t)n;
    }
    return send_chunk(agent, slot, place, bytes_of(bytes, len));
}

int uploads_send(struct agent *agent, const struct engine_action *action)
{
    struct agent_slot *slot = &agent->slots[action->slot];
    struct store_blob blob;
    int r = store_blob_find(agent->store, &action->upload.blob, &blob);

    if (r == -ENOENT || (r >= 0 && blob.state != BLOB_PENDING)) {
        outbox_feed(agent);
        return -ENODATA;
    }
    if (r < 0)
        return r;
    *slot = (struct agent_slot){
        .use = AGENT_UPLOAD,
        .blob = blob.sha256,
        .blob_size = blob.size,
        .offset = action->upload.offset,
    };
    switch (action->upload.step) {
    case UPLOAD_CREATE:
    case UPLOAD_OFFSET:
        return create(agent, action->slot, &blob);
    case UPLOAD_CHUNK:
        return chunk(agent, action->slot, &blob, action->upload.offset, action->upload.bytes_max);
    }
    return -EINVAL;
}

/* ---- answers ---- */

static void upload_failed(struct agent *agent, uint32_t number, const struct http_response *response)
{
    const struct sha256 blob = agent->slots[number].blob;
    enum engine_failure failure = FAILURE_UNSIGNED;

    switch (response->status) {
    case 401:
    case 403:
        failure = FAILURE_UPLOAD_TOKEN;
        break;
    case 404:
    case 410:
        failure = FAILURE_UPLOAD_GONE;
        forget_place(agent, &blob);
        break;
    case 409:
        failure = FAILURE_UPLOAD_OFFSET;
        break;
    case 413:
        failure = FAILURE_TOO_LARGE;
        break;
    case 460:
        failure = FAILURE_UPLOAD_HASH;
        forget_place(agent, &blob);
        break;
    case 507: /* RFC 4918, section 11.5 */
        failure = FAILURE_UPLOAD_FULL;
        break;
    case 423:
    case 429:
        failure = FAILURE_BUSY;
        break;
    default:
        failure = response->status >= 500 ? FAILURE_BUSY : FAILURE_UNSIGNED;
    }
    agent_feed_failed(agent, number, failure, signed_retry_after(response));
}

static void upload_moved(struct agent *agent, uint32_t number, uint64_t offset)
{
    const struct agent_slot slot = agent->slots[number];
    struct engine_event event = {.kind = ENGINE_UPLOADED,
        .slot = number,
        .uploaded = {.step = slot.step, .blob = slot.blob, .offset = offset, .size = slot.blob_size}};

    if (offset > slot.blob_size) {
        forget_place(agent, &slot.blob);
        agent_feed_failed(agent, number, FAILURE_UPLOAD_GONE, 0);
        return;
    }
    agent->slots[number].use = AGENT_FREE;
    if (offset == slot.blob_size) {
        forget_place(agent, &slot.blob);
        blobs_uploaded(agent, &slot.blob);
        outbox_feed(agent);
    }
    agent_feed(agent, &event);
}

void uploads_answered(struct agent *agent, uint32_t number, const struct http_response *response)
{
    const struct agent_slot *slot = &agent->slots[number];
    bool has_offset = false, is_good = response->status >= 200 && response->status < 300;
    char url[HTTP_LOCATION_MAX];
    uint64_t offset = 0;

    if (response->upload_offset)
        has_offset = text_parse_u64(response->upload_offset, &offset) >= 0;
    if (!is_good || (response->upload_offset && !has_offset)) {
        upload_failed(agent, number, response);
        return;
    }
    switch (slot->step) {
    case UPLOAD_CREATE:
        /* Core tus names no offset here: a new upload starts at 0. */
        if (response->status != 201 || resolve(agent, response->location, url) < 0) {
            agent_feed_failed(agent, number, FAILURE_UNSIGNED, 0);
            return;
        }
        memcpy(new_place(agent, &slot->blob)->url, url, sizeof(url));
        break;
    case UPLOAD_OFFSET:
    case UPLOAD_CHUNK:
        if (!has_offset) {
            agent_feed_failed(agent, number, FAILURE_UNSIGNED, 0);
            return;
        }
        break;
    }
    upload_moved(agent, number, offset);
}
