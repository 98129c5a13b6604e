/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches addresses and routes by rtnetlink. What it tells is a hint: only a signed answer proves that the
 * centre is reachable.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

struct link_watch;

/* Tells `changed(up)` after things have been quiet for LINK_QUIET_MS, and only when something changed; `up`
 * is whether any address but loopback's, or any default route, is there. */
#define LINK_QUIET_MS 300u
int link_watch_new(
    sd_event *event, void (*changed)(void *context, bool up), void *context, struct link_watch **ret);
void link_watch_free(struct link_watch *watch);
bool link_watch_is_up(const struct link_watch *watch);
