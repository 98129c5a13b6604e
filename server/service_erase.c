/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lawful erasure: an admin's order turns records and photos into their hashes. See service.h; the orders
 * themselves are kept by service_orders.c.
 *
 *   collect   what the order is about: the records, their later versions and what waits for them, wherever
 *             they stand; their photos
 *   order     DATA/erasing, then DATA/orders, both durable
 *   apply     one transaction: the rows keep their leaves, what was derived from them goes; then the files
 *   scrub     no copy is left in the database's files; then DATA/erasing goes, if this was the newest order
 *
 * From the second step on whoever opens or keeps house goes on where it was broken off.
 */
#include "server/service_internal.h"

#include <stdarg.h>

#define LINE_MAX_LEN 256u

/* ---- carrying out ---- */

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
        r = blobs->verbs->partial_remove(blobs, &found[i].device, &found[i].sha256);
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

/* What goes, and then what the records that stay say of the photos that stay. */
static int erase_rows(struct transaction *transaction, const struct order_record *records,
    size_t record_count, const struct order_blob *blobs, size_t blob_count)
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
    int r = erase_rows(transaction, orders->records, orders->record_count, orders->blobs, orders->blob_count);

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

/* ---- collecting ---- */

struct photo_entry {
    struct sha256 sha256;
    bool is_asked; /* by its own hash, not as part of a record */
    bool is_kept;  /* other findings name it */
};

struct collecting {
    struct transaction *transaction;
    const struct service_erasure *erasure;
    uint64_t keys[ORDER_ENTRIES_MAX]; /* records that go */
    size_t key_count;
    struct order_record records[ORDER_ENTRIES_MAX];
    size_t record_count;
    struct photo_entry photos[ORDER_ENTRIES_MAX];
    size_t photo_count;
    struct order_blob blobs[ORDER_ENTRIES_MAX];
    size_t blob_count;
    const struct sha256 *namers_of;
};

static void tell(const struct service_erasure *erasure, const char *format, ...) _printf_(2, 3);

static void tell(const struct service_erasure *erasure, const char *format, ...)
{
    char line[LINE_MAX_LEN];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (erasure->told)
        erasure->told(erasure->user, line);
}

static bool has_key(const struct collecting *collecting, uint64_t key)
{
    for (size_t i = 0; i < collecting->key_count; i++)
        if (collecting->keys[i] == key)
            return true;
    return false;
}

static int add_key(struct collecting *collecting, uint64_t key)
{
    if (has_key(collecting, key))
        return 0;
    if (collecting->key_count == ARRAY_LEN(collecting->keys))
        return -E2BIG;
    collecting->keys[collecting->key_count++] = key;
    return 0;
}

static int add_record(struct collecting *collecting, const struct uuid *device,
    const struct position_in_log *at, const struct sha256 *leaf)
{
    for (size_t i = 0; i < collecting->record_count; i++) {
        const struct erased_record *known = &collecting->records[i].record;

        if (uuid_equal(&known->at.log, &at->log) && known->at.seq == at->seq)
            return 0;
    }
    if (collecting->record_count == ARRAY_LEN(collecting->records))
        return -E2BIG;
    collecting->records[collecting->record_count++] =
        (struct order_record){.device = *device, .record = {.at = *at, .leaf = *leaf}};
    return 0;
}

static struct photo_entry *find_photo(struct collecting *collecting, const struct sha256 *sha256)
{
    for (size_t i = 0; i < collecting->photo_count; i++)
        if (sha256_equal(&collecting->photos[i].sha256, sha256))
            return &collecting->photos[i];
    return NULL;
}

static int add_photo(struct collecting *collecting, const struct sha256 *sha256, bool is_asked)
{
    struct photo_entry *entry = find_photo(collecting, sha256);

    if (!entry && collecting->photo_count == ARRAY_LEN(collecting->photos))
        return -E2BIG;
    if (!entry) {
        entry = &collecting->photos[collecting->photo_count++];
        *entry = (struct photo_entry){.sha256 = *sha256};
    }
    entry->is_asked |= is_asked;
    return 0;
}

