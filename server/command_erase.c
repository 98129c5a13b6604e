/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server erase` and `orders`: what the law asks to be erased, and who has done it.
 */
#include "base/json_text.h"
#include "base/rfc3339.h"
#include "server/commands.h"

#include <errno.h>
#include <inttypes.h>

/* It becomes one line of the order. */
static int check_text(const char *name, const char *text)
{
    bool fits = text && *text && strlen(text) <= ERASE_TEXT_BYTES_MAX && text_is_utf8(bytes_of_text(text));

    for (const char *at = text; fits && *at; at++)
        fits = (unsigned char)*at >= 0x20 && *at != 0x7f;
    return fits ? EXIT_STATUS_DONE
                : command_fail(EXIT_STATUS_USAGE,
                      "%s: write --%s and one line of at most %u bytes; it stays in the order", name, name,
                      ERASE_TEXT_BYTES_MAX);
}

static int parse_target(const char *text, struct service_erase_target *ret)
{
    size_t len = strlen(text);

    ret->is_photo = len == SHA256_TEXT_LEN;
    if (ret->is_photo ? text_parse_hex(text, len, ret->sha256.b, SHA256_BYTES) >= 0
                      : text_parse_uuid(text, ret->id.b) >= 0)
        return EXIT_STATUS_DONE;
    return command_fail(EXIT_STATUS_REFUSED,
        "id: %.80s: give the id of a record, or the 64 hex digits of a photo's SHA-256; "
        "patrol-server findings lists both",
        text);
}

static void print_line(void *user, const char *line)
{
    printf("%s\n", line);
}

static int print_result(const struct service_erasure *erasure, const struct service_erasure_report *report)
{
    if (erasure->dry_run)
        printf("would erase");
    else
        printf("order %" PRIu64 ": erased", report->order);
    printf(" %zu %s and %zu %s", report->records, report->records == 1 ? "record" : "records", report->photos,
        report->photos == 1 ? "photo" : "photos");
    if (report->photos_kept > 0)
        printf("; %zu %s", report->photos_kept, report->photos_kept == 1 ? "photo stays" : "photos stay");
    printf("%s\n", erasure->dry_run ? "" : "; handhelds are told with their next exchange");
    if (fflush(stdout) != 0)
        return command_fail(EXIT_STATUS_FAILED, "standard output: %s", strerror(errno));
    if (erasure->dry_run || report->is_finished)
        return EXIT_STATUS_DONE;
    return command_fail(EXIT_STATUS_FAILED,
        "order %" PRIu64 " stands, but copies of the bytes may still be in the database's files, which "
        "could not be written anew now; the running serve does it within minutes (orders tells)",
        report->order);
}

static int failed(int error)
{
    if (error == -EINVAL || error == -ENODATA)
        return command_fail(EXIT_STATUS_REFUSED, "nothing was erased%s",
            error == -ENODATA ? ": nothing of it is here any more, or other findings name it" : "");
    if (error == -E2BIG)
        return command_fail(EXIT_STATUS_REFUSED,
            "nothing was erased: more than %u records and photos in one order; give fewer ids",
            ORDER_ENTRIES_MAX);
    return command_fail(command_status_of(error),
        "the erasure was not finished: %s%s; %s orders tells whether the order stands, and serve goes on "
        "with it",
        strerror(-error), command_advice_of(error), SERVER_PROGRAM);
}

int command_erase(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    struct service_erase_target targets[COMMAND_ARGUMENTS_MAX] = {0};
    struct service_erasure_report report = {0};
    const struct service_erasure erasure = {.targets = targets,
        .target_count = run->argument_count,
        .by = run->options.by,
        .reason = run->options.reason,
        .photos_only = run->options.photos_only,
        .dry_run = run->options.dry_run,
        .told = print_line};
    int status = EXIT_STATUS_DONE;

    if (run->argument_count == 0)
        return command_fail(EXIT_STATUS_USAGE,
            "say what: %s erase ID... --reason TEXT --by NAME; --dry-run shows what would go",
            SERVER_PROGRAM);
    if (!erasure.dry_run)
        status = check_text("reason", erasure.reason);
    if (status == EXIT_STATUS_DONE && !erasure.dry_run)
        status = check_text("by", erasure.by);
    for (size_t i = 0; status == EXIT_STATUS_DONE && i < run->argument_count; i++)
        status = parse_target(run->arguments[i], &targets[i]);
    if (status == EXIT_STATUS_DONE)
        status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_erase(service, &erasure, &report);
    return r < 0 ? failed(r) : print_result(&erasure, &report);
}

/* ---- orders ---- */

static int print_order_json(void *user, const struct service_order *order)
{
    _cleanup_buffer_ struct buffer line = {0};
    char time[RFC3339_LEN + 1], device[UUID_TEXT_LEN + 1];

    rfc3339_format(order->time_ms, 0, time);
    buffer_printf(&line, "{\"order\":%" PRIu64 ",\"at\":\"%s\",\"by\":", order->number, time);
    json_put_text(&line, order->by);
    buffer_put_text(&line, ",\"reason\":");
    json_put_text(&line, order->reason);
    buffer_printf(&line, ",\"records\":%" PRIu64 ",\"photos\":%" PRIu64 ",\"handhelds\":%zu,\"waiting\":[",
        order->records, order->photos, order->device_count);
    for (size_t i = 0; i < order->waiting_count; i++) {
        text_uuid(order->waiting[i].b, device);
        buffer_printf(&line, "%s\"%s\"", i > 0 ? "," : "", device);
    }
    buffer_put_text(&line, "]}");
    if (!buffer_text(&line))
        return -ENOMEM;
    printf("%s\n", (const char *)line.data);
    return 0;
}

static int print_order(void *user, const struct service_order *order)
{
    char time[RFC3339_LEN + 1], device[UUID_TEXT_LEN + 1];

    rfc3339_format(order->time_ms, 0, time);
    printf("order %" PRIu64 "  %s  by %.*s  records %" PRIu64 ", photos %" PRIu64 ": %.*s\n", order->number,
        time, (int)order->by.len, (const char *)order->by.data, order->records, order->photos,
        (int)order->reason.len, (const char *)order->reason.data);
    for (size_t i = 0; i < order->waiting_count; i++) {
        text_uuid(order->waiting[i].b, device);
        printf("  not yet carried out by handheld %s\n", device);
    }
    return 0;
}

int command_orders(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    int status = command_open(run, COMMAND_READS, (struct bytes){0}, &service);

    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_each_order(service, run->options.json ? print_order_json : print_order, NULL);
    if (r < 0)
        return command_fail(command_status_of(r), "the orders could not be read: %s", strerror(-r));
    if (!service_erasure_is_finished(service) && !run->options.json)
        printf("copies of erased bytes may still be in the database's files; serve goes on with it\n");
    if (fflush(stdout) != 0)
        return command_fail(EXIT_STATUS_FAILED, "standard output: %s", strerror(errno));
    return EXIT_STATUS_DONE;
}
