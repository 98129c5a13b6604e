/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between handheld and server, typed: exchange, audit, repair, refusal, bundle. proto/README.md
 * draws their dialogues. Pure.
 *
 * `*_encode` appends a message's plain bytes (before compression) to a buffer: -ENOMEM, -EMSGSIZE over a
 * limit of limits.h.
 * `*_decode` reads bytes from elsewhere within an arena's budget: views point into the bytes or the arena;
 * -EBADMSG when malformed or over a limit, -ENOBUFS when the budget is used up, -ENOMEM. Both apply the same
 * limits.
 */
#pragma once

#include "proto/arena.h"
#include "proto/ids.h"
#include "proto/limits.h"
#include "proto/record.h"

#define REQUEST_ID_BYTES 16u
#define COMMAND_ID_BYTES 8u

enum audit_level { AUDIT_PRESENCE = 0, AUDIT_RECORDS = 1, AUDIT_MEDIA = 2 };
const char *audit_level_name(enum audit_level level);
int audit_level_from_name(const char *name, enum audit_level *ret); /* 0 or -EINVAL */

struct capabilities {
    const uint32_t *dictionaries; /* Adler-32 names */
    size_t dictionary_count;
    uint32_t record_bytes_max;
    uint32_t exchange_bytes_max;
    uint64_t blob_bytes_max;
    bool takes_columns; /* encoding 2 */
};

struct device_status {
    uint64_t records_queued;
    uint64_t photos_pending;
    uint64_t bytes_free;
    struct bytes software;
    int64_t wall_ms;
};

/* A record that a lawful order at the centre has turned into its leaf. */
struct erased_record {
    struct position_in_log at;
    struct sha256 leaf;
};

/* Such an order, as far as it is about one device. */
struct erasure_order {
    uint64_t number; /* from 1 */
    int64_t time_ms;
    const struct erased_record *records;
    size_t record_count;
    const struct sha256 *blobs;
    size_t blob_count;
};

/* What a resync found and did, as the handheld counts it. */
struct resync_counts {
    uint64_t records_checked, records_missing, records_damaged, records_sent_again, records_erased;
    uint64_t records_lost, records_gone; /* gone: in neither place, found so now; lost: marked so before */
    uint64_t blobs_checked, blobs_missing, blobs_sent_again, blobs_gone, blobs_lost;
};

/* Incomplete: something is in neither place. Failed: not carried to its end, and tried again. */
enum command_outcome { COMMAND_DONE = 0, COMMAND_INCOMPLETE = 1, COMMAND_FAILED = 2 };

struct command_result {
    uint8_t id[COMMAND_ID_BYTES];
    enum command_outcome outcome;
    struct bytes problem; /* why it failed; UTF-8 */
    struct resync_counts counts;
};

struct exchange_request {
    uint8_t request_id[REQUEST_ID_BYTES];
    struct uuid log;
    uint64_t first_seq;
    const struct bytes *records;
    size_t record_count;
    bool as_columns;         /* transposed: encoded so where that gives them back; whether they came so */
    struct bytes checkpoint; /* signed note; empty when the log has no record */
    uint64_t receipt_size;
    uint64_t reference_cursor;
    bool has_status;
    struct device_status status;
    const struct sha256 *asked_blobs;
    size_t asked_blob_count;
    const struct position_in_log *asked_quarantined; /* of any log of the device */
    size_t asked_quarantined_count;
    struct bytes certificate;           /* only after the refusal `unknown device` */
    uint64_t orders_done;               /* erasure orders up to this number are carried out */
    const struct sha256 *erased_leaves; /* of the empty ones among the records, one for each; or none */
    size_t erased_leaf_count;
    uint64_t trust_known; /* generation of the trust statements held, and 1; 0: nothing is known of them */
    const struct command_result *command_results;
    size_t command_result_count;
    bool has_asked_log; /* a closed log of the device: how much of it is in a backup? */
    struct uuid asked_log;
};

enum exchange_outcome {
    EXCHANGE_STORED = 0,
    EXCHANGE_AHEAD = 1,
    EXCHANGE_FORK = 2,
    EXCHANGE_ROOT_MISMATCH = 3
};

struct quarantined {
    uint64_t seq;
    struct bytes reason;
};

