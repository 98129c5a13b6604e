/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the centre keeps, as one table of functions: SQLite fills it now, PostgreSQL later. Called by the
 * service only; knows nothing of requests, keys or HTTP, and decides nothing.
 *
 * A `struct storage` is one session. The writer's is used by one thread at a time; a reader's likewise, and
 * any number of them may be open. Every function that changes something is called between `begin` and
 * `commit` of the writer. Readers see what was committed; between `view` and `view_end` they see one moment
 * of it.
 *
 * A record's key is its log's number << 40 | seq. In the hot path rows are only ever added at growing keys:
 * an index over random keys costs a page read and a page write a row once it is larger than the cache, so
 * that of public ids is built behind, in sorted batches.
 *
 * Errors: -errno; -ENOENT not there; -ENOSPC; -EBUSY the write lock was not had in time; -EUCLEAN the
 * database is damaged; -EPROTONOSUPPORT it is of a newer program.
 */
#pragma once

#include "base/world.h"
#include "proto/enrolment.h"
#include "proto/merkle.h"
#include "proto/messages.h"
#include "server/core/projection.h"
#include "server/core/quota.h"

#define STORAGE_LOCK_WAIT_MS 10000u
#define STORAGE_SEQ_BITS 40u
#define STORAGE_LOG_NUMBER_MAX ((UINT64_C(1) << 23) - 1)
#define STORAGE_VERSIONS_MAX 256u /* of one finding: itself, its amendments, its withdrawals */
#define STORAGE_IDS_BATCH 8192u   /* arrivals of which the public ids are a segment of their index */

static inline uint64_t record_key(uint64_t log, uint64_t seq)
{
    return log << STORAGE_SEQ_BITS | seq;
}

static inline uint64_t record_key_log(uint64_t key)
{
    return key >> STORAGE_SEQ_BITS;
}

static inline uint64_t record_key_seq(uint64_t key)
{
    return key & ((UINT64_C(1) << STORAGE_SEQ_BITS) - 1);
}

/* What is one for the whole storage. */
struct storage_state {
    struct uuid incarnation;
    uint64_t commits;         /* counts up with each commit that changed something */
    uint64_t next_arrival;    /* of the next record; from 1 */
    uint64_t indexed_arrival; /* public ids are indexed up to here */
};

static inline uint64_t storage_ids_waiting(const struct storage_state *state)
{
    return state->next_arrival - 1 - state->indexed_arrival;
}

/* Up to which generation of the centre's trust statements somebody knows what was said. */
struct stored_trust {
    uint64_t enrolled; /* with the key that it enrolled with */
    uint64_t told;     /* as its last exchange said */
};

static inline uint64_t stored_trust_known(const struct stored_trust *trust)
{
    return trust->enrolled > trust->told ? trust->enrolled : trust->told;
}

struct stored_device {
    uint64_t number;
    struct uuid id;
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    int64_t enrolled_ms, last_seen_ms;
    struct stored_trust trust; /* filled by device_find only: what others read may be older than its table */
};

/* A key of a device that is not the one in force: the next one, or a retired one. Stored numbers. */
enum device_key_state { DEVICE_KEY_RETIRED = 0, DEVICE_KEY_NEXT = 1 };
struct stored_device_key {
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    enum device_key_state state;
    int64_t at_ms; /* next: when its certificate is issued; retired: since when */
};

/* The running or last manual resync of a device, added up over its windows. */
struct stored_resync {
    int64_t at_ms; /* 0: never */
    uint64_t level, first_log;
    uint64_t checked, missing, damaged, erased, lost, mended, blobs_checked, blobs_bad;
};

/* A resync that an admin has asked a device for; the newest of each level is kept. */
struct stored_asked_resync {
    uint8_t id[COMMAND_ID_BYTES]; /* of its command */
    uint64_t level;
    int64_t asked_ms, taken_ms, ended_ms; /* taken: the device's first word on it; 0: not yet */
    uint64_t outcome;                     /* enum asked_resync_outcome */
    char problem[PROBLEM_BYTES_MAX + 1];  /* of the last try that failed */
    struct resync_counts counts;          /* as the device has told them at the end */
};

