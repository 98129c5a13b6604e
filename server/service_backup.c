/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup while the centre serves. See service.h. In this order:
 *
 *   TARGET/backup.lock       one backup at a time
 *   TARGET/keys, revocations without the receipt key all the rest is worth little
 *   TARGET/new/centre.db     one moment of the database
 *   TARGET/blobs             every photo that this moment names as stored
 *   TARGET/orders            later than the database, so that no order is missed; photos that they erase go
 *   TARGET/incarnation       ahead of that database: who serves from here begins a new incarnation
 *   TARGET/centre.db         moved into place: now the backup is whole
 *   DATA/centre.db           the photos are marked, and the closed logs that were read again in the copy
 *
 * Closed logs and photos that the copy has not whole lose their marks before it is moved into place. And when
 * the backup before has a closed log whole that this one has not, it stays: handhelds may have removed
 * theirs.
 *
 * Interrupted at any point, TARGET holds the backup before or this one, and nothing is marked that it has
 * not got.
 */
#include "server/service_internal.h"

#include "base/files.h"

#define LOCK_NAME "backup.lock"
#define NEW_NAME "new"
#define MARKS_AT_ONCE 1000u /* in one transaction: handhelds wait meanwhile */
#define BLOBS_AT_ONCE 1000u

/* What is known of a closed log since this backup, and was not before: of how many records the copy has all.
 */
struct told_log {
    uint64_t number;
    struct log_backed_up backed_up;
};

struct backup {
    struct service *service;
    const char *target;
    char *new_directory;
    struct storage *snapshot;
    struct blobs *blobs;       /* the target's */
    struct buffer copied;      /* struct sha256: of photos that are not marked yet */
    struct buffer faulted;     /* struct sha256: of photos that are marked, and not in this copy */
    struct buffer told_logs;   /* struct told_log */
    struct buffer broken_logs; /* struct uuid */
    struct sha256 last;        /* of the blobs looked at */
    size_t seen;               /* in this step */
    void (*told)(void *user, const struct service_backup_report *so_far);
    void (*fault)(void *user, const char *line);
    void *user;
    struct service_backup_report report;
};

/* ---- photos ---- */

static int note_blob(struct buffer *blobs, const struct sha256 *sha256)
{
    buffer_put_bytes(blobs, sha256_bytes(sha256));
    return buffer_finish(blobs);
}

static void tell_fault(struct backup *backup, const struct sha256 *sha256, int error)
{
    char hash[SHA256_TEXT_LEN + 1], line[256];

    text_hex(sha256->b, SHA256_BYTES, hash);
    snprintf(line, sizeof(line), "photo %s: %s", hash,
        error == -EILSEQ   ? "its bytes have another hash"
        : error == -ENOENT ? "its file is gone"
                           : strerror(-error));
    backup->report.blobs_bad++;
    if (backup->fault)
        backup->fault(backup->user, line);
}

static int copy_blob(void *user, const struct stored_blob *blob)
{
    struct backup *backup = user;
    struct service *service = backup->service;
    _cleanup_free_ char *path = NULL;
    int r;

    backup->last = blob->sha256;
    backup->seen++;
    if (blob->state != STORED_BLOB_PRESENT)
        return 0;
    r = service->blobs->verbs->path(service->blobs, &blob->sha256, &path);
    if (r >= 0)
        r = backup->blobs->verbs->put_copy(backup->blobs, &blob->sha256, path);
    /* A photo that is damaged here is no reason to have no backup of all the others. */
    if (r == -ENOENT || r == -EILSEQ || r == -EIO) {
        tell_fault(backup, &blob->sha256, r);
        return blob->is_backed_up ? note_blob(&backup->faulted, &blob->sha256) : 0;
    }
    if (r < 0)
        return r;
    backup->report.blobs++;
    backup->report.blobs_copied += r == 0;
    r = blob->is_backed_up ? 0 : note_blob(&backup->copied, &blob->sha256);
    if (r >= 0 && backup->told)
        backup->told(backup->user, &backup->report);
    return r;
}

