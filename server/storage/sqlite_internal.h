/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SQLite storage from inside: shared by the files of this folder, nobody else.
 */
#pragma once

#include "base/write_mark.h"
#include "server/storage/storage.h"

#include <sqlite3.h>

#define SQLITE_DATABASE_NAME "centre.db"
#define SQLITE_LOCK_NAME "centre.lock"

enum sqlite_sql {
    SQL_ROLLBACK,
    SQL_STATE,
    SQL_SET_STATE,
    SQL_DEVICE_FIND,
    SQL_DEVICE_AT,
    SQL_DEVICE_CERTIFICATE,
    SQL_DEVICE_PUT,
    SQL_DEVICE_SEEN,
    SQL_RESYNC,
    SQL_SET_RESYNC,
    SQL_DEVICES,
    SQL_TOKEN_PUT,
    SQL_TOKEN_FIND,
    SQL_TOKEN_USE,
    SQL_TRUST_PUT,
    SQL_TRUST_EACH,
    SQL_COMMAND_PUT,
    SQL_COMMAND_DONE,
    SQL_COMMANDS,
    SQL_QUOTA_USE,
    SQL_SET_QUOTA_USE,
    SQL_PHOTO_BYTES,
    SQL_ASKED_RESYNC_PUT,
    SQL_ASKED_RESYNC_FIND,
    SQL_ASKED_RESYNCS,
    SQL_ALARM_PUT,
    SQL_LOG_FIND,
    SQL_LOG_AT,
    SQL_LOG_OPEN,
    SQL_LOG_NOTE,
    SQL_LOG_ADVANCE,
    SQL_LOG_FLAGS,
    SQL_LOG_BACKED_UP,
    SQL_SET_LOG_BACKED_UP,
    SQL_LOGS,
    SQL_RECORD_PUT,
    SQL_RECORD_AT,
    SQL_RECORDS,
    SQL_RECORDS_BYTES,
    SQL_TILE_PUT,
    SQL_TILES,
    SQL_FINDING_ADD,
    SQL_FINDING_PUT,
    SQL_FINDING_AT,
    SQL_FINDING_STATE,
    SQL_FINDINGS,
    SQL_FINDING,
    SQL_VERSION_PUT,
    SQL_VERSIONS,
    SQL_QUARANTINE,
    SQL_QUARANTINE_END,
    SQL_QUARANTINED,
    SQL_QUARANTINED_COUNT,
    SQL_AWAITED_PUT,
    SQL_AWAITED_END,
    SQL_AWAITED,
    SQL_REHOMED_PUT,
    SQL_REHOMED_FIND,
    SQL_REHOMED_ANY,
    SQL_CLOCK_MARK_PUT,
    SQL_CLOCK_MARK,
    SQL_IDS_NEXT,
    SQL_ID_PUT,
    SQL_ID_FIND,
    SQL_ID_SEGMENT_PUT,
    SQL_ID_SEGMENT_BEFORE,
    SQL_ID_SEGMENT_FIND,
    SQL_BLOB_FIND,
    SQL_BLOB_ADD,
    SQL_BLOB_NAME,
    SQL_BLOB_WANT,
    SQL_BLOB_WANT_AGAIN,
    SQL_BLOB_UNWANT,
    SQL_BLOB_UNWANT_OF,
    SQL_BLOB_IS_WANTED,
    SQL_BLOB_IS_NAMED,
    SQL_BLOB_STATE,
    SQL_BLOB_BACKED_UP,
    SQL_BLOBS_WANTED,
    SQL_BLOBS_OF,
    SQL_BLOBS_ALL,
    SQL_BLOB_NAMERS,
    SQL_FORGET_FINDING, /* the first of what is derived from one record ... */
    SQL_FORGET_VERSIONS,
    SQL_FORGET_QUARANTINED,
    SQL_FORGET_AWAITED,
    SQL_FORGET_REHOMED,
    SQL_FORGET_ID,
    SQL_FORGET_ID_OF_SEGMENT,
    SQL_FORGET_CLOCK_MARK,
    SQL_FORGET_WANTED,
    SQL_FORGET_BLOB_NAMES, /* ... and the last */
    SQL_ORDERS_DONE,
    SQL_SET_ORDERS_DONE,
    SQL_ORDERS_DONE_MAX,
    SQL_DEVICE_KEYS,
    SQL_DEVICE_KEY_PUT,
    SQL_DEVICE_KEY_DROP,
    SQL_DEVICE_SET_KEY,
    SQL_COUNT,
};
/* The text of each statement, and the whole schema (sqlite_schema.c). */
extern const char *const sqlite_sql_texts[SQL_COUNT];
extern const char sqlite_schema_text[];
/* What was added since: makes what is missing. */
extern const char *const sqlite_schema_additions[]; /* "name(columns) ...", to NULL */
extern const char sqlite_derived_clear_text[];
extern const char sqlite_backups_forget_text[];

