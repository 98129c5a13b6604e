/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message of every type, with all its fields: the typed form of the messages that
 * tests/vectors/messages.tsv calls "full". And a table through which tests treat all types alike. Used by the
 * tests of proto/.
 */
#pragma once

#include "tests/unit/proto/samples.h"

#include "proto/enrolment.h"
#include "proto/messages.h"

#include "gridpatrol.pb-c.h"

#define SAMPLE_SERVER_TIME_MS (SAMPLE_WALL_MS + 77)

struct message_samples {
    struct samples records;
    struct buffer encoded[2]; /* of the records that messages carry */
    struct bytes sent[3], mended[2], scattered[1], changes[2];
    struct sha256 blobs[2], tile_roots[2], proof[2], leaves[3];
    uint64_t lost_seqs[3];
    uint32_t dictionaries[2];
    struct quarantined quarantined[2];
    struct blob_have wanted[2];
    struct blob_stored stored[2];
    struct command commands[2];
    struct position_in_log asked_quarantined[2];
    struct command_result command_results[2];
    struct run missing[3], damaged[1], erased[1], lost[1];
    struct blob_finding blob_findings[3];
    struct repair_run runs[2];

    struct exchange_request exchange_request;
    struct exchange_answer exchange_answer;
    struct refusal refusal;
    struct audit_request audit_request;
    struct audit_answer audit_answer;
    struct repair_request repair_request;
    struct repair_answer repair_answer;
    struct enrol_request enrol_request;
    struct enrol_answer enrol_answer;
    struct bundle_head bundle_head;
    struct bundle_receipts bundle_receipts;
};

static inline void sample_count_up(uint8_t *ret, size_t len, uint8_t first)
{
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)(first + i);
}

static inline struct uuid sample_incarnation(void)
{
    return (struct uuid){{0x1c, 0xa2, 0x4a, 0x71, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}};
}

static inline struct uuid sample_device(void)
{
    return (struct uuid){
        {0xd0, 0, 0, 0, 0x11, 0x11, 0x42, 0x22, 0x83, 0x33, 0x44, 0x44, 0x44, 0x44, 0x44, 0x44}};
}

static inline struct sign_key sample_device_key(void)
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key key;

    sample_count_up(seed, sizeof(seed), 0);
    sign_key_from_seed("gridpatrol.example/default/device/d0000000-1111-4222-8333-444444444444", seed, &key);
    return key;
}

static inline struct sign_key sample_server_key(void)
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key key;

    sample_count_up(seed, sizeof(seed), 100);
    sign_key_from_seed("gridpatrol.example/receipt", seed, &key);
    return key;
}

static inline struct sha256 sample_leaf(const char *text)
{
    return sha256_of_two(bytes_of("\0", 1), bytes_of_text(text));
}

static inline struct capabilities sample_capabilities(struct message_samples *samples)
{
    samples->dictionaries[0] = 0x0a0b0c0d;
    samples->dictionaries[1] = 0xffffffff;
    return (struct capabilities){
        .dictionaries = samples->dictionaries,
        .dictionary_count = 2,
        .record_bytes_max = 65536,
        .exchange_bytes_max = 262144,
        .blob_bytes_max = 67108864,
    };
}

static inline void message_samples_fill_exchange_request(struct message_samples *samples)
{
    samples->sent[0] = buffer_bytes(&samples->encoded[0]);
    samples->sent[1] = bytes_of_text("\xff not a record");
    samples->sent[2] = buffer_bytes(&samples->encoded[1]);
    samples->asked_quarantined[0] = (struct position_in_log){.log = sample_log, .seq = 7};
    samples->asked_quarantined[1] = (struct position_in_log){.log = sample_other_log};
    samples->command_results[0] = (struct command_result){
        .outcome = COMMAND_INCOMPLETE, .counts = {2000, 1000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 0}};
    sample_count_up(samples->command_results[0].id, COMMAND_ID_BYTES, 0x20);
    samples->command_results[1] = (struct command_result){
        .outcome = COMMAND_FAILED, .problem = bytes_of_text("no progress for too long")};
    sample_count_up(samples->command_results[1].id, COMMAND_ID_BYTES, 0x30);
    samples->exchange_request = (struct exchange_request){
        .log = sample_log,
        .first_seq = 41,
        .records = samples->sent,
        .record_count = 3,
        .checkpoint = bytes_of_text("a checkpoint\n"),
        .receipt_size = 40,
        .reference_cursor = UINT64_MAX,
        .has_status = true,
        .status = {.records_queued = 3,
            .photos_pending = 2,
            .bytes_free = UINT64_C(5) << 30,
            .software = bytes_of_text("gridpatrol 0.1.0"),
            .wall_ms = SAMPLE_WALL_MS},
        .asked_blobs = samples->blobs,
        .asked_blob_count = 2,
        .certificate = bytes_of_text("a certificate"),
        .asked_quarantined = samples->asked_quarantined,
        .asked_quarantined_count = 2,
        .trust_known = 4,
        .command_results = samples->command_results,
        .command_result_count = 2,
    };
    sample_count_up(samples->exchange_request.request_id, REQUEST_ID_BYTES, 0x10);
}

