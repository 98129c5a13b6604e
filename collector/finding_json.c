/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/finding_json.h"

#include "base/json_text.h"
#include "proto/finding_json.h"
#include "proto/time_flags.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- in ---- */

static int refuse(struct form_refusal *refusal, const char *format, ...) _printf_(2, 3);
static int refuse(struct form_refusal *refusal, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal->message, sizeof(refusal->message), format, arguments);
    va_end(arguments);
    text_make_one_line(refusal->message); /* the parser quotes what it was given */
    return -EINVAL;
}

static int take_text(const char *name, const json_t *value, const char **ret, struct form_refusal *refusal)
{
    if (!json_is_string(value))
        return refuse(refusal, "%s: must be a text", name);
    *ret = json_string_value(value);
    return 0;
}

/* Numbers go through text, so that the form checks them as it does on the command line. */
static int take_number(const char *name, const json_t *value, char *text, size_t capacity, const char **ret,
    struct form_refusal *refusal)
{
    if (!json_is_number(value))
        return refuse(refusal, "%s: must be a number", name);
    double number = json_number_value(value);
    if (!isfinite(number) || fabs(number) > 1e9)
        return refuse(refusal, "%s: out of range", name);
    snprintf(text, capacity, "%.9f", number);
    *ret = text;
    return 0;
}

static int take_photos(const json_t *value, struct finding_line *line, struct form_refusal *refusal)
{
    if (!json_is_array(value))
        return refuse(refusal, "photos: must be a list of paths");
    if (json_array_size(value) > FINDING_PHOTOS_MAX)
        return refuse(
            refusal, "photos: %zu, at most %u are taken", json_array_size(value), FINDING_PHOTOS_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *path = json_array_get(value, i);
        if (!json_is_string(path) || json_string_length(path) == 0)
            return refuse(refusal, "photos: must be a list of paths");
        line->photos[line->photo_count++] = json_string_value(path);
    }
    return 0;
}

static int take_field(
    const char *name, const json_t *value, struct finding_line *line, struct form_refusal *refusal)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {
        {"category", &line->form.category},
        {"component", &line->form.component},
        {"severity", &line->form.severity},
        {"fix_time", &line->form.fix_time},
        {"no_fix", &line->form.no_fix},
        {"observed_at", &line->form.observed_at},
        {"inspector", &line->inspector},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (strcmp(name, texts[i].name) == 0)
            return take_text(name, value, texts[i].text, refusal);
    if (strcmp(name, "note") == 0) {
        if (!json_is_string(value))
            return refuse(refusal, "note: must be a text");
        line->form.note = bytes_of(json_string_value(value), json_string_length(value));
        return 0;
    }
    if (strcmp(name, "lat") == 0)
        return take_number(name, value, line->lat, sizeof(line->lat), &line->form.lat, refusal);
    if (strcmp(name, "lon") == 0)
        return take_number(name, value, line->lon, sizeof(line->lon), &line->form.lon, refusal);
    if (strcmp(name, "accuracy_m") == 0)
        return take_number(
            name, value, line->accuracy, sizeof(line->accuracy), &line->form.accuracy, refusal);
    if (strcmp(name, "photos") == 0)
        return take_photos(value, line, refusal);
    if (strcmp(name, "source") == 0 || strcmp(name, "reported_at") == 0)
        return 0; /* where an imported finding came from: taken, not kept */
    return refuse(refusal, "%.40s: unknown field; see man patrol, \"NDJSON\"", name);
}

static int refuse_json(const json_error_t *error, struct form_refusal *refusal)
{
    enum json_error_code code = json_error_code(error);
    if (code == json_error_null_character || code == json_error_null_byte_in_key)
        return refuse(refusal, "JSON: NUL characters (\\u0000) are not taken; leave them out (column %d)",
            error->column);
    return refuse(refusal, "JSON: %.100s (column %d)", error->text, error->column);
}