#define CENTRE_SCHEMA 1        /* of this program */
#define CENTRE_SCHEMA_OLDEST 1 /* a program of at least this schema may use what this one writes */

struct sqlite {
    struct storage storage; /* first: a session is handed out by its address */
    const struct world *world;
    char *path, *wal_path, *lock_path, *mark_path;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    int lock; /* handle, -1: a reader */
    bool holds_lock;
    struct write_mark mark; /* set: what of the WAL is on the disk? */
    int wal_pages;          /* in the write-ahead log after the last commit */
};

static inline struct sqlite *sqlite_of(struct storage *storage)
{
    return (struct sqlite *)storage;
}

/* -errno of SQLite's result code, never 0. */
int sqlite_errno(int code);
/* The prepared statement, ready to be bound; NULL with `*ret_error` when it cannot be had. */
sqlite3_stmt *sqlite_statement(struct sqlite *sqlite, enum sqlite_sql which, int *ret_error);
/* Steps: 1 a row, 0 done, -errno. After anything but a row the statement is reset. */
int sqlite_step(sqlite3_stmt *statement);
/* Steps a statement that yields no row. */
int sqlite_run(sqlite3_stmt *statement);
/* Binding and reading of our types. Views that were bound must live until the statement has run. */
void sqlite_bind_number(sqlite3_stmt *statement, int index, uint64_t value);
void sqlite_bind_signed(sqlite3_stmt *statement, int index, int64_t value);
void sqlite_bind_bytes(sqlite3_stmt *statement, int index, struct bytes value);
void sqlite_bind_text(sqlite3_stmt *statement, int index, struct bytes value);
uint64_t sqlite_number(sqlite3_stmt *statement, int column);
struct bytes sqlite_bytes(sqlite3_stmt *statement, int column);
/* Copies a column of exactly `len` bytes. False, and zeros, when it has another length. */
bool sqlite_exact(sqlite3_stmt *statement, int column, uint8_t *ret, size_t len);

/* The verbs: storage.h says what each does. */

/* sqlite.c */
int sqlite_state(struct storage *storage, struct storage_state *ret);
int sqlite_set_state(struct storage *storage, const struct storage_state *state);

/* sqlite_people.c */
int sqlite_device_find(struct storage *storage, const struct uuid *id, struct stored_device *ret);
int sqlite_device_at(struct storage *storage, uint64_t number, struct stored_device *ret);
int sqlite_device_certificate(struct storage *storage, uint64_t device, struct buffer *ret);
int sqlite_device_put(struct storage *storage, const struct device_certificate *content,
    struct bytes certificate, int64_t now_ms, uint64_t *ret_number);
int sqlite_device_seen(struct storage *storage, uint64_t device, int64_t now_ms);
int sqlite_device_keys(struct storage *storage, uint64_t device,
    struct stored_device_key ret[DEVICE_KEYS_MAX], size_t *ret_count);
int sqlite_device_key_put(struct storage *storage, uint64_t device, const struct stored_device_key *key);
int sqlite_device_key_drop(
    struct storage *storage, uint64_t device, const uint8_t public_key[SIGN_PUBLIC_BYTES]);
