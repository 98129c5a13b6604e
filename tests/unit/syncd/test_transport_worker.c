/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of syncd/transport_worker.h, with the real patrol-transport of this build, and with workers that are
 * shell scripts of evil intent. The centre is a socket on the same loop, which answers when it is told to.
 */
#include "tests/unit/unit.h"

#include "syncd/transport_worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define CONNECTIONS_MAX 16u
#define DEADLINE_MS 10000u

struct scene;

struct connection {
    struct scene *scene;
    int fd;
    sd_event_source *source;
    char request[4096];
    size_t request_len;
};

struct scene {
    sd_event *event;
    int listener;
    sd_event_source *listening;
    struct transport_worker *transport;
    struct transport verbs;
    char url[64];
    char *directory;
    struct connection connections[CONNECTIONS_MAX];
    size_t connection_count;
    unsigned requests; /* that reached the centre */
    bool silent;       /* it does not answer */
    unsigned answered, failed, rested, lost;
    struct http_response last;
    char last_body[32], last_location[32], last_detail[128];
    enum engine_failure last_failure;
    bool send_again; /* from inside of the next failure */
};

/* ---- the centre ---- */

static int on_bytes(sd_event_source *source, int fd, uint32_t events, void *context)
{
    static const char answer[] = "HTTP/1.1 201 Created\r\nLocation: /there\r\nContent-Length: 5\r\n\r\nhello";
    struct connection *connection = context;
    size_t room = sizeof(connection->request) - 1 - connection->request_len;
    ssize_t len = recv(fd, connection->request + connection->request_len, room, 0);

    (void)events;
    if (len <= 0)
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
    connection->request_len += (size_t)len;
    connection->request[connection->request_len] = '\0';
    if (!strstr(connection->request, "\r\n\r\nbody"))
        return 0;
    connection->request_len = 0;
    connection->scene->requests++;
    if (!connection->scene->silent)
        assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
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

static int try_to_ask(struct scene *scene, uint32_t slot)
{
    const struct http_request request = {.method = "POST",
        .path = "/v1/exchange",
        .headers = {{"patrol-device", "x"}},
        .header_count = 1,
        .body = bytes_of_text("body"),
        .deadline_ms = DEADLINE_MS};

    return scene->verbs.send(scene->verbs.context, slot, &request);
}

static void ask(struct scene *scene, uint32_t slot)
{
    assert_int_equal(try_to_ask(scene, slot), 0);
}

static void on_response(void *context, uint32_t slot, const struct http_response *response)
{
    struct scene *scene = context;

    (void)slot;
    scene->answered++;
    scene->last = *response;
    snprintf(scene->last_body, sizeof(scene->last_body), "%.*s", (int)response->body.len,
        (const char *)response->body.data);
    if (response->location)
        snprintf(scene->last_location, sizeof(scene->last_location), "%s", response->location);
}

static void on_failed(void *context, uint32_t slot, enum engine_failure failure, const char *detail)
{
    struct scene *scene = context;

    scene->failed++;
    scene->last_failure = failure;
    snprintf(scene->last_detail, sizeof(scene->last_detail), "%s", detail);
    if (scene->send_again) {
        scene->send_again = false;
        ask(scene, slot);
    }
}

static void on_rested(void *context)
{
    ((struct scene *)context)->rested++;
}

static void on_lost(void *context)
{
    ((struct scene *)context)->lost++;
}

static void listen_here(struct scene *scene)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    scene->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(scene->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(scene->listener, CONNECTIONS_MAX), 0);
    assert_int_equal(getsockname(scene->listener, (struct sockaddr *)&address, &len), 0);
    assert_true(
        sd_event_add_io(scene->event, &scene->listening, scene->listener, EPOLLIN, on_connect, scene) >= 0);
    snprintf(scene->url, sizeof(scene->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
}

static void open_transport(struct scene *scene, const struct transport_worker_options *given)
{
    const struct transport_worker_listener listener = {
        .response = on_response, .failed = on_failed, .rested = on_rested, .lost = on_lost, .context = scene};
    struct transport_worker_options options = *given;

    options.world = world_posix();
    assert_int_equal(transport_worker_new(scene->event, &options, &listener, &scene->transport), 0);
    assert_int_equal(transport_worker_set_server(scene->transport, scene->url), 0);
    transport_worker_set_time(scene->transport, (struct tls_time){.verify_at_ms = INT64_C(1767225600000)});
    scene->verbs = transport_worker_verbs(scene->transport);
}

static int begin(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    scene->directory = unit_directory_make();
    assert_true(sd_event_new(&scene->event) >= 0);
    listen_here(scene);
    *state = scene;
    return 0;
}

static bool has_children(void)
{
    siginfo_t info = {0};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static int end(void **state)
{
    struct scene *scene = *state;

    transport_worker_free(scene->transport);
    assert_false(has_children());
    for (size_t i = 0; i < scene->connection_count; i++) {
        sd_event_source_disable_unref(scene->connections[i].source);
        close(scene->connections[i].fd);
    }
    sd_event_source_disable_unref(scene->listening);
    close(scene->listener);
    sd_event_unref(scene->event);
    unit_directory_remove(scene->directory);
    unsetenv("PATROL_TRANSPORT");
    free(scene);
    return 0;
}

#define RUN_UNTIL(scene, condition)                                                                          \
    while (!(condition))                                                                                     \
    assert_true(sd_event_run((scene)->event, UINT64_MAX) >= 0)

/* The only child that there is. */
static pid_t worker(void)
{
    _cleanup_fclose_ FILE *file = fopen("/proc/thread-self/children", "re");
    int pid = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    return (pid_t)pid;
}

/* Makes the worker be this shell script; its socket is descriptor 0. */
static void be_worker(const struct scene *scene, const char *script)
{
    _cleanup_free_ char *path = NULL;

    assert_true(asprintf(&path, "%s/worker", scene->directory) > 0);
    _cleanup_fclose_ FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    assert_int_equal(fchmod(fileno(file), 0700), 0);
    setenv("PATROL_TRANSPORT", path, 1);
}

/* ---- stories ---- */

static void a_request_starts_a_worker_and_is_answered_through_it(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){0});
    assert_false(has_children());
    ask(scene, 0);
    assert_true(has_children());
    assert_int_equal(try_to_ask(scene, 0), -EBUSY);
    assert_int_equal(transport_worker_busy(scene->transport), 1);
    RUN_UNTIL(scene, scene->answered == 1);
    assert_int_equal(scene->last.status, 201);
    assert_string_equal(scene->last_body, "hello");
    assert_string_equal(scene->last_location, "/there");
    assert_null(scene->last.retry_after);
    assert_int_equal(scene->last.bytes_sent, 4);
    assert_int_equal(scene->last.bytes_received, 5);
    assert_int_equal(transport_worker_busy(scene->transport), 0);
    pid_t first = worker();
    ask(scene, 1);
    RUN_UNTIL(scene, scene->answered == 2);
    assert_int_equal(worker(), first);
    assert_int_equal(scene->connection_count, 1);
}

static void a_killed_worker_costs_the_requests_in_flight_and_another_one_is_started(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){0});
    scene->silent = true;
    ask(scene, 0);
    ask(scene, 2);
    RUN_UNTIL(scene, scene->requests == 2);
    scene->silent = false;
    scene->send_again = true;
    kill(worker(), SIGKILL);
    RUN_UNTIL(scene, scene->answered == 1);
    assert_int_equal(scene->failed, 2);
    assert_int_equal(scene->last_failure, FAILURE_NETWORK);
    assert_non_null(strstr(scene->last_detail, "signal 9"));
    assert_int_equal(transport_worker_busy(scene->transport), 0);
    assert_int_equal(scene->lost, 1);
    assert_int_equal(transport_worker_counted(scene->transport).started, 2);
    assert_int_equal(transport_worker_counted(scene->transport).lost, 1);
}

