/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The centre's service: what each request of a handheld does to storage and blobs, without HTTP, threads or
 * sockets. Called by the HTTP shell (server/http) and by the simulator.
 *
 * A signed request goes through three stages, so that many handhelds' batches share one commit:
 *
 *   service_prepare   any thread    parse, find the device, check the signature, inflate, decode, hash the
 * leaves service_commit    the writer    one storage transaction for a group of jobs; durable when it returns
 * 0 service_answer    any thread    sign receipt and answer: never before the commit has returned
 *
 * Storage is one writer: service_commit and the admin functions that write are called from one thread at a
 * time. Reads have connections of their own.
 */
#pragma once

#include "base/world.h"
#include "proto/enrolment.h"
#include "proto/messages.h"
#include "proto/trust.h"
#include "server/core/quota.h"

struct service;
struct service_job;

#define SERVICE_GROUP_MAX 64u

struct service_options {
    const struct world *world;
    const char *directory; /* DATA: storage, blobs, keys, revocations, orders */
    const char *authority; /* names the centre in origins; default "gridpatrol" */
    const char *tenant;    /* default "default" */
    struct bytes ca_pem;   /* the CA that an enrolment answer carries; empty on plain HTTP; copied */
    bool read_only;        /* admin commands beside a running serve that only look */
    bool must_exist;       /* those that change something: only `serve` makes the data, as its own user */
};

/* Opens storage, blobs and keys in DATA, creating what is missing. -ENOENT when read_only or must_exist, and
 * no data was made there yet.
 * `ret_error`: a line for people. */
int service_open(const struct service_options *options, struct service **ret, char **ret_error);
void service_free(struct service *service);
DEFINE_CLEANUP(struct service, service_free);

/* How many audits may read at once, between 1 and AUDITS_AT_ONCE_MAX, which holds until it is called; the
 * rest are told to come again. An audit reads on its request's thread, for as long as the disk takes: its
 * caller keeps threads free for the other requests. Before the first request. */
void service_limit_audits(struct service *service, size_t count);

/* What a handheld may have stored, and how many requests a second shall come at most: above it, handhelds
 * that have more to send are told to come later (0: never). Before the first request; until then nothing is
 * limited, as for what an operator brings by hand. */
void service_set_limits(struct service *service, const struct quota *quota, uint64_t requests_per_second);

/* Seconds to be named by a 503 that the service is not asked for: as far as the requests that may come are
 * promised away already. */
uint32_t service_retry_after_s(struct service *service);

enum service_route {
    SERVICE_EXCHANGE, /* POST /v1/exchange */
    SERVICE_AUDIT,    /* POST /v1/audit */
    SERVICE_REPAIR,   /* POST /v1/repair */
    SERVICE_ENROL,    /* POST /v1/enrol */
};

struct service_reply {
    unsigned status; /* HTTP; every signed refusal has a body */
    struct buffer body;
    uint32_t retry_after_s; /* 0: none */
    const char *outcome;    /* static word for the request's log line and metrics */
    struct uuid device;     /* nil when unknown */
    uint64_t records;
};
void service_reply_done(struct service_reply *reply);

/* True when a device with this id is enrolled and not revoked: asked before the body is read. One that is not
 * may still send a small request, to be adopted by its certificate or told why not. */
bool service_knows_device(struct service *service, const struct uuid *device);

/* Takes the request's body (borrowed until the job is freed). Always gives a job: one that failed carries its
 * refusal and needs no commit. -ENOMEM only. */
int service_prepare(
    struct service *service, enum service_route route, struct bytes body, struct service_job **ret);
/* True when the device that it gives is proven to have sent the request: its signature held, or, of an
 * enrolment after its commit, its token was good. */
bool service_job_is_proven(const struct service_job *job, struct uuid *ret_device);
bool service_job_needs_commit(const struct service_job *job);
/* After service_commit: true for an exchange that starts ahead of its log and may be held until the one
 * before it has come. `ret_log` is the job's log in either case (nil when it has none), so that the shell
 * finds the held ones of a log that has grown. A held job is handed to service_commit again, or answered
 * `ahead`. */
bool service_job_is_ahead(const struct service_job *job, struct uuid *ret_log);
/* Commits a group. 0: every job has its result (which may be a refusal or `ahead`). -errno: the storage
 * failed; those that were not stored before answer 503. */
