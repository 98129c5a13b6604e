/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server findings`: what was reported, streamed in the order of arrival, in one of four forms.
 * Nothing is held in memory but the finding at hand.
 */
#include "base/json_text.h"
#include "base/rfc3339.h"
#include "proto/finding_json.h"
#include "proto/time_flags.h"
#include "server/commands.h"

#include <errno.h>
#include <inttypes.h>

struct printing {
    struct buffer line; /* used again for each finding */
    uint64_t count;
};

static void printing_done(struct printing *printing)
{
    buffer_done(&printing->line);
}

static int flush_line(struct printing *printing)
{
    if (buffer_finish(&printing->line) < 0)
        return -ENOMEM;
    if (fwrite(printing->line.data, 1, printing->line.len, stdout) != printing->line.len)
        return errno != 0 ? -errno : -EIO;
    buffer_clear(&printing->line);
    printing->count++;
    return 0;
}

static void put_id(struct buffer *line, const char *key, const struct uuid *id)
{
    char text[UUID_TEXT_LEN + 1];

    if (uuid_is_nil(id)) {
        buffer_printf(line, "\"%s\":null,", key);
        return;
    }
    text_uuid(id->b, text);
    buffer_printf(line, "\"%s\":\"%s\",", key, text);
}

/* A record that cannot be read has no finding to show. */
static const struct finding *shown_finding(const struct service_finding *item)
{
    bool has_one = item->kind == RECORD_FINDING || item->kind == RECORD_AMENDMENT;
    return has_one && item->finding.category.code.len > 0 ? &item->finding : NULL;
}

/* Of the quarantine; of a withdrawal what its inspector gave, which the list keeps as its note. */
static struct bytes reason_of(const struct service_finding *item)
{
    if (item->reason)
        return bytes_of_text(item->reason);
    return item->kind == RECORD_WITHDRAWAL ? item->finding.note : (struct bytes){0};
}

static void put_photo(struct buffer *line, bool first, const struct sha256 *hash, uint64_t size,
    const char *role, const char *state)
{
    char text[SHA256_TEXT_LEN + 1];

    text_hex(hash->b, SHA256_BYTES, text);
    buffer_printf(line, "%s{\"sha256\":\"%s\",\"size\":%" PRIu64 ",\"role\":\"%s\",\"state\":\"%s\"}",
        first ? "" : ",", text, size, role, state);
}

static void put_photos(struct buffer *line, const struct service_finding *item)
{
    const struct finding *finding = shown_finding(item);
    bool first = true;

    buffer_put_text(line, "\"photos\":[");
    for (size_t i = 0; finding && i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];
        put_photo(line, first, &photo->sha256, photo->size, "photo", item->photo_states[i]);
        first = false;
        if (photo->preview_size > 0)
            put_photo(
                line, false, &photo->preview_sha256, photo->preview_size, "preview", item->preview_states[i]);
    }
    buffer_put_u8(line, ']');
}

/* The members of a finding's object, without braces. */
static void put_members(struct buffer *line, const struct service_finding *item)
{
    struct bytes reason = reason_of(item);
    char received[RFC3339_LEN + 1];

    put_id(line, "id", &item->id);
    buffer_printf(line, "\"kind\":\"%s\",", record_kind_name(item->kind));
    put_id(line, "parent", &item->parent);
    put_id(line, "device", &item->device);
    buffer_put_text(line, "\"inspector\":");
    json_put_text(line, item->inspector);
    buffer_put_u8(line, ',');
    put_id(line, "log", &item->log);
    buffer_printf(line, "\"seq\":%" PRIu64 ",", item->seq);
    finding_put_json(shown_finding(item), item->recorded_ms, item->utc_offset_min, line);
    rfc3339_format(item->received_ms, 0, received);
    buffer_printf(line, "\"received_at\":\"%s\",\"state\":\"%s\",\"complete\":%s,", received, item->state,
        item->complete ? "true" : "false");
    time_flags_put_json(item->time_flags, line);
    put_photos(line, item);
    buffer_printf(line, ",\"arrival\":%" PRIu64, item->arrival);
    if (reason.len > 0) {
        buffer_put_text(line, ",\"reason\":");
        json_put_text(line, reason);
    }
}

static int print_json(void *user, const struct service_finding *item)
{
    struct printing *printing = user;

    buffer_put_u8(&printing->line, '{');
    put_members(&printing->line, item);
    buffer_put_text(&printing->line, "}\n");
    return flush_line(printing);
}

/* RFC 7946: longitude first; a feature without a fix has a null geometry (section 3.2). */
static int print_geojson(void *user, const struct service_finding *item)
{
    struct printing *printing = user;
    struct buffer *line = &printing->line;
    const struct finding *finding = shown_finding(item);

    buffer_put_text(line, printing->count > 0 ? ",\n" : "\n");
    buffer_put_text(line, "{\"type\":\"Feature\",\"geometry\":");
    if (finding && finding->has_position) {
        char lat[TEXT_E7_LEN + 1], lon[TEXT_E7_LEN + 1];
        text_e7(finding->position.lat_e7, lat);
        text_e7(finding->position.lon_e7, lon);
        buffer_printf(line, "{\"type\":\"Point\",\"coordinates\":[%s,%s]}", lon, lat);
    } else {
        buffer_put_text(line, "null");
    }
    buffer_put_text(line, ",\"properties\":{");
    put_members(line, item);
    buffer_put_text(line, "}}");
    return flush_line(printing);
}

/* ---- CSV (RFC 4180) ---- */

static const char csv_header[] =
    "id,kind,parent,device,inspector,log,seq,scheme,version,category,component,severity,note,lat,lon,accuracy_m,"
    "fix_time,no_fix,observed_at,recorded_at,received_at,state,complete,photos,arrival,reason,flags\r\n";

/* A field as it is, in quotes where the format needs them. Nothing is put before texts that a spreadsheet
 * would take for a formula: the bytes are evidence. The manual says how to import such a file. */
static void put_csv(struct buffer *line, struct bytes text)
{
    bool quoted = false;

    for (size_t i = 0; i < text.len && !quoted; i++)
        quoted = memchr(",\"\r\n", text.data[i], 4) != NULL;
    if (!quoted) {
        buffer_put_bytes(line, text);
        return;
    }
    buffer_put_u8(line, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"')
            buffer_put_u8(line, '"');
        buffer_put_u8(line, text.data[i]);
    }
    buffer_put_u8(line, '"');
}

static void put_csv_id(struct buffer *line, const struct uuid *id)
{
    char text[UUID_TEXT_LEN + 1] = "";

    if (!uuid_is_nil(id))
        text_uuid(id->b, text);
    buffer_printf(line, "%s,", text);
}

static void put_csv_time(struct buffer *line, int64_t ms, int32_t utc_offset_min)
{
    char text[RFC3339_LEN + 1] = "";

    if (ms != 0)
        rfc3339_format(ms, utc_offset_min, text);
    buffer_printf(line, "%s,", text);
}

static void put_csv_position(struct buffer *line, const struct finding *finding)
{
    char lat[TEXT_E7_LEN + 1], lon[TEXT_E7_LEN + 1];

    if (!finding->has_position) {
        buffer_put_text(line, ",,,,");
        return;
    }
    text_e7(finding->position.lat_e7, lat);
    text_e7(finding->position.lon_e7, lon);
    buffer_printf(line, "%s,%s,", lat, lon);
    if (finding->position.accuracy_dm > 0)
        buffer_printf(
            line, "%u.%u", finding->position.accuracy_dm / 10u, finding->position.accuracy_dm % 10u);
    buffer_put_u8(line, ',');
    put_csv_time(line, finding->position.fix_time_ms, 0);
}

static void put_csv_finding(struct buffer *line, const struct finding *finding)
{
    const struct bytes before[] = {finding->category.scheme, finding->category.version,
        finding->category.code, finding->category.component, bytes_of_text(severity_name(finding->severity)),
        finding->note};

    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        put_csv(line, before[i]);
        buffer_put_u8(line, ',');
    }
    put_csv_position(line, finding);
    put_csv(line, finding->no_fix);
    buffer_put_u8(line, ',');
}

static int print_csv(void *user, const struct service_finding *item)
{
    static const struct finding nothing;
    struct printing *printing = user;
    struct buffer *line = &printing->line;
    const struct finding *finding = shown_finding(item);

    put_csv_id(line, &item->id);
    buffer_printf(line, "%s,", record_kind_name(item->kind));
    put_csv_id(line, &item->parent);
    put_csv_id(line, &item->device);
    put_csv(line, item->inspector);
    buffer_put_u8(line, ',');
    put_csv_id(line, &item->log);
    buffer_printf(line, "%" PRIu64 ",", item->seq);
    put_csv_finding(line, finding ? finding : &nothing);
    int64_t observed_ms = finding && finding->observed_ms != 0 ? finding->observed_ms : item->recorded_ms;
    put_csv_time(line, finding ? observed_ms : 0, item->utc_offset_min);
    put_csv_time(line, item->recorded_ms, item->utc_offset_min);
    put_csv_time(line, item->received_ms, 0);
    buffer_printf(line, "%s,%s,", item->state, item->complete ? "true" : "false");
    for (size_t i = 0; finding && i < finding->photo_count; i++) {
        char text[SHA256_TEXT_LEN + 1];
        text_hex(finding->photos[i].sha256.b, SHA256_BYTES, text);
        buffer_printf(line, "%s%s", i > 0 ? " " : "", text);
    }
    buffer_printf(line, ",%" PRIu64 ",", item->arrival);
    put_csv(line, reason_of(item));
    buffer_put_u8(line, ',');
    time_flags_put_text(item->time_flags, line);
    buffer_put_text(line, "\r\n");
    return flush_line(printing);
}

/* ---- for people ---- */

static int print_plain(void *user, const struct service_finding *item)
{
    struct printing *printing = user;
    const struct finding *finding = shown_finding(item);
    char id[UUID_TEXT_LEN + 1], time[RFC3339_LEN + 1];
    size_t stored = 0, count = finding ? finding->photo_count : 0;

    for (size_t i = 0; i < count; i++)
        stored += strcmp(item->photo_states[i], "stored") == 0 ? 1u : 0u;
    text_uuid(item->id.b, id);
    rfc3339_format(item->recorded_ms / 1000 * 1000, item->utc_offset_min, time);
    buffer_printf(&printing->line, "%s  %s  %-8.*s %-8s %-11s photos %zu of %zu\n", id, time,
        finding ? (int)finding->category.code.len : 1,
        finding ? (const char *)finding->category.code.data : "-",
        finding ? severity_name(finding->severity) : "", item->state, stored, count);
    return flush_line(printing);
}

static int print_all(
    const struct command_run *run, struct service *service, const struct service_finding_filter *filter)
{
    const struct server_options *options = &run->options;
    _cleanup_(printing_done) struct printing printing = {0};
    int (*each)(void *, const struct service_finding *) = options->json      ? print_json
                                                          : options->geojson ? print_geojson
                                                          : options->csv     ? print_csv
                                                                             : print_plain;

    if (options->geojson)
        fputs("{\"type\":\"FeatureCollection\",\"features\":[", stdout);
    if (options->csv)
        fputs(csv_header, stdout);
    int r = service_each_finding(service, filter, each, &printing);
    if (r >= 0 && options->geojson)
        fputs("\n]}\n", stdout);
    if (r >= 0 && (fflush(stdout) != 0 || ferror(stdout)))
        r = errno != 0 ? -errno : -EIO;
    return r;
}

int command_findings(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    struct service_finding_filter filter = {0};
    const struct server_options *options = &run->options;

    if (options->json + options->geojson + options->csv > 1)
        return command_fail(EXIT_STATUS_USAGE, "findings: one of --json, --geojson and --csv");
    if (options->since && (text_parse_u64(options->since, &filter.since) < 0 || filter.since > INT64_MAX))
        return command_fail(EXIT_STATUS_REFUSED,
            "since: %.40s: give a whole number, the `arrival` of the last finding that is known",
            options->since);
    int status = command_open(run, COMMAND_READS, (struct bytes){0}, &service);
    if (status == EXIT_STATUS_DONE && options->device) {
        filter.has_device = true;
        status = command_find_device(service, options->device, &filter.device);
    }
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = print_all(run, service, &filter);
    if (r == -EPIPE)
        return EXIT_STATUS_DONE; /* the reader has seen enough */
    if (r < 0)
        return command_fail(EXIT_STATUS_FAILED, "the findings were not printed to the end: %s", strerror(-r));
    return EXIT_STATUS_DONE;
}
