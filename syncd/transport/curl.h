/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's network: libcurl's multi interface on the sd-event loop, as the agent's `struct transport`.
 * One easy handle a slot, connections kept and reused. No policy: what to send, when, and what an answer
 * means is the engine's and the agent's.
 */
#pragma once

#include "syncd/agent/agent.h"
#include "syncd/tls.h"

#include <systemd/sd-event.h>

struct transport_curl;

struct transport_curl_listener {
    void (*response)(void *context, uint32_t slot, const struct http_response *response);
    void (*failed)(void *context, uint32_t slot, enum engine_failure failure, const char *detail);
    void *context;
};

#define TRANSPORT_CONNECT_MS 20000u
#define TRANSPORT_LOW_SPEED_BYTES 1u
#define TRANSPORT_LOW_SPEED_S 30u
#define TRANSPORT_IDLE_CLOSE_S 90u

/* `trust` is shared and may be changed between requests; new connections use it. */
int transport_curl_new(sd_event *event, struct tls_trust *trust,
    const struct transport_curl_listener *listener, struct transport_curl **ret);
void transport_curl_free(struct transport_curl *transport);
DEFINE_CLEANUP(struct transport_curl, transport_curl_free);
int transport_curl_set_server(struct transport_curl *transport, const char *server_url);
/* The verbs for agent_new. */
struct transport transport_curl_verbs(struct transport_curl *transport);
/* Forgets every kept connection: after the network changed, the next requests make new ones. Requests in
 * flight go on. */
void transport_curl_drop_connections(struct transport_curl *transport);
/* Requests in flight. */
unsigned transport_curl_busy(const struct transport_curl *transport);