static void the_worker_ends_when_it_is_idle_and_comes_back(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){.idle_ms = 100});
    for (unsigned i = 1; i <= 2; i++) {
        ask(scene, 0);
        RUN_UNTIL(scene, scene->answered == i);
        RUN_UNTIL(scene, scene->rested == i);
        assert_false(has_children());
    }
    assert_int_equal(scene->failed, 0);
    assert_int_equal(scene->connection_count, 2);
    assert_int_equal(transport_worker_counted(scene->transport).started, 2);
    assert_int_equal(transport_worker_counted(scene->transport).lost, 0);
}

static void a_request_in_flight_keeps_the_worker(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){.idle_ms = 1});
    scene->silent = true;
    ask(scene, 0);
    RUN_UNTIL(scene, scene->requests == 1);
    /* Its idle time passes some times while nothing happens. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(sd_event_run(scene->event, 1500000), 0);
    assert_int_equal(scene->rested, 0);
    assert_true(has_children());
}

static void a_cancelled_request_is_not_told_and_its_slot_is_free_at_once(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){0});
    scene->silent = true;
    ask(scene, 0);
    RUN_UNTIL(scene, scene->requests == 1);
    scene->verbs.cancel(scene->verbs.context, 0);
    assert_int_equal(transport_worker_busy(scene->transport), 0);
    scene->silent = false;
    ask(scene, 0);
    RUN_UNTIL(scene, scene->answered == 1);
    assert_int_equal(scene->failed, 0);
}

static void a_worker_that_hangs_is_replaced(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){.patience_ms = 200});
    scene->silent = true;
    ask(scene, 0);
    RUN_UNTIL(scene, scene->requests == 1);
    pid_t first = worker();
    kill(first, SIGSTOP);
    scene->silent = false;
    scene->verbs.cancel(scene->verbs.context, 0);
    ask(scene, 1);
    RUN_UNTIL(scene, scene->failed == 1);
    assert_non_null(strstr(scene->last_detail, "did not answer"));
    assert_false(has_children());
    ask(scene, 1);
    RUN_UNTIL(scene, scene->answered == 1);
}

static void a_worker_that_does_not_leave_is_made_to(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){.idle_ms = 300, .patience_ms = 200});
    ask(scene, 0);
    RUN_UNTIL(scene, scene->answered == 1);
    kill(worker(), SIGSTOP);
    RUN_UNTIL(scene, !has_children());
    assert_int_equal(scene->failed, 0);
}

static void requests_after_the_network_changed_go_over_new_connections(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){0});
    transport_worker_network_changed(scene->transport); /* nobody is there to be told */
    assert_false(has_children());
    ask(scene, 0);
    RUN_UNTIL(scene, scene->answered == 1);
    transport_worker_network_changed(scene->transport);
    ask(scene, 0);
    RUN_UNTIL(scene, scene->answered == 2);
    assert_int_equal(scene->connection_count, 2);
}

