/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads a server: many handhelds, each on a TLS connection of its own that is kept, each with one exchange in
 * flight. All requests are encoded and signed before the clock starts, and of the answers only the status and
 * the length are looked at, so that the processors are the server's as far as they can be.
 *
 *   bench_load CA-FILE RECORDS EXCHANGES SECONDS < token URLs, one for each handheld
 *
 * Each handheld enrols with its token, then EXCHANGES bodies of RECORDS findings are made for it. "running"
 * is printed when the load begins; it ends after SECONDS, or when one handheld has nothing left. Then one
 * JSON object is printed: what was answered, in which time, how it was spread.
 */
#include "base/text.h"
#include "tests/bench/bench_handheld.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECTIONS_MAX 1000u
#define THREADS_MAX 16u
#define ANSWER_BUFFER_BYTES (64u * 1024u)
#define EVENTS_MAX 256
#define SECOND_NS 1e9

struct connection {
    SSL *ssl;
    int fd;
    const char *host;
    uint8_t token[ENROL_TOKEN_BYTES];
    struct bench_handheld handheld;
    struct buffer requests; /* heads and bodies, one behind the other */
    size_t *ends;
    size_t next, made; /* the request in flight; how many there are */
    size_t sent;       /* of `requests` */
    uint64_t started_ns;
    char answer[ANSWER_BUFFER_BYTES];
    size_t answer_len;
    bool waits_to_write;
};

struct load {
    SSL_CTX *context;
    int epoll_fd;
    size_t records, exchanges;
    struct connection *connections;
    size_t count;
    char host[256], port[16];
    uint32_t *times_us;
    size_t answered, times_max, refused;
    uint64_t bytes_up, bytes_down;
    bool ran_out;
};

struct maker {
    struct load *load;
    size_t first, step;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_load: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* ---- who there is ---- */

static void take_address(struct load *load, const struct token_url *url)
{
    const char *host = strstr(url->server_url, "://") + 3, *port = strrchr(host, ':');

    if (!port || (size_t)(port - host) >= sizeof(load->host))
        fail("the token's URL has no port");
    snprintf(load->host, sizeof(load->host), "%.*s", (int)(port - host), host);
    snprintf(load->port, sizeof(load->port), "%s", port + 1);
}

static void read_tokens(struct load *load)
{
    char line[2048];

    while (load->count < CONNECTIONS_MAX && fgets(line, sizeof(line), stdin)) {
        struct connection *connection = &load->connections[load->count];
        struct token_url url;
        const char *reason = NULL;

        line[strcspn(line, "\r\n")] = '\0';
        if (token_url_parse(line, &url, &reason) < 0)
            fail(reason);
        take_address(load, &url);
        memcpy(connection->token, url.token, sizeof(connection->token));
        connection->host = load->host;
        bench_handheld_init(&connection->handheld, load->count++);
        connection->handheld.as_columns = true;
    }
    if (load->count == 0)
        fail("no token URLs");
}

/* ---- connecting and enrolling, one after the other, blocking ---- */

static int connect_tcp(const struct load *load)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int fd, yes = 1;

    if (getaddrinfo(load->host, load->port, &hints, &list) != 0)
        fail("the server's address cannot be resolved");
    fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, list->ai_addr, list->ai_addrlen) < 0)
        fail("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    freeaddrinfo(list);
    return fd;
}

static void connect_tls(const struct load *load, struct connection *connection)
{
    connection->fd = connect_tcp(load);
    connection->ssl = SSL_new(load->context);
    if (!connection->ssl || SSL_set1_host(connection->ssl, load->host) != 1 ||
        SSL_set_fd(connection->ssl, connection->fd) != 1 || SSL_connect(connection->ssl) != 1)
        fail("no TLS connection");
}

/* Where the body begins, and its length; false when the head is not whole yet. */
static bool parse_head(struct connection *connection, size_t *ret_body, size_t *ret_len)
{
    char *end, *length;
    uint64_t len = 0;

    connection->answer[connection->answer_len] = '\0';
    end = strstr(connection->answer, "\r\n\r\n");
    if (!end)
        return false;
    length = strcasestr(connection->answer, "\r\ncontent-length:");
    if (!length || length > end)
        fail("an answer without Content-Length");
    len = strtoull(length + strlen("\r\ncontent-length:"), NULL, 10);
    *ret_body = (size_t)(end - connection->answer) + 4;
    *ret_len = (size_t)len;
    return true;
}

/* Takes what has come. The answer's status when it is whole, 0 when more is to come. */
static unsigned take_answer(struct connection *connection)
{
    size_t body, len;

    if (!parse_head(connection, &body, &len))
        return 0;
    if (connection->answer_len < body + len)
        return 0;
    return (unsigned)strtoul(connection->answer + strlen("HTTP/1.1 "), NULL, 10);
}

