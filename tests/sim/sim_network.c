/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network between the handhelds and the centre. Each request's fate is drawn when it is sent: it may be
 * lost, broken off, doubled or late, and so may its answer; a portal or a proxy may answer in the centre's
 * place, or somebody who has taken over the connection.
 *
 * A request lives until nobody refers to it: its events, and the server while it works on it.
 */
#include "tests/sim/sim.h"

#include <errno.h>

#define DELAY_MIN_MS 5u
#define DELAY_MAX_MS 400u
#define LATE_MAX_MS (10 * MINUTE_MS)
#define OLD_ANSWER_PERCENT 30u
#define STORED_LOOK_PERCENT 3u

void network_release(struct sim *sim, struct sim_request *request)
{
    if (--request->references > 0)
        return;
    for (struct sim_request **at = &sim->requests; *at; at = &(*at)->next) {
        if (*at == request) {
            *at = request->next;
            break;
        }
    }
    service_job_free(request->job);
    buffer_done(&request->body);
    buffer_done(&request->reply.body);
    free(request);
}

void network_hold(struct sim_request *request)
{
    request->references++;
}

static void later(struct sim *sim, uint64_t delay_ms,
    void (*run)(struct sim *sim, void *object, uint64_t number), struct sim_request *request, uint64_t number)
{
    network_hold(request);
    sim_at(sim, delay_ms, run, request, number);
}

static uint64_t delay(struct sim *sim)
{
    return sim_between(sim, DELAY_MIN_MS, DELAY_MAX_MS);
}

/* ---- to the handheld ---- */

static struct handheld *waiting_handheld(struct sim *sim, struct sim_request *request)
{
    struct handheld *handheld = &sim->handhelds[request->handheld];

    if (request->is_ghost || request->is_over || !handheld->agent || handheld->life != request->daemon_life ||
        handheld->slots[request->slot] != request)
        return NULL;
    return handheld;
}

/* The request's end at the handheld: `number` is an enum engine_failure. */
static void run_failed(struct sim *sim, void *object, uint64_t number)
{
    struct sim_request *request = object;
    struct handheld *handheld = waiting_handheld(sim, request);

    if (handheld) {
        sim_trace(sim, "request %llu fails at the handheld", (unsigned long long)request->number);
        request->is_over = true;
        handheld->slots[request->slot] = NULL;
        agent_failed(handheld->agent, request->slot, (enum engine_failure)number);
        daemon_after(sim, handheld);
    }
    network_release(sim, request);
}

static void deliver(struct sim *sim, struct handheld *handheld, struct sim_request *request)
{
    const struct sim_reply *reply = &request->reply;
    struct http_response response = {.status = reply->status,
        .body = buffer_bytes(&reply->body),
        .bytes_sent = request->body.len,
        .bytes_received = reply->body.len,
        .location = reply->location[0] ? reply->location : NULL,
        .upload_offset = reply->upload_offset[0] ? reply->upload_offset : NULL,
        .retry_after = reply->retry_after[0] ? reply->retry_after : NULL};

    struct store_status before;
    bool is_portal = request->fate == FATE_CAPTIVE && store_status(handheld->store, &before) >= 0;

    sim_trace(sim, "request %llu answered with %u", (unsigned long long)request->number, reply->status);
    request->is_over = true;
    handheld->slots[request->slot] = NULL;
    agent_response(handheld->agent, request->slot, &response);
    check_receipts(sim, handheld);
    if (is_portal)
        check_nothing_counts(sim, handheld, &before);
    if (request->fate == FATE_FORGED || sim_chance(sim, STORED_LOOK_PERCENT))
        check_stored_photos(sim, handheld);
    daemon_after(sim, handheld);
}

static void run_response(struct sim *sim, void *object, uint64_t number)
{
    struct sim_request *request = object;
    struct handheld *handheld = waiting_handheld(sim, request);

    (void)number;
    if (handheld && handheld->link_up)
        deliver(sim, handheld, request);
    network_release(sim, request);
}

static void reply_set(struct sim_request *request, unsigned status, struct bytes body)
{
    buffer_done(&request->reply.body);
    request->reply = (struct sim_reply){.status = status};
    buffer_put_bytes(&request->reply.body, body);
}

static void damage(struct sim *sim, struct buffer *body)
{
    if (body->len > 0)
        body->data[sim_below(sim, body->len)] ^= (uint8_t)(1u << sim_below(sim, 8));
}

