/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns receipts and quarantine: what the centre has said about this handheld's records. Called by syncd,
 * which has checked the signatures; the one check made again here is that the receipt speaks of this very
 * log.
 */
#include "store/internal.h"

#include "base/text.h"

#include <time.h>

int store_receipt(struct store *store, const struct uuid *log, uint64_t *ret_size, struct buffer *ret_note)
{
    static const char sql[] = "SELECT receipt_size, receipt_note FROM logs NOT INDEXED WHERE id = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, uuid_bytes(log));
    r = database_step(store, statement);
    if (r < 0)
        return r;
    if (r == 0 || sqlite3_column_int64(statement, 0) == 0)
        return -ENOENT;
    buffer_put_bytes(ret_note, column_bytes(statement, 1));
    r = buffer_finish(ret_note);
    if (r < 0)
        return r;
    *ret_size = (uint64_t)sqlite3_column_int64(statement, 0);
    return 0;
}

static int set_receipt(struct store *store, int64_t number, uint64_t size, uint64_t time_s, struct bytes note)
{
    static const char sql[] =
        "UPDATE logs SET receipt_size = ?2, receipt_time_s = ?3, receipt_note = ?4 WHERE number = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, number);
    bind_u64(statement, 2, size);
    bind_u64(statement, 3, time_s);
    bind_bytes(statement, 4, note);
    return database_step(store, statement);
}

static int release_from(struct store *store, int64_t number, uint64_t seq)
{
    static const char sql[] = "DELETE FROM quarantined WHERE key BETWEEN ?1 AND ?2";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(number, seq));
    sqlite3_bind_int64(statement, 2, record_key(number, SEQ_MAX));
    return database_step(store, statement);
}

static int put_in_quarantine(struct store *store, int64_t key, struct bytes reason)
{
    static const char sql[] = "INSERT OR REPLACE INTO quarantined(key, reason) VALUES(?1, ?2)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    if (!text_is_utf8(reason) || reason.len > REASON_BYTES_MAX)
        reason = bytes_of_text("the server's reason cannot be read");
    sqlite3_bind_int64(statement, 1, key);
    sqlite3_bind_text64(
        statement, 2, reason.len ? (const char *)reason.data : "", reason.len, SQLITE_STATIC, SQLITE_UTF8);
    return database_step(store, statement);
}

static int year_of(int64_t time_s)
{
    time_t time = (time_t)time_s;
    struct tm tm;

    return gmtime_r(&time, &tm) ? tm.tm_year : 0;
}

/* The next append leaves the log. Both times are the centre's, so a wrong clock here closes nothing. */
static int note_year(struct store *store, const struct log_row *log, uint64_t time_s)
{
    char number[24];

    if (log->left || log->receipt_time_s == 0 || year_of((int64_t)time_s) <= year_of(log->receipt_time_s))
        return 0;
    snprintf(number, sizeof(number), "%lld", (long long)log->number);
    return setting_put(store, SETTING_YEAR_OVER, bytes_of_text(number));
}

struct taking {
    const struct uuid *log;
    const struct checkpoint *checkpoint;
    uint64_t time_s;
    struct bytes note;
    const struct quarantined *quarantined;
    size_t quarantined_count;
};

static int take_receipt(struct store *store, void *user)
{
    const struct taking *taking = user;
    struct log_row log;
    struct sha256 root;

    int r = log_find(store, taking->log, &log);
    if (r < 0)
        return r;
    if (taking->checkpoint->size > log.size)
        return -ERANGE;
    r = log_root_expected(store, &log, taking->checkpoint->size, &root);
    if (r < 0 && r != -EIDRM)
        return r;
    /* Where it ends among records that were pruned its signatures must do: one of them is this handheld's. */
    if (r >= 0 && !sha256_equal(&root, &taking->checkpoint->root))
        return -EBADMSG;
    r = set_receipt(store, log.number, taking->checkpoint->size, taking->time_s, taking->note);
    if (r >= 0)
        r = note_year(store, &log, taking->time_s);
    /* What the server no longer has it has not in quarantine either. */
    if (r >= 0 && taking->checkpoint->size < log.receipt_size)
        r = release_from(store, log.number, taking->checkpoint->size);
    for (size_t i = 0; r >= 0 && i < taking->quarantined_count; i++)
        if (taking->quarantined[i].seq < taking->checkpoint->size)
            r = put_in_quarantine(
                store, record_key(log.number, taking->quarantined[i].seq), taking->quarantined[i].reason);
    return r;
}

