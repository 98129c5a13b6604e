/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request on its way through the shell: what the listener gives to a route's handler, and the answer
 * that the handler leaves in it. Used by the listener and the routes; known to nobody else.
 *
 *   listener          begin: the headers are known, the body has not been read; it may be refused here
 *                     data: a piece of the body, in order, as it comes
 *                     end: the body is whole; the handler answers, or hands an item to the writer, which
 * holds the connection resumed: the writer has let it go; the handler answers done: the request is over, also
 * when the client went away in the middle
 */
#pragma once

#include "base/bytes.h"
#include "server/http/connections.h"
#include "server/http/gate.h"
#include "server/http/metrics.h"
#include "server/http/router.h"
#include "server/http/writer.h"

#include <microhttpd.h>

#define ANSWER_HEADERS_MAX 10u
#define ANSWER_HEADER_BYTES_MAX 160u

/* A refused body of up to this size is read and dropped, so that the client reads the answer and the
 * connection stays good; behind a longer one the connection is closed. */
#define DISCARD_BYTES_MAX (2u * 1024u * 1024u)

struct http_shell;

struct answer_header {
    const char *name;
    char value[ANSWER_HEADER_BYTES_MAX];
};

struct answer {
    unsigned status; /* 0: none yet */
    struct buffer body;
    const char *content_type; /* NULL: no body */
    struct answer_header headers[ANSWER_HEADERS_MAX];
    size_t header_count;
};

struct request {
    struct http_shell *shell;
    struct MHD_Connection *connection;
    struct connection_watch *watch;
    const struct route *route; /* NULL: no such path */
    size_t route_index;
    const char *method, *path, *tail; /* borrowed from libmicrohttpd for the request's life */

    bool has_length;
    uint64_t length;         /* of the body, as announced */
    uint64_t body_bytes_max; /* the route's, unless begin lowers it */
    uint64_t received;       /* of the body, refused bytes included */
    struct buffer body;      /* filled by routes that want it whole */
    bool ended, held;
    bool is_charged; /* to whom it was from */
    struct answer answer;

    /* For the log line. */
    uint64_t started_us;
    const char *outcome; /* static */
    struct uuid device;
    uint64_t records;

    /* The routes' own. */
    struct writer_item item;
    struct service_job *job;
    uint64_t body_bytes, memory_bytes; /* of the shell's, this request's share */
    struct blob_request *blob;
};

struct route_handler {
    void (*begin)(struct request *request);
    int (*data)(struct request *request, const void *data, size_t len); /* -errno: the connection is closed */
    void (*end)(struct request *request);
    void (*resumed)(struct request *request);
    void (*done)(struct request *request, bool complete);
};

/* What all requests share. */
struct http_shell {
    struct service *service;
    struct writer *writer;
    struct gate *gate;
    struct metrics *metrics;
    /* What requests may take in memory, and take: those being received, by the bodies that they announce, and
     * those being carried out, estimated from their bodies. */
    uint64_t memory_bytes_max;
    atomic_uint_least64_t body_bytes, memory_bytes;
    bool metrics_to_all; /* else to loopback only */
    bool metrics_off;
};

/* A header of the request, borrowed, or NULL. */
const char *request_header(const struct request *request, const char *name);
/* Where it came from, borrowed, or NULL. */
const struct sockaddr *request_address(const struct request *request);
bool request_is_from_loopback(const struct request *request);
/* A 429 when the device (NULL: none that is known) or the address (NULL: it does not matter) is over its
 * rate. True when it was given. */
bool request_is_kept_out(struct request *request, const struct uuid *device, const struct sockaddr *address);
/* Leaves an answer of plain text: one line, for people. `outcome` is static. An answer once given stays. */
void request_answer_text(struct request *request, unsigned status, const char *outcome, const char *text);
/* An answer with a header only; a body may be put into `answer.body`. */
void request_answer(struct request *request, unsigned status, const char *outcome);
void request_answer_header(struct request *request, const char *name, const char *format, ...) _printf_(3, 4);
void request_gauges(
    const struct request *request, uint64_t *ret_connections, uint64_t *ret_requests_in_flight);
/* A 503 that says when to come again. */
void request_answer_busy(struct request *request, const char *outcome, const char *text);
/* Hands `request->item` to the writer and holds the connection; leaves a 503 when the writer cannot take it.
 */
void request_submit(struct request *request);
