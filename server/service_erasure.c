/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Erasure orders carried out: rows become their leaves, what was derived from them goes, and so do the files
 * of photos. When an order is given (service_erase.c), and again by whoever opens or keeps house: after an
 * order that was broken off, and on a database that was set back or damaged.
 */
#include "server/service_internal.h"

/* ---- rows ---- */

/* Was it the record with this leaf that is gone here? The root that was kept of its tile tells: 1 or 0. */
static int is_kept_leaf(
    struct storage *storage, const struct stored_log *log, const struct erased_record *erased)
{
    uint64_t tile = erased->at.seq / TILE_LEAVES;
    size_t place = (size_t)(erased->at.seq % TILE_LEAVES);
    struct sha256 leaves[TILE_LEAVES];
    bool is_given[TILE_LEAVES] = {false};
    int r;

    is_given[place] = true;
    leaves[place] = erased->leaf;
    r = log_tile_leaves(storage, log, tile, is_given, leaves);
    return r <= 0 ? r : log_leaves_are_kept(storage, log, tile, leaves);
}

/* Of a row that is gone something may still be on the list. 1 with the row as it has to be, or 0. */
static int find_derived(struct transaction *transaction, const struct stored_log *log,
    const struct erased_record *erased, struct stored_record *ret)
{
    struct storage *storage = transaction->storage;
    struct stored_finding finding;
    int r = storage->verbs->finding_at(storage, record_key(log->number, erased->at.seq), &finding);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    *ret = (struct stored_record){
        .key = finding.key, .arrival = finding.arrival, .received_ms = transaction->now_ms};
    return is_kept_leaf(storage, log, erased);
}

/* Is something left here of the record that is meant? A copy of the handheld may have written another one at
 * its position. 1 with its row, or 0. */
static int find_left(
    struct transaction *transaction, const struct erased_record *erased, struct stored_record *ret)
{
    struct storage *storage = transaction->storage;
    _cleanup_buffer_ struct buffer bytes = {0};
    struct stored_finding finding;
    struct stored_log log;
    struct sha256 leaf;
    int r = storage->verbs->log_find(storage, &erased->at.log, &log);

    if (r < 0 || erased->at.seq >= log.frontier.size)
        return r == -ENOENT || r >= 0 ? 0 : r; /* not here, or not yet */
    r = storage->verbs->record_at(storage, record_key(log.number, erased->at.seq), &bytes, ret);
    if (r < 0)
        return r == -ENOENT ? find_derived(transaction, &log, erased, ret) : r;
    leaf = merkle_leaf(ret->bytes);
    ret->bytes = bytes_of(NULL, 0);
    if (ret->has_leaf && !sha256_equal(&ret->leaf, &erased->leaf) && !sha256_equal(&leaf, &erased->leaf))
        return 0;
    if (ret->state != STORED_RECORD_ERASED)
        return 1;
    /* On a handheld's word, say, which takes nothing off the list. */
    r = storage->verbs->finding_at(storage, ret->key, &finding);
    return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* One record's row: its leaf stays. */
static int erase_record(
    struct transaction *transaction, const struct erased_record *erased, struct buffer *let_go)
{
    struct storage *storage = transaction->storage;
    struct stored_record row;
    int r = find_left(transaction, erased, &row);

