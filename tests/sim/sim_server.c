/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The centre's machine: its power, its process, and what the HTTP shell would do round the service: commit
 * several requests at once, hold those that are ahead of their log, answer after the commit only. A process
 * that has died answers nothing any more.
 */
#include "tests/sim/sim.h"

#include <errno.h>

#define COMMIT_DELAY_MAX_MS 60u
#define HOUSEKEEPING_EVERY_MS MINUTE_MS
#define START_RETRY_MS (5 * SECOND_MS)

/* ---- life ---- */

#define PACED_EVERY 5u      /* in one run of so many the centre spreads its handhelds out ... */
#define PACED_PER_SECOND 1u /* ... as if it were good for this much */

static void run_start(struct sim *sim, void *object, uint64_t life)
{
    (void)object;
    if (!sim->server.service && sim->server.life == life)
        server_start(sim);
}

void server_start_later(struct sim *sim, uint64_t delay_ms)
{
    sim_at(sim, delay_ms, run_start, NULL, sim->server.life);
}

static void run_housekeeping(struct sim *sim, void *object, uint64_t life)
{
    struct server *server = &sim->server;
    int more;

    (void)object;
    if (!server->service || server->life != life)
        return;
    more = service_housekeeping(server->service);
    server_after(sim);
    if (server->service && server->life == life)
        sim_at(sim, more > 0 ? 50 : HOUSEKEEPING_EVERY_MS, run_housekeeping, NULL, life);
}

void server_start(struct sim *sim)
{
    struct server *server = &sim->server;
    const struct service_options options = {.world = server->machine.world, .directory = DATA_DIRECTORY};
    _cleanup_free_ char *error = NULL;
    int r = service_open(&options, &server->service, &error);

    server->life++;
    if (r < 0) {
        sim_trace(sim, "server: does not start: %s", error ? error : strerror(-r));
        if (!sim_disk_is_dead(server->machine.disk) && !sim_disk_is_stopped(server->machine.disk) &&
            r != -ENOSPC && r != -EIO)
            sim_fail(sim, "the server does not start: %s", error ? error : strerror(-r));
        server_after(sim);
        server_start_later(sim, START_RETRY_MS);
        return;
    }
    if (sim->seed % PACED_EVERY == 0)
        service_set_limits(server->service, &(struct quota){0}, PACED_PER_SECOND);
    sim_trace(sim, "server: up");
    server->receipt_key = *service_receipt_key(server->service);
    erase_refresh(sim);
    check_server_start(sim);
    server_after(sim);
    if (server->service)
        sim_at(sim, sim_below(sim, 2000), run_housekeeping, NULL, server->life);
}

static void drop_requests(struct sim *sim)
{
    struct server *server = &sim->server;

    for (size_t i = 0; i < server->pending_count; i++)
        network_release(sim, server->pending[i]);
    server->pending_count = 0;
    while (server->held) {
        struct sim_request *request = server->held;

        server->held = request->next_held;
        network_release(sim, request);
    }
    /* Jobs point into the service: those of requests that wait for nothing but their deadline, too. */
    for (struct sim_request *request = sim->requests; request; request = request->next) {
        service_job_free(request->job);
        request->job = NULL;
    }
    server->commit_scheduled = false;
}

/* Closes what the process had open; on a dead disk that changes nothing. */
static void process_end(struct sim *sim)
{
    struct server *server = &sim->server;

    if (!server->service)
        return;
    drop_requests(sim);
    service_free(server->service);
    server->service = NULL;
    server->life++;
}

void server_stop(struct sim *sim)
{
    process_end(sim);
    server_after(sim);
}

void server_kill(struct sim *sim)
{
    sim_disk_stop(sim->server.machine.disk);
    process_end(sim);
    sim_disk_end_stop(sim->server.machine.disk);
}

void server_power_cut(struct sim *sim)
{
    struct server *server = &sim->server;

    sim_disk_die(server->machine.disk);
    process_end(sim);
    sim_disk_crash(server->machine.disk);
    machine_boot(sim, &server->machine);
    sim_trace(sim, "server: power cut");
}

void server_after(struct sim *sim)
{
    struct sim_disk *disk = sim->server.machine.disk;

    if (sim_disk_is_dead(disk)) {
        server_power_cut(sim);
        server_start_later(sim, sim_between(sim, SECOND_MS, 10 * MINUTE_MS));
    } else if (sim_disk_is_stopped(disk)) {
        sim_trace(sim, "server: killed");
        server_kill(sim);
        server_start_later(sim, sim_between(sim, SECOND_MS, 2 * MINUTE_MS));
    }
}

/* ---- signed requests ---- */

static bool is_alive(const struct sim *sim)
{
    const struct sim_disk *disk = sim->server.machine.disk;

    return sim->server.service && !sim_disk_is_dead(disk) && !sim_disk_is_stopped(disk);
}

static void answer(struct sim *sim, struct sim_request *request)
{
    struct service_reply reply = {0};

    service_answer(sim->server.service, request->job, &reply);
    service_job_free(request->job);
    request->job = NULL;
    request->reply = (struct sim_reply){.status = reply.status, .body = reply.body};
    reply.body = (struct buffer){0};
    if (reply.retry_after_s > 0)
        snprintf(request->reply.retry_after, sizeof(request->reply.retry_after), "%u", reply.retry_after_s);
    sim_trace(sim, "server: request %llu: %s", (unsigned long long)request->number,
        reply.outcome ? reply.outcome : "answered");
    service_reply_done(&reply);
    if (is_alive(sim))
        network_answer(sim, request);
}