/* Stored numbers. */
enum asked_resync_outcome {
    ASKED_RESYNC_OPEN = 0,
    ASKED_RESYNC_DONE = 1,
    ASKED_RESYNC_INCOMPLETE = 2, /* something is in neither place */
    ASKED_RESYNC_UNTOLD = 3,     /* an older device, which tells no counts */
};
#define ASKED_RESYNCS_MAX 3u /* of a device: one of each level */

/* A device as `devices` lists it; texts are valid during the callback. */
struct stored_device_line {
    struct stored_device device;
    const char *name, *inspector;
    uint64_t logs, records, quarantined, blobs_missing, alarms;
    struct stored_resync resync;
};

struct stored_token {
    int64_t expires_ms;
    bool is_used;
    struct uuid used_by;
    uint8_t used_key[SIGN_PUBLIC_BYTES];
    struct stored_trust trust; /* of the key that its URL names */
};

struct stored_log {
    uint64_t number;
    struct uuid id;
    uint64_t device; /* number */
    enum log_kind kind;
    bool is_closed;
    bool has_rehomed; /* records that say they stood in this log first are held in other logs */
    struct merkle_frontier frontier;
};

enum stored_record_state { STORED_RECORD_PRESENT = 0, STORED_RECORD_ERASED = 1, STORED_RECORD_LOST = 2 };

struct stored_record {
    uint64_t key;
    uint64_t arrival;
    int64_t received_ms;
    enum stored_record_state state;
    bool has_leaf;
    struct sha256 leaf;
    bool has_bytes;
    struct bytes bytes; /* valid during the callback; not filled when they were not asked for */
};

/* A row of the list of findings. Views are valid during the callback. */
struct stored_finding {
    uint64_t key;
    uint64_t arrival;
    uint64_t root; /* key of the finding that it amends or withdraws; its own key else */
    enum finding_state state;
    enum record_kind kind; /* 0 when it could not be decoded */
    bool is_rehomed;
    struct uuid first_id; /* public id when re-homed: the first one */
    bool has_parent;
    struct uuid parent_id;
    int64_t wall_ms;
    int32_t utc_offset_min;
    struct bytes inspector;
    struct finding finding; /* of a withdrawal: its reason as the note */

    /* Filled when read, not when written. */
    struct uuid device, log;
    int64_t received_ms;
    bool has_leaf;
    struct sha256 leaf;
    const char *reason; /* of the quarantine */
};

struct stored_findings_filter {
    bool has_device;
    struct uuid device;
    uint64_t since; /* arrivals above this */
};

enum stored_blob_state {
    STORED_BLOB_MISSING = 0,
    STORED_BLOB_PRESENT = 1,
    STORED_BLOB_ERASED = 2,
    STORED_BLOB_LOST = 3
};

struct stored_blob {
    uint64_t number;
    struct sha256 sha256;
    enum stored_blob_state state;
    uint64_t size;
    bool is_backed_up;
};

enum alarm_kind {
    ALARM_FORK = 1,          /* a position was sent with another leaf: a cloned handheld */
    ALARM_ROOT_MISMATCH = 2, /* records and signed root disagree */
    ALARM_PREDECESSOR = 3,   /* a log was left before all of it had come */
    ALARM_RECORD_LOST = 4,   /* in neither place */
    ALARM_BLOB_LOST = 5,
    ALARM_RECOVERED = 6,  /* the handheld's database was damaged */
    ALARM_ERASED = 7,     /* a handheld has erased a record by an order that is not known here */
    ALARM_DEVICE_KEY = 8, /* a handheld has announced another key of its own, or came with one */
};

struct storage;

struct storage_options {
    const struct world *world;
    const char *directory;
    bool read_only;
};

/* One function a line; see the struct's comments above for what they carry. `each` callbacks stop at a
 * non-zero result, which is returned. */
struct storage_verbs {
    void (*close)(struct storage *storage);

    /* ---- transactions (writer), views (reader) ---- */
    int (*begin)(struct storage *storage);
    int (*commit)(struct storage *storage); /* durable when it returns 0; rolled back when not */
    void (*rollback)(struct storage *storage);
    int (*view)(struct storage *storage);
    void (*view_end)(struct storage *storage);
    /* Work on the side that need not be done in any transaction; 1: more is left. */
    int (*maintain)(struct storage *storage);

    int (*state)(struct storage *storage, struct storage_state *ret);
    int (*set_state)(struct storage *storage, const struct storage_state *state);

