/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handheld's store: one SQLite database and a directory of photo files, shared by collector and daemon.
 *
 *   DATA/queue.db, -wal, -shm   records, tiles, receipts, photo rows
 *   DATA/queue.lock             the one write lock
 *   DATA/photos/ab/<sha256>     photo and preview files
 *   DATA/logs.txt               every log ever opened here
 *   DATA/ballast                the findings-first reserve
 *   DATA/damaged-*              what recovery set aside
 *
 * Called by `patrol` and `patrol-syncd`; knows nothing of HTTP or of policy. Every write transaction and
 * checkpoint is taken under the file lock, before BEGIN IMMEDIATE until COMMIT has returned
 * (docs/decisions.md, "WAL reset"). State is derived where it can be: a record is sent when its seq is below
 * the log's receipt; there is no state column to go wrong.
 *
 * Errors of all functions: -errno; -EBUSY lock not had in time; -ENOSPC disk full, nothing half-written;
 * -EUCLEAN database damaged, or set aside by another program (to be closed and opened again, which recovers
 * it); -EROFS a reader, or no right to write; -EPROTONOSUPPORT a newer schema that this program may not use.
 */
#pragma once

#include "base/world.h"
#include "proto/checkpoint.h"
#include "proto/merkle.h"
#include "proto/messages.h"

/* DATA, where neither an option nor the environment nor a configuration names it. */
#define HANDHELD_DATA_DEFAULT "/var/lib/gridpatrol"
#define HANDHELD_DATA_ENVIRONMENT "GRIDPATROL_DATA"

struct store;

enum store_role {
    STORE_COLLECTOR, /* appends, reads */
    STORE_DAEMON,    /* and applies receipts, checkpoints the WAL, sweeps orphans, recovers */
    STORE_READER,    /* never writes; -ENOENT when there is no store yet */
};

#define STORE_LOCK_WAIT_MS 10000u
#define STORE_APPEND_MAX 256u
#define STORE_RESERVE_BYTES (4u * 1024u * 1024u) /* ballast: photos stop, text goes on */

/* What opening found and did, for the program to say in plain words. */
struct store_opened {
    bool created;
    bool recovered;            /* the database was damaged or gone: a new log goes on */
    uint64_t records_salvaged; /* re-homed from the damaged database */
    char set_aside[128];       /* name of the directory with the damaged files, or "" */
};

/* Opens or creates the store in `directory` (which is created, setgid, if missing). A damaged or missing
 * database is recovered: its files are set aside, a new log goes on with all that was not acknowledged.
 * Readers do not recover: -EUCLEAN. `ret_opened` may be NULL. */
int store_open(const struct world *world, const char *directory, enum store_role role, struct store **ret,
    struct store_opened *ret_opened);
void store_free(struct store *store);
DEFINE_CLEANUP(struct store, store_free);
#define _cleanup_store_ _cleanup_(store_free_cleanup)

/* ---- appending (collector; daemon for its own events) ---- */

struct store_photo {
    struct photo photo; /* as the record names it */
    bool urgent;
};

struct store_entry {
    struct bytes record; /* encoded; at most RECORD_CAPTURE_BYTES_MAX */
    enum record_kind kind;
    const struct store_photo *photos; /* that this record is the first to name; files already in place */
    size_t photo_count;
    bool is_urgent;                /* it speaks of an urgent finding */
    bool has_parent;               /* amendment, withdrawal: which record it is about */
    struct position_in_log parent; /* as its `parent` field names it: `recorded_at` of a store_record */
};

struct store_appended {
    struct position_in_log at;
    struct uuid id;
};

/* What `store_append` needs to write records of its own before the caller's: `opened` for a new log, a device
 * event after a boot. */
struct store_author {
    struct bytes inspector;
    struct bytes software;
};

/* Appends 1..STORE_APPEND_MAX records to the current findings log in one transaction, durable when it returns
 * 0. Opens a log (reason new or rotated) when there is none or the current one is to be left. -EMSGSIZE a
 * record is too long; -ENOENT a photo's file is not in place (put it again). */
int store_append(struct store *store, const struct store_author *author, const struct store_entry *entries,
    size_t count, struct store_appended *ret);

/* Copies a photo from an open file into the photo directory: temp, hash while writing, fsync, rename, fsync
 * directory. Safe when it is there already. Nothing refers to it until a record does; the sweep removes what
 * was never named. -ENOSPC leaves the reserve whole. */
int store_photo_put_file(struct store *store, int fd, struct sha256 *ret_sha256, uint64_t *ret_size);
int store_photo_put_bytes(struct store *store, struct bytes content, struct sha256 *ret_sha256);

/* ---- reading ---- */

enum record_state { RECORD_QUEUED, RECORD_SENT, RECORD_QUARANTINED };
const char *record_state_name(enum record_state state);