static void read_more(struct connection *connection, size_t got)
{
    connection->answer_len += got;
    if (connection->answer_len >= ANSWER_BUFFER_BYTES - 1)
        fail("an answer is larger than this program takes");
}

static void put_request(
    const struct connection *connection, const char *path, struct bytes body, struct buffer *ret)
{
    char device[UUID_TEXT_LEN + 1];

    text_uuid(connection->handheld.device.b, device);
    buffer_printf(ret, "POST %s HTTP/1.1\r\nHost: %s\r\npatrol-device: %s\r\nContent-Length: %zu\r\n\r\n",
        path, connection->host, device, body.len);
    buffer_put_bytes(ret, body);
    bench_must(buffer_finish(ret), "memory for a request");
}

static void enrol(struct connection *connection)
{
    _cleanup_buffer_ struct buffer body = {0}, request = {0};
    unsigned status = 0;
    int r;

    bench_handheld_enrolment(&connection->handheld, connection->token, &body);
    put_request(connection, "/v1/enrol", buffer_bytes(&body), &request);
    if (SSL_write(connection->ssl, request.data, (int)request.len) != (int)request.len)
        fail("an enrolment cannot be sent");
    while (status == 0) {
        r = SSL_read(connection->ssl, connection->answer + connection->answer_len,
            (int)(ANSWER_BUFFER_BYTES - 1 - connection->answer_len));
        if (r <= 0)
            fail("an enrolment is not answered");
        read_more(connection, (size_t)r);
        status = take_answer(connection);
    }
    if (status != 200)
        fail("an enrolment is refused");
    connection->answer_len = 0;
}

static void connect_all(struct load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        connect_tls(load, &load->connections[i]);
        enrol(&load->connections[i]);
    }
}

/* ---- signing beforehand ---- */

static void *make_requests(void *argument)
{
    const struct maker *maker = argument;
    const struct load *load = maker->load;
    _cleanup_buffer_ struct buffer body = {0};

    for (size_t i = maker->first; i < load->count; i += maker->step) {
        struct connection *connection = &load->connections[i];

        connection->ends = calloc(load->exchanges, sizeof(*connection->ends));
        if (!connection->ends)
            fail("no memory");
        for (; connection->made < load->exchanges; connection->made++) {
            buffer_clear(&body);
            bench_handheld_exchange(&connection->handheld, load->records, &body);
            put_request(connection, "/v1/exchange", buffer_bytes(&body), &connection->requests);
            connection->ends[connection->made] = connection->requests.len;
        }
    }
    return NULL;
}

static void make_all(struct load *load)
{
    size_t threads = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t ids[THREADS_MAX];
    struct maker makers[THREADS_MAX];

    threads = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
    for (size_t i = 0; i < threads; i++) {
        makers[i] = (struct maker){.load = load, .first = i, .step = threads};
        if (pthread_create(&ids[i], NULL, make_requests, &makers[i]) != 0)
            fail("no thread");
    }
    for (size_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    load->times_max = load->count * load->exchanges;
    load->times_us = calloc(load->times_max, sizeof(*load->times_us));
    if (!load->times_us)
        fail("no memory");
}

/* ---- the load ---- */

static void watch(struct load *load, struct connection *connection, int operation, bool to_write)
{
    struct epoll_event event = {.events = EPOLLIN | (to_write ? EPOLLOUT : 0u), .data.ptr = connection};

    connection->waits_to_write = to_write;
    if (epoll_ctl(load->epoll_fd, operation, connection->fd, &event) < 0)
        fail("epoll");
}

/* True when it must be tried again later; ends the program on a broken connection. */
static bool must_wait(struct load *load, struct connection *connection, int r)
{
    int error = SSL_get_error(connection->ssl, r);
    bool to_write = error == SSL_ERROR_WANT_WRITE;

    if (error != SSL_ERROR_WANT_READ && !to_write)
        fail("the server closed a connection");
    if (to_write != connection->waits_to_write)
        watch(load, connection, EPOLL_CTL_MOD, to_write);
    return true;
}

/* False when the socket takes no more for now. */
static bool send_request(struct load *load, struct connection *connection)
{
    while (connection->sent < connection->ends[connection->next]) {
        size_t left = connection->ends[connection->next] - connection->sent;
        int r = SSL_write(connection->ssl, connection->requests.data + connection->sent, (int)left);

        if (r <= 0)
            return !must_wait(load, connection, r);
        connection->sent += (size_t)r;
        load->bytes_up += (uint64_t)r;
    }
    return true;
}

static void note_answer(struct load *load, struct connection *connection, unsigned status)
{
    if (status != 200)
        load->refused++;
    load->times_us[load->answered++] = (uint32_t)((now_ns() - connection->started_ns) / 1000);
    load->bytes_down += connection->answer_len;
    connection->answer_len = 0;
    connection->started_ns = now_ns();
    if (++connection->next >= connection->made)
        load->ran_out = true;
}

/* As far as it goes without waiting. */
static void advance(struct load *load, struct connection *connection)
{
    while (!load->ran_out && send_request(load, connection)) {
        unsigned status;
        int r = SSL_read(connection->ssl, connection->answer + connection->answer_len,
            (int)(ANSWER_BUFFER_BYTES - 1 - connection->answer_len));

        if (r <= 0) {
            (void)must_wait(load, connection, r);
            return;
        }
        read_more(connection, (size_t)r);
        status = take_answer(connection);
        if (status > 0)
            note_answer(load, connection, status);
    }
}

static double run(struct load *load, double seconds)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t start_ns = now_ns(), end_ns = start_ns + (uint64_t)(seconds * SECOND_NS);

    printf("running\n");
    fflush(stdout);
    for (size_t i = 0; i < load->count; i++) {
        load->connections[i].started_ns = now_ns();
        advance(load, &load->connections[i]);
    }
    while (!load->ran_out && now_ns() < end_ns) {
        int count = epoll_wait(load->epoll_fd, events, EVENTS_MAX, 100);

        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count && !load->ran_out; i++)
            advance(load, events[i].data.ptr);
    }
    return (double)(now_ns() - start_ns) / SECOND_NS;
}