    /* ---- devices, tokens, commands, alarms ---- */
    int (*device_find)(struct storage *storage, const struct uuid *id, struct stored_device *ret);
    int (*device_at)(struct storage *storage, uint64_t number, struct stored_device *ret);
    int (*device_certificate)(struct storage *storage, uint64_t device, struct buffer *ret);
    /* Adds a device or replaces name, inspector, certificate of one; gives its number. */
    int (*device_put)(struct storage *storage, const struct device_certificate *content,
        struct bytes certificate, int64_t now_ms, uint64_t *ret_number);
    int (*device_seen)(struct storage *storage, uint64_t device, int64_t now_ms);
    /* All keys of a device but the one in force; at most DEVICE_KEYS_MAX. In a database that was never
     * written by a program which knows of them there are none. */
    int (*device_keys)(struct storage *storage, uint64_t device,
        struct stored_device_key ret[DEVICE_KEYS_MAX], size_t *ret_count);
    int (*device_key_put)(struct storage *storage, uint64_t device, const struct stored_device_key *key);
    int (*device_key_drop)(
        struct storage *storage, uint64_t device, const uint8_t public_key[SIGN_PUBLIC_BYTES]);
    /* Another key in force, and its certificate. */
    int (*device_set_key)(struct storage *storage, uint64_t device,
        const uint8_t public_key[SIGN_PUBLIC_BYTES], struct bytes certificate);
    int (*device_resync)(struct storage *storage, uint64_t device, struct stored_resync *ret);
    int (*device_set_resync)(struct storage *storage, uint64_t device, const struct stored_resync *resync);
    int (*devices_each)(
        struct storage *storage, int (*each)(void *user, const struct stored_device_line *line), void *user);
    int (*token_put)(struct storage *storage, const struct sha256 *token, const char *name,
        const char *inspector, int64_t expires_ms);
    int (*token_find)(struct storage *storage, const struct sha256 *token, struct stored_token *ret,
        struct buffer *ret_name, struct buffer *ret_inspector);
    int (*token_use)(struct storage *storage, const struct sha256 *token, const struct uuid *device,
        const uint8_t public_key[SIGN_PUBLIC_BYTES]);
    /* Of a device (its id) or a token (its hash). */
    int (*trust_put)(struct storage *storage, struct bytes who, const struct stored_trust *trust);
    /* How many devices know up to which generation. */
    int (*trust_each)(
        struct storage *storage, int (*each)(void *user, uint64_t known, uint64_t devices), void *user);
    int (*command_put)(struct storage *storage, uint64_t device, const struct command *command);
    int (*command_done)(struct storage *storage, uint64_t device, const uint8_t id[COMMAND_ID_BYTES]);
    int (*commands)(
        struct storage *storage, uint64_t device, struct command *ret, size_t max, size_t *ret_count);
    /* All zeroes when nothing was ever noted. */
    int (*quota_use)(struct storage *storage, uint64_t device, struct quota_use *ret);
    int (*set_quota_use)(struct storage *storage, uint64_t device, const struct quota_use *use);
    /* Of the stored blobs that the device's records name, read from all of them. */
    int (*photo_bytes)(struct storage *storage, uint64_t device, uint64_t *ret);
    /* Takes the place of what was asked for at the same level. */
    int (*asked_resync_put)(
        struct storage *storage, uint64_t device, const struct stored_asked_resync *asked);
    int (*asked_resync_find)(struct storage *storage, uint64_t device, const uint8_t id[COMMAND_ID_BYTES],
        struct stored_asked_resync *ret);
    /* In the order in which they were asked for. */
    int (*asked_resyncs)(struct storage *storage, uint64_t device,
        struct stored_asked_resync ret[ASKED_RESYNCS_MAX], size_t *ret_count);
    /* The same alarm for the same position is kept once; then `*ret_new` is false. */
    int (*alarm_put)(struct storage *storage, enum alarm_kind kind, uint64_t device, uint64_t key,
        int64_t now_ms, const char *text, bool *ret_new);