/* A record may have been re-homed: then the one that counts stands at `at` in a later log, and carries inside
 * it the record as it was recorded first, which kept its id. For all others `recorded_*` are the same as
 * `at`, `kind` and `record`. Proofs are about `at` and `record`; people know `id` and `recorded`. */
struct store_record {
    struct position_in_log at;
    struct uuid id;
    struct sha256 leaf;
    enum record_kind kind;
    enum record_state state;
    struct bytes record; /* valid during the callback, or as the function says */
    const char *reason;  /* of the quarantine, or NULL; valid like `record` */
    struct position_in_log recorded_at;
    enum record_kind recorded_kind;
    struct bytes recorded; /* a view into `record` */
    bool carried_over;     /* re-homed since: a later record carries this one. Never in lists */
    bool is_erased;        /* by order of the centre: only the leaf is left, `record` is empty */
    uint64_t erased_by;    /* the order's number, 0: not known any more */
};

struct store_filter {
    bool has_state;
    enum record_state state;
    bool findings_only; /* findings, amendments and withdrawals: what people recorded */
};

/* Calls `each` in order of appending; stops when it returns non-zero and returns that. `filter` may be NULL.
 * The callback may read from the store, but not list. */
int store_each_record(struct store *store, const struct store_filter *filter,
    int (*each)(void *user, const struct store_record *record), void *user);
/* Finds a record by public id; `ret_bytes` takes a copy of its bytes and `ret->record` views it. -ENOENT. */
int store_find(
    struct store *store, const struct uuid *id, struct buffer *ret_bytes, struct store_record *ret);
/* Newest amendment and the withdrawal of a record, if any. `ret_amendment` is set when `*ret_amended`. -EIDRM
 * one of them was pruned: which version is the newest only the centre knows. */
int store_later_versions(struct store *store, const struct position_in_log *of, bool *ret_amended,
    struct position_in_log *ret_amendment, bool *ret_withdrawn);
int store_read(struct store *store, const struct position_in_log *at, struct buffer *ret_bytes,
    struct store_record *ret);

enum blob_role { BLOB_PHOTO = 0, BLOB_PREVIEW = 1 };
enum blob_state {
    BLOB_PENDING = 0,
    BLOB_STORED = 1,
    BLOB_BACKED_UP = 2,
    BLOB_FREED = 3,
    BLOB_STATE_LOST = 4
};
const char *blob_role_name(enum blob_role role);
const char *blob_state_name(enum blob_state state);

struct store_blob {
    int64_t number; /* row; order of capture */
    struct sha256 sha256;
    uint64_t size;
    enum blob_role role;
    enum blob_state state;
    bool urgent;
    bool record_sent; /* the first record that names it has a receipt */
};

int store_blob_find(struct store *store, const struct sha256 *sha256, struct store_blob *ret); /* -ENOENT */
/* 1 when it waits to be sent, 0 when not, or it is not known; -EUCLEAN when it would never be. */
int store_blob_is_pending(struct store *store, const struct sha256 *sha256);
/* Path of the file, allocated. */
char *store_blob_path(struct store *store, const struct sha256 *sha256);
/* Reads up to `len` bytes at an offset. -ENOENT the file is gone. */
ssize_t store_blob_read(
    struct store *store, const struct sha256 *sha256, uint64_t offset, void *ret, size_t len);

struct store_status {
    bool has_log;
    struct uuid log; /* the current findings log */
    uint64_t log_size, receipt_size;
    /* What people recorded: findings, amendments, withdrawals, each counted once and in one state. The
     * store's own records (opened, device events) are not in these three. */
    uint64_t records_queued, records_sent, records_quarantined;
    int64_t oldest_queued_at_ms; /* wall clock of the oldest queued one, 0: none */
    uint64_t photos_pending;     /* previews included */
    uint64_t previews_pending;
    uint64_t bytes_pending; /* all records, the store's own too, and photos */
    uint64_t record_bytes_pending;
    int64_t receipt_time_ms; /* of the newest receipt, server's clock, 0: none */
    uint64_t blobs_lost;
    uint64_t free_bytes;
    uint64_t logs;
    uint64_t records_pruned;          /* of those sent: only the centre and its backup have them */
    uint64_t photos_held, held_bytes; /* at the centre, and still here as they may not be freed yet */
};
/* Not slower at a million records than at a thousand: counts come from positions, sums from rows kept up to
 * date. */
int store_status(struct store *store, struct store_status *ret);
/* A number that changes whenever another process has committed: cheap. -EUCLEAN when the files were taken
 * away or set aside: to be opened again. */
int store_change_counter(struct store *store, uint64_t *ret);

/* ---- the outbox (daemon) ---- */

