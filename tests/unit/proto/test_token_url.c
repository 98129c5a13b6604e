/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the URLs in proto/enrolment.h against tests/vectors/enrolment.tsv. */
#include "tests/unit/proto/vectors.h"

#include "proto/enrolment.h"

#include <errno.h>

#define TOKEN "AAECAwQFBgcICQoLDA0ODw"
#define HASH "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define WHOLE "https://centre.example/enrol#token=" TOKEN "&key=" HASH "&ca=" HASH

static void token_urls_go_there_and_back(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/enrolment.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "token_url")) {
        _cleanup_buffer_ struct buffer text = {0}, again = {0};
        struct token_url url;
        struct bytes token, key, ca;

        buffer_put_bytes(&text, vector_bytes(&vectors, 5));
        assert_int_equal(token_url_parse(buffer_text(&text), &url, NULL), 0);
        assert_string_equal(url.server_url, vectors.fields[1]);
        token = vector_bytes(&vectors, 2);
        key = vector_bytes(&vectors, 3);
        ca = vector_bytes(&vectors, 4);
        assert_memory_equal(url.token, token.data, ENROL_TOKEN_BYTES);
        assert_memory_equal(url.receipt_key_sha256.b, key.data, SHA256_BYTES);
        assert_int_equal(url.has_ca, ca.len > 0);
        if (url.has_ca)
            assert_memory_equal(url.ca_sha256.b, ca.data, SHA256_BYTES);
        assert_int_equal(token_url_format(&url, &again), 0);
        assert_string_equal(buffer_text(&again), buffer_text(&text));
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 2);
}

static void unknown_keys_and_another_order_are_taken(void **state)
{
    struct token_url url;

    assert_int_equal(
        token_url_parse("https://c/enrol#v=2&ca=" HASH "&&later&key=" HASH "&token=" TOKEN "&", &url, NULL),
        0);
    assert_string_equal(url.server_url, "https://c");
    assert_true(url.has_ca);
    assert_int_equal(url.token[15], 15);
    assert_int_equal(url.ca_sha256.b[31], 31);
}

static void a_token_url_that_is_not_whole_is_refused_with_the_reason(void **state)
{
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"", "#token"},
        {"https://centre.example/enrol", "#token"},
        {"https://centre.example/#token=" TOKEN "&key=" HASH "&ca=" HASH, "/enrol"},
        {"#token=" TOKEN, "/enrol"},
        {"/enrol#token=" TOKEN "&key=" HASH, "https://"},
        {"ftp://centre.example/enrol#token=" TOKEN "&key=" HASH, "https://"},
        {"https:///enrol#token=" TOKEN "&key=" HASH "&ca=" HASH, "host name"},
        {"https://c/enrol#", "no token"},
        {"https://c/enrol#key=" HASH "&ca=" HASH, "no token"},
        {"https://c/enrol#token=" TOKEN, "no server key"},
        {"https://c/enrol#token=" TOKEN "&ca=" HASH, "no server key"},
        {"https://c/enrol#token=" TOKEN "&key=" HASH, "no CA"},
        {"https://c/enrol#token=" TOKEN "=&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=" TOKEN "A&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=AAECAwQFBgcICQoLDA0OD&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=AAECAwQFBgcICQoLDA0OD+&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=AAECAwQFBgcICQoLDA0OD\xff&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=AAECAwQFBgcICQoLDA0ODx&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=" HASH "&key=" HASH "&ca=" HASH, "token is damaged"},
        {"https://c/enrol#token=" TOKEN "&key=" TOKEN "&ca=" HASH, "server key's hash"},
        {"https://c/enrol#token=" TOKEN "&key=" HASH "&ca=" HASH "x", "CA's hash"},
        {"https://c/enrol#token=" TOKEN "&token=" TOKEN "&key=" HASH "&ca=" HASH, "two tokens"},
        {"https://c/enrol#token=" TOKEN "&key=" HASH "&key=" HASH "&ca=" HASH, "two server keys"},
        {"https://c/enrol#ca=" HASH "&token=" TOKEN "&key=" HASH "&ca=" HASH, "two CAs"},
        {" " WHOLE, "https://"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *reason = "none";
        struct token_url url;

        if (token_url_parse(rows[i].text, &url, &reason) != -EINVAL)
            fail_msg("taken: %s", rows[i].text);
        if (!strstr(reason, rows[i].reason))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, reason, rows[i].reason);
    }
}

