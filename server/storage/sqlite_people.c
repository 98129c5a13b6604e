/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices, tokens, commands and alarms in the SQLite storage. See storage.h.
 */
#include "server/storage/sqlite_internal.h"

#include <errno.h>

static void read_device(sqlite3_stmt *statement, struct stored_device *ret)
{
    ret->number = sqlite_number(statement, 0);
    (void)sqlite_exact(statement, 1, ret->id.b, UUID_BYTES);
    (void)sqlite_exact(statement, 2, ret->public_key, SIGN_PUBLIC_BYTES);
    ret->enrolled_ms = sqlite3_column_int64(statement, 3);
    ret->last_seen_ms = sqlite3_column_int64(statement, 4);
}

static int one_device(sqlite3_stmt *statement, struct stored_device *ret)
{
    int r = sqlite_step(statement);

    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    read_device(statement, ret);
    ret->trust = (struct stored_trust){0};
    if (sqlite3_column_count(statement) > 5) {
        ret->trust.enrolled = sqlite_number(statement, 5); /* NULL, without a row, is 0 */
        ret->trust.told = sqlite_number(statement, 6);
    }
    sqlite3_reset(statement);
    return 0;
}

int sqlite_device_find(struct storage *storage, const struct uuid *id, struct stored_device *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_FIND, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(id));
    return one_device(statement, ret);
}

int sqlite_device_at(struct storage *storage, uint64_t number, struct stored_device *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_AT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, number);
    return one_device(statement, ret);
}

int sqlite_device_certificate(struct storage *storage, uint64_t device, struct buffer *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_CERTIFICATE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    buffer_put_bytes(ret, sqlite_bytes(statement, 0));
    sqlite3_reset(statement);
    return buffer_finish(ret);
}

/* Text columns of these tables are NOT NULL: an empty name is an empty text. */
static void bind_name(sqlite3_stmt *statement, int index, struct bytes name)
{
    (void)sqlite3_bind_text64(
        statement, index, name.len > 0 ? (const char *)name.data : "", name.len, SQLITE_STATIC, SQLITE_UTF8);
}

int sqlite_device_put(struct storage *storage, const struct device_certificate *content,
    struct bytes certificate, int64_t now_ms, uint64_t *ret_number)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(&content->device));
    sqlite_bind_bytes(statement, 2, bytes_of(content->public_key, SIGN_PUBLIC_BYTES));
    bind_name(statement, 3, content->name);
    bind_name(statement, 4, content->inspector);
    sqlite_bind_bytes(statement, 5, certificate);
    sqlite_bind_signed(statement, 6, content->issued_ms);
    sqlite_bind_signed(statement, 7, now_ms);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -EIO;
    *ret_number = sqlite_number(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

int sqlite_device_seen(struct storage *storage, uint64_t device, int64_t now_ms)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_SEEN, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_signed(statement, 2, now_ms);
    return sqlite_run(statement);
}

static void read_resync(sqlite3_stmt *statement, int column, struct stored_resync *ret)
{
    ret->at_ms = sqlite3_column_int64(statement, column);
    ret->level = sqlite_number(statement, column + 1);
    ret->first_log = sqlite_number(statement, column + 2);
    ret->checked = sqlite_number(statement, column + 3);
    ret->missing = sqlite_number(statement, column + 4);
    ret->damaged = sqlite_number(statement, column + 5);
    ret->erased = sqlite_number(statement, column + 6);
    ret->lost = sqlite_number(statement, column + 7);
    ret->mended = sqlite_number(statement, column + 8);
    ret->blobs_checked = sqlite_number(statement, column + 9);
    ret->blobs_bad = sqlite_number(statement, column + 10);
}

int sqlite_device_resync(struct storage *storage, uint64_t device, struct stored_resync *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_RESYNC, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    r = sqlite_step(statement);
    if (r < 0)
        return r;
    *ret = (struct stored_resync){0};
    if (r == 1) {
        read_resync(statement, 0, ret);
        sqlite3_reset(statement);
    }
    return 0;
}

int sqlite_device_set_resync(struct storage *storage, uint64_t device, const struct stored_resync *resync)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_SET_RESYNC, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_signed(statement, 2, resync->at_ms);
    sqlite_bind_number(statement, 3, resync->level);
    sqlite_bind_number(statement, 4, resync->first_log);
    sqlite_bind_number(statement, 5, resync->checked);
    sqlite_bind_number(statement, 6, resync->missing);
    sqlite_bind_number(statement, 7, resync->damaged);
    sqlite_bind_number(statement, 8, resync->erased);
    sqlite_bind_number(statement, 9, resync->lost);
    sqlite_bind_number(statement, 10, resync->mended);
    sqlite_bind_number(statement, 11, resync->blobs_checked);
    sqlite_bind_number(statement, 12, resync->blobs_bad);
    return sqlite_run(statement);
}

