/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP requests and responses as the agent means them: what it wants sent, and what it looks at in an answer.
 * Used by the agent, by every transport and by the worker that speaks HTTP; knows nothing of connections.
 */
#pragma once

#include "base/bytes.h"

struct http_header {
    const char *name; /* lower case */
    const char *value;
};

#define HTTP_HEADERS_MAX 12u
#define HTTP_LOCATION_MAX 1024u

struct http_request {
    const char *method;
    const char *path; /* under the server URL, or an absolute URL (a tus Location) */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    struct bytes body;    /* valid until `send` returns: the transport copies or sends it */
    uint64_t deadline_ms; /* longest time for the whole request; 0: the transport's default */
};

struct http_response {
    unsigned status;
    struct bytes body;
    uint64_t bytes_sent, bytes_received; /* bodies */
    /* Only what the agent uses; NULL when absent. */
    const char *location, *upload_offset, *upload_expires, *retry_after;
    /* End of the server certificate that vouched for this answer, Unix ms; 0: none (plain HTTP). */
    int64_t certificate_not_after_ms;
};