static inline void message_samples_fill_exchange_answer(struct message_samples *samples)
{
    samples->quarantined[0] = (struct quarantined){42, bytes_of_text("unknown record kind")};
    samples->quarantined[1] = (struct quarantined){43, bytes_of_text("")};
    samples->wanted[0] = (struct blob_have){sample_hash("photo"), 0};
    samples->wanted[1] = (struct blob_have){sample_hash("preview"), BLOB_BYTES_MAX};
    samples->stored[0] = (struct blob_stored){sample_hash("second photo"), true};
    samples->stored[1] = (struct blob_stored){sample_hash("photo"), false};
    samples->changes[0] = bytes_of_text("change");
    samples->changes[1] = bytes_of_text("x");
    samples->commands[0] = (struct command){.has_resync = true, .resync_level = AUDIT_MEDIA};
    sample_count_up(samples->commands[0].id, COMMAND_ID_BYTES, 0x20);
    sample_count_up(samples->commands[1].id, COMMAND_ID_BYTES, 0x30);
    samples->exchange_answer = (struct exchange_answer){
        .request_sha256 = sample_hash("request"),
        .incarnation = sample_incarnation(),
        .outcome = EXCHANGE_STORED,
        .size = 44,
        .receipt = bytes_of_text("a receipt\n"),
        .quarantined = samples->quarantined,
        .quarantined_count = 2,
        .released = samples->asked_quarantined,
        .released_count = 1,
        .trust = bytes_of_text("statements"),
        .wanted_blobs = samples->wanted,
        .wanted_blob_count = 2,
        .wanted_more = true,
        .stored_blobs = samples->stored,
        .stored_blob_count = 2,
        .upload_token = bytes_of_text("sealed token"),
        .upload_token_s = 900,
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .reference_cursor = 7,
        .reference_changes = samples->changes,
        .reference_change_count = 2,
        .commands = samples->commands,
        .command_count = 2,
        .next_contact_s = 3600,
        .has_capabilities = true,
        .capabilities = sample_capabilities(samples),
    };
}

static inline struct exchange_answer sample_fork_answer(void)
{
    return (struct exchange_answer){
        .request_sha256 = sample_hash("request"),
        .incarnation = sample_incarnation(),
        .outcome = EXCHANGE_FORK,
        .size = 300,
        .receipt = bytes_of_text("a receipt\n"),
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .fork_seq = 299,
        .fork_leaf = sample_leaf("theirs"),
    };
}

static inline void message_samples_fill_audit(struct message_samples *samples)
{
    samples->audit_request = (struct audit_request){
        .log = sample_log,
        .level = AUDIT_MEDIA,
        .from_seq = 65536,
        .checkpoint = bytes_of_text("a receipt\n"),
        .has_after_blob = true,
        .after_blob = sample_hash("photo"),
        .has_command = true,
        .reads_run_lists = true,
        .receipt_size = 1000000,
    };
    sample_count_up(samples->audit_request.request_id, REQUEST_ID_BYTES, 0x10);
    sample_count_up(samples->audit_request.command_id, COMMAND_ID_BYTES, 0x20);

    samples->tile_roots[0] = sample_hash("tile 256");
    samples->tile_roots[1] = sample_hash("tile 257");
    samples->missing[0] = (struct run){0, 1};
    samples->missing[1] = (struct run){65540, 2};
    samples->missing[2] = (struct run){65542, 1};
    samples->damaged[0] = (struct run){70000, 1};
    samples->erased[0] = (struct run){70001, 3};
    samples->lost[0] = (struct run){80000, 1000};
    samples->blob_findings[0] = (struct blob_finding){sample_hash("photo"), BLOB_MISSING};
    samples->blob_findings[1] = (struct blob_finding){sample_hash("preview"), BLOB_DAMAGED};
    samples->blob_findings[2] = (struct blob_finding){sample_hash("second photo"), BLOB_LOST};
    samples->audit_answer = (struct audit_answer){
        .request_sha256 = sample_hash("request"),
        .incarnation = sample_incarnation(),
        .size = 1000000,
        .receipt = bytes_of_text("a receipt\n"),
        .first_seq = 65536,
        .next_seq = 131072,
        .counted = 65530,
        .has_root = true,
        .root = sample_hash("root"),
        .tile_roots = samples->tile_roots,
        .tile_root_count = 2,
        .missing = samples->missing,
        .missing_count = 3,
        .damaged = samples->damaged,
        .damaged_count = 1,
        .erased = samples->erased,
        .erased_count = 1,
        .lost = samples->lost,
        .lost_count = 1,
        .blobs_checked = 12,
        .blob_bytes_read = 30000000,
        .blobs = samples->blob_findings,
        .blob_count = 3,
        .has_next_blob = true,
        .next_blob = sample_hash("second photo"),
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .records_quarantined = 4,
        .takes_bare_records = true,
    };
}

