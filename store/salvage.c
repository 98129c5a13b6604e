/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the second half of salvage: what has become of each log, and the new log that goes on. Called by
 * recovery.
 *
 *   a log that was closed and is whole          stays as it is, and is sent to its end if it was not
 *   any other: what has a receipt               stays listed as sent, as far as it can be read
 *              what has none                    is re-homed into the new log
 *
 * The new log opens with reason `recovered`; nothing is ever appended to an old one, as nobody can say what
 * had been appended to it last.
 */
#include "store/salvage_rows.h"

#define DECODE_BUDGET (DECODE_BUDGET_FACTOR * RECORD_BYTES_MAX)

static const struct store_author own_author = {
    .software = {(const uint8_t *)"gridpatrol " GRIDPATROL_VERSION,
        sizeof("gridpatrol " GRIDPATROL_VERSION) - 1},
};

/* ---- which logs there are ---- */

/* Every log that a record was found of. */
static int note_numbers(struct salvaging *salvaging)
{
    static const char sql[] = "SELECT key FROM records WHERE key >= ?1 ORDER BY key LIMIT 1";
    int64_t from = 0, key;
    int r;

    while ((r = database_read_number(salvaging->store, sql, &from, 1, &key)) > 0) {
        if (!salvaged_log_of(salvaging, key_log_number(key)))
            return -ENOMEM;
        from = record_key(key_log_number(key) + 1, 0);
    }
    return r;
}

static int note_id(void *user, int64_t number, const struct uuid *id)
{
    struct salvaging *salvaging = user;
    struct salvaged_log *logs = (struct salvaged_log *)(void *)salvaging->logs.data;

    for (size_t i = 0; i < salvaging->log_count; i++)
        if (logs[i].number == number && !logs[i].has_id) {
            logs[i].has_id = true;
            logs[i].id = *id;
        }
    return 0;
}

static int compare_logs(const void *a_pointer, const void *b_pointer)
{
    const struct salvaged_log *a = a_pointer, *b = b_pointer;

    return a->number < b->number ? -1 : a->number > b->number;
}

/* ---- one log ---- */

static int size_found(struct store *store, int64_t number, uint64_t *ret)
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

/* A receipt that does not speak of these records is none: they are sent once more, and the centre knows each
 * of them by its id. Where records are missing below it the root cannot be had, and its size is believed. */
static int check_receipt(struct store *store, struct salvaged_log *log, uint64_t size)
{
    struct checkpoint checkpoint;
    struct sha256 root;
    int r = -EUCLEAN;

    if (log->receipt_size > 0 && log->receipt_size <= size)
        r = log_root_at(store, log->number, log->receipt_size, &root);
    if (r < 0 && r != -EUCLEAN)
        return r;
    if (checkpoint_parse(bytes_of(log->note, log->note_len), &checkpoint) >= 0 &&
        checkpoint.size == log->receipt_size && (r < 0 || sha256_equal(&checkpoint.root, &root)))
        return 0;
    log->receipt_size = 0;
    log->note_len = 0;
    return 0;
}

static int insert_log(struct store *store, const struct salvaged_log *log, uint64_t size, bool has_rehomed,
    uint64_t rehomed_from)
{
    static const char sql[] =
        "INSERT INTO logs(number, id, kind, final_size, rehomed_from, receipt_size,"
        " receipt_time_s, receipt_note, mark) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, log->number);
    bind_bytes(statement, 2, uuid_bytes(&log->id));
    sqlite3_bind_int64(statement, 3, log->kind);
    bind_u64(statement, 4, size);
    if (has_rehomed)
        bind_u64(statement, 5, rehomed_from);
    bind_u64(statement, 6, log->receipt_size);
    sqlite3_bind_int64(statement, 7, log->receipt_time_s);
    bind_bytes(statement, 8, bytes_of(log->note, log->note_len));
    sqlite3_bind_int64(statement, 9, log_mark(log->number, &log->id));
    return database_step(store, statement);
}

/* Where all records that a pruned log needs are found, its tiles need not be made anew, and cannot be: what
 * was signed of it says whether they are what they were. 1 yes, 0 no. */
