/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's check: every log recomputed from its bytes, every photo looked at, and the derived tables
 * made again from the records. See service.h.
 */
#include "server/service_internal.h"

#include <stdarg.h>

#define LINE_MAX_LEN 256u
#define BLOBS_AT_ONCE 256u

struct check {
    struct service *service;
    struct storage *storage;
    void (*fault)(void *user, const char *line);
    void *user;
    struct service_check_report report;
    uint64_t faults;
    struct audit_scan *scan;
};

static void tell(struct check *check, const char *format, ...) _printf_(2, 3);

static void tell(struct check *check, const char *format, ...)
{
    char line[LINE_MAX_LEN];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    check->faults++;
    if (check->fault)
        check->fault(check->user, line);
}

/* ---- logs ---- */

static void tell_runs(struct check *check, const char *log, const struct audit_runs *runs, const char *what)
{
    for (size_t i = 0; i < runs->count; i++) {
        const struct run *run = &runs->runs[i];

        check->report.records_bad += run->count;
        if (run->count == 1)
            tell(check, "log %s: record %llu is %s", log, (unsigned long long)run->first, what);
        else
            tell(check, "log %s: records %llu to %llu are %s", log, (unsigned long long)run->first,
                (unsigned long long)(run->first + run->count - 1), what);
    }
}

static int check_tile(struct check *check, const struct stored_log *log, const char *name)
{
    struct audit_scan *scan = check->scan;
    struct audit_row rows[TILE_LEAVES];
    uint64_t tile = scan->next / TILE_LEAVES;
    struct sha256 kept;
    int has_kept = log_kept_root(check->storage, log, tile, &kept);
    int r = has_kept < 0 ? has_kept : log_read_tile(check->storage, log, tile, true, rows);

    if (r < 0)
        return r;
    if (!has_kept)
        tell(check, "log %s: the root of tile %llu is missing", name, (unsigned long long)tile);
    (void)audit_scan_tile(scan, rows, has_kept ? &kept : NULL);
    tell_runs(check, name, &scan->missing, "missing");
    tell_runs(check, name, &scan->damaged, "damaged");
    scan->missing.count = scan->damaged.count = scan->erased.count = scan->lost.count = 0;
    return 0;
}

/* The root of the last look at the log, against the one that the handheld signed. */
static int check_root(struct check *check, const struct stored_log *log, const char *name, bool is_sound)
{
    struct sha256 root, kept = merkle_root(&log->frontier);
    struct stored_device device;
    _cleanup_buffer_ struct buffer note = {0};
    int r = check->storage->verbs->device_at(check->storage, log->device, &device);

    if (r >= 0)
        r = log_note_checked(check->service, check->storage, &device, log, &note);
    if (r == -ENOENT)
        tell(check, "log %s: no signed checkpoint fits its size and root", name);
    else if (r < 0)
        return r;
    if (!is_sound)
        tell(check, "log %s: its tiles do not give its root", name);
    if (audit_scan_root(check->scan, &root) && !sha256_equal(&root, &kept))
        tell(check, "log %s: its records do not give the root that the handheld signed", name);
    return 0;
}

static int check_log(void *user, const struct stored_log *log)
{
    struct check *check = user;
    char name[UUID_TEXT_LEN + 1];
    int sound, r;

    if (log->frontier.size == 0)
        return 0;
    text_uuid(log->id.b, name);
    sound = log_kept_is_sound(check->storage, log);
    if (sound < 0)
        return sound;
    audit_scan_init(check->scan, 0, log->frontier.size, sound > 0, false);
    while (audit_scan_next_count(check->scan) > 0) {
        r = check_tile(check, log, name);
        if (r < 0)
            return r;
    }
    check->report.logs++;
    check->report.records += check->scan->counted;
    return check_root(check, log, name, sound > 0);
}

/* ---- photos ---- */

struct blob_list {
    struct stored_blob blobs[BLOBS_AT_ONCE];
    size_t count;
};

static int list_blob(void *user, const struct stored_blob *blob)
{
    struct blob_list *list = user;

    list->blobs[list->count++] = *blob;
    return 0;
}