int sqlite_device_set_key(struct storage *storage, uint64_t device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], struct bytes certificate);
int sqlite_device_resync(struct storage *storage, uint64_t device, struct stored_resync *ret);
int sqlite_device_set_resync(struct storage *storage, uint64_t device, const struct stored_resync *resync);
int sqlite_devices_each(
    struct storage *storage, int (*each)(void *user, const struct stored_device_line *line), void *user);
int sqlite_token_put(struct storage *storage, const struct sha256 *token, const char *name,
    const char *inspector, int64_t expires_ms);
int sqlite_token_find(struct storage *storage, const struct sha256 *token, struct stored_token *ret,
    struct buffer *ret_name, struct buffer *ret_inspector);
int sqlite_token_use(struct storage *storage, const struct sha256 *token, const struct uuid *device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES]);
int sqlite_trust_put(struct storage *storage, struct bytes who, const struct stored_trust *trust);
int sqlite_trust_each(
    struct storage *storage, int (*each)(void *user, uint64_t known, uint64_t devices), void *user);
int sqlite_command_put(struct storage *storage, uint64_t device, const struct command *command);
int sqlite_command_done(struct storage *storage, uint64_t device, const uint8_t id[COMMAND_ID_BYTES]);
int sqlite_commands(
    struct storage *storage, uint64_t device, struct command *ret, size_t max, size_t *ret_count);
int sqlite_quota_use(struct storage *storage, uint64_t device, struct quota_use *ret);
int sqlite_set_quota_use(struct storage *storage, uint64_t device, const struct quota_use *use);
int sqlite_photo_bytes(struct storage *storage, uint64_t device, uint64_t *ret);
int sqlite_asked_resync_put(
    struct storage *storage, uint64_t device, const struct stored_asked_resync *asked);
int sqlite_asked_resync_find(struct storage *storage, uint64_t device, const uint8_t id[COMMAND_ID_BYTES],
    struct stored_asked_resync *ret);
int sqlite_asked_resyncs(struct storage *storage, uint64_t device,
    struct stored_asked_resync ret[ASKED_RESYNCS_MAX], size_t *ret_count);
int sqlite_alarm_put(struct storage *storage, enum alarm_kind kind, uint64_t device, uint64_t key,
    int64_t now_ms, const char *text, bool *ret_new);

/* sqlite_logs.c */
int sqlite_log_find(struct storage *storage, const struct uuid *id, struct stored_log *ret);
int sqlite_log_at(struct storage *storage, uint64_t number, struct stored_log *ret);
int sqlite_log_open(struct storage *storage, struct stored_log *log);
int sqlite_log_note(struct storage *storage, uint64_t log, struct buffer *ret);
int sqlite_log_advance(struct storage *storage, const struct stored_log *log, struct bytes note);
int sqlite_log_set_flags(struct storage *storage, const struct stored_log *log);
int sqlite_log_backed_up(struct storage *storage, uint64_t log, struct log_backed_up *ret);
int sqlite_log_set_backed_up(struct storage *storage, uint64_t log, const struct log_backed_up *backed_up);
int sqlite_backups_forget(struct storage *storage);
int sqlite_logs_each(
    struct storage *storage, int (*each)(void *user, const struct stored_log *log), void *user);
int sqlite_record_put(struct storage *storage, const struct stored_record *row);
int sqlite_record_at(
    struct storage *storage, uint64_t key, struct buffer *ret_bytes, struct stored_record *ret);
int sqlite_records_each(struct storage *storage, uint64_t first_key, uint64_t end_key, bool with_bytes,
    int (*each)(void *user, const struct stored_record *record), void *user);
int sqlite_tiles_put(
    struct storage *storage, uint64_t log, uint64_t first, const struct sha256 *roots, size_t count);
int sqlite_tiles(
    struct storage *storage, uint64_t log, uint64_t first, size_t count, struct sha256 *ret, bool *ret_known);

