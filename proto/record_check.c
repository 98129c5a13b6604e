/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules that a record keeps, wherever it comes from. proto/README.md, "Records".
 *
 * Every function here returns what is wrong, as a static text in English, or NULL.
 */
#include "proto/record.h"

#include <errno.h>

#define LAT_E7_MAX 900000000
#define LON_E7_MAX 1800000000
#define UTC_OFFSET_MIN_MAX (24 * 60 - 1)

struct text_rule {
    size_t len_max;
    const char *too_long, *not_utf8;
};

#define TEXT_RULE(name, limit)                                                                               \
    {                                                                                                        \
        .len_max = (limit), .too_long = name " is too long", .not_utf8 = name " is not UTF-8"                \
    }

static const struct text_rule inspector_rule = TEXT_RULE("inspector", INSPECTOR_BYTES_MAX);
static const struct text_rule scheme_rule = TEXT_RULE("category scheme", SCHEME_BYTES_MAX);
static const struct text_rule version_rule = TEXT_RULE("category version", SCHEME_BYTES_MAX);
static const struct text_rule code_rule = TEXT_RULE("category code", CODE_BYTES_MAX);
static const struct text_rule component_rule = TEXT_RULE("component code", CODE_BYTES_MAX);
static const struct text_rule note_rule = TEXT_RULE("note", NOTE_BYTES_MAX);
static const struct text_rule no_fix_rule = TEXT_RULE("reason for no position", REASON_BYTES_MAX);
static const struct text_rule reason_rule = TEXT_RULE("reason", REASON_BYTES_MAX);
static const struct text_rule software_rule = TEXT_RULE("software", SOFTWARE_BYTES_MAX);

static const char *check_text(struct bytes text, const struct text_rule *rule)
{
    if (text.len > rule->len_max)
        return rule->too_long;
    return text_is_utf8(text) ? NULL : rule->not_utf8;
}

static const char *check_category(const struct category *category)
{
    const char *fault;

    if (category->scheme.len == 0 || category->version.len == 0 || category->code.len == 0)
        return "category lacks scheme, version or code";
    fault = check_text(category->scheme, &scheme_rule);
    if (!fault)
        fault = check_text(category->version, &version_rule);
    if (!fault)
        fault = check_text(category->code, &code_rule);
    if (!fault)
        fault = check_text(category->component, &component_rule);
    return fault;
}

static const char *check_place(const struct finding *finding)
{
    if (!finding->has_position)
        return finding->no_fix.len == 0 ? "no position and no reason for that"
                                        : check_text(finding->no_fix, &no_fix_rule);
    if (finding->no_fix.len > 0)
        return "a position, and also a reason why there is none";
    if (finding->position.lat_e7 < -LAT_E7_MAX || finding->position.lat_e7 > LAT_E7_MAX)
        return "latitude is out of range";
    if (finding->position.lon_e7 < -LON_E7_MAX || finding->position.lon_e7 > LON_E7_MAX)
        return "longitude is out of range";
    return NULL;
}

static const char *check_photo(const struct photo *photo)
{
    if (photo->size == 0 || photo->size > BLOB_BYTES_MAX)
        return "photo size is out of range";
    if (photo->format > PHOTO_PNG)
        return "unknown photo format";
    if (photo->preview_size > PREVIEW_BYTES_MAX)
        return "preview size is out of range";
    return NULL;
}

static const char *check_finding(const struct finding *finding)
{
    const char *fault = check_category(&finding->category);

    if (fault)
        return fault;
    if (finding->severity > SEVERITY_URGENT)
        return "unknown severity";
    fault = check_text(finding->note, &note_rule);
    if (fault)
        return fault;
    fault = check_place(finding);
    if (fault)
        return fault;
    if (finding->photo_count > FINDING_PHOTOS_MAX)
        return "too many photos";
    for (size_t i = 0; i < finding->photo_count && !fault; i++)
        fault = check_photo(&finding->photos[i]);
    return fault;
}

static const char *check_parent(const struct parent *parent)
{
    if (parent->seq >= LOG_SIZE_MAX)
        return "parent's seq is out of range";
    return uuid_is_nil(&parent->id) ? "parent lacks its id" : NULL;
}

static const char *check_amendment(const struct amendment *amendment)
{
    const char *fault = check_parent(&amendment->parent);

    return fault ? fault : check_finding(&amendment->finding);
}

static const char *check_withdrawal(const struct withdrawal *withdrawal)
{
    const char *fault = check_parent(&withdrawal->parent);

    if (fault)
        return fault;
    return withdrawal->reason.len == 0 ? "withdrawal lacks its reason"
                                       : check_text(withdrawal->reason, &reason_rule);
}

static const char *check_opened(const struct opened *opened)
{
    if (opened->reason > OPEN_REPLACED)
        return "unknown reason for opening a log";
    if (opened->kind > LOG_TRACKS)
        return "unknown kind of log";
    if (opened->predecessor_size > LOG_SIZE_MAX)
        return "predecessor's size is out of range";
    return check_text(opened->software, &software_rule);
}

static const char *check_device_event(const struct device_event *event)
{
    if (event->receipt_size > LOG_SIZE_MAX)
        return "receipt's size is out of range";
    if (event->lost_blob_count > DEVICE_EVENT_LOST_BLOBS_MAX)
        return "too many lost photos";
    return check_text(event->software, &software_rule);
}

static const char *check_rehomed(const struct rehomed *rehomed)
{
    if (uuid_is_nil(&rehomed->log))
        return "rehomed record lacks its log";
    if (rehomed->seq >= LOG_SIZE_MAX)
        return "rehomed record's seq is out of range";
    return rehomed->record.len == 0 ? "rehomed record is empty" : NULL;
}

static const char *check_key_rotation(const struct key_rotation *rotation)
{
    return memcmp(rotation->old_key, rotation->new_key, SIGN_PUBLIC_BYTES) == 0 ? "a key is rotated to itself"
                                                                                : NULL;
}

static const char *check_body(const struct record *record)
{
    switch (record->kind) {
    case RECORD_OPENED:
        return check_opened(&record->opened);
    case RECORD_FINDING:
        return check_finding(&record->finding);
    case RECORD_AMENDMENT:
        return check_amendment(&record->amendment);
    case RECORD_WITHDRAWAL:
        return check_withdrawal(&record->withdrawal);
    case RECORD_DEVICE_EVENT:
        return check_device_event(&record->device_event);
    case RECORD_REHOMED:
        return check_rehomed(&record->rehomed);
    case RECORD_CLOSED:
        return record->closed.reason > OPEN_REPLACED ? "unknown reason for closing a log" : NULL;
    case RECORD_KEY_ROTATION:
        return check_key_rotation(&record->key_rotation);
    }
    return "unknown record kind";
}

int record_check(const struct record *record, const char **ret_reason)
{
    const char *fault = check_body(record);

    if (!fault &&
        (record->utc_offset_min < -UTC_OFFSET_MIN_MAX || record->utc_offset_min > UTC_OFFSET_MIN_MAX))
        fault = "UTC offset is out of range";
    if (!fault)
        fault = check_text(record->inspector, &inspector_rule);
    if (!fault)
        return 0;
    if (ret_reason)
        *ret_reason = fault;
    return -EINVAL;
}
