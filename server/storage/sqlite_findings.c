/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of findings, what waits in quarantine, and the index of public ids in the SQLite storage. See
 * storage.h. All of it is derived from the records.
 */
#include "server/storage/sqlite_internal.h"

#include <errno.h>

/* ---- photos of a finding, packed into one column ---- */

#define PHOTO_PACKED_BYTES (SHA256_BYTES + 8u + 1u + SHA256_BYTES + 4u)

static int pack_photos(const struct finding *finding, struct buffer *ret)
{
    for (size_t i = 0; i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];

        buffer_put_bytes(ret, sha256_bytes(&photo->sha256));
        buffer_put_u64be(ret, photo->size);
        buffer_put_u8(ret, (uint8_t)photo->format);
        buffer_put_bytes(ret, sha256_bytes(&photo->preview_sha256));
        buffer_put_u32be(ret, photo->preview_size);
    }
    return buffer_finish(ret);
}

static size_t unpack_photos(struct bytes packed, struct photo ret[FINDING_PHOTOS_MAX])
{
    struct cursor cursor = cursor_of(packed);
    size_t count = packed.len / PHOTO_PACKED_BYTES;

    if (count > FINDING_PHOTOS_MAX)
        count = FINDING_PHOTOS_MAX;
    for (size_t i = 0; i < count; i++) {
        struct photo *photo = &ret[i];

        (void)sha256_from_bytes(cursor_take(&cursor, SHA256_BYTES), &photo->sha256);
        photo->size = cursor_u64be(&cursor);
        photo->format = (enum photo_format)cursor_u8(&cursor);
        (void)sha256_from_bytes(cursor_take(&cursor, SHA256_BYTES), &photo->preview_sha256);
        photo->preview_size = cursor_u32be(&cursor);
    }
    return count;
}

/* ---- findings ---- */

static void bind_optional_id(sqlite3_stmt *statement, int index, bool has, const struct uuid *id)
{
    if (has)
        sqlite_bind_bytes(statement, index, uuid_bytes(id));
    else
        (void)sqlite3_bind_null(statement, index);
}

static void bind_position(sqlite3_stmt *statement, const struct finding *finding)
{
    if (!finding->has_position) {
        for (int i = 17; i <= 20; i++)
            (void)sqlite3_bind_null(statement, i);
        return;
    }
    sqlite_bind_signed(statement, 17, finding->position.lat_e7);
    sqlite_bind_signed(statement, 18, finding->position.lon_e7);
    sqlite_bind_number(statement, 19, finding->position.accuracy_dm);
    sqlite_bind_signed(statement, 20, finding->position.fix_time_ms);
}

static int write_finding(sqlite3_stmt *statement, const struct stored_finding *row)
{
    const struct finding *finding = &row->finding;
    _cleanup_buffer_ struct buffer photos = {0};
    int r = pack_photos(finding, &photos);

    if (r < 0)
        return r;
    sqlite_bind_number(statement, 1, row->key);
    sqlite_bind_number(statement, 2, row->arrival);
    sqlite_bind_number(statement, 3, row->root);
    sqlite_bind_number(statement, 4, (uint64_t)row->state);
    sqlite_bind_number(statement, 5, (uint64_t)row->kind);
    bind_optional_id(statement, 6, row->is_rehomed, &row->first_id);
    bind_optional_id(statement, 7, row->has_parent, &row->parent_id);
    sqlite_bind_signed(statement, 8, row->wall_ms);
    sqlite_bind_signed(statement, 9, row->utc_offset_min);
    sqlite_bind_text(statement, 10, row->inspector);
    sqlite_bind_text(statement, 11, finding->category.scheme);
    sqlite_bind_text(statement, 12, finding->category.version);
    sqlite_bind_text(statement, 13, finding->category.code);
    sqlite_bind_text(statement, 14, finding->category.component);
    sqlite_bind_number(statement, 15, (uint64_t)finding->severity);
    sqlite_bind_text(statement, 16, finding->note);
    bind_position(statement, finding);
    sqlite_bind_text(statement, 21, finding->no_fix);
    sqlite_bind_signed(statement, 22, finding->observed_ms);
    if (photos.len > 0)
        sqlite_bind_bytes(statement, 23, buffer_bytes(&photos));
    else
        (void)sqlite3_bind_null(statement, 23);
    return sqlite_run(statement);
}

