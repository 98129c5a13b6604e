/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store's own files share: the connection, statements, transactions under the file lock, and the
 * rows of logs. Included by store/ *.c only.
 *
 * Keys. A record's row is keyed by (log number << 40 | seq), a tile's by (log number << 32 | tile): an append
 * goes to the right end of one B-tree and dirties one page. Logs are numbered in order of opening, so the
 * order of keys is the order of appending.
 *
 * Kinds. The column `records.kind` is the record's kind; for a re-homed record the kind of the record inside
 * stands above it: 21 + 256 * inner. So what people recorded is counted without decoding anything.
 */
#pragma once

#include "base/files.h"
#include "base/write_mark.h"
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <sqlite3.h>

#define DATABASE_NAME "queue.db"
#define WAL_NAME "queue.db-wal"
#define SHM_NAME "queue.db-shm"
#define LOCK_NAME "queue.lock"
#define DAMAGE_MARK_NAME "queue.damaged"  /* a running program met damage: the next open recovers */
#define WRITING_MARK_NAME "queue.writing" /* a commit's end is not known: the WAL is to be written again */
#define RECOVERY_MARK_NAME "queue.recovering" /* a recovery is under way: see recover.c */
#define SET_ASIDE_PREFIX "damaged-"           /* directories with what recovery set aside */
#define LOGS_NAME "logs.txt"
#define BALLAST_NAME "ballast"
#define PHOTOS_NAME "photos"
#define PHOTOS_TEMPORARY_NAME PHOTOS_NAME "/tmp"

#define PAGE_BYTES 4096u
/* https://www.sqlite.org/fileformat2.html#the_write_ahead_log */
#define WAL_HEADER_BYTES 32u
#define WAL_FRAME_HEADER_BYTES 24u
#define WAL_FRAME_BYTES (WAL_FRAME_HEADER_BYTES + PAGE_BYTES)
#define LOG_NUMBER_MAX ((INT64_C(1) << 23) - 1)
#define SEQ_BITS 40u
#define TILE_BITS 32u
#define SEQ_MAX (LOG_SIZE_MAX - 1)
/* A log is left for a new one when it has this many records, or when the centre's receipts have come into a
 * new year and it has a tile: closed logs can be pruned. */
#define LOG_ROTATE_RECORDS (UINT64_C(4) * 1000 * 1000)
#define STATEMENTS_MAX 128u
#define READ_ROWS_AT_ONCE 256u
#define READ_BYTES_AT_ONCE (1024u * 1024u)
/* The WAL is moved into the database when it is longer than this (in pages). It keeps its length afterwards:
 * writing over it again is cheaper than growing it. A program that finds it longer than the second one when
 * it commits first moves it too: whoever opens the store alone reads all of it, and does not live long. */
#define WAL_PAGES_MAX 256u
#define WAL_PAGES_FOUND_MAX 32u
#define WAL_KEPT_BYTES (4u * 1024u * 1024u)

struct statement_slot {
    const char *sql; /* by address: each statement's text is one static array */
    sqlite3_stmt *statement;
};

struct log_row {
    int64_t number;
    struct uuid id;
    enum log_kind kind;
    bool left; /* not appended to any more */
    bool has_rehomed;
    uint64_t rehomed_from; /* records from here on were carried into a later log */
    bool has_boot_id;
    struct uuid boot_id; /* of the last device event that named one */
    uint64_t size;
    uint64_t end; /* where what counts here ends: `rehomed_from` if there is one, else `size` */
    uint64_t receipt_size;
    int64_t receipt_time_s;
    uint64_t ids_size; /* public ids of the records below are in the index */
    /* Whole tiles: the records below were pruned, or are being pruned: those below `pruned_removed` are gone.
     * Their tiles are here. 0: none. */
    uint64_t pruned_size, pruned_removed;
    int64_t pruned_ms; /* when the centre said that a backup has them, by its clock */
};

/* There a log has no root any more: only tiles have. */
static inline bool log_is_pruned_within(const struct log_row *log, uint64_t size)
{
    return size < log->pruned_size && size % TILE_LEAVES != 0;
}

struct store {
    const struct world *world;
    char *directory;
    enum store_role role;
    sqlite3 *database;
    struct statement_slot statements[STATEMENTS_MAX];
    size_t statement_count;
    int lock; /* handle of the world, -1: none */
    bool locked;
    bool damage_marked;
    int64_t version;        /* of the tables; a reader may find older ones */
    bool disk_failed;       /* in the transaction under way */
    struct write_mark mark; /* set: what of the WAL is on the disk? */
    uint64_t wal_pages;     /* as the last commit here left it */
    uint64_t checkpoint_at; /* when to move the WAL next, in pages */
    bool has_boot_id;
    struct uuid boot_id;
    uint64_t rotate_records;   /* LOG_ROTATE_RECORDS, less in tests */
    int64_t merkle_log_number; /* of the source given out last */
    uint64_t merkle_pruned_size;
};