struct blob_have {
    struct sha256 sha256;
    uint64_t have;
};

struct blob_stored {
    struct sha256 sha256;
    bool backed_up;
};

struct command {
    uint8_t id[COMMAND_ID_BYTES];
    bool has_resync;
    enum audit_level resync_level;
};

struct log_backed_up {
    uint64_t size;
    struct sha256 root; /* of the first `size` records */
};

struct exchange_answer {
    struct sha256 request_sha256;
    struct uuid incarnation;
    enum exchange_outcome outcome;
    uint64_t size;
    struct bytes receipt;
    const struct quarantined *quarantined;
    size_t quarantined_count;
    const struct position_in_log *released; /* of those asked_quarantined */
    size_t released_count;
    const struct blob_have *wanted_blobs;
    size_t wanted_blob_count;
    bool wanted_more;
    const struct blob_stored *stored_blobs;
    size_t stored_blob_count;
    struct bytes upload_token; /* sealed to the device */
    uint32_t upload_token_s;
    int64_t server_time_ms;
    uint64_t reference_cursor;
    const struct bytes *reference_changes;
    size_t reference_change_count;
    const struct command *commands;
    size_t command_count;
    uint32_t next_contact_s;
    uint32_t no_upload; /* enum no_upload */
    bool has_capabilities;
    struct capabilities capabilities;
    uint64_t fork_seq; /* with EXCHANGE_FORK */
    struct sha256 fork_leaf;
    const struct erasure_order *erasures;
    size_t erasure_count;
    struct bytes trust;            /* a list of newer statements (proto/trust.h), or empty */
    struct bytes next_certificate; /* of the key that the device has announced, or empty */
    bool has_backed_up_log;
    struct log_backed_up backed_up_log; /* of the request's asked_log */
};

enum refusal_reason {
    REFUSAL_UNKNOWN_DEVICE = 1,
    REFUSAL_REVOKED = 2,
    REFUSAL_OVER_QUOTA = 3,
    REFUSAL_TOO_LARGE = 4,
    REFUSAL_BAD_REQUEST = 5,
    REFUSAL_BUSY = 6,
    REFUSAL_TOKEN_UNKNOWN = 7,
    REFUSAL_TOKEN_USED = 8,
    REFUSAL_TOKEN_EXPIRED = 9,
    REFUSAL_LOG_OF_OTHER_DEVICE = 10,
};
/* Why the server is busy; what lasts until somebody does something about it is told apart from load. A number
 * that is not known is kept, and counts as load. */
enum busy_cause { BUSY_LOAD = 0, BUSY_FULL = 1, BUSY_DAMAGED = 2 };

/* Why no upload token came. A number that is not known is kept, and means that there is a reason. */
enum no_upload { NO_UPLOAD_UNSAID = 0, NO_UPLOAD_OVER_QUOTA = 1 };

const char *refusal_reason_name(enum refusal_reason reason);

struct refusal {
    struct sha256 request_sha256;
    enum refusal_reason reason;
    struct bytes message;
    uint32_t retry_after_s;
    int64_t server_time_ms;
    uint32_t busy_cause; /* with REFUSAL_BUSY: enum busy_cause */
};

struct run {
    uint64_t first, count;
};

enum blob_condition { BLOB_MISSING = 0, BLOB_DAMAGED = 1, BLOB_ERASED = 2, BLOB_LOST = 3 };

struct blob_finding {
    struct sha256 sha256;
    enum blob_condition condition;
};

struct audit_request {
    uint8_t request_id[REQUEST_ID_BYTES];
    struct uuid log;
    enum audit_level level;
    uint64_t from_seq;
    struct bytes checkpoint; /* the handheld's newest receipt for this log, or empty */
    bool has_after_blob;
    struct sha256 after_blob;
    bool has_command;
    uint8_t command_id[COMMAND_ID_BYTES];
    bool reads_run_lists;  /* the answer may be encoded with the short form of its lists */
    uint64_t receipt_size; /* of the handheld's newest receipt for this log */
};

