/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/metrics.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>

static const unsigned statuses[] = {200, 201, 204, 400, 401, 403, 404, 405, 409, 410, 411, 412, 413, 415, 429,
    460, 500, 503, 507, 0 /* any other */};
static const uint64_t bucket_us[] = {
    1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 10000000};

/* What a request is refused for, as its log line says: first what load does, then what the sender is told
 * about itself. "other" is what no operator need look at one by one: wrong headers, paths, offsets. */
static const char *const refused_words[] = {"device_rate", "address_rate", "busy", "stopping", "no_memory",
    "storage_error", "no_space", "failed", "refused_busy", "refused_over_quota", "over_quota",
    "refused_unknown_device", "refused_revoked", "refused_bad_request", "refused_too_large",
    "refused_log_of_other_device", "refused_token_unknown", "refused_token_used", "refused_token_expired",
    "revoked", "token_expired", "no_token", "too_large", "other"};

struct route_metrics {
    const char *method, *name;
    atomic_uint_least64_t by_status[ARRAY_LEN(statuses)];
    atomic_uint_least64_t buckets[ARRAY_LEN(bucket_us) + 1];
    atomic_uint_least64_t duration_us_total;
};

struct metrics {
    size_t count; /* with the row for requests without a route, which is the last */
    atomic_uint_least64_t bytes_in, bytes_out, prepare_us;
    atomic_uint_least64_t refused[ARRAY_LEN(refused_words)];
    struct route_metrics routes[];
};

int metrics_new(const struct route *routes, size_t count, struct metrics **ret)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics) + (count + 1) * sizeof(struct route_metrics));
    if (!metrics)
        return -ENOMEM;
    metrics->count = count + 1;
    for (size_t i = 0; i < count; i++) {
        metrics->routes[i].method = routes[i].method;
        metrics->routes[i].name = routes[i].name;
    }
    metrics->routes[count].method = metrics->routes[count].name = "none";
    *ret = metrics;
    return 0;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

