/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair: runs of records that an audit found missing or damaged come again. proto/README.md, "Audit and
 * repair".
 *
 * Each run is checked against the root that the handheld signed when the records were first stored, so a
 * repair brings back what was there and can never change it. What neither side has is marked lost.
 *
 * Bare records come without proofs. The roots that were kept of the tiles lead to the signed root, or none of
 * them is taken; then the records and the other leaves that are held of a tile together give the root that
 * was kept of it, or again none is. That is as strong as a proof of each, and shows beside that the whole
 * tile is well now. It fails when another leaf of the tile is not known or damaged too: the handheld sends
 * proofs then. It is computed by the request's own thread: what it shows of an append-only log stays true.
 */
#include "server/service_internal.h"

/* ---- bare records ---- */

/* Where the check of the bare records stands. */
struct bare_cursor {
    size_t run;
    uint64_t taken; /* of that run */
    size_t record;
};

static uint64_t bare_seq(const struct repair_job *repair, const struct bare_cursor *cursor)
{
    return repair->request.bare_runs[cursor->run].first + cursor->taken;
}

/* Puts the leaves of the next tile's records in their places, and steps behind them. */
static void take_tile(
    const struct repair_job *repair, struct bare_cursor *cursor, struct sha256 *leaves, bool *is_given)
{
    const struct repair_request *request = &repair->request;
    uint64_t tile = bare_seq(repair, cursor) / TILE_LEAVES;

    while (cursor->run < request->bare_run_count && bare_seq(repair, cursor) / TILE_LEAVES == tile) {
        size_t place = (size_t)(bare_seq(repair, cursor) % TILE_LEAVES);

        leaves[place] = repair->bare_leaves[cursor->record++];
        is_given[place] = true;
        if (++cursor->taken == request->bare_runs[cursor->run].count)
            *cursor = (struct bare_cursor){.run = cursor->run + 1, .record = cursor->record};
    }
}

/* 1 when all of them hold, 0 when not. */
static int check_tiles(const struct repair_job *repair, struct storage *storage, const struct stored_log *log)
{
    struct bare_cursor cursor = {0};

    while (cursor.run < repair->request.bare_run_count) {
        uint64_t tile = bare_seq(repair, &cursor) / TILE_LEAVES;
        struct sha256 leaves[TILE_LEAVES];
        bool is_given[TILE_LEAVES] = {false};
        int r;

        take_tile(repair, &cursor, leaves, is_given);
        r = log_tile_leaves(storage, log, tile, is_given, leaves);
        if (r > 0)
            r = log_leaves_are_kept(storage, log, tile, leaves);
        if (r <= 0)
            return r;
    }
    return 1;
}

static int check_bare(const struct service_job *job, struct storage *storage)
{
    const struct repair_job *repair = &job->repair;
    _cleanup_buffer_ struct buffer note = {0};
    struct stored_log log;
    int r = storage->verbs->log_find(storage, &repair->request.log, &log);

    if (r >= 0 && (log.device != job->device.number || repair->request.size != log.frontier.size))
        r = -ENOENT; /* the commit says which */
    if (r >= 0)
        r = log_note_checked(job->service, storage, &job->device, &log, &note);
    if (r >= 0)
        r = log_kept_is_sound(storage, &log);
    if (r <= 0)
        return r == -ENOENT ? 0 : r;
    return check_tiles(repair, storage, &log);
}

static int prepare_bare(struct service_job *job)
{
    struct repair_job *repair = &job->repair;
    _cleanup_reader_ struct reader reader = {0};
    int r;

    if (repair->request.bare_record_count == 0)
        return 0;
    repair->bare_leaves = calloc(repair->request.bare_record_count, sizeof(*repair->bare_leaves));
    if (!repair->bare_leaves)
        return -ENOMEM;
    for (size_t i = 0; i < repair->request.bare_record_count; i++)
        repair->bare_leaves[i] = merkle_leaf(repair->request.bare_records[i]);
    r = reader_take(job->service, &reader);
    if (r >= 0)
        r = reader.storage->verbs->view(reader.storage);
    if (r < 0)
        return r;
    r = check_bare(job, reader.storage);
    reader.storage->verbs->view_end(reader.storage);
    repair->bare_holds = r > 0;
    return r < 0 ? r : 0;
}

/* ---- prepare ---- */

