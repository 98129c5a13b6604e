/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport/serve.h"

#include "syncd/transport/curl.h"
#include "syncd/transport/stream.h"

#include <errno.h>
#include <sys/epoll.h>

struct server {
    sd_event *event;
    sd_event_source *io;
    struct transport_stream stream;
    struct tls_trust trust;
    struct transport_curl *curl; /* NULL before the first TRUST */
    bool busy[TRANSPORT_SLOTS_MAX];
    uint32_t serials[TRANSPORT_SLOTS_MAX];
};

/* ---- what goes back ---- */

static void end_with(struct server *server, int r)
{
    sd_event_exit(server->event, r);
}

static void answer(struct server *server, const struct transport_message *message)
{
    int r = transport_stream_write(&server->stream, message);
    if (r >= 0)
        r = sd_event_source_set_io_events(
            server->io, EPOLLIN | (transport_stream_has_waiting(&server->stream) ? (uint32_t)EPOLLOUT : 0));
    if (r < 0)
        end_with(server, r);
}

static void answer_failed(
    struct server *server, uint32_t slot, enum transport_failure failure, const char *detail)
{
    struct transport_message message = {
        .kind = TRANSPORT_FAILED, .slot = slot, .serial = server->serials[slot]};
    message.failed.failure = failure;
    message.failed.detail = detail;
    server->busy[slot] = false;
    answer(server, &message);
}

static void on_response(void *context, uint32_t slot, const struct http_response *response)
{
    struct server *server = context;
    struct transport_message message = {
        .kind = TRANSPORT_RESPONSE, .slot = slot, .serial = server->serials[slot]};
    message.response = (struct transport_response){
        .status = response->status,
        .bytes_sent = response->bytes_sent,
        .not_after_ms = response->certificate_not_after_ms,
        .ca = buffer_bytes(&server->trust.found_ca),
        .location = response->location,
        .upload_offset = response->upload_offset,
        .upload_expires = response->upload_expires,
        .retry_after = response->retry_after,
        .body = response->body,
    };
    server->busy[slot] = false;
    answer(server, &message);
}

static void on_failed(void *context, uint32_t slot, enum transport_failure failure, const char *detail)
{
    answer_failed(context, slot, failure, detail);
}

/* ---- what is asked for ---- */

/* Nothing that was begun under another trust goes on: neither a request nor a connection nor a TLS session.
 */
static int take_trust(struct server *server, const struct transport_trust *trust)
{
    for (uint32_t i = 0; i < TRANSPORT_SLOTS_MAX; i++)
        if (server->busy[i])
            answer_failed(server, i, TRANSPORT_FAILED_NETWORK, "the server was changed");
    transport_curl_free(server->curl);
    server->curl = NULL;
    tls_trust_done(&server->trust);
    server->trust = (struct tls_trust){.has_ca_sha256 = trust->ca_sha256.len > 0};
    if (server->trust.has_ca_sha256)
        memcpy(server->trust.ca_sha256.b, trust->ca_sha256.data, SHA256_BYTES);
    buffer_put_bytes(&server->trust.ca_pem, trust->ca_pem);
    int r = buffer_finish(&server->trust.ca_pem);
    if (r < 0)
        return r;
    const struct transport_curl_listener listener = {on_response, on_failed, server};
    return transport_curl_new(server->event, &server->trust, &listener, &server->curl);
}

static int take_request(struct server *server, const struct transport_message *message)
{
    const struct transport_request *wanted = &message->request;
    if (!server->curl || server->busy[message->slot])
        return -EBADMSG;
    server->trust.time = (struct tls_time){
        .verify_at_ms = wanted->verify_at_ms, .ignore_not_before = wanted->ignore_not_before};
    struct http_request request = {.method = wanted->method,
        .path = wanted->url,
        .header_count = wanted->header_count,
        .body = wanted->body,
        .deadline_ms = wanted->deadline_ms};
    memcpy(request.headers, wanted->headers, sizeof(request.headers));
    server->busy[message->slot] = true;
    server->serials[message->slot] = message->serial;
    int r = transport_curl_send(server->curl, message->slot, &request);
    if (r < 0)
        answer_failed(server, message->slot, TRANSPORT_FAILED_NETWORK, strerror(-r));
    return 0;
}

static void take_cancel(struct server *server, uint32_t slot, uint32_t serial)
{
    if (!server->busy[slot] || server->serials[slot] != serial)
        return; /* its end has crossed this */
    transport_curl_cancel(server->curl, slot);
    answer_failed(server, slot, TRANSPORT_FAILED_CANCELLED, "cancelled");
}

static int take(struct server *server, const struct transport_message *message)
{
    switch (message->kind) {
    case TRANSPORT_TRUST:
        return take_trust(server, &message->trust);
    case TRANSPORT_REQUEST:
        return take_request(server, message);
    case TRANSPORT_CANCEL:
        take_cancel(server, message->slot, message->serial);
        return 0;
    case TRANSPORT_NETWORK_CHANGED:
        if (server->curl)
            transport_curl_drop_connections(server->curl);
        return 0;
    case TRANSPORT_RESPONSE:
    case TRANSPORT_FAILED:
        break;
    }
    return -EBADMSG;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    struct server *server = context;
    int r = 0, came = 0;
    if (events & EPOLLOUT)
        r = transport_stream_flush(&server->stream);
    if (r >= 0 && !transport_stream_has_waiting(&server->stream))
        r = sd_event_source_set_io_events(server->io, EPOLLIN);
    struct transport_message message = {0};
    if (r >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        r = came = transport_stream_read(&server->stream, &message);
    if (came > 0)
        r = take(server, &message);
    if (r < 0)
        end_with(server, r == -ECONNRESET ? 0 : r);
    return 0;
}

int transport_serve(int fd)
{
    struct server server = {.stream = {.fd = fd}};
    int r = sd_event_new(&server.event);
    if (r >= 0)
        r = sd_event_add_io(server.event, &server.io, fd, EPOLLIN, on_io, &server);
    if (r >= 0)
        r = sd_event_loop(server.event);
    transport_curl_free(server.curl);
    tls_trust_done(&server.trust);
    transport_stream_done(&server.stream);
    sd_event_source_disable_unref(server.io);
    sd_event_unref(server.event);
    return r;
}
