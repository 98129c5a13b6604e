/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/connections.h"

#include "server/http/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct connections {
    struct connection_limits limits;
    pthread_mutex_t mutex;
    struct connection_watch *first;
    uint64_t count;
};

int connections_new(const struct connection_limits *limits, struct connections **ret)
{
    struct connections *connections = calloc(1, sizeof(*connections));
    if (!connections)
        return -ENOMEM;
    connections->limits = *limits;
    pthread_mutex_init(&connections->mutex, NULL);
    *ret = connections;
    return 0;
}

void connections_free(struct connections *connections)
{
    if (!connections)
        return;
    pthread_mutex_destroy(&connections->mutex);
    free(connections);
}

static void set_deadline(struct connection_watch *watch, uint64_t deadline_ms)
{
    atomic_store_explicit(&watch->deadline_ms, deadline_ms, memory_order_relaxed);
}

static void set_receiving(struct connection_watch *watch, bool is_receiving)
{
    atomic_store_explicit(&watch->is_receiving, is_receiving, memory_order_relaxed);
}

static uint64_t time_for(const struct connection_limits *limits, uint64_t len)
{
    return limits->grace_ms + len * 1000u / limits->rate_bytes_min;
}

struct connection_watch *connection_opened(struct connections *connections, int fd)
{
    struct connection_watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return NULL;
    watch->connections = connections;
    watch->fd = fd;
    set_receiving(watch, true);
    set_deadline(watch, clock_now_ms() + connections->limits.header_ms);

    pthread_mutex_lock(&connections->mutex);
    watch->next = connections->first;
    if (watch->next)
        watch->next->previous = watch;
    connections->first = watch;
    connections->count++;
    pthread_mutex_unlock(&connections->mutex);
    return watch;
}

void connection_closed(struct connection_watch *watch)
{
    struct connections *connections = watch->connections;

    pthread_mutex_lock(&connections->mutex);
    if (watch->next)
        watch->next->previous = watch->previous;
    if (watch->previous)
        watch->previous->next = watch->next;
    else
        connections->first = watch->next;
    connections->count--;
    pthread_mutex_unlock(&connections->mutex);
    free(watch);
}

void connection_body_starts(struct connection_watch *watch)
{
    const struct connection_limits *limits = &watch->connections->limits;
    watch->since_ms = clock_now_ms();
    set_deadline(
        watch, watch->since_ms + (limits->stall_ms < limits->grace_ms ? limits->stall_ms : limits->grace_ms));
}

void connection_body_moved(struct connection_watch *watch, uint64_t received)
{
    const struct connection_limits *limits = &watch->connections->limits;
    uint64_t by_rate_ms = watch->since_ms + time_for(limits, received);
    uint64_t by_stall_ms = clock_now_ms() + limits->stall_ms;
    set_deadline(watch, by_rate_ms < by_stall_ms ? by_rate_ms : by_stall_ms);
}

void connection_body_ended(struct connection_watch *watch)
{
    set_receiving(watch, false);
    set_deadline(watch, UINT64_MAX);
}

void connection_answer_starts(struct connection_watch *watch, uint64_t len)
{
    set_deadline(watch, clock_now_ms() + time_for(&watch->connections->limits, len));
}

void connection_idle(struct connection_watch *watch)
{
    set_receiving(watch, true);
    set_deadline(watch, clock_now_ms() + watch->connections->limits.idle_ms);
}

/* The peer has closed its side and all that it sent has been read. Whoever has sent a whole request may do
 * so; in the middle of one it means that the rest will not come. */
static bool has_hung_up(const struct connection_watch *watch)
{
    struct pollfd look = {.fd = watch->fd, .events = POLLRDHUP};
    int unread = 0;

    return atomic_load_explicit(&watch->is_receiving, memory_order_relaxed) && poll(&look, 1, 0) > 0 &&
           (look.revents & POLLRDHUP) && ioctl(watch->fd, FIONREAD, &unread) == 0 && unread == 0;
}

/* A request that ended a moment ago may look so once, until its thread says that it has. */
static bool is_hung_up(struct connection_watch *watch)
{
    bool was_so = watch->has_hung_up;

    watch->has_hung_up = has_hung_up(watch);
    return was_so && watch->has_hung_up;
}

size_t connections_sweep(struct connections *connections, bool all)
{
    uint64_t now_ms = clock_now_ms();
    size_t count = 0;

    pthread_mutex_lock(&connections->mutex);
    for (struct connection_watch *watch = connections->first; watch; watch = watch->next) {
        bool is_late = atomic_load_explicit(&watch->deadline_ms, memory_order_relaxed) <= now_ms;

        if (!all && !is_late && !is_hung_up(watch))
            continue;
        shutdown(watch->fd, SHUT_RDWR);
        count++;
    }
    pthread_mutex_unlock(&connections->mutex);
    return count;
}

uint64_t connections_count(struct connections *connections)
{
    pthread_mutex_lock(&connections->mutex);
    uint64_t count = connections->count;
    pthread_mutex_unlock(&connections->mutex);
    return count;
}