static int has_sound_tiles(struct store *store, const struct salvaged_log *log)
{
    struct checkpoint checkpoint;
    struct sha256 root;

    if (log->pruned_size == 0 || log->has_rehomed || log->receipt_size != log->final_size ||
        checkpoint_parse(bytes_of(log->note, log->note_len), &checkpoint) < 0 ||
        checkpoint.size != log->final_size)
        return 0;
    int r = log_tiles_fit(store, log->number, log->final_size / TILE_LEAVES);
    if (r <= 0)
        return r;
    r = log_root_at(store, log->number, log->final_size, &root);
    if (r < 0)
        return r == -EUCLEAN ? 0 : r;
    return sha256_equal(&root, &checkpoint.root);
}

static int make_tiles(struct store *store, const struct salvaged_log *log, uint64_t size)
{
    static const char sql[] = "DELETE FROM tiles WHERE key BETWEEN ?1 AND ?2";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, tile_key(log->number, 0));
    sqlite3_bind_int64(statement, 2, tile_key(log->number + 1, 0) - 1);
    r = database_step(store, statement);
    for (uint64_t tile = 0; r >= 0 && tile < size / TILE_LEAVES; tile++)
        r = tile_complete(store, log->number, tile);
    return r;
}

/* Makes a log's tiles and row. `log->has_rehomed` says afterwards that the rest from `rehomed_from` on is not
 * to be sent from here; `log->is_left` that it was so before. */
static int settle_log(struct store *store, struct salvaged_log *log)
{
    struct sha256 root;
    uint64_t size;

    int r = size_found(store, log->number, &size);
    if (r < 0)
        return r;
    uint64_t all_tiles = log->final_size - log->final_size % TILE_LEAVES;
    /* Less than all tiles: it was stopped. */
    if (!log->is_left || log->pruned_size > all_tiles || log->pruned_size % TILE_LEAVES != 0)
        log->pruned_size = 0;
    if (log->pruned_size > 0 && log->pruned_size == all_tiles && size < log->final_size)
        size = log->final_size; /* its last records may be of a whole tile, and gone */
    r = has_sound_tiles(store, log);
    if (r == 0)
        r = make_tiles(store, log, size);
    if (r >= 0)
        r = check_receipt(store, log, size);
    if (r >= 0 && log->pruned_size > 0)
        r = pruned_put(store, log->number, log->pruned_size, log->pruned_removed, log->pruned_ms);
    if (r < 0)
        return r;
    bool was_rehomed = log->is_left && log->has_rehomed;
    bool is_whole = log->is_left && !log->has_rehomed && size == log->final_size;
    r = is_whole ? log_root_at(store, log->number, size, &root) : 0;
    if (r < 0 && r != -EUCLEAN)
        return r;
    is_whole = is_whole && r >= 0;
    uint64_t from = was_rehomed ? log->rehomed_from : log->receipt_size;
    log->final_size = size;
    log->rehomed_from = from < size ? from : size;
    log->has_rehomed = !is_whole;
    log->is_left = was_rehomed || is_whole;
    return insert_log(store, log, size, log->has_rehomed, log->rehomed_from);
}

/* ---- the new log ---- */

/* Rows of a log whose id nobody knows any more: they go on as new records, as their old ids cannot be had. */
static int adopt_orphans(struct store *store, int64_t number, struct log_row *to, uint64_t *ret_count)
{
    static const char sql[] =
        "SELECT kind, leaf, bytes FROM records WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(number, 0));
    sqlite3_bind_int64(statement, 2, record_key(number, SEQ_MAX));
    while ((r = database_step(store, statement)) > 0) {
        int64_t kind = sqlite3_column_int64(statement, 0);
        struct sha256 leaf;

        if (!kind_is_of_people(kind) || sqlite3_column_bytes(statement, 2) == 0 ||
            sha256_from_bytes(column_bytes(statement, 1), &leaf) < 0)
            continue;
        r = append_row(store, to, kind, column_bytes(statement, 2), &leaf);
        if (r < 0)
            return r;
        (*ret_count)++;
    }
    return r;
}

