/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record of every kind, with all its fields: the typed form of the records in tests/vectors/records.tsv.
 * And the comparison of two typed records. Used by the tests of proto/.
 */
#pragma once

#include "tests/unit/proto/vectors.h"

#include "proto/record.h"

#define SAMPLE_WALL_MS INT64_C(1795430033123)
#define SAMPLE_BOOT_MS UINT64_C(4242424)

static const struct uuid sample_log = {
    {0x6f, 0xa1, 0xc0, 0xde, 0x01, 0x02, 0x43, 0x04, 0x85, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c}};
static const struct uuid sample_other_log = {
    {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x46, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}};
static const struct uuid sample_boot_id = {
    {0xb0, 0x07, 0x1d, 0x00, 0x00, 0x00, 0x40, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0xb0, 0x07}};

enum sample {
    SAMPLE_OPENED,
    SAMPLE_OPENED_AFTER_FORK,
    SAMPLE_FINDING,
    SAMPLE_FINDING_WITHOUT_POSITION,
    SAMPLE_FINDING_WITH_BROKEN_SECONDS,
    SAMPLE_FINDING_BEFORE_1970,
    SAMPLE_AMENDMENT,
    SAMPLE_WITHDRAWAL,
    SAMPLE_DEVICE_EVENT,
    SAMPLE_REHOMED,
    SAMPLE_CLOSED,
    SAMPLE_COUNT,
};

static const char *const sample_names[SAMPLE_COUNT] = {
    "opened",
    "opened_after_fork",
    "finding",
    "finding_without_position",
    "finding_with_broken_seconds",
    "finding_before_1970",
    "amendment",
    "withdrawal",
    "device_event",
    "rehomed",
    "closed",
};

struct samples {
    struct photo photos[2];
    struct sha256 lost_blobs[2];
    struct buffer inner; /* what the rehomed record holds */
    struct record records[SAMPLE_COUNT];
};

static inline struct sha256 sample_hash(const char *text)
{
    return sha256_of(bytes_of_text(text));
}

static inline struct category sample_category(const char *code, const char *component)
{
    return (struct category){
        .scheme = bytes_of_text("GB/T 47678.5"),
        .version = bytes_of_text("2026"),
        .code = bytes_of_text(code),
        .component = bytes_of_text(component),
    };
}

static inline struct finding sample_finding_full(struct samples *samples)
{
    samples->photos[0] = (struct photo){
        .sha256 = sample_hash("photo"),
        .size = 2200000,
        .preview_sha256 = sample_hash("preview"),
        .preview_size = 23999,
    };
    samples->photos[1] =
        (struct photo){.sha256 = sample_hash("second photo"), .size = 70, .format = PHOTO_PNG};
    return (struct finding){
        .category = sample_category("01028", "0217"),
        .severity = SEVERITY_SERIOUS,
        .note = bytes_of_text("Broken tactile paving; 盲道破损 \U0001f6a7"),
        .has_position = true,
        .position = {.lat_e7 = 230065906,
            .lon_e7 = 1202398237,
            .accuracy_dm = 32,
            .fix_time_ms = INT64_C(1795430033000)},
        .observed_ms = INT64_C(1795430000000),
        .photos = samples->photos,
        .photo_count = 2,
    };
}

static inline struct finding sample_finding_without_position(void)
{
    return (struct finding){
        .category = sample_category("06013", ""),
        .no_fix = bytes_of_text("under a bridge"),
    };
}

static inline struct record sample_record(enum record_kind kind, const char *inspector)
{
    return (struct record){
        .kind = kind,
        .wall_ms = SAMPLE_WALL_MS,
        .utc_offset_min = 480,
        .boot_ms = SAMPLE_BOOT_MS,
        .inspector = bytes_of_text(inspector),
    };
}

static inline void samples_fill_logs(struct record *records)
{
    records[SAMPLE_OPENED] = sample_record(RECORD_OPENED, "");
    records[SAMPLE_OPENED].opened.software = bytes_of_text("gridpatrol 0.1.0");

    records[SAMPLE_OPENED_AFTER_FORK] = sample_record(RECORD_OPENED, "inspector-1");
    records[SAMPLE_OPENED_AFTER_FORK].opened = (struct opened){
        .reason = OPEN_FORK,
        .kind = LOG_TRACKS,
        .predecessor = sample_other_log,
        .predecessor_size = 300,
        .has_predecessor_root = true,
        .predecessor_root = sample_hash("root"),
        .software = bytes_of_text("gridpatrol 0.1.0"),
    };

    records[SAMPLE_CLOSED] = sample_record(RECORD_CLOSED, "");
    records[SAMPLE_CLOSED].closed.reason = OPEN_ROTATED;
}