static inline void message_samples_fill_repair(struct message_samples *samples)
{
    samples->mended[0] = buffer_bytes(&samples->records.inner);
    samples->mended[1] = buffer_bytes(&samples->encoded[1]);
    samples->scattered[0] = bytes_of_text("x");
    samples->proof[0] = sample_hash("left");
    samples->proof[1] = sample_hash("right");
    samples->runs[0] = (struct repair_run){7, samples->mended, 2, samples->proof, 2};
    samples->runs[1] = (struct repair_run){199, samples->scattered, 1, NULL, 0};
    samples->lost_seqs[0] = 0;
    samples->lost_seqs[1] = 150;
    samples->lost_seqs[2] = 199;
    samples->leaves[0] = sample_leaf("0");
    samples->leaves[1] = sample_leaf("150");
    samples->leaves[2] = sample_leaf("199");
    samples->repair_request = (struct repair_request){
        .log = sample_log,
        .size = 200,
        .runs = samples->runs,
        .run_count = 2,
        .lost_seqs = samples->lost_seqs,
        .lost_leaves = samples->leaves,
        .lost_count = 3,
        .lost_blobs = samples->blobs,
        .lost_blob_count = 1,
    };
    sample_count_up(samples->repair_request.request_id, REQUEST_ID_BYTES, 0x10);

    samples->repair_answer = (struct repair_answer){
        .request_sha256 = sample_hash("request"),
        .records_mended = 2,
        .records_refused = 1,
        .size = 200,
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
    };
}

static inline void message_samples_fill_enrolment(struct message_samples *samples)
{
    samples->enrol_request = (struct enrol_request){
        .device = sample_device(),
        .software = bytes_of_text("gridpatrol 0.1.0"),
    };
    sample_count_up(samples->enrol_request.token, ENROL_TOKEN_BYTES, 0x40);

    samples->enrol_answer = (struct enrol_answer){
        .request_sha256 = sample_hash("request"),
        .certificate = bytes_of_text("a certificate"),
        .receipt_key = bytes_of_text("a key"),
        .ca_pem = bytes_of_text("a CA"),
        .capabilities = sample_capabilities(samples),
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .name = bytes_of_text("grid 12 西"),
        .inspector = bytes_of_text("inspector-1"),
        .trust = bytes_of_text("statements"),
    };
}

static inline void message_samples_fill_bundle(struct message_samples *samples)
{
    samples->bundle_head = (struct bundle_head){
        .device = sample_device(),
        .made_ms = SAMPLE_WALL_MS,
        .software = bytes_of_text("gridpatrol 0.1.0"),
    };
    sample_count_up(samples->bundle_head.bundle, REQUEST_ID_BYTES, 0x10);

    samples->bundle_receipts = (struct bundle_receipts){
        .device = sample_device(),
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .part = 2,
        .is_last = true,
        .log = sample_log,
        .receipt = bytes_of_text("a receipt\n"),
        .quarantined = samples->quarantined,
        .quarantined_count = 2,
        .quarantined_all = true,
        .stored_blobs = samples->stored,
        .stored_blob_count = 2,
    };
    sample_count_up(samples->bundle_receipts.bundle, REQUEST_ID_BYTES, 0x10);
}