/* What came after a version may hold the same: an amendment holds the whole finding again. */
static int add_later_versions(struct collecting *collecting, uint64_t key)
{
    struct storage *storage = collecting->transaction->storage;
    uint64_t keys[STORAGE_VERSIONS_MAX];
    struct stored_finding row, version;
    size_t count = 0;
    int r = storage->verbs->finding_at(storage, key, &row);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = storage->verbs->versions(storage, row.root, keys, ARRAY_LEN(keys), &count);
    for (size_t i = 0; r >= 0 && i < count; i++) {
        r = storage->verbs->finding_at(storage, keys[i], &version);
        if (r >= 0 && (row.root == key || version.arrival > row.arrival))
            r = add_key(collecting, keys[i]);
        if (r == -ENOENT)
            r = 0;
    }
    return r;
}

struct waiting {
    struct collecting *collecting;
    const struct uuid *for_id;
};

static int note_waiting(void *user, const struct stored_finding *row)
{
    struct waiting *waiting = user;

    if (!row->has_parent || !uuid_equal(&row->parent_id, waiting->for_id))
        return 0;
    return add_key(waiting->collecting, row->key);
}

/* What waits for this record to be applied is about it too. Another one may have been written at the same
 * position, by a copy of the handheld: what waits for that one stays. */
static int add_awaiting(
    struct collecting *collecting, const struct position_in_log *first, const struct uuid *id)
{
    struct storage *storage = collecting->transaction->storage;
    struct waiting waiting = {.collecting = collecting, .for_id = id};
    uint64_t keys[STORAGE_VERSIONS_MAX];
    size_t count = 0;
    int r = storage->verbs->awaited(
        storage, &first->log, first->seq, first->seq + 1, keys, ARRAY_LEN(keys), &count);

    for (size_t i = 0; r >= 0 && i < count; i++) {
        r = storage->verbs->finding(storage, keys[i], note_waiting, &waiting);
        if (r == -ENOENT)
            r = 0;
    }
    return r;
}

/* ---- a record wherever it stands ---- */

static int tell_damaged(const struct collecting *collecting, const struct position_in_log *at)
{
    char log[UUID_TEXT_LEN + 1];

    text_uuid(at->log.b, log);
    tell(collecting->erasure,
        "record %llu of log %s: its copy here is damaged; run patrol-server resync first",
        (unsigned long long)at->seq, log);
    return -EINVAL;
}

/* What an order says of a record must be right: handhelds hold it against theirs. One that is lost has
 * nothing but its leaf. */
static bool can_be_ordered_away(const struct stored_record *row)
{
    struct sha256 leaf = merkle_leaf(row->bytes);

    return row->has_leaf && (row->state != STORED_RECORD_PRESENT || sha256_equal(&leaf, &row->leaf));
}

struct places {
    struct collecting *collecting;
    struct arena arena;
    struct uuid device;
    uint64_t device_number;
    const struct stored_log *log; /* gone through now */
    struct position_in_log first;
    struct sha256 first_leaf;
};

static int note_place(void *user, const struct stored_record *stored)
{
    struct places *places = user;
    struct position_in_log at = {.log = places->log->id, .seq = record_key_seq(stored->key)};
    struct projection projection;
    int r;

    if (stored->state != STORED_RECORD_PRESENT || !stored->has_leaf)
        return 0;
    arena_reset(&places->arena, arena_budget_for(stored->bytes.len));
    r = projection_decode(stored->bytes, &places->arena, &projection);
    if (r < 0)
        return r == -ENOBUFS ? 0 : r;
    if (!projection.is_rehomed || !uuid_equal(&projection.first.log, &places->first.log) ||
        projection.first.seq != places->first.seq ||
        !sha256_equal(&projection.first_leaf, &places->first_leaf))
        return 0;
    if (!can_be_ordered_away(stored))
        return tell_damaged(places->collecting, &at);
    return add_record(places->collecting, &places->device, &at, &stored->leaf);
}

static int note_places_in_log(void *user, const struct stored_log *log)
{
    struct places *places = user;
    struct storage *storage = places->collecting->transaction->storage;

    places->log = log;
    if (log->device != places->device_number)
        return 0;
    return storage->verbs->records_each(storage, record_key(log->number, 0),
        record_key(log->number, log->frontier.size), true, note_place, places);
}

/* It may stand where it was recorded first, and re-homed any number of times. Only a log of which something
 * was re-homed makes all of the device's records worth reading. */
