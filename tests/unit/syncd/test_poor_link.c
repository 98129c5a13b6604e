/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/transport/poor_link.h. */
#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "syncd/transport/poor_link.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_slow_link_is_given_what_it_holds_and_a_fifth_of_a_second(void **state)
{
    assert_int_equal(poor_link_bytes(100000, 300000), 50000);
    assert_int_equal(poor_link_bytes(300000, 50000), 75000);
}

static void a_very_slow_link_is_given_some_packets_all_the_same(void **state)
{
    assert_int_equal(poor_link_bytes(1000, 600000), POOR_LINK_BYTES_MIN);
}

static void a_fast_link_is_left_to_the_kernel(void **state)
{
    assert_int_equal(poor_link_bytes(10000000, 100000), 0);
    assert_int_equal(poor_link_bytes(UINT64_MAX, 100000), 0);
}

static void what_was_not_measured_changes_nothing(void **state)
{
    assert_int_equal(poor_link_bytes(0, 300000), 0);
    assert_int_equal(poor_link_bytes(30000, 0), 0);
    assert_int_equal(poor_link_bytes(30000, UINT32_MAX), 0);
}

static int buffer_of(int fd)
{
    socklen_t len = sizeof(int);
    int value = 0;

    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, &len), 0);
    return value;
}

/* Nothing was sent over it, so there is nothing to go by; and a socket of another kind is no matter. */
static void a_new_socket_keeps_its_buffer(void **state)
{
    _cleanup_close_ int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    size_t held = 0;

    assert_true(tcp >= 0 && udp >= 0);
    for (size_t i = 0; i < 2; i++) {
        int fd = i == 0 ? tcp : udp, before = buffer_of(fd);

        poor_link_fit(fd, &held);
        assert_int_equal(buffer_of(fd), before);
        assert_int_equal(held, 0);
    }
}

/* What was set once is never the kernel's again, so it is made large when there is nothing to go by. */
static void a_socket_that_was_bounded_before_is_given_the_most(void **state)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t held = POOR_LINK_BYTES_MIN;

    assert_true(fd >= 0);
    poor_link_fit(fd, &held);
    assert_int_equal(held, POOR_LINK_BYTES_MAX);
    assert_int_equal(buffer_of(fd), 2 * POOR_LINK_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_link_is_given_what_it_holds_and_a_fifth_of_a_second),
        cmocka_unit_test(a_very_slow_link_is_given_some_packets_all_the_same),
        cmocka_unit_test(a_fast_link_is_left_to_the_kernel),
        cmocka_unit_test(what_was_not_measured_changes_nothing),
        cmocka_unit_test(a_new_socket_keeps_its_buffer),
        cmocka_unit_test(a_socket_that_was_bounded_before_is_given_the_most),
    };

    return cmocka_run_group_tests_name("poor link", tests, NULL, NULL);
}
