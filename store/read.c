/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns reading records for people: lists, one record, what came after it. Called by the programs. A record
 * that was re-homed is shown once, under the id it was given first, with the state of the record that carries
 * it now.
 */
#include "store/internal.h"

const char *record_state_name(enum record_state state)
{
    switch (state) {
    case RECORD_QUEUED:
        return "queued";
    case RECORD_SENT:
        return "sent";
    case RECORD_QUARANTINED:
        return "quarantined";
    }
    return "unknown";
}

struct recorded recorded_of(const struct log_row *log, const struct record_row *row)
{
    struct recorded recorded = {
        .at = {.log = log->id, .seq = row->seq},
        .kind = (enum record_kind)(row->stored_kind % KIND_INNER_FACTOR),
        .bytes = row->bytes,
    };
    struct sha256 leaf = row->leaf;

    if (row->is_erased) {
        recorded.at = row->first;
        leaf = row->first_leaf;
        if (recorded.kind == RECORD_REHOMED)
            recorded.kind = (enum record_kind)(row->stored_kind / KIND_INNER_FACTOR);
    } else if (recorded.kind == RECORD_REHOMED &&
               rehomed_inner(row->bytes, &recorded.at, &recorded.bytes) >= 0) {
        recorded.kind = (enum record_kind)(row->stored_kind / KIND_INNER_FACTOR);
        leaf = merkle_leaf(recorded.bytes);
    }
    recorded.id = record_public_id(&recorded.at.log, recorded.at.seq, &leaf);
    return recorded;
}

void record_present(
    const struct log_row *log, const struct record_row *row, const char *reason, struct store_record *ret)
{
    struct recorded recorded = recorded_of(log, row);

    *ret = (struct store_record){
        .at = {.log = log->id, .seq = row->seq},
        .id = recorded.id,
        .leaf = row->leaf,
        .kind = (enum record_kind)(row->stored_kind % KIND_INNER_FACTOR),
        .record = row->bytes,
        .recorded_at = recorded.at,
        .recorded_kind = recorded.kind,
        .recorded = recorded.bytes,
        .carried_over = row->seq >= log->end,
        .is_erased = row->is_erased,
        .erased_by = row->erased_by,
        .state = row->seq >= log->receipt_size ? RECORD_QUEUED : RECORD_SENT,
    };
    if (reason && ret->state == RECORD_SENT) {
        ret->state = RECORD_QUARANTINED;
        ret->reason = reason;
    }
}

/* ---- lists ---- */

/* Rows read at once, so that no read transaction is open while the caller prints: it would hold the WAL. */
struct batch {
    struct record_row rows[READ_ROWS_AT_ONCE];
    size_t count;
    struct buffer bytes;
    bool more;
    uint64_t next_seq;
};

struct range {
    uint64_t first, end;
};

static struct range range_of(const struct log_row *log, const struct store_filter *filter)
{
    uint64_t sent = log->receipt_size < log->end ? log->receipt_size : log->end;

    if (!filter->has_state)
        return (struct range){0, log->end};
    switch (filter->state) {
    case RECORD_QUEUED:
        return (struct range){sent, log->end};
    case RECORD_SENT:
    case RECORD_QUARANTINED:
        return (struct range){0, sent};
    }
    return (struct range){0, 0};
}

static int prepare_batch(struct store *store, const struct store_filter *filter, sqlite3_stmt **ret)
{
    static const char all[] =
        "SELECT key, kind, leaf, bytes FROM records WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    static const char quarantined[] =
        "SELECT r.key, r.kind, r.leaf, r.bytes FROM quarantined AS q CROSS JOIN records AS r ON r.key = q.key"
        " WHERE q.key BETWEEN ?1 AND ?2 ORDER BY q.key";

    return database_prepare(
        store, filter->has_state && filter->state == RECORD_QUARANTINED ? quarantined : all, ret);
}

