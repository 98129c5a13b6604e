/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/http/connections.c: which connections a sweep ends. Deadlines are an hour away, or over at
 * once. */
#include "tests/unit/unit.h"

#include "server/http/connections.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
    struct connections *connections;
    struct connection_watch *watch;
    int own, peer;
};

static int start_with(uint64_t patience_ms, void **state)
{
    const struct connection_limits limits = {.header_ms = patience_ms,
        .idle_ms = patience_ms,
        .stall_ms = patience_ms,
        .grace_ms = patience_ms,
        .rate_bytes_min = 1};
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int ends[2];

    assert_non_null(fixture);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fixture->own = ends[0];
    fixture->peer = ends[1];
    assert_int_equal(connections_new(&limits, &fixture->connections), 0);
    fixture->watch = connection_opened(fixture->connections, fixture->own);
    assert_non_null(fixture->watch);
    *state = fixture;
    return 0;
}

static int start(void **state)
{
    return start_with(3600000, state);
}

static int start_without_patience(void **state)
{
    return start_with(0, state);
}

static int stop(void **state)
{
    struct fixture *fixture = *state;

    connection_closed(fixture->watch);
    assert_int_equal(connections_count(fixture->connections), 0);
    connections_free(fixture->connections);
    close(fixture->own);
    close(fixture->peer);
    free(fixture);
    return 0;
}

static void send_byte(const struct fixture *fixture)
{
    assert_int_equal(send(fixture->peer, "x", 1, 0), 1);
}

static void read_byte(const struct fixture *fixture)
{
    char byte;

    assert_int_equal(recv(fixture->own, &byte, 1, 0), 1);
}

static void hang_up(const struct fixture *fixture)
{
    assert_int_equal(shutdown(fixture->peer, SHUT_WR), 0);
}

/* The peer sees the end, without waiting for it. */
static void assert_ended(const struct fixture *fixture, bool is_ended)
{
    struct pollfd look = {.fd = fixture->peer, .events = POLLIN};

    assert_int_equal(poll(&look, 1, 0), is_ended);
}

static void who_hangs_up_in_a_request_is_ended_by_the_second_sweep_that_sees_it(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(connections_sweep(fixture->connections, false), 0);
    connection_body_starts(fixture->watch);
    send_byte(fixture);
    read_byte(fixture);
    connection_body_moved(fixture->watch, 1);
    hang_up(fixture);
    assert_int_equal(connections_sweep(fixture->connections, false), 0);
    assert_ended(fixture, false);
    assert_int_equal(connections_sweep(fixture->connections, false), 1);
    assert_ended(fixture, true);
}

static void who_hangs_up_between_two_requests_is_ended_too(void **state)
{
    struct fixture *fixture = *state;

    connection_body_ended(fixture->watch);
    connection_idle(fixture->watch);
    hang_up(fixture);
    assert_int_equal(connections_sweep(fixture->connections, false), 0);
    assert_int_equal(connections_sweep(fixture->connections, false), 1);
}

static void what_was_sent_before_hanging_up_is_read_first(void **state)
{
    struct fixture *fixture = *state;

    send_byte(fixture);
    hang_up(fixture);
    for (int i = 0; i < 3; i++)
        assert_int_equal(connections_sweep(fixture->connections, false), 0);
    read_byte(fixture);
    assert_int_equal(connections_sweep(fixture->connections, false), 0);
    assert_int_equal(connections_sweep(fixture->connections, false), 1);
}

static void who_has_sent_a_whole_request_may_hang_up_and_is_answered(void **state)
{
    struct fixture *fixture = *state;

    connection_body_starts(fixture->watch);
    connection_body_ended(fixture->watch);
    connection_answer_starts(fixture->watch, 100);
    hang_up(fixture);
    for (int i = 0; i < 3; i++)
        assert_int_equal(connections_sweep(fixture->connections, false), 0);
    assert_ended(fixture, false);
}

static void no_deadline_runs_from_the_end_of_a_request_to_the_start_of_its_answer(void **state)
{
    struct fixture *fixture = *state;

    connection_body_starts(fixture->watch);
    connection_body_moved(fixture->watch, 0);
    connection_body_ended(fixture->watch);
    assert_int_equal(connections_sweep(fixture->connections, false), 0);
    assert_ended(fixture, false);
    connection_answer_starts(fixture->watch, 0);
    assert_int_equal(connections_sweep(fixture->connections, false), 1);
    assert_ended(fixture, true);
}

static void one_look_that_saw_it_just_before_the_answer_ends_nobody(void **state)
{
    struct fixture *fixture = *state;

    hang_up(fixture);
    assert_int_equal(connections_sweep(fixture->connections, false), 0);
    connection_body_ended(fixture->watch);
    assert_int_equal(connections_sweep(fixture->connections, false), 0);
    connection_idle(fixture->watch);
    assert_int_equal(connections_sweep(fixture->connections, false), 0); /* that counts anew */
    assert_int_equal(connections_sweep(fixture->connections, false), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            who_hangs_up_in_a_request_is_ended_by_the_second_sweep_that_sees_it, start, stop),
        cmocka_unit_test_setup_teardown(who_hangs_up_between_two_requests_is_ended_too, start, stop),
        cmocka_unit_test_setup_teardown(what_was_sent_before_hanging_up_is_read_first, start, stop),
        cmocka_unit_test_setup_teardown(
            who_has_sent_a_whole_request_may_hang_up_and_is_answered, start, stop),
        cmocka_unit_test_setup_teardown(no_deadline_runs_from_the_end_of_a_request_to_the_start_of_its_answer,
            start_without_patience, stop),
        cmocka_unit_test_setup_teardown(one_look_that_saw_it_just_before_the_answer_ends_nobody, start, stop),
    };

    return cmocka_run_group_tests_name("server connections", tests, NULL, NULL);
}