int service_commit(struct service *service, struct service_job *const *jobs, size_t count);
void service_answer(struct service *service, struct service_job *job, struct service_reply *ret);
void service_job_free(struct service_job *job);

/* ---- uploads: tus 1.0.0 without HTTP (server/service_uploads.c, service_patches.c) ---- */

struct service_upload {
    uint64_t size, offset;
    int64_t expires_ms;
};

/* Who an upload token belongs to. -EBADMSG, -EKEYEXPIRED, -EACCES revoked. */
int service_upload_authorise(struct service *service, const char *token_text, struct uuid *ret_device);
/* Creation, keyed by (device, hash): an existing partial is found again. -EACCES not named by a stored record
 * of this device, -EFBIG, -EINVAL empty, -EDQUOT, -EPERM it is over its quota of photos, -EEXIST already
 * stored whole (offset = size), -ENOSPC. */
int service_upload_create(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    uint64_t size, struct service_upload *ret);
/* -ENOENT, -EKEYEXPIRED (expired and removed). */
int service_upload_find(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    struct service_upload *ret);

/* Of a chunk without a checksum, promised while more comes: a kill wastes no more. */
#define UPLOAD_KEEP_BYTES (256u * 1024u)
/* Before an offset is told: promises what has come so far of a chunk without a checksum that is under way,
 * whose connection may be dead. */
int service_upload_keep(struct service *service, const struct uuid *device, const struct sha256 *sha256);

/* One PATCH. A new one ends a stale one for the same blob (its writes fail with -ECANCELED). Bytes are
 * appended as they come; `end` makes them durable before the new offset is promised, and for the last byte
 * checks the whole hash and puts the blob in place. begin: -ENOENT, -EINVAL offset does not match (409). end:
 * -EBADMSG chunk checksum wrong (460), nothing of it kept; -EILSEQ whole hash wrong: the partial is removed;
 * -ENOSPC. `checksum` may be NULL. */
struct service_patch;
int service_patch_begin(struct service *service, const struct uuid *device, const struct sha256 *sha256,
    uint64_t offset, const struct sha256 *checksum, struct service_patch **ret);
int service_patch_write(struct service_patch *patch, const void *data, size_t len);
/* Ends the request, whole (`complete`) or broken off: what arrived is kept either way when there was no
 * checksum. Frees the patch. */
int service_patch_end(
    struct service_patch *patch, bool complete, struct service_upload *ret, bool *ret_blob_stored);
/* Writer thread: records that a blob is now in place. */
int service_blob_stored(struct service *service, const struct sha256 *sha256, uint64_t size);

/* ---- bundles on a data carrier (server/service_bundle.c) ---- */

struct service_bundle_report {
    struct uuid device;
    int64_t made_ms; /* by the handheld's clock */
    /* Each record and each photo of the bundle is in one of these; quarantined ones are in the first two as
     * well. */
    uint64_t records_new, records_held, records_refused;
    uint64_t records_quarantined;
    uint64_t photos_new, photos_held, photos_refused; /* previews too */
    uint64_t bytes_read;
    bool is_cut;         /* it ends before its end: what is whole was taken */
    bool is_damaged;     /* likewise, before a place that was altered */
    bool is_made_newer;  /* parts that this program does not know were passed over */
    const char *refusal; /* static: why the centre refuses this handheld; then nothing was taken */
};

struct service_bundle_io {
    /* The bundle: some of its next bytes; 0 at the end; -errno. */
    ssize_t (*read)(void *user, void *ret, size_t len);
    /* The file of receipts: its next bytes. 0 or -errno, which ends the import. */
    int (*receipts)(void *user, struct bytes bytes);
    void (*told)(void *user, const struct service_bundle_report *so_far);
    void (*fault)(void *user, const char *line); /* something was not taken */
    void *user;
};

/* Takes what a bundle carries as if it had come over the network, part by part, and gives receipts for what
 * the centre then has; a bundle may come again, or when some of it has come another way. Runs beside a serve.
 * 0 with what became of it in the report. Nothing was taken: -EBADMSG it is no bundle; -EPROTONOSUPPORT one
 * of another version; -EKEYREJECTED it is sealed to another centre; -EACCES see `refusal`; -EWOULDBLOCK
 * another import is running. Otherwise -errno: what was taken stays, and it is to be imported again. */