    /* ---- logs and records ---- */
    int (*log_find)(struct storage *storage, const struct uuid *id, struct stored_log *ret);
    int (*log_at)(struct storage *storage, uint64_t number, struct stored_log *ret);
    int (*log_open)(struct storage *storage, struct stored_log *log);           /* gives log->number */
    int (*log_note)(struct storage *storage, uint64_t log, struct buffer *ret); /* -ENOENT none yet */
    int (*log_advance)(struct storage *storage, const struct stored_log *log, struct bytes note);
    int (*log_set_flags)(struct storage *storage, const struct stored_log *log); /* kind, closed, rehomed */
    /* What a finished backup holds of a log. 1, or 0: nothing is known of it. */
    int (*log_backed_up)(struct storage *storage, uint64_t log, struct log_backed_up *ret);
    int (*log_set_backed_up)(struct storage *storage, uint64_t log, const struct log_backed_up *backed_up);
    /* Of photos and logs: nothing is in a backup that this database knows of. */
    int (*backups_forget)(struct storage *storage);
    int (*logs_each)(
        struct storage *storage, int (*each)(void *user, const struct stored_log *log), void *user);
    int (*record_put)(struct storage *storage, const struct stored_record *row); /* adds or replaces */
    int (*record_at)(struct storage *storage, uint64_t key, struct buffer *ret_bytes /* or NULL */,
        struct stored_record *ret);
    int (*records_each)(struct storage *storage, uint64_t first_key, uint64_t end_key, bool with_bytes,
        int (*each)(void *user, const struct stored_record *record), void *user);
    int (*tiles_put)(
        struct storage *storage, uint64_t log, uint64_t first, const struct sha256 *roots, size_t count);
    /* `ret_known[i]` false where none is kept. */
    int (*tiles)(struct storage *storage, uint64_t log, uint64_t first, size_t count, struct sha256 *ret,
        bool *ret_known);

    /* ---- what is derived from the records ---- */
    int (*finding_put)(struct storage *storage, const struct stored_finding *row); /* adds or replaces */
    /* Key, arrival, root, state, kind only. */
    int (*finding_at)(struct storage *storage, uint64_t key, struct stored_finding *ret);
    int (*finding_set_state)(struct storage *storage, uint64_t key, enum finding_state state);
    int (*findings_each)(struct storage *storage, const struct stored_findings_filter *filter,
        int (*each)(void *user, const struct stored_finding *finding), void *user);
    /* The same for one row. -ENOENT. */
    int (*finding)(struct storage *storage, uint64_t key,
        int (*each)(void *user, const struct stored_finding *finding), void *user);
    int (*version_put)(struct storage *storage, uint64_t root, uint64_t key);
    int (*versions)(
        struct storage *storage, uint64_t root, uint64_t *ret_keys, size_t max, size_t *ret_count);
    int (*quarantine)(struct storage *storage, uint64_t key, const char *reason);
    int (*quarantine_end)(struct storage *storage, uint64_t key);
    int (*quarantined_each)(struct storage *storage, uint64_t first_key, uint64_t end_key,
        int (*each)(void *user, uint64_t key, const char *reason), void *user);
    int (*quarantined_count)(
        struct storage *storage, uint64_t first_key, uint64_t end_key, uint64_t *ret_count);
    /* Children that wait for a parent at a position. */
    int (*awaited_put)(struct storage *storage, const struct position_in_log *parent, uint64_t key);
    int (*awaited_end)(struct storage *storage, const struct position_in_log *parent, uint64_t key);
    int (*awaited)(struct storage *storage, const struct uuid *log, uint64_t first_seq, uint64_t end_seq,
        uint64_t *ret_keys, size_t max, size_t *ret_count);
    /* Where the record with this first position and id was applied. */
    int (*rehomed_put)(
        struct storage *storage, const struct position_in_log *first, const struct uuid *id, uint64_t key);
    int (*rehomed_find)(struct storage *storage, const struct position_in_log *first, const struct uuid *id,
        uint64_t *ret_key);
    int (*rehomed_any)(struct storage *storage, const struct uuid *log); /* 1 or 0 */
    /* When the record at `key` was made the handheld had a receipt of this time: so had it for all after it
     * in its log. The newest such time before `key`, 0 when there is none. */
    int (*clock_mark_put)(struct storage *storage, uint64_t key, int64_t receipt_ms);
    int (*clock_mark)(struct storage *storage, uint64_t key, int64_t *ret_receipt_ms);
    /* Forgets all of it but arrivals: before a rebuild. */
    int (*derived_clear)(struct storage *storage);
    /* Indexes the public ids of the next batch of arrivals, when all of it is there: 1, otherwise 0. A
     * look-up reads what is not indexed yet. */
    int (*ids_build)(struct storage *storage, struct storage_state *state);
    /* Of a record that is not among the next ones any more. */
    int (*id_put)(struct storage *storage, const struct uuid *id, uint64_t key);
    /* Key of the finding with this public id. */
    int (*id_find)(struct storage *storage, const struct uuid *id, uint64_t *ret_key);