static int copy_blobs(struct backup *backup)
{
    struct storage *storage = backup->snapshot;
    int r = 0;

    do {
        const struct sha256 after = backup->last;
        bool is_first = backup->seen == 0;

        backup->seen = 0;
        r = storage->verbs->blobs_each(
            storage, 0, 0, 0, is_first ? NULL : &after, BLOBS_AT_ONCE, copy_blob, backup);
    } while (r >= 0 && backup->seen > 0);
    return r;
}

static int mark_some(struct service *service, const struct sha256 *blobs, size_t count, bool has)
{
    struct transaction transaction;
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    for (size_t i = 0; r >= 0 && i < count; i++)
        r = transaction.storage->verbs->blob_set_backed_up(transaction.storage, &blobs[i], has);
    if (r < 0) {
        transaction_rollback(&transaction);
        return r;
    }
    transaction.has_changed = true;
    return transaction_commit(&transaction);
}

/* Those that the copy has, or those that it has not. */
static int mark_blobs(struct backup *backup, bool has)
{
    const struct buffer *noted = has ? &backup->copied : &backup->faulted;
    const struct sha256 *blobs = (const struct sha256 *)(const void *)noted->data;
    size_t count = noted->len / sizeof(*blobs);
    int r = 0;

    for (size_t i = 0; r >= 0 && i < count; i += MARKS_AT_ONCE)
        r = mark_some(backup->service, blobs + i, count - i < MARKS_AT_ONCE ? count - i : MARKS_AT_ONCE, has);
    return r;
}

/* ---- logs ---- */

/* Handhelds will remove what is marked: so the copy is read, not believed. What was erased by order is there
 * as its leaf; what is lost is not there. 1 whole, 0 not. */
static int read_tile(
    struct storage *storage, const struct stored_log *log, uint64_t tile, struct merkle_frontier *frontier)
{
    uint64_t left = log->frontier.size - tile * TILE_LEAVES;
    struct audit_row rows[TILE_LEAVES];
    int r = log_read_tile(storage, log, tile, true, rows);

    for (size_t i = 0; r >= 0 && i < TILE_LEAVES && i < left; i++) {
        const struct audit_row *row = &rows[i];
        bool is_present = row->state == AUDIT_ROW_PRESENT && row->has_bytes &&
                          (!row->has_leaf || sha256_equal(&row->leaf, &row->bytes_leaf));

        if (!is_present && !(row->state == AUDIT_ROW_ERASED && row->has_leaf))
            return 0;
        r = merkle_append(frontier, is_present ? &row->bytes_leaf : &row->leaf);
    }
    return r < 0 ? r : 1;
}

/* 1 whole, 0 not. */
static int read_log(struct storage *snapshot, const struct stored_log *log)
{
    struct merkle_frontier frontier;
    int r = 1;

    merkle_frontier_init(&frontier);
    for (uint64_t tile = 0; r > 0 && frontier.size < log->frontier.size; tile++)
        r = read_tile(snapshot, log, tile, &frontier);
    if (r <= 0)
        return r;
    struct sha256 root = merkle_root(&frontier), expected = merkle_root(&log->frontier);
    return sha256_equal(&root, &expected);
}

/* What is said of a log is what the last backup has of it, and each one is another copy: so each reads all of
 * them. */
static int look_at_log(void *user, const struct stored_log *log)
{
    struct backup *backup = user;
    struct told_log told = {.number = log->number}, before = {0};

    backup->report.records += log->frontier.size;
    if (!log->is_closed)
        return 0;
    int r = read_log(backup->snapshot, log);
    if (r > 0)
        told.backed_up =
            (struct log_backed_up){.size = log->frontier.size, .root = merkle_root(&log->frontier)};
    else if (r == 0)
        buffer_put_bytes(&backup->broken_logs, uuid_bytes(&log->id));
    if (r >= 0)
        r = buffer_finish(&backup->broken_logs);
    if (r >= 0)
        r = backup->snapshot->verbs->log_backed_up(backup->snapshot, log->number, &before.backed_up);
    if (r < 0 || before.backed_up.size == told.backed_up.size)
        return r < 0 ? r : 0;
    buffer_put(&backup->told_logs, &told, sizeof(told));
    return buffer_finish(&backup->told_logs);
}

