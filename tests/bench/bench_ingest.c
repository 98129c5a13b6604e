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
#include "proto/envelope.h"
#include "proto/merkle.h"
#include "server/service.h"

#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>

#define MEASURED_BATCHES 20u
#define BATCH_DEFAULT 4000u
#define SECOND_NS 1e9

struct bench {
    struct service *service;
    struct uuid device, log;
    struct sign_key key;
    struct merkle_frontier frontier;
    uint64_t size;
    uint64_t random; /* of the notes' words */
    uint32_t dictionary;
};

struct stage {
    double wall_ns, cpu_ns;
};

struct measured {
    struct stage prepare, commit, answer;
    uint64_t records, body_bytes;
};

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "bench_ingest: %s: %s\n", what, strerror(-r));
    exit(1);
}

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

/* ---- the handheld ---- */

static uint64_t draw(struct bench *bench)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return bench->random;
}

/* A note of some 110 bytes, of words that repeat as people's do. */
static size_t write_note(struct bench *bench, char *ret, size_t len_max)
{
    static const char *const words[] = {"pavement", "broken", "hoarding", "torn", "litter", "beside", "the",
        "school", "gate", "street", "light", "dark", "since", "Monday", "cars", "on", "tactile", "paving",
        "cover", "loose", "water", "standing", "after", "rain", "reported", "again", "near", "number", "bus",
        "stop", "corner", "market"};
    int len = snprintf(ret, len_max, "%u ", (unsigned)(draw(bench) % 900));

    while ((size_t)len < 100)
        len += snprintf(ret + len, len_max - (size_t)len, "%s ", words[draw(bench) % ARRAY_LEN(words)]);
    return (size_t)len;
}

static void encode_finding(struct bench *bench, uint64_t seq, struct buffer *ret)
{
    char note[256], code[8];
    size_t note_len = write_note(bench, note, sizeof(note));
    struct record record = {.kind = RECORD_FINDING,
        .wall_ms = INT64_C(1700000000000) + (int64_t)seq * 150000,
        .utc_offset_min = 480,
        .boot_ms = seq * 150000,
        .inspector = bytes_of_text("inspector-07"),
        .finding = {.category = {.scheme = bytes_of_text("GB/T 47678.5"), .version = bytes_of_text("2026")},
            .severity = (enum severity)(1 + draw(bench) % 4),
            .note = bytes_of(note, note_len),
            .has_position = true,
            .position = {.lat_e7 = 407801253 + (int32_t)(draw(bench) % 1000000),
                .lon_e7 = -739530344 + (int32_t)(draw(bench) % 1000000),
                .accuracy_dm = 32}}};

    snprintf(code, sizeof(code), "%05u", (unsigned)(draw(bench) % 250));
    record.finding.category.code = bytes_of_text(code);
    if (seq == 0)
        record = (struct record){.kind = RECORD_OPENED, .wall_ms = INT64_C(1700000000000)};
    must(record_encode(&record, ret), "encode a record");
}

static void make_body(struct bench *bench, size_t count, struct buffer *ret_body)
{
    struct exchange_request request = {.log = bench->log, .first_seq = bench->size, .record_count = count};
    struct checkpoint checkpoint = {0};
    struct bytes *records = calloc(count, sizeof(*records));
    struct buffer bytes = {0}, note = {0}, plain = {0};
    size_t *ends = calloc(count, sizeof(*ends));

    if (!records || !ends)
        must(-1, "memory");
    for (size_t i = 0; i < count; i++) {
        size_t start = bytes.len;
        struct sha256 leaf;

        encode_finding(bench, bench->size + i, &bytes);
        ends[i] = bytes.len;
        leaf = merkle_leaf(bytes_of(bytes.data + start, bytes.len - start));
        must(merkle_append(&bench->frontier, &leaf), "append");
    }
    for (size_t i = 0, start = 0; i < count; start = ends[i++])
        records[i] = bytes_of(bytes.data + start, ends[i] - start);
    must(origin_format("gridpatrol", "default", &bench->log, checkpoint.origin), "origin");
    checkpoint.size = bench->frontier.size;
    checkpoint.root = merkle_root(&bench->frontier);
    must(checkpoint_sign(&checkpoint, &bench->key, &note), "sign");
    request.records = records;
    request.checkpoint = buffer_bytes(&note);
    must(exchange_request_encode(&request, &plain), "encode a request");
    must(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain), 6, bench->dictionary, &bench->device,
             &bench->key, ret_body, NULL),
        "seal (try a smaller batch)");
    bench->size += count;
    free(records);
    free(ends);
    buffer_done(&bytes);
    buffer_done(&note);
    buffer_done(&plain);
}

