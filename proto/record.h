/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records: the typed form, to bytes and back. proto/README.md, "Records". Pure.
 *
 * A record is encoded once; its bytes are what is hashed, stored, sent and kept. Decoding never changes them,
 * and a record that cannot be decoded is still a record: its receiver puts it in quarantine.
 */
#pragma once

#include "proto/arena.h"
#include "proto/ids.h"
#include "proto/limits.h"
#include "proto/photo_format.h"

/* The numbers are the field numbers of the schema. */
enum record_kind {
    RECORD_OPENED = 16,
    RECORD_FINDING = 17,
    RECORD_AMENDMENT = 18,
    RECORD_WITHDRAWAL = 19,
    RECORD_DEVICE_EVENT = 20,
    RECORD_REHOMED = 21,
    RECORD_CLOSED = 22,
};

enum log_kind { LOG_FINDINGS = 0, LOG_TRACKS = 1 };
enum open_reason { OPEN_NEW = 0, OPEN_ROTATED = 1, OPEN_FORK = 2, OPEN_RECOVERED = 3, OPEN_REPLACED = 4 };
enum severity {
    SEVERITY_NONE = 0,
    SEVERITY_MINOR = 1,
    SEVERITY_NORMAL = 2,
    SEVERITY_SERIOUS = 3,
    SEVERITY_URGENT = 4
};

struct category {
    struct bytes scheme, version, code, component; /* component may be empty */
};

struct finding_position {
    int32_t lat_e7, lon_e7; /* WGS-84 degrees * 10^7 */
    uint32_t accuracy_dm;   /* 0: unknown */
    int64_t fix_time_ms;    /* 0: not given */
};

struct photo {
    struct sha256 sha256;
    uint64_t size;
    enum photo_format format;
    struct sha256 preview_sha256;
    uint32_t preview_size; /* 0: no preview */
};

struct finding {
    struct category category;
    enum severity severity;
    struct bytes note;
    bool has_position;
    struct finding_position position;
    struct bytes no_fix; /* the reason, when there is no position */
    int64_t observed_ms; /* 0: same as the record's wall_ms */
    const struct photo *photos;
    size_t photo_count;
};

struct parent {
    struct uuid log; /* nil: the log this record stands in */
    uint64_t seq;
    struct uuid id;
};

struct opened {
    enum open_reason reason;
    enum log_kind kind;
    struct uuid predecessor; /* nil: none is known */
    uint64_t predecessor_size;
    bool has_predecessor_root;
    struct sha256 predecessor_root;
    struct bytes software;
};

struct amendment {
    struct parent parent;
    struct finding finding; /* the whole finding as it now is */
};

struct withdrawal {
    struct parent parent;
    struct bytes reason;
};

struct device_event {
    struct uuid boot_id; /* nil: not a boot */
    uint64_t receipt_size;
    int64_t receipt_time_ms;
    struct bytes software;
    const struct sha256 *lost_blobs;
    size_t lost_blob_count;
};

struct rehomed {
    struct uuid log;
    uint64_t seq;
    struct bytes record;
};

struct closed {
    enum open_reason reason;
};

struct record {
    enum record_kind kind;
    int64_t wall_ms;
    int32_t utc_offset_min;
    uint64_t boot_ms;
    struct bytes inspector;
    union {
        struct opened opened;
        struct finding finding;
        struct amendment amendment;
        struct withdrawal withdrawal;
        struct device_event device_event;
        struct rehomed rehomed;
        struct closed closed;
    };
};

/* Appends the record's bytes to `ret`. -EMSGSIZE over RECORD_BYTES_MAX, -ENOMEM. The record must be valid
 * (asserted by `record_check`). */
int record_encode(const struct record *record, struct buffer *ret);
/* Decodes bytes from anywhere. Views in `ret` point into `bytes` or the arena. 0; -EBADMSG with `ret_reason`
 * (static, English, for a quarantine's reason; may be NULL) when it is not a record this program knows or
 * breaks a rule of proto/README.md: unknown kind, text not UTF-8, coordinates out of range, wrong id length,
 * too many photos; -ENOBUFS when the arena is used up, -ENOMEM. */
int record_decode(struct bytes bytes, struct arena *arena, struct record *ret, const char **ret_reason);
/* The rules that `record_decode` applies, for a record built here. 0 or -EINVAL with the reason. */
int record_check(const struct record *record, const char **ret_reason);
/* A finding or an amendment's finding; NULL for other kinds. */
const struct finding *record_finding(const struct record *record);

const char *record_kind_name(enum record_kind kind);
const char *severity_name(enum severity severity);            /* "minor" ...; "" for none */
int severity_from_name(const char *name, enum severity *ret); /* 0 or -EINVAL */
