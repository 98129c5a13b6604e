/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange: records in; service_answer.c puts together what goes out. proto/README.md, "The exchange".
 *
 *   C → S  records first_seq .., checkpoint over the log after the last of them
 *   S → C  stored + receipt | ahead | fork | root mismatch
 */
#include "proto/columns.h"
#include "server/service_internal.h"

/* ---- prepare ---- */

static int verify_checkpoint(struct service_job *job)
{
    struct exchange_job *exchange = &job->exchange;
    char origin[ORIGIN_BYTES_MAX];
    struct verify_key key;
    int r;

    if (exchange->request.checkpoint.len == 0)
        return 0;
    r = device_note_key(job->service, &job->device, &key);
    if (r >= 0)
        r = origin_format(job->service->authority, job->service->tenant, &exchange->request.log, origin);
    if (r < 0)
        return r;
    r = checkpoint_verify(exchange->request.checkpoint, &key, &exchange->checkpoint);
    if (r < 0)
        return job_refuse_undecodable(job, r, "the checkpoint is not signed by this device");
    if (strcmp(origin, exchange->checkpoint.origin) != 0)
        return job_refuse(job, REFUSAL_BAD_REQUEST, "the checkpoint is of another log");
    exchange->has_checkpoint = true;
    return 0;
}

/* A record that its handheld has erased by order comes as its leaf alone. */
static bool is_leaf_alone(const struct exchange_request *request, size_t i)
{
    return request->erased_leaf_count > 0 && request->records[i].len == 0;
}

/* Hashes and decodes every record, so that the writer has only to insert. */
static int digest_records(struct service_job *job)
{
    struct exchange_job *exchange = &job->exchange;
    const struct exchange_request *request = &exchange->request;
    size_t record_bytes = 0, erased = 0;

    if (request->record_count == 0)
        return 0;
    exchange->leaves = calloc(request->record_count, sizeof(*exchange->leaves));
    exchange->projections = calloc(request->record_count, sizeof(*exchange->projections));
    if (!exchange->leaves || !exchange->projections)
        return -ENOMEM;
    for (size_t i = 0; i < request->record_count; i++)
        record_bytes += request->records[i].len;
    arena_init(&job->records_arena, arena_budget_for(record_bytes));
    for (size_t i = 0; i < request->record_count; i++) {
        int r;

        if (is_leaf_alone(request, i)) {
            exchange->leaves[i] = request->erased_leaves[erased++];
            continue;
        }
        exchange->leaves[i] = merkle_leaf(request->records[i]);
        r = projection_decode(request->records[i], &job->records_arena, &exchange->projections[i]);
        if (r == -ENOBUFS && request->record_count > 1)
            return job_refuse(job, REFUSAL_TOO_LARGE, "the records take too much memory when decoded");
        if (r == -ENOBUFS)
            exchange->projections[i] = (struct projection){.reason = "takes too much memory when decoded"};
        else if (r < 0)
            return r;
    }
    return 0;
}

/* What the handheld says that it knows of the trust statements; and what it enrolled with it knows at least.
 */
static uint64_t known_to_asker(const struct service_job *job)
{
    const struct stored_trust trust = {.enrolled = job->device.trust.enrolled,
        .told = job->exchange.request.trust_known > 0 ? job->exchange.request.trust_known - 1 : 0};

    return stored_trust_known(&trust);
}

int exchange_prepare(struct service_job *job)
{
    struct exchange_job *exchange = &job->exchange;
    int r = exchange_request_decode(buffer_bytes(&job->plain), &job->arena, &exchange->request);

    service_count(&job->service->counters.exchanges, 1);
    if (r >= 0)
        job_set_known(job, known_to_asker(job));
    exchange->tells_capabilities |=
        exchange->request.record_count >= COLUMNS_RECORDS_MIN && !exchange->request.as_columns;
    if (r == -ENOBUFS)
        return job_refuse(job, REFUSAL_TOO_LARGE, "the request takes too much memory when decoded");
    if (r < 0)
        return job_refuse_undecodable(job, r, "the request cannot be decoded");
    if (exchange->request.first_seq > LOG_SIZE_MAX - EXCHANGE_RECORDS_MAX)
        return job_refuse(job, REFUSAL_BAD_REQUEST, "the position is over the limit");
    r = verify_checkpoint(job);
    if (r >= 0 && !job->is_refused)
        r = digest_records(job);
    job->needs_commit = r >= 0 && !job->is_refused;
    return r;
}

/* ---- what is held of the request's positions ---- */

struct overlap {
    uint64_t first_key;
    struct sha256 *leaves;
    bool *known;
};

