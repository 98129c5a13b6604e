/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audits: what is held of a log, as recomputed from the disk. proto/README.md, "Audit and repair".
 *
 *   presence   every row is counted, the root is computed from the stored leaves: the whole log at once
 *   records    and every record's bytes are hashed: in windows
 *   media      and every photo that the log's records name: after the last window of records, in windows
 *
 * Reading runs on the request's own thread and session: it holds up no commit, and only as many run at once
 * as leave threads to the other requests. The commit only notes what was found: photos that are gone are
 * wanted again, and the device's line tells of the resync.
 */
#include "server/service_internal.h"

#define WINDOW_BLOB_BYTES (64u * 1024u * 1024u) /* read for one answer; a larger photo is read alone */
#define RESYNC_IDLE_MS (15 * 60 * 1000)         /* after this a window belongs to a new resync */
#define RESYNC_CHECK_MS (60 * 1000)             /* the look back after a repair comes within this */

/* ---- one audit per device at a time ---- */

void service_limit_audits(struct service *service, size_t count)
{
    service->audits.count_max = count < 1 ? 1 : count < AUDITS_AT_ONCE_MAX ? count : AUDITS_AT_ONCE_MAX;
}

static int register_device(struct service_job *job)
{
    struct audits *audits = &job->service->audits;
    bool is_free;

    pthread_mutex_lock(&audits->mutex);
    is_free = audits->count < audits->count_max;
    for (size_t i = 0; i < audits->count; i++) {
        if (uuid_equal(&audits->devices[i], &job->device_id))
            is_free = false;
    }
    if (is_free)
        audits->devices[audits->count++] = job->device_id;
    pthread_mutex_unlock(&audits->mutex);
    if (is_free)
        return 0;
    (void)job_refuse(job, REFUSAL_BUSY, "another audit is running; try again later");
    job->retry_after_s = AUDIT_RETRY_S;
    return 0;
}

static void unregister_device(struct service_job *job)
{
    struct audits *audits = &job->service->audits;

    pthread_mutex_lock(&audits->mutex);
    for (size_t i = 0; i < audits->count; i++) {
        if (uuid_equal(&audits->devices[i], &job->device_id)) {
            audits->devices[i] = audits->devices[--audits->count];
            break;
        }
    }
    pthread_mutex_unlock(&audits->mutex);
}

/* ---- records ---- */

/* What one pass over the rows needs. */
struct pass {
    struct storage *storage;
    struct audit_job *audit;
    bool with_bytes;
    uint64_t records_max; /* the window ends after so many */
};

