/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's inside, shared by its files and nobody else:
 *
 *   agent.c      life, events in, actions out, status
 *   outbox.c     what the store has to send, for the engine
 *   signed.c     sealing and sending signed requests, opening their answers
 *   exchange.c   exchanges: records and checkpoint up, receipt and all the rest down
 *   blobs.c      which blobs are uploaded but unconfirmed, which a resync is mending
 *   uploads.c    tus requests
 *   audit.c      audit windows: the server's word against the own log
 *   mend_list.c  what such a window shows to be sent again
 *   repair.c     runs of records with their proofs
 *   bundle.c     requests for a data carrier, and the receipts that come back on one
 *   keep.c       what need not be here any more: photos, records of closed logs
 *   device_key.c announces the next device key, checks its certificate
 *   trust.c      the centre's receipt keys and CAs, and their successors
 *   memory.c     what is remembered in the store's settings
 */
#pragma once

#include "proto/enrolment.h"
#include "syncd/agent/agent.h"

#define UNCONFIRMED_MAX EXCHANGE_ASKED_BLOBS_MAX
#define MENDING_MAX (1024u + AUDIT_WINDOW_BLOBS_MAX)
#define PENDING_LOOK_MAX 80u            /* more than the engine holds back, so that one of them may go */
#define ASKED_PENDING_MAX 16u           /* asked for with a token: the centre may have them already */
#define ASKED_BACKED_UP_MAX 32u         /* asked for when nothing else is to be asked */
#define QUARANTINED_WITH_RECORDS_MAX 8u /* asked for beside records: they are what the exchange is for */
#define UPLOAD_PLACES_MAX 8u
#define RESULTS_KEPT_MAX 4u
#define AUDITED_LOGS_MAX 1024u
#define STATUS_EVERY_MS UINT64_C(600000)
#define OUTBOX_AGAIN_MS UINT64_C(30000) /* the store could not be read */
#define SERVER_TIME_EVERY_MS UINT64_C(600000)
#define BUDGET_TEXT_MAX 256u
#define ANSWER_INFLATED_MAX EXCHANGE_INFLATED_BYTES_MAX
#define RUN_LISTS_BYTES_MAX (4u * AUDIT_RUNS_MAX * sizeof(struct run)) /* of an audit's answer, decoded */
#define DEADLINE_MARGIN_MS UINT64_C(10000) /* the engine's own deadline comes first */
#define SETTING_DICTIONARY "dictionary"
#define SETTING_COLUMNS "columns"
#define SETTING_INCARNATION "server_incarnation"
#define SETTING_DOUBT "doubted_server_time_ms"
#define SETTING_BUDGET "budget_day"
#define SETTING_ANNOUNCED "announced_key"
#define SETTING_REPORT "last_resync"

enum agent_use { AGENT_FREE, AGENT_EXCHANGE, AGENT_UPLOAD, AGENT_AUDIT, AGENT_REPAIR };

/* Where the repair of a window stands: the next position to send is `first + taken` of runs[run]. */
struct mend_cursor {
    size_t run;
    uint64_t taken;
};

/* What an outstanding request was, to hold its answer against. */
struct agent_slot {
    enum agent_use use;
    struct sha256 request_sha256;
    struct uuid log;
    uint64_t receipt_before;
    /* exchange */
    uint64_t first_seq, records;
    size_t blobs_asked;
    bool more_quarantined; /* than it asked for */
    bool has_asked_log;    /* it asked whether this one is in a backup */
    struct uuid asked_log;
    uint64_t asked_at;    /* the agent's moment when it was sent; of an audit too */
    bool used_dictionary; /* or columns: what a server may not know */
    /* upload: the step as it was carried out */
    enum upload_step step;
    struct sha256 blob;
    uint64_t blob_size, offset, len;
    /* audit */
    enum audit_level level;
    bool is_check;
    bool is_first; /* the first window of its log */
    /* repair */
    bool is_bare;
    struct mend_cursor mend_end;
    uint64_t tree_size;
    uint64_t gone;
};

/* How a command of the centre has ended, told until an answer shows that it was heard. */
struct kept_result {
    struct command_result result;
    uint64_t noted_at; /* moment */
};

struct unconfirmed_blob {
    struct sha256 blob;
    uint64_t uploaded_at; /* moment */
    bool is_gone;         /* its file is not whole here: lost, unless the centre has it */
};

/* Where an upload stands at the server; a blob that has a place here was found whole on this disk. */
struct upload_place {
    bool used;
    struct sha256 blob;
    uint64_t touched; /* larger: later */
    char url[HTTP_LOCATION_MAX];
};

