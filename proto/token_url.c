/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server and token URLs, as a person pastes them: see enrolment.h; proto/README.md, "Enrolment and trust".
 */
#include "proto/enrolment.h"

#include "proto/base64.h"

#include <errno.h>
#include <sodium.h>

#define ENROL_PATH "/enrol"
#define TOKEN_URL_BYTES_MAX (2u * URL_BYTES_MAX)
#define PORT_DIGITS_MAX 5u
#define BASE64_VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

static int fail(const char **ret_reason, const char *reason)
{
    if (ret_reason)
        *ret_reason = reason;
    return -EINVAL;
}

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c);
}

/* The length of a scheme that we speak, with its "://", or 0. */
static size_t scheme_len(const char *text)
{
    if (strncmp(text, "https://", 8) == 0)
        return 8;
    return strncmp(text, "http://", 7) == 0 ? 7 : 0;
}

/* A name, an IPv4 address, or an IPv6 address in brackets: only its characters are checked, the resolver does
 * the rest. Returns its length, or 0. */
static size_t host_len(const char *text)
{
    size_t len = 0;

    if (text[0] == '[') {
        len = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
        return len > 2 && text[len] == ']' ? len + 1 : 0;
    }
    while (is_alphanumeric(text[len]) || is_one_of(text[len], "-._"))
        len++;
    return len;
}

/* Returns the length of ":port" (0 when there is none), or -EINVAL. */
static int port_len(const char *text)
{
    unsigned long port = 0;
    size_t len = 1;

    if (text[0] != ':')
        return 0;
    for (; text[len] >= '0' && text[len] <= '9' && len <= PORT_DIGITS_MAX; len++)
        port = port * 10 + (unsigned long)(text[len] - '0');
    return port >= 1 && port <= UINT16_MAX ? (int)len : -EINVAL;
}

/* A path of plain segments: empty, or each begun by a slash; none is "." or "..". */
static bool path_is_plain(const char *text, size_t len)
{
    if (len > 0 && text[0] != '/')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_alphanumeric(text[i]) && !is_one_of(text[i], "/-._~"))
            return false;
        if (text[i] == '/' && i + 1 < len && (text[i + 1] == '/' || text[i + 1] == '.'))
            return false;
    }
    return true;
}

static int parse_server_url(const char *text, size_t len, char ret[URL_BYTES_MAX], const char **ret_reason)
{
    char url[URL_BYTES_MAX];
    size_t at, host;
    int port;

    if (len >= sizeof(url))
        return fail(ret_reason, "the URL is too long");
    if (memchr(text, '\0', len))
        return fail(ret_reason, "the URL holds a NUL");
    memcpy(url, text, len);
    url[len] = '\0';
    at = scheme_len(url);
    if (at == 0)
        return fail(ret_reason, "the URL must start with https:// or http://");
    while (len > at && url[len - 1] == '/')
        len--;
    url[len] = '\0';
    host = host_len(url + at);
    if (host == 0)
        return fail(ret_reason, "the URL has no host name, or one with a character that is not allowed");
    at += host;
    port = port_len(url + at);
    if (port < 0)
        return fail(ret_reason, "the URL's port must be 1 to 65535");
    at += (size_t)port;
    if (!path_is_plain(url + at, len - at))
        return fail(ret_reason, "the URL may have a host, a port and a plain path, nothing else");
    memcpy(ret, url, len + 1);
    return 0;
}

int server_url_parse(const char *text, char ret[URL_BYTES_MAX], const char **ret_reason)
{
    return parse_server_url(text, strlen(text), ret, ret_reason);
}

struct fragment_key {
    const char *name;
    size_t len;
    size_t offset;
    const char *fault, *twice;
};

enum { KEY_TOKEN, KEY_RECEIPT_KEY, KEY_CA };

