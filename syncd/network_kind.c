/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/network_kind.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <systemd/sd-bus.h>
#include <time.h>

#define SERVICE "org.freedesktop.NetworkManager"
#define OBJECT "/org/freedesktop/NetworkManager"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define ANSWER_US UINT64_C(10000000)
#define HOST_MAX 256u

/* NMMetered and NMConnectivityState, as NetworkManager's D-Bus interface numbers them. */
enum { NM_METERED_YES = 1, NM_METERED_NO = 2, NM_METERED_GUESS_YES = 3, NM_METERED_GUESS_NO = 4 };
enum { NM_CONNECTIVITY_FULL = 4 };

struct network_watch {
    sd_event *event;
    sd_bus *bus;
    sd_event_source *patience, *exit;
    struct network_listener listener;
    enum network_metered metered;
    bool metered_told;     /* since it was asked about */
    uint32_t connectivity; /* 0: not known */
};

/* ---- what is told ---- */

static void set_metered(struct network_watch *watch, enum network_metered metered)
{
    if (metered == watch->metered)
        return;
    watch->metered = metered;
    watch->listener.metered(watch->listener.context, metered);
}

static enum network_metered metered_of(uint32_t value)
{
    if (value == NM_METERED_YES || value == NM_METERED_GUESS_YES)
        return METERED_YES;
    return value == NM_METERED_NO || value == NM_METERED_GUESS_NO ? METERED_NO : METERED_UNKNOWN;
}

/* The first word about it is no news. */
static void set_connectivity(struct network_watch *watch, uint32_t value)
{
    bool is_news = watch->connectivity != 0 && watch->connectivity != value && value == NM_CONNECTIVITY_FULL;

    watch->connectivity = value;
    if (is_news)
        watch->listener.online(watch->listener.context);
}

static void take_property(struct network_watch *watch, const char *name, uint32_t value)
{
    if (strcmp(name, "Metered") == 0) {
        watch->metered_told = true;
        set_metered(watch, metered_of(value));
    } else if (strcmp(name, "Connectivity") == 0) {
        set_connectivity(watch, value);
    }
}

static int take_entry(struct network_watch *watch, sd_bus_message *message)
{
    const char *name, *type;
    uint32_t value;
    int r = sd_bus_message_read(message, "s", &name);

    if (r >= 0)
        r = sd_bus_message_peek_type(message, NULL, &type);
    if (r < 0)
        return r;
    if (strcmp(type, "u") != 0)
        return sd_bus_message_skip(message, "v");
    r = sd_bus_message_read(message, "v", "u", &value);
    if (r >= 0)
        take_property(watch, name, value);
    return r;
}

/* a{sv}: what is not wanted, or of another type, is passed over. */
static int take_properties(struct network_watch *watch, sd_bus_message *message)
{
    int r = sd_bus_message_enter_container(message, 'a', "{sv}");

    while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
        r = take_entry(watch, message);
        if (r >= 0)
            r = sd_bus_message_exit_container(message);
    }
    return r;
}

/* ---- the bus ---- */

static int on_all(sd_bus_message *message, void *context, sd_bus_error *error)
{
    struct network_watch *watch = context;

    (void)error;
    watch->metered_told = false;
    if (!sd_bus_message_is_method_error(message, NULL))
        (void)take_properties(watch, message);
    if (!watch->metered_told)
        set_metered(watch, METERED_UNKNOWN); /* no NetworkManager, or one that does not know it */
    return 0;
}

/* Asks for all properties; a NetworkManager that does not run is not started for it. */
static int ask(struct network_watch *watch)
{
    sd_bus_message *message = NULL;
    int r = sd_bus_message_new_method_call(watch->bus, &message, SERVICE, OBJECT, PROPERTIES, "GetAll");

    if (r >= 0)
        r = sd_bus_message_set_auto_start(message, 0);
    if (r >= 0)
        r = sd_bus_message_append(message, "s", SERVICE);
    if (r >= 0)
        r = sd_bus_call_async(watch->bus, NULL, message, on_all, watch, ANSWER_US);
    sd_bus_message_unref(message);
    return r;
}

static int on_changed(sd_bus_message *message, void *context, sd_bus_error *error)
{
    const char *interface;

    (void)error;
    if (sd_bus_message_read(message, "s", &interface) > 0 && strcmp(interface, SERVICE) == 0)
        (void)take_properties(context, message);
    return 0;
}

