/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service from inside: shared by server/service*.c, nobody else.
 *
 * Threads. Any thread may prepare, answer and upload; one thread at a time, the writer, commits, keeps house
 * and runs the admin functions that write. The writer's storage session is its own and needs no lock. What is
 * shared is guarded so, and no lock is taken under another, but for the two that say so:
 *
 *   readers.mutex          the sessions for reading that are not in use
 *   revocations.mutex      the revoked devices, and when their file was read
 *   orders.mutex           the erasure orders, and when their file was read
 *   pacing.mutex           the queue of requests in thought
 *   audits.mutex           the devices whose records or photos are being read
 *   tokens.mutex           the sealed upload tokens that are given again
 *   trust.mutex            what is said of keys and CAs; the keys themselves are only added
 *   uploads.create_mutex   making and removing partials; the next may be taken under it
 *   uploads.mutex          the list of patches under way, and blobs found in place
 *   patch.mutex            one patch; may be taken under uploads.mutex, to end a stale patch
 *   counters               atomics
 */
#pragma once

#include "proto/envelope.h"
#include "server/blobs/blobs.h"
#include "server/core/audit.h"
#include "server/core/ingest.h"
#include "server/core/orders.h"
#include "server/core/pace.h"
#include "server/core/projection.h"
#include "server/service.h"
#include "server/storage/storage.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define READERS_IDLE_MAX 64u
#define AUDITS_AT_ONCE_MAX 16u
#define REVOCATIONS_NAME "revocations"
#define REVOCATIONS_BYTES_MAX (64u * 1024u * 1024u)
#define ORDERS_NAME "orders"
#define ORDERS_BYTES_MAX (64u * 1024u * 1024u)
#define ADOPTION_INFLATED_BYTES_MAX                                                                          \
    (64u * 1024u) /* of a device that is not known: its certificate, no records */
#define DEVICE_SEEN_EVERY_MS 60000
#define INCARNATION_EVERY_MS 60000u
#define AWAITING_AT_ONCE_MAX 1024u /* children that wait for the records of one batch ... */
#define AWAITING_COMMIT_MAX 4096u  /* ... and of one transaction: bounds what a hostile handheld can cost */
#define BUSY_RETRY_S 10u
#define OVERLOAD_RETRY_S 5u
#define AUDIT_RETRY_S 30u
#define UPLOAD_QUOTA_BYTES (8ull * BLOB_BYTES_MAX) /* of partials of one device */
#define UPLOAD_PARTIALS_MAX 64u                    /* of one device */
#define UPLOAD_EXPIRY_MS (24 * 3600 * 1000)
#define UPLOAD_SPACE_LEFT_BYTES (64u * 1024u * 1024u) /* photos stop here, records go on */
#define ANSWER_LEVEL 6                                /* of zlib */

struct readers {
    pthread_mutex_t mutex;
    struct storage *idle[READERS_IDLE_MAX];
    size_t idle_count;
};

struct revocations {
    pthread_mutex_t mutex;
    bool is_read;
    uint64_t file_size;
    int64_t file_modified_ms;
    struct uuid *devices;
    size_t count;
};

#define TOKENS_KEPT 1024u
#define SEALED_BYTES_MAX (UPLOAD_TOKEN_TEXT_MAX + 48u) /* what a sealed box adds */

struct sealed_token {
    struct uuid device;
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    uint64_t expires_s;
    size_t len; /* 0: none */
    uint8_t bytes[SEALED_BYTES_MAX];
};

struct tokens {
    pthread_mutex_t mutex;
    struct sealed_token places[TOKENS_KEPT];
};

struct orders_file {
    pthread_mutex_t mutex;
    bool is_read;
    uint64_t size;
    int64_t modified_ms;
    struct orders orders;
};

struct uploads {
    pthread_mutex_t mutex, create_mutex;
    struct service_patch *patches;
    struct blob_entry *found; /* in place, but not entered in storage yet */
    size_t found_count;
};

struct audits {
    pthread_mutex_t mutex;
    struct uuid devices[AUDITS_AT_ONCE_MAX];
    size_t count, count_max;
};

struct pacing {
    pthread_mutex_t mutex;
    struct pace queue;
    uint64_t requests_per_second; /* 0: nobody is told to wait */
};