static void overlap_done(struct overlap *overlap)
{
    free(overlap->leaves);
    free(overlap->known);
}

static int note_held_leaf(void *user, const struct stored_record *record)
{
    struct overlap *overlap = user;
    size_t i = (size_t)(record->key - overlap->first_key);

    overlap->leaves[i] = record->leaf;
    overlap->known[i] = record->has_leaf;
    return 0;
}

static int read_overlap(struct storage *storage, const struct stored_log *log, uint64_t first_seq,
    size_t count, struct overlap *ret)
{
    if (count == 0)
        return 0;
    ret->first_key = record_key(log->number, first_seq);
    ret->leaves = calloc(count, sizeof(*ret->leaves));
    ret->known = calloc(count, sizeof(*ret->known));
    if (!ret->leaves || !ret->known)
        return -ENOMEM;
    return storage->verbs->records_each(
        storage, ret->first_key, ret->first_key + count, false, note_held_leaf, ret);
}

/* Damage on this side must not look like a fork: the leaves of a damaged tile count as not known. */
static int forget_damaged_tile(struct storage *storage, const struct stored_log *log,
    const struct ingest_held *held, uint64_t first_seq, uint64_t fork_seq, bool *known)
{
    uint64_t tile = fork_seq / TILE_LEAVES;
    int r = log_tile_is_sound(storage, log, tile);

    if (r != 0)
        return r;
    for (size_t i = 0; i < held->overlap_count; i++) {
        if ((first_seq + i) / TILE_LEAVES == tile)
            known[i] = false;
    }
    return 0;
}

/* ---- commit ---- */

static int add_device(struct service_job *job, struct transaction *transaction)
{
    struct storage *storage = transaction->storage;
    int r = storage->verbs->device_find(storage, &job->device_id, &job->device);

    if (r != -ENOENT) {
        if (r >= 0 && memcmp(job->device.public_key, job->certificate.public_key, SIGN_PUBLIC_BYTES) != 0)
            return device_keys_adopt(job, transaction);
        return r;
    }
    r = storage->verbs->device_put(storage, &job->certificate, job->exchange.request.certificate,
        transaction->now_ms, &job->device.number);
    if (r < 0)
        return r;
    transaction->has_changed = true;
    job->device.enrolled_ms = job->certificate.issued_ms;
    job->device.last_seen_ms = transaction->now_ms;
    return storage->verbs->trust_put(storage, uuid_bytes(&job->device_id), &job->device.trust);
}

/* Other requests do not say what the handheld knows: their answers go by the last exchange. */
static int note_known(struct service_job *job, struct transaction *transaction)
{
    struct stored_trust *trust = &job->device.trust;
    uint64_t told = job->exchange.request.trust_known > 0 ? job->exchange.request.trust_known - 1 : 0;

    if (told == trust->told || told > INT64_MAX)
        return 0;
    trust->told = told;
    transaction->has_changed = true;
    return transaction->storage->verbs->trust_put(transaction->storage, uuid_bytes(&job->device_id), trust);
}

static int note_seen(struct service_job *job, struct transaction *transaction)
{
    int64_t since_ms = transaction->now_ms - job->device.last_seen_ms;
    int r;

    if (since_ms >= 0 && since_ms < DEVICE_SEEN_EVERY_MS)
        return 0;
    r = transaction->storage->verbs->device_seen(
        transaction->storage, job->device.number, transaction->now_ms);
    if (r >= 0) {
        job->device.last_seen_ms = transaction->now_ms;
        transaction->has_changed = true;
    }
    return r;
}

/* The log's row, or a new one (number 0) when there is none. */
static int find_log(struct service_job *job, struct transaction *transaction, struct stored_log *ret)
{
    struct storage *storage = transaction->storage;
    int r = storage->verbs->log_find(storage, &job->exchange.request.log, ret);

    if (r == -ENOENT) {
        *ret = (struct stored_log){.id = job->exchange.request.log, .device = job->device.number};
        return 0;
    }
    if (r >= 0 && ret->device != job->device.number)
        return job_refuse(job, REFUSAL_LOG_OF_OTHER_DEVICE, "this log belongs to another device");
    return r;
}

/* Erased by an order: by the handheld already, or now that it comes again. */
static bool is_erased(const struct service_job *job, const struct transaction *transaction,
    const struct stored_log *log, size_t i)
{
    const struct exchange_job *exchange = &job->exchange;
    const struct position_in_log at = {.log = log->id, .seq = exchange->request.first_seq + i};

    return is_leaf_alone(&exchange->request, i) ||
           orders_cover_record(transaction->service, &at, &exchange->leaves[i], &exchange->projections[i]);
}