static int add_tile_fix(struct audit_job *audit, uint64_t tile, const struct sha256 *root)
{
    struct tile_fix *grown;

    /* Doubled when full: powers of two are. */
    if ((audit->tile_fix_count & (audit->tile_fix_count - 1)) == 0) {
        size_t room = audit->tile_fix_count == 0 ? 1 : 2 * audit->tile_fix_count;

        grown = reallocarray(audit->tile_fixes, room, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        audit->tile_fixes = grown;
    }
    audit->tile_fixes[audit->tile_fix_count++] = (struct tile_fix){.tile = tile, .root = *root};
    return 0;
}

/* The leaves of a whole tile give another root than was kept. If the log's root proves the leaves right, it
 * is the kept one that is to be mended. */
static int compare_kept(struct audit_job *audit, uint64_t tile, const struct audit_row *rows, size_t count,
    const struct sha256 *kept)
{
    struct sha256 leaves[TILE_LEAVES], root;

    if (count < TILE_LEAVES || !audit->scan->has_root)
        return 0;
    for (size_t i = 0; i < count; i++)
        leaves[i] = rows[i].leaf;
    root = merkle_root_of(leaves, count);
    return kept && sha256_equal(kept, &root) ? 0 : add_tile_fix(audit, tile, &root);
}

static int scan_tile(const struct pass *pass)
{
    struct audit_job *audit = pass->audit;
    struct audit_scan *scan = audit->scan;
    struct audit_row rows[TILE_LEAVES];
    uint64_t tile = scan->next / TILE_LEAVES;
    size_t count = audit_scan_next_count(scan);
    struct sha256 kept;
    int has_kept = log_kept_root(pass->storage, &audit->log, tile, &kept);
    int r;

    if (has_kept < 0)
        return has_kept;
    r = log_read_tile(pass->storage, &audit->log, tile, pass->with_bytes, rows);
    if (r < 0)
        return r;
    if (audit_scan_tile(scan, rows, has_kept ? &kept : NULL) == AUDIT_TILE_NEEDS_BYTES) {
        r = log_read_tile(pass->storage, &audit->log, tile, true, rows);
        if (r < 0)
            return r;
        (void)audit_scan_tile(scan, rows, has_kept ? &kept : NULL);
    }
    return scan->is_trusted ? 0 : compare_kept(audit, tile, rows, count, has_kept ? &kept : NULL);
}

static int scan_window(const struct pass *pass, uint64_t from_seq, bool is_trusted, bool keeps_tile_roots)
{
    struct audit_job *audit = pass->audit;

    audit->tile_fix_count = 0;
    audit_scan_init(audit->scan, from_seq, audit->log.frontier.size, is_trusted, keeps_tile_roots);
    while (audit_scan_next_count(audit->scan) > 0 && audit_scan_has_room(audit->scan) &&
           audit->scan->next - audit->scan->first < pass->records_max) {
        int r = scan_tile(pass);

        if (r < 0)
            return r;
    }
    return 0;
}

/* True when the rows read are the whole log and their root is the signed one. */
static bool root_holds(const struct audit_job *audit)
{
    struct sha256 root, signed_root = merkle_root(&audit->log.frontier);

    return audit->receipt.len > 0 && audit_scan_root(audit->scan, &root) && sha256_equal(&root, &signed_root);
}

static int scan_records(struct service_job *job, struct storage *storage)
{
    struct audit_job *audit = &job->audit;
    bool is_presence = audit->request.level == AUDIT_PRESENCE;
    struct pass pass = {.storage = storage,
        .audit = audit,
        .with_bytes = !is_presence,
        .records_max = is_presence ? UINT64_MAX : AUDIT_WINDOW_RECORDS_MAX};
    bool is_trusted = false;
    int r;

    if (audit->receipt.len > 0) {
        r = log_kept_is_sound(storage, &audit->log);
        if (r < 0)
            return r;
        is_trusted = r > 0;
    }
    r = scan_window(&pass, audit->request.from_seq, is_trusted, false);
    if (r < 0 || is_trusted || root_holds(audit))
        return r;
    /* The kept roots cannot say where the fault is: the handheld can, from the roots of a window's tiles. */
    pass.records_max = AUDIT_WINDOW_RECORDS_MAX;
    r = scan_window(&pass, audit->request.from_seq, false, true);
    audit->tile_fix_count = 0;
    return r;
}

static void tell_records(struct audit_job *audit)
{
    const struct audit_scan *scan = audit->scan;
    struct audit_answer *answer = &audit->answer;

    if (!root_holds(audit))
        audit->tile_fix_count = 0;
    answer->first_seq = scan->first;
    answer->next_seq = scan->next < scan->size ? scan->next : 0;
    answer->counted = scan->counted;
    answer->has_root = audit_scan_root(scan, &answer->root);
    answer->tile_roots = scan->tile_roots;
    answer->tile_root_count = scan->tile_root_count;
    answer->missing = scan->missing.runs;
    answer->missing_count = scan->missing.count;
    answer->damaged = scan->damaged.runs;
    answer->damaged_count = scan->damaged.count;
    answer->erased = scan->erased.runs;
    answer->erased_count = scan->erased.count;
    answer->lost = scan->lost.runs;
    answer->lost_count = scan->lost.count;
    if (!audit->request.reads_run_lists)
        return; /* an older handheld: the long form, and proofs */
    answer->takes_bare_records = scan->is_trusted && audit_scan_found_fault(scan);
    answer->uses_run_lists = audit_scan_found_fault(scan) || scan->erased.count > 0 || scan->lost.count > 0;
}

/* ---- photos ---- */

struct blob_window {
    struct stored_blob blobs[AUDIT_WINDOW_BLOBS_MAX + 1];
    size_t count;
};

static int note_blob(void *user, const struct stored_blob *blob)
{
    struct blob_window *window = user;

    window->blobs[window->count++] = *blob;
    return 0;
}

static void tell_blob(struct audit_job *audit, const struct stored_blob *blob, enum blob_condition condition)
{
    size_t i = audit->answer.blob_count++;

    audit->blobs[i] = (struct blob_finding){.sha256 = blob->sha256, .condition = condition};
    audit->blob_was_stored[i] = blob->state == STORED_BLOB_PRESENT;
}

static int look_at_blob(struct service *service, struct audit_job *audit, const struct stored_blob *blob)
{
    struct blobs *blobs = service->blobs;
    struct sha256 sha256;
    uint64_t size = 0;
    int r;

    audit->answer.blobs_checked++;
    switch (blob->state) {
    case STORED_BLOB_MISSING:
        tell_blob(audit, blob, BLOB_MISSING);
        return 0;
    case STORED_BLOB_ERASED:
        tell_blob(audit, blob, BLOB_ERASED);
        return 0;
    case STORED_BLOB_LOST:
        tell_blob(audit, blob, BLOB_LOST);
        return 0;
    case STORED_BLOB_PRESENT:
        break;
    }
    r = blobs->verbs->hash(blobs, &blob->sha256, &sha256, &size);
    /* A file that cannot be read is as good as none. One that cannot be opened now (no descriptor, no memory)
     * says nothing about the photo. */
    if (r < 0 && r != -ENOENT && r != -EIO)
        return r;
    audit->answer.blob_bytes_read += size;
    if (r == -ENOENT)
        tell_blob(audit, blob, BLOB_MISSING);
    else if (r < 0 || !sha256_equal(&sha256, &blob->sha256))
        tell_blob(audit, blob, BLOB_DAMAGED);
    return 0;
}

static int scan_blobs(struct service_job *job, struct storage *storage)
{
    struct audit_job *audit = &job->audit;
    const struct audit_request *request = &audit->request;
    _cleanup_free_ struct blob_window *window = calloc(1, sizeof(*window));
    int r;

    if (!window)
        return -ENOMEM;
    r = storage->verbs->blobs_each(storage, job->device.number, record_key(audit->log.number, 0),
        record_key(audit->log.number + 1, 0), request->has_after_blob ? &request->after_blob : NULL,
        ARRAY_LEN(window->blobs), note_blob, window);
    for (size_t i = 0; r >= 0 && i < window->count; i++) {
        if (i == AUDIT_WINDOW_BLOBS_MAX || audit->answer.blob_bytes_read >= WINDOW_BLOB_BYTES) {
            audit->answer.has_next_blob = true;
            audit->answer.next_blob = window->blobs[i - 1].sha256;
            break;
        }
        r = look_at_blob(job->service, audit, &window->blobs[i]);
    }
    audit->answer.blobs = audit->blobs;
    return r;
}

/* ---- prepare ---- */

static int find_log(struct service_job *job, struct storage *storage)
{
    struct audit_job *audit = &job->audit;
    _cleanup_buffer_ struct buffer note = {0};
    int r = storage->verbs->log_find(storage, &audit->request.log, &audit->log);

    if (r == -ENOENT) {
        audit->log = (struct stored_log){.id = audit->request.log, .device = job->device.number};
        return 0;
    }
    if (r < 0)
        return r;
    if (audit->log.device != job->device.number)
        return job_refuse(job, REFUSAL_LOG_OF_OTHER_DEVICE, "this log belongs to another device");
    r = log_note_checked(job->service, storage, &job->device, &audit->log, &note);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = receipt_cosign(buffer_bytes(&note), &job->signer->key, service_now_s(job->service), &audit->receipt);
    return r;
}

static int read_all(struct service_job *job, struct storage *storage)
{
    struct audit_job *audit = &job->audit;
    int r = find_log(job, storage);

    if (r < 0 || job->is_refused)
        return r;
    if (audit->request.from_seq > audit->log.frontier.size)
        audit->request.from_seq = audit->log.frontier.size;
    r = scan_records(job, storage);
    if (r < 0)
        return r;
    tell_records(audit);
    if (audit->log.number == 0)
        return 0;
    if (audit->request.level == AUDIT_MEDIA && audit->answer.next_seq == 0)
        r = scan_blobs(job, storage);
    if (r < 0)
        return r;
    return storage->verbs->quarantined_count(storage, record_key(audit->log.number, 0),
        record_key(audit->log.number + 1, 0), &audit->answer.records_quarantined);
}

/* All of it at one moment of the storage. */
static int read_at_once(struct service_job *job)
{
    _cleanup_reader_ struct reader reader = {0};
    int r = reader_take(job->service, &reader);

    if (r >= 0)
        r = reader.storage->verbs->view(reader.storage);
    if (r < 0)
        return r;
    r = read_all(job, reader.storage);
    reader.storage->verbs->view_end(reader.storage);
    return r;
}

int audit_prepare(struct service_job *job)
{
    struct audit_job *audit = &job->audit;
    int r = audit_request_decode(buffer_bytes(&job->plain), &job->arena, &audit->request);

    if (r < 0)
        return job_refuse_undecodable(job, r, "the audit request cannot be decoded");
    audit->scan = malloc(sizeof(*audit->scan));
    if (!audit->scan)
        return -ENOMEM;
    (void)register_device(job);
    if (job->is_refused)
        return 0;
    r = read_at_once(job);
    unregister_device(job);
    job->needs_commit = r >= 0 && !job->is_refused;
    return r;
}

/* ---- commit ---- */

static uint64_t run_total(const struct run *runs, size_t count)
{
    uint64_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += runs[i].count;
    return total;
}

/* Adds the window to what the device's line says of the resync that it belongs to. */
static void add_window(const struct audit_job *audit, int64_t now_ms, struct stored_resync *resync)
{
    const struct audit_request *request = &audit->request;
    const struct audit_answer *answer = &audit->answer;
    bool is_first_window = request->from_seq == 0 && !request->has_after_blob;
    int64_t since_ms = now_ms - resync->at_ms;
    bool is_check = request->level == AUDIT_PRESENCE && resync->mended > 0 && since_ms < RESYNC_CHECK_MS;

    resync->at_ms = now_ms;
    if (is_check)
        return;
    if (is_first_window && (resync->first_log == audit->log.number || since_ms < 0 ||
                               since_ms > RESYNC_IDLE_MS || resync->level != (uint64_t)request->level))
        *resync = (struct stored_resync){
            .at_ms = now_ms, .level = (uint64_t)request->level, .first_log = audit->log.number};
    resync->checked += answer->counted;
    resync->missing += run_total(answer->missing, answer->missing_count);
    resync->damaged += run_total(answer->damaged, answer->damaged_count);
    resync->erased += run_total(answer->erased, answer->erased_count);
    resync->lost += run_total(answer->lost, answer->lost_count);
    resync->blobs_checked += answer->blobs_checked;
    for (size_t i = 0; i < answer->blob_count; i++) {
        if (answer->blobs[i].condition == BLOB_MISSING || answer->blobs[i].condition == BLOB_DAMAGED)
            resync->blobs_bad++;
    }
}

static int want_again(struct service *service, struct storage *storage, const struct audit_job *audit)
{
    struct blobs *blobs = service->blobs;

    for (size_t i = 0; i < audit->answer.blob_count; i++) {
        const struct blob_finding *found = &audit->blobs[i];
        uint64_t size;
        int r;

        if (!audit->blob_was_stored[i])
            continue;
        if (found->condition == BLOB_MISSING && blobs->verbs->find(blobs, &found->sha256, &size) >= 0)
            continue; /* It has come back meanwhile. */
        r = storage->verbs->blob_set_state(storage, &found->sha256, STORED_BLOB_MISSING, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

static int mend_tiles(struct storage *storage, const struct audit_job *audit)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && i < audit->tile_fix_count; i++)
        r = storage->verbs->tiles_put(
            storage, audit->log.number, audit->tile_fixes[i].tile, &audit->tile_fixes[i].root, 1);
    return r;
}

int audit_commit(struct service_job *job, struct transaction *transaction)
{
    const struct audit_job *audit = &job->audit;
    struct storage *storage = transaction->storage;
    struct stored_resync resync;
    int r = storage->verbs->device_resync(storage, job->device.number, &resync);

    if (r < 0)
        return r;
    transaction->has_changed = true;
    add_window(audit, transaction->now_ms, &resync);
    r = storage->verbs->device_set_resync(storage, job->device.number, &resync);
    if (r >= 0)
        r = want_again(job->service, storage, audit);
    if (r >= 0)
        r = mend_tiles(storage, audit);
    return r < 0 ? r : asked_resyncs_note_window(job, transaction);
}

/* ---- answer ---- */

int audit_answer(struct service_job *job, struct service_reply *ret)
{
    struct audit_job *audit = &job->audit;
    struct audit_answer *answer = &audit->answer;
    _cleanup_buffer_ struct buffer plain = {0};
    int r;

    answer->request_sha256 = job->request_sha256;
    answer->incarnation = job->service->incarnation;
    answer->size = audit->log.frontier.size;
    if (audit->request.receipt_size != audit->log.frontier.size)
        answer->receipt = buffer_bytes(&audit->receipt);
    answer->server_time_ms = service_now_ms(job->service);
    r = audit_answer_encode(answer, &plain);
    if (r >= 0)
        r = job_seal(job, PAYLOAD_AUDIT_ANSWER, buffer_bytes(&plain), ret);
    ret->status = 200;
    ret->outcome = "audited";
    ret->records = answer->counted;
    return r;
}

void audit_done(struct audit_job *audit)
{
    buffer_done(&audit->receipt);
    free(audit->scan);
    free(audit->tile_fixes);
}