static int add_places(struct collecting *collecting, bool is_rehomed, const struct stored_device *device,
    const struct position_in_log *first, const struct sha256 *first_leaf)
{
    struct storage *storage = collecting->transaction->storage;
    struct places places = {.collecting = collecting,
        .device = device->id,
        .device_number = device->number,
        .first = *first,
        .first_leaf = *first_leaf};
    int r = add_record(collecting, &device->id, first, first_leaf);

    if (r < 0 || !is_rehomed)
        return r;
    r = storage->verbs->logs_each(storage, note_places_in_log, &places);
    arena_done(&places.arena);
    return r;
}

static int note_photos(void *user, const struct stored_finding *row)
{
    struct collecting *collecting = user;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < row->finding.photo_count; i++) {
        const struct photo *photo = &row->finding.photos[i];

        r = add_photo(collecting, &photo->sha256, false);
        if (r >= 0 && photo->preview_size > 0)
            r = add_photo(collecting, &photo->preview_sha256, false);
    }
    return r;
}

/* What a record is, where it stands, and whose it is. */
struct expanded {
    struct stored_device device;
    struct stored_log log;
    struct stored_record row;
    struct position_in_log at;
    struct buffer bytes;
    struct arena arena;
    struct projection projection; /* of the bytes; empty when they take too much memory, or are lost */
};

static void expanded_done(struct expanded *expanded)
{
    buffer_done(&expanded->bytes);
    arena_done(&expanded->arena);
}

static int read_record(struct collecting *collecting, uint64_t key, struct expanded *ret)
{
    struct storage *storage = collecting->transaction->storage;
    int r = storage->verbs->log_at(storage, record_key_log(key), &ret->log);

    if (r >= 0)
        r = storage->verbs->device_at(storage, ret->log.device, &ret->device);
    if (r < 0)
        return r;
    ret->at = (struct position_in_log){.log = ret->log.id, .seq = record_key_seq(key)};
    r = storage->verbs->record_at(storage, key, &ret->bytes, &ret->row);
    if (r == -ENOENT || (r >= 0 && !can_be_ordered_away(&ret->row)))
        return tell_damaged(collecting, &ret->at);
    if (r < 0)
        return r;
    arena_init(&ret->arena, arena_budget_for(ret->row.bytes.len));
    r = projection_decode(ret->row.bytes, &ret->arena, &ret->projection);
    return r == -ENOBUFS ? 0 : r;
}

/* Its photos, and what else is about it. */
static int add_what_goes_along(struct collecting *collecting, const struct expanded *expanded)
{
    const struct projection *projection = &expanded->projection;
    struct storage *storage = collecting->transaction->storage;
    struct uuid id = projection->is_rehomed
                         ? projection->first_id
                         : record_public_id(&expanded->at.log, expanded->at.seq, &expanded->row.leaf);
    int r = storage->verbs->finding(storage, expanded->row.key, note_photos, collecting);

    if (r >= 0 || r == -ENOENT)
        r = add_later_versions(collecting, expanded->row.key);
    return r < 0 ? r
                 : add_awaiting(collecting, projection->is_rehomed ? &projection->first : &expanded->at, &id);
}

/* One record that is held at `key`: its photos, what else is about it, where it stands. */
static int expand(struct collecting *collecting, uint64_t key)
{
    _cleanup_(expanded_done) struct expanded expanded = {0};
    const struct projection *projection = &expanded.projection;
    int r = read_record(collecting, key, &expanded);

    if (r >= 0)
        r = add_what_goes_along(collecting, &expanded);
    if (r < 0 || collecting->erasure->photos_only)
        return r;
    r = add_record(collecting, &expanded.device.id, &expanded.at, &expanded.row.leaf);
    if (r < 0)
        return r;
    if (projection->is_rehomed)
        return add_places(collecting, true, &expanded.device, &projection->first, &projection->first_leaf);
    return add_places(
        collecting, expanded.log.has_rehomed, &expanded.device, &expanded.at, &expanded.row.leaf);
}

/* ---- photos that other findings name ---- */

