/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lawful erasure: an admin's order turns records and photos into their hashes. See service.h; the orders
 * themselves are kept by service_orders.c, and carried out by service_erasure.c.
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

/* An order names a photo for those whose records name it: without one it would stay. */
static int add_blob(struct collecting *collecting, const struct sha256 *sha256)
{
    struct storage *storage = collecting->transaction->storage;
    size_t count = collecting->blob_count;
    char hash[SHA256_TEXT_LEN + 1];
    int r;

    collecting->namers_of = sha256;
    r = storage->verbs->blob_namers(storage, sha256, note_namer, collecting);
    if (r < 0 || collecting->blob_count > count)
        return r;
    text_hex(sha256->b, SHA256_BYTES, hash);
    tell(collecting->erasure, "photo %s: no record that is here names it now; run patrol-server resync first",
        hash);
    return -EINVAL;
}

static int add_blobs(struct collecting *collecting)
{
    static const struct stored_findings_filter everything;
    struct storage *storage = collecting->transaction->storage;
    int r = collecting->photo_count > 0
                ? storage->verbs->findings_each(storage, &everything, note_other, collecting)
                : 0;

    for (size_t i = 0; r >= 0 && i < collecting->photo_count; i++)
        if (!collecting->photos[i].is_kept)
            r = add_blob(collecting, &collecting->photos[i].sha256);
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
    return erasing_rows(transaction, collecting->records, collecting->record_count, collecting->blobs,
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