static void unblock_all(struct load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        int flags = fcntl(load->connections[i].fd, F_GETFL);

        if (flags < 0 || fcntl(load->connections[i].fd, F_SETFL, flags | O_NONBLOCK) < 0)
            fail("fcntl");
        watch(load, &load->connections[i], EPOLL_CTL_ADD, false);
    }
}

/* ---- what came of it ---- */

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

static double percentile_ms(const struct load *load, double share)
{
    return load->times_us[(size_t)((double)(load->answered - 1) * share)] / 1000.0;
}

static void report(const struct load *load, double seconds)
{
    if (load->answered == 0)
        fail("nothing was answered");
    qsort(load->times_us, load->answered, sizeof(*load->times_us), compare);
    printf("{\"connections\": %zu, \"records\": %zu, \"seconds\": %.2f, \"exchanges\": %zu, \"per_s\": %.1f,"
           " \"refused\": %zu, \"ran_out\": %s, \"p50_ms\": %.1f, \"p99_ms\": %.1f, \"max_ms\": %.1f,"
           " \"bytes_up\": %.1f, \"bytes_down\": %.1f}\n",
        load->count, load->records, seconds, load->answered, (double)load->answered / seconds, load->refused,
        load->ran_out ? "true" : "false", percentile_ms(load, 0.5), percentile_ms(load, 0.99),
        percentile_ms(load, 1), (double)load->bytes_up / (double)load->answered,
        (double)load->bytes_down / (double)load->answered);
}

static SSL_CTX *make_context(const char *ca_path)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (!context || SSL_CTX_load_verify_locations(context, ca_path, NULL) != 1)
        fail(ca_path);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

static void free_all(struct load *load)
{
    for (size_t i = 0; i < load->count; i++) {
        SSL_free(load->connections[i].ssl);
        close(load->connections[i].fd);
        buffer_done(&load->connections[i].requests);
        free(load->connections[i].ends);
    }
    free(load->connections);
    free(load->times_us);
    close(load->epoll_fd);
    SSL_CTX_free(load->context);
}

int main(int argc, char **argv)
{
    struct load load = {0};
    uint64_t records, exchanges;
    double seconds;

    if (argc != 5 || text_parse_u64(argv[2], &records) < 0 || text_parse_u64(argv[3], &exchanges) < 0 ||
        text_parse_double(argv[4], &seconds) < 0 || records < 1 || records > EXCHANGE_RECORDS_MAX ||
        exchanges < 1 || seconds <= 0) {
        fputs("usage: bench_load CA-FILE RECORDS EXCHANGES SECONDS < token URLs\n", stderr);
        return 2;
    }
    load.records = (size_t)records;
    load.exchanges = (size_t)exchanges;
    load.context = make_context(argv[1]);
    load.connections = calloc(CONNECTIONS_MAX, sizeof(*load.connections));
    load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!load.connections || load.epoll_fd < 0)
        fail("no memory");
    read_tokens(&load);
    make_all(&load);
    connect_all(&load); /* only now: the server closes connections on which nothing comes */
    unblock_all(&load);
    report(&load, run(&load, seconds));
    free_all(&load);
    return 0;
}