/* The order may have been given before this centre was set up anew from a copy that has not got it. */
static int check_order(
    struct service_job *job, struct transaction *transaction, const struct stored_log *log, size_t i)
{
    const struct exchange_job *exchange = &job->exchange;
    const struct position_in_log at = {.log = log->id, .seq = exchange->request.first_seq + i};

    if (orders_cover_record(transaction->service, &at, &exchange->leaves[i], NULL))
        return 0;
    return transaction_alarm(transaction, ALARM_ERASED, job->device.number, record_key(log->number, at.seq),
        "a handheld has erased a record by an order that this centre does not know");
}

static int insert_records(struct service_job *job, struct transaction *transaction,
    const struct stored_log *log, size_t skipped, size_t count, uint64_t first_arrival)
{
    const struct exchange_job *exchange = &job->exchange;
    struct storage *storage = transaction->storage;
    int r = 0;

    for (size_t i = skipped; r >= 0 && i < skipped + count; i++) {
        bool erased = is_erased(job, transaction, log, i);
        const struct stored_record row = {
            .key = record_key(log->number, exchange->request.first_seq + i),
            .arrival = first_arrival + (i - skipped),
            .received_ms = transaction->now_ms,
            .state = erased ? STORED_RECORD_ERASED : STORED_RECORD_PRESENT,
            .has_leaf = true,
            .leaf = exchange->leaves[i],
            .has_bytes = !erased,
            .bytes = erased ? bytes_of(NULL, 0) : exchange->request.records[i],
        };

        r = storage->verbs->record_put(storage, &row);
        if (r >= 0 && is_leaf_alone(&exchange->request, i))
            r = check_order(job, transaction, log, i);
    }
    return r;
}

static int apply_records(struct service_job *job, struct transaction *transaction, struct stored_log *log,
    size_t skipped, size_t count, uint64_t first_arrival)
{
    const struct exchange_job *exchange = &job->exchange;
    uint64_t first_seq = exchange->request.first_seq + skipped;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < count; i++) {
        const struct applied_record record = {
            .seq = first_seq + i,
            .arrival = first_arrival + i,
            .leaf = exchange->leaves[skipped + i],
            .projection = &exchange->projections[skipped + i],
        };

        if (is_erased(job, transaction, log, skipped + i))
            continue;
        r = apply_record(transaction, log, &record);
    }
    return r < 0 ? r : apply_awaiting(transaction, &log->id, first_seq, first_seq + count);
}

/* Writes the records that are new, what they mean, the tiles that they fill and the log's new size. */
static int append(struct service_job *job, struct transaction *transaction, struct stored_log *log,
    const struct ingest_decision *decision, const struct sha256 *tiles)
{
    struct storage *storage = transaction->storage;
    uint64_t first_arrival = transaction->state.next_arrival;
    int r = 0;

    transaction->has_changed = true;
    if (log->number == 0) {
        r = storage->verbs->rehomed_any(storage, &log->id);
        if (r < 0)
            return r;
        log->has_rehomed = r > 0;
        r = storage->verbs->log_open(storage, log);
    }
    if (r >= 0)
        r = insert_records(job, transaction, log, decision->skipped, decision->appended, first_arrival);
    if (r >= 0)
        r = storage->verbs->tiles_put(
            storage, log->number, decision->first_tile, tiles, decision->tile_count);
    if (r < 0)
        return r;
    log->frontier = decision->frontier;
    r = storage->verbs->log_advance(storage, log, job->exchange.request.checkpoint);
    if (r < 0)
        return r;
    transaction->state.next_arrival += decision->appended;
    transaction->records += decision->appended;
    return apply_records(job, transaction, log, decision->skipped, decision->appended, first_arrival);
}

static int decide(struct service_job *job, struct transaction *transaction, const struct stored_log *log,
    struct ingest_decision *ret, struct sha256 *ret_tiles)
{
    const struct exchange_job *exchange = &job->exchange;
    const struct exchange_request *asked = &exchange->request;
    _cleanup_(overlap_done) struct overlap overlap = {0};
    const struct ingest_request request = {.first_seq = asked->first_seq,
        .leaves = exchange->leaves,
        .count = asked->record_count,
        .has_checkpoint = exchange->has_checkpoint,
        .checkpoint_size = exchange->checkpoint.size,
        .checkpoint_root = exchange->checkpoint.root};
    struct ingest_held held = {.frontier = log->frontier,
        .overlap_count = ingest_overlap(log->frontier.size, asked->first_seq, asked->record_count)};
    int r = read_overlap(transaction->storage, log, asked->first_seq, held.overlap_count, &overlap);