int service_import_bundle(
    struct service *service, const struct service_bundle_io *io, struct service_bundle_report *ret);

/* ---- admin (command line and console) ---- */

/* A resync that an admin has asked for. */
struct service_asked_resync {
    enum audit_level level;
    int64_t asked_ms, delivered_ms, finished_ms; /* 0: not yet */
    bool has_counts;                             /* the handheld has told what it found and sent */
    bool is_complete;            /* and has all that it was asked for: nothing is in neither place */
    const char *problem;         /* why the last try failed, or NULL; it is tried again */
    struct resync_counts counts; /* until it is finished: the records that were checked so far */
};
#define SERVICE_ASKED_RESYNCS_MAX 3u /* one of each level */

struct service_device {
    struct uuid id;
    const char *name, *inspector;
    int64_t enrolled_ms, last_seen_ms;
    bool revoked;
    uint64_t logs, records, quarantined, blobs_missing, alarms;
    bool over_quota, photos_over_quota; /* now; alarms of their own, which end by themselves */
    const char *last_resync;            /* one line, or NULL */
    struct service_asked_resync asked_resyncs[SERVICE_ASKED_RESYNCS_MAX];
    size_t asked_resync_count;
};

int service_token_make(struct service *service, const char *name, const char *inspector, uint64_t valid_s,
    uint8_t ret_token[ENROL_TOKEN_BYTES]);
int service_each_device(
    struct service *service, int (*each)(void *user, const struct service_device *device), void *user);
/* One that a restored database does not know can be revoked, and one that was revoked can be restored.
 * -ENOENT it cannot be restored: it is not known, and was not revoked; -EFBIG the list is full. */
int service_revoke(struct service *service, const struct uuid *device, bool revoked);
/* Asks these devices, or all (NULL), for a resync with their next exchange. Count of devices asked, or -errno
 * when nobody was; -ENOENT one is not known. */
int service_ask_resync(
    struct service *service, const struct uuid *devices, size_t count, enum audit_level level);
/* The one that signs now for who knows all of them. Valid as long as the service. */
const struct verify_key *service_receipt_key(struct service *service);

/* ---- receipt keys and CAs (server/service_trust.c) ---- */

struct service_key {
    size_t number; /* from 1 */
    const struct verify_key *key;
    int64_t valid_from_ms; /* of the first 0 */
    bool is_current, is_retired;
    uint64_t handhelds; /* that are not known to know of a newer one */
};
/* `ret_behind`: how many handhelds are not known to have heard the newest statement; NULL: none are counted,
 * and the storage is not looked at. */
int service_each_key(struct service *service, int (*each)(void *user, const struct service_key *key),
    void *user, uint64_t *ret_behind);
/* Makes a successor of the newest key, durably, and says from when on it signs. A running serve follows.
 * -EMLINK there are TRUST_KEYS_MAX of them. */
int service_key_next(struct service *service, int64_t valid_from_ms);
/* Says which CAs (PEM) handhelds shall trust from their next exchange on, in place of those before. -EINVAL
 * empty or over the limit. */
int service_key_ca(struct service *service, struct bytes ca_pem);
/* The CAs that were said last; empty: none ever were. */
struct bytes service_cas_said(const struct service *service);

/* A projected finding, as `findings` prints it. Views are valid during the callback. */
struct service_finding {
    struct uuid id, device, log, parent; /* parent nil: none */
    uint64_t seq, arrival;
    enum record_kind kind;
    struct finding finding;
    struct bytes inspector;
    int64_t recorded_ms, received_ms;
    int32_t utc_offset_min;
    unsigned time_flags; /* proto/time_flags.h */
    const char *state;   /* stored, amended, withdrawn, quarantined */
    const char *reason;  /* quarantine */
    bool complete;       /* every blob it names is stored */
    /* stored, missing, erased, lost (on the handheld, before it was sent); as many as finding.photos */
    const char *const *photo_states, *const *preview_states;
};
struct service_finding_filter {
    bool has_device;
    struct uuid device;
    uint64_t since; /* arrival numbers above this */
};
int service_each_finding(struct service *service, const struct service_finding_filter *filter,
    int (*each)(void *user, const struct service_finding *finding), void *user);
/* The same for the one with this public id. -ENOENT. */
int service_finding_by_id(struct service *service, const struct uuid *id,
    int (*each)(void *user, const struct service_finding *finding), void *user);