/* ---- database.c: connection, statements, errors, lock, transactions ---- */

/* Opens the connection; the schema is not looked at. */
int database_open(struct store *store);
void database_close(struct store *store);
/* The -errno for a result code of SQLite; marks the database as damaged where it says so. */
int database_error(struct store *store, int code);
/* Runs statements without parameters. */
int database_run(struct store *store, const char *sql);
/* The prepared statement for a text, which must be one static array. Reset by `_cleanup_statement_`; a
 * statement that is still in use is not given out again (asserted). */
int database_prepare(struct store *store, const char *sql, sqlite3_stmt **ret);
/* 1 a row, 0 done, -errno. */
int database_step(struct store *store, sqlite3_stmt *statement);
void statement_release(sqlite3_stmt **statement);
#define _cleanup_statement_ _cleanup_(statement_release)
void bind_u64(sqlite3_stmt *statement, int index, uint64_t value);
/* Borrowed until the statement is reset. */
void bind_bytes(sqlite3_stmt *statement, int index, struct bytes value);
struct bytes column_bytes(sqlite3_stmt *statement, int index);
/* Prepares, binds up to three integers, and reads one integer: 1 with the value, 0 no row or NULL, -errno. */
int database_read_number(
    struct store *store, const char *sql, const int64_t *arguments, size_t argument_count, int64_t *ret);

int store_lock(struct store *store);
void store_unlock(struct store *store);
/* Lock, BEGIN IMMEDIATE, `body`, COMMIT, unlock. When the disk is full the ballast is given up and all of it
 * is done once more, so `body` must bear being run twice. */
int store_transact(struct store *store, int (*body)(struct store *store, void *user), void *user);
/* The same for a caller that holds the lock and keeps it. */
int store_transact_locked(struct store *store, int (*body)(struct store *store, void *user), void *user);
/* A read transaction: all reads see the same state. */
int store_begin_reading(struct store *store, struct store **ret_reading);
void store_end_reading(struct store **reading);
#define _cleanup_reading_ _cleanup_(store_end_reading)
/* Moves the WAL into the database; the lock is held. */
int database_checkpoint(struct store *store);
/* And cuts it off, so that nothing of what was overwritten is left in it. -EBUSY a reader was in the way. */
int database_scrub(struct store *store);

/* ---- schema.c ---- */

/* Makes or migrates the tables. The lock is held. */
int schema_make(struct store *store);
/* The same in two steps: page size and WAL; then, in a write transaction, the tables. */
int schema_prepare(struct store *store);
int schema_migrate(struct store *store);
/* In a write transaction: from now on only programs that know of pruned records may use the database. */
int schema_note_pruned(struct store *store);
/* 0 usable as it is, 1 older: to be migrated, 2 nothing there yet, -EPROTONOSUPPORT, -EUCLEAN. */
int schema_look(struct store *store);
#define SCHEMA_WITH_ERASED 2
#define SCHEMA_WITH_PRUNED 3

/* ---- logs.c ---- */

static inline int64_t record_key(int64_t log_number, uint64_t seq)
{
    return (int64_t)((uint64_t)log_number << SEQ_BITS | seq);
}

static inline int64_t key_log_number(int64_t key)
{
    return key >> SEQ_BITS;
}

static inline uint64_t key_seq(int64_t key)
{
    return (uint64_t)key & SEQ_MAX;
}

static inline int64_t tile_key(int64_t log_number, uint64_t tile)
{
    return (int64_t)((uint64_t)log_number << TILE_BITS | tile);
}

/* All logs in order of opening, sizes included; allocated. */
int logs_read(struct store *store, struct log_row **ret, size_t *ret_count);
int log_find(struct store *store, const struct uuid *id, struct log_row *ret); /* -ENOENT */
int log_find_number(struct store *store, int64_t number, struct log_row *ret); /* -ENOENT */
/* The findings log that is appended to. -ENOENT. */
int log_current(struct store *store, struct log_row *ret);
/* In a write transaction: the current log, opened, rotated and told of a boot as needed. */
int log_for_append(struct store *store, const struct store_author *author, struct log_row *ret);
/* In a write transaction: opens a log after `predecessor` (NULL: none; it need not be in this database). */
int log_open(struct store *store, const struct store_author *author, enum open_reason reason,
    const struct uuid *predecessor, struct log_row *ret);
