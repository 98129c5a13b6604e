/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a durable record costs, against the plainest durable append there is: 400 bytes written to a file and
 * fdatasync. Both are timed in turn, so that both see the same disk at the same moment. Prints one JSON
 * object; scripts/bench makes the table.
 *
 *   bench_store DIR ROUNDS            single records
 *   bench_store --fill DIR COUNT      fills a store with COUNT records, then times appends and status
 */
#include "base/rfc3339.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define APPEND_BYTES 400u
#define ROUNDS_MAX 20000u

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static double percentile_us(uint64_t *times, size_t count, double share)
{
    qsort(times, count, sizeof(*times), compare);
    return (double)times[(size_t)((double)(count - 1) * share)] / 1000.0;
}

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "bench_store: %s: %s\n", what, strerror(-r));
    exit(1);
}

/* A finding of ordinary size: note, position, category. */
static void encode_finding(const struct world *world, uint64_t number, struct buffer *ret)
{
    char note[160];
    int len = snprintf(note, sizeof(note),
        "Pavement broken over two metres, edges loose; reported by a passer-by near number %llu, seen again today",
        (unsigned long long)number);
    const struct record record = {
        .kind = RECORD_FINDING,
        .wall_ms = world->verbs->wall_ms(world->context),
        .utc_offset_min = 480,
        .boot_ms = world->verbs->boot_ms(world->context),
        .inspector = bytes_of_text("inspector-1"),
        .finding = {.category = {.scheme = bytes_of_text("GB/T 47678.5"),
                        .version = bytes_of_text("2026"),
                        .code = bytes_of_text("06010")},
            .severity = SEVERITY_NORMAL,
            .note = bytes_of(note, (size_t)len),
            .has_position = true,
            .position = {.lat_e7 = 312304000 + (int32_t)(number % 10000),
                .lon_e7 = 1214737000,
                .accuracy_dm = 32}},
    };
    must(record_encode(&record, ret), "encode");
}

static const struct store_author author = {
    .inspector = {(const uint8_t *)"inspector-1", 11}, .software = {(const uint8_t *)"bench", 5}};

static void append_one(struct store *store, struct buffer *bytes, uint64_t number)
{
    buffer_clear(bytes);
    encode_finding(world_posix(), number, bytes);
    struct store_entry entry = {.record = buffer_bytes(bytes), .kind = RECORD_FINDING};
    struct store_appended appended;
    must(store_append(store, &author, &entry, 1, &appended), "append");
}

static int single(const char *directory, size_t rounds)
{
    static uint64_t plain[ROUNDS_MAX], record[ROUNDS_MAX];
    char path[4096];
    snprintf(path, sizeof(path), "%s/append", directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    must(fd < 0 ? -errno : 0, path);
    snprintf(path, sizeof(path), "%s/store", directory);
    struct store *store;
    struct store_opened opened;
    must(store_open(world_posix(), path, STORE_COLLECTOR, &store, &opened), "open");
    char block[APPEND_BYTES];
    memset(block, 'x', sizeof(block));
    struct buffer bytes = {0};
    for (size_t i = 0; i < 20; i++)
        append_one(store, &bytes, i);
    for (size_t i = 0; i < rounds; i++) {
        uint64_t at = now_ns();
        must(write(fd, block, sizeof(block)) == (ssize_t)sizeof(block) && fdatasync(fd) == 0 ? 0 : -errno,
            "append");
        plain[i] = now_ns() - at;
        at = now_ns();
        append_one(store, &bytes, i);
        record[i] = now_ns() - at;
    }
    double plain_p50 = percentile_us(plain, rounds, 0.5), plain_p99 = percentile_us(plain, rounds, 0.99);
    double record_p50 = percentile_us(record, rounds, 0.5), record_p99 = percentile_us(record, rounds, 0.99);
    printf(
        "{\"rounds\":%zu,\"append_p50_us\":%.1f,\"append_p99_us\":%.1f,\"record_p50_us\":%.1f,\"record_p99_us\":%.1f,"
        "\"p50_ratio\":%.2f,\"p99_ratio\":%.2f}\n",
        rounds, plain_p50, plain_p99, record_p50, record_p99, record_p50 / plain_p50, record_p99 / plain_p99);
    buffer_done(&bytes);
    store_free(store);
    close(fd);
    return 0;
}

/* ---- many records ---- */

static void fill(struct store *store, uint64_t from, uint64_t to)
{
    static struct buffer bytes[STORE_APPEND_MAX];
    struct store_entry entries[STORE_APPEND_MAX];
    struct store_appended appended[STORE_APPEND_MAX];
    for (uint64_t at = from; at < to;) {
        size_t count = to - at < STORE_APPEND_MAX ? (size_t)(to - at) : STORE_APPEND_MAX;
        for (size_t i = 0; i < count; i++) {
            buffer_clear(&bytes[i]);
            encode_finding(world_posix(), at + i, &bytes[i]);
            entries[i] = (struct store_entry){.record = buffer_bytes(&bytes[i]), .kind = RECORD_FINDING};
        }
        must(store_append(store, &author, entries, count, appended), "append");
        at += count;
        if (at % (STORE_APPEND_MAX * 256) == 0)
            store_checkpoint_wal(store, true);
    }
}

struct costs {
    double append_us, status_us;
};

static struct costs measure(struct store *store)
{
    static uint64_t appends[200], statuses[200];
    struct buffer bytes = {0};
    for (size_t i = 0; i < ARRAY_LEN(appends); i++) {
        uint64_t at = now_ns();
        append_one(store, &bytes, i);
        appends[i] = now_ns() - at;
        struct store_status status;
        at = now_ns();
        must(store_status(store, &status), "status");
        statuses[i] = now_ns() - at;
    }
    buffer_done(&bytes);
    return (struct costs){
        percentile_us(appends, ARRAY_LEN(appends), 0.5), percentile_us(statuses, ARRAY_LEN(statuses), 0.5)};
}

static struct store *reopen(struct store *store, const char *directory)
{
    struct store_opened opened;
    store_free(store);
    must(store_open(world_posix(), directory, STORE_DAEMON, &store, &opened), "open");
    return store;
}

static int many(const char *directory, uint64_t count)
{
    struct store *store = reopen(NULL, directory);
    fill(store, 0, 1000);
    struct costs few = measure(store);
    uint64_t at = now_ns();
    fill(store, 1000, count);
    double seconds = (double)(now_ns() - at) / 1e9;
    store = reopen(store, directory);
    struct costs lots = measure(store);
    printf(
        "{\"records\":%llu,\"fill_per_s\":%.0f,\"append_1k_us\":%.1f,\"append_us\":%.1f,\"append_ratio\":%.2f,"
        "\"status_1k_us\":%.1f,\"status_us\":%.1f,\"status_ratio\":%.2f}\n",
        (unsigned long long)count, (double)(count - 1000) / seconds, few.append_us, lots.append_us,
        lots.append_us / few.append_us, few.status_us, lots.status_us, lots.status_us / few.status_us);
    store_free(store);
    return 0;
}

int main(int argc, char **argv)
{
    if (sodium_init() < 0)
        return 1;
    if (argc == 4 && strcmp(argv[1], "--fill") == 0)
        return many(argv[2], strtoull(argv[3], NULL, 10));
    if (argc == 3) {
        size_t rounds = strtoull(argv[2], NULL, 10);
        return single(argv[1], rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX);
    }
    fputs("usage: bench_store DIR ROUNDS | bench_store --fill DIR COUNT\n", stderr);
    return 2;
}
