/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the life of logs: which one is appended to, how one is opened and left. Called by append, receipts and
 * recovery. Re-homing is in rehome.c, the list beside the database in logs_file.c.
 *
 *   first append: opened{new}  device_event{boot}  finding ...
 *   left in order:  ... finding  closed{rotated}     next log: opened{rotated, predecessor}
 *   forked:         ... finding                      next log: opened{fork, predecessor}  rehomed ...
 */
#include "store/internal.h"

#define LOG_COLUMNS                                                                                          \
    "number, id, kind, final_size, rehomed_from, boot_id, receipt_size, receipt_time_s, ids_size"

/* ---- reading rows ---- */

static void set_end(struct log_row *log)
{
    log->end = log->has_rehomed && log->rehomed_from < log->size ? log->rehomed_from : log->size;
}

static int read_size(struct store *store, int64_t number, uint64_t *ret)
{
    static const char sql[] = "SELECT key FROM records WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC LIMIT 1";
    int64_t key;

    int r = database_read_number(
        store, sql, (int64_t[]){record_key(number, 0), record_key(number, SEQ_MAX)}, 2, &key);
    if (r < 0)
        return r;
    *ret = r > 0 ? key_seq(key) + 1 : 0;
    return 0;
}

static int read_row(struct store *store, sqlite3_stmt *statement, struct log_row *ret)
{
    struct log_row row = {
        .number = sqlite3_column_int64(statement, 0),
        .kind = sqlite3_column_int(statement, 2) == LOG_TRACKS ? LOG_TRACKS : LOG_FINDINGS,
        .left = sqlite3_column_type(statement, 3) != SQLITE_NULL,
        .size = (uint64_t)sqlite3_column_int64(statement, 3),
        .has_rehomed = sqlite3_column_type(statement, 4) != SQLITE_NULL,
        .rehomed_from = (uint64_t)sqlite3_column_int64(statement, 4),
        .receipt_size = (uint64_t)sqlite3_column_int64(statement, 6),
        .receipt_time_s = sqlite3_column_int64(statement, 7),
        .ids_size = (uint64_t)sqlite3_column_int64(statement, 8),
    };

    if (row.number < 1 || row.number > LOG_NUMBER_MAX ||
        uuid_from_bytes(column_bytes(statement, 1), &row.id) < 0)
        return database_error(store, SQLITE_CORRUPT);
    row.has_boot_id = uuid_from_bytes(column_bytes(statement, 5), &row.boot_id) >= 0;
    *ret = row;
    return 0;
}

/* Only of a log that was left: reading the one that is appended to costs no more than before. */
static int read_pruned(struct store *store, struct log_row *log)
{
    static const char sql[] = "SELECT size, removed, told_ms FROM pruned WHERE log = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    if (!log->left || store->version < SCHEMA_WITH_PRUNED)
        return 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, log->number);
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    log->pruned_size = (uint64_t)sqlite3_column_int64(statement, 0);
    log->pruned_removed = (uint64_t)sqlite3_column_int64(statement, 1);
    log->pruned_ms = sqlite3_column_int64(statement, 2);
    return 0;
}

int logs_read(struct store *store, struct log_row **ret, size_t *ret_count)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM logs ORDER BY number";
    _cleanup_buffer_ struct buffer rows = {0};
    size_t count = 0;

    {
        _cleanup_statement_ sqlite3_stmt *statement = NULL;
        int r = database_prepare(store, sql, &statement);
        if (r < 0)
            return r;
        while ((r = database_step(store, statement)) > 0) {
            struct log_row row;

            r = read_row(store, statement, &row);
            if (r < 0)
                return r;
            buffer_put(&rows, &row, sizeof(row));
            count++;
        }
        if (r < 0)
            return r;
    }
    if (buffer_finish(&rows) < 0)
        return -ENOMEM;

    struct log_row *logs = (struct log_row *)(void *)rows.data;
    for (size_t i = 0; i < count; i++) {
        int r = logs[i].left ? read_pruned(store, &logs[i]) : read_size(store, logs[i].number, &logs[i].size);
        if (r < 0)
            return r;
        set_end(&logs[i]);
    }
    *ret = logs;
    *ret_count = count;
    rows = (struct buffer){0}; /* given away */
    return 0;
}