/* Every text that a broken line or a half-pasted URL can be. */
static void a_token_url_cut_anywhere_is_refused(void **state)
{
    struct token_url url;

    assert_int_equal(token_url_parse(WHOLE, &url, NULL), 0);
    for (size_t len = 0; len < strlen(WHOLE); len++) {
        char *cut = strndup(WHOLE, len);

        assert_non_null(cut);
        assert_int_equal(token_url_parse(cut, &url, NULL), -EINVAL);
        free(cut);
    }
}

static void server_urls_lose_their_trailing_slashes(void **state)
{
    static const struct {
        const char *text, *url;
    } rows[] = {
        {"https://centre.example", "https://centre.example"},
        {"https://centre.example/", "https://centre.example"},
        {"http://127.0.0.1:8080//", "http://127.0.0.1:8080"},
        {"https://[2001:db8::1]:8443/grid/west/", "https://[2001:db8::1]:8443/grid/west"},
        {"https://a_b-c.d:1/x.y~z", "https://a_b-c.d:1/x.y~z"},
        {"http://h:65535", "http://h:65535"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char url[URL_BYTES_MAX];

        assert_int_equal(server_url_parse(rows[i].text, url, NULL), 0);
        assert_string_equal(url, rows[i].url);
    }
}

static void other_server_urls_are_refused_with_the_reason(void **state)
{
    static char longest[URL_BYTES_MAX + 1];
    static const struct {
        const char *text, *reason;
    } rows[] = {
        {"", "https://"},
        {"centre.example", "https://"},
        {"HTTPS://centre.example", "https://"},
        {"https:/centre.example", "https://"},
        {"https://", "host name"},
        {"https:///", "host name"},
        {"https://:8443", "host name"},
        {"https://[]:8443", "host name"},
        {"https://[::1", "host name"},
        {"https://中.example", "host name"},
        {"https://centre.example:0", "port"},
        {"https://centre.example:65536", "port"},
        {"https://centre.example:999999999999", "port"},
        {"https://centre.example:", "port"},
        {"https://centre.example:80a", "nothing else"},
        {"https://user@centre.example", "nothing else"},
        {"https://centre.example?x=1", "nothing else"},
        {"https://centre.example/a b", "nothing else"},
        {"https://centre.example/a/../b", "nothing else"},
        {"https://centre.example//b", "nothing else"},
        {"https://centre.example/a%2fb", "nothing else"},
        {"https://centre.example/\n", "nothing else"},
        {longest, "too long"},
    };

    memset(longest, 'a', sizeof(longest) - 1);
    memcpy(longest, "https://", 8);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char url[URL_BYTES_MAX] = "untouched";
        const char *reason = "none";

        assert_int_equal(server_url_parse(rows[i].text, url, &reason), -EINVAL);
        if (!strstr(reason, rows[i].reason))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, reason, rows[i].reason);
        assert_string_equal(url, "untouched");
    }
    longest[URL_BYTES_MAX - 1] = '\0';
    char url[URL_BYTES_MAX];
    assert_int_equal(server_url_parse(longest, url, NULL), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_urls_go_there_and_back),
        cmocka_unit_test(unknown_keys_and_another_order_are_taken),
        cmocka_unit_test(a_token_url_that_is_not_whole_is_refused_with_the_reason),
        cmocka_unit_test(a_token_url_cut_anywhere_is_refused),
        cmocka_unit_test(server_urls_lose_their_trailing_slashes),
        cmocka_unit_test(other_server_urls_are_refused_with_the_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
