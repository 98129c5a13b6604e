/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns re-homing: what a log held that its receiver never took there goes on in another log, each record
 * inside a `rehomed{log, seq, bytes}`, its bytes unchanged (proto/README.md, "Fork"). Called when a log is
 * left because of a fork, or was recovered.
 *
 * One transaction however many they are: rows are read and written one by one, and SQLite spills to the WAL.
 */
#include "store/internal.h"

#define DECODE_BUDGET (DECODE_BUDGET_FACTOR * RECORD_BYTES_MAX)

static int delete_child(struct store *store, const struct position_in_log *parent, int64_t child)
{
    static const char sql[] = "DELETE FROM children WHERE log = ?1 AND seq = ?2 AND child = ?3";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, uuid_bytes(&parent->log));
    bind_u64(statement, 2, parent->seq);
    sqlite3_bind_int64(statement, 3, child);
    return database_step(store, statement);
}

static const struct parent *parent_of(const struct record *record)
{
    if (record->kind == RECORD_AMENDMENT)
        return &record->amendment.parent;
    return record->kind == RECORD_WITHDRAWAL ? &record->withdrawal.parent : NULL;
}

int rows_about_record(struct store *store, const struct position_in_log *recorded_at, struct bytes recorded,
    int64_t old_key, int64_t key)
{
    _cleanup_arena_ struct arena arena;
    struct record record;
    int r = 0;

    arena_init(&arena, DECODE_BUDGET);
    r = record_decode(recorded, &arena, &record, NULL);
    if (r < 0)
        return r == -ENOMEM ? r : 0; /* what nobody can read names nothing */
    const struct finding *finding = record_finding(&record);
    const struct parent *parent = parent_of(&record);
    if (finding)
        r = blobs_move(store, finding, old_key, key);
    if (r >= 0 && finding && finding->severity == SEVERITY_URGENT)
        r = urgent_note(store, key);
    if (r >= 0 && parent) {
        struct position_in_log at = {
            .log = uuid_is_nil(&parent->log) ? recorded_at->log : parent->log, .seq = parent->seq};

        if (old_key >= 0)
            r = delete_child(store, &at, old_key);
        if (r >= 0)
            r = child_add(store, &at, key);
    }
    return r;
}

int rehomed_inner(struct bytes bytes, struct position_in_log *ret_at, struct bytes *ret_record)
{
    _cleanup_arena_ struct arena arena = {0};
    struct record record;

    if (bytes.len == 0)
        return -EBADMSG;
    arena_init(&arena, DECODE_BUDGET);
    int r = record_decode(bytes, &arena, &record, NULL);
    if (r == -ENOMEM)
        return r;
    if (r < 0 || record.kind != RECORD_REHOMED || record.rehomed.record.len == 0)
        return -EBADMSG;
    /* The decoder's copy goes with the arena; the same bytes stand in one piece in the outer record. */
    const uint8_t *inner =
        memmem(bytes.data, bytes.len, record.rehomed.record.data, record.rehomed.record.len);
    if (!inner)
        return -EBADMSG;
    *ret_at = (struct position_in_log){.log = record.rehomed.log, .seq = record.rehomed.seq};
    *ret_record = bytes_of(inner, record.rehomed.record.len);
    return 0;
}

struct rehoming {
    const struct store_author *author;
    const struct log_row *from;
    const struct carried_list *already;
    struct log_row *to;
};

/* Carries one record over; 1 when it did. */
static int rehome_one(struct store *store, const struct rehoming *rehoming, uint64_t seq, int64_t stored_kind,
    const struct sha256 *leaf, struct bytes bytes)
{
    int64_t old_key = record_key(rehoming->from->number, seq);
    int64_t key = record_key(rehoming->to->number, rehoming->to->size);
    struct position_in_log at = {.log = rehoming->from->id, .seq = seq};
    struct bytes recorded = bytes;
    struct sha256 now = merkle_leaf(bytes);
    int r;

    /* `opened` and `closed` speak of their own log only. What the disk has altered is no record any more:
     * nobody could check it. */
    if (stored_kind == RECORD_OPENED || stored_kind == RECORD_CLOSED || !sha256_equal(&now, leaf))
        return 0;
    bool is_rehomed = stored_kind % KIND_INNER_FACTOR == RECORD_REHOMED;
    if (is_rehomed) {
        r = rehomed_inner(bytes, &at, &recorded);
        if (r == -ENOMEM)
            return r;
        if (r < 0)
            recorded = bytes;
    }
    if (rehoming->already && carried_into_later(rehoming->already, &at, rehoming->from->number))
        return 0;
    if (is_rehomed) {
        r = append_row(store, rehoming->to, stored_kind, bytes, leaf);
    } else {
        struct record record = {
            .kind = RECORD_REHOMED, .rehomed = {.log = at.log, .seq = at.seq, .record = bytes}};

        r = append_own(store, rehoming->to, rehoming->author, &record, stored_kind % KIND_INNER_FACTOR);
    }
    if (r >= 0)
        r = rows_about_record(store, &at, recorded, old_key, key);
    return r < 0 ? r : 1;
}

int log_rehome(struct store *store, const struct store_author *author, const struct log_row *from,
    uint64_t first_seq, const struct carried_list *already, struct log_row *to, uint64_t *ret_count)
{
    static const char sql[] =
        "SELECT key, kind, leaf, bytes FROM records WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    struct rehoming rehoming = {.author = author, .from = from, .already = already, .to = to};

    if (first_seq >= from->size)
        return 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    /* Rows are added behind this range only, so reading and writing do not meet. */
    sqlite3_bind_int64(statement, 1, record_key(from->number, first_seq));
    sqlite3_bind_int64(statement, 2, record_key(from->number, from->size - 1));
    while ((r = database_step(store, statement)) > 0) {
        struct sha256 leaf;

        if (sha256_from_bytes(column_bytes(statement, 2), &leaf) < 0)
            continue;
        r = rehome_one(store, &rehoming, key_seq(sqlite3_column_int64(statement, 0)),
            sqlite3_column_int64(statement, 1), &leaf, column_bytes(statement, 3));
        if (r < 0)
            return r;
        *ret_count += (uint64_t)r;
    }
    return r;
}