/* In a write transaction: appends the device event of a boot when the log has not been told of it. */
int log_tell_boot(struct store *store, const struct store_author *author, struct log_row *log);
/* Which records stand re-homed in which logs (carried.c). */
struct carried {
    struct position_in_log recorded_at;
    int64_t holder; /* log number */
};
struct carried_list {
    struct carried *rows;
    size_t count;
};
int carried_read(struct store *store, struct carried_list *ret);
void carried_done(struct carried_list *list);
bool carried_into_later(
    const struct carried_list *list, const struct position_in_log *recorded_at, int64_t log_number);
/* In a write transaction: carries everything of `from` at or above `first_seq` into `to`, but for what
 * `already` (may be NULL) finds in a later log. Adds to `ret_count`. */
int log_rehome(struct store *store, const struct store_author *author, const struct log_row *from,
    uint64_t first_seq, const struct carried_list *already, struct log_row *to, uint64_t *ret_count);
/* Finished: nothing of it will ever be sent again. */
static inline bool log_is_finished(const struct log_row *log)
{
    return log->left && log->receipt_size >= log->end;
}

/* logs.txt: one line a log ever opened here: number, id, reason, wall clock. */
struct logs_file_last {
    uint64_t lines;
    int64_t number_max;
    struct uuid id; /* of the last line */
};
int logs_file_read(struct store *store, struct logs_file_last *ret);
int logs_file_add(struct store *store, const struct log_row *log, enum open_reason reason);
/* Calls `each` for each well-formed line. */
int logs_file_each(
    struct store *store, int (*each)(void *user, int64_t number, const struct uuid *id), void *user);

/* ---- marks.c: four bytes that tie a row to its key ---- */

uint32_t record_mark(int64_t key, int64_t stored_kind, const struct sha256 *leaf);
uint32_t log_mark(int64_t number, const struct uuid *id);

/* ---- append.c ---- */

#define KIND_INNER_FACTOR 256
static inline int64_t kind_stored(enum record_kind kind, int64_t inner)
{
    return (int64_t)kind + KIND_INNER_FACTOR * inner;
}
/* The kinds of the column that are what people recorded: findings, amendments, withdrawals, re-homed or not.
 */
#define PEOPLE_KINDS "(17,18,19,4373,4629,4885)"
bool kind_is_of_people(int64_t stored_kind);

/* In a write transaction: notes that `child` is about an earlier record, given where that was recorded first.
 */
int child_add(struct store *store, const struct position_in_log *parent, int64_t child);
/* In a write transaction: the next record of `log`, whose size goes up; completes its tile. */
int append_row(struct store *store, struct log_row *log, int64_t stored_kind, struct bytes record,
    const struct sha256 *leaf);
/* Encodes a record of the store's own and appends it. `record` needs no times: they are filled in here. */
int append_own(struct store *store, struct log_row *log, const struct store_author *author,
    struct record *record, int64_t inner_kind);
/* Writes the row of a whole tile that has just been filled. */
int tile_complete(struct store *store, int64_t log_number, uint64_t tile);
/* What stands below `size` in a log: records of people, and bytes of all records. */
struct log_sums {
    uint64_t people, bytes;
};
int log_root_at(struct store *store, int64_t log_number, uint64_t size, struct sha256 *ret);
/* 1 when the roots of the first `tiles` tiles give the frontiers that are kept with them, 0 when not. */
int log_tiles_fit(struct store *store, int64_t log_number, uint64_t tiles);
/* The frontier behind whole tiles. -EUCLEAN. */
int log_frontier_at(struct store *store, int64_t log_number, uint64_t tiles, struct merkle_frontier *ret);
/* The same of a log that has all its records, unless recovery has carried them over: else it is damage, which
 * the next open recovers. -EIDRM: it would take records that were pruned. */
int log_root_expected(struct store *store, const struct log_row *log, uint64_t size, struct sha256 *ret);
int log_sums_below(struct store *store, int64_t log_number, uint64_t size, struct log_sums *ret);

/* ---- read.c, ids.c, rehome.c ---- */

struct record_row {
    uint64_t seq;
    int64_t stored_kind;
    struct sha256 leaf;
    struct bytes bytes; /* empty: it was erased by order, and then what follows says where it stood first */
    bool is_erased;
    uint64_t erased_by; /* 0: not known */
    struct position_in_log first;
    struct sha256 first_leaf;
};
/* In a write transaction: every order counts as not carried out, so that the centre tells all of them again.
 */