/* Those that the copy has, or those that it has not. */
static int mark_logs(struct backup *backup, bool has)
{
    const struct told_log *logs = (const struct told_log *)(const void *)backup->told_logs.data;
    struct transaction transaction;
    int r = 0;

    if (backup->told_logs.len == 0)
        return 0;
    r = transaction_begin(backup->service, &transaction);
    if (r < 0)
        return r;
    for (size_t i = 0; r >= 0 && i < backup->told_logs.len / sizeof(*logs); i++)
        if ((logs[i].backed_up.size > 0) == has)
            r = transaction.storage->verbs->log_set_backed_up(
                transaction.storage, logs[i].number, &logs[i].backed_up);
    if (r < 0) {
        transaction_rollback(&transaction);
        return r;
    }
    transaction.has_changed = true;
    return transaction_commit(&transaction);
}

/* ---- the database ---- */

static int take_snapshot(struct backup *backup)
{
    const struct storage_options options = {
        .world = backup->service->world, .directory = backup->new_directory, .read_only = true};
    _cleanup_reader_ struct reader reader = {0};
    bool created;
    int r = reader_take(backup->service, &reader);

    if (r >= 0)
        r = reader.storage->verbs->snapshot(reader.storage, backup->new_directory);
    if (r >= 0)
        r = storage_sqlite_open(&options, &backup->snapshot, &created, NULL);
    return r < 0 ? r : backup->snapshot->verbs->logs_each(backup->snapshot, look_at_log, backup);
}

static bool is_broken(const struct backup *backup, const struct uuid *id)
{
    for (size_t at = 0; at < backup->broken_logs.len; at += UUID_BYTES)
        if (memcmp(backup->broken_logs.data + at, id->b, UUID_BYTES) == 0)
            return true;
    return false;
}

/* Whether this backup has all of what the log had when it was closed. While the list of findings is made anew
 * no log counts as closed: then it is read. 1, 0, or an error of something else than this copy. */
static int has_all_of(struct backup *backup, const struct stored_log *closed)
{
    struct stored_log log;
    int r = backup->snapshot->verbs->log_find(backup->snapshot, &closed->id, &log);

    if (r >= 0 && log.frontier.size < closed->frontier.size)
        return 0;
    if (r >= 0 && log.is_closed)
        return !is_broken(backup, &closed->id);
    if (r >= 0)
        r = read_log(backup->snapshot, &log);
    return r == -ENOENT || r == -EUCLEAN ? 0 : r;
}

struct comparison {
    struct backup *backup;
    struct storage *before;
};

/* -EUCLEAN when only the backup before has it whole. What is damaged there is no reason to keep it. */
static int compare_log(void *user, const struct stored_log *log)
{
    struct comparison *comparison = user;
    struct backup *backup = comparison->backup;
    int r = log->is_closed ? has_all_of(backup, log) : 1;

    if (r != 0)
        return r < 0 ? r : 0;
    r = read_log(comparison->before, log);
    if (r <= 0)
        return r == -EUCLEAN ? 0 : r;
    backup->report.has_kept_before = true;
    backup->report.kept_log = log->id;
    return -EUCLEAN;
}

/* The backup that is there already stays when it has a closed log whole that this one has not: the centre has
 * lost records, or was set back, and handhelds may have removed theirs. */
static int look_at_backup_before(struct backup *backup)
{
    const struct world *world = backup->service->world;
    const struct storage_options options = {.world = world, .directory = backup->target, .read_only = true};
    struct comparison comparison = {.backup = backup};
    bool created;
    int r = storage_sqlite_is_placed(world, backup->target);

    if (r <= 0)
        return r;
    r = storage_sqlite_open(&options, &comparison.before, &created, NULL);
    if (r >= 0)
        r = comparison.before->verbs->logs_each(comparison.before, compare_log, &comparison);
    storage_close(comparison.before);
    int tidied = storage_sqlite_tidy(world, backup->target);
    if (r == -EUCLEAN && !backup->report.has_kept_before)
        r = 0; /* it is damaged */
    return r < 0 ? r : tidied;
}

