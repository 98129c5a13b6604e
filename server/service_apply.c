/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stored record means: rows of the list of findings, photos that are wanted, states of other findings,
 * quarantine. Used when records come in, when they are mended, and when the derived tables are made again;
 * the result is the same in each case.
 *
 * A record that cannot be applied is put in quarantine with a reason and blocks nothing; one that only waits
 * for the record it names is applied when that one comes.
 */
#include "server/service_internal.h"

/* Where one record stands, and what it is about. */
struct subject {
    struct stored_log *log;
    const struct applied_record *record;
    uint64_t key;
    struct position_in_log first; /* where it stood first: here, unless it was re-homed */
    bool is_copy;                 /* of another device's record: it has no right to that one's public id */
};

static uint64_t device_of(const struct subject *subject)
{
    return subject->log->device;
}

static bool has_first_id(const struct subject *subject)
{
    return subject->record->projection->is_rehomed && !subject->is_copy;
}

static struct uuid id_of(const struct subject *subject)
{
    return has_first_id(subject)
               ? subject->record->projection->first_id
               : record_public_id(&subject->log->id, subject->record->seq, &subject->record->leaf);
}

/* ---- rows ---- */

static struct stored_finding row_of(
    const struct subject *subject, enum finding_state state, uint64_t root, const struct parent *parent)
{
    const struct projection *projection = subject->record->projection;
    const struct record *record = &projection->record;
    const struct finding *finding = projection->reason ? NULL : record_finding(record);
    struct stored_finding row = {.key = subject->key,
        .arrival = subject->record->arrival,
        .root = root,
        .state = state,
        .kind = record->kind,
        .is_rehomed = has_first_id(subject),
        .first_id = projection->first_id,
        .has_parent = parent != NULL,
        .wall_ms = record->wall_ms,
        .utc_offset_min = record->utc_offset_min,
        .inspector = record->inspector};

    if (parent)
        row.parent_id = parent->id;
    if (finding)
        row.finding = *finding;
    else if (!projection->reason && record->kind == RECORD_WITHDRAWAL)
        row.finding.note = record->withdrawal.reason;
    return row;
}

static int put_row(
    struct transaction *transaction, const struct subject *subject, const struct stored_finding *row)
{
    struct storage *storage = transaction->storage;
    int r = storage->verbs->finding_put(storage, row);

    /* The index of public ids is built behind, by arrival; what comes late is added here. */
    if (r >= 0 && subject->record->arrival <= transaction->state.indexed_arrival) {
        struct uuid id = id_of(subject);

        r = storage->verbs->id_put(storage, &id, subject->key);
    }
    return r;
}

/* One that an order has erased is not wanted, also when the database was set back since. */
static int name_blob(struct transaction *transaction, const struct subject *subject,
    const struct sha256 *sha256, uint64_t size)
{
    struct storage *storage = transaction->storage;
    int r = storage->verbs->blob_name(storage, sha256, size, device_of(subject), subject->key);

    if (r >= 0 && orders_cover_blob(transaction->service, sha256))
        r = storage->verbs->blob_set_state(storage, sha256, STORED_BLOB_ERASED, 0);
    return r;
}

static int name_blobs(
    struct transaction *transaction, const struct subject *subject, const struct finding *finding)
{
    for (size_t i = 0; i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];
        int r = 0;

        if (photo->preview_size > 0)
            r = name_blob(transaction, subject, &photo->preview_sha256, photo->preview_size);
        if (r >= 0)
            r = name_blob(transaction, subject, &photo->sha256, photo->size);
        if (r < 0)
            return r;
    }
    return 0;
}

static int put_in_quarantine(struct transaction *transaction, const struct subject *subject,
    const char *reason, const struct parent *parent)
{
    const struct stored_finding row = row_of(subject, FINDING_QUARANTINED, subject->key, parent);
    int r = transaction->storage->verbs->quarantine(transaction->storage, subject->key, reason);

    transaction->quarantined++;
    if (r >= 0)
        r = put_row(transaction, subject, &row);
    /* Its photos are taken all the same: the handheld waits to be rid of them, and a rebuild may apply it. */
    return r < 0 ? r : name_blobs(transaction, subject, &row.finding);
}

/* ---- versions ---- */

