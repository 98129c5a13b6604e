/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests by libcurl's multi interface on the sd-event loop: one easy handle a slot; connections and TLS
 * sessions are kept and used again. Called by the worker alone (serve.c). No policy: what to send, when, and
 * what an answer means is the engine's and the agent's, in another process.
 */
#pragma once

#include "syncd/transport/message.h"
#include "syncd/transport/tls.h"

#include <systemd/sd-event.h>

struct transport_curl;

struct transport_curl_listener {
    void (*response)(void *context, uint32_t slot, const struct http_response *response);
    /* `detail` is libcurl's words, static. */
    void (*failed)(void *context, uint32_t slot, enum transport_failure failure, const char *detail);
    void *context;
};

#define TRANSPORT_CONNECT_MS 20000u
#define TRANSPORT_LOW_SPEED_BYTES 1u
#define TRANSPORT_LOW_SPEED_S 30u
#define TRANSPORT_KEEP_S 90u

/* `trust` is shared; its time may be changed between requests: new connections use it. */
int transport_curl_new(sd_event *event, struct tls_trust *trust,
    const struct transport_curl_listener *listener, struct transport_curl **ret);
void transport_curl_free(struct transport_curl *transport);
DEFINE_CLEANUP(struct transport_curl, transport_curl_free);
/* Starts a request, whose path is a whole URL, under a slot's number, below TRANSPORT_SLOTS_MAX; its end is
 * told to the listener, never from inside this call. -EBUSY the slot is in use, -EMSGSIZE, -ENOMEM, -EIO. */
int transport_curl_send(
    struct transport_curl *transport, uint32_t number, const struct http_request *request);
/* Ends a request without telling. */
void transport_curl_cancel(struct transport_curl *transport, uint32_t number);
/* Forgets every kept connection: after the network changed, the next requests make new ones. Requests in
 * flight go on. */
void transport_curl_drop_connections(struct transport_curl *transport);