static void run_commit(struct sim *sim, void *object, uint64_t life);

static void put_pending(struct sim *sim, struct sim_request *request)
{
    struct server *server = &sim->server;

    server->pending[server->pending_count++] = request;
    if (server->commit_scheduled)
        return;
    server->commit_scheduled = true;
    sim_at(sim, sim_below(sim, COMMIT_DELAY_MAX_MS), run_commit, NULL, server->life);
}

/* Held ones go with the next commit when their log has grown or their time is over. */
static void wake_held(struct sim *sim, const struct uuid *log)
{
    struct server *server = &sim->server;

    for (struct sim_request **at = &server->held; *at;) {
        struct sim_request *request = *at;

        if (!uuid_equal(&request->log, log) || server->pending_count == SERVICE_GROUP_MAX) {
            at = &request->next_held;
            continue;
        }
        *at = request->next_held;
        put_pending(sim, request);
    }
}

static void run_hold_end(struct sim *sim, void *object, uint64_t number)
{
    struct server *server = &sim->server;

    (void)object;
    for (struct sim_request **at = &server->held; *at; at = &(*at)->next_held) {
        struct sim_request *request = *at;

        if (request->number != number)
            continue;
        *at = request->next_held;
        answer(sim, request);
        network_release(sim, request);
        return;
    }
}

static bool hold_if_ahead(struct sim *sim, struct sim_request *request)
{
    uint64_t left_ms = request->hold_until_ms > sim->now_ms ? request->hold_until_ms - sim->now_ms : 0;

    if (!service_job_is_ahead(request->job, &request->log) || left_ms == 0)
        return false;
    sim_cover(sim, COVER_ANSWER_AHEAD);
    request->next_held = sim->server.held;
    sim->server.held = request;
    sim_at(sim, left_ms, run_hold_end, NULL, request->number);
    return true;
}

static void settle(struct sim *sim, struct sim_request *request)
{
    struct uuid log = {{0}};

    if (hold_if_ahead(sim, request))
        return;
    (void)service_job_is_ahead(request->job, &log);
    answer(sim, request);
    if (!uuid_is_nil(&log))
        wake_held(sim, &log);
    network_release(sim, request);
}

static void run_commit(struct sim *sim, void *object, uint64_t life)
{
    struct server *server = &sim->server;
    struct service_job *jobs[SERVICE_GROUP_MAX] = {NULL};
    struct sim_request *group[SERVICE_GROUP_MAX];
    size_t count = server->pending_count;
    int r;

    (void)object;
    if (!server->service || server->life != life)
        return;
    server->commit_scheduled = false;
    for (size_t i = 0; i < count; i++) {
        group[i] = server->pending[i];
        jobs[i] = group[i]->job;
    }
    r = service_commit(server->service, jobs, count);
    if (count > 1)
        sim_cover(sim, COVER_COMMIT_GROUP);
    sim_trace(sim, "server: commit of %zu: %d", count, r);
    if (!is_alive(sim)) {
        sim_cover(sim, COVER_COMMIT_CRASHED);
        server_after(sim);
        return;
    }
    server->pending_count = 0;
    for (size_t i = 0; i < count; i++)
        settle(sim, group[i]);
    server_after(sim);
}

static bool route_of(const char *path, enum service_route *ret)
{
    static const struct {
        const char *path;
        enum service_route route;
    } routes[] = {
        {"/v1/exchange", SERVICE_EXCHANGE}, {"/v1/audit", SERVICE_AUDIT}, {"/v1/repair", SERVICE_REPAIR}};

    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (strcmp(path, routes[i].path) != 0)
            continue;
        *ret = routes[i].route;
        return true;
    }
    return false;
}

void server_receive(struct sim *sim, struct sim_request *request)
{
    struct server *server = &sim->server;
    enum service_route route;

    request->server_life = server->life;
    if (strncmp(request->path, "/v1/blobs", 9) == 0) {
        uploads_receive(sim, request);
        server_after(sim);
        return;
    }
    if (!route_of(request->path, &route)) {
        sim_fail(sim, "the agent asks for %s", request->path);
        return;
    }
    if (request->body_arrived < request->body.len || server->pending_count == SERVICE_GROUP_MAX)
        return;
    if (service_prepare(server->service, route, buffer_bytes(&request->body), &request->job) < 0)
        abort();
    network_hold(request);
    request->hold_until_ms = sim->now_ms + EXCHANGE_HOLD_MS;
    if (service_job_needs_commit(request->job)) {
        put_pending(sim, request);
    } else {
        answer(sim, request);
        network_release(sim, request);
    }
    server_after(sim);
}

/* ---- birth and death ---- */

void server_init(struct sim *sim)
{
    machine_init(sim, &sim->server.machine, "server");
    server_start(sim);
}

void server_done(struct sim *sim)
{
    process_end(sim);
    sim_disk_image_free(sim->server.backup);
    machine_done(&sim->server.machine);
}