/* Sets the states of a finding and of everything that amends it. */
static int settle_versions(struct transaction *transaction, uint64_t root)
{
    struct storage *storage = transaction->storage;
    uint64_t keys[STORAGE_VERSIONS_MAX + 1];
    enum finding_state states[STORAGE_VERSIONS_MAX + 1];
    struct version versions[STORAGE_VERSIONS_MAX + 1];
    size_t count = 0, found = 0;
    int r = storage->verbs->versions(storage, root, keys + 1, STORAGE_VERSIONS_MAX, &count);

    if (r < 0)
        return r;
    keys[0] = root;
    for (size_t i = 0; i <= count; i++) {
        struct stored_finding row;

        r = storage->verbs->finding_at(storage, keys[i], &row);
        if (r == -ENOENT || (r >= 0 && row.state == FINDING_QUARANTINED))
            continue;
        if (r < 0)
            return r;
        keys[found] = keys[i];
        states[found] = row.state;
        versions[found++] = (struct version){.arrival = row.arrival, .kind = row.kind};
    }
    r = 0;
    for (size_t i = 0; r >= 0 && i < found; i++) {
        enum finding_state state = projection_version_state(versions, found, i);

        if (states[i] != state)
            r = storage->verbs->finding_set_state(storage, keys[i], state);
    }
    return r;
}

/* Is the row at `key` a parent that can be amended? Its root, then. */
static int look_at_parent(
    struct storage *storage, uint64_t key, struct parent_facts *facts, uint64_t *ret_root)
{
    struct stored_finding row;
    int r = storage->verbs->finding_at(storage, key, &row);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    facts->is_known = row.state != FINDING_QUARANTINED;
    facts->is_version = row.kind == RECORD_FINDING || row.kind == RECORD_AMENDMENT;
    *ret_root = row.root;
    return 0;
}

/* The parent at its own position, if the record there has the id that the child names. */
static int find_parent_in_place(struct storage *storage, const struct stored_log *log,
    const struct parent *parent, struct parent_facts *facts, uint64_t *ret_root)
{
    struct stored_record record;
    struct uuid id;
    int r = storage->verbs->record_at(storage, record_key(log->number, parent->seq), NULL, &record);

    if (r == -ENOENT || (r >= 0 && !record.has_leaf))
        return 0;
    if (r < 0)
        return r;
    id = record_public_id(&log->id, parent->seq, &record.leaf);
    facts->is_erased = record.state == STORED_RECORD_ERASED && uuid_equal(&id, &parent->id);
    return uuid_equal(&id, &parent->id) ? look_at_parent(storage, record.key, facts, ret_root) : 0;
}

static int find_parent(struct transaction *transaction, const struct subject *subject,
    const struct parent *parent, struct parent_facts *facts, uint64_t *ret_root)
{
    const struct position_in_log position = {.log = parent->log, .seq = parent->seq};
    struct storage *storage = transaction->storage;
    struct stored_log log;
    uint64_t key;
    int r = 0;

    if (parent->seq >= LOG_SIZE_MAX)
        return 0;
    if (uuid_equal(&parent->log, &subject->log->id))
        log = *subject->log;
    else
        r = storage->verbs->log_find(storage, &parent->log, &log);
    if (r >= 0) {
        facts->is_of_device = log.device == device_of(subject);
        facts->log_is_foreign = !facts->is_of_device;
        if (facts->is_of_device)
            r = find_parent_in_place(storage, &log, parent, facts, ret_root);
    } else if (r == -ENOENT) {
        r = 0;
    }
    if (r < 0 || facts->is_known || facts->log_is_foreign)
        return r;
    r = storage->verbs->rehomed_find(storage, &position, &parent->id, &key);
    /* One that had only come re-homed has left no row under its first position. */
    if (r == -ENOENT && !facts->is_erased)
        facts->is_erased = orders_cover_id(transaction->service, &position, &parent->id);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = storage->verbs->log_at(storage, record_key_log(key), &log);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    facts->is_of_device = log.device == device_of(subject);
    return look_at_parent(storage, key, facts, ret_root);
}

static bool is_among(const uint64_t *keys, size_t count, uint64_t key)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i] == key)
            return true;
    return false;
}

static int put_version(struct transaction *transaction, const struct subject *subject,
    const struct parent *parent, uint64_t root)
{
    const struct stored_finding row = row_of(subject, FINDING_STORED, root, parent);
    struct storage *storage = transaction->storage;
    uint64_t keys[STORAGE_VERSIONS_MAX];
    size_t count = 0;
    int r = storage->verbs->versions(storage, root, keys, STORAGE_VERSIONS_MAX, &count);

    if (r < 0)
        return r;
    if (count == STORAGE_VERSIONS_MAX && !is_among(keys, count, subject->key))
        return put_in_quarantine(transaction, subject, "the finding was amended too many times", parent);
    r = put_row(transaction, subject, &row);
    if (r >= 0)
        r = storage->verbs->version_put(storage, root, subject->key);
    return r < 0 ? r : settle_versions(transaction, root);
}