static int check_blob(struct check *check, const struct stored_blob *blob, bool media)
{
    struct blobs *blobs = check->service->blobs;
    char name[SHA256_TEXT_LEN + 1];
    struct sha256 sha256 = blob->sha256;
    uint64_t size = 0;
    int r;

    if (blob->state != STORED_BLOB_PRESENT)
        return 0;
    text_hex(blob->sha256.b, SHA256_BYTES, name);
    check->report.blobs++;
    r = media ? blobs->verbs->hash(blobs, &blob->sha256, &sha256, &size)
              : blobs->verbs->find(blobs, &blob->sha256, &size);
    if (r == -ENOMEM)
        return r;
    if (r == -ENOENT)
        tell(check, "photo %s: its file is missing", name);
    else if (r < 0)
        tell(check, "photo %s: its file cannot be read: %s", name, strerror(-r));
    else if (size != blob->size || !sha256_equal(&sha256, &blob->sha256))
        tell(check, "photo %s: its file is damaged", name);
    else
        return 0;
    check->report.blobs_bad++;
    return 0;
}

static int check_blobs(struct check *check, bool media)
{
    _cleanup_free_ struct blob_list *list = calloc(1, sizeof(*list));
    struct sha256 after;
    bool has_after = false;
    int r;

    if (!list)
        return -ENOMEM;
    do {
        list->count = 0;
        r = check->storage->verbs->blobs_each(
            check->storage, 0, 0, 0, has_after ? &after : NULL, BLOBS_AT_ONCE, list_blob, list);
        for (size_t i = 0; r >= 0 && i < list->count; i++)
            r = check_blob(check, &list->blobs[i], media);
        if (list->count > 0)
            after = list->blobs[list->count - 1].sha256;
        has_after = true;
    } while (r >= 0 && list->count == BLOBS_AT_ONCE);
    return r;
}

/* ---- rebuilding ---- */

struct rebuild {
    struct transaction *transaction;
    struct stored_log log;
    struct arena arena;
    uint64_t rows;
    int error;
};

static int rebuild_record(void *user, const struct stored_record *stored)
{
    struct rebuild *rebuild = user;
    struct projection projection;
    struct applied_record record = {.seq = record_key_seq(stored->key),
        .arrival = stored->arrival,
        .leaf = stored->leaf,
        .projection = &projection};
    int r;

    /* Bytes that do not hash to their leaf are not what the handheld recorded. */
    struct sha256 leaf = merkle_leaf(stored->bytes);
    if (stored->state != STORED_RECORD_PRESENT || !stored->has_leaf || !sha256_equal(&leaf, &stored->leaf))
        return 0;
    arena_reset(&rebuild->arena, arena_budget_for(stored->bytes.len));
    r = projection_decode(stored->bytes, &rebuild->arena, &projection);
    if (r == -ENOBUFS)
        projection = (struct projection){.reason = "takes too much memory when decoded"};
    else if (r < 0)
        return r;
    if (projection_is_listed(&projection) || projection.reason)
        rebuild->rows++;
    return apply_record(rebuild->transaction, &rebuild->log, &record);
}

/* Kept roots that are wrong although the leaves give the signed root are made again from the leaves. */
static int rebuild_tiles(struct rebuild *rebuild)
{
    struct storage *storage = rebuild->transaction->storage;
    struct stored_log *log = &rebuild->log;
    uint64_t tiles = log->frontier.size / TILE_LEAVES;
    int r = log_kept_is_sound(storage, log);

    if (r != 0)
        return r < 0 ? r : 0;
    for (uint64_t tile = 0; tile < tiles; tile++) {
        struct audit_row rows[TILE_LEAVES];
        struct sha256 leaves[TILE_LEAVES], root;

        r = log_read_tile(storage, log, tile, false, rows);
        if (r < 0)
            return r;
        for (size_t i = 0; i < TILE_LEAVES; i++) {
            if (!rows[i].has_leaf)
                return 0;
            leaves[i] = rows[i].leaf;
        }
        root = merkle_root_of(leaves, TILE_LEAVES);
        r = storage->verbs->tiles_put(storage, log->number, tile, &root, 1);
        if (r < 0)
            return r;
    }
    return 0;
}

struct leaves {
    struct merkle_frontier frontier;
    uint64_t next_key;
};

static int append_leaf(void *user, const struct stored_record *record)
{
    struct leaves *leaves = user;

    if (!record->has_leaf || record->key != leaves->next_key++)
        return 1;
    return merkle_append(&leaves->frontier, &record->leaf);
}

