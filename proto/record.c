/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to records, and the names of things: see record.h. The rules are record_check's; here is only the
 * encoding.
 */
#include "proto/record.h"

#include "proto/record_time.h"
#include "proto/wire_reader.h"

#include <errno.h>

/* Times that can be told only once wall_ms is known, which may stand behind the body. */
struct ages {
    struct finding *finding;
    bool has_fix, has_observed;
    int64_t fix_s, observed_s;
};

static void read_category(struct wire_reader *outer, struct category *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            ret->scheme = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        case 2:
            ret->version = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        case 3:
            ret->code = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        case 4:
            ret->component = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        }
    wire_end(outer, &reader);
}

/* At most one of two fields that tell the same time. */
static void note_time(struct wire_reader *reader, bool *seen)
{
    if (*seen)
        wire_fail(reader, "a time is given twice");
    *seen = true;
}

static void read_position(struct wire_reader *outer, struct finding_position *ret, struct ages *ages)
{
    struct wire_reader reader = wire_message(outer);
    bool has_fix_time = false;

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            ret->lat_e7 = wire_sfixed32(&reader);
            break;
        case 2:
            ret->lon_e7 = wire_sfixed32(&reader);
            break;
        case 3:
            ret->accuracy_dm = wire_u32(&reader);
            break;
        case 4:
            note_time(&reader, &has_fix_time);
            ages->fix_s = wire_s64(&reader);
            ages->has_fix = true;
            break;
        case 5:
            note_time(&reader, &has_fix_time);
            ret->fix_time_ms = wire_s64(&reader);
            break;
        }
    wire_end(outer, &reader);
}

static void read_photo(struct wire_reader *outer, struct wire_items *photos)
{
    struct wire_reader reader = wire_item_message(outer);
    struct photo *photo = wire_item(outer, photos, sizeof(*photo), FINDING_PHOTOS_MAX);
    bool has_hash = false, has_preview_hash = false;

    if (!photo)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            has_hash = wire_exact_or_none(&reader, photo->sha256.b, SHA256_BYTES);
            break;
        case 2:
            photo->size = wire_u64(&reader);
            break;
        case 3:
            photo->format = (enum photo_format)wire_u32(&reader);
            break;
        case 4:
            has_preview_hash = wire_exact_or_none(&reader, photo->preview_sha256.b, SHA256_BYTES);
            break;
        case 5:
            photo->preview_size = wire_u32(&reader);
            break;
        }
    if (!has_hash)
        wire_fail(&reader, "photo lacks its hash");
    if (has_preview_hash != (photo->preview_size > 0))
        wire_fail(&reader, "preview lacks its hash or its size");
    wire_end(outer, &reader);
}

static void read_finding(struct wire_reader *outer, struct finding *ret, struct ages *ages)
{
    struct wire_reader reader = wire_message(outer);
    struct wire_items photos = {0};
    bool has_observed = false;

    ages->finding = ret;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            read_category(&reader, &ret->category);
            break;
        case 2:
            ret->severity = (enum severity)wire_u32(&reader);
            break;
        case 3:
            ret->note = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        case 4:
            read_position(&reader, &ret->position, ages);
            ret->has_position = true;
            break;
        case 5:
            ret->no_fix = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        case 6:
            note_time(&reader, &has_observed);
            ages->observed_s = wire_s64(&reader);
            ages->has_observed = true;
            break;
        case 7:
            read_photo(&reader, &photos);
            break;
        case 8:
            note_time(&reader, &has_observed);
            ret->observed_ms = wire_s64(&reader);
            break;
        }
    ret->photos = photos.items;
    ret->photo_count = photos.count;
    wire_end(outer, &reader);
}

static void read_parent(struct wire_reader *outer, struct parent *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_uuid_or_none(&reader, &ret->log);
            break;
        case 2:
            ret->seq = wire_u64(&reader);
            break;
        case 3:
            wire_uuid_or_none(&reader, &ret->id);
            break;
        }
    wire_end(outer, &reader);
}

