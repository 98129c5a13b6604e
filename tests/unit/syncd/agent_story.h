/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stories about the agent: a real store in a directory of its own, a clock that stands still until the test
 * moves it, and a small centre in memory that signs what it says. Used by test_agent*.c only.
 *
 * Requests wait in their slots until the test lets the centre answer, changes an answer, or loses it.
 */
#pragma once

#include "tests/unit/store/fixture.h"

#include "proto/enrolment.h"
#include "proto/envelope.h"
#include "syncd/agent/agent.h"

#define CENTRE_LOGS_MAX 4u
#define CENTRE_BLOBS_MAX 32u
#define CENTRE_RECORDS_MAX 20000u

struct sent_request {
    bool busy;
    char method[8], path[HTTP_LOCATION_MAX];
    char headers[HTTP_HEADERS_MAX][512]; /* "name: value" */
    size_t header_count;
    struct buffer body;
};

struct centre_log {
    struct uuid id;
    struct sha256 *leaves;
    uint64_t size;
    struct buffer note; /* signed by the handheld, at `size` */
};

struct centre_blob {
    struct sha256 sha256;
    uint64_t size;
    struct buffer bytes;
    bool stored, backed_up;
};

/* What the centre is and how it behaves; a test sets fields as its story goes. */
struct centre {
    struct sign_key receipt_key;
    struct verify_key device_key;
    struct uuid device, incarnation;
    int64_t time_ms;
    struct centre_log logs[CENTRE_LOGS_MAX];
    size_t log_count;
    struct centre_blob blobs[CENTRE_BLOBS_MAX];
    size_t blob_count;
    /* answers to exchanges */
    uint64_t quarantine_every; /* every n-th record, 0: none */
    uint64_t quarantine_bits;  /* bit n: the record at n */
    struct blob_have wanted;
    const uint32_t *dictionaries;
    size_t dictionary_count;
    bool takes_columns, last_had_columns;
    struct command command;
    struct buffer trust; /* a list that every answer carries */
    uint64_t last_trust_known;
    struct buffer next_certificate; /* that every answer carries */
    bool gives_token, confirms_blobs, has_wanted, has_command;
    bool refuses;          /* instead of any signed answer */
    bool tells_tile_roots; /* in the next audit window, with zeros in place of the first one */
    enum refusal_reason refusal;
    bool backs_up; /* every log that it has, as it is */
    size_t asked_logs;
    struct erasure_order order; /* told until it is done; number 0: none */
    /* the next audit window */
    bool takes_bare, refuses_bare; /* records without proofs; it says so, and then cannot check them */
    struct run missing[8], damaged[8];
    size_t missing_count, damaged_count;
    struct blob_finding bad_blobs[8];
    size_t bad_blob_count;
    /* what came */
    size_t exchanges, audits, repairs, bare_repairs, records_appended, records_again, records_mended,
        lost_told;
    size_t posts, heads, patches;
    uint64_t last_record_count;
    uint64_t last_bare_end; /* behind the last position of a repair without proofs */
    size_t last_asked_quarantined;
    uint64_t last_orders_done;
    size_t erased_leaves, erased_told; /* of exchanges, of repairs */
    bool last_had_certificate;
    size_t result_count; /* command results that came, and the last one */
    struct command_result last_result;
    char last_problem[PROBLEM_BYTES_MAX + 1];
};

struct agent_story {
    char *directory;
    struct own_world own;
    struct world *world;
    uint64_t boot_ms;
    int64_t wall_ms;
    struct store *store;
    struct enrolment enrolment;
    uint8_t device_seed[SIGN_SEED_BYTES];
    int send_result;         /* of the transport: < 0, it takes nothing */
    uint64_t photo_budget;   /* a day on a metered network, which there is then; 0: unlimited; likewise */
    uint8_t boot_id;         /* each byte of it */
    const char *uploads_url; /* NULL, or as the options have it; from the next restart on */
    struct agent *agent;
    struct sent_request sent[ENGINE_SLOTS_MAX];
    struct centre centre;
    size_t syncs_done, syncs_refused, resyncs_done, alarms, damaged;
    struct resync_report report;
    char last_alarm[256];
    struct buffer trust; /* as the agent gave it to be kept: the enrolment of the next start has it */
    int trust_result;    /* of keeping it */
    size_t trusts_kept;
    size_t certificates_told; /* to the shell, of a next key; and what it says to that */
    int certificate_result;
    uint8_t last_certified_key[SIGN_PUBLIC_BYTES];
};

void agent_story_begin(struct agent_story *story);
void agent_story_end(struct agent_story *story);
/* The agent of a new process on the same store. */
void agent_story_restart(struct agent_story *story);

/* Findings, and the doorbell after them. */
void agent_story_record(struct agent_story *story, unsigned first, unsigned count);
/* A finding with one photo of these bytes. */
struct sha256 agent_story_photo(struct agent_story *story, const char *note, const char *content);
void agent_story_wait(struct agent_story *story, uint64_t ms);
struct store_status agent_story_status(struct agent_story *story);

/* What the centre answers to the request in a slot; the request stays there. */
struct centre_reply {
    struct http_response response;
    struct buffer body;
    char location[HTTP_LOCATION_MAX], upload_offset[24];
};
void centre_reply_done(struct centre_reply *reply);
void centre_answer(struct agent_story *story, uint32_t slot, struct centre_reply *ret);
/* Gives an answer to the agent and frees the slot first. */
void agent_story_deliver(struct agent_story *story, uint32_t slot, const struct http_response *response);
/* The centre answers one request; all requests until none is in flight. */
void agent_story_answer(struct agent_story *story, uint32_t slot);
void agent_story_settle(struct agent_story *story);
void agent_story_fail(struct agent_story *story, uint32_t slot, enum engine_failure failure);
const char *sent_header(const struct sent_request *request, const char *name);
/* Replaces the body of a signed answer by one signed with this key. */
void centre_sign_again(struct centre_reply *reply, enum payload_type type, const struct sign_key *key,
    const struct uuid *device, struct bytes plain);
struct bytes centre_open(
    const struct centre_reply *reply, enum payload_type type, const struct sign_key *key, struct buffer *ret);