/* An amendment's photos are wanted whatever becomes of it: the handheld has a receipt for it and sends them.
 */
static int name_version_blobs(struct transaction *transaction, const struct subject *subject)
{
    const struct finding *finding = record_finding(&subject->record->projection->record);

    return finding ? name_blobs(transaction, subject, finding) : 0;
}

static int apply_version(struct transaction *transaction, const struct subject *subject)
{
    struct storage *storage = transaction->storage;
    struct parent_facts facts = {0};
    struct parent parent;
    struct position_in_log position;
    const char *reason = NULL;
    uint64_t root = 0;
    int r;

    (void)projection_parent(subject->record->projection, &subject->first.log, &parent);
    r = find_parent(transaction, subject, &parent, &facts, &root);
    if (r >= 0)
        r = name_version_blobs(transaction, subject);
    if (r < 0)
        return r;
    position = (struct position_in_log){.log = parent.log, .seq = parent.seq};
    switch (projection_judge_parent(&facts, &reason)) {
    case PARENT_FITS:
        r = storage->verbs->awaited_end(storage, &position, subject->key);
        return r < 0 ? r : put_version(transaction, subject, &parent, root);
    case PARENT_AWAITED:
        r = storage->verbs->awaited_put(storage, &position, subject->key);
        return r < 0 ? r : put_in_quarantine(transaction, subject, reason, &parent);
    case PARENT_UNFIT:
        r = storage->verbs->awaited_end(storage, &position, subject->key);
        return r < 0 ? r : put_in_quarantine(transaction, subject, reason, &parent);
    }
    return 0;
}

/* ---- the kinds ---- */

static int apply_finding(struct transaction *transaction, const struct subject *subject)
{
    const struct stored_finding row = row_of(subject, FINDING_STORED, subject->key, NULL);
    int r = put_row(transaction, subject, &row);

    if (r >= 0)
        r = name_blobs(transaction, subject, &row.finding);
    if (r >= 0 && subject->record->replaces)
        r = settle_versions(transaction, subject->key);
    return r;
}

static int set_flags(struct transaction *transaction, struct stored_log *log)
{
    return transaction->storage->verbs->log_set_flags(transaction->storage, log);
}

/* The log before this one must be complete, or have ended for a reason that brings its rest by another way.
 */
static int check_predecessor(
    struct transaction *transaction, const struct subject *subject, const struct opened *opened)
{
    struct stored_log log;
    const char *text = NULL;
    int r;

    if (opened->reason == OPEN_RECOVERED) {
        r = transaction_alarm(transaction, ALARM_RECOVERED, device_of(subject), subject->key,
            "the handheld's database was damaged; it went on with a new log");
        if (r < 0)
            return r;
    }
    if (uuid_is_nil(&opened->predecessor))
        return 0;
    r = transaction->storage->verbs->log_find(transaction->storage, &opened->predecessor, &log);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == -ENOENT && opened->predecessor_size > 0)
        text = "the log before this one has not come";
    else if (r >= 0 && log.device != device_of(subject))
        text = "the log before this one belongs to another device";
    else if (r >= 0 && log.frontier.size < opened->predecessor_size)
        text = "the log before this one was left before all of it had come";
    if (!text || opened->reason == OPEN_FORK)
        return 0;
    return transaction_alarm(transaction, ALARM_PREDECESSOR, device_of(subject), subject->key, text);
}

static int apply_opened(struct transaction *transaction, const struct subject *subject)
{
    const struct opened *opened = &subject->record->projection->record.opened;
    int r = 0;

    if (subject->record->projection->is_rehomed || subject->record->seq != 0)
        return 0;
    if (subject->log->kind != opened->kind) {
        subject->log->kind = opened->kind;
        r = set_flags(transaction, subject->log);
    }
    return r < 0 ? r : check_predecessor(transaction, subject, opened);
}

static int apply_closed(struct transaction *transaction, const struct subject *subject)
{
    if (subject->record->projection->is_rehomed || subject->log->is_closed)
        return 0;
    subject->log->is_closed = true;
    return set_flags(transaction, subject->log);
}

