/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server blob` and `check`: the bytes that are stored, given out or gone over, hashed on the way.
 */
#include "base/output_file.h"
#include "server/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>

#define COPY_BYTES (256u * 1024u)

/* Copies until the end; the hash of what was copied. */
static int copy_hashed(int from, struct output_file *to, struct sha256 *ret)
{
    _cleanup_free_ uint8_t *piece = malloc(COPY_BYTES);
    crypto_hash_sha256_state state;

    if (!piece)
        return -ENOMEM;
    crypto_hash_sha256_init(&state);
    for (;;) {
        ssize_t n = read(from, piece, COPY_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        crypto_hash_sha256_update(&state, piece, (unsigned long long)n);
        int r = output_file_write(to, piece, (size_t)n);
        if (r < 0)
            return r;
    }
    crypto_hash_sha256_final(&state, ret->b);
    return 0;
}

/* A file of this name is whole and right, or not there. -EUCLEAN: other bytes. */
static int copy_to_output(int from, const char *path, const struct sha256 *wanted)
{
    _cleanup_(output_file_done) struct output_file to = {.fd = -1};
    struct sha256 found;

    int r = output_file_open(path, &to);
    if (r >= 0)
        r = copy_hashed(from, &to, &found);
    if (r >= 0 && !sha256_equal(&found, wanted))
        r = -EUCLEAN;
    return r < 0 ? r : output_file_finish(&to);
}

int command_blob(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    _cleanup_free_ char *path = NULL;
    struct sha256 wanted;
    const char *output = run->options.output;

    if (run->argument_count != 1 || !output)
        return command_fail(EXIT_STATUS_USAGE, "blob: write %s blob HASH -o FILE", SERVER_PROGRAM);
    const char *hash = run->arguments[0];
    if (text_parse_hex(hash, strlen(hash), wanted.b, SHA256_BYTES) < 0)
        return command_fail(EXIT_STATUS_REFUSED, "hash: %.80s: give the 64 hex digits of a SHA-256", hash);
    int status = command_open(run, COMMAND_READS, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_blob_path(service, &wanted, &path);
    if (r == -ENOENT)
        return command_fail(EXIT_STATUS_REFUSED, "hash: %s: not stored here", hash);
    if (r < 0)
        return command_fail(EXIT_STATUS_FAILED, "hash: %s: %s", hash, strerror(-r));
    _cleanup_close_ int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return command_fail(EXIT_STATUS_FAILED, "%s: %s", path, strerror(errno));
    r = copy_to_output(from, output, &wanted);
    if (r == -EUCLEAN)
        return command_fail(EXIT_STATUS_FAILED,
            "%s: damaged: its bytes have another hash; patrol-server resync --all --level media mends it",
            path);
    if (r < 0)
        return command_fail(command_status_of(r), "output: %s: %s", output, strerror(-r));
    return EXIT_STATUS_DONE;
}

static void print_fault(void *user, const char *line)
{
    printf("%s\n", line);
}

int command_check(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    struct service_check_report report = {0};

    int status =
        command_open(run, run->options.rebuild ? COMMAND_WRITES : COMMAND_READS, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_check(service, run->options.media, run->options.rebuild, print_fault, NULL, &report);
    if (r < 0 && r != -EUCLEAN)
        return command_fail(command_status_of(r), "the check was not finished: %s", strerror(-r));
    printf("%" PRIu64 " logs, %" PRIu64 " records, %" PRIu64 " bad", report.logs, report.records,
        report.records_bad);
    if (run->options.media)
        printf("; %" PRIu64 " blobs, %" PRIu64 " bad", report.blobs, report.blobs_bad);
    if (run->options.rebuild)
        printf("; %" PRIu64 " findings rebuilt", report.findings_rebuilt);
    printf("\n");
    if (fflush(stdout) != 0)
        return command_fail(EXIT_STATUS_FAILED, "standard output: %s", strerror(errno));
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_DONE;
}