int repair_prepare(struct service_job *job)
{
    struct repair_job *repair = &job->repair;
    int r = repair_request_decode(buffer_bytes(&job->plain), &job->arena, &repair->request);

    if (r == -ENOBUFS)
        return job_refuse(job, REFUSAL_TOO_LARGE, "the repair takes too much memory when decoded");
    if (r < 0)
        return job_refuse_undecodable(job, r, "the repair request cannot be decoded");
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
    repair->leaves = calloc(repair->request.run_count + 1, sizeof(*repair->leaves));
    if (!repair->leaves)
        return -ENOMEM;
    for (size_t i = 0; i < repair->request.run_count; i++) {
        const struct repair_run *run = &repair->request.runs[i];

        repair->leaves[i] = calloc(run->record_count + 1, sizeof(*repair->leaves[i]));
        if (!repair->leaves[i])
            return -ENOMEM;
        for (size_t k = 0; k < run->record_count; k++)
            repair->leaves[i][k] = merkle_leaf(run->records[k]);
    }
    job->needs_commit = true;
    return prepare_bare(job);
}

/* ---- one record ---- */

/* The row as it has to be: what is left of the old one tells when and in which order the record came. */
static int make_row(struct transaction *transaction, uint64_t key, struct stored_record *ret)
{
    struct storage *storage = transaction->storage;
    struct stored_finding finding;
    int r = storage->verbs->record_at(storage, key, NULL, ret);

    if (r != -ENOENT)
        return r;
    *ret = (struct stored_record){.key = key, .received_ms = transaction->now_ms};
    r = storage->verbs->finding_at(storage, key, &finding);
    if (r >= 0)
        ret->arrival = finding.arrival;
    else if (r == -ENOENT)
        ret->arrival = transaction->state.next_arrival++;
    return r == -ENOENT ? 0 : r;
}

static int apply_again(
    struct transaction *transaction, struct stored_log *log, const struct stored_record *row)
{
    _cleanup_arena_ struct arena arena = {0};
    struct projection projection;
    struct applied_record record = {.seq = record_key_seq(row->key),
        .arrival = row->arrival,
        .leaf = row->leaf,
        .projection = &projection,
        .replaces = true};
    int r;

    arena_init(&arena, arena_budget_for(row->bytes.len));
    r = projection_decode(row->bytes, &arena, &projection);
    if (r == -ENOBUFS)
        projection = (struct projection){.reason = "takes too much memory when decoded"};
    else if (r < 0)
        return r;
    return apply_record(transaction, log, &record);
}

/* A row that was lost, and before that erased by an order. 1 or 0. */
static int is_ordered_away(struct transaction *transaction, const struct stored_log *log, uint64_t seq,
    struct bytes bytes, const struct sha256 *leaf)
{
    const struct position_in_log at = {.log = log->id, .seq = seq};
    _cleanup_arena_ struct arena arena = {0};
    struct projection projection;
    int r;

    if (orders_last_number(transaction->service) == 0)
        return 0;
    arena_init(&arena, arena_budget_for(bytes.len));
    r = projection_decode(bytes, &arena, &projection);
    if (r < 0 && r != -ENOBUFS)
        return r;
    return orders_cover_record(transaction->service, &at, leaf, r < 0 ? NULL : &projection);
}

static int put_erased(struct transaction *transaction, struct stored_record *row, const struct sha256 *leaf)
{
    row->state = STORED_RECORD_ERASED;
    row->has_leaf = true;
    row->leaf = *leaf;
    row->has_bytes = false;
    row->bytes = bytes_of(NULL, 0);
    transaction->has_changed = true;
    return transaction->storage->verbs->record_put(transaction->storage, row);
}

/* What was derived from it goes too, and then whatever copies of that the database's files still have. */
static int forget_derived(struct transaction *transaction, uint64_t key)
{
    _cleanup_buffer_ struct buffer let_go = {0};
    int r = apply_forget(transaction, key, &let_go);

    if (r >= 0)
        r = apply_name_again(transaction, &let_go);
    if (r < 0 || erasing_is_marked(transaction->service))
        return r;
    return erasing_mark(transaction->service, true);
}

static int mend_record(struct transaction *transaction, struct stored_log *log, uint64_t seq,
    struct bytes bytes, const struct sha256 *leaf)
{
    struct storage *storage = transaction->storage;
    struct stored_record row;
    int r = make_row(transaction, record_key(log->number, seq), &row);