/* Mostly there is no such row yet. Replacing takes a journal of the statement's own besides, as the table has
 * an index. */
int sqlite_finding_put(struct storage *storage, const struct stored_finding *row)
{
    struct sqlite *sqlite = sqlite_of(storage);
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite, SQL_FINDING_ADD, &r);

    if (statement)
        r = write_finding(statement, row);
    if (r < 0 || sqlite3_changes(sqlite->db) > 0)
        return r;
    statement = sqlite_statement(sqlite, SQL_FINDING_PUT, &r);
    return statement ? write_finding(statement, row) : r;
}

int sqlite_finding_at(struct storage *storage, uint64_t key, struct stored_finding *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_FINDING_AT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, key);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    *ret = (struct stored_finding){.key = key,
        .arrival = sqlite_number(statement, 0),
        .root = sqlite_number(statement, 1),
        .state = (enum finding_state)sqlite_number(statement, 2),
        .kind = (enum record_kind)sqlite_number(statement, 3)};
    sqlite3_reset(statement);
    return 0;
}

int sqlite_finding_set_state(struct storage *storage, uint64_t key, enum finding_state state)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_FINDING_STATE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, key);
    sqlite_bind_number(statement, 2, (uint64_t)state);
    return sqlite_run(statement);
}

/* Rows may have been damaged: whatever the columns hold, the result is within the types' ranges. */
static void read_content(
    sqlite3_stmt *statement, struct photo photos[FINDING_PHOTOS_MAX], struct stored_finding *ret)
{
    struct finding *finding = &ret->finding;

    ret->wall_ms = sqlite3_column_int64(statement, 7);
    ret->utc_offset_min = sqlite3_column_int(statement, 8);
    ret->inspector = sqlite_bytes(statement, 9);
    finding->category.scheme = sqlite_bytes(statement, 10);
    finding->category.version = sqlite_bytes(statement, 11);
    finding->category.code = sqlite_bytes(statement, 12);
    finding->category.component = sqlite_bytes(statement, 13);
    finding->severity = (enum severity)sqlite3_column_int(statement, 14);
    finding->note = sqlite_bytes(statement, 15);
    finding->has_position = sqlite3_column_type(statement, 16) != SQLITE_NULL;
    if (finding->has_position) {
        finding->position.lat_e7 = sqlite3_column_int(statement, 16);
        finding->position.lon_e7 = sqlite3_column_int(statement, 17);
        finding->position.accuracy_dm = (uint32_t)sqlite3_column_int64(statement, 18);
        finding->position.fix_time_ms = sqlite3_column_int64(statement, 19);
    }
    finding->no_fix = sqlite_bytes(statement, 20);
    finding->observed_ms = sqlite3_column_int64(statement, 21);
    finding->photo_count = unpack_photos(sqlite_bytes(statement, 22), photos);
    finding->photos = photos;
}

static void read_finding(
    sqlite3_stmt *statement, struct photo photos[FINDING_PHOTOS_MAX], struct stored_finding *ret)
{
    *ret = (struct stored_finding){.key = sqlite_number(statement, 0),
        .arrival = sqlite_number(statement, 1),
        .root = sqlite_number(statement, 2),
        .state = (enum finding_state)sqlite3_column_int(statement, 3),
        .kind = (enum record_kind)sqlite3_column_int(statement, 4),
        .received_ms = sqlite3_column_int64(statement, 25)};
    ret->is_rehomed = sqlite_exact(statement, 5, ret->first_id.b, UUID_BYTES);
    ret->has_parent = sqlite_exact(statement, 6, ret->parent_id.b, UUID_BYTES);
    read_content(statement, photos, ret);
    (void)sqlite_exact(statement, 23, ret->device.b, UUID_BYTES);
    (void)sqlite_exact(statement, 24, ret->log.b, UUID_BYTES);
    ret->has_leaf = sqlite_exact(statement, 26, ret->leaf.b, SHA256_BYTES);
    ret->reason = (const char *)sqlite3_column_text(statement, 27);
}

