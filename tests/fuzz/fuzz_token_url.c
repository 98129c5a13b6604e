/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the texts that come from a person or in a header: token URLs, server URLs, upload tokens. */
#include "proto/enrolment.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_token_url(const char *text)
{
    _cleanup_buffer_ struct buffer formatted = {0};
    struct token_url url, again;
    const char *reason = NULL;

    memset(&url, 0, sizeof(url));
    memset(&again, 0, sizeof(again));
    if (token_url_parse(text, &url, &reason) < 0) {
        if (!reason)
            abort();
        return;
    }
    if (token_url_format(&url, &formatted) < 0 ||
        token_url_parse(buffer_text(&formatted), &again, NULL) < 0 ||
        strcmp(url.server_url, again.server_url) != 0 || url.has_ca != again.has_ca ||
        memcmp(url.token, again.token, sizeof(url.token)) != 0)
        abort();
}

static void check_server_url(const char *text)
{
    char url[URL_BYTES_MAX], again[URL_BYTES_MAX];
    const char *reason = NULL;

    if (server_url_parse(text, url, &reason) < 0) {
        if (!reason)
            abort();
        return;
    }
    if (server_url_parse(url, again, NULL) < 0 || strcmp(url, again) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t secret[UPLOAD_SECRET_BYTES] = {1};
    struct upload_token token;
    char *text = strndup((const char *)data, size);

    if (!text)
        return 0;
    check_token_url(text);
    check_server_url(text);
    /* Nobody has made a token with this secret. */
    if (upload_token_check(text, secret, 0, &token) == 0)
        abort();
    free(text);
    return 0;
}
