/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/finding_json.h"

#include "base/rfc3339.h"

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

int finding_line_parse(struct bytes text, struct finding_line *ret, struct form_refusal *refusal)
{
    if (text.len > NDJSON_LINE_BYTES_MAX)
        return refuse(refusal, "line: over %u bytes; shorten it", NDJSON_LINE_BYTES_MAX);
    struct finding_line line = {0};
    json_error_t error;
    line.object = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!line.object)
        return refuse(refusal, "JSON: %.100s (column %d)", error.text, error.column);
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

static json_t *text_of(struct bytes bytes)
{
    return json_stringn((const char *)bytes.data ? (const char *)bytes.data : "", bytes.len);
}

static json_t *text_or_null(struct bytes bytes)
{
    return bytes.len > 0 ? text_of(bytes) : json_null();
}

static json_t *uuid_or_null(const struct uuid *uuid)
{
    if (uuid_is_nil(uuid))
        return json_null();
    char text[UUID_TEXT_LEN + 1];
    text_uuid(uuid->b, text);
    return json_string(text);
}

static json_t *instant_or_null(int64_t unix_ms, int32_t offset_min)
{
    if (unix_ms == 0)
        return json_null();
    char text[RFC3339_LEN + 1];
    rfc3339_format(unix_ms, offset_min, text);
    return json_string(text);
}

static json_t *degrees(int32_t value_e7)
{
    return json_real((double)value_e7 / 1e7);
}

static json_t *photo_object(const struct sha256 *sha256, uint64_t size, const char *role, const char *state)
{
    char hash[SHA256_TEXT_LEN + 1];
    text_hex(sha256->b, SHA256_BYTES, hash);
    return json_pack(
        "{s:s, s:I, s:s, s:s}", "sha256", hash, "size", (json_int_t)size, "role", role, "state", state);
}

static json_t *photo_objects(const struct finding *finding, const struct finding_state *state)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];
        json_array_append_new(
            list, photo_object(&photo->sha256, photo->size, "photo", state->photo_states[i]));
        if (photo->preview_size > 0)
            json_array_append_new(list, photo_object(&photo->preview_sha256, photo->preview_size, "preview",
                                            state->preview_states[i]));
    }
    return list;
}

static struct uuid parent_id(const struct record *record)
{
    if (record->kind == RECORD_AMENDMENT)
        return record->amendment.parent.id;
    if (record->kind == RECORD_WITHDRAWAL)
        return record->withdrawal.parent.id;
    return (struct uuid){0};
}

static int add_finding(json_t *object, const struct record *record, const struct finding_state *state)
{
    static const struct finding nothing;
    const struct finding *finding = record_finding(record);
    bool has_content = finding != NULL;
    if (!has_content)
        finding = &nothing;
    bool placed = finding->has_position;
    int64_t observed = finding->observed_ms != 0 ? finding->observed_ms : record->wall_ms;
    struct bytes note = record->kind == RECORD_WITHDRAWAL ? record->withdrawal.reason : finding->note;
    json_t *category = json_null();
    if (has_content)
        category = json_pack("{s:o, s:o, s:s, s:o, s:o}", "scheme", text_of(finding->category.scheme),
            "version", text_of(finding->category.version), "kind", "matter", "code",
            text_of(finding->category.code), "component", text_or_null(finding->category.component));
    const struct {
        const char *name;
        json_t *value;
    } fields[] = {
        {"category", category},
        {"severity", has_content ? json_string(severity_name(finding->severity)) : json_null()},
        {"note", text_of(note)},
        {"lat", placed ? degrees(finding->position.lat_e7) : json_null()},
        {"lon", placed ? degrees(finding->position.lon_e7) : json_null()},
        {"accuracy_m", placed && finding->position.accuracy_dm > 0
                           ? json_real(finding->position.accuracy_dm / 10.0)
                           : json_null()},
        {"fix_time",
            placed ? instant_or_null(finding->position.fix_time_ms, record->utc_offset_min) : json_null()},
        {"no_fix", text_or_null(finding->no_fix)},
        {"observed_at", instant_or_null(observed, record->utc_offset_min)},
        {"recorded_at", instant_or_null(record->wall_ms, record->utc_offset_min)},
        {"received_at", json_null()},
        {"state", json_string(state->state)},
        {"complete", json_boolean(state->complete)},
        {"photos", photo_objects(finding, state)},
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (json_object_set_new(object, fields[i].name, fields[i].value) < 0)
            r = -ENOMEM;
    return r;
}

json_t *finding_object(const struct record *record, const struct finding_state *state)
{
    struct uuid parent = parent_id(record);
    json_t *object = json_object();
    int r = object ? 0 : -ENOMEM;
    if (r >= 0) {
        json_object_set_new(object, "id", uuid_or_null(&state->id));
        json_object_set_new(object, "kind", json_string(record_kind_name(record->kind)));
        json_object_set_new(object, "parent", uuid_or_null(&parent));
        json_object_set_new(object, "device", state->has_device ? uuid_or_null(&state->device) : json_null());
        json_object_set_new(object, "inspector", text_of(record->inspector));
        json_object_set_new(object, "log", uuid_or_null(&state->at.log));
        json_object_set_new(object, "seq", json_integer((json_int_t)state->at.seq));
        r = add_finding(object, record, state);
    }
    if (r >= 0 && state->reason)
        json_object_set_new(object, "reason", json_string(state->reason));
    if (r < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}