struct counters {
    atomic_uint_fast64_t records_stored, records_quarantined, exchanges, commits, group_jobs, blobs_stored,
        blob_bytes, refusals, forks, commit_us_total;
};

/* A receipt key of this centre. */
struct own_key {
    struct sign_key key;
    uint64_t generation; /* of the statement that names it; 0 of the first */
    int64_t valid_from_ms;
};

/* Keys are only added, so that one that was found stays where it is, whichever thread has it. */
struct own_trust {
    struct own_key keys[TRUST_KEYS_MAX];
    atomic_size_t key_count;
    atomic_uint_fast64_t generation;

    pthread_mutex_t mutex; /* of what follows */
    struct buffer list;    /* of statements */
    struct arena arena;
    struct trust said; /* views into both */

    uint64_t file_size; /* as last read. Writer. */
    int64_t file_modified_ms;
};

struct service {
    const struct world *world;
    char *directory, *authority, *tenant;
    struct buffer ca_pem;
    bool read_only;
    struct own_trust trust;
    uint8_t upload_secret[UPLOAD_SECRET_BYTES];

    struct storage *writer; /* NULL when read_only */
    struct blobs *blobs;
    struct uuid incarnation;
    uint64_t commits, commits_noted; /* last committed; as the incarnation file says. Writer. */
    uint64_t noted_boot_ms;
    uint64_t ids_waiting; /* after the last commit: storage_ids_waiting; writer thread */

    struct readers readers;
    struct revocations revocations;
    struct tokens tokens;
    struct orders_file orders;
    struct uploads uploads;
    struct audits audits;
    struct pacing pacing;
    struct quota quota;
    struct counters counters;
};

static inline int64_t service_now_ms(const struct service *service)
{
    return service->world->verbs->wall_ms(service->world->context);
}

static inline uint64_t service_now_s(const struct service *service)
{
    int64_t now_ms = service_now_ms(service);

    return now_ms > 0 ? (uint64_t)now_ms / 1000 : 0;
}