/* Photos that the handheld has lost before they were sent are not waited for any longer. */
static int apply_device_event(struct transaction *transaction, const struct subject *subject)
{
    const struct device_event *event = &subject->record->projection->record.device_event;

    if (event->receipt_time_ms > 0 && !subject->record->projection->is_rehomed) {
        int r = transaction->storage->verbs->clock_mark_put(
            transaction->storage, subject->key, event->receipt_time_ms);

        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < event->lost_blob_count; i++) {
        int r = apply_blob_lost(transaction, device_of(subject), &event->lost_blobs[i]);

        if (r < 0)
            return r;
    }
    return 0;
}

/* Before a photo counts as lost, its file is looked for once more: 1 it is there and whole, or the disk
 * cannot tell now, so that nothing is decided; 0 there is none; -errno of the storage. */
static int look_for_file(struct transaction *transaction, const struct stored_blob *blob)
{
    struct blobs *blobs = transaction->service->blobs;
    struct sha256 found;
    uint64_t size;
    int r = blobs->verbs->hash(blobs, &blob->sha256, &found, &size);

    if (r == -ENOENT || r == -EIO)
        return 0;
    if (r < 0)
        return 1;
    if (!sha256_equal(&found, &blob->sha256))
        return 0;
    transaction->has_changed = true;
    r = transaction->storage->verbs->blob_set_state(
        transaction->storage, &blob->sha256, STORED_BLOB_PRESENT, size);
    return r < 0 ? r : 1;
}

int apply_blob_lost(struct transaction *transaction, uint64_t device, const struct sha256 *sha256)
{
    struct storage *storage = transaction->storage;
    struct stored_blob blob;
    int r = storage->verbs->blob_is_named(storage, sha256, device);

    if (r <= 0)
        return r;
    r = storage->verbs->blob_find(storage, sha256, &blob);
    if (r < 0)
        return r;
    if (blob.state != STORED_BLOB_MISSING)
        return 0;
    r = look_for_file(transaction, &blob);
    if (r != 0)
        return r < 0 ? r : 0;
    transaction->has_changed = true;
    r = storage->verbs->blob_given_up(storage, sha256, device);
    if (r != 0) /* another handheld may have it still */
        return r < 0 ? r : 0;
    r = storage->verbs->blob_set_state(storage, sha256, STORED_BLOB_LOST, 0);
    if (r < 0)
        return r;
    return transaction_alarm(transaction, ALARM_BLOB_LOST, device, blob.number,
        "a photo is in neither place: the handheld lost it before it was sent");
}

static int apply_key_rotation(struct transaction *transaction, const struct subject *subject)
{
    const char *reason = NULL;
    int r = device_keys_announce(transaction, device_of(subject), subject->key,
        &subject->record->projection->record.key_rotation, &reason);

    return r < 0 || !reason ? r : put_in_quarantine(transaction, subject, reason, NULL);
}

static int apply_kind(struct transaction *transaction, const struct subject *subject)
{
    switch (subject->record->projection->record.kind) {
    case RECORD_FINDING:
        return apply_finding(transaction, subject);
    case RECORD_AMENDMENT:
    case RECORD_WITHDRAWAL:
        return apply_version(transaction, subject);
    case RECORD_OPENED:
        return apply_opened(transaction, subject);
    case RECORD_CLOSED:
        return apply_closed(transaction, subject);
    case RECORD_DEVICE_EVENT:
        return apply_device_event(transaction, subject);
    case RECORD_KEY_ROTATION:
        return apply_key_rotation(transaction, subject);
    case RECORD_REHOMED:
        break; /* Unwrapped when it was decoded. */
    }
    return 0;
}

/* ---- each id once ---- */

enum once { ONCE_APPLY, ONCE_APPLIED_BEFORE, ONCE_FOREIGN };

/* Is it held where it stood first, or listed from there? Of one that is damaged there, and was not listed
 * when the derived tables were made again, the copy is what is left. */
static int is_applied_in_place(
    struct storage *storage, const struct stored_log *log, uint64_t seq, const struct sha256 *leaf)
{
    struct stored_record record;
    struct stored_finding row;
    int r = storage->verbs->record_at(storage, record_key(log->number, seq), NULL, &record);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!record.has_leaf || !sha256_equal(&record.leaf, leaf))
        return 0;
    r = log_record_is_well(storage, record.key);
    if (r != 0)
        return r;
    r = storage->verbs->finding_at(storage, record.key, &row);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return 1;
}