    while (r >= 0) {
        held.overlap_leaves = overlap.leaves;
        held.overlap_known = overlap.known;
        ingest_decide(&held, &request, ret, ret_tiles);
        if (ret->outcome != INGEST_FORK)
            return 0;
        r = forget_damaged_tile(
            transaction->storage, log, &held, asked->first_seq, ret->fork_seq, overlap.known);
        if (r > 0)
            return 0;
    }
    return r;
}

static int raise_alarm(struct service_job *job, struct transaction *transaction, const struct stored_log *log,
    const struct ingest_decision *decision)
{
    switch (decision->outcome) {
    case INGEST_STORED:
    case INGEST_AHEAD:
        return 0;
    case INGEST_FORK:
        return transaction_alarm(transaction, ALARM_FORK, job->device.number,
            record_key(log->number, decision->fork_seq),
            "a record came again with other bytes: two copies of this handheld are in use");
    case INGEST_ROOT_MISMATCH:
        return transaction_alarm(transaction, ALARM_ROOT_MISMATCH, job->device.number,
            record_key(log->number, log->frontier.size),
            "records came that do not fit the root which the handheld has signed; they were not taken");
    }
    return 0;
}

/* The note for the answer: the one just taken, or the one held. */
static int keep_note(struct service_job *job, struct transaction *transaction, const struct stored_log *log,
    const struct ingest_decision *decision)
{
    struct exchange_job *exchange = &job->exchange;
    int r;

    buffer_clear(&exchange->note);
    if (log->frontier.size == 0)
        return 0;
    if (decision->appended > 0) {
        buffer_put_bytes(&exchange->note, exchange->request.checkpoint);
        return buffer_finish(&exchange->note);
    }
    r = log_note_checked(job->service, transaction->storage, &job->device, log, &exchange->note);
    return r == -ENOENT ? 0 : r;
}

static uint64_t new_bytes(const struct exchange_job *exchange, const struct ingest_decision *decision)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < decision->appended; i++)
        bytes += exchange->request.records[decision->skipped + i].len;
    return bytes;
}

/* What the handheld says of itself. */
static int note_word(struct service_job *job, struct transaction *transaction)
{
    int r = note_seen(job, transaction);

    if (r >= 0)
        r = orders_note_done(transaction, job->device.number, job->exchange.request.orders_done);
    if (r >= 0)
        r = note_known(job, transaction);
    return r < 0 ? r : asked_resyncs_take_results(job, transaction);
}

int exchange_commit(struct service_job *job, struct transaction *transaction)
{
    struct exchange_job *exchange = &job->exchange;
    _cleanup_free_ struct sha256 *tiles =
        calloc(ingest_tiles_max(exchange->request.record_count), sizeof(*tiles));
    struct ingest_decision decision = {0};
    struct stored_log log;
    int r = 0;

    if (!tiles)
        return -ENOMEM;
    if (job->is_adopted)
        r = add_device(job, transaction);
    else if (job->key_use == KEY_NEXT)
        r = device_keys_put_next_into_force(job, transaction);
    if (r >= 0 && !job->is_refused)
        r = find_log(job, transaction, &log);
    if (r < 0 || job->is_refused)
        return r;
    r = decide(job, transaction, &log, &decision, tiles);
    if (r >= 0 && job->key_use == KEY_RETIRED && decision.appended > 0)
        r = job_refuse(job, REFUSAL_BAD_REQUEST,
            "they are signed by a key that this handheld has replaced, and new here: export another bundle");
    if (r >= 0 && !job->is_refused)
        r = limits_use_quota(job, transaction, decision.appended, new_bytes(exchange, &decision));
    if (r < 0 || job->is_refused)
        return r;
    if (r >= 0)
        r = raise_alarm(job, transaction, &log, &decision);
    if (r >= 0 && decision.appended > 0)
        r = append(job, transaction, &log, &decision, tiles);
    if (r >= 0)
        r = keep_note(job, transaction, &log, &decision);
    if (r >= 0 && job->key_use != KEY_RETIRED)
        r = note_word(job, transaction);
    exchange->outcome = decision.outcome;
    exchange->size = log.frontier.size;
    exchange->appended = decision.appended;
    exchange->fork_seq = decision.fork_seq;
    exchange->fork_leaf = decision.fork_leaf;
    exchange->log_number = log.number;
    return r;
}

void exchange_done(struct exchange_job *exchange)
{
    free(exchange->leaves);
    free(exchange->projections);
    buffer_done(&exchange->note);
}