static const char *column_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    return text ? (const char *)text : "";
}

int sqlite_devices_each(
    struct storage *storage, int (*each)(void *user, const struct stored_device_line *line), void *user)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICES, &r);

    if (!statement)
        return r;
    while ((r = sqlite_step(statement)) == 1) {
        struct stored_device_line line;

        read_device(statement, &line.device);
        line.name = column_text(statement, 5);
        line.inspector = column_text(statement, 6);
        line.logs = sqlite_number(statement, 7);
        line.records = sqlite_number(statement, 8);
        line.quarantined = sqlite_number(statement, 9);
        line.blobs_missing = sqlite_number(statement, 10);
        line.alarms = sqlite_number(statement, 11);
        read_resync(statement, 12, &line.resync);
        r = each(user, &line);
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

int sqlite_token_put(struct storage *storage, const struct sha256 *token, const char *name,
    const char *inspector, int64_t expires_ms)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_TOKEN_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(token));
    bind_name(statement, 2, bytes_of_text(name));
    bind_name(statement, 3, bytes_of_text(inspector));
    sqlite_bind_signed(statement, 4, expires_ms);
    return sqlite_run(statement);
}

int sqlite_token_find(struct storage *storage, const struct sha256 *token, struct stored_token *ret,
    struct buffer *ret_name, struct buffer *ret_inspector)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_TOKEN_FIND, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(token));
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    ret->expires_ms = sqlite3_column_int64(statement, 0);
    ret->is_used = sqlite3_column_type(statement, 1) != SQLITE_NULL;
    (void)sqlite_exact(statement, 1, ret->used_by.b, UUID_BYTES);
    (void)sqlite_exact(statement, 2, ret->used_key, SIGN_PUBLIC_BYTES);
    buffer_put_bytes(ret_name, sqlite_bytes(statement, 3));
    buffer_put_bytes(ret_inspector, sqlite_bytes(statement, 4));
    ret->trust = (struct stored_trust){.enrolled = sqlite_number(statement, 5)};
    sqlite3_reset(statement);
    r = buffer_finish(ret_name);
    return r < 0 ? r : buffer_finish(ret_inspector);
}

int sqlite_token_use(struct storage *storage, const struct sha256 *token, const struct uuid *device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_TOKEN_USE, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(token));
    sqlite_bind_bytes(statement, 2, uuid_bytes(device));
    sqlite_bind_bytes(statement, 3, bytes_of(public_key, SIGN_PUBLIC_BYTES));
    return sqlite_run(statement);
}

int sqlite_trust_put(struct storage *storage, struct bytes who, const struct stored_trust *trust)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_TRUST_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, who);
    sqlite_bind_number(statement, 2, trust->enrolled);
    sqlite_bind_number(statement, 3, trust->told);
    return sqlite_run(statement);
}

int sqlite_trust_each(
    struct storage *storage, int (*each)(void *user, uint64_t known, uint64_t devices), void *user)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_TRUST_EACH, &r);

    if (!statement)
        return r;
    while ((r = sqlite_step(statement)) == 1) {
        r = each(user, sqlite_number(statement, 0), sqlite_number(statement, 1));
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

int sqlite_command_put(struct storage *storage, uint64_t device, const struct command *command)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_COMMAND_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_bytes(statement, 2, bytes_of(command->id, COMMAND_ID_BYTES));
    sqlite_bind_number(statement, 3, (uint64_t)command->resync_level);
    return sqlite_run(statement);
}

int sqlite_command_done(struct storage *storage, uint64_t device, const uint8_t id[COMMAND_ID_BYTES])
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_COMMAND_DONE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_bytes(statement, 2, bytes_of(id, COMMAND_ID_BYTES));
    return sqlite_run(statement);
}

int sqlite_commands(
    struct storage *storage, uint64_t device, struct command *ret, size_t max, size_t *ret_count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_COMMANDS, &r);
    size_t count = 0;

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_number(statement, 2, max);
    while (count < max && (r = sqlite_step(statement)) == 1) {
        struct command *command = &ret[count++];

        *command = (struct command){.has_resync = true};
        (void)sqlite_exact(statement, 0, command->id, COMMAND_ID_BYTES);
        command->resync_level = (enum audit_level)sqlite_number(statement, 1);
    }
    sqlite3_reset(statement);
    if (r < 0)
        return r;
    *ret_count = count;
    return 0;
}

int sqlite_quota_use(struct storage *storage, uint64_t device, struct quota_use *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_QUOTA_USE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    r = sqlite_step(statement);
    if (r < 0)
        return r;
    *ret = (struct quota_use){0};
    if (r == 1) {
        *ret = (struct quota_use){.since_ms = sqlite3_column_int64(statement, 0),
            .records = sqlite_number(statement, 1),
            .bytes = sqlite_number(statement, 2)};
        sqlite3_reset(statement);
    }
    return 0;
}

