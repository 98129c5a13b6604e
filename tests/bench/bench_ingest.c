/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the centre needs for a finding, without a network: batches of findings go through prepare (signature,
 * inflate, decode, hash), commit (storage, durable) and answer, and each stage's time and processor time is
 * taken; at first in an empty storage, then at COUNT findings stored; and an audit of that log. Prints one
 * JSON object; scripts/bench makes the table.
 *
 *   bench_ingest DIR COUNT [BATCH]
 */
#include "proto/compression.h"
#include "server/service.h"
#include "tests/bench/bench_handheld.h"

#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>

#define MEASURED_BATCHES 20u
#define BATCH_DEFAULT 4000u
#define SECOND_NS 1e9

struct bench {
    struct service *service;
    struct bench_handheld handheld;
};

struct stage {
    double wall_ns, cpu_ns;
};

struct measured {
    struct stage prepare, commit, answer;
    uint64_t records, body_bytes;
};

static double clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec * SECOND_NS + (double)now.tv_nsec;
}

static void stage_start(struct stage *stage)
{
    stage->wall_ns -= clock_ns(CLOCK_MONOTONIC);
    stage->cpu_ns -= clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void stage_stop(struct stage *stage)
{
    stage->cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    stage->wall_ns += clock_ns(CLOCK_MONOTONIC);
}

/* ---- measuring ---- */

static void send_body(struct bench *bench, enum service_route route, struct bytes body, const char *outcome,
    struct measured *measured)
{
    struct service_reply reply = {0};
    struct service_job *job = NULL;

    stage_start(&measured->prepare);
    bench_must(service_prepare(bench->service, route, body, &job), "prepare");
    stage_stop(&measured->prepare);
    stage_start(&measured->commit);
    if (service_job_needs_commit(job))
        bench_must(service_commit(bench->service, &job, 1), "commit");
    stage_stop(&measured->commit);
    stage_start(&measured->answer);
    service_answer(bench->service, job, &reply);
    stage_stop(&measured->answer);
    if (strcmp(reply.outcome, outcome) != 0) {
        fprintf(stderr, "bench_ingest: answered %u %s\n", reply.status, reply.outcome);
        exit(1);
    }
    measured->records += reply.records;
    measured->body_bytes += body.len;
    service_reply_done(&reply);
    service_job_free(job);
}

static void ingest(struct bench *bench, size_t count, struct measured *measured)
{
    _cleanup_buffer_ struct buffer body = {0};

    bench_handheld_exchange(&bench->handheld, count, &body);
    send_body(bench, SERVICE_EXCHANGE, buffer_bytes(&body), "stored", measured);
}

static void measure(struct bench *bench, size_t batch, const char *name)
{
    struct measured measured = {0};
    double records, wall_ns, cpu_ns;

    for (unsigned i = 0; i < MEASURED_BATCHES; i++)
        ingest(bench, batch, &measured);
    records = (double)measured.records;
    wall_ns = measured.prepare.wall_ns + measured.commit.wall_ns + measured.answer.wall_ns;
    cpu_ns = measured.prepare.cpu_ns + measured.commit.cpu_ns + measured.answer.cpu_ns;
    printf("\"%s\": {\"stored\": %" PRIu64 ", \"prepare_us\": %.2f, \"commit_us\": %.2f,"
           " \"prepare_cpu_us\": %.2f, \"commit_cpu_us\": %.2f, \"per_s\": %.0f, \"per_cpu_s\": %.0f,"
           " \"body_bytes\": %.1f}, ",
        name, bench->handheld.size, measured.prepare.wall_ns / records / 1000,
        measured.commit.wall_ns / records / 1000, measured.prepare.cpu_ns / records / 1000,
        measured.commit.cpu_ns / records / 1000, records / wall_ns * SECOND_NS, records / cpu_ns * SECOND_NS,
        (double)measured.body_bytes / records);
}

static void audit(struct bench *bench)
{
    struct audit_request request = {.log = bench->handheld.log, .level = AUDIT_PRESENCE};
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    struct measured measured = {0};

    bench_must(audit_request_encode(&request, &plain), "encode an audit");
    bench_must(envelope_seal(PAYLOAD_AUDIT_REQUEST, buffer_bytes(&plain), 6, DICTIONARY_NONE,
                   &bench->handheld.device, &bench->handheld.key, &body, NULL),
        "seal");
    send_body(bench, SERVICE_AUDIT, buffer_bytes(&body), "audited", &measured);
    printf("\"audit_presence_s\": %.2f, ", measured.prepare.wall_ns / SECOND_NS);
}

static void keep_house(struct bench *bench)
{
    struct stage stage = {0};

    stage_start(&stage);
    while (service_housekeeping(bench->service) == 1)
        ;
    stage_stop(&stage);
    printf("\"index_ids_s\": %.2f, ", stage.wall_ns / SECOND_NS);
}

/* ---- setting up ---- */

static void enrol(struct bench *bench)
{
    uint8_t token[ENROL_TOKEN_BYTES];
    _cleanup_buffer_ struct buffer body = {0};
    struct measured measured = {0};

    bench_handheld_init(&bench->handheld, 1);
    bench_must(service_token_make(bench->service, "bench", NULL, 3600, token), "token");
    bench_handheld_enrolment(&bench->handheld, token, &body);
    send_body(bench, SERVICE_ENROL, buffer_bytes(&body), "enrolled", &measured);
}

int main(int argc, char **argv)
{
    struct service_options options = {.world = world_posix()};
    struct bench bench = {0};
    uint64_t count, batch = BATCH_DEFAULT;
    struct measured filling = {0};
    struct rusage usage;
    char *error = NULL;

    if (argc < 3 || argc > 4 || text_parse_u64(argv[2], &count) < 0 ||
        (argc == 4 && text_parse_u64(argv[3], &batch) < 0) || batch < 1 || batch > EXCHANGE_RECORDS_MAX) {
        fprintf(stderr, "usage: bench_ingest DIR COUNT [BATCH]\n");
        return 2;
    }
    options.directory = argv[1];
    if (service_open(&options, &bench.service, &error) < 0) {
        fprintf(stderr, "bench_ingest: %s\n", error);
        return 1;
    }
    enrol(&bench);
    printf("{\"batch\": %" PRIu64 ", ", batch);
    measure(&bench, (size_t)batch, "empty");
    while (bench.handheld.size < count)
        ingest(&bench, (size_t)batch, &filling);
    keep_house(&bench);
    measure(&bench, (size_t)batch, "full");
    audit(&bench);
    getrusage(RUSAGE_SELF, &usage);
    printf("\"rss_mb\": %.1f}\n", (double)usage.ru_maxrss / 1024.0);
    service_free(bench.service);
    return 0;
}
