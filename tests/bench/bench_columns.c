/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a finding costs compressed, in rows as an exchange carries records today and in columns, and how fast
 * columns are made and read. Takes the records of all logs of a data directory, which `patrol record --from`
 * filled. Prints one JSON object with one line a batch size:
 *
 *   bench_columns DATA_DIRECTORY [BATCH...]        batches of 1, 10, 200, 1000 and 3000 when none is given
 *
 * Only the log's findings count: its own records (opened, device events) are left out.
 */
#include "proto/columns.h"
#include "proto/compression.h"
#include "proto/record.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define LOGS_MAX 64u
#define READ_RECORDS_MAX 4096u
#define FINDINGS_MAX 1000000u
#define LEVEL 9
#define TIMED_RUNS 7u

struct findings {
    struct buffer bytes;
    size_t *lens;
    struct bytes *views;
    size_t count;
};

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "bench_columns: %s: %s\n", what, strerror(-r));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static bool is_finding(struct bytes bytes)
{
    _cleanup_arena_ struct arena arena;
    struct record record;

    arena_init(&arena, arena_budget_for(bytes.len));
    return record_decode(bytes, &arena, &record, NULL) == 0 && record.kind == RECORD_FINDING;
}

static void read_log(struct store *store, const struct store_log *log, struct findings *findings)
{
    for (uint64_t seq = 0; seq < log->size;) {
        static struct bytes records[READ_RECORDS_MAX];
        _cleanup_buffer_ struct buffer bytes = {0};
        size_t count;

        must(store_outbox_read(store, &log->id, seq, READ_RECORDS_MAX, EXCHANGE_INFLATED_BYTES_MAX, &bytes,
                 records, &count),
            "read");
        for (size_t i = 0; i < count && findings->count < FINDINGS_MAX; i++)
            if (is_finding(records[i])) {
                findings->lens[findings->count++] = records[i].len;
                buffer_put_bytes(&findings->bytes, records[i]);
            }
        seq += count;
    }
}

static void read_store(const char *directory, struct findings *ret)
{
    _cleanup_free_ struct store_log *logs = calloc(LOGS_MAX, sizeof(*logs));
    _cleanup_store_ struct store *store = NULL;
    size_t log_count, start = 0;

    *ret = (struct findings){
        .lens = calloc(FINDINGS_MAX, sizeof(*ret->lens)),
        .views = calloc(FINDINGS_MAX, sizeof(*ret->views)),
    };
    must(logs && ret->lens && ret->views ? 0 : -ENOMEM, "memory");
    must(store_open(world_posix(), directory, STORE_READER, &store, NULL), directory);
    must(store_logs(store, false, logs, LOGS_MAX, &log_count), "logs");
    for (size_t i = 0; i < log_count; i++)
        read_log(store, &logs[i], ret);
    must(buffer_finish(&ret->bytes), "memory");
    for (size_t i = 0; i < ret->count; start += ret->lens[i++])
        ret->views[i] = bytes_of(ret->bytes.data + start, ret->lens[i]);
}

/* As field 4 of an ExchangeRequest: a tag and a length before each. */
static void put_rows(const struct bytes *records, size_t count, struct buffer *ret)
{
    for (size_t i = 0; i < count; i++) {
        buffer_put_u8(ret, 4 << 3 | 2);
        for (size_t len = records[i].len; len > 0; len >>= 7)
            buffer_put_u8(ret, (uint8_t)(len >= 0x80 ? len | 0x80 : len));
        buffer_put_bytes(ret, records[i]);
    }
}

static size_t compressed_len(struct bytes plain, uint32_t dictionary)
{
    _cleanup_buffer_ struct buffer stream = {0};

    must(compress_bytes(plain, LEVEL, dictionary, &stream), "compress");
    return stream.len;
}

struct cost {
    size_t plain, without, with;
};

static void add_cost(struct bytes plain, struct cost *cost)
{
    const uint32_t *names;

    dictionary_names(&names);
    cost->plain += plain.len;
    cost->without += compressed_len(plain, DICTIONARY_NONE);
    cost->with += compressed_len(plain, names[0]);
}

static void check_same(struct bytes columns, const struct bytes *records, size_t count)
{
    _cleanup_arena_ struct arena arena;
    const struct bytes *again;
    size_t again_count;

    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    must(columns_decode(columns, &arena, &again, &again_count), "decode");
    must(again_count == count ? 0 : -EBADMSG, "count");
    for (size_t i = 0; i < count; i++)
        must(bytes_equal(again[i], records[i]) ? 0 : -EBADMSG, "a record is not the same");
}

