/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sim`: runs seeds of the simulator in worker processes and says which failed, with the command that replays
 * each. docs/testing.md.
 */
#include "base/text.h"
#include "tests/sim/sim_run.h"

#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 16u
#define COVERAGE_SEEDS_MIN 1000u /* with fewer seeds a rare kind may be missed by chance */
#define REPLAY_EVERY 50u         /* each so many seeds are run twice: a seed must replay */

struct options {
    uint64_t first_seed, seeds, workers;
    bool trace, stats, stop_at_first;
};

/* Written by the workers, one each; shared with the parent. */
struct result {
    struct coverage coverage;
    uint64_t passed, failed;
};

static void tell_failure(uint64_t seed, const char *failure)
{
    printf("seed %llu failed: %s; replay: sim --seed %llu --trace\n", (unsigned long long)seed, failure,
        (unsigned long long)seed);
    fflush(stdout);
}

static bool run_seed(uint64_t seed, bool trace, bool twice, struct result *result)
{
    struct coverage ignored = {{0}};
    struct sim_verdict verdict, again;

    sim_run(seed, trace, &result->coverage, &verdict);
    if (verdict.passed && twice) {
        sim_run(seed, false, &ignored, &again);
        if (memcmp(verdict.trace, again.trace, sizeof(again.trace)) != 0) {
            verdict.passed = false;
            snprintf(verdict.failure, sizeof(verdict.failure), "run again it went another way");
        }
    }
    if (verdict.passed) {
        result->passed++;
    } else {
        result->failed++;
        tell_failure(seed, verdict.failure);
    }
    return verdict.passed;
}

static void work(const struct options *options, uint64_t worker, struct result *result)
{
    for (uint64_t i = worker; i < options->seeds; i += options->workers) {
        bool passed = run_seed(options->first_seed + i, options->trace, i % REPLAY_EVERY == 0, result);

        if (!passed && options->stop_at_first)
            return;
    }
}

static bool run_workers(const struct options *options, struct result *results)
{
    pid_t pids[WORKERS_MAX];
    bool well = true;

    fflush(stdout);
    for (uint64_t i = 0; i < options->workers; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            work(options, i, &results[i]);
            exit(0);
        }
        well = well && pids[i] > 0;
    }
    for (uint64_t i = 0; i < options->workers; i++) {
        int status = 0;

        if (pids[i] > 0 && (waitpid(pids[i], &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))) {
            printf("worker %llu died with status %d; run with --workers 1 to see at which seed\n",
                (unsigned long long)i, status);
            well = false;
        }
    }
    return well;
}

static void add_up(const struct options *options, const struct result *results, struct result *ret)
{
    for (uint64_t i = 0; i < options->workers; i++) {
        for (size_t k = 0; k < COVERAGE_KIND_COUNT; k++)
            ret->coverage.counts[k] += results[i].coverage.counts[k];
        ret->coverage.events += results[i].coverage.events;
        ret->coverage.requests += results[i].coverage.requests;
        ret->coverage.findings += results[i].coverage.findings;
        ret->coverage.photos += results[i].coverage.photos;
        ret->coverage.virtual_ms += results[i].coverage.virtual_ms;
        ret->passed += results[i].passed;
        ret->failed += results[i].failed;
    }
}

static void print_stats(const struct coverage *coverage)
{
    for (size_t i = 0; i < COVERAGE_KIND_COUNT; i++)
        printf("%9llu  %s\n", (unsigned long long)coverage->counts[i], coverage_name((enum coverage_kind)i));
    printf("%9llu  events\n%9llu  requests\n%9llu  findings recorded\n%9llu  photos\n%9llu  virtual hours\n",
        (unsigned long long)coverage->events, (unsigned long long)coverage->requests,
        (unsigned long long)coverage->findings, (unsigned long long)coverage->photos,
        (unsigned long long)(coverage->virtual_ms / 3600000));
}

static bool covers_all(const struct options *options, const struct coverage *coverage)
{
    bool well = true;

    if (options->seeds < COVERAGE_SEEDS_MIN)
        return true;
    for (size_t i = 0; i < COVERAGE_KIND_COUNT; i++) {
        if (coverage->counts[i] > 0)
            continue;
        printf("never happened: %s\n", coverage_name((enum coverage_kind)i));
        well = false;
    }
    return well;
}

static int usage(void)
{
    fprintf(stderr, "usage: sim [--seeds N] [--first-seed S] [--seed X] [--trace] [--stats] [--workers W] "
                    "[--stop-at-first]\n");
    return 2;
}

static int parse(int argc, char **argv, struct options *ret)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"first-seed", required_argument, NULL, 'f'},
        {"seed", required_argument, NULL, 's'},
        {"workers", required_argument, NULL, 'w'},
        {"trace", no_argument, NULL, 't'},
        {"stats", no_argument, NULL, 'c'},
        {"stop-at-first", no_argument, NULL, 'x'},
        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        int r = 0;

        switch (option) {
        case 'n':
            r = text_parse_u64(optarg, &ret->seeds);
            break;
        case 'f':
            r = text_parse_u64(optarg, &ret->first_seed);
            break;
        case 's':
            r = text_parse_u64(optarg, &ret->first_seed);
            ret->seeds = ret->workers = 1;
            break;
        case 'w':
            r = text_parse_u64(optarg, &ret->workers);
            break;
        case 't':
            ret->trace = true;
            break;
        case 'c':
            ret->stats = true;
            break;
        case 'x':
            ret->stop_at_first = true;
            break;
        default:
            return -EINVAL;
        }
        if (r < 0)
            return r;
    }
    if (ret->trace)
        ret->workers = 1;
    return optind < argc || ret->workers == 0 || ret->workers > WORKERS_MAX ? -EINVAL : 0;
}

/* What SQLite has to say, for whoever reads a trace. */
static void print_sqlite(void *context, int code, const char *text)
{
    (void)context;
    printf("              sqlite %d: %s\n", code, text);
}

int main(int argc, char **argv)
{
    struct options options = {.first_seed = 1, .seeds = 100, .workers = 2};
    struct result *results, total = {0};
    bool well;

    if (parse(argc, argv, &options) < 0)
        return usage();
    if (sodium_init() < 0 ||
        (options.trace && sqlite3_config(SQLITE_CONFIG_LOG, print_sqlite, NULL) != SQLITE_OK))
        return 1;
    results =
        mmap(NULL, WORKERS_MAX * sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        return 1;
    well = options.workers == 1 ? (work(&options, 0, &results[0]), true) : run_workers(&options, results);
    add_up(&options, results, &total);
    if (options.stats)
        print_stats(&total.coverage);
    well = covers_all(&options, &total.coverage) && well;
    printf("%llu seeds passed, %llu failed\n", (unsigned long long)total.passed,
        (unsigned long long)total.failed);
    return well && total.failed == 0 ? 0 : 1;
}