/* sqlite_findings.c */
int sqlite_finding_put(struct storage *storage, const struct stored_finding *row);
int sqlite_finding_at(struct storage *storage, uint64_t key, struct stored_finding *ret);
int sqlite_finding_set_state(struct storage *storage, uint64_t key, enum finding_state state);
int sqlite_findings_each(struct storage *storage, const struct stored_findings_filter *filter,
    int (*each)(void *user, const struct stored_finding *finding), void *user);
int sqlite_finding(struct storage *storage, uint64_t key,
    int (*each)(void *user, const struct stored_finding *finding), void *user);
int sqlite_version_put(struct storage *storage, uint64_t root, uint64_t key);
int sqlite_versions(
    struct storage *storage, uint64_t root, uint64_t *ret_keys, size_t max, size_t *ret_count);
int sqlite_quarantine(struct storage *storage, uint64_t key, const char *reason);
int sqlite_quarantine_end(struct storage *storage, uint64_t key);
int sqlite_quarantined_each(struct storage *storage, uint64_t first_key, uint64_t end_key,
    int (*each)(void *user, uint64_t key, const char *reason), void *user);
int sqlite_quarantined_count(
    struct storage *storage, uint64_t first_key, uint64_t end_key, uint64_t *ret_count);
int sqlite_awaited_put(struct storage *storage, const struct position_in_log *parent, uint64_t key);
int sqlite_awaited_end(struct storage *storage, const struct position_in_log *parent, uint64_t key);
int sqlite_awaited(struct storage *storage, const struct uuid *log, uint64_t first_seq, uint64_t end_seq,
    uint64_t *ret_keys, size_t max, size_t *ret_count);
int sqlite_rehomed_put(
    struct storage *storage, const struct position_in_log *first, const struct uuid *id, uint64_t key);
int sqlite_rehomed_find(
    struct storage *storage, const struct position_in_log *first, const struct uuid *id, uint64_t *ret_key);
int sqlite_rehomed_any(struct storage *storage, const struct uuid *log);
int sqlite_clock_mark_put(struct storage *storage, uint64_t key, int64_t receipt_ms);
int sqlite_clock_mark(struct storage *storage, uint64_t key, int64_t *ret_receipt_ms);
int sqlite_derived_clear(struct storage *storage);
int sqlite_ids_build(struct storage *storage, struct storage_state *state);
int sqlite_id_put(struct storage *storage, const struct uuid *id, uint64_t key);
int sqlite_id_find(struct storage *storage, const struct uuid *id, uint64_t *ret_key);

/* sqlite_erasure.c */
int sqlite_record_forget(struct storage *storage, uint64_t key);
int sqlite_blob_namers(struct storage *storage, const struct sha256 *sha256,
    int (*each)(void *user, const struct uuid *device), void *user);
int sqlite_orders_done(struct storage *storage, uint64_t device, uint64_t *ret);
int sqlite_set_orders_done(struct storage *storage, uint64_t device, uint64_t number);
int sqlite_orders_done_max(struct storage *storage, uint64_t *ret);

/* sqlite_blobs.c */
int sqlite_blob_find(struct storage *storage, const struct sha256 *sha256, struct stored_blob *ret);
int sqlite_blob_name(
    struct storage *storage, const struct sha256 *sha256, uint64_t size, uint64_t device, uint64_t key);
int sqlite_blob_is_named(struct storage *storage, const struct sha256 *sha256, uint64_t device);
int sqlite_blob_given_up(struct storage *storage, const struct sha256 *sha256, uint64_t device);
int sqlite_blob_set_state(
    struct storage *storage, const struct sha256 *sha256, enum stored_blob_state state, uint64_t size);
int sqlite_blobs_wanted(struct storage *storage, uint64_t device, uint16_t from, struct sha256 *ret,
    size_t max, size_t *ret_count);
int sqlite_blob_set_backed_up(struct storage *storage, const struct sha256 *sha256, bool is_backed_up);
int sqlite_snapshot(struct storage *storage, const char *directory);
int sqlite_blobs_each(struct storage *storage, uint64_t device, uint64_t first_key, uint64_t end_key,
    const struct sha256 *after, size_t max, int (*each)(void *user, const struct stored_blob *blob),
    void *user);