static int note_rehomed(
    struct transaction *transaction, const struct subject *subject, struct stored_log *log)
{
    if (log->has_rehomed)
        return 0;
    log->has_rehomed = true;
    if (log->number == subject->log->number)
        subject->log->has_rehomed = true;
    return set_flags(transaction, log);
}

/* A re-homed record may have come under its first position, or re-homed in another log. */
static int judge_rehomed(struct transaction *transaction, const struct subject *subject, enum once *ret)
{
    const struct projection *projection = subject->record->projection;
    struct storage *storage = transaction->storage;
    struct stored_log log;
    uint64_t key;
    bool is_log_held;
    int r = storage->verbs->log_find(storage, &subject->first.log, &log);

    *ret = ONCE_APPLY;
    is_log_held = r >= 0;
    if (is_log_held && log.device != device_of(subject)) {
        *ret = ONCE_FOREIGN;
        return 0;
    }
    if (is_log_held)
        r = note_rehomed(transaction, subject, &log);
    if (r < 0 && r != -ENOENT)
        return r;
    r = storage->verbs->rehomed_find(storage, &subject->first, &projection->first_id, &key);
    if (r >= 0 && key != subject->key)
        *ret = ONCE_APPLIED_BEFORE;
    if (r != -ENOENT)
        return r < 0 ? r : 0;
    r = is_log_held ? is_applied_in_place(storage, &log, subject->first.seq, &projection->first_leaf) : 0;
    if (r > 0)
        *ret = ONCE_APPLIED_BEFORE;
    if (r == 0)
        r = storage->verbs->rehomed_put(storage, &subject->first, &projection->first_id, subject->key);
    return r < 0 ? r : 0;
}

/* Of a log that others were re-homed from: has this very record been applied under another position? */
static int judge_in_place(struct transaction *transaction, const struct subject *subject, enum once *ret)
{
    struct storage *storage = transaction->storage;
    struct uuid id;
    uint64_t key;
    int r;

    *ret = ONCE_APPLY;
    if (!subject->log->has_rehomed)
        return 0;
    id = id_of(subject);
    r = storage->verbs->rehomed_find(storage, &subject->first, &id, &key);
    if (r >= 0)
        *ret = ONCE_APPLIED_BEFORE;
    return r == -ENOENT ? 0 : r;
}

int apply_record(struct transaction *transaction, struct stored_log *log, const struct applied_record *record)
{
    const struct projection *projection = record->projection;
    struct subject subject = {.log = log, .record = record, .key = record_key(log->number, record->seq)};
    enum once once = ONCE_APPLY;
    int r = 0;

    subject.first = projection->is_rehomed ? projection->first
                                           : (struct position_in_log){.log = log->id, .seq = record->seq};
    if (record->replaces)
        r = transaction->storage->verbs->quarantine_end(transaction->storage, subject.key);
    if (r < 0)
        return r;
    if (projection->is_rehomed && subject.first.seq >= LOG_SIZE_MAX)
        return put_in_quarantine(
            transaction, &subject, "the position that it was taken from is over the limit", NULL);

    /* Each id once: that comes first, also for what cannot be applied. */
    r = projection->is_rehomed ? judge_rehomed(transaction, &subject, &once)
                               : judge_in_place(transaction, &subject, &once);
    if (r < 0)
        return r;
    switch (once) {
    case ONCE_APPLY:
        break;
    case ONCE_APPLIED_BEFORE:
        return 0;
    case ONCE_FOREIGN:
        subject.is_copy = true;
        return put_in_quarantine(
            transaction, &subject, "the log that it was taken from belongs to another device", NULL);
    }
    if (projection->reason)
        return put_in_quarantine(transaction, &subject, projection->reason, NULL);
    r = apply_kind(transaction, &subject);
    if (r >= 0 && projection->is_rehomed)
        r = apply_awaiting(transaction, &subject.first.log, subject.first.seq, subject.first.seq + 1);
    return r;
}

/* ---- what is forgotten ---- */

static int note_let_go(void *user, const struct stored_blob *blob)
{
    struct buffer *let_go = user;

    buffer_put(let_go, &blob->sha256, sizeof(blob->sha256));
    return buffer_finish(let_go);
}

