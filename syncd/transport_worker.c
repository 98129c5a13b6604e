/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport_worker.h"

#include "base/files.h"
#include "base/helper_program.h"
#include "base/log.h"
#include "syncd/transport/stream.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define TIMER_ACCURACY_US UINT64_C(1000000)

_Static_assert(ENGINE_SLOTS_MAX <= TRANSPORT_SLOTS_MAX, "the worker has a place for each request");

struct in_flight {
    bool busy, lost; /* lost: its worker is gone, its failure is about to be told */
    uint32_t serial;
    uint64_t body_len;
};

enum worker_state {
    WORKER_NONE,
    WORKER_WORKING,
    WORKER_LEAVING, /* its socket was closed for writing: it ends by itself, or else it is made to */
};

struct transport_worker {
    sd_event *event;
    const struct world *world;
    char *path, *ca_path;
    bool has_ca_sha256;
    struct sha256 ca_sha256;
    uint64_t idle_ms, patience_ms;
    struct transport_worker_listener listener;
    char server_url[URL_BYTES_MAX];
    struct tls_time time;

    enum worker_state state;
    pid_t pid;
    struct transport_stream stream; /* its descriptor is owned here */
    sd_event_source *io;
    sd_event_source *idle;     /* nothing is in flight; the worker is about to be ended */
    sd_event_source *patience; /* the worker owes the end of a cancelled request, or its own */
    unsigned owed;             /* ends of cancelled requests */
    uint32_t serial;
    struct in_flight slots[ENGINE_SLOTS_MAX];
    struct bytes found_ca;
    struct transport_worker_counts counts;
};

/* ---- end of a worker ---- */