/* What the last audit window showed to be sent again. */
struct mend_list {
    uint64_t pruned; /* of what the centre lacks, was removed here when a backup of it had it */
    struct uuid log;
    uint64_t size; /* of the tree that the server has, as far as is known */
    struct run *runs;
    size_t run_count;
    uint64_t total;   /* positions in all runs */
    bool is_diverged; /* behind our receipt the centre has another's records */
    bool is_bare;     /* the centre checks whole tiles: no proofs are needed, until it refuses one */
    bool is_proven;   /* it has, of all that was sent so far: nothing is left for a further audit to find */
    struct mend_cursor cursor;
    struct sha256 gone_blobs[AUDIT_WINDOW_BLOBS_MAX]; /* to be told */
    size_t gone_blob_count;
};

struct agent {
    const struct world *world;
    struct store *store;
    struct engine *engine;
    struct engine_config config;
    struct transport transport;
    struct agent_listener listener;
    char *uploads_url;

    bool enrolled, started, running;
    bool link_is_down;           /* as last hinted */
    struct engine_event network; /* as last told */
    char *authority, *tenant, *inspector;
    char *server_prefix; /* path of the server URL, "" when it has none */
    char device_text[UUID_TEXT_LEN + 1];
    struct uuid device;
    struct sign_key key;
    struct verify_key former_keys[DEVICE_KEYS_MAX]; /* of receipts from before a rotation */
    size_t former_key_count;
    uint8_t
        taken_key[SIGN_PUBLIC_BYTES]; /* whose certificate was taken last: it may be told again meanwhile */
    struct trust trust; /* in the centre: the key that was pinned at enrolment, and its successors */
    struct buffer trust_list;
    struct arena trust_arena;
    uint8_t *certificate;
    size_t certificate_len;

    struct agent_slot slots[ENGINE_SLOTS_MAX];
    struct engine_outbox outbox; /* as last fed */
    uint64_t change_counter;
    uint64_t timer_ms;
    uint64_t outbox_again_ms; /* when the store, which could not be read, is looked at again; 0: it could */
    bool damage_told;

    struct unconfirmed_blob unconfirmed[UNCONFIRMED_MAX];
    size_t unconfirmed_count;
    struct sha256 mending[MENDING_MAX];
    size_t mending_count;
    uint64_t moment;                 /* counts what an answer that was asked for before cannot know of */
    uint64_t doubted_at;             /* the moment of the last doubt */
    int64_t asked_stored_after;      /* number of the last blob that was asked whether it is backed up */
    int64_t asked_quarantined_after; /* the store's cursor */
    char upload_token[UPLOAD_TOKEN_TEXT_MAX];
    struct upload_place places[UPLOAD_PLACES_MAX];
    uint64_t place_clock;

    uint32_t dictionary;
    bool takes_columns; /* the server does */
    bool has_incarnation, incarnation_differs;
    struct uuid incarnation;        /* the last one seen */
    struct uuid resync_incarnation; /* the one known when the resync began */
    bool server_time_kept;
    uint64_t server_time_kept_boot_ms;
    uint64_t status_told_ms;
    bool status_told;

    struct mend_list mend;
    struct resync_report report;
    struct kept_result results[RESULTS_KEPT_MAX];
    size_t result_count;
    uint64_t resent_by_exchange; /* records of a server that was set back: they go another way */

    int64_t last_server_time_ms, last_answer_wall_ms;
    int64_t known_server_time_ms; /* the same, or what was kept of it over a restart */
    int64_t doubt_server_time_ms; /* when the centre was last found to lack what it had signed for */
    uint64_t exchanges, bytes_up, bytes_down, alarms;

    uint64_t photo_age_ms, records_age_ms;
    bool has_prunable; /* this log may be pruned if a backup has it: asked with each exchange */
    struct uuid prunable;
    int64_t prunable_ms; /* the server's time when it was found so */
};

/* ---- agent.c ---- */

uint64_t agent_now_ms(const struct agent *agent);
uint64_t agent_random(const struct agent *agent);
void agent_feed(struct agent *agent, const struct engine_event *event);
void agent_feed_failed(
    struct agent *agent, uint32_t slot, enum engine_failure failure, uint32_t retry_after_s);