static int read_batch(struct store *store, const struct log_row *log, const struct store_filter *filter,
    struct range range, struct batch *batch)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    int r = prepare_batch(store, filter, &statement);

    if (r < 0)
        return r;
    batch->count = 0;
    batch->more = false;
    buffer_clear(&batch->bytes);
    sqlite3_bind_int64(statement, 1, record_key(log->number, range.first));
    sqlite3_bind_int64(statement, 2, record_key(log->number, range.end - 1));
    while ((r = database_step(store, statement)) > 0) {
        struct record_row *row = &batch->rows[batch->count];

        row->is_erased = false;
        row->seq = key_seq(sqlite3_column_int64(statement, 0));
        row->stored_kind = sqlite3_column_int64(statement, 1);
        batch->next_seq = row->seq + 1;
        if (filter->findings_only && !kind_is_of_people(row->stored_kind))
            continue;
        if (sha256_from_bytes(column_bytes(statement, 2), &row->leaf) < 0)
            return database_error(store, SQLITE_CORRUPT);
        row->bytes = bytes_of(NULL, (size_t)sqlite3_column_bytes(statement, 3));
        buffer_put_bytes(&batch->bytes, column_bytes(statement, 3));
        batch->count++;
        if (batch->count == READ_ROWS_AT_ONCE || batch->bytes.len >= READ_BYTES_AT_ONCE) {
            batch->more = true;
            break;
        }
    }
    if (r < 0)
        return r;
    for (size_t i = 0, at = 0; r >= 0 && i < batch->count; at += batch->rows[i].bytes.len, i++) {
        batch->rows[i].bytes.data = batch->bytes.data ? batch->bytes.data + at : NULL;
        r = erased_look(store, log, &batch->rows[i]);
    }
    if (r < 0)
        return r;
    return buffer_finish(&batch->bytes);
}

struct listing {
    const struct store_filter *filter;
    int (*each)(void *user, const struct store_record *record);
    void *user;
    bool any_quarantined;
};

static int list_batch(
    struct store *store, const struct log_row *log, const struct listing *listing, const struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct record_row *row = &batch->rows[i];
        _cleanup_buffer_ struct buffer reason = {0};
        struct store_record record;
        int r = 0;

        if (listing->any_quarantined && row->seq < log->receipt_size)
            r = quarantine_reason(store, record_key(log->number, row->seq), &reason);
        if (r < 0)
            return r;
        record_present(log, row, r > 0 ? (const char *)reason.data : NULL, &record);
        if (listing->filter->has_state && record.state != listing->filter->state)
            continue;
        r = listing->each(listing->user, &record);
        if (r != 0)
            return r;
    }
    return 0;
}

static int list_log(
    struct store *store, const struct log_row *log, const struct listing *listing, struct batch *batch)
{
    struct range range = range_of(log, listing->filter);

    while (range.first < range.end) {
        int r = read_batch(store, log, listing->filter, range, batch);
        if (r >= 0)
            r = list_batch(store, log, listing, batch);
        if (r != 0)
            return r;
        if (!batch->more)
            return 0;
        range.first = batch->next_seq;
    }
    return 0;
}

static void batch_free(struct batch **batch)
{
    if (!*batch)
        return;
    buffer_done(&(*batch)->bytes);
    free(*batch);
}