static inline void message_samples_done(struct message_samples *samples)
{
    samples_done(&samples->records);
    for (size_t i = 0; i < ARRAY_LEN(samples->encoded); i++)
        buffer_done(&samples->encoded[i]);
}
#define _cleanup_message_samples_ _cleanup_(message_samples_done)

static inline void message_samples_init(struct message_samples *ret)
{
    *ret = (struct message_samples){0};
    samples_init(&ret->records);
    if (record_encode(&ret->records.records[SAMPLE_OPENED], &ret->encoded[0]) < 0 ||
        record_encode(&ret->records.records[SAMPLE_CLOSED], &ret->encoded[1]) < 0)
        abort();
    ret->blobs[0] = sample_hash("photo");
    ret->blobs[1] = sample_hash("second photo");
    message_samples_fill_exchange_request(ret);
    message_samples_fill_exchange_answer(ret);
    ret->refusal = (struct refusal){
        .request_sha256 = sample_hash("request"),
        .reason = REFUSAL_OVER_QUOTA,
        .message = bytes_of_text("quota of 1 GiB used"),
        .retry_after_s = 21600,
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
    };
    message_samples_fill_audit(ret);
    message_samples_fill_repair(ret);
    message_samples_fill_enrolment(ret);
    message_samples_fill_bundle(ret);
}

/* All types alike. */
struct message_type {
    const char *name;
    size_t size;          /* of the struct */
    size_t sample_offset; /* of the full one in struct message_samples */
    int (*encode)(const void *message, struct buffer *ret);
    int (*decode)(struct bytes bytes, struct arena *arena, void *ret);
    const ProtobufCMessageDescriptor *descriptor;
};

/* Enrolment requests are signed as they are encoded. */
static inline int sample_enrol_request_encode(const struct enrol_request *request, struct buffer *ret)
{
    struct sign_key key = sample_device_key();

    return enrol_request_encode(request, &key, ret);
}

#define MESSAGE_FUNCTIONS(type, encoder)                                                                     \
    static inline int generic_##type##_encode(const void *message, struct buffer *ret)                       \
    {                                                                                                        \
        return encoder((const struct type *)message, ret);                                                   \
    }                                                                                                        \
    static inline int generic_##type##_decode(struct bytes bytes, struct arena *arena, void *ret)            \
    {                                                                                                        \
        return type##_decode(bytes, arena, (struct type *)ret);                                              \
    }

MESSAGE_FUNCTIONS(exchange_request, exchange_request_encode)
MESSAGE_FUNCTIONS(exchange_answer, exchange_answer_encode)
MESSAGE_FUNCTIONS(refusal, refusal_encode)
MESSAGE_FUNCTIONS(audit_request, audit_request_encode)
MESSAGE_FUNCTIONS(audit_answer, audit_answer_encode)
MESSAGE_FUNCTIONS(repair_request, repair_request_encode)
MESSAGE_FUNCTIONS(repair_answer, repair_answer_encode)
MESSAGE_FUNCTIONS(enrol_request, sample_enrol_request_encode)
MESSAGE_FUNCTIONS(enrol_answer, enrol_answer_encode)
MESSAGE_FUNCTIONS(bundle_head, bundle_head_encode)
MESSAGE_FUNCTIONS(bundle_receipts, bundle_receipts_encode)

#define MESSAGE_TYPE(type)                                                                                   \
    {                                                                                                        \
#type, sizeof(struct type), offsetof(struct message_samples, type), generic_##type##_encode,         \
            generic_##type##_decode, &wire__##type##__descriptor                                             \
    }

static const struct message_type message_types[] = {
    MESSAGE_TYPE(exchange_request),
    MESSAGE_TYPE(exchange_answer),
    MESSAGE_TYPE(refusal),
    MESSAGE_TYPE(audit_request),
    MESSAGE_TYPE(audit_answer),
    MESSAGE_TYPE(repair_request),
    MESSAGE_TYPE(repair_answer),
    MESSAGE_TYPE(enrol_request),
    MESSAGE_TYPE(enrol_answer),
    MESSAGE_TYPE(bundle_head),
    MESSAGE_TYPE(bundle_receipts),
};
#define MESSAGE_BYTES_MAX sizeof(struct exchange_answer)
_Static_assert(sizeof(struct audit_answer) <= sizeof(struct exchange_answer), "the largest is taken");

static inline const struct message_type *message_type_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++)
        if (strcmp(name, message_types[i].name) == 0)
            return &message_types[i];
    fail_msg("no message is called %s", name);
    return NULL;
}