static void read_opened(struct wire_reader *outer, struct opened *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            ret->reason = (enum open_reason)wire_u32(&reader);
            break;
        case 2:
            ret->kind = (enum log_kind)wire_u32(&reader);
            break;
        case 3:
            wire_uuid_or_none(&reader, &ret->predecessor);
            break;
        case 4:
            ret->predecessor_size = wire_u64(&reader);
            break;
        case 5:
            ret->has_predecessor_root = wire_exact_or_none(&reader, ret->predecessor_root.b, SHA256_BYTES);
            break;
        case 6:
            ret->software = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        }
    wire_end(outer, &reader);
}

static void read_amendment(struct wire_reader *outer, struct amendment *ret, struct ages *ages)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            read_parent(&reader, &ret->parent);
            break;
        case 2:
            read_finding(&reader, &ret->finding, ages);
            break;
        }
    wire_end(outer, &reader);
}

static void read_withdrawal(struct wire_reader *outer, struct withdrawal *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            read_parent(&reader, &ret->parent);
            break;
        case 2:
            ret->reason = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        }
    wire_end(outer, &reader);
}

static void read_device_event(struct wire_reader *outer, struct device_event *ret)
{
    struct wire_reader reader = wire_message(outer);
    struct wire_items lost_blobs = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_uuid_or_none(&reader, &ret->boot_id);
            break;
        case 2:
            ret->receipt_size = wire_u64(&reader);
            break;
        case 3:
            ret->receipt_time_ms = wire_s64(&reader);
            break;
        case 4:
            ret->software = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        case 5:
            wire_item_sha256(&reader, &lost_blobs, DEVICE_EVENT_LOST_BLOBS_MAX);
            break;
        }
    ret->lost_blobs = lost_blobs.items;
    ret->lost_blob_count = lost_blobs.count;
    wire_end(outer, &reader);
}

static void read_rehomed(struct wire_reader *outer, struct rehomed *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_uuid_or_none(&reader, &ret->log);
            break;
        case 2:
            ret->seq = wire_u64(&reader);
            break;
        case 3:
            ret->record = wire_bytes(&reader, RECORD_BYTES_MAX);
            break;
        }
    wire_end(outer, &reader);
}

static void read_closed(struct wire_reader *outer, struct closed *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            ret->reason = (enum open_reason)wire_u32(&reader);
            break;
        }
    wire_end(outer, &reader);
}

static void read_key_rotation(struct wire_reader *outer, struct key_rotation *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, ret->old_key, sizeof(ret->old_key));
            break;
        case 2:
            wire_exact(&reader, ret->new_key, sizeof(ret->new_key));
            break;
        case 3:
            wire_exact(&reader, ret->signature, sizeof(ret->signature));
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2) | WIRE_FIELD(3));
    wire_end(outer, &reader);
}

static void read_body(struct wire_reader *reader, struct record *ret, struct ages *ages)
{
    enum record_kind kind = (enum record_kind)reader->field;

    if (ret->kind != 0) {
        wire_fail(reader, "a record of two kinds");
        return;
    }
    ret->kind = kind;
    switch (kind) {
    case RECORD_OPENED:
        read_opened(reader, &ret->opened);
        break;
    case RECORD_FINDING:
        read_finding(reader, &ret->finding, ages);
        break;
    case RECORD_AMENDMENT:
        read_amendment(reader, &ret->amendment, ages);
        break;
    case RECORD_WITHDRAWAL:
        read_withdrawal(reader, &ret->withdrawal);
        break;
    case RECORD_DEVICE_EVENT:
        read_device_event(reader, &ret->device_event);
        break;
    case RECORD_REHOMED:
        read_rehomed(reader, &ret->rehomed);
        break;
    case RECORD_CLOSED:
        read_closed(reader, &ret->closed);
        break;
    case RECORD_KEY_ROTATION:
        read_key_rotation(reader, &ret->key_rotation);
        break;
    }
}