static inline void samples_fill_findings(struct samples *samples)
{
    struct record *records = samples->records;

    records[SAMPLE_FINDING] = sample_record(RECORD_FINDING, "inspector-1");
    records[SAMPLE_FINDING].finding = sample_finding_full(samples);

    records[SAMPLE_FINDING_WITHOUT_POSITION] = sample_record(RECORD_FINDING, "inspector-1");
    records[SAMPLE_FINDING_WITHOUT_POSITION].finding = sample_finding_without_position();

    records[SAMPLE_FINDING_WITH_BROKEN_SECONDS] = sample_record(RECORD_FINDING, "inspector-1");
    records[SAMPLE_FINDING_WITH_BROKEN_SECONDS].finding = (struct finding){
        .category = sample_category("02019", ""),
        .severity = SEVERITY_MINOR,
        .note = bytes_of_text("x"),
        .has_position = true,
        .position = {.lat_e7 = -900000000, .lon_e7 = -1800000000, .fix_time_ms = SAMPLE_WALL_MS - 620},
        .observed_ms = SAMPLE_WALL_MS - 1234,
    };

    records[SAMPLE_FINDING_BEFORE_1970] = (struct record){
        .kind = RECORD_FINDING,
        .wall_ms = -1,
        .utc_offset_min = -330,
        .boot_ms = 7,
        .inspector = bytes_of_text("inspector-1"),
        .finding =
            {
                .category = sample_category("02019", ""),
                .has_position = true,
                .position = {.fix_time_ms = -2000},
                .observed_ms = 1000,
            },
    };
}

/* The parent's id is that of the finding without position at seq 1 of sample_log. */
static inline void samples_fill_followers(struct samples *samples)
{
    struct sha256 leaf = sha256_of_two(bytes_of("\0", 1), buffer_bytes(&samples->inner));
    struct uuid parent_id = record_public_id(&sample_log, 1, &leaf);
    struct record *records = samples->records;

    records[SAMPLE_AMENDMENT] = sample_record(RECORD_AMENDMENT, "inspector-1");
    records[SAMPLE_AMENDMENT].amendment = (struct amendment){
        .parent = {.seq = 1, .id = parent_id},
        .finding = sample_finding_full(samples),
    };

    records[SAMPLE_WITHDRAWAL] = sample_record(RECORD_WITHDRAWAL, "inspector-1");
    records[SAMPLE_WITHDRAWAL].withdrawal = (struct withdrawal){
        .parent = {.log = sample_other_log, .seq = LOG_SIZE_MAX - 1, .id = parent_id},
        .reason = bytes_of_text("写错了"),
    };

    samples->lost_blobs[0] = sample_hash("photo");
    samples->lost_blobs[1] = sample_hash("second photo");
    records[SAMPLE_DEVICE_EVENT] = sample_record(RECORD_DEVICE_EVENT, "");
    records[SAMPLE_DEVICE_EVENT].device_event = (struct device_event){
        .boot_id = sample_boot_id,
        .receipt_size = 200,
        .receipt_time_ms = SAMPLE_WALL_MS - 86400000,
        .software = bytes_of_text("gridpatrol 0.1.0"),
        .lost_blobs = samples->lost_blobs,
        .lost_blob_count = 2,
    };

    records[SAMPLE_REHOMED] = sample_record(RECORD_REHOMED, "inspector-1");
    records[SAMPLE_REHOMED].rehomed = (struct rehomed){
        .log = sample_other_log,
        .seq = 41,
        .record = buffer_bytes(&samples->inner),
    };
}

static inline void samples_done(struct samples *samples)
{
    buffer_done(&samples->inner);
}

static inline void samples_init(struct samples *ret)
{
    *ret = (struct samples){0};
    samples_fill_logs(ret->records);
    samples_fill_findings(ret);
    if (record_encode(&ret->records[SAMPLE_FINDING_WITHOUT_POSITION], &ret->inner) < 0)
        abort();
    samples_fill_followers(ret);
}
#define _cleanup_samples_ _cleanup_(samples_done)

static inline void assert_bytes_equal(struct bytes a, struct bytes b)
{
    assert_int_equal(a.len, b.len);
    if (a.len > 0)
        assert_memory_equal(a.data, b.data, a.len);
}