int apply_forget(struct transaction *transaction, uint64_t key, struct buffer *let_go)
{
    struct storage *storage = transaction->storage;
    struct stored_finding row = {.root = key};
    struct stored_log log;
    int r = storage->verbs->finding_at(storage, key, &row);

    if (r >= 0 || r == -ENOENT)
        r = storage->verbs->log_at(storage, record_key_log(key), &log);
    if (r >= 0)
        r = storage->verbs->blobs_each(
            storage, log.device, key, key + 1, NULL, EVIDENCE_BLOBS_MAX, note_let_go, let_go);
    if (r >= 0)
        r = storage->verbs->record_forget(storage, key);
    return r < 0 || row.root == key ? r : settle_versions(transaction, row.root);
}

struct naming {
    struct storage *storage;
    const struct sha256 *photos; /* sorted */
    size_t count;
};

static int compare_hashes(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_BYTES);
}

static int name_if_let_go(
    const struct naming *naming, uint64_t key, const struct sha256 *sha256, uint64_t size)
{
    struct storage *storage = naming->storage;
    struct stored_log log;
    int r;

    if (!bsearch(sha256, naming->photos, naming->count, sizeof(*sha256), compare_hashes))
        return 0;
    r = storage->verbs->log_at(storage, record_key_log(key), &log);
    return r < 0 ? r : storage->verbs->blob_name(storage, sha256, size, log.device, key);
}

static int name_again(void *user, const struct stored_finding *row)
{
    const struct naming *naming = user;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < row->finding.photo_count; i++) {
        const struct photo *photo = &row->finding.photos[i];

        if (photo->preview_size > 0)
            r = name_if_let_go(naming, row->key, &photo->preview_sha256, photo->preview_size);
        if (r >= 0)
            r = name_if_let_go(naming, row->key, &photo->sha256, photo->size);
    }
    return r;
}

int apply_name_again(struct transaction *transaction, struct buffer *let_go)
{
    static const struct stored_findings_filter everything;
    struct storage *storage = transaction->storage;
    struct naming naming = {.storage = storage, .count = let_go->len / SHA256_BYTES};

    if (naming.count == 0)
        return 0;
    qsort(let_go->data, naming.count, SHA256_BYTES, compare_hashes);
    naming.photos = (const struct sha256 *)(const void *)let_go->data;
    return storage->verbs->findings_each(storage, &everything, name_again, &naming);
}

/* ---- what has waited ---- */

static int apply_again(struct transaction *transaction, uint64_t key, struct position_in_log *ret_first)
{
    struct storage *storage = transaction->storage;
    _cleanup_buffer_ struct buffer bytes = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct projection projection;
    struct stored_record stored;
    struct stored_log log;
    int r = storage->verbs->log_at(storage, record_key_log(key), &log);

    if (r >= 0)
        r = storage->verbs->record_at(storage, key, &bytes, &stored);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    arena_init(&arena, arena_budget_for(stored.bytes.len));
    r = projection_decode(stored.bytes, &arena, &projection);
    if (r < 0)
        return r == -ENOBUFS ? 0 : r;
    const struct applied_record record = {.seq = record_key_seq(key),
        .arrival = stored.arrival,
        .leaf = stored.leaf,
        .projection = &projection,
        .replaces = true};
    struct subject subject = {.log = &log, .record = &record, .key = key};

    subject.first =
        projection.is_rehomed ? projection.first : (struct position_in_log){.log = log.id, .seq = record.seq};
    *ret_first = subject.first;
    if (projection.reason ||
        (projection.record.kind != RECORD_AMENDMENT && projection.record.kind != RECORD_WITHDRAWAL))
        return 0;
    r = storage->verbs->quarantine_end(storage, key);
    return r < 0 ? r : apply_version(transaction, &subject);
}

/* A child that could be applied may be the parent that another one has waited for. What is over the limits
 * waits for a rebuild. */
int apply_awaiting(
    struct transaction *transaction, const struct uuid *log, uint64_t first_seq, uint64_t end_seq)
{
    struct storage *storage = transaction->storage;
    uint64_t keys[AWAITING_AT_ONCE_MAX];
    size_t count = 0;
    int r = storage->verbs->awaited(storage, log, first_seq, end_seq, keys, AWAITING_AT_ONCE_MAX, &count);

    for (size_t i = 0; r >= 0 && i < count && transaction->awaiting_left > 0; i++) {
        struct position_in_log first = {0};
        size_t more = 0;

        transaction->awaiting_left--;
        r = apply_again(transaction, keys[i], &first);
        if (r >= 0 && count < AWAITING_AT_ONCE_MAX)
            r = storage->verbs->awaited(storage, &first.log, first.seq, first.seq + 1, keys + count,
                AWAITING_AT_ONCE_MAX - count, &more);
        count += more;
    }
    return r;
}
