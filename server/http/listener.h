/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: libmicrohttpd's threads, the table of routes, the way of a request through its handler,
 * and the deadlines. Called by the command `serve`, which owns the socket, the service and the writer.
 */
#pragma once

#include "server/http/connections.h"
#include "server/http/gate.h"
#include "server/http/tls.h"
#include "server/http/writer.h"

struct listener;

struct listener_options {
    struct service *service;
    struct writer *writer;
    int fd;                /* bound and listening; the listener's from a successful start */
    const struct tls *tls; /* NULL: plain HTTP; borrowed for the listener's life */
    unsigned threads;
    unsigned connections_max, connections_per_address_max;
    struct connection_limits limits;
    struct gate_limits rates;
    uint64_t memory_bytes_max; /* of requests that are being carried out */
    bool metrics_off, metrics_to_all;
};

/* -errno; -ENOTSUP with an explanation in the log when libmicrohttpd would not start. */
int listener_start(const struct listener_options *options, struct listener **ret);
/* Shuts down the connections that are late. To be called about once a second. */
void listener_sweep(struct listener *listener);
/* Accepts no more connections; answers to requests in flight close theirs. */
void listener_quiesce(struct listener *listener);
uint64_t listener_requests_in_flight(struct listener *listener);
/* Cuts what is still open. The writer must have let every held request go. */
void listener_free(struct listener *listener);
DEFINE_CLEANUP(struct listener, listener_free);