void agent_feed_nothing(struct agent *agent, uint32_t slot);
/* Hands a request to the transport. One that it does not take is a network fault, and is fed as such: 0. */
int agent_transport_send(struct agent *agent, uint32_t slot, const struct http_request *request);
void agent_alarm(struct agent *agent, const char *text);
void agent_note(struct agent *agent, int level, const char *format, ...) _printf_(3, 4);
struct store_author agent_author(const struct agent *agent);
/* The centre lacks what it had signed for: what it says to anything asked before may be out of date. */
void agent_doubt(struct agent *agent);
/* An error of the store: damage is told once to who owns the store. Returns `error`. */
int agent_store_error(struct agent *agent, int error);

/* ---- outbox.c ---- */

/* Reads the store and feeds the engine. */
void outbox_feed(struct agent *agent);
/* All logs in order of opening, allocated; at most AUDITED_LOGS_MAX. */
int outbox_all_logs(struct agent *agent, struct store_log **ret, size_t *ret_count);
/* 1: a recovery may have left this log with holes. Then it can neither be sent in order nor be compared with
 * a receipt, and the end may be one of them. 0: if it has any the disk has lost records since. */
int outbox_is_holed(struct agent *agent, const struct uuid *log);
/* What is here of such a log behind its receipt is carried over into the current log. -EUCLEAN: it is none.
 */
int outbox_leave_holed(struct agent *agent, const struct uuid *log);
/* The size of the receipt held for a log, 0: none. */
int outbox_receipt(struct agent *agent, const struct uuid *log, uint64_t *ret_size);

/* ---- signed.c ---- */

struct signed_request {
    enum payload_type type;
    const char *path;
    struct bytes plain;
    int level;
    uint32_t dictionary;
};

/* Seals a request; -EMSGSIZE when it comes out too large. */
int signed_seal(struct agent *agent, const struct signed_request *request, struct buffer *ret_body,
    struct sha256 *ret_payload_sha256);
int signed_send(struct agent *agent, uint32_t slot, const char *path, struct bytes body);
void signed_request_id(struct agent *agent, uint8_t ret[REQUEST_ID_BYTES]);

enum signed_answer { ANSWER_INVALID, ANSWER_GOOD, ANSWER_REFUSAL, ANSWER_NO_MEMORY };
/* Checks direction, addressee and signature, and inflates. What the message says of the request is checked by
 * who decodes it. */
enum signed_answer signed_open(struct agent *agent, enum payload_type type,
    const struct http_response *response, struct buffer *ret_plain);
/* The end of a request whose answer is not valid: fed by its HTTP status. */
void signed_invalid(struct agent *agent, uint32_t slot, const struct http_response *response);
/* The end of a request whose answer cannot be read for want of memory: the answer may be good. */
void signed_no_memory(struct agent *agent, uint32_t slot);
/* A refusal; fed when it answers this request. */
void signed_refused(
    struct agent *agent, uint32_t slot, const struct http_response *response, const struct buffer *plain);
uint32_t signed_retry_after(const struct http_response *response);
/* A valid answer has come. */
void signed_note_answer(struct agent *agent, int64_t server_time_ms, const struct http_response *response);
/* Verifies a receipt for a log. 0 or -EBADMSG. */
int signed_receipt(struct agent *agent, const struct uuid *log, struct bytes note, struct checkpoint *ret,
    uint64_t *ret_time_s);

/* ---- trust.c ---- */

/* Of the enrolment; of a list that does not hold only the pinned key is left. 0 or -ENOMEM. */
int trust_load(struct agent *agent, const struct enrolment *enrolment);
void trust_forget(struct agent *agent);
/* More statements, from an answer. */
void trust_take(struct agent *agent, struct bytes more);

/* ---- device_key.c ---- */

/* The keys that were this device's before. After trust_load. 0 or -ENOMEM. */
int device_key_load_former(struct agent *agent, const struct enrolment *enrolment);
/* An answer's certificate of the next key, or nothing. */
void device_key_take_certificate(struct agent *agent, struct bytes envelope);

/* ---- exchange.c ---- */

int exchange_send(struct agent *agent, const struct engine_action *action);
void exchange_answered(struct agent *agent, uint32_t number, const struct http_response *response);
/* The same request for a data carrier: nothing is noted of it, and nobody waits for its answer. The action's
 * slot means nothing. `*ret_end` is the position behind its last record. */
int exchange_seal(struct agent *agent, const struct engine_action *action,
    const uint8_t request_id[REQUEST_ID_BYTES], struct buffer *ret_envelope, uint64_t *ret_end);
/* Carries out the centre's erasure orders: 1 when it has, 0 when there are none, -EBUSY while another program
 * reads: the centre tells again of those that are not done. */