static int rehome_all(struct salvaging *salvaging, const struct carried_list *already, struct log_row *to,
    uint64_t *ret_salvaged)
{
    struct salvaged_log *logs = (struct salvaged_log *)(void *)salvaging->logs.data;
    struct store *store = salvaging->store;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < salvaging->log_count; i++) {
        struct log_row from;

        if (!logs[i].has_id) {
            r = adopt_orphans(store, logs[i].number, to, ret_salvaged);
            continue;
        }
        if (logs[i].is_left)
            continue;
        r = log_find_number(store, logs[i].number, &from);
        if (r >= 0)
            r = log_rehome(store, &own_author, &from, logs[i].rehomed_from, already, to, ret_salvaged);
    }
    return r;
}

static int go_on(struct salvaging *salvaging, const struct uuid *predecessor, uint64_t *ret_salvaged)
{
    _cleanup_(carried_done) struct carried_list already = {0};
    struct log_row to;

    int r = carried_read(salvaging->store, &already);
    if (r >= 0)
        r = log_open(salvaging->store, &own_author, OPEN_RECOVERED, predecessor, &to);
    return r < 0 ? r : rehome_all(salvaging, &already, &to, ret_salvaged);
}

/* ---- what other tables say about records ---- */

static int restore_about(struct store *store, const struct log_row *log, const struct record_row *row)
{
    _cleanup_arena_ struct arena arena;
    struct recorded recorded = recorded_of(log, row);
    int64_t key = record_key(log->number, row->seq);
    struct record record;

    arena_init(&arena, DECODE_BUDGET);
    int r = record_decode(recorded.bytes, &arena, &record, NULL);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    const struct finding *finding = record_finding(&record);
    r = finding ? blobs_restore(store, finding, key, row->seq < log->receipt_size) : 0;
    return r < 0 ? r : rows_about_record(store, &recorded.at, recorded.bytes, -1, key);
}

static int restore_log(struct store *store, const struct log_row *log)
{
    static const char sql[] = "SELECT key, kind, leaf, bytes FROM records WHERE key BETWEEN ?1 AND ?2"
                              " AND kind IN " PEOPLE_KINDS " ORDER BY key";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    if (log->end == 0)
        return 0;
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, record_key(log->number, 0));
    sqlite3_bind_int64(statement, 2, record_key(log->number, log->end - 1));
    while ((r = database_step(store, statement)) > 0) {
        struct record_row row = {.seq = key_seq(sqlite3_column_int64(statement, 0)),
            .stored_kind = sqlite3_column_int64(statement, 1),
            .bytes = column_bytes(statement, 3)};

        if (sha256_from_bytes(column_bytes(statement, 2), &row.leaf) < 0)
            continue;
        r = restore_about(store, log, &row);
        if (r < 0)
            return r;
    }
    return r;
}

static bool names_blob(const struct finding *finding, const struct sha256 *sha256)
{
    for (size_t i = 0; i < finding->photo_count; i++)
        if (sha256_equal(&finding->photos[i].sha256, sha256) ||
            (finding->photos[i].preview_size > 0 && sha256_equal(&finding->photos[i].preview_sha256, sha256)))
            return true;
    return false;
}

/* 1 when the record at `key` is there and names the blob. */
static int record_names_blob(struct store *store, int64_t key, const struct sha256 *sha256)
{
    static const char sql[] = "SELECT bytes FROM records WHERE key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    _cleanup_arena_ struct arena arena;
    struct position_in_log at;
    struct bytes recorded;
    struct record record;

    arena_init(&arena, DECODE_BUDGET);
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, key);
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    if (rehomed_inner(column_bytes(statement, 0), &at, &recorded) < 0)
        recorded = column_bytes(statement, 0);
    r = record_decode(recorded, &arena, &record, NULL);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    const struct finding *finding = record_finding(&record);
    return finding && names_blob(finding, sha256);
}

static int next_blob(
    struct store *store, int64_t after, int64_t *ret_number, int64_t *ret_record, struct sha256 *ret_sha256)
{
    static const char sql[] =
        "SELECT number, record, sha256 FROM blobs WHERE number > ?1 ORDER BY number LIMIT 1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, after);
    r = database_step(store, statement);
    if (r <= 0)
        return r;
    *ret_number = sqlite3_column_int64(statement, 0);
    *ret_record = sqlite3_column_int64(statement, 1);
    r = sha256_from_bytes(column_bytes(statement, 2), ret_sha256);
    return r < 0 ? r : 1;
}