static int put_in_place(struct backup *backup)
{
    const struct world *world = backup->service->world;
    struct storage_state state;
    int r = backup->snapshot->verbs->state(backup->snapshot, &state);

    storage_close(backup->snapshot);
    backup->snapshot = NULL;
    if (r >= 0)
        r = incarnation_write_ahead(backup->service, backup->target, &state);
    return r < 0 ? r : storage_sqlite_place(world, backup->new_directory, backup->target);
}

/* An earlier backup may have left photos here that were erased since. */
static int carry_out_orders(struct backup *backup)
{
    struct orders orders = {0};
    int r = orders_back_up(backup->service, backup->target, &orders);

    for (size_t i = 0; r >= 0 && i < orders.blob_count; i++) {
        r = backup->blobs->verbs->remove(backup->blobs, &orders.blobs[i].sha256);
        r = r == -ENOENT ? 0 : r;
    }
    orders_done(&orders);
    return r;
}

/* ---- all of it ---- */

static int run_steps(struct backup *backup)
{
    const struct world *world = backup->service->world;
    int r = storage_sqlite_is_unused(world, backup->target);

    /* The copy is one of pages: nothing that is being erased may still be in them. */
    if (r >= 0)
        r = erasure_finish(backup->service);
    if (r >= 0)
        r = keys_back_up(backup->service, backup->target);
    if (r >= 0)
        r = files_make_directory(world, backup->new_directory);
    if (r >= 0)
        r = blobs_files_open(world, backup->target, false, &backup->blobs);
    if (r >= 0)
        r = take_snapshot(backup);
    if (r >= 0)
        r = look_at_backup_before(backup);
    if (r >= 0)
        r = copy_blobs(backup);
    if (r >= 0)
        r = carry_out_orders(backup);
    if (r >= 0)
        r = mark_logs(backup, false);
    if (r >= 0)
        r = mark_blobs(backup, false);
    if (r >= 0)
        r = put_in_place(backup);
    if (r >= 0)
        r = mark_blobs(backup, true);
    return r < 0 ? r : mark_logs(backup, true);
}

static int run_locked(struct backup *backup)
{
    const struct world *world = backup->service->world;
    _cleanup_free_ char *path = files_join(backup->target, LOCK_NAME);
    int lock, r;

    if (!path)
        return -ENOMEM;
    lock = world->verbs->lock_open(world->context, path);
    if (lock < 0)
        return lock;
    r = world->verbs->try_lock(world->context, lock);
    if (r >= 0) {
        r = run_steps(backup);
        (void)world->verbs->unlock(world->context, lock);
    }
    (void)world->verbs->lock_close(world->context, lock);
    return r;
}

int service_backup(struct service *service, const char *target,
    void (*told)(void *user, const struct service_backup_report *so_far),
    void (*fault)(void *user, const char *line), void *user, struct service_backup_report *ret)
{
    struct backup backup = {.service = service,
        .target = target,
        .new_directory = files_join(target, NEW_NAME),
        .told = told,
        .fault = fault,
        .user = user};
    int r = -ENOMEM;

    if (!service->writer)
        r = -EROFS;
    else if (backup.new_directory)
        r = files_make_directory(service->world, target);
    if (r >= 0)
        r = run_locked(&backup);
    storage_close(backup.snapshot);
    blobs_close(backup.blobs);
    free(backup.new_directory);
    buffer_done(&backup.copied);
    buffer_done(&backup.faulted);
    backup.report.logs_broken = backup.broken_logs.len / UUID_BYTES;
    buffer_done(&backup.told_logs);
    buffer_done(&backup.broken_logs);
    if (r < 0 && !backup.report.has_kept_before)
        return r;
    *ret = backup.report;
    if (r < 0)
        return r;
    return backup.report.blobs_bad > 0 ? -EUCLEAN : 0;
}