    /* ---- blobs ---- */
    int (*blob_find)(struct storage *storage, const struct sha256 *sha256, struct stored_blob *ret);
    /* Notes that a record of the device names the blob, which is wanted if it is missing. */
    int (*blob_name)(
        struct storage *storage, const struct sha256 *sha256, uint64_t size, uint64_t device, uint64_t key);
    /* 1 when a record of the device names it, 0 when not. */
    int (*blob_is_named)(struct storage *storage, const struct sha256 *sha256, uint64_t device);
    /* The device has not got it: it is not asked for it any more. 1 when another one still is, 0 when none.
     */
    int (*blob_given_up)(struct storage *storage, const struct sha256 *sha256, uint64_t device);
    int (*blob_set_state)(
        struct storage *storage, const struct sha256 *sha256, enum stored_blob_state state, uint64_t size);
    /* Missing blobs that the device's records name, in the order in which they were named, from about `from`
     * of 65536 parts of them on. */
    int (*blobs_wanted)(struct storage *storage, uint64_t device, uint16_t from, struct sha256 *ret,
        size_t max, size_t *ret_count);
    /* In order of their hashes, after `after` (or NULL): those that records first_key..end_key of the device
     * name, or all when `device` is 0. */
    int (*blobs_each)(struct storage *storage, uint64_t device, uint64_t first_key, uint64_t end_key,
        const struct sha256 *after, size_t max, int (*each)(void *user, const struct stored_blob *blob),
        void *user);
    int (*blob_set_backed_up)(struct storage *storage, const struct sha256 *sha256, bool is_backed_up);

    /* ---- erasure ---- */
    /* Everything that is derived from the record, whatever it was; the record itself stays. */
    int (*record_forget)(struct storage *storage, uint64_t key);
    /* The devices whose records name the blob. */
    int (*blob_namers)(struct storage *storage, const struct sha256 *sha256,
        int (*each)(void *user, const struct uuid *device), void *user);
    /* Up to which erasure order the device has carried them out; 0: none. And the highest of all devices. */
    int (*orders_done)(struct storage *storage, uint64_t device, uint64_t *ret);
    int (*set_orders_done)(struct storage *storage, uint64_t device, uint64_t number);
    int (*orders_done_max)(struct storage *storage, uint64_t *ret);
    /* Outside of a transaction, after a commit that has overwritten something: leaves no copy of it in the
     * storage's files. Takes the write lock, and as long as writing all of the storage anew. -EBUSY a reader
     * was in the way: to be called again. */
    int (*scrub)(struct storage *storage);

    /* ---- backup ---- */
    /* Writes one moment of the storage, durably, as a storage of its own into `directory`, which exists; one
     * that is there is replaced. Writers go on meanwhile. */
    int (*snapshot)(struct storage *storage, const char *directory);
};

struct storage {
    const struct storage_verbs *verbs;
};

/* storage/sqlite.c. The first session opened for writing creates or migrates the database; `*ret_created`
 * tells. `ret_error`: a line for people. */
int storage_sqlite_open(
    const struct storage_options *options, struct storage **ret, bool *ret_created, char **ret_error);

/* storage/sqlite_snapshot.c. 0 when nobody has written to the database in `directory` since it was placed
 * there, or there is none; -ENOTEMPTY. What somebody who only reads has left is removed. */
int storage_sqlite_is_unused(const struct world *world, const char *directory);
/* 1 when a database is in `directory`, 0 when there is none. */
int storage_sqlite_is_placed(const struct world *world, const char *directory);
/* Removes what a session on a snapshot, closed by now, has left beside it: nothing is in it. */
int storage_sqlite_tidy(const struct world *world, const char *directory);
/* Moves a snapshot, whose sessions are closed, from one directory into another, in the place of one that is
 * there: afterwards, whatever happens, one of the two is there whole. Durable when 0 is returned. */
int storage_sqlite_place(const struct world *world, const char *from_directory, const char *to_directory);

static inline void storage_close(struct storage *storage)
{
    if (storage)
        storage->verbs->close(storage);
}