static int note_other(void *user, const struct stored_finding *row)
{
    struct collecting *collecting = user;

    if (has_key(collecting, row->key))
        return 0;
    for (size_t i = 0; i < row->finding.photo_count; i++) {
        const struct photo *photo = &row->finding.photos[i];
        struct photo_entry *entries[] = {find_photo(collecting, &photo->sha256),
            photo->preview_size > 0 ? find_photo(collecting, &photo->preview_sha256) : NULL};

        for (size_t k = 0; k < ARRAY_LEN(entries); k++)
            if (entries[k] && !entries[k]->is_asked)
                entries[k]->is_kept = true;
    }
    return 0;
}

static int note_namer(void *user, const struct uuid *device)
{
    struct collecting *collecting = user;

    if (collecting->blob_count == ARRAY_LEN(collecting->blobs))
        return -E2BIG;
    collecting->blobs[collecting->blob_count++] =
        (struct order_blob){.device = *device, .sha256 = *collecting->namers_of};
    return 0;
}

static int add_blobs(struct collecting *collecting)
{
    static const struct stored_findings_filter everything;
    struct storage *storage = collecting->transaction->storage;
    int r = collecting->photo_count > 0
                ? storage->verbs->findings_each(storage, &everything, note_other, collecting)
                : 0;

    for (size_t i = 0; r >= 0 && i < collecting->photo_count; i++) {
        if (collecting->photos[i].is_kept)
            continue;
        collecting->namers_of = &collecting->photos[i].sha256;
        r = storage->verbs->blob_namers(storage, collecting->namers_of, note_namer, collecting);
    }
    return r;
}

/* ---- what was asked for ---- */

static int start_from(struct collecting *collecting, const struct service_erase_target *target)
{
    struct storage *storage = collecting->transaction->storage;
    struct stored_blob blob;
    char id[UUID_TEXT_LEN + 1], hash[SHA256_TEXT_LEN + 1];
    uint64_t key;
    int r;

    if (target->is_photo) {
        r = storage->verbs->blob_find(storage, &target->sha256, &blob);
        text_hex(target->sha256.b, SHA256_BYTES, hash);
        if (r == -ENOENT || (r >= 0 && blob.state == STORED_BLOB_ERASED)) {
            tell(collecting->erasure, "photo %s: %s", hash,
                r < 0 ? "no record names it" : "it is erased already");
            return -EINVAL;
        }
        return r < 0 ? r : add_photo(collecting, &target->sha256, true);
    }
    r = storage->verbs->id_find(storage, &target->id, &key);
    text_uuid(target->id.b, id);
    if (r == -ENOENT) {
        tell(collecting->erasure, "record %s: none has this id, or it is erased already", id);
        return -EINVAL;
    }
    return r < 0 ? r : add_key(collecting, key);
}

/* A photo and its preview show the same. */
static int note_pair(void *user, const struct stored_finding *row)
{
    struct collecting *collecting = user;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < row->finding.photo_count; i++) {
        const struct photo *photo = &row->finding.photos[i];
        const struct photo_entry *whole = find_photo(collecting, &photo->sha256),
                                 *preview = find_photo(collecting, &photo->preview_sha256);

        if (photo->preview_size == 0 || (!(whole && whole->is_asked) && !(preview && preview->is_asked)))
            continue;
        r = add_photo(collecting, &photo->sha256, true);
        if (r >= 0)
            r = add_photo(collecting, &photo->preview_sha256, true);
    }
    return r;
}

static int collect(struct collecting *collecting)
{
    static const struct stored_findings_filter everything;
    const struct service_erasure *erasure = collecting->erasure;
    struct storage *storage = collecting->transaction->storage;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < erasure->target_count; i++)
        r = start_from(collecting, &erasure->targets[i]);
    if (r >= 0 && collecting->photo_count > 0)
        r = storage->verbs->findings_each(storage, &everything, note_pair, collecting);
    /* The list grows as it is gone through. */
    for (size_t i = 0; r >= 0 && i < collecting->key_count; i++)
        r = expand(collecting, collecting->keys[i]);
    if (r >= 0)
        r = add_blobs(collecting);
    if (erasure->photos_only)
        collecting->key_count = 0;
    if (r >= 0 && collecting->record_count + collecting->blob_count > ORDER_ENTRIES_MAX)
        r = -E2BIG;
    return r;
}

