/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server backup`: a copy of everything, made while handhelds are served.
 */
#include "server/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOLD_EVERY 100u /* photos */

static void show_progress(void *user, const struct service_backup_report *so_far)
{
    const bool *is_terminal = user;

    if (*is_terminal && so_far->blobs % TOLD_EVERY == 0)
        fprintf(
            stderr, "\r\033[K%" PRIu64 " photos, %" PRIu64 " copied", so_far->blobs, so_far->blobs_copied);
}

static void show_fault(void *user, const char *line)
{
    const bool *is_terminal = user;

    if (*is_terminal)
        fputs("\r\033[K", stderr);
    fprintf(stderr, "%s: %s; not in the backup: patrol-server resync --all --level media mends it\n",
        SERVER_PROGRAM, line);
}

/* A backup into the data directory itself would be none. */
static bool is_same_directory(const char *a, const char *b)
{
    struct stat first, second;

    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static int failed(const char *target, int error)
{
    switch (-error) {
    case EEXIST:
        return command_fail(EXIT_STATUS_REFUSED,
            "%s: holds the backup of another centre; give a directory of its own", target);
    case ENOTEMPTY:
        return command_fail(EXIT_STATUS_REFUSED,
            "%s: something has been written to this copy, as by a server that was started on it; give another directory",
            target);
    case EWOULDBLOCK:
        return command_fail(EXIT_STATUS_FAILED, "%s: another backup goes there right now", target);
    case EUCLEAN:
        return command_fail(EXIT_STATUS_FAILED,
            "%s: the database is damaged or cannot be read: this is no backup of it", target);
    case ENOSPC:
        return command_fail(EXIT_STATUS_NO_SPACE,
            "%s: the disk is full; the backup that was there before is whole still", target);
    default:
        return command_fail(command_status_of(error), "the backup to %s was not finished: %s%s", target,
            strerror(-error), command_advice_of(error));
    }
}

/* Handhelds may have removed what that log has, as this centre had signed that it is in the backup. */
static int failed_to_replace(const char *target, const struct uuid *log)
{
    char text[UUID_TEXT_LEN + 1];

    text_uuid(log->b, text);
    return command_fail(EXIT_STATUS_FAILED,
        "%s: the backup there has all records of the closed log %s, and this database has not any more: it stays as it is. "
        "Keep it, look with `%s check`, and back up into another directory until this is clear",
        target, text, SERVER_PROGRAM);
}

int command_backup(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    struct service_backup_report report = {0};
    bool is_terminal = isatty(STDERR_FILENO) == 1;

    if (run->argument_count != 1 || !run->arguments[0][0])
        return command_fail(EXIT_STATUS_USAGE, "backup: write %s backup DIR", SERVER_PROGRAM);
    const char *target = run->arguments[0];
    if (is_same_directory(run->directory, target))
        return command_fail(EXIT_STATUS_REFUSED,
            "%s: is the data directory itself; give a directory on another disk", target);
    int status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_backup(service, target, show_progress, show_fault, &is_terminal, &report);
    if (is_terminal)
        fputs("\r\033[K", stderr);
    if (report.has_kept_before)
        return failed_to_replace(target, &report.kept_log);
    bool all_but_photos = r == -EUCLEAN && report.blobs_bad > 0;
    if (r < 0 && !all_but_photos)
        return failed(target, r);
    printf("%" PRIu64 " records, %" PRIu64 " photos (%" PRIu64 " copied now) are in %s", report.records,
        report.blobs, report.blobs_copied, target);
    if (report.blobs_bad > 0)
        printf("; %" PRIu64 " photos could not be copied", report.blobs_bad);
    if (report.logs_broken > 0)
        printf("; %" PRIu64 " closed logs are not whole here, and handhelds keep theirs", report.logs_broken);
    printf("\n");
    if (fflush(stdout) != 0)
        return command_fail(EXIT_STATUS_FAILED, "standard output: %s", strerror(errno));
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_DONE;
}