/* ---- measuring ---- */

static void send_body(struct bench *bench, enum service_route route, struct bytes body, const char *outcome,
    struct measured *measured)
{
    struct service_reply reply = {0};
    struct service_job *job = NULL;

    stage_start(&measured->prepare);
    must(service_prepare(bench->service, route, body, &job), "prepare");
    stage_stop(&measured->prepare);
    stage_start(&measured->commit);
    if (service_job_needs_commit(job))
        must(service_commit(bench->service, &job, 1), "commit");
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

    make_body(bench, count, &body);
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
        name, bench->size, measured.prepare.wall_ns / records / 1000,
        measured.commit.wall_ns / records / 1000, measured.prepare.cpu_ns / records / 1000,
        measured.commit.cpu_ns / records / 1000, records / wall_ns * SECOND_NS, records / cpu_ns * SECOND_NS,
        (double)measured.body_bytes / records);
}

static void audit(struct bench *bench)
{
    struct audit_request request = {.log = bench->log, .level = AUDIT_PRESENCE};
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    struct measured measured = {0};

    must(audit_request_encode(&request, &plain), "encode an audit");
    must(envelope_seal(PAYLOAD_AUDIT_REQUEST, buffer_bytes(&plain), 6, DICTIONARY_NONE, &bench->device,
             &bench->key, &body, NULL),
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
    const struct world *world = world_posix();
    struct enrol_request request = {.software = bytes_of_text("bench")};
    _cleanup_buffer_ struct buffer body = {0};
    struct measured measured = {0};
    uint8_t random[UUID_BYTES], seed[SIGN_SEED_BYTES];
    char name[KEY_NAME_MAX + 1];

    world->verbs->random(world->context, random, sizeof(random));
    bench->device = uuid_from_random(random);
    world->verbs->random(world->context, random, sizeof(random));
    bench->log = uuid_from_random(random);
    world->verbs->random(world->context, seed, sizeof(seed));
    must(device_key_name("gridpatrol", "default", &bench->device, name), "name");
    sign_key_from_seed(name, seed, &bench->key);
    must(service_token_make(bench->service, "bench", NULL, 3600, request.token), "token");
    request.device = bench->device;
    memcpy(request.public_key, bench->key.public.public_key, SIGN_PUBLIC_BYTES);
    must(enrol_request_encode(&request, &bench->key, &body), "enrol");
    send_body(bench, SERVICE_ENROL, buffer_bytes(&body), "enrolled", &measured);
}

int main(int argc, char **argv)
{
    struct service_options options = {.world = world_posix()};
    struct bench bench = {.random = UINT64_C(88172645463325252)};
    uint64_t count, batch = BATCH_DEFAULT;
    const uint32_t *names = NULL;
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
    if (dictionary_names(&names) > 0)
        bench.dictionary = names[0];
    enrol(&bench);
    printf("{\"batch\": %" PRIu64 ", ", batch);
    measure(&bench, (size_t)batch, "empty");
    while (bench.size < count)
        ingest(&bench, (size_t)batch, &filling);
    keep_house(&bench);
    measure(&bench, (size_t)batch, "full");
    audit(&bench);
    getrusage(RUSAGE_SELF, &usage);
    printf("\"rss_mb\": %.1f}\n", (double)usage.ru_maxrss / 1024.0);
    service_free(bench.service);
    return 0;
}