int finding_line_parse(struct bytes text, struct finding_line *ret, struct form_refusal *refusal)
{
    if (text.len > NDJSON_LINE_BYTES_MAX)
        return refuse(refusal, "line: over %u bytes; shorten it", NDJSON_LINE_BYTES_MAX);
    if (!text_is_utf8(text) && !memchr(text.data, 0, text.len))
        return refuse(
            refusal, "line: not UTF-8 text; convert it, for example with: iconv -f GB18030 -t UTF-8");
    struct finding_line line = {0};
    json_error_t error;
    line.object = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!line.object)
        return refuse_json(&error, refusal);
    int r = 0;
    if (!json_is_object(line.object))
        r = refuse(
            refusal, "JSON: not an object; one finding a line, such as {\"category\": \"06010\", ...}");
    const char *name;
    json_t *value;
    if (r >= 0) {
        json_object_foreach(line.object, name, value)
        {
            r = json_is_null(value) ? 0 : take_field(name, value, &line, refusal);
            if (r < 0)
                break;
        }
    }
    if (r < 0) {
        json_decref(line.object);
        return r;
    }
    *ret = line;
    /* Texts that the line itself carries moved with it. */
    if (ret->form.lat)
        ret->form.lat = ret->lat;
    if (ret->form.lon)
        ret->form.lon = ret->lon;
    if (ret->form.accuracy)
        ret->form.accuracy = ret->accuracy;
    return 0;
}

void finding_line_done(struct finding_line *line)
{
    json_decref(line->object);
    line->object = NULL;
}

/* ---- out ---- */

static void put_uuid(struct buffer *ret, const char *name, const struct uuid *uuid)
{
    char text[UUID_TEXT_LEN + 1];

    text_uuid(uuid->b, text);
    if (uuid_is_nil(uuid))
        buffer_printf(ret, "\"%s\":null,", name);
    else
        buffer_printf(ret, "\"%s\":\"%s\",", name, text);
}

static void put_photo(struct buffer *ret, const struct sha256 *sha256, uint64_t size, const char *role,
    const char *state, bool first)
{
    char hash[SHA256_TEXT_LEN + 1];

    text_hex(sha256->b, SHA256_BYTES, hash);
    buffer_printf(ret, "%s{\"sha256\":\"%s\",\"size\":%llu,\"role\":\"%s\",\"state\":\"%s\"}",
        first ? "" : ",", hash, (unsigned long long)size, role, state);
}

static void put_photos(struct buffer *ret, const struct finding *finding, const struct finding_state *state)
{
    buffer_put_text(ret, "\"photos\":[");
    for (size_t i = 0; finding && i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];
        put_photo(ret, &photo->sha256, photo->size, "photo", state->photo_states[i], i == 0);
        if (photo->preview_size > 0)
            put_photo(
                ret, &photo->preview_sha256, photo->preview_size, "preview", state->preview_states[i], false);
    }
    buffer_put_u8(ret, ']');
}

static struct uuid parent_id(const struct record *record)
{
    if (record->kind == RECORD_AMENDMENT)
        return record->amendment.parent.id;
    if (record->kind == RECORD_WITHDRAWAL)
        return record->withdrawal.parent.id;
    return (struct uuid){0};
}

static void put_reason(struct buffer *ret, const struct record *record, const struct finding_state *state)
{
    struct bytes reason = state->reason ? bytes_of_text(state->reason) : (struct bytes){0};

    if (!state->reason && record->kind == RECORD_WITHDRAWAL)
        reason = record->withdrawal.reason;
    if (reason.len == 0)
        return;
    buffer_put_text(ret, "\"reason\":");
    json_put_text(ret, reason);
    buffer_put_u8(ret, ',');
}

/* As far as the record itself tells. */
static unsigned time_flags_of(const struct record *record)
{
    const struct finding *finding = record_finding(record);
    const struct time_facts facts = {.recorded_ms = record->wall_ms,
        .fix_ms = finding && finding->has_position ? finding->position.fix_time_ms : 0};

    return time_flags(&facts);
}

void finding_put_object(const struct record *record, const struct finding_state *state, struct buffer *ret)
{
    struct uuid parent = parent_id(record), device = state->has_device ? state->device : (struct uuid){0};

    buffer_put_u8(ret, '{');
    put_uuid(ret, "id", &state->id);
    buffer_printf(ret, "\"kind\":\"%s\",", record_kind_name(record->kind));
    put_uuid(ret, "parent", &parent);
    put_uuid(ret, "device", &device);
    buffer_put_text(ret, "\"inspector\":");
    json_put_text(ret, record->inspector);
    buffer_put_u8(ret, ',');
    put_uuid(ret, "log", &state->at.log);
    buffer_printf(ret, "\"seq\":%llu,", (unsigned long long)state->at.seq);
    finding_put_json(record_finding(record), record->wall_ms, record->utc_offset_min, ret);
    buffer_printf(ret, "\"received_at\":null,\"state\":\"%s\",\"complete\":%s,", state->state,
        state->complete ? "true" : "false");
    time_flags_put_json(time_flags_of(record), ret);
    put_reason(ret, record, state);
    put_photos(ret, record_finding(record), state);
    buffer_put_u8(ret, '}');
}
