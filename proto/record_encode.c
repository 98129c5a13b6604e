/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records to bytes: see record.h. Times other than wall_ms are written relative to it where that makes them
 * small or constant: proto/README.md, "Records".
 */
#include "proto/record.h"
#include "proto/record_time.h"
#include "proto/wire_pack.h"

#include <assert.h>
#include <errno.h>

/* One of each message that a finding consists of, for the time of packing it. */
struct finding_parts {
    Wire__Finding finding;
    Wire__Category category;
    Wire__Position position;
    Wire__Photo photos[FINDING_PHOTOS_MAX];
    Wire__Photo *photo_list[FINDING_PHOTOS_MAX];
};

static void fill_position(const struct finding_position *from, int64_t wall_ms, Wire__Position *ret)
{
    wire__position__init(ret);
    ret->lat_e7 = from->lat_e7;
    ret->lon_e7 = from->lon_e7;
    ret->accuracy_dm = from->accuracy_dm;
    if (from->fix_time_ms != 0 && record_time_is_whole(from->fix_time_ms)) {
        ret->fix_case = WIRE__POSITION__FIX_FIX_AGE_S;
        ret->fix_age_s = record_time_age_s(wall_ms, from->fix_time_ms);
    } else if (from->fix_time_ms != 0) {
        ret->fix_case = WIRE__POSITION__FIX_FIX_TIME_MS;
        ret->fix_time_ms = from->fix_time_ms;
    }
}

static void fill_photo(const struct photo *from, Wire__Photo *ret)
{
    wire__photo__init(ret);
    ret->sha256 = wire_of_sha256(&from->sha256);
    ret->size = from->size;
    ret->format = (Wire__PhotoFormat)from->format;
    if (from->preview_size > 0)
        ret->preview_sha256 = wire_of_sha256(&from->preview_sha256);
    ret->preview_size = from->preview_size;
}

static void fill_finding(const struct finding *from, int64_t wall_ms, struct finding_parts *ret)
{
    wire__category__init(&ret->category);
    ret->category.scheme = wire_of(from->category.scheme);
    ret->category.version = wire_of(from->category.version);
    ret->category.code = wire_of(from->category.code);
    ret->category.component = wire_of(from->category.component);

    wire__finding__init(&ret->finding);
    ret->finding.category = &ret->category;
    ret->finding.severity = (Wire__Severity)from->severity;
    ret->finding.note = wire_of(from->note);
    ret->finding.no_fix = wire_of(from->no_fix);
    if (from->has_position) {
        fill_position(&from->position, wall_ms, &ret->position);
        ret->finding.position = &ret->position;
    }
    if (from->observed_ms != 0 && record_time_is_whole(from->observed_ms)) {
        ret->finding.observed_case = WIRE__FINDING__OBSERVED_OBSERVED_AGE_S;
        ret->finding.observed_age_s = record_time_age_s(wall_ms, from->observed_ms);
    } else if (from->observed_ms != 0) {
        ret->finding.observed_case = WIRE__FINDING__OBSERVED_OBSERVED_MS;
        ret->finding.observed_ms = from->observed_ms;
    }
    for (size_t i = 0; i < from->photo_count; i++) {
        fill_photo(&from->photos[i], &ret->photos[i]);
        ret->photo_list[i] = &ret->photos[i];
    }
    ret->finding.n_photos = from->photo_count;
    ret->finding.photos = ret->photo_list;
}

static void fill_parent(const struct parent *from, Wire__Parent *ret)
{
    wire__parent__init(ret);
    ret->log = wire_of_uuid(&from->log);
    ret->seq = from->seq;
    ret->id = wire_of_uuid(&from->id);
}