static inline void service_count(atomic_uint_fast64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* ---- reading (service.c) ---- */

/* A session for reading, taken from the idle ones or opened; given back when it leaves scope. */
struct reader {
    struct service *service;
    struct storage *storage;
};
int reader_take(struct service *service, struct reader *ret);
void reader_give(struct reader *reader);
#define _cleanup_reader_ _cleanup_(reader_give)

/* ---- jobs (service_job.c) ---- */

struct exchange_job {
    struct exchange_request request;
    bool has_checkpoint;
    struct checkpoint checkpoint;
    struct sha256 *leaves;
    struct projection *projections; /* of a record that came as its leaf alone: nothing */
    bool tells_capabilities;

    /* The result of the commit. */
    enum ingest_outcome outcome;
    uint64_t size, appended;
    struct buffer note; /* the handheld's, at `size`; empty when there is none that holds */
    uint64_t fork_seq;
    struct sha256 fork_leaf;
    uint64_t log_number; /* 0: not held */
};

struct audit_job {
    struct audit_request request;
    struct audit_answer answer; /* views into what follows */
    struct audit_scan *scan;
    struct buffer receipt;
    struct blob_finding blobs[AUDIT_WINDOW_BLOBS_MAX];
    bool blob_was_stored[AUDIT_WINDOW_BLOBS_MAX]; /* until this audit */
    struct stored_log log;                        /* as audited; number 0: not held */
    struct tile_fix *tile_fixes;                  /* kept roots that the leaves have shown to be wrong */
    size_t tile_fix_count;
};

struct tile_fix {
    uint64_t tile;
    struct sha256 root;
};

struct repair_job {
    struct repair_request request;
    struct sha256 **leaves; /* of each run's records */
    struct sha256 *bare_leaves;
    bool bare_holds; /* with the bare records in place, their tiles give the roots that were kept of them */
    struct repair_answer answer;
};

struct enrol_job {
    struct enrol_request request;
    struct buffer certificate, name, inspector;
};

/* The key that a request names, as its device's. */
enum key_use {
    KEY_IN_FORCE,
    KEY_NEXT,    /* announced; an exchange puts it into force */
    KEY_RETIRED, /* only what was written before it was retired is looked at: in bundles, for what is held */
    KEY_UNKNOWN, /* a later certificate may show that this centre was set back */
};

struct service_job {
    struct service *service;
    enum service_route route;
    struct sha256 request_sha256;
    struct uuid device_id;       /* nil when not known */
    struct stored_device device; /* its public key is the one that signs the request */
    enum key_use key_use;
    bool is_carried;              /* it stood in a bundle */
    const struct own_key *signer; /* of the answer: the newest key that the handheld knows of */
    bool is_adopted;              /* not known before: its certificate is in `certificate` */
    struct device_certificate certificate;

    bool is_proven; /* its signature held */
    bool is_refused;
    enum refusal_reason refusal;
    const char *refusal_text; /* static */
    enum busy_cause busy_cause;
    uint32_t retry_after_s;

    struct buffer plain; /* the inflated message: views point into it */
    struct arena arena;
    struct arena certificate_arena; /* of an adopted device's certificate */
    struct arena records_arena;     /* of the projections */
    bool needs_commit;
    union {
        struct exchange_job exchange;
        struct audit_job audit;
        struct repair_job repair;
        struct enrol_job enrol;
    };
};

/* The handheld knows what was said up to this generation: the answer is signed accordingly. */
void job_set_known(struct service_job *job, uint64_t known);
/* Ends the job with a signed refusal. Returns 0, so that it can be returned. */
int job_refuse(struct service_job *job, enum refusal_reason reason, const char *text);
/* Likewise with REFUSAL_BAD_REQUEST, unless `error` is -ENOMEM, which is returned: the request may be good.
 */
int job_refuse_undecodable(struct service_job *job, int error, const char *text);
/* Likewise with REFUSAL_BUSY, for a cause that lasts until somebody does something about it. */
int job_refuse_busy(struct service_job *job, enum busy_cause cause, const char *text);
/* Likewise, when the storage could not be read: damage is called so. */
int job_refuse_storage(struct service_job *job, int error);
/* Seals an answer into the reply. */
int job_seal(struct service_job *job, enum payload_type type, struct bytes plain, struct service_reply *ret);
/* A device's key as notes name it. */
int device_note_key(
    const struct service *service, const struct stored_device *device, struct verify_key *ret);
/* service_prepare of an exchange request that stands in a bundle. */
int service_prepare_carried(struct service *service, struct bytes body, struct service_job **ret);

/* ---- the keys of a device (service_device_keys.c) ---- */

/* A device certificate by any of this centre's keys; `ret_key` may be NULL. -EBADMSG, -EKEYREJECTED. */
int certificate_verify_own(struct service *service, struct bytes certificate, struct arena *arena,
    struct device_certificate *ret, const struct own_key **ret_key);
/* Finds the key with this id; it is the device's public key in the job from then on. */
int device_keys_choose(struct service_job *job, struct storage *storage, const uint8_t key_id[8]);
/* The signature of a checkpoint, by any key that the device has, or had. -ENOENT none of them signed it. */
int device_checkpoint_verify(struct service *service, struct storage *storage,
    const struct stored_device *device, struct bytes note, struct checkpoint *ret);

/* ---- one transaction of the writer (service_commit.c) ---- */

struct transaction {
    struct service *service;
    struct storage *storage;
    struct storage_state state;
    int64_t now_ms;
    bool has_changed;
    unsigned awaiting_left;               /* children that may still be set free */
    uint64_t records, quarantined, forks; /* counted when committed */
};

int transaction_begin(struct service *service, struct transaction *ret);
/* Commits if anything has changed. Either way the transaction is over. */
int transaction_commit(struct transaction *transaction);
void transaction_rollback(struct transaction *transaction);
int transaction_alarm(
    struct transaction *transaction, enum alarm_kind kind, uint64_t device, uint64_t key, const char *text);

/* An exchange was signed by the next key, which is in force from now on. Refused when it is not next any
 * more. */
int device_keys_put_next_into_force(struct service_job *job, struct transaction *transaction);
/* Whether it is this device's next key: 1, 0. */
int device_keys_is_next(
    struct storage *storage, uint64_t device_number, const uint8_t public_key[SIGN_PUBLIC_BYTES]);
/* A handheld that uses its next key already has enrolled again by it. */
int device_keys_put_enrolled_into_force(struct service_job *job, struct transaction *transaction,
    const struct stored_device *held, const uint8_t public_key[SIGN_PUBLIC_BYTES], struct bytes certificate);
/* The device in the job is known with another key than that of the certificate that it shows: the later
 * certificate holds. Refused when that is the known one. */
int device_keys_adopt(struct service_job *job, struct transaction *transaction);
/* What a KeyRotation in the record at `key` of a log of this device means. `*ret_reason`: for the quarantine,
 * or NULL. */
int device_keys_announce(struct transaction *transaction, uint64_t device_number, uint64_t key,
    const struct key_rotation *rotation, const char **ret_reason);
/* Appends the certificate of the next key for the answer, if there is one that the device does not use yet.
 */
int device_keys_tell(struct service_job *job, struct storage *storage, struct buffer *ret);

/* ---- what is held of a log (service_log.c) ---- */

/* The handheld's stored note, checked again to be of this log, at this size and root. -ENOENT when there is
 * none that holds. `device` owns the log. */
int log_note_checked(struct service *service, struct storage *storage, const struct stored_device *device,
    const struct stored_log *log, struct buffer *ret_note);
size_t log_tile_count(const struct stored_log *log, uint64_t tile);
/* Rows of a tile; with their bytes' leaves if asked. `ret` has room for TILE_LEAVES. */
int log_read_tile(struct storage *storage, const struct stored_log *log, uint64_t tile, bool with_bytes,
    struct audit_row *ret);
/* The root that was kept of a tile: from the table, or of the last, growing one from the log's frontier. 1,
 * or 0 when none is there. */
int log_kept_root(struct storage *storage, const struct stored_log *log, uint64_t tile, struct sha256 *ret);
/* 1 when the kept roots of all tiles give the log's frontier, 0 when not. */
int log_kept_is_sound(struct storage *storage, const struct stored_log *log);
/* Completes the leaves of a tile, of which `is_given` ones are in `ret` already (NULL: none; both with room
 * for TILE_LEAVES), with those that are held. 1, or 0 when one of them is not known. */
int log_tile_leaves(struct storage *storage, const struct stored_log *log, uint64_t tile,
    const bool *is_given /* or NULL */, struct sha256 *ret);
/* 1 when these leaves of a tile give its kept root, 0 when not. */
int log_leaves_are_kept(
    struct storage *storage, const struct stored_log *log, uint64_t tile, const struct sha256 *leaves);
/* 1 when the leaves held of a tile give its kept root, 0 when they were damaged. */
int log_tile_is_sound(struct storage *storage, const struct stored_log *log, uint64_t tile);
/* 1 when the record at `key` is here, whole, or was erased; 0 when it is damaged, lost or missing. */
int log_record_is_well(struct storage *storage, uint64_t key);

/* ---- by subject: 0, or -errno when storage failed; what is decided stands in the job ---- */

int exchange_prepare(struct service_job *job);
int exchange_commit(struct service_job *job, struct transaction *transaction);
int exchange_answer(struct service_job *job, struct service_reply *ret);
void exchange_done(struct exchange_job *exchange);
/* What this centre takes. */
void service_capabilities(struct capabilities *ret);
int audit_prepare(struct service_job *job);
int audit_commit(struct service_job *job, struct transaction *transaction);
int audit_answer(struct service_job *job, struct service_reply *ret);
void audit_done(struct audit_job *audit);

int repair_prepare(struct service_job *job);
int repair_commit(struct service_job *job, struct transaction *transaction);
int repair_answer(struct service_job *job, struct service_reply *ret);
void repair_done(struct repair_job *repair);

int enrol_prepare(struct service_job *job, struct bytes body);
int enrol_commit(struct service_job *job, struct transaction *transaction);
int enrol_answer(struct service_job *job, struct service_reply *ret);
void enrol_done(struct enrol_job *enrol);

/* ---- resyncs that were asked for (service_asked_resyncs.c) ---- */

/* An audit window that was asked for by a command, or not. */
int asked_resyncs_note_window(struct service_job *job, struct transaction *transaction);
/* How commands have ended, as an exchange request tells. */
int asked_resyncs_take_results(struct service_job *job, struct transaction *transaction);
/* What resyncs a device was asked for, for the list; what it points to is in `stored`. */
int asked_resyncs_read(struct storage *storage, const struct stored_device_line *line,
    struct stored_asked_resync stored[ASKED_RESYNCS_MAX], struct service_device *ret);

/* ---- applying records to the derived tables (service_apply.c) ---- */

struct applied_record {
    uint64_t seq, arrival;
    struct sha256 leaf;
    const struct projection *projection;
    bool replaces; /* a row of it may be there already: repair, rebuild */
};
/* Writes what a record means. The record itself is stored already. Changes `log`'s flags in storage and in
 * place. */
int apply_record(
    struct transaction *transaction, struct stored_log *log, const struct applied_record *record);
/* Neither side has a photo that the device's records name. */
int apply_blob_lost(struct transaction *transaction, uint64_t device, const struct sha256 *sha256);
/* The record was erased: nothing that was derived from it stays. A device's photo is noted under the first
 * record that names it: those that have lost theirs so are added to `let_go`, for `apply_name_again` when all
 * are forgotten, which goes through all findings for others that name them. */
int apply_forget(struct transaction *transaction, uint64_t key, struct buffer *let_go);
int apply_name_again(struct transaction *transaction, struct buffer *let_go);
/* Applies what has waited for records of this log at first_seq .. end_seq - 1. */
int apply_awaiting(
    struct transaction *transaction, const struct uuid *log, uint64_t first_seq, uint64_t end_seq);

/* ---- quotas and pacing (service_limits.c) ---- */

/* Notes records that are about to be appended, or refuses the job. */
int limits_use_quota(
    struct service_job *job, struct transaction *transaction, size_t records, uint64_t bytes);
int limits_photos_are_used_up(
    const struct service *service, struct storage *storage, uint64_t device, bool *ret);
/* Fills what a device is over. */
int limits_read(
    const struct service *service, struct storage *storage, uint64_t device, struct service_device *ret);
/* An upload's request, which is told nothing. */
void limits_note_upload(struct service *service);
/* For the answer to this request. */
uint32_t limits_next_contact_s(struct service *service, const struct exchange_request *request);

/* ---- keys, revocations, uploads ---- */

#define KEYS_DIRECTORY "keys"
#define TRUST_NAME "trust"
#define RECEIPT_KEY_FILE_NAME_MAX 32u
/* Of the key at this index. */
void receipt_key_file_name(size_t index, char ret[RECEIPT_KEY_FILE_NAME_MAX]);
/* A secret of 32 bytes. -ENOENT, -EUCLEAN of another length. */
int secret_read(const struct world *world, const char *directory, const char *name, uint8_t ret[32]);
/* The same, made when it is not there and `may_make`. -ENOKEY. */
int secret_open(
    struct service *service, const char *directory, const char *name, bool may_make, uint8_t ret[32]);
/* The first key, then the statements and the keys that they name. -ENOKEY one of those is gone. */
int trust_open(struct service *service, const char *name, const uint8_t seed[SIGN_SEED_BYTES]);
void trust_done(struct service *service);
/* Reads the statements again when their file has changed. Writer thread. */
int trust_refresh(struct service *service);
/* What signs for whoever knows the statements up to this generation. */
const struct own_key *trust_key_for(struct service *service, uint64_t known);
/* NULL when it is no key of this centre. */
const struct own_key *trust_key_by_id(struct service *service, const uint8_t key_id[8]);
/* NULL beyond the last. */
const struct own_key *trust_key_at(struct service *service, size_t index);
/* Appends the statements that are newer. */
int trust_list_after(struct service *service, uint64_t known, struct buffer *ret);

/* 0 when somebody has made keys in DATA: without them nobody ever served from it. -ENOENT. */
int keys_exist(const struct service *service);
/* `may_make`: a receipt key that is not there is made. -ENOKEY it is not there, and may not be made. */
int keys_open(struct service *service, bool may_make);
int incarnation_open(struct service *service);
int incarnation_note(struct service *service);
/* Notes in `directory`, which holds a copy of the database in this state, one commit more than it has:
 * whoever serves from it begins a new incarnation. */
int incarnation_write_ahead(
    const struct service *service, const char *directory, const struct storage_state *state);
/* Copies keys and revocations into `target`. -EEXIST when the keys of another centre are there. */
int keys_back_up(struct service *service, const char *target);
int revocations_open(struct service *service);
void revocations_done(struct service *service);
/* True when the device is revoked; reads the file again when it has changed. An unreadable file revokes
 * nobody new: -errno. */
int revocations_has(struct service *service, const struct uuid *device, bool *ret);
void tokens_open(struct service *service);
void tokens_done(struct service *service);
/* An upload token for the device, sealed to its key, and for how many seconds it is good. Any thread. */
int token_for(
    struct service *service, const struct stored_device *device, struct buffer *ret, uint32_t *ret_good_s);

/* ---- lawful erasure (service_orders.c, service_erase.c, service_erasure.c) ---- */

/* Reads DATA/orders again when it has changed. */
int orders_refresh(struct service *service);
void orders_file_done(struct service *service);
/* What was read last: a copy, as the file may be read anew meanwhile. */
int orders_copy(struct service *service, struct orders *ret);
/* Adds an order, durably. Under the storage's lock. -EFBIG the file would be too large to be read. */
int orders_append(struct service *service, const struct order *order, const struct order_record *records,
    size_t record_count, const struct order_blob *blobs, size_t blob_count);
/* Copies the file into `target`, and gives what it says. */
int orders_back_up(struct service *service, const char *target, struct orders *ret);
uint64_t orders_last_number(struct service *service);
/* Has an order erased the record with this leaf at this position, or the one that is re-homed in it?
 * `projection` may be NULL. */
bool orders_cover_record(struct service *service, const struct position_in_log *at, const struct sha256 *leaf,
    const struct projection *projection);
/* The same for the record with this public id there. */
bool orders_cover_id(struct service *service, const struct position_in_log *at, const struct uuid *id);
bool orders_cover_blob(struct service *service, const struct sha256 *sha256);
/* The next orders above `after` that are about the device, as many as fit one answer. */
struct told_orders {
    struct erasure_order *orders; /* views into what follows */
    size_t count;
    struct erased_record *records;
    size_t record_count;
    struct sha256 *blobs;
    size_t blob_count;
};
int orders_tell(struct service *service, const struct uuid *device, uint64_t after, struct told_orders *ret);
void told_orders_done(struct told_orders *told);
/* Notes up to which order a device says that it has carried them out. */
int orders_note_done(struct transaction *transaction, uint64_t device, uint64_t number);
/* DATA/erasing is there while an order is being carried out. Under the storage's lock. */
int erasing_mark(struct service *service, bool is_under_way);
bool erasing_is_marked(struct service *service);
/* The rows of an order: what goes, and then what the records that stay say of the photos that stay. */
int erasing_rows(struct transaction *transaction, const struct order_record *records, size_t record_count,
    const struct order_blob *blobs, size_t blob_count);
/* Carries out again what a database that was set back has not got erased. */
int erasure_open(struct service *service);
/* Goes on with what was broken off, until nothing is left in any file. -EBUSY a reader was in the way. */
int erasure_finish(struct service *service);

/* Removes a partial and ends the patch that is under way for it, if there is one; none can begin between the
 * two. With uploads.create_mutex. */
int patches_remove_partial(struct service *service, const struct uuid *device, const struct sha256 *sha256);
bool patches_is_under_way(struct service *service, const struct uuid *device, const struct sha256 *sha256);
void uploads_describe(const struct blob_partial *partial, struct service_upload *ret);

void uploads_open(struct service *service);
void uploads_done(struct service *service);
/* Enters blobs that were found in place. */
int uploads_enter_found(struct service *service);
int uploads_expire(struct service *service);
/* Bytes that are durable of a blob that is not whole; 0 when there is no partial. */
uint64_t uploads_have(struct service *service, const struct uuid *device, const struct sha256 *sha256);
/* A photo that comes on a data carrier, with the checks of an upload. One at a time over all processes, in
 * the writer's thread. 0 with a writer; 1 it is stored whole already; -EACCES no stored record of this device
 * names it; -ENOSPC. `end` makes it durable and visible, when its hash is right: -EILSEQ; either way the
 * writer is gone. */
int uploads_carry_begin(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    uint64_t size, struct blob_writer **ret);
int uploads_carry_end(
    struct service *service, struct blob_writer *writer, const struct sha256 *sha256, uint64_t size);
void uploads_carry_drop(struct service *service, struct blob_writer *writer, const struct sha256 *sha256);
