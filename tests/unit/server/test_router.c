/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/http/router.h: which row a method and a path lead to. */
#include "tests/unit/unit.h"

#include "server/http/router.h"

static const struct route routes[] = {
    {"POST", "/v1/exchange", "exchange", 10, NULL, 0, false},
    {"POST", "/v1/blobs", "create", 10, NULL, 0, false},
    {"HEAD", "/v1/blobs", "head", 10, NULL, 0, true},
    {"PATCH", "/v1/blobs", "patch", 10, NULL, 0, true},
};

static enum route_match find(const char *method, const char *path, size_t *ret_index, const char **ret_tail)
{
    return router_find(routes, sizeof(routes) / sizeof(routes[0]), method, path, ret_index, ret_tail);
}

static void path_and_method_find_their_row(void **state)
{
    size_t index = 99;
    const char *tail = NULL;

    assert_int_equal(find("POST", "/v1/exchange", &index, &tail), ROUTE_FOUND);
    assert_int_equal(index, 0);
    assert_string_equal(tail, "");
    assert_int_equal(find("POST", "/v1/blobs", &index, &tail), ROUTE_FOUND);
    assert_int_equal(index, 1);
}

static void one_segment_after_a_path_is_handed_on(void **state)
{
    size_t index = 99;
    const char *tail = NULL;

    assert_int_equal(find("PATCH", "/v1/blobs/abc", &index, &tail), ROUTE_FOUND);
    assert_int_equal(index, 3);
    assert_string_equal(tail, "abc");
    assert_int_equal(find("PATCH", "/v1/blobs/", &index, &tail), ROUTE_NO_PATH);
    assert_int_equal(find("PATCH", "/v1/blobs/abc/", &index, &tail), ROUTE_NO_PATH);
    assert_int_equal(find("PATCH", "/v1/blobs/abc/def", &index, &tail), ROUTE_NO_PATH);
    assert_int_equal(find("PATCH", "/v1/blobsabc", &index, &tail), ROUTE_NO_PATH);
}

static void unknown_path_is_told_apart_from_other_method(void **state)
{
    size_t index = 99;
    const char *tail = "untouched";

    assert_int_equal(find("GET", "/v1/exchange", &index, &tail), ROUTE_OTHER_METHOD);
    assert_int_equal(find("post", "/v1/exchange", &index, &tail), ROUTE_OTHER_METHOD);
    assert_int_equal(find("POST", "/v1/blobs/abc", &index, &tail), ROUTE_OTHER_METHOD);
    assert_int_equal(find("POST", "/v1/exchange/", &index, &tail), ROUTE_NO_PATH);
    assert_int_equal(find("POST", "/V1/exchange", &index, &tail), ROUTE_NO_PATH);
    assert_int_equal(find("POST", "", &index, &tail), ROUTE_NO_PATH);
    assert_int_equal(index, 99);
    assert_string_equal(tail, "untouched");
}

static void methods_of_a_path_are_listed(void **state)
{
    char methods[32], small[8];

    router_methods(routes, 4, "/v1/blobs/abc", methods, sizeof(methods));
    assert_string_equal(methods, "HEAD, PATCH");
    router_methods(routes, 4, "/nothing", methods, sizeof(methods));
    assert_string_equal(methods, "");
    router_methods(routes, 4, "/v1/blobs/abc", small, sizeof(small)); /* must not write beyond */
    assert_true(strlen(small) < sizeof(small));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_and_method_find_their_row),
        cmocka_unit_test(one_segment_after_a_path_is_handed_on),
        cmocka_unit_test(unknown_path_is_told_apart_from_other_method),
        cmocka_unit_test(methods_of_a_path_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
