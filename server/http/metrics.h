/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of requests by route and status, their durations, and the text that Prometheus reads. Counted by any
 * thread without a lock. Must not know what the requests mean.
 */
#pragma once

#include "server/http/router.h"
#include "server/service.h"

struct metrics;

/* `routes` are borrowed for the metrics' life; one row more is kept for requests without a route. */
int metrics_new(const struct route *routes, size_t count, struct metrics **ret);
void metrics_free(struct metrics *metrics);
DEFINE_CLEANUP(struct metrics, metrics_free);

#define METRICS_NO_ROUTE SIZE_MAX

void metrics_count_request(struct metrics *metrics, size_t route, unsigned status, uint64_t duration_us,
    uint64_t bytes_in, uint64_t bytes_out);

/* A request that was not carried out, by the word that its log line has for it. */
void metrics_count_refused(struct metrics *metrics, const char *outcome);

/* Time that one request's preparation took: signature, inflating, decoding, hashing. */
void metrics_count_prepare(struct metrics *metrics, uint64_t duration_us);

struct metrics_gauges {
    uint64_t connections, requests_in_flight, writer_queued, writer_held, writer_busy_us;
};

/* Appends the exposition format, version 0.0.4. */
void metrics_print(struct metrics *metrics, const struct metrics_gauges *gauges,
    const struct service_metrics *service, struct buffer *ret);
