/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signed requests: enrolment, exchange, audit, repair. The body is taken whole, prepared and answered on
 * an HTTP thread; what changes storage goes through the writer between the two.
 */
#include "server/http/clock.h"
#include "server/http/routes.h"

#include <errno.h>

/* A device that is not known, or does not say who it is, has nothing to say but that: a request with its
 * certificate and no records. */
#define UNKNOWN_DEVICE_BYTES_MAX (2u * ENROLMENT_BYTES_MAX)

/* A body is read into memory, and whoever announces one may let it come slowly, or never. Those being
 * received are counted apart from what is being carried out: a sender that is slow keeps a large request from
 * being received, but not from being carried out once it is alone. */
static bool take_body(struct request *request)
{
    struct http_shell *shell = request->shell;
    uint64_t wanted = request->has_length ? request->length : request->body_bytes_max;

    if (wanted > request->body_bytes_max)
        return true; /* it is refused, and its body dropped as it comes */
    uint64_t taken = atomic_fetch_add(&shell->body_bytes, wanted);
    request->body_bytes = wanted;
    return taken + wanted + atomic_load(&shell->memory_bytes) <= shell->memory_bytes_max;
}

static void give_body_back(struct request *request)
{
    atomic_fetch_sub(&request->shell->body_bytes, request->body_bytes);
    request->body_bytes = 0;
}

static void exchange_begin(struct request *request)
{
    const char *text = request_header(request, "patrol-device");
    struct uuid device;
    bool is_known;

    if (text && text_parse_uuid(text, device.b) < 0) {
        request_answer_text(request, 400, "bad_header", "patrol-device: not a UUID");
        return;
    }
    is_known = text && service_knows_device(request->shell->service, &device);
    if (request_is_kept_out(request, is_known ? &device : NULL, request_address(request))) {
        request->is_charged = true; /* what is refused unread costs nothing that is worth counting */
        return;
    }
    if (!is_known && request->body_bytes_max > UNKNOWN_DEVICE_BYTES_MAX)
        request->body_bytes_max = UNKNOWN_DEVICE_BYTES_MAX;
    if (!take_body(request)) {
        give_body_back(request);
        request_answer_busy(request, "busy", "busy: try again later");
    }
}

/* A prepared request keeps its inflated and decoded records until it is answered. Many large ones at once, as
 * when handhelds come back after an outage, must not take all memory: the estimate is what typical records
 * inflate to. */
#define MEMORY_FACTOR 64u

static bool take_memory(struct request *request)
{
    struct http_shell *shell = request->shell;
    uint64_t wanted = (uint64_t)request->body.len * MEMORY_FACTOR;
    uint64_t taken = atomic_fetch_add(&shell->memory_bytes, wanted);

    request->memory_bytes = wanted;
    return taken == 0 || taken + wanted <= shell->memory_bytes_max; /* one alone is always carried out */
}

/* Before the answer goes out, which may take a slow handheld long. */
static void give_memory_back(struct request *request)
{
    service_job_free(take_ptr(request->job));
    buffer_done(&request->body);
    atomic_fetch_sub(&request->shell->memory_bytes, request->memory_bytes);
    request->memory_bytes = 0;
}

static int exchange_data(struct request *request, const void *data, size_t len)
{
    buffer_put(&request->body, data, len);
    return buffer_finish(&request->body);
}

/* Once it is known who sent it: its device, or nobody who could be proven. */
static void charge(struct request *request)
{
    struct uuid device;

    if (request->is_charged)
        return;
    request->is_charged = true;
    if (request->job && service_job_is_proven(request->job, &device))
        gate_charge_device(request->shell->gate, &device, request_address(request), request->received);
    else
        gate_charge_unproven(request->shell->gate, request_address(request));
}

static void exchange_answer(struct request *request)
{
    struct service_reply reply = {0};

    service_answer(request->shell->service, request->job, &reply);
    /* An enrolment is proven by what the writer has found; what the server failed in is nobody's fault. */
    if (reply.status < 500)
        charge(request);
    request->device = reply.device;
    request->records = reply.records;
    request_answer(request, reply.status, reply.outcome ? reply.outcome : "answered");
    if (reply.retry_after_s > 0)
        request_answer_header(request, "Retry-After", "%u", reply.retry_after_s);
    if (reply.body.len > 0) {
        request->answer.content_type = "application/octet-stream";
        request->answer.body = reply.body;
        reply.body = (struct buffer){0};
    }
    service_reply_done(&reply);
    give_memory_back(request);
}

static void exchange_end(struct request *request)
{
    uint64_t start_us = clock_now_us();
    give_body_back(request);
    if (!take_memory(request)) {
        request_answer_busy(request, "busy", "busy: try again later");
        return;
    }
    int r = service_prepare(request->shell->service, (enum service_route)request->route->kind,
        buffer_bytes(&request->body), &request->job);
    metrics_count_prepare(request->shell->metrics, clock_now_us() - start_us);
    if (r < 0) {
        request_answer_busy(request, "no_memory", "out of memory: try again later");
        return;
    }
    if (!service_job_needs_commit(request->job)) {
        exchange_answer(request);
        return;
    }
    if (request->route->kind != SERVICE_ENROL)
        charge(request);
    request->item.job = request->job;
    request_submit(request);
}

static void exchange_done(struct request *request, bool complete)
{
    /* Broken off, or too long; what the server had no room for is nobody's fault. */
    if (request->received > 0 && request->answer.status < 500)
        charge(request);
    give_body_back(request);
    give_memory_back(request);
}

const struct route_handler exchange_handler = {
    .begin = exchange_begin,
    .data = exchange_data,
    .end = exchange_end,
    .resumed = exchange_answer,
    .done = exchange_done,
};