static int delete_blob(struct store *store, int64_t number)
{
    static const char sql[] = "DELETE FROM blobs WHERE number = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, number);
    return database_step(store, statement);
}

/* Nothing guards a blob's row against damage but the record that names it. A row that none names is no
 * photo's, or that of a photo whose record is gone: its file stays, and if the centre has the record it asks
 * for it. */
static int drop_unnamed_blobs(struct store *store)
{
    int64_t number = 0, record;
    struct sha256 sha256;
    int r;

    while ((r = next_blob(store, number, &number, &record, &sha256)) > 0) {
        r = record_names_blob(store, record, &sha256);
        if (r == 0)
            r = delete_blob(store, number);
        if (r < 0)
            return r;
    }
    return r;
}

static int restore_other_tables(struct store *store)
{
    _cleanup_free_ struct log_row *logs = NULL;
    size_t count;

    int r = logs_read(store, &logs, &count);
    /* Of the later versions that were found only those are kept that were pruned: those of records that are
     * here are made anew. */
    if (r >= 0)
        r = database_run(store,
            "DELETE FROM children WHERE child IN (SELECT key FROM records) OR (child & 1099511627775) >="
            " coalesce((SELECT size FROM pruned WHERE log = child >> 40), 0)");
    for (size_t i = 0; r >= 0 && i < count; i++)
        r = restore_log(store, &logs[i]);
    /* What is in quarantine has a receipt. */
    if (r >= 0)
        r = database_run(store,
            "DELETE FROM records WHERE key >> 40 NOT IN (SELECT number FROM logs);"
            "DELETE FROM quarantined WHERE key NOT IN (SELECT key FROM records)"
            " OR (key & 1099511627775) >= (SELECT receipt_size FROM logs WHERE number = quarantined.key >> 40)");
    return r < 0 ? r : drop_unnamed_blobs(store);
}

/* ---- all of it ---- */

static int salvage_into(struct salvaging *salvaging, struct damaged_image *image, uint64_t *ret_salvaged)
{
    struct logs_file_last last;
    const struct uuid *predecessor = NULL;

    int r = salvage_rows(salvaging, image);
    /* What was found may be from before an order. And nothing tells a row of `erased_blobs` from a cell of
     * the index over blobs. */
    if (r >= 0)
        r = orders_forget(salvaging->store);
    if (r >= 0)
        r = note_numbers(salvaging);
    if (r >= 0)
        r = logs_file_each(salvaging->store, note_id, salvaging);
    if (r >= 0)
        r = logs_file_read(salvaging->store, &last);
    if (r < 0)
        return r;
    struct salvaged_log *logs = (struct salvaged_log *)(void *)salvaging->logs.data;
    if (salvaging->log_count > 0)
        qsort(logs, salvaging->log_count, sizeof(*logs), compare_logs);
    for (size_t i = 0; r >= 0 && i < salvaging->log_count; i++) {
        if (!logs[i].has_id)
            continue;
        r = settle_log(salvaging->store, &logs[i]);
        predecessor = &logs[i].id;
    }
    /* What no log claims would be in the way of the next one of that number. */
    if (r >= 0)
        r = database_run(
            salvaging->store, "DELETE FROM tiles WHERE key >> 32 NOT IN (SELECT number FROM logs)");
    /* The last line may be of a recovery that did not come to its end. */
    if (!predecessor && last.lines > 0)
        predecessor = &last.id;
    if (r < 0 || (last.lines == 0 && salvaging->log_count == 0))
        return r; /* nothing was ever recorded here */
    r = go_on(salvaging, predecessor, ret_salvaged);
    return r < 0 ? r : restore_other_tables(salvaging->store);
}

int salvage(struct store *store, struct damaged_image *image, uint64_t *ret_salvaged)
{
    struct salvaging salvaging = {.store = store};
    uint64_t salvaged = 0;

    int r = salvage_into(&salvaging, image, &salvaged);
    buffer_done(&salvaging.logs);
    if (r < 0)
        return r;
    *ret_salvaged = salvaged;
    return 0;
}