int sqlite_findings_each(struct storage *storage, const struct stored_findings_filter *filter,
    int (*each)(void *user, const struct stored_finding *finding), void *user)
{
    struct photo photos[FINDING_PHOTOS_MAX];
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_FINDINGS, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, filter->since);
    bind_optional_id(statement, 2, filter->has_device, &filter->device);
    while ((r = sqlite_step(statement)) == 1) {
        struct stored_finding finding;

        read_finding(statement, photos, &finding);
        r = each(user, &finding);
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

int sqlite_finding(struct storage *storage, uint64_t key,
    int (*each)(void *user, const struct stored_finding *finding), void *user)
{
    struct photo photos[FINDING_PHOTOS_MAX];
    struct stored_finding finding;
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_FINDING, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, key);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    read_finding(statement, photos, &finding);
    r = each(user, &finding);
    sqlite3_reset(statement);
    return r;
}

/* ---- versions of a finding ---- */

int sqlite_version_put(struct storage *storage, uint64_t root, uint64_t key)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_VERSION_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, root);
    sqlite_bind_number(statement, 2, key);
    return sqlite_run(statement);
}

/* Collects the keys that a statement yields; its last parameter, `max`, is bound already. */
static int collect_keys(sqlite3_stmt *statement, uint64_t *ret_keys, size_t max, size_t *ret_count)
{
    size_t count = 0;
    int r = 0;

    while (count < max && (r = sqlite_step(statement)) == 1)
        ret_keys[count++] = sqlite_number(statement, 0);
    sqlite3_reset(statement);
    if (r < 0)
        return r;
    *ret_count = count;
    return 0;
}

int sqlite_versions(struct storage *storage, uint64_t root, uint64_t *ret_keys, size_t max, size_t *ret_count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_VERSIONS, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, root);
    sqlite_bind_number(statement, 2, max);
    return collect_keys(statement, ret_keys, max, ret_count);
}

/* ---- quarantine ---- */

int sqlite_quarantine(struct storage *storage, uint64_t key, const char *reason)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_QUARANTINE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, key);
    sqlite_bind_text(statement, 2, bytes_of_text(reason));
    return sqlite_run(statement);
}

int sqlite_quarantine_end(struct storage *storage, uint64_t key)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_QUARANTINE_END, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, key);
    return sqlite_run(statement);
}

int sqlite_quarantined_each(struct storage *storage, uint64_t first_key, uint64_t end_key,
    int (*each)(void *user, uint64_t key, const char *reason), void *user)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_QUARANTINED, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, first_key);
    sqlite_bind_number(statement, 2, end_key);
    while ((r = sqlite_step(statement)) == 1) {
        const unsigned char *reason = sqlite3_column_text(statement, 1);

        r = each(user, sqlite_number(statement, 0), reason ? (const char *)reason : "");
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

int sqlite_quarantined_count(
    struct storage *storage, uint64_t first_key, uint64_t end_key, uint64_t *ret_count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_QUARANTINED_COUNT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, first_key);
    sqlite_bind_number(statement, 2, end_key);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -EIO;
    *ret_count = sqlite_number(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

static int run_awaited(
    struct storage *storage, enum sqlite_sql which, const struct position_in_log *parent, uint64_t key)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), which, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(&parent->log));
    sqlite_bind_number(statement, 2, parent->seq);
    sqlite_bind_number(statement, 3, key);
    return sqlite_run(statement);
}

int sqlite_awaited_put(struct storage *storage, const struct position_in_log *parent, uint64_t key)
{
    return run_awaited(storage, SQL_AWAITED_PUT, parent, key);
}

