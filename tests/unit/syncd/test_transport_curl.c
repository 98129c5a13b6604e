/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of syncd/transport/curl.h: which connections requests go over. The centre is a socket on the same
 * loop that counts; it answers when as many requests wait as it was told to gather.
 */
#include "tests/unit/unit.h"

#include "syncd/transport/curl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define CONNECTIONS_MAX 16u
#define DEADLINE_MS 10000u
#define BODY_BYTES ((size_t)16 << 20) /* more than two kernels hold of a connection */

struct scene;

struct connection {
    struct scene *scene;
    int fd;
    sd_event_source *source;
    char request[1024];
    size_t request_len;
    bool waits; /* its request is not answered yet */
};

struct scene {
    sd_event *event;
    int listener;
    sd_event_source *listening;
    struct tls_trust trust;
    struct transport_curl *transport;
    char url[64];
    struct connection connections[CONNECTIONS_MAX];
    size_t connection_count, old_count;
    unsigned gather, waiting;
    unsigned over_old; /* requests that came over a connection from before the network changed */
    unsigned answered, failed;
};

/* ---- the centre ---- */

static void answer_all(struct scene *scene)
{
    static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";

    for (size_t i = 0; i < scene->connection_count; i++) {
        struct connection *connection = &scene->connections[i];

        if (!connection->waits)
            continue;
        connection->waits = false;
        assert_int_equal(send(connection->fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
    }
    scene->waiting = 0;
}

static int on_bytes(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct connection *connection = context;
    struct scene *scene = connection->scene;
    size_t room = sizeof(connection->request) - 1 - connection->request_len;
    ssize_t len = recv(fd, connection->request + connection->request_len, room, 0);

    (void)events;
    if (len <= 0)
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
    connection->request_len += (size_t)len;
    connection->request[connection->request_len] = '\0';
    if (!strstr(connection->request, "\r\n\r\n"))
        return 0;
    connection->request_len = 0;
    connection->waits = true;
    scene->waiting++;
    if (connection < scene->connections + scene->old_count)
        scene->over_old++;
    if (scene->waiting >= scene->gather)
        answer_all(scene);
    return 0;
}

static int on_connect(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct scene *scene = context;
    struct connection *connection = &scene->connections[scene->connection_count];

    (void)source;
    (void)events;
    assert_true(scene->connection_count < CONNECTIONS_MAX);
    connection->scene = scene;
    /* cppcheck-suppress nullPointer ; the address is not wanted, and accept4 allows NULL */
    connection->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(connection->fd >= 0);
    scene->connection_count++;
    return sd_event_add_io(scene->event, &connection->source, connection->fd, EPOLLIN, on_bytes, connection);
}

/* ---- the handheld ---- */

static void on_response(void *context, uint32_t slot, const struct http_response *response)
{
    struct scene *scene = context;

    (void)slot;
    assert_int_equal(response->status, 204);
    scene->answered++;
}

static void on_failed(void *context, uint32_t slot, enum transport_failure failure, const char *detail)
{
    struct scene *scene = context;

    (void)slot;
    (void)failure;
    (void)detail;
    scene->failed++;
}

static void begin(struct scene *scene)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    *scene = (struct scene){.gather = 1};
    assert_true(sd_event_new(&scene->event) >= 0);
    scene->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(scene->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(scene->listener, CONNECTIONS_MAX), 0);
    assert_int_equal(getsockname(scene->listener, (struct sockaddr *)&address, &len), 0);
    assert_true(
        sd_event_add_io(scene->event, &scene->listening, scene->listener, EPOLLIN, on_connect, scene) >= 0);
    const struct transport_curl_listener listener = {on_response, on_failed, scene};
    assert_int_equal(transport_curl_new(scene->event, &scene->trust, &listener, &scene->transport), 0);
    snprintf(scene->url, sizeof(scene->url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
}

static void end(struct scene *scene)
{
    transport_curl_free(scene->transport);
    for (size_t i = 0; i < scene->connection_count; i++) {
        sd_event_source_disable_unref(scene->connections[i].source);
        close(scene->connections[i].fd);
    }
    sd_event_source_disable_unref(scene->listening);
    close(scene->listener);
    sd_event_unref(scene->event);
}

static void ask(struct scene *scene, uint32_t slot)
{
    const struct http_request request = {.method = "HEAD", .path = scene->url, .deadline_ms = DEADLINE_MS};

    assert_int_equal(transport_curl_send(scene->transport, slot, &request), 0);
}

static void run_until_answered(struct scene *scene, unsigned count)
{
    while (scene->answered < count && scene->failed == 0)
        assert_true(sd_event_run(scene->event, UINT64_MAX) >= 0);
    assert_int_equal(scene->failed, 0);
}

/* Two requests at once, and so two connections that are kept. */
static void ask_two_at_once(struct scene *scene)
{
    unsigned before = scene->answered;

    scene->gather = 2;
    ask(scene, 0);
    ask(scene, 1);
    run_until_answered(scene, before + 2);
    scene->gather = 1;
}

static void change_network(struct scene *scene)
{
    scene->old_count = scene->connection_count;
    transport_curl_drop_connections(scene->transport);
}

/* ---- stories ---- */

static void requests_share_the_kept_connections_while_the_network_stays(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    ask_two_at_once(&scene);
    ask_two_at_once(&scene);
    ask(&scene, 0);
    run_until_answered(&scene, 5);
    assert_int_equal(scene.connection_count, 2);
    end(&scene);
}

static void requests_in_a_row_after_the_network_changed_go_over_new_connections(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    ask_two_at_once(&scene);
    change_network(&scene);
    for (unsigned i = 0; i < 3; i++) {
        ask(&scene, 0);
        run_until_answered(&scene, 3 + i);
    }
    assert_int_equal(scene.over_old, 0);
    end(&scene);
}

static void requests_at_once_after_the_network_changed_go_over_new_connections(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    ask_two_at_once(&scene);
    change_network(&scene);
    ask_two_at_once(&scene);
    ask_two_at_once(&scene);
    assert_int_equal(scene.over_old, 0);
    assert_int_equal(scene.connection_count, 4);
    end(&scene);
}

static void a_request_in_flight_is_still_answered_when_the_network_changes(void **state)
{
    struct scene scene;

    (void)state;
    begin(&scene);
    ask_two_at_once(&scene);
    scene.gather = 2;
    ask(&scene, 0);
    while (scene.waiting == 0)
        assert_true(sd_event_run(scene.event, UINT64_MAX) >= 0);
    change_network(&scene);
    ask(&scene, 1);
    run_until_answered(&scene, 4);
    assert_int_equal(scene.over_old, 0);
    assert_int_equal(scene.connection_count, 3);
    end(&scene);
}

/* What is read until the other end is done with the connection; how it has ended. */
static int how_it_ends(int fd)
{
    static char bytes[1 << 16];
    ssize_t len;

    do
        len = recv(fd, bytes, sizeof(bytes), 0);
    while (len > 0);
    return len < 0 ? errno : 0;
}

static void a_request_that_is_cancelled_takes_back_what_the_kernel_still_holds(void **state)
{
    struct scene scene;
    _cleanup_free_ char *body = calloc(1, BODY_BYTES);

    (void)state;
    assert_non_null(body);
    begin(&scene);
    scene.gather = 2; /* nobody answers */
    for (unsigned round = 0; round < 2; round++) {
        const struct http_request request = {.method = "PATCH",
            .path = scene.url,
            .body = bytes_of(body, BODY_BYTES),
            .deadline_ms = DEADLINE_MS};

        assert_int_equal(transport_curl_send(scene.transport, round, &request), 0);
        while (scene.waiting == 0)
            assert_true(sd_event_run(scene.event, UINT64_MAX) >= 0);
        transport_curl_cancel(scene.transport, round);
        assert_int_equal(how_it_ends(scene.connections[scene.connection_count - 1].fd), ECONNRESET);
        scene.waiting = 0;
    }
    assert_int_equal(scene.failed, 0);
    end(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_share_the_kept_connections_while_the_network_stays),
        cmocka_unit_test(requests_in_a_row_after_the_network_changed_go_over_new_connections),
        cmocka_unit_test(requests_at_once_after_the_network_changed_go_over_new_connections),
        cmocka_unit_test(a_request_in_flight_is_still_answered_when_the_network_changes),
        cmocka_unit_test(a_request_that_is_cancelled_takes_back_what_the_kernel_still_holds),
    };

    return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
