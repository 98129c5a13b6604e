/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/link.h"

#include "base/cleanup.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

struct link_watch {
    sd_event_source *source, *quiet;
    int fd;
    bool up;
    void (*changed)(void *context, bool up);
    void *context;
};

/* The present state, read afresh: messages only say when to look, so that a lost one (ENOBUFS) costs nothing.
 */
static bool look(void)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) < 0)
        return true; /* not known: assume the best, an attempt will tell */
    bool up = false;
    for (const struct ifaddrs *at = list; at && !up; at = at->ifa_next) {
        if (!at->ifa_addr || (at->ifa_flags & IFF_LOOPBACK) || !(at->ifa_flags & IFF_UP) ||
            !(at->ifa_flags & IFF_RUNNING))
            continue;
        up = at->ifa_addr->sa_family == AF_INET || at->ifa_addr->sa_family == AF_INET6;
    }
    freeifaddrs(list);
    return up;
}

static int on_quiet(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    struct link_watch *watch = context;
    watch->up = look();
    watch->changed(watch->context, watch->up);
    return 0;
}

static int on_netlink(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)events;
    struct link_watch *watch = context;
    char chunk[8192];
    for (;;) {
        ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (n < 0 && errno == ENOBUFS)
            continue; /* overrun: the socket goes on, and we look at the state itself */
        if (n <= 0)
            break;
    }
    int r = sd_event_source_set_time_relative(watch->quiet, (uint64_t)LINK_QUIET_MS * 1000);
    if (r >= 0)
        r = sd_event_source_set_enabled(watch->quiet, SD_EVENT_ONESHOT);
    /* Told at once rather than never: the next message may be long in coming. */
    return r < 0 ? on_quiet(watch->quiet, 0, watch) : 0;
}

int link_watch_new(
    sd_event *event, void (*changed)(void *context, bool up), void *context, struct link_watch **ret)
{
    struct link_watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return -ENOMEM;
    watch->changed = changed;
    watch->context = context;
    watch->up = look();
    watch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    int r = watch->fd < 0 ? -errno : 0;
    if (r >= 0) {
        const struct sockaddr_nl address = {
            .nl_family = AF_NETLINK,
            .nl_groups =
                RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
        };
        if (bind(watch->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
            r = -errno;
    }
    if (r >= 0)
        r = sd_event_add_io(event, &watch->source, watch->fd, EPOLLIN, on_netlink, watch);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &watch->quiet, CLOCK_MONOTONIC, 0, 100000, on_quiet, watch);
    if (r >= 0)
        r = sd_event_source_set_enabled(watch->quiet, SD_EVENT_OFF);
    if (r < 0) {
        link_watch_free(watch);
        return r;
    }
    *ret = watch;
    return 0;
}

void link_watch_free(struct link_watch *watch)
{
    if (!watch)
        return;
    sd_event_source_disable_unref(watch->source);
    sd_event_source_disable_unref(watch->quiet);
    if (watch->fd >= 0)
        close(watch->fd);
    free(watch);
}

bool link_watch_is_up(const struct link_watch *watch)
{
    return watch->up;
}