struct audit_answer {
    struct sha256 request_sha256;
    struct uuid incarnation;
    uint64_t size;
    struct bytes receipt;
    uint64_t first_seq, next_seq; /* next_seq 0: this window was the last */
    uint64_t counted;
    bool has_root;
    struct sha256 root;
    const struct sha256 *tile_roots;
    size_t tile_root_count;
    const struct run *missing, *damaged, *erased, *lost;
    size_t missing_count, damaged_count, erased_count, lost_count;
    uint64_t blobs_checked;
    uint64_t blob_bytes_read;
    const struct blob_finding *blobs;
    size_t blob_count;
    bool has_next_blob;
    struct sha256 next_blob;
    int64_t server_time_ms;
    uint64_t records_quarantined;
    bool uses_run_lists; /* the short form: as the request has allowed it */
    bool takes_bare_records;
};

struct repair_run {
    uint64_t first_seq;
    const struct bytes *records;
    size_t record_count;
    const struct sha256 *proof;
    size_t proof_count;
};

struct repair_request {
    uint8_t request_id[REQUEST_ID_BYTES];
    struct uuid log;
    uint64_t size;
    const struct repair_run *runs;
    size_t run_count;
    const struct run *bare_runs; /* without proofs: they ascend, and do not overlap */
    size_t bare_run_count;
    const struct bytes *bare_records; /* as many as there are positions in these runs */
    size_t bare_record_count;
    const uint64_t *lost_seqs;
    const struct sha256 *lost_leaves; /* as many as lost_seqs, or NULL */
    size_t lost_count;
    const struct sha256 *lost_blobs;
    size_t lost_blob_count;
    const uint64_t *erased_seqs;        /* erased by order on the handheld, gone at the centre */
    const struct sha256 *erased_leaves; /* as many */
    size_t erased_count;
};

struct repair_answer {
    struct sha256 request_sha256;
    uint64_t records_mended;
    uint64_t records_refused;
    uint64_t size;
    int64_t server_time_ms;
};

/* What a bundle on a data carrier begins with (proto/bundle.h). */
struct bundle_head {
    uint8_t bundle[REQUEST_ID_BYTES]; /* the request id of its first exchange request */
    struct uuid device;
    int64_t made_ms;
    struct bytes software;
};

/* One part of what the centre says to a bundle. */
struct bundle_receipts {
    uint8_t bundle[REQUEST_ID_BYTES];
    struct uuid device;
    int64_t server_time_ms;
    uint32_t part;
    bool is_last;
    struct uuid log;      /* nil: about blobs only */
    struct bytes receipt; /* of this log */
    const struct quarantined *quarantined;
    size_t quarantined_count;
    bool quarantined_all; /* no other one of this log, below the receipt's size */
    const struct blob_stored *stored_blobs;
    size_t stored_blob_count;
    const struct erasure_order *erasures;
    size_t erasure_count;
};

int exchange_request_encode(const struct exchange_request *request, struct buffer *ret);
int exchange_request_decode(struct bytes bytes, struct arena *arena, struct exchange_request *ret);
int exchange_answer_encode(const struct exchange_answer *answer, struct buffer *ret);
int exchange_answer_decode(struct bytes bytes, struct arena *arena, struct exchange_answer *ret);
int refusal_encode(const struct refusal *refusal, struct buffer *ret);
int refusal_decode(struct bytes bytes, struct arena *arena, struct refusal *ret);
int audit_request_encode(const struct audit_request *request, struct buffer *ret);
int audit_request_decode(struct bytes bytes, struct arena *arena, struct audit_request *ret);
int audit_answer_encode(const struct audit_answer *answer, struct buffer *ret);
int audit_answer_decode(struct bytes bytes, struct arena *arena, struct audit_answer *ret);
int repair_request_encode(const struct repair_request *request, struct buffer *ret);
int repair_request_decode(struct bytes bytes, struct arena *arena, struct repair_request *ret);
int repair_answer_encode(const struct repair_answer *answer, struct buffer *ret);
int repair_answer_decode(struct bytes bytes, struct arena *arena, struct repair_answer *ret);
int bundle_head_encode(const struct bundle_head *head, struct buffer *ret);
int bundle_head_decode(struct bytes bytes, struct arena *arena, struct bundle_head *ret);
int bundle_receipts_encode(const struct bundle_receipts *receipts, struct buffer *ret);
int bundle_receipts_decode(struct bytes bytes, struct arena *arena, struct bundle_receipts *ret);
