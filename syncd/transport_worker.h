/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's network: the agent's `struct transport`, carried out by a worker process, patrol-transport
 * (syncd/transport/), that holds neither key nor database. Called by the daemon and by enrolment, on their
 * sd-event loop, which it never blocks. No policy: what to send, when, and what an answer means is the
 * engine's and the agent's.
 *
 * The worker is started when a request is sent and there is none, and ended when it had nothing in flight for
 * TRANSPORT_IDLE_MS. What it says is taken for bytes from elsewhere: when it breaks the rules of
 * syncd/transport/message.h, dies or hangs, it is ended, each request in flight has failed, and the next
 * request starts another one.
 */
#pragma once

#include "base/world.h"
#include "proto/ids.h"
#include "syncd/agent/agent.h"
#include "syncd/core/tls_floor.h"

#include <systemd/sd-event.h>

struct transport_worker;

struct transport_worker_listener {
    void (*response)(void *context, uint32_t slot, const struct http_response *response);
    /* FAILURE_NETWORK or FAILURE_TLS; `detail` is for a log line. */
    void (*failed)(void *context, uint32_t slot, enum engine_failure failure, const char *detail);
    /* The worker was ended because there was nothing to do: time to give memory back. May be NULL. */
    void (*rested)(void *context);
    /* It ended otherwise, and what was in flight has been told. May be NULL. */
    void (*lost)(void *context);
    void *context;
};

struct transport_worker_options {
    const struct world *world;
    /* Certificates are those of the CA in this PEM file, read whenever a worker is started; a file that is
     * not there means that nobody is believed over TLS. Or, at enrolment, of the CA with this hash. */
    const char *ca_path;
    bool has_ca_sha256;
    struct sha256 ca_sha256;
    uint64_t idle_ms, patience_ms; /* 0: TRANSPORT_IDLE_MS, TRANSPORT_PATIENCE_MS */
};

#define TRANSPORT_IDLE_MS 60000u
/* From the end of its work, or from a cancelled request, to what the worker makes of it. */
#define TRANSPORT_PATIENCE_MS 10000u

/* Texts are copied, `world` and the context are borrowed. */
int transport_worker_new(sd_event *event, const struct transport_worker_options *options,
    const struct transport_worker_listener *listener, struct transport_worker **ret);
/* Ends the worker, too; requests in flight are not told. */
void transport_worker_free(struct transport_worker *transport);
DEFINE_CLEANUP(struct transport_worker, transport_worker_free);

/* Where requests go from now on. The CA is read again, and those in flight fail. -EMSGSIZE. */
int transport_worker_set_server(struct transport_worker *transport, const char *server_url);
/* When certificates are verified, from the next request on. */
void transport_worker_set_time(struct transport_worker *transport, struct tls_time time);
/* The verbs for agent_new. */
struct transport transport_worker_verbs(struct transport_worker *transport);
/* The next requests make new connections; those in flight go on. */
void transport_worker_network_changed(struct transport_worker *transport);
/* Requests in flight. */
unsigned transport_worker_busy(const struct transport_worker *transport);
/* Workers started, and those of them that ended otherwise than they were told to. */
struct transport_worker_counts {
    uint64_t started, lost;
};
struct transport_worker_counts transport_worker_counted(const struct transport_worker *transport);
/* At enrolment, inside of `response`: the CA that vouched for it, DER, with the hash that was asked for;
 * empty over plain HTTP. */
struct bytes transport_worker_found_ca(const struct transport_worker *transport);
