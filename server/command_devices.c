/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server devices`, `revoke`, `restore` and `resync`: what an admin sees of the handhelds and asks of
 * them.
 */
#include "base/json_text.h"
#include "base/rfc3339.h"
#include "server/commands.h"

#include <errno.h>
#include <inttypes.h>

static void put_time(struct buffer *line, const char *key, int64_t ms)
{
    char time[RFC3339_LEN + 1];

    if (ms == 0) {
        buffer_printf(line, ",\"%s\":null", key);
        return;
    }
    rfc3339_format(ms, 0, time);
    buffer_printf(line, ",\"%s\":\"%s\"", key, time);
}

/* ---- resyncs that were asked for ---- */

/* "asked", "running" or "finished"; a finished one that had not all is told by `complete`. */
static const char *asked_resync_state(const struct service_asked_resync *asked)
{
    if (asked->finished_ms != 0)
        return "finished";
    return asked->delivered_ms != 0 ? "running" : "asked";
}

static void put_asked_resync_json(
    struct buffer *line, const struct service_asked_resync *asked, bool is_first)
{
    const struct resync_counts *counts = &asked->counts;
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"records_checked", counts->records_checked}, {"records_missing", counts->records_missing},
        {"records_damaged", counts->records_damaged}, {"records_sent_again", counts->records_sent_again},
        {"records_erased", counts->records_erased}, {"records_lost", counts->records_lost},
        {"records_gone", counts->records_gone}, {"blobs_checked", counts->blobs_checked},
        {"blobs_missing", counts->blobs_missing}, {"blobs_sent_again", counts->blobs_sent_again},
        {"blobs_gone", counts->blobs_gone}, {"blobs_lost", counts->blobs_lost}};

    buffer_printf(line, "%s{\"level\":\"%s\",\"state\":\"%s\"", is_first ? "" : ",",
        audit_level_name(asked->level), asked_resync_state(asked));
    put_time(line, "asked_at", asked->asked_ms);
    put_time(line, "delivered_at", asked->delivered_ms);
    put_time(line, "finished_at", asked->finished_ms);
    buffer_printf(line, ",\"complete\":%s,\"problem\":", asked->is_complete ? "true" : "false");
    if (asked->problem)
        json_put_text(line, bytes_of_text(asked->problem));
    else
        buffer_put_text(line, "null");
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        buffer_printf(line, ",\"%s\":%" PRIu64, numbers[i].name, numbers[i].value);
    buffer_put_text(line, "}");
}

static void put_result(struct buffer *line, const struct service_asked_resync *asked)
{
    const struct resync_counts *counts = &asked->counts;
    uint64_t records = counts->records_gone + counts->records_lost;
    uint64_t blobs = counts->blobs_gone + counts->blobs_lost;

    buffer_printf(line,
        ": %" PRIu64 " records checked, %" PRIu64 " missing, %" PRIu64 " damaged, %" PRIu64
        " sent again, %" PRIu64 " erased",
        counts->records_checked, counts->records_missing, counts->records_damaged, counts->records_sent_again,
        counts->records_erased);
    if (asked->level == AUDIT_MEDIA)
        buffer_printf(line,
            "; %" PRIu64 " photos and previews checked, %" PRIu64 " missing or damaged, %" PRIu64
            " sent again",
            counts->blobs_checked, counts->blobs_missing, counts->blobs_sent_again);
    if (records + blobs > 0)
        buffer_printf(
            line, "; in neither place: %" PRIu64 " records, %" PRIu64 " photos and previews", records, blobs);
    else
        buffer_put_text(
            line, asked->is_complete ? "; nothing is in neither place" : "; not all could be mended");
}

static void put_moment(struct buffer *line, const char *word, int64_t ms)
{
    char time[RFC3339_LEN + 1];

    rfc3339_format(ms / 1000 * 1000, 0, time);
    buffer_printf(line, "%s %s", word, time);
}

/* "  resync records, asked ..., delivered ...: 512 of 1000 records checked" */
static int print_asked_resync(const struct service_device *device, const struct service_asked_resync *asked)
{
    _cleanup_buffer_ struct buffer line = {0};

    buffer_printf(&line, "  resync %s", audit_level_name(asked->level));
    put_moment(&line, ", asked", asked->asked_ms);
    if (asked->delivered_ms == 0)
        buffer_put_text(&line, ": not delivered yet");
    else
        put_moment(&line, ", delivered", asked->delivered_ms);
    if (asked->finished_ms != 0)
        put_moment(&line, ", finished", asked->finished_ms);
    else if (asked->delivered_ms != 0)
        buffer_printf(&line, ": %" PRIu64 " of %" PRIu64 " records checked", asked->counts.records_checked,
            device->records);
    if (asked->has_counts)
        put_result(&line, asked);
    if (asked->problem)
        buffer_printf(&line, "; the last try failed: %s; it is tried again", asked->problem);
    buffer_put_text(&line, "\n");
    if (buffer_finish(&line) < 0)
        return -ENOMEM;
    return fwrite(line.data, 1, line.len, stdout) == line.len ? 0 : -EIO;
}

/* ---- the list ---- */

static int print_device_json(void *user, const struct service_device *device)
{
    _cleanup_buffer_ struct buffer line = {0};
    char id[UUID_TEXT_LEN + 1];

    text_uuid(device->id.b, id);
    buffer_printf(&line, "{\"id\":\"%s\",\"name\":", id);
    json_put_text(&line, bytes_of_text(device->name));
    buffer_put_text(&line, ",\"inspector\":");
    json_put_text(&line, bytes_of_text(device->inspector));
    put_time(&line, "enrolled_at", device->enrolled_ms);
    put_time(&line, "last_seen_at", device->last_seen_ms);
    buffer_printf(&line,
        ",\"revoked\":%s,\"logs\":%" PRIu64 ",\"records\":%" PRIu64 ",\"quarantined\":%" PRIu64
        ",\"blobs_missing\":%" PRIu64 ",\"alarms\":%" PRIu64
        ",\"over_quota\":%s,\"photos_over_quota\":%s,\"last_resync\":",
        device->revoked ? "true" : "false", device->logs, device->records, device->quarantined,
        device->blobs_missing, device->alarms, device->over_quota ? "true" : "false",
        device->photos_over_quota ? "true" : "false");
    if (device->last_resync)
        json_put_text(&line, bytes_of_text(device->last_resync));
    else
        buffer_put_text(&line, "null");
    buffer_put_text(&line, ",\"asked_resyncs\":[");
    for (size_t i = 0; i < device->asked_resync_count; i++)
        put_asked_resync_json(&line, &device->asked_resyncs[i], i == 0);
    buffer_put_text(&line, "]}\n");
    if (buffer_finish(&line) < 0)
        return -ENOMEM;
    return fwrite(line.data, 1, line.len, stdout) == line.len ? 0 : -EIO;
}

static int print_device(void *user, const struct service_device *device)
{
    char id[UUID_TEXT_LEN + 1], seen[RFC3339_LEN + 1] = "never";

    text_uuid(device->id.b, id);
    if (device->last_seen_ms != 0)
        rfc3339_format(device->last_seen_ms / 1000 * 1000, 0, seen);
    int n = printf("%s  %-20s  last seen %-20s  %" PRIu64 " records, %" PRIu64 " quarantined, %" PRIu64
                   " photos missing, %" PRIu64 " alarms%s%s%s\n",
        id, device->name && *device->name ? device->name : "-", seen, device->records, device->quarantined,
        device->blobs_missing, device->alarms, device->revoked ? ", revoked" : "",
        device->over_quota ? ", over its quota of the day" : "",
        device->photos_over_quota ? ", over its quota of photos" : "");
    int r = n < 0 ? -EIO : 0;
    for (size_t i = 0; i < device->asked_resync_count && r >= 0; i++)
        r = print_asked_resync(device, &device->asked_resyncs[i]);
    return r;
}

int command_devices(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;

    int status = command_open(run, COMMAND_READS, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    service_set_limits(service, &run->config.quota, 0);
    int r = service_each_device(service, run->options.json ? print_device_json : print_device, NULL);
    if (r >= 0 && fflush(stdout) != 0)
        r = -errno;
    if (r < 0)
        return command_fail(EXIT_STATUS_FAILED, "the devices could not be listed: %s", strerror(-r));
    return EXIT_STATUS_DONE;
}

static int set_revoked(const struct command_run *run, bool revoked)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    struct uuid device;
    char id[UUID_TEXT_LEN + 1];

    if (run->argument_count != 1)
        return command_fail(EXIT_STATUS_USAGE,
            "say which device: %s %s DEVICE; patrol-server devices lists them", SERVER_PROGRAM,
            revoked ? "revoke" : "restore");
    int status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    /* One that a restored database does not know is named by its whole id. */
    int r = text_parse_uuid(run->arguments[0], device.b) >= 0 ? service_revoke(service, &device, revoked)
                                                              : -ENOENT;
    if (r == -ENOENT) {
        status = command_find_device(service, run->arguments[0], &device);
        if (status != EXIT_STATUS_DONE)
            return status;
        r = service_revoke(service, &device, revoked);
    }
    if (r == -EFBIG)
        return command_fail(EXIT_STATUS_REFUSED,
            "nothing was changed: the file revocations in the data directory is full; take out lines that a "
            "later line for the same device replaces");
    if (r < 0)
        return command_fail(command_status_of(r), "nothing was changed: %s", strerror(-r));
    text_uuid(device.b, id);
    printf("%s %s\n", revoked ? "revoked" : "restored", id);
    return EXIT_STATUS_DONE;
}

int command_revoke(const struct command_run *run)
{
    return set_revoked(run, true);
}

int command_restore(const struct command_run *run)
{
    return set_revoked(run, false);
}

/* Every one is found before the first is asked: a slip in the last name asks nobody. */
static int find_devices(const struct command_run *run, struct service *service, struct uuid *ret)
{
    int status = EXIT_STATUS_DONE;

    for (size_t i = 0; i < run->argument_count && status == EXIT_STATUS_DONE; i++)
        status = command_find_device(service, run->arguments[i], &ret[i]);
    return status;
}

int command_resync(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    enum audit_level level = AUDIT_RECORDS;
    struct uuid devices[COMMAND_ARGUMENTS_MAX];

    if (run->options.all == (run->argument_count > 0))
        return command_fail(
            EXIT_STATUS_USAGE, "say which devices: %s resync DEVICE..., or --all", SERVER_PROGRAM);
    if (run->options.level && audit_level_from_name(run->options.level, &level) < 0)
        return command_fail(
            EXIT_STATUS_REFUSED, "level: %.40s: write presence, records or media", run->options.level);
    int status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status == EXIT_STATUS_DONE)
        status = find_devices(run, service, devices);
    if (status != EXIT_STATUS_DONE)
        return status;
    int asked = service_ask_resync(service, run->options.all ? NULL : devices, run->argument_count, level);
    if (asked < 0)
        return command_fail(command_status_of(asked), "nobody was asked: %s", strerror(-asked));
    printf("asked %d %s for a resync at level %s with the next exchange; see: %s devices\n", asked,
        asked == 1 ? "handheld" : "handhelds", audit_level_name(level), SERVER_PROGRAM);
    return EXIT_STATUS_DONE;
}