    if (r <= 0)
        return r;
    transaction->has_changed = true;
    row.state = STORED_RECORD_ERASED;
    row.has_leaf = true;
    row.leaf = erased->leaf;
    row.has_bytes = false;
    r = storage->verbs->record_put(storage, &row);
    return r < 0 ? r : apply_forget(transaction, row.key, let_go);
}

static int erase_blob_row(struct transaction *transaction, const struct sha256 *sha256)
{
    struct storage *storage = transaction->storage;
    struct stored_blob blob;
    int r = storage->verbs->blob_find(storage, sha256, &blob);

    if (r < 0 || blob.state == STORED_BLOB_ERASED)
        return r == -ENOENT ? 0 : r;
    transaction->has_changed = true;
    return storage->verbs->blob_set_state(storage, sha256, STORED_BLOB_ERASED, 0);
}

/* ---- files ---- */

struct partials {
    const struct orders *orders;
    struct buffer found; /* of struct blob_partial */
};

static int note_partial(void *user, const struct blob_partial *partial)
{
    struct partials *partials = user;

    if (orders_find_blob(partials->orders, &partial->sha256) > 0)
        buffer_put(&partials->found, partial, sizeof(*partial));
    return buffer_finish(&partials->found);
}

/* What has come of erased photos but is not whole. */
static int remove_partials(struct service *service, const struct orders *orders)
{
    struct blobs *blobs = service->blobs;
    struct partials partials = {.orders = orders};
    int r = blobs->verbs->partials_each(blobs, NULL, note_partial, &partials);
    const struct blob_partial *found = (const struct blob_partial *)(const void *)partials.found.data;

    for (size_t i = 0; r >= 0 && i < partials.found.len / sizeof(*found); i++) {
        pthread_mutex_lock(&service->uploads.create_mutex);
        r = patches_remove_partial(service, &found[i].device, &found[i].sha256);
        pthread_mutex_unlock(&service->uploads.create_mutex);
        r = r == -ENOENT ? 0 : r;
    }
    buffer_done(&partials.found);
    return r;
}

static int remove_files(struct service *service, const struct orders *orders)
{
    struct blobs *blobs = service->blobs;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < orders->blob_count; i++) {
        if (i > 0 && sha256_equal(&orders->blobs[i].sha256, &orders->blobs[i - 1].sha256))
            continue; /* named by two devices */
        r = blobs->verbs->remove(blobs, &orders->blobs[i].sha256);
        r = r == -ENOENT ? 0 : r;
    }
    return r < 0 || orders->blob_count == 0 ? r : remove_partials(service, orders);
}

/* ---- carrying out ---- */

int erasing_rows(struct transaction *transaction, const struct order_record *records, size_t record_count,
    const struct order_blob *blobs, size_t blob_count)
{
    _cleanup_buffer_ struct buffer let_go = {0};
    int r = 0;

    for (size_t i = 0; r >= 0 && i < record_count; i++)
        r = erase_record(transaction, &records[i].record, &let_go);
    for (size_t i = 0; r >= 0 && i < blob_count; i++)
        r = erase_blob_row(transaction, &blobs[i].sha256);
    return r < 0 ? r : apply_name_again(transaction, &let_go);
}

static int apply_rows(struct transaction *transaction, const struct orders *orders)
{
    int r =
        erasing_rows(transaction, orders->records, orders->record_count, orders->blobs, orders->blob_count);

    if (r >= 0 && transaction->has_changed)
        r = erasing_mark(transaction->service, true);
    return r;
}

/* `ret_last`: the newest of them. */
static int apply_all(struct service *service, uint64_t *ret_last)
{
    struct orders orders = {0};
    struct transaction transaction;
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    r = orders_copy(service, &orders); /* what all orders name */
    if (r >= 0)
        r = apply_rows(&transaction, &orders);
    if (r < 0)
        transaction_rollback(&transaction);
    else
        r = transaction_commit(&transaction);
    if (r >= 0)
        r = remove_files(service, &orders);
    if (r >= 0)
        *ret_last = orders_last(&orders);
    orders_done(&orders);
    return r;
}

/* Under the lock, as another process may have given an order since: then there is more to be done. */
static int unmark(struct service *service, uint64_t last)
{
    struct transaction transaction;
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    if (orders_last_number(service) == last)
        r = erasing_mark(service, false);
    transaction_rollback(&transaction);
    return r;
}

int erasure_open(struct service *service)
{
    uint64_t last;
    int r = orders_refresh(service);

    if (r < 0 || !service->writer || (orders_last_number(service) == 0 && !erasing_is_marked(service)))
        return r;
    return apply_all(service, &last);
}

int erasure_finish(struct service *service)
{
    uint64_t last = 0;
    int r;

    if (!erasing_is_marked(service))
        return 0;
    r = apply_all(service, &last);
    if (r >= 0)
        r = service->writer->verbs->scrub(service->writer);
    return r < 0 ? r : unmark(service, last);
}
