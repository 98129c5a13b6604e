/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/listen_address.h: where to listen, and how that place is called. */
#include "tests/unit/unit.h"

#include "server/listen_address.h"

#include <errno.h>

static void addresses_become_urls(void **state)
{
    static const struct {
        const char *text, *url;
        bool tls;
    } good[] = {
        {"127.0.0.1:8443", "https://127.0.0.1:8443", true},
        {"127.0.0.1:80", "http://127.0.0.1:80", false},
        {"localhost:8080", "http://127.0.0.1:8080", false},
        {"[::1]:8443", "https://[::1]:8443", true},
        {"[2001:db8::1]:1", "https://[2001:db8::1]:1", true},
        {"192.0.2.7:65535", "https://192.0.2.7:65535", true},
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct listen_address address;
        const char *reason;
        char *url = NULL;
        assert_int_equal(listen_address_parse(good[i].text, &address, &reason), 0);
        assert_int_equal(listen_address_url(&address, good[i].tls, &url), 0);
        assert_string_equal(url, good[i].url);
        free(url);
    }
}

static void wrong_addresses_are_refused_with_a_reason(void **state)
{
    static const char *const wrong[] = {"", ":", "8443", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
        "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1: 1", "256.0.0.1:1", "::1:8443", "[::1]", "[::1:8443",
        "[]:1", "example.org:8443", ":8443", "[127.0.0.1]:1",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct listen_address address = {.socket_len = 99};
        const char *reason = NULL;
        assert_int_equal(listen_address_parse(wrong[i], &address, &reason), -EINVAL);
        assert_non_null(strstr(reason, "127.0.0.1:8443")); /* it shows the form */
        assert_int_equal(address.socket_len, 99);
    }
}

static bool is_loopback(const char *text)
{
    struct listen_address address;
    const char *reason;
    assert_int_equal(listen_address_parse(text, &address, &reason), 0);
    return listen_address_is_loopback(&address);
}

static void loopback_is_what_cannot_be_reached_from_elsewhere(void **state)
{
    assert_true(is_loopback("127.0.0.1:1"));
    assert_true(is_loopback("127.255.3.4:1"));
    assert_true(is_loopback("[::1]:1"));
    assert_false(is_loopback("0.0.0.0:1"));
    assert_false(is_loopback("*:1"));
    assert_false(is_loopback("[::]:1"));
    assert_false(is_loopback("126.0.0.1:1"));
    assert_false(is_loopback("[::ffff:8.8.8.8]:1"));
}

static void any_address_is_called_by_the_hosts_name(void **state)
{
    struct listen_address address;
    const char *reason;
    char host[256] = "", *url = NULL;

    assert_int_equal(listen_address_parse("*:8443", &address, &reason), 0);
    assert_true(listen_address_is_any(&address));
    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    assert_int_equal(listen_address_url(&address, true, &url), 0);
    assert_non_null(strstr(url, host));
    free(url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_become_urls),
        cmocka_unit_test(wrong_addresses_are_refused_with_a_reason),
        cmocka_unit_test(loopback_is_what_cannot_be_reached_from_elsewhere),
        cmocka_unit_test(any_address_is_called_by_the_hosts_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