void network_answer(struct sim *sim, struct sim_request *request)
{
    uint64_t delay_ms = delay(sim);

    if (request->is_answered)
        return;
    request->is_answered = true;
    check_promise(sim, request);
    if (request->reply.status == 200 && sim_chance(sim, OLD_ANSWER_PERCENT)) {
        buffer_clear(&sim->old_answer);
        buffer_put_bytes(&sim->old_answer, buffer_bytes(&request->reply.body));
    }
    if (request->is_ghost)
        return;
    switch (request->fate) {
    case FATE_ANSWER_LOST:
        return;
    case FATE_RESET_AFTER:
        later(sim, delay_ms, run_failed, request, FAILURE_NETWORK);
        return;
    case FATE_ANSWER_CUT:
        /* libcurl tells of a body shorter than announced as a failure; without Content-Length it cannot. */
        if (sim_chance(sim, 50)) {
            later(sim, delay_ms, run_failed, request, FAILURE_NETWORK);
            return;
        }
        if (request->reply.body.len > 0)
            request->reply.body.len = sim_below(sim, request->reply.body.len);
        break;
    case FATE_ANSWER_DAMAGED:
        damage(sim, &request->reply.body);
        break;
    case FATE_ANSWER_LATE:
        delay_ms += sim_below(sim, LATE_MAX_MS);
        break;
    case FATE_ANSWER_OLD:
        reply_set(request, 200, buffer_bytes(&sim->old_answer));
        break;
    case FATE_GOOD:
    case FATE_DUPLICATE:
    case FATE_BODY_CUT:
    case FATE_REQUEST_LOST:
    case FATE_RESET_BEFORE:
    case FATE_FORGED:
    case FATE_CAPTIVE:
    case FATE_TLS:
    case FATE_BUSY:
    case FATE_LINK_DOWN:
        break; /* fates of the way there, or none */
    }
    later(sim, delay_ms, run_response, request, 0);
}

/* ---- to the server ---- */

static void run_arrival(struct sim *sim, void *object, uint64_t number)
{
    struct sim_request *request = object;

    (void)number;
    if (!sim->server.service) {
        sim_cover(sim, COVER_NET_REFUSED);
        later(sim, delay(sim), run_failed, request, FAILURE_NETWORK);
    } else {
        server_receive(sim, request);
    }
    network_release(sim, request);
}

static void copy_header(char *to, size_t capacity, const char *value)
{
    if (strlen(value) >= capacity)
        abort(); /* the simulator's buffers are too small */
    memcpy(to, value, strlen(value) + 1);
}

static void copy_headers(struct sim_request *request, const struct http_request *http)
{
    const struct {
        const char *name;
        char *to;
        size_t capacity;
    } wanted[] = {
        {"tus-resumable", request->tus_version, sizeof(request->tus_version)},
        {"authorization", request->authorization, sizeof(request->authorization)},
        {"upload-length", request->upload_length, sizeof(request->upload_length)},
        {"upload-metadata", request->upload_metadata, sizeof(request->upload_metadata)},
        {"upload-offset", request->upload_offset, sizeof(request->upload_offset)},
        {"upload-checksum", request->upload_checksum, sizeof(request->upload_checksum)},
    };

    copy_header(request->method, sizeof(request->method), http->method);
    copy_header(request->path, sizeof(request->path), http->path);
    for (size_t i = 0; i < http->header_count; i++)
        for (size_t k = 0; k < ARRAY_LEN(wanted); k++)
            if (strcmp(http->headers[i].name, wanted[k].name) == 0)
                copy_header(wanted[k].to, wanted[k].capacity, http->headers[i].value);
}

static struct sim_request *request_new(
    struct sim *sim, struct handheld *handheld, uint32_t slot, const struct http_request *http)
{
    struct sim_request *request = calloc(1, sizeof(*request));

    if (!request)
        abort();
    request->number = sim->next_request++;
    request->handheld = handheld->number;
    request->daemon_life = handheld->life;
    request->slot = slot;
    copy_headers(request, http);
    buffer_put_bytes(&request->body, http->body);
    request->body_arrived = http->body.len;
    request->next = sim->requests;
    sim->requests = request;
    sim->coverage->requests++;
    return request;
}

static void send_twice(
    struct sim *sim, struct handheld *handheld, uint32_t slot, const struct http_request *http)
{
    struct sim_request *ghost = request_new(sim, handheld, slot, http);

    ghost->is_ghost = true;
    ghost->fate = FATE_DUPLICATE;
    later(sim, delay(sim) * sim_between(sim, 1, 50), run_arrival, ghost, 0);
}

static enum sim_fate draw_fate(struct sim *sim, struct handheld *handheld, const char *path)
{
    enum sim_fate fate;