static void another_server_ends_the_requests_to_the_last_one(void **state)
{
    struct scene *scene = *state;

    open_transport(scene, &(struct transport_worker_options){0});
    scene->silent = true;
    ask(scene, 0);
    RUN_UNTIL(scene, scene->requests == 1);
    scene->silent = false;
    assert_int_equal(transport_worker_set_server(scene->transport, scene->url), 0);
    ask(scene, 1);
    RUN_UNTIL(scene, scene->failed == 1 && scene->answered == 1);
    assert_int_equal(scene->connection_count, 2);
}

static void a_worker_that_is_not_there_fails_the_request_at_once(void **state)
{
    struct scene *scene = *state;

    setenv("PATROL_TRANSPORT", "/nowhere/patrol-transport", 1);
    open_transport(scene, &(struct transport_worker_options){0});
    assert_int_equal(try_to_ask(scene, 0), -ENOEXEC);
    assert_int_equal(transport_worker_busy(scene->transport), 0);
    assert_false(has_children());
}

/* What comes of a worker that is this script. */
static void assert_script_fails(struct scene *scene, const char *script, const char *detail)
{
    be_worker(scene, script);
    open_transport(scene, &(struct transport_worker_options){0});
    ask(scene, 0);
    RUN_UNTIL(scene, scene->failed == 1);
    assert_int_equal(scene->last_failure, FAILURE_NETWORK);
    assert_non_null(strstr(scene->last_detail, detail));
    assert_false(has_children());
}

static void a_worker_that_ends_at_once_is_a_failure(void **state)
{
    assert_script_fails(*state, "exit 3", "status 3");
}

static void a_worker_that_says_what_is_no_message_is_ended(void **state)
{
    assert_script_fails(*state, "printf '\\377\\377\\377\\377' >&0; exec sleep 60", "was ended");
}

static void a_worker_that_asks_instead_of_answering_is_ended(void **state)
{
    assert_script_fails(*state, "printf '\\0\\0\\0\\1\\4' >&0; exec sleep 60", "was ended");
}

