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
    buffer_put_text(&line, "}\n");
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
    return n < 0 ? -EIO : 0;
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
    /* One that was revoked, and that a restored database does not know, is named by its whole id. */
    int r = !revoked && text_parse_uuid(run->arguments[0], device.b) >= 0
                ? service_revoke(service, &device, false)
                : -ENOENT;
    if (r == -ENOENT) {
        status = command_find_device(service, run->arguments[0], &device);
        if (status != EXIT_STATUS_DONE)
            return status;
        r = service_revoke(service, &device, revoked);
    }
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

int command_resync(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    enum audit_level level = AUDIT_RECORDS;
    struct uuid device;

    if (run->options.all == (run->argument_count == 1))
        return command_fail(
            EXIT_STATUS_USAGE, "say which device: %s resync DEVICE, or --all", SERVER_PROGRAM);
    if (run->options.level && audit_level_from_name(run->options.level, &level) < 0)
        return command_fail(
            EXIT_STATUS_REFUSED, "level: %.40s: write presence, records or media", run->options.level);
    int status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status == EXIT_STATUS_DONE && !run->options.all)
        status = command_find_device(service, run->arguments[0], &device);
    if (status != EXIT_STATUS_DONE)
        return status;
    int asked = service_ask_resync(service, run->options.all ? NULL : &device, level);
    if (asked < 0)
        return command_fail(command_status_of(asked), "nobody was asked: %s", strerror(-asked));
    printf("asked %d %s for a resync at level %s with the next exchange\n", asked,
        asked == 1 ? "handheld" : "handhelds", audit_level_name(level));
    return EXIT_STATUS_DONE;
}
