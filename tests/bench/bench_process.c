/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times whole processes, two commands in turn, so that both see the same machine at the same moment. Prints
 * one JSON object with the medians, p99, their ratio, and the largest RSS of each.
 *
 *   bench_process ROUNDS COMMAND_A... -- COMMAND_B...
 *
 * With --write-file PATH it is itself the plainest durable program: opens a file, writes 4 KiB, fdatasyncs,
 * ends.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 5000u

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int write_file(const char *path)
{
    char block[4096];
    memset(block, 'x', sizeof(block));
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) || fdatasync(fd) < 0)
        return 1;
    return 0;
}

static uint64_t run(char *const *command, long *max_rss_kib)
{
    assert(command[0]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child;
    uint64_t at = now_ns();
    if (posix_spawn(&child, command[0], &actions, NULL, command, environ) != 0) {
        fprintf(stderr, "bench_process: %s cannot be started\n", command[0]);
        exit(1);
    }
    int status;
    struct rusage usage;
    wait4(child, &status, 0, &usage);
    uint64_t taken = now_ns() - at;
    posix_spawn_file_actions_destroy(&actions);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "bench_process: %s ended with %d\n", command[0], status);
        exit(1);
    }
    if (usage.ru_maxrss > *max_rss_kib)
        *max_rss_kib = usage.ru_maxrss;
    return taken;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    static uint64_t a[ROUNDS_MAX], b[ROUNDS_MAX];
    if (argc == 3 && strcmp(argv[1], "--write-file") == 0)
        return write_file(argv[2]);
    int split = 2;
    while (split < argc && strcmp(argv[split], "--") != 0)
        split++;
    size_t rounds = argc > 2 ? strtoull(argv[1], NULL, 10) : 0;
    if (rounds == 0 || rounds > ROUNDS_MAX || split + 1 >= argc) {
        fputs("usage: bench_process ROUNDS A... -- B... | bench_process --write-file PATH\n", stderr);
        return 2;
    }
    argv[split] = NULL;
    assert(argv[2] && argv[split + 1]);
    long rss_a = 0, rss_b = 0;
    run(argv + 2, &rss_a);
    run(argv + split + 1, &rss_b);
    for (size_t i = 0; i < rounds; i++) {
        a[i] = run(argv + 2, &rss_a);
        b[i] = run(argv + split + 1, &rss_b);
    }
    qsort(a, rounds, sizeof(*a), compare);
    qsort(b, rounds, sizeof(*b), compare);
    uint64_t a_p50 = a[rounds / 2], b_p50 = b[rounds / 2], a_p99 = a[rounds * 99 / 100],
             b_p99 = b[rounds * 99 / 100];
    printf("{\"rounds\":%zu,\"a_p50_us\":%.0f,\"b_p50_us\":%.0f,\"p50_ratio\":%.2f,\"a_p99_us\":%.0f,"
           "\"b_p99_us\":%.0f,\"a_rss_kib\":%ld,\"b_rss_kib\":%ld}\n",
        rounds, (double)a_p50 / 1e3, (double)b_p50 / 1e3, (double)a_p50 / (double)b_p50, (double)a_p99 / 1e3,
        (double)b_p99 / 1e3, rss_a, rss_b);
    return 0;
}
