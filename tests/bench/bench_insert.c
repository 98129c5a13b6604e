/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plainest storage that could take what bench_load sends: the same records of the same handhelds, in the
 * order in which they come (each handheld's RECORDS in turn), inserted into one SQLite table under the same
 * kind of key, in transactions of GROUP exchanges, WAL and synchronous=FULL. Nothing is checked, hashed,
 * indexed or answered. Prints one JSON object.
 *
 *   bench_insert FILE HANDHELDS RECORDS EXCHANGES GROUP       EXCHANGES in all
 */
#include "base/text.h"
#include "tests/bench/bench_handheld.h"

#include <assert.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <time.h>

#define SECOND_NS 1e9
#define LOG_SHIFT 40
/* As the server does: a checkpoint now and then, not one by the other. */
#define PAGES_BETWEEN_CHECKPOINTS 1000

struct sizes {
    uint64_t handhelds, records, exchanges, group;
};

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / SECOND_NS;
}

static void must_sqlite(sqlite3 *database, int r)
{
    if (r == SQLITE_OK || r == SQLITE_DONE || r == SQLITE_ROW)
        return;
    fprintf(stderr, "bench_insert: %s\n", sqlite3_errmsg(database));
    exit(1);
}

static void run_sql(sqlite3 *database, const char *text)
{
    must_sqlite(database, sqlite3_exec(database, text, NULL, NULL, NULL));
}

/* All records in the order in which they are inserted, one behind the other. */
static void make_records(const struct sizes *sizes, struct buffer *ret_bytes, size_t *ret_ends)
{
    _cleanup_free_ struct bench_handheld *handhelds = calloc(sizes->handhelds, sizeof(*handhelds));
    size_t at = 0;

    assert(ret_ends);
    if (!handhelds)
        bench_must(-1, "memory");
    for (uint64_t i = 0; i < sizes->handhelds; i++)
        bench_handheld_init(&handhelds[i], i);
    for (uint64_t i = 0; i < sizes->exchanges; i++)
        for (uint64_t j = 0; j < sizes->records; j++) {
            bench_handheld_record(&handhelds[i % sizes->handhelds], ret_bytes);
            ret_ends[at++] = ret_bytes->len;
        }
    bench_must(buffer_finish(ret_bytes), "memory");
}

static void insert_exchange(
    sqlite3_stmt *insert, const struct sizes *sizes, uint64_t number, const uint8_t *data, const size_t *ends)
{
    uint64_t log = number % sizes->handhelds + 1, seq = number / sizes->handhelds * sizes->records;

    for (uint64_t i = 0; i < sizes->records; i++, seq++) {
        uint64_t at = number * sizes->records + i;
        size_t start = at > 0 ? ends[at - 1] : 0;

        sqlite3_bind_int64(insert, 1, (sqlite3_int64)(log << LOG_SHIFT | seq));
        sqlite3_bind_blob64(insert, 2, data + start, ends[at] - start, SQLITE_STATIC);
        must_sqlite(sqlite3_db_handle(insert), sqlite3_step(insert));
        sqlite3_reset(insert);
    }
}

static double insert_all(
    sqlite3 *database, const struct sizes *sizes, const uint8_t *data, const size_t *ends)
{
    sqlite3_stmt *insert = NULL;
    double started_s = now_s();

    must_sqlite(database,
        sqlite3_prepare_v2(database, "INSERT INTO records(key, bytes) VALUES (?1, ?2)", -1, &insert, NULL));
    for (uint64_t i = 0; i < sizes->exchanges; i++) {
        if (i % sizes->group == 0)
            run_sql(database, "BEGIN IMMEDIATE");
        insert_exchange(insert, sizes, i, data, ends);
        if (i % sizes->group == sizes->group - 1 || i == sizes->exchanges - 1)
            run_sql(database, "COMMIT");
    }
    sqlite3_finalize(insert);
    return now_s() - started_s;
}

int main(int argc, char **argv)
{
    struct sizes sizes;
    _cleanup_buffer_ struct buffer bytes = {0};
    _cleanup_free_ size_t *ends = NULL;
    sqlite3 *database = NULL;
    double seconds;

    if (argc != 6 || text_parse_u64(argv[2], &sizes.handhelds) < 0 ||
        text_parse_u64(argv[3], &sizes.records) < 0 || text_parse_u64(argv[4], &sizes.exchanges) < 0 ||
        text_parse_u64(argv[5], &sizes.group) < 0 || sizes.handhelds < 1 || sizes.records < 1 ||
        sizes.exchanges < 1 || sizes.group < 1) {
        fputs("usage: bench_insert FILE HANDHELDS RECORDS EXCHANGES GROUP\n", stderr);
        return 2;
    }
    ends = calloc(sizes.exchanges * sizes.records, sizeof(*ends));
    if (!ends)
        bench_must(-1, "memory");
    make_records(&sizes, &bytes, ends);
    must_sqlite(database, sqlite3_open(argv[1], &database));
    run_sql(database, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                      "CREATE TABLE records(key INTEGER PRIMARY KEY, bytes BLOB) STRICT");
    sqlite3_wal_autocheckpoint(database, PAGES_BETWEEN_CHECKPOINTS);
    seconds = insert_all(database, &sizes, bytes.data, ends);
    printf("{\"exchanges\": %" PRIu64
           ", \"seconds\": %.3f, \"exchanges_per_s\": %.1f, \"records_per_s\": %.0f}\n",
        sizes.exchanges, seconds, (double)sizes.exchanges / seconds,
        (double)(sizes.exchanges * sizes.records) / seconds);
    sqlite3_close(database);
    return 0;
}