int store_each_record(struct store *store, const struct store_filter *filter,
    int (*each)(void *user, const struct store_record *record), void *user)
{
    static const char sql[] = "SELECT 1 FROM quarantined LIMIT 1";
    static const struct store_filter everything;
    _cleanup_free_ struct log_row *logs = NULL;
    _cleanup_(batch_free) struct batch *batch = calloc(1, sizeof(*batch));
    struct listing listing = {.filter = filter ? filter : &everything, .each = each, .user = user};
    size_t count;
    int64_t one;

    if (!batch)
        return -ENOMEM;
    int r = database_read_number(store, sql, NULL, 0, &one);
    if (r < 0)
        return r;
    listing.any_quarantined = r > 0;
    r = logs_read(store, &logs, &count);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        r = list_log(store, &logs[i], &listing, batch);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- one record ---- */

/* The row's bytes go into the buffer, and the reason of a quarantine behind them. */
static int read_row(struct store *store, const struct log_row *log, uint64_t seq, struct buffer *ret_bytes,
    struct record_row *ret)
{
    static const char sql[] = "SELECT kind, leaf, bytes FROM records WHERE key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(log->number, seq));
    r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    *ret = (struct record_row){.seq = seq};
    ret->stored_kind = sqlite3_column_int64(statement, 0);
    if (sha256_from_bytes(column_bytes(statement, 1), &ret->leaf) < 0)
        return database_error(store, SQLITE_CORRUPT);
    ret->bytes = column_bytes(statement, 2);
    buffer_put_bytes(ret_bytes, ret->bytes);
    return buffer_finish(ret_bytes);
}

int store_read_row(struct store *store, const struct log_row *log, uint64_t seq, struct buffer *ret_bytes,
    struct store_record *ret)
{
    struct record_row row;
    size_t start = ret_bytes->len, reason_start;

    int r = read_row(store, log, seq, ret_bytes, &row);
    if (r < 0)
        return r;
    reason_start = ret_bytes->len;
    r = quarantine_reason(store, record_key(log->number, seq), ret_bytes);
    if (r < 0)
        return r;
    if (row.bytes.len > 0) /* of one that was erased there may be no buffer at all */
        row.bytes.data = ret_bytes->data + start;
    int looked = erased_look(store, log, &row);
    if (looked < 0)
        return looked;
    record_present(log, &row, r > 0 ? (const char *)ret_bytes->data + reason_start : NULL, ret);
    return 0;
}

int store_read(
    struct store *store, const struct position_in_log *at, struct buffer *ret_bytes, struct store_record *ret)
{
    struct log_row log;

    int r = log_find(store, &at->log, &log);
    if (r < 0)
        return r;
    if (at->seq >= log.size)
        return -ENOENT;
    return store_read_row(store, &log, at->seq, ret_bytes, ret);
}

/* ---- what came after a record ---- */

static int note_child(
    struct store *store, int64_t key, struct position_in_log *ret_at, enum record_kind *ret_kind)
{
    static const char sql[] = "SELECT l.id, r.kind FROM records AS r CROSS JOIN logs AS l ON l.number = ?2"
                              " WHERE r.key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    sqlite3_bind_int64(statement, 2, key_log_number(key));
    r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    int64_t kind = sqlite3_column_int64(statement, 1);
    ret_at->seq = key_seq(key);
    *ret_kind = (enum record_kind)(kind >= KIND_INNER_FACTOR ? kind / KIND_INNER_FACTOR : kind);
    return uuid_from_bytes(column_bytes(statement, 0), &ret_at->log);
}

/* The last records of a log stay when it is pruned; what speaks of them, in the next one, may go then. */
static int is_pruned(struct store *store, int64_t key)
{
    struct log_row log;

    int r = log_find_number(store, key_log_number(key), &log);
    return r < 0 ? r : key_seq(key) < log.pruned_size;
}

/* Where the record at `at` was recorded first, which is how others name it. */
static int first_position(struct store *store, const struct position_in_log *at, struct position_in_log *ret)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    struct store_record record;

    *ret = *at;
    int r = store_read(store, at, &bytes, &record);
    if (r >= 0)
        *ret = record.recorded_at;
    return r == -ENOENT ? 0 : r;
}

int store_later_versions(struct store *store, const struct position_in_log *of, bool *ret_amended,
    struct position_in_log *ret_amendment, bool *ret_withdrawn)
{
    static const char sql[] = "SELECT child FROM children WHERE log = ?1 AND seq = ?2 ORDER BY child";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    struct position_in_log first, amendment = {0};
    bool amended = false, withdrawn = false;

    int r = first_position(store, of, &first);
    if (r >= 0)
        r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, uuid_bytes(&first.log));
    bind_u64(statement, 2, first.seq);
    while ((r = database_step(store, statement)) > 0) {
        struct position_in_log at;
        enum record_kind kind;

        r = note_child(store, sqlite3_column_int64(statement, 0), &at, &kind);
        if (r == -ENOENT) {
            r = is_pruned(store, sqlite3_column_int64(statement, 0));
            r = r < 0 ? r : r > 0 ? -EIDRM : -ENOENT;
        }
        if (r < 0)
            return r;
        if (kind == RECORD_AMENDMENT) {
            amended = true;
            amendment = at;
        }
        withdrawn = withdrawn || kind == RECORD_WITHDRAWAL;
    }
    if (r < 0)
        return r;
    *ret_amended = amended;
    *ret_withdrawn = withdrawn;
    if (amended)
        *ret_amendment = amendment;
    return 0;
}