int sqlite_awaited_end(struct storage *storage, const struct position_in_log *parent, uint64_t key)
{
    return run_awaited(storage, SQL_AWAITED_END, parent, key);
}

int sqlite_awaited(struct storage *storage, const struct uuid *log, uint64_t first_seq, uint64_t end_seq,
    uint64_t *ret_keys, size_t max, size_t *ret_count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_AWAITED, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(log));
    sqlite_bind_number(statement, 2, first_seq);
    sqlite_bind_number(statement, 3, end_seq);
    sqlite_bind_number(statement, 4, max);
    return collect_keys(statement, ret_keys, max, ret_count);
}

/* ---- re-homed records ---- */

int sqlite_rehomed_put(
    struct storage *storage, const struct position_in_log *first, const struct uuid *id, uint64_t key)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_REHOMED_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(&first->log));
    sqlite_bind_number(statement, 2, first->seq);
    sqlite_bind_bytes(statement, 3, uuid_bytes(id));
    sqlite_bind_number(statement, 4, key);
    return sqlite_run(statement);
}

int sqlite_rehomed_find(
    struct storage *storage, const struct position_in_log *first, const struct uuid *id, uint64_t *ret_key)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_REHOMED_FIND, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(&first->log));
    sqlite_bind_number(statement, 2, first->seq);
    sqlite_bind_bytes(statement, 3, uuid_bytes(id));
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    *ret_key = sqlite_number(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

int sqlite_rehomed_any(struct storage *storage, const struct uuid *log)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_REHOMED_ANY, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(log));
    r = sqlite_step(statement);
    sqlite3_reset(statement);
    return r;
}

/* ---- what the handheld's clock is held to ---- */

int sqlite_clock_mark_put(struct storage *storage, uint64_t key, int64_t receipt_ms)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_CLOCK_MARK_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, key);
    sqlite_bind_signed(statement, 2, receipt_ms);
    return sqlite_run(statement);
}

int sqlite_clock_mark(struct storage *storage, uint64_t key, int64_t *ret_receipt_ms)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_CLOCK_MARK, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, record_key(record_key_log(key), 0));
    sqlite_bind_number(statement, 2, key);
    r = sqlite_step(statement);
    if (r < 0)
        return r;
    *ret_receipt_ms = r == 1 ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return 0;
}

int sqlite_derived_clear(struct storage *storage)
{
    int code = sqlite3_exec(sqlite_of(storage)->db, sqlite_derived_clear_text, NULL, NULL, NULL);

    return code == SQLITE_OK ? 0 : sqlite_errno(code);
}

/* ---- public ids ---- */

struct id_and_key {
    struct uuid id;
    uint64_t key;
};

static int compare_ids(const void *a, const void *b)
{
    return memcmp(((const struct id_and_key *)a)->id.b, ((const struct id_and_key *)b)->id.b, UUID_BYTES);
}

/* The public id of a row of SQL_IDS_NEXT. False when its record is gone: a repair adds the id itself. */
static bool read_id(sqlite3_stmt *statement, struct id_and_key *ret)
{
    struct uuid log;
    struct sha256 leaf;

    ret->key = sqlite_number(statement, 0);
    if (sqlite_exact(statement, 2, ret->id.b, UUID_BYTES))
        return true;
    if (!sqlite_exact(statement, 3, log.b, UUID_BYTES) || !sqlite_exact(statement, 4, leaf.b, SHA256_BYTES))
        return false;
    ret->id = record_public_id(&log, record_key_seq(ret->key), &leaf);
    return true;
}

int sqlite_id_put(struct storage *storage, const struct uuid *id, uint64_t key)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ID_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(id));
    sqlite_bind_number(statement, 2, key);
    return sqlite_run(statement);
}

