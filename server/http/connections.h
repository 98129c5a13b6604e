/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open connections and the time by which each must have moved on. libmicrohttpd knows an idle timeout
 * only, which a client that sends a byte now and then never meets; so each connection has a deadline of its
 * own, and a sweep shuts down the sockets of those that are late. Called by the listener. Must not know
 * requests.
 *
 * The deadline is an atomic that the connection's HTTP thread moves; the list is under a mutex, which the
 * sweep holds while it uses a descriptor: libmicrohttpd says a connection is over before it closes the
 * descriptor.
 */
#pragma once

#include "base/bytes.h"

#include <microhttpd.h>
#include <stdatomic.h>

struct connections;

struct connection_limits {
    uint64_t header_ms;      /* from the accepted connection to the end of its first request's headers */
    uint64_t idle_ms;        /* from an answer to the end of the next request's headers */
    uint64_t stall_ms;       /* between two pieces of a body */
    uint64_t grace_ms;       /* a body or answer of n bytes may take this long ... */
    uint64_t rate_bytes_min; /* ... and one second for each of these */
};

struct connection_watch {
    struct connections *connections;
    struct connection_watch *next, *previous;
    int fd;
    atomic_uint_least64_t deadline_ms; /* UINT64_MAX: none */
    atomic_bool is_receiving;          /* a head or a body is awaited or coming */
    bool has_hung_up;                  /* with connections.mutex: so it was seen in the sweep before */
    uint64_t since_ms;                 /* the body's or answer's start */
};

int connections_new(const struct connection_limits *limits, struct connections **ret);
/* All connections must be over. */
void connections_free(struct connections *connections);
DEFINE_CLEANUP(struct connections, connections_free);

/* NULL when memory ran out: the connection cannot be served. */
struct connection_watch *connection_opened(struct connections *connections, int fd);
void connection_closed(struct connection_watch *watch);

void connection_body_starts(struct connection_watch *watch);
void connection_body_moved(struct connection_watch *watch, uint64_t received);
/* It is the server's turn: there is no deadline until the answer starts. */
void connection_body_ended(struct connection_watch *watch);
void connection_answer_starts(struct connection_watch *watch, uint64_t len);
void connection_idle(struct connection_watch *watch);

/* Shuts down what is late, and what the peer has hung up in the middle of a request, which libmicrohttpd does
 * not always see (it waits for edges, and the end may come in one with the last bytes). `all`: everything.
 * Count of them. */
size_t connections_sweep(struct connections *connections, bool all);
uint64_t connections_count(struct connections *connections);