const struct finding *record_finding(const struct record *record)
{
    switch (record->kind) {
    case RECORD_FINDING:
        return &record->finding;
    case RECORD_AMENDMENT:
        return &record->amendment.finding;
    case RECORD_OPENED:
    case RECORD_WITHDRAWAL:
    case RECORD_DEVICE_EVENT:
    case RECORD_REHOMED:
    case RECORD_CLOSED:
    case RECORD_KEY_ROTATION:
        break;
    }
    return NULL;
}

static void resolve_ages(struct wire_reader *reader, const struct ages *ages, int64_t wall_ms)
{
    struct finding *finding = ages->finding;

    if (ages->has_fix && !record_time_of_age(wall_ms, ages->fix_s, &finding->position.fix_time_ms))
        wire_fail(reader, "fix time is out of range");
    if (ages->has_observed && !record_time_of_age(wall_ms, ages->observed_s, &finding->observed_ms))
        wire_fail(reader, "observed time is out of range");
}

static void read_record(struct wire_reader *reader, struct record *ret)
{
    struct ages ages = {0};
    int64_t boot_wall_ms = 0;

    while (wire_next(reader))
        switch (reader->field) {
        case 1:
            ret->wall_ms = wire_s64(reader);
            break;
        case 2:
            ret->utc_offset_min = wire_s32(reader);
            break;
        case 3:
            boot_wall_ms = wire_s64(reader);
            break;
        case 4:
            ret->inspector = wire_bytes(reader, RECORD_BYTES_MAX);
            break;
        case RECORD_OPENED:
        case RECORD_FINDING:
        case RECORD_AMENDMENT:
        case RECORD_WITHDRAWAL:
        case RECORD_DEVICE_EVENT:
        case RECORD_REHOMED:
        case RECORD_CLOSED:
        case RECORD_KEY_ROTATION:
            read_body(reader, ret, &ages);
            break;
        }
    ret->boot_ms = record_time_boot_ms(ret->wall_ms, boot_wall_ms);
    resolve_ages(reader, &ages, ret->wall_ms);
}

int record_decode(struct bytes bytes, struct arena *arena, struct record *ret, const char **ret_reason)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct record record = {0};
    const char *fault = NULL;

    if (bytes.len > RECORD_BYTES_MAX)
        wire_fail(&reader, "record is too long");
    read_record(&reader, &record);
    if (reader.error == 0 && record_check(&record, &fault) < 0)
        wire_fail(&reader, fault);
    if (reader.error == 0)
        *ret = record;
    return wire_finish(&reader, ret_reason);
}

const char *record_kind_name(enum record_kind kind)
{
    switch (kind) {
    case RECORD_OPENED:
        return "opened";
    case RECORD_FINDING:
        return "finding";
    case RECORD_AMENDMENT:
        return "amendment";
    case RECORD_WITHDRAWAL:
        return "withdrawal";
    case RECORD_DEVICE_EVENT:
        return "device_event";
    case RECORD_REHOMED:
        return "rehomed";
    case RECORD_CLOSED:
        return "closed";
    case RECORD_KEY_ROTATION:
        return "key_rotation";
    }
    return "unknown";
}

static const char *const severity_names[] = {
    [SEVERITY_NONE] = "",
    [SEVERITY_MINOR] = "minor",
    [SEVERITY_NORMAL] = "normal",
    [SEVERITY_SERIOUS] = "serious",
    [SEVERITY_URGENT] = "urgent",
};

const char *severity_name(enum severity severity)
{
    return severity < ARRAY_LEN(severity_names) ? severity_names[severity] : "";
}

int severity_from_name(const char *name, enum severity *ret)
{
    for (size_t i = SEVERITY_MINOR; i < ARRAY_LEN(severity_names); i++)
        if (strcmp(name, severity_names[i]) == 0) {
            *ret = (enum severity)i;
            return 0;
        }
    return -EINVAL;
}