    if (r < 0)
        return r;
    if (row.state == STORED_RECORD_ERASED)
        return 0; /* Erased by order: it does not come back this way. */
    r = is_ordered_away(transaction, log, seq, bytes, leaf);
    if (r > 0) {
        r = put_erased(transaction, &row, leaf);
        return r < 0 ? r : forget_derived(transaction, row.key);
    }
    if (r < 0)
        return r;
    row.state = STORED_RECORD_PRESENT;
    row.has_leaf = true;
    row.leaf = *leaf;
    row.has_bytes = true;
    row.bytes = bytes;
    transaction->has_changed = true;
    r = storage->verbs->record_put(storage, &row);
    return r < 0 ? r : apply_again(transaction, log, &row);
}

/* ---- runs ---- */

static int mend_run(struct service_job *job, struct transaction *transaction, struct stored_log *log,
    const struct repair_run *run, const struct sha256 *leaves)
{
    const struct sha256 root = merkle_root(&log->frontier);
    int r;

    if (run->record_count == 0)
        return 0;
    if (merkle_check_range(leaves, run->first_seq, run->record_count, log->frontier.size, run->proof,
            run->proof_count, &root) < 0) {
        job->repair.answer.records_refused += run->record_count;
        return 0;
    }
    for (size_t i = 0; i < run->record_count; i++) {
        r = mend_record(transaction, log, run->first_seq + i, run->records[i], &leaves[i]);
        if (r < 0)
            return r;
    }
    job->repair.answer.records_mended += run->record_count;
    return apply_awaiting(transaction, &log->id, run->first_seq, run->first_seq + run->record_count);
}

static int mend_bare(struct service_job *job, struct transaction *transaction, struct stored_log *log)
{
    struct repair_job *repair = &job->repair;
    size_t record = 0;
    int r = 0;

    if (!repair->bare_holds) {
        repair->answer.records_refused += repair->request.bare_record_count;
        return 0;
    }
    for (size_t i = 0; i < repair->request.bare_run_count && r >= 0; i++) {
        const struct run *run = &repair->request.bare_runs[i];

        for (uint64_t k = 0; k < run->count && r >= 0; k++, record++)
            r = mend_record(transaction, log, run->first + k, repair->request.bare_records[record],
                &repair->bare_leaves[record]);
        if (r >= 0)
            r = apply_awaiting(transaction, &log->id, run->first, run->first + run->count);
    }
    repair->answer.records_mended += repair->request.bare_record_count;
    return r;
}

/* ---- what is in neither place ---- */

static bool is_known(const struct sha256 *leaf)
{
    static const struct sha256 unknown;

    return !sha256_equal(leaf, &unknown);
}

/* The record is in neither place. The leaf that the handheld still knows, or the row's own, stays for now. */
static int mark_lost(struct transaction *transaction, const struct stored_log *log, uint64_t seq,
    const struct sha256 *leaf /* or NULL */)
{
    struct stored_record row;
    int r = make_row(transaction, record_key(log->number, seq), &row);

    if (r < 0)
        return r;
    transaction->has_changed = true;
    row.state = STORED_RECORD_LOST;
    row.has_bytes = false;
    row.bytes = bytes_of(NULL, 0);
    if (leaf && is_known(leaf)) {
        row.has_leaf = true;
        row.leaf = *leaf;
    }
    r = transaction->storage->verbs->record_put(transaction->storage, &row);
    return r < 0 ? r
                 : transaction_alarm(transaction, ALARM_RECORD_LOST, log->device, row.key,
                       "a record is in neither place: the handheld's copy was damaged too");
}

/* The handheld has erased it by order, and here it is gone: what it says stands if the leaf is proven. */
static int mark_erased(
    struct transaction *transaction, const struct stored_log *log, uint64_t seq, const struct sha256 *leaf)
{
    const struct position_in_log at = {.log = log->id, .seq = seq};
    struct stored_record row;
    int r = make_row(transaction, record_key(log->number, seq), &row);

    if (r >= 0)
        r = put_erased(transaction, &row, leaf);
    if (r < 0)
        return r;
    /* What was derived from it is not forgotten on a handheld's word alone. */
    if (orders_cover_record(transaction->service, &at, leaf, NULL))
        return forget_derived(transaction, row.key);
    return transaction_alarm(transaction, ALARM_ERASED, log->device, row.key,
        "a handheld has erased a record by an order that this centre does not know");
}