static void alarm_set(sd_event_source *timer, uint64_t wait_ms)
{
    if (sd_event_source_set_time_relative(timer, wait_ms * 1000) >= 0)
        sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static void alarm_clear(sd_event_source *timer)
{
    sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}

/* It has closed its socket, which it does by ending, or it is killed here: this takes no time. */
static void worker_reap(const struct transport_worker *transport, siginfo_t *ret)
{
    *ret = (siginfo_t){0};
    kill(transport->pid, SIGKILL);
    while (waitid(P_PID, (id_t)transport->pid, ret, WEXITED) < 0 && errno == EINTR)
        ;
}

static void worker_drop(struct transport_worker *transport, siginfo_t *ret)
{
    worker_reap(transport, ret);
    transport->io = sd_event_source_disable_unref(transport->io);
    int fd = transport->stream.fd;
    transport_stream_done(&transport->stream);
    close(fd);
    alarm_clear(transport->idle);
    alarm_clear(transport->patience);
    transport->owed = 0;
    transport->state = WORKER_NONE;
}

/* A listener may send again, or cancel others, from inside. */
static void tell_lost(struct transport_worker *transport, const char *detail)
{
    for (uint32_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        transport->slots[i].lost = transport->slots[i].busy;
    for (uint32_t i = 0; i < ENGINE_SLOTS_MAX; i++) {
        struct in_flight *slot = &transport->slots[i];
        if (!slot->lost)
            continue;
        *slot = (struct in_flight){0};
        transport->listener.failed(transport->listener.context, i, FAILURE_NETWORK, detail);
    }
}

static bool has_ended_well(const siginfo_t *end)
{
    return end->si_code == CLD_EXITED && end->si_status == 0;
}

/* `r` is -ECONNRESET when its socket ended, else what it has done. */
static void worker_lost(struct transport_worker *transport, int r)
{
    siginfo_t end;
    bool was_leaving = transport->state == WORKER_LEAVING;
    worker_drop(transport, &end);
    if (was_leaving && r == -ECONNRESET && has_ended_well(&end)) {
        log_debug("the network worker ended: there was nothing to do");
        if (transport->listener.rested)
            transport->listener.rested(transport->listener.context);
        return;
    }
    transport->counts.lost++;
    char detail[96];
    if (r != -ECONNRESET)
        snprintf(detail, sizeof(detail), "the network worker was ended: %s",
            r == -ETIMEDOUT ? "it did not answer" : strerror(-r));
    else
        snprintf(detail, sizeof(detail), "the network worker ended with %s %d",
            end.si_code == CLD_EXITED ? "status" : "signal", end.si_status);
    log_warning("%s: the next request starts another one", detail);
    tell_lost(transport, detail);
    if (transport->listener.lost)
        transport->listener.lost(transport->listener.context);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    struct transport_worker *transport = context;
    transport->state = WORKER_LEAVING;
    shutdown(transport->stream.fd, SHUT_WR);
    alarm_set(transport->patience, transport->patience_ms);
    return 0;
}

static int on_patience(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    worker_lost(context, -ETIMEDOUT);
    return 0;
}

static void rest_if_done(struct transport_worker *transport)
{
    if (transport->state == WORKER_WORKING && transport_worker_busy(transport) == 0)
        alarm_set(transport->idle, transport->idle_ms);
}

/* ---- what it says ---- */

static void give_response(struct transport_worker *transport, uint32_t slot, uint64_t body_len,
    const struct transport_response *told)
{
    const struct http_response response = {
        .status = told->status,
        .body = told->body,
        .bytes_sent = told->bytes_sent < body_len ? told->bytes_sent : body_len,
        .bytes_received = told->body.len,
        .location = told->location,
        .upload_offset = told->upload_offset,
        .upload_expires = told->upload_expires,
        .retry_after = told->retry_after,
        .certificate_not_after_ms = told->not_after_ms,
    };
    transport->found_ca = told->ca;
    transport->listener.response(transport->listener.context, slot, &response);
    transport->found_ca = (struct bytes){0};
}

static bool is_ca_asked_for(const struct transport_worker *transport, struct bytes der)
{
    if (der.len == 0)
        return true;
    struct sha256 hash = sha256_of(der);
    return transport->has_ca_sha256 && sha256_equal(&hash, &transport->ca_sha256);
}

/* The end of a request that was cancelled. */
static int take_owed(struct transport_worker *transport)
{
    if (transport->owed == 0)
        return -EBADMSG;
    transport->owed--;
    if (transport->owed == 0 && transport->state == WORKER_WORKING)
        alarm_clear(transport->patience);
    return 0;
}

static int take(struct transport_worker *transport, const struct transport_message *message)
{
    if (message->kind != TRANSPORT_RESPONSE && message->kind != TRANSPORT_FAILED)
        return -EBADMSG;
    if (message->slot >= ENGINE_SLOTS_MAX)
        return -EBADMSG;
    struct in_flight *slot = &transport->slots[message->slot];
    if (!slot->busy || slot->serial != message->serial)
        return take_owed(transport);
    if (message->kind == TRANSPORT_RESPONSE && !is_ca_asked_for(transport, message->response.ca))
        return -EBADMSG;
    uint64_t body_len = slot->body_len;
    *slot = (struct in_flight){0};
    if (message->kind == TRANSPORT_RESPONSE)
        give_response(transport, message->slot, body_len, &message->response);
    else
        transport->listener.failed(transport->listener.context, message->slot,
            message->failed.failure == TRANSPORT_FAILED_TLS ? FAILURE_TLS : FAILURE_NETWORK,
            message->failed.detail);
    return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)fd;
    struct transport_worker *transport = context;
    struct transport_message message = {0};
    int r = 0, came = 0;
    if (events & EPOLLOUT)
        r = transport_stream_flush(&transport->stream);
    if (r >= 0 && !transport_stream_has_waiting(&transport->stream))
        r = sd_event_source_set_io_events(transport->io, EPOLLIN);
    if (r >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        r = came = transport_stream_read(&transport->stream, &message);
    if (came > 0)
        r = take(transport, &message);
    if (r < 0)
        worker_lost(transport, r);
    rest_if_done(transport);
    return 0;
}

/* ---- start of a worker ---- */

/* Who cannot be told any more has come to its end: its socket says so on the loop, and what is in flight,
 * this included, has failed then. Only -EMSGSIZE is of the message alone. */
static int tell(struct transport_worker *transport, const struct transport_message *message)
{
    int r = transport_stream_write(&transport->stream, message);
    if (r >= 0 && transport_stream_has_waiting(&transport->stream))
        r = sd_event_source_set_io_events(transport->io, EPOLLIN | EPOLLOUT);
    if (r < 0 && r != -EMSGSIZE)
        shutdown(transport->stream.fd, SHUT_RDWR);
    return r == -EMSGSIZE ? r : 0;
}

static int trust_tell(struct transport_worker *transport)
{
    struct buffer pem _cleanup_buffer_ = {0};
    struct transport_message message = {.kind = TRANSPORT_TRUST};
    if (transport->has_ca_sha256)
        message.trust.ca_sha256 = bytes_of(transport->ca_sha256.b, SHA256_BYTES);
    else if (transport->ca_path) {
        int r = files_read(transport->world, transport->ca_path, CA_PEM_BYTES_MAX, &pem);
        if (r < 0 && r != -ENOENT)
            log_warning(
                "%s cannot be read (%s): nobody is believed over TLS", transport->ca_path, strerror(-r));
        if (r >= 0)
            message.trust.ca_pem = buffer_bytes(&pem);
    }
    return tell(transport, &message);
}

static int worker_start(struct transport_worker *transport)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return -errno;
    _cleanup_close_ int fd = ends[0];
    _cleanup_close_ int theirs = ends[1];
    int r = helper_program_start(transport->path, "patrol-transport", theirs, -1, &transport->pid);
    if (r < 0) {
        log_warning("the network worker %s cannot be started (%s): nothing can be sent", transport->path,
            r == -ENOEXEC ? "is it installed?" : strerror(-r));
        return r;
    }
    transport->stream = (struct transport_stream){.fd = take_fd(&fd)};
    transport->state = WORKER_WORKING;
    transport->counts.started++;
    r = sd_event_add_io(transport->event, &transport->io, transport->stream.fd, EPOLLIN, on_io, transport);
    if (r >= 0)
        r = trust_tell(transport);
    if (r < 0)
        worker_drop(transport, &(siginfo_t){0});
    return r;
}

static int worker_ready(struct transport_worker *transport)
{
    if (transport->state == WORKER_LEAVING)
        worker_drop(transport, &(siginfo_t){0});
    return transport->state == WORKER_WORKING ? 0 : worker_start(transport);
}

/* ---- what it is told ---- */

static int make_url(const struct transport_worker *transport, const char *path, char *ret, size_t size)
{
    bool absolute = strncmp(path, "http://", 7) == 0 || strncmp(path, "https://", 8) == 0;
    int len = snprintf(ret, size, "%s%s", absolute ? "" : transport->server_url, path);
    return len < 0 || (size_t)len >= size ? -EMSGSIZE : 0;
}

static int transport_send(void *context, uint32_t number, const struct http_request *request)
{
    struct transport_worker *transport = context;
    if (number >= ENGINE_SLOTS_MAX || transport->slots[number].busy)
        return -EBUSY;
    char url[TRANSPORT_URL_BYTES_MAX];
    int r = make_url(transport, request->path, url, sizeof(url));
    if (r >= 0)
        r = worker_ready(transport);
    if (r < 0)
        return r;
    struct transport_message message = {
        .kind = TRANSPORT_REQUEST, .slot = number, .serial = ++transport->serial};
    message.request = (struct transport_request){.deadline_ms = request->deadline_ms,
        .verify_at_ms = transport->time.verify_at_ms,
        .ignore_not_before = transport->time.ignore_not_before,
        .method = request->method,
        .url = url,
        .header_count = request->header_count,
        .body = request->body};
    memcpy(message.request.headers, request->headers, sizeof(message.request.headers));
    r = tell(transport, &message);
    if (r < 0) {
        rest_if_done(transport);
        return r;
    }
    alarm_clear(transport->idle);
    transport->slots[number] =
        (struct in_flight){.busy = true, .serial = message.serial, .body_len = request->body.len};
    return 0;
}

static void transport_cancel(void *context, uint32_t number)
{
    struct transport_worker *transport = context;
    if (number >= ENGINE_SLOTS_MAX || !transport->slots[number].busy)
        return;
    struct in_flight slot = transport->slots[number];
    transport->slots[number] = (struct in_flight){0};
    if (slot.lost)
        return;
    struct transport_message message = {.kind = TRANSPORT_CANCEL, .slot = number, .serial = slot.serial};
    (void)tell(transport, &message);
    if (transport->owed++ == 0)
        alarm_set(transport->patience, transport->patience_ms);
    rest_if_done(transport);
}

void transport_worker_network_changed(struct transport_worker *transport)
{
    if (transport->state == WORKER_WORKING)
        (void)tell(transport, &(struct transport_message){.kind = TRANSPORT_NETWORK_CHANGED});
}

int transport_worker_set_server(struct transport_worker *transport, const char *server_url)
{
    size_t len = strlen(server_url);
    if (len >= sizeof(transport->server_url))
        return -EMSGSIZE;
    memcpy(transport->server_url, server_url, len + 1);
    return transport->state == WORKER_WORKING ? trust_tell(transport) : 0;
}

void transport_worker_set_time(struct transport_worker *transport, struct tls_time time)
{
    transport->time = time;
}

/* ---- life ---- */

struct transport transport_worker_verbs(struct transport_worker *transport)
{
    return (struct transport){.send = transport_send, .cancel = transport_cancel, .context = transport};
}

struct transport_worker_counts transport_worker_counted(const struct transport_worker *transport)
{
    return transport->counts;
}

unsigned transport_worker_busy(const struct transport_worker *transport)
{
    unsigned busy = 0;
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        busy += transport->slots[i].busy;
    return busy;
}

struct bytes transport_worker_found_ca(const struct transport_worker *transport)
{
    return transport->found_ca;
}

static char *program_path(void)
{
    /* Beside it, then as a build tree has it for syncd/, for tests/unit/ and tests/tools/. */
    static const char *const places[] = {
        "patrol-transport",
        "transport/patrol-transport",
        "../../syncd/transport/patrol-transport",
        NULL,
    };
    return helper_program_path(&(struct helper_program){.name = "patrol-transport",
        .environment = "PATROL_TRANSPORT",
        .places = places,
        .installed = PATROL_LIBEXECDIR});
}

static int timer_add(sd_event *event, sd_event_time_handler_t handler, struct transport_worker *transport,
    sd_event_source **ret)
{
    int r = sd_event_add_time_relative(event, ret, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US, handler, transport);
    return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

int transport_worker_new(sd_event *event, const struct transport_worker_options *options,
    const struct transport_worker_listener *listener, struct transport_worker **ret)
{
    _cleanup_(transport_worker_free_cleanup) struct transport_worker *transport =
        calloc(1, sizeof(*transport));
    if (!transport)
        return -ENOMEM;
    transport->event = sd_event_ref(event);
    transport->world = options->world;
    transport->path = program_path();
    transport->ca_path = options->ca_path ? strdup(options->ca_path) : NULL;
    transport->has_ca_sha256 = options->has_ca_sha256;
    transport->ca_sha256 = options->ca_sha256;
    transport->idle_ms = options->idle_ms > 0 ? options->idle_ms : TRANSPORT_IDLE_MS;
    transport->patience_ms = options->patience_ms > 0 ? options->patience_ms : TRANSPORT_PATIENCE_MS;
    transport->listener = *listener;
    if (!transport->path || (options->ca_path && !transport->ca_path))
        return -ENOMEM;
    int r = timer_add(event, on_idle, transport, &transport->idle);
    if (r >= 0)
        r = timer_add(event, on_patience, transport, &transport->patience);
    if (r < 0)
        return r;
    *ret = take_ptr(transport);
    return 0;
}

void transport_worker_free(struct transport_worker *transport)
{
    if (!transport)
        return;
    if (transport->state != WORKER_NONE)
        worker_drop(transport, &(siginfo_t){0});
    sd_event_source_disable_unref(transport->idle);
    sd_event_source_disable_unref(transport->patience);
    sd_event_unref(transport->event);
    free(transport->path);
    free(transport->ca_path);
    free(transport);
}
