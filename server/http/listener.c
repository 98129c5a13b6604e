/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/listener.h"

#include "base/log.h"
#include "server/http/clock.h"
#include "server/http/request_log.h"
#include "server/http/routes.h"

#include <assert.h>
#include <errno.h>

#define REQUEST_HEAD_BYTES_MAX                                                                               \
    (32u * 1024u) /* libmicrohttpd's memory for a connection: head and read buffer */
#define THREAD_STACK_BYTES (1024u * 1024u)
#define AUDIT_ENVELOPE_BYTES_MAX (16u * 1024u)

static const struct route routes[] = {
    {"POST", "/v1/exchange", "/v1/exchange", EXCHANGE_ENVELOPE_BYTES_MAX, &exchange_handler, SERVICE_EXCHANGE,
        false},
    {"POST", "/v1/audit", "/v1/audit", AUDIT_ENVELOPE_BYTES_MAX, &exchange_handler, SERVICE_AUDIT, false},
    {"POST", "/v1/repair", "/v1/repair", EXCHANGE_ENVELOPE_BYTES_MAX, &exchange_handler, SERVICE_REPAIR,
        false},
    {"POST", "/v1/enrol", "/v1/enrol", ENROLMENT_BYTES_MAX, &exchange_handler, SERVICE_ENROL, false},
    {"OPTIONS", "/v1/blobs", "/v1/blobs", 0, &blob_handler, BLOB_OPTIONS, false},
    {"POST", "/v1/blobs", "/v1/blobs", 0, &blob_handler, BLOB_CREATE, false},
    {"OPTIONS", "/v1/blobs", "/v1/blobs/*", 0, &blob_handler, BLOB_OPTIONS, true},
    {"HEAD", "/v1/blobs", "/v1/blobs/*", 0, &blob_handler, BLOB_HEAD, true},
    {"PATCH", "/v1/blobs", "/v1/blobs/*", BLOB_BYTES_MAX, &blob_handler, BLOB_PATCH, true},
    {"POST", "/v1/blobs", "/v1/blobs/*", BLOB_BYTES_MAX, &blob_handler, BLOB_OVERRIDE, true},
    {"GET", "/healthz", "/healthz", 0, &health_handler, 0, false},
    {"GET", "/metrics", "/metrics", 0, &metrics_handler, 0, false},
};

struct listener {
    struct http_shell shell;
    struct MHD_Daemon *daemon;
    struct connections *connections;
    const struct tls *tls;
    atomic_uint_least64_t in_flight;
    atomic_bool quiesced;
};

void request_gauges(
    const struct request *request, uint64_t *ret_connections, uint64_t *ret_requests_in_flight)
{
    struct listener *listener =
        (struct listener *)(void *)((char *)request->shell - offsetof(struct listener, shell));
    *ret_connections = connections_count(listener->connections);
    *ret_requests_in_flight = atomic_load(&listener->in_flight);
}

/* ---- a request's steps ---- */

static void request_free(struct request *request)
{
    if (!request)
        return;
    buffer_done(&request->body);
    buffer_done(&request->answer.body);
    free(request);
}

static struct request *request_new(
    struct listener *listener, struct MHD_Connection *connection, const char *method, const char *path)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct request *request = calloc(1, sizeof(*request));

    if (!request || !info || !info->socket_context) {
        free(request);
        return NULL;
    }
    request->shell = &listener->shell;
    request->connection = connection;
    request->watch = info->socket_context;
    request->method = method;
    request->path = path;
    request->started_us = clock_now_us();
    request->outcome = "none";
    atomic_fetch_add(&listener->in_flight, 1);
    return request;
}

static void refuse_too_large(struct request *request)
{
    request_answer_text(request, 413, "too_large", "the body is over this request's limit");
}