struct store_log {
    int64_t number;
    struct uuid id;
    enum log_kind kind;
    bool closed; /* no more appends; a successor exists */
    /* What is to be sent ends at `size`: of a log whose rest was re-homed this is where that rest began. */
    uint64_t size, receipt_size;
    bool has_receipt;
    bool may_have_holes; /* it was left with its rest re-homed: then it may have no root any more, -EUCLEAN */
    uint64_t pruned_size; /* the records below are not here any more, as at `pruned_ms` the centre said ... */
    int64_t pruned_ms;    /* ... by its clock that a backup has them */
};
/* Logs in order of opening; at most `max`. Those complete and closed are left out when `unfinished_only`. */
int store_logs(
    struct store *store, bool unfinished_only, struct store_log *ret, size_t max, size_t *ret_count);

/* The leaf of one record, also of an erased one. -EUCLEAN. */
int store_leaf(struct store *store, const struct uuid *log, uint64_t seq, struct sha256 *ret);
/* Reads records first_seq.. of a log into `ret_bytes` and views of them into `ret` until `max_count` or
 * `max_bytes` (at least one record, if any). One that was erased by order is empty. A record that the disk
 * has lost ends the run: -EUCLEAN when it is the first: then, if it was never sent, the store is to be opened
 * again, which recovers it. -EIDRM when the first one was pruned. */
int store_outbox_read(struct store *store, const struct uuid *log, uint64_t first_seq, size_t max_count,
    size_t max_bytes, struct buffer *ret_bytes, struct bytes *ret, size_t *ret_count);
/* Root of the first `size` records. -ERANGE when there are fewer; -EIDRM when it takes pruned ones. */
int store_root_at(struct store *store, const struct uuid *log, uint64_t size, struct sha256 *ret);
/* Proofs: a source over this log's kept leaves and tiles; valid while the store is open and used from one
 * place at a time. */
int store_merkle_source(struct store *store, const struct uuid *log, struct merkle_source *ret);
/* The newest receipt's note. -ENOENT. */
int store_receipt(struct store *store, const struct uuid *log, uint64_t *ret_size, struct buffer *ret_note);

/* Takes a receipt that the caller has verified (signatures, origin): checks once more that its root is this
 * log's root at `size` (-EBADMSG; -ERANGE when the log is shorter: this handheld was set back) and keeps it;
 * the receipt may also be smaller than the one held (the server went back). */
int store_apply_receipt(struct store *store, const struct uuid *log, const struct checkpoint *checkpoint,
    uint64_t time_s, struct bytes note, const struct quarantined *quarantined, size_t quarantined_count);
/* Where the records stand that count as quarantined, in order of appending, behind `*cursor`, which it moves
 * on: 0 is before the first, and comes again after the last. */
int store_quarantined(
    struct store *store, int64_t *cursor, struct position_in_log *ret, size_t max, size_t *ret_count);
/* The server could apply these since: they count as sent. Any that do not count as quarantined are passed
 * over. */
int store_release(struct store *store, const struct position_in_log *released, size_t count);
/* True while the newest record of an urgent finding has no receipt. */
int store_urgent_unsent(struct store *store, bool *ret);
/* The server went back to nothing: no receipt is held any more. */
int store_drop_receipt(struct store *store, const struct uuid *log);
/* Leaves the current log: it is not appended to any more, and the next one opens with `reason`. With
 * OPEN_FORK and OPEN_RECOVERED every record at or above the receipt is re-homed into the new log in the same
 * transaction, bytes unchanged. A log that was left before is not left again, but with those two reasons what
 * it still held goes into the current log. */
int store_leave_log(struct store *store, const struct store_author *author, const struct uuid *log,
    enum open_reason reason, struct uuid *ret_new_log, uint64_t *ret_rehomed);

/* Blobs to send next, best first: previews before photos, urgent first, then order of capture; only of
 * records that have a receipt. */
int store_blobs_pending(struct store *store, struct store_blob *ret, size_t max, size_t *ret_count);
/* For a data carrier: blobs that are pending, or whose files may be here still (`all`), in the same order,
 * also of records without a receipt: those behind `after` (NULL: from the first) whose number is at most
 * `number_max`. */
int store_blobs_to_carry(struct store *store, bool all, const struct store_blob *after, int64_t number_max,
    struct store_blob *ret, size_t max, size_t *ret_count);
/* The number of the newest blob, 0: none. All records that name it or an older one are in the sizes of logs
 * that are read afterwards. */
int store_blobs_newest(struct store *store, int64_t *ret);
/* The same of one role and urgency alone. */
int store_blobs_pending_of(struct store *store, enum blob_role role, bool urgent, struct store_blob *ret,
    size_t max, size_t *ret_count);
/* Blobs in the state `stored`, in order of capture, with numbers above `after`: to ask whether they are
 * backed up.
 */
