/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport/curl.h"

#include "syncd/transport/poor_link.h"

#include <curl/curl.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Two addresses are tried at once for each slot, besides the connections that are kept. */
#define SOCKETS_MAX (2 * TRANSPORT_SLOTS_MAX + EXCHANGES_IN_FLIGHT_MAX)

struct open_socket {
    int fd;
    bool in_use; /* libcurl waits for it: it serves a request */
    bool may_be_bounded;
    size_t held; /* poor_link_fit */
};

struct request_slot {
    struct transport_curl *transport;
    CURL *easy; /* kept between requests: libcurl keeps its buffers with it */
    bool busy;
    curl_socket_t fd; /* of its connection, while libcurl waits for that */
    uint32_t number;
    struct curl_slist *headers;
    struct buffer body_up, body_down;
    size_t sent;
    char location[HTTP_LOCATION_MAX], upload_offset[32], upload_expires[64], retry_after[64];
};

struct transport_curl {
    sd_event *event;
    sd_event_source *timer;
    sd_event_source *done; /* tells results outside of libcurl's callbacks */
    CURLM *multi;
    CURLSH *shared; /* TLS sessions: each easy handle would keep its own */
    struct tls_trust *trust;
    struct transport_curl_listener listener;
    struct open_socket sockets[SOCKETS_MAX];
    size_t socket_count;
    struct request_slot slots[TRANSPORT_SLOTS_MAX];
};

/* ---- results ---- */

static enum transport_failure failure_of(CURLcode code)
{
    switch ((int)code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
        return TRANSPORT_FAILED_TLS;
    default:
        return TRANSPORT_FAILED_NETWORK;
    }
}

static const char *text_or_null(const char *text)
{
    return text[0] ? text : NULL;
}

static void slot_rest(struct request_slot *slot)
{
    curl_multi_remove_handle(slot->transport->multi, slot->easy);
    curl_slist_free_all(slot->headers);
    slot->headers = NULL;
    buffer_done(&slot->body_up);
    slot->busy = false;
}

