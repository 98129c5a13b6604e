/* SPDX-License-Identifier: Apache-2.0 */
/* Which servers are on this machine. What NetworkManager says is tested with a bus:
 * tests/system/test_budget.py. */
#include "tests/unit/unit.h"

#include "base/bytes.h"
#include "syncd/network_kind.h"

static void the_loopback_is_known_by_its_name_and_addresses(void **state)
{
    static const char *const urls[] = {"https://localhost", "https://LOCALHOST:8443/",
        "http://127.0.0.1/patrol", "https://127.8.9.10:1?x", "https://[::1]:8443", "http://[::1]",
        "https://user@localhost/x"};

    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        assert_true(url_is_loopback(urls[i]));
}

static void everything_else_is_not_the_loopback(void **state)
{
    static const char *const urls[] = {"https://centre.example", "https://localhost.example",
        "https://10.0.0.1", "https://128.0.0.1", "https://[::2]:8443", "https://[fe80::1]",
        "https://127.0.0.1.example/", "https://centre.example/127.0.0.1", "https://localhost@centre.example",
        "https://", "", "https://[::1", "https://:8443"};

    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        assert_false(url_is_loopback(urls[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loopback_is_known_by_its_name_and_addresses),
        cmocka_unit_test(everything_else_is_not_the_loopback),
    };

    return cmocka_run_group_tests_name("network kind", tests, NULL, NULL);
}
