/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol status`: what has reached the centre, what has not, and why. Counts come from receipts and signed
 * lists only.
 */
#include "collector/commands.h"
#include "collector/control_client.h"

#include <errno.h>
#include <inttypes.h>

static json_t *instant_or_null(const struct program *program, int64_t unix_ms)
{
    if (unix_ms == 0)
        return json_null();
    char text[RFC3339_LEN + 1];
    program_instant_text(program, unix_ms, text);
    return json_string(text);
}

static json_t *number_or_null(bool known, uint64_t number)
{
    return known ? json_integer((json_int_t)number) : json_null();
}

/* The daemon's lanes; in place of how long something waits, until when. */
static json_t *lanes_copy(const struct program *program, const json_t *daemon)
{
    json_t *lanes = json_deep_copy(json_object_get(daemon, "lanes"));
    size_t index;
    json_t *lane;
    json_array_foreach(lanes, index, lane)
    {
        int64_t until_ms = control_until_ms(program, lane, "until_in_ms");
        json_object_set_new(lane, "until", instant_or_null(program, until_ms));
        json_object_del(lane, "until_in_ms");
    }
    return lanes ? lanes : json_null();
}

static json_t *copy(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return value ? json_incref(value) : json_null();
}

static enum exit_status print_json(
    struct program *program, bool has_store, const struct store_status *status, const json_t *daemon)
{
    char device[UUID_TEXT_LEN + 1], log[UUID_TEXT_LEN + 1];
    text_uuid(program->enrolment.device.b, device);
    text_uuid(status->log.b, log);
    json_t *object = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o, s:o, s:b, s:s?, s:s?, s:s?, s:I, s:o, s:b, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:o, s:o, s:o, s:I, s:I}",
        "records_queued", (json_int_t)status->records_queued, "photos_pending",
        (json_int_t)status->photos_pending, "bytes_pending", (json_int_t)status->bytes_pending,
        "records_sent", (json_int_t)status->records_sent, "records_quarantined",
        (json_int_t)status->records_quarantined, "oldest_queued_at",
        instant_or_null(program, status->oldest_queued_at_ms), "photos_lost", (json_int_t)status->blobs_lost,
        "last_receipt_at", instant_or_null(program, status->receipt_time_ms), "last_receipt_size",
        number_or_null(status->receipt_time_ms > 0, status->receipt_size), "enrolled", (int)program->enrolled,
        "device", program->enrolled ? device : NULL, "server_url",
        program->enrolled ? program->enrolment.server_url : NULL, "log", status->has_log ? log : NULL,
        "log_size", (json_int_t)status->log_size, "free_bytes", number_or_null(has_store, status->free_bytes),
        "daemon", daemon != NULL, "link", copy(daemon, "link"), "wait", copy(daemon, "wait"), "reason",
        copy(daemon, "reason"), "next_attempt_at",
        daemon ? instant_or_null(program, control_next_attempt_ms(program, daemon)) : json_null(),
        "last_failure", copy(daemon, "last_failure"), "resync", copy(daemon, "resync"), "network",
        copy(daemon, "network"), "lanes", lanes_copy(program, daemon), "key_waits", copy(daemon, "key_waits"),
        "records_pruned", (json_int_t)status->records_pruned, "photos_held", (json_int_t)status->photos_held);
    return print_json_object(object);
}

static void print_bytes(char *ret, size_t capacity, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        value /= 1024;
    snprintf(ret, capacity, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* When the last resync ended, and what it was for: nobody had asked for a self-audit. */
static void print_resync_end(const struct program *program, const json_t *resync)
{
    const char *finished_at = json_string_value(json_object_get(resync, "finished_at"));
    const char *cause = json_string_value(json_object_get(resync, "cause"));
    char text[RFC3339_LEN + 1];
    int64_t unix_ms;
    int32_t offset_min;
    if (!finished_at || rfc3339_parse(finished_at, &unix_ms, &offset_min) < 0)
        return;
    program_instant_text(program, unix_ms, text);
    printf(" (%s%s)", text, cause && strcmp(cause, "self-audit") == 0 ? ", the daemon's own audit" : "");
}

static json_int_t number_of_lost(const json_t *resync)
{
    return json_integer_value(json_object_get(resync, "records_lost")) +
           json_integer_value(json_object_get(resync, "blobs_lost"));
}

/* The resync that goes on, or the last one: "resync        presence: nothing is missing ... (when)". */
static void print_resync(const struct program *program, const json_t *resync)
{
    const char *problem = json_string_value(json_object_get(resync, "problem"));
    const char *verdict = problem ? problem : "something is in neither place";
    json_int_t again = json_integer_value(json_object_get(resync, "records_sent_again")) +
                       json_integer_value(json_object_get(resync, "blobs_sent_again"));
    if (!json_is_object(resync))
        return;
    if (!json_is_true(json_object_get(resync, "finished")))
        verdict = "goes on";
    else if (json_is_true(json_object_get(resync, "ok")))
        verdict = json_integer_value(json_object_get(resync, "records_checked")) > 0
                      ? number_of_lost(resync) > 0
                            ? "nothing is missing at the centre but what is marked lost"
                            : "nothing is missing at the centre"
                      : "there was nothing to compare";
    printf("resync        %s: %s", json_string_value(json_object_get(resync, "level")), verdict);
    if (again > 0)
        printf(", %" JSON_INTEGER_FORMAT " sent again", again);
    print_resync_end(program, resync);
    putchar('\n');
}

/* "photos        8 wait: the day's budget of 50 MiB on the metered network is used up until 14:05:00" */
static void print_lanes(const struct program *program, const json_t *lanes)
{
    size_t index;
    json_t *lane;
    json_array_foreach(lanes, index, lane)
    {
        const char *name = json_string_value(json_object_get(lane, "lane"));
        const char *reason = json_string_value(json_object_get(lane, "reason"));
        json_int_t waiting = json_integer_value(json_object_get(lane, "waiting"));
        int64_t until_ms = control_until_ms(program, lane, "until_in_ms");
        char text[RFC3339_LEN + 1] = "";
        if (waiting == 0 || !name || !reason)
            continue;
        if (until_ms > 0)
            program_moment_text(program, until_ms, text);
        printf("%-13s %" JSON_INTEGER_FORMAT " wait%s: %s%s%s\n", name, waiting, waiting == 1 ? "s" : "",
            reason, until_ms > 0 ? " until " : "", text);
    }
}

static void print_centre(
    const struct program *program, const struct store_status *status, const json_t *daemon)
{
    char text[RFC3339_LEN + 1];
    if (!program->enrolled)
        puts("centre        not enrolled; everything is kept here. Run: patrol enroll TOKEN-URL");
    else
        printf("centre        %s\n", program->enrolment.server_url);
    if (status->receipt_time_ms > 0) {
        program_instant_text(program, status->receipt_time_ms, text);
        printf("last receipt  %s, covers %" PRIu64 " of the log's %" PRIu64 " records\n", text,
            status->receipt_size, status->log_size);
    }
    if (!daemon) {
        puts("daemon        not running; start it with: systemctl start patrol-syncd");
        return;
    }
    const char *reason = json_string_value(json_object_get(daemon, "reason"));
    const char *wait = json_string_value(json_object_get(daemon, "wait"));
    printf("daemon        %s\n", reason ? reason : wait ? wait : "running");
    int64_t next = control_next_attempt_ms(program, daemon);
    if (next > 0) {
        program_instant_text(program, next, text);
        printf("next attempt  %s\n", text);
    }
    if (json_is_true(json_object_get(daemon, "key_waits")))
        puts("device key    a new one waits for the centre to take it; until then the old one signs");
    print_lanes(program, json_object_get(daemon, "lanes"));
    print_resync(program, json_object_get(daemon, "resync"));
}

static void print_plain(
    const struct program *program, bool has_store, const struct store_status *status, const json_t *daemon)
{
    char bytes[32], free_space[32], text[RFC3339_LEN + 1];
    print_bytes(bytes, sizeof(bytes), status->bytes_pending);
    print_bytes(free_space, sizeof(free_space), status->free_bytes);
    printf("at the centre %" PRIu64 " record%s\n", status->records_sent, plural(status->records_sent));
    printf("still here    %" PRIu64 " record%s, %" PRIu64 " photos and previews (%s)\n",
        status->records_queued, plural(status->records_queued), status->photos_pending, bytes);
    if (status->oldest_queued_at_ms > 0) {
        program_instant_text(program, status->oldest_queued_at_ms, text);
        printf("oldest        %s\n", text);
    }
    if (status->records_quarantined > 0)
        printf("quarantined   %" PRIu64 " record%s; see: patrol list --state quarantined\n",
            status->records_quarantined, plural(status->records_quarantined));
    if (status->records_pruned > 0)
        printf("only there    %" PRIu64
               " record%s of closed logs: removed here, as the centre has a backup of them\n",
            status->records_pruned, plural(status->records_pruned));
    if (status->photos_held > 0) {
        print_bytes(bytes, sizeof(bytes), status->held_bytes);
        printf("photos held   %" PRIu64
               " that the centre has, %s: they go when it has them in a backup, or are old\n",
            status->photos_held, bytes);
    }
    if (status->blobs_lost > 0)
        printf("lost          %" PRIu64 " photo%s, gone or damaged before all was sent\n", status->blobs_lost,
            plural(status->blobs_lost));
    print_centre(program, status, daemon);
    if (has_store)
        printf("free space    %s\n", free_space);
}

enum exit_status command_status(struct program *program, const char *const *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    struct store_status status = {0};
    _cleanup_store_ struct store *store = NULL;
    struct store_opened opened;
    int r = store_open(program->world, program->directory, STORE_READER, &store, &opened);
    if (r >= 0)
        r = store_status(store, &status);
    if (r < 0 && r != -ENOENT)
        return complain_store(program, r, "read the status");
    bool has_store = r >= 0;
    program_read_enrolment(program);
    json_t *daemon = control_ask_status(program);
    enum exit_status exit = EXIT_STATUS_DONE;
    if (program->options.json)
        exit = print_json(program, has_store, &status, daemon);
    else
        print_plain(program, has_store, &status, daemon);
    json_decref(daemon);
    return exit;
}
