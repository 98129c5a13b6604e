/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What NetworkManager says of the network, over D-Bus where there is one: is it metered, does it lead
 * somewhere. Both are hints. No bus and no NetworkManager are as normal as having them: then nothing is
 * known. Never blocks. Owned by the daemon's shell; must not know what the hints are good for.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

struct network_watch;

enum network_metered { METERED_UNKNOWN, METERED_NO, METERED_YES };

struct network_listener {
    void (*metered)(void *context, enum network_metered metered); /* it is another than before */
    void (*online)(void *context);                                /* the network leads somewhere again */
    void *context;
};

/* From when a bus was found until NetworkManager has answered the network counts as metered. */
int network_watch_new(sd_event *event, const struct network_listener *listener, struct network_watch **ret);
void network_watch_free(struct network_watch *watch);
/* To be called now and then: a bus that was not there may be there now. */
void network_watch_poll(struct network_watch *watch);

/* True when the host of a URL is this machine's loopback: localhost, 127.0.0.0/8 or ::1. */
bool url_is_loopback(const char *url);
