/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/finding_json.h"

#include "base/json_text.h"
#include "base/rfc3339.h"

static void put_text_or_null(struct buffer *ret, const char *key, struct bytes text)
{
    buffer_printf(ret, "\"%s\":", key);
    if (text.len > 0)
        json_put_text(ret, text);
    else
        buffer_put_text(ret, "null");
    buffer_put_u8(ret, ',');
}

static void put_time(struct buffer *ret, const char *key, int64_t ms, int32_t utc_offset_min)
{
    char text[RFC3339_LEN + 1];

    rfc3339_format(ms, utc_offset_min, text);
    buffer_printf(ret, "\"%s\":\"%s\",", key, text);
}

static void put_category(struct buffer *ret, const struct category *category)
{
    if (category->code.len == 0) {
        buffer_put_text(ret, "\"category\":null,");
    } else {
        buffer_put_text(ret, "\"category\":{\"scheme\":");
        json_put_text(ret, category->scheme);
        buffer_put_text(ret, ",\"version\":");
        json_put_text(ret, category->version);
        buffer_put_text(ret, ",\"kind\":\"matter\",\"code\":");
        json_put_text(ret, category->code);
        buffer_put_text(ret, "},");
    }
    put_text_or_null(ret, "component", category->component);
}

static void put_position(struct buffer *ret, const struct finding *finding)
{
    const struct finding_position *position = &finding->position;
    char lat[TEXT_E7_LEN + 1], lon[TEXT_E7_LEN + 1];

    if (!finding->has_position) {
        buffer_put_text(ret, "\"lat\":null,\"lon\":null,\"accuracy_m\":null,\"fix_time\":null,");
        return;
    }
    text_e7(position->lat_e7, lat);
    text_e7(position->lon_e7, lon);
    buffer_printf(ret, "\"lat\":%s,\"lon\":%s,\"accuracy_m\":", lat, lon);
    if (position->accuracy_dm == 0)
        buffer_put_text(ret, "null,");
    else if (position->accuracy_dm % 10u == 0)
        buffer_printf(ret, "%u,", position->accuracy_dm / 10u);
    else
        buffer_printf(ret, "%u.%u,", position->accuracy_dm / 10u, position->accuracy_dm % 10u);
    if (position->fix_time_ms == 0)
        buffer_put_text(ret, "\"fix_time\":null,");
    else
        put_time(ret, "fix_time", position->fix_time_ms, 0);
}

void finding_put_json(
    const struct finding *finding, int64_t recorded_ms, int32_t utc_offset_min, struct buffer *ret)
{
    if (!finding) {
        buffer_put_text(ret,
            "\"category\":null,\"component\":null,\"severity\":null,\"note\":null,\"lat\":null,\"lon\":null,"
            "\"accuracy_m\":null,\"fix_time\":null,\"no_fix\":null,\"observed_at\":null,");
    } else {
        put_category(ret, &finding->category);
        put_text_or_null(ret, "severity", bytes_of_text(severity_name(finding->severity)));
        buffer_put_text(ret, "\"note\":");
        json_put_text(ret, finding->note);
        buffer_put_u8(ret, ',');
        put_position(ret, finding);
        put_text_or_null(ret, "no_fix", finding->no_fix);
        put_time(ret, "observed_at", finding->observed_ms != 0 ? finding->observed_ms : recorded_ms,
            utc_offset_min);
    }
    put_time(ret, "recorded_at", recorded_ms, utc_offset_min);
}