    if (!handheld->link_up)
        return FATE_LINK_DOWN;
    if (portal_meets(sim, handheld, path, &fate))
        return fate;
    if (sim->server.is_busy)
        return FATE_BUSY;
    if (audit_meets_loss(sim, handheld, path, &fate))
        return fate;
    if (!sim->is_chaos || !sim_chance(sim, sim->network_faults_percent))
        return FATE_GOOD;
    return (enum sim_fate)sim_between(sim, FATE_REQUEST_LOST, FATE_BUSY);
}

static void answer_instead(struct sim *sim, struct sim_request *request, unsigned status, struct bytes body)
{
    reply_set(request, status, body);
    request->is_answered = true;
    later(sim, delay(sim), run_response, request, 0);
}

static void send_forged(struct sim *sim, struct sim_request *request)
{
    _cleanup_buffer_ struct buffer forged = {0};

    if (forge_answer(sim, request, &forged)) {
        sim_trace(sim, "request %llu gets a forged answer", (unsigned long long)request->number);
        answer_instead(sim, request, 200, buffer_bytes(&forged));
    } else {
        later(sim, delay(sim), run_failed, request, FAILURE_TLS);
    }
}

static void set_off(struct sim *sim, struct sim_request *request)
{
    switch (request->fate) {
    case FATE_LINK_DOWN:
    case FATE_RESET_BEFORE:
        later(sim, delay(sim), run_failed, request, FAILURE_NETWORK);
        return;
    case FATE_REQUEST_LOST:
        return;
    case FATE_CAPTIVE:
        portal_answer(sim, request);
        request->is_answered = true;
        later(sim, delay(sim), run_response, request, 0);
        return;
    case FATE_TLS:
        later(sim, delay(sim), run_failed, request, FAILURE_TLS);
        return;
    case FATE_BUSY:
        answer_instead(sim, request, 503, bytes_of_text("busy\n"));
        if (sim_chance(sim, 50))
            snprintf(request->reply.retry_after, sizeof(request->reply.retry_after), "%u",
                (unsigned)sim_between(sim, 1, 300));
        return;
    case FATE_FORGED:
        send_forged(sim, request);
        return;
    case FATE_BODY_CUT:
        if (request->body.len > 0)
            request->body_arrived = sim_below(sim, request->body.len);
        later(sim, delay(sim) * 2, run_failed, request, FAILURE_NETWORK);
        break;
    case FATE_GOOD:
    case FATE_DUPLICATE:
    case FATE_RESET_AFTER:
    case FATE_ANSWER_LOST:
    case FATE_ANSWER_CUT:
    case FATE_ANSWER_DAMAGED:
    case FATE_ANSWER_LATE:
    case FATE_ANSWER_OLD:
        break; /* it arrives */
    }
    later(sim, delay(sim), run_arrival, request, 0);
}

static void run_deadline(struct sim *sim, void *object, uint64_t number)
{
    run_failed(sim, object, number);
}

static int transport_send(void *context, uint32_t slot, const struct http_request *http)
{
    struct handheld *handheld = context;
    struct sim *sim = handheld->sim;
    struct sim_request *request = request_new(sim, handheld, slot, http);

    if (slot >= ENGINE_SLOTS_MAX || handheld->slots[slot]) {
        sim_fail(sim, "the agent sends under slot %u, which is in use", slot);
        return -EBUSY;
    }
    request->fate = draw_fate(sim, handheld, http->path);
    sim_cover(sim, (enum coverage_kind)request->fate);
    sim_trace(sim, "handheld %u: request %llu: %s %s, %zu bytes: %s", handheld->number,
        (unsigned long long)request->number, http->method, http->path, http->body.len,
        coverage_name((enum coverage_kind)request->fate));
    budget_watch(sim, handheld, http);
    handheld->slots[slot] = request;
    later(sim, http->deadline_ms > 0 ? http->deadline_ms : 5 * MINUTE_MS, run_deadline, request,
        FAILURE_NETWORK);
    if (request->fate == FATE_DUPLICATE)
        send_twice(sim, handheld, slot, http);
    set_off(sim, request);
    return 0;
}

static void transport_cancel(void *context, uint32_t slot)
{
    struct handheld *handheld = context;

    handheld->slots[slot] = NULL;
}

struct transport network_transport(struct handheld *handheld)
{
    return (struct transport){.send = transport_send, .cancel = transport_cancel, .context = handheld};
}

void network_forget_daemon(struct sim *sim, struct handheld *handheld)
{
    (void)sim;
    memset(handheld->slots, 0, sizeof(handheld->slots));
}

unsigned network_in_flight(const struct handheld *handheld)
{
    unsigned count = 0;

    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        count += handheld->slots[i] != NULL;
    return count;
}

void network_done(struct sim *sim)
{
    while (sim->requests) {
        struct sim_request *request = sim->requests;

        request->references = 1;
        network_release(sim, request);
    }
    buffer_done(&sim->old_answer);
}
