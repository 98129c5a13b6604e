/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signed requests: enrolment, exchange, audit, repair. The body is taken whole, prepared and answered on
 * an HTTP thread; what changes storage goes through the writer between the two.
 */
#include "server/http/clock.h"
#include "server/http/routes.h"

#include <errno.h>

/* A device that is not known has nothing to say but who it is: a request with its certificate and no records.
 */
#define UNKNOWN_DEVICE_BYTES_MAX (2u * ENROLMENT_BYTES_MAX)

static void exchange_begin(struct request *request)
{
    const char *text = request_header(request, "patrol-device");
    struct uuid device;

    if (!text)
        return;
    if (text_parse_uuid(text, device.b) < 0) {
        request_answer_text(request, 400, "bad_header", "patrol-device: not a UUID");
        return;
    }
    if (!service_knows_device(request->shell->service, &device) &&
        request->body_bytes_max > UNKNOWN_DEVICE_BYTES_MAX)
        request->body_bytes_max = UNKNOWN_DEVICE_BYTES_MAX;
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

static void exchange_answer(struct request *request)
{
    struct service_reply reply = {0};

    service_answer(request->shell->service, request->job, &reply);
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
    if (!take_memory(request)) {
        request_answer_text(request, 503, "busy", "busy: try again later");
        request_answer_header(request, "Retry-After", "5");
        return;
    }
    int r = service_prepare(request->shell->service, (enum service_route)request->route->kind,
        buffer_bytes(&request->body), &request->job);
    metrics_count_prepare(request->shell->metrics, clock_now_us() - start_us);
    if (r < 0) {
        request_answer_text(request, 503, "no_memory", "out of memory: try again");
        return;
    }
    if (!service_job_needs_commit(request->job)) {
        exchange_answer(request);
        return;
    }
    request->item.job = request->job;
    request_submit(request);
}

static void exchange_done(struct request *request, bool complete)
{
    give_memory_back(request);
}

const struct route_handler exchange_handler = {
    .begin = exchange_begin,
    .data = exchange_data,
    .end = exchange_end,
    .resumed = exchange_answer,
    .done = exchange_done,
};