static inline void assert_finding_equal(const struct finding *a, const struct finding *b)
{
    assert_bytes_equal(a->category.scheme, b->category.scheme);
    assert_bytes_equal(a->category.version, b->category.version);
    assert_bytes_equal(a->category.code, b->category.code);
    assert_bytes_equal(a->category.component, b->category.component);
    assert_int_equal(a->severity, b->severity);
    assert_bytes_equal(a->note, b->note);
    assert_int_equal(a->has_position, b->has_position);
    assert_int_equal(a->position.lat_e7, b->position.lat_e7);
    assert_int_equal(a->position.lon_e7, b->position.lon_e7);
    assert_int_equal(a->position.accuracy_dm, b->position.accuracy_dm);
    assert_int64_equal(a->position.fix_time_ms, b->position.fix_time_ms);
    assert_bytes_equal(a->no_fix, b->no_fix);
    assert_int64_equal(a->observed_ms, b->observed_ms);
    assert_int_equal(a->photo_count, b->photo_count);
    for (size_t i = 0; i < a->photo_count; i++) {
        assert_memory_equal(a->photos[i].sha256.b, b->photos[i].sha256.b, SHA256_BYTES);
        assert_int64_equal(a->photos[i].size, b->photos[i].size);
        assert_int_equal(a->photos[i].format, b->photos[i].format);
        assert_int_equal(a->photos[i].preview_size, b->photos[i].preview_size);
        assert_memory_equal(a->photos[i].preview_sha256.b, b->photos[i].preview_sha256.b, SHA256_BYTES);
    }
}

static inline void assert_parent_equal(const struct parent *a, const struct parent *b)
{
    assert_true(uuid_equal(&a->log, &b->log));
    assert_int64_equal(a->seq, b->seq);
    assert_true(uuid_equal(&a->id, &b->id));
}

static inline void assert_opened_equal(const struct opened *a, const struct opened *b)
{
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->kind, b->kind);
    assert_true(uuid_equal(&a->predecessor, &b->predecessor));
    assert_int64_equal(a->predecessor_size, b->predecessor_size);
    assert_int_equal(a->has_predecessor_root, b->has_predecessor_root);
    assert_true(sha256_equal(&a->predecessor_root, &b->predecessor_root));
    assert_bytes_equal(a->software, b->software);
}

static inline void assert_device_event_equal(const struct device_event *a, const struct device_event *b)
{
    assert_true(uuid_equal(&a->boot_id, &b->boot_id));
    assert_int64_equal(a->receipt_size, b->receipt_size);
    assert_int64_equal(a->receipt_time_ms, b->receipt_time_ms);
    assert_bytes_equal(a->software, b->software);
    assert_int_equal(a->lost_blob_count, b->lost_blob_count);
    for (size_t i = 0; i < a->lost_blob_count; i++)
        assert_true(sha256_equal(&a->lost_blobs[i], &b->lost_blobs[i]));
}

static inline void assert_record_equal(const struct record *a, const struct record *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int64_equal(a->wall_ms, b->wall_ms);
    assert_int_equal(a->utc_offset_min, b->utc_offset_min);
    assert_int64_equal(a->boot_ms, b->boot_ms);
    assert_bytes_equal(a->inspector, b->inspector);
    switch (a->kind) {
    case RECORD_OPENED:
        assert_opened_equal(&a->opened, &b->opened);
        break;
    case RECORD_FINDING:
        assert_finding_equal(&a->finding, &b->finding);
        break;
    case RECORD_AMENDMENT:
        assert_parent_equal(&a->amendment.parent, &b->amendment.parent);
        assert_finding_equal(&a->amendment.finding, &b->amendment.finding);
        break;
    case RECORD_WITHDRAWAL:
        assert_parent_equal(&a->withdrawal.parent, &b->withdrawal.parent);
        assert_bytes_equal(a->withdrawal.reason, b->withdrawal.reason);
        break;
    case RECORD_DEVICE_EVENT:
        assert_device_event_equal(&a->device_event, &b->device_event);
        break;
    case RECORD_REHOMED:
        assert_true(uuid_equal(&a->rehomed.log, &b->rehomed.log));
        assert_int64_equal(a->rehomed.seq, b->rehomed.seq);
        assert_bytes_equal(a->rehomed.record, b->rehomed.record);
        break;
    case RECORD_CLOSED:
        assert_int_equal(a->closed.reason, b->closed.reason);
        break;
    case RECORD_KEY_ROTATION:
        assert_memory_equal(&a->key_rotation, &b->key_rotation, sizeof(a->key_rotation));
        break;
    }
}