/* One row, by a statement that is bound already. */
static int read_one(struct store *store, sqlite3_stmt *statement, struct log_row *ret)
{
    struct log_row row = {0};

    int r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    r = read_row(store, statement, &row);
    if (r >= 0)
        r = row.left ? read_pruned(store, &row) : read_size(store, row.number, &row.size);
    if (r < 0)
        return r;
    set_end(&row);
    *ret = row;
    return 0;
}

/* The table has a few rows. Its index is a second copy of the ids, which may be damaged alone: then the rows
 * would be listed, and never found. */
int log_find(struct store *store, const struct uuid *id, struct log_row *ret)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM logs NOT INDEXED WHERE id = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, uuid_bytes(id));
    return read_one(store, statement, ret);
}

int log_find_number(struct store *store, int64_t number, struct log_row *ret)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM logs WHERE number = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, number);
    return read_one(store, statement, ret);
}

int log_current(struct store *store, struct log_row *ret)
{
    static const char sql[] = "SELECT " LOG_COLUMNS " FROM logs WHERE kind = ?1 AND final_size IS NULL"
                              " ORDER BY number DESC LIMIT 1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, LOG_FINDINGS);
    return read_one(store, statement, ret);
}

/* ---- opening ---- */

/* One more than any number ever used, in this database or before it. */
static int next_number(struct store *store, int64_t *ret)
{
    static const char sql[] = "SELECT max(number) FROM logs";
    struct logs_file_last last;
    int64_t number = 0;

    int r = database_read_number(store, sql, NULL, 0, &number);
    if (r >= 0)
        r = logs_file_read(store, &last);
    if (r < 0)
        return r;
    if (last.number_max > number)
        number = last.number_max;
    if (number >= LOG_NUMBER_MAX)
        return -EOVERFLOW;
    *ret = number + 1;
    return 0;
}

static int insert_log(struct store *store, const struct log_row *log)
{
    static const char sql[] = "INSERT INTO logs(number, id, kind, mark) VALUES(?1, ?2, ?3, ?4)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, log->number);
    bind_bytes(statement, 2, uuid_bytes(&log->id));
    sqlite3_bind_int64(statement, 3, log->kind);
    sqlite3_bind_int64(statement, 4, log_mark(log->number, &log->id));
    return database_step(store, statement);
}

int log_open(struct store *store, const struct store_author *author, enum open_reason reason,
    const struct uuid *predecessor, struct log_row *ret)
{
    struct log_row log = {.kind = LOG_FINDINGS}, before = {0};
    struct record record = {.kind = RECORD_OPENED, .opened = {.reason = reason, .kind = log.kind}};
    uint8_t random[UUID_BYTES];

    record.opened.software = author->software;
    if (predecessor) {
        record.opened.predecessor = *predecessor;
        int r = log_find(store, predecessor, &before);
        if (r < 0 && r != -ENOENT)
            return r;
        if (r >= 0) {
            record.opened.predecessor_size = before.size;
            /* A log with holes has no root any more. */
            r = store_root_at(store, predecessor, before.size, &record.opened.predecessor_root);
            if (r < 0 && r != -EUCLEAN && r != -EIDRM)
                return r;
            record.opened.has_predecessor_root = r >= 0;
        }
    }
    store->world->verbs->random(store->world->context, random, sizeof(random));
    log.id = uuid_from_random(random);
    int r = next_number(store, &log.number);
    if (r < 0)
        return r;
    /* First: should the database be lost after this, the next one knows that there was a log. */
    r = logs_file_add(store, &log, reason);
    if (r >= 0)
        r = insert_log(store, &log);
    if (r >= 0)
        r = append_own(store, &log, author, &record, 0);
    if (r >= 0)
        r = log_tell_boot(store, author, &log);
    if (r < 0)
        return r;
    *ret = log;
    return 0;
}

