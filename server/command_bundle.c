/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server import-bundle`: what a handheld has exported to a data carrier, taken beside a running
 * serve.
 */
#include "base/output_file.h"
#include "base/rfc3339.h"
#include "server/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define TOLD_EVERY_BYTES (UINT64_C(8) * 1024 * 1024)

struct importing {
    const char *path;
    int fd;
    uint64_t size, told;
    struct output_file receipts;
    bool is_terminal, receipts_failed;
};

static void importing_done(struct importing *importing)
{
    cleanup_close(&importing->fd);
    output_file_done(&importing->receipts);
}

static ssize_t read_bundle(void *user, void *ret, size_t len)
{
    const struct importing *importing = user;
    ssize_t n;

    do
        n = read(importing->fd, ret, len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int write_receipts(void *user, struct bytes bytes)
{
    struct importing *importing = user;
    int r = output_file_write(&importing->receipts, bytes.data, bytes.len);

    importing->receipts_failed = r < 0;
    return r;
}

static void show_progress(void *user, const struct service_bundle_report *so_far)
{
    struct importing *importing = user;

    if (!importing->is_terminal || so_far->bytes_read - importing->told < TOLD_EVERY_BYTES)
        return;
    importing->told = so_far->bytes_read;
    fprintf(stderr, "\r\033[K%" PRIu64 " %% read, %" PRIu64 " records and %" PRIu64 " photos new",
        importing->size > 0 ? so_far->bytes_read * 100 / importing->size : 100, so_far->records_new,
        so_far->photos_new);
}

static void end_progress(const struct importing *importing)
{
    if (importing->is_terminal)
        fputs("\r\033[K", stderr);
}

static void show_fault(void *user, const char *line)
{
    const struct importing *importing = user;

    end_progress(importing);
    fprintf(stderr, "%s: %s\n", SERVER_PROGRAM, line);
}

static int open_files(const struct command_run *run, struct importing *importing)
{
    struct stat found;

    importing->path = run->arguments[0];
    /* A pipe without a writer must not make it wait. */
    importing->fd = open(importing->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (importing->fd < 0 || fstat(importing->fd, &found) < 0)
        return command_fail(EXIT_STATUS_REFUSED, "%s: %s", importing->path, strerror(errno));
    if (!S_ISREG(found.st_mode))
        return command_fail(EXIT_STATUS_REFUSED, "%s: is no regular file; name a bundle", importing->path);
    importing->size = (uint64_t)found.st_size;
    int r = output_file_open(run->options.output, &importing->receipts);
    if (r < 0)
        return command_fail(
            command_status_of(r), "output: %s: %s; nothing was imported", run->options.output, strerror(-r));
    return EXIT_STATUS_DONE;
}

static int failed(const struct importing *importing, const struct service_bundle_report *report, int error)
{
    const char *path = importing->path;

    if (importing->receipts_failed)
        return command_fail(command_status_of(error),
            "output: %s: %s; what was imported stays: import it again, with the receipts on another disk",
            importing->receipts.path, strerror(-error));
    switch (error) {
    case -EBADMSG:
        return command_fail(EXIT_STATUS_REFUSED, "%s: %s; nothing was imported", path,
            report->is_cut ? "is cut before anything in it is whole" : "is no bundle, or is damaged");
    case -EPROTONOSUPPORT:
        return command_fail(
            EXIT_STATUS_REFUSED, "%s: was made by another version of gridpatrol; nothing was imported", path);
    case -EKEYREJECTED:
        return command_fail(EXIT_STATUS_REFUSED,
            "%s: is sealed to another centre, or its beginning is damaged; nothing was imported", path);
    case -EACCES:
        if (!report->refusal)
            break;
        return command_fail(EXIT_STATUS_REFUSED, "%s: refused: %s", path, report->refusal);
    case -EWOULDBLOCK:
        return command_fail(
            EXIT_STATUS_FAILED, "another import is running; wait for it to end, and import this one then");
    case -ENOSPC:
        return command_fail(EXIT_STATUS_NO_SPACE,
            "the centre's disk is full; what was imported stays: make room, and import %s again", path);
    }
    return command_fail(command_status_of(error),
        "%s was not imported to its end: %s%s; what was imported stays: import it again", path,
        strerror(-error), command_advice_of(error));
}

static bool is_whole(const struct service_bundle_report *report)
{
    return !report->is_cut && !report->is_damaged && !report->is_made_newer;
}

static void print_report(const struct command_run *run, const struct service_bundle_report *report, bool json)
{
    char device[UUID_TEXT_LEN + 1], made[RFC3339_LEN + 1];

    text_uuid(report->device.b, device);
    rfc3339_format(json ? report->made_ms : report->made_ms / 1000 * 1000, 0, made);
    if (json) {
        printf("{\"device\":\"%s\",\"made_at\":\"%s\",\"records_new\":%" PRIu64 ",\"records_held\":%" PRIu64
               ",\"records_quarantined\":%" PRIu64 ",\"records_refused\":%" PRIu64 ",\"photos_new\":%" PRIu64
               ",\"photos_held\":%" PRIu64 ",\"photos_refused\":%" PRIu64 ",\"whole\":%s}\n",
            device, made, report->records_new, report->records_held, report->records_quarantined,
            report->records_refused, report->photos_new, report->photos_held, report->photos_refused,
            is_whole(report) ? "true" : "false");
        return;
    }
    printf("bundle of %s, made %s\n", device, made);
    printf("  records: %" PRIu64 " new, %" PRIu64 " already here, %" PRIu64
           " of these in quarantine, %" PRIu64 " refused\n",
        report->records_new, report->records_held, report->records_quarantined, report->records_refused);
    printf("  photos and previews: %" PRIu64 " new, %" PRIu64 " already here, %" PRIu64 " refused\n",
        report->photos_new, report->photos_held, report->photos_refused);
    printf("receipts are in %s; on the handheld: patrol import-receipts FILE\n", run->options.output);
}

/* After the report: what is not as it should be, and what to do. */
static int judge(const struct importing *importing, const struct service_bundle_report *report)
{
    const char *path = importing->path;

    if (report->is_cut)
        return command_fail(EXIT_STATUS_FAILED,
            "%s: is cut; what is whole was imported: copy it again, and import it again", path);
    if (report->is_damaged)
        return command_fail(EXIT_STATUS_FAILED,
            "%s: is damaged at byte %" PRIu64
            " or before; what stands before it was imported: copy it again, and import it again",
            path, report->bytes_read);
    if (report->is_made_newer)
        return command_fail(EXIT_STATUS_FAILED,
            "%s: was made by a newer gridpatrol; parts that are not known here were passed over", path);
    if (report->records_refused > 0 || report->photos_refused > 0)
        return EXIT_STATUS_FAILED; /* told where it was met */
    return EXIT_STATUS_DONE;
}

int command_import_bundle(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    _cleanup_(importing_done) struct importing importing = {
        .fd = -1, .receipts = {.fd = -1}, .is_terminal = isatty(STDERR_FILENO) == 1};
    const struct service_bundle_io io = {.read = read_bundle,
        .receipts = write_receipts,
        .told = show_progress,
        .fault = show_fault,
        .user = &importing};
    struct service_bundle_report report = {0};

    if (run->argument_count != 1 || !run->options.output)
        return command_fail(
            EXIT_STATUS_USAGE, "import-bundle: write %s import-bundle FILE -o RECEIPTS", SERVER_PROGRAM);
    if (strcmp(run->options.output, "-") == 0)
        return command_fail(EXIT_STATUS_USAGE,
            "import-bundle: name a file for the receipts; standard output is for the report");
    int status = open_files(run, &importing);
    umask(0007); /* what it makes in DATA is the server's group's too */
    if (status == EXIT_STATUS_DONE)
        status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_import_bundle(service, &io, &report);
    end_progress(&importing);
    if (r < 0)
        return failed(&importing, &report, r);
    r = output_file_finish(&importing.receipts);
    if (r < 0) {
        importing.receipts_failed = true;
        return failed(&importing, &report, r);
    }
    print_report(run, &report, run->options.json);
    if (fflush(stdout) != 0)
        return command_fail(EXIT_STATUS_FAILED, "standard output: %s", strerror(errno));
    return judge(&importing, &report);
}
