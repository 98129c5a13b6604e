/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators' machines ask for: /healthz and /metrics. Neither has a body to read.
 */
#include "server/http/routes.h"

#include <errno.h>

static int refuse_body(struct request *request, const void *data, size_t len)
{
    return -EFBIG;
}

/* Well when the last commit was, none is stuck, and storage answers a question. */
static void health_end(struct request *request)
{
    struct service_upload upload;
    int r = service_upload_find(request->shell->service, &(struct uuid){0}, &(struct sha256){0}, &upload);

    if (!writer_is_well(request->shell->writer) || (r < 0 && r != -ENOENT && r != -EKEYEXPIRED))
        request_answer_text(request, 503, "unwell", "storage does not answer");
    else
        request_answer_text(request, 200, "ok", "ok");
}

static void metrics_end(struct request *request)
{
    struct http_shell *shell = request->shell;
    struct service_metrics service = {0};
    struct metrics_gauges gauges = {0};

    if (shell->metrics_off || (!shell->metrics_to_all && !request_is_from_loopback(request))) {
        request_answer_text(request, 404, "not_found", "not found");
        return;
    }
    service_metrics(shell->service, &service);
    writer_counts(shell->writer, &gauges.writer_queued, &gauges.writer_held);
    gauges.writer_busy_us = writer_busy_us(shell->writer);
    request_gauges(request, &gauges.connections, &gauges.requests_in_flight);
    request_answer(request, 200, "ok");
    request->answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_print(shell->metrics, &gauges, &service, &request->answer.body);
}

const struct route_handler health_handler = {.data = refuse_body, .end = health_end};
const struct route_handler metrics_handler = {.data = refuse_body, .end = metrics_end};