static int set_boot_id(struct store *store, int64_t number, const struct uuid *boot_id)
{
    static const char sql[] = "UPDATE logs SET boot_id = ?2 WHERE number = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, number);
    bind_bytes(statement, 2, uuid_bytes(boot_id));
    return database_step(store, statement);
}

/* The newest receipt of any log: what is recorded from here on is not older than it. */
static int newest_receipt(struct store *store, uint64_t *ret_size, int64_t *ret_time_s)
{
    static const char sql[] = "SELECT receipt_size, receipt_time_s FROM logs WHERE receipt_size > 0"
                              " ORDER BY receipt_time_s DESC, number DESC LIMIT 1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    *ret_size = (uint64_t)sqlite3_column_int64(statement, 0);
    *ret_time_s = sqlite3_column_int64(statement, 1);
    return 0;
}

int log_tell_boot(struct store *store, const struct store_author *author, struct log_row *log)
{
    struct record record = {.kind = RECORD_DEVICE_EVENT};
    int64_t receipt_time_s = 0;

    if (!store->has_boot_id)
        store->world->verbs->boot_id(store->world->context, store->boot_id.b);
    store->has_boot_id = true;
    if (uuid_is_nil(&store->boot_id) || (log->has_boot_id && uuid_equal(&log->boot_id, &store->boot_id)))
        return 0;

    record.device_event.boot_id = store->boot_id;
    record.device_event.software = author->software;
    int r = newest_receipt(store, &record.device_event.receipt_size, &receipt_time_s);
    if (r < 0)
        return r;
    record.device_event.receipt_time_ms = receipt_time_s * 1000;
    r = append_own(store, log, author, &record, 0);
    if (r >= 0)
        r = set_boot_id(store, log->number, &store->boot_id);
    if (r < 0)
        return r;
    log->has_boot_id = true;
    log->boot_id = store->boot_id;
    return 0;
}

/* ---- leaving ---- */

/* `rehomed_from` < 0: nothing is carried over, the log will still be sent to its end. */
static int set_left(struct store *store, const struct log_row *log, int64_t rehomed_from)
{
    static const char sql[] = "UPDATE logs SET final_size = ?2, rehomed_from = ?3 WHERE number = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, log->number);
    bind_u64(statement, 2, log->size);
    if (rehomed_from >= 0)
        sqlite3_bind_int64(statement, 3, rehomed_from);
    return database_step(store, statement);
}

static int leave_in_order(
    struct store *store, const struct store_author *author, struct log_row *log, enum open_reason reason)
{
    struct record record = {.kind = RECORD_CLOSED, .closed = {.reason = reason}};

    int r = append_own(store, log, author, &record, 0);
    return r < 0 ? r : set_left(store, log, -1);
}

/* True when the last receipt of this log that came was the first of a year. */
static int is_year_over(struct store *store, const struct log_row *log, bool *ret)
{
    _cleanup_buffer_ struct buffer text = {0};
    uint64_t number;

    *ret = false;
    if (log->size < TILE_LEAVES)
        return 0;
    int r = store_setting(store, SETTING_YEAR_OVER, &text);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!buffer_text(&text))
        return -ENOMEM;
    *ret = text_parse_u64((const char *)text.data, &number) >= 0 && number == (uint64_t)log->number;
    return 0;
}