static void an_end_of_a_request_that_there_is_not_ends_the_worker(void **state)
{
    assert_script_fails(*state,
        "printf '\\0\\0\\0\\017\\6\\0\\0\\0\\0\\0\\0\\0\\011\\1\\0\\0\\0\\1\\0' >&0; exec sleep 60",
        "was ended");
}

static void an_end_of_a_slot_that_the_engine_has_not_ends_the_worker(void **state)
{
    assert_script_fails(*state,
        "printf '\\0\\0\\0\\017\\6\\0\\0\\0\\7\\0\\0\\0\\1\\1\\0\\0\\0\\1\\0' >&0; exec sleep 60",
        "was ended");
}

/* Status 200 to request 1 of slot 0: of what length, with what for a CA. */
#define SCRIPT_THAT_ANSWERS(len, ca)                                                                         \
    "printf '\\0\\0\\0" len                                                                                  \
    "\\5\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\310\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0" ca           \
    "\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >&0; exec sleep 60"

static void a_ca_that_was_not_asked_for_ends_the_worker(void **state)
{
    assert_script_fails(*state, SCRIPT_THAT_ANSWERS("\\066", "\\0\\0\\0\\1x"), "was ended");
}

static void the_same_answer_without_a_ca_is_taken(void **state)
{
    struct scene *scene = *state;

    be_worker(scene, SCRIPT_THAT_ANSWERS("\\065", "\\0\\0\\0\\0"));
    open_transport(scene, &(struct transport_worker_options){0});
    ask(scene, 0);
    RUN_UNTIL(scene, scene->answered == 1);
    assert_int_equal(scene->last.status, 200);
}

static void a_worker_never_sees_what_its_parent_holds(void **state)
{
    struct scene *scene = *state;
    char found[4096];

    setenv("PATROL_SECRET", "secret", 1);
    int leaked = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library might */
    be_worker(scene,
        "cd \"${0%/*}\" && { ls -l /proc/$$/fd | sed -n 's/.* \\([0-9]* -> \\)/\\1/p'; env; } >seen; exit 3");
    open_transport(scene, &(struct transport_worker_options){0});
    ask(scene, 0);
    RUN_UNTIL(scene, scene->failed == 1);
    close(leaked);
    unsetenv("PATROL_SECRET");
    _cleanup_free_ char *path = NULL;
    assert_true(asprintf(&path, "%s/seen", scene->directory) > 0);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    assert_non_null(file);
    found[fread(found, 1, sizeof(found) - 1, file)] = '\0';
    assert_non_null(strstr(found, "0 -> socket:"));
    assert_non_null(strstr(found, "LC_ALL=C"));
    assert_null(strstr(found, "PATROL_SECRET"));
    assert_null(strstr(found, "eventpoll"));
    char descriptor[16];
    snprintf(descriptor, sizeof(descriptor), "%d -> /dev/null", leaked);
    assert_true(leaked > STDERR_FILENO);
    assert_null(strstr(found, descriptor));
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_request_starts_a_worker_and_is_answered_through_it),
        STORY(a_killed_worker_costs_the_requests_in_flight_and_another_one_is_started),
        STORY(the_worker_ends_when_it_is_idle_and_comes_back),
        STORY(a_request_in_flight_keeps_the_worker),
        STORY(a_cancelled_request_is_not_told_and_its_slot_is_free_at_once),
        STORY(a_worker_that_hangs_is_replaced),
        STORY(a_worker_that_does_not_leave_is_made_to),
        STORY(requests_after_the_network_changed_go_over_new_connections),
        STORY(another_server_ends_the_requests_to_the_last_one),
        STORY(a_worker_that_is_not_there_fails_the_request_at_once),
        STORY(a_worker_that_ends_at_once_is_a_failure),
        STORY(a_worker_that_says_what_is_no_message_is_ended),
        STORY(a_worker_that_asks_instead_of_answering_is_ended),
        STORY(an_end_of_a_request_that_there_is_not_ends_the_worker),
        STORY(an_end_of_a_slot_that_the_engine_has_not_ends_the_worker),
        STORY(a_ca_that_was_not_asked_for_ends_the_worker),
        STORY(the_same_answer_without_a_ca_is_taken),
        STORY(a_worker_never_sees_what_its_parent_holds),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("transport_worker", tests, NULL, NULL);
}