static int drop_leaf(struct transaction *transaction, const struct stored_log *log, uint64_t seq)
{
    struct stored_record row;
    int r = transaction->storage->verbs->record_at(
        transaction->storage, record_key(log->number, seq), NULL, &row);

    if (r < 0)
        return r;
    transaction->has_changed = true;
    row.state = STORED_RECORD_LOST;
    row.has_leaf = false;
    row.has_bytes = false;
    row.bytes = bytes_of(NULL, 0);
    return transaction->storage->verbs->record_put(transaction->storage, &row);
}

/* Those of the list that are not well here: marked as lost, or as erased. */
static int mark_all(struct transaction *transaction, const struct stored_log *log, const uint64_t *seqs,
    const struct sha256 *leaves /* may be NULL when lost */, size_t count, bool as_erased)
{
    for (size_t i = 0; i < count; i++) {
        int r = log_record_is_well(transaction->storage, record_key(log->number, seqs[i]));

        if (r == 0)
            r = as_erased ? mark_erased(transaction, log, seqs[i], &leaves[i])
                          : mark_lost(transaction, log, seqs[i], leaves ? &leaves[i] : NULL);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- are their leaves the right ones? ---- */

static bool is_leaf_alone(const struct audit_row *row)
{
    return row->has_leaf && (row->state == AUDIT_ROW_LOST || row->state == AUDIT_ROW_ERASED);
}

static bool is_to_come(const struct audit_row *row)
{
    return row->state == AUDIT_ROW_MISSING ||
           (row->state == AUDIT_ROW_PRESENT &&
               (!row->has_leaf || !sha256_equal(&row->leaf, &row->bytes_leaf)));
}

/* The leaf of a record that is not here is kept when the tile's root proves it, or an order names it; without
 * one the log's root can no longer be computed from the leaves, and the record counts as lost. While another
 * record of the tile is still to come nothing can be told: who brings that one has the tile judged again. */
static int judge_tile(struct transaction *transaction, const struct stored_log *log, uint64_t tile)
{
    struct storage *storage = transaction->storage;
    struct audit_row rows[TILE_LEAVES];
    size_t leaves_alone = 0, count = log_tile_count(log, tile);
    int r = log_read_tile(storage, log, tile, false, rows);

    for (size_t i = 0; r >= 0 && i < count; i++)
        leaves_alone += is_leaf_alone(&rows[i]);
    if (r < 0 || leaves_alone == 0)
        return r;
    r = log_tile_is_sound(storage, log, tile);
    if (r != 0)
        return r < 0 ? r : 0;
    r = log_read_tile(storage, log, tile, true, rows);
    for (size_t i = 0; r >= 0 && i < count; i++)
        if (is_to_come(&rows[i]))
            return 0;
    for (size_t i = 0; r >= 0 && i < count; i++) {
        const struct position_in_log at = {.log = log->id, .seq = tile * TILE_LEAVES + i};

        if (is_leaf_alone(&rows[i]) && !orders_cover_record(transaction->service, &at, &rows[i].leaf, NULL))
            r = drop_leaf(transaction, log, at.seq);
    }
    return r;
}

/* Numbers of tiles, with repetitions. */
struct tile_list {
    uint64_t *tiles;
    size_t count;
};

static void list_tiles(struct tile_list *list, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        list->tiles[list->count++] = (first + i) / TILE_LEAVES;
}

static int compare_tiles(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* When everything is marked: it takes all leaves of a tile to make its root. Where bare records were taken
 * the tile is sound. */
static int judge_tiles(
    struct transaction *transaction, const struct stored_log *log, const struct repair_request *request)
{
    size_t count_max = request->erased_count + request->lost_count;
    _cleanup_free_ uint64_t *tiles = NULL;
    struct tile_list list = {0};
    int r = 0;

    for (size_t i = 0; i < request->run_count; i++)
        count_max += request->runs[i].record_count;
    list.tiles = tiles = calloc(count_max + 1, sizeof(*tiles));
    if (!tiles)
        return -ENOMEM;
    for (size_t i = 0; i < request->run_count; i++)
        list_tiles(&list, request->runs[i].first_seq, request->runs[i].record_count);
    for (size_t i = 0; i < request->erased_count; i++)
        list_tiles(&list, request->erased_seqs[i], 1);
    for (size_t i = 0; i < request->lost_count; i++)
        list_tiles(&list, request->lost_seqs[i], 1);
    qsort(tiles, list.count, sizeof(*tiles), compare_tiles);
    for (size_t i = 0; r >= 0 && i < list.count; i++)
        if (i == 0 || tiles[i] != tiles[i - 1])
            r = judge_tile(transaction, log, tiles[i]);
    return r;
}

/* ---- commit ---- */

static void refuse_runs(struct repair_job *repair)
{
    for (size_t i = 0; i < repair->request.run_count; i++)
        repair->answer.records_refused += repair->request.runs[i].record_count;
    repair->answer.records_refused += repair->request.bare_record_count;
}

static int note_mended(struct service_job *job, struct transaction *transaction)
{
    struct storage *storage = transaction->storage;
    struct stored_resync resync;
    int r;

    if (job->repair.answer.records_mended == 0)
        return 0;
    r = storage->verbs->device_resync(storage, job->device.number, &resync);
    if (r < 0)
        return r;
    resync.mended += job->repair.answer.records_mended;
    resync.at_ms = transaction->now_ms;
    return storage->verbs->device_set_resync(storage, job->device.number, &resync);
}

static int mend(struct service_job *job, struct transaction *transaction, struct stored_log *log)
{
    struct repair_job *repair = &job->repair;
    _cleanup_buffer_ struct buffer note = {0};
    int r = log_note_checked(job->service, transaction->storage, &job->device, log, &note);

    if (r < 0 && r != -ENOENT)
        return r;
    /* Without a signed root, or for a tree of another size, nothing can be proven. */
    if (r == -ENOENT || repair->request.size != log->frontier.size) {
        refuse_runs(repair);
        return 0;
    }
    for (size_t i = 0; i < repair->request.run_count; i++) {
        r = mend_run(job, transaction, log, &repair->request.runs[i], repair->leaves[i]);
        if (r < 0)
            return r;
    }
    r = mend_bare(job, transaction, log);
    if (r >= 0)
        r = mark_all(transaction, log, repair->request.erased_seqs, repair->request.erased_leaves,
            repair->request.erased_count, true);
    if (r >= 0)
        r = mark_all(transaction, log, repair->request.lost_seqs, repair->request.lost_leaves,
            repair->request.lost_count, false);
    if (r >= 0)
        r = judge_tiles(transaction, log, &repair->request);
    return r < 0 ? r : note_mended(job, transaction);
}

int repair_commit(struct service_job *job, struct transaction *transaction)
{
    struct repair_job *repair = &job->repair;
    struct stored_log log;
    int r = transaction->storage->verbs->log_find(transaction->storage, &repair->request.log, &log);

    repair->answer = (struct repair_answer){0};
    if (r == -ENOENT) {
        refuse_runs(repair);
        return 0;
    }
    if (r < 0)
        return r;
    if (log.device != job->device.number)
        return job_refuse(job, REFUSAL_LOG_OF_OTHER_DEVICE, "this log belongs to another device");
    r = mend(job, transaction, &log);
    for (size_t i = 0; r >= 0 && i < repair->request.lost_blob_count; i++)
        r = apply_blob_lost(transaction, job->device.number, &repair->request.lost_blobs[i]);
    repair->answer.size = log.frontier.size;
    return r;
}

int repair_answer(struct service_job *job, struct service_reply *ret)
{
    struct repair_answer *answer = &job->repair.answer;
    _cleanup_buffer_ struct buffer plain = {0};
    int r;

    answer->request_sha256 = job->request_sha256;
    answer->server_time_ms = service_now_ms(job->service);
    r = repair_answer_encode(answer, &plain);
    if (r >= 0)
        r = job_seal(job, PAYLOAD_REPAIR_ANSWER, buffer_bytes(&plain), ret);
    ret->status = 200;
    ret->outcome = "repaired";
    ret->records = answer->records_mended;
    return r;
}

void repair_done(struct repair_job *repair)
{
    for (size_t i = 0; repair->leaves && i < repair->request.run_count; i++)
        free(repair->leaves[i]);
    free(repair->leaves);
    free(repair->bare_leaves);
}