/* Path of a stored blob, allocated. -ENOENT. */
int service_blob_path(struct service *service, const struct sha256 *sha256, char **ret);

/* ---- lawful erasure ---- */

#define ERASE_TEXT_BYTES_MAX 1024u /* of a reason, and of a name */

struct service_erase_target {
    bool is_photo;
    struct uuid id;       /* of a record: it goes with all that came after it about the same finding */
    struct sha256 sha256; /* of a photo, wherever it is named */
};

struct service_erasure {
    const struct service_erase_target *targets;
    size_t target_count;
    const char *by, *reason; /* one line of text each */
    bool photos_only;        /* of the records: their photos, they stay themselves */
    bool dry_run;
    void (*told)(void *user, const char *line); /* what goes, and what is wrong with a target */
    void *user;
};

struct service_erasure_report {
    uint64_t order; /* 0: none was given */
    size_t records, photos, photos_kept;
    bool is_finished; /* no copy is left in any file; else the serve that runs here goes on with it */
};

/* Gives a numbered order that turns records and photos into their hashes, here and on the handhelds, and
 * carries it out here. A record's photos go with it unless another finding names them. 0; -EINVAL a target is
 * not there, or a copy of what goes with it is damaged here, and was told; -ENODATA nothing is left to erase;
 * -E2BIG more than ORDER_ENTRIES_MAX; -EFBIG no room is left for orders. After any other error the order may
 * stand all the same: service_each_order tells. */
int service_erase(
    struct service *service, const struct service_erasure *erasure, struct service_erasure_report *ret);

struct service_order {
    uint64_t number;
    int64_t time_ms;
    struct bytes by, reason;
    uint64_t records; /* places at which records stood */
    uint64_t photos;
    size_t device_count;
    const struct uuid *waiting; /* the handhelds that have not carried it out yet */
    size_t waiting_count;
};
int service_each_order(
    struct service *service, int (*each)(void *user, const struct service_order *order), void *user);
bool service_erasure_is_finished(struct service *service);

struct service_check_report {
    uint64_t logs, records, records_bad, blobs, blobs_bad, findings_rebuilt;
};
/* Recomputes every log from its bytes and compares with leaves, tiles and signed receipts; `media` re-reads
 * blobs; `rebuild` makes the derived tables again from the records. One line a fault. 0 well, -EUCLEAN. */
int service_check(struct service *service, bool media, bool rebuild,
    void (*fault)(void *user, const char *line), void *user, struct service_check_report *ret);

struct service_backup_report {
    uint64_t records, blobs, blobs_copied, blobs_bad;
    uint64_t logs_broken; /* closed ones that are not whole in the database: handhelds keep their records */
    /* The backup that was there has this closed log whole, which the database has not any more: it stays. */
    bool has_kept_before;
    struct uuid kept_log;
};
/* Copies all that the centre has to a directory from which it can be served: keys and revocations, one moment
 * of the database, then every photo that this moment names as stored. What is there of an earlier backup is
 * used and replaced. When all of it is durable, the photos are marked as backed up, and handhelds may free
 * them. `told` (may be NULL) is called after each photo; `fault` with a line for each one that could not be
 * copied. 0; -EUCLEAN some could not, or (see the report) the backup before was kept; -EEXIST the directory
 * holds another centre's; -ENOTEMPTY somebody has served from it; -EWOULDBLOCK another backup goes there. */
int service_backup(struct service *service, const char *target,
    void (*told)(void *user, const struct service_backup_report *so_far),
    void (*fault)(void *user, const char *line), void *user, struct service_backup_report *ret);

struct service_metrics {
    uint64_t records_stored, records_quarantined, exchanges, commits, group_jobs, blobs_stored, blob_bytes,
        refusals, forks;
    uint64_t commit_us_total;
};
void service_metrics(struct service *service, struct service_metrics *ret);
/* Work that no request waits for, in small steps: the index of public ids built behind in sorted batches,
 * expired partials removed, the write-ahead log moved into the database. Returns 1 when more is left, 0 when
 * nothing, -errno. Writer thread. */
int service_housekeeping(struct service *service);
/* The part of it that comes with every few commits: under load a minute's ids would be many batches in a row,
 * and each holds up what is to be committed. 0, also when there is no batch of them yet, or -errno. Writer
 * thread. */
int service_index_ids(struct service *service);