static void add(atomic_uint_least64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

static uint64_t get(const atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_count_prepare(struct metrics *metrics, uint64_t duration_us)
{
    atomic_fetch_add_explicit(&metrics->prepare_us, duration_us, memory_order_relaxed);
}

void metrics_count_refused(struct metrics *metrics, const char *outcome)
{
    size_t i = 0;

    while (i < ARRAY_LEN(refused_words) - 1 && strcmp(refused_words[i], outcome) != 0)
        i++;
    add(&metrics->refused[i], 1);
}

void metrics_count_request(struct metrics *metrics, size_t route, unsigned status, uint64_t duration_us,
    uint64_t bytes_in, uint64_t bytes_out)
{
    struct route_metrics *row = &metrics->routes[route == METRICS_NO_ROUTE ? metrics->count - 1 : route];
    assert(route == METRICS_NO_ROUTE || route < metrics->count - 1);

    size_t status_index = 0;
    while (statuses[status_index] != 0 && statuses[status_index] != status)
        status_index++;
    size_t bucket = 0;
    while (bucket < ARRAY_LEN(bucket_us) && duration_us > bucket_us[bucket])
        bucket++;
    add(&row->by_status[status_index], 1);
    add(&row->buckets[bucket], 1);
    add(&row->duration_us_total, duration_us);
    add(&metrics->bytes_in, bytes_in);
    add(&metrics->bytes_out, bytes_out);
}

static void print_counts(const struct metrics *metrics, struct buffer *ret)
{
    buffer_put_text(ret, "# HELP gridpatrol_http_requests_total Requests answered, by route and status.\n"
                         "# TYPE gridpatrol_http_requests_total counter\n");
    for (size_t i = 0; i < metrics->count; i++) {
        for (size_t j = 0; j < ARRAY_LEN(statuses); j++) {
            uint64_t count = get(&metrics->routes[i].by_status[j]);
            if (count == 0)
                continue;
            buffer_printf(ret, "gridpatrol_http_requests_total{method=\"%s\",route=\"%s\",status=\"",
                metrics->routes[i].method, metrics->routes[i].name);
            if (statuses[j] != 0)
                buffer_printf(ret, "%u", statuses[j]);
            else
                buffer_put_text(ret, "other");
            buffer_printf(ret, "\"} %" PRIu64 "\n", count);
        }
    }
}

static void print_refused(const struct metrics *metrics, struct buffer *ret)
{
    buffer_put_text(ret, "# HELP gridpatrol_http_refused_total Requests not carried out, by reason.\n"
                         "# TYPE gridpatrol_http_refused_total counter\n");
    for (size_t i = 0; i < ARRAY_LEN(refused_words); i++)
        buffer_printf(ret, "gridpatrol_http_refused_total{reason=\"%s\"} %" PRIu64 "\n", refused_words[i],
            get(&metrics->refused[i]));
}

static void print_durations(const struct metrics *metrics, struct buffer *ret)
{
    buffer_put_text(ret,
        "# HELP gridpatrol_http_request_duration_seconds From the request's headers to the end of its answer.\n"
        "# TYPE gridpatrol_http_request_duration_seconds histogram\n");
    for (size_t i = 0; i < metrics->count; i++) {
        const struct route_metrics *row = &metrics->routes[i];
        char labels[96];
        uint64_t below = 0;

        snprintf(labels, sizeof(labels), "method=\"%s\",route=\"%s\"", row->method, row->name);
        for (size_t j = 0; j <= ARRAY_LEN(bucket_us); j++) {
            below += get(&row->buckets[j]);
            buffer_printf(ret, "gridpatrol_http_request_duration_seconds_bucket{%s,le=\"", labels);
            if (j < ARRAY_LEN(bucket_us))
                buffer_printf(ret, "%g", (double)bucket_us[j] / 1e6);
            else
                buffer_put_text(ret, "+Inf");
            buffer_printf(ret, "\"} %" PRIu64 "\n", below);
        }
        buffer_printf(ret,
            "gridpatrol_http_request_duration_seconds_sum{%s} %.6f\n"
            "gridpatrol_http_request_duration_seconds_count{%s} %" PRIu64 "\n",
            labels, (double)get(&row->duration_us_total) / 1e6, labels, below);
    }
}

static void print_number(
    struct buffer *ret, const char *name, const char *type, const char *help, double value)
{
    buffer_printf(ret, "# HELP gridpatrol_%s %s\n# TYPE gridpatrol_%s %s\ngridpatrol_%s %.17g\n", name, help,
        name, type, name, value);
}

void metrics_print(struct metrics *metrics, const struct metrics_gauges *gauges,
    const struct service_metrics *service, struct buffer *ret)
{
    print_counts(metrics, ret);
    print_refused(metrics, ret);
    print_durations(metrics, ret);

    const struct {
        const char *name, *type, *help;
        double value;
    } numbers[] = {
        {"http_bytes_in_total", "counter", "Bytes of requests, headers included.",
            (double)get(&metrics->bytes_in)},
        {"http_bytes_out_total", "counter", "Bytes of answers' bodies.", (double)get(&metrics->bytes_out)},
        {"http_connections", "gauge", "Open connections.", (double)gauges->connections},
        {"http_requests_in_flight", "gauge", "Requests not yet answered.",
            (double)gauges->requests_in_flight},
        {"writer_queued", "gauge", "Jobs that wait for the storage writer.", (double)gauges->writer_queued},
        {"writer_held", "gauge", "Exchanges held because they came ahead of their log.",
            (double)gauges->writer_held},
        {"records_stored_total", "counter", "Records stored since the start.",
            (double)service->records_stored},
        {"records_quarantined_total", "counter", "Records stored that could not be applied.",
            (double)service->records_quarantined},
        {"exchanges_total", "counter", "Exchanges committed.", (double)service->exchanges},
        {"commits_total", "counter", "Storage commits.", (double)service->commits},
        {"commit_jobs_total", "counter", "Jobs in these commits.", (double)service->group_jobs},
        {"commit_seconds_total", "counter", "Time spent in commits.", (double)service->commit_us_total / 1e6},
        {"ingest_seconds_total", "counter",
            "Busy time from a whole body to its commit, all threads together.",
            (double)(get(&metrics->prepare_us) + gauges->writer_busy_us) / 1e6},
        {"blobs_stored_total", "counter", "Photos and previews stored.", (double)service->blobs_stored},
        {"blob_bytes_total", "counter", "Their bytes.", (double)service->blob_bytes},
        {"refusals_total", "counter", "Signed refusals.", (double)service->refusals},
        {"forks_total", "counter", "Forked logs seen.", (double)service->forks},
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        print_number(ret, numbers[i].name, numbers[i].type, numbers[i].help, numbers[i].value);
}