static void find_route(struct request *request)
{
    char methods[64];

    switch (router_find(
        routes, ARRAY_LEN(routes), request->method, request->path, &request->route_index, &request->tail)) {
    case ROUTE_FOUND:
        request->route = &routes[request->route_index];
        request->body_bytes_max = request->route->body_bytes_max;
        return;
    case ROUTE_NO_PATH:
        request_answer_text(request, 404, "not_found", "not found");
        return;
    case ROUTE_OTHER_METHOD:
        router_methods(routes, ARRAY_LEN(routes), request->path, methods, sizeof(methods));
        request_answer_text(request, 405, "wrong_method", "this path takes other methods");
        request_answer_header(request, "Allow", "%s", methods);
        return;
    }
}

static void request_begin(struct request *request)
{
    const char *length = request_header(request, "Content-Length");

    /* Neither header: there is no body. Both: it comes in chunks, whatever its length says (RFC 9112, section
     * 6.3). */
    request->has_length = !request_header(request, "Transfer-Encoding") &&
                          (!length || text_parse_u64(length, &request->length) == 0);
    connection_body_starts(request->watch);
    find_route(request);
    if (request->route && request->route->handler->begin)
        request->route->handler->begin(request);
    if (request->answer.status == 0 && request->has_length && request->length > request->body_bytes_max)
        refuse_too_large(request);
}

static int request_data(struct request *request, const void *data, size_t len)
{
    request->received += len;
    connection_body_moved(request->watch, request->received);
    if (request->answer.status == 0 && request->received > request->body_bytes_max)
        refuse_too_large(request);
    if (request->answer.status != 0)
        return request->received <= DISCARD_BYTES_MAX ? 0 : -EFBIG;
    return request->route->handler->data ? request->route->handler->data(request, data, len) : -EFBIG;
}

static enum MHD_Result request_send(struct listener *listener, struct request *request)
{
    struct answer *answer = &request->answer;
    bool whole = buffer_finish(&answer->body) == 0;

    if (!whole)
        return MHD_NO;
    /* The bytes stay the request's, which outlives the response. */
    struct MHD_Response *response = MHD_create_response_from_buffer(
        answer->body.len, answer->body.len > 0 ? answer->body.data : NULL, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    if (answer->content_type)
        MHD_add_response_header(response, "Content-Type", answer->content_type);
    for (size_t i = 0; i < answer->header_count; i++)
        MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value);
    if (atomic_load(&listener->quiesced))
        MHD_add_response_header(response, "Connection", "close");
    connection_answer_starts(request->watch, answer->body.len);
    enum MHD_Result result = MHD_queue_response(request->connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- libmicrohttpd's callbacks ---- */

/* A request that is refused at once: without a long body to drop first, or one that its sender has not begun
 * to send, as it asked whether it shall. */
static bool answers_at_once(const struct request *request)
{
    return request->answer.status != 0 && ((request->has_length && request->length > DISCARD_BYTES_MAX) ||
                                              request_header(request, "Expect"));
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
    const char *method, const char *version, const char *data, size_t *data_len, void **request_context)
{
    struct listener *listener = context;
    struct request *request = *request_context;

    if (!request) {
        request = request_new(listener, connection, method, path);
        if (!request)
            return MHD_NO;
        *request_context = request;
        request_begin(request);
        return answers_at_once(request) ? request_send(listener, request) : MHD_YES;
    }
    if (*data_len > 0) {
        int r = request_data(request, data, *data_len);
        *data_len = 0;
        return r < 0 ? MHD_NO : MHD_YES;
    }
    if (!request->ended) {
        request->ended = true;
        connection_body_ended(request->watch);
        if (request->answer.status == 0)
            request->route->handler->end(request);
    } else if (request->held) {
        request->held = false;
        request->route->handler->resumed(request);
    }
    if (request->held)
        return MHD_YES;
    assert(request->answer.status != 0);
    return request_send(listener, request);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_context,
    enum MHD_RequestTerminationCode how)
{
    struct listener *listener = context;
    struct request *request = *request_context;
    bool complete = how == MHD_REQUEST_TERMINATED_COMPLETED_OK;

    if (!request)
        return;
    *request_context = NULL;
    if (request->route && request->route->handler->done)
        request->route->handler->done(request, complete);
    uint64_t duration_us = clock_now_us() - request->started_us;
    uint64_t bytes_in = request_bytes_in(request);
    metrics_count_request(listener->shell.metrics, request->route ? request->route_index : METRICS_NO_ROUTE,
        request->answer.status, duration_us, bytes_in, request->answer.body.len);
    if (request->answer.status >= 400)
        metrics_count_refused(listener->shell.metrics, request->outcome);
    request_log(request, complete, bytes_in, duration_us);
    connection_idle(request->watch);
    request_free(request);
    atomic_fetch_sub(&listener->in_flight, 1);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
    enum MHD_ConnectionNotificationCode what)
{
    struct listener *listener = context;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context)
            connection_closed(*socket_context);
        *socket_context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *socket_context = info ? connection_opened(listener->connections, info->connect_fd) : NULL;
    if (!listener->tls)
        return;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info && info->tls_session)
        gnutls_session_ticket_enable_server(info->tls_session, &listener->tls->ticket_key);
}