static void slot_tell(struct request_slot *slot, CURLcode code)
{
    const struct transport_curl_listener *listener = &slot->transport->listener;
    long status = 0;
    curl_off_t up = 0, down = 0;
    curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(slot->easy, CURLINFO_SIZE_UPLOAD_T, &up);
    curl_easy_getinfo(slot->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    slot_rest(slot);
    /* The listener may use the slot again at once: what it is told about lives here. */
    struct buffer body = slot->body_down;
    slot->body_down = (struct buffer){0};
    if (code == CURLE_OK) {
        char location[HTTP_LOCATION_MAX], offset[32], expires[64], retry[64];
        memcpy(location, slot->location, sizeof(location));
        memcpy(offset, slot->upload_offset, sizeof(offset));
        memcpy(expires, slot->upload_expires, sizeof(expires));
        memcpy(retry, slot->retry_after, sizeof(retry));
        struct http_response response = {
            .status = (unsigned)status,
            .body = buffer_bytes(&body),
            .bytes_sent = (uint64_t)up,
            .bytes_received = (uint64_t)down,
            .location = text_or_null(location),
            .upload_offset = text_or_null(offset),
            .upload_expires = text_or_null(expires),
            .retry_after = text_or_null(retry),
            .certificate_not_after_ms = slot->transport->trust->peer_not_after_ms,
        };
        listener->response(listener->context, slot->number, &response);
    } else {
        listener->failed(listener->context, slot->number, failure_of(code), curl_easy_strerror(code));
    }
    buffer_done(&body);
}

static int on_done(sd_event_source *source, void *context)
{
    struct transport_curl *transport = context;
    (void)source;
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(transport->multi, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        struct request_slot *slot = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
        slot_tell(slot, code);
    }
    return 0;
}

/* libcurl may not be called back from inside its callbacks, and the agent may send from inside ours: results
 * are told from an event source of their own. */
static void results_later(struct transport_curl *transport)
{
    sd_event_source_set_enabled(transport->done, SD_EVENT_ONESHOT);
}

/* ---- sockets and timers of libcurl on the loop ---- */

static struct open_socket *find_socket(struct transport_curl *transport, int fd)
{
    for (size_t i = 0; i < transport->socket_count; i++)
        if (transport->sockets[i].fd == fd)
            return &transport->sockets[i];
    return NULL;
}

static int socket_opened(void *context, curl_socket_t fd, curlsocktype purpose)
{
    (void)purpose;
    struct transport_curl *transport = context;
    bool may_be_bounded = poor_link_begin(fd);
    /* One too many is only not forgotten when the network changes, and not bounded. */
    if (transport->socket_count < SOCKETS_MAX)
        transport->sockets[transport->socket_count++] =
            (struct open_socket){.fd = fd, .may_be_bounded = may_be_bounded};
    return CURL_SOCKOPT_OK;
}

static int socket_closed(void *context, curl_socket_t fd)
{
    struct transport_curl *transport = context;
    struct open_socket *closed = find_socket(transport, fd);
    if (closed)
        *closed = transport->sockets[--transport->socket_count];
    return close(fd);
}

static int on_socket(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    struct transport_curl *transport = context;
    int action = 0, running;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        action |= CURL_CSELECT_IN;
    if (events & EPOLLOUT) {
        struct open_socket *writable = find_socket(transport, fd);

        if (writable && writable->may_be_bounded)
            poor_link_fit(fd, &writable->held);
        action |= CURL_CSELECT_OUT;
    }
    curl_multi_socket_action(transport->multi, fd, action, &running);
    results_later(transport);
    return 0;
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
    struct transport_curl *transport = context;
    sd_event_source *source = socket_context;
    struct open_socket *wanted = find_socket(transport, fd); /* NULL: the resolver's */
    struct request_slot *slot = NULL;
    if (wanted) {
        wanted->in_use = what != CURL_POLL_REMOVE;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &slot);
    }
    if (slot && what != CURL_POLL_REMOVE)
        slot->fd = fd;
    else if (slot && slot->fd == fd) /* and not one that was tried beside it */
        slot->fd = CURL_SOCKET_BAD;
    if (what == CURL_POLL_REMOVE) {
        if (source)
            sd_event_source_disable_unref(source);
        curl_multi_assign(transport->multi, fd, NULL);
        return 0;
    }
    uint32_t events = 0;
    if (what & CURL_POLL_IN)
        events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        events |= EPOLLOUT;
    if (source)
        return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
    if (sd_event_add_io(transport->event, &source, fd, events, on_socket, transport) < 0)
        return -1;
    curl_multi_assign(transport->multi, fd, source);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    struct transport_curl *transport = context;
    int running;
    curl_multi_socket_action(transport->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    results_later(transport);
    return 0;
}

static int timer_wanted(CURLM *multi, long timeout_ms, void *context)
{
    (void)multi;
    struct transport_curl *transport = context;
    if (timeout_ms < 0)
        return sd_event_source_set_enabled(transport->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
    if (sd_event_source_set_time_relative(transport->timer, (uint64_t)timeout_ms * 1000) < 0)
        return -1;
    return sd_event_source_set_enabled(transport->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

/* ---- one request ---- */

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct request_slot *slot = context;
    size_t len = size * count;
    if (len > ANSWER_BYTES_MAX - slot->body_down.len)
        return 0; /* ends the transfer: nobody sends us that much */
    buffer_put(&slot->body_down, data, len);
    return buffer_finish(&slot->body_down) < 0 ? 0 : len;
}

static size_t give_body(char *ret, size_t size, size_t count, void *context)
{
    struct request_slot *slot = context;
    size_t left = slot->body_up.len - slot->sent;
    size_t len = size * count < left ? size * count : left;
    if (len > 0)
        memcpy(ret, slot->body_up.data + slot->sent, len);
    slot->sent += len;
    return len;
}

/* A kept connection may turn out dead after part of the body was sent: libcurl then asks to start over. */
static int rewind_body(void *context, curl_off_t offset, int origin)
{
    struct request_slot *slot = context;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > slot->body_up.len)
        return CURL_SEEKFUNC_FAIL;
    slot->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static void keep_header(const char *line, size_t len, const char *name, char *ret, size_t capacity)
{
    size_t name_len = strlen(name);
    if (len <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
        return;
    const char *value = line + name_len + 1;
    const char *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    if ((size_t)(end - value) >= capacity)
        return;
    for (const char *at = value; at < end; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return;
    memcpy(ret, value, (size_t)(end - value));
    ret[end - value] = '\0';
}

static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    struct request_slot *slot = context;
    size_t len = size * count;
    keep_header(line, len, "location", slot->location, sizeof(slot->location));
    keep_header(line, len, "upload-offset", slot->upload_offset, sizeof(slot->upload_offset));
    keep_header(line, len, "upload-expires", slot->upload_expires, sizeof(slot->upload_expires));
    keep_header(line, len, "retry-after", slot->retry_after, sizeof(slot->retry_after));
    return len;
}

static CURLcode set_up_tls(CURL *easy, void *ssl_context, void *context)
{
    (void)easy;
    struct transport_curl *transport = context;
    return tls_trust_apply(transport->trust, ssl_context) < 0 ? CURLE_SSL_CACERT_BADFILE : CURLE_OK;
}

static int add_header(struct request_slot *slot, const char *line)
{
    struct curl_slist *list = curl_slist_append(slot->headers, line);
    if (!list)
        return -ENOMEM;
    slot->headers = list;
    return 0;
}

static int set_headers(struct request_slot *slot, const struct http_request *request)
{
    int r = 0;
    bool has_type = false;
    for (size_t i = 0; i < request->header_count && r >= 0; i++) {
        char line[HTTP_LOCATION_MAX + 64];
        int len = snprintf(line, sizeof(line), "%s: %s", request->headers[i].name, request->headers[i].value);
        if (len < 0 || (size_t)len >= sizeof(line))
            return -EMSGSIZE;
        has_type = has_type || strcmp(request->headers[i].name, "content-type") == 0;
        r = add_header(slot, line);
    }
    /* Every byte of a request crosses a slow link: libcurl's own extras are taken out. */
    if (r >= 0)
        r = add_header(slot, "accept:");
    if (r >= 0)
        r = add_header(slot, "expect:");
    if (r >= 0 && !has_type)
        r = add_header(slot, "content-type:");
    return r;
}

static void set_options(struct request_slot *slot, const struct http_request *request)
{
    struct transport_curl *transport = slot->transport;
    CURL *easy = slot->easy;
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
    curl_easy_setopt(easy, CURLOPT_URL, request->path);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, set_up_tls);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transport);
    curl_easy_setopt(easy, CURLOPT_SHARE, transport->shared);
    curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, (long)tls_trust_may_resume(transport->trust));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)TRANSPORT_CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)TRANSPORT_LOW_SPEED_BYTES);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)TRANSPORT_LOW_SPEED_S);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)TRANSPORT_KEEP_S);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, socket_opened);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, transport);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, socket_closed);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transport);
    if (request->deadline_ms > 0)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->deadline_ms);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, slot);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, slot->headers);
    if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
    curl_easy_setopt(easy, CURLOPT_READDATA, slot);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind_body);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, slot);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)slot->body_up.len);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

