/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tus requests at the simulated centre: what server/http/blob_routes.c makes of headers and results, without
 * HTTP.
 */
#include "tests/sim/sim.h"

#include "base/text.h"
#include "server/core/tus_headers.h"

#include <errno.h>

static unsigned status_of(struct sim *sim, int error)
{
    switch (-error) {
    case ENOENT:
        return 404;
    case EKEYEXPIRED:
        return 410;
    case EACCES:
        return 403;
    case EFBIG:
    case EDQUOT:
        return 413;
    case EINVAL:
    case ECANCELED:
        sim_cover(sim, COVER_UPLOAD_WRONG_OFFSET);
        return 409;
    case EBADMSG:
    case EILSEQ:
        sim_cover(sim, COVER_UPLOAD_WRONG_CHECKSUM);
        return 460;
    case ENOSPC:
        return 507;
    default:
        return 503;
    }
}

static void reply(struct sim *sim, struct sim_request *request, unsigned status)
{
    const struct sim_disk *disk = sim->server.machine.disk;

    request->reply.status = status;
    sim_trace(sim, "server: request %llu: %u %s", (unsigned long long)request->number, status,
        request->reply.upload_offset);
    if (!sim_disk_is_dead(disk) && !sim_disk_is_stopped(disk))
        network_answer(sim, request);
}

static void reply_error(struct sim *sim, struct sim_request *request, int error)
{
    reply(sim, request, status_of(sim, error));
}

static void reply_upload(
    struct sim *sim, struct sim_request *request, unsigned status, const struct service_upload *upload)
{
    snprintf(request->reply.upload_offset, sizeof(request->reply.upload_offset), "%llu",
        (unsigned long long)upload->offset);
    reply(sim, request, status);
}

static void create(struct sim *sim, struct sim_request *request, const struct uuid *device)
{
    struct service_upload upload;
    char hash[SHA256_TEXT_LEN + 1];
    struct sha256 sha256;
    uint64_t size;
    int r;

    if (tus_parse_number(request->upload_length, &size) < 0 ||
        tus_parse_metadata(request->upload_metadata, &sha256) < 0) {
        sim_fail(sim, "the agent's creation of an upload cannot be read");
        return;
    }
    r = service_upload_create(sim->server.service, device, &sha256, size, &upload);
    if (r < 0 && r != -EEXIST) {
        reply_error(sim, request, r);
        return;
    }
    text_hex(sha256.b, SHA256_BYTES, hash);
    snprintf(request->reply.location, sizeof(request->reply.location), "/v1/blobs/%s", hash);
    sim_cover(
        sim, upload.offset > 0 && upload.offset < upload.size ? COVER_UPLOAD_RESUMED : COVER_UPLOAD_CREATED);
    reply_upload(sim, request, 201, &upload);
}

static void head(
    struct sim *sim, struct sim_request *request, const struct uuid *device, const struct sha256 *sha256)
{
    struct service_upload upload;
    int r = service_upload_find(sim->server.service, device, sha256, &upload);

    if (r < 0)
        reply_error(sim, request, r);
    else
        reply_upload(sim, request, 200, &upload);
}

/* Writes what has arrived, in two pieces: the network does not keep a body together. */
static int write_pieces(struct sim *sim, struct service_patch *patch, const struct sim_request *request)
{
    size_t first = request->body_arrived > 0 ? sim_below(sim, request->body_arrived) : 0;
    int r = service_patch_write(patch, request->body.data, first);

    return r < 0 ? r : service_patch_write(patch, request->body.data + first, request->body_arrived - first);
}

static void patch(
    struct sim *sim, struct sim_request *request, const struct uuid *device, const struct sha256 *sha256)
{
    struct service *service = sim->server.service;
    bool has_checksum = request->upload_checksum[0] != 0, is_stored = false;
    struct service_upload upload;
    struct service_patch *open;
    struct sha256 checksum;
    uint64_t offset;
    int r, ended;

    if (tus_parse_number(request->upload_offset, &offset) < 0 ||
        (has_checksum && tus_parse_checksum(request->upload_checksum, &checksum) < 0)) {
        sim_fail(sim, "the agent's chunk cannot be read");
        return;
    }
    r = service_upload_find(service, device, sha256, &upload);
    if (r >= 0)
        r = service_patch_begin(service, device, sha256, offset, has_checksum ? &checksum : NULL, &open);
    if (r < 0) {
        reply_error(sim, request, r);
        return;
    }
    r = write_pieces(sim, open, request);
    ended =
        service_patch_end(open, r >= 0 && request->body_arrived == request->body.len, &upload, &is_stored);
    if (r >= 0)
        r = ended;
    if (r >= 0 && is_stored) {
        r = service_blob_stored(service, sha256, upload.size);
        sim_cover(sim, COVER_UPLOAD_STORED);
    }
    if (request->body_arrived < request->body.len)
        return;
    if (r < 0)
        reply_error(sim, request, r);
    else
        reply_upload(sim, request, 204, &upload);
}

void uploads_receive(struct sim *sim, struct sim_request *request)
{
    static const char bearer[] = "Bearer ", prefix[] = "/v1/blobs/";
    struct uuid device;
    struct sha256 sha256;
    int r = -EBADMSG;

    if (sim->is_chaos && request->fate == FATE_ANSWER_DAMAGED && request->body.len > 0)
        request->body.data[sim_below(sim, request->body.len)] ^=
            1; /* a proxy that damages what it sends on */
    if (strncmp(request->authorization, bearer, sizeof(bearer) - 1) == 0)
        r = service_upload_authorise(
            sim->server.service, request->authorization + sizeof(bearer) - 1, &device);
    if (r == -EBADMSG || r == -EKEYEXPIRED)
        reply(sim, request, 401);
    else if (r < 0)
        reply_error(sim, request, r);
    else if (strcmp(request->method, "POST") == 0)
        create(sim, request, &device);
    else if (strncmp(request->path, prefix, sizeof(prefix) - 1) != 0 ||
             tus_parse_segment(request->path + sizeof(prefix) - 1, &sha256) < 0)
        reply(sim, request, 404);
    else if (strcmp(request->method, "HEAD") == 0)
        head(sim, request, &device, &sha256);
    else
        patch(sim, request, &device, &sha256);
}