static int on_owner(sd_bus_message *message, void *context, sd_bus_error *error)
{
    struct network_watch *watch = context;
    const char *name, *before, *now;

    (void)error;
    if (sd_bus_message_read(message, "sss", &name, &before, &now) < 0)
        return 0;
    if (now[0] == 0)
        set_metered(watch, METERED_UNKNOWN);
    else
        (void)ask(watch);
    return 0;
}

/* A bus that takes us in and then says nothing: the guess must not stand for ever. */
static int on_patience(sd_event_source *source, uint64_t usec, void *context)
{
    struct network_watch *watch = context;

    (void)source;
    (void)usec;
    if (!watch->metered_told)
        set_metered(watch, METERED_UNKNOWN);
    return 0;
}

static void close_bus(struct network_watch *watch)
{
    watch->patience = sd_event_source_disable_unref(watch->patience);
    watch->bus = sd_bus_close_unref(watch->bus);
    watch->connectivity = 0;
}

/* Before sd-bus hears that the loop ends: it would wait for a bus that does not answer to take its last
 * words. */
static int on_loop_exit(sd_event_source *source, void *context)
{
    (void)source;
    close_bus(context);
    return 0;
}

static int open_bus(struct network_watch *watch)
{
    int r = sd_bus_open_system(&watch->bus);

    if (r >= 0)
        r = sd_bus_attach_event(watch->bus, watch->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_match_signal_async(
            watch->bus, NULL, SERVICE, OBJECT, PROPERTIES, "PropertiesChanged", on_changed, NULL, watch);
    if (r >= 0)
        r = sd_bus_add_match_async(watch->bus, NULL,
            "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
            "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" SERVICE "'",
            on_owner, NULL, watch);
    if (r >= 0)
        r = ask(watch);
    watch->metered_told = false;
    if (r >= 0)
        r = sd_event_add_time_relative(
            watch->event, &watch->patience, CLOCK_MONOTONIC, ANSWER_US, 0, on_patience, watch);
    if (r < 0) {
        close_bus(watch);
        return r;
    }
    set_metered(watch, METERED_YES); /* the careful guess, until the answer is there */
    return 0;
}

void network_watch_poll(struct network_watch *watch)
{
    if (watch->bus && sd_bus_is_open(watch->bus) > 0)
        return;
    close_bus(watch);
    if (open_bus(watch) < 0)
        set_metered(watch, METERED_UNKNOWN);
}

int network_watch_new(sd_event *event, const struct network_listener *listener, struct network_watch **ret)
{
    struct network_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return -ENOMEM;
    watch->event = event;
    watch->listener = *listener;
    int r = sd_event_add_exit(event, &watch->exit, on_loop_exit, watch);
    if (r >= 0)
        r = sd_event_source_set_priority(watch->exit, INT64_MIN);
    if (r < 0) {
        network_watch_free(watch);
        return r;
    }
    (void)open_bus(watch);
    *ret = watch;
    return 0;
}

void network_watch_free(struct network_watch *watch)
{
    if (!watch)
        return;
    close_bus(watch);
    sd_event_source_disable_unref(watch->exit);
    free(watch);
}

/* ---- URLs ---- */

static bool host_of(const char *url, char ret[HOST_MAX])
{
    const char *start = strstr(url, "://");

    start = start ? start + strlen("://") : url;
    size_t len = strcspn(start, "/?#");
    const char *user_end = memchr(start, '@', len);
    if (user_end) {
        len -= (size_t)(user_end + 1 - start);
        start = user_end + 1;
    }
    if (len > 0 && start[0] == '[') {
        const char *end = memchr(start, ']', len);

        start++;
        len = end ? (size_t)(end - start) : 0;
    } else {
        const char *port = memchr(start, ':', len);

        len = port ? (size_t)(port - start) : len;
    }
    if (len == 0 || len >= HOST_MAX)
        return false;
    memcpy(ret, start, len);
    ret[len] = 0;
    return true;
}

bool url_is_loopback(const char *url)
{
    char host[HOST_MAX];
    struct in6_addr ipv6;
    struct in_addr ipv4;

    if (!host_of(url, host))
        return false;
    if (inet_pton(AF_INET, host, &ipv4) == 1)
        return ntohl(ipv4.s_addr) >> 24 == IN_LOOPBACKNET;
    if (inet_pton(AF_INET6, host, &ipv6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&ipv6);
    return strcasecmp(host, "localhost") == 0;
}