int transport_curl_send(struct transport_curl *transport, uint32_t number, const struct http_request *request)
{
    if (number >= TRANSPORT_SLOTS_MAX || transport->slots[number].busy)
        return -EBUSY;
    struct request_slot *slot = &transport->slots[number];
    if (!slot->easy) {
        slot->easy = curl_easy_init();
        if (!slot->easy)
            return -ENOMEM;
    }
    slot->location[0] = slot->upload_offset[0] = slot->upload_expires[0] = slot->retry_after[0] = '\0';
    slot->sent = 0;
    slot->fd = CURL_SOCKET_BAD;
    buffer_clear(&slot->body_down);
    buffer_clear(&slot->body_up);
    buffer_put_bytes(&slot->body_up, request->body);
    int r = buffer_finish(&slot->body_up);
    if (r >= 0)
        r = set_headers(slot, request);
    if (r >= 0) {
        set_options(slot, request);
        if (curl_multi_add_handle(transport->multi, slot->easy) != CURLM_OK)
            r = -EIO;
    }
    if (r < 0) {
        curl_slist_free_all(slot->headers);
        slot->headers = NULL;
        return r;
    }
    slot->busy = true;
    return 0;
}

/* What the kernel still holds of a request that nobody waits for would take the link from what goes instead:
 * it is thrown away with the connection, which libcurl closes. */