int store_apply_receipt(struct store *store, const struct uuid *log, const struct checkpoint *checkpoint,
    uint64_t time_s, struct bytes note, const struct quarantined *quarantined, size_t quarantined_count)
{
    struct taking taking = {
        .log = log,
        .checkpoint = checkpoint,
        .time_s = time_s,
        .note = note,
        .quarantined = quarantined,
        .quarantined_count = quarantined_count,
    };

    if (note.len == 0 || note.len > NOTE_TEXT_BYTES_MAX)
        return -EBADMSG;
    return store_transact(store, take_receipt, &taking);
}

static int drop_receipt(struct store *store, void *user)
{
    struct log_row log;

    int r = log_find(store, user, &log);
    if (r >= 0)
        r = set_receipt(store, log.number, 0, 0, bytes_of(NULL, 0));
    return r < 0 ? r : release_from(store, log.number, 0);
}

int store_drop_receipt(struct store *store, const struct uuid *log)
{
    struct uuid id = *log;

    return store_transact(store, drop_receipt, &id);
}

int store_quarantined(
    struct store *store, int64_t *cursor, struct position_in_log *ret, size_t max, size_t *ret_count)
{
    static const char sql[] = "SELECT q.key, l.id FROM quarantined AS q CROSS JOIN logs AS l"
                              " ON l.number = q.key >> 40 WHERE q.key > ?1 ORDER BY q.key LIMIT ?2";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    int64_t key = 0;
    size_t count = 0;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, *cursor);
    bind_u64(statement, 2, max);
    while ((r = database_step(store, statement)) > 0) {
        key = sqlite3_column_int64(statement, 0);
        r = uuid_from_bytes(column_bytes(statement, 1), &ret[count].log);
        if (r < 0)
            return -EUCLEAN;
        ret[count++].seq = key_seq(key);
    }
    if (r < 0)
        return r;
    *cursor = count == max ? key : 0;
    *ret_count = count;
    return 0;
}

struct releasing {
    const struct position_in_log *released;
    size_t count;
};

static int release(struct store *store, void *user)
{
    static const char sql[] =
        "DELETE FROM quarantined WHERE key = ((SELECT number FROM logs NOT INDEXED WHERE id = ?1) << 40 | ?2)";
    const struct releasing *releasing = user;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < releasing->count; i++) {
        _cleanup_statement_ sqlite3_stmt *statement = NULL;

        r = database_prepare(store, sql, &statement);
        if (r < 0)
            return r;
        bind_bytes(statement, 1, uuid_bytes(&releasing->released[i].log));
        bind_u64(statement, 2, releasing->released[i].seq);
        r = database_step(store, statement);
    }
    return r;
}

int store_release(struct store *store, const struct position_in_log *released, size_t count)
{
    struct releasing releasing = {.released = released, .count = count};

    return store_transact(store, release, &releasing);
}

int quarantine_reason(struct store *store, int64_t key, struct buffer *ret)
{
    static const char sql[] = "SELECT reason FROM quarantined WHERE key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    const unsigned char *reason = sqlite3_column_text(statement, 0);
    buffer_put_text(ret, reason ? (const char *)reason : "");
    buffer_put_u8(ret, 0);
    r = buffer_finish(ret);
    return r < 0 ? r : 1;
}