int sqlite_set_quota_use(struct storage *storage, uint64_t device, const struct quota_use *use)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_SET_QUOTA_USE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_signed(statement, 2, use->since_ms);
    sqlite_bind_number(statement, 3, use->records);
    sqlite_bind_number(statement, 4, use->bytes);
    return sqlite_run(statement);
}

int sqlite_photo_bytes(struct storage *storage, uint64_t device, uint64_t *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_PHOTO_BYTES, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    r = sqlite_step(statement);
    if (r < 0)
        return r;
    *ret = r == 1 ? sqlite_number(statement, 0) : 0;
    sqlite3_reset(statement);
    return 0;
}

/* ---- resyncs that were asked for ---- */

/* The counts in the order of their columns. */
#define ASKED_RESYNC_COUNTS 12u
static void asked_resync_counts(struct resync_counts *counts, uint64_t *ret[ASKED_RESYNC_COUNTS])
{
    uint64_t *const places[ASKED_RESYNC_COUNTS] = {&counts->records_checked, &counts->records_missing,
        &counts->records_damaged, &counts->records_sent_again, &counts->records_erased, &counts->records_lost,
        &counts->records_gone, &counts->blobs_checked, &counts->blobs_missing, &counts->blobs_sent_again,
        &counts->blobs_gone, &counts->blobs_lost};

    memcpy(ret, places, sizeof(places));
}

int sqlite_asked_resync_put(struct storage *storage, uint64_t device, const struct stored_asked_resync *asked)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ASKED_RESYNC_PUT, &r);
    struct resync_counts counts = asked->counts;
    uint64_t *places[ASKED_RESYNC_COUNTS];

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_number(statement, 2, asked->level);
    sqlite_bind_bytes(statement, 3, bytes_of(asked->id, COMMAND_ID_BYTES));
    sqlite_bind_signed(statement, 4, asked->asked_ms);
    sqlite_bind_signed(statement, 5, asked->taken_ms);
    sqlite_bind_signed(statement, 6, asked->ended_ms);
    sqlite_bind_number(statement, 7, asked->outcome);
    bind_name(statement, 8, bytes_of_text(asked->problem));
    asked_resync_counts(&counts, places);
    for (int i = 0; i < (int)ASKED_RESYNC_COUNTS; i++)
        sqlite_bind_number(statement, 9 + i, *places[i]);
    return sqlite_run(statement);
}

static void read_asked_resync(sqlite3_stmt *statement, struct stored_asked_resync *ret)
{
    uint64_t *places[ASKED_RESYNC_COUNTS];

    *ret = (struct stored_asked_resync){.level = sqlite_number(statement, 0)};
    (void)sqlite_exact(statement, 1, ret->id, COMMAND_ID_BYTES);
    ret->asked_ms = sqlite3_column_int64(statement, 2);
    ret->taken_ms = sqlite3_column_int64(statement, 3);
    ret->ended_ms = sqlite3_column_int64(statement, 4);
    ret->outcome = sqlite_number(statement, 5);
    snprintf(ret->problem, sizeof(ret->problem), "%s", column_text(statement, 6));
    asked_resync_counts(&ret->counts, places);
    for (int i = 0; i < (int)ASKED_RESYNC_COUNTS; i++)
        *places[i] = sqlite_number(statement, 7 + i);
}

int sqlite_asked_resync_find(struct storage *storage, uint64_t device, const uint8_t id[COMMAND_ID_BYTES],
    struct stored_asked_resync *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ASKED_RESYNC_FIND, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_bytes(statement, 2, bytes_of(id, COMMAND_ID_BYTES));
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    read_asked_resync(statement, ret);
    sqlite3_reset(statement);
    return 0;
}

int sqlite_asked_resyncs(struct storage *storage, uint64_t device,
    struct stored_asked_resync ret[ASKED_RESYNCS_MAX], size_t *ret_count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ASKED_RESYNCS, &r);
    size_t count = 0;

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_number(statement, 2, ASKED_RESYNCS_MAX);
    while (count < ASKED_RESYNCS_MAX && (r = sqlite_step(statement)) == 1)
        read_asked_resync(statement, &ret[count++]);
    sqlite3_reset(statement);
    if (r < 0)
        return r;
    *ret_count = count;
    return 0;
}

int sqlite_alarm_put(struct storage *storage, enum alarm_kind kind, uint64_t device, uint64_t key,
    int64_t now_ms, const char *text, bool *ret_new)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ALARM_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, (uint64_t)kind);
    sqlite_bind_number(statement, 2, device);
    sqlite_bind_number(statement, 3, key);
    sqlite_bind_signed(statement, 4, now_ms);
    bind_name(statement, 5, bytes_of_text(text));
    r = sqlite_run(statement);
    if (r >= 0)
        *ret_new = sqlite3_changes(sqlite_of(storage)->db) > 0;
    return r;
}