static void drop_unsent(struct request_slot *slot)
{
    const struct linger at_once = {.l_onoff = 1};

    /* (CURLINFO_ACTIVESOCKET knows the socket of a request only when that has ended.) */
    if (slot->fd != CURL_SOCKET_BAD)
        (void)setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

void transport_curl_cancel(struct transport_curl *transport, uint32_t number)
{
    if (number >= TRANSPORT_SLOTS_MAX || !transport->slots[number].busy)
        return;
    drop_unsent(&transport->slots[number]);
    slot_rest(&transport->slots[number]);
}

/* ---- life ---- */

void transport_curl_drop_connections(struct transport_curl *transport)
{
    /* libcurl has no call for it, but it looks whether the other end has closed a connection before it uses
     * it again: a socket that is shut down here looks so. Those of requests in flight may still bring an
     * answer. */
    for (size_t i = 0; i < transport->socket_count; i++)
        if (!transport->sockets[i].in_use)
            shutdown(transport->sockets[i].fd, SHUT_RDWR);
}

int transport_curl_new(sd_event *event, struct tls_trust *trust,
    const struct transport_curl_listener *listener, struct transport_curl **ret)
{
    struct transport_curl *transport = calloc(1, sizeof(*transport));
    if (!transport)
        return -ENOMEM;
    transport->event = sd_event_ref(event);
    transport->trust = trust;
    transport->listener = *listener;
    for (uint32_t i = 0; i < TRANSPORT_SLOTS_MAX; i++) {
        transport->slots[i].transport = transport;
        transport->slots[i].number = i;
    }
    int r = sd_event_add_time_relative(
        event, &transport->timer, CLOCK_MONOTONIC, UINT64_MAX / 4, 1000, on_timer, transport);
    if (r >= 0)
        r = sd_event_source_set_enabled(transport->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_defer(event, &transport->done, on_done, transport);
    if (r >= 0)
        r = sd_event_source_set_enabled(transport->done, SD_EVENT_OFF);
    if (r >= 0) {
        transport->multi = curl_multi_init();
        transport->shared = curl_share_init();
        if (!transport->multi || !transport->shared)
            r = -ENOMEM;
    }
    if (r < 0) {
        transport_curl_free(transport);
        return r;
    }
    curl_share_setopt(transport->shared, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(transport->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(transport->multi, CURLMOPT_SOCKETDATA, transport);
    curl_multi_setopt(transport->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(transport->multi, CURLMOPT_TIMERDATA, transport);
    curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, (long)EXCHANGES_IN_FLIGHT_MAX);
    *ret = transport;
    return 0;
}

void transport_curl_free(struct transport_curl *transport)
{
    if (!transport)
        return;
    for (size_t i = 0; i < TRANSPORT_SLOTS_MAX; i++) {
        struct request_slot *slot = &transport->slots[i];
        if (slot->busy)
            slot_rest(slot);
        if (slot->easy)
            curl_easy_cleanup(slot->easy);
        buffer_done(&slot->body_up);
        buffer_done(&slot->body_down);
    }
    if (transport->multi)
        curl_multi_cleanup(transport->multi);
    if (transport->shared)
        curl_share_cleanup(transport->shared);
    sd_event_source_disable_unref(transport->timer);
    sd_event_source_disable_unref(transport->done);
    sd_event_unref(transport->event);
    free(transport);
}