_printf_(2, 0) static void on_message(void *context, const char *format, va_list arguments)
{
    _cleanup_free_ char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    /* Mostly clients that hang up or speak no TLS: nothing an operator could act on. */
    if (text)
        log_debug("libmicrohttpd: %s", text);
}

/* ---- start and stop ---- */

static struct MHD_Daemon *start_daemon(struct listener *listener, const struct listener_options *options)
{
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem items[8];
    size_t count = 0;

    if (options->tls) {
        flags |= MHD_USE_TLS;
        items[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, options->tls->chain_pem};
        items[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, options->tls->key_pem};
        items[count++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)tls_priorities};
    }
    items[count++] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    /* The logger comes first, so that it takes the words about every other option. */
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, listener, MHD_OPTION_EXTERNAL_LOGGER,
        on_message, NULL, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)options->fd, MHD_OPTION_THREAD_POOL_SIZE,
        options->threads, MHD_OPTION_CONNECTION_LIMIT, options->connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, options->connections_per_address_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_HEAD_BYTES_MAX, MHD_OPTION_THREAD_STACK_SIZE,
        (size_t)THREAD_STACK_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        listener, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
}

int listener_start(const struct listener_options *options, struct listener **ret)
{
    _cleanup_(listener_free_cleanup) struct listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    listener->tls = options->tls;
    listener->shell = (struct http_shell){
        .service = options->service,
        .writer = options->writer,
        .memory_bytes_max = options->memory_bytes_max,
        .metrics_off = options->metrics_off,
        .metrics_to_all = options->metrics_to_all,
    };
    int r = metrics_new(routes, ARRAY_LEN(routes), &listener->shell.metrics);
    if (r >= 0)
        r = gate_new(&options->rates, &listener->shell.gate);
    if (r >= 0)
        r = connections_new(&options->limits, &listener->connections);
    if (r < 0)
        return r;
    listener->daemon = start_daemon(listener, options);
    if (!listener->daemon)
        return -ENOTSUP;
    *ret = take_ptr(listener);
    return 0;
}

void listener_sweep(struct listener *listener)
{
    size_t count = connections_sweep(listener->connections, false);
    if (count > 0)
        log_info("closed %zu connections that were too slow, idle or hung up", count);
}

void listener_quiesce(struct listener *listener)
{
    if (atomic_exchange(&listener->quiesced, true))
        return;
    MHD_socket fd = MHD_quiesce_daemon(listener->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
}

uint64_t listener_requests_in_flight(struct listener *listener)
{
    return atomic_load(&listener->in_flight);
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    if (listener->daemon) {
        listener_quiesce(listener);
        MHD_stop_daemon(listener->daemon);
    }
    connections_free(listener->connections);
    gate_free(listener->shell.gate);
    metrics_free(listener->shell.metrics);
    free(listener);
}