static int report_record(void *user, const struct stored_finding *row)
{
    const struct service_erasure *erasure = user;
    const char *kind = row->kind == RECORD_AMENDMENT    ? "amendment"
                       : row->kind == RECORD_WITHDRAWAL ? "withdrawal"
                                                        : "finding";
    struct uuid record =
        row->is_rehomed ? row->first_id : record_public_id(&row->log, record_key_seq(row->key), &row->leaf);
    char id[UUID_TEXT_LEN + 1], device[UUID_TEXT_LEN + 1];

    text_uuid(record.b, id);
    text_uuid(row->device.b, device);
    tell(erasure, "%s %s of handheld %s", kind, id, device);
    return 0;
}

static int report(const struct collecting *collecting, struct service_erasure_report *ret)
{
    struct storage *storage = collecting->transaction->storage;
    char hash[SHA256_TEXT_LEN + 1];
    int r = 0;

    for (size_t i = 0; r >= 0 && i < collecting->key_count; i++) {
        r = storage->verbs->finding(
            storage, collecting->keys[i], report_record, (void *)(uintptr_t)collecting->erasure);
        r = r == -ENOENT ? 0 : r;
    }
    for (size_t i = 0; i < collecting->photo_count; i++) {
        const struct photo_entry *photo = &collecting->photos[i];

        text_hex(photo->sha256.b, SHA256_BYTES, hash);
        tell(collecting->erasure, "photo %s%s", hash,
            photo->is_kept ? " stays: another finding names it too; give its hash to erase it" : "");
        ret->photos += !photo->is_kept;
        ret->photos_kept += photo->is_kept;
    }
    ret->records = collecting->key_count;
    return r;
}

/* ---- the order ---- */

static int give_order(struct collecting *collecting, uint64_t *ret_number)
{
    struct transaction *transaction = collecting->transaction;
    struct service *service = transaction->service;
    struct order order = {.time_ms = transaction->now_ms / 1000 * 1000,
        .by = bytes_of_text(collecting->erasure->by),
        .reason = bytes_of_text(collecting->erasure->reason)};
    uint64_t told_max = 0;
    int r = transaction->storage->verbs->orders_done_max(transaction->storage, &told_max);

    if (r < 0)
        return r;
    /* Above whatever a handheld has carried out, also when the file was lost: else it would not be told. */
    order.number = orders_last_number(service);
    order.number = (told_max > order.number ? told_max : order.number) + 1;
    r = erasing_mark(service, true);
    if (r >= 0)
        r = orders_append(service, &order, collecting->records, collecting->record_count, collecting->blobs,
            collecting->blob_count);
    if (r < 0)
        return r;
    *ret_number = order.number;
    return erase_rows(transaction, collecting->records, collecting->record_count, collecting->blobs,
        collecting->blob_count);
}

/* 1 when there is an order to be finished, 0 when it was a dry run. */
static int erase(struct collecting *collecting, struct service_erasure_report *ret)
{
    struct transaction *transaction = collecting->transaction;
    int r = collect(collecting);

    if (r >= 0)
        r = report(collecting, ret);
    if (r >= 0 && collecting->record_count + collecting->blob_count == 0)
        r = -ENODATA;
    if (r >= 0 && !collecting->erasure->dry_run)
        r = give_order(collecting, &ret->order);
    if (r < 0 || collecting->erasure->dry_run) {
        transaction_rollback(transaction);
        return r < 0 ? r : 0;
    }
    transaction->has_changed = true;
    r = transaction_commit(transaction);
    return r < 0 ? r : 1;
}

int service_erase(
    struct service *service, const struct service_erasure *erasure, struct service_erasure_report *ret)
{
    _cleanup_free_ struct collecting *collecting = calloc(1, sizeof(*collecting));
    struct service_erasure_report done = {0};
    struct transaction transaction;
    int r = collecting ? transaction_begin(service, &transaction) : -ENOMEM;

    if (r < 0)
        return r;
    collecting->transaction = &transaction;
    collecting->erasure = erasure;
    r = erase(collecting, &done);
    *ret = done;
    if (r <= 0)
        return r;
    /* The order stands. Whatever is left of it the serve that runs here does, or the next one. */
    (void)erasure_finish(service);
    ret->is_finished = !erasing_is_marked(service);
    return 0;
}