int orders_forget(struct store *store);
/* Of a row without bytes, whose other fields are filled: what is known of its erasure. */
int erased_look(struct store *store, const struct log_row *log, struct record_row *row);
/* Where and as what a row was recorded first: itself, or what is inside a re-homed record. */
struct recorded {
    struct position_in_log at;
    enum record_kind kind;
    struct bytes bytes;
    struct uuid id;
};
struct recorded recorded_of(const struct log_row *log, const struct record_row *row);
/* The record inside a re-homed one, a view into its bytes. It takes no memory. -EBADMSG: it is none. */
int rehomed_inner(struct bytes bytes, struct position_in_log *ret_at, struct bytes *ret_record);
/* A row as the programs see it, its state included; views point where the row's do. `reason` NULL when it is
 * not in quarantine. */
void record_present(
    const struct log_row *log, const struct record_row *row, const char *reason, struct store_record *ret);
/* store_read for a log that is at hand. */
int store_read_row(struct store *store, const struct log_row *log, uint64_t seq, struct buffer *ret_bytes,
    struct store_record *ret);
/* In a write transaction: what other tables say about a record that now stands at `key` (it stood at
 * `old_key`, or nowhere: -1): which blobs it names, which record it is about. */
int rows_about_record(struct store *store, const struct position_in_log *recorded_at, struct bytes recorded,
    int64_t old_key, int64_t key);
/* In a write transaction: the records below `size` need not be here any more, those below `removed` are not.
 */
int pruned_put(struct store *store, int64_t log_number, uint64_t size, uint64_t removed, int64_t told_ms);
/* In a write transaction: what the index says of the records first .. end - 1 of a log that are gone. */
int ids_forget(struct store *store, int64_t log_number, uint64_t first, uint64_t end);
/* Appends the reason and a NUL to `ret`. 1 in quarantine, 0 not. */
int quarantine_reason(struct store *store, int64_t key, struct buffer *ret);

/* ---- blobs.c, photos.c ---- */

/* In a write transaction: the blobs that the record at `key` names. -ENOENT when a file is not in place. */
int blobs_add(struct store *store, const struct store_photo *photos, size_t count, int64_t key);
/* In a write transaction of a recovery: rows for the blobs that a record names, where there are none. Files
 * are not asked for: of a record that was sent a missing file is taken as freed. */
int blobs_restore(struct store *store, const struct finding *finding, int64_t key, bool is_sent);
/* In a write transaction: moves the blobs first named by a record to the record that carries it now. */
int blobs_move(struct store *store, const struct finding *finding, int64_t old_key, int64_t key);
/* What was not moved with a record, from `old_key` to the end of its log, waits for the one at `key` now. */
int blobs_follow(struct store *store, int64_t old_key, int64_t key);
/* In a write transaction. */
int blob_set_state(struct store *store, const struct sha256 *sha256, enum blob_state state, int64_t at_ms);
/* Reads the file of a photo and says whether it is what its name says. -ENOENT. */
int photo_read_whole(
    struct store *store, const struct sha256 *sha256, uint64_t *ret_size, bool *ret_is_whole);
/* The photo's directory and file, under the store's directory. */
#define PHOTO_NAME_LEN (sizeof(PHOTOS_NAME) + 3 + SHA256_TEXT_LEN)
void photo_directory_name(uint8_t first, char ret[PHOTO_NAME_LEN + 1]);
void photo_name(const struct sha256 *sha256, char ret[PHOTO_NAME_LEN + 1]);

/* ---- settings.c ---- */

/* In a write transaction. */
int setting_put(struct store *store, const char *key, struct bytes value);
/* Number of the log whose receipts have come into a new year; decimal. */
#define SETTING_YEAR_OVER "year_over"
/* In a write transaction: the record at `key` speaks of an urgent finding; the newest one is kept. */
int urgent_note(struct store *store, int64_t key);

/* ---- ballast.c ---- */

int ballast_make(struct store *store);
/* 1 given up, 0 there was none. */
int ballast_release(struct store *store);
bool ballast_is_whole(struct store *store);

/* ---- recover.c, check.c ---- */

/* With the lock held and no connection open: sets the damaged files aside, makes a new database, carries over
 * what can be read. Leaves a connection open. Also goes on with a recovery that was broken off. */
int recover(struct store *store, struct store_opened *opened);
/* True when the WAL has lost something that was committed; no connection may be open. */
int wal_is_broken(struct store *store, bool *ret);
/* SQLite's own check, and every record against its leaf, tile and receipt. */
int database_is_sound(struct store *store, bool *ret);

/* ---- small things ---- */

/* A path under the store's directory; allocated. */
char *store_path(const struct store *store, const char *name);
/* The store's directory and the photo directories in it. */
int store_make_directories(struct store *store);
/* The files of the database, made before SQLite sees them: its own default mode would shut the group out, and
 * the WAL takes its mode from the database. */
int store_make_database_file(struct store *store);
/* Size of a file under it, or -ENOENT. */
int store_file_size(const struct store *store, const char *name, uint64_t *ret);