static const struct fragment_key fragment_keys[] = {
    [KEY_TOKEN] = {"token", ENROL_TOKEN_BYTES, offsetof(struct token_url, token),
        "the token is damaged: copy the whole URL again", "the URL has two tokens"},
    [KEY_RECEIPT_KEY] = {"key", SHA256_BYTES, offsetof(struct token_url, receipt_key_sha256),
        "the server key's hash (key=) is damaged: copy the whole URL again", "the URL has two server keys"},
    [KEY_CA] = {"ca", SHA256_BYTES, offsetof(struct token_url, ca_sha256),
        "the CA's hash (ca=) is damaged: copy the whole URL again", "the URL has two CAs"},
};

/* One name=value of the fragment. Unknown names are a newer server's. */
static int parse_part(struct bytes part, struct token_url *url, unsigned *seen, const char **ret_reason)
{
    struct cursor cursor = cursor_of(part);
    struct bytes name = cursor_take_until(&cursor, '=');
    struct bytes value = cursor_take(&cursor, cursor_left(&cursor));

    if (cursor_finish(&cursor) < 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(fragment_keys); i++) {
        const struct fragment_key *key = &fragment_keys[i];

        if (!bytes_equal(name, bytes_of_text(key->name)))
            continue;
        if (*seen & 1u << i)
            return fail(ret_reason, key->twice);
        if (base64_decode_exactly(value, BASE64_URL, (uint8_t *)url + key->offset, key->len) < 0)
            return fail(ret_reason, key->fault);
        *seen |= 1u << i;
    }
    return 0;
}

static int parse_fragment(const char *text, struct token_url *url, unsigned *seen, const char **ret_reason)
{
    while (*text) {
        size_t len = strcspn(text, "&");
        int r = parse_part(bytes_of(text, len), url, seen, ret_reason);

        if (r < 0)
            return r;
        text += len + (text[len] == '&');
    }
    return 0;
}

int token_url_parse(const char *text, struct token_url *ret, const char **ret_reason)
{
    const char *fragment = strchr(text, '#');
    const size_t suffix_len = strlen(ENROL_PATH);
    struct token_url url = {0};
    unsigned seen = 0;
    size_t len;
    int r;

    if (strlen(text) > TOKEN_URL_BYTES_MAX)
        return fail(ret_reason, "the URL is too long");
    if (!fragment)
        return fail(ret_reason, "the URL ends before its #token=...: quote it, and copy the whole line");
    len = (size_t)(fragment - text);
    if (len < suffix_len || memcmp(fragment - suffix_len, ENROL_PATH, suffix_len) != 0)
        return fail(ret_reason, "the URL is not one for enrolment: its path must end in " ENROL_PATH);
    r = parse_server_url(text, len - suffix_len, url.server_url, ret_reason);
    if (r < 0)
        return r;
    r = parse_fragment(fragment + 1, &url, &seen, ret_reason);
    if (r < 0)
        return r;
    if (!(seen & 1u << KEY_TOKEN))
        return fail(ret_reason, "the URL has no token: copy the whole line");
    if (!(seen & 1u << KEY_RECEIPT_KEY))
        return fail(ret_reason, "the URL has no server key (key=): quote it, and copy the whole line");
    url.has_ca = seen & 1u << KEY_CA;
    if (!url.has_ca && strncmp(url.server_url, "https:", 6) == 0)
        return fail(
            ret_reason, "the URL has no CA (ca=), which https needs: quote it, and copy the whole line");
    *ret = url;
    return 0;
}

static void put_base64url(struct buffer *buffer, const char *before, const uint8_t *data, size_t len)
{
    char text[sodium_base64_ENCODED_LEN(SHA256_BYTES, BASE64_VARIANT)];

    buffer_put_text(buffer, before);
    buffer_put_text(buffer, sodium_bin2base64(text, sizeof(text), data, len, BASE64_VARIANT));
}

int token_url_format(const struct token_url *url, struct buffer *ret)
{
    buffer_put_text(ret, url->server_url);
    put_base64url(ret, ENROL_PATH "#token=", url->token, ENROL_TOKEN_BYTES);
    put_base64url(ret, "&key=", url->receipt_key_sha256.b, SHA256_BYTES);
    if (url->has_ca)
        put_base64url(ret, "&ca=", url->ca_sha256.b, SHA256_BYTES);
    return buffer_finish(ret);
}