static void print_cost(const char *name, const struct cost *cost, size_t count)
{
    printf("\"%s\":{\"plain\":%.2f,\"compressed\":%.2f,\"with_dictionary\":%.2f}", name,
        (double)cost->plain / (double)count, (double)cost->without / (double)count,
        (double)cost->with / (double)count);
}

/* Whole batches only: a short last one would cost more. */
static void measure_size(const struct findings *findings, size_t batch, bool is_first)
{
    struct cost rows = {0}, columns = {0};
    size_t count = 0;

    for (; count + batch <= findings->count; count += batch) {
        _cleanup_buffer_ struct buffer in_rows = {0}, in_columns = {0};

        put_rows(findings->views + count, batch, &in_rows);
        must(columns_encode(findings->views + count, batch, &in_columns), "encode");
        check_same(buffer_bytes(&in_columns), findings->views + count, batch);
        add_cost(buffer_bytes(&in_rows), &rows);
        add_cost(buffer_bytes(&in_columns), &columns);
    }
    if (count == 0)
        return;
    printf("%s\n {\"batch\":%zu,\"findings\":%zu,", is_first ? "" : ",", batch, count);
    print_cost("rows", &rows, count);
    putchar(',');
    print_cost("columns", &columns, count);
    putchar('}');
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static double median_ms(uint64_t *times_ns)
{
    const uint64_t *middle = times_ns + TIMED_RUNS / 2;

    qsort(times_ns, TIMED_RUNS, sizeof(*times_ns), compare);
    return (double)*middle / 1e6;
}

/* All findings in one batch, or as many as a batch may hold. */
static void measure_speed(const struct findings *findings)
{
    size_t count = findings->count < EXCHANGE_RECORDS_MAX ? findings->count : EXCHANGE_RECORDS_MAX, plain = 0;
    uint64_t encode_ns[TIMED_RUNS], decode_ns[TIMED_RUNS], compress_ns[TIMED_RUNS];

    for (size_t i = 0; i < count; i++)
        plain += findings->lens[i];
    for (size_t run = 0; run < TIMED_RUNS; run++) {
        _cleanup_buffer_ struct buffer columns = {0};
        _cleanup_arena_ struct arena arena;
        const struct bytes *records;
        size_t record_count;
        uint64_t at = now_ns();

        must(columns_encode(findings->views, count, &columns), "encode");
        encode_ns[run] = now_ns() - at;
        arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
        at = now_ns();
        must(columns_decode(buffer_bytes(&columns), &arena, &records, &record_count), "decode");
        decode_ns[run] = now_ns() - at;
        at = now_ns();
        compressed_len(buffer_bytes(&columns), DICTIONARY_NONE);
        compress_ns[run] = now_ns() - at;
    }
    double encode_ms = median_ms(encode_ns), decode_ms = median_ms(decode_ns);
    printf("{\"findings\":%zu,\"bytes\":%zu,\"encode_ms\":%.2f,\"encode_mb_s\":%.0f,\"decode_ms\":%.2f,"
           "\"decode_mb_s\":%.0f,\"compress_ms\":%.1f,\"batches\":[",
        count, plain, encode_ms, (double)plain / encode_ms / 1e3, decode_ms, (double)plain / decode_ms / 1e3,
        median_ms(compress_ns));
}

int main(int argc, char **argv)
{
    static const size_t usual[] = {1, 10, 200, 1000, 3000};
    struct findings findings;

    if (argc < 2) {
        fputs("usage: bench_columns DATA_DIRECTORY [BATCH...]\n", stderr);
        return 2;
    }
    read_store(argv[1], &findings);
    must(findings.count > 0 ? 0 : -ENOENT, "findings");
    measure_speed(&findings);
    for (size_t i = 0; argc == 2 && i < ARRAY_LEN(usual); i++)
        measure_size(&findings, usual[i], i == 0);
    for (int i = 2; i < argc; i++) {
        size_t batch = strtoull(argv[i], NULL, 10);

        must(batch > 0 && batch <= EXCHANGE_RECORDS_MAX ? 0 : -EINVAL, argv[i]);
        measure_size(&findings, batch, i == 2);
    }
    puts("]}");
    buffer_done(&findings.bytes);
    free(findings.lens);
    free(findings.views);
    return 0;
}