int store_blobs_stored(
    struct store *store, int64_t after, struct store_blob *ret, size_t max, size_t *ret_count);
/* `at_ms`: with BLOB_STORED the server's clock when it signed for it, otherwise 0. */
int store_blob_set_state(
    struct store *store, const struct sha256 *sha256, enum blob_state state, int64_t at_ms);
/* A photo that the centre misses, and that no row stands for here any more, or one that says it was lost: its
 * record was in a part of the database that recovery could not read. When its file is here and whole it is
 * pending again. 1 it is now; 0 not, also as long as no log has a receipt. */
int store_blob_adopt(struct store *store, const struct sha256 *sha256);
/* Photos found gone or damaged before they were sent: one device event that names them, and state lost. */
int store_blobs_lost(
    struct store *store, const struct store_author *author, const struct sha256 *lost, size_t count);

/* ---- lawful erasure (daemon) ---- */

/* Carries out orders of the centre: records turn into their leaves, in every log that holds them, and files
 * of photos go. What is not here, or stands here with another leaf, is passed over. When 0 is returned no
 * copy is left in the store's files and `store_orders_done` is the last order's number; otherwise (-EBUSY: a
 * reader was in the way) it is all to be done again, which may be done any number of times. */
int store_erase(struct store *store, const struct erasure_order *orders, size_t count);
/* The last order that was carried out; 0: none, also after a recovery: it is all to be done again. */
int store_orders_done(struct store *store, uint64_t *ret);
/* The order that has erased a photo; 0: none. */
int store_blob_erased_by(struct store *store, const struct sha256 *sha256, uint64_t *ret);
/* True while a damaged database is set aside, which no order reaches. */
int store_has_set_aside(struct store *store, bool *ret);

/* ---- keeping (daemon) ---- */

/* Moves the WAL into the database, under the lock, when it passes a limit (as this program's last commit saw
 * it). */
int store_checkpoint_wal(struct store *store, bool force);
/* Removes temporary files and photos that no record names and that are older than `older_than_ms`; makes the
 * ballast again when there is room. While a damaged database is set aside, which may name them, photos stay.
 */
int store_sweep(struct store *store, uint64_t older_than_ms, uint64_t *ret_removed);
/* Full check: SQLite's own, every leaf against its bytes, every tile, sizes, photo files. 0 well, -EUCLEAN
 * with one line a fault; if the database has any, the next open recovers it. */
int store_check(struct store *store, void (*fault)(void *user, const char *line), void *user);
/* Something in it is not what it was. Leaves a mark that outlives the process: the next program that opens
 * the store to write looks at all of it, and recovers it when that is so. */
void store_mark_damage(struct store *store);
/* Frees photos by age, and says how many: only such as the server has said to be backed up, or stored
 * `age_ms` and more before `now_ms`. Both times are the server's: `now_ms` an instant that has certainly
 * passed there, so that a wrong clock of this handheld frees nothing. */
int store_free_photos(struct store *store, int64_t now_ms, uint64_t age_ms, uint64_t *ret_freed);

/*
 * Pruning: of a log that was closed in order and is wholly at the centre and in its backup the records go, a
 * whole tile at a time; tiles, the records of the last, unfinished one, receipt and the log's row stay. So
 * every root at a tile's end, and that of the whole log, can still be had. What is listed for a reason of its
 * own stays as well: what was erased by order, or is in quarantine.
 *
 *   prunable   the oldest log that may go: its last receipt is `age_ms` and more before `now_ms`, as with
 *              photos; nothing older waits; none of its photos is still to be sent or to be freed. -ENOENT
 *   prune      the centre has signed that a backup holds `size` records of it with this root. -ENOENT it may
 *              not go; -EBADMSG that is not this log. From now on its records count as gone
 *   prune_some removes some of them; true: there are more
 *   prune_stop the centre lacks them after all: what was not removed yet counts as what is here again
 */
int store_prunable(struct store *store, int64_t now_ms, uint64_t age_ms, struct uuid *ret_log);
int store_prune(struct store *store, const struct uuid *log, uint64_t size, const struct sha256 *root,
    int64_t now_ms, uint64_t age_ms);
int store_prune_some(struct store *store, bool *ret_more);
int store_prune_stop(struct store *store, const struct uuid *log);

/* Builds the index of public ids as far as it can be built; store_find and store_sweep do it too. */
int store_index_ids(struct store *store);

/* Small settings that survive: text by key, e.g. "last_server_time_ms". -ENOENT. */
int store_setting(struct store *store, const char *key, struct buffer *ret);
#define STORE_SETTING_SERVER_TIME                                                                            \
    "server_time" /* "<server Unix ms> <boot clock ms> <boot id hex>", of the last signed answer */
int store_set_setting(struct store *store, const char *key, struct bytes value);