int exchange_take_erasures(struct agent *agent, const struct erasure_order *orders, size_t count);
/* Every receipt must be of this log as it is here, also one that brings nothing new: -EBADMSG it is not,
 * -ERANGE it is of more records than there are here, -ENOENT there is no such log. */
int exchange_compare_root(struct agent *agent, const struct uuid *log, const struct checkpoint *checkpoint);

/* ---- blobs.c ---- */

bool blobs_is_unconfirmed(const struct agent *agent, const struct sha256 *blob);
void blobs_uploaded(struct agent *agent, const struct sha256 *blob);
/* Its file is gone or damaged here. The centre may have it all the same: it is asked, and then the photo is
 * stored or lost. */
void blobs_gone(struct agent *agent, const struct sha256 *blob);
/* Fills what an exchange without records asks for; returns the count. `ret_unconfirmed` of them come first.
 */
size_t blobs_to_ask(
    struct agent *agent, struct sha256 ret[EXCHANGE_ASKED_BLOBS_MAX], size_t *ret_unconfirmed);
/* Takes the signed list of the answer to what this slot has sent; returns how many of the unconfirmed ones
 * were confirmed. */
size_t blobs_take_stored(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer);
void blobs_take_wanted(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer);
/* What an audit said of one blob: 1 it goes out again, 0 it is not here either, -errno the store could not
 * tell now. */
int blobs_mend(struct agent *agent, const struct sha256 *blob);
/* Its upload was finished after this slot's request was sent: the answer says nothing about it. */
bool blobs_uploaded_since(struct agent *agent, const struct agent_slot *slot, const struct sha256 *blob);
/* It can no longer be mended, or need not be. */
bool blobs_mending_end(struct agent *agent, const struct sha256 *blob);
/* True when the whole file is there, with the size and hash it must have. -errno when it cannot be told. */
int blobs_file_is_whole(struct agent *agent, const struct store_blob *blob);

/* ---- uploads.c ---- */

int uploads_send(struct agent *agent, const struct engine_action *action);
void uploads_answered(struct agent *agent, uint32_t number, const struct http_response *response);
void uploads_forget(struct agent *agent);

/* ---- audit.c ---- */

int audit_send(struct agent *agent, const struct engine_action *action);
void audit_answered(struct agent *agent, uint32_t number, const struct http_response *response);

/* ---- mend_list.c ---- */

/* Fills an empty list. -ERANGE: the server has more of a log that goes on than we have. */
int mend_list_note(struct agent *agent, const struct store_log *log, const struct audit_answer *answer,
    struct mend_list *mend);
void mend_list_clear(struct mend_list *mend);

/* ---- repair.c ---- */

int repair_send(struct agent *agent, const struct engine_action *action);
void repair_answered(struct agent *agent, uint32_t number, const struct http_response *response);

/* ---- keep.c ---- */

/* What the answer says of the log that this slot has asked for. */
void keep_take_backed_up(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer);
/* The centre has gone back to before it had records that were pruned here: what was not removed yet stays.
 * When others were, what is left of the log is carried into the current one, and they are told as gone. */
int keep_give_up(struct agent *agent, const struct uuid *log);
/* So many records of a log that was given up are in neither place as long as the centre has no more of it. */
uint64_t keep_behind(const struct store_log *log, uint64_t server_size);
/* Of the records of this log that the centre lacks, so many were pruned: its backup has them. */
void keep_tell_missing(struct agent *agent, const struct store_log *log, uint64_t count);

/* ---- memory.c ---- */

void memory_load(struct agent *agent);
void memory_take_capabilities(struct agent *agent, const struct capabilities *capabilities);
/* A server set back to an older version may know neither dictionary nor columns. */
void memory_drop_capabilities(struct agent *agent);
/* True when the server's database is not the one known; stays so until memory_keep_incarnation. */
bool memory_take_incarnation(struct agent *agent, const struct uuid *incarnation);
void memory_keep_incarnation(struct agent *agent);
void memory_keep_budget(struct agent *agent, const struct engine_budget *budget);
/* How the last resync ended, which status tells; memory_load reads it. */
void memory_keep_report(struct agent *agent);
/* 0, or -errno when nothing is kept that can be used. */
int memory_budget(struct agent *agent, struct engine_budget *ret);
void memory_take_server_time(struct agent *agent, int64_t server_time_ms, int64_t certificate_not_after_ms);
/* The centre's word on what it lacks is remembered: receipts that are older say nothing any more. */
void memory_keep_doubt(struct agent *agent, int64_t server_time_ms);