int log_for_append(struct store *store, const struct store_author *author, struct log_row *ret)
{
    struct log_row log;
    bool year_is_over;

    int r = log_current(store, &log);
    /* A sound database without a log is one that nothing was recorded in yet: recovery opens its own. */
    if (r == -ENOENT)
        return log_open(store, author, OPEN_NEW, NULL, ret);
    if (r < 0)
        return r;
    r = is_year_over(store, &log, &year_is_over);
    if (r < 0)
        return r;
    if (year_is_over || log.size >= store->rotate_records) {
        struct uuid predecessor = log.id;

        r = leave_in_order(store, author, &log, OPEN_ROTATED);
        return r < 0 ? r : log_open(store, author, OPEN_ROTATED, &predecessor, ret);
    }
    r = log_tell_boot(store, author, &log);
    if (r < 0)
        return r;
    *ret = log;
    return 0;
}

static bool carries_over(enum open_reason reason)
{
    switch (reason) {
    case OPEN_FORK:
    case OPEN_RECOVERED:
        return true;
    case OPEN_NEW:
    case OPEN_ROTATED:
    case OPEN_REPLACED:
        return false;
    }
    return false;
}

struct leaving {
    const struct store_author *author;
    const struct uuid *log;
    enum open_reason reason;
    struct uuid new_log;
    uint64_t rehomed;
};

static int leave(struct store *store, void *user)
{
    struct leaving *leaving = user;
    struct log_row log, current;
    bool carry = carries_over(leaving->reason);

    leaving->rehomed = 0;
    int r = log_find(store, leaving->log, &log);
    if (r < 0)
        return r;
    if (log.left) {
        /* Left before; what it still holds may have to be carried over all the same. */
        r = log_for_append(store, leaving->author, &current);
        carry = carry && !(log.has_rehomed && log.receipt_size >= log.end);
    } else {
        r = carry ? 0 : leave_in_order(store, leaving->author, &log, leaving->reason);
    }
    uint64_t first_seq = log.receipt_size < log.end ? log.receipt_size : log.end;
    if (r >= 0 && carry)
        r = set_left(store, &log, (int64_t)first_seq);
    if (r >= 0 && !log.left)
        r = log_open(store, leaving->author, leaving->reason, &log.id, &current);
    log.size = log.end; /* what stands behind it was carried over before */
    if (r >= 0 && carry)
        r = log_rehome(store, leaving->author, &log, first_seq, NULL, &current, &leaving->rehomed);
    /* Photos that the centre has asked for, and those of a record that the disk has altered: nothing of this
     * log gets a receipt any more. */
    if (r >= 0 && carry)
        r = blobs_follow(store, record_key(log.number, first_seq), record_key(current.number, 0));
    if (r < 0)
        return r;
    leaving->new_log = current.id;
    return 0;
}

int store_leave_log(struct store *store, const struct store_author *author, const struct uuid *log,
    enum open_reason reason, struct uuid *ret_new_log, uint64_t *ret_rehomed)
{
    struct leaving leaving = {.author = author, .log = log, .reason = reason};

    int r = store_transact(store, leave, &leaving);
    if (r < 0)
        return r;
    if (ret_new_log)
        *ret_new_log = leaving.new_log;
    if (ret_rehomed)
        *ret_rehomed = leaving.rehomed;
    return 0;
}

int store_logs(
    struct store *store, bool unfinished_only, struct store_log *ret, size_t max, size_t *ret_count)
{
    _cleanup_free_ struct log_row *logs = NULL;
    size_t count, n = 0;

    int r = logs_read(store, &logs, &count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count && n < max; i++) {
        if (unfinished_only && log_is_finished(&logs[i]))
            continue;
        ret[n++] = (struct store_log){
            .number = logs[i].number,
            .id = logs[i].id,
            .kind = logs[i].kind,
            .closed = logs[i].left,
            .size = logs[i].end,
            .receipt_size = logs[i].receipt_size,
            .has_receipt = logs[i].receipt_size > 0,
            .may_have_holes = logs[i].has_rehomed,
            .pruned_size = logs[i].pruned_size,
            .pruned_ms = logs[i].pruned_ms,
        };
    }
    *ret_count = n;
    return 0;
}