static int pack_opened(const struct opened *from, Wire__Record record, struct buffer *ret)
{
    Wire__Opened opened = WIRE__OPENED__INIT;

    opened.reason = (Wire__OpenReason)from->reason;
    opened.kind = (Wire__LogKind)from->kind;
    opened.predecessor = wire_of_uuid(&from->predecessor);
    opened.predecessor_size = from->predecessor_size;
    if (from->has_predecessor_root)
        opened.predecessor_root = wire_of_sha256(&from->predecessor_root);
    opened.software = wire_of(from->software);
    record.opened = &opened;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

static int pack_finding(const struct finding *from, Wire__Record record, struct buffer *ret)
{
    struct finding_parts parts;

    fill_finding(from, record.wall_ms, &parts);
    record.finding = &parts.finding;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

static int pack_amendment(const struct amendment *from, Wire__Record record, struct buffer *ret)
{
    Wire__Amendment amendment = WIRE__AMENDMENT__INIT;
    struct finding_parts parts;
    Wire__Parent parent;

    fill_parent(&from->parent, &parent);
    fill_finding(&from->finding, record.wall_ms, &parts);
    amendment.parent = &parent;
    amendment.finding = &parts.finding;
    record.amendment = &amendment;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

static int pack_withdrawal(const struct withdrawal *from, Wire__Record record, struct buffer *ret)
{
    Wire__Withdrawal withdrawal = WIRE__WITHDRAWAL__INIT;
    Wire__Parent parent;

    fill_parent(&from->parent, &parent);
    withdrawal.parent = &parent;
    withdrawal.reason = wire_of(from->reason);
    record.withdrawal = &withdrawal;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

static int pack_device_event(const struct device_event *from, Wire__Record record, struct buffer *ret)
{
    Wire__DeviceEvent event = WIRE__DEVICE_EVENT__INIT;
    ProtobufCBinaryData lost_blobs[DEVICE_EVENT_LOST_BLOBS_MAX];

    event.boot_id = wire_of_uuid(&from->boot_id);
    event.receipt_size = from->receipt_size;
    event.receipt_time_ms = from->receipt_time_ms;
    event.software = wire_of(from->software);
    for (size_t i = 0; i < from->lost_blob_count; i++)
        lost_blobs[i] = wire_of_sha256(&from->lost_blobs[i]);
    event.n_lost_blobs = from->lost_blob_count;
    event.lost_blobs = lost_blobs;
    record.device_event = &event;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

static int pack_rehomed(const struct rehomed *from, Wire__Record record, struct buffer *ret)
{
    Wire__Rehomed rehomed = WIRE__REHOMED__INIT;

    rehomed.log = wire_of_uuid(&from->log);
    rehomed.seq = from->seq;
    rehomed.record = wire_of(from->record);
    record.rehomed = &rehomed;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

static int pack_closed(const struct closed *from, Wire__Record record, struct buffer *ret)
{
    Wire__Closed closed = WIRE__CLOSED__INIT;

    closed.reason = (Wire__OpenReason)from->reason;
    record.closed = &closed;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

static int pack_key_rotation(const struct key_rotation *from, Wire__Record record, struct buffer *ret)
{
    Wire__KeyRotation rotation = WIRE__KEY_ROTATION__INIT;

    rotation.old_key = wire_of(bytes_of(from->old_key, sizeof(from->old_key)));
    rotation.new_key = wire_of(bytes_of(from->new_key, sizeof(from->new_key)));
    rotation.signature = wire_of(bytes_of(from->signature, sizeof(from->signature)));
    record.key_rotation = &rotation;
    return wire_pack(&record.base, NULL, RECORD_BYTES_MAX, ret);
}

int record_encode(const struct record *record, struct buffer *ret)
{
    Wire__Record wire = WIRE__RECORD__INIT;

    assert(record_check(record, NULL) == 0);
    wire.wall_ms = record->wall_ms;
    wire.utc_offset_min = record->utc_offset_min;
    wire.boot_wall_ms = record_time_boot_wall_ms(record->wall_ms, record->boot_ms);
    wire.inspector = wire_of(record->inspector);
    wire.body_case = (Wire__Record__BodyCase)record->kind;
    switch (record->kind) {
    case RECORD_OPENED:
        return pack_opened(&record->opened, wire, ret);
    case RECORD_FINDING:
        return pack_finding(&record->finding, wire, ret);
    case RECORD_AMENDMENT:
        return pack_amendment(&record->amendment, wire, ret);
    case RECORD_WITHDRAWAL:
        return pack_withdrawal(&record->withdrawal, wire, ret);
    case RECORD_DEVICE_EVENT:
        return pack_device_event(&record->device_event, wire, ret);
    case RECORD_REHOMED:
        return pack_rehomed(&record->rehomed, wire, ret);
    case RECORD_CLOSED:
        return pack_closed(&record->closed, wire, ret);
    case RECORD_KEY_ROTATION:
        return pack_key_rotation(&record->key_rotation, wire, ret);
    }
    return -EINVAL;
}