/* A log's row that lost its frontier gets it back from the leaves, if they give what the handheld signed. */
static int rebuild_frontier(struct rebuild *rebuild)
{
    struct transaction *transaction = rebuild->transaction;
    struct storage *storage = transaction->storage;
    struct stored_log *log = &rebuild->log;
    struct leaves leaves = {.next_key = record_key(log->number, 0)};
    _cleanup_buffer_ struct buffer note = {0};
    struct stored_device device;
    struct checkpoint checkpoint;
    struct sha256 root;
    int r = storage->verbs->device_at(storage, log->device, &device);

    if (r >= 0)
        r = log_note_checked(transaction->service, storage, &device, log, &note);
    if (r != -ENOENT)
        return r;
    r = storage->verbs->log_note(storage, log->number, &note);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = device_checkpoint_verify(transaction->service, storage, &device, buffer_bytes(&note), &checkpoint);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = storage->verbs->records_each(storage, record_key(log->number, 0),
        record_key(log->number, checkpoint.size), false, append_leaf, &leaves);
    root = merkle_root(&leaves.frontier);
    if (r != 0 || leaves.frontier.size != checkpoint.size || !sha256_equal(&root, &checkpoint.root))
        return r < 0 ? r : 0;
    log->frontier = leaves.frontier;
    return storage->verbs->log_advance(storage, log, buffer_bytes(&note));
}

/* What has waited for a record of this log, all of it, however many there are. */
static int apply_all_awaiting(struct rebuild *rebuild)
{
    struct storage *storage = rebuild->transaction->storage;
    uint64_t key, last = 0;
    size_t count = 0;
    int r;

    do {
        r = storage->verbs->awaited(
            storage, &rebuild->log.id, 0, rebuild->log.frontier.size, &key, 1, &count);
        if (r < 0 || count == 0 || key == last)
            return r;
        last = key;
        r = apply_awaiting(rebuild->transaction, &rebuild->log.id, 0, rebuild->log.frontier.size);
    } while (r >= 0);
    return r;
}

static int rebuild_log(void *user, const struct stored_log *log)
{
    struct rebuild *rebuild = user;
    struct storage *storage = rebuild->transaction->storage;
    int r;

    rebuild->log = *log;
    r = rebuild_frontier(rebuild);
    if (r < 0)
        return r;
    r = storage->verbs->records_each(storage, record_key(log->number, 0),
        record_key(log->number, rebuild->log.frontier.size), true, rebuild_record, rebuild);
    if (r >= 0)
        r = apply_all_awaiting(rebuild);
    return r < 0 ? r : rebuild_tiles(rebuild);
}

/* All in one transaction: whoever reads sees the old tables or the new ones, also after a power cut.
 * Handhelds that come meanwhile are told to come again. */
static int rebuild_derived(struct check *check)
{
    struct transaction transaction;
    struct rebuild rebuild = {.transaction = &transaction};
    int r = transaction_begin(check->service, &transaction);

    if (r < 0)
        return r;
    transaction.has_changed = true;
    transaction.awaiting_left = UINT32_MAX;
    transaction.state.indexed_arrival = 0;
    r = transaction.storage->verbs->derived_clear(transaction.storage);
    if (r >= 0)
        r = transaction.storage->verbs->logs_each(transaction.storage, rebuild_log, &rebuild);
    arena_done(&rebuild.arena);
    if (r < 0) {
        transaction_rollback(&transaction);
        return r;
    }
    transaction.records = transaction.quarantined = transaction.forks = 0;
    r = transaction_commit(&transaction);
    if (r >= 0)
        check->report.findings_rebuilt = rebuild.rows;
    return r;
}

int service_check(struct service *service, bool media, bool rebuild,
    void (*fault)(void *user, const char *line), void *user, struct service_check_report *ret)
{
    _cleanup_reader_ struct reader reader = {0};
    _cleanup_free_ struct audit_scan *scan = malloc(sizeof(*scan));
    struct check check = {.service = service, .fault = fault, .user = user, .scan = scan};
    int r = scan ? reader_take(service, &reader) : -ENOMEM;

    if (r < 0)
        return r;
    check.storage = reader.storage;
    if (rebuild)
        r = rebuild_derived(&check);
    if (r >= 0)
        r = reader.storage->verbs->logs_each(reader.storage, check_log, &check);
    if (r >= 0)
        r = check_blobs(&check, media);
    if (r < 0)
        return r;
    *ret = check.report;
    return check.faults > 0 ? -EUCLEAN : 0;
}