/* A segment bears the number of its last arrival. */
static int put_segment(struct sqlite *sqlite, uint64_t segment, struct id_and_key *ids, size_t count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite, SQL_ID_SEGMENT_PUT, &r);

    if (!statement)
        return r;
    qsort(ids, count, sizeof(*ids), compare_ids);
    sqlite_bind_number(statement, 3, segment);
    for (size_t i = 0; r >= 0 && i < count; i++) {
        sqlite_bind_bytes(statement, 1, uuid_bytes(&ids[i].id));
        sqlite_bind_number(statement, 2, ids[i].key);
        r = sqlite_run(statement);
    }
    return r;
}

int sqlite_ids_build(struct storage *storage, struct storage_state *state)
{
    _cleanup_free_ struct id_and_key *ids = NULL;
    uint64_t last = state->indexed_arrival + STORAGE_IDS_BATCH;
    sqlite3_stmt *statement;
    size_t count = 0;
    int r = 0;

    if (storage_ids_waiting(state) < STORAGE_IDS_BATCH)
        return 0;
    ids = calloc(STORAGE_IDS_BATCH, sizeof(*ids));
    statement = sqlite_statement(sqlite_of(storage), SQL_IDS_NEXT, &r);
    if (!ids)
        return -ENOMEM;
    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, state->indexed_arrival);
    sqlite_bind_number(statement, 2, last);
    while (count < STORAGE_IDS_BATCH && (r = sqlite_step(statement)) == 1)
        count += read_id(statement, &ids[count]);
    sqlite3_reset(statement);
    if (r < 0)
        return r;
    r = put_segment(sqlite_of(storage), last, ids, count);
    if (r < 0)
        return r;
    state->indexed_arrival = last;
    return 1;
}

/* Rows that came after the last batch was indexed: less than a batch, once housekeeping has caught up. */
static int find_in_tail(struct storage *storage, const struct uuid *id, uint64_t *ret_key)
{
    struct storage_state state;
    struct id_and_key row;
    sqlite3_stmt *statement;
    int r = sqlite_state(storage, &state);

    if (r < 0)
        return r;
    statement = sqlite_statement(sqlite_of(storage), SQL_IDS_NEXT, &r);
    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, state.indexed_arrival);
    sqlite_bind_number(statement, 2, INT64_MAX);
    while ((r = sqlite_step(statement)) == 1) {
        if (!read_id(statement, &row) || !uuid_equal(&row.id, id))
            continue;
        sqlite3_reset(statement);
        *ret_key = row.key;
        return 0;
    }
    return r < 0 ? r : -ENOENT;
}

/* 1 with its key, or 0. */
static int step_to_number(sqlite3_stmt *statement, uint64_t *ret)
{
    int r = sqlite_step(statement);

    if (r <= 0)
        return r;
    *ret = sqlite_number(statement, 0);
    sqlite3_reset(statement);
    return 1;
}

/* The newest segment that has it. 1 with its key, or 0. */
static int find_in_segments(struct sqlite *sqlite, const struct uuid *id, uint64_t *ret_key)
{
    uint64_t segment = INT64_MAX;
    int r = 0;
    sqlite3_stmt *before = sqlite_statement(sqlite, SQL_ID_SEGMENT_BEFORE, &r);
    sqlite3_stmt *find = before ? sqlite_statement(sqlite, SQL_ID_SEGMENT_FIND, &r) : NULL;

    if (!find)
        return r;
    sqlite_bind_bytes(find, 1, uuid_bytes(id));
    do {
        sqlite_bind_number(before, 1, segment);
        r = step_to_number(before, &segment);
        if (r <= 0)
            return r;
        sqlite_bind_number(find, 2, segment);
        r = step_to_number(find, ret_key);
    } while (r == 0);
    return r;
}

int sqlite_id_find(struct storage *storage, const struct uuid *id, uint64_t *ret_key)
{
    uint64_t key = 0;
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ID_FIND, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, uuid_bytes(id));
    r = step_to_number(statement, &key);
    if (r == 0)
        r = find_in_segments(sqlite_of(storage), id, &key);
    if (r == 0)
        return find_in_tail(storage, id, ret_key);
    if (r < 0)
        return r;
    *ret_key = key;
    return 0;
}
